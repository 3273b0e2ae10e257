"""Many independent tasks, here or in worker processes: the seam that experiments and sweeps run over.

An `Executor` maps a function over tasks and yields each result with its task's index as soon as it is there. Function,
tasks and results are pickled on their way, so the function is one that a worker can import and tasks are plain data.

Workers are spawned, not forked from a server that has imported everything: a worker imports what it needs by itself,
which takes 0.45 s of a core (1.9 s with scipy), in parallel where there is a core for each. A preloaded fork server is
ready after 0.41 s (1.65 s with scipy), but it would fork a process in which BLAS has started threads, and is one more
process that outlives the pool.

The pool is not `concurrent.futures.ProcessPoolExecutor`: that knows neither which task a dead worker was at nor how it
died, and before Python 3.14 has no way to end workers that are busy.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing import connection, get_context, parent_process, resource_tracker
from types import FunctionType, TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, TypeVar

from agentsim.errors import AgentSimError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

T = TypeVar("T")
R = TypeVar("R")

_CHUNK_S: Final = 0.1  # handing a chunk over costs some 0.1 ms, a thousandth; results are never held back for long
_PATIENCE_S: Final = 5.0
_MAX_SHOWN: Final = 200


class Executor(Protocol):
    """Runs independent tasks. A context manager, which ends whatever it started; one `map` at a time."""

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[tuple[int, R]]:
        """Yield (index, result) for every task, as they finish, in any order.

        An exception of a task is raised here, with a note that names the task, and the other tasks are given up.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class WorkerDied(AgentSimError):
    """A worker process ended in the middle of a task."""


class TaskFailed(AgentSimError):
    """Stands for an exception, or says of a result, that it cannot be sent from one process to another."""


class WorkerTraceback(Exception):  # the cause of an exception from a worker: the traceback itself cannot be sent
    """The traceback of an exception in a worker process, as text."""

    def __init__(self, text: str) -> None:
        super().__init__(f"\n{text}")


def executor(workers: int | None) -> Executor:
    """Return an executor: in this process for 0, a pool of that many processes, or one for each core for None."""
    if workers is None:
        workers = cores()
    if workers < 0:
        raise ValueError(f"workers={workers} must be at least 0")
    return ProcessPool(workers) if workers else Serial()


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Serial:
    """Runs tasks one after the other in this process, with whole tracebacks and under a debugger if need be."""

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[tuple[int, R]]:
        """Yield (index, result) for every task in order."""
        for i, task in enumerate(tasks):
            try:
                result = function(task)
            except Exception as error:
                error.add_note(f"in {_named(tasks, range(i, i + 1))}")
                raise
            yield i, result

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class ProcessPool:
    """Runs tasks in worker processes, which start with the first `map` and end with the context.

    Each worker has one chunk of tasks at a time, so what is on its way does not grow with their number; chunks begin
    with one task and grow to what takes a tenth of a second. Ctrl-C and every error end workers at once; if this
    process is killed, they notice and end themselves.

    Args:
        workers: how many processes, at least 1; never more are started than there are tasks.
    """

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise ValueError(f"workers={workers} must be at least 1")
        self.workers = workers
        self._started: list[_Worker] = []
        self._mapping = False

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[tuple[int, R]]:
        """Yield (index, result) for every task as they finish.

        Raises:
            WorkerDied: a worker ended without an answer: a task called `os._exit`, or the system killed it.
        """
        if self._mapping:
            raise RuntimeError("an executor runs one map at a time")
        self._mapping = True
        given = 0
        busy: dict[object, _Worker] = {}
        try:
            for worker in self._staff(min(self.workers, len(tasks))):
                worker.give(function, tasks, range(given, given + 1))
                busy[worker.pipe] = worker
                given += 1
            while busy:
                for pipe in connection.wait([worker.pipe for worker in busy.values()]):
                    worker = busy[pipe]
                    done = worker.span
                    results, seconds = worker.take(tasks)
                    if given < len(tasks):
                        share = -(-(len(tasks) - given) // len(busy))  # nobody is left with a heap at the end
                        wanted = int(_CHUNK_S * len(done) / max(seconds, 1e-9))
                        size = max(1, min(share, wanted, 2 * len(done)))
                        worker.give(function, tasks, range(given, given + size))
                        given += size
                    else:
                        del busy[pipe]
                    yield from zip(done, results, strict=True)
        except BaseException:  # Ctrl-C and the end of a generator that nobody reads on, too
            self._kill()
            raise
        finally:
            self._mapping = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None and not self._mapping:
                for worker in self._started:
                    worker.pipe.close()  # which tells it to end
                until = time.monotonic() + _PATIENCE_S
                for worker in self._started:
                    worker.process.join(max(0.0, until - time.monotonic()))
        finally:
            self._kill()

    def _staff(self, count: int) -> list[_Worker]:
        """Return this many workers, all of them idle, starting the missing ones."""
        if sys.platform != "win32" and count:
            resource_tracker.ensure_running()  # not below: when it starts, it unblocks Ctrl-C (Python 3.11)
        with _uninterrupted():
            while len(self._started) < count:
                self._started.append(_Worker())
        return self._started[:count]

    def _kill(self) -> None:
        with _uninterrupted():
            for worker in self._started:
                worker.process.kill()
            for worker in self._started:
                worker.process.join()
                worker.pipe.close()
            self._started.clear()


class _Worker:
    """A worker process as its owner sees it: a pipe, and which tasks it is at."""

    def __init__(self) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.span = range(0)
        self.process = context.Process(target=_work, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()  # or its death would not end the pipe

    def give(self, function: Callable[[T], R], tasks: Sequence[T], span: range) -> None:
        """Send a chunk of tasks."""
        self.span = span
        try:
            self.pipe.send((function, tasks[span.start : span.stop]))
        except ConnectionError:
            raise self._death(tasks) from None
        except Exception as error:
            error.add_note(f"while sending {_named(tasks, span)} to a worker process")
            raise

    def take(self, tasks: Sequence[T]) -> tuple[list[Any], float]:
        """Receive the results of the chunk and the seconds that they took; raise what a task raised."""
        try:
            answer: _Answer | _Failure = self.pipe.recv()
        except (EOFError, ConnectionError):
            raise self._death(tasks) from None
        except Exception as error:
            error.add_note(f"while reading what came of {_named(tasks, self.span)}")
            raise
        if isinstance(answer, _Answer):
            return answer.results, answer.seconds
        first = self.span.start + answer.offset
        raised = answer.error()
        raised.add_note(f"in {_named(tasks, range(first, first + answer.count))}")
        raise raised from WorkerTraceback(answer.trace)

    def _death(self, tasks: Sequence[Any]) -> WorkerDied:
        self.process.join(_PATIENCE_S)
        code = self.process.exitcode
        if code is None:
            how = "closed its connection"
        elif code < 0:
            name = _signal_name(-code)
            how = f"was killed by {name}{' (as the system does when memory runs out)' if name == 'SIGKILL' else ''}"
        else:
            how = f"ended with exit status {code}"
        return WorkerDied(f"a worker process {how} while it was at {_named(tasks, self.span)}")


@dataclass(frozen=True)
class _Answer:
    """What a worker sends: the results of a chunk."""

    results: list[Any]
    seconds: float


@dataclass(frozen=True)
class _Failure:
    """What a worker sends of an exception: what makes it anew (`__reduce__`), and its traceback."""

    offset: int
    count: int
    make: Callable[..., BaseException]
    args: tuple[Any, ...]
    state: dict[str, Any]
    words: str
    trace: str

    @classmethod
    def of(cls, error: BaseException, offset: int, count: int = 1) -> Self:
        """Describe an exception of one of `count` tasks from `offset` in the chunk."""
        reduced = error.__reduce__()
        assert isinstance(reduced, tuple)
        make, args, *state = reduced
        kind = type(error)
        own_init = isinstance(kind.__init__, FunctionType)
        if own_init and kind.__reduce__ is BaseException.__reduce__:
            make, args = _remade, (kind, args)
        words = "".join(traceback.format_exception_only(error)).strip()
        trace = "".join(traceback.format_exception(error))
        return cls(offset, count, make, args, dict(state[0]) if state and state[0] else {}, words, trace)

    def error(self) -> BaseException:
        """Return the exception, or one that tells its words if it cannot be made anew."""
        try:
            error = self.make(*self.args)
            vars(error).update(self.state)
        except Exception:  # a constructor of somebody else's
            return TaskFailed(self.words)
        return error


def _remade(kind: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    """Make an exception whose constructor is written in Python: `args` are what that gave to Exception, not its own."""
    error = kind.__new__(kind, *args)
    error.args = args
    return error


def _work(pipe: Connection[Any, Any]) -> None:
    """Answer one chunk after the other, until the pipe is closed. Runs in a worker process."""
    if sys.platform != "win32":
        # Ctrl-C goes to all processes of a terminal, but it is the owner's business. Blocked rather than ignored: a
        # simulation sets a handler of its own. Threads inherit this.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(EOFError, ConnectionError):  # the owner needs no more
        _send(pipe, _answer(pipe))
        gc.freeze()  # what the first tasks imported is no garbage, and need not be looked through again and again
        while True:
            _send(pipe, _answer(pipe))


def _answer(pipe: Connection[Any, Any]) -> _Answer | _Failure:
    """Receive a chunk and return what comes of it."""
    try:
        function, tasks = pipe.recv()
    except (EOFError, ConnectionError):
        raise
    except Exception as error:  # of the module that holds the function, say
        return _Failure.of(error, 0)
    results = []
    began = time.perf_counter()
    for i, task in enumerate(tasks):
        try:
            results.append(function(task))
        except Exception as error:
            return _Failure.of(error, i)
    return _Answer(results, time.perf_counter() - began)


def _send(pipe: Connection[Any, Any], answer: _Answer | _Failure) -> None:
    """Send an answer, or what can be pickled of it."""
    try:
        pipe.send(answer)
        return
    except ConnectionError:
        raise
    except Exception as error:
        unsent = error
    if isinstance(answer, _Answer):
        words = f"what the task returned cannot be pickled: {unsent}"
        answer = _Failure.of(TaskFailed(words), 0, len(answer.results))
    bare = replace(answer, state={})
    try:
        pipe.send(bare)
    except ConnectionError:
        raise
    except Exception:
        pipe.send(replace(bare, make=TaskFailed, args=(bare.words,)))


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)  # whatever the main thread is at, nobody waits for it


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Put Ctrl-C off to the end of the block; processes that start within it do not see one while they start.

    Without this, Ctrl-C between the start of a process and its entry in our list would leave it behind, or have it
    print a traceback of its imports.
    """
    came: list[int] = []
    on_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, lambda *_: came.append(1)) if on_main else None
    try:
        if sys.platform == "win32":
            yield
            return
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    finally:
        if on_main:
            signal.signal(signal.SIGINT, before)
            if came:
                signal.raise_signal(signal.SIGINT)


def _named(tasks: Sequence[Any], span: range) -> str:
    """Name the task, or one task of several, for a message."""
    shown = repr(tasks[span.start])
    shown = shown if len(shown) <= _MAX_SHOWN else shown[:_MAX_SHOWN] + " ..."
    if len(span) == 1:
        return f"tasks[{span.start}] = {shown}"
    return f"one of tasks[{span.start}:{span.stop}], the first of which is {shown}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # real-time signals have no names
        return f"signal {number}"
