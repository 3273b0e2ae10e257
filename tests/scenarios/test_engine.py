"""Cells are run once, kept, and found again, whatever comes in between."""

import dataclasses
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest

from agentsim.errors import UserError
from agentsim.record.results import load_results
from scenarios.executors import ProcessPool, Serial, WorkerDied
from scenarios.sweeps.engine import Failure, run_cells
from scenarios.sweeps.plain import canonical, decode, encode, key_of

pytest.importorskip("pyarrow")
pytest.importorskip("msgspec")

TOYS = '''
import os, random, sys, time
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet

from agentsim import Constraint, Domain, Problem, Variable
from agentsim.record import results_store
from scenarios.executors import Serial
from scenarios.sweeps.engine import run_cells
from scenarios.sweeps.recording import simulate


class Found(NamedTuple):
    cost: float
    times: tuple[int, ...]


def solve(seed: int) -> Found:
    domain = Domain("d", (0, 1, 2))
    names = ["a", "b", "c"]
    problem = Problem.build(
        [Variable(n, domain, unary=[(seed * k + i) % 5 for i in range(3)]) for k, n in enumerate(names)],
        [Constraint("ab", ("a", "b"), [[0, 9, seed % 7]] * 3), Constraint("bc", ("b", "c"), [[seed % 3, 0, 9]] * 3)],
    )
    result = simulate(problem, "dpop", seed=seed, network="uniform:1,3")
    return Found(float(result.cost), (seed, seed + 1))


def deadly(seed: int) -> Found:
    if seed == 3:
        os._exit(9)
    return solve(seed)


def work(folder: Path, cells: int) -> None:
    run_cells(solve, range(cells), name="toy", executor=Serial(), folder=folder, result_type=Found)


def main(folder: Path, cells: int, kills: int) -> None:
    """Have the work done by one process after the other, each of which is killed soon after its first part."""
    solve(0)  # all that is imported for it, once and for all
    results_store._LEAST_PAUSE_S = 0.0  # parts as fast as they can be written
    for _ in range(kills):
        before = count(folder)
        child = os.fork()
        if not child:
            work(folder, cells)
            os._exit(0)
        ended = os.WEXITED | os.WNOHANG | os.WNOWAIT
        while count(folder) == before and os.waitid(os.P_PID, child, ended) is None:
            time.sleep(0.001)
        time.sleep(random.uniform(0.0, 0.02))
        os.kill(child, 9)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9:
            print("killed")


def count(folder: Path) -> int:
    return sum(1 for _ in folder.glob("cell/part-*"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
'''


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A module that worker processes can import too."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "engine_toys.py").write_text(TOYS)
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    import importlib

    yield importlib.import_module("engine_toys")
    del sys.modules["engine_toys"]


class Task(NamedTuple):
    number: float
    text: str = ""


@dataclasses.dataclass(frozen=True)
class Answer:
    value: float
    parts: tuple[int, ...] = ()
    by_name: dict[int, float] = dataclasses.field(default_factory=dict)


def settled(folder: Path) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of a folder, without times and in an order of their own."""
    found = load_results(folder)
    assert found.notes == []
    rows = {}
    for name, table in found.tables.items():
        kept = table.drop_columns([c for c in table.column_names if c in ("wall_time", "startup_time", "seconds")])
        rows[name] = sorted((tuple(row.values()) for row in kept.to_pylist()), key=repr)
    return rows


class TestPlain:
    def test_keys_depend_on_the_task_as_data(self) -> None:
        assert key_of("n", Task(1.0)) == key_of("n", [1.0, ""]) == key_of("n", (1.0, ""))
        assert key_of("n", {"a": 1, "b": (2,)}) == key_of("n", {"b": [2], "a": 1})
        assert key_of("n", {3, 1, 2}) == key_of("n", {2, 3, 1})
        different: list[Any] = [
            1,
            1.0,
            True,
            "1",
            None,
            [1],
            {"1": 1},
            math.inf,
            -math.inf,
            math.nan,
            "inf",
            "Infinity",
        ]
        different += [{"$float": "inf"}, 10**30, -0.0, 0.0, "ü", "\ud800"]
        assert len({key_of("n", task) for task in different}) == len(different)
        assert key_of("n", 1) != key_of("m", 1)
        assert len(key_of("n", 1)) == 32

    def test_a_key_is_for_ever(self) -> None:
        """A key that changed would have finished cells run again."""
        assert canonical(["toy", Task(0.1, "x")]) == '["toy",[0.1,"x"]]'
        assert key_of("toy", Task(0.1, "x")) == "da4c4e4e90acf2efb5a222d469256c30"

    def test_what_is_written_is_read(self) -> None:
        values: list[Any] = [
            {"a": [1, 2.0, "x", None, True]},
            [math.inf, -math.inf, {"deep": math.inf}],
            {"$float": "inf"},
            {"$x": math.inf, "$$y": {"$float": 1}},
            '"$float"',
            10**40,
            0.1,
        ]
        for value in values:
            assert decode(encode(value)) == value
        assert math.isnan(decode(encode(math.nan)))
        answer = Answer(math.inf, (1, 2), {3: -math.inf})
        assert decode(encode(answer), Answer) == answer
        assert decode(encode([np.float64(2.5), np.int64(3), np.arange(2)])) == [2.5, 3, [0, 1]]
        with pytest.raises(TypeError, match="not plain data"):
            encode(object())
        with pytest.raises(ValueError, match="nested"):
            decode("[" * 10**5)


class TestRunning:
    def test_nothing_is_run_twice(self, tmp_path: Path) -> None:
        calls: list[float] = []

        def work(task: Task) -> Answer:
            calls.append(task.number)
            return Answer(task.number / 2, (1,), {7: math.inf})

        def run(*numbers: float) -> list[Any]:
            tasks = [Task(n) for n in numbers]
            return run_cells(work, tasks, name="t", executor=Serial(), folder=tmp_path, result_type=Answer)

        assert run(1.0, 2.0) == [Answer(0.5, (1,), {7: math.inf}), Answer(1.0, (1,), {7: math.inf})]
        assert [a.value for a in run(3.0, 2.0, 1.0, 3.0)] == [1.5, 1.0, 0.5, 1.5]
        assert calls == [1.0, 2.0, 3.0]
        assert load_results(tmp_path).cell.task.tolist() == ['[1.0,""]', '[2.0,""]', '[3.0,""]']

    def test_results_are_what_would_be_read_back(self, tmp_path: Path) -> None:
        for _ in range(2):
            found = run_cells(lambda n: (n, {2: n}), [1], name="t", executor=Serial(), folder=tmp_path)
            assert found == [[1, {"2": 1}]]

    def test_without_a_folder(self) -> None:
        told: list[tuple[int, int, int]] = []
        found = run_cells(
            lambda n: (n, object), [1, 2], name="t", executor=Serial(), progress=lambda *now: told.append(now)
        )
        assert found == [(1, object), (2, object)]
        assert told == [(0, 2, 0), (1, 2, 0), (2, 2, 0)]

    def test_progress_tells_what_was_there(self, tmp_path: Path) -> None:
        def run(tasks: list[int]) -> list[tuple[int, int, int]]:
            told: list[tuple[int, int, int]] = []
            run_cells(
                lambda n: 1 // n, tasks, name="t", executor=Serial(), folder=tmp_path, keep_failures=True,
                progress=lambda *now: told.append(now),
            )  # fmt: skip
            return told

        assert run([1, 0]) == [(0, 2, 0), (1, 2, 0), (2, 2, 1)]
        assert run([0, 1, 2, 2]) == [(2, 3, 1), (3, 3, 1)]

    def test_a_result_of_another_form(self, tmp_path: Path) -> None:
        run_cells(lambda n: "text", [1], name="t", executor=Serial(), folder=tmp_path, result_type=str)
        with pytest.raises(UserError, match=r"has a result of another form, of version 0\.\S+ \(Expected `int`"):
            run_cells(lambda n: 1, [1], name="t", executor=Serial(), folder=tmp_path, result_type=int)

    def test_damage_is_told_and_repaired(self, tmp_path: Path) -> None:
        for numbers in ([1, 2], [3]):
            run_cells(lambda n: n, numbers, name="t", executor=Serial(), folder=tmp_path)
        path = tmp_path / "agent" / "part-00001.parquet"
        path.write_bytes(path.read_bytes()[:-1])
        told: list[str] = []
        calls: list[int] = []
        found = run_cells(
            lambda n: calls.append(n) or n, [1, 2, 3], name="t", executor=Serial(), folder=tmp_path, tell=told.append
        )
        assert (found, calls) == ([1, 2, 3], [1, 2])
        assert len(told) == 1
        assert "agent/part-00001.parquet" in told[0]
        assert sorted(load_results(tmp_path).cell.task) == ["1", "2", "3"]


class TestFailures:
    def test_raised_once_what_is_finished_is_kept(self, tmp_path: Path) -> None:
        with pytest.raises(ZeroDivisionError):
            run_cells(lambda n: 1 // n, [1, 2, 0, 3], name="t", executor=Serial(), folder=tmp_path)
        assert load_results(tmp_path).cell.task.tolist() == ["1", "2"]

    def test_kept_as_rows(self, tmp_path: Path, toys: ModuleType) -> None:
        def work(n: int) -> int:
            toys.solve(n)
            if n == 2:
                raise ValueError("two\nlines")
            return n

        def early(n: int) -> int:
            if n:
                raise UserError("no such thing")
            return n

        found = run_cells(
            work, [1, 2], name="t", executor=Serial(), folder=tmp_path / "a", keep_failures=True, result_type=int
        )
        assert found[0] == 1
        assert isinstance(found[1], Failure)
        assert found[1].error == "ValueError: two lines"
        assert 'raise ValueError("two\\nlines")' in found[1].traceback
        results = load_results(tmp_path / "a")
        assert results.cell.status.tolist() == ["done", "failed"]
        assert results.cell.error.tolist()[1] == "ValueError: two lines"
        assert results.run.status.tolist() == ["optimal", "optimal"]  # the run itself went well
        again = run_cells(
            work, [1, 2], name="t", executor=Serial(), folder=tmp_path / "a", keep_failures=True, result_type=int
        )
        assert again == found

        bare = run_cells(work, [1, 2], name="t", executor=Serial(), keep_failures=True)
        assert isinstance(bare[1], Failure)

        run_cells(
            early, [0, 1], name="t", executor=Serial(), folder=tmp_path / "b", keep_failures=True,
            provenance=lambda n: {"solver": "dpop", "seed": n},
        )  # fmt: skip
        row = load_results(tmp_path / "b").table("run").to_pylist()
        assert [(r["solver"], r["seed"], r["status"], r["error"], r["cost"]) for r in row] == [
            ("dpop", 1, "refused", "UserError: no such thing", None)
        ]

    def test_run_again_when_asked(self, tmp_path: Path) -> None:
        good: list[int] = []

        def work(n: int) -> int:
            if n not in good:
                raise ValueError("not yet")
            return n

        def run(**options: Any) -> list[Any]:
            return run_cells(work, [1, 2], name="t", executor=Serial(), folder=tmp_path, **options)

        first = run(keep_failures=True)
        good += [1]
        assert run(keep_failures=True) == first
        found = run(keep_failures=True, retry_failed=True)
        assert found[0] == 1
        assert isinstance(found[1], Failure)
        good += [2]
        assert run() == [1, 2]  # who raises failures does not take old ones
        results = load_results(tmp_path)
        assert sorted(zip(results.cell.task, results.cell.status, strict=True)) == [("1", "done"), ("2", "done")]
        assert len(results.run) == 0

    def test_interrupted(self, tmp_path: Path) -> None:
        def work(n: int) -> int:
            if n == 3:
                raise KeyboardInterrupt
            return n

        with pytest.raises(KeyboardInterrupt):
            run_cells(work, range(9), name="t", executor=Serial(), folder=tmp_path, keep_failures=True)
        assert load_results(tmp_path).cell.task.tolist() == ["0", "1", "2"]


def test_a_pool_leaves_the_same_rows_and_a_death_is_one(tmp_path: Path, toys: ModuleType) -> None:
    tasks = list(range(6))
    here, there = tmp_path / "here", tmp_path / "there"
    expected = run_cells(toys.solve, tasks, name="t", executor=Serial(), folder=here, result_type=toys.Found)
    with ProcessPool(2) as pool:
        found = run_cells(
            toys.deadly, tasks, name="t", executor=pool, folder=there, keep_failures=True, result_type=toys.Found
        )
        assert [found[i] for i in (0, 1, 2, 4, 5)] == [expected[i] for i in (0, 1, 2, 4, 5)]
        assert isinstance(found[3], Failure)
        assert "ended with exit status 9" in found[3].error
        died = load_results(there)
        assert died.run.status.tolist().count("died") == 1
        assert died.cell.status.tolist().count("failed") == 1
    assert run_cells(toys.solve, tasks, name="t", executor=Serial(), folder=there, result_type=toys.Found) == expected
    assert settled(here) == settled(there)


def test_a_death_is_raised_where_failures_are_not_kept(tmp_path: Path) -> None:
    class Fatal(Serial):
        def map(self, function: Any, tasks: Any, *, died: Any = None) -> Iterator[tuple[int, Any]]:
            yield 0, function(tasks[0])
            assert died is None
            raise WorkerDied("it was at tasks[1]")

    for folder in (None, tmp_path):
        with pytest.raises(WorkerDied):
            run_cells(abs, [-1, -2], name="t", executor=Fatal(), folder=folder)
    assert run_cells(abs, [-1, -2], name="t", executor=Serial(), folder=tmp_path) == [1, 2]
    assert load_results(tmp_path).cell.task.tolist() == ["-1", "-2"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and kill -9")
def test_killed_at_random_moments(tmp_path: Path, toys: ModuleType) -> None:
    killed, whole, cells = tmp_path / "killed", tmp_path / "whole", 150
    # A process without threads forks what is to be killed: a tenth of a second each, instead of one.
    command = [sys.executable, "-m", "engine_toys", str(killed), str(cells), "5"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "modules")}
    told = subprocess.run(command, env=environment, check=True, timeout=120, stdout=subprocess.PIPE).stdout
    assert told.count(b"killed") >= 2
    there = load_results(killed)
    assert there.table("cell").num_rows >= 2
    assert len(there.cell.cell) == len(set(there.cell.cell)) == len(there.run)
    for folder in (killed, whole):
        toys.work(folder, cells)
    rows = settled(killed)
    assert rows == settled(whole)
    assert len(rows["cell"]) == cells
    assert not list(killed.glob("*/.part*"))
