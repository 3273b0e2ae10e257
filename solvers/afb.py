"""AFB: asynchronous forward bounding (Gershman, Meisels and Zivan, JAIR 34, 2009).

The agents of a component stand in a total order, and one current partial assignment (CPA) is extended along it, as in
synchronous branch and bound. Whoever extends it also asks all later agents at once what that must cost them at least.
Their answers add up to a bound on every completion: where it reaches the best cost found, the agent takes its next
value without waiting for the others. What is then still under way belongs to a past that time stamps tell from now.

    message                                         from -> to         when
    CPA(path, cost, stamps, bound, version, best)   k -> k+1           a value may still lead below the bound
    FB(path, stamps)                                k -> every later   with each CPA
    EST(stamps, estimate)                           j -> k             an FB of k has come that is not obsolete
    BACK(stamps, bound, version, best)              k -> k-1           values exhausted
    SOL(bound, version, assigned, best)             last -> all        a better full assignment
    TERM(version, best)                             first -> all       values exhausted at the first

`stamps` are the time stamps of the CPA's agents, in order: how many values each has proposed, ever. Of two CPAs the one
with the lexicographically greater stamps is newer. What is older than an agent knows of is dropped. Answers (EST, BACK)
count only if their stamps are exactly those of the receiver's present proposal. No order of arrival is relied on.

An estimate adds up, for the cheapest own value, every cost function of which the agent's variable is the first without
a value in the CPA, at its least over later variables. So no function is counted at two agents, whatever its arity.

Guarantees: complete. Complexity: O(n d^n) messages of size O(n), most of them FB and EST; memory O(n + d) and a number
for each value proposed. One check for each entry of a cost function, or of its least over later variables, that is read
for a value tried or estimated; what is minimised at the start is read whole.

Deviations:

* The paper's NEW_SOLUTION (SOL) shows everybody a full assignment. Here it tells each agent which of its own proposals
  was part of the best one (`assigned`), which otherwise goes by a version number: `carry=none`, the default. Who hears
  of the end (TERM) before the SOL that it needs waits for that. `carry=best` is the paper's form.
* CPA and BACK carry the bound, so that whoever holds the newest CPA knows the best cost found: a SOL may be late.
* An agent looks again at its estimates whenever its bound falls, not only when an estimate comes.
* A cost function of more than two variables is bounded by the first agent without a value, which the paper leaves out.
* Values are tried in domain order. A value that can but equal the bound is skipped, ties included.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from agentsim.runtime.agent import Agent
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.messages import Array, Cost, message
from agentsim.runtime.port import Port
from agentsim.runtime.setup import OrderParams
from agentsim.runtime.statements import (
    CostIs,
    Nothing,
    Proposed,
    ReaderContext,
    Statement,
    Term,
    Unanalysed,
    ValueIs,
)
from agentsim.runtime.view import LocalView, costs_list

INF: Final = math.inf
Stamps = tuple[int, ...]


@message("CPA")
class Cpa(NamedTuple):
    """The current partial assignment: its values, their cost, and the best cost found so far."""

    path: tuple[int, ...]
    cost: Cost
    stamps: Stamps
    bound: Cost
    version: int
    best: tuple[int, ...]


@message("FB")
class Fb(NamedTuple):
    """What would this partial assignment cost the receiver at least?"""

    path: tuple[int, ...]
    stamps: Stamps


@message("EST")
class Est(NamedTuple):
    """The sender's estimate for the partial assignment with these stamps."""

    stamps: Stamps
    estimate: Cost


@message("BACK")
class Back(NamedTuple):
    """All completions of the partial assignment with these stamps cost the bound or more."""

    stamps: Stamps
    bound: Cost
    version: int
    best: tuple[int, ...]


@message("SOL")
class Sol(NamedTuple):
    """A better full assignment was found; the receiver's part in it was its proposal number `assigned`."""

    bound: Cost
    version: int
    assigned: int
    best: tuple[int, ...]


@message("TERM")
class Terminate(NamedTuple):
    """The search is over: take the value of this version (0: there is no solution)."""

    version: int
    best: tuple[int, ...]


@dataclass(frozen=True)
class AfbParams(OrderParams):
    """Parameters of AFB.

    Args:
        carry: "none", each agent remembers its own value by version; "best", the best assignment travels (paper).
        invariants: assert the algorithm's invariants.
    """

    carry: Literal["none", "best"] = "none"
    invariants: bool = False


class Function(NamedTuple):
    """A cost function as one agent reads it: at its least over the variables after the agent's own.

    Args:
        earlier: numbers in the order of its variables before the agent's own.
        ahead: whether it has later variables.
        costs: nested lists, by the values of `earlier` and then the own value.
    """

    earlier: tuple[int, ...]
    ahead: bool
    costs: Any


class Afb(Agent):
    """Agent k of the order."""

    messages = (Cpa, Fb, Est, Back, Sol, Terminate)
    Params = AfbParams
    place = "order"
    costs = "nonnegative"
    complete = True
    status = "verified"

    params: AfbParams

    def __init__(self, view: LocalView, port: Port, params: AfbParams) -> None:
        super().__init__(view, port, params)
        place = view.order
        self.index, self.others = place.index, (*place.before, *place.after)
        self.previous, self.next, self.later = place.predecessor, place.successor, place.after
        self.known: Stamps = (0,) * place.index  # the newest stamps of earlier agents
        self.taken: Stamps = self.known  # those of the CPA taken last
        self.path: tuple[int, ...] = ()
        self.cost_by_value: list[Cost] = []  # of the CPA extended by each own value
        self.least_by_value: list[Cost] = []  # the same, with what is certain to be added later
        self.tried = 0  # values tried for this CPA
        self.proposal: int | None = None  # own value of the CPA that was sent on
        self.proposals: list[int] = []  # the values of all of them; their number is the own time stamp
        self.estimates: dict[str, Cost] = {}  # of later agents, for the proposal
        self.completed: Cost = INF  # the best full assignment that is known to complete the proposal
        self.bound_seen: Cost = INF
        self.version = 0
        self.best: tuple[int, ...] = ()
        self.best_values: dict[int, int] = {}  # own part of the best assignment, by version
        self.over = False  # the first agent has told the end
        self.declared: tuple[Cost, Cost] = (-INF, INF)  # at the first agent: bounds on the optimum of the component

    @property
    def stamps(self) -> Stamps:
        """The time stamps of the own proposal."""
        return (*self.known, len(self.proposals))

    def start(self) -> None:
        """Minimise cost functions over later variables; the first agent begins."""
        self.unary: list[Cost] = self.view.unary_costs
        number = {name: i for i, name in enumerate(self.view.order.order)}
        self.functions = [self.function([number[n] for n in c.scope], c.table) for c in self.view.constraints]
        self.own = [f for f in self.functions if not f.ahead]
        self.ahead = [f for f in self.functions if f.ahead]
        self.checks = len(self.functions) + int(self.view.has_unary)
        if self.previous is None:
            self.enter((), 0)
            self.assign_cpa()

    def function(self, scope: list[int], table: Array) -> Function:
        """Return a constraint as it is read here; `scope` has its variables' numbers in the order."""
        earlier = tuple(sorted(number for number in scope if number < self.index))
        costs = table.transpose([scope.index(number) for number in sorted(scope)])
        ahead = len(earlier) + 1 < len(scope)
        if ahead:
            self.check(table.size)
            costs = costs.reshape(*costs.shape[: len(earlier) + 1], -1).min(axis=-1)
        return Function(earlier, ahead, costs_list(costs, self.view.integral))

    # The current partial assignment ------------------------------------------------------------------------------

    def on_cpa(self, sender: str, cpa: Cpa) -> None:
        """Extend it, unless it is obsolete or a copy."""
        self.learn(cpa.bound, cpa.version, cpa.best)
        if self.over or cpa.stamps < self.known or cpa.stamps <= self.taken:
            self.reconsider()
            return
        self.adopt(cpa.stamps)
        self.taken = cpa.stamps
        self.enter(cpa.path, cpa.cost)
        self.assign_cpa()

    def enter(self, path: tuple[int, ...], cost: Cost) -> None:
        """Begin with the first value under a new partial assignment."""
        self.path, self.tried = path, 0
        self.cost_by_value = add([cost + own for own in self.unary], path, self.own)
        self.least_by_value = add(self.cost_by_value, path, self.ahead)

    def assign_cpa(self) -> None:
        """Propose the next value that may lead below the bound: send the CPA on, and ask all later agents."""
        self.proposal, self.completed = None, INF
        self.estimates.clear()
        while self.tried < self.view.size:
            value = self.tried
            self.tried += 1
            self.check(self.checks)
            if not self.least_by_value[value] < self.bound_seen - self.view.tolerance:  # strict: infinity never is
                continue
            self.proposals.append(value)
            path, cost = (*self.path, value), self.cost_by_value[value]
            if self.next is None:
                self.solution(path, cost)
                continue
            self.proposal = value
            stamps = self.stamps
            self.send(self.next, Cpa(path, cost, stamps, self.bound_seen, self.version, self.best))
            for name in self.later:
                self.send(name, Fb(path, stamps))
            self.declare()
            return
        self.backtrack()

    def backtrack(self) -> None:
        """All values are exhausted."""
        if self.previous is not None:
            self.send(self.previous, Back(self.known, self.bound_seen, self.version, self.best))
            return
        self.declare()
        for name in self.others:
            self.send(name, Terminate(self.version, self.best))
        self.conclude()

    def on_back(self, sender: str, back: Back) -> None:
        """Take the next value, if it is the present one that has been exhausted."""
        self.learn(back.bound, back.version, back.best)
        if self.proposal is not None and back.stamps == self.stamps:
            self.assign_cpa()
        else:
            self.reconsider()

    # Forward bounding --------------------------------------------------------------------------------------------

    def on_fb(self, sender: str, fb: Fb) -> None:
        """Answer, unless it is obsolete."""
        if not self.over and fb.stamps >= self.known[: len(fb.stamps)]:
            self.adopt(fb.stamps)
            self.send(sender, Est(fb.stamps, self.estimate(fb.path)))

    def estimate(self, path: Sequence[int]) -> Cost:
        """Return the least that the functions cost of which the own variable is the first without a value."""
        functions = [f for f in self.functions if not f.earlier or f.earlier[-1] < len(path)]
        self.check(self.view.size * (len(functions) + int(self.view.has_unary)))
        return min(add(self.unary, path, functions))

    def on_est(self, sender: str, est: Est) -> None:
        """Add it up, if it is about the present proposal."""
        if self.proposal is not None and est.stamps == self.stamps:
            self.estimates[sender] = est.estimate
            self.reconsider()

    def reconsider(self) -> None:
        """Give the proposal up if nothing below the bound can come of it."""
        if self.proposal is None:
            return
        least = self.least_of_proposal()
        if self.params.invariants:
            assert least <= self.completed + 100 * self.view.tolerance, f"{least} exceeds a completion's cost"
        if least >= self.bound_seen - self.view.tolerance:
            self.assign_cpa()
        else:
            self.declare()

    def least_of_proposal(self) -> Cost:
        """Return what every completion of the proposal costs at least."""
        assert self.proposal is not None
        return self.cost_by_value[self.proposal] + sum(self.estimates.values())

    def adopt(self, stamps: Stamps) -> None:
        """Take over newer stamps; the own proposal is then obsolete."""
        length = len(stamps)
        if stamps > self.known[:length]:
            if self.params.invariants:
                assert all(new >= old for new, old in zip(stamps, self.known, strict=False)), "a counter fell"
            self.known = (*stamps, *self.known[length:])
            self.proposal = None

    # The best assignment, and the end ----------------------------------------------------------------------------

    def solution(self, path: tuple[int, ...], cost: Cost) -> None:
        """At the last agent: a full assignment below the bound."""
        if self.params.invariants:
            assert cost < self.bound_seen, "the bound never rises"
        self.bound_seen = cost
        self.version += 1
        self.best_values[self.version] = path[-1]
        self.assign(path[-1])
        if self.params.carry == "best":
            self.best = path
        for name, assigned in zip(self.others, self.known, strict=True):
            self.send(name, Sol(cost, self.version, assigned, self.best))

    def on_sol(self, sender: str, sol: Sol) -> None:
        """Remember the own part of it."""
        mine = sol.best[self.index] if sol.best else self.proposals[sol.assigned - 1]
        self.best_values[sol.version] = mine
        if sol.version >= self.version:
            self.assign(mine)
        if sol.assigned == len(self.proposals):
            self.completed = min(self.completed, sol.bound)
        self.learn(sol.bound, sol.version, sol.best)
        self.reconsider()
        if self.over:
            self.conclude()

    def learn(self, bound: Cost, version: int, best: tuple[int, ...]) -> None:
        """Take over what is said of the best assignment, if it is news."""
        if version > self.version and not self.over:
            if self.params.invariants:
                assert bound < self.bound_seen, "the bound never rises"
            self.bound_seen, self.version, self.best = bound, version, best

    def on_terminate(self, sender: str, end: Terminate) -> None:
        """Take the best value once it is known."""
        self.over, self.proposal = True, None
        self.version, self.best = end
        self.conclude()

    def conclude(self) -> None:
        """Take the own value of the best assignment and end; a SOL may still be on its way."""
        self.over = True
        if self.version:
            if self.best:
                self.best_values[self.version] = self.best[self.index]
            if self.version not in self.best_values:
                return
            self.assign(self.best_values[self.version])
        self.finish()

    def declare(self) -> None:
        """At the first agent: say what the component costs at least, and at most."""
        if self.previous is not None:
            return
        left = [self.bound_seen, *self.least_by_value[self.tried :]]
        if self.proposal is not None:
            left.append(max(self.least_by_value[self.proposal], self.least_of_proposal()))
        bounds = (max(self.declared[0], min(left)), self.bound_seen)
        if bounds != self.declared:
            self.declared = bounds
            self.bound(*bounds)


def add(costs: list[Cost], path: Sequence[int], functions: Iterable[Function]) -> list[Cost]:
    """Return costs by own value, with what each costs in functions that read only values of `path` besides."""
    total = costs
    for function in functions:
        row = function.costs
        for number in function.earlier:
            row = row[path[number]]
        total = [a + b for a, b in zip(total, row, strict=True)]
    return total


class AfbReader:
    """What a viewer of AFB's messages can conclude. It is public who stands where in the order.

    CPA: the named prefix costs exactly this. SOL: under the receiver's proposal that it names, all later agents can do
    with this much; BACK: not with less. EST: later agents need at least this much; whoever stands right behind the one
    who asked has said what its own costs are at most. For others what is bounded from above is a part of their own
    costs, without those constraints that depend on agents between: no statement has a word for it, so that is left.
    """

    def __init__(self, context: ReaderContext) -> None:
        self._context = context
        self._of = {name: order for order in context.order for name in order}
        self._sent: dict[str, Cpa] = {}  # the CPA that a node sent last
        self._asked: dict[tuple[str, str], dict[Stamps, tuple[int, ...]]] = {}  # by who asked whom: paths by stamps
        self._completed: dict[str, tuple[int, int]] = {}  # by node, version and own part of the last SOL

    def read(self, delivery: Delivery) -> Iterator[Statement]:
        """Return the statements that one delivery supports."""
        content, src, dst = delivery.message, delivery.src, delivery.dst
        order = self._of[src]
        if isinstance(content, Cpa):
            self._sent[src] = content
            prefix = order[: len(content.path)]
            named = Term(prefix, "none", dict(zip(prefix, content.path, strict=True)))
            offset = self._context.offset(prefix)
            yield CostIs("prefix", ("path", "cost"), (named,), "==", content.cost, offset)
            yield _NUMBERS
            yield from self._incumbent(order, content)
        elif isinstance(content, Fb):
            self._asked.setdefault((src, dst), {})[content.stamps] = content.path
            yield Proposed("proposal", ("path",), dict(zip(order, content.path, strict=False)))
            yield _NUMBERS
        elif isinstance(content, Est):
            yield _NUMBERS
            yield from self._estimate(order, src, dst, content)
        elif isinstance(content, Back):
            yield _NUMBERS
            yield from self._exhausted(order, dst, content)
            yield from self._incumbent(order, content)
        elif isinstance(content, Sol):
            yield Nothing("number of one's own proposal", ("assigned",))
            yield from self._solution(order, dst, content)
            yield from self._incumbent(order, content)
        else:
            yield Nothing("the end, and whether there is a solution", ("version",))
            yield from _best(order, content.best, "final")

    def _estimate(self, order: tuple[str, ...], src: str, dst: str, est: Est) -> Iterator[Statement]:
        asked = self._asked.get((dst, src), {})
        path = asked.get(est.stamps)
        if path is None:
            yield Unanalysed("an estimate for values that were not seen", ("estimate",))
            return
        self._asked[dst, src] = {stamps: p for stamps, p in asked.items() if stamps >= est.stamps}
        context = dict(zip(order, path, strict=False))
        place = order.index(src)
        suffix = Term(order[place:], "none", context)
        offset = self._context.offset(order[place:])
        yield CostIs("estimate", ("estimate",), (suffix,), ">=", est.estimate, offset)
        if place > len(path):
            yield Unanalysed("at most what the sender pays under these values alone", ("estimate",))
        elif est.estimate < INF:
            own = Term((src,), "none", context)
            yield CostIs("own-cost", ("estimate",), (own,), "<=", est.estimate, self._context.offset((src,)))

    def _suffix(self, order: tuple[str, ...], sent: Cpa) -> tuple[Term, Cost]:
        """Return the later agents' costs under a CPA, and their offset."""
        suffix = order[len(sent.path) :]
        return Term(suffix, "none", dict(zip(order, sent.path, strict=False))), self._context.offset(suffix)

    def _solution(self, order: tuple[str, ...], dst: str, sol: Sol) -> Iterator[Statement]:
        self._completed[dst] = sol.version, sol.assigned
        sent = self._sent.get(dst)
        if sent is not None and sent.stamps[-1] == sol.assigned:
            term, offset = self._suffix(order, sent)
            yield CostIs("suffix-upper", ("bound", "assigned"), (term,), "<=", sol.bound - sent.cost, offset)

    def _exhausted(self, order: tuple[str, ...], dst: str, back: Back) -> Iterator[Statement]:
        sent = self._sent.get(dst)
        if sent is not None and sent.stamps == back.stamps:
            term, offset = self._suffix(order, sent)
            found = self._completed.get(dst) == (back.version, back.stamps[-1])
            label = "improved-suffix" if found else "suffix-lower"
            yield CostIs(label, ("bound",), (term,), "==" if found else ">=", back.bound - sent.cost, offset)

    def _incumbent(self, order: tuple[str, ...], content: Cpa | Back | Sol) -> Iterator[Statement]:
        """Return that the best cost so far is what some full assignment costs: an upper bound on the optimum."""
        fields = ("bound", "version")
        if content.version:
            everybody, offset = Term(order, "none", {}), self._context.offset(order)
            yield CostIs("incumbent", fields, (everybody,), "<=", content.bound, offset)
        else:
            yield Nothing("no solution known yet", fields)
        yield from _best(order, content.best, "now")


_NUMBERS: Final = Nothing("numbers of proposals, all of which later agents are asked about", ("stamps",))


def _best(order: tuple[str, ...], best: tuple[int, ...], when: Literal["now", "final"]) -> Iterator[Statement]:
    if not best:
        yield Nothing("the best assignment does not travel", ("best",))
    for name, value in zip(order, best, strict=False):
        yield ValueIs("incumbent", ("best",), name, value, when)


Afb.reader = AfbReader
