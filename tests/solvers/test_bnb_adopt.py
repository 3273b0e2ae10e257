"""BnB-ADOPT and BnB-ADOPT+ against brute force, their invariants, and each guard they need."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from agentsim import simulate
from agentsim.dcop.problem import Constraint, Domain, Problem, Variable
from agentsim.runtime.agent import Agent
from agentsim.runtime.result import Result
from agentsim.runtime.setup import prepare
from agentsim.testing import brute_force, random_problem
from solvers import bnb_adopt_plus
from solvers.bnb_adopt import BnBAdopt, Cost, Terminate, Value
from solvers.bnb_adopt_plus import BnBAdoptPlus

SOLVERS = [BnBAdopt, BnBAdoptPlus]
NETWORKS = ["unit", "uniform:1,10", "exponential:3", "uniform:1,5+loss:.3+duplicate:.2+reorder+reliable"]


def is_right(result: Result, optimum: float) -> bool:
    if math.isinf(optimum):
        return result.status == "infeasible"
    return result.status == "optimal" and abs(result.cost - optimum) < 1e-9


def zero_one_problem(seed: int, n: int = 6) -> Problem:
    """Costs of 0 and 1 on a dense graph: ties everywhere."""
    rng = np.random.default_rng(seed)
    domain = Domain("d", (0, 1, 2))
    return Problem.build(
        [Variable(f"x{i}", domain) for i in range(n)],
        [
            Constraint(f"c{i}{j}", (f"x{i}", f"x{j}"), rng.integers(0, 2, (3, 3)))
            for j in range(n)
            for i in range(j)
            if rng.random() < 0.8
        ],
    )


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_finds_the_optimum(solver: type[Agent], network: str) -> None:
    for seed in range(16):
        problem = random_problem(np.random.default_rng(seed))
        result = simulate(problem, solver, seed=seed, network=network, invariants=True, max_messages=500_000)
        assert is_right(result, brute_force(problem)), f"seed {seed}: {result.status} {result.cost}"


@pytest.mark.parametrize("solver", SOLVERS)
def test_survives_duplicates_by_itself(solver: type[Agent]) -> None:
    for seed in range(100, 110):
        problem = random_problem(np.random.default_rng(seed))
        result = simulate(problem, solver, seed=seed, network="uniform:1,10+duplicate:.2", invariants=True)
        assert is_right(result, brute_force(problem)), f"seed {seed}: {result.status} {result.cost}"


@pytest.mark.parametrize("solver", SOLVERS)
def test_ties(solver: type[Agent]) -> None:
    for seed in range(12):
        problem = zero_one_problem(seed)
        result = simulate(problem, solver, seed=seed, network=NETWORKS[seed % 4], invariants=True)
        assert is_right(result, brute_force(problem)), f"seed {seed}: {result.status} {result.cost}"


def test_plus_sends_far_fewer_messages_in_as_many_cycles() -> None:
    plain, plus = ([simulate(zero_one_problem(seed), solver) for seed in range(20)] for solver in SOLVERS)
    assert sum(r.messages for r in plus) * 2.5 < sum(r.messages for r in plain)
    assert sum(r.virtual_time for r in plus) < 1.2 * sum(r.virtual_time for r in plain)


# The guards: each is taken away, and the result is wrong ----------------------------------------------------------


class StopsAtOnce(BnBAdopt):
    """A literal reading of the paper: an agent ends when TERMINATE comes."""

    def decide(self) -> None:
        super().decide()
        if self.terminated and not self.finished:
            self.sent = []
            self.add_terminate()
            for name, told in self.sent:
                self.send(name, told)
            self.finish()


class ByLowerBound(BnBAdopt):
    """Ends with a value of least lower bound, proved or not."""

    def choose(self, may_end: bool) -> int:
        return self.lb.index(self.LB) if may_end else super().choose(may_end)


def wrong(solver: type[Agent], problems: Iterable[Problem]) -> int:
    return sum(not is_right(simulate(p, solver, max_messages=200_000), brute_force(p)) for p in problems)


def test_terminate_alone_is_no_reason_to_stop() -> None:
    problems = [zero_one_problem(seed) for seed in range(12)]
    assert wrong(StopsAtOnce, problems) > 0
    assert wrong(BnBAdopt, problems) == 0


def test_the_last_value_is_chosen_by_upper_bound() -> None:
    problems = [zero_one_problem(seed) for seed in range(12)]
    assert wrong(ByLowerBound, problems) > 0
    assert wrong(BnBAdopt, problems) == 0


@pytest.mark.parametrize("solver", SOLVERS)
def test_two_values_never_share_an_id(solver: type[Agent]) -> None:
    for seed in range(20):
        result = simulate(zero_one_problem(seed), solver, seed=seed, network=NETWORKS[seed % 3])
        value_of: dict[tuple[str, int], int] = {}
        for delivery in result.log:
            if delivery.type == "VALUE":
                received = solver.messages[0](*delivery.message)
                assert value_of.setdefault((delivery.src, received.id), received.value) == received.value


# One agent by itself ----------------------------------------------------------------------------------------------


class Wire:
    """A port that keeps what is sent; the rest of it does nothing."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Any]] = []
        self.finished = False

    def send(self, to: str, message: Any) -> None:
        self.sent.append((to, message))

    def check(self, n: int) -> None: ...

    def assign(self, value: int) -> None: ...

    def bound(self, lower: float | None, upper: float | None) -> None: ...

    def take(self) -> list[tuple[str, Any]]:
        taken, self.sent = self.sent, []
        return taken


def middle(solver: type[Any]) -> tuple[Any, Wire]:
    """Return agent b of a clique a, b, c, d in a chain of that order, started, and its wire."""
    domain = Domain("d", (0, 1))
    table = np.array([[0, 1], [1, 0]])
    pairs = ("ab", "ac", "ad", "bc", "bd", "cd")
    problem = Problem.build([Variable(n, domain) for n in "abcd"], [Constraint(p, tuple(p), table) for p in pairs])
    setup = prepare(problem, solver, "solver", {"order": "a,b,c,d", "invariants": True})
    wire = Wire()
    agent = solver(setup.view("b"), wire, setup.params)
    agent.start()
    return agent, wire


def test_messages_of_the_first_cycle() -> None:
    _, wire = middle(BnBAdopt)
    assert wire.sent == [
        ("c", Value(0, 1, math.inf)),
        ("d", Value(0, 1, math.inf)),
        ("a", Cost({"a": 0}, (0,), 0, math.inf)),
    ]


def test_a_changed_context_starts_anew() -> None:
    agent, wire = middle(BnBAdopt)
    agent.on_cost("c", Cost({"a": 0, "b": 0}, (0, 1), 2, 2))
    agent.on_cost("c", Cost({"a": 0, "b": 1}, (0, 1), 1, 4))
    agent.on_value("a", Value(0, 1, 7))
    agent.decide()
    assert (agent.LB, agent.UB, agent.value, agent.id, agent.threshold) == (2, 2, 0, 1, 7)
    agent.on_value("a", Value(1, 2, 5))
    assert agent.threshold == 5
    agent.decide()
    assert (agent.LB, agent.UB, agent.value, agent.id) == (0, math.inf, 1, 2)
    agent.on_value("a", Value(0, 1, 9))  # an old one, late: the value is known to be stale
    agent.decide()
    assert agent.context == {"a": 1}
    agent.on_cost("c", Cost({"a": 0, "b": 0}, (1, 1), 2, 2))  # and so are bounds under it
    agent.decide()
    assert (agent.lb, agent.ub) == ([1, 0], [math.inf, math.inf])
    agent.on_cost("c", Cost({"a": 0, "b": 0}, (3, 1), 2, 2))  # a child may know better
    agent.decide()
    assert agent.context == {"a": 0}
    assert (agent.lb, agent.ub, agent.threshold) == ([2, 1], [2, math.inf], math.inf)
    wire.take()


def test_threshold_of_a_child_is_what_all_else_leaves() -> None:
    agent, wire = middle(BnBAdopt)
    agent.on_value("a", Value(1, 1, 9))
    agent.on_cost("c", Cost({"a": 1, "b": 1}, (1, 1), 2, 6))
    wire.take()
    agent.decide()
    child, value = next((to, m) for to, m in wire.sent if isinstance(m, Value))
    assert child == "c"
    assert (agent.value, agent.UB, agent.delta) == (0, 6, [1, 0])
    assert value.threshold == 6 - 1
    agent.children[0].lb, agent.children[0].ub = [math.inf, math.inf], [math.inf, math.inf]
    agent.stale = {0, 1}
    agent.sum_bounds()
    assert agent.threshold_of(agent.children[0]) == 0


def test_terminate_tells_a_child_its_separator_and_waits_for_proof() -> None:
    agent, wire = middle(BnBAdopt)
    wire.take()
    agent.on_terminate("a", Terminate({"a": 1}, (4,)))
    agent.decide()
    assert not agent.finished
    assert not [m for _, m in wire.take() if isinstance(m, Cost)], "a COST to an agent that has ended"
    agent.on_cost("c", Cost({"a": 1, "b": 1}, (4, 1), 0, 0))
    agent.decide()
    assert agent.finished
    assert wire.sent[-1] == ("c", Terminate({"a": 1, "b": 1}, (4, agent.id)))


def test_plus_repeats_a_cost_when_ids_changed_though_values_did_not() -> None:
    agent, wire = middle(BnBAdoptPlus)
    wire.take()
    agent.on_value("a", Value(0, 1, 7))
    agent.decide()
    assert [to for to, _ in wire.take()] == ["a"]  # the id is news
    agent.decide()
    assert wire.take() == []
    agent.on_value("a", Value(1, 2, 7))
    agent.on_value("a", Value(0, 3, 7))  # and back within one batch
    agent.decide()
    (cost,) = [m for to, m in wire.take() if to == "a"]
    assert (cost.context, cost.ids, cost.ask) == ({"a": 0}, (3,), True)


def test_plus_answers_a_child_that_asks() -> None:
    agent, wire = middle(BnBAdoptPlus)
    wire.take()
    agent.on_cost("c", bnb_adopt_plus.Cost({"a": 0, "b": 0}, (0, 1), 0, math.inf, True))
    agent.decide()
    assert [(to, type(m)) for to, m in wire.take()] == [("c", Value)]
    agent.on_cost("c", bnb_adopt_plus.Cost({"a": 0, "b": 0}, (0, 1), 0, math.inf, False))
    agent.decide()
    assert wire.take() == []
