"""Pages to look at: the report of a sweep and the replay viewer of a log, each one self-contained HTML file."""
