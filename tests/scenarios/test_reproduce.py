"""`agentsim reproduce`: JSON, tables and files of an experiment, and its manners when something is wrong."""

import csv
import importlib
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from agentsim.record.results import load_results
from agentsim.runtime import registry
from scenarios.cli import main
from scenarios.executors import ClusterGone, ProcessPool, Serial
from scenarios.experiments.base import Experiment, Options, Outcome, reproduce

TOYS = '''"""Table 0 of Nobody (2001): squares.

More words.
"""
import math, os, time
from agentsim.errors import UserError
from scenarios.experiments.base import Experiment, main_of

class Toy(Experiment):
    name = "toy"
    columns = ("kind", "ours", "paper_mean")
    key_columns = 1

    def tasks(self):
        return [(self.options.seed, i) for i in range(10 if self.options.full else self.options.instances or 3)]

    @staticmethod
    def run_task(task):
        if "TOY_RUNS" in os.environ:
            with open(os.environ["TOY_RUNS"], "a") as file:
                file.write(f"{task[1]} ")
        return task[0] + task[1] ** 2

    def rows(self, results):
        return [{"kind": f"instance [{i}]", "ours": r, "paper_mean": math.inf, "more": [i, None]}
                for i, r in enumerate(results)] + [{"kind": "total", "ours": sum(results), "paper_mean": None}]

    def notes(self, rows):
        return [f"The total is {rows[-1]['ours']}."]

class Fails(Toy):
    name = "toy-fails"

    @staticmethod
    def run_task(task):
        return 1 // (task[1] - 2)

class Refuses(Toy):
    name = "toy-refuses"

    @classmethod
    def run_task(cls, task):
        raise UserError(f"{cls.name}: no problem files\\nhere")

class Dies(Toy):
    name = "toy-dies"

    @staticmethod
    def run_task(task):
        os._exit(9)

class Slow(Toy):
    name = "toy-slow"

    @staticmethod
    def run_task(task):
        if task[1] < int(os.environ.get("TOY_QUICK", 0)):
            return 0
        if "TOY_STARTED" in os.environ:
            open(os.environ["TOY_STARTED"], "w").close()
        time.sleep(task[0])
        return 0

if __name__ == "__main__":
    main_of("toy")
'''
CLASSES = {"toy": "Toy", "toy-fails": "Fails", "toy-refuses": "Refuses", "toy-dies": "Dies", "toy-slow": "Slow"}
ENTRY = "import sys; sys.argv[0] = 'agentsim'; from scenarios.cli import main; main()"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which another package has registered experiments."""
    folder = tmp_path_factory.mktemp("site")
    info = folder / "toys-1.0.dist-info"
    info.mkdir()
    (folder / "toy_experiments.py").write_text(TOYS)
    entries = [f"{name} = toy_experiments:{attribute}" for name, attribute in CLASSES.items()]
    (info / "entry_points.txt").write_text("\n".join(["[agentsim.experiments]", *entries, "gone = toy_experiments:No"]))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1.0\n")
    return folder


@pytest.fixture(autouse=True)
def _registered(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(site)
    registry._entries.cache_clear()
    yield
    registry._entries.cache_clear()


def run(*args: object) -> Result:
    return CliRunner().invoke(main, ["reproduce", *map(str, args)], prog_name="agentsim")


def environment(site: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(site)}


def command(*args: object) -> list[str]:
    return [sys.executable, "-c", ENTRY, "reproduce", *map(str, args)]


def one_line(result: Result) -> str:
    assert result.exit_code == 2, (result.stdout, result.stderr)
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1, result.stderr
    assert "Traceback" not in result.stderr
    return result.stderr


def toy(name: str = "toy", **options: int) -> Experiment:
    return registry.find("experiments", name)(Options(**options))


# In Python ---------------------------------------------------------------------------------------------------------


def test_rows_are_made_of_results_in_the_order_of_tasks() -> None:
    seen: list[tuple[int, int, int]] = []
    outcome = reproduce(toy(instances=4), Serial(), lambda *told: seen.append(told))
    assert [row["ours"] for row in outcome.rows] == [0, 1, 4, 9, 14]
    assert outcome.notes == ["The total is 14."]
    assert seen == [(0, 4, 0), (1, 4, 0), (2, 4, 0), (3, 4, 0), (4, 4, 0)]


def test_an_outcome_has_these_keys_and_no_infinite_numbers() -> None:
    found = Outcome("e", [{"a": float("inf"), "b": (1, float("nan"))}], ["A note."]).to_json()
    assert found == {"experiment": "e", "rows": [{"a": "inf", "b": [1, None]}], "notes": ["A note."]}


def test_workers_find_what_they_find_here() -> None:
    alone = reproduce(toy(instances=40, seed=3), Serial())
    with ProcessPool(2) as pool:
        assert reproduce(toy(instances=40, seed=3), pool) == alone


def test_an_experiment_must_say_what_it_does() -> None:
    with pytest.raises(TypeError, match=r"abstract.*rows.*run_task.*tasks"):
        Experiment(Options())


# The command -------------------------------------------------------------------------------------------------------


def test_json() -> None:
    result = run("toy", "--json", "--workers", 0)
    found = json.loads(result.stdout)
    assert (result.exit_code, result.stderr) == (0, "")
    assert set(found) == {"experiment", "rows", "notes"}
    assert (found["experiment"], found["notes"]) == ("toy", ["The total is 5."])
    assert found["rows"][1] == {"kind": "instance [1]", "ours": 1, "paper_mean": "inf", "more": [1, None]}


def test_options_reach_the_experiment() -> None:
    def ours(*args: object) -> list[int]:
        return [row["ours"] for row in json.loads(run("toy", "--json", "--workers", 0, *args).stdout)["rows"]]

    assert ours("--instances", 2, "--seed", 7) == [7, 8, 15]
    assert len(ours("--full")) == 11


def test_a_table_and_the_notes() -> None:
    shown = run("toy", "--workers", 0).stdout
    assert shown.split()[:4] == ["kind", "ours", "paper", "mean"]
    assert "instance [1]" in shown
    assert "more" not in shown
    assert shown.endswith("The total is 5.\n")


def test_files_hold_what_is_printed(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "results"
    result = run("toy", "--json", "--workers", 0, "-o", folder)
    assert result.exit_code == 0, result.stderr
    assert json.loads((folder / "toy.json").read_text()) == json.loads(result.stdout)
    with (folder / "toy.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[1] == {"kind": "instance [1]", "ours": "1", "paper_mean": "inf", "more": "[1, null]"}
    assert rows[-1] == {"kind": "total", "ours": "5", "paper_mean": "", "more": ""}
    assert sorted(path.name for path in folder.iterdir()) == ["toy", "toy.csv", "toy.json", "toy.txt"]
    assert (folder / "toy.txt").read_text() == "The total is 5.\n"
    assert run("toy", "--workers", 0, "-o", folder).exit_code == 0, "written anew"


def test_what_cannot_be_written_to_is_told_before_the_work(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert "it is a file" in one_line(run("toy-fails", "--workers", 0, "-o", file))
    assert "cannot make it" in one_line(run("toy-fails", "--workers", 0, "-o", file / "below"))


def test_results_that_cannot_be_written_are_shown_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "toy.csv").mkdir()
    result = run("toy", "--json", "--workers", 0, "-o", tmp_path)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "cannot write: Is a directory" in result.stderr
    assert json.loads(result.stdout)["rows"]


def test_what_a_user_gets_wrong_is_one_line() -> None:
    assert "there are" in (line := one_line(run("nope")))
    assert "toy-fails" in line
    assert "--instances" in one_line(run("toy", "--instances", 0))
    assert "--workers" in one_line(run("toy", "--workers", -1))
    assert "--seed" in one_line(run("toy", "--seed", -1))
    assert "gone cannot be loaded" in one_line(run("gone"))
    assert r"toy-refuses: no problem files\nhere" in one_line(run("toy-refuses", "--workers", 0))


def test_what_an_experiment_refuses_in_a_worker_is_one_line() -> None:
    assert r"toy-refuses: no problem files\nhere" in one_line(run("toy-refuses", "--workers", 1))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_task_that_fails_is_exit_1_with_its_traceback(workers: int) -> None:
    result = run("toy-fails", "--workers", workers)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "return 1 // (task[1] - 2)" in result.stderr
    assert "in tasks[2] = (0, 2)" in result.stderr


def test_a_worker_that_dies_is_exit_1_in_a_line() -> None:
    result = run("toy-dies", "--workers", 1, "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    where = "tasks[0] = (0, 0), the last of 3 that did not survive it"
    assert result.stderr == f"agentsim: a worker process ended with exit status 9 while it was at {where}\n"


def test_list_shows_the_first_line_of_the_module() -> None:
    result = CliRunner().invoke(main, ["list", "experiments", "--json"])
    rows = {row["name"]: row for row in json.loads(result.stdout)["experiments"]}
    assert rows["toy"]["summary"] == "Table 0 of Nobody (2001): squares."
    assert rows["gone"]["status"] == "broken"


def test_an_experiments_module_is_a_script(site: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "toy_experiments", "--instances", "2", "--workers", "1", "--json"],
        **{"capture_output": True, "text": True, "timeout": 60, "env": environment(site), "check": False},
    )
    assert done.stderr == ""
    assert json.loads(done.stdout)["notes"] == ["The total is 1."]


# What is kept ------------------------------------------------------------------------------------------------------


def test_what_is_kept_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow")
    runs = tmp_path / "runs"
    monkeypatch.setenv("TOY_RUNS", str(runs))
    first = run("toy", "--json", "--workers", 0, "-o", tmp_path)
    assert (first.exit_code, first.stderr, runs.read_text()) == (0, "", "0 1 2 ")
    again = run("toy", "--json", "--workers", 0, "-o", tmp_path)
    assert again.stderr == "agentsim: 3 of 3 cells are there already\n"
    assert again.stdout == first.stdout
    more = run("toy", "--json", "--workers", 0, "-o", tmp_path, "--instances", 5)
    assert more.stderr == "agentsim: 3 of 5 cells are there already\n"
    assert [row["ours"] for row in json.loads(more.stdout)["rows"]] == [0, 1, 4, 9, 16, 30]
    run("toy", "--json", "--workers", 0, "-o", tmp_path, "--seed", 1)
    assert runs.read_text() == "0 1 2 3 4 0 1 2 "
    assert len(load_results(tmp_path / "toy").cell) == 8
    monkeypatch.delenv("TOY_RUNS")
    assert run("toy", "--json", "--workers", 0).stdout == first.stdout, "without -o nothing is looked up"


def test_what_is_finished_before_a_failure_is_kept(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    for said in ("", "agentsim: 2 of 3 cells are there already\n"):
        result = run("toy-fails", "--workers", 0, "-o", tmp_path)
        assert result.exit_code == 1
        assert result.stderr.startswith(f"{said}Traceback" if said else "Traceback")
    assert len(load_results(tmp_path / "toy-fails").cell) == 2


def test_a_folder_of_something_else_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    assert run("toy", "--workers", 0, "-o", tmp_path).exit_code == 0
    (tmp_path / "toy").rename(tmp_path / "toy-slow")
    assert "holds results of experiment 'toy'" in one_line(run("toy-slow", "--workers", 0, "-o", tmp_path))


def test_without_the_extra_nothing_is_kept_and_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module("scenarios.commands.reproduce"), "find_spec", lambda name: None)
    assert "pip install 'agentsim[sweep]'" in one_line(run("toy", "--workers", 0, "-o", tmp_path))
    assert run("toy", "--workers", 0).exit_code == 0, "nor is it needed without -o"


def test_a_scheduler_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    from scenarios.executors import cluster

    monkeypatch.setattr(cluster, "_CONNECT_S", 0.2)
    assert "nobody answers there" in one_line(run("toy", "--scheduler", "127.0.0.1:1"))
    assert "--workers" in one_line(run("toy", "--scheduler", "127.0.0.1:1", "--workers", 2))


def test_a_cluster_that_goes_away_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow")
    first = type(toy()).run_task

    def work(task: tuple[int, int]) -> int:
        if task[1] == 2:
            raise ClusterGone("tcp://x:1: the scheduler of the cluster is gone")
        return first(task)

    monkeypatch.setattr(type(toy()), "run_task", staticmethod(work))
    result = run("toy", "--workers", 0, "-o", tmp_path)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert "is gone: 2 of 3 cells are kept in" in result.stderr


def test_sigterm_on_a_local_cluster_loses_nothing(site: Path, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    pytest.importorskip("pyarrow")
    started = tmp_path / "started"
    args = ("toy-slow", "--seed", 600, "-o", tmp_path, "--json")
    running = subprocess.Popen(
        command(*args, "--scheduler", "local", "--workers", 1),
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True},
        env={**environment(site), "TOY_STARTED": str(started), "TOY_QUICK": "2"},
    )
    deadline = time.monotonic() + 60
    while not started.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGTERM)
    out, err = running.communicate(timeout=30)
    dashboard, words = err.splitlines()
    assert (running.returncode, out) == (143, "")
    assert dashboard.startswith("agentsim: dashboard of the cluster: http://127.0.0.1:")
    # A cell that a worker has done may still be on its way to us when the signal comes: then it is not among the kept.
    kept = sorted(json.loads(task)[1] for task in load_results(tmp_path / "toy-slow").cell["task"])
    assert kept in ([], [0], [1], [0, 1])
    said = f"interrupted: {len(kept)} of 3 cells are kept in {tmp_path / 'toy-slow'}; the same command goes on"
    assert words == f"agentsim: {said}"


# Terminals ---------------------------------------------------------------------------------------------------------


def test_progress_is_shown_on_a_terminal_only(site: Path) -> None:
    args = ("toy-slow", "--seed", 1, "--instances", 2, "--workers", 0, "--json")
    primary, secondary = pty.openpty()
    shown: list[bytes] = []

    def drain() -> None:
        try:
            while data := os.read(primary, 4096):
                shown.append(data)
        except OSError:  # the other side is closed
            pass

    reader = threading.Thread(target=drain)
    reader.start()
    done = subprocess.run(
        command(*args), stdout=subprocess.PIPE, stderr=secondary, timeout=60, env=environment(site), check=False
    )
    os.close(secondary)
    reader.join()
    os.close(primary)
    text = b"".join(shown)
    assert json.loads(done.stdout)["experiment"] == "toy-slow"
    for words in (b"toy-slow", b"0/2", b"1/2", b"2/2", b"0:00:01", b"left"):
        assert words in text
    assert run("toy", "--workers", 0, "--json").stderr == ""


@pytest.mark.parametrize("workers", [0, 2])
def test_ctrl_c_ends_it_in_a_line(site: Path, tmp_path: Path, workers: int) -> None:
    started = tmp_path / "started"
    running = subprocess.Popen(
        command("toy-slow", "--seed", 600, "--workers", workers),
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True},
        env={**environment(site), "TOY_STARTED": str(started)},
    )
    deadline = time.monotonic() + 60
    while not started.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGINT)  # a terminal tells all of them
    out, err = running.communicate(timeout=30)  # which ends when no worker holds standard error any more
    assert (running.returncode, out) == (130, "")
    assert err.strip() == "agentsim: interrupted"
