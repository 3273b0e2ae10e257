r"""The log's file format: blocks of msgpack records, each block checked on its own.

File:  magic "AMLOG\x00", version byte, flags byte, then blocks.
Block: magic "ABLK", kind byte ("H" header, "R" records), length (u32), CRC-32 of the content, CRC-32 of the preceding
       13 bytes; then the content. With the zstd flag each block's content is one zstd frame.
The header is one msgpack map cut into "H" blocks, so that a header of any size survives or is seen to be cut. Records
are msgpack arrays. A delivery starts with its sequence number; every other record starts with its kind::

    [seq, sent_at, delivered_at, step, src, dst, type, n, copy, stamp, payload]
    ["fate", kind, time, src, dst, type, n, copy, reason, payload | nil]
    ["assign", time, node, value]            value: domain index
    ["bound", time, node, lower, upper]      solver's units, nil where unknown
    ["place", node, place]                   with tree=messages
    ["finding", time, observer, object]
    ["external", time, node, label, result]  result: nil in a redacted log
    ["crash", time, agent] and ["restart", time, agent]
    ["wake", time, step]                     timers went off, after the deliveries of that instant
    ["abandon", time, node, reason, n]       n: messages that the node had sent
    ["result", object]

A damaged length is told from a file that was cut: every block header has a checksum of its own, so a whole but wrong
header is damage and a missing one is a cut. Blocks are cut by size alone, never by time.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import stat
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgpack

from agentsim.errors import AgentSimError, RunError, UserError, one_line
from agentsim.runtime.messages import MAX_ARRAY_CELLS, encode_array

MAGIC: Final = b"AMLOG\x00"
VERSION: Final = 1
FLAG_ZSTD: Final = 1
BLOCK_SIZE: Final = 16 * 1024
MAX_BLOCK: Final = MAX_ARRAY_CELLS * 8 + (1 << 20)
MAX_HEADER: Final = 1 << 30
MEMORY_LIMIT: Final = 256 << 20
_BLOCK_MAGIC: Final = b"ABLK"
_HEAD: Final = struct.Struct("<4scII")
_HEAD_CRC: Final = struct.Struct("<I")
_HEAD_SIZE: Final = _HEAD.size + _HEAD_CRC.size


class NotALog(UserError):
    """The file is not a log: too short, another magic, or a version this reader does not know."""


class LogDamaged(AgentSimError):
    """The log's bytes contradict its checksums.

    Args:
        source: the log's name.
        offset: where in the file, in bytes.
        cause: what does not add up.
    """

    def __init__(self, source: str, offset: int, cause: str) -> None:
        super().__init__(one_line(f"{source}: damaged at byte {offset}: {cause}"))
        self.source, self.offset, self.cause = source, offset, cause


class LogUnwritable(RunError):
    """The log could not be written to its end: the disk is full, or failed. What was written before can be read.

    Args:
        path: the log's file.
        error: what the system says.
    """

    def __init__(self, path: str | os.PathLike[str], error: OSError) -> None:
        super().__init__(one_line(f"{os.fspath(path)}: cannot write the log: {error.strerror or error}"))
        self.path = path


def _zstd() -> Any:
    try:
        import zstandard
    except ImportError:
        raise UserError("a compressed log needs the package zstandard: install agentsim[zstd]") from None
    return zstandard


class LogWriter:
    """Appends records to a file, or to memory when no file is given.

    A write that fails raises nothing, wherever in a run it happens: it is kept as `failure`, `on_failure` is told, and
    nothing more is written.

    Args:
        path: the file, replaced if it exists; None keeps the log in memory.
        compress: compress each block with zstd (a path ending in `.zst` does so too).
        memory_limit: bytes after which a log in memory stops growing and says so (`truncated`); with 0 nothing but the
            header is kept, nor packed.
    """

    def __init__(
        self, path: str | os.PathLike[str] | None = None, *, compress: bool = False, memory_limit: int = MEMORY_LIMIT
    ) -> None:
        self.path = None if path is None else Path(path)
        compress = compress or (self.path is not None and self.path.suffix == ".zst")
        self._compressor = _zstd().ZstdCompressor(level=3) if compress else None
        self.truncated = False
        self.failure: LogUnwritable | None = None
        self.on_failure: Callable[[LogUnwritable], None] | None = None
        self._redacts = False
        self._limit = memory_limit
        self._sink: BinaryIO
        if self.path is None:
            self._sink = io.BytesIO()
        else:
            try:
                if self.path.exists() and not self.path.is_file():  # a pipe may wait for ever, a device keeps nothing
                    raise OSError(0, "it is not a regular file")
                self._sink = open(self.path, "wb", buffering=1 << 18)  # noqa: SIM115  # closed by close()
            except OSError as error:
                raise UserError(str(LogUnwritable(self.path, error))) from None
        self._write(MAGIC + bytes((VERSION, FLAG_ZSTD if compress else 0)))
        self.pack: Callable[[Any], bytes] = msgpack.Packer(use_bin_type=True, default=encode_array).pack
        self.buffer = bytearray()
        """Packed records of the block being filled; the kernel appends to it directly and calls `cut`."""
        self.tap: Callable[[Sequence[Any]], None] | None = None
        """Hears every record but deliveries as it is written: for displays, which hear those as observers."""

    def header(self, header: dict[str, Any]) -> None:
        """Write the header, once, before any record; UserError if that fails, since nothing has been run yet."""
        self._redacts = bool(header.get("redacted"))
        data = self.pack(header)
        for start in range(0, len(data), BLOCK_SIZE):
            self._block(b"H", data[start : start + BLOCK_SIZE])
        self._attempt(self._sink.flush)
        if self.failure is not None:
            raise UserError(str(self.failure))
        if self.path is None and self._limit == 0:
            self.truncated = True
            self.pack = _nothing

    def add(self, record: tuple[Any, ...] | list[Any]) -> None:
        """Append one record, in a redacted log without what came from outside: with a key noise can be undone."""
        if self._redacts and record[0] == "external":
            record = (*record[:-1], None)
        if self.tap is not None:
            self.tap(record)
        self.buffer += self.pack(record)
        if len(self.buffer) >= BLOCK_SIZE:
            self.cut()

    def cut(self) -> None:
        """End the block being filled and write it."""
        if not self.buffer:
            return
        if self.path is None and self._sink.tell() + len(self.buffer) > self._limit:
            self.truncated = True
        if not self.truncated:
            self._block(b"R", bytes(self.buffer))
        self.buffer.clear()

    def _block(self, kind: bytes, content: bytes) -> None:
        if self._compressor is not None:
            content = self._compressor.compress(content)
        head = _HEAD.pack(_BLOCK_MAGIC, kind, len(content), zlib.crc32(content))
        self._write(head + _HEAD_CRC.pack(zlib.crc32(head)) + content)

    def _write(self, data: bytes) -> None:
        self._attempt(self._sink.write, data)

    def _attempt(self, action: Callable[..., object], *args: bytes) -> None:
        if self.failure is not None:
            return
        try:
            action(*args)
        except OSError as error:
            self.failure = LogUnwritable(self.path or "log", error)
            if self.on_failure is not None:
                self.on_failure(self.failure)

    def close(self) -> None:
        """Write what is left and close the file; a log in memory stays readable through `source`."""
        self.cut()
        if self.path is None or self._sink.closed:
            return
        self._attempt(self._sink.flush)
        with contextlib.suppress(OSError):  # what could not be written is no news
            self._sink.close()

    @property
    def source(self) -> Path | bytes:
        """What `LogReader` reads this log from."""
        if self.path is not None:
            return self.path
        assert isinstance(self._sink, io.BytesIO)
        return self._sink.getvalue()


def _nothing(record: object) -> bytes:
    return b""


class LogReader:
    """Reads a log as a stream: a log larger than memory is no trouble.

    Args:
        source: a path, or the bytes of a log kept in memory.

    Raises:
        NotALog: no such file, shorter than the magic, or another magic or version.
    """

    def __init__(self, source: str | os.PathLike[str] | bytes) -> None:
        self._source = source
        self.name = "log in memory" if isinstance(source, bytes) else str(source)
        with self._open() as file:
            head = file.read(len(MAGIC) + 2)
        if len(head) < len(MAGIC) + 2 or head[: len(MAGIC)] != MAGIC:
            raise NotALog(f"{self.name}: not an agentsim log")
        if head[len(MAGIC)] != VERSION:
            raise NotALog(f"{self.name}: log version {head[len(MAGIC)]}, this program reads version {VERSION}")
        self._compressed = bool(head[len(MAGIC) + 1] & FLAG_ZSTD)
        self._header: dict[str, Any] | None = None
        self._header_read = False
        self.whole: bool | None = None
        """After reading to the end: whether a result record closed the log. None before that."""
        self.cut_off = False
        """Whether the file ends in the middle of a block or without a result, found by reading to the end."""

    def _open(self) -> BinaryIO:
        if isinstance(self._source, bytes):
            return io.BytesIO(self._source)
        try:
            if not stat.S_ISREG(os.stat(self._source).st_mode):  # opening a pipe would wait for ever
                raise NotALog(f"{self.name}: not a regular file")
            return open(self._source, "rb")
        except OSError as error:
            raise NotALog(f"{self.name}: {error.strerror}") from None
        except ValueError as error:
            raise NotALog(f"{self.name}: not a file name ({error})") from None

    def _blocks(self) -> Iterator[tuple[bytes, int, bytes]]:
        """Yield (kind, offset, content) of each whole block; LogDamaged where checksums fail."""
        with self._open() as file:
            offset = len(MAGIC) + 2
            file.seek(offset)
            while True:
                head = file.read(_HEAD_SIZE)
                if len(head) < _HEAD_SIZE:
                    self.cut_off = self.cut_off or bool(head)
                    return
                magic, kind, length, crc = _HEAD.unpack_from(head)
                (head_crc,) = _HEAD_CRC.unpack_from(head, _HEAD.size)
                if zlib.crc32(head[: _HEAD.size]) != head_crc or magic != _BLOCK_MAGIC:
                    raise LogDamaged(self.name, offset, "block header fails its checksum")
                if length > MAX_BLOCK:
                    raise LogDamaged(self.name, offset, f"block of {length} bytes, more than the {MAX_BLOCK} allowed")
                content = file.read(length)
                if len(content) < length:
                    self.cut_off = True
                    return
                if zlib.crc32(content) != crc:
                    raise LogDamaged(self.name, offset, "block content fails its checksum")
                if self._compressed:
                    content = self._decompress(content, offset)
                yield kind, offset, content
                offset += _HEAD_SIZE + length

    def _decompress(self, content: bytes, offset: int) -> bytes:
        zstandard = _zstd()
        most = min(MAX_BLOCK, (1 << 24) + 1024 * len(content))  # a frame may declare any size and mean it
        try:
            with zstandard.ZstdDecompressor().stream_reader(content) as stream:
                data = bytes(stream.read(most + 1))
        except zstandard.ZstdError as error:
            raise LogDamaged(self.name, offset, f"not a zstd frame ({error})") from None
        if len(data) > most:
            raise LogDamaged(self.name, offset, f"a block of {len(content)} bytes expands to more than {most}")
        return data

    @property
    def header(self) -> dict[str, Any] | None:
        """The header, or None when the log was cut within it; LogDamaged if it makes no sense."""
        if not self._header_read:
            self._header = self._read_header()
            self._header_read = True
        return self._header

    def _read_header(self) -> dict[str, Any] | None:
        unpacker = msgpack.Unpacker(max_buffer_size=MAX_HEADER, ext_hook=msgpack.ExtType)
        for kind, offset, content in self._blocks():
            if kind != b"H":
                raise LogDamaged(self.name, offset, "records begin within the header")
            try:
                unpacker.feed(content)
                header = unpacker.unpack()
            except msgpack.OutOfData:
                continue
            except Exception as error:
                raise LogDamaged(self.name, offset, f"header: {type(error).__name__}") from None
            if not isinstance(header, dict):
                raise LogDamaged(self.name, offset, "header is not a map")
            self._check_depth(header, offset)
            return header
        return None

    def records(self) -> Iterator[tuple[Any, ...]]:
        """Yield every record in order, arrays as tuples.

        Ends quietly where a cut log ends (`cut_off` is then true); LogDamaged at the first block that fails.
        """
        self.whole = False
        closed = False
        for kind, offset, content in self._blocks():
            if kind == b"H":
                continue
            if kind != b"R":
                raise LogDamaged(self.name, offset, f"unknown kind of block {kind!r}")
            unpacker = msgpack.Unpacker(
                use_list=False, max_buffer_size=len(content), ext_hook=msgpack.ExtType, strict_map_key=True
            )
            unpacker.feed(content)
            while unpacker.tell() < len(content):
                try:
                    record = unpacker.unpack()
                except Exception as error:
                    raise LogDamaged(self.name, offset, f"record: {type(error).__name__}") from None
                if not isinstance(record, tuple) or not record:
                    raise LogDamaged(self.name, offset, "a record is not an array")
                self._check(record, offset)
                closed = record[0] == "result"
                yield record
        self.whole = closed and not self.cut_off
        self.cut_off = self.cut_off or not closed

    def _check(self, record: tuple[Any, ...], offset: int) -> None:
        head = record[0]
        shape = _SHAPES["delivery"] if type(head) is int else _SHAPES.get(head) if type(head) is str else None
        if shape is None:
            raise LogDamaged(self.name, offset, f"unknown kind of record {head!r}")
        kind = "delivery" if type(head) is int else head
        if len(record) != len(shape) or not all(map(isinstance, record, shape)):
            raise LogDamaged(self.name, offset, f"malformed {kind} record")
        if kind == "fate" and (record[1] not in FATES or (record[9] is None) == (record[1] in FATES_OF_MESSAGES)):
            raise LogDamaged(self.name, offset, f"malformed fate {record[1]!r}")
        if any(not math.isfinite(record[i]) for i in _TIMES.get(kind, ())):
            raise LogDamaged(self.name, offset, f"{kind} record without a time")
        if kind in _DEEP:
            self._check_depth(record, offset)

    def _check_depth(self, value: object, offset: int) -> None:
        from agentsim.dcop.formats.limits import MAX_DEPTH, too_deep

        if too_deep(value):
            raise LogDamaged(self.name, offset, f"values nested deeper than {MAX_DEPTH} levels")


FATES_OF_MESSAGES: Final = ("dropped", "given up", "undelivered", "altered")
"""Fates that keep the payload."""

FATES: Final = (*FATES_OF_MESSAGES, "duplicated", "packet lost", "retransmitted", "acknowledged")

_TIMES: Final[dict[str, tuple[int, ...]]] = {
    "delivery": (1, 2),
    "fate": (2,),
    **dict.fromkeys(("assign", "bound", "finding", "external", "crash", "restart", "wake", "abandon"), (1,)),
}
"""Where each kind of record has its times, which must be finite."""

_DEEP: Final = ("place", "finding", "external", "result")
"""Records that hold values of any form."""

_REAL = (int, float)
_ANY = object
_SHAPES: Final[dict[str, tuple[Any, ...]]] = {
    "delivery": (int, _REAL, _REAL, int, str, str, str, int, int, int, bytes),
    "fate": (str, str, _REAL, str, str, str, int, int, str, (bytes, type(None))),
    "assign": (str, _REAL, str, int),
    "bound": (str, _REAL, str, (int, float, type(None)), (int, float, type(None))),
    "place": (str, str, _ANY),
    "finding": (str, _REAL, str, _ANY),
    "external": (str, _REAL, str, str, _ANY),
    "crash": (str, _REAL, str),
    "restart": (str, _REAL, str),
    "wake": (str, _REAL, int),
    "abandon": (str, _REAL, str, str, int),
    "result": (str, dict),
}

__all__ = ["BLOCK_SIZE", "LogDamaged", "LogReader", "LogUnwritable", "LogWriter", "NotALog"]
