"""What varies in a sweep, and what was measured: the choices that the page of results offers.

An *axis* is something that was varied on purpose and by which runs can be grouped: a parameter of the problem or of
the solver, the solver, network, observers, file. Seeds are none: runs that differ in their seed alone repeat each
other. A *measure* is a number of each run.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from scenarios.reports.columns import Codes, Column, Floats, Runs

MOST_LEVELS: Final = 60
"""Something with more levels is no axis to group by."""
MOST_COLOURS: Final = 12

FINISHED: Final = ("optimal", "finished", "infeasible", "abandoned")
UNFINISHED: Final = ("timeout", "deadlock", "interrupted")
"""Stopped: what such a run had counted by then is a lower bound. Any other status is a failure and has no figures."""

_MEASURES: Final = {
    "cost": ("cost", "", False),
    "gap": ("cost above the best known", "", False),
    "bound": ("bound", "", False),
    "violations": ("violated constraints", "", False),
    "messages": ("messages", "", True),
    "bytes": ("bytes", "B", True),
    "local_messages": ("local messages", "", True),
    "nccc": ("NCCC", "", True),
    "checks": ("constraint checks", "", True),
    "virtual_time": ("virtual time", "", True),
    "wall_time": ("wall time", "s", True),
    "startup_time": ("start-up time", "s", False),
}
"""Label, unit, and whether it only grows while a run goes on."""
_DULL: Final = ("violations", "local_messages", "gap")  # shown unless they are 0 throughout
_FALLING: Final = ("risk", "mean-above", "mean-below")
"""Aggregators that may fall when a loss rises: they break the axiom of monotonicity."""


@dataclass(frozen=True)
class Axis:
    """Something that varies; `label` is for people, `key` names it."""

    key: str
    label: str
    column: Column

    @property
    def numeric(self) -> bool:
        """Whether every level that occurs is a number."""
        levels = [self.column.levels[code] for code in self.column.used if code >= 0]
        return bool(levels) and all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in levels)


@dataclass(frozen=True)
class Measure:
    """A number of each run, NaN where there is none.

    Args:
        key: names it.
        label: for people.
        unit: of the label, or "".
        grows: whether it only grows while a run goes on, so that a stopped run gives a lower bound.
        values: by run.
        finding: observer, quantity and name, of an observer's finding.
    """

    key: str
    label: str
    unit: str
    grows: bool
    values: Floats
    finding: tuple[str, str, str] | None = None


@dataclass(frozen=True)
class Axes:
    """What can be grouped by.

    Args:
        all: every axis, those of the problem first.
        grid: keys of those that together tell which runs are repetitions of each other.
        defaults: keys for x, colour and facet; "" for none.
    """

    all: Sequence[Axis]
    grid: Sequence[str]
    defaults: Mapping[str, str]


def axes_of(runs: Runs) -> Axes:
    """Return the axes of the runs, and which to show first."""
    texts = runs.texts
    problem = [
        Axis(f"problem.{key}", key if _says_itself(key, column, runs) else f"problem: {key}", column)
        for key, column in runs.parameters("problem_parameters").items()
        if _offered(column) and _varies_within(column, texts["generator"])
    ]
    origin = [Axis(key, key, texts[key]) for key in ("generator", "file") if _offered(texts[key])]
    if not problem and not origin and _offered(texts["problem"]):
        origin = [Axis("problem", "problem", texts["problem"])]
    around = [Axis(key, key, texts[key]) for key in ("network", "observers", "objective") if _offered(texts[key])]
    around = [Axis(a.key, a.label, _listed(a.column)) if a.key == "observers" else a for a in around]
    solver = [Axis("solver", "solver", texts["solver"])] if _offered(texts["solver"]) else []
    tuned = [
        Axis(f"solver.{key}", f"solver: {key}", column)
        for key, column in runs.parameters("solver_parameters").items()
        if _offered(column) and _varies_within(column, texts["solver"])
    ]
    setting = [Axis("setting", "solver and parameters", _setting(texts["solver"], tuned))] if tuned else []
    setting = [axis for axis in setting if _offered(axis.column)]
    made = [Axis(key, key, texts[key]) for key in ("version", "python") if _offered(texts[key])]
    every = [*problem, *origin, *around, *setting, *solver, *tuned, *made]
    grid = [*problem, *origin, *around, *(setting or [*solver, *tuned]), *made]
    return Axes(every, [axis.key for axis in grid], _defaults(every, runs))


def numbers_of(runs: Runs, axes: Axes) -> dict[str, str]:
    """Return the labels of number columns that describe a problem or a draw, by key, unless an axis says the same."""
    labels = {
        "variables": "variables",
        "constraints": "constraints",
        "agents": "agents",
        "problem_seed": "seed of the problem",
        "seed": "seed",
    }
    known = [_values(axis.column) for axis in axes.all if axis.numeric]
    return {
        key: label
        for key, label in labels.items()
        if len(np.unique(runs.numbers[key])) > 1
        and not any(np.array_equal(runs.numbers[key], other, equal_nan=True) for other in known)
    }


def measures_of(runs: Runs) -> list[Measure]:
    """Return what was measured, costs and effort first, then findings."""
    numbers = {**runs.numbers, "gap": _gap(runs)}
    measures = []
    for key, (label, unit, grows) in _MEASURES.items():
        values = numbers[key]
        known = values[~np.isnan(values)]
        if len(known) and (key not in _DULL or known.any()):
            measures.append(Measure(key, label, unit, grows, values))
    for (observer, quantity), finding in runs.findings.items():
        if finding.names is not None and quantity != "loss":
            parts = list(finding.names.items())
        else:
            mean = np.divide(finding.total, finding.count, out=np.full(runs.count, np.nan), where=finding.count > 0)
            parts = [("mean", mean), ("max", np.where(finding.count > 0, finding.most, np.nan))]
        for name, values in parts:
            known = values[~np.isnan(values)]
            if not len(known) or (known == known[0]).all():
                continue
            label = (
                f"{observer}: {name}" if quantity == "aggregate" and name else f"{observer}: {quantity} {name}".strip()
            )
            key = f"finding.{len(measures)}"
            measures.append(Measure(key, label, "", _only_grows(quantity, name), values, (observer, quantity, name)))
    return measures


def _only_grows(quantity: str, name: str) -> bool:
    base = re.match("[a-z-]*", name)
    return quantity == "loss" or (quantity == "aggregate" and base is not None and base[0] not in _FALLING)


def best_known(runs: Runs) -> Floats:
    """Return the best cost that any run found of each run's problem, NaN where none did."""
    texts = runs.texts
    seeds = np.unique(runs.numbers["problem_seed"], return_inverse=True)[1]
    parts = [texts[key].codes for key in ("generator", "file", "problem", "problem_parameters", "objective")]
    problem = np.unique(np.stack([*parts, seeds.reshape(-1)]), axis=1, return_inverse=True)[1].reshape(-1)
    sign, cost = _sign(runs), runs.numbers["cost"]
    known = np.isfinite(cost)
    best = np.full(runs.count, np.inf)
    np.minimum.at(best, problem[known], (sign * cost)[known])
    found: Floats = np.where(np.isfinite(best), best, np.nan)[problem] * sign
    return found


def _gap(runs: Runs) -> Floats:
    """Return how much worse each run's cost is than the best known."""
    gap: Floats = _sign(runs) * (runs.numbers["cost"] - best_known(runs))
    return gap


def _sign(runs: Runs) -> Floats:
    """Return -1 for each run of a maximising problem, else 1."""
    objective = runs.texts["objective"]
    signs = np.array([-1.0 if level == "max" else 1.0 for level in objective.levels] + [1.0])
    own: Floats = signs[objective.codes]
    return own


def _offered(column: Column) -> bool:
    return 1 < len(column.used) <= MOST_LEVELS


def _varies_within(column: Column, outer: Column) -> bool:
    """Say whether the column has two values for one level of `outer`: else it is implied by that."""
    pairs = np.unique(np.stack([outer.codes, column.codes]), axis=1)[0]
    return bool(len(pairs) > len(np.unique(pairs)))


def _setting(solver: Column, tuned: Sequence[Axis]) -> Column:
    stacked = np.stack([solver.codes, *(axis.column.codes for axis in tuned)])
    found, codes = np.unique(stacked, axis=1, return_inverse=True)
    levels = []
    for of_solver, *of_keys in found.T:
        words = [str(solver.levels[of_solver]) if of_solver >= 0 else "?"]
        for axis, code in zip(tuned, of_keys, strict=True):
            if code >= 0 and _varies_in(axis.column, solver.codes == of_solver):
                words.append(f"{axis.key.removeprefix('solver.')}={_text(axis.column.levels[code])}")
        levels.append(" ".join(words))
    own: Codes = codes.reshape(-1).astype(np.int64)
    return Column(levels, own)


def _varies_in(column: Column, rows: np.ndarray[Any, np.dtype[np.bool_]]) -> bool:
    return len(np.unique(column.codes[rows])) > 1


def _listed(column: Column) -> Column:
    """Return a column of JSON lists of texts with the texts joined, for people."""
    levels = []
    for level in column.levels:
        try:
            found = json.loads(level)
        except (ValueError, RecursionError):
            found = level
        levels.append(" + ".join(map(str, found)) or "none" if isinstance(found, list) else level)
    return Column(levels, column.codes)


def _text(level: object) -> str:
    return f"{level:g}" if isinstance(level, float) else str(level)


def _says_itself(key: str, column: Column, runs: Runs) -> bool:
    """Say whether a parameter can go by its key alone: nothing else is called so, or it is the same."""
    named = {**runs.texts, **runs.numbers}
    return key not in named or (
        key in runs.numbers and np.array_equal(runs.numbers[key], _values(column), equal_nan=True)
    )


def _values(column: Column) -> Floats:
    """Return the numbers that a column's levels are, NaN for all that is none."""
    levels = [x if isinstance(x, (int, float)) and not isinstance(x, bool) else math.nan for x in column.levels]
    values: Floats = np.array([*levels, math.nan], np.float64)[column.codes]
    return values


def _defaults(axes: Sequence[Axis], runs: Runs) -> dict[str, str]:
    by_key = {axis.key: axis for axis in axes}
    coloured = [k for k in ("setting", "solver") if k in by_key and len(by_key[k].column.used) <= MOST_COLOURS]
    colour: str = coloured[0] if coloured else ""
    taken = {"setting", "solver"} if coloured else set()
    numeric = [a.key for a in axes if a.numeric and a.key not in taken and (a.column.codes >= 0).mean() > 0.5]
    if colour == "setting":  # it holds the solver's parameters
        numeric = [key for key in numeric if not key.startswith("solver.")]
    sizes = [key for key in ("variables", "agents") if len(np.unique(runs.numbers[key])) > 1]
    free = [a.key for a in axes if a.key not in taken and not (colour and a.key.startswith("solver."))]
    free.sort(key="observers".__eq__)  # last: what watched is seldom what the runs are compared by
    named = [key for key in free if key != "observers" or not colour]
    x = next(iter([*numeric, *sizes, *named]), colour)
    rest = [key for key in free if key != x and 1 < len(by_key[key].column.used) <= MOST_COLOURS]
    if not colour and rest:
        colour = rest.pop(0)
    facet = next((key for key in rest if key != "observers" and len(by_key[key].column.used) <= 4), "")
    return {"x": x, "colour": colour, "facet": facet}
