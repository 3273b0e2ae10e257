"""Logs that are written block by block, for the tests of the format."""

from __future__ import annotations

import struct
from typing import Any

from agentsim.record.log import MAGIC, LogReader, LogWriter

START = len(MAGIC) + 2  # magic, version, flags
HEAD = 17  # "ABLK", kind, length, CRC of the content, CRC of these 13 bytes

# One record of every kind that the format's table lists.
ALL_KINDS: list[tuple[Any, ...]] = [
    ("place", "x", {"parent": None, "depth": 0}),
    ("external", 0.0, "x", "coin", 17),
    ("assign", 0.0, "x", 2),
    ("bound", 0.0, "x", 1, None),
    ("bound", 0.0, "x", -0.5, float("inf")),
    (1, 0.0, 1.5, 0, "x", "y", "VALUE", 1, 0, 4, b"\x91\x02"),
    (2, 0, 2, 3, "é:+|", "y", "VALUE", 7, 1, 1 << 40, b""),
    ("fate", "dropped", 1.0, "x", "y", "VALUE", 2, 0, "loss", b"\x91\x03"),
    ("fate", "acknowledged", 1.0, "x", "y", "VALUE", 2, 0, "reliable", None),
    ("crash", 3.0, "x"),
    ("restart", 4.0, "x"),
    ("wake", 4.5, 0),
    ("abandon", 5.0, "y", "too much", 3),
    ("finding", 6.0, "observer", {"leak": 0.25, "who": ["x"]}),
    ("result", {"status": "optimal", "cost": 3, "assignment": {"x": 2}}),
]
HEADER: dict[str, Any] = {"solver": "nobody", "seed": 3, "params": {}, "problem": {"name": "p"}}


def write(records: list[Any], header: dict[str, Any] | None = HEADER, **options: Any) -> bytes:
    writer = LogWriter(None, **options)
    if header is not None:
        writer.header(header)
    for record in records:
        writer.add(record)
    writer.close()
    assert isinstance(writer.source, bytes)
    return writer.source


def block_ends(data: bytes) -> list[int]:
    """Where each block ends, found without the reader."""
    ends, at = [], START
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at + 5)
        at += HEAD + length
        ends.append(at)
    return ends


def read(data: bytes) -> list[tuple[Any, ...]]:
    return list(LogReader(data).records())
