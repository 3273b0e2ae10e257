"""What a file's `privacy` section asks of a run: rational agents, and an observer that says what it all cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from agentsim.errors import UserError

if TYPE_CHECKING:
    from agentsim.dcop.problem import Problem
    from agentsim.runtime.gate import GateFactory

OFF = "off"


def check_section(problem: Problem, source: str) -> None:
    """Refuse a problem whose privacy section makes no sense, naming the file; UserError."""
    if "privacy" not in problem.extras:
        return
    from privacy.dpcop.model import Dpcop

    try:
        Dpcop.of(problem)
    except UserError as error:
        raise UserError(f"{source}: {error}") from None


def rational_run(
    problem: Problem, source: str, given: Sequence[str], observe: Sequence[str]
) -> tuple[GateFactory | None, list[str]]:
    """Return the gates and observers of a run.

    Args:
        problem: what is to be solved; without a privacy section there are no gates, and observers are as asked.
        source: its file.
        given: KEY=VALUE settings that replace those of the section; or "off": nobody is rational.
        observe: observers asked for.

    Raises:
        UserError: settings without a section, or of no sense.
    """
    from privacy.dpcop.rational import dpcop_of, rational
    from scenarios.commands.solve import parse_pairs

    check_section(problem, source)
    if tuple(given) == (OFF,):
        return None, list(observe)
    settings = parse_pairs(given, "--privacy")
    if "privacy" not in problem.extras:
        if settings:
            raise UserError(f"{source}: has no privacy section, which --privacy needs")
        return None, list(observe)
    try:
        dpcop = dpcop_of(problem, settings)
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
    observers = list(observe)
    if not any(spec == "dpcop" or spec.startswith("dpcop:") for spec in observe):
        options = f"pricing={dpcop.pricing},policy={dpcop.resolved_policy},coalition={str(dpcop.coalition).lower()}"
        observers.append(f"dpcop:{options}")
    return rational(**settings), observers
