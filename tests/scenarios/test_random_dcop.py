"""The random-dcop generator: graph, costs and ranges are what its parameters say."""

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from agentsim import Problem, load, save, simulate
from agentsim.testing import brute_force
from scenarios.cli import main
from scenarios.generators.dimes import shape_edges
from scenarios.generators.random_dcop import RandomDcop, RandomDcopParams

CHI2_4, CHI2_5, CHI2_14 = 23.513, 25.745, 42.579
"""What chi-square with 4, 5 and 14 degrees of freedom exceeds with probability 1e-4."""


@st.composite
def params(draw: st.DrawFn) -> RandomDcopParams:
    return RandomDcopParams(
        b=draw(st.integers(1, 5)),
        u=draw(st.integers(1, 6)),
        d=draw(st.integers(1, 3)),
        p=draw(st.floats(0, 1)),
        shape=draw(st.sampled_from(["S", "T", "C", "Q"])),
        agents=draw(st.integers(1, 6)),
        reading=draw(st.sampled_from(["exact", "extra"])),
    )


def edges(problem: Problem) -> set[tuple[int, int]]:
    return {(int(c.scope[0][1:]), int(c.scope[1][1:])) for c in problem.constraints.values()}


def unary(problem: Problem) -> dict[str, list[int]]:
    return {v.name: v.unary.tolist() for v in problem.variables.values()}


@settings(max_examples=80, deadline=None)
@given(params(), st.integers(0, 1000))
def test_what_it_makes(given: RandomDcopParams, seed: int) -> None:
    n = given.agents
    problem = RandomDcop.generate(given, seed)
    assert problem.agents == tuple(f"a{i}" for i in range(n))
    for i, v in enumerate(problem.variables.values()):
        assert (v.name, v.agent, v.size, v.cost_range) == (f"x{i}", f"a{i}", given.d, (1, given.u))
        assert 1 <= v.unary.min() <= v.unary.max() <= given.u
    for c in problem.constraints.values():
        i, j = (int(name[1:]) for name in c.scope)
        assert i < j
        assert (c.name, c.known_to, c.cost_range) == (f"c_{i}_{j}", "scope", (0, given.b))
        assert 1 <= c.table.min() <= c.table.max() <= given.b
    backbone = set(shape_edges(given.shape, n))
    assert edges(problem) >= backbone
    if given.reading == "exact":
        assert len(problem.constraints) == max(len(backbone), round(given.p * n * (n - 1) / 2))
    result = simulate(problem, "dpop")
    assert result.cost == brute_force(problem)
    assert not result.notes  # no offset is read off a private table


def test_the_papers_instances() -> None:
    for seed in range(20):
        problem = RandomDcop.generate(RandomDcopParams(), seed)
        assert problem.name == f"random_dcop_b2_u6_d3_p0.5_C_n7_exact_seed{seed}"
        assert len(problem.constraints) == 10  # half of 21, and half to even
        assert edges(problem) >= {(i, i + 1) for i in range(6)}


def test_density_only_adds() -> None:
    for reading in ("exact", "extra"):
        for seed in range(5):
            made = [RandomDcop.generate(RandomDcopParams(p=p, reading=reading), seed) for p in (0, 0.4, 0.7, 1)]
            graphs = [edges(problem) for problem in made]
            assert graphs[0] < graphs[1] < graphs[2] < graphs[3]
            assert graphs[0] == set(shape_edges("C", 7))
            assert graphs[3] == set(combinations(range(7), 2))
            for name, c in made[0].constraints.items():
                assert all((problem.constraints[name].table == c.table).all() for problem in made)


def test_binary_costs_scale_and_nothing_else_changes_with_b() -> None:
    base = RandomDcopParams(b=1)
    for seed in range(10):
        ones, twos, fours = (RandomDcop.generate(replace(base, b=b), seed) for b in (1, 2, 4))
        assert unary(ones) == unary(twos) == unary(fours)
        assert list(ones.constraints) == list(twos.constraints) == list(fours.constraints)
        for name in ones.constraints:
            assert (ones.constraints[name].table == 1).all()
            # 1 + floor(4 z) is twice 1 + floor(2 z), or one less.
            assert (twos.constraints[name].table == (fours.constraints[name].table + 1) // 2).all()


def test_neither_shape_nor_another_agent_shifts_anybodys_unary_costs() -> None:
    costs = unary(RandomDcop.generate(RandomDcopParams(), 1))
    assert unary(RandomDcop.generate(RandomDcopParams(shape="S", p=0.9, reading="extra"), 1)) == costs
    more = unary(RandomDcop.generate(RandomDcopParams(agents=8), 1))
    assert {name: more[name] for name in costs} == costs


def test_the_same_seed_gives_the_same_file(tmp_path: Path) -> None:
    for i, seed in enumerate((4, 4, 5)):
        save(RandomDcop.generate(RandomDcopParams(), seed), tmp_path / f"{i}.yaml")
    texts = [(tmp_path / f"{i}.yaml").read_text() for i in range(3)]
    assert texts[0] == texts[1]
    assert texts[0].replace("seed4", "") != texts[2].replace("seed5", "")


@pytest.mark.parametrize("suffix", ["yaml", "amdcop"])
def test_formats_keep_all_of_it(tmp_path: Path, suffix: str) -> None:
    problem = RandomDcop.generate(RandomDcopParams(b=3), 2)
    save(problem, tmp_path / f"r.{suffix}")
    loaded = load(tmp_path / f"r.{suffix}")
    assert (loaded.name, loaded.agents) == (problem.name, problem.agents)
    assert unary(loaded) == unary(problem)
    assert [v.cost_range for v in loaded.variables.values()] == [(1, 6)] * 7
    assert list(loaded.constraints) == list(problem.constraints)
    for name, c in problem.constraints.items():
        kept = loaded.constraints[name]
        assert (kept.scope, kept.known_to, kept.cost_range) == (c.scope, c.known_to, c.cost_range)
        assert (kept.table == c.table).all()


def test_costs_and_pairs_are_uniform() -> None:
    """Four statistics, each of which a right generator fails with probability 1e-4; but the seeds are fixed."""
    made = [RandomDcop.generate(RandomDcopParams(b=5), seed) for seed in range(300)]
    unaries = np.bincount(np.ravel([list(unary(problem).values()) for problem in made]), minlength=7)[1:]
    assert ((unaries - unaries.mean()) ** 2 / unaries.mean()).sum() < CHI2_5
    binaries = np.bincount(np.ravel([[c.table for c in p.constraints.values()] for p in made]), minlength=6)[1:]
    assert ((binaries - binaries.mean()) ** 2 / binaries.mean()).sum() < CHI2_4
    others = [pair for pair in combinations(range(7), 2) if pair not in shape_edges("C", 7)]
    # Each problem has 4 of the 15 pairs outside the backbone: draws without replacement.
    drawn = np.array([[pair in edges(problem) for pair in others] for problem in made])
    assert (drawn.sum(axis=1) == 4).all()
    share = 4 / 15
    statistic = ((drawn.sum(axis=0) - 300 * share) ** 2 / (300 * share * (1 - share))).sum() * 14 / 15
    assert statistic < CHI2_14
    extra = [RandomDcop.generate(RandomDcopParams(reading="extra", p=0.3), seed) for seed in range(300)]
    found = np.array([[pair in edges(problem) for pair in others] for problem in extra]).mean()
    # Half a pair as continuity correction; a normal number is beyond 3.891 with probability 1e-4.
    assert abs(found - 0.3) < 3.891 * (0.3 * 0.7 / 4500) ** 0.5 + 0.5 / 4500


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"b": 0}, "b=0 must be from 1 to 1000000"),
        ({"u": 0}, "u=0 must be from 1 to 1000000"),
        ({"d": 0}, "d=0 must be from 1 to 1000"),
        ({"p": -0.1}, r"p=-0\.1 must be from 0 to 1"),
        ({"p": 1.1}, r"p=1\.1 must be from 0 to 1"),
        ({"p": float("nan")}, "p=nan must be from 0 to 1"),
        ({"agents": 0}, "agents=0 must be from 1 to 1000"),
        ({"shape": "X"}, "shape='X' must be one of S, T, C, Q"),
        ({"reading": "some"}, "reading='some' must be one of exact, extra"),
    ],
)
def test_bounds(wrong: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        RandomDcopParams(**wrong)


def test_command_line(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    arguments = ["generate", "random-dcop", "-p", "b=3", "-p", "reading=extra", "--seed", "7", "-o", str(path)]
    result = CliRunner().invoke(main, arguments, prog_name="agentsim")
    assert result.exit_code == 0, result.stderr
    expected = RandomDcop.generate(RandomDcopParams(b=3, reading="extra"), 7)
    assert f"{len(expected.constraints)} constraints," in " ".join(result.stdout.split())
    loaded = load(path)
    assert unary(loaded) == unary(expected)
    assert edges(loaded) == edges(expected)
    result = CliRunner().invoke(main, [*arguments, "-p", "p=2"], prog_name="agentsim")
    assert result.exit_code == 2
    assert "p=2.0 must be from 0 to 1" in result.stderr
