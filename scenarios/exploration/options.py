"""Which of a solver's own parameters are worth varying in tests, and the values that they take in turn.

Values that give up what is tested are not among them: `prune=P2`, which may lose the optimum, `closure`, which promises
something of the problem, and whatever needs large keys.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

from agentsim.dcop.ordering import HEURISTICS, ORDERS
from agentsim.runtime.agent import Agent
from agentsim.runtime.setup import OrderParams, TreeParams

_CHOICES: Final[Mapping[str, tuple[Any, ...]]] = {
    "tree": (None, None, "messages"),
    "carry": (None, "best"),
    "k": (None, 1, 2),
    "cycle": (None, 3.0, 8.0),
    "direction": (None, "descending", "cheapest", "random"),
    "weight": (None, "public"),
    "avoid": (None, True),
    "prune": (None, "P3"),
    "partition": (None, "turns"),
}
"""Of complete solvers. None is the solver's own default."""


def names_of(cls: type[Agent]) -> frozenset[str]:
    """Return the names of a solver's parameters."""
    return frozenset() if cls.Params is None else frozenset(f.name for f in dataclasses.fields(cls.Params))


def options_of(cls: type[Agent], turn: int) -> dict[str, Any]:
    """Return parameters to run a solver with.

    Args:
        cls: the solver.
        turn: counts through the combinations; 0 is the solver's defaults, as far as a run with them is short and
            follows from its seed.
    """
    if not cls.complete:
        return _incomplete(cls, turn)
    names = names_of(cls)
    orders: tuple[str, ...] = ("lexical",)
    if cls.Params is not None and issubclass(cls.Params, TreeParams):
        orders = HEURISTICS
    elif cls.Params is not None and issubclass(cls.Params, OrderParams):
        orders = ORDERS
    found: dict[str, Any] = {}
    for name, choices in {**_CHOICES, "order": (None, None, *orders)}.items():
        if name in names:
            turn, choice = divmod(turn, len(choices))
            if choices[choice] is not None:
                found[name] = choices[choice]
    return found


def checked(cls: type[Agent]) -> dict[str, Any]:
    """Return the parameter that has a solver assert its own invariants, if it has that."""
    return {"invariants": True} if "invariants" in names_of(cls) else {}


def _incomplete(cls: type[Agent], turn: int) -> dict[str, Any]:
    """Return few rounds, randomness that the run's seed decides, and every choice in turn where these go together."""
    few = {"rounds": 2 + turn % 9, "iterations": 1 + turn % 5, "randomness": "seed"}
    if turn % 5 == 1:
        few["tree"] = "messages"
    names = names_of(cls)
    few = {name: value for name, value in few.items() if name in names}
    if cls.Params is None or turn == 0:
        return few
    varied = dict(few)
    for name, hint in get_type_hints(cls.Params).items():
        choices = (False, True) if hint is bool else get_args(hint) if get_origin(hint) is Literal else ()
        if choices and name not in few and name != "tree":
            turn, choice = divmod(turn, len(choices))
            varied[name] = choices[choice]
    try:
        cls.Params(**varied)
    except ValueError:
        return few
    return varied
