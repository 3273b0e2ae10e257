"""The event loop that simulations run in."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from agentsim.runtime.watchdog import interrupt

T = TypeVar("T")


class _LeanLoop(asyncio.SelectorEventLoop):
    """An event loop for many short callbacks and nothing urgent from outside.

    On a random network each delivery takes a turn of the loop. asyncio's turn asks the clock and the operating system
    each time, and checks each callback at four places; here they are asked after 256 callbacks, or when there is
    nothing to do. Callbacks run in the order in which they were queued, as ever. Worth a fifth of a run's time.
    """

    _ready: deque[asyncio.Handle]
    _stopping: bool

    def call_soon(  # type: ignore[override]  # the stubs tie callback and arguments by a TypeVarTuple
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """Queue a callback."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def _run_once(self) -> None:
        ready = self._ready
        for _ in range(256):
            if not ready or self._stopping:
                break
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()
        super()._run_once()  # type: ignore[misc]  # not in the stubs


def run_apart(start: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine in an event loop of its own, in a thread of its own where this one has a running loop already.

    A notebook's loop is such a one: the simulation then neither waits for it nor holds it up. Ctrl-C, which reaches the
    caller's thread alone, is passed on and stops a run as it does elsewhere.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        alone = True
    else:
        alone = False
    if alone:  # not above: every failure of a run would be told as one "during handling of" that RuntimeError
        return _run(start)
    outcome: list[T] = []
    failure: list[BaseException] = []
    ended = threading.Event()

    def work() -> None:
        try:
            outcome.append(_run(start))
        except BaseException as error:
            failure.append(error)
        finally:
            ended.set()

    thread = threading.Thread(target=work, name="agentsim")
    thread.start()
    while not ended.is_set() and thread.is_alive():
        try:
            ended.wait(1.0)  # not join(): before Python 3.13 an interrupted join takes the thread for ended
        except KeyboardInterrupt:
            assert thread.ident is not None
            interrupt(thread.ident)
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


def _run(start: Callable[[], Coroutine[Any, Any, T]]) -> T:
    with asyncio.Runner(loop_factory=_LeanLoop) as runner:
        return runner.run(start())
