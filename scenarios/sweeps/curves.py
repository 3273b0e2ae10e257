"""Curves over virtual time: the cost of the joint assignment, and thinning."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from agentsim.dcop.problem import Problem
    from agentsim.runtime.result import Result

Curve = list[tuple[float, float]]
Array = NDArray[Any]

_FEW_CHANGES: Final = 100
_MANY_ENTRIES: Final = 2_000_000


def thinned(points: Sequence[tuple[float, float]], most: int) -> Curve:
    """Return at most `most` of a curve's points: the first, the last, and the extremes of equal stretches between."""
    if len(points) <= most:
        return list(points)
    values = np.array([v for _, v in points])
    kept = {0, len(points) - 1}
    for stretch in np.array_split(np.arange(1, len(points) - 1), (most - 2) // 2):
        there = values[stretch[0] : stretch[-1] + 1]
        kept |= {int(stretch[0] + there.argmin()), int(stretch[0] + there.argmax())}
    return [points[i] for i in sorted(kept)]


def as_curve(given: object) -> Curve:
    """Return [[time, value], ...] of an observer's findings without NaN, [] if it is nothing of the kind."""
    try:
        points = np.array(given, np.float64)  # "inf" becomes infinite, None NaN
    except (TypeError, ValueError, OverflowError):
        return []
    if points.ndim != 2 or points.shape[1] != 2:
        return []
    return [(t, v) for t, v in points[~np.isnan(points).any(axis=1)].tolist()]


def cost_over_time(problem: Problem, result: Result) -> Curve:
    """Return what `Result.cost_over_time` does, as floats; where there are many changes, in a tenth of its time."""
    functions = [(v.unary, (name,)) for name, v in problem.variables.items() if v.unary is not None]
    functions += [(c.table, c.scope) for c in problem.constraints.values()]
    if len(result.values) < _FEW_CHANGES or sum(table.size for table, _ in functions) > _MANY_ENTRIES:
        return [(t, float(cost)) for t, cost in result.cost_over_time()]
    history = _History(problem, result.values)
    if not history.complete:
        return []
    soft, violations = np.zeros(history.instants), np.zeros(history.instants)
    for arity in {len(scope) for _, scope in functions}:
        history.add([f for f in functions if len(f[1]) == arity], soft, violations)
    worst = math.inf if problem.objective == "min" else -math.inf
    costs = np.where(np.cumsum(violations) > 0.5, worst, np.cumsum(soft) + problem.constant)
    return list(zip(history.times, costs.tolist(), strict=True))[history.start :]


class _History:
    """Which value each variable had when, as arrays.

    A change is an entry of three arrays, ordered by variable and instant: its variable's index times `instants` plus
    its instant (`at`), its instant (`when`), and the new value (`value`).
    """

    def __init__(self, problem: Problem, changes: Sequence[tuple[float, str, int]]) -> None:
        self.times: list[float] = []
        by_variable: dict[str, dict[int, int]] = {name: {} for name in problem.variables}
        for time, node, value in changes:
            if not self.times or self.times[-1] != time:
                self.times.append(time)
            if node in by_variable:  # else it is a copy, made for several agents' costs of one variable
                by_variable[node][len(self.times) - 1] = value  # what counts is the last of an instant
        self.instants = len(self.times)
        self.index = {name: i for i, name in enumerate(by_variable)}
        self.complete = all(by_variable.values())
        self.start = max((next(iter(held)) for held in by_variable.values() if held), default=0)
        self.many = np.array([len(held) for held in by_variable.values()])
        self.first = np.cumsum(self.many) - self.many
        self.when = np.array([t for held in by_variable.values() for t in held])
        self.value = np.array([value for held in by_variable.values() for value in held.values()])
        self.at = np.repeat(np.arange(len(self.many)), self.many) * self.instants + self.when

    def add(self, functions: Sequence[tuple[Array, tuple[str, ...]]], soft: Array, violations: Array) -> None:
        """Add by how much each of some cost functions of one arity changes at each instant, from `start` on.

        Args:
            functions: (table, scope) of each.
            soft: to add changes of finite costs to, shape (instants,).
            violations: to add changes of how many are infinite to, shape (instants,).
        """
        scopes = np.array([[self.index[name] for name in scope] for _, scope in functions])
        shapes = np.array([table.shape for table, _ in functions])
        strides = np.cumprod(shapes[:, :0:-1], axis=1)[:, ::-1] if shapes.shape[1] > 1 else shapes[:, :0]
        sizes = shapes.prod(axis=1)
        entries = np.concatenate([table.ravel() for table, _ in functions])
        # Each (function, instant) at which a variable of its scope changes, once, as function * instants + instant.
        many = self.many[scopes].ravel()
        changes = np.arange(many.sum()) + np.repeat(self.first[scopes].ravel() - np.cumsum(many) + many, many)
        of = np.repeat(np.repeat(np.arange(len(functions)), scopes.shape[1]), many)
        pairs = np.unique(of * self.instants + np.maximum(self.when[changes], self.start))
        of, when = np.divmod(pairs, self.instants)
        place = (np.cumsum(sizes) - sizes)[of]
        for axis in range(scopes.shape[1]):
            held = np.searchsorted(self.at, scopes[of, axis] * self.instants + when, "right") - 1
            place = place + self.value[held] * (strides[of, axis] if axis < strides.shape[1] else 1)
        found = entries[place]
        finite = np.isfinite(found)
        fresh = np.diff(of, prepend=-1) != 0  # nothing to compare with: the function's first instant
        for total, now in ((soft, np.where(finite, found, 0)), (violations, np.where(finite, 0, 1))):
            before = np.where(fresh, 0, np.concatenate([[0], now[:-1]]))
            total += np.bincount(when, now - before, self.instants)
