"""Recovery: over a `reliable` network an agent that crashes and restarts goes on where it was."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentsim import AgentFailure, Constraint, Domain, Problem, Variable, replay, simulate
from agentsim.runtime.agent import Agent
from agentsim.runtime.messages import message
from agentsim.runtime.network import Network
from agentsim.runtime.result import Result
from agentsim.runtime.router import Delay
from agentsim.testing import brute_force, random_problem

COMPLETE = ("synchbb", "adopt", "adopt-plus", "bnb-adopt", "bnb-adopt-plus", "dpop", "mb-dpop", "leader", "n-leaders",
            "brute-force")  # fmt: skip


@message("ASK")
class Ask(NamedTuple):
    k: int


@message("TELL")
class Tell(NamedTuple):
    k: int
    what: tuple[float, ...]


def problem(owners: dict[str, str] | None = None) -> Problem:
    d = Domain("d", (0, 1, 2))
    return Problem.build(
        [Variable(n, d, (owners or {}).get(n, "")) for n in "abc"],
        [Constraint(x + y, (x, y), np.eye(3, dtype=int)) for x, y in ("ab", "bc")],
    )


class Talker(Agent):
    """`a` asks `b` every unit of time; `b` tells `c` what it makes of it, which depends on all it has met so far."""

    messages = (Ask, Tell)
    asks = 12

    async def run(self) -> None:
        self.assign(0)
        await {"a": self.ask, "b": self.answer, "c": self.listen}[self.name]()

    async def ask(self) -> None:
        for k in range(self.asks):
            self.send("b", Ask(k))
            await self.sleep(1.0)

    async def answer(self) -> None:
        for k in range(self.asks):
            ask = await self.receive(Ask)
            self.check(1)
            self.assign(k % 3)
            self.send("c", Tell(ask.k, (self.rng.random(),)))

    async def listen(self) -> None:
        for _ in range(self.asks):
            await self.receive(Tell)


def told(result: Result) -> list[Any]:
    return [d.message for d in result.log if d.type == "TELL"]


def kinds(result: Result) -> Counter[str]:
    return Counter(r[0] for r in result.log.records() if type(r[0]) is str)


def ran(
    cls: type[Agent] = Talker, network: str = "unit+crash:b@4.5-9.5+reliable", owners: Any = None, **options: Any
) -> Result:
    """Return a run that was recovered, verified, and showed its observers the same as its replay does."""
    result = simulate(problem(owners), cls, network=network, observers=["traffic"], **options)
    again = replay(result.log, verify=not options.get("interceptors"), solver=cls, observers=["traffic"])
    assert again.verified in (True, None), again.first_difference
    assert again.findings == result.findings
    return result


# What is recovered ----------------------------------------------------------------------------------------------------

WINDOWS = ["4.5-9.5", "0-3", "1-2", "5-6+crash:b@8-30", "3-20+crash:b@10-25+crash:b@2-4", "11.5-400", "2-4+crash:b@4-6"]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("rest", ["", "+loss:.4+duplicate:.2+reorder", "+hold:a>b@3-8"])
def test_a_restarted_agent_goes_on_where_it_was(window: str, rest: str) -> None:
    whole = ran(network="unit")
    result = ran(network=f"unit{rest}+crash:b@{window}+reliable")
    assert told(result) == told(whole)
    assert result.status == "finished"
    assert (result.messages, result.bytes, result.nccc, result.checks, result.by_type, result.agents) == (
        whole.messages, whole.bytes, whole.nccc, whole.checks, whole.by_type, whole.agents,
    )  # fmt: skip
    assert kinds(result)["assign"] == kinds(whole)["assign"]  # nothing is declared twice
    assert kinds(result)["restart"] >= 1


def test_without_reliable_it_has_forgotten_everything() -> None:
    result = simulate(problem(), Talker, network="unit+crash:b@4.5-5.5")
    assert [m.k for m in told(result)][:4] == [0, 1, 2, 3]
    assert result.status == "deadlock"
    assert Network.parse("unit+crash:b@4.5-5.5", "abc").recovering == frozenset()
    assert Network.parse("unit+crash:b@4.5-5.5+crash:a@3+reliable", "abc").recovering == {"b"}


def test_sender_and_receiver_may_crash_at_once() -> None:
    network = "uniform:1,3+loss:.2+crash:a@2-9+crash:b@4-7+crash:c@5-30+crash:b@20-21+reliable"
    assert told(ran(network=network, seed=3)) == told(ran(network="unit", seed=3))


def test_an_attempt_that_falls_into_its_senders_crash_follows_after_the_restart() -> None:
    result = ran(network="constant:2+crash:c@0-5+crash:b@3-50+reliable")
    first = next(d for d in result.log if d.type == "TELL")
    assert first.sent_at == 2.0
    assert first.delivered_at == 52.0


def test_an_agent_that_had_finished_stays_finished() -> None:
    result = ran(network="unit+crash:a@30-31+hold:b>c@3-50+reliable")
    assert result.status == "finished"
    assert kinds(result)["restart"] == 1
    assert told(result) == told(ran(network="unit"))


def test_several_nodes_of_one_agent_recover_with_the_mail_between_them() -> None:
    owners = {"a": "A", "b": "B", "c": "B"}
    whole = ran(network="unit", owners=owners)
    for start in np.arange(2, 9, 0.5):
        result = ran(network=f"unit+crash:B@{start}-20+crash:B@21-22+reliable", owners=owners)
        assert told(result) == told(whole)
        assert (result.local_messages, result.nccc) == (12, whole.nccc)


@pytest.mark.parametrize("start", [0.25, 2.0, 3.5, 7.25])
def test_an_agent_that_is_busy_when_it_crashes_loses_no_mail(start: float) -> None:
    whole = ran(network="unit", check_cost=2.5)
    result = ran(network=f"unit+crash:b@{start}-{start + 4}+reliable", check_cost=2.5)
    assert told(result) == told(whole)
    assert result.checks == whole.checks


def test_in_real_time() -> None:
    result = ran(network="unit+crash:b@2.5-6+reliable", realtime=0.001)
    assert told(result) == told(ran(network="unit"))


class Busy(Talker):
    """Its `b` does everything at once: tasks that share its mail, timeouts, sleep, joins, results from outside."""

    fetched: ClassVar[list[int]] = []

    async def fetch(self) -> int:
        self.fetched.append(1)
        return 40 + len(self.fetched)

    async def eat(self, k: int) -> list[float]:
        eaten: list[float] = []
        while len(eaten) < 3:
            try:
                async with self.timeout(1.5 + k):
                    for _, ask in await self.drain():
                        eaten.append(ask.k + self.rng.random())
                        self.send("c", Tell(ask.k, (k, self.now)))
            except TimeoutError:
                eaten.append(-1.0)
            await self.sleep(0.25 * k)
        return eaten

    async def answer(self) -> None:
        tasks = [self.spawn(self.eat(k), f"eater {k}") for k in range(3)]
        self.send("c", Tell(-1, (await self.external("key", self.fetch),)))
        for task in tasks:
            self.send("c", Tell(-2, tuple(await self.join(task))))
        await self.sleep(2.0)
        self.send("c", Tell(-3, (await self.external("key", self.fetch), self.rng.random())))

    async def listen(self) -> None:
        while (await self.receive(Tell)).k != -3:
            pass


@pytest.mark.parametrize("start", [0, 0.5, 1, 1.25, 2, 3.5, 4.75, 6, 9])
def test_tasks_timeouts_sleep_and_what_came_from_outside_recover(start: float) -> None:
    Busy.fetched.clear()
    result = ran(Busy, network=f"unit+crash:b@{start}-{start + 3}+crash:b@{start + 4}-{start + 4.5}+reliable")
    assert result.status == "finished"
    assert len(Busy.fetched) == 2  # not asked again
    outside = [m.what[0] for m in told(result) if m.k in (-1, -3)]
    assert outside == [41, 42]
    assert kinds(result)["external"] == 2


class Patient(Talker):
    """Its `b` sleeps and waits with a time limit across the crash."""

    async def answer(self) -> None:
        await self.sleep(5.0)
        self.send("c", Tell(0, (self.now,)))
        try:
            async with self.timeout(5.0):
                await self.receive(Tell)
        except TimeoutError:
            self.send("c", Tell(1, (self.now,)))

    asks = 2


@pytest.mark.parametrize(("window", "at"), [("1-2", [5, 10]), ("1-7", [7, 12]), ("6-8", [5, 10]), ("6-20", [5, 20]),
                                            ("1-7+crash:b@8-30", [7, 30]), ("5-10", [10, 15])])  # fmt: skip
def test_a_time_that_comes_while_it_is_down_has_come_when_it_is_back(window: str, at: list[float]) -> None:
    assert [m.what[0] for m in told(ran(Patient, network=f"unit+crash:b@{window}+reliable"))] == at


def test_interceptors_and_gates_are_not_asked_again() -> None:
    asked: list[int] = []

    def slows(envelope: Any) -> Delay | None:
        asked.append(envelope.n)
        return Delay(3.0) if envelope.src == "b" else None

    gated: list[str] = []

    class Gate:
        def before_send(self, view: Any, envelope: Any, statements: Any) -> str:
            gated.append(envelope.type)
            return "send"

    result = ran(interceptors=[slows], gates={"b": Gate()})
    assert len(asked) == 24
    assert gated == ["TELL"] * 12
    assert told(result) == told(ran(network="unit"))


# What cannot be recovered ---------------------------------------------------------------------------------------------


class Clocked(Talker):
    """Its `b` does something else each time it lives."""

    fault: ClassVar[str] = ""
    lives: ClassVar[Iterator[int]] = itertools.count()

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.life = next(self.lives) if self.name == "b" else 0
        if self.fault == "born" and self.life:
            raise ValueError("no second time")

    async def answer(self) -> None:
        for _ in range(self.asks):
            ask = await self.receive(Ask)
            if self.life and self.fault == "raises":
                raise ValueError("of all things")
            if self.life and self.fault == "awaits":
                await self.external("clock", self.nothing)
            if not (self.life and self.fault == "silent"):
                self.send("c", Tell(ask.k + (self.life if self.fault == "other" else 0), ()))
            if self.life and self.fault == "more":
                self.send("c", Tell(99, ()))
            while self.life and self.fault == "loops":
                pass

    async def nothing(self) -> None:
        return None


@pytest.mark.parametrize(("fault", "why"), [
    ("other", "at time 1, message 1: it had sent TELL 92 00 90 to c, and now TELL 92 01 90 to c"),
    ("silent", "it had sent TELL 92 00 90 to c, and now nothing"),
    ("more", "message 2: it had sent TELL 92 01 90 to c, and now TELL 92 63 90 to c"),
    ("raises", "at time 1, it raised ValueError: of all things"),
    ("awaits", "it waits for clock, which it had not waited for"),
    ("born", "a new one raised ValueError: no second time"),
])  # fmt: skip
def test_an_agent_that_does_otherwise_the_second_time_is_named(fault: str, why: str) -> None:
    cls = type("Clocked", (Clocked,), {"fault": fault, "lives": itertools.count()})
    with pytest.raises(AgentFailure) as caught:
        simulate(problem(), cls, network="unit+crash:b@4.5-9.5+reliable")
    assert caught.value.agent == "b"
    assert "cannot be recovered after its crash" in str(caught.value)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.result.status == "error"


def test_the_time_limit_ends_one_that_loops_while_it_recovers() -> None:
    cls = type("Clocked", (Clocked,), {"fault": "loops", "lives": itertools.count()})
    result = simulate(problem(), cls, network="unit+crash:b@4.5-9.5+reliable", timeout=0.1)
    assert result.status == "timeout"
    assert any("b never gave control back" in note for note in result.notes)


@pytest.mark.parametrize("rest", ["", "+reliable"])
def test_a_crash_for_good_is_told(rest: str) -> None:
    result = simulate(problem(), Talker, network=f"unit+crash:b@4.5{rest}")
    assert result.status == "deadlock"
    assert "b waits for nothing: it has crashed" in str(result.deadlock)


class Alone(Talker):
    """Nobody waits for anybody, so that all others finish."""

    async def run(self) -> None:
        self.assign(0)
        await self.sleep(3.0)

    complete = True


@pytest.mark.parametrize("network", ["unit+crash:b@1", "unit+crash:b@1+reliable"])
def test_a_run_whose_agent_never_finished_has_not_ended_well(network: str) -> None:
    result = simulate(problem(), Alone, network=network)
    assert result.status == "deadlock"
    assert replay(result.log, verify=True, solver=Alone).verified
    assert simulate(problem(), Alone, network="unit+crash:b@4").status == "optimal"  # it had finished


def test_the_run_waits_for_an_agent_that_comes_back_after_all_others_have_finished() -> None:
    for rest in ("", "+reliable"):
        result = simulate(problem(), Alone, network=f"unit+crash:b@1-50{rest}")
        assert (result.status, result.virtual_time) == ("optimal", 50.0 if rest else 53.0)


class OnlyOnce(Talker):
    """A protocol that falls apart when a message comes twice, or an agent forgets."""

    exactly_once = True


def test_copies_are_not_handed_to_agents_that_need_each_message_once() -> None:
    result = ran(OnlyOnce, "unit+duplicate:.9")
    assert result.status == "finished"
    assert {d.copy for d in result.log} == {0, 1}  # they come, and observers see them
    again = simulate(problem(), Talker, network="unit+duplicate:.9")
    assert [d.message.k for d in again.log if d.type == "TELL"] != [d.message.k for d in result.log if d.type == "TELL"]


def test_who_has_forgotten_its_part_stays_silent() -> None:
    result = ran(OnlyOnce, "unit+crash:b@4.5-6")
    assert result.status == "deadlock"
    assert "b waits for nothing: it has restarted without its state" in str(result.deadlock)
    assert [m.k for m in told(result)] == [0, 1, 2, 3]
    assert ran(OnlyOnce, "unit+crash:b@4.5-6+reliable").status == "finished"
    assert ran(OnlyOnce, "unit+crash:a@30-31+hold:b>c@3-50").status == "finished"  # it had finished, and stays so


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 9999), fault=st.sampled_from(["duplicate:.3", "duplicate:.3+reorder+loss:.02", "crash"]))
def test_synchbb_ends_with_the_optimum_or_not_at_all(seed: int, fault: str) -> None:
    """Its token must not be doubled, nor anybody forget where it was."""
    hard = random_problem(np.random.default_rng(seed), max_variables=4)
    if fault == "crash":
        fault = f"crash:{sorted(hard.agents)[seed % len(hard.agents)]}@{seed % 30}-{seed % 30 + 9}"
    result = simulate(hard, "synchbb", seed=seed, network=f"exponential:3+{fault}")
    best = brute_force(hard)
    if result.status == "infeasible":
        assert np.isinf(best)
    elif result.status == "optimal":
        assert result.cost == pytest.approx(best)
    else:
        assert result.status == "deadlock"


# Solvers --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", COMPLETE)
@settings(max_examples=3, deadline=None)
@given(data=st.data(), seed=st.integers(0, 9999))
def test_complete_solvers_stay_optimal_under_every_fault(solver: str, data: st.DataObject, seed: int) -> None:
    hard = random_problem(np.random.default_rng(seed), max_variables=4)
    agents = st.sampled_from(sorted(hard.agents))
    faults = [f"crash:{data.draw(agents)}@{data.draw(st.integers(0, 30))}-{data.draw(st.integers(31, 90))}"]
    faults += [f"crash:{data.draw(agents)}@{data.draw(st.integers(0, 30))}-{data.draw(st.integers(31, 90))}"]
    faults += sorted(data.draw(st.sets(st.sampled_from(["loss:.4", "duplicate:.2", "reorder"]))))
    model = data.draw(st.sampled_from(["unit", "uniform:1,10", "constant:0", "priority:3", "burst:5"]))
    result = simulate(hard, solver, seed=seed, network="+".join([model, *faults, "reliable"]))
    best = brute_force(hard)
    assert result.status == ("infeasible" if np.isinf(best) else "optimal")
    assert result.status == "infeasible" or result.cost == pytest.approx(best)
    assert replay(result.log, verify=True).verified


def test_a_log_that_lies_about_what_a_recovered_agent_sent_does_not_verify(tmp_path: Any) -> None:
    """Damage is damage; what is changed and packed anew is found by running again."""
    from agentsim.record.log import LogReader, LogWriter

    ran(log=tmp_path / "run.amlog")
    source = LogReader(tmp_path / "run.amlog")
    header = source.header
    assert header is not None
    forged = LogWriter(tmp_path / "forged.amlog")
    forged.header(header)
    for record in source.records():
        if record[0] == 20 and type(record[0]) is int:
            payload = record[-1]
            record = (*record[:-1], payload[:1] + bytes([payload[1] ^ 1]) + payload[2:])
        forged.add(record)
    forged.close()
    again = replay(tmp_path / "forged.amlog", verify=True, solver=Talker)
    assert again.verified is False
    assert again.first_difference is not None
    assert again.first_difference["seq"] == 20
