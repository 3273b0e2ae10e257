"""What watching costs: `python tests/benchmarks/bench_vps.py`.

ADOPT on ten variables with and without the observer `vps` on all agents, CPU time, runs in turns, the best of each; and
the closed form of the ambiguity rule. Ratios to the run without an observer are what counts, machines differ.
"""

from __future__ import annotations

import time

import numpy as np

from agentsim import simulate
from privacy.vps import mixture_loss
from scenarios.generators.dimes import Dimes, DimesParams
from scenarios.generators.random_dcop import RandomDcop, RandomDcopParams

ROUNDS = 5
BOUNDS = 100_000
WATCHED = {
    "alone": [],
    "paper": ["vps"],
    "exact": ["vps:rule=exact"],
    "tight": ["vps:rule=tight"],
    "consistent": ["consistent"],
}


def main() -> None:
    """Print a table."""
    problems = [
        RandomDcop.generate(RandomDcopParams(agents=10, p=0.25), 1),
        RandomDcop.generate(RandomDcopParams(agents=10, p=0.25), 2),
        Dimes.generate(DimesParams(people=10, shape="T", u=6), 0),
    ]
    print(f"{'ADOPT, 10 variables':34} {'messages':>9}  " + "".join(f"{name:>11}" for name in WATCHED))
    for problem in problems:
        best = dict.fromkeys(WATCHED, float("inf"))
        for _ in range(ROUNDS):
            for name, observers in WATCHED.items():
                begun = time.process_time()
                result = simulate(problem, "adopt", observers=observers)
                best[name] = min(best[name], time.process_time() - begun)
        ratios = "".join(f"{best[name] / best['alone']:11.2f}" for name in WATCHED)
        print(f"{problem.name:34} {result.messages:9,}  {ratios}")
    bounds = np.random.default_rng(0).integers(1, 100, BOUNDS)
    for kind, given in (("array", bounds), ("list", bounds.tolist())):
        best_s = float("inf")
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            mixture_loss(given, 5, 100)
            best_s = min(best_s, time.perf_counter() - begun)
        print(f"closed form, {BOUNDS:,} bounds in a {kind}: {best_s * 1e3:.1f} ms")


if __name__ == "__main__":
    main()
