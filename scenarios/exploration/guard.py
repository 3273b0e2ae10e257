"""One thread that ends runs which take too long, for all runs of a process.

The runtime's own time limit has a thread for each run, which takes as long as half of a small run.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Final, Self

from agentsim.runtime.watchdog import interrupt

_PERIOD_S: Final = 0.5


class Guarded:
    """A context manager around one run in this thread, which is interrupted when its time is up.

    Args:
        timeout: wall seconds.

    Attributes:
        fired: whether it was.
    """

    def __init__(self, timeout: float) -> None:
        self.fired = False
        self.thread = threading.get_ident()
        self._timeout = timeout
        self.deadline = 0.0

    def __enter__(self) -> Self:
        self.deadline = time.monotonic() + self._timeout
        with _lock:
            _guarded.add(self)
            if not _started.is_set():
                _started.set()
                threading.Thread(target=_guard, name="agentsim guard", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _lock:
            _guarded.discard(self)


_lock = threading.Lock()
_started = threading.Event()
_guarded: set[Guarded] = set()


def _guard() -> None:
    """Look twice a second; an agent that does not give way is interrupted again and again."""
    while True:
        time.sleep(_PERIOD_S)
        now = time.monotonic()
        with _lock:  # no run ends meanwhile, so that it is not another that is interrupted
            for run in _guarded:
                if now >= run.deadline:
                    run.fired = True
                    interrupt(run.thread)
