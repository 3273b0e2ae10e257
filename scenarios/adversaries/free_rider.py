"""Free riders: agents that insist on what they like best and leave the work to the others."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from agentsim.runtime.agent import Agent
from agentsim.runtime.port import Port
from agentsim.runtime.view import LocalConstraint, LocalView
from scenarios.adversaries.base import PATIENCE, Adversary, Options, Target

_INSISTENCE: Final = 10**6
"""What giving in would cost, beside all that its constraints may: where all must agree, the others' costs count too."""


@dataclass(frozen=True)
class FreeRider(Adversary):
    """Keeps its own favourite value whatever is agreed, and evaluates none of its cost functions.

    It takes part in the protocol as far as needed for the run to end: it sends and answers as its solver does, but as
    if every constraint that only it and its partners know cost nothing, and any other value than its favourite cost
    a million more than all of them together. The favourite is the value of least private cost, the first of equals;
    without private costs its initial value or else the first. That is the value it has in the end, also where the
    solver says otherwise. It looks nothing up, so no constraint check is counted for it, those on tables that it was
    sent included, and with `check_cost` it is never busy. Constraints that everybody knows are left as they are, since
    anybody would see.
    """

    name: ClassVar[str] = "free-rider"

    def against(self, target: Target) -> Options:
        """Return a class that rides on the solver's."""
        rider = type("FreeRider", (_Rider, target.solver), {"__doc__": _Rider.__doc__})
        return {"replace": dict.fromkeys(target.agents, rider), "max_messages": PATIENCE}


class _Rider(Agent):
    """The part of a free rider that is the same whatever solver it rides on; stands before the solver's class."""

    def __init__(self, view: LocalView, port: Port, params: Any = None) -> None:  # noqa: ANN401  # as of Agent
        self._favourite = favourite(view)
        super().__init__(idle(view, self._favourite), port, params)

    def check(self, n: int) -> None:
        """Count nothing: nothing is looked up."""

    def assign(self, value: int) -> None:
        """Declare the favourite, whatever the solver chose."""
        super().assign(self._favourite)


def favourite(view: LocalView) -> int:
    """Return the domain index of a node's favourite value; 0 for a node without values."""
    if view.has_unary:
        return int(view.unary.argmin())
    return view.initial or 0


def idle(view: LocalView, best: int) -> LocalView:
    """Return a view in which all that counts is that each of the agent's variables has its favourite value."""
    much = _INSISTENCE + sum(_span(c.table) for c in (*view.constraints, *view.share))

    def insisting(size: int, on: int) -> NDArray[Any]:
        costs = np.full(size, much, np.int64 if view.integral else np.float64)
        costs[on : on + 1] = 0
        costs.flags.writeable = False
        return costs

    def cost(f: LocalConstraint) -> LocalConstraint:
        if f.public:
            return f
        if f.unary:
            return dataclasses.replace(f, table=insisting(f.table.size, int(f.table.argmin())))
        nothing = np.zeros_like(f.table)
        nothing.flags.writeable = False
        return dataclasses.replace(f, table=nothing)

    return dataclasses.replace(
        view,
        unary=insisting(view.size, best),
        has_unary=bool(view.domain),
        constraints=tuple(map(cost, view.constraints)),
        share=tuple(map(cost, view.share)),
    )


def _span(table: NDArray[Any]) -> int:
    """Return how much two entries of a table differ at most, rounded up; forbidden ones aside."""
    allowed = table[np.isfinite(table)]
    return int(np.ceil(np.ptp(allowed))) if allowed.size else 0
