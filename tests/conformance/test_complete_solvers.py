"""Every complete solver against brute force, on problems and networks that break solvers.

The number of problems comes from AGENTSIM_PROBLEMS (default 150 for each solver, the networks taking turns);
some runs also replay and verify their logs, hold every disclosure statement of every viewer against
the truth, and solve the maximising twin.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import Any

import numpy as np
import pytest

from agentsim import Problem, Result, replay, simulate
from agentsim.runtime.agent import Agent
from agentsim.testing import brute_force, check_statements, random_problem, twin

NETWORKS = ("unit", "uniform:1,10", "exponential:3", "uniform:1,5+loss:.3+duplicate:.2+reorder+reliable")
PROBLEMS = int(os.environ.get("AGENTSIM_PROBLEMS", "150"))
CHUNK = 50
COMPLETE: dict[str, type[Agent]] = {
    e.name: cls for e in entry_points(group="agentsim.solvers") if getattr(cls := e.load(), "complete", False)
}


def options_of(name: str, cls: type[Agent], i: int) -> Iterator[tuple[str, Any]]:
    """Parameters worth varying, for those solvers that have them."""
    fields = set(cls.Params.__dataclass_fields__) if cls.Params is not None else set()
    if "invariants" in fields:
        yield "invariants", True
    if "tree" in fields and i % 5 == 0:
        yield "tree", "messages"
    if "carry" in fields and i % 2:
        yield "carry", "best"
    if "k" in fields:
        yield "k", 1 + i % 2
    if "order" in fields and i % 7 == 3:
        yield "order", "lexical"


def problem(i: int) -> Problem:
    """Mostly small problems, for plain ADOPT takes long on a few of the larger ones; every tenth is larger."""
    rng = np.random.default_rng([20, i])
    return random_problem(rng, max_variables=6, max_cells=150) if i % 10 == 0 else random_problem(rng, max_cells=48)


def check_optimal(result: Result, optimum: float, where: str, tolerance: float) -> None:
    if math.isinf(optimum):
        assert result.status == "infeasible", where
    else:
        assert result.status == "optimal", f"{where}: {result.status} {result.deadlock}"
        assert result.cost == pytest.approx(optimum, abs=max(tolerance, 1e-9)), where
        assert result.bound == pytest.approx(optimum, abs=max(tolerance, 1e-9)), where
        assert result.violations == 0, where


@pytest.mark.parametrize("start", range(0, PROBLEMS, CHUNK))
@pytest.mark.parametrize("name", sorted(COMPLETE))
def test_optimal_verified_and_truthful(name: str, start: int) -> None:
    cls = COMPLETE[name]
    for i in range(start, min(start + CHUNK, PROBLEMS)):
        given = problem(i)
        optimum = brute_force(given)
        options = dict(options_of(name, cls, i))
        network = NETWORKS[i % len(NETWORKS)]
        where = f"{name} on problem {i}, {network}, {options}"
        result = simulate(given, name, seed=i, network=network, max_messages=300_000, **options)
        check_optimal(result, optimum, where, given.tolerance)
        if i % 4 == 0:
            replayed = replay(result.log, verify=True)
            assert replayed.verified, (where, replayed.first_difference)
        if i % 8 == 1:
            check_statements(given, result, name, **options)
        if i % 10 == 2:
            other = simulate(twin(given), name, seed=i, network=network, max_messages=300_000, **options)
            check_optimal(other, -optimum, f"twin of {where}", given.tolerance)
