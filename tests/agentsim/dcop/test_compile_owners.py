from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentsim.dcop.compile_owners import compile_owners
from agentsim.dcop.problem import Constraint, Domain, Problem, Variable
from agentsim.errors import UserError

AGENTS = ("a0", "a1", "a2")


@st.composite
def owned_problems(draw: st.DrawFn) -> Problem:
    objective = draw(st.sampled_from(["min", "max"]))
    hard = math.inf if objective == "min" else -math.inf
    domain = Domain("d", tuple(range(draw(st.integers(1, 2)))))
    variables = [Variable(f"x{i}", domain, draw(st.sampled_from(AGENTS))) for i in range(draw(st.integers(1, 3)))]
    constraints = []
    for i in range(draw(st.integers(1, 3))):
        scope = draw(st.permutations([v.name for v in variables]))[: draw(st.integers(1, 2))]
        shape = [len(domain)] * len(scope)
        cells = draw(
            st.lists(st.sampled_from([0, 1, 3, -2, hard]), min_size=math.prod(shape), max_size=math.prod(shape))
        )
        owner = draw(st.sampled_from([None, *AGENTS, "outsider"]))
        constraints.append(Constraint(f"c{i}", tuple(scope), np.array(cells, float).reshape(shape), owner))
    return Problem.build(variables, constraints, objective=objective, agents=AGENTS, constant=5)


def optimum(problem: Problem) -> float:
    costs = [problem.evaluate_indices(a).cost for a in problem.assignments()]
    return min(costs) if problem.objective == "min" else max(costs)


@settings(max_examples=60)
@given(owned_problems())
def test_the_optimum_stays_and_no_foreign_cost_is_left(problem: Problem) -> None:
    compiled, originals = compile_owners(problem)
    assert optimum(compiled) == optimum(problem)
    for c in compiled.constraints.values():
        assert c.owner is None or all(compiled.variables[v].agent == c.owner for v in c.scope)
    owners = [(compiled.variables[copy].agent, name) for copy, name in originals.items()]
    assert len(set(owners)) == len(owners)
    assert (compiled is problem) == (not originals)
    assert list(compiled.variables) == [*problem.variables, *originals]
    for a in problem.assignments():
        whole = a | {copy: a[name] for copy, name in originals.items()}
        assert compiled.evaluate_indices(whole).cost == problem.evaluate_indices(a).cost


@settings(max_examples=30)
@given(owned_problems())
def test_compiling_twice_changes_nothing_more(problem: Problem) -> None:
    compiled, _ = compile_owners(problem)
    assert compile_owners(compiled) == (compiled, {})


def test_private_costs_of_two_agents_on_one_variable() -> None:
    d = Domain("d", (0, 1, 2))
    problem = Problem.build(
        [Variable("m", d, "host"), Variable("m@ann", d, "host")],
        [
            Constraint("ann", ("m",), np.array([0, 5, 9]), "ann", cost_range=(0, 10)),
            Constraint("ann2", ("m",), np.array([0, 1, 2]), "ann", cost_range=(0, 3)),
            Constraint("bob", ("m",), np.array([9, 1, 0]), "bob"),
        ],
    )
    compiled, originals = compile_owners(problem)
    assert originals == {"m@ann'": "m", "m@bob": "m"}
    ann = compiled.variables["m@ann'"]
    assert (ann.agent, ann.role, ann.cost_range) == ("ann", "copy", (0, 13))
    assert ann.unary is not None
    assert ann.unary.tolist() == [0, 6, 11]
    assert [c.scope for c in compiled.constraints.values()] == [("m", "m@ann'"), ("m", "m@bob")]
    assert all(c.known_to == "all" for c in compiled.constraints.values())  # copies are tied in public
    assert optimum(compiled) == 7


@pytest.mark.parametrize("owner", [None, "host"])
def test_nothing_to_do_returns_the_problem_itself(owner: str | None) -> None:
    d = Domain("d", (0, 1))
    problem = Problem.build(
        [Variable("x", d, "host"), Variable("y", d, "host")], [Constraint("c", ("x", "y"), np.eye(2), owner)]
    )
    assert compile_owners(problem)[0] is problem


def test_a_copy_whose_equality_is_too_large_is_refused() -> None:
    large = Domain("d", tuple(range(5000)))
    constraint = Constraint("c", ("x", "y"), np.zeros((5000, 2)), owner="b")
    problem = Problem.build([Variable("x", large, "a"), Variable("y", Domain("e", (0, 1)), "b")], [constraint])
    with pytest.raises(UserError, match="25000000 cells"):
        compile_owners(problem)
