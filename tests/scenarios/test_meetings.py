"""The meetings generator: what it makes is what its parameters say, and has a solution."""

import math
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentsim import load, save, simulate
from scenarios.generators.meetings import Meetings, MeetingsParams


@st.composite
def params(draw: st.DrawFn) -> MeetingsParams:
    agents = draw(st.integers(1, 5))
    slots = draw(st.integers(1, 4))
    per_meeting = draw(st.integers(1, min(3, agents)))
    meetings = draw(st.integers(1, min(4, slots * (agents // per_meeting))))
    objective = draw(st.sampled_from(["min", "max"]))
    return MeetingsParams(agents, meetings, slots, per_meeting, draw(st.integers(0, 9)), objective)


@settings(max_examples=60, deadline=None)
@given(params(), st.integers(0, 1000))
def test_shape_and_solution(given: MeetingsParams, seed: int) -> None:
    problem = Meetings.generate(given, seed)
    assert len(problem.agents) == given.agents
    assert len(problem.variables) == given.meetings * given.per_meeting
    attendance = Counter(name.partition("_")[0] for name in problem.variables)
    assert set(attendance.values()) == {given.per_meeting}
    for v in problem.variables.values():
        assert v.name.partition("_")[2] == v.agent
        assert v.unary is not None
        assert v.cost_range == (0, 3 * given.max_cost)
        assert v.unary.min() >= 0
        assert v.unary.max() <= 3 * given.max_cost
    for c in problem.constraints.values():
        a, b = (problem.variables[name] for name in c.scope)
        same_meeting = a.name.partition("_")[0] == b.name.partition("_")[0]
        assert same_meeting != (a.agent == b.agent)
        assert math.isfinite(c.table[0, 0]) == same_meeting
    result = simulate(problem, "dpop")
    assert result.status == "optimal"  # a schedule was planted
    assert result.violations == 0
    assert not result.notes  # no offset is read off a private table


def test_the_same_seed_gives_the_same_file(tmp_path: Path) -> None:
    for i, seed in enumerate((4, 4, 5)):
        save(Meetings.generate(MeetingsParams(), seed), tmp_path / f"{i}.yaml")
    texts = [(tmp_path / f"{i}.yaml").read_text() for i in range(3)]
    assert texts[0] == texts[1] != texts[2]


def test_another_person_shifts_nobodys_draws() -> None:
    few, many = (Meetings.generate(MeetingsParams(agents=n, meetings=2), 1) for n in (4, 5))
    shared = {v.agent for v in few.variables.values()} & {v.agent for v in many.variables.values()}
    assert shared
    for agent in shared:
        a, b = (p.variables[p.owned_by(agent)[0]].unary for p in (few, many))
        # Up to the meeting's importance, which is the meeting's.
        assert (a * b.sum() == b * a.sum()).all()


def test_everybody_attends_when_there_is_room_and_nobody_is_apart() -> None:
    for seed in range(20):
        problem = Meetings.generate(MeetingsParams(agents=6, meetings=5, slots=8), seed)
        assert {v.agent for v in problem.variables.values()} == set(problem.agents)
        graph = problem.primal_graph()
        reached, todo = set(), [next(iter(graph))]
        while todo:
            name = todo.pop()
            if name not in reached:
                reached.add(name)
                todo.extend(graph[name])
        assert reached == set(graph)


@pytest.mark.parametrize("suffix", ["yaml", "wcsp", "amdcop"])
def test_every_format_holds_it(tmp_path: Path, suffix: str) -> None:
    problem = Meetings.generate(MeetingsParams(), 2)
    save(problem, tmp_path / f"m.{suffix}")
    assert simulate(load(tmp_path / f"m.{suffix}"), "dpop").cost == simulate(problem, "dpop").cost


@pytest.mark.parametrize(
    "wrong",
    [
        {"agents": 0},
        {"meetings": 0},
        {"slots": 0},
        {"per_meeting": 6},
        {"max_cost": -1},
        {"agents": 2, "meetings": 4, "slots": 3},
    ],
)
def test_bounds(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong)) if len(wrong) == 1 else "room for 3"):
        MeetingsParams(**wrong)
