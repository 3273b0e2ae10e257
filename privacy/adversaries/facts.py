"""Facts: what statements say about private costs, as functions of profiles.

Most statements speak of least costs: the cost of some parties under a partial assignment, all other variables at their
best. As a function of the unknown private costs that is the least of several sums, one for each combination of values
of the variables whose private costs are not known; everything else is a number that is worked out once. A `Fact` says
that a sum of least costs lies in an interval.

Others say that the variables left open have *some* values under which something holds: a sum of costs lies in an
interval, or one value costs no more than any other. `Either` is the one or the other of several sets of inequalities.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Levels = NDArray[Any]
"""Levels by profile and cell, of the smallest unsigned type that holds them."""

Numbers = NDArray[np.int64]

BLOCK: Final = 1 << 15
"""Profiles looked at at a time: their sums stay in cache."""


@dataclass(frozen=True, slots=True, eq=False)
class LeastCost:
    """The least over its rows j of `base[j]` plus the levels in the cells `cells[j]`.

    Args:
        base: shape (m,).
        cells: shape (m, k), the cells of k variables, -1 where a value has none; k may be 0.
    """

    base: Numbers
    cells: NDArray[np.intp]

    @property
    def key(self) -> Hashable:
        """What tells it from others."""
        return self.base.tobytes(), self.cells.tobytes()

    def rows_at(self, levels: Numbers) -> Numbers:
        """Return the sum of each row, shape (m,), when each cell has its level in `levels`."""
        return np.asarray(self.base + np.append(levels, 0)[self.cells].sum(axis=1))

    def under(self, profiles: Levels, column: NDArray[np.intp]) -> Numbers:
        """Return its cost under each of n profiles, shape (n,).

        Args:
            profiles: levels, shape (n, number of columns).
            column: column by cell.
        """
        m, k = self.cells.shape
        used, places = np.unique(np.where(self.cells < 0, -1, column[self.cells]), return_inverse=True)
        path, known = places.reshape(m, k), used >= 0
        highest = int(np.abs(self.base).max()) + k * int(profiles.max(initial=0))
        kind = np.int32 if highest < 2**31 else np.int64  # half the memory to go through
        least = np.empty(len(profiles), np.int64)
        for start in range(0, len(profiles), BLOCK):
            chosen = profiles[start : start + BLOCK, used[known]]
            block = np.zeros((len(used), len(chosen)), kind)
            block[known] = chosen.T
            # Rows come in lexicographic order: what two in a row have in common in front is added up once.
            sums = [np.zeros(block.shape[1], kind)] * (k + 1)
            best, total = np.full(block.shape[1], np.iinfo(kind).max, kind), np.empty(block.shape[1], kind)
            for j in range(m):
                same = 0
                while j and same < k and path[j, same] == path[j - 1, same]:
                    same += 1
                for depth in range(same, k):
                    sums[depth + 1] = sums[depth] + block[path[j, depth]]
                np.minimum(best, np.add(sums[k], kind(self.base[j]), out=total), out=best)
            least[start : start + BLOCK] = best
        return least


@dataclass(frozen=True, slots=True, eq=False)
class Fact:
    """The sum of the terms, each times its coefficient, lies in [low, high]."""

    terms: tuple[tuple[float, LeastCost], ...]
    low: float
    high: float

    @property
    def cells(self) -> NDArray[np.intp]:
        """The cells that it speaks of, in ascending order."""
        cells = np.unique(np.concatenate([term.cells.ravel() for _, term in self.terms]))
        return cells[cells >= 0]

    def holds(self, profiles: Levels, column: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Tell for each profile whether it is true; arguments as for `LeastCost.under`."""
        total: Any = 0
        for coefficient, term in self.terms:
            total = total + coefficient * term.under(profiles, column)
        return np.asarray((total >= self.low) & (total <= self.high))

    def implied(self, low: Numbers, high: Numbers) -> bool:
        """Tell whether it is surely true of all profiles whose levels lie between `low` and `high`, by cell."""
        if not len(self.terms[0][1].base):  # no row can matter: none breaks a lower end, none keeps an upper one
            return self.high == math.inf
        least = greatest = 0.0
        for coefficient, term in self.terms:
            ends = sorted(coefficient * int(term.rows_at(levels).min()) for levels in (low, high))
            least, greatest = least + ends[0], greatest + ends[1]
        return self.low <= least and greatest <= self.high

    def narrowed(self, low: Numbers, high: Numbers) -> Fact:
        """Return it without the rows that cannot matter when all levels lie between `low` and `high`.

        A row that always exceeds the upper end is never the least; without an upper end, a row that always reaches the
        lower one cannot break it.
        """
        if len(self.terms) != 1 or self.terms[0][0] != 1:
            return self
        term = self.terms[0][1]
        least = term.rows_at(low)
        rows = least <= self.high if self.high < math.inf else least < self.low
        return self if rows.all() else replace(self, terms=((1.0, LeastCost(term.base[rows], term.cells[rows])),))


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """Conditions on the levels of some cells: one of m rows of q weighted sums that must not be negative.

    Args:
        cells: shape (k,); k may be 0.
        coefficients: of the levels, shape (q, k).
        base: what is added to them, shape (m, q).
    """

    cells: NDArray[np.intp]
    coefficients: NDArray[np.float64]
    base: NDArray[np.float64]

    def least(self, low: Numbers, high: Numbers) -> NDArray[np.float64]:
        """Return the least that each sum can be when all levels lie between `low` and `high`. Shape (m, q)."""
        ends = np.where(self.coefficients > 0, low[self.cells], high[self.cells])
        return np.asarray(self.base + (self.coefficients * ends).sum(axis=1))


@dataclass(frozen=True, slots=True, eq=False)
class Either:
    """At least one row of one of the ways has no sum that is negative."""

    ways: tuple[Way, ...]

    @property
    def key(self) -> Hashable:
        """What tells it from others."""
        return tuple((w.cells.tobytes(), w.coefficients.tobytes(), w.base.tobytes()) for w in self.ways)

    @property
    def cells(self) -> NDArray[np.intp]:
        """The cells that it speaks of, in ascending order."""
        return np.unique(np.concatenate([np.empty(0, np.intp), *(way.cells for way in self.ways)]))

    def holds(self, profiles: Levels, column: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Tell for each profile whether it is true; arguments as for `LeastCost.under`."""
        true = np.zeros(len(profiles), bool)
        for start in range(0, len(profiles), BLOCK):
            block = profiles[start : start + BLOCK]
            found = true[start : start + BLOCK]
            for way in self.ways:
                sums = block[:, column[way.cells]] @ way.coefficients.T
                for row in way.base:
                    found |= (sums >= -row).all(axis=1)
        return true

    def implied(self, low: Numbers, high: Numbers) -> bool:
        """Tell whether it is surely true of all profiles whose levels lie between `low` and `high`, by cell."""
        return any(bool((way.least(low, high) >= 0).all(axis=1).any()) for way in self.ways)

    def narrowed(self, low: Numbers, high: Numbers) -> Either:
        """Return it without the rows that cannot be true when all levels lie between `low` and `high`."""
        ways = []
        for way in self.ways:
            possible = (way.least(high, low) >= 0).all(axis=1)  # the ends exchanged: the greatest
            if possible.any():
                ways.append(replace(way, base=way.base[possible]))
        return Either(tuple(ways))


AnyFact = Fact | Either
