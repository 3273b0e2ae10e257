"""What statements mean: sums of costs as functions of the unknown private costs.

A viewer is taken to know every cost function but the others' private ones, and of these mostly which entries are
forbidden. So the cost of a partial assignment is a known number plus those entries of the unknown functions that it
stands for. Costs are in solver's units throughout, as in the statements themselves.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agentsim.dcop.problem import Cost, Table
from agentsim.dcop.tables import NamedTable, join, project_min, restrict
from agentsim.runtime.statements import Best, Chosen, Rest, Term
from agentsim.runtime.view import Setup
from privacy.adversaries.facts import Either, LeastCost, Some, Way
from privacy.adversaries.profiles import FORBIDDEN, Cells, Key

MAX_CELLS: Final = 2_000_000
"""Most combinations of values that a cost is worked out for, forbidden ones among them."""

MAX_KEPT: Final = 8_000_000
"""Most costs that are kept in all, for contexts that fix the same variables."""

MAX_ROWS: Final = 5_000
"""Most combinations of values that are left of them, or different costs that they have."""

MAX_SOME: Final = 50_000
"""Most combinations of values of the variables that have some values, nobody knows which."""

MAX_FORBIDDEN: Final = 2.0**50
"""Most that a forbidden tuple may count: sums of such numbers are exact."""


class Unusable(Exception):
    """A statement speaks of more than is worked out here."""


class Sums:
    """What the costs that statements speak of are, as functions of the unknown private costs.

    Args:
        setup: the run's setup.
        cells: the unknown costs.
    """

    def __init__(self, setup: Setup, cells: Cells) -> None:
        self._setup, self._cells = setup, cells
        self._sizes = setup.domain_sizes
        self._at = cells.at
        parts = Counter(cells.one.values())
        self._hard = {key for key, at in cells.at.items() if cells.weights is not None and self._weight(at) > 1}
        """Cost functions of which it is not known which entries are forbidden."""
        self._in_parts = {
            key
            for key, whole in cells.one.items()
            if parts[whole] > 1 and (key in self._hard or (cells.at[key] < 0).any())
        }
        """Cost functions that may forbid entries, it is not known in which of their parts."""
        self._weights: dict[Cost, NDArray[np.int64] | None] = {math.inf: cells.weights}
        self._functions: dict[object, tuple[list[NamedTable], dict[Key, tuple[str, ...]], frozenset[str]]] = {}
        self._made: dict[object, LeastCost | None] = {}
        self._choices: dict[object, Either | None] = {}
        self._open: dict[object, list[NamedTable]] = {}
        self._room = MAX_KEPT

    def least(self, term: Term, forbidden: Cost = math.inf) -> LeastCost | None:
        """Return a term's cost, all variables that it leaves open at their best; None if it is infinite in any case.

        Args:
            term: its coefficient aside.
            forbidden: what a forbidden tuple counts.

        Raises:
            Unusable: it is a minimum over too many combinations of values, or speaks of what is not told.
        """
        tables, unknown, scope = self._evaluated(term.parties, term.rest, forbidden)
        fixed = {name: value for name, value in term.context.items() if name in scope}
        meant = (term.parties, term.rest, forbidden)
        key = (*meant, tuple(sorted(fixed.items())))
        if key not in self._made:
            tables = self._reduced(meant, tables, unknown, frozenset(fixed))
            weights = self._weights_of(forbidden)
            self._made[key] = self._make([restrict(table, fixed) for table in tables], unknown, fixed, weights)
        return self._made[key]

    def _weight(self, at: NDArray[np.intp]) -> int:
        """Return what a level of a cost function's cells weighs where forbidden entries are infinite."""
        weights, cells = self._cells.weights, at[at >= 0]
        return 1 if weights is None or not cells.size else int(weights[cells.flat[0]])

    def _weights_of(self, forbidden: Cost) -> NDArray[np.int64] | None:
        """Return by cell what a level weighs where a forbidden entry counts `forbidden`; None: 1 everywhere."""
        if forbidden not in self._weights:
            weights = self._cells.weights
            self._weights[forbidden] = None if weights is None else np.where(weights > 1, int(forbidden), weights)
        return self._weights[forbidden]

    def _scale(self, name: Key, forbidden: Cost) -> float:
        return 1.0 if name not in self._hard else float(min(forbidden, FORBIDDEN))

    def _reduced(
        self,
        meant: object,
        tables: list[NamedTable],
        unknown: Mapping[Key, tuple[str, ...]],
        fixed: frozenset[str],
    ) -> list[NamedTable]:
        """Return the tables without the variables that are open in any context of `fixed` variables.

        A table of costs has a statement for each of its cells: this is done once for all of them.
        """
        key = (meant, fixed)
        if key not in self._open:
            kept = fixed.union(*unknown.values())
            reduced = tables
            try:
                for name in dict.fromkeys(name for axes, _ in tables for name in axes if name not in kept):
                    reduced = self._without(reduced, name)
            except Unusable:  # with the fixed ones as axes it is too much
                reduced = tables
            names = tuple(dict.fromkeys(name for axes, _ in reduced for name in axes))
            cells = math.prod(self._sizes[name] for name in names)
            if cells <= min(MAX_CELLS, self._room):
                self._room -= cells
                reduced = [(names, join(reduced, names, self._sizes))]
            self._open[key] = reduced
        return self._open[key]

    def some(self, terms: Sequence[Term], low: float, high: float, forbidden: Cost) -> Some | None:
        """Return that the sum of the terms lies in [low, high] for some values of all variables left open.

        Returns:
            None if it does whatever the private costs are.

        Raises:
            Unusable: there are too many such values, or a term speaks of what is not told.
        """
        tables: list[NamedTable] = []
        told: dict[int, float] = {}  # weights by cell
        varied: dict[Key, float] = {}  # weights of unknown costs whose variables are left open
        varies: dict[Key, str] = {}  # the variable of each
        floors: dict[Key, float] = {}
        floor = 0.0
        with np.errstate(invalid="ignore"):  # infinity minus infinity, which lies in no interval
            for term in terms:
                own, unknown, _ = self._evaluated(term.parties, term.rest, forbidden)
                for table in own:
                    axes, costs = restrict(table, term.context)
                    tables.append((axes, term.coefficient * costs))
                for name, scope in unknown.items():
                    if name in self._hard and forbidden == math.inf:
                        raise Unusable("some values, where it is not known what is infinite")
                    weight = term.coefficient * self._scale(name, forbidden)
                    if not all(v in term.context for v in scope):
                        if len(scope) > 1:
                            raise Unusable("a private constraint whose variables have some values")
                        varied[name], varies[name] = varied.get(name, 0.0) + weight, scope[0]
                        floors[name] = floors.get(name, 0.0) + term.coefficient * self._floor(name)
                    elif (cell := int(self._at[name][tuple(term.context[v] for v in scope)])) >= 0:
                        told[cell] = told.get(cell, 0.0) + weight
                        floor += term.coefficient * self._floor(name)
            outer = dict.fromkeys(varies.values())
            inner = dict.fromkeys(name for axes, _ in tables for name in axes if name not in outer)
            self._guard((*outer, *inner), MAX_SOME)
            totals = join(tables, (*outer, *inner), self._sizes).reshape(-1) + floor
        # What is infinite does not depend on finite private costs.
        if (high == math.inf and math.inf in totals) or (low == -math.inf and -math.inf in totals):
            return None
        shape = [self._sizes[name] for name in outer]
        place = np.repeat(np.arange(math.prod(shape)), math.prod(self._sizes[name] for name in inner))
        finite = np.isfinite(totals)
        place, totals = _distinct(place[finite], totals[finite])
        if len(totals) > MAX_ROWS:
            raise Unusable(f"more than {MAX_ROWS} sums of costs")
        weights = {cell: weight for cell, weight in sorted(told.items()) if weight}
        columns = [np.full(len(place), cell) for cell in weights]
        values = dict(zip(outer, np.unravel_index(place, shape) if shape else (), strict=True))
        for name in varied:
            cells = self._at[name][values[varies[name]]]
            totals = totals + np.where(cells >= 0, floors[name], 0.0)
            columns.append(cells)
        rows = np.stack(columns, axis=1) if columns else np.empty((len(totals), 0))
        return Some(totals, rows.astype(np.intp), np.array([*weights.values(), *varied.values()]), low, high)

    def chosen(self, choice: Chosen) -> Either | None:
        """Return that a value was the best, for some values of the neighbours that are not told.

        Returns:
            None if it may have been whatever the private costs are.

        Raises:
            Unusable: there are too many such values.
        """
        assert isinstance(choice.law, Best)
        x, forbidden = choice.variable, choice.forbidden
        tables, unknown, scope = self._evaluated((x,), "local", forbidden)
        if any(name != x for name in unknown):
            raise Unusable("a choice under private constraints")
        fixed = {name: value for name, value in choice.context.items() if name in scope and name != x}
        key = (x, choice.value, choice.law, forbidden, tuple(sorted(fixed.items())))
        if key not in self._choices:
            tables = [restrict(table, fixed) for table in tables]
            others = dict.fromkeys(name for axes, _ in tables for name in axes if name != x)
            self._guard(others, MAX_SOME)
            costs = np.unique(join(tables, (*others, x), self._sizes).reshape(-1, self._sizes[x]), axis=0)
            if len(costs) > MAX_ROWS:
                raise Unusable(f"a choice under more than {MAX_ROWS} different costs")
            self._choices[key] = self._best(choice, choice.law, costs.astype(np.float64))
        return self._choices[key]

    def _best(self, choice: Chosen, law: Best, costs: NDArray[np.float64]) -> Either | None:
        """Return that in some row of `costs`, with the private costs added, one value is the best."""
        x, own, d = choice.variable, choice.value, costs.shape[1]
        cells = self._cells.of_function(x) if x in self._at else []
        levels = np.zeros((d, len(cells)))  # value by cell
        for column, cell in enumerate(cells):
            levels[self._cells.value[cell], column] = self._scale(x, choice.forbidden)
            costs[:, self._cells.value[cell]] += self._floor(x)
        least = choice.forbidden if x not in self._hard else min(choice.forbidden, FORBIDDEN / 2)
        if least == math.inf and np.isinf(costs).all(axis=1).any():
            return None
        ways = []
        if least < math.inf:
            ways.append(Way(np.array(cells, np.intp), levels, _undominated(costs - least)))
        allowed = costs[np.isfinite(costs[:, own])]
        if len(allowed):
            others = [value for value in range(d) if value != own]
            apart = allowed[:, others] - allowed[:, own, None]
            if law.ties == "lowest":
                apart[:, :own] -= 1  # in whole numbers: at least 1 more
            ways.append(Way(np.array(cells, np.intp), levels[others] - levels[own], _undominated(apart)))
        return Either(tuple(ways))

    def _floor(self, name: Key) -> Cost:
        return self._cells.floors.get(name, 0)

    def _evaluated(
        self, parties: tuple[str, ...], rest: Rest, forbidden: Cost
    ) -> tuple[list[NamedTable], dict[Key, tuple[str, ...]], frozenset[str]]:
        """Return the known cost functions that are meant, the scopes of the unknown ones, and all their variables."""
        found = self._functions.get((parties, rest, forbidden))
        if found is None:
            setup = self._setup
            if rest == "unknown" or (rest == "subtree" and setup.tree is None):
                raise Unusable("it is not told whose costs are meant")
            tables: list[NamedTable] = []
            unknown: dict[Key, tuple[str, ...]] = {}
            seen = set()
            for f in setup.functions_of(parties, rest):
                table: Table = f.table
                if f.key in self._at:  # all that is known is which entries are forbidden
                    table = np.where(self._at[f.key] < 0, np.inf, 0.0)
                    if (whole := self._cells.one.get(f.key, f.key)) not in seen:
                        unknown[f.key] = f.scope
                        seen.add(whole)
                tables.append((f.scope, table))
            shifted = [name for name in unknown if name in self._hard and self._floor(name)]
            if forbidden < math.inf and (shifted or self._in_parts & unknown.keys()):
                raise Unusable(f"forbidden tuples count {forbidden}, and how many there are is not known")
            hard = not self._hard.isdisjoint(unknown)
            if forbidden < math.inf and (hard or any(np.isinf(table).any() for _, table in tables)):
                if not (float(forbidden).is_integer() and abs(forbidden) <= MAX_FORBIDDEN):
                    raise Unusable(f"forbidden tuples count {forbidden}")
                tables = [(axes, np.where(np.isinf(table), forbidden, table)) for axes, table in tables]
            found = tables, unknown, frozenset(name for axes, _ in tables for name in axes)
            self._functions[parties, rest, forbidden] = found
        return found

    def _make(
        self,
        tables: list[NamedTable],
        unknown: Mapping[Key, tuple[str, ...]],
        fixed: Mapping[str, int],
        weights: NDArray[np.int64] | None,
    ) -> LeastCost | None:
        told = dict.fromkeys(v for scope in unknown.values() for v in scope)
        for name in dict.fromkeys(name for axes, _ in tables for name in axes):
            if name not in told:
                tables = self._without(tables, name)
        axes = [name for name in told if name not in fixed]
        self._guard(axes, MAX_CELLS)
        costs = join(tables, axes, self._sizes)
        finite = np.isfinite(costs)
        rows = np.argwhere(finite)
        if len(rows) > MAX_ROWS:
            raise Unusable(f"a least cost over {len(rows)} combinations of values")
        if not len(rows):
            return None
        base = costs[finite].astype(np.int64)
        cells = np.empty((len(rows), len(unknown)), np.intp)
        for k, (key, scope) in enumerate(unknown.items()):
            cells[:, k] = self._at[key][tuple(fixed[v] if v in fixed else rows[:, axes.index(v)] for v in scope)]
            base[cells[:, k] >= 0] += int(self._floor(key))
        return LeastCost(base, cells, weights)

    def _without(self, tables: list[NamedTable], name: str) -> list[NamedTable]:
        """Minimise over a variable that is open and whose private cost is known."""
        with_name = [table for table in tables if name in table[0]]
        axes = tuple(dict.fromkeys(a for own, _ in with_name for a in own if a != name))
        self._guard((name, *axes), MAX_CELLS)
        best = (axes, project_min(with_name, name, axes, self._sizes))
        return [table for table in tables if name not in table[0]] + [best]

    def _guard(self, axes: Iterable[str], most: int) -> None:
        if math.prod(self._sizes[name] for name in axes) > most:
            raise Unusable(f"a cost over more than {most} combinations of values")


def _distinct(place: NDArray[np.intp], totals: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return each pair of entries once, in ascending order."""
    order = np.lexsort((totals, place))
    place, totals = place[order], totals[order]
    new = np.ones(len(place), bool)
    new[1:] = (place[1:] != place[:-1]) | (totals[1:] != totals[:-1])
    return place[new], totals[new]


def _undominated(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rows of which no other one is at least as great everywhere. Shape (m, q) before, fewer after."""
    kept = np.empty((0, rows.shape[1]))
    for row in rows[np.argsort(-rows.sum(axis=1), kind="stable")]:  # none is dominated by one of a smaller sum
        if not (kept >= row).all(axis=1).any():
            kept = np.vstack((kept, row))
    return kept
