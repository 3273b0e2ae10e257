"""The log: writer, reader, replay."""
