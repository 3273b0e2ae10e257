"""Solvers that ask, whatever the network does with time: the same answer, and an end wherever somebody abandons."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from agentsim import Constraint, Domain, Envelope, Problem, UserError, Variable, replay, simulate
from agentsim.testing import brute_force, random_problem
from scenarios.generators.stable_matching import StableMatching, StableMatchingParams
from solvers.asking import AskingAgent
from solvers.leader import Leader
from solvers.n_leaders import NLeaders

SOLVERS = [Leader, NLeaders]
NETWORKS = [
    "uniform:0,5",
    "exponential:3",
    "lognormal:0,2",
    "exponential:1+slow:{someone}*50",
    "exponential:2+loss:.3+reorder+duplicate:.2+reliable",
]
INF = math.inf


def problem_of(rng: np.random.Generator) -> Problem:
    """A small random problem: few different costs, owners from elsewhere, idle agents, much that is forbidden."""
    plain = random_problem(rng, max_cells=12)
    agents = [*plain.agents, *(f"idle{i}" for i in range(int(rng.integers(3))))]
    agents = [agents[i] for i in rng.permutation(len(agents))]
    known = [{"owner": agents[int(rng.integers(len(agents)))]}, {"known_to": "all"}, {}]
    constraints = [replace(c, **known[int(rng.integers(3))]) for c in plain.constraints.values()]
    for i, v in enumerate(plain.variables.values()):
        costs = rng.integers(-1, 3, v.size).astype(float)
        costs[rng.random(v.size) < rng.choice([0, 0.3, 0.7])] = INF if plain.objective == "min" else -INF
        constraints.append(Constraint(f"secret{i}", (v.name,), costs, owner=str(rng.choice(agents))))
    return Problem.build(plain.variables.values(), constraints, objective=plain.objective, agents=agents)


def options_of(rng: np.random.Generator) -> dict[str, Any]:
    return {
        "prune": str(rng.choice(["P1", "P3"])),
        "direction": str(rng.choice(["ascending", "random", "cheapest"])),
        "lie": float(rng.choice([0, 0.3])),
        "avoid": bool(rng.integers(2)),
    }


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_the_answer_does_not_depend_on_the_schedule(solver: type[AskingAgent], network: str) -> None:
    """Not only its cost: the very assignment is that of the network where every message takes 1."""
    ends: Counter[str] = Counter()
    for i in range(16):
        rng = np.random.default_rng([41, i])
        problem, options = problem_of(rng), options_of(rng)
        named = network.format(someone=problem.agents[i % len(problem.agents)])
        result = simulate(problem, solver, seed=i, network=named, **options)
        where = f"problem {i}, {named}, {options}"
        assert result.status == ("infeasible" if math.isinf(brute_force(problem)) else "optimal"), where
        assert result.status == "infeasible" or result.cost == brute_force(problem), where
        assert result.assignment == simulate(problem, solver, seed=i, **options).assignment, where
        if i % 4 == 0:
            assert replay(result.log, verify=True, solver=solver).verified, where
        ends[result.status] += 1
    assert min(ends["optimal"], ends["infeasible"]) > 1


class Patience:
    """Lets so many messages out, then abandons."""

    def __init__(self, limit: int) -> None:
        self.limit, self.refused = limit, False

    def before_send(self, views: Any, envelope: Envelope, statements: Any) -> Any:
        self.limit -= 1
        self.refused = self.limit < 0
        return "abandon" if self.refused else "send"


@pytest.mark.parametrize("network", ["unit", "constant:0", *NETWORKS[:2], NETWORKS[4]])
@pytest.mark.parametrize("solver", SOLVERS)
def test_whenever_anybody_abandons_all_end(solver: type[AskingAgent], network: str) -> None:
    """Agents refuse their first, their second, ..., their last message: all of them, or all but the busiest."""
    ends: Counter[str] = Counter()
    for i in range(4):
        rng = np.random.default_rng([42, i])
        problem, options = problem_of(rng), options_of(rng)
        owners = {v.name: v.agent for v in problem.variables.values()}
        free = simulate(problem, solver, seed=i, network=network, **options)
        busiest = max(problem.agents, key=lambda agent: free.agents[agent].messages)
        for limit in range(min(free.agents[busiest].messages, 10) + 1):
            gates = {agent: Patience(limit) for agent in problem.agents if limit % 2 or agent != busiest}
            result = simulate(problem, solver, seed=i, network=network, gates=gates, **options)
            where = f"problem {i}, {network}, {options}, limit {limit}"
            left = {agent for agent, gate in gates.items() if gate.refused}
            abandoned = [r for r in result.log.records() if r[0] == "abandon"]
            assert (result.status == "abandoned") == bool(left), where
            assert {owners.get(r[2], r[2]) for r in abandoned} == left, where
            assert left or list(result.log) == list(free.log), where
            told: dict[str, float] = {}
            for d in result.log:
                if d.type == "ABANDON":
                    told.setdefault(owners.get(d.dst, d.dst), d.delivered_at)
            assert all(d.sent_at <= told.get(owners.get(d.src, d.src), INF) for d in result.log), where
            replayed = replay(result.log, verify=True, solver=solver)
            assert replayed.verified, (where, replayed.first_difference)
            ends[("nobody", "one")[len(left)] if len(left) < 2 else "several"] += 1
    assert min(ends["nobody"], ends["one"], ends["several"]) > 0, ends


def test_abandoning_reaches_an_agent_whose_first_node_has_finished() -> None:
    """b's node y has its solution, then ABANDON, and only then comes z's: live, z is told nothing any more."""
    d = Domain("d", (0, 1))
    problem = Problem.build(
        [Variable("x", d, "a", unary=[0, 1]), *(Variable(name, d, "b") for name in "yz"), Variable("w", d, "c")]
    )

    class Late(Patience):
        def before_send(self, views: Any, envelope: Envelope, statements: Any) -> Any:
            return "abandon" if (envelope.type, envelope.dst) == ("SOLUTION", "w") else "send"

    result = simulate(problem, Leader, network="exponential:3", seed=31, gates={"a": Late(0)})
    to_b = [(d.dst, d.type) for d in result.log if d.dst in ("y", "z") and d.type != "ASK"]
    assert to_b == [("y", "SOLUTION"), ("y", "ABANDON"), ("z", "SOLUTION")]
    assert not [r for r in result.log.records() if r[0] == "assign" and r[2] == "z"]
    assert replay(result.log, verify=True, solver=Leader).verified


@pytest.mark.parametrize("solver", [Leader, NLeaders])
def test_answers_that_come_twice_or_late_are_told_from_the_one_awaited(solver: type[AskingAgent]) -> None:
    """Without `reliable` a copy of an old answer may come after the next question: it must not count for it."""
    rng = np.random.default_rng(12)
    ends = {"optimal": 0, "deadlock": 0}
    for seed in range(60):
        problem = random_problem(rng, max_variables=4)
        result = simulate(problem, solver, network="uniform:0,5+duplicate:.4", seed=seed, max_time=10_000)
        if result.status in ("optimal", "infeasible"):
            best = brute_force(problem)
            assert math.isinf(best) if result.status == "infeasible" else result.cost == pytest.approx(best, abs=1e-9)
        ends[result.status] = ends.get(result.status, 0) + 1
    assert ends["optimal"] > 30


def test_a_leader_that_crashed_begins_anew_and_is_not_misled() -> None:
    """Answers to what it asked before the crash may still come; then it ends with the optimum or not at all."""
    rng = np.random.default_rng(13)
    ended = 0
    for seed in range(60):
        problem = random_problem(rng, max_variables=3)
        leader = problem.agents[0]
        network = f'exponential:2+crash:"{leader}"@3-3.5'
        result = simulate(problem, Leader, network=network, seed=seed, max_time=10_000)
        if result.status == "optimal":
            ended += 1
            assert result.cost == pytest.approx(brute_force(problem), abs=1e-9)
    assert ended > 10


def test_who_has_abandoned_does_not_come_back() -> None:
    d = Domain("d", (0, 1))
    problem = Problem.build([Variable("x", d, "a", unary=[0, 1]), Variable("y", d, "b", unary=[1, 0])])

    class OnceOnly(Patience):
        def before_send(self, views: Any, envelope: Envelope, statements: Any) -> Any:
            self.limit -= 1
            return "abandon" if self.limit == -1 else "send"

    for seed in range(20):  # with some of them b is told only after a's restart
        result = simulate(problem, Leader, network="exponential:5+crash:a@1-1.5", seed=seed, gates={"a": OnceOnly(0)})
        assert result.status == "abandoned"
        assert [d.type for d in result.log] == ["ABANDON"]
        assert replay(result.log, verify=True, solver=Leader).verified is True


def test_with_closure_one_answer_tells_all_of_two_by_two() -> None:
    """Each participant has one bit: who knows that one of its two values is right knows both after one answer."""
    for seed in range(12):
        problem = StableMatching.generate(StableMatchingParams("STM", 2, 2), seed)
        asked = {}
        for name, options in {
            "plain": {},
            "avoid": {"avoid": True},
            "closure": {"avoid": True, "closure": True},
        }.items():
            result = simulate(problem, Leader, weight="public", **options)
            assert (result.status, result.cost) == ("optimal", 0)
            asked[name] = result.by_type["ASK"].count // 3
        assert asked["closure"] <= 2
        assert asked["closure"] <= asked["avoid"] <= asked["plain"]
    with pytest.raises(UserError, match="closure"):
        simulate(problem, Leader, closure=True)
