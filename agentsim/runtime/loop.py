"""Running simulations from code that knows nothing of event loops, or has one running already."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from agentsim.runtime.watchdog import interrupt

T = TypeVar("T")


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
    outcome: list[T] = []

    async def main() -> None:
        outcome.append(await start())

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(main())  # returning nothing: the module `signal` makes a repr of the task and all that it returns
    return outcome[0]
