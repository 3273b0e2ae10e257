"""Meeting scheduling, in the formulation "private events as variables" (PEAV; Maheswaran et al., AAMAS 2004).

Everybody has a variable for each meeting that he or she attends: the slot in which it takes place. Attendees of a
meeting must agree (hard), nobody can be in two meetings at once (hard), and everybody dislikes some slots more than
others, which is private. Each agent hosts several variables.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar, Final, Literal

import numpy as np

from agentsim.dcop.problem import Constraint, Domain, Problem, Variable
from agentsim.runtime.streams import Stream

_NAMES: Final = (
    *("Ana", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gina", "Hugo", "Ida", "Jan", "Kira", "Leo", "Mia"),
    *("Nils", "Olga", "Paul", "Quinn", "Rosa", "Sam", "Tara", "Udo", "Vera", "Will", "Xenia", "Yara", "Zeno"),
)
_MAX_IMPORTANCE: Final = 3


@dataclass(frozen=True)
class MeetingsParams:
    """Parameters of the meetings generator.

    Args:
        agents: people, 1 to 10000.
        meetings: meetings, 1 to 10000.
        slots: time slots, 1 to 1000.
        per_meeting: attendees of each meeting, 1 to agents.
        max_cost: a slot costs its attendee 0 to max_cost, times the meeting's importance to him or her (1 to 3).
        objective: "min" the private costs, or "max" private utilities drawn in the same way.
    """

    agents: int = 5
    meetings: int = 4
    slots: int = 6
    per_meeting: int = 2
    max_cost: int = 10
    objective: Literal["min", "max"] = "min"

    def __post_init__(self) -> None:
        for name, low, high in (
            ("agents", 1, 10_000),
            ("meetings", 1, 10_000),
            ("slots", 1, 1000),
            ("per_meeting", 1, self.agents),
            ("max_cost", 0, 1_000_000),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name}={getattr(self, name)} must be from {low} to {high}")
        room = self.slots * (self.agents // self.per_meeting)
        if self.meetings > room:
            raise ValueError(
                f"meetings={self.meetings}: {self.agents} people in groups of {self.per_meeting} have room for {room} "
                f"meetings in {self.slots} slots"
            )


class Meetings:
    """Meeting scheduling (PEAV): attendees agree on a slot, nobody is in two places, slot preferences are private.

    A schedule always exists: one is planted while attendees are drawn, and forgotten.
    """

    Params: ClassVar[type[MeetingsParams]] = MeetingsParams

    @staticmethod
    def generate(params: MeetingsParams, seed: int = 0) -> Problem:
        """Return the problem that `seed` gives."""
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
            differ += [
                Constraint(f"differ_{a}_{b}", (a, b), other, cost_range=(0, 0)) for a, b in combinations(names, 2)
            ]
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
