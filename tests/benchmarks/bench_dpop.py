"""How long DPOP takes on peers' problems and on colourings: `python tests/benchmarks/bench_dpop.py`.

Problem files are those that AGENTSIM_INSTANCES points to; without it only the generated problems are run. Solving is
`wall_time`, which leaves out loading and the choice of the tree (`start`). Divide by a machine's bare speed, given by
the first line, before comparing machines.
"""

from __future__ import annotations

import os
import time
from itertools import combinations
from pathlib import Path

import numpy as np

from agentsim import load, simulate
from agentsim.dcop.problem import Constraint, Domain, Problem, Variable
from agentsim.errors import SolverRefusal
from agentsim.runtime.agent import Agent
from agentsim.runtime.setup import prepare
from solvers.brute_force import BruteForce
from solvers.dpop import Dpop
from solvers.mb_dpop import MbDpop

FILES = [
    "pydcop/ms_v15_s20.yaml",
    "pydcop/ms_v25_s20.yaml",
    "pydcop/gc_v12_d8_p30.yaml",
    "pydcop/gc_grid100_d3_hard.yaml",
    "pydcop/ising_10x10.yaml",
    "wcsp/example.wcsp",
    "wcsp/404.wcsp",
    "wcsp/CELAR6-SUB0.wcsp",
]
STOP_S = 10.0


def bare_speed() -> float:
    """Return seconds of a bare join and projection of 10^7 cells in numpy, the best of three."""
    a, b = np.zeros((215, 1, 215)), np.zeros((1, 215, 215))
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        (a + b).min(axis=2)
        times.append(time.perf_counter() - begun)
    return min(times)


def colouring(n: int, colours: int, density: float, seed: int) -> Problem:
    """Return a random graph to colour with a random cost for each pair of neighbours' colours."""
    rng = np.random.default_rng(seed)
    pairs = list(combinations(range(n), 2))
    chosen = rng.choice(len(pairs), round(density * len(pairs)), replace=False)
    domain = Domain("colours", tuple(range(colours)))
    return Problem.build(
        [Variable(f"x{i}", domain) for i in range(n)],
        [
            Constraint(f"c{i}_{j}", (f"x{i}", f"x{j}"), rng.integers(0, 10, (colours, colours)))
            for i, j in (pairs[k] for k in sorted(chosen))
        ],
    )


def run(name: str, problem: Problem, solver: type[Agent]) -> None:
    """Print one row."""
    try:
        setup = prepare(problem, solver, solver.__name__, {})
        result = simulate(problem, solver, timeout=STOP_S)
    except SolverRefusal as refusal:
        print(f"{name:32} {solver.__name__:10} refused: {refusal}")
        return
    width = setup.tree.width if setup.tree is not None else 0
    largest = max((metrics.largest for metrics in result.by_type.values()), default=0)
    print(
        f"{name:32} {solver.__name__:10} {result.status:8} {result.cost!s:>10} {result.bound!s:>10} {width:5} "
        f"{largest:12,} {result.nccc:13,} {result.startup_time:8.3f} {result.wall_time:8.3f}",
        flush=True,
    )


def main() -> None:
    """Print all rows."""
    print(f"bare join and projection of 10^7 cells: {bare_speed():.3f} s")
    header = ("problem", "solver", "status", "cost", "bound", "width", "largest B", "nccc", "start s", "solve s")
    print("{:32} {:10} {:8} {:>10} {:>10} {:>5} {:>12} {:>13} {:>8} {:>8}".format(*header))
    instances = os.environ.get("AGENTSIM_INSTANCES", "")
    for name in FILES if instances else ():
        for solver in (Dpop, MbDpop):
            run(name, load(Path(instances) / name), solver)
    if not instances:
        print(f"{len(FILES)} problem files skipped: AGENTSIM_INSTANCES is not set")
    for n, colours, density in ((12, 8, 0.3), (12, 8, 0.5), (20, 4, 0.3)):
        problem = colouring(n, colours, density, seed=1)
        for solver in (Dpop, MbDpop):
            run(f"colouring n={n} d={colours} p={density}", problem, solver)
    for solver in (Dpop, BruteForce):
        run("colouring n=7 d=8 p=1", colouring(7, 8, 1, seed=1), solver)


if __name__ == "__main__":
    main()
