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


_ROUNDING: Final = 4 * float(np.finfo(np.float64).eps)


class LocalCosts:
    """Local cost of a node by its own value, given the values of its neighbours.

    Args:
        view: the node's local view.
        penalty: what each forbidden tuple counts, as infinity cannot be subtracted; `math.inf` keeps infinity.

    Attributes:
        checks: constraint checks that one call of `by_value` takes (one per entry of a cost function read).
        shared_functions: number of cost functions that each neighbour shares: `shared` reads them, `apart` the others.
        least: sum of the least entries of all cost functions, those of the node alone counting as one. The local cost
            is greater if and only if some function costs more than it must.
        entries: number of entries of all cost functions together.
        tolerance: for comparisons of local costs; the view's, and rounding errors of sums that hold penalties. 0 where
            all of them are whole numbers.
    """

    def __init__(self, view: LocalView, penalty: Cost = PENALTY) -> None:
        self.view = view
        self.unary = _finite(view.unary, penalty)
        self._single: list[tuple[int, str]] = []  # (first row, neighbour) of binary constraints
        self._several: list[tuple[int, dict[str, int]]] = []  # (first row, stride by neighbour)
        self.shared_functions = dict.fromkeys(view.neighbours, 0)
        blocks: list[NDArray[Any]] = []
        self.least: Cost = 0
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
                self._several.append((first, dict(zip(others, strides, strict=True))))
            for name in others:
                self.shared_functions[name] += 1
            self.least += table.min().item()
            blocks.append(table.reshape(-1, view.size))
            first += len(blocks[-1])
        self._rows: NDArray[Any] | None = np.ascontiguousarray(np.concatenate(blocks)) if blocks else None
        self.least += self.unary.min().item()
        private = int(view.has_unary) + sum(len(c.scope) == 1 for c in view.constraints)
        self.checks = (len(self._single) + len(self._several) + private) * view.size
        self.entries = (first + private) * view.size
        self.tolerance = view.tolerance
        tables = [view.unary, *(c.table for c in view.constraints)]
        if not (view.integral and float(penalty).is_integer()) and any(np.isinf(table).any() for table in tables):
            self.tolerance += _ROUNDING * penalty * len(tables)

    def by_value(self, values: Mapping[str, int]) -> NDArray[Any]:
        """Return the local cost of each own value, all neighbours being at `values`. Shape (d,); not to be changed."""
        if self._rows is None:
            return self.unary
        total: NDArray[Any] = np.add(np.add.reduce(self._rows.take(self._at(values), axis=0)), self.unary)
        return total

    def apart(self, values: Mapping[str, int], partner: str) -> NDArray[Any]:
        """Return what each own value costs in the functions that `partner` has no part in. Shape (d,)."""
        rows = self._at(values, without=partner)
        if self._rows is None or not rows:
            return self.unary
        total: NDArray[Any] = np.add(np.add.reduce(self._rows.take(rows, axis=0)), self.unary)
        return total

    def shared(self, values: Mapping[str, int], partner: str) -> NDArray[Any]:
        """Return what the functions that `partner` has a part in cost, all others being at `values`.

        Shape (d, d of the partner): by the own value and the partner's.
        """
        assert self._rows is not None, f"{partner} is no neighbour"
        every = np.arange(self.view.domain_sizes[partner])
        rows = [first + every for first, name in self._single if name == partner]
        for first, strides in self._several:
            if partner in strides:
                base = sum(values[name] * stride for name, stride in strides.items() if name != partner)
                rows.append(first + base + every * strides[partner])
        total: NDArray[Any] = np.add.reduce(self._rows.take(rows, axis=0)).T
        return total

    def _at(self, values: Mapping[str, int], without: str = "") -> list[int]:
        """Return the rows to read with all neighbours at `values`, one for each function that `without` is not in."""
        rows = [first + values[name] for first, name in self._single if name != without]
        for first, strides in self._several:
            if without not in strides:
                rows.append(first + sum(values[name] * stride for name, stride in strides.items()))
        return rows


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
