"""The cost functions that one node evaluates, as Python numbers: what search algorithms call delta."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from agentsim.dcop.problem import Cost
from agentsim.runtime.view import LocalView, costs_list


class OwnCosts:
    """Unary cost and the constraints whose other variables all stand above the node (or before it, in an order).

    Each cost function of a problem is thus evaluated by exactly one node: the deepest of its scope.

    Args:
        view: the node's local view.
        above: the variables above it.

    Attributes:
        scope: variables above that `by_value` reads, in order of first use.
        checks: constraint checks that one call of `by_value` takes (one per entry of a cost function read).
    """

    def __init__(self, view: LocalView, above: Iterable[str]) -> None:
        upper = set(above)
        self._unary: list[Cost] = view.unary_costs
        self._unary_checks = view.size if view.has_unary else 0
        self._functions: list[tuple[tuple[str, ...], Any]] = []
        scope: dict[str, None] = {}
        for c in view.constraints:
            others = tuple(v for v in c.scope if v != view.name)
            if upper.issuperset(others):
                axis = c.scope.index(view.name)
                table = costs_list(np.moveaxis(c.table, axis, -1), view.integral)
                self._functions.append((others, table))
                scope.update(dict.fromkeys(others))
        self.scope = tuple(scope)
        self.checks = self._unary_checks + view.size * len(self._functions)

    def by_value(self, context: Mapping[str, int]) -> list[Cost]:
        """Return the cost of each own value under `context`, which must assign all of `scope`. Length d."""
        total = self._unary
        for others, table in self._functions:
            for name in others:
                table = table[context[name]]
            total = [a + b for a, b in zip(total, table, strict=True)]
        return total
