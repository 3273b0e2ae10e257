"""The inference rules: what each statement tells whom, word by word."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from agentsim import Constraint, Domain, Problem, Variable
from agentsim.runtime.statements import (
    CostIs,
    CostTable,
    Nothing,
    Released,
    Term,
    Unanalysed,
    ValueIs,
)
from privacy.vps import exclusions, mixture_loss
from tests.privacy.vps_watching import FIELDS, INF, THREE, event, highs, own, ranges, tell, watch


def free(costs: Mapping[str, Sequence[float]], bounds: tuple[float, float] = (1, 4)) -> Problem:
    """Return variables with these private costs, in a chain of constraints that cost nothing."""
    names = list(costs)
    d = len(costs[names[0]])
    values = Domain("values", tuple(range(d)))
    nothing = np.zeros((d, d), dtype=int)
    return Problem.build(
        [Variable(name, values, unary=np.array(c), cost_range=bounds) for name, c in costs.items()],
        [Constraint(f"{a}{b}", (a, b), nothing, cost_range=(0, 0)) for a, b in pairwise(names)],
    )


@pytest.mark.parametrize("rule", ["paper", "exact", "tight"])
def test_example_3(rule: str) -> None:
    """Costs 1..4, three slots, three agents: a1 tells a0 "2" when the slot is 0, which is 1 bit of 6 to one of two."""
    watched = tell(THREE, ("x1", "x0", own("x1", {"x0": 0}, 2)), rule=rule)
    assert highs(watched, "a0", "x1") == [2, 4, 4]
    found = watched.findings()
    assert found["matrix"]["a0"]["a1"] == pytest.approx(1)
    assert found["loss"]["a1"] == pytest.approx(1 / 12)
    assert found["matrix"]["a2"] == {"a0": 0, "a1": 0}
    assert found["matrix"]["a1"] == {"a0": 0, "a2": 0}
    assert found["loss"]["a0"] == found["loss"]["a2"] == 0


def test_example_3_by_the_other_metrics() -> None:
    said = ("x1", "x0", own("x1", {"x0": 0}, 2))
    assert tell(THREE, said, metric="proportional").findings()["loss"]["a1"] == pytest.approx(2 / 3 / 3 / 2)
    assert tell(THREE, said, metric="guess").findings()["loss"]["a1"] == pytest.approx(1 / 3 / 3 / 2)


def test_example_4() -> None:
    """Three costs from a3, no event: "some value costs at most 2", and 1, and 3, of four values and costs 1..4."""
    problem = free({"a2": [4, 4, 4, 4], "a3": [1, 2, 3, 4]})
    said = [("a3", "a2", own("a3", {"a2": value}, s)) for value, s in ((0, 2), (1, 1), (2, 3))]
    paper = tell(problem, *said).findings()
    assert paper["matrix"]["a2"]["a3"] == pytest.approx(2.983459, abs=5e-7)
    assert paper["loss"]["a3"] == pytest.approx(0.372932, abs=5e-7)
    for rule in ("exact", "tight"):
        exact = tell(problem, *said, rule=rule).findings()
        assert exact["matrix"]["a2"]["a3"] == pytest.approx(math.log2(256) - math.log2(256 - 81))


def test_example_4_whether_repeats_count() -> None:
    problem = free({"a2": [4, 4, 4, 4], "a3": [1, 2, 3, 4]})
    twice = [("a3", "a2", own("a3", {"a2": value}, s)) for value, s in ((0, 2), (0, 2), (1, 2), (1, 3))]
    every = tell(problem, *twice, repeats="all").findings()["matrix"]["a2"]["a3"]
    distinct = tell(problem, *twice, repeats="distinct").findings()["matrix"]["a2"]["a3"]
    assert every == pytest.approx(mixture_loss([2, 2, 2, 3], 4, 4))
    assert distinct == pytest.approx(mixture_loss([2, 2, 3], 4, 4))
    exact = tell(problem, *twice, rule="exact").findings()["matrix"]["a2"]["a3"]
    assert exact == tell(problem, twice[0], rule="exact").findings()["matrix"]["a2"]["a3"]


@pytest.mark.parametrize("rule", ["paper", "exact", "tight"])
def test_a_message_without_an_upper_bound_on_costs_tells_nothing(rule: str) -> None:
    """Lower bounds alone, infinite ones, noisy ones, differences, values, and what nobody has analysed."""
    context = {"x0": 0}
    difference = CostIs(
        "delta", FIELDS, (Term(("x1",), "none", context), Term(("x2",), "none", context, -1.0)), "<=", -2
    )
    watched = tell(
        THREE,
        ("x1", "x0", own("x1", context, 2, ">=")),
        ("x1", "x0", own("x1", {}, INF)),
        ("x1", "x0", own("x1", context, 1, noise="Gaussian")),
        ("x1", "x0", difference),
        ("x1", "x0", ValueIs("value", FIELDS, "x1", 0, "now")),
        ("x1", "x0", Released("released", FIELDS, "a mechanism", 1.0, "x1")),
        ("x1", "x0", Unanalysed("something", FIELDS)),
        ("x1", "x0", Nothing("nothing", FIELDS)),
        rule=rule,
    )
    assert watched.findings()["matrix"]["a0"] == {"a1": 0, "a2": 0}
    assert "not analysed, so not counted as loss: something (SAY)" in watched.findings()["notes"]


def test_nobody_learns_about_himself_or_from_his_own_words() -> None:
    watched = tell(THREE, ("x1", "x0", own("x0", {"x0": 0}, 1)), ("x1", "x0", own("x1", {"x0": 0}, 2)), rule="exact")
    assert set(watched.findings()["matrix"]["a0"]) == {"a1", "a2"}
    assert watched.findings()["matrix"]["a1"] == {"a0": 0, "a2": 0}


@pytest.mark.parametrize("label", ["subtree-upper", "incumbent"])
def test_the_paper_does_not_look_at_upper_bounds_of_subtrees_and_incumbents(label: str) -> None:
    said = ("x1", "x0", own("x1", {"x0": 0}, 2, label=label, rest="subtree"))
    assert tell(THREE, said).findings()["matrix"]["a0"]["a1"] == 0
    assert tell(THREE, said, rule="exact").findings()["matrix"]["a0"]["a1"] == pytest.approx(1)


@pytest.mark.parametrize("rule", ["paper", "exact", "tight"])
def test_the_slot_is_that_of_the_context_wherever_it_comes_from(rule: str) -> None:
    """Not the receiver's own value, and also through an agent in between: x2 is tied to x1, which is among those."""
    chain = event([[4, 4], [1, 2], [1, 1]], "C")
    watched = tell(chain, ("x1", "x0", own(("x1", "x2"), {"x0": 1}, 3, "==")), rule=rule)
    assert highs(watched, "a0", "x1") == [4, 2]  # the other one costs 1 at least
    assert highs(watched, "a0", "x2") == [4, 2]


@pytest.mark.parametrize("rule", ["exact", "tight"])
def test_ties_that_do_not_count_towards_a_cost_tell_no_slot(rule: str) -> None:
    """x1 is between x0 and x2. Without it, nothing says that x2 has the slot of x0: it is at its best."""
    chain = event([[4, 4], [4, 4], [2, 4]], "C")
    watched = tell(chain, ("x1", "x0", own("x2", {"x0": 1}, 2)), rule=rule)
    assert highs(watched, "a0", "x2") == [4, 4]
    assert watched.findings()["matrix"]["a0"]["a2"] == pytest.approx(math.log2(16) - math.log2(16 - 4))


@pytest.mark.parametrize("rule", ["paper", "exact", "tight"])
def test_ties_are_those_that_are_public_or_ones_own(rule: str) -> None:
    """Who does not know that others must agree cannot tell their slots."""
    costs, said = [[1, 1], [2, 2], [2, 4]], ("x1", "x0", own(("x1", "x2"), {"x0": 0}, 4, "=="))
    public = tell(event(costs, "C"), said, rule=rule)
    private = tell(event(costs, "C", known_to="scope"), said, rule=rule)
    assert highs(public, "a0", "x2") == [3, 4]
    assert highs(private, "a0", "x1") == [3, 4]  # its own tie
    assert highs(private, "a0", "x2") == [4, 4]


@pytest.mark.parametrize("rule", ["paper", "exact", "tight"])
def test_what_ties_values_only_softly_is_no_tie(rule: str) -> None:
    """A price that private costs could make up for: the cost may be that of another slot."""
    soft = event([[1, 1], [4, 1]], "C", conflict=2)
    watched = tell(soft, ("x1", "x0", own("x1", {"x0": 0}, 3)), rule=rule)
    assert highs(watched, "a0", "x1") == [4, 4]
    assert exclusions(watched) == []


@pytest.mark.parametrize("rule", ["paper", "exact", "tight"])
def test_a_table_without_axes_is_a_bound_under_its_context(rule: str) -> None:
    table = CostTable("subtree-table", FIELDS, ("x1",), "subtree", (), np.array(2), context={"x0": 0})
    assert highs(tell(THREE, ("x1", "x0", table), rule=rule), "a0", "x1") == [2, 4, 4]


@pytest.mark.parametrize("rule", ["paper", "exact", "tight"])
def test_a_table_over_a_party_tells_its_values_by_name(rule: str) -> None:
    problem = free({"a": [1, 1, 1], "b": [4, 2, 3]})
    table = CostTable("own-table", FIELDS, ("b",), "none", ("a", "b"), np.array([[4, 2, 3]] * 3))
    assert highs(tell(problem, ("b", "a", table), rule=rule), "a", "b") == [4, 2, 3]


@pytest.mark.parametrize("rule", ["paper", "exact", "tight"])
def test_a_tie_that_others_evaluate_tells_no_slot(rule: str) -> None:
    """The cost of x1 alone is the same whatever x2 below it does: that they must agree is in the cost of x2."""
    chain = event([[1, 1, 1], [1, 4, 4], [2, 2, 2]], "C")
    bound = tell(chain, ("x1", "x2", own("x1", {"x2": 1}, 1, "==")), rule=rule)
    assert highs(bound, "a2", "x1") == [4, 4, 4]
    assert exclusions(bound) == []
    cells = CostTable("own-table", FIELDS, ("x1",), "none", ("x2",), np.array([1, 1, 1]))
    table = tell(chain, ("x1", "x2", cells), rule=rule)
    assert highs(table, "a2", "x1") == [4, 4, 4]
    assert exclusions(table) == []


@pytest.mark.parametrize("options", [{}, {"topology": True}])
def test_a_public_cost_on_one_variable_is_no_private_one(options: dict[str, Any]) -> None:
    """What x1 tells the leader over its own values alone is its private costs and the fee that everybody pays."""
    values = Domain("values", (0, 1))
    costs = {"x0": [1, 1], "x1": [1, 2], "x2": [1, 1]}
    variables = [Variable(name, values, unary=np.array(c), cost_range=(1, 6)) for name, c in costs.items()]
    fee = Constraint("fee", ("x1",), np.array([3, 3]), known_to="all", cost_range=(0, 5))
    all_three = Constraint("all", ("x0", "x1", "x2"), np.zeros((2, 2, 2), dtype=int), cost_range=(0, 0))
    problem = Problem.build(variables, [fee, all_three])
    watched = watch(problem, "brute-force", "tight", options, order="x0,x1,x2")
    assert exclusions(watched) == []


def test_tight_uses_what_was_learnt_before() -> None:
    """a0 alone costs 4, and with a1 8: so a1 costs 4."""
    problem = event([[4, 1], [4, 1], [1, 1]], "C")
    alone = ("x1", "x2", own(("x0",), {"x0": 0}, 4, "==", label="prefix"))
    both = ("x1", "x2", own(("x0", "x1"), {"x0": 0, "x1": 0}, 8, "==", label="prefix"))
    watched = tell(problem, alone, both, rule="tight")
    assert ranges(watched, "a2", "x0") == [(4, 4), (1, 4)]
    assert ranges(watched, "a2", "x1") == [(4, 4), (1, 4)]
    assert highs(tell(problem, alone, both, rule="exact"), "a2", "x1") == [4, 4]


def test_tight_takes_a_lower_bound_only_with_an_upper_one() -> None:
    """A lower bound may stem from a conflict; that the cost is finite takes an upper bound on the same."""
    term = Term(("x1",), "subtree", {"x0": 0})
    lower, upper = CostIs("subtree-lower", FIELDS, (term,), ">=", 3), CostIs("subtree-upper", FIELDS, (term,), "<=", 4)
    problem = event([[1, 1], [3, 1]], "C")
    assert ranges(tell(problem, ("x1", "x0", lower), rule="tight", topology=True), "a0", "x1")[0] == (1, 4)
    apart = tell(problem, ("x1", "x0", lower), ("x1", "x0", upper), rule="tight", topology=True)
    assert ranges(apart, "a0", "x1")[0] == (1, 4)
    together = ("x1", "x0", lower, upper)
    assert ranges(tell(problem, together, rule="tight", topology=True), "a0", "x1")[0] == (3, 4)
    assert ranges(tell(problem, together, rule="tight"), "a0", "x1")[0] == (1, 4)  # who knows who is below?


def test_a_conflict_that_is_dearer_than_all_costs_is_none_of_them() -> None:
    """Under a = 1 and b = 0 some tie must break: 21, and 3 of y. That z would cost 4 with a, B knows; it costs 0."""
    slots = Domain("slots", (0, 1))
    costs = {"a": ("A", [0, 0]), "b": ("B", [0, 0]), "p": ("P", [0, 4]), "y": ("Y", [3, 0]), "z": ("B", [0, 4])}
    same = np.where(np.eye(2, dtype=bool), 0, 21)  # five costs of 0..4, and one more
    problem = Problem.build(
        [Variable(name, slots, agent, np.array(c), cost_range=(0, 4)) for name, (agent, c) in costs.items()],
        [
            Constraint(f"{a}={b}", (a, b), same, known_to="all", cost_range=(0, 21))
            for a, b in (("a", "b"), ("b", "p"), ("p", "z"), ("a", "z"), ("p", "y"))
        ],
    )
    term = Term(("p",), "subtree", {"a": 1, "b": 0})
    bounds = [CostIs(f"subtree-{way}", FIELDS, (term,), way, 24) for way in (">=", "<=")]  # type: ignore[arg-type]
    for rule, options in (("exact", {}), ("tight", {}), ("tight", {"topology": True})):
        watched = tell(problem, ("p", "b", *bounds), rule=rule, **options)
        assert exclusions(watched) == []
        assert ranges(watched, "B", "p") == [(0, 4), (0, 4)]


def test_of_a_sum_that_leaves_values_open_the_paper_suspects_its_sender_alone() -> None:
    """The cost of all behind x1, where no event ties them: a bound of some value of x1; `exact` bounds each of them."""
    problem = free({"x0": [1, 1], "x1": [1, 2], "x2": [1, 2]})
    said = ("x1", "x0", own(("x1", "x2"), {"x0": 0}, 2, "==", label="improved-suffix"))
    paper = tell(problem, said).findings()["matrix"]["x0"]
    assert paper == {"x1": pytest.approx(mixture_loss([2], 2, 4)), "x2": 0}
    exact = tell(problem, said, rule="exact").findings()["matrix"]["x0"]
    assert exact["x1"] == exact["x2"] == pytest.approx(math.log2(16) - math.log2(16 - 9))  # each costs 1 at most
