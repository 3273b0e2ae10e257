"""MGM: the maximum gain message algorithm (Maheswaran, Pearce and Tambe, PDCS 2004).

Local search by rounds in which the cost never rises: every agent works out what its best value would gain, and of
neighbours only the one that gains most moves.

    message                                    from -> to                when
    VALUE(round, value)                        agent -> each neighbour   in every round
    GAIN(round, gain, still, leader, radius)   agent -> each neighbour   all VALUEs of the round are in

With all GAINs of the round in, an agent moves to its best value if its gain is positive and greater than that of any
neighbour; of equal gains that of the lower name wins. Of equally good values the present one is best, else the first.

Guarantees: the cost (a forbidden tuple counting `penalty`) never rises, since two neighbours never move in one round.
A run that ends before `rounds` rounds has reached a local optimum: no variable alone can gain. Complexity, per round
and agent: two messages to each neighbour, one look at all local costs.

The end is this implementation's own: the paper stops after a number of rounds. The counter `still` is that of the
distributed breakout algorithm (Yokoo and Hirayama, ICMAS 1996), which needs to know how far apart two agents of a
component can be; `leader` and `radius` find that out, see `Stillness`. All agents of a component end in the same round,
so none waits for another. With `detect=false` every run has exactly `rounds` rounds, and those three fields are 0.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from agentsim.runtime.delivery import Delivery
from agentsim.runtime.messages import Cost, message
from agentsim.runtime.statements import (
    Best,
    Chosen,
    CostIs,
    Nothing,
    ReaderContext,
    Relation,
    Statement,
    Term,
    Unanalysed,
    ValueIs,
)
from solvers.dsa import History, LocalSearch, LocalSearchParams, Recent, Value


@message("GAIN")
class Gain(NamedTuple):
    """What the sender's best value gains on its present one, and what it knows of the end (see `Stillness`)."""

    round: int
    gain: Cost
    still: int
    leader: int
    radius: int


@dataclass(frozen=True)
class MgmParams(LocalSearchParams):
    """Parameters of MGM.

    Args:
        detect: end at a local optimum; otherwise only after `rounds` rounds.
    """

    detect: bool = True


class Report(Protocol):
    """A neighbour's GAIN, as far as it matters to the end."""

    @property
    def gain(self) -> Cost:
        """What the sender can gain."""

    @property
    def still(self) -> int:
        """Its `Stillness.still` before the round."""

    @property
    def leader(self) -> int:
        """Its `Stillness.leader`."""

    @property
    def radius(self) -> int:
        """Its `Stillness.radius`."""


class Stillness:
    """Tells an agent when every agent of its component has been still in one and the same round.

    What "still" means must be such that once all are, they stay so. Of its component an agent knows its neighbours, no
    size and no distance. Let s be its `still`, r the number of rounds so far, D the greatest distance.

    * s >= t means exactly that in each of the last t rounds, the u-th from the last, all agents less than u away were
      still. So where s > D, all were still in one and the same round, and from then on s is the same for all: the
      number of rounds since the last in which somebody was not.
    * `leader` is the greatest number within r steps. Who hears of a new one in round r is r steps from it; `radius` is
      the greatest such distance from its leader that an agent has heard of. An agent d steps from a leader has heard
      of it by r = d, or of a greater one, and whoever is h steps from the leader has news of that by r = 2 d + h. Take
      d = radius + 1, and note h <= radius: if r >= 3 radius + 2, then nobody is that far away, the leader is the
      component's, and `radius` is its distance from whoever is farthest. Then D <= 2 radius, and since all had heard of
      the leader by r = radius, everybody knew this `radius` by r = radius + D.

    Both conditions of the end, s > 2 radius and r >= 3 radius + 2, therefore hold in the same round for all agents.

    Args:
        number: the agent's own, different from everybody else's.
    """

    __slots__ = ("leader", "radius", "rounds", "still")

    def __init__(self, number: int) -> None:
        self.rounds = 0
        self.still = 0
        self.leader = number
        self.radius = 0

    @property
    def told(self) -> tuple[int, int, int]:
        """What to tell the neighbours."""
        return self.still, self.leader, self.radius

    def update(self, still: bool, reports: Collection[Report]) -> bool:
        """Take note of a round: was the agent still, and what did its neighbours say? Tell whether this is the end."""
        self.rounds += 1
        self.still = 1 + min(self.still, min([report.still for report in reports])) if still else 0
        leader, radius = max([(report.leader, report.radius) for report in reports])
        if leader > self.leader:
            self.leader, self.radius = leader, max(radius, self.rounds)
        elif leader == self.leader and radius > self.radius:
            self.radius = radius
        return self.still > 2 * self.radius and self.rounds >= 3 * self.radius + 2


class Mgm(LocalSearch):
    """One variable's agent."""

    messages = (Value, Gain)
    Params = MgmParams

    params: MgmParams

    async def search(self) -> None:
        """Exchange values, exchange gains, and move if no neighbour gains more."""
        detect = self.params.detect
        stillness = Stillness(self.view.number if detect else 0)
        for number in range(self.params.rounds):
            self.begin_round(number)
            best, gain = self.best_response(await self.tell_values())
            self.broadcast(Gain(number, gain, *stillness.told))
            gains = await self.hear(Gain, len(self.neighbours))
            if gain and self.wins(gain, gains):
                self.move(best)
            if detect and stillness.update(not gain and nobody_gains(gains), gains.values()):
                return

    def best_response(self, context: Mapping[str, int]) -> tuple[int, Cost]:
        """Return the best value and what it gains on the present one; that one and 0 if it is among the best."""
        return best_value(self.local_costs(context), self.value, self.local.tolerance)

    def wins(self, gain: Cost, gains: Mapping[str, Gain]) -> bool:
        """Tell whether the own gain is the greatest in the neighbourhood."""
        own = self.name
        return all([told.gain < gain or (told.gain == gain and own < name) for name, told in gains.items()])


def nobody_gains(gains: Mapping[str, Report]) -> bool:
    """Tell whether no neighbour can gain."""
    return not any([told.gain for told in gains.values()])


def best_value(costs: list[Cost], value: int, tolerance: float) -> tuple[int, Cost]:
    """Return the first value of least cost and what it gains on `value`; `value` and 0 if it is among the best."""
    least = min(costs)
    gain = costs[value] - least
    return (costs.index(least), whole(gain)) if gain > tolerance else (value, 0)


def whole(cost: Cost) -> Cost:
    """Return a whole number as an int, which is shorter as a message."""
    return int(cost) if cost == int(cost) else cost


class MgmReader:
    """What a viewer of MGM can conclude.

    GAIN: how far the sender's value is from its best, exactly for whoever knows the values of all of its neighbours;
    for others a gain of 0, which says that the value is a best one. If the sender then moves, the gain is the
    difference between two values' costs, under values of its neighbours that the viewer may know in part. A gain
    under unknown values is otherwise not analysed, nor how long everybody nearby had nothing to gain.
    """

    def __init__(self, context: ReaderContext) -> None:
        self._history = History(context)
        self._gains: Recent[Cost] = Recent()
        self._penalty = context.params.penalty
        self._detect = context.params.detect

    def read(self, delivery: Delivery) -> Iterator[Statement]:
        """Return the statements that one delivery supports, given all earlier ones."""
        src, told = delivery.src, delivery.message
        if isinstance(told, Value):
            yield from self._value(src, told)
        else:
            yield Nothing("number of the round", ("round",))
            yield from self._gain(src, told.round, told.gain)
            yield from self._end()

    def _value(self, src: str, told: Value) -> Iterator[Statement]:
        yield ValueIs("value", ("round", "value"), src, told.value, "now")
        if self._history.put(src, told):
            for before in (told.round - 1, told.round):  # under reordering the next VALUE may have come first
                yield from self._moved(src, before, ("value",))

    def _gain(self, src: str, round: int, gain: Cost) -> Iterator[Statement]:
        """Return what the gain of the sender's best value says."""
        history, penalty = self._history, self._penalty
        value, near = history.value(src, round), history.near(src, round)
        if value is not None and history.is_complete(src, near):
            terms = (Term((src,), "local", {**near, src: value}), Term((src,), "local", near, -1.0))
            yield CostIs("gain", ("gain",), terms, "==", gain, 0, None, "best", penalty)
        elif value is not None and not gain:
            yield Chosen("best-response", ("gain",), src, value, near, Best("any"), penalty)
        else:
            yield Unanalysed("gain under values that the viewer does not know", ("gain",))
        if self._gains.put(src, round, gain):
            yield from self._moved(src, round, ("gain",))

    def _moved(self, src: str, round: int, fields: tuple[str, ...]) -> Iterator[Statement]:
        """Return what a move says, once the gain and both values are known."""
        change, gain = self._history.change(src, round), self._gains.get(src, round)
        if change is not None and gain is not None:
            old, new = change
            near = self._history.near(src, round)
            yield Chosen("best-response", fields, src, new, near, Best("lowest"), self._penalty)
            yield self._difference(fields, (src,), {**near, src: old}, {src: new}, "==", gain)

    def _difference(
        self,
        fields: tuple[str, ...],
        parties: tuple[str, ...],
        context: Mapping[str, int],
        move: Mapping[str, int],
        relation: Relation,
        gain: Cost,
    ) -> Statement:
        """Return what `move` gains for the parties, under the values that the viewer knows and some others."""
        terms = (Term(parties, "local", context), Term(parties, "local", {**context, **move}, -1.0))
        return CostIs("gain", fields, terms, relation, gain, 0, None, "some", self._penalty)

    def _end(self) -> Iterator[Statement]:
        """Return what the fields say that find the end."""
        if self._detect:
            yield Unanalysed("how long nobody nearby could gain", ("still",))
            yield Nothing("about the graph, not about costs", ("leader", "radius"))
        else:
            yield Nothing("not in use", ("still", "leader", "radius"))


Mgm.reader = MgmReader
