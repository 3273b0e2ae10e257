"""How fast the ADOPT family runs, and how many cycles and messages it takes: `python tests/benchmarks/bench_adopt.py`.

3-colouring as in the ADOPT papers: random connected graphs of n variables and density * n edges, cost 1 per edge with
equal colours. Speed is messages per second of solving; divide by a machine's bare speed before comparing machines.
"""

from __future__ import annotations

import statistics
import sys

import numpy as np

from agentsim import simulate
from agentsim.dcop.problem import Constraint, Domain, Problem, Variable
from agentsim.runtime.agent import Agent
from solvers.adopt import Adopt
from solvers.adopt_plus import AdoptPlus
from solvers.bnb_adopt import BnBAdopt
from solvers.bnb_adopt_plus import BnBAdoptPlus

SOLVERS: tuple[type[Agent], ...] = (Adopt, BnBAdopt, BnBAdoptPlus, AdoptPlus)


def colouring(n: int, density: float, seed: int, colours: int = 3) -> Problem:
    """Return a random connected graph to colour, cost 1 per edge with equal colours."""
    rng = np.random.default_rng(seed)
    label = rng.permutation(n)
    edges = {tuple(sorted((int(label[i]), int(label[rng.integers(i)])))) for i in range(1, n)}
    wanted = min(round(density * n), n * (n - 1) // 2)
    while len(edges) < wanted:
        i, j = sorted(int(v) for v in rng.choice(n, 2, replace=False))
        edges.add((i, j))
    domain = Domain("colours", tuple(range(colours)))
    table = np.eye(colours, dtype=np.int64)
    return Problem.build(
        [Variable(f"x{i}", domain) for i in range(n)],
        [Constraint(f"c{i}_{j}", (f"x{i}", f"x{j}"), table) for i, j in sorted(edges)],
    )


def speed(solver: type[Agent], seeds: int = 10) -> float:
    """Return the median messages per second on ten variables and thirty edges."""
    rates = []
    for seed in range(seeds):
        result = simulate(colouring(10, 3, seed), solver)
        assert result.status == "optimal"
        rates.append(result.messages / result.wall_time)
    return statistics.median(rates)


def table(seeds: int) -> None:
    """Print median cycles and messages."""
    print(f"median cycles / messages of {seeds} instances")
    print("density, n  " + "".join(f"{s.__name__:>20}" for s in SOLVERS))
    for density in (2, 3):
        for n in (8, 10, 12):
            cells = []
            for solver in SOLVERS:
                results = [simulate(colouring(n, density, seed), solver) for seed in range(seeds)]
                cycles = statistics.median(r.virtual_time for r in results)
                messages = statistics.median(r.messages for r in results)
                cells.append(f"{cycles:g} / {messages:g}")
            print(f"{density}, {n:<8} " + "".join(f"{cell:>20}" for cell in cells), flush=True)


def main() -> None:
    """Print speeds, then the table (argument: number of instances)."""
    for solver in SOLVERS:
        print(f"{solver.__name__:<14}{speed(solver):>10.0f} messages/s", flush=True)
    table(int(sys.argv[1]) if len(sys.argv) > 1 else 10)


if __name__ == "__main__":
    main()
