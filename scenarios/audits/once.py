"""The game of Once: its target chooses a value, once, among the costs that the agent before it leaves it.

With `unit=entry` the worlds differ by one entry, from one end of the range to the other; else by a whole table.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agentsim.runtime.agent import Agent
from scenarios.audits.base import Choices, Game, Subject
from scenarios.audits.pairs import small_pair
from solvers.once import Once, OnceParams, Value
from solvers.private_choice import Row


def game(subject: Subject, seed: int, view: str | None) -> Game:
    """Return the game: exact likelihoods where the target chooses once, a learned one where it sends noisy tables."""
    params: OnceParams = subject.params
    return small_pair(subject, seed, view) if params.kinds else OnceGame.of(subject, seed, view)


class Told(Agent):
    """Tells 0 to everybody after it, or hears."""

    messages = Once.messages

    async def run(self) -> None:
        """Tell or hear."""
        self.assign(0)
        if self.view.order.index == 0:
            self.broadcast(Value(0))
        else:
            await self.receive(Value)


class OnceGame(Choices):
    """The target's value."""

    keeps = Told
    field = "VALUE.value"

    def law(self, world: int) -> Sequence[float]:
        """Return the probability of each value of the target's."""
        params: OnceParams = self.subject.params
        low, high = (0.0, self.gain) if params.low is None or params.high is None else (params.low, params.high)
        return params.choice(2).law([Row(np.array(self.costs(world)), -high, -low)])
