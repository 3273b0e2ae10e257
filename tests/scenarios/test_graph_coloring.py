"""The graph-coloring generator: its graphs, its costs and its bounds."""

import math
import os
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from agentsim import Problem, load, save, simulate
from agentsim.dcop.ordering import components
from agentsim.testing import brute_force
from scenarios.cli import main
from scenarios.generators.graph_coloring import GraphColoring, GraphColoringParams

CHI2_9 = 33.720
"""What chi-square with 9 degrees of freedom exceeds with probability 1e-4."""


@st.composite
def params(draw: st.DrawFn) -> GraphColoringParams:
    graph = draw(st.sampled_from(["random", "scalefree", "grid"]))
    n = draw(st.sampled_from([1, 4, 9])) if graph == "grid" else draw(st.integers(2, 9))
    least = draw(st.integers(-5, 5))
    return GraphColoringParams(
        variables_count=n,
        colors_count=draw(st.integers(1, 12)),
        graph=graph,
        p_edge=draw(st.floats(0.4, 1)),
        m_edge=draw(st.integers(1, n - 1)) if graph == "scalefree" else 2,
        allow_subgraph=draw(st.booleans()),
        soft=draw(st.booleans()),
        cost_min=least,
        cost_max=least + draw(st.integers(0, 9)),
        penalty=draw(st.sampled_from([1000, 2.5, math.inf])),
    )


def edges(problem: Problem) -> list[tuple[int, int]]:
    return [(int(c.scope[0][1:]), int(c.scope[1][1:])) for c in problem.constraints.values()]


def n_components(problem: Problem) -> int:
    return len(components(problem))


@settings(max_examples=80, deadline=None)
@given(params(), st.integers(0, 1000))
def test_what_it_makes(given: GraphColoringParams, seed: int) -> None:
    n, d = given.variables_count, given.colors_count
    problem = GraphColoring.generate(given, seed)
    assert problem.objective == "min"
    assert list(problem.variables) == [f"v{i:02d}" for i in range(n)]
    assert problem.agents == tuple(f"a{i:02d}" for i in range(n))
    assert {v.domain.values for v in problem.variables.values()} == {
        (*"RGBOFYLC", "K08", "K09", "K10", "K11")[:d],
    }
    assert all(v.unary is None for v in problem.variables.values())
    found = edges(problem)
    assert found == sorted(set(found))
    assert all(i < j for i, j in found)
    if not (given.graph == "random" and given.allow_subgraph):
        assert n_components(problem) == 1
    if given.graph == "scalefree":
        assert len(found) == given.m_edge * (n - given.m_edge)
    if given.graph == "grid":
        side = math.isqrt(n)
        assert found == [(i, j) for i, j in combinations(range(n), 2) if near(i, j, side)]
    for c in problem.constraints.values():
        finite = c.table[np.isfinite(c.table)]
        low, high = c.cost_range
        assert finite.size == 0 or low <= finite.min() <= finite.max() <= high
        assert c.known_to == "scope"
        if given.soft:
            assert c.cost_range == (given.cost_min, given.cost_max)
            assert c.table.dtype == np.int64
        else:
            assert (c.table == np.where(np.eye(d, dtype=bool), given.penalty, 0)).all()
            assert c.cost_range == (0, 0 if given.penalty == math.inf else given.penalty)


def near(i: int, j: int, side: int) -> bool:
    return abs(i // side - j // side) + abs(i % side - j % side) == 1


@settings(max_examples=20, deadline=None)
@given(params().filter(lambda p: p.variables_count <= 5 and p.colors_count <= 3), st.integers(0, 1000))
def test_dpop_solves_it(given: GraphColoringParams, seed: int) -> None:
    problem = GraphColoring.generate(given, seed)
    result = simulate(problem, "dpop")
    expected = brute_force(problem)
    assert result.status == ("infeasible" if expected == math.inf else "optimal")
    assert expected == math.inf or result.cost == expected
    assert not result.notes


def test_random_graphs_are_drawn_anew_until_they_are_connected() -> None:
    apart = 0
    sparse = GraphColoringParams(variables_count=12, p_edge=0.15)
    for seed in range(30):
        assert n_components(GraphColoring.generate(sparse, seed)) == 1
        loose = GraphColoring.generate(replace(sparse, allow_subgraph=True), seed)
        apart += n_components(loose) > 1
    assert apart > 10
    with pytest.raises(ValueError, match=r"p_edge=0.0: none of 1000 random graphs of 12 nodes was connected"):
        GraphColoring.generate(replace(sparse, p_edge=0.0))
    empty = GraphColoring.generate(replace(sparse, p_edge=0.0, allow_subgraph=True))
    assert not empty.constraints
    assert not GraphColoring.generate(GraphColoringParams(variables_count=1)).constraints


def test_density_is_what_it_says_and_only_adds() -> None:
    wanted = GraphColoringParams(variables_count=60, allow_subgraph=True)
    made = [set(edges(GraphColoring.generate(replace(wanted, p_edge=p), 3))) for p in (0, 0.2, 0.7, 1)]
    assert made[0] < made[1] < made[2] < made[3] == set(combinations(range(60), 2))
    pairs = sum(len(edges(GraphColoring.generate(replace(wanted, p_edge=0.2), seed))) for seed in range(20))
    # A normal number is beyond 3.891 with probability 1e-4; but the seeds are fixed.
    assert abs(pairs - 0.2 * 35400) < 3.891 * (0.16 * 35400) ** 0.5


def test_scale_free_graphs_have_hubs_anywhere() -> None:
    hubs = set()
    for seed in range(10):
        problem = GraphColoring.generate(GraphColoringParams(variables_count=200, graph="scalefree", m_edge=2), seed)
        degree = {name: len(others) for name, others in problem.primal_graph().items()}
        assert sum(near < 2 for near in degree.values()) <= 2  # the star's leaves, should nobody join them
        assert max(degree.values()) > 20  # G(n, p) of the same mean, 3.96, hardly ever passes 13
        hubs.add(max(degree, key=degree.__getitem__))
    assert len(hubs) > 5  # names are shuffled, so that the oldest node is not always v000


def test_random_costs_are_uniform_and_belong_to_the_pair() -> None:
    """A statistic that a right generator's fails with probability 1e-4; but the seed is fixed."""
    soft = GraphColoringParams(variables_count=30, colors_count=10, p_edge=0.3, soft=True)
    sparse, dense = GraphColoring.generate(soft), GraphColoring.generate(replace(soft, p_edge=1.0))
    costs = np.bincount(np.concatenate([c.table.ravel() for c in dense.constraints.values()]))
    assert costs.size == 10
    assert ((costs - costs.mean()) ** 2 / costs.mean()).sum() < CHI2_9
    assert all((dense.constraints[name].table == c.table).all() for name, c in sparse.constraints.items())
    tables = [c.table.tobytes() for c in dense.constraints.values()]
    assert len(set(tables)) == len(tables)
    assert any((c.table != c.table.T).any() for c in dense.constraints.values())


def test_the_same_seed_gives_the_same_file(tmp_path: Path) -> None:
    soft = GraphColoringParams(soft=True)
    for i, seed in enumerate((4, 4, 5)):
        save(GraphColoring.generate(soft, seed), tmp_path / f"{i}.yaml")
    texts = [(tmp_path / f"{i}.yaml").read_text() for i in range(3)]
    assert texts[0] == texts[1]
    assert texts[0].replace("seed4", "") != texts[2].replace("seed5", "")
    loaded, made = load(tmp_path / "0.yaml"), GraphColoring.generate(soft, 4)
    for name, c in made.constraints.items():
        assert (loaded.constraints[name].table == c.table).all()
        assert loaded.constraints[name].cost_range == c.cost_range


def test_numbers_of_record() -> None:
    """They do not depend on the hash seed, the machine or the time; if they change, so does every experiment."""
    problem = GraphColoring.generate(GraphColoringParams(variables_count=5, soft=True), 1)
    assert problem.name == "graph_coloring_v5_c3_p0.5_soft0..9_seed1"
    assert edges(problem) == [(0, 3), (0, 4), (1, 2), (1, 3), (1, 4), (2, 3), (3, 4)]
    assert problem.constraints["c_00_03"].table.tolist() == [[4, 3, 4], [1, 5, 8], [5, 7, 5]]
    scale_free = GraphColoring.generate(GraphColoringParams(variables_count=5, graph="scalefree"), 1)
    assert edges(scale_free) == [(0, 1), (0, 4), (1, 2), (1, 3), (1, 4), (2, 3)]


def test_names_of_many_are_of_one_width_and_the_classic_table_is_shared() -> None:
    problem = GraphColoring.generate(GraphColoringParams(variables_count=10_000, graph="grid"))
    assert "v0000" in problem.variables
    assert len(problem.constraints) == 2 * 100 * 99
    assert len({id(c.table) for c in problem.constraints.values()}) == 1


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"variables_count": 0}, "variables_count=0 must be from 1 to 10000"),
        ({"colors_count": 1001}, "colors_count=1001 must be from 1 to 1000"),
        ({"graph": "ring"}, "graph='ring' must be one of random, scalefree, grid"),
        ({"graph": "grid"}, "variables_count=10 must be a square number for a grid"),
        ({"graph": "scalefree", "m_edge": 10}, "m_edge=10 must be from 1 to 9"),
        ({"p_edge": 1.1}, r"p_edge=1\.1 must be from 0 to 1"),
        ({"p_edge": math.nan}, "p_edge=nan must be from 0 to 1"),
        ({"cost_min": 10}, "cost_min=10 must be from -1000000 to 9"),
        ({"cost_max": 1_000_001}, "cost_max=1000001 must be from"),
        ({"penalty": -1}, "penalty=-1 must be from 0 to 1000000000, or inf"),
        ({"penalty": math.nan}, "penalty=nan must be"),
    ],
)
def test_bounds(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        GraphColoringParams(**wrong)


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"variables_count": 10_000, "p_edge": 1.0}, "200000 constraints"),
        ({"variables_count": 10_000, "graph": "scalefree", "m_edge": 100}, "200000 constraints"),
        ({"variables_count": 300, "p_edge": 0.1, "soft": True, "colors_count": 100}, "20000000 costs"),
    ],
)
def test_too_large_is_refused_before_it_is_made(wrong: dict[str, Any], what: str) -> None:
    with pytest.raises(ValueError, match=f"more than {what}"):
        GraphColoring.generate(GraphColoringParams(**wrong))


def test_command_line(tmp_path: Path) -> None:
    path = tmp_path / "g.yaml"
    given = {"soft": "true", "graph": "scalefree"}

    def run(**more: str) -> Result:
        pairs = [word for name, value in (given | more).items() for word in ("-p", f"{name}={value}")]
        arguments = ["generate", "graph-coloring", *pairs, "--seed", "7", "-o", str(path)]
        return CliRunner().invoke(main, arguments, prog_name="agentsim")

    result = run()
    assert result.exit_code == 0, result.stderr
    expected = GraphColoring.generate(GraphColoringParams(soft=True, graph="scalefree"), 7)
    assert edges(load(path)) == edges(expected)
    for wrong, sentence in (
        ({"graph": "ring"}, "must be one of random, scalefree, grid"),
        ({"graph": "random", "p_edge": "0"}, "was connected"),
    ):
        result = run(**wrong)
        assert result.exit_code == 2
        assert sentence in result.stderr
        assert result.stderr.count("\n") == 1


@pytest.mark.instances
@pytest.mark.skipif("AGENTSIM_INSTANCES" not in os.environ, reason="AGENTSIM_INSTANCES is not set")
def test_pydcops_files_have_the_same_structure() -> None:
    folder = Path(os.environ["AGENTSIM_INSTANCES"]) / "pydcop"
    theirs = load(folder / "gc_grid100_d3_hard.yaml")
    ours = GraphColoring.generate(GraphColoringParams(variables_count=100, graph="grid"))
    assert sorted(edges(theirs)) == edges(ours)
    assert all((c.table == 1000 * np.eye(3)).all() for c in theirs.constraints.values())
    soft = load(folder / "gc_v30_d10.yaml")
    assert soft.variables["v00"].domain.values == (*"RGBOFYLC", "K08", "K09")
    assert {int(cost) for c in soft.constraints.values() for cost in c.table.ravel()} == set(range(10))
