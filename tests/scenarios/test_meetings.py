"""The meetings generator: what it makes is what its parameters say, and has a solution. Both forms."""

import math
import os
from collections import Counter
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentsim import Problem, load, save, simulate
from agentsim.testing import brute_force
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


# Form pydcop ---------------------------------------------------------------------------------------------------------


@st.composite
def pydcop_params(draw: st.DrawFn) -> MeetingsParams:
    slots, resources, events = draw(st.integers(1, 6)), draw(st.integers(1, 4)), draw(st.integers(1, 5))
    most = draw(st.integers(1, resources))
    return MeetingsParams(
        form="pydcop",
        slots_count=slots,
        events_count=events,
        resources_count=resources,
        max_resources_event=most,
        max_length_event=draw(st.integers(1, slots)),
        max_resource_value=draw(st.integers(1, 20)),
        variables_count=draw(st.one_of(st.just(0), st.integers(events, events * most))),
        hosts=draw(st.sampled_from(["resource", "variable"])),
    )


def part(name: str) -> tuple[int, int]:
    """Return resource and event of a variable."""
    _, resource, event = name.split("_")
    return int(resource), int(event)


def check_peav(problem: Problem, slots: int, penalty: int, values: int) -> None:
    """Assert what pyDCOP's meetings are: its own files and ours."""
    assert problem.objective == "max"
    of_resource: dict[int, list[str]] = {}
    of_event: dict[int, list[str]] = {}
    for name, v in problem.variables.items():
        resource, event = part(name)
        of_resource.setdefault(resource, []).append(name)
        of_event.setdefault(event, []).append(name)
        assert v.domain.values == tuple(range(v.size))
    length = {name: slots + 2 - v.size for name, v in problem.variables.items()}
    assert all(len({length[name] for name in names}) == 1 for names in of_event.values())
    tables = {frozenset(c.scope): (c.scope, c.table) for c in problem.constraints.values()}
    assert len(tables) == len(problem.constraints)
    worth: dict[str, set[tuple[float, ...]]] = {name: set() for name in problem.variables}
    for names in of_resource.values():
        if len(names) == 1:
            worth[names[0]].add(tuple(problem.variables[names[0]].unary.tolist()))
        for pair in combinations(names, 2):
            (a, b), table = tables.pop(frozenset(pair))
            first, second = table[:, 0] * (len(names) - 1), table[0] * (len(names) - 1)
            worth[a].add(tuple(np.round(first, 6)))
            worth[b].add(tuple(np.round(second, 6)))
            for (s, t), found in np.ndenumerate(table):
                taken = set(range(s, s + length[a])) & set(range(t, t + length[b])) if s and t else set()
                expected = -penalty if taken else (first[s] + second[t]) / (len(names) - 1)
                assert found == pytest.approx(expected, abs=1e-9)
    for names in of_event.values():
        for pair in combinations(names, 2):
            _, table = tables.pop(frozenset(pair))
            assert (table == np.where(np.eye(len(table), dtype=bool), 0, -penalty)).all()
    assert not tables
    for name, found in worth.items():
        (utility,) = found  # every constraint tells the same
        most = length[name] * values
        assert utility[0] == 0
        assert all(length[name] - most <= u <= most and u == int(u) for u in utility[1:])
    for names in of_resource.values():
        # A slot that two events could take is as good kept free in both: u differs by what the event is worth alone.
        units = [name for name in names if length[name] == 1]
        for a, b in combinations(units, 2):
            (u,), (w,) = worth[a], worth[b]
            assert len({round(x - y) for x, y in zip(u[1:], w[1:], strict=True)}) == 1


@settings(max_examples=60, deadline=None)
@given(pydcop_params(), st.integers(0, 1000))
def test_pydcops_form(given: MeetingsParams, seed: int) -> None:
    problem = Meetings.generate(given, seed)
    penalty = given.max_resource_value * given.slots_count * given.resources_count
    check_peav(problem, given.slots_count, penalty, given.max_resource_value)
    parts = [part(name) for name in problem.variables]
    attends = Counter(event for _, event in parts)
    assert set(attends) == set(range(1, given.events_count + 1))
    assert max(attends.values()) <= given.max_resources_event
    assert {resource for resource, _ in parts} <= set(range(1, given.resources_count + 1))
    assert not given.variables_count or len(parts) == given.variables_count
    if given.hosts == "resource":
        assert problem.agents == tuple(f"a_{r}" for r in range(1, given.resources_count + 1))
        assert all(v.agent == f"a_{part(v.name)[0]}" for v in problem.variables.values())
    else:
        assert problem.agents == tuple(v.agent for v in problem.variables.values())
        assert len(set(problem.agents)) == len(parts)
    for cost_range, table in [(c.cost_range, c.table) for c in problem.constraints.values()] + [
        (v.cost_range, v.unary) for v in problem.variables.values() if v.unary is not None
    ]:
        assert cost_range[0] <= table.min() <= table.max() <= cost_range[1]


@settings(max_examples=20, deadline=None)
@given(pydcop_params().filter(lambda p: p.slots_count <= 3), st.integers(0, 1000))
def test_dpop_solves_pydcops_form_without_conflicts(given: MeetingsParams, seed: int) -> None:
    problem = Meetings.generate(given, seed)
    result = simulate(problem, "dpop")
    assert result.status == "optimal"
    if math.prod(v.size for v in problem.variables.values()) <= 300:
        assert result.cost == pytest.approx(brute_force(problem), rel=1e-9)
    assert result.cost >= 0  # nothing takes place
    assert not result.notes  # no offset is read off a private table
    for c in problem.constraints.values():
        chosen = c.table[tuple(problem.indices({n: result.assignment[n] for n in c.scope})[n] for n in c.scope)]
        assert chosen > -given.penalty


def test_pydcops_form_gives_the_same_values_to_more_of_everything() -> None:
    few = MeetingsParams(form="pydcop", resources_count=3, events_count=3, max_resources_event=3, variables_count=9)
    many = replace(few, events_count=4, variables_count=12)
    problems = [Meetings.generate(given, 5) for given in (few, many)]
    # What an event is worth to a resource: its share in a table, times the number of other events.
    tables = [(p.constraints["ci_v_1_1_v_1_2"].table * n).round(6) for p, n in zip(problems, (2, 3), strict=True)]
    assert (np.where(tables[0] < -50, 0, tables[0]) == np.where(tables[1] < -50, 0, tables[1])).all()


def test_pydcops_form_draws_lengths_seats_and_values_from_all_their_ranges() -> None:
    wanted = MeetingsParams(
        form="pydcop", events_count=10, resources_count=30, max_resources_event=4, max_length_event=3
    )
    lengths, seats, values = Counter[int](), Counter[int](), set[int]()
    for seed in range(30):
        problem = Meetings.generate(wanted, seed)
        attends = Counter(part(name)[1] for name in problem.variables)
        seats.update(attends.values())
        size = {part(name)[1]: v.size for name, v in problem.variables.items()}
        lengths.update(5 + 2 - d for d in size.values())
        values |= {int(u) for v in problem.variables.values() if v.unary is not None and v.size == 6 for u in v.unary}
    assert set(lengths) == {1, 2, 3}
    assert set(seats) == {1, 2, 3, 4}
    for counts, n in ((lengths, 3), (seats, 4)):
        assert all(abs(count - 300 / n) < 3.891 * (300 / n * (1 - 1 / n)) ** 0.5 for count in counts.values())
    assert -9 <= min(values) <= -7  # of meetings of one slot: at worst 1 - 10, at best 10 - 0
    assert 8 <= max(values) <= 10


def test_pydcops_form_of_record() -> None:
    """They do not depend on the hash seed, the machine or the time; if they change, so does every experiment."""
    problem = Meetings.generate(MeetingsParams(form="pydcop", slots_count=3), 1)
    assert problem.name == "meetings_pydcop_s3_e4_r3_v6_seed1"
    assert list(problem.variables) == ["v_1_1", "v_1_3", "v_1_4", "v_2_1", "v_2_2", "v_3_2"]
    table = [[0, 3, -1, 1], [6, -90, 5, 7], [2, 5, -90, 3], [4, 7, 3, -90]]
    assert problem.constraints["ci_v_2_1_v_2_2"].table.tolist() == table
    assert problem.variables["v_3_2"].unary.tolist() == [0, -7, -7, -9]


def test_pydcops_form_survives_a_file(tmp_path: Path) -> None:
    problem = Meetings.generate(MeetingsParams(form="pydcop", max_length_event=2, events_count=6), 2)
    save(problem, tmp_path / "m.yaml")
    loaded = load(tmp_path / "m.yaml")
    check_peav(loaded, 5, 150, 10)
    assert [v.agent for v in loaded.variables.values()] == [v.agent for v in problem.variables.values()]
    assert [c.cost_range for c in loaded.constraints.values()] == [c.cost_range for c in problem.constraints.values()]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"form": "soft"}, "form='soft' must be one of hard, pydcop"),
        ({"slots_count": 9}, "slots_count is a parameter of form=pydcop, not of form=hard"),
        ({"form": "pydcop", "slots": 9}, "slots is a parameter of form=hard, not of form=pydcop"),
        ({"form": "pydcop", "objective": "max"}, "objective is a parameter of form=hard, not of form=pydcop"),
        ({"form": "pydcop", "slots_count": 0}, "slots_count=0 must be from 1 to 1000"),
        ({"form": "pydcop", "events_count": 0}, "events_count=0 must be from 1 to 10000"),
        ({"form": "pydcop", "resources_count": 0}, "resources_count=0 must be from 1 to 10000"),
        ({"form": "pydcop", "max_resources_event": 4}, "max_resources_event=4 must be from 1 to 3"),
        ({"form": "pydcop", "max_length_event": 6}, "max_length_event=6 must be from 1 to 5"),
        ({"form": "pydcop", "max_resource_value": 0}, "max_resource_value=0 must be from 1 to 1000000"),
        ({"form": "pydcop", "variables_count": 9}, "variables_count=9 must be from 4 to 8"),
        ({"form": "pydcop", "hosts": "all"}, "hosts='all' must be one of resource, variable"),
        (
            {"form": "pydcop", "events_count": 10_000, "resources_count": 10_000, "max_resources_event": 3},
            "must not be more than 20000",
        ),
    ],
)
def test_bounds_of_the_forms(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        MeetingsParams(**wrong)


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"events_count": 10, "resources_count": 1000, "max_resources_event": 1000}, "200000 constraints"),
        ({"events_count": 30, "slots_count": 1000, "resources_count": 1, "max_resources_event": 1}, "20000000 costs"),
    ],
)
def test_too_large_is_refused_before_it_is_made(wrong: dict[str, Any], what: str) -> None:
    with pytest.raises(ValueError, match=f"more than {what}"):
        Meetings.generate(MeetingsParams(form="pydcop", **wrong))


@pytest.mark.instances
@pytest.mark.skipif("AGENTSIM_INSTANCES" not in os.environ, reason="AGENTSIM_INSTANCES is not set")
@pytest.mark.parametrize(
    ("name", "slots", "resources", "values"), [("tiny", 4, 3, 10), ("v15_s20", 20, 8, 100), ("v25_s20", 20, 13, 100)]
)
def test_pydcops_files_are_of_this_form(name: str, slots: int, resources: int, values: int) -> None:
    problem = load(Path(os.environ["AGENTSIM_INSTANCES"]) / f"pydcop/ms_{name}.yaml")
    check_peav(problem, slots, slots * resources * values, values)
