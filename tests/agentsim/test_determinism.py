"""Same seed, same bytes: whatever PYTHONHASHSEED, whatever task starts first; and nobody shifts another's draws.

Run as a script this file writes logs: `python test_determinism.py FOLDER SHUFFLE_SEED`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentsim import Constraint, Domain, Problem, Variable, replay, simulate
from agentsim.runtime.agent import Agent
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.messages import message
from agentsim.runtime.observer import Observer
from agentsim.testing import random_problem


@message("CHAT")
class Chat(NamedTuple):
    left: int
    word: float


class Chatter(Agent):
    """Much at once: random words, values, timers, tasks of its own. Ends when it has heard enough or nothing comes."""

    messages = (Chat,)

    async def run(self) -> None:
        for name in (*self.view.neighbours, *self.view.siblings):
            self.send(name, Chat(3, self.rng.random()))
        self.spawn(self.mutter(), "mutter")
        for _ in range(10):
            try:
                async with self.timeout(self.rng.uniform(1, 9)):
                    mail = await self.drain()
            except TimeoutError:
                continue
            for sender, chat in mail:
                self.check(1 + int(4 * chat.word))
                if chat.left and self.rng.random() < 0.8:
                    self.send(sender, Chat(chat.left - 1, self.rng.random()))
            if self.view.size:
                self.assign(self.rng.integer(self.view.size))

    async def mutter(self) -> None:
        for _ in range(3):
            await self.sleep(self.rng.exponential(2))
            for name in self.view.neighbours[:1]:
                self.send(name, Chat(0, self.rng.random()))


class Counts(Observer):
    name = "counts"

    def start(self) -> None:
        self.by_pair: dict[str, int] = {}

    def observe(self, delivery: Delivery) -> None:
        pair = f"{delivery.src}>{delivery.dst}"
        self.by_pair[pair] = self.by_pair.get(pair, 0) + 1

    def findings(self) -> Any:
        return self.by_pair


NETWORKS = [
    "unit",
    "constant:0",
    "uniform:1,10",
    "exponential:3+loss:.1+duplicate:.2+reorder",
    "lognormal:0,1+loss:.3+duplicate:.1+reliable",
    "unit+loss:.1",
]

PROBLEMS = [0, 2, 3, 5, 7, 10]
"""Seeds of problems that have six constraints or more."""

Order = Callable[[list[Any]], list[Any]]


def shuffled(seed: int) -> Order:
    def shuffle(activities: list[Any]) -> list[Any]:
        return [activities[i] for i in np.random.default_rng(seed).permutation(len(activities))]

    return shuffle


def log_of(problem: Problem, solver: str | type[Agent], order: Order | None = None, **options: Any) -> bytes:
    result = simulate(problem, solver, observers=[Counts], task_order=order, **options)
    assert isinstance(result.log._source, bytes)
    return result.log._source


def write_logs(folder: Path, shuffle_seed: int) -> None:
    """Write a log for each of several runs, its tasks started in another order for each shuffle seed."""
    for k, network in enumerate(NETWORKS):
        for solver in ("synchbb", Chatter):
            if solver == "synchbb" and network.startswith(("exponential", "unit+loss")):
                network += "+reliable"
            problem = random_problem(np.random.default_rng(PROBLEMS[k]))
            name = solver if isinstance(solver, str) else "chatter"
            simulate(
                problem,
                solver,
                seed=k,
                network=network,
                check_cost=0.25 * (k % 2),
                observers=[Counts],
                log=folder / f"{k}-{name}.amlog",
                task_order=shuffled(shuffle_seed),
            )


def test_two_processes_with_other_hash_seeds_and_task_orders_write_the_same_bytes(tmp_path: Path) -> None:
    folders = []
    for hash_seed, shuffle_seed in ((0, 1), (4242, 2)):
        folder = tmp_path / str(hash_seed)
        folder.mkdir()
        folders.append(folder)
        env = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
        command = [sys.executable, __file__, str(folder), str(shuffle_seed)]
        subprocess.run(command, check=True, env=env, timeout=120)
    names = sorted(p.name for p in folders[0].iterdir())
    assert len(names) == 2 * len(NETWORKS)
    for name in names:
        logs = [(folder / name).read_bytes() for folder in folders]
        assert logs[0] == logs[1], name
        assert b"CHAT" in logs[0] or b"FWD" in logs[0], name
    for name in names:
        if "synchbb" in name:
            assert replay(folders[0] / name, verify=True).verified is True
        else:
            assert replay(folders[0] / name, verify=True, solver=Chatter).first_difference is None


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    shuffle=st.integers(0, 10_000),
    network=st.sampled_from(NETWORKS),
    check_cost=st.sampled_from([0.0, 0.5]),
)
def test_the_order_in_which_tasks_start_changes_nothing(
    seed: int, shuffle: int, network: str, check_cost: float
) -> None:
    problem = random_problem(np.random.default_rng(seed))
    options: dict[str, Any] = {"seed": seed, "network": network, "check_cost": check_cost}
    assert log_of(problem, Chatter, **options) == log_of(problem, Chatter, shuffled(shuffle), **options)


def test_the_order_in_which_tasks_start_is_really_another() -> None:
    """Or the test above could not fail."""
    started: list[list[str]] = [[], []]
    problem = random_problem(np.random.default_rng(3))
    for k, order in enumerate((None, lambda activities: activities[::-1])):

        class Noted(Chatter):
            async def run(self, k: int = k) -> None:
                started[k].append(self.name)
                await super().run()

        simulate(problem, Noted, task_order=order)
    assert len(started[0]) > 2
    assert started[0] == started[1][::-1]


class Refuses:
    def __init__(self) -> None:
        self.sends = 4

    def before_send(self, *args: Any) -> Any:
        self.sends -= 1
        return "send" if self.sends else "abandon"


@pytest.mark.parametrize(
    "stop", [{"gates": True}, {"max_messages": 17}, {"max_time": 2.5}, {"network": "unit+loss:.5"}]
)
def test_a_run_that_ends_early_ends_alike(stop: dict[str, Any]) -> None:
    problem = random_problem(np.random.default_rng(4))
    logs = []
    for order in (None, shuffled(1), shuffled(2)):
        options = {**stop, "gates": {problem.agents[-1]: Refuses()}} if "gates" in stop else stop
        logs.append(log_of(problem, Chatter, order, **options))
    assert logs[0] == logs[1] == logs[2]


@pytest.mark.parametrize("network", [n for n in NETWORKS if n not in ("unit", "constant:0")])
def test_another_seed_gives_another_run(network: str) -> None:
    problem = random_problem(np.random.default_rng(3))
    logs = [log_of(problem, Chatter, seed=seed, network=network) for seed in range(5)]
    bodies = [[r for r in replay_records(log)] for log in logs]
    assert all(a != b for i, a in enumerate(bodies) for b in bodies[:i])


def replay_records(log: bytes) -> list[Any]:
    from agentsim.record.log import LogReader

    return list(LogReader(log).records())


def test_another_seed_changes_the_network_alone_where_agents_draw_nothing() -> None:
    problem = chain("abc")
    runs = [simulate(problem, "synchbb", seed=seed, network="uniform:1,10") for seed in (1, 2)]
    assert runs[0].virtual_time != runs[1].virtual_time
    assert [d.payload for d in runs[0].log] == [d.payload for d in runs[1].log]


def chain(names: str, isolated: str = "", agents: tuple[str, ...] = ()) -> Problem:
    d = Domain("d", (0, 1, 2))
    return Problem.build(
        [Variable(n, d, unary=[2, 0, 1]) for n in names + isolated],
        [Constraint(x + y, (x, y), [[1, 2, 0]] * 3) for x, y in pairwise(names)],
        agents=agents,
    )


def events(problem: Problem, solver: Any, network: str, nodes: str) -> list[Any]:
    """What happened among `nodes`: deliveries, fates and values, without the numbers that count everybody's."""
    found = []
    for record in simulate(problem, solver, seed=5, network=network).log.records():
        if type(record[0]) is int and record[4] in nodes and record[5] in nodes:
            found.append(record[1:])
        elif (record[0] == "fate" and record[3] in nodes) or (record[0] in ("assign", "bound") and record[2] in nodes):
            found.append(record)
    return found


@pytest.mark.parametrize("solver", ["synchbb", Chatter])
@pytest.mark.parametrize("network", ["uniform:1,10", "exponential:2", "uniform:1,3+loss:.3+duplicate:.2+reliable"])
def test_adding_an_agent_does_not_shift_anothers_draws(solver: Any, network: str) -> None:
    alone = events(chain("abc"), solver, network, "abc")
    assert len(alone) > 10
    assert events(chain("abc", isolated="z"), solver, network, "abc") == alone
    assert events(chain("abc", isolated="yz"), solver, network, "abc") == alone
    assert events(chain("abc", agents=("a", "b", "c", "idle")), solver, network, "abc") == alone


def test_another_component_does_not_shift_anothers_draws() -> None:
    """Two chains that know nothing of each other run as each does alone."""
    d = Domain("d", (0, 1, 2))

    def chains(*groups: str) -> Problem:
        return Problem.build(
            [Variable(n, d) for g in groups for n in g],
            [Constraint(x + y, (x, y), [[1, 2, 0]] * 3) for g in groups for x, y in pairwise(g)],
        )

    both = chains("abc", "xyz")
    for group in ("abc", "xyz"):
        alone = events(chains(group), Chatter, "uniform:1,10+loss:.1", group)
        assert events(both, Chatter, "uniform:1,10+loss:.1", group) == alone


if __name__ == "__main__":
    write_logs(Path(sys.argv[1]), int(sys.argv[2]))


def test_an_observer_changes_nothing_where_an_agent_has_several_variables() -> None:
    """Nodes of one agent share a clock: which of them runs first shows in the stamps of their messages."""

    class Watcher(Observer):
        def observe(self, delivery: Delivery) -> None:
            pass

    compared = 0
    for seed in range(40):
        problem = random_problem(np.random.default_rng(seed), max_variables=5)
        if len(problem.agents) >= len(problem.variables):
            continue
        alone, watched = (
            simulate(problem, "mgm", rounds=4, seed=seed, network="unit+duplicate:.5", observers=observers)
            for observers in ([], [Watcher])
        )
        stamps = [[(d.src, d.dst, d.stamp, d.payload) for d in result.log] for result in (alone, watched)]
        assert stamps[0] == stamps[1], seed
        compared += 1
    assert compared > 5
