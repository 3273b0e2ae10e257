"""Runs in an event loop that runs already, several in one loop, and Ctrl-C there."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from agentsim import Problem, Result, open_log, run, simulate
from agentsim.runtime.loop import run_apart
from agentsim.testing import random_problem
from solvers.dsa import Dsa

FOREVER: dict[str, Any] = {"rounds": 10_000, "realtime": 0.01}


@pytest.fixture
def problem() -> Problem:
    import numpy as np

    rng = np.random.default_rng(3)
    return next(p for p in iter(lambda: random_problem(rng), None) if len(p.constraints) > 3)


def press_ctrl_c(kernel: object) -> None:
    os.kill(os.getpid(), signal.SIGINT)


def in_a_loop(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run as a notebook's kernel does: in a loop that has not minded Ctrl-C itself, and leaves all as it was."""
    before = gc.get_threshold(), signal.getsignal(signal.SIGINT)
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(work())
    finally:
        assert not asyncio.all_tasks(loop)
        loop.close()
        assert (gc.get_threshold(), signal.getsignal(signal.SIGINT)) == before


def recorded(result: Result) -> list[tuple[Any, ...]]:
    return list(result.log.records())


def test_runs_beside_each_other_are_the_runs_alone(problem: Problem) -> None:
    runs = [("adopt", 1), ("dpop", 2), ("mgm", 3), ("adopt", 1)]
    options: dict[str, Any] = {"network": "uniform:1,10", "observers": ["traffic"], "timeout": 60}
    alone = [simulate(problem, solver, seed=seed, **options) for solver, seed in runs]

    async def beside() -> list[Result]:
        return await asyncio.gather(*(run(problem, solver, seed=seed, **options) for solver, seed in runs))

    together = in_a_loop(beside)
    assert [recorded(r) for r in together] == [recorded(r) for r in alone]
    assert [r.findings for r in together] == [r.findings for r in alone]


def test_a_shorter_run_leaves_the_longer_one_its_ctrl_c(problem: Problem) -> None:
    async def beside() -> list[Result]:
        short = run(problem, Dsa, rounds=1)
        return await asyncio.gather(short, run(problem, Dsa, monitor=press_ctrl_c, **FOREVER))

    assert [r.status for r in in_a_loop(beside)] == ["finished", "interrupted"]


def test_ctrl_c_stops_all_runs_of_a_loop(problem: Problem) -> None:
    async def beside() -> list[Result]:
        first = run(problem, Dsa, monitor=press_ctrl_c, **FOREVER)
        return await asyncio.gather(first, run(problem, Dsa, **FOREVER))

    assert [r.status for r in in_a_loop(beside)] == ["interrupted", "interrupted"]


def test_ctrl_c_reaches_a_simulation_in_its_own_thread(problem: Problem, tmp_path: Path) -> None:
    log = tmp_path / "stopped.amlog"

    async def cell() -> Result:
        return simulate(problem, Dsa, monitor=press_ctrl_c, log=log, **FOREVER)

    assert in_a_loop(cell).status == "interrupted"
    assert open_log(log).summary()["whole"]


def test_ctrl_c_reaches_other_work_in_its_own_thread() -> None:
    async def busy() -> None:
        press_ctrl_c(None)
        while True:
            pass

    async def cell() -> None:
        run_apart(busy)

    with pytest.raises(KeyboardInterrupt):
        in_a_loop(cell)


def test_a_cancelled_run_leaves_its_log_readable(problem: Problem, tmp_path: Path) -> None:
    log = tmp_path / "cancelled.amlog"

    async def cell() -> None:
        await asyncio.wait_for(run(problem, Dsa, log=log, **FOREVER), timeout=0.2)

    with pytest.raises(TimeoutError):
        in_a_loop(cell)
    summary = open_log(log).summary()
    assert summary["deliveries"] > 0
    assert (summary["whole"], summary["damaged"]) == (False, None)
