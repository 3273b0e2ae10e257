"""Chunks of tasks: how large they are, what a worker makes of one, and what becomes of them when workers die.

Executors with workers share this. Each sends `pack(...)` to a worker, which answers with `work_off(...)`, bytes both,
so that it is decided here and nowhere else what can be sent and how an exception gets back. `Work` keeps the account of
what is still to be done.
"""

from __future__ import annotations

import pickle
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import FunctionType
from typing import Any, Final, Generic, Self, TypeVar

from scenarios.executors.seam import ATTEMPTS, TaskFailed, WorkerDied, WorkerTraceback, named

T = TypeVar("T")
R = TypeVar("R")

CHUNK_S: Final = (
    0.1  # handing a chunk over costs a pool some 0.1 ms, a thousandth; results are never held back for long
)


@dataclass(frozen=True)
class Failure:
    """What a worker sends of an exception: what makes it anew (`__reduce__`), and its traceback."""

    count: int
    make: Callable[..., BaseException]
    args: tuple[Any, ...]
    state: dict[str, Any]
    words: str
    trace: str

    @classmethod
    def of(cls, error: BaseException, count: int = 1) -> Self:
        """Describe an exception of one of `count` tasks."""
        reduced = error.__reduce__()
        assert isinstance(reduced, tuple)
        make, args, *state = reduced
        kind = type(error)
        own_init = isinstance(kind.__init__, FunctionType)
        if own_init and kind.__reduce__ is BaseException.__reduce__:
            make, args = _remade, (kind, args)
        words = "".join(traceback.format_exception_only(error)).strip()
        trace = "".join(traceback.format_exception(error))
        return cls(count, make, args, dict(state[0]) if state and state[0] else {}, words, trace)

    def error(self) -> BaseException:
        """Return the exception, or one that tells its words if it cannot be made anew."""
        try:
            error = self.make(*self.args)
            vars(error).update(self.state)
        except Exception:  # a constructor of somebody else's
            error = TaskFailed(self.words)
        error.__cause__ = WorkerTraceback(self.trace)
        return error


@dataclass(frozen=True)
class Answer:
    """What a worker sends: the results of the first tasks of a chunk, and the exception of the one after them if any.

    The rest of the chunk it has not begun: because of the exception, or because its time was up.
    """

    results: list[Any]
    seconds: float
    failure: Failure | None = None

    @classmethod
    def read(cls, answer: bytes) -> Self:
        """Return what `work_off` has written."""
        found = pickle.loads(answer)
        assert isinstance(found, cls)
        return found


def _remade(kind: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    """Make an exception whose constructor is written in Python: `args` are what that gave to Exception, not its own."""
    error = kind.__new__(kind, *args)
    error.args = args
    return error


def work_off(chunk: bytes) -> bytes:
    """Run a chunk that `Work.pack` has written and return an `Answer`, pickled. Runs in a worker process."""
    try:
        function, tasks, seconds = pickle.loads(chunk)
    except Exception as error:  # of the module that holds the function, say
        return _packed(Answer([], 0.0, Failure.of(error)))
    results: list[Any] = []
    failure = None
    began = time.perf_counter()
    for task in tasks:
        if results and time.perf_counter() - began > 2 * seconds:
            break  # tasks take longer than those before them: what is done is worth more there than here
        try:
            results.append(function(task))
        except Exception as error:
            failure = Failure.of(error)
            break
    return _packed(Answer(results, time.perf_counter() - began, failure))


def _packed(answer: Answer) -> bytes:
    """Pickle an answer, or what can be pickled of it."""
    try:
        return pickle.dumps(answer)
    except Exception as error:
        unsent = error
    try:
        pickle.dumps(answer.results)
    except Exception as error:
        words = f"what the task returned cannot be pickled: {error}"
        return pickle.dumps(Answer([], answer.seconds, Failure.of(TaskFailed(words), len(answer.results))))
    if answer.failure is None:
        raise unsent  # results can be pickled, a list of them cannot: there is no such thing
    bare = replace(answer.failure, state={})
    try:
        return pickle.dumps(replace(answer, failure=bare))
    except Exception:
        return pickle.dumps(replace(answer, failure=replace(bare, make=TaskFailed, args=(bare.words,))))


class Work(Generic[T, R]):
    """The account of a `map`: which tasks are to be given out, in chunks of which size, and who died of which.

    Chunks begin with one task and grow.

    Attributes:
        hands: how many chunks may be out at the same time.
        seconds: how long a chunk is to take.

    Args:
        function: to be called with each task.
        tasks: all of them.
        hands: at first.
        died: as for `Executor.map`.
    """

    def __init__(
        self,
        function: Callable[[T], R],
        tasks: Sequence[T],
        hands: int,
        died: Callable[[int, WorkerDied], R] | None,
    ) -> None:
        self.hands = hands
        self.seconds = CHUNK_S
        self._function = function
        self._tasks = tasks
        self._died = died
        self._waiting = deque([range(len(tasks))] if tasks else [])
        self._left = len(tasks)
        self._size = 1
        self._quick = False
        self._deaths: Counter[int] = Counter()

    @property
    def waits(self) -> bool:
        """Whether anything is to be given out."""
        return bool(self._waiting)

    @property
    def quick(self) -> bool:
        """Whether a chunk that is handed over while another runs will not have to wait for long."""
        return self._quick

    def next(self) -> range | None:
        """Return which tasks to give out next; None if there is nothing, for now or for good."""
        if not self._waiting:
            return None
        span = self._waiting.popleft()
        share = -(-self._left // max(1, self.hands))  # nobody is left with a heap at the end
        end = span.start + min(len(span), self._size, share)
        self._left -= end - span.start
        if end < span.stop:
            self._waiting.appendleft(range(end, span.stop))
        return range(span.start, end)

    def pack(self, span: range) -> bytes:
        """Return a chunk for `work_off`."""
        try:
            return pickle.dumps((self._function, self._tasks[span.start : span.stop], self.seconds))
        except Exception as error:
            error.add_note(f"while sending {named(self._tasks, span)} to a worker process")
            raise

    def taken(self, span: range, answer: Answer) -> tuple[list[tuple[int, R]], BaseException | None]:
        """Return the results in an answer to a chunk, with their indices, and the exception that is in it.

        What was not begun is given out again, unless there was an exception.
        """
        done = len(answer.results)
        found = list(zip(span, answer.results, strict=False))
        if done:
            wanted = int(self.seconds * done / max(answer.seconds, 1e-9))
            self._size = max(1, min(wanted, 2 * done))
            self._quick = answer.seconds < 2 * self.seconds
        if answer.failure is None:
            self.put_back(range(span.start + done, span.stop))
            return found, None
        error = answer.failure.error()
        error.add_note(f"in {named(self._tasks, span[done : done + answer.failure.count])}")
        return found, error

    def lost(self, span: range, how: str, times: int = 1) -> list[tuple[int, R]]:
        """Tell that workers died at a chunk; return what stands for the result of a task that no worker survives.

        Nobody knows at which task of several it was, so that each of them is run alone, and only a task that was
        alone is held to account.

        Args:
            span: the chunk, which is to be given out again unless this returns or raises something.
            how: the worker, or the last of them, died, as in "was killed".
            times: how many workers died.
        """
        if len(span) > 1:
            self.split(span)
            return []
        index = span.start
        self._deaths[index] += times
        if self._deaths[index] < ATTEMPTS:
            self.put_back(span)
            return []
        rest = f"the last of {self._deaths[index]} that did not survive it"
        error = WorkerDied(
            f"a worker process {how} while it was at {named(self._tasks, span)}, {rest}",
            f"a worker process {how}, {rest}",
        )
        if self._died is None:
            raise error
        return [(index, self._died(index, error))]

    def split(self, span: range) -> None:
        """Give tasks out again, before others, each alone."""
        for index in reversed(span):
            self.put_back(range(index, index + 1))

    def put_back(self, span: range) -> None:
        """Give tasks out again, before others."""
        if span:
            self._waiting.appendleft(span)
            self._left += len(span)
