"""DPOP against brute force and published optima, hand-computed figures, its size guard, and what its messages say."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest

from agentsim import load, simulate
from agentsim.dcop.problem import Constraint, Domain, Problem, Variable
from agentsim.errors import SolverRefusal, UserError
from agentsim.runtime.failures import AgentFailure
from agentsim.runtime.messages import Envelope
from agentsim.runtime.result import Result
from agentsim.runtime.router import Alter
from agentsim.runtime.setup import prepare
from agentsim.runtime.statements import CostTable, ReaderContext, ValueIs, uncovered
from agentsim.testing import Truth, brute_force, random_problem, twin
from solvers.dpop import Dpop, Util, Value

NETWORKS = ["unit", "uniform:1,10", "exponential:3", "uniform:1,5+loss:.3+duplicate:.2+reorder+reliable"]
INSTANCES = os.environ.get("AGENTSIM_INSTANCES", "")

# Optima of the problem files that nobody here made, proved by an exact solver (README beside them).
OPTIMA = {
    "pydcop/gc_v5_d3.yaml": 16,
    "pydcop/gc_v8_d5.yaml": 20,
    "pydcop/gc_v8_d3_int.yaml": 1000,
    "pydcop/gc_v12_d8_p30.yaml": 16,
    "pydcop/gc_grid100_d3_hard.yaml": 0,
    "pydcop/ising_2x5.yaml": -12.062525448706376,
    "pydcop/ising_3x4.yaml": -49.014756464134166,
    "pydcop/ms_tiny.yaml": 3,
    "pydcop/ms_v15_s20.yaml": 579,
    "pydcop/ms_v25_s20.yaml": 1547,
    "frodo/tiny.xml": 1,
    "wcsp/example.wcsp": 27,
    "wcsp/4queens.wcsp": 0,
    "wcsp/zebra.wcsp": 0,
    "wcsp/GEOM40_6.wcsp": 0,
    "wcsp/mendel.cfn": 1,
}


def is_right(result: Result, optimum: float) -> bool:
    if math.isinf(optimum):
        return result.status == "infeasible"
    return result.status == "optimal" and abs(result.cost - optimum) < 1e-9 and abs(result.bound - optimum) < 1e-9


def chain() -> Problem:
    rng = np.random.default_rng(1)
    x, y, z = (Domain(f"d{n}", tuple(range(n))) for n in (2, 3, 4))
    return Problem.build(
        [Variable("x", x), Variable("y", y), Variable("z", z, unary=rng.integers(0, 9, 4))],
        [
            Constraint("xy", ("x", "y"), rng.integers(0, 9, (2, 3))),
            Constraint("zy", ("z", "y"), rng.integers(0, 9, (4, 3))),
        ],
    )


def clique(n: int, size: int) -> Problem:
    domain = Domain("d", tuple(range(size)))
    return Problem.build(
        [Variable(f"x{i}", domain) for i in range(n)],
        [Constraint(f"c{i}_{j}", (f"x{i}", f"x{j}"), np.eye(size)) for i in range(n) for j in range(i)],
    )


@pytest.mark.parametrize("network", [*NETWORKS, "uniform:1,10+duplicate:.3+reorder"])
def test_finds_the_optimum(network: str) -> None:
    for seed in range(60):
        problem = random_problem(np.random.default_rng(seed))
        result = simulate(problem, Dpop, seed=seed, network=network)
        assert is_right(result, brute_force(problem)), f"seed {seed}: {result.status} {result.cost} {result.bound}"


def test_the_twin_has_the_negative_optimum() -> None:
    for seed in range(40):
        problem = random_problem(np.random.default_rng(seed))
        assert is_right(simulate(twin(problem), Dpop), -brute_force(problem)), f"seed {seed}"


@pytest.mark.parametrize("params", [{"root": "x0"}, {"order": "lexical"}, {"order": "mcn"}, {"order": "x1,x0"}])
def test_finds_the_optimum_on_every_tree(params: dict[str, str]) -> None:
    for seed in range(30):
        problem = random_problem(np.random.default_rng(seed))
        if len(problem.variables) > 1:
            assert is_right(simulate(problem, Dpop, **params), brute_force(problem)), f"seed {seed}"


def test_every_statement_is_true_and_every_field_covered() -> None:
    for seed in range(80):
        problem = random_problem(np.random.default_rng(seed))
        result = simulate(problem, Dpop, seed=seed, network=NETWORKS[seed % 4])
        setup = prepare(problem, Dpop, "dpop", {})
        reader = Dpop.reader(ReaderContext.of(setup, ()))
        truth = Truth(setup, problem.indices(result.assignment) if result.assignment else None)
        for delivery in result.log:
            statements = list(reader.read(delivery))
            assert not uncovered(delivery, statements)
            assert all(truth.holds(statement) for statement in statements), f"seed {seed}: {delivery}"
            assert all(isinstance(s, CostTable if delivery.type == "UTIL" else ValueIs) for s in statements)


def test_figures_of_a_chain_computed_by_hand() -> None:
    result = simulate(chain(), Dpop, root="x")
    # UTIL: z reads 4 private costs and 12 of zy; y 6 of xy and 3 of z's table; x 2 of y's table.
    # VALUE: y reads a row of 3 of each of its tables; z rows of 4 of its own two.
    assert result.nccc == result.checks == (4 + 12) + (6 + 3) + 2 + (3 + 3) + (4 + 4)
    assert {name: metrics.count for name, metrics in result.by_type.items()} == {"UTIL": 2, "VALUE": 2}
    assert result.virtual_time == 4
    util = {d.src: d.message for d in result.log if d.type == "UTIL"}
    problem = chain()
    zy = problem.constraints["zy"].table + problem.variables["z"].unary[:, None]
    assert util["z"].axes == ("y",)
    assert (util["z"].table == zy.min(axis=0)).all()
    assert util["y"].axes == ("x",)
    assert (util["y"].table == (problem.constraints["xy"].table + zy.min(axis=0)).min(axis=1)).all()


def test_ties_go_to_the_first_values() -> None:
    domain = Domain("d", ("a", "b"))
    variables = [Variable(name, domain) for name in "xyz"]
    constraints = [Constraint(scope, tuple(scope), np.zeros((2, 2))) for scope in ("xy", "yz", "xz")]
    result = simulate(Problem.build(variables, constraints), Dpop)
    assert result.assignment == {"x": "a", "y": "a", "z": "a"}


def test_counts_two_messages_per_edge_of_the_forest() -> None:
    domain = Domain("d", (0, 1))
    variables = [Variable(f"x{i}", domain) for i in range(6)]
    scopes = [(0, 1), (1, 2), (0, 2), (3, 4)]
    constraints = [Constraint(f"c{i}{j}", (f"x{i}", f"x{j}"), np.eye(2)) for i, j in scopes]
    result = simulate(Problem.build(variables, constraints, agents=("idle",)), Dpop)
    assert result.status == "optimal"
    assert result.messages == 2 * (2 + 1)


def test_infeasible_is_told() -> None:
    domain = Domain("d", (0, 1))
    problem = Problem.build(
        [Variable("x", domain), Variable("y", domain)], [Constraint("c", ("x", "y"), np.full((2, 2), math.inf))]
    )
    result = simulate(problem, Dpop)
    assert result.status == "infeasible"
    assert result.bound == math.inf


def test_refuses_tables_too_large_with_their_size() -> None:
    problem = clique(9, 10)
    with pytest.raises(SolverRefusal, match=r"separator of 8 variables would have 100000000 cells, 800000000 bytes"):
        simulate(problem, Dpop, memory=799_999_999)
    Dpop.refuse(prepare(problem, Dpop, "dpop", {"memory": 800_000_000}))
    with pytest.raises(SolverRefusal, match="memory=2147483648: mb-dpop"):
        simulate(clique(40, 10), Dpop)
    with pytest.raises(SolverRefusal, match="that a message can carry: mb-dpop"):
        simulate(clique(11, 10), Dpop, memory=2**60)
    with pytest.raises(UserError, match="memory=0"):
        simulate(problem, Dpop, memory=0)


def test_no_table_passes_the_memory_it_is_given() -> None:
    result = simulate(clique(6, 3), Dpop, memory=8 * 3**5)
    assert result.status == "optimal"
    assert max(d.message.table.nbytes for d in result.log if d.type == "UTIL") == 8 * 3**5


def test_a_table_over_other_axes_is_refused_by_its_receiver() -> None:
    def liar(envelope: Envelope) -> Alter | None:
        return Alter(Util(("y", "x"), np.zeros((3, 2)))) if envelope.src == "z" else None

    with pytest.raises(AgentFailure, match=r"z's UTIL is over \('y', 'x'\)"):
        simulate(chain(), Dpop, root="x", interceptors=[liar])


def test_values_go_to_children_as_names_of_their_separators() -> None:
    result = simulate(clique(4, 4), Dpop)
    tree = prepare(clique(4, 4), Dpop, "dpop", {}).tree
    values = {d.dst: d.message for d in result.log if d.type == "VALUE"}
    assert all(
        isinstance(value, Value) and tuple(value.values) == tree[name].separator for name, value in values.items()
    )


@pytest.mark.instances
@pytest.mark.skipif(not INSTANCES, reason="AGENTSIM_INSTANCES is not set")
@pytest.mark.parametrize("name", OPTIMA)
def test_optima_of_published_problems(name: str) -> None:
    result = simulate(load(Path(INSTANCES) / name), Dpop)
    assert result.status == "optimal"
    assert result.cost == pytest.approx(OPTIMA[name], abs=1e-9)


@pytest.mark.instances
@pytest.mark.skipif(not INSTANCES, reason="AGENTSIM_INSTANCES is not set")
@pytest.mark.parametrize("name", ["wcsp/CELAR6-SUB0.wcsp", "wcsp/505.wcsp", "pydcop/gc_v100_d25.yaml"])
def test_published_problems_that_are_too_wide_are_refused(name: str) -> None:
    with pytest.raises(SolverRefusal, match="cells"):
        simulate(load(Path(INSTANCES) / name), Dpop)
