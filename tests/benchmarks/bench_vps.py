"""What watching costs: `python tests/benchmarks/bench_vps.py`.

One run of ADOPT of 110,000 messages, without an observer and with the observer `vps` on all agents, by rule; and beside
them with an observer that does nothing, which is what the feed costs. CPU time, in turns, the best of each; and the
closed form of the ambiguity rule. Ratios to the run without an observer are what counts, machines differ.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from table import Row, show

from agentsim import Delivery, Observer, simulate
from privacy.vps import mixture_loss
from scenarios.generators.random_dcop import RandomDcop, RandomDcopParams

BOUNDS = 100_000


class Idle(Observer):
    """Looks at every delivery and sees nothing."""

    name = "idle"

    def observe(self, delivery: Delivery) -> None:
        """Do nothing."""


WATCHED: dict[str, list[Any]] = {
    "no observer": [],
    "idle": [Idle],
    "vps, rule paper": ["vps"],
    "vps, rule exact": ["vps:rule=exact"],
    "vps, rule tight": ["vps:rule=tight"],
    "consistent": ["consistent"],
}


def rows(quick: bool) -> Iterator[Row]:
    """Yield what a message costs with each observer, relative to none; and the closed form."""
    params = RandomDcopParams(agents=10, p=0.25) if quick else RandomDcopParams(agents=12, p=0.3)
    problem = RandomDcop.generate(params, 1 if quick else 7)
    best = dict.fromkeys(WATCHED, float("inf"))
    for _ in range(3 if quick else 5):
        for name, observers in WATCHED.items():
            begun = time.process_time()
            result = simulate(problem, "adopt", observers=observers)
            best[name] = min(best[name], time.process_time() - begun)
    alone = best["no observer"]
    for name, seconds in best.items():
        ratio = None if name == "no observer" else seconds / alone
        yield Row(f"ADOPT watched: {name}", seconds / result.messages * 1e6, "us/message", ratio=ratio)
    bounds = np.random.default_rng(0).integers(1, 100, BOUNDS)
    for kind, given in (("array", bounds), ("list", bounds.tolist())):
        least = float("inf")
        for _ in range(5):
            begun = time.process_time()
            mixture_loss(given, 5, 100)
            least = min(least, time.process_time() - begun)
        yield Row(f"closed form, {BOUNDS:,} bounds in a {kind}", least * 1e3, "ms")


def main() -> None:
    """Print a table."""
    for _ in show(rows(quick=False)):
        pass


if __name__ == "__main__":
    main()
