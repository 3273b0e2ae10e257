"""Tasks one after the other in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Self, TypeVar

from scenarios.executors.seam import WorkerDied, named

T = TypeVar("T")
R = TypeVar("R")


class Serial:
    """Runs tasks one after the other in this process, with whole tracebacks and under a debugger if need be."""

    def map(
        self,
        function: Callable[[T], R],
        tasks: Sequence[T],
        *,
        died: Callable[[int, WorkerDied], R] | None = None,
    ) -> Iterator[tuple[int, R]]:
        """Yield (index, result) for every task in order; nobody is there to tell of the death of this process."""
        del died
        for i, task in enumerate(tasks):
            try:
                result = function(task)
            except Exception as error:
                error.add_note(f"in {named(tasks, range(i, i + 1))}")
                raise
            yield i, result

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
