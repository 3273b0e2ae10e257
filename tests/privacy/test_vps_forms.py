"""Forms of statements on which the built-in rules do not conclude: they learn nothing from them, and name them."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest

from agentsim import Agent, Constraint, Domain, Problem, Variable, message, simulate
from agentsim.runtime.mechanisms import Pure
from agentsim.runtime.setup import prepare
from agentsim.runtime.statements import (
    Best,
    Chosen,
    CostIs,
    Nothing,
    Released,
    Rest,
    Softmax,
    Statement,
    Term,
    ValueIs,
)
from agentsim.testing import Truth
from privacy.vps import Rule, Vps
from privacy.vps.observer import exclusions

RULES = ("paper", "exact", "tight", "tight,topology=true")


@message("SAY")
class Say(NamedTuple):
    number: int


class Teller(Agent):
    """y tells x something."""

    messages = (Say,)
    place = "tree"

    async def run(self) -> None:
        self.assign(0)
        if self.name == "y":
            self.send("x", Say(0))
        elif self.name == "x":
            await self.receive(Say)


def pair(forbid: bool = False) -> Problem:
    """Return x and y with costs 1..4, y's being 4 and 2 (or infinite and 2), and a constraint that costs 0 or 1."""
    d = Domain("d", (0, 1))
    costs = [[1, 3], [math.inf if forbid else 4, 2]]
    variables = [Variable(n, d, unary=np.array(c), cost_range=(1, 4)) for n, c in zip("xy", costs, strict=True)]
    return Problem.build(variables, [Constraint("c", ("x", "y"), np.eye(2, dtype=int), cost_range=(0, 1))])


def learnt(problem: Problem, rule: str, *said: Statement) -> tuple[list[int], list[int], int, list[str]]:
    """Return x's bounds on y's costs, the least bound of some value, and the notes; nothing may be excluded wrongly."""

    class Read:
        def read(self, delivery: Any) -> Sequence[Statement]:
            return said

    class Telling(Teller):
        reader = staticmethod(lambda context: Read())

    truth = Truth(prepare(problem, Telling, "telling", {}))
    assert all(truth.holds(s) for s in said)
    kept: list[Vps] = []

    class Kept(Vps):
        def start(self) -> None:
            kept.append(self)
            super().start()

    name, *options = rule.split(",")
    given = {"rule": name, "view": "agent:x", **dict(o.split("=") for o in options)}
    findings = simulate(problem, Telling, observers=[(Kept, given)]).findings["vps"]
    assert exclusions(kept[0]) == []
    belief = kept[0].viewers[0].mind.belief("y")
    assert belief is not None
    return belief.low, belief.high, min([belief.least, *belief.bounds]), findings["notes"]


def term(context: dict[str, int], coefficient: float = 1.0, rest: Rest = "local") -> Term:
    return Term(("y",), rest, context, coefficient)


def cost(relation: Any, value: float, *terms: Term, **more: Any) -> CostIs:
    return CostIs("cost", ("number",), terms, relation, value, **more)


UNUSED: list[Statement] = [
    cost("==", 2, term({"x": 0, "y": 1}), noise=Pure(1.0)),
    cost("<=", 2, term({"x": 0, "y": 1}), others="some"),
    cost(">=", 3, term({"y": 1}), others="some"),
    cost("==", 3, term({"y": 1}), others="some"),
    cost("<=", 2, term({"x": 0, "y": 1}), forbidden=3),
    cost("==", -3, term({"x": 0, "y": 1}), term({"x": 0, "y": 0}, -1)),
    Chosen("cost", ("number",), "y", 1, {"x": 0}, Best()),
    Chosen("cost", ("number",), "y", 0, {"x": 0}, Softmax(None, 0.0, True)),
]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("said", UNUSED)
def test_nothing_is_learnt_and_it_is_named(rule: str, said: Statement) -> None:
    low, high, some, notes = learnt(pair(), rule, said)
    assert (low, high, some) == ([1, 1], [4, 4], 4)
    assert f"not used by rule {rule.split(',')[0]}, so not counted as loss: cost (SAY)" in notes


@pytest.mark.parametrize("rule", RULES)
def test_some_values_say_nothing_of_the_least_cost(rule: str) -> None:
    """With x at 1 the cost is 3; at its best x is 0 and it is 2. As an equality of least costs it would be wrong."""
    plain = cost("<=", 3, term({"y": 1}))
    low, high, _, _ = learnt(pair(), rule, plain, cost("==", 3, term({"y": 1}), others="some"))
    assert (low, high) == ([1, 1], [4, 3])


@pytest.mark.parametrize("rule", RULES)
def test_noise_bounds_nothing_from_below(rule: str) -> None:
    own = term({"y": 1}, rest="none")
    assert learnt(pair(), "tight", cost("<=", 3, own), cost(">=", 2, own))[:2] == ([1, 1], [4, 3])
    low, high, _, _ = learnt(pair(), rule, cost("<=", 4, own), cost(">=", 4, own, noise=Pure(1.0)))
    assert (low, high) == ([1, 1], [4, 4])


@pytest.mark.parametrize("rule", RULES)
def test_a_forbidden_cost_that_counts_little_is_not_taken_for_a_low_one(rule: str) -> None:
    low, high, some, _ = learnt(pair(forbid=True), rule, cost("==", 2, term({"x": 1, "y": 0}), forbidden=2))
    assert (low, high, some) == ([1, 1], [4, 4], 4)


@pytest.mark.parametrize("rule", RULES)
def test_local_costs_are_used_and_private_costs_count_once(rule: str) -> None:
    """What y's own cost functions cost with all constraints on y bounds y's private cost."""
    low, high, _, notes = learnt(pair(), rule, cost("==", 2, term({"x": 0, "y": 1})))
    assert (low, high) == ([1, 1], [4, 2])
    assert not any(note.startswith("not used") for note in notes)


def test_what_says_nothing_of_costs_is_not_named() -> None:
    said = [
        Nothing("greeting", ("number",)),
        ValueIs("value", ("number",), "y", 0, "now"),
        Released("release", ("number",), Pure(1.0), 1.0, "y"),
    ]
    for rule in RULES:
        assert not any(note.startswith("not used") for note in learnt(pair(), rule, *said)[3])


def test_rules_of_ones_own_are_taken_to_use_everything() -> None:
    class Mine(Rule):
        def learn(self, statements: Any, delivery: Any) -> Sequence[Any]:
            return ()

    assert all(Mine(None, None).uses(said) for said in UNUSED)  # type: ignore[arg-type]
