"""The ising generator: a torus, strengths in their ranges, and the very structure of pyDCOP's files."""

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentsim import Problem, load, save, simulate
from agentsim.testing import brute_force
from scenarios.generators.ising import Ising, IsingParams

CHI2_9 = 33.720
"""What chi-square with 9 degrees of freedom exceeds with probability 1e-4."""


def degrees(problem: Problem) -> Counter[int]:
    return Counter(len(near) for near in problem.primal_graph().values())


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.floats(0, 10), st.floats(0, 2), st.integers(0, 1000))
def test_what_it_makes(rows: int, columns: int, beta: float, rho: float, seed: int) -> None:
    problem = Ising.generate(IsingParams(rows, columns, beta, rho), seed)
    assert (problem.objective, len(problem.variables), len(problem.agents)) == ("min", rows * columns, rows * columns)
    for v in problem.variables.values():
        assert v.domain.values == (0, 1)
        assert v.agent == v.name.replace("v", "a")
        assert v.unary.sum() == 0
        assert v.cost_range == (-rho, rho)
        assert -rho <= v.unary.min() <= v.unary.max() <= rho
    pairs = {frozenset(c.scope) for c in problem.constraints.values()}
    assert len(pairs) == len(problem.constraints)
    for c in problem.constraints.values():
        (k, minus), (other, again) = c.table.tolist()
        assert k == again == -minus == -other
        assert (c.name, c.known_to, c.cost_range) == ("cb_" + "_".join(c.scope), "scope", (-beta, beta))
        assert -beta <= c.table.min() <= c.table.max() <= beta
    # A ring of n places gives each of them two neighbours, one if n = 2, none if n = 1.
    expected = min(2, rows - 1) + min(2, columns - 1)
    assert degrees(problem) == {expected: rows * columns}


def test_opposite_sides_are_joined() -> None:
    constraints = Ising.generate(IsingParams(3, 4)).constraints
    assert len(constraints) == 24
    assert "cb_v_0_0_v_2_0" in constraints  # down from the last row
    assert "cb_v_0_0_v_0_3" in constraints  # right from the last column
    assert "cb_v_0_0_v_1_1" not in constraints


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(0, 1000))
def test_dpop_solves_it(rows: int, columns: int, seed: int) -> None:
    problem = Ising.generate(IsingParams(rows, columns), seed)
    result = simulate(problem, "dpop")
    assert result.status == "optimal"
    assert result.cost == pytest.approx(brute_force(problem), rel=1e-9)
    assert not result.notes  # no offset is read off a private table


def test_ranges_scale_the_same_numbers() -> None:
    small = Ising.generate(IsingParams(3, 3, 1, 1), 4)
    large = Ising.generate(IsingParams(3, 3, 8, 2), 4)
    for name, c in small.constraints.items():
        np.testing.assert_allclose(large.constraints[name].table, 8 * c.table)
    for name, v in small.variables.items():
        np.testing.assert_allclose(large.variables[name].unary, 2 * v.unary)


def test_another_column_shifts_nobodys_draws() -> None:
    few, many = (Ising.generate(IsingParams(4, columns), 4) for columns in (4, 5))
    assert all((many.variables[name].unary == v.unary).all() for name, v in few.variables.items())
    shared = few.constraints.keys() & many.constraints.keys()
    assert len(shared) == len(few.constraints) - 4  # those around the torus are others
    assert all((many.constraints[name].table == few.constraints[name].table).all() for name in shared)


def test_strengths_are_uniform() -> None:
    """A statistic that a right generator's fails with probability 1e-4; but the seed is fixed."""
    problem = Ising.generate(IsingParams(30, 30, 1, 1))
    for strengths in (
        [c.table[0, 0] for c in problem.constraints.values()],
        [v.unary[0] for v in problem.variables.values()],
    ):
        found = np.histogram(strengths, bins=10, range=(-1, 1))[0]
        assert ((found - found.mean()) ** 2 / found.mean()).sum() < CHI2_9


def test_the_same_seed_gives_the_same_file(tmp_path: Path) -> None:
    for i, seed in enumerate((4, 4, 5)):
        save(Ising.generate(IsingParams(), seed), tmp_path / f"{i}.yaml")
    texts = [(tmp_path / f"{i}.yaml").read_text() for i in range(3)]
    assert texts[0] == texts[1]
    assert texts[0].replace("seed4", "") != texts[2].replace("seed5", "")
    loaded, made = load(tmp_path / "0.yaml"), Ising.generate(IsingParams(), 4)
    assert [v.unary.tolist() for v in loaded.variables.values()] == [v.unary.tolist() for v in made.variables.values()]


def test_numbers_of_record() -> None:
    """They do not depend on the hash seed, the machine or the time; if they change, so does every experiment."""
    problem = Ising.generate(IsingParams(), 1)
    assert problem.name == "ising_3x4_b1.6_u0.05_seed1"
    assert problem.variables["v_0_0"].unary.tolist() == pytest.approx(
        [0.017929976387423233, -0.017929976387423233], rel=1e-12
    )
    assert problem.constraints["cb_v_0_0_v_0_1"].table[0].tolist() == pytest.approx(
        [-0.47105843577388673, 0.47105843577388673], rel=1e-12
    )


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"row_count": 0}, "row_count=0 must be from 1 to 1000"),
        ({"col_count": 1001}, "col_count=1001 must be from 1 to 1000"),
        ({"bin_range": -1}, "bin_range=-1 must be from 0 to 1000000"),
        ({"un_range": float("nan")}, "un_range=nan must be from 0 to 1000000"),
        ({"bin_range": float("inf")}, "bin_range=inf must be from 0 to 1000000"),
        ({"row_count": 400, "col_count": 400}, "more than 200000 constraints"),
    ],
)
def test_bounds(wrong: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        replace(IsingParams(), **wrong)


@pytest.mark.instances
@pytest.mark.skipif("AGENTSIM_INSTANCES" not in os.environ, reason="AGENTSIM_INSTANCES is not set")
@pytest.mark.parametrize(("rows", "columns"), [(2, 5), (3, 4), (10, 10)])
def test_pydcops_files_have_the_same_structure(rows: int, columns: int) -> None:
    theirs = load(Path(os.environ["AGENTSIM_INSTANCES"]) / f"pydcop/ising_{rows}x{columns}.yaml")
    ours = Ising.generate(IsingParams(rows, columns))
    assert {name: c.scope for name, c in theirs.constraints.items()} == {
        name: c.scope for name, c in ours.constraints.items()
    }
    for c in theirs.constraints.values():
        assert (c.table == c.table[0, 0] * np.array([[1, -1], [-1, 1]])).all()
    assert all(v.unary.sum() == 0 for v in theirs.variables.values())
