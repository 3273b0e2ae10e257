"""SD-Gibbs: sequential distributed Gibbs sampling (Nguyen, Yeoh, Lau and Zivan, JAIR 64, 2019).

In each iteration every agent, from the root of a pseudo-tree downwards, samples a value from the Gibbs distribution of
its local utility, and works out its best response beside it. Differences of utility are added up on the way back, so
that the root knows how good the sampled and the best-response assignment are compared with the one at the start. The
best of all is kept, by the number of its iteration.

    message                              from -> to            when
    VALUE(t, d, best, t_star, t_bar)     to all neighbours     sampled in iteration t
    BACKTRACK(t, delta, best_delta)      child -> parent       all children's BACKTRACK of iteration t have come
    STOP(t_star, t_bar)                  parent -> child       after the last iteration

Guarantees: none on cost; the root's shifted utility of the best assignment is exact. Complexity: per iteration 2|E|
VALUE and n - 1 BACKTRACK per component, of constant size; 2 d checks per sample for each cost function of an agent.

Line numbers are those of the procedures in Damle, Triastcyn, Faltings and Gujar ("Differentially private multi-agent
constraint optimization"), who reprint the algorithm. Deviations, all undone by `listing=paper` but the last two:

* Procedure 3 samples as soon as the parent's VALUE comes. A pseudo-parent's VALUE of this iteration or a lower
  neighbour's of the last may still be on its way: deltas then do not add up, and wrong assignments are taken for the
  best. Here an agent waits for both (`ready`); this only needs messages that are sent anyway.
* Procedure 3, line 5 puts a lower neighbour's best response into the best-response context. The best-response
  assignment replaces values from the root downwards, lower neighbours still have their sampled value: `d`, not `best`.
* Procedure 3, line 10 takes over the best response where the sampled assignment was the better one: `d`, not `best`.
* The papers do not say how it ends. Learning lags one iteration behind, so STOP tells the last improvement.
* Forbidden tuples cost `penalty`: infinite differences cannot be added up. Values start at the first of the domain,
  which everybody knows; a problem's initial values are known to their owners alone. Under hard equalities nobody can
  move alone: the values at the start stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, NamedTuple

import numpy as np

from agentsim.runtime.agent import Agent
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.local_costs import PENALTY, LocalCosts, refuse_unknown_costs
from agentsim.runtime.messages import Array, Cost, Index, message
from agentsim.runtime.setup import TreeParams
from agentsim.runtime.statements import (
    Best,
    Chosen,
    CostIs,
    Nothing,
    ReaderContext,
    Softmax,
    Statement,
    Term,
    Unanalysed,
    ValueIs,
)
from agentsim.runtime.view import Setup


@message("VALUE")
class Value(NamedTuple):
    """The sender's value and best response of iteration t; which iterations gave the best assignment that it knows."""

    t: int
    d: Index
    best: Index
    t_star: int
    t_bar: int


@message("BACKTRACK")
class Backtrack(NamedTuple):
    """Utility gained in iteration t by the sender and everybody below: by sampling, and by best responses."""

    t: int
    delta: Cost
    best_delta: Cost


@message("STOP")
class Stop(NamedTuple):
    """The last iteration is over: take your part of the best assignment."""

    t_star: int
    t_bar: int


@dataclass(frozen=True)
class SdGibbsParams(TreeParams):
    """Parameters of SD-Gibbs.

    Args:
        iterations: how often everybody samples.
        listing: "corrected", or the "paper" procedures as printed (see the module's docstring).
        penalty: what a forbidden tuple costs; greater than what the other costs of an agent add up to.
    """

    iterations: int = 50
    listing: Literal["corrected", "paper"] = "corrected"
    penalty: float = PENALTY

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise ValueError(f"iterations={self.iterations}: must be at least 1")
        if not 0 < self.penalty <= 1e12:
            raise ValueError(f"penalty={self.penalty}: must be positive and at most 1e12")


class SdGibbs(Agent):
    """Agent x_i of the pseudo-tree. Utilities U are negated costs."""

    messages: ClassVar[tuple[type, ...]] = (Value, Backtrack, Stop)
    Params = SdGibbsParams
    place = "tree"
    costs = "signed"
    status = "tested"

    params: SdGibbsParams

    @classmethod
    def refuse(cls, setup: Setup) -> None:
        """Refuse constraints that somebody in their scope does not know."""
        refuse_unknown_costs(setup, "sd-gibbs")

    def start(self) -> None:
        """INITIALIZE (Procedure 1); with the place in the tree, which may have been found by messages."""
        place, neighbours = self.view.tree, self.view.neighbours
        self.parent, self.children = place.parent, place.children
        self.upper = {*place.pseudo_parents, *([] if self.parent is None else [self.parent])}
        self.lower = len(neighbours) - len(self.upper)
        self.local = LocalCosts(self.view, self.params.penalty)
        self.d = self.d_hat = self.d_bar = self.d_star = 0
        self.C = dict.fromkeys(neighbours, 0)
        self.C_bar = dict.fromkeys(neighbours, 0)
        self.t = self.t_star = self.t_bar = 0
        self.delta: Cost = 0
        self.delta_bar: Cost = 0
        self.Omega: Cost = 0
        self.Omega_star: Cost = 0
        self.seen = dict.fromkeys(neighbours, 0)  # iteration of the last VALUE from each
        self.upper_missing = len(self.upper)  # whose VALUE of iteration t + 1 has not come
        self.lower_missing = 0  # whose VALUE of iteration t has not come
        self.parent_knows: tuple[int, int] | None = None  # t* and t-bar* with the parent's VALUE of iteration t + 1
        self.reported: set[str] = set()  # children whose BACKTRACK of iteration t has come
        self.iteration_over = self.parent is None
        self.assign(0)
        if self.parent is None and not self.children:
            self.d_star = int(np.argmin(self.local.unary))
            self.check(self.local.checks)
            self.end()
        elif self.parent is None:
            self.sample()

    # SAMPLE (Procedure 2) ----------------------------------------------------------------------------------------

    def sample(self) -> None:
        """Sample a value, work out the best response, and tell all neighbours."""
        self.t += 1
        self.d_hat = self.d
        cost, cost_bar = self.local.by_value(self.C), self.local.by_value(self.C_bar)
        self.check(2 * self.local.checks)
        self.d = self.draw(cost)
        self.d_bar = int(cost_bar.argmin())
        self.delta = cost.item(self.d_hat) - cost.item(self.d)
        self.delta_bar = cost_bar.item(self.d_hat) - cost_bar.item(self.d_bar)
        self.sanitise()
        self.reported.clear()
        self.upper_missing, self.lower_missing = len(self.upper), self.lower
        self.parent_knows = None
        self.iteration_over = False
        self.broadcast(Value(self.t, self.d, self.d_bar, self.t_star, self.t_bar))
        if not self.children:
            self.backtrack()

    def draw(self, cost: Array) -> int:
        """Return a value drawn with probability proportional to exp(-cost) (Eq. 2)."""
        return pick(self.rng.random(), np.exp(cost.min() - cost))

    def sanitise(self) -> None:
        """Change the own deltas before anybody sees them: nothing to do here."""

    # VALUE (Procedure 3) -----------------------------------------------------------------------------------------

    def on_value(self, sender: str, value: Value) -> None:
        if value.t <= self.seen[sender]:
            return  # a copy
        self.seen[sender] = value.t
        above = sender in self.upper
        self.C[sender] = value.d  # line 1
        self.C_bar[sender] = value.best if above or self.params.listing == "paper" else value.d  # lines 2-6
        if above:
            self.upper_missing -= 1
        else:
            self.lower_missing -= 1
        if sender == self.parent:
            self.parent_knows = (value.t_star, value.t_bar)

    def ready(self) -> bool:
        """Whether all is known that the next sample depends on."""
        told = self.iteration_over if self.parent is None else self.parent_knows is not None
        return told and (self.params.listing == "paper" or not (self.upper_missing or self.lower_missing))

    def decide(self) -> None:
        if not self.finished and self.ready():
            if self.parent_knows is not None:
                self.learn(*self.parent_knows)  # lines 8-11, before sampling overwrites d and d-bar
            self.sample()  # line 12

    def learn(self, t_star: int, t_bar: int) -> None:
        """Take over the own part of the best assignment that the parent knows (lines 8-10)."""
        latest = max(self.t_star, self.t_bar)
        if t_bar >= t_star and t_bar > latest:
            self.keep(self.d_bar)
            self.t_bar = t_bar
        elif t_star >= t_bar and t_star > latest:
            self.keep(self.d if self.params.listing == "corrected" else self.d_bar)
            self.t_star = t_star

    def keep(self, value: int) -> None:
        """This value is the own part of the best assignment so far."""
        self.d_star = value
        self.assign(value)

    # BACKTRACK (Procedure 4) -------------------------------------------------------------------------------------

    def on_backtrack(self, sender: str, report: Backtrack) -> None:
        if report.t != self.t or sender in self.reported:
            return  # a copy
        self.reported.add(sender)
        self.delta += report.delta  # line 1
        self.delta_bar += report.best_delta
        if len(self.reported) == len(self.children):  # line 2
            if self.parent is None:
                self.end_iteration()
            else:
                self.backtrack()

    def backtrack(self) -> None:
        """Report what the own subtree gained (line 3)."""
        assert self.parent is not None
        self.send(self.parent, Backtrack(self.t, self.delta, self.delta_bar))

    def end_iteration(self) -> None:
        """At the root: is one of the two assignments of this iteration the best so far? (lines 4-11)."""
        Omega_bar = self.Omega + self.delta_bar  # both from the old Omega
        self.Omega += self.delta
        better = self.Omega_star + self.view.tolerance
        if self.Omega >= Omega_bar and self.Omega > better:
            self.Omega_star, self.t_star = self.Omega, self.t
            self.keep(self.d)
        elif Omega_bar >= self.Omega and Omega_bar > better:
            self.Omega_star, self.t_bar = Omega_bar, self.t
            self.keep(self.d_bar)
        self.iteration_over = self.t < self.params.iterations
        if not self.iteration_over:
            self.end()

    # The end -----------------------------------------------------------------------------------------------------

    def on_stop(self, sender: str, stop: Stop) -> None:
        if not self.finished:  # else a copy
            self.learn(stop.t_star, stop.t_bar)
            self.end()

    def end(self) -> None:
        """Take the own part of the best assignment, and tell the children."""
        for child in self.children:
            self.send(child, Stop(self.t_star, self.t_bar))
        self.assign(self.d_star)
        self.finish()


def pick(uniform: float, weights: Array) -> int:
    """Return an index drawn with probability proportional to `weights`, given a uniform number in [0, 1)."""
    steps = weights.cumsum()
    drawn = int(steps.searchsorted(uniform * steps[-1], side="right"))
    return min(drawn, len(steps) - 1)  # the product may be rounded up to the last step


_BEST: Final = Best()


class SdGibbsReader:
    """What a viewer of SD-Gibbs can conclude.

    A VALUE is a choice under the values that the sender's upper neighbours have in the same iteration and its lower
    ones had in the last. When a viewer first sees a VALUE of iteration t, those of its own nodes that stand above the
    sender have sampled in iteration t and those below have not: what they said last is what the sender knew.
    """

    def __init__(self, context: ReaderContext) -> None:
        self.context = context
        # As printed, an agent may have sampled before the viewer's VALUE came.
        self.last_certain = 0 if context.params.listing == "paper" else context.params.iterations
        self.penalty = context.params.penalty
        self.values: dict[str, list[Value]] = {}  # the last two VALUEs of each sender, the later one first
        self.known: dict[str, tuple[int, Mapping[str, int], Mapping[str, int]]] = {}  # contexts of its last VALUE
        self.heard: dict[tuple[str, str], int] = {}  # iteration of the last VALUE from a node to a node
        self.adjacent: dict[str, list[str]] = {}  # the viewer's nodes that a sender shares constraints with
        for node, view in context.views.items():
            for neighbour in view.neighbours:
                self.adjacent.setdefault(neighbour, []).append(node)

    def read(self, delivery: Delivery) -> Iterable[Statement]:
        """Return the statements that one delivery supports, given all earlier ones."""
        content = delivery.message
        if isinstance(content, Value):
            wire = delivery.src, delivery.dst
            if content.t <= self.heard.get(wire, 0):  # late: the sender may have gone on
                return (Nothing("a copy of what was said", content._fields),)
            self.heard[wire] = content.t
            return self.value(delivery.src, content)
        if isinstance(content, Stop):
            return self.improvement(delivery.src, self.context.params.iterations)
        return self.backtrack(delivery.src, content)

    def value(self, src: str, value: Value) -> list[Statement]:
        """Return what a VALUE says."""
        known = self.known.get(src)
        if known is None or known[0] != value.t:
            known = self.known[src] = (value.t, *self.contexts(src, value.t))
            self.values[src] = [value, *self.values.get(src, [])[:1]]
        best = Chosen("best-response", ("best",), src, value.best, known[2], _BEST, self.penalty)
        return [*self.sampled(src, value, known[1]), best, *self.improvement(src, value.t - 1)]

    def contexts(self, src: str, t: int) -> tuple[dict[str, int], dict[str, int]]:
        """Return the viewer's part of the context and of the best-response context in which a VALUE was chosen."""
        sampled: dict[str, int] = {}
        best: dict[str, int] = {}
        if t <= self.last_certain:
            for node in self.adjacent.get(src, ()):
                last = self.values.get(node)
                sampled[node] = last[0].d if last else 0
                best[node] = last[0].best if last and last[0].t == t else sampled[node]
        return sampled, best

    def sampled(self, src: str, value: Value, context: Mapping[str, int]) -> list[Statement]:
        """Return what the sampled value says."""
        return [
            ValueIs("value", ("t", "d"), src, value.d, "now"),
            Chosen("sample", ("d",), src, value.d, context, Softmax(None, 0.0, True), self.penalty),
        ]

    def improvement(self, src: str, t: int) -> list[Statement]:
        """Return what the number of the best iteration, up to iteration t, says."""
        return [Unanalysed("in which iteration the joint utility was best", ("t_star", "t_bar"))]

    def backtrack(self, src: str, report: Backtrack) -> Iterator[Statement]:
        """Return what a BACKTRACK says: two least costs apart by what was gained."""
        yield Nothing("number of the iteration", ("t",))
        known, values = self.known.get(src), self.values.get(src, [])
        if known is None or known[0] != report.t or report.t > self.last_certain:
            yield Unanalysed("relative utility", ("delta", "best_delta"))
        elif self.context.subtree[src] == (src,):
            new = values[0]
            old = values[1].d if len(values) > 1 else 0
            yield self.gain(src, "delta", known[1], old, new.d, report.delta)
            yield self.gain(src, "best_delta", known[2], old, new.best, report.best_delta)
        else:
            yield from self.subtree_gain(src, report)

    def gain(self, src: str, field: str, context: Mapping[str, int], old: int, new: int, value: Cost) -> Statement:
        """Return what a leaf's relative utility says of its own costs."""
        terms = (
            Term((src,), "local", {**context, src: old}),
            Term((src,), "local", {**context, src: new}, -1.0),
        )
        return CostIs("delta", (field,), terms, "==", value, 0, None, "some", self.penalty)

    def subtree_gain(self, src: str, report: Backtrack) -> Iterator[Statement]:
        """Return what the relative utility of a whole subtree says to a viewer that hosts all who have a part in it."""
        subtree = self.context.subtree[src]
        views = self.context.views
        touched = {name for node in subtree if node in views for name in (node, *views[node].neighbours)}
        after = {node: self.at(node, report.t) for node in touched}
        if not touched or not touched.union(subtree) <= views.keys() or None in after.values():
            yield Unanalysed("relative utility of a subtree", ("delta", "best_delta"))
            return
        old = {node: before.d if (before := self.at(node, report.t - 1)) else 0 for node in subtree}
        for field, best, value in (("delta", False, report.delta), ("best_delta", True, report.best_delta)):
            new = {node: v.best if best else v.d for node, v in after.items() if v is not None}
            terms = (
                Term((src,), "subtree", {**new, **old}),
                Term((src,), "subtree", new, -1.0),
            )
            yield CostIs("delta", (field,), terms, "==", value, 0, None, "some", self.penalty)

    def at(self, node: str, t: int) -> Value | None:
        """Return a node's VALUE of iteration t, if it is one of its last two."""
        return next((v for v in self.values.get(node, ()) if v.t == t), None)


SdGibbs.reader = SdGibbsReader
