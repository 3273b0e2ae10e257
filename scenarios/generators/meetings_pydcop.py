"""Meetings with lengths, utilities and penalties, as pyDCOP generates them: the form `pydcop` of `meetings`.

Source: pyDCOP's command `generate meetings`, after the private events as variables (PEAV) of Maheswaran et al. (AAMAS
2004). A resource r values its slot t, kept free, at F_r(t), uniform on 0..max_resource_value, and each slot of an event
e at V_e(r), uniform on 1..max_resource_value. An event takes L_e slots, uniform on 1..max_length_event, and needs
different resources, 1 to max_resources_event of them, uniformly. A variable is a resource's part in an event: the first
slot, or 0 when it takes no part. It is worth to r::

    u(0) = 0        u(t) = L_e V_e(r) - (F_r(t) + ... + F_r(t + L_e - 1))

Within a resource of n > 1 events there is a constraint for every two of them, worth (u(t) + u'(t')) / (n - 1), so that
each utility counts once, or -penalty where both events need one slot; with n = 1, u is a private unary utility. Within
an event there is a constraint for every two of its variables, worth 0 when they are equal, else -penalty. The penalty
is max_resource_value * slots_count * resources_count. The sum is maximised. Nothing is forbidden.

Deviations: names count from 1 without leading zeros; `variables_count` and `hosts` are ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from agentsim.dcop.problem import Constraint, Domain, Problem, Variable, as_table
from agentsim.runtime.streams import Stream
from scenarios.generators.bounds import require_room

if TYPE_CHECKING:
    from scenarios.generators.meetings import MeetingsParams


@dataclass(frozen=True)
class _Event:
    length: int
    resources: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class _Part:
    """A resource's part in an event; `worth` is its utility by value, shape (slots_count - length + 2,)."""

    resource: int
    event: int
    length: int
    worth: NDArray[np.int64]

    @property
    def name(self) -> str:
        return f"{self.resource}_{self.event}"


def generate_pydcop(params: MeetingsParams, seed: int) -> Problem:
    """Return the problem that `seed` gives; ValueError if its tables would be too large."""
    parts = _parts(params, seed)
    of_resource: dict[int, list[_Part]] = {r: [] for r in range(1, params.resources_count + 1)}
    of_event: dict[int, list[_Part]] = {}
    for part in parts:
        of_resource[part.resource].append(part)
        of_event.setdefault(part.event, []).append(part)
    pairs = sum(math.comb(len(its), 2) for its in (*of_resource.values(), *of_event.values()))
    require_room(pairs, 0)  # before they are walked through
    costs = sum(a.worth.size * b.worth.size for its in of_resource.values() for a, b in combinations(its, 2))
    require_room(pairs, costs)
    worst = -params.penalty
    most = params.max_length_event * params.max_resource_value
    single = (params.max_length_event - most, most)
    domains = {
        length: Domain(f"start{length}", tuple(range(params.slots_count - length + 2)), kind="time_slot")
        for length in sorted({part.length for part in parts})
    }
    variables = []
    for part in parts:
        agent = f"a_{part.resource}" if params.hosts == "resource" else f"a_{part.name}"
        alone = len(of_resource[part.resource]) == 1
        unary, public = (part.worth, single) if alone else (None, None)
        variables.append(Variable(f"v_{part.name}", domains[part.length], agent, unary, cost_range=public))
    constraints = []
    for its in of_resource.values():
        for a, b in combinations(its, 2):
            table = np.where(_conflict(a, b), worst, (a.worth[:, None] + b.worth) / (len(its) - 1))
            constraints.append(_constraint("ci", a, b, table, (worst, 2 * most)))
    apart = {n: as_table(np.where(np.eye(len(d), dtype=bool), 0, worst), "penalties") for n, d in domains.items()}
    for its in of_event.values():
        constraints += [_constraint("ce", a, b, apart[a.length], (worst, 0)) for a, b in combinations(its, 2)]
    title = f"meetings_pydcop_s{params.slots_count}_e{params.events_count}_r{params.resources_count}_v{len(parts)}"
    agents = [f"a_{r}" for r in of_resource] if params.hosts == "resource" else []
    return Problem.build(variables, constraints, name=f"{title}_seed{seed}", objective="max", agents=agents)


def _constraint(kind: str, a: _Part, b: _Part, table: NDArray[Any], public: tuple[int, int]) -> Constraint:
    return Constraint(f"{kind}_v_{a.name}_v_{b.name}", (f"v_{a.name}", f"v_{b.name}"), table, cost_range=public)


def _conflict(a: _Part, b: _Part) -> NDArray[np.bool_]:
    """Tell where two events take place and need the same slot, by the two first slots."""
    s, t = np.arange(a.worth.size)[:, None], np.arange(b.worth.size)
    found: NDArray[np.bool_] = (s > 0) & (t > 0) & (s < t + b.length) & (t < s + a.length)
    return found


def _parts(params: MeetingsParams, seed: int) -> list[_Part]:
    """Return every resource's part in every event, by resource and then by event."""
    events = dict(enumerate(_events(params, seed), start=1))
    pairs = sorted((r, e) for e, event in events.items() for r in event.resources)
    free = {r: _free(params, seed, r) for r, _ in pairs}
    parts = []
    for r, e in pairs:
        length = events[e].length
        each = 1 + Stream(seed, "meetings", "pydcop", "value", f"r{r}", f"e{e}").integer(params.max_resource_value)
        if_free = np.convolve(free[r], np.ones(length, dtype=np.int64), mode="valid")
        parts.append(_Part(r, e, length, np.concatenate(([0], length * each - if_free))))
    return parts


def _free(params: MeetingsParams, seed: int, resource: int) -> NDArray[np.int64]:
    """Return F_r(t) by slot, shape (slots_count,)."""
    stream = Stream(seed, "meetings", "pydcop", "free", f"r{resource}")
    return np.array([stream.integer(params.max_resource_value + 1) for _ in range(params.slots_count)], dtype=np.int64)


def _events(params: MeetingsParams, seed: int) -> Iterator[_Event]:
    for e, seats in enumerate(_seats(params, seed), start=1):
        stream = Stream(seed, "meetings", "pydcop", "event", f"e{e}")
        length = 1 + stream.integer(params.max_length_event)
        resources: dict[int, None] = {}
        while len(resources) < seats:
            resources[1 + stream.integer(params.resources_count)] = None
        yield _Event(length, tuple(resources))


def _seats(params: MeetingsParams, seed: int) -> list[int]:
    """Return how many resources each event needs; if their sum is given, seats go to events that have room for them."""
    stream = Stream(seed, "meetings", "pydcop", "seats")
    if not params.variables_count:
        return [1 + stream.integer(params.max_resources_event) for _ in range(params.events_count)]
    seats = [1] * params.events_count
    room = [e for e in range(params.events_count) for _ in range(params.max_resources_event - 1)]
    for _ in range(params.variables_count - params.events_count):
        k = stream.integer(len(room))
        room[k], room[-1] = room[-1], room[k]
        seats[room.pop()] += 1
    return seats
