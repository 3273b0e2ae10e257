"""DSA: the distributed stochastic algorithm, variants A to E (Zhang, Wang, Xing and Wittenburg, AIJ 161, 2005).

Local search by rounds. In each, every agent tells its neighbours its value, and with probability p moves to a value
that is best under theirs. Two neighbours that move at once may spoil each other's move, so p must not be too large.

    message              from -> to                when
    VALUE(round, value)  agent -> each neighbour   in every round, whether the value changed or not

A round's decision, delta being what the best value gains on the present one (the paper's table of variants):

    variant   delta > 0       delta = 0, with conflict    delta = 0, without
    A         moves with p    stays                       stays
    B         moves with p    moves with p                stays
    C         moves with p    moves with p                moves with p
    D         moves           moves with p                stays
    E         moves           moves with p                moves with p

A move goes to one of the best values, each equally likely; where delta = 0, to one of the others, if there are any.

Guarantees: none for the cost. Each agent sends exactly `rounds` messages to each neighbour and is never more than a
round ahead of one, whatever the network. Complexity: O(1) per message, one look at all local costs per round.

Decisions and deviations. A conflict is a violated constraint in the paper, which colours graphs; here it is any cost
function of the variable that costs more than its least entry. After the last VALUE nobody moves, so the assignment that
was told last is the result; with `rounds` VALUEs there are `rounds` - 1 decisions. A forbidden tuple counts `penalty`.
A variable without neighbours takes its first best value at once. Checks: one for each entry read in a round's look at
the local costs, and variants B and D begin by looking for the least entry of each function; a round's test for a
conflict reads only what was read for the look at the costs.

What local searches by rounds have in common, in `mgm` and `mgm2` too, stands here: `LocalSearch`, and `History` for
their readers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, NamedTuple, TypeVar

from agentsim.runtime.agent import Agent
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.local_costs import PENALTY, LocalCosts, refuse_unknown_costs
from agentsim.runtime.messages import Cost, Index, message
from agentsim.runtime.port import Port
from agentsim.runtime.statements import Best, Chosen, ReaderContext, Statement, ValueIs
from agentsim.runtime.view import LocalView, Setup

M = TypeVar("M")


@message("VALUE")
class Value(NamedTuple):
    """The sender's value in a round."""

    round: int
    value: Index


@dataclass(frozen=True)
class LocalSearchParams:
    """Parameters of every local search by rounds.

    Args:
        rounds: most rounds.
        initial: the first value where the problem gives none: a "random" one, or the "first" of the domain.
        penalty: what a forbidden tuple counts, in solver's units: infinities cannot be subtracted from each other. It
            should exceed what all cost functions of a variable can differ by.
    """

    rounds: int = 300
    initial: Literal["random", "first"] = "random"
    penalty: float = PENALTY

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise ValueError(f"rounds={self.rounds}: must be at least 1")
        if not 0 < self.penalty < float("inf"):
            raise ValueError(f"penalty={self.penalty}: must be finite and greater than 0")


@dataclass(frozen=True)
class DsaParams(LocalSearchParams):
    """Parameters of DSA.

    Args:
        variant: see the table at the head of the module.
        p: probability of a move.
    """

    rounds: int = 200
    variant: Literal["A", "B", "C", "D", "E"] = "B"
    p: float = 0.7

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.p <= 1:
            raise ValueError(f"p={self.p}: must be from 0 to 1")


class LocalSearch(Agent):
    """One variable's agent in a search by rounds: its value, its local costs, and its mail by round.

    Subclasses write `search`. Whatever the network, a message counts for the round that it names and for its sender, so
    mail from neighbours that are ahead is kept, and copies change nothing.
    """

    status = "tested"

    params: LocalSearchParams

    def __init__(self, view: LocalView, port: Port, params: LocalSearchParams) -> None:
        super().__init__(view, port, params)
        self.neighbours = view.neighbours
        self.local = LocalCosts(view, params.penalty)
        self.value = 0
        self.round = -1
        self._mail: defaultdict[int, dict[type, dict[str, Any]]] = defaultdict(self._empty)

    @classmethod
    def refuse(cls, setup: Setup) -> None:
        """Refuse constraints that some agent of their scope may not know."""
        refuse_unknown_costs(setup, cls.__name__.lower())

    async def run(self) -> None:
        """Take a first value and search; without neighbours the best value is the end of it."""
        if not self.neighbours:
            costs = self.local_costs({})
            self.move(costs.index(min(costs)))
            return
        given = self.view.initial
        if given is None:
            given = self.rng.integer(self.view.size) if self.params.initial == "random" else 0
        self.move(given)
        await self.search()

    async def search(self) -> None:
        """Go through the rounds."""
        raise NotImplementedError

    def move(self, value: int) -> None:
        """Take a value."""
        self.value = value
        self.assign(value)

    def local_costs(self, context: Mapping[str, int]) -> list[Cost]:
        """Return the local cost of each own value."""
        self.check(self.local.checks)
        costs: list[Cost] = self.local.by_value(context).tolist()
        return costs

    def begin_round(self, number: int) -> None:
        """Go on to a round; what is left of the mail of the one before is forgotten."""
        self._mail.pop(self.round, None)
        self.round = number

    async def tell_values(self) -> dict[str, int]:
        """Exchange values with all neighbours and return theirs."""
        self.broadcast(Value(self.round, self.value))
        return {name: told.value for name, told in (await self.hear(Value, len(self.neighbours))).items()}

    async def hear(self, kind: type[M], senders: int) -> Mapping[str, M]:
        """Wait for this round's messages of a type from so many senders; by sender, in the order of their coming."""
        heard: dict[str, M] = self._mail[self.round][kind]
        while len(heard) < senders:
            mail, now = self._mail, self.round
            for sender, received in await self._drain:
                if received.round >= now:
                    mail[received.round][type(received)][sender] = received
        return heard

    def _empty(self) -> dict[type, dict[str, Any]]:
        return {kind: {} for kind in self.messages}


class Dsa(LocalSearch):
    """One variable's agent."""

    messages = (Value,)
    Params = DsaParams

    params: DsaParams

    async def search(self) -> None:
        """Exchange values and move or not; after the last exchange nobody moves."""
        variant = self.params.variant
        if variant in "BD":
            self.check(self.local.entries)  # for the least entry of each
        last = self.params.rounds - 1
        for number in range(last + 1):
            self.begin_round(number)
            context = await self.tell_values()
            if number < last:
                self.decide_on(context)

    def decide_on(self, context: Mapping[str, int]) -> None:
        """Move or stay, the neighbours being at `context`: the table at the head of the module."""
        variant, p = self.params.variant, self.params.p
        costs, tolerance = self.local_costs(context), self.local.tolerance
        least = min(costs)
        best = [e for e, cost in enumerate(costs) if cost <= least + tolerance]
        if costs[self.value] > least + tolerance:
            moves = variant in "DE" or self.rng.random() < p
        else:
            best.remove(self.value)
            conflict = costs[self.value] > self.local.least + tolerance
            may = variant in "CE" or (variant in "BD" and conflict)
            moves = may and bool(best) and self.rng.random() < p
        if moves:
            self.move(self.rng.choice(best))


class Recent(Generic[M]):
    """Something that a viewer knows of nodes in their last rounds.

    What is older is never asked for: neighbours are at most a round apart, and so are a message and its receiver.
    """

    KEPT: Final = 5

    def __init__(self) -> None:
        self._by_node: defaultdict[str, dict[int, M]] = defaultdict(dict)

    def put(self, node: str, round: int, item: M) -> bool:
        """Keep an item; tell whether it is news."""
        known = self._by_node[node]
        if round in known or (known and round <= max(known) - self.KEPT):
            return False
        known[round] = item
        known.pop(round - self.KEPT, None)
        return True

    def get(self, node: str, round: int) -> M | None:
        """Return what is known of a node in a round."""
        known = self._by_node.get(node)
        return None if known is None else known.get(round)


class History:
    """What a viewer knows of the values in a search by rounds.

    Args:
        context: the viewer's.
    """

    def __init__(self, context: ReaderContext) -> None:
        self._values: Recent[int] = Recent()
        self._views = context.views
        # Neighbours of a node that the viewer knows of: those with which it stands in a constraint on a viewer's node.
        self._near: dict[str, dict[str, None]] = {}
        for view in context.views.values():
            for constraint in view.constraints:
                for name in constraint.scope:
                    others = (v for v in constraint.scope if v != name)
                    self._near.setdefault(name, {}).update(dict.fromkeys(others))

    def put(self, node: str, told: Value) -> bool:
        """Keep a value; tell whether it is news."""
        return self._values.put(node, told.round, told.value)

    def value(self, node: str, round: int) -> int | None:
        """Return a node's value in a round, or None if it is not known."""
        return self._values.get(node, round)

    def near(self, node: str, round: int) -> dict[str, int]:
        """Return the values of a node's neighbours in a round, as far as the viewer knows both."""
        values = {name: self._values.get(name, round) for name in self._near.get(node, ())}
        return {name: value for name, value in values.items() if value is not None}

    def is_complete(self, node: str, near: Mapping[str, int]) -> bool:
        """Tell whether `near` has all neighbours of a node, and the viewer can know that."""
        return node in self._views and len(near) == len(self._views[node].neighbours)

    def change(self, node: str, round: int) -> tuple[int, int] | None:
        """Return a node's values in a round and the one after, if both are known and they differ."""
        before, after = self._values.get(node, round), self._values.get(node, round + 1)
        return None if before is None or after is None or before == after else (before, after)


class DsaReader:
    """What a viewer of DSA can conclude.

    A VALUE that differs from the sender's last is a best one under the values of the round before, of which the viewer
    knows its own and those of others that share a constraint with it and the sender. That a value stays may be chance.
    """

    def __init__(self, context: ReaderContext) -> None:
        self._history = History(context)
        self._penalty = context.params.penalty

    def read(self, delivery: Delivery) -> Iterator[Statement]:
        """Return the statements that one delivery supports, given all earlier ones."""
        src, told, history = delivery.src, delivery.message, self._history
        yield ValueIs("value", ("round", "value"), src, told.value, "now")
        if history.put(src, told):
            for before in (told.round - 1, told.round):  # the next VALUE may have come first
                if change := history.change(src, before):
                    context = history.near(src, before)
                    yield Chosen("best-response", ("value",), src, change[1], context, Best("any"), self._penalty)


Dsa.reader = DsaReader
