"""How commands that run for hours are ended: by Ctrl-C, or by SIGTERM, which batch systems send before they kill."""

from __future__ import annotations

import signal
import threading
from types import TracebackType
from typing import Self

from scenarios.status import INTERRUPTED, TERMINATED


class Interruption:
    """Within it, in the main thread, SIGTERM does what Ctrl-C does, whoever deals with that just now.

    Attributes:
        status: the exit status of a command that was interrupted: by SIGTERM `TERMINATED`, else `INTERRUPTED`.
    """

    def __init__(self) -> None:
        self.status = INTERRUPTED
        self._listens = False

    def __enter__(self) -> Self:
        on_main = threading.current_thread() is threading.main_thread()
        if on_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self._terminate)
            self._listens = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._listens:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self._listens = False

    def _terminate(self, *_: object) -> None:
        if self.status == TERMINATED:
            return  # `timeout`, for one, sends it twice: to the process and to its group
        self.status = TERMINATED
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a script's background job is deaf to Ctrl-C
            signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.raise_signal(signal.SIGINT)
