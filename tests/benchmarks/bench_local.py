"""Local search, Gibbs sampling and private solvers: `python tests/benchmarks/bench_local.py`.

CPU time of solving, logged in memory, with the observers that a solver carries; best of a few runs. The problems of the
published comparisons are read from AGENTSIM_INSTANCES; without it stand-ins of the same sizes are generated.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from table import Row, show

from agentsim import Problem, load, simulate
from scenarios.generators.graph_coloring import GraphColoring, GraphColoringParams
from scenarios.generators.ising import Ising, IsingParams

ROUNDS = 3


def problems() -> dict[str, Problem]:
    """Return the problems, by what they are called in the output."""
    large = {"Ising 100x100": Ising.generate(IsingParams(row_count=100, col_count=100), 0)}
    home = os.environ.get("AGENTSIM_INSTANCES")
    if home:
        folder = Path(home) / "pydcop"
        named = {"colouring 100, |D|=25": "gc_v100_d25.yaml", "Ising 10x10": "ising_10x10.yaml"}
        return {name: load(folder / file) for name, file in named.items()} | large
    colouring = GraphColoringParams(variables_count=100, colors_count=25, p_edge=0.051, soft=True)
    return {
        "colouring 100, |D|=25": GraphColoring.generate(colouring, 0),
        "Ising 10x10": Ising.generate(IsingParams(row_count=10, col_count=10), 0),
    } | large


RUNS: tuple[tuple[str, str, dict[str, Any], int], ...] = (
    ("colouring 100, |D|=25", "sd-gibbs", {}, ROUNDS),
    ("colouring 100, |D|=25", "pd-gibbs", {}, ROUNDS),
    ("colouring 100, |D|=25", "p-gibbs", {"variant": "paper"}, ROUNDS),
    ("colouring 100, |D|=25", "p-gibbs", {}, ROUNDS),
    ("colouring 100, |D|=25", "once", {}, ROUNDS),
    ("colouring 100, |D|=25", "maxsum", {}, ROUNDS),
    ("Ising 10x10", "mgm", {"rounds": 300, "detect": False}, ROUNDS),
    ("Ising 10x10", "mgm2", {"rounds": 100, "detect": False}, ROUNDS),
    ("Ising 10x10", "dsa", {}, ROUNDS),
    ("Ising 100x100", "sd-gibbs", {}, 1),
)


def rows(quick: bool) -> Iterator[Row]:
    """Yield how long each solver takes."""
    given = problems()
    for name, solver, params, rounds in RUNS:
        if quick and "100x100" in name:
            continue
        best = float("inf")
        for _ in range(1 if quick else rounds):
            begun = time.process_time()
            simulate(given[name], solver, **params)
            best = min(best, time.process_time() - begun)
        words = " ".join([solver, *(str(v) for v in params.values() if isinstance(v, str))])
        yield Row(f"{words}, {name}", best, "CPU s")


def main() -> None:
    """Print a table."""
    for _ in show(rows(quick=False)):
        pass


if __name__ == "__main__":
    main()
