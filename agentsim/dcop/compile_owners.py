"""Owners of foreign costs, compiled away.

A file may give a constraint to an agent that owns none, or not all, of its variables: several agents with private
costs on one meeting, say. Most solvers need every cost function to be at an owner of its variables. Each such agent
gets a copy of each foreign variable, tied to the original by a public hard equality, and its constraints move to the
copies. The cost of every assignment in which copies agree with originals stays, and so does the optimum.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from agentsim.dcop.problem import Constraint, Problem, Variable, check_table_size


def compile_owners(problem: Problem) -> tuple[Problem, dict[str, str]]:
    """Return an equivalent problem whose owned constraints touch only their owners' variables, and copy -> original.

    There is one copy per variable and foreign owner, named `variable@owner`, of role "copy", after all other variables.
    A unary constraint on a foreign variable becomes the private unary cost of the copy. A problem that needs no copy
    is returned itself.

    Raises:
        ProblemError: the equality over two such domains would be too large a table.
    """
    variables = dict(problem.variables)
    copies: dict[tuple[str, str], str] = {}
    constraints: list[Constraint] = []
    for c in problem.constraints.values():
        owner = c.owner
        if owner is None or all(problem.variables[v].agent == owner for v in c.scope):
            constraints.append(c)
            continue
        scope = []
        for name in c.scope:
            original = problem.variables[name]
            if original.agent == owner:
                scope.append(name)
                continue
            if (name, owner) not in copies:
                copy = _unused(f"{name}@{owner}", variables)
                copies[name, owner] = copy
                variables[copy] = Variable(copy, original.domain, owner, initial=original.initial, role="copy")
            scope.append(copies[name, owner])
        if len(scope) == 1:
            variables[scope[0]] = _with_unary(variables[scope[0]], c)
        else:
            constraints.append(replace(c, scope=tuple(scope)))
    if not copies:
        return problem, {}
    taken = {c.name for c in constraints}
    for (name, _), copy in copies.items():
        tie = _equality(problem, _unused(f"{name}=={copy}", taken), name, copy)
        taken.add(tie.name)
        constraints.append(tie)
    compiled = Problem.build(
        variables.values(),
        constraints,
        name=problem.name,
        objective=problem.objective,
        agents=problem.agents,
        constant=problem.constant,
        extras=problem.extras,
    )
    return compiled, {copy: name for (name, _), copy in copies.items()}


def _with_unary(variable: Variable, constraint: Constraint) -> Variable:
    """Add a unary constraint to a copy's private cost; declared bounds add up, and one without bounds voids them."""
    if variable.unary is None:
        return replace(variable, unary=constraint.table, cost_range=constraint.cost_range)
    old, more = variable.cost_range, constraint.cost_range
    both = None if old is None or more is None else (old[0] + more[0], old[1] + more[1])
    return replace(variable, unary=variable.unary + constraint.table, cost_range=both)


def _equality(problem: Problem, name: str, original: str, copy: str) -> Constraint:
    size = problem.variables[original].size
    check_table_size(f"constraint {name}", (size, size))
    table = np.full((size, size), math.inf if problem.objective == "min" else -math.inf)
    np.fill_diagonal(table, 0)
    return Constraint(name, (original, copy), table, known_to="all", cost_range=(0, 0))


def _unused(name: str, taken: dict[str, Variable] | set[str]) -> str:
    while name in taken:
        name += "'"
    return name
