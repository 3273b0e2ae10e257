from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentsim.dcop.ordering import (
    ORDERS,
    OrderPlace,
    build_orders,
    components,
    evaluator,
    order_places,
    preference_ranks,
)
from agentsim.dcop.problem import Constraint, Domain, Problem, Variable
from agentsim.errors import UserError


def graph_problem(scopes: list[str], names: str) -> Problem:
    d = Domain("d", (0, 1))
    return Problem.build(
        [Variable(v, d) for v in names],
        [Constraint(f"c{i}", tuple(s), [[0] * 2] * 2) for i, s in enumerate(scopes)],
    )


@st.composite
def graphs(draw: st.DrawFn) -> Problem:
    names = "abcdefg"[: draw(st.integers(0, 7))]
    pairs = [a + b for i, a in enumerate(names) for b in names[i + 1 :]]
    return graph_problem(draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else [], names)


#   e - a - b       d
#       |   |
#       f - c - g
HOUSE = graph_problem(["ea", "ab", "af", "bc", "fc", "cg"], "gfedcba")


def test_components_are_in_the_problems_order() -> None:
    assert components(HOUSE) == [("g", "f", "e", "c", "b", "a"), ("d",)]


@pytest.mark.parametrize(
    ("order", "root", "expected"),
    [
        (None, None, "cfabge"),
        ("mcn", None, "cfabge"),
        ("degree", None, "cafbge"),
        ("lexical", None, "abcefg"),
        ("tree", None, "cfabeg"),
        ("tree", "e", "eafcbg"),
        (None, "e", "eafcbg"),
        ("lexical", "e", "eabcfg"),
        ("g, b", None, "gbcafe"),
        (["g", "b"], "b", "bgcafe"),
        ("d", None, "cfabge"),
    ],
)
def test_orders(order: str | list[str] | None, root: str | None, expected: str) -> None:
    assert build_orders(HOUSE, order=order, root=root) == [tuple(expected), ("d",)]


@given(graphs(), st.data())
def test_every_order_is_a_permutation_of_its_component(problem: Problem, data: st.DataObject) -> None:
    names = list(problem.variables)
    some = data.draw(st.lists(st.sampled_from(names), unique=True)) if names else []
    order = data.draw(st.sampled_from([*ORDERS, some]))
    root = data.draw(st.sampled_from([None, *names]))
    orders = build_orders(problem, order=order, root=root)
    assert [sorted(o) for o in orders] == [sorted(c) for c in components(problem)]
    assert all(o[0] == root for o in orders if root in o)
    if order in ("mcn", "tree"):  # every variable but the first has a neighbour before it
        near = problem.primal_graph()
        assert all(near[v] & set(o[:i]) for o in orders for i, v in enumerate(o) if i)
    if isinstance(order, list):
        for o in orders:
            mine = list(dict.fromkeys(v for v in [root, *order] if v in o))
            assert list(o[: len(mine)]) == mine


@given(graphs())
def test_places_and_evaluators(problem: Problem) -> None:
    orders = build_orders(problem)
    places = order_places(orders)
    for order in orders:
        for i, name in enumerate(order):
            place = places[name]
            assert place == OrderPlace(order, i)
            assert (place.component, place.size, place.before, place.after) == (
                order[0],
                len(order),
                order[:i],
                order[i + 1 :],
            )
            assert (place.predecessor, place.successor) == (
                order[i - 1] if i else None,
                order[i + 1] if i + 1 < len(order) else None,
            )
            assert place.order is order, "one tuple for all: places of a long order would not fit in memory"
    for c in problem.constraints.values():
        last = evaluator(c, places)
        assert set(c.scope) <= {*places[last].before, last}


@pytest.mark.parametrize(
    ("order", "root", "sentence"),
    [
        (
            "fastest",
            None,
            "order 'fastest': must be one of mcn, degree, lexical, tree, smallest-last, or names of variables",
        ),
        ("a,z", None, "order: the problem has no variable 'z'"),
        (["a", "b", "a"], None, "order: variable 'a' occurs 2 times"),
        (None, "z", "root: the problem has no variable 'z'"),
    ],
)
def test_wrong_names_are_one_clear_sentence(order: str | list[str] | None, root: str | None, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        build_orders(HOUSE, order=order, root=root)
    assert str(caught.value) == sentence


def test_random_ranks_do_not_shift_with_another_variable() -> None:
    more = graph_problem(["ab"], "xabcdefg")
    few, many = (preference_ranks(p, "random", seed=3) for p in (HOUSE, more))
    assert sorted("abcdefg", key=few.__getitem__) == sorted("abcdefg", key=many.__getitem__)
    assert few != preference_ranks(HOUSE, "random", seed=4)


def test_unknown_heuristic() -> None:
    with pytest.raises(UserError, match="heuristic 'wide': must be one of degree, mcn"):
        preference_ranks(HOUSE, "wide")
