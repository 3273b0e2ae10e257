"""Problems that are a little smaller or simpler than a given one, to look for the smallest that shows a fault."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from agentsim.dcop.problem import Constraint, Domain, Problem, Table, Variable
from agentsim.dcop.tables import restrict
from agentsim.testing import twin


def smaller_problems(problem: Problem) -> Iterator[Problem]:
    """Yield problems with fewer variables, constraints, private costs, values or agents, the smallest first."""
    for name in problem.variables:
        if len(problem.variables) > 1:
            yield _rebuilt(problem, drop=name)
            for value in range(problem.variables[name].size):
                yield _rebuilt(problem, drop=name, value=value)
    for name in problem.constraints:
        yield _rebuilt(problem, without=name)
    for name, variable in problem.variables.items():
        if variable.unary is not None:
            yield _changed(problem, {name: None})
    for name, variable in problem.variables.items():
        for value in range(variable.size):
            if variable.size > 1:
                yield _narrowed(problem, name, value)
    owners = dict.fromkeys(v.agent for v in problem.variables.values())
    if any(v.agent != v.name for v in problem.variables.values()) or len(owners) < len(problem.agents):
        yield Problem.build(
            [replace(v, agent=v.name) for v in problem.variables.values()],
            [replace(c, owner=None, known_to="scope") for c in problem.constraints.values()],
            name=problem.name,
            objective=problem.objective,
            constant=problem.constant,
        )
    if len(owners) < len(problem.agents):
        yield _built(problem, list(problem.variables.values()), list(problem.constraints.values()), agents=())


def simpler_costs(problem: Problem) -> Iterator[Problem]:
    """Yield problems of the same size with simpler costs: to minimise, whole, finite, small, zero."""
    if problem.objective == "max":
        yield twin(problem)
    if problem.constant:
        yield _built(problem, list(problem.variables.values()), list(problem.constraints.values()), constant=0)
    if any(v.cost_range is not None for v in problem.variables.values()) or any(
        c.cost_range is not None for c in problem.constraints.values()
    ):
        yield _built(
            problem,
            [replace(v, cost_range=None) for v in problem.variables.values()],
            [replace(c, cost_range=None) for c in problem.constraints.values()],
        )
    worst = math.inf if problem.objective == "min" else -math.inf
    everywhere: tuple[Callable[[Any], Any], ...] = (
        lambda t: np.where(np.isinf(t), t, np.rint(t)),
        lambda t: np.where(np.isinf(t), 9, t),
        lambda t: np.where(np.isinf(t), t, np.trunc(t / 2)),
        lambda t: np.where(np.isinf(t), t, t - min(0, t[np.isfinite(t)].min(initial=0))),
        lambda t: np.where(t == worst, t, np.clip(t, 0, 1)),
    )
    for change in everywhere:
        tables = {name: change(np.asarray(table, float)) for name, table in _tables(problem).items()}
        if any((tables[name] != table).any() for name, table in _tables(problem).items()):
            yield _changed(problem, tables)
    for name, table in _tables(problem).items():
        for cell in np.ndindex(table.shape):
            cost = table[cell].item()
            for simple in dict.fromkeys((0, 1, 9 if math.isinf(cost) else math.trunc(cost / 2), _whole(cost))):
                if abs(simple) < abs(cost) or (abs(simple) == abs(cost) and simple > cost):
                    other = np.array(table, float)
                    other[cell] = simple
                    yield _changed(problem, {name: other})


def _whole(cost: float) -> float:
    return cost if math.isinf(cost) else round(cost)


def _tables(problem: Problem) -> dict[str, Table]:
    """Return all cost tables by name; a variable and a constraint of one name cannot both be meant."""
    tables = {name: v.unary for name, v in problem.variables.items() if v.unary is not None}
    tables.update({f"constraint {name}": c.table for name, c in problem.constraints.items()})
    return tables


def _changed(problem: Problem, tables: Mapping[str, Any]) -> Problem:
    """Return the problem with other tables, named as by `_tables`; None is no private cost."""
    return _built(
        problem,
        [
            replace(v, unary=tables[name], cost_range=None) if name in tables else v
            for name, v in problem.variables.items()
        ],
        [
            replace(c, table=tables[key], cost_range=None) if (key := f"constraint {name}") in tables else c
            for name, c in problem.constraints.items()
        ],
    )


def _rebuilt(problem: Problem, drop: str = "", value: int | None = None, without: str = "") -> Problem:
    """Return the problem without a variable, its constraints gone too or at one of its values, or without one."""
    constraints = []
    for name, c in problem.constraints.items():
        if name == without or (drop in c.scope and (value is None or c.arity == 1)):
            continue
        if drop in c.scope:
            axes, table = restrict((c.scope, c.table), {drop: value or 0})
            c = replace(c, scope=axes, table=np.array(table), cost_range=None)
        constraints.append(c)
    return _built(problem, [v for name, v in problem.variables.items() if name != drop], constraints)


def _narrowed(problem: Problem, name: str, value: int) -> Problem:
    """Return the problem with one value less for a variable; the others move up."""
    old = problem.variables[name]
    size = old.size - 1

    def rest(table: Any, axis: int) -> Any:  # noqa: ANN401  # arrays
        return np.delete(table, value, axis)

    variables: list[Variable] = []
    for v in problem.variables.values():
        if v.name == name:
            domain = Domain(f"{old.domain.name}_{name}"[:40], tuple(range(size)))
            unary = None if v.unary is None else rest(v.unary, 0)
            v = replace(v, domain=domain, unary=unary, initial=None, cost_range=None)
        variables.append(v)
    constraints = [
        replace(c, table=rest(c.table, c.scope.index(name)), cost_range=None) if name in c.scope else c
        for c in problem.constraints.values()
    ]
    return _built(problem, variables, constraints)


def _built(
    problem: Problem,
    variables: list[Variable],
    constraints: list[Constraint],
    *,
    agents: tuple[str, ...] | None = None,
    constant: float | None = None,
) -> Problem:
    return Problem.build(
        variables,
        constraints,
        name=problem.name,
        objective=problem.objective,
        agents=agents if agents is not None else problem.agents,
        constant=constant if constant is not None else problem.constant,
    )
