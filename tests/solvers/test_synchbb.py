"""SynchBB: one token, a bound that never rises, and NCCC equal to the checks, since it is sequential."""

from __future__ import annotations

import math

import numpy as np
import pytest

from agentsim import Constraint, Domain, Problem, Variable, simulate
from agentsim.testing import random_problem
from solvers.synchbb import Fwd


def chain() -> Problem:
    d = Domain("d", (0, 1))
    differ = [[1, 0], [0, 1]]
    return Problem.build(
        [Variable(n, d) for n in "abc"], [Constraint("ab", ("a", "b"), differ), Constraint("bc", ("b", "c"), differ)]
    )


def test_the_chain_of_three_worked_by_hand() -> None:
    """a=0, b=0 (1): c=0 (2) B=2, c=1 (1) B=1, back; b=1 (0): c=0 (0) B=0, c=1 cut, back; a=1 costs 0, cut."""
    result = simulate(chain(), "synchbb", order="a,b,c")
    assert (result.status, result.cost, result.assignment) == ("optimal", 0, {"a": 0, "b": 1, "c": 0})
    assert {name: m.count for name, m in result.by_type.items()} == {"FWD": 3, "BACK": 3, "TERM": 2}
    assert (result.checks, result.nccc) == (6, 6)  # a reads nothing, b two entries once, c two entries twice


@pytest.mark.parametrize("carry", ["none", "best"])
def test_nccc_is_the_number_of_checks_and_the_bound_never_rises(carry: str) -> None:
    checked = 0
    for seed in range(60):
        problem = random_problem(np.random.default_rng(seed), max_variables=5)
        order = simulate(problem, "synchbb", seed=seed, network="uniform:1,10", carry=carry)
        bounds: dict[str, float] = {}
        for delivery in order.log:
            if isinstance(delivery.message, Fwd):
                assert delivery.message.cost < delivery.message.bound <= bounds.get(delivery.dst, math.inf)
                bounds[delivery.dst] = delivery.message.bound
            assert bool(getattr(delivery.message, "best", ())) <= (carry == "best"), "a full assignment travels"
        if len({v.agent for v in problem.variables.values()}) > 1 and order.log.header is not None:
            components = order.log.header["places"]["orders"]
            if len(components) == 1:
                assert order.nccc == order.checks, f"seed {seed}"
                checked += 1
    assert checked > 10


def test_with_an_adversary_about_nothing_is_proved() -> None:
    def watcher(envelope: object) -> None:
        """An interceptor that lets everything pass; nobody can know that it did."""

    honest = simulate(chain(), "dpop")
    assert (honest.status, honest.bound) == ("optimal", 0)
    watched = simulate(chain(), "dpop", interceptors=[watcher])
    assert (watched.status, watched.cost, watched.bound) == ("finished", 0, None)
