"""What a file's `privacy` section asks of a run: rational agents, and an observer that says what it all cost."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from agentsim.errors import UserError

if TYPE_CHECKING:
    from agentsim.dcop.problem import Problem
    from agentsim.runtime.gate import GateFactory

OFF: Final = "off"


def check_section(problem: Problem, source: str) -> None:
    """Refuse a problem whose privacy section makes no sense, naming the file; UserError."""
    if not _has_section(problem):
        return
    from privacy.dpcop.model import Dpcop

    try:
        Dpcop.of(problem)
    except UserError as error:
        raise UserError(f"{source}: {error}") from None


@contextlib.contextmanager
def naming(source: str) -> Iterator[None]:
    """Put the file before a run's complaint that its private costs cannot be priced; UserError."""
    try:
        yield
    except UserError as error:
        if not str(error).startswith("privacy: "):
            raise
        raise UserError(f"{source}: {error}") from None


def rational_run(
    problem: Problem, source: str, given: Sequence[str], observe: Sequence[str], *, redact: bool = False
) -> tuple[Problem, GateFactory | None, list[str]]:
    """Return the problem, the gates and the observers of a run.

    The section of the problem that is returned has the settings of this run: a log then says what agents went by, and
    an observer that is attached later goes by the same.

    Args:
        problem: what is to be solved; without a privacy section there are no gates, and observers are as asked.
        source: its file.
        given: KEY=VALUE settings that replace those of the section; or "off": nobody is rational.
        observe: observers asked for.
        redact: whether private costs are left out of the log; then there is no bill in it unless it is asked for.

    Raises:
        UserError: settings without a section, or of no sense.
    """
    from privacy.dpcop.rational import dpcop_of, rational
    from scenarios.commands.options import parse_pairs

    check_section(problem, source)
    if OFF in given:
        if len(given) > 1:
            raise UserError(f"--privacy {OFF}: stands alone, nothing else is set where nobody is rational")
        return problem, None, list(observe)
    settings = parse_pairs(given, "--privacy")
    if not _has_section(problem):
        if settings:
            raise UserError(f"{source}: has no privacy section, which --privacy needs")
        return problem, None, list(observe)
    try:
        dpcop = dpcop_of(problem, settings)
    except UserError as error:  # the section itself is in order: the option is not
        raise UserError("--" + str(error).replace("privacy.", "privacy ", 1)) from None
    section = {**problem.extras["privacy"], **{key: getattr(dpcop, key) for key in settings}}
    observers = list(observe)
    if not redact and not any(spec.partition(":")[0] == "dpcop" for spec in observe):
        observers.append("dpcop")
    return replace(problem, extras={**problem.extras, "privacy": section}), rational(), observers


def _has_section(problem: Problem) -> bool:
    """Tell whether a problem has a privacy section; one without anything in it is none."""
    return problem.extras.get("privacy") is not None
