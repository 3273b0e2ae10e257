"""Logs made of any bytes: with magic, blocks and right checksums, so that what is in the blocks is what is tried.

The records of a log are written as bytes whose first one says how they are framed: bit 0 for zstd, bit 1 for a cut at
the end, the others for how many bytes go into one block.
"""

from __future__ import annotations

import functools
import struct
import zlib
from typing import Final

import msgpack

from agentsim.record.log import FLAG_ZSTD, MAGIC, VERSION, LogReader

_HEAD: Final = struct.Struct("<4scII")
END: Final = msgpack.packb(("result", {}))


@functools.cache
def _zstd() -> object:
    import zstandard

    return zstandard.ZstdCompressor(level=1)


def block(kind: bytes, content: bytes, *, compressed: bool = False) -> bytes:
    """Return a block with the checksums it should have."""
    if compressed:
        content = _zstd().compress(content)  # type: ignore[attr-defined]
    head = _HEAD.pack(b"ABLK", kind, len(content), zlib.crc32(content))
    return head + struct.pack("<I", zlib.crc32(head)) + content


def log(records: bytes, header: bytes) -> bytes:
    """Return a log of these records, framed as their first byte says."""
    how, content = (records[0], records[1:]) if records else (0, b"")
    compressed = bool(how & 1)
    parts = [MAGIC + bytes((VERSION, FLAG_ZSTD if compressed else 0)), block(b"H", header, compressed=compressed)]
    size = 1 << (4 + (how >> 4)) if how >> 4 else len(content) or 1
    parts += [block(b"R", content[i : i + size], compressed=compressed) for i in range(0, len(content), size)]
    whole = b"".join(parts)
    return whole[: -1 - len(content) // 3] if how & 2 else whole


def taken_apart(whole: bytes) -> tuple[bytes, bytes]:
    """Return the packed header and the packed records of a log in memory."""
    found = {b"H": b"", b"R": b""}
    for kind, _, content in LogReader(whole)._blocks():
        found[kind] += content
    return found[b"H"], found[b"R"]
