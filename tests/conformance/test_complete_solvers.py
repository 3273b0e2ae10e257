"""The standing set: every complete solver under every family of schedules, on problems that break solvers.

What `agentsim explore` checks by the million is checked here on a few: the end, cost and optimum of every run, and on
some the log's replay, the truth of every disclosure statement and of every belief, repetition, observers replayed.
The number of runs for each solver comes from AGENTSIM_PROBLEMS (default 80). Maximising twins are added.
"""

from __future__ import annotations

import os

import numpy as np
import pytest

from agentsim.runtime.setup import find_solver
from agentsim.testing import brute_force, random_problem, twin
from scenarios.exploration import check_run, draw_network, explore, options_of, solvers_of
from scenarios.exploration.checks import DEAR

RUNS = int(os.environ.get("AGENTSIM_PROBLEMS", "80"))
CHUNK = 40
COMPLETE = solvers_of(["complete"])


@pytest.mark.parametrize("start", range(0, RUNS, CHUNK))
def test_every_complete_solver_stands_all_schedules(start: int) -> None:
    runs = min(CHUNK, RUNS - start)
    tally = explore(None, COMPLETE, runs=runs, seed=1000 + start, max_variables=6, shrink=0)
    assert tally.failures == []
    assert tally.count("right") == runs * len(COMPLETE)
    assert set(DEAR) < set(tally.checks)


@pytest.mark.parametrize("name", COMPLETE)
def test_a_maximising_twin_has_the_negative_optimum(name: str) -> None:
    for i in range(max(1, RUNS // 10)):
        rng = np.random.default_rng([20, i])
        given = random_problem(rng, max_cells=48)
        mirrored = twin(given)
        _, network = draw_network(rng, given.agents)
        options = options_of(find_solver(name)[1], i)
        verdict = check_run(
            mirrored, name, seed=i, network=network, params=options, optimum=-brute_force(given), dear=()
        )
        assert verdict.outcome == "right", (name, i, network, verdict)
