"""Facts: what statements say about private costs, as functions of profiles.

A statement speaks of least costs: the cost of some parties under a partial assignment, all other variables at their
best. As a function of the unknown private costs that is the least of several sums, one for each combination of values
of the variables whose private costs are not known; everything else is a number that is worked out once.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agentsim.dcop.tables import NamedTable, join, project_min, restrict
from agentsim.runtime.statements import Rest
from agentsim.runtime.view import Setup
from privacy.adversaries.profiles import Cells
from privacy.vps.prior import Prior

Levels = NDArray[Any]
"""Levels by profile and cell, of the smallest unsigned type that holds them."""

Numbers = NDArray[np.int64]

BLOCK: Final = 1 << 15
"""Profiles looked at at a time: their sums stay in cache."""

MAX_CELLS: Final = 2_000_000
"""Most combinations of values that a least cost is worked out from, forbidden ones among them."""

MAX_ROWS: Final = 5_000
"""Most combinations of values that are left in it."""


@dataclass(frozen=True, slots=True, eq=False)
class LeastCost:
    """The least over its rows j of `base[j]` plus the levels in the cells `cells[j]`.

    Args:
        base: shape (m,).
        cells: shape (m, k), the cells of k variables; k may be 0.
    """

    base: Numbers
    cells: NDArray[np.intp]

    @property
    def key(self) -> Hashable:
        """What tells it from others."""
        return self.base.tobytes(), self.cells.tobytes()

    def rows_at(self, levels: Numbers) -> Numbers:
        """Return the sum of each row, shape (m,), when each cell has its level in `levels`."""
        return np.asarray(self.base + levels[self.cells].sum(axis=1))

    def under(self, profiles: Levels, column: NDArray[np.intp]) -> Numbers:
        """Return its cost under each of n profiles, shape (n,).

        Args:
            profiles: levels, shape (n, number of columns).
            column: column by cell.
        """
        m, k = self.cells.shape
        used, places = np.unique(column[self.cells], return_inverse=True)
        path = places.reshape(m, k)
        highest = int(np.abs(self.base).max()) + k * int(profiles.max(initial=0))
        kind = np.int32 if highest < 2**31 else np.int64  # half the memory to go through
        least = np.empty(len(profiles), np.int64)
        for start in range(0, len(profiles), BLOCK):
            block = np.ascontiguousarray(profiles[start : start + BLOCK, used].T, kind)
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
        return np.unique(np.concatenate([term.cells.ravel() for _, term in self.terms]))

    def holds(self, profiles: Levels, column: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Tell for each profile whether it is true; arguments as for `LeastCost.under`."""
        total: Any = 0
        for coefficient, term in self.terms:
            total = total + coefficient * term.under(profiles, column)
        return np.asarray((total >= self.low) & (total <= self.high))

    def implied(self, low: Numbers, high: Numbers) -> bool:
        """Tell whether it is true of all profiles whose levels lie between `low` and `high`, by cell."""
        least = greatest = 0.0
        for coefficient, term in self.terms:
            ends = sorted(coefficient * int(term.rows_at(levels).min()) for levels in (low, high))
            least, greatest = least + ends[0], greatest + ends[1]
        return self.low <= least and greatest <= self.high

    def narrowed(self, low: Numbers) -> Fact:
        """Return it without the rows that cannot matter when no level is below `low`.

        A row that always exceeds the upper end is never the least; without an upper end, a row that always reaches the
        lower one cannot break it.
        """
        if len(self.terms) != 1 or self.terms[0][0] != 1:
            return self
        term = self.terms[0][1]
        least = term.rows_at(low)
        rows = least <= self.high if self.high < math.inf else least < self.low
        return self if rows.all() else replace(self, terms=((1.0, LeastCost(term.base[rows], term.cells[rows])),))


class Sums:
    """What statements mean: the least cost of parties under a context, as a function of the unknown private costs.

    Costs are in solver's units throughout, as in the statements themselves.

    Args:
        setup: the run's setup.
        prior: the public ranges.
        cells: the unknown costs.
    """

    def __init__(self, setup: Setup, prior: Prior, cells: Cells) -> None:
        self._setup, self._cells = setup, cells
        self._sizes = {v.name: v.size for v in setup.problem.variables.values()}
        self._least = {name: prior.scales[name].low + setup.unary_offsets.get(name, 0) for name in cells.at}
        self._functions: dict[tuple[tuple[str, ...], Rest], tuple[list[NamedTable], list[str], frozenset[str]]] = {}
        self._made: dict[object, LeastCost | None] = {}
        self.has_tree = setup.tree is not None

    def least(self, parties: tuple[str, ...], rest: Rest, context: Mapping[str, int]) -> LeastCost | None:
        """Return a least cost; None if it is infinite whatever the private costs are.

        Raises:
            OverflowError: it is a minimum over too many combinations of values.
        """
        tables, unknown, scope = self._evaluated(parties, rest)
        fixed = {name: value for name, value in context.items() if name in scope}
        key = (parties, rest, tuple(sorted(fixed.items())))
        if key not in self._made:
            self._made[key] = self._make([restrict(table, fixed) for table in tables], unknown, fixed)
        return self._made[key]

    def _evaluated(self, parties: tuple[str, ...], rest: Rest) -> tuple[list[NamedTable], list[str], frozenset[str]]:
        """Return the known cost functions of the parties, the variables of the unknown ones, and the scope of all."""
        found = self._functions.get((parties, rest))
        if found is None:
            setup, nodes = self._setup, dict.fromkeys(parties)
            if rest == "subtree":
                assert setup.tree is not None
                nodes.update(dict.fromkeys(n for party in parties for n in setup.tree.subtree(party)))
            tables: list[NamedTable] = []
            unknown = [node for node in nodes if node in self._cells.at]
            for node in nodes:
                unary = setup.unary_table(node)
                if node in self._cells.at:  # all that is known is which values are forbidden
                    unary = np.where(np.isfinite(unary), 0.0, np.inf)
                tables.append(((node,), unary))
                tables += [(c.scope, c.table) for c in setup.evaluated_at[node]]
            found = tables, unknown, frozenset(name for axes, _ in tables for name in axes)
            self._functions[parties, rest] = found
        return found

    def _make(self, tables: list[NamedTable], unknown: Sequence[str], fixed: Mapping[str, int]) -> LeastCost | None:
        for name in dict.fromkeys(name for axes, _ in tables for name in axes):
            if name not in unknown:
                tables = self._without(tables, name)
        axes = [name for name in unknown if name not in fixed]
        self._guard(axes)
        costs = join(tables, axes, self._sizes)
        finite = np.isfinite(costs)
        rows = np.argwhere(finite)
        if len(rows) > MAX_ROWS:
            raise OverflowError(f"a least cost over {len(rows)} combinations of values")
        if not len(rows):
            return None
        base = costs[finite].astype(np.int64) + int(sum(self._least[name] for name in unknown))
        cells = np.empty((len(rows), len(unknown)), np.intp)
        for k, name in enumerate(unknown):
            at = np.array(self._cells.at[name])
            cells[:, k] = at[fixed[name]] if name in fixed else at[rows[:, axes.index(name)]]
        return LeastCost(base, cells)

    def _without(self, tables: list[NamedTable], name: str) -> list[NamedTable]:
        """Minimise over a variable that is open and whose private cost is known."""
        with_name = [table for table in tables if name in table[0]]
        axes = tuple(dict.fromkeys(a for own, _ in with_name for a in own if a != name))
        self._guard((name, *axes))
        best = (axes, project_min(with_name, name, axes, self._sizes))
        return [table for table in tables if name not in table[0]] + [best]

    def _guard(self, axes: Iterable[str]) -> None:
        if math.prod(self._sizes[name] for name in axes) > MAX_CELLS:
            raise OverflowError(f"a least cost over more than {MAX_CELLS} combinations of values")
