"""ADOPT+ against brute force, its invariants, and when it sends what. See test_adopt.py for what its messages say."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from agentsim import simulate
from agentsim.dcop.problem import Constraint, Domain, Problem, Variable
from agentsim.runtime.result import Result
from agentsim.runtime.setup import prepare
from agentsim.testing import brute_force, random_problem
from solvers.adopt import Adopt
from solvers.adopt_plus import AdoptPlus, Cost, Terminate, Value

NETWORKS = ["unit", "uniform:1,10", "exponential:3", "uniform:1,5+loss:.3+duplicate:.2+reorder+reliable"]


def is_right(result: Result, optimum: float) -> bool:
    if math.isinf(optimum):
        return result.status == "infeasible"
    return result.status == "optimal" and abs(result.cost - optimum) < 1e-9


@pytest.mark.parametrize("network", NETWORKS)
def test_finds_the_optimum(network: str) -> None:
    for seed in range(24):
        problem = random_problem(np.random.default_rng(seed))
        result = simulate(problem, AdoptPlus, seed=seed, network=network, invariants=True, max_messages=500_000)
        assert is_right(result, brute_force(problem)), f"seed {seed}: {result.status} {result.cost}"


def test_survives_duplicates_by_itself() -> None:
    for seed in range(200, 215):
        problem = random_problem(np.random.default_rng(seed))
        result = simulate(problem, AdoptPlus, seed=seed, network="uniform:1,10+duplicate:.2", invariants=True)
        assert is_right(result, brute_force(problem)), f"seed {seed}: {result.status} {result.cost}"


def clique(n: int, colours: int) -> Problem:
    domain = Domain("d", tuple(range(colours)))
    return Problem.build(
        [Variable(f"x{i}", domain) for i in range(n)],
        [Constraint(f"c{i}{j}", (f"x{i}", f"x{j}"), np.eye(colours, dtype=int)) for j in range(n) for i in range(j)],
    )


def test_sends_far_fewer_messages_than_adopt_in_as_many_cycles() -> None:
    for n in (5, 6, 7):
        plain, plus = simulate(clique(n, 3), Adopt), simulate(clique(n, 3), AdoptPlus)
        assert plain.cost == plus.cost
        assert plus.messages * 2.5 < plain.messages
        assert plus.virtual_time < 1.2 * plain.virtual_time


def test_nothing_is_sent_twice_unless_asked_for() -> None:
    for seed in range(10):
        problem = random_problem(np.random.default_rng(seed))
        result = simulate(problem, AdoptPlus, seed=seed, network="exponential:3")
        last: dict[tuple[str, str, str], bytes] = {}
        asked: set[tuple[str, str]] = set()
        for delivery in result.log:
            src, dst, kind, received = delivery.src, delivery.dst, delivery.type, delivery.message
            if last.get((src, dst, kind)) == delivery.payload:
                assert (kind == "COST" and received.ask) or (dst, src) in asked
            last[src, dst, kind] = delivery.payload
            if kind == "COST" and received.ask:
                asked.add((src, dst))


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


def middle() -> tuple[AdoptPlus, Wire]:
    """Return agent x1 of a chain x0, x1, x2, x3 in a clique, started, and its wire."""
    setup = prepare(clique(4, 2), AdoptPlus, "adopt-plus", {"order": "x0,x1,x2,x3", "invariants": True})
    wire = Wire()
    agent = AdoptPlus(setup.view("x1"), wire, setup.params)  # type: ignore[arg-type]
    agent.start()
    return agent, wire


def test_messages_of_the_first_cycle() -> None:
    _, wire = middle()
    assert wire.sent == [
        ("x2", Value(1, 1, 0)),
        ("x3", Value(1, 1, None)),
        ("x0", Cost({"x0": 0}, (0,), 0, math.inf, False)),
    ]


def test_a_changed_context_drops_bounds_and_threshold_and_asks() -> None:
    agent, wire = middle()
    agent.on_value("x0", Value(0, 1, 4))
    agent.on_cost("x2", Cost({"x0": 0, "x1": 1}, (1, 1), 2, 9, False))
    agent.decide()
    assert (agent.lb, agent.threshold) == ([1, 2], 4)
    wire.take()
    agent.on_value("x0", Value(1, 2, None))
    agent.decide()
    assert (agent.lb, agent.ub, agent.threshold) == ([0, 1], [math.inf, math.inf], 0)
    (cost,) = [m for to, m in wire.take() if to == "x0"]
    assert (cost.ids, cost.ask) == ((2,), True)
    agent.on_value("x0", Value(0, 1, 4))  # late and old: neither the value nor the threshold counts
    agent.decide()
    assert (agent.context, agent.threshold) == ({"x0": 1}, 0)
    assert wire.take() == []


def test_a_cost_is_repeated_when_ids_changed_though_values_did_not() -> None:
    agent, wire = middle()
    agent.on_value("x0", Value(0, 1, 0))
    agent.decide()
    wire.take()
    agent.decide()
    assert wire.take() == []
    agent.on_value("x0", Value(1, 2, 0))
    agent.on_value("x0", Value(0, 3, 0))  # and back within one batch
    agent.decide()
    (cost,) = [m for to, m in wire.take() if to == "x0"]
    assert (cost.context, cost.ids, cost.ask) == ({"x0": 0}, (3,), True)


def test_a_child_that_asks_is_answered_once() -> None:
    agent, wire = middle()
    wire.take()
    question = Cost({"x0": 0, "x1": 1}, (0, 1), 0, math.inf, True)
    agent.on_cost("x2", question)
    agent.decide()
    assert wire.take() == [("x2", Value(1, 1, 0))]
    agent.decide()
    assert wire.take() == []


def test_terminate_waits_for_proof_and_tells_a_child_its_separator() -> None:
    agent, wire = middle()
    agent.on_terminate("x0", Terminate({"x0": 0}, (5,)))
    agent.decide()
    assert not agent.finished
    agent.on_cost("x2", Cost({"x0": 0, "x1": 1}, (5, 1), 1, 1, False))
    agent.decide()
    assert agent.finished
    assert wire.sent[-1] == ("x2", Terminate({"x0": 0, "x1": 1}, (5, 1)))
