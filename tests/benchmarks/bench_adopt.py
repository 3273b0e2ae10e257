"""How fast the ADOPT family runs, and how many cycles and messages it takes: `python tests/benchmarks/bench_adopt.py`.

3-colouring as in the ADOPT papers: random connected graphs of n variables and density * n edges, cost 1 per edge with
equal colours. Speed is messages per CPU second of a whole run: tree, solving, log in memory. The targets are meant for
an idle core; a busy machine slows CPU time, too.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator

import numpy as np
from table import Row, show

from agentsim import simulate
from agentsim.dcop.problem import Constraint, Domain, Problem, Variable
from agentsim.runtime.agent import Agent
from solvers.adopt import Adopt
from solvers.adopt_plus import AdoptPlus
from solvers.bnb_adopt import BnBAdopt
from solvers.bnb_adopt_plus import BnBAdoptPlus

SOLVERS: tuple[type[Agent], ...] = (Adopt, BnBAdopt, BnBAdoptPlus, AdoptPlus)
TARGETS: dict[type[Agent], str] = {Adopt: ">= 100,000", BnBAdopt: ">= 100,000"}


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


def speed(solver: type[Agent], seeds: int = 10, rounds: int = 3) -> float:
    """Return the median messages per CPU second on ten variables and thirty edges, each instance at its best."""
    rates = []
    for seed in range(seeds):
        problem = colouring(10, 3, seed)
        best = float("inf")
        for _ in range(rounds):
            begun = time.process_time()
            result = simulate(problem, solver)
            best = min(best, time.process_time() - begun)
        assert result.status == "optimal"
        rates.append(result.messages / best)
    return statistics.median(rates)


def rows(quick: bool) -> Iterator[Row]:
    """Yield the speed of each solver."""
    for solver in SOLVERS:
        rate = speed(solver, *((4, 1) if quick else (10, 3)))
        yield Row(f"{solver.__name__}, 10 variables, 30 edges", rate, "messages/CPU s", TARGETS.get(solver, ""))


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
    for _ in show(rows(quick=False)):
        pass
    table(int(sys.argv[1]) if len(sys.argv) > 1 else 10)


if __name__ == "__main__":
    main()
