"""Workers that die, in a pool and on a dask cluster: every result once, the right task blamed; and dask's manners."""

import importlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("distributed")
pytest.importorskip("pyarrow")
import agentsim
from agentsim.errors import UserError
from agentsim.record.results import load_results
from agentsim.runtime import registry
from scenarios.executors import (
    ClusterGone,
    ProcessPool,
    Serial,
    TaskFailed,
    WorkerDied,
    WorkerTraceback,
    cluster,
    executor,
    local,
)
from scenarios.executors.cluster import Dask
from scenarios.experiments.base import Experiment, Options, reproduce

TOYS = '''
"""Functions for workers to run."""
import os, threading, time
import agentsim

def square(x): return x * x
def pid(x): time.sleep(0.01); return os.getpid()
def nap(seconds): time.sleep(seconds); return seconds
def divide(x): return 6 // (x - 3)
def lock(x): return threading.Lock()
def stay(path):
    path.touch()
    time.sleep(600)

def fatal(task):
    number, deadly, folder = task
    with open(folder / str(number), "a") as file:
        file.write("x")
    if number == deadly:
        os._exit(3)
    time.sleep(0.01)
    return number

def solve(limits):
    assert threading.current_thread() is not threading.main_thread()
    result = agentsim.simulate(agentsim.load(PROBLEM), "adopt", **limits)
    return result.status, result.cost
'''
PROBLEM = Path("scenarios/problems/meetings.yaml").resolve()
Runner = ProcessPool | Dask


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The functions, in a module that workers find too: they get this process's sys.path."""
    site = tmp_path_factory.mktemp("site")
    (site / "cluster_toys.py").write_text(f"{TOYS}\nPROBLEM = {str(PROBLEM)!r}\n")
    sys.path.insert(0, str(site))
    importlib.invalidate_caches()
    yield importlib.import_module("cluster_toys")
    sys.path.remove(str(site))
    del sys.modules["cluster_toys"]


@pytest.fixture(scope="module")
def told() -> list[str]:
    return []


@pytest.fixture(scope="module")
def dask(toys: ModuleType, told: list[str]) -> Iterator[Dask]:
    with executor(2, "local", tell=told.append) as found:
        assert isinstance(found, Dask)
        yield found
        processes = alive()
        mine = [pid for pid, (parent, words) in processes.items() if parent == os.getpid() and local.__name__ in words]
        workers = [pid for pid, (parent, _) in processes.items() if parent in mine]
    assert len(mine) == 1
    assert len(workers) >= 2
    until = time.monotonic() + 5
    while {*mine, *workers} & alive().keys() and time.monotonic() < until:  # what tracks resources takes a moment
        time.sleep(0.01)
    assert not {*mine, *workers} & alive().keys(), "no process is left"


@pytest.fixture(scope="module")
def pool(toys: ModuleType) -> Iterator[ProcessPool]:
    with ProcessPool(2) as found:
        yield found


@pytest.fixture(params=["pool", "dask"])
def runner(request: pytest.FixtureRequest) -> Runner:
    found: Runner = request.getfixturevalue(request.param)
    return found


def alive() -> dict[int, tuple[int, str]]:
    """Return the parent and the command line of each living process."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            words = stat.with_name("cmdline").read_text()
        except OSError:  # it has just ended
            continue
        if fields[0] not in "ZX":
            found[int(stat.parent.name)] = (int(fields[1]), words)
    return found


# Deaths ------------------------------------------------------------------------------------------------------------


def test_a_worker_killed_in_the_midst_costs_nothing_but_time(runner: Runner, toys: ModuleType) -> None:
    seen, pids = [], set()
    for index, pid in runner.map(toys.pid, range(60)):
        seen.append(index)
        pids.add(pid)
        if len(seen) == 30:
            os.kill(pid, signal.SIGKILL)
    assert sorted(seen) == list(range(60))
    assert 2 <= len(pids) <= 3


def test_a_task_that_no_worker_survives_is_given_up_and_no_other(
    runner: Runner, toys: ModuleType, tmp_path: Path
) -> None:
    errors = []

    def died(index: int, error: WorkerDied) -> int:
        errors.append(str(error))
        return -index

    tasks = [(number, 9, tmp_path) for number in range(16)]
    assert sorted(runner.map(toys.fatal, tasks, died=died)) == [(i, -9 if i == 9 else i) for i in range(16)]
    assert len(errors) == 1
    assert "ended" in errors[0]
    assert "while it was at tasks[9] = (9, 9," in errors[0]
    assert errors[0].endswith("the last of 3 that did not survive it")
    begun = {int(path.name): len(path.read_text()) for path in tmp_path.iterdir()}
    assert 3 <= begun[9] <= 4, "once more if it was not alone at first"
    assert max(begun[i] for i in begun if i != 9) <= 2


# What a pool does, dask does ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 2, 500])
def test_every_result_comes_once(dask: Dask, toys: ModuleType, count: int) -> None:
    assert sorted(dask.map(toys.square, range(count))) == [(i, i * i) for i in range(count)]


def test_an_exception_is_raised_as_itself(dask: Dask, toys: ModuleType) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        list(dask.map(toys.divide, range(10)))
    assert caught.value.__notes__ == ["in tasks[3] = 3"]
    assert isinstance(caught.value.__cause__, WorkerTraceback)
    assert "in divide" in str(caught.value.__cause__)


def test_what_cannot_be_pickled_is_told(dask: Dask, toys: ModuleType) -> None:
    with pytest.raises(TaskFailed, match="cannot be pickled") as caught:
        list(dask.map(toys.lock, ["a task"]))
    assert caught.value.__notes__ == ["in tasks[0] = 'a task'"]
    with pytest.raises(Exception, match="pickle"):
        list(dask.map(lambda x: x, [1]))


def test_an_abandoned_map_stops_and_the_next_one_begins(dask: Dask, toys: ModuleType) -> None:
    first = dask.map(toys.nap, [0.0, *[0.3] * 50])
    next(first)
    with pytest.raises(RuntimeError, match="one map at a time"):
        list(dask.map(toys.square, [1]))
    first.close()
    began = time.monotonic()
    assert list(dask.map(toys.square, [3])) == [(0, 9)]
    assert time.monotonic() - began < 5, "what was not begun is cancelled"


def test_simulations_run_in_a_workers_thread(dask: Dask, toys: ModuleType) -> None:
    found = dict(dask.map(toys.solve, [{}, {"timeout": 60}, {"timeout": 1e-9}, {"max_messages": 5}]))
    assert found[0] == found[1] == ("optimal", 44)
    assert [found[2][0], found[3][0]] == ["timeout", "timeout"]


def test_an_experiment_finds_the_same_there_and_here_and_keeps_it(dask: Dask, tmp_path: Path) -> None:
    experiment: Experiment = registry.find("experiments", "vps-table2")(Options(instances=1))
    found = reproduce(experiment, dask, folder=tmp_path)
    assert found == reproduce(experiment, Serial())
    results = load_results(tmp_path)
    assert len(results.run) == len(results.cell) == len(experiment.tasks()) == 16
    assert set(results.run["version"]) == {agentsim.__version__}


# Clusters ----------------------------------------------------------------------------------------------------------


def test_the_dashboard_is_told_and_is_ours_alone(dask: Dask, told: list[str]) -> None:
    (words,) = told
    assert words.startswith("dashboard of the cluster: http://127.0.0.1:")


def test_an_address_is_another_way_in(dask: Dask, toys: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "__version__", "0.0.1")
    said: list[str] = []
    with executor(None, cluster._address(dask._client), tell=said.append) as other:
        assert sorted(other.map(toys.square, range(20))) == [(i, i * i) for i in range(20)]
    assert len(said) == 2, "each version is told once"
    assert "has agentsim 0.1" in said[1]
    assert said[1].endswith("here it is 0.0.1")
    assert list(dask.map(toys.square, [2])) == [(0, 4)], "the cluster goes on"


@pytest.mark.parametrize(
    ("address", "words"),
    [
        *(("127.0.0.1:1", "nobody answers there"), ("up://x:1", "up"), ("x", "port"), ("", "port"), ("tcp://", "port")),
        ("tls://127.0.0.1:1", "certificates"),
    ],
)
def test_an_address_that_leads_nowhere(monkeypatch: pytest.MonkeyPatch, address: str, words: str) -> None:
    monkeypatch.setattr(cluster, "_CONNECT_S", 0.2)
    with pytest.raises(UserError, match=rf"^--scheduler {address}: .*{words}") as caught:
        executor(None, address).__enter__()
    assert "\n" not in str(caught.value)


def test_options_that_do_not_go_together() -> None:
    with pytest.raises(UserError, match="--workers"):
        executor(2, "127.0.0.1:1")
    with pytest.raises(UserError, match="--workers 0"):
        executor(0, "local")


def test_without_dask_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'agentsim\[sweep\]'$"):
        executor(None, "local").__enter__()


def test_a_local_cluster_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "SCRIPT", "raise SystemExit('no room left')")
    with pytest.raises(ClusterGone, match=r"^the local cluster did not start: no room left$"):
        executor(1, "local").__enter__()


def test_a_scheduler_without_agentsim_is_named(dask: Dask, monkeypatch: pytest.MonkeyPatch, toys: ModuleType) -> None:
    stranger = ModuleType("only_here")
    exec("def work_off(chunk): ...", stranger.__dict__)
    monkeypatch.setitem(sys.modules, "only_here", stranger)
    monkeypatch.setattr(cluster, "work_off", stranger.work_off)
    with pytest.raises(UserError, match=r"^tcp://127.*: No module named 'only_here'; its scheduler"):
        list(dask.map(toys.square, [1]))


def test_a_worker_without_agentsim_is_named(dask: Dask, monkeypatch: pytest.MonkeyPatch, toys: ModuleType) -> None:
    monkeypatch.setattr(cluster, "_VERSION", "elsewhere.executors:__version__")
    with pytest.raises(UserError, match=r"^tcp://127.*: No module named 'elsewhere'; its scheduler and its workers"):
        list(dask.map(toys.square, [1]))
    monkeypatch.undo()
    assert list(dask.map(toys.square, [2])) == [(0, 4)], "the cluster goes on"
