"""BnB-ADOPT: ADOPT with depth-first branch and bound (Yeoh, Felner and Koenig, AAMAS 2008; JAIR 38, 2010).

ADOPT's tree, bounds and messages, but an agent leaves its value only when that is proved to be no better than the best
solution known, whose cost (less what the rest of the tree costs at least) it gets as its threshold TH. Contexts are
versioned: each value travels with an ID that its variable raises at every change, and the higher ID is the newer one.

    message                from -> to                      when
    VALUE(value, id, TH)   agent -> all lower neighbours   every cycle; TH infinite to pseudo-children
    COST(X, LB, UB)        agent -> parent                 every cycle; X is context and ids
    TERMINATE(X)           agent -> each child             UB <= LB, and its own parent has ended

A cycle is one drained mailbox and one `decide`, the paper's backtrack. Half of them change nothing: what was sent in
the cycle before is then sent again as it is.

Guarantees: complete; the root's UB is the cost of some assignment at any time. Constraints of any arity: the deepest
agent of a scope evaluates it (Gutierrez and Meseguer, JAIR 45, 2012). Complexity: memory
O(values * children * separator) per agent; a number of messages exponential in the depth of the tree, each of size
O(separator).

Deviations:

* TERMINATE carries the final values of the child's separator (paper: nothing). A child does not stop on it, but solves
  its subtree under the final context until UB <= LB: memory-bounded search has usually lost those bounds.
* At the end a value is chosen by its upper bound: one of least lower bound may be unproved where costs tie.
* The first value of each ancestor is taken to be its lowest, with ID 0; an agent's own first value has ID 1.
* A changed context starts an agent anew once per decision, not once per message. Ties go to the value held.
* No COST to a parent that has ended.
* An agent decides at most once per `cycle` units of virtual time, or messages that arrive one by one would multiply for
  ever; see `bnb-adopt-plus` for messages sent only once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple

from agentsim.runtime.agent import Agent
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.messages import Beside, Context, Index, message
from agentsim.runtime.messages import Cost as Amount
from agentsim.runtime.own_costs import OwnCosts
from agentsim.runtime.port import Port
from agentsim.runtime.setup import TreeParams
from agentsim.runtime.statements import CostIs, Nothing, ReaderContext, Statement, Term, Unanalysed, ValueIs
from agentsim.runtime.view import LocalView

INF = math.inf


@message("VALUE")
class Value(NamedTuple):
    """The sender's current value and its ID; for a child also TH, the cost its subtree must stay below."""

    value: Index
    id: int
    threshold: Amount


@message("COST")
class Cost(NamedTuple):
    """Bounds on the cost of the sender's subtree, its own cost included, under the context; ids in its order."""

    context: Context
    ids: Annotated[tuple[int, ...], Beside("context")]
    lower: Amount
    upper: Amount


@message("TERMINATE")
class Terminate(NamedTuple):
    """The final values of the receiver's separator; ids in their order."""

    context: Context
    ids: Annotated[tuple[int, ...], Beside("context")]


@dataclass(frozen=True)
class BnBAdoptParams(TreeParams):
    """Parameters of BnB-ADOPT.

    Args:
        cycle: least virtual time between two decisions of one agent.
        invariants: assert the algorithm's invariants after every decision.
    """

    cycle: float = 1.0
    invariants: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.cycle < INF:
            raise ValueError(f"cycle={self.cycle}: must be finite and not negative")


class Child:
    """What an agent knows of one child's subtree, by its own value.

    Args:
        name: the child.
        separator: the variables above the child that its subtree depends on.
        size: number of values of the agent itself.
    """

    __slots__ = ("lb", "name", "separator", "ub")

    def __init__(self, name: str, separator: tuple[str, ...], size: int) -> None:
        self.name, self.separator = name, separator
        self.lb: list[Amount] = [0] * size
        self.ub: list[Amount] = [INF] * size

    def forget(self) -> None:
        """Forget the bounds under every value."""
        size = len(self.lb)
        self.lb, self.ub = [0] * size, [INF] * size


class BnBAdopt(Agent):
    """One variable's agent."""

    messages: ClassVar[tuple[type, ...]] = (Value, Cost, Terminate)
    Params = BnBAdoptParams
    place = "tree"
    costs = "nonnegative"
    complete = True
    status = "verified"

    params: BnBAdoptParams

    def __init__(self, view: LocalView, port: Port, params: BnBAdoptParams) -> None:
        super().__init__(view, port, params)
        self.tolerance = view.tolerance
        self.value = 0
        self.id = 0
        self.threshold: Amount = INF  # TH
        self.terminated = False  # the parent has ended: the context is final
        self.anew = True  # the context has changed since the last decision
        size = view.size
        self.lb: list[Amount] = [0] * size
        self.ub: list[Amount] = [INF] * size
        self.LB: Amount = 0
        self.UB: Amount = INF
        self.stale: set[int] = set()  # values whose bounds are to be added up again
        self.changes = 0  # of the context, ever
        self.heard: dict[str, Value | Cost] = {}  # by sender: the last handled under the present context and ids
        self.settled = False  # nothing that the last decision rests on has changed
        self.held: Amount = INF  # threshold of the last decision
        self.sent: list[tuple[str, Any]] = []  # in this cycle, and again in the next ones while all is settled
        self.reported: tuple[Amount, Amount] | None = None
        self.checked: tuple[int, Amount, Amount] = (-1, 0, INF)

    async def run(self) -> None:
        """Gather mail until the cycle is over, handle it and decide, until the end."""
        self.start()
        port, drain, handlers, heard, cycle = self.port, self._drain, self._handlers, self.heard, self.params.cycle
        next_cycle = port.now + cycle
        while not port.finished:
            mail = await drain
            if port.now < next_cycle:
                await self.sleep(next_cycle - port.now)
                if port.inbox:
                    mail += await drain
            for sender, received in mail:
                if heard.get(sender) is not received:  # once more under the same context, it tells nothing
                    handlers[type(received)](sender, received)
            self.decide()
            next_cycle = port.now + cycle

    def start(self) -> None:
        """Take the place in the tree, a first value, and tell it."""
        tree = self.view.tree
        self.parent, self.pseudo_children = tree.parent, tree.pseudo_children
        self.context = dict.fromkeys(tree.separator, 0)
        self.ids = dict.fromkeys(tree.separator, 0)
        self.own = OwnCosts(self.view, tree.separator)
        self.delta: list[Amount] = []
        self.stale_delta = True
        self.children = [Child(name, tree.child_separators[name], self.view.size) for name in tree.children]
        self.child = {child.name: child for child in self.children}
        self.sum_bounds()
        self.value = self.lb.index(self.LB)
        self.assign(self.value)
        self.decide()

    def on_value(self, sender: str, message: Value) -> None:
        """An ancestor changed its value, or repeats it."""
        if message.id > self.ids[sender]:
            self.learn(sender, message.value, message.id)
        if sender == self.parent:
            self.threshold = message.threshold
        self.heard[sender] = message

    def on_cost(self, sender: str, message: Cost) -> None:
        """Learn what the child knows of the ancestors; keep its bounds if they fit the context."""
        own, known, ids = self.name, self.context, self.ids
        value = -1
        compatible = True
        for (name, theirs), its_id in zip(message.context.items(), message.ids, strict=True):
            if name == own:
                value = theirs
            elif its_id > ids[name]:
                self.learn(name, theirs, its_id)
            elif known[name] != theirs:
                compatible = False
        self.heard[sender] = message
        if compatible:
            child = self.child[sender]
            if message.lower > child.lb[value]:
                child.lb[value] = message.lower
                self.stale.add(value)
            if message.upper < child.ub[value]:
                child.ub[value] = message.upper
                self.stale.add(value)

    def on_terminate(self, sender: str, message: Terminate) -> None:
        """The parent has ended: the context is final."""
        self.terminated = True
        self.settled = False
        for (name, value), its_id in zip(message.context.items(), message.ids, strict=True):
            if its_id > self.ids[name]:
                self.learn(name, value, its_id)

    def learn(self, name: str, value: int, its_id: int) -> None:
        """Take a newer value into the context; if it is another one, forget the bounds that depended on the old."""
        self.ids[name] = its_id
        self.heard.clear()
        self.settled = False
        if self.context[name] == value:
            return
        self.context[name] = value
        self.changes += 1
        for child in self.children:
            if name in child.separator:
                child.forget()
                self.stale.update(range(len(self.lb)))
        if name in self.own.scope:
            self.stale_delta = True
        self.anew = True
        self.threshold = INF

    def sum_bounds(self) -> None:
        """Add up delta and the children's bounds for each value: LB(e), UB(e), LB and UB."""
        if self.stale_delta:
            self.delta = self.own.by_value(self.context)
            self.check(self.own.checks)
            self.stale_delta = False
            self.stale.update(range(len(self.lb)))
        for value in self.stale:
            lower = upper = self.delta[value]
            for child in self.children:
                lower += child.lb[value]
                upper += child.ub[value]
            self.lb[value], self.ub[value] = lower, upper
        self.LB, self.UB = min(self.lb), min(self.ub)
        self.stale.clear()
        self.settled = False

    def decide(self) -> None:
        """Choose a value and tell the neighbours in the tree: the paper's backtrack."""
        if self.stale or self.stale_delta:
            self.sum_bounds()
        if not self.settled or self.threshold != self.held:
            self.backtrack()
        send = self.send
        for name, told in self.sent:
            send(name, told)

    def backtrack(self) -> None:
        """Choose a value and write this cycle's messages."""
        self.settled, self.held = True, self.threshold
        LB, UB = self.LB, self.UB
        may_end = LB + self.tolerance >= UB and (self.parent is None or self.terminated)
        value = self.choose(may_end)
        if value != self.value or self.anew:
            self.anew = False
            self.value = value
            self.id += 1
            self.assign(value)
        if self.params.invariants:
            self.check_invariants()

        self.sent = []
        self.add_values(may_end)
        if self.parent is None:
            self.report(LB, UB)
        if may_end:
            self.add_terminate()
            self.finish()
        elif self.parent is not None and not self.terminated:
            self.add_cost(self.parent)

    def choose(self, may_end: bool) -> int:
        """Return the value to hold: the present one until it is proved to be no better than what is known."""
        value, LB, UB, tolerance = self.value, self.LB, self.UB, self.tolerance
        if may_end:  # by upper bound: a value of least lower bound may be unproved
            return value if self.ub[value] <= UB + tolerance else self.ub.index(UB)
        hopeless = self.lb[value] >= min(self.threshold, UB) - tolerance
        if (self.anew or hopeless) and self.lb[value] > LB + tolerance:
            return self.lb.index(LB)
        return value

    def add_values(self, may_end: bool) -> None:
        """Tell the value to all lower neighbours. `may_end`: for the last time."""
        value, own_id = self.value, self.id
        for child in self.children:
            self.sent.append((child.name, Value(value, own_id, self.threshold_of(child))))
        if self.pseudo_children:
            told = Value(value, own_id, INF)
            for name in self.pseudo_children:
                self.sent.append((name, told))

    def threshold_of(self, child: Child) -> Amount:
        """Return what is left for a child of the cost to stay below: all else at its lower bound."""
        limit = min(self.threshold, self.UB)
        lower = self.lb[self.value]
        if limit == INF:
            return INF
        if lower == INF:
            return 0
        return limit - (lower - child.lb[self.value])

    def add_cost(self, parent: str) -> None:
        """Report the bounds to the parent."""
        self.sent.append((parent, Cost(self.context, tuple(self.ids.values()), self.LB, self.UB)))

    def add_terminate(self) -> None:
        """Tell each child the final values it depends on."""
        values = {**self.context, self.name: self.value}
        ids = {**self.ids, self.name: self.id}
        for child in self.children:
            names = child.separator
            final = Terminate({n: values[n] for n in names}, tuple(ids[n] for n in names))
            self.sent.append((child.name, final))

    def report(self, LB: Amount, UB: Amount) -> None:
        """The root's bounds are those of its component."""
        if self.reported != (LB, UB):
            self.reported = (LB, UB)
            self.bound(lower=LB, upper=UB)

    def check_invariants(self) -> None:
        """Assert what the paper proves of the state after every backtrack."""
        slop = 100 * self.tolerance
        LB, UB = self.LB, self.UB
        assert 0 <= LB <= UB + slop, f"LB={LB}, UB={UB}"
        assert self.threshold == self.threshold, "TH is not a number"
        changes, lower, upper = self.checked
        if changes == self.changes:  # not `same context`: that may have changed and changed back
            assert lower - slop <= LB, f"LB fell from {lower} to {LB}"
            assert upper + slop >= UB, f"UB rose from {upper} to {UB}"
        self.checked = (self.changes, LB, UB)


# What is said of every message is said in the same words.
CHANGES = Nothing("how often the sender changed its value", ("id",))
CHANGES_OF_ALL = Nothing("how often each variable changed its value", ("ids",))
BUDGET = Unanalysed("the best known cost less costs of sender and siblings", ("threshold",))
NO_BUDGET = Nothing("no threshold", ("threshold",))


class BnBAdoptReader:
    """What a viewer of BnB-ADOPT messages can conclude.

    COST: bounds on the sender's subtree under the context. The lower one contains the sender's own cost under its best
    value, so it bounds that from above, too. TERMINATE: final values. A TH is the rest of the best known cost after
    costs of its sender and of the receiver's siblings: not analysed.
    """

    stateless = True

    def __init__(self, context: ReaderContext) -> None:
        self._context = context

    def read(self, delivery: Delivery) -> Iterator[Statement]:
        """Return the statements that one delivery supports."""
        received = delivery.message
        if isinstance(received, Value):
            yield ValueIs("value", ("value",), delivery.src, received.value, "now")
            yield CHANGES
            yield BUDGET if received.threshold < INF else NO_BUDGET
            return
        yield CHANGES_OF_ALL
        if isinstance(received, Terminate):
            for name, value in received.context.items():
                yield ValueIs("value", ("context",), name, value, "final")
        else:
            yield from self._bounds(delivery.src, received)

    def _bounds(self, sender: str, cost: Cost) -> Iterator[Statement]:
        fields = ("context", "lower")
        own, below = Term((sender,), "none", cost.context), Term((sender,), "subtree", cost.context)
        if cost.lower < INF:
            yield CostIs("own-cost", fields, (own,), "<=", cost.lower, self._context.offset((sender,)))
        offset = self._context.offset((sender,), "subtree")
        yield CostIs("subtree-lower", fields, (below,), ">=", cost.lower, offset)
        if cost.upper < INF:
            yield CostIs("subtree-upper", ("context", "upper"), (below,), "<=", cost.upper, offset)
        else:
            yield Nothing("no upper bound yet", ("upper",))


BnBAdopt.reader = BnBAdoptReader
