"""Executors: every task's result once, exceptions as themselves, deaths that are told, and no process left behind."""

import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from agentsim.errors import FormatError
from scenarios.executors import ProcessPool, Serial, TaskFailed, WorkerDied, WorkerTraceback, chunks, cores, executor
from scenarios.executors import pool as pools

# Workers import what they run by its name, and test modules have none that they could import.
TOYS = '''
"""Functions for workers to run."""
import os, signal, sys, threading, time
from agentsim.errors import FormatError

class Own(Exception):
    def __init__(self, left, right):
        super().__init__(f"{left} and {right}")
        self.left, self.right = left, right

class Spoilt(Exception):
    """Its state cannot be pickled."""
    def __init__(self, words):
        super().__init__(words)
        self.lock = threading.Lock()

class Hopeless(Exception):
    """Its arguments cannot be pickled."""

def square(x): return x * x
def pid(x): time.sleep(0.01); return os.getpid()
def nap(seconds): time.sleep(seconds); return seconds
def divide(x): return 6 // (x - 3)
def misread(x): raise FormatError("p.yaml", "line 3", "no such thing")
def own(x): raise Own("this", x)
def missing(x): open("/nowhere/at all")
def decode(x): b"\\xff".decode("utf-8")
def spoilt(x): raise Spoilt("words")
def hopeless(x): raise Hopeless(threading.Lock())
def caused(x):
    try:
        {}["key"]
    except KeyError as error:
        raise Own(1, 2) from error
def lock(x): return threading.Lock()
def end(x): os._exit(7) if x == 2 else time.sleep(0.05)
def leave(x): sys.exit("a last word")
def killed(x): os.kill(os.getpid(), signal.SIGKILL)
def sees_interrupts(x): return signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())

def stay(folder):
    (folder / str(os.getpid())).touch()
    time.sleep(600)
'''

SCRIPT = """
import sys
from pathlib import Path
import toys
from scenarios.executors import executor

if __name__ == "__main__":
    try:
        with executor(2) as pool:
            list(pool.map(toys.stay, [Path(sys.argv[1])] * 5))
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    (folder / "toys.py").write_text(TOYS)
    (folder / "main.py").write_text(SCRIPT)
    return folder


@pytest.fixture(scope="module")
def toys(site: Path) -> Iterator[ModuleType]:
    """The functions, in a module that workers find too: they get this process's sys.path."""
    sys.path.insert(0, str(site))
    importlib.invalidate_caches()
    yield importlib.import_module("toys")
    sys.path.remove(str(site))
    del sys.modules["toys"]


@pytest.fixture(scope="module")
def pool(toys: ModuleType) -> Iterator[ProcessPool]:
    """A pool of two; a map that fails ends its workers, the next one starts others."""
    with ProcessPool(2) as found:
        yield found


@pytest.fixture(autouse=True)
def _nobody_is_left(pool: ProcessPool) -> Iterator[None]:
    """What a test starts beside the pool it also ends."""
    yield
    assert {p.pid for p in multiprocessing.active_children()} <= {w.process.pid for w in pool._started}


def session(leader: int) -> list[int]:
    """Return the living processes of a session."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(fields[3]) == leader and fields[0] not in "ZX":
            found.append(int(stat.parent.name))
    return found


# Results -----------------------------------------------------------------------------------------------------------


def test_a_number_of_workers_becomes_an_executor() -> None:
    assert isinstance(executor(0), Serial)
    assert isinstance(everyone := executor(None), ProcessPool)
    assert everyone.workers == cores() >= 1
    assert isinstance(three := executor(3), ProcessPool)
    assert three.workers == 3
    for make in (executor, ProcessPool):
        with pytest.raises(ValueError, match="workers=-1"):
            make(-1)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 1000])
def test_every_result_comes_once(pool: ProcessPool, toys: ModuleType, count: int) -> None:
    expected = [(i, (i + 5) ** 2) for i in range(count)]
    tasks = [i + 5 for i in range(count)]
    with executor(0) as serial:
        assert list(serial.map(toys.square, tasks)) == expected
    assert sorted(pool.map(toys.square, tasks)) == expected


def test_results_come_as_they_finish(pool: ProcessPool, toys: ModuleType) -> None:
    assert [i for i, _ in pool.map(toys.nap, [0.5, 0.0, 0.01, 0.02])] == [1, 2, 3, 0]


def test_a_pool_shares_the_work_and_keeps_its_workers(pool: ProcessPool, toys: ModuleType) -> None:
    first, second = ({result for _, result in pool.map(toys.pid, range(20))} for _ in range(2))
    assert first == second
    assert len(first) == 2
    assert os.getpid() not in first


def test_large_tasks_and_results_pass(pool: ProcessPool, toys: ModuleType) -> None:
    tasks = [bytes(3_000_000)] * 4
    assert [len(r) for _, r in pool.map(bytes, tasks)] == [3_000_000] * 4


class Handed(Sequence[float]):
    """Tasks that count how many were taken."""

    def __init__(self, tasks: list[float]) -> None:
        self.tasks, self.taken = tasks, 0

    def __len__(self) -> int:
        return len(self.tasks)

    def __getitem__(self, at):
        self.taken += len(self.tasks[at])
        return self.tasks[at]


def test_what_is_on_its_way_is_bounded(pool: ProcessPool, toys: ModuleType) -> None:
    tasks = Handed([chunks.CHUNK_S / 8] * 100)
    ahead = [tasks.taken - done for done, _ in enumerate(pool.map(toys.nap, tasks), start=1)]
    assert tasks.taken == 100
    assert 2 <= max(ahead) <= 3 * 8  # two chunks, and what of a third was not counted yet


def test_no_more_workers_start_than_there_are_tasks(toys: ModuleType) -> None:
    with ProcessPool(50) as pool:
        assert list(pool.map(toys.square, [3])) == [(0, 9)]
        assert len(pool._started) == 1


def test_one_map_at_a_time(pool: ProcessPool, toys: ModuleType) -> None:
    first = pool.map(toys.square, [1, 2, 3])
    next(first)
    with pytest.raises(RuntimeError, match="one map at a time"):
        list(pool.map(toys.square, [1]))
    first.close()
    assert not pool._started
    assert len(list(pool.map(toys.square, [1, 2]))) == 2


# Failures ----------------------------------------------------------------------------------------------------------


def test_an_exception_is_raised_as_itself(pool: ProcessPool, toys: ModuleType) -> None:
    for runner in (Serial(), pool):
        with pytest.raises(ZeroDivisionError) as caught:
            list(runner.map(toys.divide, range(10)))
        assert caught.value.__notes__ == ["in tasks[3] = 3"]
    assert isinstance(caught.value.__cause__, WorkerTraceback)
    assert "in divide" in str(caught.value.__cause__)
    assert not pool._started, "the rest is given up"


def test_exceptions_whose_constructors_differ(pool: ProcessPool, toys: ModuleType) -> None:
    with pytest.raises(FormatError) as read:
        list(pool.map(toys.misread, [0]))
    assert (str(read.value), read.value.place) == ("p.yaml: line 3: no such thing", "line 3")
    with pytest.raises(toys.Own, match=r"^this and 0\n") as own:
        list(pool.map(toys.own, [0]))
    assert (own.value.left, own.value.right) == ("this", 0)
    with pytest.raises(FileNotFoundError) as missing:
        list(pool.map(toys.missing, [0]))
    assert missing.value.filename == "/nowhere/at all"


def test_builtin_exceptions_and_causes(pool: ProcessPool, toys: ModuleType) -> None:
    with pytest.raises(UnicodeDecodeError, match="invalid start byte"):
        list(pool.map(toys.decode, [0]))
    with pytest.raises(toys.Own) as caught:
        list(pool.map(toys.caused, [0]))
    assert "KeyError: 'key'" in str(caught.value.__cause__)


def test_exceptions_that_cannot_be_pickled(pool: ProcessPool, toys: ModuleType) -> None:
    with pytest.raises(toys.Spoilt, match=r"^words\n"):
        list(pool.map(toys.spoilt, [0]))
    with pytest.raises(TaskFailed, match=r"Hopeless: <unlocked _thread.lock"):
        list(pool.map(toys.hopeless, [0]))


def test_functions_tasks_and_results_that_cannot_be_pickled(pool: ProcessPool, toys: ModuleType) -> None:
    with pytest.raises(TaskFailed, match="cannot be pickled") as caught:
        list(pool.map(toys.lock, ["a task"]))
    assert caught.value.__notes__ == ["in tasks[0] = 'a task'"]
    with pytest.raises(Exception, match="pickle") as unsent:
        list(pool.map(lambda x: x, [1]))
    assert "while sending tasks[0] = 1" in unsent.value.__notes__[0]
    with pytest.raises(TypeError, match="pickle"):
        list(pool.map(toys.square, [1, (i for i in ())]))


def test_a_module_that_workers_cannot_import(
    pool: ProcessPool, toys: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = ModuleType("nowhere_to_be_found")
    exec("def f(x): return x", nowhere.__dict__)
    monkeypatch.setitem(sys.modules, nowhere.__name__, nowhere)
    with pytest.raises(ModuleNotFoundError, match="nowhere_to_be_found"):
        list(pool.map(nowhere.f, [1]))


@pytest.mark.parametrize(
    ("function", "how"),
    [
        ("end", r"ended with exit status 7 while it was at tasks\[2\] = 2, the last of 3 that did not survive it$"),
        ("killed", r"was killed by SIGKILL \(as the system does when memory runs out\) while it was at tasks\["),
        ("leave", "ended with exit status 1"),
    ],
)
def test_a_worker_that_dies_is_told(
    pool: ProcessPool, toys: ModuleType, capfd: pytest.CaptureFixture[str], function: str, how: str
) -> None:
    with pytest.raises(WorkerDied, match=how):
        list(pool.map(getattr(toys, function), range(8)))
    assert not pool._started
    capfd.readouterr()


def test_a_worker_that_died_between_maps_is_replaced(toys: ModuleType) -> None:
    with ProcessPool(1) as pool:
        (pid,) = (result for _, result in pool.map(toys.pid, [0]))
        os.kill(pid, signal.SIGTERM)
        pool._started[0].process.join()
        assert list(pool.map(toys.square, [1, 2])) == [(0, 1), (1, 4)]


def test_results_before_an_exception_are_not_lost(pool: ProcessPool, toys: ModuleType) -> None:
    done: list[int] = []

    def gather() -> None:
        for index, _ in pool.map(toys.divide, [*range(4, 2000), 3]):
            done.append(index)

    with pytest.raises(ZeroDivisionError):
        gather()
    assert len(done) > 1500, "all before the last chunk of one worker, at least"


# The account of work -----------------------------------------------------------------------------------------------


def account(count: int, hands: int = 1) -> chunks.Work[int, int]:
    return chunks.Work(abs, range(count), hands, lambda index, error: -index)


def test_chunks_grow_to_what_takes_a_tenth_of_a_second() -> None:
    work = account(1000)
    sizes = []
    while span := work.next():
        sizes.append(len(span))
        found, error = work.taken(span, chunks.Answer(list(span), len(span) * chunks.CHUNK_S / 50))
        assert (found, error) == ([(i, i) for i in span], None)
    assert sizes[:8] == [1, 2, 4, 8, 16, 32, 50, 50]
    assert sum(sizes) == 1000


def test_what_a_chunk_had_no_time_for_is_given_out_again() -> None:
    work = account(10)
    work.taken(work.next() or range(0), chunks.Answer([0], 1e-6))
    assert (span := work.next()) == range(1, 3)
    assert work.taken(span, chunks.Answer([1], 9.0)) == ([(1, 1)], None)
    assert [work.next(), work.next()] == [range(2, 3), range(3, 4)]


def test_long_tasks_are_handed_in_before_their_chunk_is_done(toys: ModuleType) -> None:
    work = chunks.Work(toys.nap, [3 * chunks.CHUNK_S, 0.0, 0.0], 1, None)
    answer = chunks.Answer.read(chunks.work_off(work.pack(range(3))))
    assert (answer.results, answer.failure) == ([3 * chunks.CHUNK_S], None)


def test_only_a_task_that_was_alone_is_held_to_account() -> None:
    work = account(4)
    work.taken(work.next() or range(0), chunks.Answer([0], 1e-6))
    for _ in range(chunks.ATTEMPTS):
        assert work.lost(work.next() or range(0), "died") == []
    assert [work.next() for _ in range(3)] == [range(1, 2), range(2, 3), range(3, 4)]
    assert work.lost(range(1, 2), "died") == [(1, -1)]
    assert not work.waits


# Ctrl-C ------------------------------------------------------------------------------------------------------------


def test_workers_do_not_see_ctrl_c(pool: ProcessPool, toys: ModuleType) -> None:
    assert [r for _, r in pool.map(toys.sees_interrupts, [0, 1])] == [False, False]


def test_ctrl_c_while_workers_start_is_put_off() -> None:
    reached = []

    def start() -> None:
        with pools._uninterrupted():
            os.kill(os.getpid(), signal.SIGINT)
            reached.append(True)

    with pytest.raises(KeyboardInterrupt):
        start()
    assert reached
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc")
@pytest.mark.parametrize(("number", "everyone", "status"), [(signal.SIGINT, True, 130), (signal.SIGKILL, False, -9)])
def test_no_worker_outlives_its_owner(
    site: Path, tmp_path: Path, number: signal.Signals, everyone: bool, status: int
) -> None:
    owner = subprocess.Popen(
        [sys.executable, site / "main.py", tmp_path], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(session(owner.pid)) >= 3
    began = time.monotonic()
    (os.killpg if everyone else os.kill)(owner.pid, number)  # a terminal tells all of them
    _, words = owner.communicate(timeout=30)
    assert (owner.returncode, words) == (status, "")
    while session(owner.pid) and time.monotonic() < began + 10:
        time.sleep(0.02)
    assert session(owner.pid) == []
    assert time.monotonic() - began < 5
