"""All cost functions that touch one variable: what local search and Gibbs sampling look at.

Unlike in tree search, *every* variable of a scope evaluates the function. The joint cost is therefore not the sum of
local costs: a constraint of arity k counts k times in it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agentsim.dcop.problem import Cost
from agentsim.errors import SolverRefusal
from agentsim.runtime.view import LocalView, Setup

PENALTY: Final = 1e6
"""What a forbidden tuple costs by default, for solvers that subtract costs from each other."""


class LocalCosts:
    """Local cost of a node by its own value, given the values of its neighbours.

    Args:
        view: the node's local view.
        penalty: what each forbidden tuple counts, as infinity cannot be subtracted; `math.inf` keeps infinity.

    Attributes:
        checks: constraint checks that one call of `by_value` takes (one per entry of a cost function read).
    """

    def __init__(self, view: LocalView, penalty: Cost = PENALTY) -> None:
        self.view = view
        self.unary = _finite(view.unary, penalty)
        self._single: list[tuple[int, str]] = []  # (first row, neighbour) of binary constraints
        self._several: list[tuple[int, tuple[tuple[str, int], ...]]] = []  # (first row, (neighbour, stride)...)
        blocks: list[NDArray[Any]] = []
        first = 0
        for c in view.constraints:
            axis = c.scope.index(view.name)
            others = tuple(v for v in c.scope if v != view.name)
            table = np.moveaxis(_finite(c.table, penalty), axis, -1)
            if not others:
                self.unary = self.unary + table
                continue
            if len(others) == 1:
                self._single.append((first, others[0]))
            else:
                sizes = table.shape[:-1]
                strides = [math.prod(sizes[k + 1 :]) for k in range(len(sizes))]
                self._several.append((first, tuple(zip(others, strides, strict=True))))
            blocks.append(table.reshape(-1, view.size))
            first += len(blocks[-1])
        self._rows: NDArray[Any] | None = np.ascontiguousarray(np.concatenate(blocks)) if blocks else None
        uses = len(self._single) + len(self._several) + view.has_unary
        uses += sum(len(c.scope) == 1 for c in view.constraints)
        self.checks = uses * view.size

    def by_value(self, values: Mapping[str, int]) -> NDArray[Any]:
        """Return the local cost of each own value, all neighbours being at `values`. Shape (d,); not to be changed."""
        if self._rows is None:
            return self.unary
        rows = [first + values[name] for first, name in self._single]
        for first, others in self._several:
            rows.append(first + sum(values[name] * stride for name, stride in others))
        total: NDArray[Any] = np.add(self._rows.take(rows, axis=0).sum(axis=0), self.unary)
        return total


def _finite(table: NDArray[Any], penalty: Cost) -> NDArray[Any]:
    forbidden = np.isinf(table) if table.dtype.kind == "f" else np.False_
    return table if math.isinf(penalty) or not forbidden.any() else np.where(forbidden, float(penalty), table)


def refuse_unknown_costs(setup: Setup, solver: str) -> None:
    """Raise SolverRefusal if some variable of a constraint's scope may not know its costs."""
    problem = setup.problem
    for c in problem.constraints.values():
        known_to = problem.known_to(c)
        for name in c.scope:
            agent = problem.variables[name].agent
            if agent not in known_to:
                raise SolverRefusal(
                    f"{solver} needs every agent of a constraint to evaluate it, and {name}'s agent {agent} does not "
                    f"know {c.name}: dpop and the search solvers can do this problem"
                )
