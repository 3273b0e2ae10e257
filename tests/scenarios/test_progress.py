"""The progress bar: failures, what was there before, and lines above it; on no terminal, lines alone."""

import io
import sys

import pytest

from scenarios.progress import Bar


class Terminal(io.StringIO):
    """Text written to a terminal."""

    def isatty(self) -> bool:
        return True


def attached(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make standard error a terminal. Called in a test: pytest sets its own when that begins."""
    found = Terminal()
    monkeypatch.setattr(sys, "stderr", found)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    return found


def test_failures_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = attached(monkeypatch)
    with Bar("a sweep") as bar:
        bar(0, 1000)
        bar(1, 1000)
        bar(2, 1000, 1)
        bar(1000, 1000, 31)
    shown = terminal.getvalue()
    assert "a sweep" in shown
    assert "1000/1000" in shown
    assert "31 failed" in shown
    assert (bar.done, bar.total) == (1000, 1000)


def test_what_was_there_before_says_nothing_of_the_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = attached(monkeypatch)
    with Bar("a sweep") as bar:
        bar(900, 1000)
        assert bar._bar is not None
        (task,) = bar._bar.tasks
        assert (task.completed, task.total, task.speed) == (900, 1000, None)
        task.start_time = (task.start_time or 0) - 10
        bar(1000, 1000)
        assert not list(task._progress)[:-1], "one sample, of the hundred that were done"
        assert task._progress[0].completed == 100
    assert "failed" not in terminal.getvalue()


def test_a_line_above_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = attached(monkeypatch)
    with Bar("a \x1b[31msweep") as bar:
        bar(1, 2)
        bar.say("two\nlines [bold]and\x1b[2J more")
    shown = terminal.getvalue()
    assert "agentsim: two lines [bold]and\\x1b[2J more" in shown
    assert "a \\x1b[31msweep" in shown


def test_no_terminal_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with Bar("a sweep") as bar:
        bar(1, 2, 1)
        bar.say("a line")
    assert bar.done == 1
    assert capsys.readouterr() == ("", "agentsim: a line\n")
