"""SynchBB: synchronous branch and bound (Hirayama and Yokoo, CP 1997).

The agents of a component stand in a total order. One token goes round: forward it carries a partial assignment, its
cost and the best cost found so far; an agent that has tried all of its values sends it back. The first agent's
exhaustion ends the search.

    message                          from -> to            when
    FWD(path, cost, bound, version)  k -> k+1              a value is still cheaper than the bound
    BACK(bound, version)             k -> k-1              values exhausted
    TERM(version)                    k -> k+1              agent 1 exhausted

Guarantees: complete. Complexity: O(d^n) messages of size O(n); sequential, so NCCC is the number of checks.

Deviations. The paper's tokens carry the best assignment, which shows everybody a full assignment; here each agent
remembers its own value of the best assignment by its version (`carry=none`, the default), and `carry=best` is the
paper's form. Values are tried in domain order. A value whose cost reaches the bound is skipped (`>=`), ties included.
The paper's network is faultless; over another a second copy of a token is not taken, and an agent that has forgotten
its state takes no part (`exactly_once`): the search ends with the optimum or not at all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from agentsim.runtime.agent import Agent
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.messages import Cost, message
from agentsim.runtime.own_costs import OwnCosts
from agentsim.runtime.port import Port
from agentsim.runtime.setup import OrderParams
from agentsim.runtime.statements import CostIs, Nothing, ReaderContext, Statement, Term, ValueIs
from agentsim.runtime.view import LocalView


@message("FWD")
class Fwd(NamedTuple):
    """The token on its way forward: values of all earlier agents, their cost, the best cost and its version."""

    path: tuple[int, ...]
    cost: Cost
    bound: Cost
    version: int
    best: tuple[int, ...]


@message("BACK")
class Back(NamedTuple):
    """The token on its way back."""

    bound: Cost
    version: int
    best: tuple[int, ...]


@message("TERM")
class Terminate(NamedTuple):
    """The search is over: take the value of this version (0: there is no solution)."""

    version: int
    best: tuple[int, ...]


@dataclass(frozen=True)
class SynchBBParams(OrderParams):
    """Parameters of SynchBB.

    Args:
        carry: "none", each agent remembers its own value by version; "best", tokens carry the best assignment (paper).
    """

    carry: Literal["none", "best"] = "none"


class SynchBB(Agent):
    """Agent k of the order."""

    messages = (Fwd, Back, Terminate)
    Params = SynchBBParams
    place = "order"
    costs = "nonnegative"
    exactly_once = True
    complete = True
    status = "verified"

    params: SynchBBParams

    def __init__(self, view: LocalView, port: Port, params: SynchBBParams) -> None:
        super().__init__(view, port, params)
        place = view.order
        self.previous, self.next = place.predecessor, place.successor
        self.before = place.before
        self.own = OwnCosts(view, place.before)
        self.path: tuple[int, ...] = ()
        self.cost_by_value: list[Cost] = []  # cost of path with each own value
        self.tried = 0  # values tried for this path
        self.bound_seen: Cost = math.inf
        self.version = 0
        self.best: tuple[int, ...] = ()
        self.best_value: int | None = None

    def start(self) -> None:
        if self.previous is None:
            self.enter((), 0)
            self.advance()

    def on_fwd(self, sender: str, token: Fwd) -> None:
        self.learn(token.bound, token.version, token.best)
        self.enter(token.path, token.cost)
        self.advance()

    def on_back(self, sender: str, token: Back) -> None:
        if token.version > self.version:  # the value under test is part of the best assignment
            self.remember(self.tried - 1)
        self.learn(token.bound, token.version, token.best)
        self.advance()

    def on_terminate(self, sender: str, token: Terminate) -> None:
        self.conclude(token.version, token.best)

    def enter(self, path: tuple[int, ...], cost: Cost) -> None:
        """Begin with the first value under a new path."""
        self.path, self.tried = path, 0
        own = self.own.by_value(dict(zip(self.before, path, strict=True)))
        self.cost_by_value = [cost + c for c in own]

    def learn(self, bound: Cost, version: int, best: tuple[int, ...]) -> None:
        """Take over what the token says of the best assignment."""
        assert bound <= self.bound_seen, "the bound never rises"
        self.bound_seen, self.version, self.best = bound, version, best

    def remember(self, value: int) -> None:
        """This value is the agent's part of the best assignment so far."""
        self.best_value = value
        self.assign(value)

    def advance(self) -> None:
        """Try the remaining values; send the token on, or back."""
        checks_per_value = self.own.checks // self.view.size
        while self.tried < self.view.size:
            value = self.tried
            self.tried += 1
            self.check(checks_per_value)
            cost = self.cost_by_value[value]
            if not cost < self.bound_seen - self.view.tolerance:  # strict: an infinite cost is never accepted
                continue
            if self.next is not None:
                self.send(self.next, Fwd((*self.path, value), cost, self.bound_seen, self.version, self.best))
                return
            self.bound_seen = cost
            self.version += 1
            self.remember(value)
            if self.params.carry == "best":
                self.best = (*self.path, value)
        if self.previous is None:
            self.conclude(self.version, self.best)
        else:
            self.send(self.previous, Back(self.bound_seen, self.version, self.best))

    def conclude(self, version: int, best: tuple[int, ...]) -> None:
        """Take the best value, pass the end on, and end."""
        if version == 0:
            self.bound(lower=math.inf)
        elif self.params.carry == "best":
            self.assign(best[self.view.order.index])
        else:
            assert self.best_value is not None
            self.assign(self.best_value)
        if self.next is not None:
            self.send(self.next, Terminate(version, best))
        self.finish()


class SynchBBReader:
    """What a viewer of SynchBB tokens can conclude.

    FWD: the named prefix costs exactly P_k. BACK: where the bound B fell below what the receiver had sent forward, the
    agents behind it cost exactly B - P_k at their best. It is public who stands where in the order.
    """

    def __init__(self, context: ReaderContext) -> None:
        self._context = context
        self._order = {order[0]: order for order in context.order}
        self._of = {name: order for order in context.order for name in order}
        self._sent: dict[tuple[str, str], Fwd] = {}  # the token last sent forward between two nodes

    def read(self, delivery: Delivery) -> Iterator[Statement]:
        token = delivery.message
        order = self._of[delivery.src]
        if isinstance(token, Fwd):
            self._sent[delivery.src, delivery.dst] = token
            prefix = order[: len(token.path)]
            context = dict(zip(prefix, token.path, strict=True))
            offset = self._context.offset(prefix)
            yield CostIs("prefix", ("path", "cost"), (Term(prefix, "none", context),), "==", token.cost, offset)
            yield from self._incumbent(order, token.bound, token.version, token.best)
        elif isinstance(token, Back):
            sent = self._sent.get((delivery.dst, delivery.src))
            if sent is not None and token.version > sent.version:
                prefix, suffix = order[: len(sent.path)], order[len(sent.path) :]
                context = dict(zip(prefix, sent.path, strict=True))
                value = token.bound - sent.cost
                offset = self._context.offset(suffix)
                yield CostIs(
                    "improved-suffix", ("bound", "version"), (Term(suffix, "none", context),), "==", value, offset
                )
                yield from self._best(order, token.best, "now")
            else:
                yield from self._incumbent(order, token.bound, token.version, token.best)
        else:
            yield Nothing("the end, and whether there is a solution", ("version",))
            yield from self._best(order, token.best, "final")

    def _incumbent(
        self, order: tuple[str, ...], bound: Cost, version: int, best: tuple[int, ...]
    ) -> Iterator[Statement]:
        """The best cost so far is what some full assignment costs: an upper bound on the optimum."""
        if version:
            offset = self._context.offset(order)
            yield CostIs("incumbent", ("bound", "version"), (Term(order, "none", {}),), "<=", bound, offset)
        else:
            yield Nothing("no solution known yet", ("bound", "version"))
        yield from self._best(order, best, "now")

    def _best(
        self, order: tuple[str, ...], best: tuple[int, ...], when: Literal["now", "final"]
    ) -> Iterator[Statement]:
        if not best:
            yield Nothing("the best assignment does not travel", ("best",))
            return
        for name, value in zip(order, best, strict=True):
            yield ValueIs("incumbent", ("best",), name, value, when)


SynchBB.reader = SynchBBReader
