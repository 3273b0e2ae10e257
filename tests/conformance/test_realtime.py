"""The clock on the wall: another order of events, the same optimum, and a log that still verifies."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest

from agentsim import Constraint, Domain, Problem, Result, Variable, replay, simulate
from agentsim.testing import brute_force, random_problem

SOLVERS = ("synchbb", "adopt-plus", "bnb-adopt-plus", "dpop")


@pytest.mark.parametrize("start", range(0, 200, 25))
def test_two_hundred_problems_in_real_time(start: int) -> None:
    for i in range(start, start + 25):
        problem = random_problem(np.random.default_rng([21, i]), max_variables=4, max_cells=24)
        solver = SOLVERS[i % len(SOLVERS)]
        result = simulate(problem, solver, network="uniform:1,2", realtime=0.0002, seed=i, timeout=60)
        optimum = brute_force(problem)
        assert result.status == ("optimal" if np.isfinite(optimum) else "infeasible"), (i, solver)
        if result.status == "optimal":
            assert result.cost == pytest.approx(optimum), (i, solver)
        replayed = replay(result.log, verify=True)
        assert replayed.verified, (i, solver, replayed.first_difference)


def activations(result: Result) -> list[str]:
    """Who was activated, one after the other."""
    names = [d.dst for d in result.log]
    return [a for a, b in pairwise([*names, ""]) if a != b]


def test_activations_of_agents_interleave_differently_from_run_to_run() -> None:
    domain = Domain("d", (0, 1, 2))
    pairs = list(combinations(range(6), 2))
    clash = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    problem = Problem.build(
        [Variable(f"x{i}", domain) for i in range(6)],
        [Constraint(f"c{i}{j}", (f"x{i}", f"x{j}"), clash) for i, j in pairs],
    )
    runs = {tuple(activations(simulate(problem, "bnb-adopt-plus", realtime=0.0005, timeout=60))) for _ in range(8)}
    virtual = {tuple(activations(simulate(problem, "bnb-adopt-plus"))) for _ in range(3)}
    assert len(runs) > 1, "the clock on the wall never gives the same order eight times"
    assert len(virtual) == 1
