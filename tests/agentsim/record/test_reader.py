"""Reading a log: deliveries one by one, the solver's class found by name, counts, a data frame."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from agentsim import Constraint, Domain, Problem, UserError, Variable, open_log, simulate
from agentsim.record.log import LogDamaged, LogWriter
from agentsim.record.reader import Log
from agentsim.runtime.agent import Agent
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.messages import Array, message
from agentsim.runtime.observer import Observer
from solvers.synchbb import Back, Fwd, SynchBB


@message("NOTE")
class Note(NamedTuple):
    table: Array
    who: tuple[str, ...]


class Noter(Agent):
    """A solver that is not registered: every node sends each neighbour one note, and ends with the last that comes."""

    messages = (Note,)

    async def run(self) -> None:
        self.broadcast(Note(np.arange(3), (self.name,)))
        await self.gather(Note)
        self.assign(0)


class Seen(Observer):
    name = "seen"

    def start(self) -> None:
        self.seqs: list[int] = []

    def observe(self, delivery: Delivery) -> None:
        self.seqs.append(delivery.seq)
        if delivery.seq == 2:
            self.report("two")

    def findings(self) -> Any:
        return self.seqs


def problem() -> Problem:
    d = Domain("d", (0, 1, 2))
    return Problem.build(
        [Variable(n, d, unary=[2, 0, 1]) for n in "abc"],
        [Constraint("ab", ("a", "b"), [[1, 2, 0]] * 3), Constraint("bc", ("b", "c"), [[0, 2, 1]] * 3)],
        name="chain",
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.amlog"


def test_iterating_a_log_gives_its_deliveries_in_order(path: Path) -> None:
    result = simulate(problem(), "synchbb", seed=1, network="uniform:1,10", log=path)
    deliveries = list(open_log(path))
    assert [d.seq for d in deliveries] == list(range(1, len(deliveries) + 1))
    assert len(deliveries) == result.messages
    assert all(isinstance(d.message, (Fwd, Back, SynchBB.messages[2])) for d in deliveries)
    assert all(d.sent_at + 1 <= d.delivered_at <= d.sent_at + 10 for d in deliveries)
    assert all((a.delivered_at, a.step) <= (b.delivered_at, b.step) for a, b in pairwise(deliveries))
    assert deliveries == list(result.log) == list(open_log(path))


def test_a_delivery_is_its_record_and_the_message(path: Path) -> None:
    simulate(problem(), "synchbb", log=path)
    log = open_log(path)
    records = [r for r in log.records() if type(r[0]) is int]
    assert [tuple(d[:-1]) for d in log] == records
    assert Delivery._fields[:-1] == (
        "seq", "sent_at", "delivered_at", "step", "src", "dst", "type", "n", "copy", "stamp", "payload",
    )  # fmt: skip


def test_the_solver_is_found_by_the_name_in_the_header(path: Path) -> None:
    simulate(problem(), "synchbb", log=path)
    assert open_log(path).solver is SynchBB


def test_a_solver_that_is_not_registered_can_be_given(path: Path) -> None:
    simulate(problem(), Noter, log=path)
    assert [d.message for d in open_log(path)] == [None] * 4  # bytes without a reader for them
    first = next(iter(open_log(path, Noter)))
    assert isinstance(first.message, Note)
    assert first.message.table.tolist() == [0, 1, 2]
    assert not first.message.table.flags.writeable


def test_a_results_log_knows_a_solver_that_is_not_registered() -> None:
    assert {type(d.message) for d in simulate(problem(), Noter).log} == {Note}


def test_the_problem_of_a_log_is_the_one_that_ran(path: Path) -> None:
    simulate(problem(), "synchbb", log=path)
    read = open_log(path).problem
    assert (read.name, list(read.variables), list(read.constraints)) == ("chain", ["a", "b", "c"], ["ab", "bc"])
    for one, other in zip(read.functions(), problem().functions(), strict=True):
        assert one[0] == other[0]
        assert np.array_equal(one[1], other[1])


def test_the_header_says_all_that_replay_needs(path: Path) -> None:
    network = "uniform:1,2+reliable"
    simulate(problem(), "synchbb", seed=9, network=network, check_cost=0.5, carry="best", log=path, observers=[Seen])
    header = open_log(path).header
    assert header is not None
    assert (header["solver"], header["seed"], header["network"]) == ("synchbb", 9, network)
    assert header["check_cost"] == 0.5
    assert header["params"] == {"root": None, "order": None, "carry": "best"}  # all of them, given or not
    assert header["observers"] == ["seen"]
    assert header["nodes"] == {"a": "a", "b": "b", "c": "c"}
    assert sorted(n for order in header["places"]["orders"] for n in order) == ["a", "b", "c"]
    assert {"package", "problem", "offsets", "floors", "replaced", "interceptors", "redacted"} <= set(header)


def test_the_summary_counts_what_is_in_the_log(path: Path) -> None:
    network = "uniform:1,2+loss:.3+reliable"
    result = simulate(problem(), "synchbb", seed=4, network=network, log=path, observers=[Seen])
    summary = open_log(path).summary()
    assert summary["whole"] is True
    assert summary["damaged"] is None
    assert summary["deliveries"] == result.messages
    assert summary["by_type"] == {name: metrics.count for name, metrics in result.by_type.items()}
    assert summary["fates"]["packet lost"] == result.transport["lost"] > 0
    assert summary["fates"]["retransmitted"] == result.transport["retransmitted"] > 0
    assert summary["findings"] == {"seen": tuple(range(1, result.messages + 1))}
    assert summary["result"]["cost"] == result.cost
    assert summary["header"]["seed"] == 4


def test_the_summary_of_a_cut_log(path: Path) -> None:
    simulate(problem(), "synchbb", log=path)
    path.write_bytes(path.read_bytes()[:-1])
    summary = open_log(path).summary()
    assert (summary["whole"], summary["damaged"], summary["result"]) == (False, None, None)
    assert summary["header"]["solver"] == "synchbb"


def test_the_summary_of_a_log_cut_within_its_header(path: Path) -> None:
    simulate(problem(), "synchbb", log=path)
    path.write_bytes(path.read_bytes()[:100])
    summary = open_log(path).summary()
    assert (summary["whole"], summary["damaged"], summary["header"], summary["deliveries"]) == (False, None, None, 0)
    with pytest.raises(UserError, match="cut off within its header"):
        _ = open_log(path).problem


def test_the_summary_of_a_damaged_log_says_where(path: Path) -> None:
    simulate(problem(), "synchbb", log=path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    summary = open_log(path).summary()
    assert summary["whole"] is False
    assert "damaged at byte" in summary["damaged"]


def relogged(log: Log, change: Any) -> bytes:
    """A log with right checksums whose records `change` has been through."""
    writer = LogWriter(None)
    writer.header(log.header or {})
    for record in log.records():
        writer.add(change(record))
    writer.close()
    assert isinstance(writer.source, bytes)
    return writer.source


@pytest.mark.parametrize(
    ("at", "value", "says"),
    [(10, b"\x90", "0 fields"), (10, b"", "msgpack"), (6, "UNHEARD", "unknown message type 'UNHEARD'")],
)
def test_a_payload_that_is_no_message_of_the_solver_is_damage(at: int, value: Any, says: str) -> None:
    log = simulate(problem(), "synchbb").log

    def change(record: tuple[Any, ...]) -> tuple[Any, ...]:
        return (*record[:at], value, *record[at + 1 :]) if record[0] == 3 else record

    with pytest.raises(LogDamaged, match=says) as caught:
        list(Log(relogged(log, change)))
    assert "delivery 3" in str(caught.value)


def test_iterating_a_cut_log_ends_quietly(path: Path) -> None:
    result = simulate(problem(), "synchbb", log=path)
    path.write_bytes(path.read_bytes()[:-3])
    log = open_log(path)
    assert len(list(log)) < result.messages
    assert (log.whole, log.cut_off) == (False, True)


def test_to_frame_has_a_column_for_each_field(path: Path) -> None:
    pytest.importorskip("pandas")
    result = simulate(problem(), "synchbb", log=path)
    frame = open_log(path).to_frame()
    assert list(frame.columns) == list(Delivery._fields[:-1])
    assert len(frame) == result.messages
    assert frame["type"].value_counts().to_dict() == {n: m.count for n, m in result.by_type.items()}
    assert frame["seq"].tolist() == list(range(1, result.messages + 1))


def test_a_log_streams_in_memory_that_does_not_grow_with_it(path: Path) -> None:
    """A log ten times as long takes no more memory to read."""
    import tracemalloc

    header = simulate(problem(), Noter).log.header or {}
    peaks = []
    for n in (2_000, 20_000):
        writer = LogWriter(path)
        writer.header(header)
        for i in range(1, n + 1):
            writer.add((i, 0.0, 1.0, 0, "a", "b", "NOTE", i, 0, 0, bytes(100)))
        writer.close()
        log = open_log(path)
        tracemalloc.start()
        assert sum(1 for _ in log.records()) == n
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0] < 2 << 20
