"""Max-Sum: belief propagation on the factor graph (Farinelli, Rogers, Petcu and Jennings, AAMAS 2008), on costs.

A variable tells each of its cost functions what all the others think of its values; a cost function tells each of its
variables the least cost that each value can have, given what the other variables said. A variable's belief is the sum
of what it is told and its private costs, and it takes the value of least belief. As costs are minimised throughout this
is min-sum; a maximising problem has its costs negated beforehand.

    message                               from -> to             when
    HOST(function)                        host -> variable       at once; where the variable cannot know its host
    Q(function, round, costs, value)      variable -> host       at the start of a round
    R(function, round, costs)             host -> variable       all Q of this function and round have come
    UP(round, violations, cost, steady)   child -> parent        see `anytime`
    BEST(round, last)                     parent -> child        see `anytime`

A function node is hosted by the deepest agent of its scope in the pseudo-tree, which has the rest of the scope above
it; there it is also evaluated. With two variables both know who that is. With more, HOST tells all but the second
deepest, which sees that it has only one below it. Between a function node and the variable of its host nothing is sent.

Rounds are synchronous: q from the last round's r, then r from q. Round k's values are those chosen at its start, so the
last of them needs no r. In formulas, for function f, variables i and j of its scope, and unary costs u_i:

    q_if(x) = u_i(x) + sum of r_gi(x) over all other functions g of i, normalised
    r_fi(x) = min over the rest of the scope of f(x, .) + sum of q_jf over all other variables j
    m       = damping * (m sent last) + (1 - damping) * (m by these formulas), from the second message on

Guarantees: on acyclic factor graphs, given rounds enough for messages to settle, the assignment is optimal up to the
dust of all variables; elsewhere none. What the root believes the best round to cost is what the final assignment does
cost. Complexity: per round and function of k variables k - 1 Q and k - 1 R of size d, d^k checks (a function's table is
read once for all its messages, and each entry of a received message once), and n - 1 UP.

Deviations. Ties make all values look alike, in graph colouring for ever, so each variable adds random costs below
`dust` to its unary costs, in messages and choices alone, never in what is reported. Forbidden tuples cost `penalty` in
messages, as infinity cannot be subtracted. A run ends early when no message anywhere has changed by `eps` or more for
`quiet` rounds, damping aside; all agents agree on this by UP, and without `anytime` take their values of that round.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agentsim.runtime.agent import Agent
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.local_costs import PENALTY, refuse_unknown_costs
from agentsim.runtime.messages import Array, message
from agentsim.runtime.setup import TreeParams
from agentsim.runtime.statements import CostIs, Nothing, ReaderContext, Relation, Statement, Term, Unanalysed, ValueIs
from agentsim.runtime.view import LocalConstraint, Setup
from solvers.anytime import Anytime, AnytimeReader, Best, Up

Floats = NDArray[np.float64]


@message("HOST")
class Host(NamedTuple):
    """The sender hosts this function."""

    function: str


@message("Q")
class Q(NamedTuple):
    """What the sender's other functions think of its values; and its value in this round, if costs are collected."""

    function: str
    round: int
    costs: Array
    value: int | None


@message("R")
class R(NamedTuple):
    """The least cost that a function, and the variables behind it, can have, by the receiver's value."""

    function: str
    round: int
    costs: Array


@dataclass(frozen=True)
class MaxSumParams(TreeParams):
    """Parameters of Max-Sum.

    Args:
        rounds: how many at most.
        damping: weight of the message sent last in the next one, from 0 to below 1.
        damped: which messages are damped.
        normalise: what is subtracted from each q, lest messages grow without bound on cycles: its "mean" or "min".
        dust: upper end of the random costs that break ties; 0 for none.
        anytime: whether the best round counts; otherwise the last does.
        eps: a message that changes by less has not changed.
        quiet: rounds without change after which the run ends; 0 never to end early.
        penalty: what a forbidden tuple costs in messages.
    """

    rounds: int = 200
    damping: float = 0.5
    damped: Literal["q", "r", "both"] = "q"
    normalise: Literal["mean", "min"] = "mean"
    dust: float = 1e-5
    anytime: bool = True
    eps: float = 1e-8
    quiet: int = 3
    penalty: float = PENALTY

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise ValueError(f"rounds={self.rounds}: must be at least 1")
        if not 0 <= self.damping < 1:
            raise ValueError(f"damping={self.damping}: must be at least 0 and less than 1")
        if not 0 <= self.dust < 1:
            raise ValueError(f"dust={self.dust}: must be at least 0 and less than 1")
        if not 0 < self.eps < 1:
            raise ValueError(f"eps={self.eps}: must be between 0 and 1")
        if self.quiet < 0:
            raise ValueError(f"quiet={self.quiet}: must be at least 0")
        if not 0 < self.penalty <= 1e12:
            raise ValueError(f"penalty={self.penalty}: must be positive and at most 1e12")


class FunctionNodes:
    """Hosted function nodes whose tables have the same shape, worked out together.

    Args:
        functions: m functions.
        host: the variable whose axis comes first.
        penalty: what a forbidden tuple costs.

    Attributes:
        others: for each function the variables of its scope without the host's, in the order of the axes.
        q: for each axis the messages from the variable there to each function, shape (m, d); to be written into.
        cells: cost-table entries of all functions.
    """

    def __init__(self, functions: list[LocalConstraint], host: str, penalty: float) -> None:
        self.functions = functions
        self.others = [tuple(v for v in c.scope if v != host) for c in functions]
        moved = [np.moveaxis(c.table, c.scope.index(host), 0) for c in functions]
        self._tables: Floats = np.nan_to_num(np.stack(moved).astype(np.float64), posinf=penalty)
        shape = self._tables.shape
        self.cells = self._tables.size
        axes = range(1, len(shape))
        self._rest = [tuple(b for b in axes if b != a) for a in axes]
        self.q: list[Floats] = [np.zeros((shape[0], n)) for n in shape[1:]]
        along = [tuple(n if b in (0, a) else 1 for b, n in enumerate(shape)) for a in axes]
        self._broadcast = [q.reshape(own) for q, own in zip(self.q, along, strict=True)]  # the same memory

    def answers(self) -> list[Floats]:
        """Return the messages r to the variable of each axis, undamped, shape (m, d) each."""
        total = self._tables
        for q in self._broadcast:
            total = total + q
        return [np.minimum.reduce(total, axis=rest) - q for q, rest in zip(self.q, self._rest, strict=True)]


class Damper:
    """Messages of a kind that a node sends in one go, each a row: damped, and compared with the last ones.

    Args:
        damping: weight of the last messages.

    Attributes:
        change: greatest difference between the last messages and those that were to follow them.
    """

    def __init__(self, damping: float) -> None:
        self._damping = damping
        self._last: Floats | None = None
        self.change = math.inf

    def send(self, computed: Floats) -> Floats:
        """Return what is sent instead of what was computed."""
        if self._last is not None:
            difference = computed - self._last
            self.change = float(np.maximum.reduce(np.abs(difference), axis=None))
            if self._damping:
                computed = computed - self._damping * difference
        self._last = computed
        return computed


class MaxSum(Agent):
    """Variable node x_i and the function nodes that it hosts. Its functions are rows, in the view's order."""

    messages = (Host, Q, R, Up, Best)
    Params = MaxSumParams
    place = "tree"
    costs = "signed"
    status = "tested"

    params: MaxSumParams

    @classmethod
    def refuse(cls, setup: Setup) -> None:
        """Refuse constraints that somebody in their scope does not know."""
        refuse_unknown_costs(setup, "maxsum")

    def start(self) -> None:
        view, params = self.view, self.params
        functions = [c for c in view.constraints if len(c.scope) > 1]
        unary = view.unary.astype(np.float64)
        for c in view.constraints:
            if len(c.scope) == 1:
                unary = unary + c.table
        self.unary = np.nan_to_num(unary, posinf=params.penalty)
        self.value = int(self.unary.argmin())
        self.assign(self.value)
        if not functions:
            self.check(view.size)
            self.finish()
            return
        self.unary += [params.dust * self.rng.random() for _ in range(view.size)]
        self.functions = functions
        self.row = {c.name: row for row, c in enumerate(functions)}
        self.find_hosts()
        collecting = params.anytime or params.quiet > 0
        self.anytime = Anytime(self, params.rounds, costs=params.anytime) if collecting else None
        self.round = 0
        self.calm = 0  # rounds without change
        self.answered = True
        self.context: dict[str, int] = {}  # values of this round of variables above
        self.received: Floats = np.zeros((len(functions), view.size))  # r by function
        self.early: list[tuple[str, Q]] = []  # of the next round
        self.q_missing: set[tuple[str, str]] = set()  # function and sender
        self.r_missing: set[int] = set()  # row
        self.decide()

    def find_hosts(self) -> None:
        """Work out who hosts which function, as far as it can be known, and tell those who cannot know."""
        view, place, params = self.view, self.view.tree, self.params
        above = [*place.pseudo_parents, *([] if place.parent is None else [place.parent])]  # the deepest last
        self.hosts: list[str | None] = []
        hosted: dict[tuple[int, ...], list[LocalConstraint]] = {}
        for c in self.functions:
            below = [name for name in c.scope if name != self.name and name not in above]
            self.hosts.append(None if len(below) > 1 else below[0] if below else self.name)
            if not below:
                shape = tuple(view.domain_sizes[name] for name in c.scope if name != self.name)
                hosted.setdefault(shape, []).append(c)
                for name in [name for name in above if name in c.scope][:-1]:
                    self.send(name, Host(c.name))
        self.nodes = [FunctionNodes(same, self.name, params.penalty) for same in hosted.values()]
        self.rows = [np.array([self.row[c.name] for c in nodes.functions]) for nodes in self.nodes]
        self.slots: dict[tuple[str, str], Floats] = {}  # where a q goes, by function and sender
        self.remote = [row for row, host in enumerate(self.hosts) if host != self.name]
        self.damp_q = Damper(params.damping if params.damped != "r" else 0.0)
        # Undamped r change no more than the q that they are made of.
        damping = params.damping if params.damped != "q" else 0.0
        self.damp_r = [[Damper(damping) for _ in nodes.q] if damping else [] for nodes in self.nodes]
        self.dampers = [self.damp_q, *(damper for dampers in self.damp_r for damper in dampers)]
        for nodes in self.nodes:
            for k, (c, others) in enumerate(zip(nodes.functions, nodes.others, strict=True)):
                for q, name in zip(nodes.q[1:], others, strict=True):
                    self.slots[c.name, name] = q[k]

    # Messages ----------------------------------------------------------------------------------------------------

    def on_host(self, sender: str, message: Host) -> None:
        self.hosts[self.row[message.function]] = sender

    def on_q(self, sender: str, message: Q) -> None:
        if message.round > self.round:
            self.early.append((sender, message))
        elif message.round == self.round:
            slot = self.slots[message.function, sender]
            check_shape(message.costs, slot, sender)
            slot[:] = message.costs
            self.q_missing.discard((message.function, sender))
            if message.value is not None:
                self.context[sender] = message.value

    def on_r(self, sender: str, message: R) -> None:
        if message.round == self.round:
            row = self.row[message.function]
            check_shape(message.costs, self.received[row], sender)
            self.received[row] = message.costs
            self.r_missing.discard(row)

    def on_up(self, sender: str, up: Up) -> None:
        assert self.anytime is not None
        self.anytime.on_up(sender, up)

    def on_best(self, sender: str, best: Best) -> None:
        assert self.anytime is not None
        self.anytime.on_best(best)

    # Rounds ------------------------------------------------------------------------------------------------------

    def decide(self) -> None:
        """Go as far as what has come allows."""
        while True:
            if self.anytime is not None and self.anytime.over:
                self.finish()
                return
            if not self.answered:
                if self.q_missing:
                    return
                self.answer()
            elif self.round == self.params.rounds:
                if self.anytime is None:
                    self.finish()
                return
            elif self.r_missing or None in self.hosts:
                return
            else:
                self.speak()

    def speak(self) -> None:
        """Begin a round: choose a value, and send each function what the others think of all values."""
        params, d = self.params, self.view.size
        self.round += 1
        self.check(self.received.size + d)
        belief = self.unary + np.add.reduce(self.received)
        self.value = int(belief.argmin())
        q = belief - self.received
        if params.normalise == "mean":
            q -= np.add.reduce(q, axis=1, keepdims=True) / d
        else:
            q -= np.minimum.reduce(q, axis=1, keepdims=True)
        q = self.damp_q.send(q)
        changed = any(damper.change >= params.eps for damper in self.dampers)
        self.calm = 0 if changed else self.calm + 1
        if not params.anytime:
            self.assign(self.value)
        for nodes, rows in zip(self.nodes, self.rows, strict=True):
            nodes.q[0][:] = q[rows]
        self.answered = False
        self.r_missing = set(self.remote)
        if self.round < params.rounds or params.anytime:  # a last q says nothing but the value
            value = self.value if params.anytime else None
            for row in self.remote:
                host = self.hosts[row]
                assert host is not None
                self.send(host, Q(self.functions[row].name, self.round, q[row], value))
            self.q_missing = set(self.slots)
            early, self.early = self.early, []
            for sender, message in early:
                self.on_q(sender, message)

    def answer(self) -> None:
        """All q of this round have come: add up what it costs, and send each variable its r."""
        self.answered = True
        if self.anytime is not None:
            self.anytime.record(self.value, self.context, steady=self.calm >= self.params.quiet > 0)
        if self.round == self.params.rounds:
            return
        for nodes, rows, dampers in zip(self.nodes, self.rows, self.damp_r, strict=True):
            self.check(nodes.cells + sum(q.size for q in nodes.q[1:]))
            own, *others = nodes.answers()
            if dampers:
                own, *others = [damper.send(r) for damper, r in zip(dampers, (own, *others), strict=True)]
            self.received[rows] = own
            for k, c in enumerate(nodes.functions):
                for name, r in zip(nodes.others[k], others, strict=True):
                    self.send(name, R(c.name, self.round, r[k]))


def check_shape(costs: Array, expected: Floats, sender: str) -> None:
    """Raise ValueError if a message has other than one cost for each value."""
    if costs.shape != expected.shape:
        raise ValueError(f"{sender} sent costs of shape {costs.shape}, not {expected.shape}")


MAX_DIFFERENCES: Final = 32
"""Most values whose costs are compared with that of the first value, for one message."""


class MaxSumReader:
    """What a viewer of Max-Sum can conclude.

    Messages are costs up to a constant, so differences between their entries are what they say. The first q of the root
    is made of its own costs alone; so is the first r of an agent that evaluates one function alone. Both agents can be
    told by whoever has them next to it in the tree. Everything else has gone through other agents' functions.
    """

    def __init__(self, context: ReaderContext) -> None:
        params = context.params
        self._context = context
        self._penalty, self._dust = params.penalty, params.dust
        self._number = Nothing("which message it is", ("function", "round"))
        self._no_value = Nothing("values are not told", ("value",))
        self._choice = Unanalysed("value of least belief", ("value",))
        self._private = Unanalysed("differences of private costs, in no cost that an agent evaluates", ("costs",))
        self._single = Unanalysed("max-marginals of one function and one variable", ("costs",))
        self._behind = Unanalysed("max-marginals behind the sender", ("costs",))
        steady: Statement = Nothing("nobody ends early", ("steady",))
        if params.quiet:
            steady = Unanalysed("whether messages in the subtree still change", ("steady",))
        self._anytime = AnytimeReader(context, params.anytime, params.penalty, steady)

    def read(self, delivery: Delivery) -> Iterable[Statement]:
        """Return the statements that one delivery supports, given all earlier ones."""
        content = delivery.message
        if isinstance(content, Q):
            return self._q(delivery, content)
        if isinstance(content, R):
            return self._r(delivery, content)
        if isinstance(content, Host):
            return [Nothing("topology: who is deepest in a function's scope", ("function",))]
        return self._anytime.read(delivery)

    def _q(self, delivery: Delivery, content: Q) -> Iterator[Statement]:
        sender, receiver = delivery.src, delivery.dst
        yield self._number
        if content.value is None:
            yield self._no_value
        else:
            self._anytime.heard(sender, content.round, content.value)
            yield ValueIs("value", ("value",), sender, content.value, "now")
            yield self._choice
        view = self._context.views.get(receiver)
        if content.round > 1:
            yield self._behind
        elif view is not None and view.place is not None and view.tree.component == sender:
            yield from self._differences(sender, sender, content.costs)
        else:
            yield self._private

    def _r(self, delivery: Delivery, content: R) -> Iterator[Statement]:
        sender, receiver = delivery.src, delivery.dst
        yield self._number
        if content.round > 1:
            yield self._behind
            return
        view = self._context.views.get(receiver)
        alone = (
            view is not None
            and view.place is not None
            and view.tree.child_separators.get(sender) == (receiver,)
            and sum(sender in c.scope for c in view.constraints) == 1
        )
        if alone:
            yield from self._differences(sender, receiver, content.costs)
        else:
            yield self._single

    def _differences(self, party: str, axis: str, costs: Array) -> Iterator[Statement]:
        """Return by how much more each value of `axis` costs `party` than the first."""
        known = costs[: MAX_DIFFERENCES + 1].tolist()
        relations: tuple[tuple[Relation, float], ...] = (("==", 0.0),)
        if self._dust:  # the difference of two costs that have each been raised by less than `dust`
            relations = (("<=", self._dust), (">=", -self._dust))
        for value, cost in enumerate(known):
            if value == 0 and len(costs) > 1:
                continue
            terms = (Term((party,), "none", {axis: value}), Term((party,), "none", {axis: 0}, -1.0))
            for relation, margin in relations:
                said: Any = cost - known[0] + margin
                yield CostIs("difference", ("costs",), terms, relation, said, forbidden=self._penalty)
        if len(costs) > len(known):
            yield Unanalysed("differences of further entries", ("costs",))


MaxSum.reader = MaxSumReader
