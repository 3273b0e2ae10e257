"""The observer `disclosures`: who learns what kind of thing about whom."""

from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentsim import Agent, Constraint, Domain, Problem, Variable, message, replay, simulate
from agentsim.runtime import registry
from agentsim.runtime.mechanisms import Pure
from agentsim.runtime.statements import Best, Chosen, CostIs, Released, Statement, Term, ValueIs
from agentsim.testing import random_problem
from privacy.disclosures import Disclosures

READERS = [n for n in registry.names("solvers") if registry.find("solvers", n).reader is not None]


def chain(agents: tuple[str, ...] = ("a", "b", "c")) -> Problem:
    """Return x - y - z with unary costs."""
    d = Domain("d", (0, 1))
    variables = [Variable(n, d, a, np.array([i, 1])) for i, (n, a) in enumerate(zip("xyz", agents, strict=True))]
    table = np.array([[2, 0], [0, 2]])
    return Problem.build(variables, [Constraint("xy", ("x", "y"), table), Constraint("yz", ("y", "z"), table)])


def found(problem: Problem, solver: Any, view: str = "all", **options: Any) -> dict[str, Any]:
    result = simulate(problem, solver, observers=[(Disclosures, {"view": view})], **options)
    return result.findings["disclosures"]


def test_dpop_on_a_chain_by_hand() -> None:
    """Rooted at x: z tells y its table, y tells x its subtree's; values come back down."""
    what = found(chain(), "dpop", root="x")
    assert what["solver_analysed"] is True
    assert what["unread_fields"] == {}
    assert {v: n.get("subtree-table", 0) for v, n in what["statements"].items()} == {"a": 1, "b": 1, "c": 0}
    assert set(what["subjects"]["a"]) == {"b"}
    assert set(what["subjects"]["b"]) == {"a", "c"}
    assert set(what["subjects"]["c"]) == {"b"}
    assert what["values_revealed"] == {"a": 0, "b": 1, "c": 1}


def test_own_words_and_own_nodes_tell_nothing() -> None:
    """x and y are of one agent: what they tell each other is local, and nobody else sees it."""
    what = found(chain(("a", "a", "c")), "dpop", root="x")
    assert what["statements"]["a"] == {"subtree-table": 1}
    assert what["subjects"] == {"a": {"c": 1}, "c": {"a": 1}}


def test_one_agent_alone_learns_nothing() -> None:
    what = found(chain(("a", "a", "a")), "synchbb")
    assert what["statements"] == {"a": {}}
    assert what["subjects"] == {"a": {}}


@pytest.mark.parametrize("solver", READERS)
def test_every_field_of_our_solvers_is_read(solver: str) -> None:
    what = found(chain(), solver)
    assert what["solver_analysed"] is True
    assert what["unread_fields"] == {}
    assert any(what["statements"].values())
    for viewer, about in what["subjects"].items():
        assert viewer not in about


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(READERS))
def test_a_view_of_one_is_that_ones_part_of_all(seed: int, solver: str) -> None:
    problem = random_problem(np.random.default_rng(seed), max_variables=5)
    options: list[Any] = [(Disclosures, {"view": "all"})]
    options += [(Disclosures, {"view": f"agent:{a}", "as": a}) for a in problem.agents]
    fields = getattr(registry.find("solvers", solver).Params, "__dataclass_fields__", {})
    few = {name: 8 for name in ("rounds", "iterations") if name in fields}
    result = simulate(problem, solver, observers=options, network="uniform:1,5", seed=seed, **few)
    everything = result.findings["disclosures"]
    for agent in problem.agents:
        own = result.findings[agent]
        for key in ("statements", "subjects", "values_revealed"):
            assert own[key][agent] == everything[key][agent]
    again = replay(result.log, observers=[Disclosures]).findings["disclosures"]
    assert again == everything


def test_a_coalition_learns_only_about_others() -> None:
    what = found(chain(), "dpop", "coalition:a+b", root="x")
    assert what["subjects"] == {"a+b": {"c": 1}}
    assert what["statements"] == {"a+b": {"subtree-table": 1}}


def test_a_wire() -> None:
    what = found(chain(), "dpop", "wire:c>b", root="x")
    assert what["statements"] == {"wire:c>b": {"subtree-table": 1}}
    assert what["subjects"] == {"wire:c>b": {"c": 1}}


@message("HELLO")
class Hello(NamedTuple):
    value: int


class Unread(Agent):
    """A solver that declares no reader."""

    messages = (Hello,)

    async def run(self) -> None:
        self.assign(0)
        self.broadcast(Hello(1))
        await self.gather(Hello)


def test_a_solver_without_reader_is_not_analysed() -> None:
    what = found(chain(), Unread)
    assert what["solver_analysed"] is False
    assert "not analysed" in what["note"]
    assert "statements" not in what


class Mute:
    """A reader that says nothing."""

    def read(self, delivery: Any) -> list[Any]:
        return []


def telling(*statements: Statement) -> type[Agent]:
    """Return a solver whose reader draws these statements from each message."""

    class Telling:
        def __init__(self, context: Any) -> None:
            pass

        def read(self, delivery: Any) -> tuple[Statement, ...]:
            return statements

    return type("Telling", (Unread,), {"reader": Telling})


def test_choices_sums_and_releases_are_counted() -> None:
    value = ("value",)
    terms = Term(("x",), "local", {"x": 0, "y": 1}), Term(("y",), "local", {"y": 1}, -1.0)
    said = [
        Chosen("best-response", value, "z", 1, {"y": 0}, Best()),
        ValueIs("value", value, "z", 1, "now"),
        CostIs("gain", value, terms, "==", 2, others="some"),
        Released("noise", value, Pure(1.0), 1.0, "z"),
    ]
    what = found(chain(), telling(*said), "agent:a")  # one message, y's, reaches x
    assert what["statements"] == {"a": {"best-response": 1, "gain": 1, "noise": 1, "value": 1}}
    assert what["subjects"] == {"a": {"b": 1, "c": 3}}  # the gain is about x and y, and x is a's own
    assert what["values_revealed"] == {"a": 1}  # the same value twice
    assert what["unread_fields"] == what["unanalysed"] == {}
    what = found(chain(), telling(*said), "agent:c")
    assert what["statements"] == {"c": {"gain": 1}}
    assert what["subjects"] == {"c": {"a": 1, "b": 1}}
    assert what["values_revealed"] == {"c": 0}


class HalfRead(Unread):
    reader = staticmethod(lambda context: Mute())


def test_fields_that_no_statement_covers_are_reported() -> None:
    what = found(chain(), HalfRead)
    assert what["solver_analysed"] is True
    assert what["unread_fields"] == {"HELLO.value": 4}


def test_coalitions_of_a_size_are_viewers_that_share_what_they_see() -> None:
    slots = Domain("slots", (0, 1))
    problem = Problem.build(
        [Variable(name, slots, name, unary=[1, 2]) for name in ("a", "a+b", "b+c", "c")],
        [Constraint(f"k{i}", ("a", other), [[0, 1], [1, 0]]) for i, other in enumerate(("a+b", "b+c", "c"))],
    )
    pairs = simulate(problem, "dpop", root="a", observers=["disclosures:view=coalitions:2"]).findings["disclosures"]
    assert len(pairs["statements"]) == 6  # names that hold a plus are quoted, so that none are alike
    assert pairs["subjects"]['a+"a+b"'] == {"b+c": 1, "c": 1}  # what a+b told a is no news to the two of them
