"""The log's file format: what is written is read, a log in memory is bounded, and what may not be in a log is not."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from functools import partial
from itertools import pairwise
from pathlib import Path

import msgpack
import numpy as np
import pytest

from agentsim import Constraint, Domain, Problem, UserError, Variable, replay, simulate
from agentsim.record.log import BLOCK_SIZE, LogReader, LogWriter
from agentsim.runtime.agent import Agent
from tests.agentsim.record.writing import ALL_KINDS, HEAD, HEADER, block_ends, read, write

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
