"""MGM-2: maximum gain messages with pairs that move together (Maheswaran, Pearce and Tambe, PDCS 2004).

MGM, but in each round some agents offer one neighbour each to move together. A pair moves as one agent would: if what
it gains is more than what any neighbour of either gains.

    message                                         from -> to                 when
    VALUE(round, value)                             agent -> each neighbour    in every round
    OFFER(round, number, gains)                     agent -> each neighbour    all VALUEs of the round are in
    ANSWER(round, answer, values, gain, rank)       agent -> who offered       all OFFERs are in
    GAIN(round, gain, rank, still, leader, radius)  agent -> each neighbour    OFFERs are in, and the ANSWER to its own
    GO(round, go)                                   agent -> its partner       all GAINs are in

With probability q an agent offers: the OFFER to the neighbour that it picks has a table of what the *offerer* gains by
each pair of values; its OFFERs to the others are empty, so that everybody can count. Who offers accepts nothing. Who
does not adds its own gains to each table, without those of the functions that both share, which are in it already, and
accepts the best pair of values of all offers if that gains anything. GAIN is that of the pair, or without a partner
that of the best value alone. A pair moves if both of its agents gain more than all their other neighbours: GO.

Ties: of equal gains that of the lower rank wins, which is the agent's number or the lower of the pair's (numbers are
places in the problem's order). Of equal offers that of the lower number is accepted; of equal pairs of values the one
first in the offerer's domain, then in the receiver's. Alone, an agent prefers its present value, then the first.

Guarantees: the cost (a forbidden tuple counting `penalty`) never rises. A run that ends before `rounds` rounds has
reached an assignment in which neither a variable alone nor two neighbours together can gain. Complexity, per round: at
most four messages on each edge and direction and one GO per agent with a partner, tables of d*d entries.

Deviations. The paper stops after a number of rounds; here the end is found as in MGM (see `Stillness` there), where an
agent is still if nobody in its neighbourhood gains and, since the last time that somebody did, each pair that it is
half of has been tried. For that the ANSWER tells "reject" (no pair of values of this offer gains anything) from "busy"
(it offers itself, or another offer is better), and an offerer picks at random among neighbours not tried since, all of
them if there are none. With q=0, which is MGM, and q=1 no pair is ever tried, and `rounds` ends the run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from agentsim.runtime.delivery import Delivery
from agentsim.runtime.messages import Array, Cost, message
from agentsim.runtime.port import Port
from agentsim.runtime.statements import Nothing, ReaderContext, Statement, Unanalysed
from agentsim.runtime.view import LocalView
from solvers.dsa import LocalSearch, Recent, Value
from solvers.mgm import MgmParams, MgmReader, Stillness, best_value, nobody_gains, whole

ACCEPT: Final = "accept"
REJECT: Final = "reject"
BUSY: Final = "busy"

READ_CELLS: Final = 64
"""Cells of the largest table of gains of which a reader states each."""


@message("OFFER")
class Offer(NamedTuple):
    """What the sender gains by its value (first axis) and the receiver's; None: no offer. And the sender's number."""

    round: int
    number: int
    gains: Array | None


@message("ANSWER")
class Answer(NamedTuple):
    """The offer is accepted, with the values of offerer and sender, the pair's gain and its rank; or not."""

    round: int
    answer: str
    values: tuple[int, ...] = ()
    gain: Cost = 0
    rank: int = 0


@message("GAIN")
class Gain(NamedTuple):
    """What the sender or its pair gains, the rank in which it does, and what it knows of the end."""

    round: int
    gain: Cost
    rank: int
    still: int
    leader: int
    radius: int


@message("GO")
class Go(NamedTuple):
    """Whether the pair gains more than the sender's other neighbours."""

    round: int
    go: bool


@dataclass(frozen=True)
class Mgm2Params(MgmParams):
    """Parameters of MGM-2.

    Args:
        q: probability of an offer.
    """

    q: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.q <= 1:
            raise ValueError(f"q={self.q}: must be from 0 to 1")


class Plan(NamedTuple):
    """What an agent would do in a round: a value, the gain, its rank, and with whom ("": alone)."""

    value: int
    gain: Cost
    rank: int
    partner: str = ""


class Mgm2(LocalSearch):
    """One variable's agent."""

    messages = (Value, Offer, Answer, Gain, Go)
    Params = Mgm2Params

    params: Mgm2Params

    def __init__(self, view: LocalView, port: Port, params: Mgm2Params) -> None:
        super().__init__(view, port, params)
        self.context: dict[str, int] = {}
        self.tried: set[str] = set()  # partners with whom there was nothing to gain, and nothing has changed since

    async def search(self) -> None:
        """Exchange values, offers and gains, and move alone or with a partner if no neighbour gains more."""
        detect = self.params.detect
        stillness = Stillness(self.view.number if detect else 0)
        for number in range(self.params.rounds):
            self.begin_round(number)
            self.context = await self.tell_values()
            plan = await self.find_partner() or self.plan_alone()
            self.broadcast(Gain(number, plan.gain, plan.rank, *stillness.told))
            gains = await self.hear(Gain, len(self.neighbours))
            go = plan.gain > 0 and wins(plan, gains)
            if plan.partner:
                self.send(plan.partner, Go(number, go))
                go &= (await self.hear(Go, 1))[plan.partner].go
            if go:
                self.move(plan.value)
            calm = not plan.gain and nobody_gains(gains)
            if not calm:
                self.tried.clear()
            if detect and stillness.update(calm and len(self.tried) == len(self.neighbours), gains.values()):
                return

    def plan_alone(self) -> Plan:
        """Return the best move without a partner."""
        value, gain = best_value(self.local_costs(self.context), self.value, self.local.tolerance)
        return Plan(value, gain, self.view.number)

    # Offers -----------------------------------------------------------------------------------------------------

    async def find_partner(self) -> Plan | None:
        """Offer to a neighbour, or consider what is offered; return what was agreed, if anything."""
        target = self.rng.choice(self.candidates()) if self.rng.random() < self.params.q else ""
        for name in self.neighbours:
            self.send(name, Offer(self.round, self.view.number, self.gains_with(name) if name == target else None))
        heard = await self.hear(Offer, len(self.neighbours))
        offers = {name: heard[name] for name in self.neighbours if heard[name].gains is not None}
        if not target:
            return self.consider(offers)
        for name in offers:
            self.send(name, Answer(self.round, BUSY))
        answer = (await self.hear(Answer, 1))[target]
        if answer.answer == ACCEPT:
            return Plan(answer.values[0], answer.gain, answer.rank, target)
        if answer.answer == REJECT:
            self.tried.add(target)
        return None

    def candidates(self) -> Sequence[str]:
        """Return the neighbours to pick one of for an offer."""
        return [name for name in self.neighbours if name not in self.tried] or self.neighbours

    def gains_with(self, partner: str) -> Array:
        """Return what the agent gains by its own value and its partner's. Shape (d, d of the partner)."""
        cells = self.view.size * self.size_of(partner)
        self.check(self.checks_apart(partner) + self.local.shared_functions[partner] * cells)
        table = self.local.apart(self.context, partner)[:, None] + self.local.shared(self.context, partner)
        gains: Array = table[self.value, self.context[partner]] - table
        return gains

    def consider(self, offers: Mapping[str, Offer]) -> Plan | None:
        """Answer offers: accept the best, if it gains anything."""
        best: Plan | None = None
        answers: dict[str, Answer] = {}
        for name, offer in offers.items():
            gains = self.joint_gains(name, offer)
            cell = int(gains.argmax())
            gain = whole(gains.flat[cell].item())
            if gain <= self.local.tolerance:
                answers[name] = Answer(self.round, REJECT)
                self.tried.add(name)
                continue
            answers[name] = Answer(self.round, BUSY)
            if best is None or gain > best.gain:
                theirs, own = divmod(cell, self.view.size)
                best = Plan(own, gain, min(offer.number, self.view.number), name)
                accepted = Answer(self.round, ACCEPT, (theirs, own), gain, best.rank)
        if best is not None:
            answers[best.partner] = accepted
        for name, answer in answers.items():
            self.send(name, answer)
        return best

    def joint_gains(self, partner: str, offer: Offer) -> Array:
        """Return what both gain by the partner's value and the own, each function counted once. Shape of the offer."""
        assert offer.gains is not None
        if offer.gains.shape != (self.size_of(partner), self.view.size):
            raise ValueError(f"{partner}'s OFFER has shape {offer.gains.shape}, not that of the two domains")
        self.check(self.checks_apart(partner) + offer.gains.size)
        apart = self.local.apart(self.context, partner)
        gains: Array = offer.gains + (apart[self.value] - apart)
        return gains

    def checks_apart(self, partner: str) -> int:
        """Return the number of entries that `apart` reads."""
        return self.local.checks - self.local.shared_functions[partner] * self.view.size

    def size_of(self, name: str) -> int:
        """Return a neighbour's number of values."""
        return self.view.domain_sizes[name]


def wins(plan: Plan, gains: Mapping[str, Gain]) -> bool:
    """Tell whether a plan gains more than all neighbours, the partner left out."""
    own = (plan.gain, -plan.rank)
    return all([name == plan.partner or (told.gain, -told.rank) < own for name, told in gains.items()])


class Deal(NamedTuple):
    """What a viewer knows that two agents agreed on: the values of offerer and receiver, and what they gain."""

    offerer: str
    receiver: str
    values: tuple[int, ...]
    gain: Cost


ALONE: Final = Deal("", "", (), 0)
"""In place of a deal: the agent has no partner."""


class Mgm2Reader(MgmReader):
    """What a viewer of MGM-2 can conclude.

    OFFER: differences of the sender's local costs, cell by cell. ANSWER: what both gain by the accepted pair of values;
    after "reject", that no pair of values gains anything. GAIN and moves as in MGM where the viewer knows that the
    sender has no partner: its OFFER was turned down, or all its mail is the viewer's, or the gain is 0. Not analysed:
    the GAIN of who may have a partner, what "busy" and GO say about the gains of others, and tables of more than
    READ_CELLS cells.
    """

    def __init__(self, context: ReaderContext) -> None:
        super().__init__(context)
        self._views = context.views
        self._sizes = context.domain_sizes
        self._open: Recent[set[str]] = Recent()  # who has offered to a node and is not answered yet
        self._deals: Recent[Deal] = Recent()

    def read(self, delivery: Delivery) -> Iterator[Statement]:
        """Return the statements that one delivery supports, given all earlier ones."""
        src, dst, told = delivery.src, delivery.dst, delivery.message
        if isinstance(told, Value):
            yield from self._value(src, told)
            return
        yield Nothing("number of the round", ("round",))
        if isinstance(told, Offer):
            yield Nothing("place in the problem's order", ("number",))
            yield from self._offer(src, dst, told)
        elif isinstance(told, Answer):
            yield from self._answer(src, dst, told)
        elif isinstance(told, Gain):
            yield Nothing("place in the problem's order", ("rank",))
            yield from self._gain(src, told.round, told.gain)
            yield from self._end()
        else:
            yield Unanalysed("whether the pair gains more than the sender's other neighbours", ("go",))

    def _offer(self, offerer: str, receiver: str, told: Offer) -> Iterator[Statement]:
        if told.gains is None:
            yield Nothing("chance decides who offers to whom", ("gains",))
            return
        waiting = self._open.get(receiver, told.round)
        if waiting is None:
            self._open.put(receiver, told.round, {offerer})
        else:
            waiting.add(offerer)
        context = self._context(told.round, offerer, receiver)
        if context is None or told.gains.size > READ_CELLS:
            yield Unanalysed("gains by pairs of values", ("gains",))
            return
        for (theirs, own), gain in np.ndenumerate(told.gains):
            move = {offerer: theirs, receiver: own}
            yield self._difference(("gains",), (offerer,), context, move, "==", gain.item())

    def _answer(self, receiver: str, offerer: str, told: Answer) -> Iterator[Statement]:
        round = told.round
        waiting = self._open.get(receiver, round)
        if waiting is not None:
            waiting.discard(offerer)
        if told.answer == ACCEPT:
            deal = Deal(offerer, receiver, told.values, told.gain)
            self._deals.put(offerer, round, deal)
            self._deals.put(receiver, round, deal)
            yield self._deal(round, deal, ("answer", "values", "gain"))
            yield Nothing("place in the problem's order", ("rank",))
            return
        self._deals.put(offerer, round, ALONE)
        yield Nothing("empty", ("values", "gain", "rank"))
        context, sizes = self._context(round, offerer, receiver), (self._sizes[offerer], self._sizes[receiver])
        if told.answer != REJECT or context is None or sizes[0] * sizes[1] > READ_CELLS:
            yield Unanalysed("whether another pair gains more, or this one nothing", ("answer",))
            return
        for theirs, own in np.ndindex(sizes):
            move = {offerer: theirs, receiver: own}
            yield self._difference(("answer",), (offerer, receiver), context, move, "<=", 0)

    def _gain(self, src: str, round: int, gain: Cost) -> Iterator[Statement]:
        deal = self._deals.get(src, round)
        if not gain or self._is_alone(src, round):
            yield from super()._gain(src, round, gain)
            return
        if deal is not None:
            yield self._deal(round, deal, ("gain",))
        else:
            self._gains.put(src, round, gain)
            yield Unanalysed("gain of the sender, alone or with a partner", ("gain",))

    def _moved(self, src: str, round: int, fields: tuple[str, ...]) -> Iterator[Statement]:
        if self._is_alone(src, round):
            yield from super()._moved(src, round, fields)

    def _deal(self, round: int, deal: Deal, fields: tuple[str, ...]) -> Statement:
        """Return what an agreed gain says."""
        pair = (deal.offerer, deal.receiver)
        context = self._context(round, *pair)
        if context is None:
            return Unanalysed("gain under values that the viewer does not know", fields)
        return self._difference(fields, pair, context, dict(zip(pair, deal.values, strict=True)), "==", deal.gain)

    def _is_alone(self, node: str, round: int) -> bool:
        """Tell whether it is certain that a node whose GAIN has been seen has no partner.

        It had all OFFERs to it before, and the ANSWER to its own; so if the viewer sees its mail, it has seen these.
        """
        deal = self._deals.get(node, round)
        if deal is not None:
            return deal is ALONE
        return node in self._views and not self._open.get(node, round)

    def _context(self, round: int, *nodes: str) -> dict[str, int] | None:
        """Return what is known of the values of nodes and their neighbours; None if a node's own is not known."""
        context: dict[str, int] = {}
        for node in nodes:
            value = self._history.value(node, round)
            if value is None:
                return None
            context.update(self._history.near(node, round))
            context[node] = value
        return context


Mgm2.reader = Mgm2Reader
