"""Exit statuses of the command line, in one place. Imports nothing, so that `agentsim --help` may."""

from __future__ import annotations

from typing import Final

FAILED: Final = 1
"""An agent or observer raised, or a worker died for good."""

USER_ERROR: Final = 2
"""Something in the input is wrong; one line says what."""

UNFINISHED: Final = 3
"""A limit was reached, or a deadlock."""

DIFFERS: Final = 4
"""A log differs from what its agents do again, or is damaged; exploration found a fault."""

INTERRUPTED: Final = 130
TERMINATED: Final = 143
"""Interrupted by SIGTERM, which batch systems send before they kill."""

BROKEN_PIPE: Final = 141
"""Nobody reads standard output any more."""

BY_RUN_STATUS: Final = {"timeout": UNFINISHED, "deadlock": UNFINISHED, "error": FAILED, "interrupted": INTERRUPTED}
"""By a run's status; 0 for all others."""
