"""How long DPOP takes on peers' problems and on colourings: `python tests/benchmarks/bench_dpop.py`.

What is kept and compared are its joins, and MB-DPOP's, against a plain loop in numpy over the values of the variable
that is eliminated: for each of them the slices of the tables are added, and the least kept. Both take turns on the same
tables.

Problem files are those that AGENTSIM_INSTANCES points to; without it only the generated problems are run. Solving is
`wall_time`, which leaves out loading and the choice of the tree (`start`). Divide by a machine's bare speed, given by
the first line, before comparing machines.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
from table import Row, show

from agentsim import load, simulate
from agentsim.dcop import tables
from agentsim.dcop.problem import Constraint, Domain, Problem, Table, Variable
from agentsim.dcop.tables import NamedTable, aligned
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
JOINED = ["pydcop/ms_v15_s20.yaml", "pydcop/ms_v25_s20.yaml", "pydcop/gc_v12_d8_p30.yaml"]
STOP_S = 10.0


class Join(NamedTuple):
    """One projection that a solver made."""

    tables: Sequence[NamedTable]
    eliminated: str
    axes: Sequence[str]
    sizes: Mapping[str, int]


def joins_of(problem: Problem, solver: type[Agent]) -> list[Join]:
    """Return every minimising projection of one run."""
    made: list[Join] = []
    original = tables._project

    def spy(
        given: Sequence[NamedTable],
        x: str,
        axes: Sequence[str],
        sizes: Mapping[str, int] | None,
        *,
        maximise: bool,
    ) -> Table:
        if not maximise:
            known = {name: n for own, table in given for name, n in zip(own, table.shape, strict=True)}
            made.append(Join(list(given), x, tuple(axes), {**(sizes or {}), **known}))
        return original(given, x, axes, sizes, maximise=maximise)

    tables._project = spy
    try:
        simulate(problem, solver)
    finally:
        tables._project = original
    return made


def value_loop(join: Join) -> Table:
    """Return the projection by a plain loop over the values of the eliminated variable, in buffers that are reused."""
    given, x, axes, sizes = join
    views = [aligned(table, (x, *axes)) for table in given]
    least = np.empty([sizes[name] for name in axes], np.result_type(*views))
    total = np.empty_like(least)
    for value in range(sizes[x]):
        target = total if value else least
        np.copyto(target, views[0][value if len(views[0]) > 1 else 0])
        for view in views[1:]:
            target += view[value if len(view) > 1 else 0]
        if value:
            np.minimum(least, total, out=least)
    return least


def times(joins: Sequence[Join], rounds: int) -> tuple[float, float]:
    """Return CPU seconds of all joins by `project_min` and by the plain loop, each join at its best."""
    ours = loop = 0.0
    ways: tuple[Callable[[Join], Table], ...] = (lambda join: tables.project_min(*join), value_loop)
    for join in joins:
        best = [math.inf, math.inf]
        for _ in range(rounds):
            for i, way in enumerate(ways):
                begun = time.process_time()
                way(join)
                best[i] = min(best[i], time.process_time() - begun)
        ours, loop = ours + best[0], loop + best[1]
    return ours, loop


def rows(quick: bool) -> Iterator[Row]:
    """Yield, for each problem and solver, how long the joins take, and how much longer than the plain loop."""
    problems = {"colouring n=12 d=8 p=0.5": colouring(12, 8, 0.5, seed=1)}
    instances = os.environ.get("AGENTSIM_INSTANCES", "")
    if instances:
        problems |= {Path(name).stem: load(Path(instances) / name) for name in JOINED}
    for name, problem in problems.items():
        for solver in (Dpop, MbDpop):
            ours, loop = times(joins_of(problem, solver), 3 if quick else 15)
            yield Row(f"{solver.__name__} joins, {name}", ours * 1e3, "ms", "<= 2", ours / loop)


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
    """Print the joins, then whole runs."""
    for _ in show(rows(quick=False)):
        pass
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
