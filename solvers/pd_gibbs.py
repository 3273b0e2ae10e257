"""PD-Gibbs: parallel distributed Gibbs sampling (Nguyen, Yeoh, Lau and Zivan, JAIR 64, 2019).

In every round every agent samples a value from the Gibbs distribution of its local cost, that is, with probability
proportional to exp(-cost) given its neighbours' values. Agents need not wait for each other from the root down to the
leaves, as in SD-Gibbs: those that have no constraint with each other sample at the same time, or all do
(`chromatic=false`). What each joint assignment cost is added up along a pseudo-tree, which also tells everybody which
round was best; see `anytime`.

    message                               from -> to            when
    COLOUR(colour)                        to all neighbours     with `chromatic`: all neighbours above have theirs
    VALUE(round, value)                   to all neighbours     sampled in this round
    UP(round, violations, cost, steady)   child -> parent       the subtree's share of this round is known
    BEST(round, last)                     parent -> child       the root has found a better round, or all are over

Guarantees: none on cost; what the root believes the best round to cost is what the collected assignment does cost. With
`chromatic` the rounds' assignments are a Markov chain whose stationary distribution is the Gibbs distribution of the
joint cost. Complexity: per round 2|E| VALUE and n - 1 UP per component, of constant size, d deg checks per sample; a
round takes as many steps as there are colours, or one.

What is ours. That agents sample in parallel is the paper's idea; its listing is not followed, and figures need not be
those of its experiments. All of this is a reconstruction:

* Without `chromatic` all agents sample at once from their neighbours' values of the round before. That is not Gibbs
  sampling: the chain has another stationary distribution, and neighbours in lock-step may swap bad values for long: on
  a colouring of 100 variables the best of 50 rounds costs four times what colour classes reach. Hence the default.
* Colours: from the root downwards each agent takes the first colour that no neighbour above it has. In each round it
  samples after its neighbours of lower colours and before those of higher ones, so a round is a sweep over all agents.
* Quality: differences of moves made at the same time do not add up, so costs are collected as they are, by `anytime`.
* Waiting: an agent samples when it has every VALUE that its sample depends on, so any network will do.
* Values start at the first of the domain, which everybody knows; round 0 has no message and is not a candidate.
* An agent without neighbours takes its cheapest value. The temperature is 1. Forbidden tuples cost `penalty` in
  sampling, so that there is a distribution where all values are forbidden.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from agentsim.runtime.agent import Agent
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.local_costs import PENALTY, LocalCosts, refuse_unknown_costs
from agentsim.runtime.messages import Index, message
from agentsim.runtime.setup import TreeParams
from agentsim.runtime.statements import Chosen, Nothing, ReaderContext, Softmax, Statement, ValueIs
from agentsim.runtime.view import Setup
from solvers.anytime import Anytime, AnytimeReader, Best, Up
from solvers.sd_gibbs import pick


@message("COLOUR")
class Colour(NamedTuple):
    """The sender's colour, from 0."""

    colour: int


@message("VALUE")
class Value(NamedTuple):
    """The value that the sender has sampled in a round."""

    round: int
    value: Index


@dataclass(frozen=True)
class PdGibbsParams(TreeParams):
    """Parameters of PD-Gibbs.

    Args:
        iterations: number of rounds.
        chromatic: whether neighbours sample one after the other, colour by colour; otherwise all at the same time.
        penalty: what a forbidden tuple costs in sampling.
    """

    iterations: int = 50
    chromatic: bool = True
    penalty: float = PENALTY

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise ValueError(f"iterations={self.iterations}: must be at least 1")
        if not 0 < self.penalty <= 1e12:
            raise ValueError(f"penalty={self.penalty}: must be positive and at most 1e12")


class PdGibbs(Agent):
    """Agent x_i; `context` are its neighbours' values of round `round`, `ahead` those of the next, as far as known."""

    messages = (Colour, Value, Up, Best)
    Params = PdGibbsParams
    place = "tree"
    costs = "signed"
    status = "experimental"

    params: PdGibbsParams

    @classmethod
    def refuse(cls, setup: Setup) -> None:
        """Refuse constraints that somebody in their scope does not know."""
        refuse_unknown_costs(setup, "pd-gibbs")

    def start(self) -> None:
        view = self.view
        self.local = LocalCosts(view, self.params.penalty)
        self.assign(0)
        if not view.neighbours:
            self.check(self.local.checks)
            self.assign(int(self.local.unary.argmin()))
            self.finish()
            return
        self.anytime = Anytime(self, self.params.iterations)
        self.round = self.value = 0
        self.context = dict.fromkeys(view.neighbours, 0)
        self.ahead: dict[str, int] = {}
        self.colours: dict[str, int] = {}
        self.colour: int | None = None
        self.earlier: frozenset[str] | None = None  # neighbours that sample before it in each round; None: unknown
        if self.params.chromatic:
            self.take_colour()
        else:
            self.earlier = frozenset()
            self.advance()

    # Colours -----------------------------------------------------------------------------------------------------

    def on_colour(self, sender: str, message: Colour) -> None:
        self.colours[sender] = message.colour
        self.take_colour()

    def take_colour(self) -> None:
        """Take a colour once all neighbours above have theirs; find out who goes first once all neighbours have."""
        place = self.view.tree
        above = [name for name in (place.parent, *place.pseudo_parents) if name is not None]
        if self.colour is None and self.colours.keys() >= set(above):
            taken = {self.colours[name] for name in above}
            self.colour = next(c for c in range(len(above) + 1) if c not in taken)
            self.broadcast(Colour(self.colour))
        if self.colour is not None and len(self.colours) == len(self.view.neighbours):
            own = self.colour
            self.earlier = frozenset(name for name, colour in self.colours.items() if colour < own)

    # Rounds ------------------------------------------------------------------------------------------------------

    def on_value(self, sender: str, message: Value) -> None:
        if message.round == self.round:
            self.context[sender] = message.value
        elif message.round > self.round:
            self.ahead[sender] = message.value

    def on_up(self, sender: str, up: Up) -> None:
        self.anytime.on_up(sender, up)

    def on_best(self, sender: str, best: Best) -> None:
        self.anytime.on_best(best)

    def decide(self) -> None:
        self.advance()
        if self.anytime.over:
            self.finish()

    def advance(self) -> None:
        """Go through as many rounds as the neighbours' values allow."""
        while len(self.context) == len(self.view.neighbours):
            if self.round > len(self.anytime.values):
                self.anytime.record(self.value, self.context)
            ready = self.earlier is not None and self.earlier <= self.ahead.keys()
            if self.round == self.params.iterations or not ready:
                return
            self.sample()

    def sample(self) -> None:
        """Draw a value with probability proportional to exp(-local cost) and tell all neighbours."""
        assert self.earlier is not None
        known = {**self.context, **{name: self.ahead[name] for name in self.earlier}} if self.earlier else self.context
        cost = self.local.by_value(known)
        self.check(self.local.checks)
        self.value = pick(self.rng.random(), np.exp(cost.min() - cost))
        self.round += 1
        self.context, self.ahead = self.ahead, {}
        self.broadcast(Value(self.round, self.value))


class PdGibbsReader:
    """What a viewer of PD-Gibbs can conclude.

    A VALUE is a sample under the values that the sender's neighbours had in the round before or, if they have a lower
    colour, in the same round. Of these a viewer knows its own nodes', and no others: it is not told who else is a
    neighbour of the sender.
    """

    def __init__(self, context: ReaderContext) -> None:
        params = context.params
        self._chromatic, self._penalty = params.chromatic, params.penalty
        steady = Nothing("samples never stay as they are", ("steady",))
        self._anytime = AnytimeReader(context, True, params.penalty, steady)
        self._colours: dict[str, int] = {}
        self._adjacent: dict[str, list[str]] = {}  # the viewer's nodes that a sender has constraints with
        for node, view in context.views.items():
            for neighbour in view.neighbours:
                self._adjacent.setdefault(neighbour, []).append(node)

    def read(self, delivery: Delivery) -> Iterable[Statement]:
        """Return the statements that one delivery supports, given all earlier ones."""
        content = delivery.message
        if isinstance(content, Value):
            return self._sample(delivery.src, content)
        if isinstance(content, Colour):
            self._colours[delivery.src] = content.colour
            return [Nothing("topology: who samples before whom", ("colour",))]
        return self._anytime.read(delivery)

    def _sample(self, sender: str, content: Value) -> Iterator[Statement]:
        k, value = content
        self._anytime.heard(sender, k, value)
        context: dict[str, int] = {}
        for node in self._adjacent.get(sender, ()):
            of = self._round_of(node, sender, k)
            known = 0 if of == 0 else None if of is None else self._anytime.values(of).get(node)
            if known is not None:
                context[node] = known
        law = Softmax(None, 0.0, coin_visible=True)
        yield ValueIs("value", ("round", "value"), sender, value, "now")
        yield Chosen("sample", ("value",), sender, value, context, law, self._penalty)

    def _round_of(self, node: str, sender: str, k: int) -> int | None:
        """Return the round of a neighbour's value that a sender's sample of round k depends on; None if unknown."""
        if not self._chromatic:
            return k - 1
        colours = self._colours
        if node not in colours or sender not in colours:
            return None
        return k if colours[node] < colours[sender] else k - 1


PdGibbs.reader = PdGibbsReader
