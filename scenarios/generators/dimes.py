"""DiMES, the distributed multi-event scheduling problem, with private events as variables (PEAV).

People R_i attend events E_j. F_i(t) is what it costs R_i to keep slot t free and W_j(R_i) the reward for attending E_j.
PEAV gives each person a variable for each event that he or she attends: its slot. The variables of an event must agree
and those of a person must differ. Which event needs whom is common knowledge here, and so are the constraints of
agreement; that somebody's own variables must differ is his or her business.

Sources: Maheswaran et al., "Taking DCOP to the real world" (AAMAS 2004), for DiMES and PEAV; Lee, Mak and Shi, "A
general privacy loss aggregation framework for distributed constraint reasoning", sections II.B (the problem) and V (the
benchmark with parameters (u, d, s): one event, seven attendees). Both maximise the sum of W_j(R_i) - F_i(t); here the
sum of F_i(t) - W_j(R_i) is minimised.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from agentsim.dcop.problem import Constraint, Domain, Problem, Variable
from agentsim.runtime.streams import Stream

Shape: TypeAlias = Literal["S", "T", "C", "Q"]
"""Shape of a graph: star, balanced binary tree, chain, clique (the letters of Lee, Mak and Shi, section V)."""


def shape_edges(shape: Shape, n: int) -> list[tuple[int, int]]:
    """Return the edges (i, j), i < j, of a connected graph of `shape` over 0..n-1, in ascending order.

    S joins 0 to every other, C each to the next, Q every two, and T node i to (i - 1) // 2 like a binary heap.
    """
    match shape:
        case "S":
            return [(0, i) for i in range(1, n)]
        case "T":
            return [((i - 1) // 2, i) for i in range(1, n)]
        case "C":
            return [(i - 1, i) for i in range(1, n)]
        case "Q":
            return list(combinations(range(n), 2))


@dataclass(frozen=True)
class DimesParams:
    """Parameters of the dimes generator; ValueError if one is out of range or no schedule can exist.

    Args:
        u: keeping a slot free costs its owner 1 to u, uniformly, 1 to 1000000.
        d: time slots, 1 to 1000.
        shape: graph of equality constraints among an event's attendees: S star, T binary tree, C chain, Q clique.
        people: people, each an agent, 1 to 10000.
        events: events, 1 to 10000.
        attendees: people at each event, 0 (all people) to people.
        conflict: cost of an event in two slots, and of two events of one person in one slot: inf, or a whole number
            greater than what the private costs can sum to (from the least possible sum, where that is negative).
        rewards: "none", "known" (public: what is private is F_i(t), and the problem's constant is minus their sum) or
            "private" (the private costs are F_i(t) - W_j(R_i)).
        max_reward: a reward is 1 to max_reward, uniformly, 1 to 1000000.
    """

    u: int = 2
    d: int = 4
    shape: Literal["S", "T", "C", "Q"] = "S"
    people: int = 7
    events: int = 1
    attendees: int = 0
    conflict: float = math.inf
    rewards: Literal["none", "known", "private"] = "none"
    max_reward: int = 3

    def __post_init__(self) -> None:
        for name, low, high in (
            ("u", 1, 1_000_000),
            ("d", 1, 1000),
            ("people", 1, 10_000),
            ("events", 1, 10_000),
            ("attendees", 0, self.people),
            ("max_reward", 1, 1_000_000),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name}={getattr(self, name)} must be from {low} to {high}")
        for name, allowed in (("shape", get_args(Shape)), ("rewards", ("none", "known", "private"))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}={getattr(self, name)!r} must be one of {', '.join(allowed)}")
        # Events in one slot share nobody, so a slot has room for people // per_event of them.
        room = self.d * (self.people // self.per_event)
        if self.events > room:
            raise ValueError(
                f"events={self.events}: {self.people} people in groups of {self.per_event} have room for {room} events "
                f"in {self.d} slots"
            )
        # So that a schedule costs less than whatever is not one, also when costs are shifted to be non-negative.
        least, greatest = self.cost_range
        most = self.events * self.per_event * max(greatest, greatest - least)
        if not (self.conflict > most and (math.isinf(self.conflict) or self.conflict == int(self.conflict))):
            raise ValueError(
                f"conflict={self.conflict} must be inf or a whole number greater than {most}, which the private costs "
                "can sum to"
            )

    @property
    def per_event(self) -> int:
        """Number of attendees of each event."""
        return self.attendees or self.people

    @property
    def cost_range(self) -> tuple[int, int]:
        """Least and greatest private cost, which everybody knows."""
        return (1 - self.max_reward, self.u - 1) if self.rewards == "private" else (1, self.u)


class Dimes:
    """Multi-event scheduling (DiMES, PEAV): attendees agree on a slot, what a slot costs each of them is private.

    With one event there are a variable `x{i}` and an agent `a{i}` for each attendee i = 0, 1, ...; with several events
    `a{i}` has a variable `e{j}_a{i}` for each event j = 1, 2, ... that it attends. The values are the slots 1..d.

    A seed gives the same private costs F_i for every shape, conflict, number of events and kind of rewards: they belong
    to the person, who uses them for all of his or her variables. Attendees are drawn at random, everybody attends
    something if there are seats enough, and a schedule always exists.
    """

    Params: ClassVar[type[DimesParams]] = DimesParams

    @staticmethod
    def generate(params: DimesParams, seed: int = 0) -> Problem:
        """Return the problem that `seed` gives; ProblemError if it is too large to be held."""
        people = [f"a{i}" for i in range(params.people)]
        domain = Domain("slots", tuple(range(1, params.d + 1)))
        diagonal = np.eye(params.d, dtype=bool)
        same = np.where(diagonal, 0.0, params.conflict)
        other = np.where(diagonal, params.conflict, 0.0)
        public = (0, 0) if math.isinf(params.conflict) else (0, int(params.conflict))
        keep_free = [_keep_free(params, seed, person) for person in people]
        variables: list[Variable] = []
        of_person: dict[str, list[str]] = {person: [] for person in people}
        agree: list[Constraint] = []
        rewards = 0
        for j, group in enumerate(_attendees(params, seed), start=1):
            names = [f"x{i}" if params.events == 1 else f"e{j}_a{i}" for i in group]
            for i, name in zip(group, names, strict=True):
                reward = _reward(params, seed, j, people[i])
                rewards += reward
                costs = keep_free[i] - reward if params.rewards == "private" else keep_free[i]
                variables.append(Variable(name, domain, people[i], costs, cost_range=params.cost_range))
                of_person[people[i]].append(name)
            edges = [(names[a], names[b]) for a, b in shape_edges(params.shape, len(names))]
            agree += [Constraint(f"same_{a}_{b}", (a, b), same, known_to="all", cost_range=public) for a, b in edges]
        differ = [
            Constraint(f"differ_{a}_{b}", (a, b), other, cost_range=public)
            for names in of_person.values()
            for a, b in combinations(names, 2)
        ]
        title = f"dimes_u{params.u}_d{params.d}_{params.shape}_n{params.people}_e{params.events}_seed{seed}"
        constant = -rewards if params.rewards == "known" else 0
        return Problem.build(variables, [*agree, *differ], name=title, agents=people, constant=constant)


def _keep_free(params: DimesParams, seed: int, person: str) -> NDArray[np.int64]:
    """Return F_i(t) by slot, shape (d,)."""
    stream = Stream(seed, "dimes", "slots", person)
    return np.array([1 + stream.integer(params.u) for _ in range(params.d)], dtype=np.int64)


def _reward(params: DimesParams, seed: int, event: int, person: str) -> int:
    """Return W_j(R_i), 0 when there are no rewards."""
    if params.rewards == "none":
        return 0
    return 1 + Stream(seed, "dimes", "reward", f"e{event}", person).integer(params.max_reward)


def _attendees(params: DimesParams, seed: int) -> list[list[int]]:
    """Return who attends each event, in ascending order.

    Events are planted in the slots in turn, and a seat goes to anybody who is free then; but once the seats left no
    more than suffice for those who attend nothing yet, they are for these.
    """
    stream = Stream(seed, "dimes", "attendees")
    busy: list[set[int]] = [set() for _ in range(params.d)]
    idle = list(range(params.people))  # they are free in every slot
    seats = params.events * params.per_event
    groups = []
    for j in range(params.events):
        slot = busy[j % params.d]
        free = [i for i in range(params.people) if i not in slot]
        group = []
        for _ in range(params.per_event):
            person = stream.choice(free if seats > len(idle) else idle)
            free.remove(person)
            if person in idle:
                idle.remove(person)
            group.append(person)
            seats -= 1
        slot.update(group)
        groups.append(sorted(group))
    return groups
