"""The dimes generator: what it makes is what its parameters say, and has a schedule."""

import math
from collections import Counter
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from agentsim import Problem, load, save, simulate
from scenarios.cli import main
from scenarios.generators.dimes import Dimes, DimesParams, Shape, shape_edges

EDGES = {
    "S": [(0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (0, 6)],
    "T": [(0, 1), (0, 2), (1, 3), (1, 4), (2, 5), (2, 6)],
    "C": [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6)],
    "Q": list(combinations(range(7), 2)),
}
CHI2_3, CHI2_5 = 21.108, 25.745
"""What chi-square with 3 and 5 degrees of freedom exceeds with probability 1e-4."""


@st.composite
def params(draw: st.DrawFn) -> DimesParams:
    people, d = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    attendees = draw(st.integers(0, people))
    return DimesParams(
        u=draw(st.integers(1, 5)),
        d=d,
        shape=draw(st.sampled_from(["S", "T", "C", "Q"])),
        people=people,
        events=draw(st.integers(1, min(4, d * (people // (attendees or people))))),
        attendees=attendees,
        conflict=draw(st.sampled_from([math.inf, 1e6])),
        rewards=draw(st.sampled_from(["none", "known", "private"])),
        max_reward=draw(st.integers(1, 4)),
    )


def run(*args: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in args], prog_name="agentsim")


def event(variable: str) -> str:
    return variable.partition("_")[0] if variable[0] == "e" else "e1"


def unary(problem: Problem) -> dict[str, list[int]]:
    return {v.name: v.unary.tolist() for v in problem.variables.values()}


def seats(problem: Problem) -> Counter[str]:
    return Counter(event(name) for name in problem.variables)


@settings(max_examples=80, deadline=None)
@given(params(), st.integers(0, 1000))
def test_what_it_makes_and_that_it_has_a_schedule(given: DimesParams, seed: int) -> None:
    problem = Dimes.generate(given, seed)
    k = given.attendees or given.people
    assert problem.objective == "min"
    assert problem.agents == tuple(f"a{i}" for i in range(given.people))
    assert seats(problem) == {f"e{j}": k for j in range(1, given.events + 1)}
    attending = {v.agent for v in problem.variables.values()}
    assert len(attending) == min(given.people, given.events * k)
    low, high = (1 - given.max_reward, given.u - 1) if given.rewards == "private" else (1, given.u)
    for v in problem.variables.values():
        assert v.name == (f"x{v.agent[1:]}" if given.events == 1 else f"{event(v.name)}_{v.agent}")
        assert v.domain.values == tuple(range(1, given.d + 1))
        assert v.cost_range == (low, high)
        assert low <= v.unary.min() <= v.unary.max() <= high
    public = (0, 0) if given.conflict == math.inf else (0, 1e6)
    edges = []
    for c in problem.constraints.values():
        a, b = (problem.variables[name] for name in c.scope)
        same = event(a.name) == event(b.name)
        assert same != (a.agent == b.agent)
        assert c.name == f"{'same' if same else 'differ'}_{a.name}_{b.name}"
        assert c.known_to == ("all" if same else "scope")
        assert c.cost_range == public
        fine = np.eye(given.d, dtype=bool) == same
        assert (c.table == np.where(fine, 0, given.conflict)).all()
        edges.append((a.name, b.name))
    expected = []
    for j in range(1, given.events + 1):
        group = [name for name in problem.variables if event(name) == f"e{j}"]
        expected += [(group[a], group[b]) for a, b in shape_edges(given.shape, k)]
    for agent in problem.agents:
        expected += combinations(problem.owned_by(agent), 2)
    assert edges == expected
    result = simulate(problem, "dpop")
    assert (result.status, result.violations) == ("optimal", 0)
    assert result.cost < 1e5
    assert not result.notes  # no offset is read off a private table
    slots: dict[str, set[object]] = {}
    for name, slot in result.assignment.items():
        slots.setdefault(event(name), set()).add(slot)
    assert all(len(chosen) == 1 for chosen in slots.values())


@pytest.mark.parametrize("shape", EDGES)
def test_shapes(shape: Shape) -> None:
    assert shape_edges(shape, 7) == EDGES[shape]
    assert shape_edges(shape, 1) == []
    problem = Dimes.generate(DimesParams(shape=shape), 3)
    assert problem.name == f"dimes_u2_d4_{shape}_n7_e1_seed3"
    assert [c.scope for c in problem.constraints.values()] == [(f"x{a}", f"x{b}") for a, b in EDGES[shape]]
    assert list(problem.variables) == [f"x{i}" for i in range(7)]


@pytest.mark.parametrize("solver", ["synchbb", "adopt", "bnb-adopt", "dpop"])
def test_one_event_takes_the_cheapest_slot(solver: str) -> None:
    for seed, shape in enumerate(EDGES):
        problem = Dimes.generate(DimesParams(shape=shape), seed)
        cheapest = np.sum(list(unary(problem).values()), axis=0).min()
        assert simulate(problem, solver).cost == cheapest


def test_costs_belong_to_the_person_whatever_else_is_chosen() -> None:
    base = DimesParams(u=9)
    costs = unary(Dimes.generate(base, 5))
    for change in ({"shape": "Q"}, {"conflict": 1e6}, {"rewards": "known"}):
        assert unary(Dimes.generate(replace(base, **change), 5)) == costs
    several = Dimes.generate(replace(base, people=6, events=4, attendees=3), 5)
    for v in several.variables.values():
        assert v.unary.tolist() == costs[f"x{v.agent[1:]}"]


def test_the_same_people_attend_whatever_the_shape() -> None:
    made = [Dimes.generate(DimesParams(shape=s, people=8, events=4, attendees=3), 5) for s in ("S", "T", "C", "Q")]
    assert len({tuple(problem.variables) for problem in made}) == 1


@pytest.mark.parametrize("several", [{}, {"people": 5, "events": 4, "attendees": 3}])
def test_conflicts_of_a_million_have_the_same_optimum_as_infinite_ones(several: dict[str, int]) -> None:
    for seed in range(15):
        hard, soft = (
            Dimes.generate(DimesParams(u=4, shape="T", conflict=conflict, **several), seed)
            for conflict in (math.inf, 1e6)
        )
        assert unary(hard) == unary(soft)
        results = [simulate(problem, "dpop") for problem in (hard, soft)]
        assert results[0].cost == results[1].cost
        assert results[0].assignment == results[1].assignment


def test_rewards_shift_the_cost_and_nothing_else() -> None:
    base = DimesParams(u=3, d=3, people=5, events=3, attendees=3, max_reward=4)
    for seed in range(10):
        none, known, private = (
            Dimes.generate(replace(base, rewards=kind), seed) for kind in ("none", "known", "private")
        )
        rewards = {}
        for name in none.variables:
            drop = set(none.variables[name].unary - private.variables[name].unary)
            assert len(drop) == 1
            rewards[name] = drop.pop()
        assert set(rewards.values()) <= {1, 2, 3, 4}
        assert (none.constant, known.constant, private.constant) == (0, -sum(rewards.values()), 0)
        costs = [simulate(problem, "dpop").cost for problem in (none, known, private)]
        assert costs[1] == costs[2] == costs[0] + known.constant


def test_a_schedule_exists_where_there_is_room_for_no_other_event() -> None:
    full = DimesParams(d=3, people=5, events=6, attendees=2)
    for seed in range(15):
        assert simulate(Dimes.generate(full, seed), "dpop").status == "optimal"
    with pytest.raises(ValueError, match="events=7: 5 people in groups of 2 have room for 6 events in 3 slots"):
        replace(full, events=7)


def test_everybody_attends_when_there_are_seats_enough() -> None:
    for seed in range(30):
        for events, most in ((2, 6), (3, 7), (5, 7)):
            problem = Dimes.generate(DimesParams(people=7, events=events, attendees=3), seed)
            assert len({v.agent for v in problem.variables.values()}) == most


def test_the_same_seed_gives_the_same_file(tmp_path: Path) -> None:
    for i, seed in enumerate((4, 4, 5)):
        save(Dimes.generate(DimesParams(people=5, events=3, attendees=3), seed), tmp_path / f"{i}.yaml")
    texts = [(tmp_path / f"{i}.yaml").read_text() for i in range(3)]
    assert texts[0] == texts[1]
    assert texts[0].replace("seed4", "") != texts[2].replace("seed5", "")


@pytest.mark.parametrize("suffix", ["yaml", "amdcop"])
@pytest.mark.parametrize("conflict", [math.inf, 1e6])
def test_formats_keep_all_of_it(tmp_path: Path, suffix: str, conflict: float) -> None:
    given = DimesParams(people=5, events=3, attendees=3, conflict=conflict, rewards="known")
    problem = Dimes.generate(given, 2)
    save(problem, tmp_path / f"d.{suffix}")
    loaded = load(tmp_path / f"d.{suffix}")
    assert (loaded.name, loaded.constant) == (problem.name, problem.constant)
    assert sorted(loaded.agents) == list(problem.agents)
    assert unary(loaded) == unary(problem)
    for name, v in problem.variables.items():
        assert (loaded.variables[name].agent, loaded.variables[name].cost_range) == (v.agent, v.cost_range)
    assert list(loaded.constraints) == list(problem.constraints)
    for name, c in problem.constraints.items():
        kept = loaded.constraints[name]
        assert (kept.scope, kept.known_to, kept.cost_range) == (c.scope, c.known_to, c.cost_range)
        assert (kept.table == c.table).all()


def test_costs_are_uniform_and_slots_independent() -> None:
    """Two statistics, each of which a right generator fails with probability 1e-4; but the seeds are fixed."""
    costs = np.array([list(unary(Dimes.generate(DimesParams(u=6), seed)).values()) for seed in range(200)])
    counts = np.bincount(costs.ravel(), minlength=7)[1:]
    assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < CHI2_5
    coins = np.array([list(unary(Dimes.generate(DimesParams(), seed)).values()) for seed in range(200)]) - 1
    pairs = np.bincount((2 * coins[:, :, :-1:2] + coins[:, :, 1::2]).ravel(), minlength=4)
    assert ((pairs - pairs.mean()) ** 2 / pairs.mean()).sum() < CHI2_3


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"u": 0}, "u=0 must be from 1 to 1000000"),
        ({"d": 0}, "d=0 must be from 1 to 1000"),
        ({"people": 0}, "people=0 must be from 1 to 10000"),
        ({"events": 0}, "events=0 must be from 1 to 10000"),
        ({"attendees": -1}, "attendees=-1 must be from 0 to 7"),
        ({"attendees": 8}, "attendees=8 must be from 0 to 7"),
        ({"max_reward": 0}, "max_reward=0 must be from 1 to 1000000"),
        ({"shape": "X"}, "shape='X' must be one of S, T, C, Q"),
        ({"rewards": "some"}, "rewards='some' must be one of none, known, private"),
        ({"events": 5}, "events=5: 7 people in groups of 7 have room for 4 events in 4 slots"),
        ({"conflict": 14}, "conflict=14 must be inf or a whole number greater than 14"),
        ({"conflict": 21, "rewards": "private"}, "conflict=21 must be inf or a whole number greater than 21"),
        ({"conflict": 99.5}, "conflict=99.5 must be inf or a whole number"),
        ({"conflict": -math.inf}, "conflict=-inf must be inf or a whole number"),
        ({"conflict": math.nan}, "conflict=nan must be inf or a whole number"),
    ],
)
def test_bounds(wrong: dict[str, int], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        DimesParams(**wrong)


def test_command_line(tmp_path: Path) -> None:
    path = tmp_path / "d.yaml"
    result = run("generate", "dimes", "-p", "u=3", "-p", "shape=Q", "-p", "conflict=1e6", "--seed", 7, "-o", path)
    assert result.exit_code == 0, result.stderr
    assert "dimes_u3_d4_Q_n7_e1_seed7, 7 variables, 21 constraints, 7 agents" in " ".join(result.stdout.split())
    assert unary(load(path)) == unary(Dimes.generate(DimesParams(u=3), 7))
    result = run("generate", "dimes", "-p", "conflict=3", "-o", tmp_path / "none.yaml")
    assert result.exit_code == 2
    assert "conflict=3.0 must be inf or a whole number greater than 14" in result.stderr
    result = run("generate", "dimes", "-p", "conflict=1e300", "-o", tmp_path / "none.yaml")
    assert result.exit_code == 2
    assert "scale them down" in result.stderr
    assert not (tmp_path / "none.yaml").exists()
