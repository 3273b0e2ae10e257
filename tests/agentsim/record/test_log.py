"""The log's file format: what is written is read, a cut is told from damage, and nothing hostile costs memory."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentsim import Constraint, Domain, Problem, UserError, Variable, replay, simulate
from agentsim.record.log import BLOCK_SIZE, MAGIC, VERSION, LogDamaged, LogReader, LogWriter, NotALog
from agentsim.runtime.agent import Agent

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


def block(content: bytes, kind: bytes = b"R", *, length: int | None = None, magic: bytes = b"ABLK") -> bytes:
    """One block with right checksums, whatever its content and length say."""
    size = len(content) if length is None else length
    head = struct.pack("<4scII", magic, kind, size, zlib.crc32(content))
    return head + struct.pack("<I", zlib.crc32(head)) + content


def log_of(*blocks: bytes, flags: int = 0) -> bytes:
    return MAGIC + bytes((VERSION, flags)) + b"".join(blocks)


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


# What is written is read ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compress", [False, True], ids=["plain", "zstd"])
def test_every_kind_of_record_comes_back_as_it_went_in(compress: bool) -> None:
    if compress:
        pytest.importorskip("zstandard")
    reader = LogReader(write(ALL_KINDS, compress=compress))
    assert reader.header == HEADER
    assert list(reader.records()) == [
        tuple(tuple(f) if isinstance(f, list) else f for f in r) for r in ALL_KINDS[:-2]
    ] + [
        ("finding", 6.0, "observer", {"leak": 0.25, "who": ("x",)}),
        ALL_KINDS[-1],
    ]
    assert reader.whole is True
    assert reader.cut_off is False


def test_a_file_and_a_log_in_memory_hold_the_same_bytes(tmp_path: Path) -> None:
    path = tmp_path / "run.amlog"
    writer = LogWriter(path)
    writer.header(HEADER)
    for record in ALL_KINDS:
        writer.add(record)
    writer.close()
    assert path.read_bytes() == write(ALL_KINDS)
    assert list(LogReader(path).records()) == read(write(ALL_KINDS))


def test_a_log_can_be_read_again_and_again() -> None:
    reader = LogReader(write(ALL_KINDS))
    assert list(reader.records()) == list(reader.records())


def test_a_path_ending_in_zst_is_compressed_and_smaller(tmp_path: Path) -> None:
    pytest.importorskip("zstandard")
    records = [(i, 0.0, 1.0, 0, "x", "y", "VALUE", i, 0, 0, b"\x91\x02") for i in range(1, 3000)]
    for name in ("a.amlog", "a.amlog.zst"):
        writer = LogWriter(tmp_path / name)
        writer.header(HEADER)
        for record in records:
            writer.add(record)
        writer.close()
    assert list(LogReader(tmp_path / "a.amlog.zst").records()) == records
    assert (tmp_path / "a.amlog.zst").stat().st_size * 3 < (tmp_path / "a.amlog").stat().st_size


def test_blocks_are_cut_by_size_alone() -> None:
    record = (1, 0.0, 1.0, 0, "x", "y", "VALUE", 1, 0, 0, b"z" * 1000)
    size = len(msgpack.packb(record))
    data = write([record] * 100)
    ends = block_ends(data)
    per_block = -(-BLOCK_SIZE // size)  # a block ends with the record that fills it
    lengths = [b - a - HEAD for a, b in pairwise(ends)]  # the first block is the header's
    assert lengths[:-1] == [per_block * size] * (len(lengths) - 1)
    assert sum(lengths) == 100 * size
    assert len(lengths) == 7


def test_a_record_larger_than_a_block_gets_a_block_of_its_own() -> None:
    big = ("finding", 0.0, "o", "y" * (3 * BLOCK_SIZE))
    assert read(write([ALL_KINDS[0], big, ALL_KINDS[2]])) == [ALL_KINDS[0], big, ALL_KINDS[2]]


def test_a_header_of_any_size_is_cut_into_blocks_of_its_own() -> None:
    header = {**HEADER, "problem": "p" * (5 * BLOCK_SIZE + 7)}
    data = write(ALL_KINDS, header)
    assert len(block_ends(data)) == 6 + 1
    reader = LogReader(data)
    assert reader.header == header
    assert len(list(reader.records())) == len(ALL_KINDS)


def test_the_header_is_on_disk_before_the_first_record(tmp_path: Path) -> None:
    """A run that is killed at once leaves a log that says what ran."""
    path = tmp_path / "run.amlog"
    writer = LogWriter(path)
    writer.header(HEADER)
    assert LogReader(path).header == HEADER
    writer.close()


def test_a_log_that_cannot_be_written_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot write the log") as caught:
        LogWriter(tmp_path / "no such folder" / "run.amlog")
    assert "\n" not in str(caught.value)


# A log in memory is bounded ------------------------------------------------------------------------------------------


def test_a_log_in_memory_stops_growing_and_says_so() -> None:
    writer = LogWriter(None, memory_limit=5 * BLOCK_SIZE)
    writer.header(HEADER)
    records = [("assign", float(i), "x", i) for i in range(20_000)]
    for record in records:
        writer.add(record)
    writer.add(("result", {}))
    writer.close()
    assert writer.truncated
    assert isinstance(writer.source, bytes)
    assert 3 * BLOCK_SIZE < len(writer.source) <= 5 * BLOCK_SIZE
    reader = LogReader(writer.source)
    kept = list(reader.records())
    assert kept == records[: len(kept)]
    assert reader.whole is False  # it does not pose as the log of a whole run


def test_a_run_whose_log_outgrew_its_bound_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """What there is of it can be replayed, and is not taken for the whole."""
    monkeypatch.setattr("agentsim.runtime.simulate.LogWriter", partial(LogWriter, memory_limit=2 * BLOCK_SIZE))
    d = Domain("d", tuple(range(4)))
    names = "abcdef"
    rng = np.random.default_rng(0)
    problem = Problem.build(
        [Variable(n, d) for n in names],
        [Constraint(x + y, (x, y), rng.integers(0, 9, (4, 4))) for i, x in enumerate(names) for y in names[:i]],
    )
    result = simulate(problem, "synchbb", carry="best")
    assert result.status == "optimal"
    assert result.log_truncated is True
    outcome = replay(result.log, verify=True)
    assert (outcome.verified, outcome.complete) == (False, False)
    assert 0 < outcome.deliveries < result.messages
    monkeypatch.undo()
    assert simulate(problem, "synchbb", carry="best").log_truncated is False


def test_a_log_within_its_bound_is_not_truncated() -> None:
    writer = LogWriter(None, memory_limit=BLOCK_SIZE)
    writer.header(HEADER)
    writer.add(("result", {}))
    writer.close()
    assert not writer.truncated


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


# What may not be in a log --------------------------------------------------------------------------------------------


class Silent(Agent):
    """Takes value 0 and says nothing, so that nothing but the header can hold a cost."""

    async def run(self) -> None:
        if self.view.size:
            self.assign(0)


def secret_problem() -> Problem:
    d = Domain("d", (0, 1))
    return Problem.build(
        [Variable("x", d, unary=[70_001, 70_002]), Variable("y", d), Variable("z", d, unary=[0.123456789, 5.5])],
        [
            Constraint("c", ("x", "y"), [[70_003, 70_004], [70_005, 70_006]]),
            Constraint("public", ("y", "z"), [[80_001, 80_002], [80_003, 80_004]], known_to="all"),
        ],
        extras={"comment": "x says 70007"},
    )


def encodings(cost: float) -> list[bytes]:
    """Every form in which a cost may stand in a header: table cell or msgpack number."""
    found = [struct.pack("<f", cost), struct.pack("<d", cost), struct.pack(">d", cost), str(cost).encode()]
    if cost == int(cost):
        found += [struct.pack("<i", int(cost)), struct.pack(">i", int(cost))]
    return found


@pytest.mark.parametrize("to_file", [False, True])
def test_redact_leaves_no_private_cost_in_the_log(to_file: bool, tmp_path: Path) -> None:
    path = tmp_path / "run.amlog" if to_file else None
    private = [70_001, 70_002, 70_003, 70_004, 70_005, 70_006, 70_007, 0.123456789]

    def log(redact: bool) -> bytes:
        result = simulate(secret_problem(), Silent, log=path, redact=redact)
        return path.read_bytes() if path is not None else result.log._source  # type: ignore[return-value]

    told = log(redact=False)
    # The search finds costs where they are: each private cost is in the log that is not redacted.
    assert all(any(e in told for e in encodings(c)) for c in private[:6])
    redacted = log(redact=True)
    assert [c for c in private if any(e in redacted for e in encodings(c))] == []
    assert all(any(e in redacted for e in encodings(c)) for c in (80_001, 80_004))  # everybody knows these
    assert LogReader(redacted).header["redacted"] is True  # type: ignore[index]


RUN = """
import sys
from agentsim import Constraint, Domain, Problem, Variable, simulate
d = Domain("d", (0, 1, 2))
p = Problem.build([Variable(n, d, unary=[1, 0, 2]) for n in "abc"], [Constraint("c", ("a", "b"), [[1, 2, 0]] * 3)])
simulate(p, "synchbb", seed=5, network="uniform:1,3", log=sys.argv[1], timeout=float(sys.argv[2]))
"""


def test_nothing_of_clock_path_host_or_process_is_in_a_log(tmp_path: Path) -> None:
    """Two processes, folders, file names, time zones, hosts and moments: the same bytes."""
    logs = []
    for k, zone in enumerate(("UTC", "Asia/Tokyo")):
        folder = tmp_path / f"folder{k}"
        folder.mkdir()
        path = folder / f"run{k}.amlog"
        env = {**os.environ, "TZ": zone, "HOSTNAME": f"host{k}", "USER": f"user{k}", "PYTHONHASHSEED": str(k)}
        command = [sys.executable, "-c", RUN, str(path), str(100 + k)]
        subprocess.run(command, check=True, cwd=folder, env=env, timeout=60)
        logs.append(path.read_bytes())
    assert logs[0] == logs[1]
    assert str(tmp_path).encode() not in logs[0]
