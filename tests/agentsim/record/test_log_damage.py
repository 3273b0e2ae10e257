"""The log's reader: a cut is told from damage, and nothing hostile costs memory."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentsim import UserError
from agentsim.record.log import BLOCK_SIZE, MAGIC, VERSION, LogDamaged, LogReader, LogWriter, NotALog
from tests.agentsim.record.writing import ALL_KINDS, HEAD, HEADER, START, block_ends, read, write


def block(content: bytes, kind: bytes = b"R", *, length: int | None = None, magic: bytes = b"ABLK") -> bytes:
    """One block with right checksums, whatever its content and length say."""
    size = len(content) if length is None else length
    head = struct.pack("<4scII", magic, kind, size, zlib.crc32(content))
    return head + struct.pack("<I", zlib.crc32(head)) + content


def log_of(*blocks: bytes, flags: int = 0) -> bytes:
    return MAGIC + bytes((VERSION, flags)) + b"".join(blocks)


# A file that was cut -------------------------------------------------------------------------------------------------


def check_prefix(data: bytes, cut: int) -> None:
    """A log cut after `cut` bytes reads up to its last whole block and raises nothing but NotALog."""
    if cut < START:
        with pytest.raises(NotALog):
            LogReader(data[:cut])
        return
    reader = LogReader(data[:cut])
    header_blocks = [end for end, kind in _kinds(data) if kind == b"H"]
    assert reader.header == (HEADER if cut >= header_blocks[-1] else None)
    kept = list(reader.records())
    whole = max([START, *(e for e in block_ends(data) if e <= cut)])
    assert kept == read(data[:whole])
    assert kept == read(data)[: len(kept)]
    if cut < len(data):
        assert reader.whole is False
        assert reader.cut_off is True
    else:
        assert reader.whole is True


def _kinds(data: bytes) -> Iterator[tuple[int, bytes]]:
    start = START
    for end in block_ends(data):
        yield end, data[start + 4 : start + 5]
        start = end


def test_a_small_log_cut_at_any_byte_is_read_up_to_its_last_whole_block() -> None:
    writer = LogWriter(None)
    writer.header(HEADER)
    for record in ALL_KINDS:  # a block for each record, so that cuts fall between them too
        writer.add(record)
        writer.cut()
    data = writer.source
    assert isinstance(data, bytes)
    assert len(block_ends(data)) == 1 + len(ALL_KINDS)
    for cut in range(len(data) + 1):
        check_prefix(data, cut)


BIG_HEADER_LOG = write(
    [(i, 0.0, float(i), 0, "x", "y", "VALUE", i, 0, 0, b"p" * (i % 700)) for i in range(1, 300)] + [("result", {})]
)


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, len(BIG_HEADER_LOG)))
def test_a_larger_log_cut_at_any_byte(cut: int) -> None:
    check_prefix(BIG_HEADER_LOG, cut)


@settings(max_examples=30, deadline=None)
@given(cut=st.integers(START, 2 * BLOCK_SIZE + 60))
def test_a_long_header_cut_at_any_byte_is_no_header_and_no_damage(cut: int) -> None:
    data = write([], {**HEADER, "problem": "p" * (2 * BLOCK_SIZE)})
    assert cut < len(data)
    reader = LogReader(data[:cut])
    assert reader.header is None
    assert list(reader.records()) == []


def test_a_compressed_log_cut_at_any_byte() -> None:
    pytest.importorskip("zstandard")
    data = write(ALL_KINDS, compress=True)
    for cut in range(START, len(data)):
        reader = LogReader(data[:cut])
        assert reader.header in (None, HEADER)
        assert list(reader.records()) == []
        assert reader.cut_off or cut in (START, block_ends(data)[0])


@pytest.mark.parametrize("data", [b"", b"AMLOG", b"AMLOG\x00", b"AMLOG\x00\x01", b"PK\x03\x04" * 10, b"name: x\n" * 9])
def test_what_is_not_a_log_is_said_not_to_be_one(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(data)
    with pytest.raises(NotALog, match="not an agentsim log") as caught:
        LogReader(path)
    assert isinstance(caught.value, UserError)


def test_another_version_is_refused_by_its_number() -> None:
    with pytest.raises(NotALog, match="version 9"):
        LogReader(MAGIC + b"\x09\x00")


def test_a_file_that_does_not_exist_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(NotALog, match="No such file"):
        LogReader(tmp_path / "none.amlog")


# A file that was damaged ---------------------------------------------------------------------------------------------


def damage_of(data: bytes) -> LogDamaged | None:
    reader = LogReader(data)
    try:
        header = reader.header
        assert header is None or isinstance(header, dict)
        list(reader.records())
    except LogDamaged as error:
        return error
    return None


def test_a_flipped_bit_anywhere_in_any_block_is_told_as_damage() -> None:
    data = write(ALL_KINDS)
    for at in range(START, len(data)):
        for bit in (0x01, 0x80):
            flipped = bytearray(data)
            flipped[at] ^= bit
            error = damage_of(bytes(flipped))
            assert error is not None, f"bit {bit:#x} of byte {at}"
            assert error.offset in (START, block_ends(data)[0])


@pytest.mark.parametrize("at", range(4))
@pytest.mark.parametrize("bit", [0x01, 0x10, 0x80])
def test_a_flipped_length_is_damage_and_not_a_cut(at: int, bit: int) -> None:
    """The length may now point behind the file's end; the block header's own checksum tells."""
    data = bytearray(write(ALL_KINDS))
    last = block_ends(bytes(data))[-2]
    data[last + 5 + at] ^= bit
    reader = LogReader(bytes(data))
    with pytest.raises(LogDamaged, match="block header") as caught:
        list(reader.records())
    assert caught.value.offset == last


def test_damage_behind_the_header_does_not_take_the_header_away() -> None:
    """What ran can be told although what happened cannot."""
    data = bytearray(write(ALL_KINDS))
    data[block_ends(bytes(data))[0] + 5] ^= 1
    reader = LogReader(bytes(data))
    assert reader.header == HEADER
    with pytest.raises(LogDamaged):
        list(reader.records())


def test_the_whole_blocks_before_the_damage_are_read() -> None:
    data = bytearray(BIG_HEADER_LOG)
    ends = block_ends(bytes(data))
    data[ends[1] + HEAD + 5] ^= 1  # in the third block
    seen: list[Any] = []
    with pytest.raises(LogDamaged, match="content") as caught:
        seen.extend(LogReader(bytes(data)).records())
    assert caught.value.offset == ends[1]
    assert seen == read(bytes(data[: ends[1]]))
    assert seen


def test_a_header_of_wrong_blocks_is_damage_each_time_it_is_asked_for() -> None:
    """Not damaged at first and then, asked again, "cut within the header"."""
    data = bytearray(write(ALL_KINDS))
    data[START + HEAD + 3] ^= 1
    reader = LogReader(bytes(data))
    for _ in range(2):
        with pytest.raises(LogDamaged):
            _ = reader.header


def test_an_incomplete_header_followed_by_records_is_damage() -> None:
    header = msgpack.packb(HEADER)
    data = log_of(block(header[:-1], b"H"), block(msgpack.packb(ALL_KINDS[2])))
    with pytest.raises(LogDamaged, match="header"):
        _ = LogReader(data).header


@pytest.mark.parametrize("content", [msgpack.packb([1, 2]), msgpack.packb("x"), b"\xc1", msgpack.packb({1: 2})])
def test_a_header_that_is_no_map_of_names_is_damage(content: bytes) -> None:
    with pytest.raises(LogDamaged, match="header"):
        _ = LogReader(log_of(block(content, b"H"))).header


@pytest.mark.parametrize("kind", [b"h", b"X", b"\x00"])
def test_an_unknown_kind_of_block_is_damage(kind: bytes) -> None:
    with pytest.raises(LogDamaged, match="kind of block"):
        read(log_of(block(b"", kind)))


GOOD = (1, 0.0, 1.0, 0, "x", "y", "VALUE", 1, 0, 0, b"\x90")
HOSTILE: list[Any] = [
    5,
    "assign",
    {"a": 1},
    [],
    [None],
    [b"assign", 0.0, "x", 1],
    [True, *GOOD[1:]],
    [1.0, *GOOD[1:]],
    GOOD[:-1],
    [*GOOD, 1],
    *(
        [*GOOD[:i], wrong, *GOOD[i + 1 :]]
        for i, wrong in enumerate(["1", "0", None, 0.5, 1, b"y", 3, "1", [], {}, "p"])
    ),
    ["unheard", 1],
    ["assign"],
    ["assign", 0.0, "x", "1"],
    ["assign", 0.0, 5, 1],
    ["bound", 0.0, "x", "1", None],
    ["fate", "dropped", 0.0, "x", "y", "VALUE", 1, 0, "loss", 5],
    ["crash", "now", "x"],
    ["restart", 1.0],
    ["wake", None, 0],
    ["abandon", 0.0, "x", 1, 1],
    ["finding", 0.0, 1, 1],
    ["place", 1, 1],
    ["external", 0.0, "x", 1, 1],
    ["result", [1]],
    ["result"],
]


@pytest.mark.parametrize("record", HOSTILE, ids=lambda r: repr(r)[:60])
def test_a_record_of_another_shape_is_damage(record: Any) -> None:
    with pytest.raises(LogDamaged):
        read(log_of(block(msgpack.packb(ALL_KINDS[0]) + msgpack.packb(record))))


@pytest.mark.parametrize("field", [1, 2])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_delivery_at_no_time_is_damage(field: int, value: float) -> None:
    """Times order the log: NaN is not even equal to itself, and a replay that waited for it would not end."""
    with pytest.raises(LogDamaged):
        read(log_of(block(msgpack.packb([*GOOD[:field], value, *GOOD[field + 1 :]]))))


@pytest.mark.parametrize("kind", ["crash", "restart", "wake", "assign", "bound"])
def test_an_event_at_no_time_is_damage(kind: str) -> None:
    rest = {"crash": ["x"], "restart": ["x"], "wake": [0], "assign": ["x", 1], "bound": ["x", 1, 2]}[kind]
    with pytest.raises(LogDamaged):
        read(log_of(block(msgpack.packb([kind, float("nan"), *rest]))))


@pytest.mark.parametrize(
    "content",
    [
        b"\xc1",  # never used by msgpack
        b"\x93\x01",  # array of three, one there
        b"\x91" * 5000,  # nested beyond any stack
        b"\xdd\xff\xff\xff\xff\x01",  # array of 2^32 - 1
        b"\xdf\xff\xff\xff\xff\x01",  # map of 2^32 - 1
        b"\xc6\xff\xff\xff\xff\x01",  # bytes of 4 GiB
        b"\xdb\xff\xff\xff\xff\x01",  # text of 4 GiB
        b"\xc9\xff\xff\xff\xff\x01\x01",  # extension of 4 GiB
        b"\xd9\x02\xff\xff",  # text that is not UTF-8
        msgpack.packb(["finding", 0.0, "o", {1: 2}]),
    ],
    ids=lambda c: c[:6].hex(" "),
)
def test_content_that_is_not_msgpack_is_damage_and_allocates_nothing(content: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(LogDamaged):
            read(log_of(block(content)))
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@settings(max_examples=150, deadline=None)
@given(content=st.binary(max_size=60))
def test_any_bytes_with_a_right_checksum_are_read_or_damage(content: bytes) -> None:
    for kind in (b"R", b"H"):
        reader = LogReader(log_of(block(content, kind)))
        try:
            _ = reader.header
            list(reader.records())
        except LogDamaged:
            pass


@settings(max_examples=150, deadline=None)
@given(tail=st.binary(max_size=80))
def test_any_bytes_behind_the_magic_are_read_or_damage(tail: bytes) -> None:
    reader = LogReader(log_of(tail))
    try:
        assert reader.header is None
        assert list(reader.records()) == []
    except LogDamaged:
        pass


@pytest.mark.parametrize("length", [1 << 20, (1 << 32) - 1])
def test_a_huge_length_allocates_nothing(length: int, tmp_path: Path) -> None:
    """With a right checksum a length is believed; what is not in the file is a cut, or more than a block may hold."""
    path = tmp_path / "x.amlog"
    path.write_bytes(log_of(block(b"\x90", length=length)))
    tracemalloc.start()
    try:
        reader = LogReader(path)
        if length > 1 << 31:
            with pytest.raises(LogDamaged, match="more than"):
                list(reader.records())
        else:
            assert list(reader.records()) == []
            assert reader.cut_off
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


# Compressed blocks ---------------------------------------------------------------------------------------------------


def test_a_compressed_block_that_is_no_frame_is_damage() -> None:
    pytest.importorskip("zstandard")
    with pytest.raises(LogDamaged, match="zstd"):
        read(log_of(block(b"no frame at all"), flags=1))


def test_a_frame_that_declares_a_huge_size_is_damage_and_allocates_nothing() -> None:
    pytest.importorskip("zstandard")
    for size in (1 << 40, 1 << 62):
        frame = b"\x28\xb5\x2f\xfd\xe0" + size.to_bytes(8, "little") + b"\x01\x00\x00"  # single segment, empty block
        with pytest.raises(LogDamaged):
            read(log_of(block(frame), flags=1))
