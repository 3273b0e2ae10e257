"""Run diagnostics for people who wonder what a run is doing: structured lines on standard error.

They have nothing to do with the message log, which holds nothing of a wall clock.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentsim.runtime.kernel import Kernel
    from agentsim.runtime.result import Result

_PERIOD_S = 1.0


class Diagnostics:
    """Writes what a run is doing, through structlog.

    Args:
        enabled: whether anything is written at all; structlog is imported only then.
    """

    def __init__(self, enabled: bool) -> None:
        self._log: Any = None
        self._last = (time.monotonic(), 0)
        if enabled:
            import structlog

            self._log = structlog.wrap_logger(
                structlog.PrintLogger(sys.stderr),
                processors=[
                    structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
                    structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
                ],
            )

    def say(self, event: str, **facts: Any) -> None:  # noqa: ANN401  # whatever there is to tell
        """Write one line."""
        if self._log is not None:
            self._log.msg(event, **facts)

    def running(self, kernel: Kernel) -> None:
        """Write how a run is getting on, once a second at most."""
        now, (then, before) = time.monotonic(), self._last
        if self._log is None or now - then < _PERIOD_S:
            return
        self._last = (now, kernel.seq)
        self.say(
            "running",
            virtual_time=round(kernel.now, 6),
            deliveries=kernel.seq,
            per_second=round((kernel.seq - before) / (now - then)),
            agents_left=kernel.running,
        )

    def ended(self, result: Result) -> None:
        """Write how a run ended."""
        self.say(
            "ended",
            status=result.status,
            limit=result.limit,
            virtual_time=result.virtual_time,
            messages=result.messages,
            setup_s=round(result.startup_time, 3),
            solving_s=round(result.wall_time, 3),
            packets={kind: n for kind, n in result.transport.items() if n},
        )
