"""MB-DPOP against brute force and DPOP, its bounds on tables and on the optimum, and what its messages say."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest

from agentsim import simulate
from agentsim.dcop.problem import Constraint, Domain, Problem, Variable
from agentsim.errors import UserError
from agentsim.runtime.result import Result
from agentsim.runtime.setup import prepare
from agentsim.runtime.statements import CostIs, CostTable, ReaderContext, Unanalysed, uncovered
from agentsim.testing import Truth, brute_force, random_problem, twin
from solvers import mb_dpop as module
from solvers.dpop import Dpop
from solvers.mb_dpop import MbDpop

NETWORKS = ["unit", "uniform:1,10", "exponential:3", "uniform:1,5+loss:.3+duplicate:.2+reorder+reliable"]


def is_right(result: Result, optimum: float) -> bool:
    if math.isinf(optimum):
        return result.status == "infeasible"
    return result.status == "optimal" and abs(result.cost - optimum) < 1e-9 and abs(result.bound - optimum) < 1e-9


def clique(n: int, size: int, seed: int = 0) -> Problem:
    rng = np.random.default_rng(seed)
    domain = Domain("d", tuple(range(size)))
    return Problem.build(
        [Variable(f"x{i}", domain) for i in range(n)],
        [
            Constraint(f"c{i}_{j}", (f"x{i}", f"x{j}"), rng.integers(0, 20, (size, size)))
            for i in range(n)
            for j in range(i)
        ],
    )


@pytest.mark.parametrize("network", [*NETWORKS, "uniform:1,10+duplicate:.3"])
@pytest.mark.parametrize("params", [{"k": 1}, {"k": 2}, {"memory": 24, "k": 9}, {}], ids=str)
def test_finds_the_optimum(network: str, params: dict[str, Any]) -> None:
    for seed in range(40):
        problem = random_problem(np.random.default_rng(seed))
        result = simulate(problem, MbDpop, seed=seed, network=network, **params)
        assert is_right(result, brute_force(problem)), f"seed {seed}: {result.status} {result.cost} {result.bound}"


@pytest.mark.parametrize("k", [1, 2, 3])
def test_agrees_with_dpop_on_wider_problems(k: int) -> None:
    kinds: Counter[str] = Counter()
    for seed in range(20):
        problem = random_problem(np.random.default_rng(seed), max_variables=9, max_cells=20_000)
        result = simulate(problem, MbDpop, seed=seed, network=NETWORKS[seed % 4], k=k)
        exact = simulate(problem, Dpop)
        assert (result.status, result.cost) == (exact.status, pytest.approx(exact.cost)), f"seed {seed}"
        kinds.update({name: metrics.count for name, metrics in result.by_type.items()})
    assert kinds["CONTEXT"] > 20, "hardly anything was enumerated"
    assert kinds["KEEP"], "no guess was proved optimal"


def test_the_twin_has_the_negative_optimum() -> None:
    for seed in range(40):
        problem = random_problem(np.random.default_rng(seed))
        assert is_right(simulate(twin(problem), MbDpop, k=1), -brute_force(problem)), f"seed {seed}"


@pytest.mark.parametrize("k", [1, 2])
def test_every_statement_is_true_and_every_field_covered(k: int) -> None:
    seen: Counter[str] = Counter()
    for seed in range(80):
        problem = random_problem(np.random.default_rng(seed))
        result = simulate(problem, MbDpop, seed=seed, network=NETWORKS[seed % 4], k=k)
        setup = prepare(problem, MbDpop, "mb-dpop", {"k": k})
        reader = MbDpop.reader(ReaderContext.of(setup, ()))
        truth = Truth(setup, problem.indices(result.assignment) if result.assignment else None)
        for delivery in result.log:
            statements = list(reader.read(delivery))
            assert not uncovered(delivery, statements)
            assert all(truth.holds(statement) for statement in statements), f"seed {seed}: {delivery}"
            seen.update(f"{delivery.type} {type(s).__name__} {s.label}" for s in statements)
    for kind in (
        "UTIL CostTable subtree-table",
        "LABEL CostIs subtree-lower",
        "PRICE CostIs subtree-upper",
        "KEEP ValueIs decision",
        "VALUE ValueIs decision",
        "GUESS ValueIs guess",
    ):
        assert seen[kind], f"no {kind} among {seen}"


def test_a_wire_shows_less_but_nothing_false() -> None:
    problem = clique(6, 3)
    result = simulate(problem, MbDpop, k=2)
    setup = prepare(problem, MbDpop, "mb-dpop", {"k": 2})
    truth = Truth(setup)
    for up in ("UTIL", "LABEL", "PRICE"):
        reader = MbDpop.reader(ReaderContext.of(setup, ()))
        kinds = set()
        for delivery in result.log:
            if delivery.type == up:
                statements = list(reader.read(delivery))
                assert not uncovered(delivery, statements)
                assert all(truth.holds(statement) for statement in statements)
                kinds.update(map(type, statements))
        assert kinds <= {CostIs, CostTable, Unanalysed} | {module.Nothing}
        assert (Unanalysed in kinds) == (up == "LABEL")


def test_without_a_cut_it_is_dpop() -> None:
    for seed in range(40):
        problem = random_problem(np.random.default_rng(seed))
        ours, dpop = simulate(problem, MbDpop), simulate(problem, Dpop)
        assert ours.assignment == dpop.assignment
        assert (ours.nccc, ours.checks, ours.messages) == (dpop.nccc, dpop.checks, dpop.messages), f"seed {seed}"


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_tables_have_at_most_k_axes(k: int) -> None:
    result = simulate(clique(7, 3), MbDpop, k=k)
    assert result.status == "optimal"
    tables = [d.message.table for d in result.log if d.type == "UTIL"]
    tables += [table for d in result.log if d.type == "LABEL" for table in d.message.tables]
    assert max(table.ndim for table in tables) == k


def test_tables_take_at_most_the_memory_given() -> None:
    for memory in (8, 100, 1000):
        result = simulate(clique(6, 3), MbDpop, memory=memory, k=9)
        assert result.status == "optimal"
        assert max(d.message.table.nbytes for d in result.log if d.type == "UTIL") <= memory


def test_messages_of_a_clique_counted_by_hand() -> None:
    # A chain, all constrained with all. With k = 2 the separator of the last (4 variables) is cut by its two highest,
    # and so is the one before it (3), which has to pass them on. The third's (2) fits: it asks for both cut variables.
    proved = 0
    for seed in range(10):
        problem = clique(5, 2, seed)
        tree = prepare(problem, MbDpop, "mb-dpop", {"k": 2}).tree
        order = tree.preorder()
        result = simulate(problem, MbDpop, k=2)
        labels = {d.src: d.message.cut for d in result.log if d.type == "LABEL"}
        assert labels == {order[1]: (), order[2]: (), order[3]: order[:2], order[4]: order[:2]}
        asked = Counter(d.dst for d in result.log if d.type == "CONTEXT")
        if "KEEP" in result.by_type:
            assert not asked
            proved += 1
            continue
        assert asked[order[1]] == asked[order[2]] == 1
        # Once more in the VALUE phase, unless the table at hand is the right one.
        assert asked[order[3]] == asked[order[4]]
        assert 4 <= asked[order[3]] <= 5
    assert proved < 10


def test_a_run_stopped_at_a_limit_has_a_bound_and_values() -> None:
    stopped = 0
    for seed in range(10):
        problem = clique(8, 3, seed)
        optimum = simulate(problem, Dpop).cost
        result = simulate(problem, MbDpop, k=1, max_messages=100)
        if result.status == "timeout":
            stopped += 1
            assert 0 < result.bound <= optimum <= result.cost < math.inf
    assert stopped > 5


def test_infeasible_is_proved_by_the_bounds_where_they_see_it() -> None:
    domain = Domain("d", (0, 1))
    never = np.full((2, 2), math.inf)
    variables = [Variable(name, domain) for name in "abcd"]
    constraints = [
        Constraint(s, tuple(s), never if s == "cd" else np.eye(2)) for s in ("ab", "ac", "ad", "bc", "bd", "cd")
    ]
    result = simulate(Problem.build(variables, constraints), MbDpop, k=1)
    assert result.status == "infeasible"
    assert result.bound == math.inf
    assert "CONTEXT" not in result.by_type


@pytest.mark.parametrize(("name", "value"), [("k", 0), ("memory", 7)])
def test_parameters_out_of_range_are_refused(name: str, value: int) -> None:
    with pytest.raises(UserError, match=f"{name}={value}"):
        simulate(clique(3, 2), MbDpop, **{name: value})
