"""Agents that know everybody: what is public, whose share a cost function is in, and what its statements mean."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest

from agentsim import Agent, Constraint, Domain, Problem, Variable
from agentsim.runtime.setup import prepare
from agentsim.runtime.statements import CostIs, ReaderContext, Term
from agentsim.runtime.view import Setup
from agentsim.testing import Truth, holds, random_problem

INF = math.inf


class Everybody(Agent):
    """Knows everybody, and costs as they are."""

    knows: ClassVar[Any] = "everybody"


class Shifted(Everybody):
    """The same with costs that are not negative."""

    costs: ClassVar[Any] = "nonnegative"


class Neighbour(Agent):
    """Knows its neighbours alone."""


def problem(objective: Any = "min") -> Problem:
    """Agents a (x, z), b (y) and c, of whom the last has no variable; constraints known to all kinds of agents."""
    d = Domain("d", (0, 1))
    return Problem.build(
        [Variable("x", d, "a", unary=[1, -2]), Variable("y", d, "b"), Variable("z", d, "a", unary=[0, 5])],
        [
            Constraint("all", ("x", "y"), [[1, 2], [3, 4]], known_to="all"),
            Constraint("scope", ("y", "x"), [[0, 1], [1, 0]]),
            Constraint("foreign", ("x",), [7, -3], owner="c"),
            Constraint("within", ("x", "z"), [[0, 0], [0, 6]]),
            Constraint("named", ("y", "z"), [[1, 1], [2, 2]], known_to=("c", "b")),
            Constraint("everyone", ("z", "y"), [[0, 9], [9, 0]], known_to=("c", "a", "b")),
        ],
        objective=objective,
        agents=("a", "b", "c"),
    )


def tame() -> Problem:
    """The same without the constraint that solvers for neighbours refuse: one that a variable's agent does not know."""
    full = problem()
    return Problem.build(full.variables.values(), [c for n, c in full.constraints.items() if n != "named"])


def setup_of(given: Problem, cls: type[Agent] = Everybody) -> Setup:
    return prepare(given, cls, cls.__name__, {})


def test_what_is_public() -> None:
    public = setup_of(problem()).public_part
    assert dict(public.sizes) == {"x": 2, "y": 2, "z": 2}
    assert [(c.name, c.public) for c in public.constraints] == [("all", True), ("everyone", False)]
    assert dict(public.speakers) == {"a": "x", "b": "y", "c": "c"}
    assert dict(public.scopes) == {"a": (("x",), ("z",), ("y", "x"), ("x", "z")), "b": (("y", "z"),), "c": (("x",),)}


def test_of_several_that_know_a_constraint_the_first_answers_for_it() -> None:
    shares = setup_of(problem()).shares
    assert {agent: [f.name for f in own] for agent, own in shares.items()} == {
        "a": ["x", "z", "scope", "within"],
        "b": ["named"],
        "c": ["foreign"],
    }
    assert shares["c"][0].scope == ("x",)
    assert shares["a"][0].table.tolist() == [1, -2]


@pytest.mark.parametrize("seed", range(20))
def test_every_cost_function_is_public_or_in_one_share(seed: int) -> None:
    rng = np.random.default_rng([41, seed])
    plain = random_problem(rng)
    owners = [None, *plain.agents, "boss"]
    constraints = [
        replace(c, known_to="all") if rng.random() < 0.3 else replace(c, owner=owners[int(rng.integers(len(owners)))])
        for c in plain.constraints.values()
    ]
    given = Problem.build(plain.variables.values(), constraints, objective=plain.objective, agents=("boss",))
    setup = setup_of(given)
    public = setup.public_part
    functions = [n for n, v in given.variables.items() if v.unary is not None] + list(given.constraints)
    found = [c.name for c in public.constraints] + [f.name for own in setup.shares.values() for f in own]
    assert Counter(found) == Counter(functions)
    assert {agent: tuple(f.scope for f in own) for agent, own in setup.shares.items()} == dict(public.scopes)
    assert list(public.speakers) == list(given.agents)
    for agent, speaker in public.speakers.items():
        assert setup.nodes[speaker] == agent


def test_all_nodes_of_an_agent_have_its_share_and_those_without_variable_too() -> None:
    setup = setup_of(problem())
    views = {node: setup.view(node) for node in setup.nodes}
    assert list(views) == ["x", "y", "z", "c"]
    for node, view in views.items():
        assert view.public is setup.public_part
        assert view.share is setup.shares[setup.nodes[node]]
    assert (views["c"].domain, views["c"].agent, views["c"].sense) == ((), "c", 1)
    assert [f.name for f in views["c"].share] == ["foreign"]


def test_who_knows_its_neighbours_alone_is_told_nothing_of_it() -> None:
    setup = setup_of(tame(), Neighbour)
    assert all(setup.view(node).public is None and setup.view(node).share == () for node in setup.nodes)


def test_it_runs_as_it_is_without_copies() -> None:
    setup = setup_of(tame())
    assert setup.problem is setup.original
    assert not setup.copies
    assert setup_of(tame(), Neighbour).copies, "where it would otherwise have some"


def test_an_agents_name_that_is_a_variables_gets_another_node() -> None:
    d = Domain("d", (0,))
    given = Problem.build([Variable("a", d, "b")], agents=("a", "b"))
    public = setup_of(given).public_part
    assert dict(public.speakers) == {"a": "a'", "b": "a"}


def test_a_private_cost_is_public_to_a_single_agent_as_little_as_to_many() -> None:
    """One agent alone: what it knows everybody knows, but its private costs stay its share."""
    d = Domain("d", (0, 1))
    given = Problem.build(
        [Variable("x", d, "a", unary=[1, 2]), Variable("y", d, "a")], [Constraint("c", ("x", "y"), [[0, 1], [1, 0]])]
    )
    setup = setup_of(given)
    assert [f.name for f in setup.shares["a"]] == ["x"]
    assert [c.name for c in setup.public_part.constraints] == ["c"]


@pytest.mark.parametrize(
    ("objective", "offsets"), [("min", {"x": 2, "y": 0, "c": 3}), ("max", {"x": 13, "y": 2, "c": 7})]
)
def test_offsets_are_those_of_the_share(objective: str, offsets: dict[str, int]) -> None:
    """Minimising, x is shifted by 2 and `foreign` by 3; maximising, by 1, 5, 1 and 6 for a, 2 for b, 7 for c."""
    setup = setup_of(problem(objective), Shifted)
    assert {node: setup.share_offset(node) for node in ("x", "y", "c")} == offsets
    assert setup.share_offset("z") == offsets["x"], "an agent's nodes have one share"
    context = ReaderContext.of(setup, ["x"])
    assert context.offset(("x", "c"), "share") == offsets["x"] + offsets["c"]
    least = {agent: sum(f.table.min() for f in own) for agent, own in setup.shares.items()}
    assert all(cost >= 0 for cost in least.values())


def test_context_of_others_has_no_share_offsets() -> None:
    assert ReaderContext.of(setup_of(tame(), Neighbour), ["x"]).share_offsets == {}


@pytest.mark.parametrize(
    ("parties", "context", "cost"),
    [
        (("c",), {"x": 0}, 7),
        (("c",), {"x": 1, "y": 0, "z": 0}, -3),
        (("y",), {"y": 1, "z": 1}, 2),
        (("x",), {"x": 1, "y": 0, "z": 1}, -2 + 5 + 1 + 6),
        (("z",), {"x": 1, "y": 0, "z": 1}, -2 + 5 + 1 + 6),  # any node of the agent
        (("x", "z"), {"x": 1, "y": 0, "z": 1}, -2 + 5 + 1 + 6),  # counted once
        (("x", "y", "c"), {"x": 0, "y": 0, "z": 0}, 1 + 0 + 0 + 0 + 1 + 7),
        (("x",), {}, -2),  # x=1, y=1, z=0
    ],
)
def test_a_statement_on_a_share_is_true_of_that_cost_alone(
    parties: tuple[str, ...], context: dict[str, int], cost: int
) -> None:
    setup = setup_of(problem())
    for value in (cost - 1, cost, cost + 1):
        statement = CostIs("answer", ("cost",), (Term(parties, "share", context),), "==", value)
        assert holds(statement, setup) == (value == cost)


def test_a_share_speaks_of_nodes_that_exist() -> None:
    setup = setup_of(problem())
    term = Term(("nobody",), "share", {})
    assert not Truth(setup).holds(CostIs("answer", ("cost",), (term,), "==", 0))
