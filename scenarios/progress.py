"""The bar that shows how far cells, tasks or runs have come, on a terminal."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from scenarios.screen import complain, one_line, plain

if TYPE_CHECKING:
    from rich.progress import Progress

_REDRAW_S: Final = 0.1


class Bar:
    """A progress bar on standard error: done of how many, how many failed, time elapsed and left.

    A context manager, that shows nothing if standard error is no terminal. What is done when it is called first was
    there before: it says nothing of how long the rest will take.

    Args:
        words: what is under way.

    Attributes:
        done: how many are done, as it was told last.
        total: how many there are.
    """

    def __init__(self, words: str) -> None:
        self.done = self.total = 0
        self._words = words
        self._bar: Progress | None = None
        self._called = False
        self._drawn = 0.0
        self._failed = 0

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
            from rich.progress import TimeElapsedColumn as Elapsed
            from rich.progress import TimeRemainingColumn as Left

            from scenarios.screen import console

            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[failed]}", style="bold red", markup=False),
                Elapsed(),
                TextColumn("left"),
                Left(),
                console=console(stderr=True),
                transient=True,
                redirect_stdout=False,  # it would go to standard error
                redirect_stderr=False,  # `say` knows better
                speed_estimate_period=24 * 3600,  # tasks may take hours: no speed is known from half a minute
            )
            self._bar.add_task(plain(self._words), total=None, failed="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def __call__(self, done: int, total: int, failed: int = 0) -> None:
        """Show how many are done, failed ones among them; cheap enough to be called for each of a million."""
        self.done, self.total = done, total
        first, self._called = not self._called, True
        if self._bar is None:
            return
        now = time.monotonic()
        if not first and done < total and failed == self._failed and now - self._drawn < _REDRAW_S:
            return
        self._drawn, self._failed = now, failed
        task = self._bar.task_ids[0]
        words = f"{failed} failed" if failed else ""
        if first:
            self._bar.reset(task, total=total, completed=done, failed=words)
        else:
            self._bar.update(task, total=total, completed=done, failed=words)

    def say(self, words: object) -> None:
        """Write one line to standard error, above the bar."""
        if self._bar is None:
            complain(words)
        else:
            self._bar.console.print(f"agentsim: {one_line(words)}", soft_wrap=True)
