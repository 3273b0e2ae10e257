"""Helpers for tests, ours and our users': random problems, brute force, and whether a statement holds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Any, Literal

import numpy as np

from agentsim.dcop.problem import Constraint, Cost, Domain, Problem, Variable
from agentsim.runtime.statements import (
    CostIs,
    CostTable,
    Nothing,
    Rest,
    Statement,
    Unanalysed,
    ValueIs,
)
from agentsim.runtime.view import LocalConstraint, Setup


def brute_force(problem: Problem) -> Cost:
    """Return the optimum in the user's units by trying every assignment; infinite when infeasible."""
    best: Cost | None = None
    for indices in problem.assignments():
        cost = problem.evaluate_indices(indices).cost
        if best is None or problem.better(cost, best):
            best = cost
    assert best is not None, "a problem has at least one assignment"
    return best


def random_problem(
    rng: np.random.Generator,
    *,
    max_variables: int = 6,
    max_domain: int = 3,
    max_cells: int = 1000,
) -> Problem:
    """Return a random problem of the kinds that break solvers.

    Binary and ternary constraints, unary costs, hard tuples, infeasible corners, negative costs, ties, forests,
    isolated variables, several variables per agent, agents without variables, minimising and maximising, with
    fractional costs now and then.
    """
    n = int(rng.integers(1, max_variables + 1))
    sizes = [int(rng.integers(1, max_domain + 1)) for _ in range(n)]
    while math.prod(sizes) > max_cells:
        sizes[int(np.argmax(sizes))] -= 1
    kind = rng.random(6)
    low, high = ((-5, 6), (0, 2), (0, 10), (0, 1))[int(rng.integers(4))]
    hard = float(rng.choice([0.0, 0.0, 0.1, 0.3, 0.6]))
    objective: Literal["min", "max"] = "min" if kind[0] < 0.7 else "max"
    worst = math.inf if objective == "min" else -math.inf
    fractional = kind[1] < 0.15

    def table(shape: tuple[int, ...], forbid: float) -> Any:
        costs = rng.integers(low, high + 1, shape).astype(float)
        if fractional:
            costs += rng.random(shape).round(3)
        costs[rng.random(shape) < forbid] = worst
        return costs

    domains = {size: Domain(f"d{size}", tuple(range(size))) for size in set(sizes)}
    shared = kind[2] < 0.25
    agents = [f"a{int(rng.integers(n))}" if shared else "" for _ in range(n)]
    variables = [
        Variable(
            f"x{i}",
            domains[sizes[i]],
            agents[i],
            unary=table((sizes[i],), hard / 3) if rng.random() < 0.5 else None,
        )
        for i in range(n)
    ]
    constraints: list[tuple[int, ...]] = []
    density = float(rng.choice([0.3, 0.6, 1.0]))
    for i in range(n):
        for j in range(i):
            if rng.random() < density:
                scope = (i, j) if rng.random() < 0.5 else (j, i)
                constraints.append(scope)
    if n >= 3 and kind[3] < 0.4:
        extra = int(rng.integers(1, 3))
        constraints += [tuple(int(i) for i in rng.choice(n, 3, replace=False)) for _ in range(extra)]
    built = [
        Constraint(f"c{k}", tuple(f"x{i}" for i in scope), table(tuple(sizes[i] for i in scope), hard))
        for k, scope in enumerate(constraints)
    ]
    idle = ("idle",) if kind[4] < 0.1 else ()
    return Problem.build(variables, built, objective=objective, agents=idle, constant=int(rng.integers(-3, 4)))


def twin(problem: Problem) -> Problem:
    """Return the same problem with the other objective and all costs negated: its optimum is the negative."""

    def negated(table: Any) -> Any:
        return -1 * table

    return Problem.build(
        [
            replace(v, unary=None if v.unary is None else negated(v.unary), cost_range=_flip(v.cost_range))
            for v in problem.variables.values()
        ],
        [replace(c, table=negated(c.table), cost_range=_flip(c.cost_range)) for c in problem.constraints.values()],
        name=problem.name,
        objective="max" if problem.objective == "min" else "min",
        agents=problem.agents,
        constant=-problem.constant,
    )


def _flip(bounds: tuple[Cost, Cost] | None) -> tuple[Cost, Cost] | None:
    return None if bounds is None else (-bounds[1], -bounds[0])


# Statements ----------------------------------------------------------------------------------------------------


class Truth:
    """The true costs against which statements are held, in solver's units.

    Args:
        setup: the run's setup; says which node evaluates which cost function.
        final: the run's final assignment as domain indices, for statements on final values.
    """

    def __init__(self, setup: Setup, final: Mapping[str, int] | None = None) -> None:
        self._setup = setup
        self._final = final
        self._sizes = {v.name: v.size for v in setup.problem.variables.values()}

    def holds(self, statement: Statement, now: Mapping[str, int] | None = None) -> bool:
        """Tell whether a statement is true. `now`: current values, for statements on those."""
        tolerance = max(self._setup.problem.tolerance * 10, 0.0)
        if isinstance(statement, (Nothing, Unanalysed)):
            return True
        if isinstance(statement, CostIs):
            total = sum(t.coefficient * self._cost(t.parties, t.rest, t.context) for t in statement.terms)
            if statement.relation == "<=":
                return total <= statement.value + tolerance
            if statement.relation == ">=":
                return total >= statement.value - tolerance
            return total == statement.value or abs(total - statement.value) <= tolerance
        if isinstance(statement, CostTable):
            for cell in product(*(range(self._sizes[a]) for a in statement.axes)):
                context = {**statement.context, **dict(zip(statement.axes, cell, strict=True))}
                cost, said = self._cost(statement.parties, statement.rest, context), statement.values[cell].item()
                if cost != said and not abs(cost - said) <= tolerance:
                    return False
            return True
        if isinstance(statement, ValueIs):
            known = self._final if statement.when == "final" else now
            return known is None or known.get(statement.variable, statement.value) == statement.value
        raise TypeError(f"no truth is known for {type(statement).__name__}")

    def _cost(self, parties: tuple[str, ...], rest: Rest, context: Mapping[str, int]) -> Cost:
        """Return the least cost of what the parties evaluate, over all their variables that `context` leaves open."""
        nodes = dict.fromkeys(parties)
        if rest == "subtree":
            assert self._setup.tree is not None
            for party in parties:
                nodes.update(dict.fromkeys(self._setup.tree.subtree(party)))
        functions: list[tuple[tuple[str, ...], Any]] = []
        for node in nodes:
            functions.append(((node,), self._setup.unary_table(node)))
            own: tuple[LocalConstraint, ...] = self._setup.evaluated_at[node]
            functions.extend((c.scope, c.table) for c in own)
        open_variables = list(dict.fromkeys(v for scope, _ in functions for v in scope if v not in context))
        best: Cost = math.inf
        for combo in product(*(range(self._sizes[v]) for v in open_variables)):
            values = {**context, **dict(zip(open_variables, combo, strict=True))}
            cost = sum(table[tuple(values[v] for v in scope)].item() for scope, table in functions)
            best = min(best, cost)
        return best


def holds(statement: Statement, setup: Setup) -> bool:
    """Tell whether a disclosure statement is true of the problem it was drawn from."""
    return Truth(setup).holds(statement)
