"""ADOPT+: ADOPT on versioned contexts, without redundant messages (after Gutierrez and Meseguer, AAAI 2010).

ADOPT's search, but each value travels with an ID that its variable raises at every change. Newer and older can be
told apart, so nothing needs repeating: a message is sent when it differs from the last one to the same receiver, or
was asked for. The threshold rides in the VALUE to a child.

    message                      from -> to              when
    VALUE(value, id, threshold)  agent -> child          any of the three changed, or the child asked
    VALUE(value, id, none)       agent -> pseudo-child   value changed
    COST(X, LB, UB, ask)         agent -> parent         LB, UB or X changed, ids included, or it asks
    TERMINATE(X)                 agent -> each child     threshold == UB, and its own parent has ended

An agent whose context changed forgets its threshold, starts again from 0, and asks for a new one with its next COST.

Guarantees and complexity as ADOPT's (complete; `error_bound`), with about three times fewer messages in about as many
cycles. Messages that arrive one by one do no harm. Needs FIFO between each two agents, as all networks but `reorder`
without `reliable` give.

Deviations from ADOPT as published, besides those. The context holds a value for every variable of the separator from
the start (the lowest, ID 0), so bounds are never partial and ADOPT's guard of UB is not needed. Bounds of a child are
forgotten for all own values at once, when a value of its separator changes. THRESHOLD is part of VALUE and follows
allocation, which is one pass. TERMINATE carries only the child's separator. No COST to a parent that has ended.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, NamedTuple

from agentsim.runtime.agent import Agent
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.messages import Beside, Context, Index, message
from agentsim.runtime.messages import Cost as Amount
from agentsim.runtime.own_costs import OwnCosts
from agentsim.runtime.port import Port
from agentsim.runtime.setup import TreeParams
from agentsim.runtime.statements import Nothing, ReaderContext, Statement, Unanalysed, ValueIs
from agentsim.runtime.view import LocalView
from solvers.adopt import INF, allocate, bounds_statements
from solvers.adopt import Child as Bounds


@message("VALUE")
class Value(NamedTuple):
    """The sender's current value and its ID; for a child also its share of the threshold."""

    value: Index
    id: int
    threshold: Amount | None


@message("COST")
class Cost(NamedTuple):
    """Bounds on the cost of the sender's subtree under the context, ids in its order; `ask`: a VALUE is wanted."""

    context: Context
    ids: Annotated[tuple[int, ...], Beside("context")]
    lower: Amount
    upper: Amount
    ask: bool


@message("TERMINATE")
class Terminate(NamedTuple):
    """The final values of the receiver's separator; ids in their order."""

    context: Context
    ids: Annotated[tuple[int, ...], Beside("context")]


@dataclass(frozen=True)
class AdoptPlusParams(TreeParams):
    """Parameters of ADOPT+.

    Args:
        error_bound: each component's cost may be this much above its optimum; 0 finds the optimum.
        invariants: assert the algorithm's invariants after every decision.
    """

    error_bound: float = 0.0
    invariants: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.error_bound < INF:
            raise ValueError(f"error_bound={self.error_bound}: must be finite and not negative")


class Child(Bounds):
    """What an agent knows of one child's subtree, and has told the child last."""

    __slots__ = ("separator", "told")

    def __init__(self, name: str, separator: tuple[str, ...], size: int) -> None:
        super().__init__(name, size)
        self.separator = separator
        self.told: tuple[int, int, Amount] | None = None

    def forget_all(self) -> None:
        """Forget the bounds under every value."""
        size = len(self.lb)
        self.lb, self.ub, self.t = [0] * size, [INF] * size, [0] * size


class AdoptPlus(Agent):
    """One variable's agent."""

    messages = (Value, Cost, Terminate)
    Params = AdoptPlusParams
    place = "tree"
    costs = "nonnegative"
    complete = True
    status = "verified"

    params: AdoptPlusParams

    def __init__(self, view: LocalView, port: Port, params: AdoptPlusParams) -> None:
        super().__init__(view, port, params)
        self.tolerance = view.tolerance
        bound = params.error_bound
        self.error_bound: Amount = int(bound) if bound == int(bound) else bound  # integers stay integers
        self.id = 1
        self.threshold: Amount = 0
        self.terminated = False  # the parent has ended: the context is final
        size = view.size
        self.lb: list[Amount] = [0] * size
        self.ub: list[Amount] = [INF] * size
        self.LB: Amount = 0
        self.UB: Amount = INF
        self.stale: set[int] = set()  # values whose bounds are to be added up again
        self.changes = 0  # of the context, ever
        self.answer: set[str] = set()  # children that asked for their threshold
        self.ask = False  # ThReq
        self.moved = True  # a value or an id of X has changed since the last COST
        self.last_bounds: tuple[Amount, Amount] | None = None
        self.told: tuple[int, int] | None = None  # what pseudo-children know
        self.reported: tuple[Amount, Amount] | None = None
        self.checked: tuple[int, Amount, Amount] = (-1, 0, INF)

    @classmethod
    def is_exact(cls, params: AdoptPlusParams) -> bool:
        """Tell whether a run that ends by itself has proved its assignment optimal."""
        return params.error_bound == 0

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
        if message.threshold is not None and message.id >= self.ids[sender]:
            self.threshold = message.threshold

    def on_cost(self, sender: str, message: Cost) -> None:
        """Learn what the child knows of the ancestors; keep its bounds if they fit the context."""
        if message.ask:
            self.answer.add(sender)
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
        if compatible and self.child[sender].tighten(value, message.lower, message.upper):
            self.stale.add(value)

    def on_terminate(self, sender: str, message: Terminate) -> None:
        """The parent has ended: the context is final."""
        self.terminated = True
        for (name, value), its_id in zip(message.context.items(), message.ids, strict=True):
            if its_id > self.ids[name]:
                self.learn(name, value, its_id)

    def learn(self, name: str, value: int, its_id: int) -> None:
        """Take a newer value into the context; if it is another one, forget what depended on the old."""
        self.ids[name] = its_id
        self.moved = True
        if self.context[name] == value:
            return
        self.context[name] = value
        self.changes += 1
        for child in self.children:
            if name in child.separator:
                child.forget_all()
                self.stale.update(range(len(self.lb)))
        if name in self.own.scope:
            self.stale_delta = True
        self.ask = True
        self.threshold = 0

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

    def decide(self) -> None:
        """Choose a value and tell the neighbours in the tree what is new to them: the paper's backtrack."""
        if self.stale or self.stale_delta:
            self.sum_bounds()
        LB, UB, parent = self.LB, self.UB, self.parent
        threshold = self.threshold
        if parent is None:
            self.report(LB, UB)
            if threshold < LB + self.error_bound:
                threshold = LB + self.error_bound
        if threshold < LB:
            threshold = LB
        if threshold > UB:
            threshold = UB
        self.threshold = threshold
        value = self.value
        may_end = threshold >= UB - self.tolerance  # both may be infinite
        if may_end:
            if self.ub[value] > UB + self.tolerance:
                value = self.ub.index(UB)
        elif self.lb[value] > threshold + self.tolerance:
            value = self.lb.index(LB)
        if value != self.value:
            self.value = value
            self.id += 1
            self.assign(value)
        if self.children:
            allocate(self.children, value, threshold - self.delta[value] if threshold < INF else INF)
        if self.params.invariants:
            self.check_invariants()

        self.send_values()
        if may_end and (parent is None or self.terminated):
            self.send_terminate()
            self.finish()
        elif parent is not None and not self.terminated:
            self.send_cost(parent)

    def send_values(self) -> None:
        """Tell the lower neighbours what they do not know yet, and children what they asked for."""
        value, own_id = self.value, self.id
        for child in self.children:
            news = (value, own_id, child.t[value])
            if news != child.told or child.name in self.answer:
                child.told = news
                self.send(child.name, Value(*news))
        self.answer.clear()
        if self.told != (value, own_id):
            self.told = (value, own_id)
            for name in self.pseudo_children:
                self.send(name, Value(value, own_id, None))

    def send_cost(self, parent: str) -> None:
        """Report the bounds to the parent if there is anything new, or a threshold to ask for."""
        bounds = (self.LB, self.UB)
        if self.ask or self.moved or bounds != self.last_bounds:
            self.send(parent, Cost(self.context, tuple(self.ids.values()), self.LB, self.UB, self.ask))
            self.ask = self.moved = False
            self.last_bounds = bounds

    def send_terminate(self) -> None:
        """Tell each child the final values it depends on."""
        values = {**self.context, self.name: self.value}
        ids = {**self.ids, self.name: self.id}
        for child in self.children:
            names = child.separator
            self.send(child.name, Terminate({n: values[n] for n in names}, tuple(ids[n] for n in names)))

    def report(self, LB: Amount, UB: Amount) -> None:
        """The root's bounds are those of its component."""
        if self.reported != (LB, UB):
            self.reported = (LB, UB)
            self.bound(lower=LB, upper=UB)

    def check_invariants(self) -> None:
        """Assert what the paper proves of the state after every backtrack."""
        slop = 100 * self.tolerance
        LB, UB, threshold, value = self.LB, self.UB, self.threshold, self.value
        assert 0 <= LB <= UB + slop, f"LB={LB}, UB={UB}"
        assert LB - slop <= threshold <= UB + slop, f"LB={LB}, threshold={threshold}, UB={UB}"
        assert self.lb[value] <= threshold + slop, "the value held is too expensive"
        for child in self.children:
            for lower, share, upper in zip(child.lb, child.t, child.ub, strict=True):
                assert lower - slop <= share <= upper + slop, f"threshold of {child.name}"
        if self.children and threshold < INF:
            allotted = self.delta[value] + sum(child.t[value] for child in self.children)
            assert abs(allotted - threshold) <= slop, f"allotted {allotted} of {threshold}"
        changes, lower, upper = self.checked
        if changes == self.changes:  # not `same context`: that may have changed and changed back
            assert lower - slop <= LB, f"LB fell from {lower} to {LB}"
            assert upper + slop >= UB, f"UB rose from {upper} to {UB}"
        self.checked = (self.changes, LB, UB)


class AdoptPlusReader:
    """What a viewer of ADOPT+ messages can conclude: what one of ADOPT messages can, and how often values change."""

    stateless = True

    def __init__(self, context: ReaderContext) -> None:
        self._context = context

    def read(self, delivery: Delivery) -> Iterator[Statement]:
        """Return the statements that one delivery supports."""
        received = delivery.message
        if isinstance(received, Value):
            yield ValueIs("value", ("value",), delivery.src, received.value, "now")
            yield Nothing("how often the sender changed its value", ("id",))
            if received.threshold is None:
                yield Nothing("no threshold", ("threshold",))
            else:
                yield Unanalysed("a budget less the costs of sender and siblings", ("threshold",))
            return
        yield Nothing("how often each variable changed its value", ("ids",))
        if isinstance(received, Cost):
            yield from bounds_statements(self._context, delivery.src, received.context, received.lower, received.upper)
            yield Nothing("asks for a threshold", ("ask",))
        else:
            for name, value in received.context.items():
                yield ValueIs("value", ("context",), name, value, "final")


AdoptPlus.reader = AdoptPlusReader
