"""The problem model: what it refuses, what it makes of tables, and what it answers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from agentsim import Constraint, Domain, Problem, UserError, Variable
from agentsim.dcop import problem as model

INF = math.inf
BIT = Domain("bit", (0, 1))
X, Y = Variable("x", BIT, agent="a"), Variable("y", BIT, agent="b")


def pair(name: str = "c", table: Any = ((0, 1), (2, 3)), **others: Any) -> Constraint:
    return Constraint(name, ("x", "y"), np.array(table), **others)


# What is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (lambda: Domain("d", ()), "domain d: has no values"),
        (lambda: Domain("d", (1, 2, 1.0)), "domain d: a value occurs twice"),
        (lambda: Variable("x", BIT, unary=np.zeros(3)), "variable x: 3 unary costs for 2 values"),
        (lambda: Constraint("c", (), np.zeros(())), "constraint c: empty scope"),
        (lambda: Constraint("c", ("x", "x"), np.zeros((2, 2))), "constraint c: a variable occurs twice in its scope"),
        (lambda: Constraint("c", ("x",), np.zeros((2, 2))), "constraint c: 2 axes for 1 variables"),
        (lambda: pair(table=[[0, math.nan], [0, 0]]), "constraint c: a cost is NaN"),
        (lambda: pair(table=[["a", "b"], ["c", "d"]]), "constraint c: costs are not numbers"),
        (lambda: Problem("p", "least", {"x": X}, {}), "objective 'least': must be min or max"),  # type: ignore[arg-type]
        (lambda: Problem.build([X], constant=INF), "the constant cost is not finite"),
        (lambda: Problem.build([X, X]), "variable x: defined twice"),
        (lambda: Problem.build([X, Y], [pair(), pair()]), "constraint c: defined twice"),
        (lambda: Problem.build([X], [pair()]), "constraint c: unknown variable y"),
        (lambda: Problem.build([X, Y], [pair(table=np.zeros((2, 3)))]), r"constraint c: table of shape \(2, 3\)"),
        (lambda: Problem.build([X], [Constraint("u", ("x",), np.zeros(3))]), "constraint u: 3 costs for 2 values"),
        (lambda: Problem.build([X, Y], [pair(table=[[0, -INF], [0, 0]])]), "constraint c: a cost is infinitely good"),
        (lambda: Problem.build([X], constant=2**53), r"whole-number costs whose sum can pass 2\*\*53"),
        (lambda: model.check_table_size("here", (5000, 4001)), "here: 20005000 cells, more than the 20000000 allowed"),
    ],
)
def test_refused(make: Any, cause: str) -> None:
    with pytest.raises(UserError, match=f"^{cause}"):
        make()


def test_infinitely_good_is_minus_infinite_only_when_it_minimises() -> None:
    forbidden = pair(table=[[0, -INF], [0, 0]])
    assert Problem.build([X, Y], [forbidden], objective="max").integral
    with pytest.raises(UserError, match="infinitely good"):
        Problem.build([X, Y], [pair(table=[[0, INF], [0, 0]])], objective="max")


def test_the_largest_table_is_allowed() -> None:
    model.check_table_size("here", (5000, 4000))


# Domains, tables -----------------------------------------------------------------------------------------------------


def test_true_is_not_one() -> None:
    domain = Domain("d", (1, True, 0, False, "1"))
    assert [domain.index(value) for value in domain.values] == [0, 1, 2, 3, 4]
    assert domain.index(1.0) == 0
    with pytest.raises(UserError, match="domain d: no value '0'"):
        domain.index("0")


def test_costs_may_be_given_as_lists() -> None:
    unary = Variable("x", BIT, unary=[1.0, 2.0]).unary  # type: ignore[arg-type]
    assert isinstance(unary, np.ndarray)
    assert (unary.dtype, unary.flags.writeable, unary.tolist()) == ("int64", False, [1, 2])
    assert Constraint("c", ("x", "y"), [[1, 2], [3, 4]]).table.shape == (2, 2)  # type: ignore[arg-type]


def test_a_table_is_the_problems_own() -> None:
    costs = np.array([[0, 1], [2, 3]])
    table = pair(table=costs).table
    mine = model.as_table(costs, "here")
    costs[0, 0] = 9
    assert (table[0, 0], mine[0, 0]) == (0, 0)
    with pytest.raises(ValueError, match="read-only"):
        mine[0, 0] = 1


@pytest.mark.parametrize(
    ("costs", "kind"),
    [
        ([1.0, 2.0], "i"),
        ([True, False], "i"),
        ([1.0, INF], "f"),
        ([1.5, 2.0], "f"),
        ([2.0**53 - 1, 0.0], "i"),
        ([2.0**53, 0.0], "f"),
        ([-(2.0**53), 0.0], "f"),
    ],
)
def test_whole_costs_are_int64(costs: list[Any], kind: str) -> None:
    table = model.as_table(costs, "here")
    assert table.dtype == ("int64" if kind == "i" else "float64")
    assert table.tolist() == costs


@pytest.mark.parametrize(
    ("table", "constant", "integral", "tolerance"),
    [
        ([[1, 2], [3, 4]], 5, True, 0.0),
        ([[1, INF], [3, 4]], 5, True, 0.0),
        ([[0.5, INF], [3, -40.0]], 5, False, 45e-12),  # 1e-12 of the greatest sum there can be
        ([[0, 0.5], [0, 0]], 0, False, 1e-12),
        ([[1, 2], [3, 4]], 0.25, False, 4.25e-12),
    ],
)
def test_exact_or_within_a_tolerance(table: Any, constant: float, integral: bool, tolerance: float) -> None:
    problem = Problem.build([X, Y], [pair(table=table)], constant=constant)
    assert problem.integral is integral
    assert problem.tolerance == pytest.approx(tolerance, rel=1e-9, abs=0)


# What it answers ------------------------------------------------------------------------------------------------------


def problem(**others: Any) -> Problem:
    own = Variable("x", Domain("colour", ("red", "blue")), agent="a", unary=np.array([10, 20]))
    three = Variable("z", Domain("three", (1, 2, 3)), agent="b")
    wide = Constraint("w", ("x", "y", "z"), np.arange(12).reshape(2, 2, 3))
    return Problem.build([own, Y, three], [pair(table=[[0, INF], [2, 3]]), wide], constant=100, **others)


def test_evaluates_by_values() -> None:
    p = problem()
    assert p.evaluate({"z": 3, "x": "blue", "y": 0}) == model.Evaluation(100 + 20 + 2 + 8, 0, 130)
    assert p.evaluate({"z": 3, "x": "red", "y": 1}) == model.Evaluation(INF, 1, 100 + 10 + 5)
    assert p.indices({"z": 3, "x": "blue"}) == {"z": 2, "x": 1}
    assert p.values({"z": 2, "x": 1}) == {"x": "blue", "z": 3}
    with pytest.raises(UserError, match="assignment: unknown variable q"):
        p.evaluate({"q": 1})
    with pytest.raises(UserError, match="assignment: no value for y, z"):
        p.evaluate({"x": "red"})
    with pytest.raises(UserError, match="domain colour: no value 'green'"):
        p.evaluate({"x": "green", "y": 0, "z": 1})


def test_evaluates_what_is_maximised() -> None:
    p = Problem.build([X, Y], [pair(table=[[0, -INF], [0.5, 1.25]])], objective="max")
    assert p.evaluate({"x": 0, "y": 1}) == model.Evaluation(-INF, 1, 0.0)
    assert p.evaluate({"x": 1, "y": 1}) == model.Evaluation(1.25, 0, 1.25)
    assert p.better(2, 1)
    assert not p.better(1, 1)
    assert problem().better(1, 2)
    assert not problem().better(1, 1)


def test_all_assignments_the_last_variable_fastest() -> None:
    found = [tuple(indices.values()) for indices in problem().assignments()]
    assert len(found) == 12
    assert found[:4] == [(0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 1, 0)]


def test_who_owns_and_who_knows() -> None:
    p = Problem.build(
        [X, Y, Variable("z", BIT, agent="a")],
        [pair(), pair("k", known_to="all"), pair("o", owner="judge"), pair("n", known_to=("b", "guest"))],
        agents=("idle",),
    )
    assert p.agents == ("idle", "a", "b", "judge", "guest")
    assert p.owned_by("a") == ("x", "z")
    assert p.owned_by("idle") == ()
    known = {name: p.known_to(c) for name, c in p.constraints.items()}
    assert known == {"c": ("a", "b"), "k": p.agents, "o": ("judge",), "n": ("b", "guest")}
    assert p.primal_graph() == {"x": {"y"}, "y": {"x"}, "z": set()}


def test_unary_costs_are_their_owners() -> None:
    ours = [Constraint("u", ("x",), np.array([1, 2])), Constraint("v", ("x",), np.array([10, 20]), owner="a")]
    theirs = Constraint("w", ("x",), np.array([5, 6]), owner="b")
    p = Problem.build([X, Y], [*ours, theirs])
    assert list(p.constraints) == ["w"]
    unary = p.variables["x"].unary
    assert unary is not None
    assert unary.tolist() == [11, 22]
    assert [where for where, _ in p.functions()] == ["variable x", "constraint w"]


def test_graph_for_networkx() -> None:
    graph = problem(name="small").to_networkx()
    assert graph.name == "small"
    assert graph.nodes["x"] == {"agent": "a", "size": 2}
    assert {frozenset(edge): graph.edges[edge]["constraints"] for edge in graph.edges} == {
        frozenset("xy"): ("c", "w"),
        frozenset("xz"): ("w",),
        frozenset("yz"): ("w",),
    }
