"""What every executor promises, and the errors that it may raise."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeVar

from agentsim.errors import AgentSimError

T = TypeVar("T")
R = TypeVar("R")

ATTEMPTS: Final = 3
_MAX_SHOWN: Final = 200


class Executor(Protocol):
    """Runs independent tasks. A context manager, which ends whatever it started; one `map` at a time."""

    def map(
        self,
        function: Callable[[T], R],
        tasks: Sequence[T],
        *,
        died: Callable[[int, WorkerDied], R] | None = None,
    ) -> Iterator[tuple[int, R]]:
        """Yield (index, result) once for every task, as they finish, in any order.

        An exception of a task is raised here, with a note that names the task, and the other tasks are given up.

        A task whose worker died is run again on another one. When that has happened to the same task `ATTEMPTS`
        times, `died(index, error)` returns what stands for its result; without `died` the error is raised.

        Raises:
            WorkerDied: workers do not survive a task: it calls `os._exit`, or the system kills them.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class WorkerDied(AgentSimError):
    """Worker processes ended in the middle of a task.

    Args:
        words: how, and at which task.
        how: without the task, for those who know it.
    """

    def __init__(self, words: str, how: str = "") -> None:
        super().__init__(words)
        self.how = how or words


class ClusterGone(AgentSimError):
    """A cluster did not start, or its scheduler cannot be reached any more."""


class TaskFailed(AgentSimError):
    """Stands for an exception, or says of a result, that it cannot be sent from one process to another."""


class WorkerTraceback(Exception):  # the cause of an exception from a worker: the traceback itself cannot be sent
    """The traceback of an exception in a worker process, as text."""

    def __init__(self, text: str) -> None:
        super().__init__(f"\n{text}")


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def named(tasks: Sequence[Any], span: range) -> str:
    """Name the task, or one task of several, for a message."""
    shown = repr(tasks[span.start])
    shown = shown if len(shown) <= _MAX_SHOWN else shown[:_MAX_SHOWN] + " ..."
    if len(span) == 1:
        return f"tasks[{span.start}] = {shown}"
    return f"one of tasks[{span.start}:{span.stop}], the first of which is {shown}"
