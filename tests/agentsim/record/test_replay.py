"""Replay: verify passes on what agents did and on nothing else; observe gives the findings of the live run."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentsim import (
    AgentSimError,
    Alter,
    Constraint,
    Delay,
    Domain,
    Drop,
    Envelope,
    Problem,
    UserError,
    Variable,
    replay,
    simulate,
)
from agentsim.record.log import LogWriter
from agentsim.record.replay import ReplayResult
from agentsim.runtime.agent import Agent
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.messages import message
from agentsim.runtime.observer import Observer
from agentsim.runtime.result import Result
from agentsim.testing import random_problem
from solvers.synchbb import Fwd, SynchBB


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail if the block takes longer, even where an endless loop catches what is raised in it."""
    late: list[bool] = []

    def ring(signum: int, frame: object) -> None:
        late.append(True)
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except KeyboardInterrupt:
        assert late, "somebody pressed Ctrl-C"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert not late, f"not done in {seconds:g} s"


@pytest.fixture(autouse=True)
def _no_hang() -> Iterator[None]:
    """A replay that never ends fails its test, and the others run."""
    with within(90):
        yield


@message("CHAT")
class Chat(NamedTuple):
    left: int
    word: float


@message("WHISPER")
class Whisper(NamedTuple):
    """The same fields under another name."""

    left: int
    word: float


class Chatter(Agent):
    """Everybody talks at once, to neighbours and to nodes of the same owner; random values, bounds and checks."""

    messages = (Chat, Whisper)

    def start(self) -> None:
        self.heard, self.batches = 0.0, 0
        self.talk(3)

    def talk(self, left: int) -> None:
        for name in (*self.view.neighbours, *self.view.siblings):
            self.send(name, Chat(left, self.rng.random()))

    def on_chat(self, sender: str, chat: Chat) -> None:
        self.check(1 + int(3 * chat.word))
        self.heard += chat.word
        self.last = sender, chat.left

    on_whisper = on_chat

    def decide(self) -> None:
        self.batches += 1
        if self.view.size and self.rng.random() < 0.4:
            self.assign(self.rng.integer(self.view.size))
        if self.rng.random() < 0.2:
            self.bound(lower=self.heard)
        sender, left = self.last
        if left and self.rng.random() < 0.9:
            self.send(sender, Chat(left - 1, self.heard))
        if self.batches > 10:
            self.finish()


class Sleeper(Chatter):
    """Chatter that also speaks, and changes its value, when nothing comes: timers open instants of their own."""

    async def run(self) -> None:
        self.start()
        while not self.finished:
            try:
                async with self.timeout(self.rng.uniform(0.5, 6)):
                    for sender, chat in await self.drain():
                        self.on_chat(sender, chat)
                self.decide()
            except TimeoutError:
                self.batches += 1
                if self.rng.random() < 0.6:
                    self.talk(0)
                if self.view.size and self.rng.random() < 0.3:
                    self.assign(self.rng.integer(self.view.size))
                if self.rng.random() < 0.2:
                    await self.sleep(self.rng.uniform(0, 3))
                if self.batches > 10:
                    self.finish()


def chain() -> Problem:
    d = Domain("d", (0, 1, 2))
    return Problem.build(
        [Variable(n, d, unary=[2, 0, 1]) for n in "abc"],
        [Constraint("ab", ("a", "b"), [[1, 2, 0]] * 3), Constraint("bc", ("b", "c"), [[0, 2, 1]] * 3)],
    )


def shared_owners() -> Problem:
    """Owners A (two variables), B and C, all constrained with each other."""
    d = Domain("d", (0, 1))
    owners = {"a1": "A", "b1": "B", "a2": "A", "c1": "C", "b2": "B"}
    pairs = [(x, y) for x in owners for y in owners if x < y]
    return Problem.build(
        [Variable(n, d, agent) for n, agent in owners.items()],
        [Constraint(f"{x}{y}", (x, y), [[1, 0], [0, 2]]) for x, y in pairs],
    )


def verified(result: Result, solver: type[Agent] | None = None) -> ReplayResult:
    with within(10):
        return replay(result.log, verify=True, solver=solver)


# Verify passes on every run -------------------------------------------------------------------------------------------

PLAIN = ["unit", "constant:2.5", "uniform:1,10", "exponential:3", "lognormal:0,1"]
RELIABLE = ["uniform:1,4+loss:.3+duplicate:.2+reorder+reliable", "unit+loss:.4+reliable", "unit+slow:{0}*3"]
FAULTY = [
    "unit+loss:.15",
    "exponential:2+duplicate:.3",
    "uniform:1,9+reorder",
    "uniform:1,3+loss:.2+duplicate:.2+reorder",
    "unit+crash:{0}@3",
    "unit+crash:{0}@3-6",
    "uniform:1,4+crash:{0}@2-7+crash:{1}@5-6",
    "uniform:1,4+reliable+crash:{0}@3-9",
    "unit+partition:{0}|{1}@1-4",
]
INSTANT = ["constant:0", "constant:0+reorder", "uniform:0,1"]


def network_for(text: str, problem: Problem, seed: int) -> str:
    agents = problem.agents
    return text.format(agents[seed % len(agents)], agents[(seed // 2) % len(agents)])


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    network=st.sampled_from([*PLAIN, *RELIABLE, "constant:0"]),
    check_cost=st.sampled_from([0.0, 1.0, 0.3]),
    carry=st.sampled_from(["none", "best"]),
)
def test_verify_passes_on_synchbb(seed: int, network: str, check_cost: float, carry: str) -> None:
    problem = random_problem(np.random.default_rng(seed), max_variables=5)
    network = network_for(network, problem, seed)
    result = simulate(problem, "synchbb", seed=seed, network=network, check_cost=check_cost, carry=carry)
    assert result.status in ("optimal", "infeasible")
    outcome = verified(result)
    assert outcome.first_difference is None
    assert outcome.verified is True
    assert outcome.complete is True
    assert outcome.deliveries == sum(1 for _ in result.log)


@settings(max_examples=70, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    network=st.sampled_from([*PLAIN, *RELIABLE, *FAULTY, *INSTANT]),
    check_cost=st.sampled_from([0.0, 1.0, 0.3]),
)
def test_verify_passes_where_everybody_talks_at_once(seed: int, network: str, check_cost: float) -> None:
    problem = random_problem(np.random.default_rng(seed), max_variables=6)
    network = network_for(network, problem, seed)
    result = simulate(problem, Chatter, seed=seed, network=network, check_cost=check_cost)
    assert verified(result, Chatter).first_difference is None


@pytest.mark.parametrize("check_cost", [0.0, 1.0, 0.3])
@pytest.mark.parametrize("network", [*PLAIN, *RELIABLE, *FAULTY, *INSTANT])
def test_verify_passes_where_timers_open_instants(network: str, check_cost: float) -> None:
    """A message sent by a timer may be lost, or still be on its way at the end, without any delivery in between."""
    for seed in range(6):
        problem = random_problem(np.random.default_rng(seed), max_variables=5)
        spec = network_for(network, problem, seed)
        result = simulate(problem, Sleeper, seed=seed, network=spec, check_cost=check_cost)
        assert verified(result, Sleeper).first_difference is None, f"seed {seed}, {spec}"


@pytest.mark.parametrize("seed", range(12))
def test_verify_passes_where_a_crash_loses_one_of_many_at_the_same_moment(seed: int) -> None:
    """What is lost at its arrival stands in the log between two deliveries of one instant, which stays one instant."""
    between = 0
    for agent in "AB":
        result = simulate(shared_owners(), Chatter, seed=seed, network=f"unit+crash:{agent}@1")
        records = list(result.log.records())
        between += sum(
            r[0] == "fate" and type(a[0]) is int and type(b[0]) is int and a[2:4] == b[2:4]
            for a, r, b in zip(records, records[1:], records[2:], strict=False)
        )
        assert verified(result, Chatter).first_difference is None
    assert between  # the case at hand did come up


@pytest.mark.parametrize("network", ["unit+loss:1", "unit+loss:.5"])
def test_verify_passes_on_a_run_that_ended_in_a_deadlock(network: str) -> None:
    for seed in range(8):
        result = simulate(chain(), "synchbb", seed=seed, network=network)
        assert result.status == "deadlock"
        assert verified(result).verified is True


@pytest.mark.parametrize("limit", [{"max_messages": 5}, {"max_time": 4.5}, {"max_messages": 1}, {"max_time": 0}])
def test_verify_passes_on_a_run_that_was_stopped(limit: dict[str, Any]) -> None:
    result = simulate(chain(), "synchbb", network="uniform:1,2", **limit)
    assert result.status == "timeout"
    outcome = verified(result)
    assert outcome.first_difference is None
    assert outcome.complete is True


def test_verify_passes_on_an_empty_run() -> None:
    assert verified(simulate(Problem.build([]), "synchbb")).verified is True


def test_verify_passes_on_a_run_whose_agent_failed() -> None:
    class Fails(Chatter):
        def decide(self) -> None:
            super().decide()
            if self.name == "b" and self.batches == 3:
                raise ZeroDivisionError("on purpose")

    with pytest.raises(AgentSimError, match="on purpose") as caught:
        simulate(chain(), Fails)
    outcome = verified(caught.value.result, Fails)  # type: ignore[attr-defined]
    assert outcome.first_difference is None


def test_a_file_verifies_as_the_log_in_memory_does(tmp_path: Path) -> None:
    path = tmp_path / "run.amlog"
    simulate(chain(), "synchbb", seed=3, network="uniform:1,5", log=path)
    assert replay(path, verify=True).verified is True
    assert replay(str(path), verify=True).verified is True
    assert replay(path.read_bytes(), verify=True).verified is True
    json.dumps(replay(path, verify=True).to_json(), allow_nan=False)


def test_verify_works_inside_a_running_loop() -> None:
    import asyncio

    async def notebook() -> bool | None:
        return verified(simulate(chain(), "synchbb")).verified

    assert asyncio.run(notebook()) is True


# Verify fails on anything else ----------------------------------------------------------------------------------------

Record = tuple[Any, ...]


def records_of(result: Result) -> list[Record]:
    return list(result.log.records())


def relogged(header: dict[str, Any] | None, records: list[Record]) -> bytes:
    """A log of these records, with the right checksums: what a forger makes."""
    writer = LogWriter(None)
    writer.header(header or {})
    for record in records:
        writer.add(record)
    writer.close()
    assert isinstance(writer.source, bytes)
    return writer.source


def difference(result: Result, records: list[Record], solver: type[Agent] | None = None) -> dict[str, Any]:
    outcome = replay(relogged(result.log.header, records), verify=True, solver=solver)
    assert outcome.verified is False
    assert outcome.first_difference is not None
    return outcome.first_difference


@cache
def a_run() -> Result:
    return simulate(chain(), "synchbb", seed=2, network="uniform:1,10")


def test_relogging_itself_changes_nothing() -> None:
    """The forgeries below fail because of what they change."""
    result = a_run()
    assert relogged(result.log.header, records_of(result)) == result.log._source
    assert replay(relogged(result.log.header, records_of(result)), verify=True).verified is True


DELIVERIES = [i for i, r in enumerate(records_of(a_run())) if type(r[0]) is int]


@pytest.mark.parametrize("at", DELIVERIES)
def test_a_tampered_payload_is_found_at_its_record(at: int) -> None:
    result = a_run()
    records = records_of(result)
    record = records[at]
    payload = bytes((record[10][0],)) + bytes(reversed(record[10][1:]))
    flipped = record[10][:-1] + bytes((record[10][-1] ^ 1,)) if payload == record[10] else payload
    records[at] = (*record[:10], flipped)
    found = difference(result, records)
    assert found["seq"] == record[0]
    assert found["agent"] == record[4]  # its sender
    assert record[10][:8].hex(" ") in found["got"]  # both payloads
    assert flipped[:8].hex(" ") in found["expected"]


@pytest.mark.parametrize(
    ("field", "change"),
    [
        (1, lambda sent_at: sent_at + 0.25),
        (4, lambda src: "abc"["abc".index(src) - 1]),
        (5, lambda dst: "abc"["abc".index(dst) - 1]),
        (6, lambda kind: "BACK" if kind != "BACK" else "TERM"),
        (7, lambda n: n + 1),
        (9, lambda stamp: stamp + 1),
    ],
    ids=["sent_at", "src", "dst", "type", "n", "stamp"],
)
def test_every_other_thing_that_an_agent_emitted_is_compared(field: int, change: Callable[[Any], Any]) -> None:
    result = a_run()
    for at in DELIVERIES:
        records = records_of(result)
        record = records[at]
        records[at] = (*record[:field], change(record[field]), *record[field + 1 :])
        assert difference(result, records)["seq"] == record[0]


def test_another_type_of_message_with_the_same_payload_is_found() -> None:
    result = simulate(chain(), Chatter, seed=1)
    for at in [i for i, r in enumerate(records_of(result)) if type(r[0]) is int]:
        records = records_of(result)
        records[at] = (*records[at][:6], "WHISPER", *records[at][7:])
        found = difference(result, records, Chatter)
        assert (found["seq"], found["agent"]) == (records[at][0], records[at][4])


def test_deliveries_are_numbered_one_by_one() -> None:
    """`seq` counts deliveries: a gap or a repetition is a log that something was taken out of or put into."""
    result = a_run()
    records = records_of(result)
    at = DELIVERIES[4]
    records[at] = (99, *records[at][1:])
    difference(result, records)


def test_a_removed_delivery_is_found() -> None:
    result = a_run()
    for at in DELIVERIES:
        records = records_of(result)
        removed = records.pop(at)
        assert difference(result, records)["seq"] in range(removed[0] - 1, removed[0] + 2)


def test_a_repeated_delivery_is_found() -> None:
    result = a_run()
    for at in DELIVERIES:
        records = records_of(result)
        records.insert(at, records[at])
        assert difference(result, records)["seq"] == records[at][0]


def test_a_delivery_moved_before_another_is_found() -> None:
    result = a_run()
    records = records_of(result)
    first, second = DELIVERIES[2:4]
    records[first], records[second] = records[second], records[first]
    difference(result, records)


@pytest.mark.parametrize("kind", ["assign", "bound"])
def test_a_changed_added_or_removed_declaration_is_found(kind: str) -> None:
    """The agent that declared something else is named."""
    result = simulate(chain(), Chatter, seed=3)
    places = [i for i, r in enumerate(records_of(result)) if r[0] == kind]
    assert places
    for at in places:
        record = records_of(result)[at]
        for forged in ([(*record[:3], record[3] + 1, *record[4:])], [], [record, record]):
            records = records_of(result)
            records[at : at + 1] = forged
            found = difference(result, records, Chatter)
            assert found["agent"] in ("a", "b", "c")
            if forged and len(forged) == 1:
                assert found["agent"] == record[2]


def test_a_changed_final_value_is_found() -> None:
    result = a_run()
    records = records_of(result)
    assignment = dict(records[-1][1]["assignment"])
    assignment["b"] = (assignment["b"] + 1) % 3
    records[-1] = ("result", {**records[-1][1], "assignment": assignment})
    assert difference(result, records)["agent"] == "b"


@pytest.mark.parametrize("key", ["messages", "bytes", "nccc"])
def test_a_changed_count_in_the_result_is_found(key: str) -> None:
    result = a_run()
    records = records_of(result)
    records[-1] = ("result", {**records[-1][1], key: records[-1][1][key] + 1})
    assert key in difference(result, records)["expected"]


def test_a_removed_loss_is_found() -> None:
    """What an agent sent and nobody got must be in the log too, as lost or undelivered."""
    result = simulate(chain(), "synchbb", seed=1, network="unit+loss:1")
    records = [r for r in records_of(result) if r[0] != "fate"]
    assert len(records) < len(records_of(result))
    assert difference(result, records)["expected"] == "nothing"


def test_an_invented_message_is_found() -> None:
    result = a_run()
    records = records_of(result)
    last = records[DELIVERIES[-1]]
    records.insert(DELIVERIES[-1] + 1, (last[0] + 1, *last[1:7], last[7] + 1, *last[8:]))
    assert difference(result, records)["got"] == "sent nothing"


def test_another_seed_in_the_header_is_found() -> None:
    result = simulate(chain(), Chatter, seed=1)
    header = {**(result.log.header or {}), "seed": 2}
    outcome = replay(relogged(header, records_of(result)), verify=True, solver=Chatter)
    assert outcome.verified is False


def test_other_costs_in_the_header_are_found() -> None:
    result = a_run()
    other = simulate(
        Problem.build(
            [Variable(n, Domain("d", (0, 1, 2)), unary=[2, 0, 1]) for n in "abc"],
            [Constraint("ab", ("a", "b"), [[1, 2, 0]] * 3), Constraint("bc", ("b", "c"), [[7, 8, 9]] * 3)],
        ),
        "synchbb",
    )
    header = {**(result.log.header or {}), "problem": (other.log.header or {})["problem"]}
    assert replay(relogged(header, records_of(result)), verify=True).verified is False


def test_a_flipped_bit_fails_as_damage(tmp_path: Path) -> None:
    path = tmp_path / "run.amlog"
    simulate(chain(), "synchbb", log=path)
    whole = path.read_bytes()
    for at in range(8, len(whole), 7):
        data = bytearray(whole)
        data[at] ^= 4
        outcome = replay(bytes(data), verify=True)
        assert outcome.verified is False
        assert outcome.complete is False
        assert "damaged at byte" in (outcome.damaged or "")
        assert "damaged" in (outcome.first_difference or {})


# Cut logs -------------------------------------------------------------------------------------------------------------


@cache
def long_run() -> bytes:
    """A log of several blocks."""
    d = Domain("d", tuple(range(5)))
    rng = np.random.default_rng(0)
    problem = Problem.build(
        [Variable(f"x{i}", d) for i in range(6)],
        [Constraint(f"c{i}{j}", (f"x{i}", f"x{j}"), rng.integers(0, 9, (5, 5))) for i in range(6) for j in range(i)],
    )
    source = simulate(problem, "synchbb", seed=1, carry="best").log._source
    assert isinstance(source, bytes)
    return source


def test_a_cut_log_is_not_verified_but_tells_how_far_it_is() -> None:
    data = long_run()
    total = replay(data).deliveries
    seen = set()
    for cut in [*range(len(data) - 3, 2000, -len(data) // 5), len(data) - 1]:
        outcome = replay(data[:cut], verify=True)
        assert outcome.verified is False
        assert outcome.complete is False
        assert outcome.damaged is None
        assert 0 <= outcome.deliveries < total
        assert outcome.first_difference is not None
        assert str(outcome.deliveries) in outcome.first_difference["cut"]
        seen.add(outcome.deliveries)
    assert len(seen) > 2


def test_a_log_without_its_result_is_a_cut_log() -> None:
    result = a_run()
    outcome = replay(relogged(result.log.header, records_of(result)[:-1]), verify=True)
    assert outcome.verified is False
    assert "cut" in (outcome.first_difference or {})
    assert outcome.deliveries == result.messages


def test_a_tampered_record_in_a_cut_log_is_named() -> None:
    result = a_run()
    records = records_of(result)[: DELIVERIES[6] + 1]
    at = DELIVERIES[2]
    records[at] = (*records[at][:9], records[at][9] + 5, records[at][10])
    assert difference(result, records)["seq"] == records[at][0]


def test_a_log_cut_within_its_header_cannot_be_replayed() -> None:
    with pytest.raises(UserError, match="cut off within its header"):
        replay(long_run()[:200], verify=True)


def test_a_cut_log_can_be_observed_up_to_the_cut() -> None:
    data = long_run()
    whole = replay(data, [Tally]).findings["tally"]
    cut = replay(data[: len(data) // 2], [Tally])
    assert cut.complete is False
    assert cut.damaged is None
    assert cut.findings["tally"] == whole[: cut.deliveries]
    assert 0 < cut.deliveries < len(whole)


# Observe --------------------------------------------------------------------------------------------------------------


class Tally(Observer):
    """All that an observer can see, in the order in which it sees it."""

    name = "tally"

    def start(self) -> None:
        self.seen: list[Any] = []

    def observe(self, delivery: Delivery) -> None:
        self.seen.append([*delivery[:10], delivery.payload.hex(), repr(delivery.message)])

    def findings(self) -> Any:
        return self.seen


class Moments(Observer):
    """A straight-line observer: how its mail came in batches, summed up in floating point; reports as it goes."""

    name = "moments"

    async def run(self) -> None:
        self.batches: list[Any] = []
        self.sum = 0.1
        self.statements_seen = 0
        while True:
            batch = await self.deliveries()
            for delivery in batch:
                self.sum = (self.sum * 1.1 + delivery.delivered_at / 3) % 1.0
                self.statements_seen += len(self.statements(delivery))
            self.batches.append([len(batch), batch[0].delivered_at, batch[0].step])
            self.report({"sum": self.sum, "batches": len(self.batches)})

    def findings(self) -> Any:
        return {"batches": self.batches, "sum": self.sum, "reports": self._reports, "said": self.statements_seen}


VIEWS = ["all", "agent:A", "agent:C", "coalition:A+C", "wire:A>B", "wire:B>A"]


@pytest.mark.parametrize(("solver", "network"), [
    ("synchbb", "unit"),
    ("synchbb", "uniform:1,10"),
    ("synchbb", "constant:0"),
    (Chatter, "unit"),
    (Chatter, "exponential:2+loss:.1+duplicate:.2"),
    (Chatter, "constant:0"),
    (Sleeper, "unit+crash:B@3-6"),
])  # fmt: skip
@pytest.mark.parametrize("check_cost", [0.0, 0.7])
def test_observe_finds_what_was_found_live(solver: str | type[Agent], network: str, check_cost: float) -> None:
    observers: list[Any] = [
        (cls, {"view": view, "as": f"{cls.name}:{view}"}) for view in VIEWS for cls in (Tally, Moments)
    ]
    live = simulate(shared_owners(), solver, seed=4, network=network, check_cost=check_cost, observers=observers)
    assert all(live.findings[f"tally:{view}"] for view in VIEWS)
    outcome = replay(live.log, observers, solver=None if isinstance(solver, str) else solver)
    assert outcome.verified is None
    assert outcome.complete is True
    assert outcome.findings == live.findings
    assert json.dumps(outcome.findings) == json.dumps(live.findings)  # to the last bit


def test_observers_of_today_see_the_run_of_yesterday(tmp_path: Path) -> None:
    """Whoever watched live, or nobody: the feed is the log."""
    path = tmp_path / "run.amlog"
    simulate(shared_owners(), "synchbb", seed=4, log=path)
    watched = simulate(shared_owners(), "synchbb", seed=4, observers=[Tally, Moments])
    assert replay(path, [Tally, Moments]).findings == watched.findings


def test_observe_and_verify_go_together() -> None:
    live = simulate(shared_owners(), "synchbb", seed=4, observers=[Tally])
    outcome = replay(live.log, [Tally], verify=True)
    assert outcome.verified is True
    assert outcome.findings == live.findings


class Abandons:
    def __init__(self, sends: int) -> None:
        self.sends = sends

    def before_send(self, views: Any, envelope: Envelope, statements: Any) -> Any:
        self.sends -= 1
        return "send" if self.sends >= 0 else "abandon"


@pytest.mark.parametrize("sends", range(5))
def test_observe_finds_what_was_found_live_when_an_agent_abandoned(sends: int) -> None:
    """What was delivered in the last instant is in the log, so observers have seen it, live too."""
    live = simulate(shared_owners(), Chatter, seed=4, gates={"B": Abandons(sends)}, observers=[Tally])
    assert live.status == "abandoned"
    outcome = replay(live.log, [Tally], verify=True, solver=Chatter)
    assert outcome.findings == live.findings
    assert outcome.first_difference is None


@pytest.mark.parametrize("limit", [{"max_messages": 7}, {"max_time": 3.0}])
def test_observe_finds_what_was_found_live_when_the_run_was_stopped(limit: dict[str, Any]) -> None:
    live = simulate(shared_owners(), Chatter, seed=4, observers=[Tally, Moments], **limit)
    assert live.status == "timeout"
    assert replay(live.log, [Tally, Moments], solver=Chatter).findings == live.findings


def test_an_observer_that_fails_in_replay_fails_the_replay() -> None:
    class Broken(Tally):
        def observe(self, delivery: Delivery) -> None:
            raise KeyError("oops")

    with pytest.raises(AgentSimError, match="oops"):
        replay(simulate(chain(), "synchbb").log, [Broken])


# Redacted logs --------------------------------------------------------------------------------------------------------


def test_a_redacted_log_cannot_be_verified_and_says_why() -> None:
    result = simulate(chain(), "synchbb", redact=True)
    with pytest.raises(UserError, match="redact") as caught:
        verified(result)
    assert "\n" not in str(caught.value)


def test_a_redacted_log_can_be_observed_and_observers_are_told() -> None:
    class Told(Tally):
        def findings(self) -> Any:
            return [self.context.redacted, self.seen]

    live = simulate(chain(), "synchbb", redact=True, observers=[Told])
    assert live.findings["tally"][0] is False
    outcome = replay(live.log, [Told])
    assert outcome.findings["tally"] == [True, live.findings["tally"][1]]


class Statements(Observer):
    name = "statements"
    default_view = "agent:b"

    def start(self) -> None:
        self.said: list[str] = []

    def observe(self, delivery: Delivery) -> None:
        self.said.extend(map(repr, self.statements(delivery)))

    def findings(self) -> Any:
        return self.said


@pytest.mark.parametrize("ranges", [True, False], ids=["declared", "read off"])
def test_statements_from_a_redacted_log_carry_the_offsets_of_the_run(ranges: bool) -> None:
    """Offsets are public and in the header; they cannot be worked out from costs that are not there."""
    d = Domain("d", (0, 1, 2))
    bounds = (-9, 9) if ranges else None
    problem = Problem.build(
        [Variable(n, d, unary=[-4, 0, -1], cost_range=bounds) for n in "abc"],
        [
            Constraint("ab", ("a", "b"), [[1, -2, 0]] * 3, cost_range=bounds),
            Constraint("bc", ("b", "c"), [[0, -3, 1]] * 3, cost_range=bounds),
        ],
    )
    live = simulate(problem, "synchbb", redact=True, observers=[Statements])
    assert any("offset=" in s and "offset=0" not in s for s in live.findings["statements"])
    assert replay(live.log, [Statements]).findings == live.findings


# Adversaries ----------------------------------------------------------------------------------------------------------


class Liar(SynchBB):
    """Says that every path costs one more than it does."""

    def send(self, to: str, token: Any) -> None:  # type: ignore[override]  # the instance's `send` is the port's
        self.port.send(to, token)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.send = self.lie  # type: ignore[method-assign]

    def lie(self, to: str, token: Any) -> None:
        self.port.send(to, token._replace(cost=token.cost + 1) if isinstance(token, Fwd) else token)


def test_a_replaced_agent_is_skipped_and_the_others_are_verified() -> None:
    result = simulate(chain(), "synchbb", replace={"b": Liar}, network="uniform:1,3")
    assert result.cost != simulate(chain(), "synchbb").cost or result.messages
    outcome = verified(result)
    assert outcome.verified is True
    assert outcome.complete is False
    assert outcome.skipped == ("b",)
    assert any("b" in note and "not run again" in note for note in outcome.notes)


def test_what_the_others_did_beside_a_replaced_agent_is_compared() -> None:
    result = simulate(chain(), "synchbb", replace={"b": Liar}, network="uniform:1,3")
    records = records_of(result)
    at = next(i for i, r in enumerate(records) if type(r[0]) is int and r[4] != "b" and r[7] > 1)
    records[at] = (*records[at][:9], records[at][9] + 1, records[at][10])
    found = difference(result, records)
    assert (found["seq"], found["agent"]) == (records[at][0], records[at][4])


def test_a_replaced_agents_own_sends_are_taken_from_the_log() -> None:
    result = simulate(chain(), Chatter, seed=1, replace={"b": Sleeper}, network="uniform:1,3+loss:.1+duplicate:.1")
    assert any(d.src == "b" for d in result.log)
    outcome = verified(result, Chatter)
    assert outcome.first_difference is None
    assert outcome.skipped == ("b",)


def dropper(envelope: Envelope) -> Drop | None:
    return Drop() if envelope.src == "a" and envelope.n % 4 == 0 else None


def delayer(envelope: Envelope) -> Delay | None:
    return Delay(3.5) if envelope.dst == "a" else None


def alterer(envelope: Envelope) -> Alter | None:
    return Alter(Chat(0, 0.5)) if envelope.n % 3 == 0 else None


@pytest.mark.parametrize("network", ["unit", "uniform:1,5", "unit+loss:.1+duplicate:.3", "unit+loss:.3+reliable"])
@pytest.mark.parametrize(
    "interceptors",
    [[dropper], [delayer], [alterer], [delayer, alterer, dropper]],
    ids=["drop", "delay", "alter", "all"],
)
def test_interceptors_are_not_run_again_and_the_agents_verify(interceptors: list[Any], network: str) -> None:
    for seed in range(5):
        result = simulate(chain(), Chatter, seed=seed, interceptors=interceptors, network=network)
        outcome = verified(result, Chatter)
        assert outcome.first_difference is None
        assert any("interceptors" in note for note in outcome.notes)


def test_what_an_interceptor_altered_is_in_the_log_and_compared() -> None:
    """The original is what the agent must have sent."""
    result = simulate(chain(), Chatter, seed=1, interceptors=[alterer])
    records = records_of(result)
    at = next(i for i, r in enumerate(records) if r[:2] == ("fate", "altered"))
    original = records[at]
    delivered = next(r for r in records if type(r[0]) is int and (r[4], r[7]) == (original[3], original[6]))
    assert delivered[10] != original[9]
    records[at] = (*original[:9], delivered[10])
    assert difference(result, records, Chatter)["agent"] == original[3]


def test_gates_are_not_run_again() -> None:
    result = simulate(chain(), "synchbb", gates={"b": Abandons(3)})
    assert result.status == "abandoned"
    assert verified(result).verified is True


# What came from outside -----------------------------------------------------------------------------------------------

CALLS = count()


class Asker(Chatter):
    """Waits for something real before it says it; what it gets is never the same twice."""

    async def run(self) -> None:
        self.start()
        for label in ("key", "key", "table"):
            self.talk(0)
            answer = await self.external(label, self.fetch)
            for name in self.view.neighbours:
                self.send(name, Chat(1, float(answer)))
        while not self.finished:
            for sender, chat in await self.drain():
                self.on_chat(sender, chat)
            self.decide()

    async def fetch(self) -> int:
        await asyncio.sleep(0)
        return next(CALLS)


def asked() -> tuple[Result, list[int]]:
    """A run in which all wait at once, and where the results stand in its log."""
    result = simulate(chain(), Asker, seed=4, network="uniform:1,3")
    at = [i for i, record in enumerate(records_of(result)) if record[0] == "external"]
    assert len(at) == 9
    return result, at


def test_what_came_from_outside_is_taken_from_the_log() -> None:
    result, _ = asked()
    before = next(CALLS)
    assert verified(result, Asker).verified is True
    assert next(CALLS) == before + 1, "nothing was asked again"


def test_results_from_outside_may_stand_in_any_order_between_two_deliveries() -> None:
    result, at = asked()
    records = records_of(result)
    assert at == [*range(at[0], at[0] + 9)], "all before the first delivery"
    for node in ("b", "c"):  # those of one agent keep their order
        mine = [i for i in at if records[i][2] == node]
        others = [i for i in at if records[i][2] != node]
        moved = [*records[: at[0]], *(records[i] for i in (*mine, *others)), *records[at[-1] + 1 :]]
        assert replay(relogged(result.log.header, moved), verify=True, solver=Asker).verified is True


@pytest.mark.parametrize("which", range(9))
def test_a_forged_result_from_outside_is_found(which: int) -> None:
    result, at = asked()
    records = records_of(result)
    kind, when, node, label, answer = records[at[which]]
    for forged in ([(kind, when, node, label, answer + 1)], [], [(kind, when, node, "other", answer)]):
        found = difference(result, [*records[: at[which]], *forged, *records[at[which] + 1 :]], Asker)
        assert found["agent"] == node
        if not forged or forged[0][3] == "other":
            assert f"no such external result, the agent waits for {label}" in found["got"]


# A log is data from elsewhere -----------------------------------------------------------------------------------------


def test_a_log_whose_time_runs_backwards_is_damaged() -> None:
    result = a_run()
    records = records_of(result)
    at = DELIVERIES[3]
    records.insert(at + 1, ("wake", 0.5, 0))
    found = replay(relogged(result.log.header, records), verify=True)
    assert found.verified is False
    assert "time runs backwards" in (found.damaged or str(found.first_difference))


def test_a_delivery_to_nobody_is_found() -> None:
    """The sender is not run again, so that nothing but the receiver's name is wrong."""
    result = simulate(chain(), "synchbb", replace={"b": Liar}, network="uniform:1,3")
    records = records_of(result)
    at = next(i for i, r in enumerate(records) if type(r[0]) is int and r[4] == "b")
    records[at] = (*records[at][:5], "nobody", *records[at][6:])
    found = difference(result, records)
    assert (found["seq"], found["agent"]) == (records[at][0], "b")
    assert found["got"] == "knows no such agent"


def test_a_solver_that_is_not_installed_is_named() -> None:
    with pytest.raises(UserError, match="Chatter"):
        replay(relogged(simulate(chain(), Chatter).log.header, []))


HOSTILE_HEADER = {
    "seed": ["abc", None, [1]],
    "check_cost": ["x", float("nan"), -1.0, [0]],
    "realtime": ["x", {}],
    "replaced": [5, True],
    "params": [None, [1], {"unheard": 1}, {"carry": "all"}],
    "places": [None, 5, {}, {"tree": [1], "orders": None, "tells_place": True}, {"tree": None, "orders": [["a"]]}],
    "network": [None, 5, "warp", "unit+crash:zz@1"],
    "problem": [None, 5, {}, {"format": "agentsim-problem"}],
    "solver": [None, 5, "unheard"],
}


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, values in HOSTILE_HEADER.items() for v in values])
def test_a_hostile_header_is_refused_or_does_not_verify(key: str, value: Any) -> None:
    result = a_run()
    header = {**(result.log.header or {}), key: value}
    verdict: bool | str | None
    try:
        verdict = replay(relogged(header, records_of(result)), verify=True).verified
    except AgentSimError as error:
        verdict = str(error)
    assert verdict is not True
    assert "\n" not in str(verdict)


@pytest.mark.parametrize("key", ["seed", "params", "places", "network", "problem", "solver", "nodes"])
def test_a_header_that_lacks_something_is_refused(key: str) -> None:
    result = a_run()
    header = {k: v for k, v in (result.log.header or {}).items() if k != key}
    with pytest.raises(AgentSimError):
        replay(relogged(header, records_of(result)), verify=True)


NAN = float("nan")
HOSTILE_RECORDS: list[Record] = [
    ("crash", 0.5, "unheard"),
    ("restart", 0.5, "unheard"),
    ("assign", 0.0, "unheard", 0),
    ("fate", "dropped", 0.0, "unheard", "a", "FWD", 1, 0, "loss", b"\x90"),
    ("fate", "unheard of", 0.0, "a", "b", "FWD", 1, 0, "loss", b"\x90"),
    (1, 0.0, 1.0, 0, "unheard", "a", "FWD", 1, 0, 0, b"\x93\x01\x01\x90"),
    (1, 0.0, 1.0, 0, "a", "unheard", "FWD", 1, 0, 0, b"\x93\x01\x01\x90"),
    (1, 0.0, 1.0, 0, "a", "b", "UNHEARD", 1, 0, 0, b"\x93\x01\x01\x90"),
    (1, 0.0, 1.0, 0, "a", "b", "FWD", 1, 0, 0, b"garbage"),
    ("crash", NAN, "a"),
    ("restart", NAN, "a"),
    ("wake", NAN, 0),
    ("assign", NAN, "a", 0),
    (1, NAN, NAN, 0, "a", "b", "BACK", 1, 0, 0, b"\x93\x01\x01\x90"),
]


def hostile(records: list[Record], *, verify: bool) -> bool | str | None:
    """Replay what somebody made up: whether it verifies, or the one line that refuses it."""
    observers: list[Any] = [(Tally, {"view": view}) for view in ("all", "agent:a", "coalition:a+b", "wire:a>b")]
    try:
        with within(5):
            return replay(relogged(a_run().log.header, records), observers, verify=verify).verified
    except AgentSimError as error:
        return str(error)


@pytest.mark.parametrize("verify", [True, False], ids=["verify", "observe"])
@pytest.mark.parametrize(
    "record", HOSTILE_RECORDS, ids=lambda r: f"{r[0]} {r[1]} {r[-1] if r[0] == 'fate' else r[2:7]}"
)
def test_a_hostile_record_neither_passes_nor_hangs_nor_crashes(record: Record, verify: bool) -> None:
    records = records_of(a_run())
    for at in (0, DELIVERIES[3]):
        assert hostile([*records[:at], record, *records[at:]], verify=verify) is not True


@pytest.mark.parametrize(
    "summary",
    [{}, {"assignment": 5, "status": "optimal"}, {"assignment": [1]}, {"status": [1]}, {"virtual_time": "late"}],
    ids=repr,
)
def test_a_hostile_result_neither_hangs_nor_crashes(summary: dict[str, Any]) -> None:
    *records, result = records_of(a_run())
    records.append(("result", {**result[1], **summary} if summary else {}))
    for verify in (True, False):
        hostile(records, verify=verify)


def forgeries() -> Iterator[tuple[str, bytes]]:
    result = a_run()
    for i in range(len(records_of(result)) - 1):
        yield (
            f"without record {i}",
            relogged(result.log.header, [r for k, r in enumerate(records_of(result)) if k != i]),
        )


def test_no_record_can_be_left_out() -> None:
    for what, data in forgeries():
        assert replay(data, verify=True).verified is False, what


# Forgeries beyond the deliveries --------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["cost", "messages", "bytes", "nccc"])
def test_a_forged_figure_of_the_result_does_not_verify(key: str) -> None:
    result = a_run()
    *records, (_, summary) = records_of(result)
    forged = [*records, ("result", {**summary, key: summary[key] + 1})]
    outcome = replay(relogged(result.log.header, forged), verify=True)
    assert outcome.verified is False
    assert outcome.first_difference is not None
    assert outcome.first_difference["expected"] == f"{key} {summary[key] + 1}"


@pytest.mark.parametrize("key", ["nodes", "offsets", "floors", "costs"])
def test_a_header_that_does_not_follow_from_its_problem_does_not_verify(key: str) -> None:
    result = a_run()
    assert result.log.header is not None
    forged: Any = {"offsets": {"unary": {"a": 7}, "constraints": {}}, "costs": "signed"}.get(key, {"a": "b"})
    outcome = replay(relogged({**result.log.header, key: forged}, records_of(result)), verify=True)
    assert outcome.verified is False


def test_a_timer_that_nobody_set_does_not_verify() -> None:
    result = a_run()
    records = records_of(result)
    last = max(i for i, r in enumerate(records) if type(r[0]) is int)
    records.insert(last + 1, ("wake", records[last][2], records[last][3]))
    assert replay(relogged(result.log.header, records), verify=True).verified is False
