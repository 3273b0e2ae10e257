"""What the page of results shows of the runs in a folder, as plain data of bounded size.

Up to `MOST_RUNS` runs go into the page as they are, and the page counts with them. Of more, each group of runs that
differ in their seeds alone is summarised here, over all its runs, and the page has an even sample of the runs for
everything else: as many of each group as its share says, drawn by lot from a fixed seed.

The shape:

    {"total": runs, "cells": n, "failed_cells": n, "statuses": {status: n}, "whole": bool,
     "columns": [{"key", "label", "role": "axis" | "number" | "measure" | "text", "levels"?: [...], "unit"?, "grows"?,
                  "finding"?: [observer, quantity, name]}],
     "rows": {key: [level number or value or None, one for each run shown]},
     "grid": [keys of axes], "defaults": {"x", "colour", "facet"},
     "groups": None or {"levels": {key of axis: [..]}, "statuses": {status: [..]}, "measures": {key: {field: [..]}}},
     "curves": [{"name", "times": [..], "rows": [number of a run shown], "values": [[..] for each run]}],
     "failures": [{"status", "error", "count", "cell"}], "notes": [sentence]}

Infinite numbers are the texts "inf" and "-inf", and None is none.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import astuple, fields
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from scenarios.reports.axes import FINISHED, UNFINISHED, Axes, Measure, axes_of, best_known, measures_of, numbers_of
from scenarios.reports.columns import TEXTS, Codes, Column, Part, Runs, read_runs
from scenarios.reports.curves import curves_of
from scenarios.reports.statistics import Median, median

MOST_RUNS: Final = 20_000
MOST_CURVES: Final = 600
_MOST_GROUPS: Final = 3_000
_MOST_MEASURES: Final = 60
_MOST_FAILURES: Final = 100
_MOST_KINDS: Final = 10_000
_MOST_TEXT: Final = 500


def summarise(parts: Sequence[Part], most: int = MOST_RUNS) -> dict[str, Any]:
    """Return the summary of all parts, with at most `most` runs in it."""
    runs = read_runs(parts)
    axes = axes_of(runs)
    measures = measures_of(runs)
    notes = []
    if runs.left_out or len(measures) > _MOST_MEASURES:
        many = runs.left_out + max(0, len(measures) - _MOST_MEASURES)
        notes.append(f"{many} findings of observers are not shown: there are too many")
    measures = measures[:_MOST_MEASURES]
    group = _groups(runs, axes)
    shown = _sample(group, most)
    columns, rows = _rows(runs, axes, measures, shown)
    curved = shown[_spread(len(shown), MOST_CURVES)]
    place = {int(row): i for i, row in enumerate(shown)}
    cells, failed_cells, failures = _failures(parts, runs)
    whole = len(shown) == runs.count
    return {
        "total": runs.count,
        "cells": cells,
        "failed_cells": failed_cells,
        "statuses": _statuses(runs.texts["status"], np.arange(runs.count)),
        "whole": whole,
        "columns": columns,
        "rows": rows,
        "grid": list(axes.grid),
        "defaults": {**axes.defaults, "y": _first_measure(measures)},
        "groups": None if whole else _summaries(runs, axes, measures, group),
        "curves": curves_of(parts, runs, curved, place),
        "failures": failures,
        "notes": notes,
    }


def number(value: float) -> float | int | str | None:
    """Return a number as the page takes it: whole ones as such, infinities as texts, NaN as None."""
    if math.isfinite(value):
        return int(value) if value.is_integer() and abs(value) < 2**53 else float(value)
    return None if math.isnan(value) else ("inf" if value > 0 else "-inf")


def brief(text: str) -> str:
    """Return a text, cut if it is very long, and saying so."""
    return text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]}… ({len(text):,} characters)"


def _groups(runs: Runs, axes: Axes) -> Codes:
    """Return the number of each run's group: of those that differ in their seeds alone."""
    columns = {axis.key: axis.column.codes for axis in axes.all}
    if not axes.grid or not runs.count:
        return np.zeros(runs.count, np.int64)
    found: Codes = np.unique(np.stack([columns[key] for key in axes.grid]), axis=1, return_inverse=True)[1]
    return found.reshape(-1)


def _sample(group: Codes, most: int) -> Codes:
    """Return the numbers of the runs to show, ascending: all, or of each group as many as its share says."""
    if len(group) <= most:
        return np.arange(len(group))
    order = np.random.default_rng(0).permutation(len(group))
    order = order[np.argsort(group[order], kind="stable")]
    return np.sort(order[_spread(len(group), most)])


def _spread(count: int, most: int) -> Codes:
    """Return at most `most` of the numbers below `count`, evenly spread."""
    if count <= most:
        return np.arange(count)
    spread: Codes = (np.arange(most) * 2 + 1) * count // (2 * most)
    return spread


def _rows(
    runs: Runs, axes: Axes, measures: Sequence[Measure], shown: Codes
) -> tuple[list[dict[str, Any]], dict[str, list[Any]]]:
    columns: list[dict[str, Any]] = []
    rows: dict[str, list[Any]] = {}

    def coded(key: str, label: str, role: str, column: Column) -> None:
        used, codes = np.unique(column.codes[shown], return_inverse=True)
        levels = [None if code < 0 else _level(column.levels[code]) for code in used]
        columns.append({"key": key, "label": brief(label), "role": role, "levels": levels})
        rows[key] = codes.reshape(-1).tolist()

    for axis in axes.all:
        coded(axis.key, axis.label, "axis", axis.column)
    labels = numbers_of(runs, axes)
    for key in ("problem_seed", "variables", "constraints", "agents", "seed"):
        role = "number" if key in labels else "text"
        columns.append({"key": key, "label": labels.get(key, key.replace("_", " ")), "role": role})
        rows[key] = [number(value) for value in runs.numbers[key][shown]]
    for measure in measures:
        told = {"key": brief(measure.key), "label": brief(measure.label), "role": "measure"}
        found = {} if measure.finding is None else {"finding": [brief(word) for word in measure.finding]}
        columns.append({**told, "unit": measure.unit, "grows": measure.grows, **found})
        rows[measure.key] = [number(value) for value in measure.values[shown]]
    columns.append({"key": "best", "label": "best known cost of the problem", "role": "text"})
    rows["best"] = [number(value) for value in best_known(runs)[shown]]
    for key in TEXTS:
        if key not in rows:
            coded(key, key.replace("_", " "), "text", runs.texts[key])
    told = runs.told.take(shown)
    for key in ("cell", "limit", "error"):
        texts = [None if text is None else brief(text) for text in told.column(key).to_pylist()]
        levels = list(dict.fromkeys(texts))
        numbers = {level: i for i, level in enumerate(levels)}
        columns.append({"key": key, "label": key, "role": "text", "levels": levels})
        rows[key] = [numbers[text] for text in texts]
    return columns, rows


def _summaries(runs: Runs, axes: Axes, measures: Sequence[Measure], group: Codes) -> dict[str, Any] | None:
    order = np.argsort(group, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
    if len(members) > _MOST_GROUPS:
        return None
    status = runs.texts["status"]
    failed = _is_failed(status)
    stopped = np.array([level in UNFINISHED for level in status.levels] + [False])[status.codes]
    counts = [_statuses(status, rows) for rows in members]
    return {
        "levels": {axis.key: [_level_of(axis.column, rows[0]) for rows in members] for axis in axes.all},
        "statuses": {name: [count.get(name, 0) for count in counts] for name in sorted(set().union(*counts))},
        "measures": {
            measure.key: _medians(
                median(values := measure.values[kept], stopped[kept] if measure.grows else np.zeros(len(values), bool))
                for rows in members
                for kept in [rows[~failed[rows] & ~np.isnan(measure.values[rows])]]
            )
            for measure in measures
        },
    }


def _medians(found: Iterable[Median]) -> dict[str, list[Any]]:
    rows = [astuple(one) for one in found]
    return {
        field.name: [number(value) if isinstance(value, float) else value for value in column]
        for field, column in zip(fields(Median), zip(*rows, strict=True), strict=True)
    }


def _failures(parts: Sequence[Part], runs: Runs) -> tuple[int, int, list[dict[str, Any]]]:
    """Return how many cells there are and failed, and what went wrong in cells and runs, the commonest first."""
    kinds: Counter[tuple[str, str]] = Counter()
    first: dict[tuple[str, str], str] = {}

    def add(status: str, error: str | None, cell: str) -> None:
        kind = brief(status), _first_line(error)
        if kind not in kinds and len(kinds) >= _MOST_KINDS:
            kind = "", "other errors"
        kinds[kind] += 1
        first.setdefault(kind, brief(cell))

    status = runs.texts["status"]
    bad = np.flatnonzero(_is_failed(status))
    told = runs.told.take(bad)
    in_runs = told.column("cell").to_pylist()
    for code, error, cell in zip(status.codes[bad], told.column("error").to_pylist(), in_runs, strict=True):
        add(str(status.levels[code]) if code >= 0 else "?", error, cell)
    explained = set(in_runs)
    cells = failed = 0
    for part in parts:
        table = part.read("cell")
        cells += len(table)
        for row in table.select(["cell", "status", "error"]).to_pylist():
            if row["status"] != "done":
                failed += 1
                if row["cell"] not in explained:
                    add("cell failed", row["error"], row["cell"])
    commonest = kinds.most_common(_MOST_FAILURES)
    found = [
        {"status": status, "error": error, "count": count, "cell": first[status, error]}
        for (status, error), count in commonest
    ]
    if len(kinds) > len(found):
        rest = kinds.total() - sum(count for _, count in commonest)
        found.append({"status": "", "error": f"{len(kinds) - len(found)} other kinds", "count": rest, "cell": ""})
    return cells, failed, found


def _is_failed(status: Column) -> npt.NDArray[np.bool_]:
    known = [level in FINISHED + UNFINISHED for level in status.levels]
    failed: npt.NDArray[np.bool_] = ~np.array([*known, False])[status.codes]
    return failed


def _first_line(error: object) -> str:
    return brief(str(error).strip().partition("\n")[0]) if error is not None else ""


def _statuses(status: Column, rows: Codes) -> dict[str, int]:
    codes, counts = np.unique(status.codes[rows], return_counts=True)
    return {
        str(status.levels[code]) if code >= 0 else "?": int(count) for code, count in zip(codes, counts, strict=True)
    }


def _first_measure(measures: Sequence[Measure]) -> str:
    """Return the measure to show first: what it took, unless that never differs."""
    varied = [m.key for m in measures if len(np.unique(m.values[~np.isnan(m.values)])) > 1]
    order = ("messages", "nccc", "cost")
    return next((key for key in order if key in varied), next(iter([*varied, *(m.key for m in measures)]), ""))


def _level_of(column: Column, row: int) -> Any:  # noqa: ANN401  # a JSON scalar
    code = column.codes[row]
    return None if code < 0 else _level(column.levels[code])


def _level(level: Any) -> Any:  # noqa: ANN401  # a JSON scalar
    if isinstance(level, str):
        return brief(level)
    return number(level) if isinstance(level, float) else level
