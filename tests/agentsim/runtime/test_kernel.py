"""The kernel: waits, instants, order, and what happens to agents that misbehave."""

from __future__ import annotations

import asyncio
import contextvars
import math
import random
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import agentsim
from agentsim import Agent, AgentFailure, Constraint, Domain, Problem, RunError, Variable, message, replay, simulate
from agentsim.record.log import LogWriter
from agentsim.runtime.failures import Livelock
from agentsim.runtime.kernel import Kernel
from agentsim.runtime.port import Port
from agentsim.testing import random_problem


@message("PING")
class Ping(NamedTuple):
    value: int


@message("REAL")
class Real(NamedTuple):
    value: float


def chain(n: int = 2, agents: list[str] | None = None) -> Problem:
    domain = Domain("d", (0, 1))
    variables = [Variable(f"x{i}", domain, agents[i] if agents else "") for i in range(n)]
    links = [Constraint(f"c{i}", (f"x{i}", f"x{i + 1}"), [[0, 1], [1, 0]]) for i in range(n - 1)]
    return Problem.build(variables, links)


def agent(run: Any, **attributes: Any) -> type[Agent]:
    return type(run.__name__, (Agent,), {"messages": (Ping, Real), "run": run, **attributes})


# Waits ---------------------------------------------------------------------------------------------------------


def test_sleep_timeout_spawn_join_and_external_keep_virtual_time_and_replay() -> None:
    called = 0

    async def outside() -> list[int]:
        nonlocal called
        called += 1
        await asyncio.sleep(0)
        return [1, 2]

    async def run(self: Agent) -> None:
        await self.sleep(5)
        assert self.now == 5
        with pytest.raises(TimeoutError, match="3 units"):
            async with self.timeout(3):
                await self.receive(Ping)
        assert self.now == 8

        async def helper() -> int:
            await self.sleep(2)
            return 7

        assert await self.join(self.spawn(helper())) == 7
        assert self.now == 10
        assert await self.external("dice", outside) == (1, 2)
        assert self.now == 10, "virtual time stands still meanwhile"
        self.assign(1)

    solver = agent(run)
    result = simulate(chain(), solver)
    assert (result.status, result.virtual_time, called) == ("finished", 10, 2)
    assert replay(result.log, verify=True, solver=solver).verified
    assert called == 2, "a replay takes external results from the log"


def test_timeout_scope_that_ends_in_time_does_nothing() -> None:
    async def run(self: Agent) -> None:
        if self.name == "x0":
            self.send("x1", Ping(1))
        else:
            async with self.timeout(1):  # the message comes at the very instant at which time is up
                assert (await self.receive(Ping)).value == 1
            assert self.sender == "x0"
        self.assign(0)

    assert simulate(chain(), agent(run)).status == "finished"


def test_error_in_a_spawned_coroutine_reaches_the_joiner_or_fails_the_run() -> None:
    async def broken() -> None:
        raise ValueError("inner")

    async def joins(self: Agent) -> None:
        async def waits() -> None:
            await self.sleep(1)
            raise ValueError("inner")

        with pytest.raises(ValueError, match="inner"):
            await self.join(self.spawn(waits()))

    async def forgets(self: Agent) -> None:
        self.spawn(broken())
        await self.sleep(1)

    assert simulate(chain(), agent(joins)).status == "finished"
    with pytest.raises(AgentFailure, match="inner"):
        simulate(chain(), agent(forgets))


def test_agent_that_ends_takes_its_spawned_coroutines_with_it() -> None:
    async def run(self: Agent) -> None:
        async def ever() -> None:
            while True:
                await self.receive(Ping)

        self.spawn(ever())
        await self.sleep(1)

    assert simulate(chain(), agent(run)).status == "finished"


def test_receive_leaves_other_messages_waiting_in_order() -> None:
    order = []

    async def run(self: Agent) -> None:
        if self.name == "x0":
            for i in range(3):
                self.send("x1", Ping(i))
            self.send("x1", Real(0.5))
        else:
            order.append(await self.receive(Real))
            order.extend([await self.receive(Ping, sender="x0") for _ in range(3)])
        self.assign(0)

    simulate(chain(), agent(run))
    assert order == [Real(0.5), Ping(0), Ping(1), Ping(2)]


def test_gather_waits_for_one_message_from_each_neighbour() -> None:
    async def run(self: Agent) -> None:
        self.broadcast(Ping(int(self.name[1])))
        got = await self.gather(Ping)
        assert {name: m.value for name, m in got.items()} == {n: int(n[1]) for n in self.view.neighbours}
        self.assign(0)

    assert simulate(chain(4), agent(run), network="uniform:1,9").status == "finished"


# Instants ------------------------------------------------------------------------------------------------------


def test_an_instant_is_one_batch_ordered_by_sender_then_send_number() -> None:
    batches = []

    async def run(self: Agent) -> None:
        if self.name != "x0":
            for i in range(2):
                self.send("x0", Ping(10 * int(self.name[1]) + i))
        else:
            batches.append([(s, m.value) for s, m in await self.drain()])
        self.assign(0)

    def shuffled(activities: list[Any]) -> list[Any]:
        random.Random(7).shuffle(activities)
        return activities

    for order in (None, shuffled):
        simulate(chain(4), agent(run), task_order=order)
    assert batches[0] == [("x1", 10), ("x1", 11), ("x2", 20), ("x2", 21), ("x3", 30), ("x3", 31)]
    assert batches[1] == batches[0]


def test_zero_delay_is_the_next_step_of_the_same_time_and_livelock_is_an_error() -> None:
    steps = []

    async def bounce(self: Agent) -> None:
        if self.name == "x0":
            self.send("x1", Ping(3))
        while not steps or steps[-1] > 0:
            value = (await self.receive(Ping)).value
            steps.append(value)
            self.send(self.sender, Ping(value - 1))

    result = simulate(chain(), agent(bounce), network="constant:0", max_messages=50)
    assert steps == [3, 2, 1, 0, -1]
    assert result.virtual_time == 0
    assert [d.step for d in result.log] == [1, 2, 3, 4, 5]

    async def ever(self: Agent) -> None:
        if self.name == "x0":
            self.send("x1", Ping(0))
        while True:
            await self.receive(Ping)
            self.send(self.sender, Ping(0))

    with pytest.raises(Livelock, match="10000 steps"):
        simulate(chain(), agent(ever), network="constant:0")


def test_busy_agents_get_their_mail_when_they_are_free_and_in_one_batch() -> None:
    seen = []

    async def run(self: Agent) -> None:
        if self.name == "x0":
            self.send("x1", Ping(0))
            await self.sleep(1)
            self.send("x1", Ping(1))
            await self.sleep(1)
            self.send("x1", Ping(2))
            await self.receive(Ping)
            await self.receive(Ping)
        else:
            while len(seen) < 2:
                seen.append((self.now, [m.value for _, m in await self.drain()], self.now))
                self.check(30)
                self.send("x0", Ping(9))
        self.assign(0)

    result = simulate(chain(), agent(run), check_cost=0.1)
    # The first message comes at 1 and costs 3 units of computing; the next two wait until 4.
    assert [(values, at) for _, values, at in seen] == [([0], 1), ([1, 2], 4)]
    answers = [d for d in result.log if d.src == "x1"]
    assert [d.sent_at for d in answers] == [4, 7], "an answer leaves when its computing is done"


def test_local_messages_are_logged_but_not_counted() -> None:
    async def run(self: Agent) -> None:
        self.broadcast(Ping(1))
        await self.gather(Ping)
        self.assign(0)

    result = simulate(chain(3, ["a", "a", "b"]), agent(run), network="uniform:3,3+loss:0")
    assert (result.messages, result.local_messages) == (2, 2)
    assert sum(1 for _ in result.log) == 4
    assert result.agents["a"].messages == 1
    assert result.by_type["PING"].count == 2


def test_nccc_clock_takes_the_latest_stamp_when_mail_is_read() -> None:
    async def run(self: Agent) -> None:
        if self.name == "x0":
            self.check(5)
            self.send("x1", Ping(0))
        elif self.name == "x1":
            self.check(2)
            await self.receive(Ping)
            self.check(3)
            self.send("x2", Ping(0))
        else:
            self.check(20)
            await self.receive(Ping)
            self.check(1)
        self.assign(0)

    result = simulate(chain(3), agent(run))
    assert {a: m.nccc for a, m in result.agents.items()} == {"x0": 5, "x1": 8, "x2": 21}
    assert (result.nccc, result.checks) == (21, 31)


# Ends ----------------------------------------------------------------------------------------------------------


def test_deadlock_names_who_waits_for_what_and_the_lost_message() -> None:
    async def run(self: Agent) -> None:
        if self.name == "x0":
            self.send("x1", Ping(1))
        else:
            await self.receive(Ping, sender="x0")

    result = simulate(chain(), agent(run), network="unit+loss:1")
    assert result.status == "deadlock"
    assert str(result.deadlock) == "x1 waits for PING from x0; x0's message 1 (PING) to x1 was lost at time 1 (loss)"


@pytest.mark.parametrize("limit", [{"max_messages": 100}, {"max_time": 50}])
def test_limits_end_a_run_as_timeout(limit: dict[str, Any]) -> None:
    async def ever(self: Agent) -> None:
        self.assign(0)
        if self.name == "x0":
            self.send("x1", Ping(0))
        while True:
            await self.receive(Ping)
            self.send(self.sender, Ping(0))

    result = simulate(chain(), agent(ever), **limit)
    assert (result.status, result.limit) == ("timeout", next(iter(limit)))
    assert result.cost == 0, "the best assignment so far is kept"
    assert replay(result.log, verify=True, solver=agent(ever)).verified


def test_wall_clock_limit_stops_agents_that_chatter_for_ever() -> None:
    async def ever(self: Agent) -> None:
        while True:
            await self.sleep(1)

    begun = time.monotonic()
    result = simulate(chain(), agent(ever), timeout=0.3)
    assert (result.status, result.limit) == ("timeout", "timeout")
    assert time.monotonic() - begun < 5


def test_an_endless_loop_is_stopped_by_the_wall_clock_limit_and_named() -> None:
    async def spin(self: Agent) -> None:
        if self.name == "x1":
            while True:
                pass
        await self.receive(Ping)

    result = simulate(chain(), agent(spin), timeout=0.3)
    assert result.status == "timeout"
    assert result.notes == ("agent x1 never gave control back at time 0",)


def test_an_external_wait_that_never_ends_is_stopped_by_the_wall_clock_limit() -> None:
    async def hang(self: Agent) -> None:
        await self.external("nobody", lambda: asyncio.sleep(3600))

    assert simulate(chain(), agent(hang), timeout=0.3).status == "timeout"


# Misbehaviour --------------------------------------------------------------------------------------------------


def test_an_exception_names_the_agent_its_owner_the_time_and_the_batch() -> None:
    async def run(self: Agent) -> None:
        if self.name == "x0":
            self.send("x1", Ping(4))
        else:
            await self.drain()
            raise ValueError("cannot go on")

    with pytest.raises(AgentFailure) as caught:
        simulate(chain(2, ["anna", "bert"]), agent(run))
    assert str(caught.value) == (
        "agent x1: ValueError: cannot go on (node of bert) at time 1 while working on [x0: Ping(value=4)]"
    )
    assert isinstance(caught.value.__cause__, ValueError)
    assert caught.value.result.status == "error"


def test_a_foreign_awaitable_stops_the_run_but_a_bare_sleep_0_is_harmless() -> None:
    async def foreign(self: Agent) -> None:
        await asyncio.sleep(1)

    async def harmless(self: Agent) -> None:
        await asyncio.sleep(0)
        self.assign(0)

    with pytest.raises(AgentFailure, match=r"agent x0: awaited <Future pending>, which is not one of the kernel's"):
        simulate(chain(), agent(foreign))
    assert simulate(chain(), agent(harmless)).status == "finished"


def test_an_agent_that_swallows_every_exception_cannot_hang_the_run() -> None:
    async def swallow(self: Agent) -> None:
        tries = 0
        while tries < 50:  # in the end it does give way, or Python would complain at exit
            try:
                await self.receive(Ping)
            except BaseException:
                tries += 1

    result = simulate(chain(), agent(swallow))
    assert result.status == "deadlock"
    assert result.notes[0] == "x0: coroutine ignored GeneratorExit"


@pytest.mark.parametrize(
    ("payload", "to", "complaint"),
    [
        ("hello", "x1", "x0 sent x1 a str, not a message type of its solver"),
        (Ping(1), "nobody", "x0 sent PING to 'nobody', which does not exist"),
        (Ping(object()), "x1", "x0 sent x1 a PING that cannot travel"),  # type: ignore[arg-type]
        (Ping("text"), "x1", r"agent x0: its PING \(send 1\) to x1 is malformed: field value: is a str, must be int"),  # type: ignore[arg-type]
        (Real(float("nan")), "x1", "field value: is NaN"),
    ],
)
def test_garbage_is_told_with_the_senders_name(payload: Any, to: str, complaint: str) -> None:
    async def run(self: Agent) -> None:
        if self.name == "x0":
            self.send(to, payload)
        await self.receive(Ping)

    with pytest.raises(AgentFailure, match=complaint) as caught:
        simulate(chain(), agent(run))
    assert caught.value.agent == "x0"


# Isolation -----------------------------------------------------------------------------------------------------


def reachable(root: object) -> list[object]:
    """Everything that attributes and containers lead to, stopping at ports, classes and modules."""
    seen: dict[int, object] = {}
    stack = [root]
    while stack:
        thing = stack.pop()
        if id(thing) in seen or isinstance(thing, (type, str, bytes, int, float, Port)) or callable(thing):
            if hasattr(thing, "__self__"):
                stack.append(thing.__self__)
            continue
        seen[id(thing)] = thing
        if isinstance(thing, dict):
            stack.extend([*thing.keys(), *thing.values()])
        elif isinstance(thing, (list, tuple, set, frozenset)):
            stack.extend(thing)
        stack.extend(vars(thing).values() if hasattr(thing, "__dict__") else [])
        for cls in type(thing).__mro__:
            slots = cls.__dict__.get("__slots__", ())
            names = (slots,) if isinstance(slots, str) else slots
            stack.extend(getattr(thing, name) for name in names if hasattr(thing, name))
    return list(seen.values())


def test_an_agent_reaches_neither_kernel_nor_problem_nor_other_agents() -> None:
    built: list[Agent] = []
    found: list[list[object]] = []

    async def run(self: Agent) -> None:
        built.append(self)
        found.append(reachable(self))
        self.assign(0)

    simulate(chain(3), agent(run))
    for own, things in zip(built, found, strict=True):
        others = [t for t in things if isinstance(t, Agent) and t is not own]
        assert not others
        assert not any(isinstance(t, (Problem, agentsim.runtime.kernel.Kernel)) for t in things)
        tables = [t for t in things if isinstance(t, agentsim.runtime.view.LocalConstraint)]
        assert {c.name for c in tables} == {c.name for c in own.view.constraints}


# Crash, restart, real time ----------------------------------------------------------------------------------------


def test_a_crashed_agent_hears_nothing_and_a_restarted_one_begins_anew() -> None:
    started = []

    async def run(self: Agent) -> None:
        started.append((self.name, self.now))
        if self.name == "x0":
            for _ in range(5):
                self.send("x1", Ping(0))
                await self.sleep(2)
            self.assign(0)
        else:
            while True:
                await self.receive(Ping)

    result = simulate(chain(), agent(run), network="unit+crash:x1@2-6", max_time=20)
    assert started == [("x0", 0), ("x1", 0), ("x1", 6)]
    assert [d.delivered_at for d in result.log] == [1, 7, 9]
    assert result.transport["lost"] == 2
    assert replay(result.log, verify=True, solver=agent(run)).verified


def test_real_time_waits_for_the_clock() -> None:
    async def run(self: Agent) -> None:
        await self.sleep(5)
        self.assign(0)

    begun = time.monotonic()
    result = simulate(chain(), agent(run), realtime=0.02)
    assert time.monotonic() - begun >= 0.1
    assert result.virtual_time >= 5
    assert replay(result.log, verify=True, solver=agent(run)).verified


def test_simulate_works_inside_a_running_loop() -> None:
    async def run(self: Agent) -> None:
        self.assign(0)

    async def notebook() -> tuple[str, str]:
        inside = simulate(chain(), agent(run)).status
        return inside, (await agentsim.run(chain(), agent(run))).status

    assert asyncio.run(notebook()) == ("finished", "finished")


# Whoever is awake ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", ["uniform:1,10", "exponential:2", "uniform:0,1"])
def test_the_short_way_through_random_networks_is_the_long_one(network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel has a loop of its own for runs of messages alone: the same bytes come out of it."""
    rng = np.random.default_rng(7)
    problems = [random_problem(rng) for _ in range(4)]

    def logs() -> list[Path | bytes]:
        results = [simulate(p, name, network=network) for p in problems for name in ("adopt", "dpop", "mgm2")]
        results += [simulate(p, "adopt", network=network, max_messages=20) for p in problems]
        results += [simulate(p, "adopt", network=network, max_time=8.0) for p in problems]
        return [result.log._source for result in results]  # type: ignore[misc]

    short = logs()
    calls = 0

    def nothing(self: Kernel) -> bool:
        nonlocal calls
        calls += 1
        return False

    monkeypatch.setattr(Kernel, "_work_plainly", nothing)
    assert logs() == short
    assert calls > 100


def test_a_malformed_message_over_a_random_network_is_told_and_not_logged() -> None:
    async def run(self: Agent) -> None:
        self.send("x0" if self.name == "x1" else "x1", Real(math.nan) if self.name == "x1" else Real(1.0))
        await self.receive(Real)
        await self.receive(Real)

    with pytest.raises(
        AgentFailure, match=r"agent x1: its REAL \(send 1\) to x0 is malformed: field value: is NaN"
    ) as told:
        simulate(chain(), agent(run), network="uniform:1,2", seed=1)
    records = list(told.value.result.log.records())
    assert [r[4] for r in records if type(r[0]) is int] in ([], ["x0"])
    assert [r[3] for r in records if r[:2] == ("fate", "undelivered") and r[3] == "x1"] == ["x1"]


@pytest.mark.parametrize("network", ["unit", "uniform:1,2"])
def test_nobody_goes_on_when_the_log_cannot_be_written(
    network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after: list[float] = []

    def refuse(data: bytes) -> None:
        raise OSError(28, "No space left on device")

    def write(self: LogWriter, data: bytes) -> None:
        self._attempt(refuse if data[:5] == b"ABLKR" else self._sink.write, data)

    monkeypatch.setattr(LogWriter, "_write", write)

    async def run(self: Agent) -> None:
        other = "x0" if self.name == "x1" else "x1"
        while True:
            self.send(other, Ping(0))
            await self.receive(Ping)
            if self.port.kernel.ended:
                after.append(self.now)

    with pytest.raises(RunError, match=r"full\.amlog: cannot write the log: No space left on device"):
        simulate(chain(), agent(run), network=network, log=tmp_path / "full.amlog", timeout=60)
    assert after == []


def test_which_of_a_nodes_coroutines_gets_its_mail_does_not_depend_on_who_ran_first() -> None:
    async def run(self: Agent) -> None:
        if self.name == "x0":
            for value in range(6):
                self.send("x1", Ping(value))
                await self.sleep(1)
            return

        async def helper() -> None:
            while True:
                first = await self.receive(Ping)
                self.send("x2", Ping(10 + first.value))

        if self.name == "x1":
            self.spawn(helper())
            while True:
                self.send("x2", Ping(20 + (await self.receive(Ping)).value))
        while True:
            await self.receive(Ping)

    def shuffled(seed: int) -> list[Any]:
        order = random.Random(seed)
        result = simulate(chain(3), agent(run), max_time=20.0, task_order=lambda tasks: order.sample(tasks, len(tasks)))
        return list(result.log.records())

    assert len({str(shuffled(seed)) for seed in range(8)}) == 1


def test_each_agent_has_a_context_of_its_own() -> None:
    mine: contextvars.ContextVar[str] = contextvars.ContextVar("mine", default="nobody")
    seen: list[tuple[str, str]] = []

    async def run(self: Agent) -> None:
        for _ in range(3):
            self.send("x0" if self.name == "x1" else "x1", Ping(0))
            await self.receive(Ping)
            seen.append((self.name, mine.get()))
            mine.set(self.name)

    simulate(chain(), agent(run))
    assert mine.get() == "nobody"
    assert sorted(seen) == sorted([("x0", "nobody"), ("x1", "nobody")] + 2 * [("x0", "x0"), ("x1", "x1")])


@pytest.mark.parametrize("network", ["unit", "uniform:1,2"])
def test_the_event_loop_gets_its_turn_and_a_cancelled_run_leaves_no_task(network: str) -> None:
    async def forever(self: Agent) -> None:
        while True:
            self.send("x0" if self.name == "x1" else "x1", Ping(0))
            await self.receive(Ping)

    async def beside() -> None:
        running = asyncio.ensure_future(agentsim.run(chain(), agent(forever), network=network, log=False))
        for _ in range(12):
            await asyncio.sleep(0)
        assert not running.done()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        for _ in range(3):
            await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(beside())
