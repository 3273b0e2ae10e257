"""ADOPT: asynchronous distributed optimisation (Modi, Shen, Tambe and Yokoo, Artificial Intelligence 161, 2005).

Best-first search on a pseudo-tree. Each agent keeps, for each of its values and children, a lower and an upper bound
on the child's subtree under the current context (the values of its ancestors). Its threshold is its share of the cost
that the root knows to be necessary. It leaves its value only when the value's lower bound exceeds the threshold, and
then for the one of least lower bound. The search ends where threshold and upper bound meet.

    message                        from -> to                         when
    VALUE(value)                   agent -> all lower neighbours      every cycle
    THRESHOLD(threshold, context)  agent -> each child                every cycle
    COST(context, LB, UB)          agent -> parent                    every cycle
    TERMINATE(context)             agent -> each child                threshold == UB, and its own parent has ended

A cycle is one drained mailbox and one `decide`, the paper's backtrack. More than half of them change nothing: what was
sent in the cycle before is then sent again as it is.

Guarantees: complete; with `error_bound` b the cost of each component is at most b above its optimum. Complexity:
memory O(values * children * depth) per agent; a number of messages exponential in the depth of the tree, each of
size O(depth).

Deviations from the published pseudo-code, the first three being repairs:

* UB stays infinite, and no COST is sent, until the context covers all constraints evaluated here. Otherwise the first
  COST of a leaf passes a cost that lacks terms for an upper bound.
* A value that the context does not have yet is taken from a COST even when it is a neighbour's, so that bounds under
  two different values of that neighbour are never merged.
* TERMINATE replaces the context, forgets bounds that do not fit it and takes the threshold of the last THRESHOLD,
  even if that was refused when it came: its sender had the final context already, the receiver may not have.
* THRESHOLD follows VALUE, after allocation. Allocation is one pass, not steps of one: costs may be fractional or
  infinite. Its result is the same set of thresholds, raised and lowered in the children's order.
* No COST to a parent that has ended. A COST whose context lacks its receiver is ignored; one that improves no bound
  leaves the context that the bounds depend on as it is.
* An agent decides at most once per `cycle` units of virtual time. Every decision sends a message to every lower
  neighbour, so without a cycle, messages that arrive one by one would multiply for ever. Repeating itself is how
  plain ADOPT heals what was refused because contexts disagreed; see `adopt-plus` for messages sent only once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from agentsim.runtime.agent import Agent
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.messages import Context, Index, message
from agentsim.runtime.messages import Cost as Amount
from agentsim.runtime.own_costs import OwnCosts
from agentsim.runtime.port import Port
from agentsim.runtime.setup import TreeParams
from agentsim.runtime.statements import CostIs, Nothing, ReaderContext, Statement, Term, Unanalysed, ValueIs
from agentsim.runtime.view import LocalView

INF = math.inf
_NOTHING: Context = {}


@message("VALUE")
class Value(NamedTuple):
    """The sender's current value."""

    value: Index


@message("THRESHOLD")
class Threshold(NamedTuple):
    """The receiver's share of its parent's threshold, under the parent's context."""

    threshold: Amount
    context: Context


@message("COST")
class Cost(NamedTuple):
    """Bounds on the cost of the sender's subtree, its own cost included, under the context."""

    context: Context
    lower: Amount
    upper: Amount


@message("TERMINATE")
class Terminate(NamedTuple):
    """The final values of the sender and all of its ancestors."""

    context: Context


@dataclass(frozen=True)
class AdoptParams(TreeParams):
    """Parameters of ADOPT.

    Args:
        error_bound: each component's cost may be this much above its optimum; 0 finds the optimum.
        cycle: least virtual time between two decisions of one agent.
        invariants: assert the algorithm's invariants after every decision.
    """

    error_bound: float = 0.0
    cycle: float = 1.0
    invariants: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.error_bound < INF:
            raise ValueError(f"error_bound={self.error_bound}: must be finite and not negative")
        if not 0 <= self.cycle < INF:
            raise ValueError(f"cycle={self.cycle}: must be finite and not negative")


class Child:
    """What an agent knows of one child's subtree, by its own value.

    Args:
        name: the child.
        size: number of values of the agent itself.
    """

    __slots__ = ("contexts", "lb", "name", "t", "ub")

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self.lb: list[Amount] = [0] * size
        self.ub: list[Amount] = [INF] * size
        self.t: list[Amount] = [0] * size  # thresholds: lb <= t <= ub
        self.contexts: list[Context] = [_NOTHING] * size  # what the bounds depend on

    def forget(self, value: int) -> None:
        """Forget the bounds under one value."""
        self.lb[value], self.ub[value], self.t[value], self.contexts[value] = 0, INF, 0, _NOTHING

    def tighten(self, value: int, lower: Amount, upper: Amount) -> bool:
        """Take over new bounds, keeping the better ones; tell whether any improved."""
        better = False
        if lower > self.lb[value]:
            self.lb[value] = lower
            better = True
            if self.t[value] < lower:
                self.t[value] = lower
        if upper < self.ub[value]:
            self.ub[value] = upper
            better = True
            if self.t[value] > upper:
                self.t[value] = upper
        return better


def allocate(children: Sequence[Child], value: int, budget: Amount) -> bool:
    """Make the children's thresholds for `value` add up to `budget`, each between its bounds.

    Feasible because the agent holds `value` only while its bounds enclose its threshold. Infinities are never
    subtracted from each other. Tells whether they did not add up already, which sums of fractions seldom do.
    """
    if budget == INF:
        for child in children:
            child.t[value] = child.ub[value]
        return False
    slack = budget
    for child in children:
        slack -= child.t[value]
    if slack == 0:
        return False
    if slack == -INF:
        slack = budget
        for child in children:
            child.t[value] = child.lb[value]
            slack -= child.t[value]
    if slack > 0:
        for child in children:
            room = child.ub[value] - child.t[value]
            if room >= slack:
                child.t[value] += slack
                break
            child.t[value] = child.ub[value]
            slack -= room
    else:
        for child in children:
            room = child.t[value] - child.lb[value]
            if room >= -slack:
                child.t[value] += slack
                break
            child.t[value] = child.lb[value]
            slack += room
    return True


class Adopt(Agent):
    """One variable's agent."""

    messages = (Value, Threshold, Cost, Terminate)
    Params = AdoptParams
    place = "tree"
    costs = "nonnegative"
    complete = True
    status = "verified"

    params: AdoptParams

    def __init__(self, view: LocalView, port: Port, params: AdoptParams) -> None:
        super().__init__(view, port, params)
        self.tolerance = view.tolerance
        bound = params.error_bound
        self.error_bound: Amount = int(bound) if bound == int(bound) else bound  # integers stay integers
        self.context: dict[str, int] = {}
        self.threshold: Amount = 0
        self.terminated = False  # the parent has ended: the context is final
        self.last_threshold: Amount = 0  # of the last THRESHOLD, accepted or not
        size = view.size
        self.lb: list[Amount] = [0] * size
        self.ub: list[Amount] = [INF] * size
        self.LB: Amount = 0
        self.UB: Amount = INF
        self.stale = set(range(size))  # values whose bounds are to be added up again
        self.changes = 0  # of the context, ever
        self.heard: dict[str, Value | Cost] = {}  # by sender: the last handled under the present context
        self.accepted: Threshold | None = None  # the last that was meant for the present context
        self.settled = False  # nothing that the last decision rests on has changed
        self.held: Amount = -1  # threshold of the last decision
        self.sent: list[tuple[str, Any]] = []  # in this cycle, and again in the next ones while all is settled
        self.reported: tuple[Amount, Amount] | None = None
        self.checked: tuple[int, Amount, Amount] = (-1, 0, INF)

    @classmethod
    def is_exact(cls, params: AdoptParams) -> bool:
        """Tell whether a run that ends by itself has proved its assignment optimal."""
        return params.error_bound == 0

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
        self.parent = tree.parent
        self.above = frozenset(tree.pseudo_parents if tree.parent is None else (tree.parent, *tree.pseudo_parents))
        self.own = OwnCosts(self.view, self.above)
        self.missing = set(self.own.scope)  # values that delta needs and the context lacks
        self.delta: list[Amount] = self.view.unary_costs  # own cost by value, as far as the context goes
        self.check(self.view.size if self.view.has_unary else 0)
        self.stale_delta = bool(self.own.scope)
        self.children = [Child(name, self.view.size) for name in tree.children]
        self.child = {child.name: child for child in self.children}
        self.lower = (*tree.children, *tree.pseudo_children)
        self.values = [Value(value) for value in range(self.view.size)]
        self.sum_bounds()
        self.value = self.lb.index(self.LB)
        self.assign(self.value)
        self.decide()

    def on_value(self, sender: str, message: Value) -> None:
        """An ancestor changed its value, or repeats it."""
        if not self.terminated and self.context.get(sender) != message.value:
            self.learn(sender, message.value)
        self.heard[sender] = message

    def on_threshold(self, sender: str, message: Threshold) -> None:
        """Take the threshold, unless it was meant for another context."""
        self.last_threshold = message.threshold
        if message is not self.accepted:
            known = self.context
            for name, value in message.context.items():
                if known.get(name, value) != value:
                    return
            self.accepted = message
        self.threshold = message.threshold

    def on_cost(self, sender: str, message: Cost) -> None:
        """Learn what the child knows of the ancestors; keep its bounds if they fit the context."""
        own, known, above, terminated = self.name, self.context, self.above, self.terminated
        value = -1
        compatible = True
        for name, theirs in message.context.items():
            ours = known.get(name)
            if ours == theirs:
                continue
            if name == own:
                value = theirs
            elif terminated or (ours is not None and name in above):
                compatible = False
            else:
                self.learn(name, theirs)
        self.heard[sender] = message
        if value < 0 or not compatible:
            return
        child = self.child[sender]
        if child.tighten(value, message.lower, message.upper):
            # A superset of the old context, unless a duplicate comes late.
            child.contexts[value] = {**child.contexts[value], **message.context}
            self.stale.add(value)

    def on_terminate(self, sender: str, message: Terminate) -> None:
        """The parent has ended: the context is final."""
        self.terminated = True
        self.settled = False
        for name, value in message.context.items():
            if self.context.get(name) != value:
                self.learn(name, value)
        self.threshold = self.last_threshold

    def learn(self, name: str, value: int) -> None:
        """Change the context and forget the bounds that depended on what it was."""
        self.context[name] = value
        self.changes += 1
        self.heard.clear()
        self.accepted = None
        self.settled = False
        self.missing.discard(name)
        if name in self.own.scope:
            self.stale_delta = True
        for child in self.children:
            for own_value, context in enumerate(child.contexts):
                if name in context:
                    child.forget(own_value)
                    self.stale.add(own_value)

    def sum_bounds(self) -> None:
        """Add up delta and the children's bounds for each value: LB(e), UB(e), LB and UB."""
        if self.stale_delta and not self.missing:
            self.delta = self.own.by_value(self.context)
            self.check(self.own.checks)
            self.stale_delta = False
            self.stale.update(range(len(self.delta)))
        for value in self.stale:
            lower = upper = self.delta[value]
            for child in self.children:
                lower += child.lb[value]
                upper += child.ub[value]
            self.lb[value] = lower
            self.ub[value] = INF if self.missing else upper  # while delta lacks terms it is a lower bound only
        self.LB, self.UB = min(self.lb), min(self.ub)
        self.stale.clear()
        self.settled = False

    def decide(self) -> None:
        """Choose a value and tell the neighbours in the tree: the paper's backtrack."""
        if self.stale or (self.stale_delta and not self.missing):
            self.sum_bounds()
        LB, UB = self.LB, self.UB
        threshold = self.threshold
        if self.parent is None and threshold < LB + self.error_bound:
            threshold = LB + self.error_bound
        if threshold < LB:
            threshold = LB
        if threshold > UB:
            threshold = UB
        self.threshold = threshold
        if not self.settled or threshold != self.held:
            self.backtrack(LB, UB, threshold)
        send = self.send
        for name, told in self.sent:
            send(name, told)

    def backtrack(self, LB: Amount, UB: Amount, threshold: Amount) -> None:
        """Choose a value, divide the threshold among the children, and write this cycle's messages."""
        parent, value = self.parent, self.value
        if parent is None:
            self.report(LB, UB)
        may_end = threshold >= UB - self.tolerance  # both may be infinite
        if may_end:
            if self.ub[value] > UB + self.tolerance:
                value = self.ub.index(UB)
        elif self.lb[value] > threshold + self.tolerance:
            value = self.lb.index(LB)
        if value != self.value:
            self.value = value
            self.assign(value)
        moved = allocate(self.children, value, threshold - self.delta[value] if threshold < INF else INF)
        self.settled = self.tolerance == 0 or not moved  # rounded shares may move once more
        self.held = threshold
        if self.params.invariants:
            self.check_invariants()

        context, told = self.context, self.values[value]
        sent = self.sent = [(name, told) for name in self.lower]
        sent += [(child.name, Threshold(child.t[value], context)) for child in self.children]
        if may_end and (parent is None or self.terminated):
            final = Terminate({**context, self.name: value})
            sent += [(child.name, final) for child in self.children]
            self.finish()
        elif parent is not None and not self.missing and not self.terminated:
            sent.append((parent, Cost(context, LB, UB)))

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
            for e, context in enumerate(child.contexts):
                assert child.lb[e] - slop <= child.t[e] <= child.ub[e] + slop, f"threshold of {child.name}"
                assert all(self.context[n] == v for n, v in context.items() if n != self.name), "stale bounds"
                assert context.get(self.name, e) == e, "bounds of another value"
        if self.children and not self.missing and threshold < INF:
            allotted = self.delta[value] + sum(child.t[value] for child in self.children)
            assert abs(allotted - threshold) <= slop, f"allotted {allotted} of {threshold}"
        changes, lower, upper = self.checked
        if changes == self.changes:  # not `same context`: that may have changed and changed back
            assert lower - slop <= LB, f"LB fell from {lower} to {LB}"
            assert upper + slop >= UB, f"UB rose from {upper} to {UB}"
        self.checked = (self.changes, LB, UB)


def bounds_statements(
    reader: ReaderContext, sender: str, context: Mapping[str, int], lower: Amount, upper: Amount
) -> Iterator[Statement]:
    """What bounds on a subtree under a context say: a COST of any algorithm of this family.

    The lower bound contains the sender's own cost under its best value, so it bounds that from above, too.
    """
    fields = ("context", "lower")
    own, below = Term((sender,), "none", context), Term((sender,), "subtree", context)
    if lower < INF:
        yield CostIs("own-cost", fields, (own,), "<=", lower, reader.offset((sender,)))
    offset = reader.offset((sender,), "subtree")
    yield CostIs("subtree-lower", fields, (below,), ">=", lower, offset)
    if upper < INF:
        yield CostIs("subtree-upper", ("context", "upper"), (below,), "<=", upper, offset)
    else:
        yield Nothing("no upper bound yet", ("upper",))


class AdoptReader:
    """What a viewer of ADOPT messages can conclude.

    COST: bounds on the sender's subtree under the context, and through the lower one on its own cost. TERMINATE: final
    values. A THRESHOLD is the rest of a budget after costs of its sender and of the receiver's siblings: not analysed.
    """

    stateless = True

    def __init__(self, context: ReaderContext) -> None:
        self._context = context

    def read(self, delivery: Delivery) -> Iterator[Statement]:
        """Return the statements that one delivery supports."""
        received = delivery.message
        if isinstance(received, Cost):
            yield from bounds_statements(self._context, delivery.src, received.context, received.lower, received.upper)
        elif isinstance(received, Value):
            yield ValueIs("value", ("value",), delivery.src, received.value, "now")
        elif isinstance(received, Threshold):
            yield Unanalysed("a budget less the costs of sender and siblings", ("threshold", "context"))
        else:
            for name, value in received.context.items():
                yield ValueIs("value", ("context",), name, value, "final")


Adopt.reader = AdoptReader
