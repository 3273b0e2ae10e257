"""Facts: what statements say about private costs, as functions of profiles.

Most statements speak of least costs: the cost of some parties under a partial assignment, all other variables at their
best. As a function of the unknown private costs that is the least of several sums, one for each combination of values
of the variables whose private costs are not known; everything else is a number that is worked out once. A `Fact` says
that a sum of least costs lies in an interval.

Others say that the variables left open have *some* values under which something holds: a sum of costs lies in an
interval (`Some`), or one value costs no more than any other (`Either`).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
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
        cells: shape (m, k), the cells of k cost functions, -1 where an entry has none; k may be 0.
        weights: by cell, what one level weighs; None: 1 everywhere.
    """

    base: Numbers
    cells: NDArray[np.intp]
    weights: Numbers | None = None

    @property
    def key(self) -> Hashable:
        """What tells it from others."""
        weights = b"" if self.weights is None else self.weights.tobytes()
        return self.base.tobytes(), self.cells.tobytes(), weights

    def rows_at(self, levels: Numbers) -> Numbers:
        """Return the sum of each row, shape (m,), when each cell has its level in `levels`."""
        weighed = levels if self.weights is None else levels * self.weights
        return np.asarray(self.base + np.append(weighed, 0)[self.cells].sum(axis=1))

    def under(self, profiles: Levels, column: NDArray[np.intp]) -> Numbers:
        """Return its cost under each of n profiles, shape (n,).

        Args:
            profiles: levels, shape (n, number of columns).
            column: column by cell.
        """
        heaviest = 1 if self.weights is None else int(self.weights.max(initial=1))
        highest = int(np.abs(self.base).max()) + self.cells.shape[1] * int(profiles.max(initial=0)) * heaviest
        kind = np.int32 if highest < 2**31 else np.int64  # half the memory to go through
        least = np.empty(len(profiles), np.int64)
        ones = (1,) * self.cells.shape[1]
        for where, sums in _sums_by_row(profiles, column, self.cells, ones, kind, self.weights):
            best, total = np.full(len(least[where]), np.iinfo(kind).max, kind), np.empty(len(least[where]), kind)
            for base, levels in zip(self.base, sums, strict=True):
                np.minimum(best, np.add(levels, kind(base), out=total), out=best)
            least[where] = best
        return least


def _sums_by_row(
    profiles: Levels,
    column: NDArray[np.intp],
    cells: NDArray[np.intp],
    weights: Sequence[float],
    kind: type[Any],
    levels_weigh: Numbers | None = None,
) -> Iterator[tuple[slice, Iterator[NDArray[Any]]]]:
    """Yield blocks of profiles, each with an iterator over rows of `cells`: the weighted sum of a row's levels.

    Args:
        profiles: levels, shape (n, number of columns).
        column: column by cell.
        cells: shape (m, k), -1 where a value has none. Lexicographic order of rows is fastest.
        weights: of the columns of `cells`, length k.
        kind: type of the sums, which are not to be changed.
        levels_weigh: by cell, what one level weighs; None: 1 everywhere.
    """
    used, places = np.unique(cells, return_inverse=True)
    path, known = [row.tolist() for row in places.reshape(cells.shape)], used >= 0
    columns = column[used[known]]
    weigh = None if levels_weigh is None else levels_weigh[used[known], None].astype(kind)
    for start in range(0, len(profiles), BLOCK):
        where = slice(start, start + BLOCK)
        chosen = profiles[where, columns]
        block = np.zeros((len(used), len(chosen)), kind)
        block[known] = chosen.T if weigh is None else chosen.T * weigh
        yield where, _along(block, path, weights)


def _along(block: NDArray[Any], path: list[list[int]], weights: Sequence[float]) -> Iterator[NDArray[Any]]:
    """Yield the weighted sum of a block's rows along each path; what two in a row share in front is added up once."""
    k = len(weights)
    sums = [np.zeros(block.shape[1], block.dtype)] * (k + 1)
    before: list[int] = []
    for step in path:
        same = 0
        while before and same < k and step[same] == before[same]:
            same += 1
        for depth in range(same, k):
            levels = block[step[depth]]
            sums[depth + 1] = sums[depth] + (levels if weights[depth] == 1 else weights[depth] * levels)
        yield sums[k]
        before = step


@dataclass(frozen=True, slots=True, eq=False)
class Fact:
    """The sum of the terms, each times its coefficient, lies in [low, high]."""

    terms: tuple[tuple[float, LeastCost], ...]
    low: float
    high: float

    @property
    def involved(self) -> NDArray[np.intp]:
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
        return (
            self
            if rows.all()
            else replace(self, terms=((1.0, replace(term, base=term.base[rows], cells=term.cells[rows])),))
        )


@dataclass(frozen=True, slots=True, eq=False)
class Some:
    """In at least one row, what is added up lies in [low, high].

    Args:
        base: shape (m,).
        cells: shape (m, k), the cells whose levels are added to it, -1 where a value has none; k may be 0.
        weights: of the levels, shape (k,).
        low: least that the sum of some row is.
        high: greatest that it is.
    """

    base: NDArray[np.float64]
    cells: NDArray[np.intp]
    weights: NDArray[np.float64]
    low: float
    high: float

    @property
    def key(self) -> Hashable:
        """What tells it from others."""
        return self.base.tobytes(), self.cells.tobytes(), self.weights.tobytes(), self.low, self.high

    @property
    def involved(self) -> NDArray[np.intp]:
        """The cells that it speaks of, in ascending order."""
        cells = np.unique(self.cells)
        return cells[cells >= 0]

    def holds(self, profiles: Levels, column: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Tell for each profile whether it is true; arguments as for `LeastCost.under`."""
        true = np.zeros(len(profiles), bool)
        for where, sums in _sums_by_row(profiles, column, self.cells, self.weights.tolist(), np.float64):
            found = true[where]
            for base, levels in zip(self.base.tolist(), sums, strict=True):
                found |= (levels >= self.low - base) & (levels <= self.high - base)
        return true

    def _range(self, low: Numbers, high: Numbers) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the least and the greatest that each row can be when all levels lie between `low` and `high`."""
        ends = np.append(low, 0)[self.cells] * self.weights, np.append(high, 0)[self.cells] * self.weights
        return self.base + np.minimum(*ends).sum(axis=1), self.base + np.maximum(*ends).sum(axis=1)

    def implied(self, low: Numbers, high: Numbers) -> bool:
        """Tell whether it is surely true of all profiles whose levels lie between `low` and `high`, by cell."""
        least, greatest = self._range(low, high)
        return bool(((least >= self.low) & (greatest <= self.high)).any())

    def narrowed(self, low: Numbers, high: Numbers) -> Some:
        """Return it without the rows that cannot be true when all levels lie between `low` and `high`."""
        least, greatest = self._range(low, high)
        possible = (greatest >= self.low) & (least <= self.high)
        return self if possible.all() else replace(self, base=self.base[possible], cells=self.cells[possible])


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
    def involved(self) -> NDArray[np.intp]:
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


AnyFact = Fact | Some | Either
