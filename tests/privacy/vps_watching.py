"""Problems to watch with the observer `vps`, and what it believes of them, for the tests of its rules."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from agentsim import Agent, Constraint, Domain, Problem, Variable, message, simulate
from agentsim.runtime import registry
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.setup import TreeParams, prepare
from agentsim.runtime.statements import (
    CostIs,
    Released,
    Statement,
    Term,
)
from agentsim.testing import Truth
from privacy.vps import Vps

DIMES = registry.find("generators", "dimes")
RANDOM = registry.find("generators", "random-dcop")
INF = math.inf


class Watch(Vps):
    """The observer, kept for a look at its beliefs."""

    runs: ClassVar[list[Watch]] = []

    def start(self) -> None:
        super().start()
        self.runs.append(self)


def watch(problem: Problem, solver: Any, rule: Any, options: Mapping[str, Any] | None = None, **run: Any) -> Watch:
    """Run a solver and return the observer."""
    simulate(problem, solver, observers=[(Watch, {"rule": rule, **(options or {})})], **run)
    return Watch.runs.pop()


def ranges(watched: Watch, observer: str, variable: str) -> list[tuple[float, float]]:
    """Return the least and the greatest cost that an observer holds possible, by value, minimising."""
    (viewer,) = (v for v in watched.viewers if v.mind.name == observer)
    belief = viewer.mind.belief(variable)
    assert belief is not None
    scale = belief.scale
    return [(scale.least(a), scale.greatest(b)) for a, b in zip(belief.low, belief.high, strict=True)]


def highs(watched: Watch, observer: str, variable: str) -> list[float]:
    """Return the greatest costs that an observer holds possible, by value."""
    return [high for _, high in ranges(watched, observer, variable)]


def event(
    costs: Sequence[Sequence[float]],
    edges: str | Iterable[tuple[int, int]] = "C",
    bounds: tuple[float, float] | None = (1, 4),
    *,
    known_to: Any = "all",
    conflict: float = INF,
) -> Problem:
    """Return an event of agents a0, a1, ... with variables x0, x1, ... that must agree on a slot.

    Args:
        costs: private costs by agent and slot.
        edges: who is tied to whom: S star, C chain, Q clique, or pairs.
        bounds: declared range of the costs.
        known_to: who knows the ties.
        conflict: cost of two slots.
    """
    n, d = len(costs), len(costs[0])
    if isinstance(edges, str):
        pairs = {
            "S": [(0, i) for i in range(1, n)],
            "C": [(i - 1, i) for i in range(1, n)],
            "Q": [(i, j) for j in range(n) for i in range(j)],
        }[edges]
    else:
        pairs = list(edges)
    slots = Domain("slots", tuple(range(d)))
    same = np.where(np.eye(d, dtype=bool), 0.0, conflict)
    top = 0 if conflict == INF else conflict
    return Problem.build(
        [Variable(f"x{i}", slots, f"a{i}", np.array(c, dtype=float), cost_range=bounds) for i, c in enumerate(costs)],
        [Constraint(f"same{i}{j}", (f"x{i}", f"x{j}"), same, known_to=known_to, cost_range=(0, top)) for i, j in pairs],
    )


# What is said, word by word ------------------------------------------------------------------------------------


@message("SAY")
class Say(NamedTuple):
    """Whatever the script has under this number."""

    number: int


class Teller(Agent):
    """A user's solver: agents say what a script tells them to."""

    messages = (Say,)
    Params = TreeParams
    place = "tree"
    script: ClassVar[tuple[tuple[str, str, tuple[Statement, ...]], ...]] = ()

    async def run(self) -> None:
        for number, (src, dst, _) in enumerate(self.script):
            if src == self.name:
                self.send(dst, Say(number))
            elif dst == self.name:
                await self.receive(Say)
        self.assign(0)


def tell(problem: Problem, *said: tuple[Any, ...], rule: Any = "paper", **options: Any) -> Watch:
    """Return the observer of a run in which this is said: (from, to, statement, ...). All of it is true.

    The first variable by name is the root of the tree.
    """
    script = tuple((src, dst, tuple(statements)) for src, dst, *statements in said)

    class Read:
        def read(self, delivery: Delivery) -> Sequence[Statement]:
            return script[delivery.message.number][2]

    class Scripted(Teller):
        reader = staticmethod(lambda context: Read())

    Scripted.script = script
    truth = Truth(prepare(problem, Scripted, "scripted", {"order": "lexical"}))
    for statement in (s for _, _, statements in script for s in statements):
        assert isinstance(statement, Released) or getattr(statement, "noise", None) or truth.holds(statement)
    return watch(problem, Scripted, rule, options, order="lexical")


FIELDS = ("number",)


def own(
    party: str | tuple[str, ...],
    context: Mapping[str, int],
    value: float,
    relation: Literal["<=", "==", ">="] = "<=",
    label: str = "own-cost",
    rest: Literal["none", "subtree", "unknown"] = "none",
    **more: Any,
) -> CostIs:
    """Return: what these parties cost under this context is at most this."""
    parties = (party,) if isinstance(party, str) else party
    return CostIs(label, FIELDS, (Term(parties, rest, context),), relation, value, **more)


THREE = event([[1, 1, 1], [2, 3, 4], [4, 4, 4]], "S")


SYNCHBB = event([[2, 1], [3, 1], [2, 1], [4, 1]], "C")
"""In the order x0, x1, x2, x3: slot 0 costs 2 + 3 + 2 + 4 = 11, slot 1 costs 4."""
