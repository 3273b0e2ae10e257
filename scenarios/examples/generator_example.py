"""A worked example of a generator: access points along a street choose radio channels.

Points no more than `reach` doors apart disturb each other, the more the nearer their channels are. Each point has its
own dislikes, drawn from the seed, which are nobody else's business: private costs.

Run it: `python -m scenarios.examples.generator_example FILE.yaml [SEED]`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from agentsim import Constraint, Domain, Problem, UserError, Variable, save
from agentsim.runtime.streams import Stream


@dataclass(frozen=True)
class ChannelsParams:
    """Parameters of the generator; ValueError if one is out of range.

    Args:
        points: access points, 1 to 10000.
        channels: channels to choose from, 1 to 100.
        reach: how many doors away a point is still heard, 1 to 10.
        dislike: private costs are whole numbers from 0 to this, 0 to 1000.
    """

    points: int = 6
    channels: int = 4
    reach: int = 2
    dislike: int = 5

    def __post_init__(self) -> None:
        for name, least, most in (("points", 1, 10_000), ("channels", 1, 100), ("reach", 1, 10), ("dislike", 0, 1000)):
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name}={getattr(self, name)}: must be from {least} to {most}")


class Channels:
    """Access points along a street: neighbours disturb each other, private dislikes of channels."""

    Params: ClassVar[type[ChannelsParams]] = ChannelsParams

    @staticmethod
    def generate(params: ChannelsParams, seed: int = 0) -> Problem:
        """Return the problem that `seed` gives; a stream for each point, so that a longer street begins the same."""
        channels = Domain("channels", tuple(range(1, params.channels + 1)))
        points = []
        for i in range(params.points):
            draw = Stream(seed, "channels", "dislike", str(i))
            dislikes = np.array([draw.integer(params.dislike + 1) for _ in range(params.channels)])
            points.append(Variable(f"p{i}", channels, f"owner{i}", dislikes, cost_range=(0, params.dislike)))
        channel = np.arange(params.channels)
        noise = np.maximum(0, 3 - abs(channel[:, None] - channel))
        near = [(i, j) for i in range(params.points) for j in range(i + 1, min(i + params.reach + 1, params.points))]
        disturb = [Constraint(f"d{i}_{j}", (f"p{i}", f"p{j}"), noise, cost_range=(0, 3)) for i, j in near]
        return Problem.build(points, disturb, name=f"channels{params.points}")


def main(arguments: list[str]) -> int:
    """Write a problem file."""
    if not 1 <= len(arguments) <= 2 or (len(arguments) == 2 and not arguments[1].isdecimal()):
        print("usage: python -m scenarios.examples.generator_example FILE.yaml [SEED]", file=sys.stderr)
        return 2
    try:
        save(Channels.generate(ChannelsParams(), int(arguments[1]) if len(arguments) > 1 else 0), arguments[0])
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
