"""What keeping results costs, and how fast tiny cells go: `python tests/benchmarks/table.py bench_sweep [--quick]`.

Cells of about 0.1 s are run by the engine with a folder, and each of them bare as well, as a call of
`agentsim.simulate`, in one process, so that what disturbs one disturbs the other. Then 10,000 cells of a few
milliseconds go through a pool of two.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from table import Row

import agentsim
from agentsim.dcop.problem import Constraint, Domain, Problem, Variable
from agentsim.record import results_store
from agentsim.record.results import load_results
from scenarios.executors import Serial, executor
from scenarios.sweeps.engine import run_cells
from scenarios.sweeps.recording import simulate


class Task(NamedTuple):
    """A run: solver, its parameters, observers, size of the problem, seed."""

    solver: str
    params: tuple[tuple[str, int], ...]
    observers: tuple[str, ...]
    size: int
    seed: int


@cache
def problem(n: int) -> Problem:
    """Return a ring of n variables with chords, three values, private costs."""
    rng = np.random.default_rng(n)
    domain = Domain("d", (0, 1, 2))
    pairs = sorted({(min(i, j), max(i, j)) for i in range(n) for j in ((i + 1) % n, (i + 3) % n) if i != j})
    return Problem.build(
        [Variable(f"x{i}", domain, unary=rng.integers(0, 9, 3), cost_range=(0, 9)) for i in range(n)],
        [Constraint(f"c{i}_{j}", (f"x{i}", f"x{j}"), rng.integers(0, 9, (3, 3))) for i, j in pairs],
    )


def bare(task: Task) -> str:
    """Run a task without the engine."""
    options = {"observers": list(task.observers), "seed": task.seed, "log": False, **dict(task.params)}
    return agentsim.simulate(problem(task.size), task.solver, **options).status


def kept(task: Task) -> str:
    """Run a task as a cell."""
    options = {"observers": list(task.observers), "seed": task.seed, "log": False, **dict(task.params)}
    return simulate(problem(task.size), task.solver, **options).status


class InTurn(Serial):
    """Runs each task bare as well, before or after the engine's call: what disturbs one disturbs the other.

    Attributes:
        cpu, wall: CPU seconds of this thread and seconds, of the bare runs.
    """

    cpu = wall = 0.0

    def map(self, function: Callable[[Any], Any], tasks: Sequence[Any], **_: object) -> Iterator[tuple[int, Any]]:
        """Yield (index, result) for every task in order."""
        for i, task in enumerate(tasks):
            if i % 2:
                self._bare(task)
            result = function(task)
            if not i % 2:
                self._bare(task)
            yield i, result

    def _bare(self, task: Task) -> None:
        cpu, wall = time.thread_time(), time.perf_counter()
        bare(task)
        self.cpu += time.thread_time() - cpu
        self.wall += time.perf_counter() - wall


class Writing:
    """Within it, `cpu` grows by what the store's thread takes for its parts, half as often: half the time is bare."""

    cpu = 0.0

    def __enter__(self) -> None:
        self._write = results_store.write_part
        results_store.write_part = self._timed
        results_store._LEAST_PAUSE_S *= 2

    def __exit__(self, *_: object) -> None:
        results_store.write_part = self._write
        results_store._LEAST_PAUSE_S /= 2

    def _timed(self, *args: Any) -> None:
        cpu = time.thread_time()
        self._write(*args)
        self.cpu += time.thread_time() - cpu


def overhead(name: str, like: Task, cells: int) -> Row:
    """Return what cells that are like this one take with the engine, relative to the bare ones."""
    tasks = [like._replace(seed=seed) for seed in range(cells)]
    for some in (tasks[:2], tasks):  # the first time imports what is needed
        writing = Writing()
        with tempfile.TemporaryDirectory() as folder, InTurn() as turns, writing:
            cpu = time.thread_time()
            run_cells(kept, some, name=name, executor=turns, folder=Path(folder))
            cpu = time.thread_time() - cpu + writing.cpu - turns.cpu
    return Row(f"a cell of {name}, kept (to bare)", cpu / cells * 1e3, "CPU ms", "", cpu / turns.cpu)


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that some work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def tiny(cells: int) -> Iterator[Row]:
    """Yield how long tiny cells take in a pool of two."""
    tasks = [Task("dpop", (), (), 5, seed) for seed in range(cells)]
    each = min(timed(lambda: [bare(task) for task in tasks[:50]]) for _ in range(3)) / 50
    with tempfile.TemporaryDirectory() as name:
        with executor(2) as pool:
            wall = timed(lambda: run_cells(kept, tasks, name="tiny", executor=pool, folder=Path(name)))
        again = timed(lambda: run_cells(kept, tasks, name="tiny", executor=Serial(), folder=Path(name)))
        loaded = timed(lambda: load_results(name).run)
    yield Row("a tiny cell, pool of two (to bare)", wall / cells * 1e3, "ms", "", wall / cells / each)
    yield Row("finding a tiny cell done", again / cells * 1e3, "ms")
    yield Row("load_results(...).run, per tiny cell", loaded / cells * 1e3, "ms")


def rows(quick: bool) -> Iterator[Row]:
    """Yield what the engine costs: cells of about 0.1 s, then tiny ones."""
    cells = 20 if quick else 100
    yield overhead("dsa", Task("dsa", (("rounds", 100),), (), 20, 0), cells)
    yield overhead("synchbb", Task("synchbb", (), (), 8, 0), cells)
    yield overhead("adopt with vps", Task("adopt", (), ("vps",), 5, 0), cells)
    yield from tiny(500 if quick else 10_000)
