"""The distributed DFS finds the very tree that is computed beforehand, with as many messages as it says."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import pytest

from agentsim import simulate
from agentsim.dcop.ordering import HEURISTICS
from agentsim.dcop.problem import Constraint, Domain, Problem, Variable
from agentsim.dcop.pseudotree import TreePlace
from agentsim.runtime.agent import Agent
from agentsim.runtime.dfs import DFS_MESSAGES, read_dfs
from agentsim.runtime.result import Result
from agentsim.runtime.setup import TreeParams, prepare
from agentsim.runtime.statements import uncovered
from agentsim.testing import brute_force, random_problem
from solvers.dpop import Dpop
from solvers.mb_dpop import MbDpop

NETWORKS = [
    "unit",
    "uniform:1,10",
    "exponential:3",
    "uniform:1,5+loss:.3+duplicate:.2+reorder+reliable",
    "uniform:1,10+duplicate:.3",
    "exponential:3+reorder",
]


class Seeker(Agent):
    """Has a place in the tree and ends."""

    Params = TreeParams
    place = "tree"
    found: ClassVar[dict[str, TreePlace]] = {}

    async def run(self) -> None:
        self.found[self.name] = self.view.tree


def seek(problem: Problem, **options: Any) -> tuple[dict[str, TreePlace], Result]:
    Seeker.found = {}
    result = simulate(problem, Seeker, tree="messages", **options)
    return Seeker.found, result


def wide_problem(seed: int) -> Problem:
    return random_problem(np.random.default_rng(seed), max_variables=14, max_cells=10**9)


def edges(problem: Problem) -> int:
    return sum(map(len, problem.primal_graph().values())) // 2


def computed(problem: Problem, **params: str) -> dict[str, TreePlace]:
    tree = prepare(problem, Seeker, "seeker", {"tree": "messages", **params}).tree
    assert tree is not None
    return {name: tree[name] for name in tree}


def sent(result: Result) -> dict[str, int]:
    counts = dict.fromkeys(("SCORE", "LEAD", "VISITED", "COUNT", "CHILD", "PSEUDO", "DONE"), 0)
    for delivery in result.log:
        if delivery.copy == 0:
            counts[delivery.type] += 1
    return counts


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("order", [None, *HEURISTICS, "names"])
def test_finds_the_computed_tree(order: str | None, network: str) -> None:
    for seed in range(15):
        problem = wide_problem(seed)
        rng = np.random.default_rng(seed)
        names = [str(name) for name in rng.permutation(list(problem.variables))]
        params = {} if order is None else {"order": order}
        if order == "names":
            params["order"] = ",".join(names[: int(rng.integers(1, len(names) + 1))])
        if seed % 3 == 0:
            params["root"] = names[-1]
        found, result = seek(problem, seed=seed, network=network, **params)
        assert result.status == "finished", f"seed {seed}: {result.deadlock}"
        assert found == computed(problem, **params), f"seed {seed}"


def test_message_counts() -> None:
    for seed in range(40):
        problem = wide_problem(seed)
        m = edges(problem)
        for order in ("degree", "mcn"):
            _, result = seek(problem, seed=seed, network=NETWORKS[seed % 4], order=order)
            counts = sent(result)
            assert counts["CHILD"] + counts["PSEUDO"] + counts["DONE"] == 2 * m
            assert counts["SCORE"] == 2 * m
            assert counts["VISITED"] == counts["COUNT"] == (m if order == "mcn" else 0)
            assert counts["LEAD"] >= 2 * m


def test_places_fit_together() -> None:
    for seed in range(40):
        problem = wide_problem(seed)
        graph = problem.primal_graph()
        found, _ = seek(problem, seed=seed, network="exponential:3")
        for name, place in found.items():
            parent = () if place.parent is None else (place.parent,)
            together = [*parent, *place.children, *place.pseudo_parents, *place.pseudo_children]
            assert sorted(together) == sorted(graph[name])
            assert all(found[child].parent == name for child in place.children)
            assert all(name in found[above].pseudo_children for above in place.pseudo_parents)
            assert all(found[child].separator == own for child, own in place.child_separators.items())
            assert place.parent is not None or not place.separator
        for constraint in problem.constraints.values():
            depths = [found[name].depth for name in constraint.scope]
            assert len(set(depths)) == len(depths)


def test_an_isolated_variable_sends_nothing() -> None:
    domain = Domain("d", (0, 1))
    problem = Problem.build(
        [Variable(name, domain) for name in ("alone", "a", "b")], [Constraint("c", ("a", "b"), np.eye(2))]
    )
    found, result = seek(problem)
    assert found["alone"] == TreePlace("alone", None, (), (), (), 0, (), {})
    assert sum(sent(result).values()) == 2 + 2 + 2


def test_a_long_chain_takes_a_linear_number_of_messages() -> None:
    n = 300
    domain = Domain("d", (0, 1))
    problem = Problem.build(
        [Variable(f"x{i}", domain) for i in range(n)],
        [Constraint(f"c{i}", (f"x{i}", f"x{i + 1}"), np.eye(2)) for i in range(n - 1)],
    )
    found, result = seek(problem)
    assert found == computed(problem)
    assert sum(sent(result).values()) < 8 * n


@pytest.mark.parametrize("solver", [Dpop, MbDpop])
def test_mail_of_the_algorithm_that_comes_early_is_kept(solver: type[Agent]) -> None:
    """A leaf sends its table right after its DONE, long before the root has its place."""
    params = {"k": 1} if solver is MbDpop else {}
    for seed in range(40):
        problem = random_problem(np.random.default_rng(seed))
        result = simulate(problem, solver, seed=seed, network=NETWORKS[seed % 4], tree="messages", **params)
        optimum = brute_force(problem)
        if math.isinf(optimum):
            assert result.status == "infeasible", f"seed {seed}"
        else:
            assert result.status == "optimal", f"seed {seed}: {result.deadlock}"
            assert result.cost == pytest.approx(optimum), f"seed {seed}"


def test_reader_covers_every_field() -> None:
    kinds = set()
    for seed in range(10):
        _, result = seek(wide_problem(seed), seed=seed, order="mcn")
        for delivery in result.log:
            assert not uncovered(delivery, read_dfs(delivery))
            kinds.add(delivery.type)
    assert len(kinds) == len(DFS_MESSAGES)
