"""Tests run in forks: collected once, then each mutant in a child of its own, in memory only.

Collecting a package's tests costs seconds, most tests take milliseconds. So a server collects, and its children change
the code of the living functions before they run a test. What runs while modules are imported (constants, classes,
default arguments) is not changed so: then a child of the process that has imported nothing of ours puts the mutated
module in place by an import hook and collects for itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib.abc
import importlib.machinery
import importlib.util
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import coverage
import pytest
from hypothesis import Phase, settings

sys.path.insert(0, str(Path(__file__).resolve().parent))  # for pytest, which imports each file alone

from operators import mutated

ROOT = Path(__file__).resolve().parents[2]
IMPORTED_ONCE = ("numpy", "msgpack", "networkx", "yaml", "click", "rich", "structlog", "pytest_asyncio")
MEMORY = 6 << 30  # bytes of address space that a test may have
IDLE = 20.0  # seconds: a test that sleeps so long, and three times as long as it takes, never wakes
IN_FUNCTION = 0x1  # CO_OPTIMIZED: the code of a function, not of a module or a class

Message = tuple[Any, ...]
Covered = tuple[float, dict[str, list[int]]] | None


@dataclass(frozen=True, slots=True)
class Test:
    """A test, and the CPU seconds it takes when nothing is wrong."""

    name: str
    cpu: float

    @property
    def limit(self) -> float:
        """CPU seconds after which it counts as endless."""
        return 3 * self.cpu + 5


@dataclass(frozen=True, slots=True)
class Trial:
    """A mutant and the tests that may kill it, in the order in which they are run."""

    path: str
    number: int
    tests: tuple[Test, ...]
    reload: bool  # the line runs at import
    budget: float  # CPU seconds
    left_out: int = 0  # tests that the budget has no room for


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a trial: `killed`, `timeout` or `survived`; the test that did it, and how."""

    what: str
    test: str | None = None
    how: str | None = None
    tests: int = 0
    cpu: float = 0.0


class NeedsReload(Exception):
    """The mutant is in no living function."""


# Processes ------------------------------------------------------------------------------------------------------------


def import_once() -> None:
    """Import what is not ours, so that no child has to."""
    for name in IMPORTED_ONCE:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def fork(work: Callable[[Connection], None]) -> tuple[int, Connection]:
    """Run `work` in a child that dies with its parent; return its id and our end of the pipe."""
    ours, theirs = Pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        theirs.close()
        return pid, ours
    try:
        ours.close()
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        work(theirs)
    except BaseException:
        with contextlib.suppress(OSError):
            theirs.send(("error", traceback.format_exc()[-500:]))
    finally:
        os._exit(0)


def _silent() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)


def _watched(work: Callable[[Connection], None], patience: float) -> tuple[list[Message], int]:
    """Run `work` in a child; return what it sent and its wait status. A child that sleeps too long is killed."""
    scratch = tempfile.mkdtemp(prefix="mutant-")

    def prepared(pipe: Connection) -> None:
        tempfile.tempdir = os.environ["PYTEST_DEBUG_TEMPROOT"] = scratch
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        work(pipe)

    pid, pipe = fork(prepared)
    sent: list[Message] = []
    used, since, status = -1.0, time.monotonic(), None
    while not (sent and sent[-1][0] in ("end", "error")):
        if pipe.poll(1.0):
            try:
                sent.append(pipe.recv())
            except EOFError:
                break
            since = time.monotonic()
        elif (ended := os.waitpid(pid, os.WNOHANG))[0]:  # a child of the child may have the pipe still
            status = ended[1]
            break
        else:
            asleep, now = _state(pid)
            if not asleep or now > used:
                used, since = now, time.monotonic()
            elif time.monotonic() - since > patience:
                os.kill(pid, signal.SIGPROF)
    pipe.close()
    if status is None:
        status = os.waitpid(pid, 0)[1]
    shutil.rmtree(scratch, ignore_errors=True)
    return sent, status


def _state(pid: int) -> tuple[bool, float]:
    """Return whether a process sleeps, and its CPU ticks."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return fields[0] in "SD", float(fields[11]) + float(fields[12])


# Mutants --------------------------------------------------------------------------------------------------------------


def _code(trial: Trial) -> tuple[CodeType, CodeType]:
    """Return a module's code as it is, and mutated."""
    file = str(ROOT / trial.path)
    source = Path(file).read_text(encoding="utf-8")
    changed = mutated(source, trial.number)
    return compile(source, file, "exec", dont_inherit=True), compile(changed, file, "exec", dont_inherit=True)


def _own(code: CodeType) -> tuple[Any, ...]:
    """Return what a code object does, without the functions in it."""
    constants = [repr(c) for c in code.co_consts if not isinstance(c, CodeType)]
    names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
    return code.co_code, constants, names, code.co_exceptiontable, code.co_argcount, code.co_kwonlyargcount


def _nested(code: CodeType) -> list[CodeType]:
    return [c for c in code.co_consts if isinstance(c, CodeType)]


def _differing(old: CodeType, new: CodeType, at_import: bool = True) -> Iterator[tuple[CodeType, CodeType]]:
    """Yield the functions whose code differs, or the code of one in them; raise NeedsReload if it runs at import."""
    at_import = at_import and not old.co_flags & IN_FUNCTION
    if at_import and _own(old) != _own(new):
        raise NeedsReload
    if old.co_flags & IN_FUNCTION:
        yield old, new
    inner_old, inner_new = _nested(old), _nested(new)
    if len(inner_old) == len(inner_new):
        for pair in zip(inner_old, inner_new, strict=True):
            if _differs(*pair):
                yield from _differing(*pair, at_import)


def _differs(old: CodeType, new: CodeType) -> bool:
    inner_old, inner_new = _nested(old), _nested(new)
    return (
        _own(old) != _own(new)
        or len(inner_old) != len(inner_new)
        or any(_differs(*pair) for pair in zip(inner_old, inner_new, strict=True))
    )


def _change_living(trial: Trial, functions: Sequence[FunctionType]) -> None:
    """Put the mutant into those of the living functions that it changes."""
    old, new = _code(trial)
    living = [function for function in functions if function.__code__.co_filename == old.co_filename]
    changed = 0
    for before, after in _differing(old, new):
        for function in living:
            code = function.__code__
            if (code.co_qualname, code.co_firstlineno) != (before.co_qualname, before.co_firstlineno):
                continue
            if _own(code) != _own(before):  # two on one line
                raise NeedsReload
            try:
                function.__code__ = after
            except ValueError:  # it closes over fewer names
                raise NeedsReload from None
            changed += 1
    if not changed:
        raise NeedsReload


class _Hook(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives one module its mutant."""

    def __init__(self, trial: Trial) -> None:
        self.file = ROOT / trial.path
        parts = Path(trial.path).with_suffix("").parts
        self.is_package = parts[-1] == "__init__"
        self.name = ".".join(parts[:-1] if self.is_package else parts)
        self.code = _code(trial)[1]

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if fullname != self.name:
            return None
        inside = [str(self.file.parent)] if self.is_package else None
        return importlib.util.spec_from_file_location(
            fullname, self.file, loader=self, submodule_search_locations=inside
        )

    def create_module(self, spec: Any) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        exec(self.code, module.__dict__)


# pytest ---------------------------------------------------------------------------------------------------------------


class Runner:
    """A pytest plugin that hands the collected tests to `serve`, in place of pytest's own loop."""

    def __init__(self, serve: Callable[[Runner], None]) -> None:
        self._serve = serve
        self.items: dict[str, pytest.Item] = {}
        self.functions: list[FunctionType] = []
        self.failure: tuple[str, str] | None = None
        self.meter: coverage.Coverage | None = None
        self.running = ""

    def pytest_sessionstart(self) -> None:
        # A failure is enough, no smaller one is looked for.
        settings.register_profile("mutants", settings.get_profile("ci"), phases=(Phase.explicit, Phase.generate))
        settings.load_profile("mutants")

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if not session.testsfailed:
            self.items = {item.nodeid: item for item in session.items}
            self.functions = [f for f in gc.get_objects() if type(f) is FunctionType and _is_ours(f)]
            gc.freeze()  # children share the memory
            self._serve(self)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and self.failure is None:
            crash = getattr(report.longrepr, "reprcrash", None)
            self.failure = report.when or "", str(getattr(crash, "message", report.longrepr))[:200]

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Any:
        """Count the lines of a fixture that many tests share for each of them, not for the first alone."""
        if self.meter is None or fixturedef.scope == "function":
            return (yield)
        self.meter.switch_context(_context(fixturedef))
        result = yield
        self.meter.switch_context(self.running)
        return result

    def fixtures(self, name: str) -> list[str]:
        """Return the contexts of the shared fixtures that a test has."""
        found = getattr(self.items[name], "_fixtureinfo").name2fixturedefs.values()  # noqa: B009
        return [_context(fixture) for fixtures in found for fixture in fixtures if fixture.scope != "function"]

    def forget(self, name: str) -> None:
        """Empty the caches of a test's module: what the first test computes, each one touches."""
        for thing in vars(getattr(self.items[name], "module", None) or object).copy().values():
            if callable(clear := getattr(thing, "cache_clear", None)):
                clear()

    def run(self, name: str, following: str | None) -> tuple[str, str] | None:
        """Run one test; return where and why it failed, if it did."""
        self.failure, self.running = None, name
        item = self.items[name]
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=self.items[following] if following else None)
        return self.failure


def _context(fixture: pytest.FixtureDef[Any]) -> str:
    return f"fixture {fixture.baseid} {fixture.argname}"


def _is_ours(function: FunctionType) -> bool:
    return function.__code__.co_filename.startswith(f"{ROOT}{os.sep}")


def run_pytest(paths: Sequence[str], serve: Callable[[Runner], None]) -> None:
    """Collect tests and hand them to `serve`, unless they cannot be collected."""
    options = ["-o", "addopts=", "-c", str(ROOT / "pyproject.toml"), f"--rootdir={ROOT}", "--import-mode=importlib"]
    options += ["-p", "no:cacheprovider", "-p", "no:xdist", "--capture=sys", "-q", "-q"]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    pytest.main([*options, *paths], plugins=[Runner(serve)])


def _run_tests(runner: Runner, trial: Trial, pipe: Connection) -> None:
    """Run a trial's tests until one fails or the budget is spent, telling each before it starts."""
    tests = [test for test in trial.tests if test.name in runner.items]
    for test, following in zip(tests, [*tests[1:], None], strict=True):
        if time.process_time() > 2 * trial.budget + 10:
            break
        pipe.send(("start", test.name))
        signal.setitimer(signal.ITIMER_PROF, test.limit)
        failure = runner.run(test.name, following.name if following else None)
        signal.setitimer(signal.ITIMER_PROF, 0)
        if failure:
            pipe.send(("failed", test.name, *failure))
            break
    pipe.send(("end", time.process_time()))


def _judged(sent: list[Message], status: int) -> Outcome:
    started = [message[1] for message in sent if message[0] == "start"]
    last = started[-1] if started else "import"
    if sent and sent[-1][0] == "error":
        return Outcome("killed", last, sent[-1][1].strip().rpartition("\n")[2], len(started))
    if sent and sent[-1][0] == "end":
        cpu = sent[-1][1]
        failed = next((message for message in sent if message[0] == "failed"), None)
        if failed:
            return Outcome("killed", failed[1], f"{failed[2]}: {failed[3]}", len(started), cpu)
        return Outcome("survived", None, None, len(started), cpu)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGPROF:
        return Outcome("timeout", last, "took too long", len(started))
    return Outcome("killed", last, "the process ended", len(started))


def try_reloaded(trial: Trial) -> Outcome:
    """Try a mutant in a child that imports it. To be called where nothing of ours is imported."""

    def work(pipe: Connection) -> None:
        _silent()
        sys.meta_path.insert(0, _Hook(trial))
        files = dict.fromkeys(test.name.partition("::")[0] for test in trial.tests)
        signal.setitimer(signal.ITIMER_PROF, 120)
        run_pytest([str(ROOT / file) for file in files], lambda runner: _run_tests(runner, trial, pipe))
        # Told already, if they were run.
        pipe.send(("failed", "import", "import", "the tests cannot be collected"))
        pipe.send(("end", time.process_time()))

    return _judged(*_watched(work, max(IDLE, 3 * max((t.cpu for t in trial.tests), default=0.0))))


# The server -----------------------------------------------------------------------------------------------------------


def serve(paths: Sequence[str], package: str, pipe: Connection) -> None:
    """Collect tests, say which, then answer requests until the pipe is closed: a Trial, or names of tests to cover."""
    _silent()

    def loop(runner: Runner) -> None:
        pipe.send(list(runner.items))
        while True:
            try:
                request = pipe.recv()
            except EOFError:
                return
            pipe.send(_tried(runner, request) if isinstance(request, Trial) else _covered(runner, request, package))

    run_pytest(paths, loop)
    pipe.send(None)


def _tried(runner: Runner, trial: Trial) -> Outcome | None:
    """Return a trial's outcome, or None if the mutant must be imported."""

    def work(to_us: Connection) -> None:
        try:
            _change_living(trial, runner.functions)
        except NeedsReload:
            to_us.send(("reload",))
            to_us.send(("end", 0.0))
        else:
            _run_tests(runner, trial, to_us)

    sent, status = _watched(work, max(IDLE, 3 * max((t.cpu for t in trial.tests), default=0.0)))
    return None if ("reload",) in sent else _judged(sent, status)


def _covered(runner: Runner, names: Sequence[str], package: str) -> dict[str, Covered]:
    """Return of each test the CPU seconds that it takes and the lines that it touches, or None if it fails."""

    def work(to_us: Connection) -> None:
        costs: dict[str, float] = {}
        failed = []
        with measured(package) as (meter, touched):
            runner.meter = meter
            for name, following in zip(names, [*names[1:], None], strict=True):
                runner.forget(name)
                meter.switch_context(name)
                start = time.process_time()
                if runner.run(name, following):
                    failed.append(name)
                costs[name] = time.process_time() - start
        for name in names:
            lines = [touched.get(context, {}) for context in (name, *runner.fixtures(name))]
            by_file = {
                path: sorted(set().union(*(some.get(path, ()) for some in lines))) for path in set().union(*lines)
            }
            to_us.send((name, None if name in failed else (costs[name], by_file)))
        to_us.send(("end", time.process_time()))

    sent, _ = _watched(work, 300.0)
    known = {message[0]: message[1] for message in sent if message[0] in set(names)}
    return {name: known.get(name) for name in names}


def lines_of_import(paths: Sequence[str], package: str) -> dict[str, list[int]]:
    """Return the lines that run while the tests are collected."""

    def work(to_us: Connection) -> None:
        _silent()
        with measured(package) as (_, touched):
            run_pytest(paths, lambda runner: None)
        to_us.send(("lines", touched.get("", {})))
        to_us.send(("end", 0.0))

    sent, _ = _watched(work, 300.0)
    return next(message[1] for message in sent if message[0] == "lines")


@contextlib.contextmanager
def measured(package: str) -> Iterator[tuple[coverage.Coverage, dict[str, dict[str, list[int]]]]]:
    """Give a running meter, and a dict that is filled at the end: context, file, lines of the package that ran."""
    touched: dict[str, dict[str, list[int]]] = {}
    meter = coverage.Coverage(data_file=None, config_file=False, include=[str(ROOT / package / "*")], messages=False)
    meter.start()
    try:
        yield meter, touched
    finally:
        meter.stop()
        data = meter.get_data()
        for file in data.measured_files():
            path = str(Path(file).relative_to(ROOT))
            for line, contexts in data.contexts_by_lineno(file).items():
                for context in contexts:
                    touched.setdefault(context, {}).setdefault(path, []).append(line)
