"""The anytime mechanism by itself: what it counts, what it decides, and late, old and repeated messages."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from agentsim import simulate
from agentsim.dcop.problem import Constraint, Domain, Problem, Variable
from agentsim.runtime.setup import prepare
from agentsim.testing import random_problem
from solvers.anytime import Anytime, Best, Up
from solvers.pd_gibbs import PdGibbs


class Node:
    """As much of an agent as the mechanism needs: it keeps what it is told to do."""

    def __init__(self, problem: Problem, name: str) -> None:
        self.view = prepare(problem, PdGibbs, "pd-gibbs", {"order": "x,y,z,w"}).view(name)
        self.name = name
        self.sent: list[tuple[str, Any]] = []
        self.value: int | None = None
        self.checks = 0

    def send(self, to: str, message: Any) -> None:
        self.sent.append((to, message))

    def assign(self, value: int) -> None:
        self.value = value

    def check(self, n: int) -> None:
        self.checks += n

    def take(self) -> list[tuple[str, Any]]:
        taken, self.sent = self.sent, []
        return taken


def star() -> Problem:
    """x on top; y and z below it, w below z with a ternary function over all three."""
    domain = Domain("d", (0, 1))
    return Problem.build(
        [Variable("x", domain, unary=[1, 2]), Variable("y", domain), Variable("z", domain), Variable("w", domain)],
        [
            Constraint("xy", ("x", "y"), [[0, 3], [4, math.inf]]),
            Constraint("xz", ("z", "x"), [[5, 6], [7, 8]]),
            Constraint("xzw", ("z", "w", "x"), np.arange(10, 18).reshape(2, 2, 2)),
        ],
    )


def part(name: str, rounds: int = 3, *, costs: bool = True) -> tuple[Node, Anytime]:
    node = Node(star(), name)
    return node, Anytime(node, rounds, costs=costs)  # type: ignore[arg-type]


def test_each_cost_function_is_evaluated_by_the_deepest_of_its_scope() -> None:
    scopes = {name: part(name)[1].scope for name in "xyzw"}
    assert {name: set(scope) for name, scope in scopes.items()} == {"x": set(), "y": {"x"}, "z": {"x"}, "w": {"x", "z"}}
    for values, costs in (((0, 1, 1, 0), (1, 3, 7, 14)), ((1, 0, 0, 1), (2, 4, 6, 13))):
        joint = dict(zip("xyzw", values, strict=True))
        for name, cost in zip("xyzw", costs, strict=True):
            node, mechanism = part(name)
            mechanism.record(joint[name], joint)
            assert node.checks == 1
            if name in "yw":
                assert node.take() == [(node.view.tree.parent, Up(1, 0, cost, False))]


def test_forbidden_tuples_are_counted_apart() -> None:
    node, mechanism = part("y")
    mechanism.record(1, {"x": 1}, steady=True)
    assert node.take() == [("x", Up(1, 1, 0, True))]


def test_a_subtree_reports_once_when_all_of_it_has_finished_the_round() -> None:
    node, mechanism = part("z")
    mechanism.on_up("w", Up(2, 1, 5, True))
    mechanism.on_up("w", Up(1, 0, 10, True))
    assert node.take() == []
    mechanism.record(0, {"x": 0}, steady=True)
    mechanism.on_up("w", Up(1, 0, 10, True))
    mechanism.record(1, {"x": 1})
    assert node.take() == [("x", Up(1, 0, 15, True)), ("x", Up(2, 1, 13, False))]


def test_the_root_tells_of_improvements_and_of_the_end() -> None:
    node, root = part("x", rounds=4)
    for value in (0, 0, 1, 0):
        root.record(value, {})
    for k, (violations, cost) in enumerate([(1, 0), (0, 50), (0, 49), (0, 50)], 1):
        root.on_up("y", Up(k, violations, 0, False))
        root.on_up("z", Up(k, 0, cost, False))
        assert root.over == (k == 4)
    assert [m for to, m in node.take() if to == "y"] == [Best(1, False), Best(2, False), Best(2, True)]
    assert root.best == (0, 51, 2)  # the third round's 49 + 2 is as much: the first of equals stays
    assert node.value == 0


def test_everybody_takes_the_value_of_the_best_round_and_ignores_old_news() -> None:
    node, mechanism = part("z")
    for value in (1, 0, 1):
        mechanism.record(value, {"x": 0})
    mechanism.on_best(Best(2, False))
    assert node.value == 0
    mechanism.on_best(Best(1, False))
    mechanism.on_best(Best(2, False))
    assert node.take() == [("w", Best(2, False))]
    mechanism.on_best(Best(1, True))  # the end is news whatever the round
    assert node.take() == [("w", Best(1, True))]
    assert (node.value, mechanism.over) == (1, True)


def test_all_steady_ends_the_run_and_one_that_is_not_prevents_it() -> None:
    node, root = part("x", rounds=9)
    for k, steady in ((1, False), (2, True)):
        root.record(0, {}, steady=True)
        root.on_up("y", Up(k, 0, 1, True))
        root.on_up("z", Up(k, 0, 1, steady))
    assert [m for to, m in node.take() if to == "z"] == [Best(1, False), Best(1, True)]


def test_without_costs_the_last_round_counts_and_only_the_end_is_told() -> None:
    node, root = part("x", costs=False)
    for value in (0, 1, 0):
        root.record(value, {})
    for k in (1, 3, 2):  # out of order
        root.on_up("y", Up(k, None, None, False))
        root.on_up("z", Up(k, None, None, False))
    assert node.take() == [("y", Best(3, True)), ("z", Best(3, True))]
    assert node.checks == 0


@pytest.mark.parametrize("network", ["unit", "exponential:3", "uniform:1,10+duplicate:.3+reorder"])
def test_counts_of_messages(network: str) -> None:
    for seed in range(15):
        problem = random_problem(np.random.default_rng(seed))
        result = simulate(problem, PdGibbs, seed=seed, network=network, iterations=6)
        sent = {(d.type, d.src, d.dst, d.payload) for d in result.log if d.type in ("UP", "BEST")}
        tree = prepare(problem, PdGibbs, "pd-gibbs", {}).tree
        edges = {(place.parent, name) for name, place in tree.items() if place.parent is not None}
        for parent, child in edges:
            assert sum(s[:3] == ("UP", child, parent) for s in sent) == 6
            assert sum(s[:3] == ("BEST", parent, child) for s in sent) >= 1
        assert {(s[2], s[1]) for s in sent if s[0] == "UP"} == edges
