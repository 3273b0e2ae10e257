"""The cost of the joint assignment over a run, against a plain evaluation at each instant."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import agentsim
from agentsim.dcop.problem import Constraint, Cost, Domain, Problem, Variable
from agentsim.runtime import result as module
from agentsim.runtime.result import Change, best_assignment, cost_curve

ENTRIES = {
    "whole": st.integers(-9, 9),
    "huge": st.sampled_from([0, 1, -1, 10**15, -(10**15)]),
    "real": st.floats(-9, 9).map(lambda x: round(x, 3)),
}


@st.composite
def runs(draw: st.DrawFn) -> tuple[Problem, list[Change]]:
    objective: Any = draw(st.sampled_from(["min", "max"]))
    cost = ENTRIES[draw(st.sampled_from(sorted(ENTRIES)))]
    if draw(st.booleans()):
        cost = cost | st.just(math.inf if objective == "min" else -math.inf)
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))

    def table(*shape: int) -> np.ndarray[Any, Any]:
        entries = draw(st.lists(cost, min_size=math.prod(shape), max_size=math.prod(shape)))
        return np.array(entries).reshape(shape)

    variables = [
        Variable(f"x{i}", Domain(f"d{i}", tuple(range(n))), unary=table(n) if draw(st.booleans()) else None)
        for i, n in enumerate(sizes)
    ]
    scopes = draw(
        st.lists(st.lists(st.sampled_from(range(len(sizes))), min_size=1, max_size=3, unique=True), max_size=4)
    )
    constraints = [
        Constraint(f"c{k}", tuple(f"x{i}" for i in scope), table(*(sizes[i] for i in scope)))
        for k, scope in enumerate(scopes)
    ]
    constant = draw(st.sampled_from([0, -3, 2.5]))
    problem = Problem.build(variables, constraints, objective=objective, constant=constant)
    changes = []
    time = 0.0
    for i in draw(st.lists(st.sampled_from(range(len(sizes) + 1)), max_size=25)):
        time += draw(st.sampled_from([0.0, 0.0, 1.0, 2.5]))
        if i == len(sizes):
            changes.append((time, "x0@copy", 7))
        else:
            changes.append((time, f"x{i}", draw(st.integers(0, sizes[i] - 1))))
    return problem, changes


def plainly(problem: Problem, changes: list[Change]) -> list[tuple[float, Cost]]:
    found = []
    for time in dict.fromkeys(time for time, _, _ in changes):
        held = {node: value for t, node, value in changes if t <= time and node in problem.variables}
        if len(held) == len(problem.variables):
            found.append((time, problem.evaluate_indices(held).cost))
    return found


@settings(max_examples=60)
@given(run=runs(), most=st.sampled_from([1, 40, 2**20]))
def test_every_instant_costs_what_its_assignment_does(run: tuple[Problem, list[Change]], most: int) -> None:
    problem, changes = run
    expected = plainly(problem, changes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_MOST_AT_ONCE", most)
        found = cost_curve(problem, changes)
        best = best_assignment(problem, changes)
    assert [time for time, _ in found] == [time for time, _ in expected]
    assert [type(cost) for _, cost in found] == [type(cost) for _, cost in expected]
    costs = [cost for _, cost in expected]
    if problem.integral:
        assert [cost for _, cost in found] == costs
    else:
        assert [cost for _, cost in found] == pytest.approx(costs, abs=1e-9)
    if not costs:
        assert best is None
        return
    assert best is not None
    of_best = problem.evaluate_indices({name: best[name] for name in problem.variables}).cost
    assert of_best == pytest.approx(min(costs) if problem.objective == "min" else max(costs), abs=1e-9)
    if problem.integral:  # the first of several that are equally good
        when = next(time for time, cost in expected if cost == of_best)
        assert best == {node: value for time, node, value in changes if time <= when}


@pytest.mark.parametrize("solver", ["adopt", "dsa"])
def test_of_a_run(solver: str) -> None:
    table = np.random.default_rng(1).integers(0, 9, (3, 3))
    domain = Domain("d", (0, 1, 2))
    problem = Problem.build(
        [Variable(f"x{i}", domain) for i in range(4)],
        [Constraint(f"c{i}", (f"x{i}", f"x{(i + 1) % 4}"), table) for i in range(4)],
    )
    result = agentsim.simulate(problem, solver, network="exponential:2", max_messages=900)
    found = result.cost_over_time()
    assert found == plainly(problem, list(result.values))
    assert len(found) > 2
    assert result.cost_over_time(2) == plainly(problem, list(result.values[:2]))
