"""The cost functions that one node evaluates, as Python numbers: what search algorithms call delta."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from operator import itemgetter
from typing import Any, Final

import numpy as np

from agentsim.dcop.problem import Cost
from agentsim.runtime.view import LocalView, costs_list

KEPT_COSTS: Final = 16_384
"""Most numbers that are kept of what was added up: search comes back to the same few contexts again and again."""


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
        self._key: Callable[[Mapping[str, int]], Any] = itemgetter(*self.scope) if self.scope else _no_key
        self._kept: dict[Any, list[Cost]] = {}
        self._most_kept = KEPT_COSTS // max(view.size, 1)

    def by_value(self, context: Mapping[str, int]) -> list[Cost]:
        """Return the cost of each own value under `context`, which must assign all of `scope`.

        Length d; not to be changed by the caller.
        """
        key = self._key(context)
        total = self._kept.get(key)
        if total is None:
            total = self._sum(context)
            if len(self._kept) >= self._most_kept:
                self._kept.clear()
            self._kept[key] = total
        return total

    def _sum(self, context: Mapping[str, int]) -> list[Cost]:
        total = self._unary
        for others, table in self._functions:
            for name in others:
                table = table[context[name]]
            total = [a + b for a, b in zip(total, table, strict=True)]
        return total


def _no_key(context: Mapping[str, int]) -> None:
    """Stand for the key of a context of which nothing is read."""
