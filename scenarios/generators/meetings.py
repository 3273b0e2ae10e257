"""Meeting scheduling, in the formulation "private events as variables" (PEAV; Maheswaran et al., AAMAS 2004).

Everybody has a variable for each meeting that he or she attends: the slot in which it takes place. Attendees of a
meeting must agree, nobody can be in two meetings at once, and everybody minds some slots more than others, which is
private. Each agent hosts several variables. There are two forms.

`hard` is ours: agreement and conflicts are hard constraints, every meeting takes one slot and takes place, and slots
have private unary costs.

`pydcop` is what pyDCOP's command `generate meetings` makes: meetings take several slots and need not take place, slots
have a value, also when they are kept free, and penalties stand for what must not be. `meetings_pydcop` says how.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar, Final, Literal

import numpy as np

from agentsim.dcop.problem import Constraint, Domain, Problem, Variable
from agentsim.runtime.streams import Stream
from scenarios.generators.bounds import require_between, require_one_of
from scenarios.generators.meetings_pydcop import generate_pydcop

_NAMES: Final = (
    *("Ana", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gina", "Hugo", "Ida", "Jan", "Kira", "Leo", "Mia"),
    *("Nils", "Olga", "Paul", "Quinn", "Rosa", "Sam", "Tara", "Udo", "Vera", "Will", "Xenia", "Yara", "Zeno"),
)
_MAX_IMPORTANCE: Final = 3
_MAX_ATTENDANCES: Final = 20_000
_OF_FORM: Final = {
    "hard": ("agents", "meetings", "slots", "per_meeting", "max_cost", "objective"),
    "pydcop": (
        *("slots_count", "events_count", "resources_count", "max_resources_event", "max_length_event"),
        *("max_resource_value", "variables_count", "hosts"),
    ),
}


@dataclass(frozen=True)
class MeetingsParams:
    """Parameters of the meetings generator; ValueError if one is out of range or belongs to the other form.

    Args:
        agents: people, 1 to 10000 (form hard).
        meetings: meetings, 1 to 10000 (form hard).
        slots: time slots, 1 to 1000 (form hard).
        per_meeting: attendees of each meeting, 1 to agents (form hard).
        max_cost: a slot costs its attendee 0 to max_cost, times the meeting's importance to him or her (1 to 3) (form
            hard).
        objective: "min" the private costs, or "max" private utilities drawn in the same way (form hard).
        form: "hard", or "pydcop": lengths, meetings that need not take place, penalties, maximised.
        slots_count: time slots, 1 to 1000 (form pydcop, as are all that follow).
        events_count: events, 1 to 10000.
        resources_count: resources, 1 to 10000.
        max_resources_event: greatest number of resources that an event needs, 1 to resources_count.
        max_length_event: greatest number of slots that an event takes, 1 to slots_count.
        max_resource_value: greatest value of a slot, 1 to 1000000.
        variables_count: attendances of all events together, events_count to events_count * max_resources_event; or 0,
            as many as come up.
        hosts: who owns variables: each "resource" its own (PEAV), or each "variable" is an agent (what pyDCOP's solvers
            take by default).
    """

    agents: int = 5
    meetings: int = 4
    slots: int = 6
    per_meeting: int = 2
    max_cost: int = 10
    objective: Literal["min", "max"] = "min"
    form: Literal["hard", "pydcop"] = "hard"
    slots_count: int = 5
    events_count: int = 4
    resources_count: int = 3
    max_resources_event: int = 2
    max_length_event: int = 1
    max_resource_value: int = 10
    variables_count: int = 0
    hosts: Literal["resource", "variable"] = "resource"

    def __post_init__(self) -> None:
        require_one_of(self, "form", ("hard", "pydcop"))
        for form, names in _OF_FORM.items():
            for name in names:
                if form != self.form and getattr(self, name) != getattr(type(self), name):
                    raise ValueError(f"{name} is a parameter of form={form}, not of form={self.form}")
        if self.form == "hard":
            self._check_hard()
        else:
            self._check_pydcop()

    def _check_hard(self) -> None:
        require_between(
            self,
            ("agents", 1, 10_000),
            ("meetings", 1, 10_000),
            ("slots", 1, 1000),
            ("per_meeting", 1, self.agents),
            ("max_cost", 0, 1_000_000),
        )
        room = self.slots * (self.agents // self.per_meeting)
        if self.meetings > room:
            raise ValueError(
                f"meetings={self.meetings}: {self.agents} people in groups of {self.per_meeting} have room for {room} "
                f"meetings in {self.slots} slots"
            )

    def _check_pydcop(self) -> None:
        require_one_of(self, "hosts", ("resource", "variable"))
        require_between(
            self,
            ("slots_count", 1, 1000),
            ("events_count", 1, 10_000),
            ("resources_count", 1, 10_000),
            ("max_resources_event", 1, self.resources_count),
            ("max_length_event", 1, self.slots_count),
            ("max_resource_value", 1, 1_000_000),
        )
        if self.events_count * self.max_resources_event > _MAX_ATTENDANCES:
            raise ValueError(
                f"events_count={self.events_count} times max_resources_event={self.max_resources_event} must not be "
                f"more than {_MAX_ATTENDANCES}"
            )
        if self.variables_count:
            require_between(self, ("variables_count", self.events_count, self.events_count * self.max_resources_event))

    @property
    def penalty(self) -> int:
        """What a conflict, or a disagreement, takes off in the form pydcop."""
        return self.max_resource_value * self.slots_count * self.resources_count


class Meetings:
    """Meeting scheduling (PEAV): attendees agree on a slot, nobody is in two places, slot preferences are private.

    Form hard: a schedule always exists; one is planted while attendees are drawn, and forgotten.

    Form pydcop: variables `v_{r}_{e}`, constraints `ci_...` within a resource and `ce_...` within an event, for r and e
    from 1. Agents are `a_{r}`, or `a_{r}_{e}` with hosts=variable. With a greatest value V and a greatest length L the
    declared ranges are (-penalty, 2 L V) for `ci`, (-penalty, 0) for `ce` and (-L (V - 1), L V) for unary utilities:
    what follows from the parameters alone.
    """

    Params: ClassVar[type[MeetingsParams]] = MeetingsParams

    @staticmethod
    def generate(params: MeetingsParams, seed: int = 0) -> Problem:
        """Return the problem that `seed` gives; ValueError if the tables of the form pydcop would be too large."""
        return _generate_hard(params, seed) if params.form == "hard" else generate_pydcop(params, seed)


def _generate_hard(params: MeetingsParams, seed: int) -> Problem:
    people = [_NAMES[i] if params.agents <= len(_NAMES) else f"person{i + 1}" for i in range(params.agents)]
    domain = Domain("slots", tuple(range(1, params.slots + 1)))
    variables: list[Variable] = []
    of_person: dict[str, list[str]] = {name: [] for name in people}
    agree: list[Constraint] = []
    differ: list[Constraint] = []
    worst = math.inf if params.objective == "min" else -math.inf
    same = np.where(np.eye(params.slots, dtype=bool), 0.0, worst)
    other = np.where(np.eye(params.slots, dtype=bool), worst, 0.0)
    dislikes = {name: _draw(params, seed, name) for name in people}
    for j, attendees in enumerate(_attendees(params, seed)):
        names = []
        for i in attendees:
            person = people[i]
            name = f"m{j + 1}_{person}"
            importance = 1 + Stream(seed, "meetings", "importance", name).integer(_MAX_IMPORTANCE)
            costs = importance * np.array(dislikes[person], dtype=np.int64)
            public = (0, _MAX_IMPORTANCE * params.max_cost)
            variables.append(Variable(name, domain, person, costs, cost_range=public))
            of_person[person].append(name)
            names.append(name)
        agree += [Constraint(f"agree_{a}_{b}", (a, b), same, cost_range=(0, 0)) for a, b in combinations(names, 2)]
    for names in of_person.values():
        differ += [Constraint(f"differ_{a}_{b}", (a, b), other, cost_range=(0, 0)) for a, b in combinations(names, 2)]
    title = f"meetings_a{params.agents}_m{params.meetings}_s{params.slots}_p{params.per_meeting}_seed{seed}"
    return Problem.build(variables, [*agree, *differ], name=title, objective=params.objective, agents=people)


def _draw(params: MeetingsParams, seed: int, person: str) -> list[int]:
    stream = Stream(seed, "meetings", "slots", person)
    return [stream.integer(params.max_cost + 1) for _ in range(params.slots)]


def _attendees(params: MeetingsParams, seed: int) -> list[list[int]]:
    """Return who attends each meeting: as connected as the planted schedule allows, and everybody if possible."""
    stream = Stream(seed, "meetings", "attendees")
    slots = [j % params.slots for j in range(params.meetings)]  # the planted schedule
    busy: list[set[int]] = [set() for _ in range(params.slots)]
    met: dict[int, None] = {}
    groups = []
    for slot in slots:
        free = [i for i in range(params.agents) if i not in busy[slot]]
        group: list[int] = []
        links = [i for i in free if i in met]
        if links:
            group.append(stream.choice(links))
        while len(group) < params.per_meeting:
            rest = [i for i in free if i not in group]
            group.append(stream.choice([i for i in rest if i not in met] or rest))
        busy[slot].update(group)
        met.update(dict.fromkeys(group))
        groups.append(sorted(group))
    return groups
