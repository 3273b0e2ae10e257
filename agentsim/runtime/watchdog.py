"""The watchdog: wall-clock limits, Ctrl-C and agents that never give control back."""

from __future__ import annotations

import asyncio
import ctypes
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from agentsim.runtime.kernel import Kernel

_GRACE: Final = 1.0
_PERIOD: Final = 0.1


class StuckAgent(BaseException):
    """Raised inside an agent that has kept the processor past the time limit."""


class Watchdog:
    """A thread beside the run; a context manager around it.

    At the time limit, or at Ctrl-C, the run is asked to stop at the end of its instant. Where that does not happen
    within a second some agent is looping: `StuckAgent` is raised in it, again and again until it gives way.

    Args:
        kernel: the run.
        timeout: wall seconds, or None.
        monitor: called with the kernel a few times a second, for showing progress.
    """

    def __init__(self, kernel: Kernel, timeout: float | None, monitor: Callable[[Kernel], None] | None) -> None:
        self._kernel = kernel
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._monitor = monitor
        self._stop = threading.Event()
        self._asked_at: float | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._old_handler: Any = None

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._run_thread = threading.get_ident()
        if threading.current_thread() is threading.main_thread():
            self._old_handler = signal.signal(signal.SIGINT, self._interrupted)
        if self._deadline is not None or self._monitor is not None:
            self._thread = threading.Thread(target=self._watch, name="agentsim watchdog", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._old_handler is not None:
            signal.signal(signal.SIGINT, self._old_handler)

    def _interrupted(self, signum: int, frame: FrameType | None) -> None:
        kernel = self._kernel
        if kernel.stop_request == "interrupted":  # pressed twice: now
            kernel.hard_stop = True
            raise StuckAgent
        self._ask("interrupted")

    def _ask(self, what: str) -> None:
        self._kernel.stop_request = what
        self._asked_at = time.monotonic()
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._kernel.poke)

    def _watch(self) -> None:
        kernel = self._kernel
        while not self._stop.wait(self._pause()):
            now = time.monotonic()
            if self._monitor is not None:
                self._monitor(kernel)
            if self._asked_at is not None:
                if now - self._asked_at > _GRACE:
                    kernel.hard_stop = True
                    assert self._loop is not None
                    self._loop.call_soon_threadsafe(kernel.poke)
                    if kernel.current is not None:
                        ctypes.pythonapi.PyThreadState_SetAsyncExc(
                            ctypes.c_ulong(self._run_thread), ctypes.py_object(StuckAgent)
                        )
            elif self._deadline is not None and now >= self._deadline:
                self._ask("timeout")

    def _pause(self) -> float:
        if self._asked_at is not None:
            return _GRACE / 2
        if self._deadline is None:
            return _PERIOD
        left = max(0.0, self._deadline - time.monotonic())
        return min(_PERIOD, left) if self._monitor is not None else left
