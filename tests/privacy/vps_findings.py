"""Problems, and what the observer `vps` finds of a run on them, for the tests of the observer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from agentsim import Constraint, Domain, Problem, Variable, simulate
from agentsim.runtime import registry
from privacy.vps import Vps

DIMES = registry.find("generators", "dimes")
SOLVERS = [n for n in registry.names("solvers") if registry.find("solvers", n).complete]
RULES: list[dict[str, Any]] = [
    {"rule": "paper"},
    {"rule": "exact"},
    {"rule": "tight"},
    {"rule": "tight", "topology": True},
]
INF = math.inf


def dimes(seed: int = 0, **params: Any) -> Problem:
    """Return a one-event scheduling problem of five people, three slots and costs 1..4, unless told otherwise."""
    problem = DIMES.generate(DIMES.Params(**{"people": 5, "d": 3, "u": 4, "shape": "T", **params}), seed)
    assert isinstance(problem, Problem)
    return problem


def found(problem: Problem, solver: Any = "dpop", options: str | Mapping[str, Any] = "", **run: Any) -> dict[str, Any]:
    """Return the findings of one observer, its options written as on the command line or as a mapping."""
    observer: Any = f"vps:{options}" if isinstance(options, str) else (Vps, options)
    result = simulate(problem, solver, observers=["vps" if options == "" else observer], **run)
    (findings,) = result.findings.values()
    assert isinstance(findings, dict)
    return findings


def chain(
    costs: Mapping[str, Sequence[float] | None],
    agents: Mapping[str, str] | None = None,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    agents_too: Sequence[str] = (),
) -> Problem:
    """Return variables with these private costs (None: none) in a chain of public ties.

    Args:
        costs: by variable and slot.
        agents: owners of variables that are not of their own name.
        ranges: what is declared of the private costs.
        agents_too: agents without variables.
    """
    names = list(costs)
    d = max(len(c) for c in costs.values() if c is not None)
    slots = Domain("slots", tuple(range(d)))
    same = np.where(np.eye(d, dtype=bool), 0.0, INF)
    variables = [
        Variable(
            n, slots, (agents or {}).get(n, ""), None if c is None else np.array(c), cost_range=(ranges or {}).get(n)
        )
        for n, c in costs.items()
    ]
    ties = [Constraint(f"{a}={b}", (a, b), same, known_to="all", cost_range=(0, 0)) for a, b in pairwise(names)]
    return Problem.build(variables, ties, agents=agents_too)
