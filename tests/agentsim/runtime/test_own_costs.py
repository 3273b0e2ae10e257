"""The costs that a node evaluates: against the tables they come from, whatever is kept and forgotten."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from agentsim.dcop.problem import Constraint, Domain, Problem, Variable
from agentsim.runtime import own_costs
from agentsim.runtime.own_costs import OwnCosts
from agentsim.runtime.view import Setup

SIZES = {"a": 2, "b": 3, "c": 3, "x": 4}


def problem() -> Problem:
    rng = np.random.default_rng(3)
    return Problem.build(
        [Variable(n, Domain(f"d{d}", tuple(range(d))), unary=rng.integers(0, 9, d)) for n, d in SIZES.items()],
        [
            Constraint("".join(scope), scope, rng.integers(0, 99, tuple(SIZES[n] for n in scope)))
            for scope in (("a", "x"), ("x", "b"), ("a", "x", "b"), ("x", "c"), ("a", "b"))
        ],
    )


@pytest.mark.parametrize("kept", [1, 8, 10_000])
def test_costs_by_own_value(kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_costs, "KEPT_COSTS", kept)
    given = problem()
    own = OwnCosts(Setup(given, given, {}, "signed").view("x"), ["a", "b"])
    assert set(own.scope) == {"a", "b"}
    assert own.checks == 4 * (1 + 3)
    t = {c.name: c.table for c in given.constraints.values()}
    unary = given.variables["x"].unary
    assert unary is not None
    contexts = list(product(range(2), range(3)))
    for a, b in contexts + contexts[::-1]:
        expected = unary + t["ax"][a] + t["xb"][:, b] + t["axb"][a, :, b]
        assert own.by_value({"a": a, "b": b, "c": 1}) == expected.tolist()


def test_without_anything_above_the_unary_costs_are_all() -> None:
    given = problem()
    own = OwnCosts(Setup(given, given, {}, "signed").view("c"), [])
    unary = given.variables["c"].unary
    assert unary is not None
    assert own.scope == ()
    assert own.by_value({}) == own.by_value({"a": 1}) == unary.tolist()
