"""The watchdog: wall-clock limits, Ctrl-C and agents that never give control back."""

from __future__ import annotations

import asyncio
import ctypes
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from agentsim.runtime.kernel import Kernel

MAX_AT_ONCE: Final = 5_000_000
"""Messages that may be sent within one instant: some 300 bytes each are kept until it closes."""
FLOOD: Final = "flood"
"""The limit that ends a run in which more are sent."""
_GRACE: Final = 1.0
_PERIOD: Final = 0.1
_STEPPING: Final = ("agentsim.runtime.kernel", "agentsim.runtime.port")
"""Whose frames are under an agent's while it runs."""


class StuckAgent(BaseException):
    """Raised inside an agent that has kept the processor past the time limit."""


class _Sharing:
    """The runs in progress in one thread, whose event loop they share, and what Ctrl-C did before them."""

    __slots__ = ("handler_before", "watchdogs")

    def __init__(self) -> None:
        self.handler_before: Any = None
        self.watchdogs: list[Watchdog] = []


_sharing: dict[int, _Sharing] = {}
"""By thread, as long as something runs in it."""


def interrupt(thread: int) -> None:
    """Stop the runs in a thread, the second time wherever they are; one without runs gets a KeyboardInterrupt."""
    sharing = _sharing.get(thread)
    if sharing is None:
        _raise_in(thread, KeyboardInterrupt)
    elif any([watchdog.interrupt() for watchdog in list(sharing.watchdogs)]):
        if thread == threading.get_ident():
            raise StuckAgent  # in a signal's handler, to which a system call gives way too
        _raise_in(thread, StuckAgent)


def _on_sigint(signum: int, frame: FrameType | None) -> None:
    interrupt(threading.get_ident())


def _raise_in(thread: int, error: type[BaseException]) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))


class Watchdog:
    """A thread beside the run; a context manager around it.

    At the time limit, at Ctrl-C, or when memory runs full of messages sent within one instant, the run is asked to stop
    at the end of its instant. Where that does not happen within a second some agent is looping: `StuckAgent` is raised
    in it, again and again until it gives way. An agent of another run in the same event loop is left alone. Ctrl-C
    stops all runs that share the thread.

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

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._run_thread = threading.get_ident()
        sharing = _sharing.setdefault(self._run_thread, _Sharing())
        if not sharing.watchdogs and threading.current_thread() is threading.main_thread():
            sharing.handler_before = signal.signal(signal.SIGINT, _on_sigint)
        sharing.watchdogs.append(self)
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
        sharing = _sharing[self._run_thread]
        sharing.watchdogs.remove(self)
        if not sharing.watchdogs:
            del _sharing[self._run_thread]
            if sharing.handler_before is not None and signal.getsignal(signal.SIGINT) is _on_sigint:
                signal.signal(signal.SIGINT, sharing.handler_before)

    def interrupt(self) -> bool:
        """Ask the run to stop; tell whether it was asked before and an agent does not let it."""
        kernel = self._kernel
        if kernel.stop_request != "interrupted":
            self._ask("interrupted")
            return False
        kernel.hard_stop = True
        return kernel.current is not None

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
                    if kernel.current is not None and self._holds_thread():
                        _raise_in(self._run_thread, StuckAgent)
            elif self._deadline is not None and now >= self._deadline:
                self._ask("timeout")
            elif len(kernel.outbox) > MAX_AT_ONCE:
                self._ask(FLOOD)

    def _holds_thread(self) -> bool:
        """Tell whether it is this run that the thread is busy with, not another in the same event loop."""
        frame = sys._current_frames().get(self._run_thread)
        while frame is not None:
            if frame.f_globals.get("__name__") in _STEPPING:
                owner = frame.f_locals.get("self")
                if owner is self._kernel or getattr(owner, "kernel", None) is self._kernel:
                    return True
            frame = frame.f_back
        return False

    def _pause(self) -> float:
        if self._asked_at is not None:
            return _GRACE / 2
        if self._deadline is None:
            return _PERIOD
        return min(_PERIOD, max(0.0, self._deadline - time.monotonic()))
