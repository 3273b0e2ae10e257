"""Games that show how private a solver is: two worlds, agents that run in both, and what somebody saw of it.

`game_of` makes the game for a solver: with exact log-likelihood ratios where this package knows the solver's formulas
(`EXACT`), else one that learns from what it sees.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from agentsim.dcop.problem import Problem
    from scenarios.audits.base import Game, Subject

EXACT: Final[Mapping[str, str]] = {"p-gibbs": "scenarios.audits.gibbs", "once": "scenarios.audits.once"}
"""Modules with a function `game`, by the solver whose formulas they know."""


def game_of(
    subject: Subject, seed: int, view: str | None = None, problems: tuple[Problem, Problem] | None = None
) -> Game:
    """Return the game for a solver, in two given problems or in its own.

    Args:
        subject: the solver and its parameters.
        seed: of every random draw.
        view: whose eyes the guesser has; None for those of the game's choice.
        problems: the two worlds.

    Raises:
        UserError: the view makes no sense, or the problems are no pair.
    """
    from scenarios.audits.pairs import Pair, small_pair

    if problems is not None:
        return Pair.of(subject, seed, view or "all", problems)
    if subject.name in EXACT:
        make: Callable[[Subject, int, str | None], Game] = import_module(EXACT[subject.name]).game
        return make(subject, seed, view)
    return small_pair(subject, seed, view)
