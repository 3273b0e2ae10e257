"""A sweep on a cluster that loses a worker half-way: every row there once, and the same as without."""

import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agentsim.record.results import Results, load_results
from scenarios.executors import Executor, Serial, executor
from scenarios.sweeps.cells import Solved, SolveTask, cells, provenance, solve_cell
from scenarios.sweeps.engine import run_cells
from scenarios.sweeps.spec import parse_spec

pytest.importorskip("distributed")
pytest.importorskip("pyarrow")

CELLS = 2_000
SPEC = """
name = "tiny"
seeds = 400
networks = ["unit", "uniform:1,10"]
[[problem]]
generator = "random-dcop"
parameters = { agents = 2, d = 2 }
[[solver]]
name = ["dpop", "synchbb"]
[[cell]]
solver = "synchbb"
network = "unit"
observers = ["vps:rule=tight"]
"""
TIMES = {"run": ["wall_time", "startup_time"], "cell": ["seconds"]}


def sweep(tasks: list[SolveTask], folder: Path, pool: Executor, progress: Any = None) -> Results:
    run_cells(
        partial(solve_cell, base="."),
        tasks,
        name="tiny",
        executor=pool,
        folder=folder,
        keep_failures=True,
        progress=progress,
        result_type=Solved,
        provenance=provenance,
    )
    return load_results(folder)


def rows(results: Results, table: str) -> list[str]:
    """Return the rows of a table but for times, in an order that does not depend on who ran first."""
    found = results.table(table).drop_columns(TIMES.get(table, [])).to_pylist()
    return sorted(map(repr, found))


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL to send")
def test_a_worker_killed_at_half_time_costs_no_row_and_doubles_none(tmp_path: Path) -> None:
    tasks = cells(parse_spec(SPEC, "tiny.toml", tmp_path)).tasks
    assert len(tasks) == CELLS
    expected = sweep(tasks, tmp_path / "serial", Serial())
    killed = []
    with executor(2, "local") as pool:
        pids = pool._client.run(os.getpid)  # type: ignore[attr-defined]  # which only dask can tell

        def progress(done: int, total: int, failed: int) -> None:
            assert (total, failed) == (CELLS, 0)
            if done >= CELLS // 2 and not killed:
                killed.append(min(pids.values()))
                os.kill(killed[0], signal.SIGKILL)

        found = sweep(tasks, tmp_path / "cluster", pool, progress)
        after = pool._client.run(os.getpid)  # type: ignore[attr-defined]
    assert len(set(pids.values())) == 2
    assert killed[0] not in after.values()
    assert found.notes == expected.notes == []
    assert found.table("run").num_rows == CELLS
    assert set(found.table("cell").column("status").to_pylist()) == {"done"}
    for table in ("cell", "run", "agent", "leakage", "series"):
        there = rows(found, table)
        assert there == rows(expected, table)
        assert there
