"""A pool of worker processes on this machine.

Workers are spawned, not forked from a server that has imported everything: a worker imports what it needs by itself,
which takes 0.45 s of a core (1.9 s with scipy), in parallel where there is a core for each. A preloaded fork server is
ready after 0.41 s (1.65 s with scipy), but it would fork a process in which BLAS has started threads, and is one more
process that outlives the pool.

The pool is not `concurrent.futures.ProcessPoolExecutor`: that knows neither which task a dead worker was at nor how it
died, gives up all tasks when one worker dies, and before Python 3.14 has no way to end workers that are busy.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import connection, get_context, parent_process, resource_tracker
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from scenarios.executors.chunks import Answer, Work, work_off
from scenarios.executors.seam import WorkerDied

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

T = TypeVar("T")
R = TypeVar("R")

_PATIENCE_S: Final = 5.0


class ProcessPool:
    """Runs tasks in worker processes, which start with the first `map` and end with the context.

    Each worker has one chunk of tasks at a time, so what is on its way does not grow with their number. A worker that
    dies is replaced. Ctrl-C and every error end workers at once; if this process is killed, they notice and end
    themselves.

    Args:
        workers: how many processes, at least 1; never more are started than there are tasks.
    """

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise ValueError(f"workers={workers} must be at least 1")
        self.workers = workers
        self._started: list[_Worker] = []
        self._mapping = False

    def map(
        self,
        function: Callable[[T], R],
        tasks: Sequence[T],
        *,
        died: Callable[[int, WorkerDied], R] | None = None,
    ) -> Iterator[tuple[int, R]]:
        """Yield (index, result) for every task as they finish; see `Executor.map`."""
        if self._mapping:
            raise RuntimeError("an executor runs one map at a time")
        self._mapping = True
        work = Work(function, tasks, min(self.workers, len(tasks)), died)
        busy: dict[Any, _Worker] = {}
        try:
            self._employ(work, busy)
            while busy:
                for pipe in connection.wait(list(busy)):
                    worker = busy.pop(pipe)
                    try:
                        answer = Answer.read(worker.pipe.recv_bytes())
                    except (EOFError, ConnectionError):
                        found, error = work.lost(worker.span, self._bury(worker)), None
                    else:
                        found, error = work.taken(worker.span, answer)
                    if error is None:
                        self._employ(work, busy)  # before we are away, who knows for how long
                    yield from found
                    if error is not None:
                        raise error
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

    def _employ(self, work: Work[Any, Any], busy: dict[Any, _Worker]) -> None:
        """Give chunks to those who have none, starting workers if need be."""
        idle = [worker for worker in self._started if worker.pipe not in busy]
        while len(busy) < work.hands and (span := work.next()) is not None:
            worker = idle.pop() if idle else self._hire()
            busy[worker.pipe] = worker
            worker.give(span, work.pack(span))

    def _hire(self) -> _Worker:
        if sys.platform != "win32":
            resource_tracker.ensure_running()  # not below: when it starts, it unblocks Ctrl-C (Python 3.11)
        with _uninterrupted():
            worker = _Worker()
            self._started.append(worker)
        return worker

    def _bury(self, worker: _Worker) -> str:
        """Take a dead worker off the list and say how it died."""
        fate = worker.fate()
        with _uninterrupted():
            self._started.remove(worker)
            worker.process.kill()
            worker.process.join()
            worker.pipe.close()
        return fate

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

    def give(self, span: range, chunk: bytes) -> None:
        """Send a chunk of tasks."""
        self.span = span
        with suppress(ConnectionError):  # it is dead, which is seen when its answer is waited for
            self.pipe.send_bytes(chunk)

    def fate(self) -> str:
        """Say how it ended, once it has."""
        self.process.join(_PATIENCE_S)
        code = self.process.exitcode
        if code is None:
            return "closed its connection"
        if code >= 0:
            return f"ended with exit status {code}"
        name = _signal_name(-code)
        return f"was killed by {name}{' (as the system does when memory runs out)' if name == 'SIGKILL' else ''}"


def _work(pipe: Connection[Any, Any]) -> None:
    """Answer one chunk after the other, until the pipe is closed. Runs in a worker process."""
    if sys.platform != "win32":
        # Ctrl-C goes to all processes of a terminal, but it is the owner's business. Blocked rather than ignored: a
        # simulation sets a handler of its own. Threads inherit this.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    threading.Thread(target=end_with_parent, daemon=True).start()
    with suppress(EOFError, ConnectionError):  # the owner needs no more
        pipe.send_bytes(work_off(pipe.recv_bytes()))
        gc.freeze()  # what the first tasks imported is no garbage, and need not be looked through again and again
        while True:
            pipe.send_bytes(work_off(pipe.recv_bytes()))


def end_with_parent() -> None:
    """Wait for the end of the process that started this one, and end at once. Runs in a thread of a worker process."""
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


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # real-time signals have no names
        return f"signal {number}"
