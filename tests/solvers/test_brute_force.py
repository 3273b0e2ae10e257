"""The brute-force solver against the oracle that tries all assignments without agents, and what its messages say."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from agentsim import simulate
from agentsim.dcop.problem import Constraint, Domain, Problem, Variable
from agentsim.dcop.tables import NamedTable
from agentsim.errors import SolverRefusal
from agentsim.runtime.result import Result
from agentsim.runtime.setup import prepare
from agentsim.runtime.statements import CostTable, Nothing, ReaderContext, Unanalysed, uncovered
from agentsim.testing import Truth, brute_force, random_problem
from solvers import brute_force as module
from solvers.brute_force import BruteForce, least

NETWORKS = ["unit", "uniform:1,10", "exponential:3", "uniform:1,5+loss:.3+duplicate:.2+reorder+reliable"]


def is_right(result: Result, optimum: float) -> bool:
    if math.isinf(optimum):
        return result.status == "infeasible"
    return result.status == "optimal" and abs(result.cost - optimum) < 1e-9 and abs(result.bound - optimum) < 1e-9


def pair() -> Problem:
    domain = Domain("d", (0, 1, 2))
    table = np.arange(9).reshape(3, 3)[::-1]
    return Problem.build([Variable("x", domain), Variable("y", domain)], [Constraint("c", ("x", "y"), table)])


@pytest.mark.parametrize("network", [*NETWORKS, "uniform:1,10+duplicate:.3+reorder"])
def test_finds_the_optimum(network: str) -> None:
    for seed in range(60):
        problem = random_problem(np.random.default_rng(seed))
        result = simulate(problem, BruteForce, seed=seed, network=network)
        assert is_right(result, brute_force(problem)), f"seed {seed}: {result.status} {result.cost} {result.bound}"


def test_every_statement_is_true_and_every_field_covered() -> None:
    for seed in range(80):
        problem = random_problem(np.random.default_rng(seed))
        result = simulate(problem, BruteForce, seed=seed, network=NETWORKS[seed % 4])
        setup = prepare(problem, BruteForce, "brute-force", {})
        reader = BruteForce.reader(ReaderContext.of(setup, ()))
        truth = Truth(setup, problem.indices(result.assignment) if result.assignment else None)
        for delivery in result.log:
            statements = list(reader.read(delivery))
            assert not uncovered(delivery, statements)
            assert all(truth.holds(statement) for statement in statements), f"seed {seed}: {delivery}"
            if delivery.type == "COSTS":
                kind = CostTable if delivery.message.tables else Nothing
                assert [type(s) for s in statements] == [kind]


def test_tables_too_many_to_add_up_are_said_to_be_unanalysed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READER_CELLS", 8)
    result = simulate(pair(), BruteForce)
    reader = BruteForce.reader(ReaderContext.of(prepare(pair(), BruteForce, "brute-force", {}), ()))
    first, *_ = result.log
    statements = list(reader.read(first))
    assert isinstance(statements[0], Unanalysed)
    assert not uncovered(first, statements)


def test_same_assignment_whatever_the_network() -> None:
    for seed in range(30):
        problem = random_problem(np.random.default_rng(seed))
        found = [simulate(problem, BruteForce, seed=seed, network=network).assignment for network in NETWORKS]
        assert all(assignment == found[0] for assignment in found), f"seed {seed}"


def test_figures_computed_by_hand() -> None:
    result = simulate(pair(), BruteForce)
    assert result.cost == 0
    assert result.assignment == {"x": 2, "y": 0}
    assert result.checks == result.nccc == 9
    assert {name: metrics.count for name, metrics in result.by_type.items()} == {"COSTS": 1, "VALUE": 1}
    assert result.virtual_time == 2


@pytest.mark.parametrize("block", [1, 5, 64])
def test_least_is_the_first_of_least_cost(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_CELLS", block)
    rng = np.random.default_rng(3)
    sizes = {"a": 2, "b": 3, "c": 1, "d": 4}
    scopes = [("a",), ("d", "b"), ("c", "d", "a"), (), ("b",)]
    for _ in range(50):
        functions: list[NamedTable] = [
            (scope, np.asarray(rng.integers(0, 3, [sizes[name] for name in scope]))) for scope in scopes
        ]
        costs = {
            cell: sum(int(table[tuple(cell[list(sizes).index(n)] for n in scope)]) for scope, table in functions)
            for cell in product(*map(range, sizes.values()))
        }
        values, cost = least(functions, sizes)
        assert cost == min(costs.values())
        assert tuple(values.values()) == next(cell for cell, c in costs.items() if c == cost)


def test_refuses_what_would_take_too_long() -> None:
    domain = Domain("d", tuple(range(10)))
    variables = [Variable(f"x{i}", domain) for i in range(9)]
    line = [Constraint(f"c{i}", (f"x{i}", f"x{i + 1}"), np.eye(10)) for i in range(8)]
    with pytest.raises(SolverRefusal, match="9 variables connected with x1 have 1000000000 assignments"):
        simulate(Problem.build(variables, line), BruteForce)
    assert simulate(Problem.build(variables, line[:3] + line[4:]), BruteForce).cost == 0  # components one by one


def test_the_root_leads() -> None:
    result = simulate(pair(), BruteForce, root="y")
    assert [(d.src, d.dst, d.type) for d in result.log] == [("x", "y", "COSTS"), ("y", "x", "VALUE")]
