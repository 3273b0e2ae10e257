"""The errors this project raises on purpose.

Two families matter to a caller: `UserError`, something in the input is wrong (the command line exits 2 with
its one line), and `RunError`, something went wrong while agents ran (exit 1, with the culprit's name).
"""

from __future__ import annotations

from typing import Any, Final

MAX_MESSAGE: Final = 1_000
"""Characters of a complaint: names from hostile files may have thousands, and are cut in the middle."""


def one_line(text: str) -> str:
    """Return text on one line of bounded length, with everything unprintable in it as backslash escapes."""
    text = _cut(text)
    if text.isprintable():
        return text
    return _cut("".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text))


def _cut(text: str) -> str:
    if len(text) <= MAX_MESSAGE:
        return text
    return f"{text[: MAX_MESSAGE // 2]} ... {text[-MAX_MESSAGE // 4 :]}"


class AgentSimError(Exception):
    """Root of every error this project raises on purpose."""


class UserError(AgentSimError):
    """The input is wrong: a file, a name, an option or a parameter. The message is one clear line."""

    def __init__(self, message: str = "") -> None:
        super().__init__(one_line(message))


class FormatError(UserError):
    """A file cannot be read.

    Args:
        source: the file's name as the user gave it.
        place: where in the file ("line 12", "constraint c1"), or "" where no place applies.
        cause: what is wrong there.
    """

    def __init__(self, source: str, place: str, cause: str) -> None:
        where = f"{source}: {place}" if place else source
        super().__init__(f"{where}: {cause}")
        self.source, self.place, self.cause = source, place, cause


class ProblemError(UserError):
    """A problem contradicts itself: an unknown domain, a table of the wrong shape, a NaN cost."""


class SolverRefusal(UserError):
    """A solver cannot do what was asked (size, kind of problem); the sentence says why and what could."""


class RunError(AgentSimError):
    """A run went wrong through the fault of an agent, an observer or a message.

    Attributes:
        result: the `Result` of the run so far, once `simulate` has raised it.
    """

    result: Any = None
