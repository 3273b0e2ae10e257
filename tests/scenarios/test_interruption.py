"""SIGTERM, which batch systems send before they kill, ends a long command as Ctrl-C does, and does so once."""

from __future__ import annotations

import signal

import pytest

from scenarios.commands.interruption import INTERRUPTED, TERMINATED, Interruption


def test_sigterm_is_a_ctrl_c_and_a_second_one_is_none() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Interruption() as interruption:
        assert interruption.status == INTERRUPTED
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        assert interruption.status == TERMINATED
        signal.raise_signal(signal.SIGTERM)  # while what is finished is being written
    assert signal.getsignal(signal.SIGTERM) is before
