"""Series over virtual time, such as the cost of the joint assignment, as steps on one grid of times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from scenarios.reports.axes import FINISHED, UNFINISHED
from scenarios.reports.columns import Codes, Column, Floats, Part, Runs, floats_of, keys_of, rows_of

MOST_TIMES: Final = 80
_MOST_SERIES: Final = 8


def curves_of(parts: Sequence[Part], runs: Runs, chosen: Codes, place: Mapping[int, int]) -> list[dict[str, Any]]:
    """Return the series of the chosen runs, one entry for each kind of series; `place` renumbers the runs.

    A value holds until the next one, the last for ever: `values` are what was held at each of `times`, None before the
    first. The times are those at which most happens: evenly many changes lie between two of them. A series with several
    names (one for each agent) is their mean. A run that never had a cost, as some variable never took a value, is in
    that series with None throughout; one that failed is not.
    """
    found: dict[str, dict[int, list[tuple[Floats, Floats]]]] = {}
    start = 0
    for part, size in zip(parts, runs.sizes, strict=True):
        mine = {int(row) - start for row in chosen if start <= row < start + size}
        if mine:
            keys = keys_of(runs.told.slice(start, size))
            _read(part, {key: row for key, row in keys.items() if row in mine}, start, found)
        start += size
    if "cost" in found:
        status = runs.texts["status"]
        for row in chosen:
            if status.codes[row] >= 0 and status.levels[status.codes[row]] in FINISHED + UNFINISHED:
                found["cost"].setdefault(int(row), [])
    return [_curve(name, by_run, place) for name, by_run in list(found.items())[:_MOST_SERIES]]


def _read(
    part: Part,
    keys: Mapping[tuple[str, int], int],
    start: int,
    found: dict[str, dict[int, list[tuple[Floats, Floats]]]],
) -> None:
    table = part.read("series")
    rows = rows_of(table, keys)
    kept = np.flatnonzero(rows >= 0)
    if not len(kept):
        return
    table, rows = table.take(kept), rows[kept]
    series, names = Column.of(table.column("series")), Column.of(table.column("name"))
    times, values = floats_of(table.column("time")), floats_of(table.column("value"))
    order = np.lexsort((times, names.codes, series.codes, rows))
    marks = np.stack([rows, series.codes, names.codes])[:, order]
    ends = np.flatnonzero((np.diff(marks, axis=1) != 0).any(axis=0)) + 1
    for places in np.split(order, ends):
        code = series.codes[places[0]]
        sound = places[np.isfinite(times[places]) & ~np.isnan(values[places])]
        if code >= 0 and len(sound):
            by_run = found.setdefault(str(series.levels[code]), {})
            by_run.setdefault(int(rows[places[0]]) + start, []).append((times[sound], values[sound]))


def _curve(name: str, by_run: Mapping[int, list[tuple[Floats, Floats]]], place: Mapping[int, int]) -> dict[str, Any]:
    changes = np.unique(np.concatenate([times for steps in by_run.values() for times, _ in steps]))
    at = np.unique(np.linspace(0, len(changes) - 1, min(MOST_TIMES, len(changes))).round().astype(np.int64))
    grid = changes[at]
    values = []
    for steps in by_run.values():
        held = [
            np.concatenate([[np.nan], of_name])[np.searchsorted(at_times, grid, "right")] for at_times, of_name in steps
        ]
        with np.errstate(invalid="ignore"):
            values.append(np.mean(held, axis=0) if held else np.full(len(grid), np.nan))
    return {
        "name": name[:100],
        "times": [_short(time) for time in grid],
        "rows": [place[run] for run in by_run],
        "values": [[_short(value) for value in row] for row in values],
    }


def _short(value: float) -> float | int | str | None:
    """Return a number in six digits, which is more than a picture shows."""
    if np.isnan(value):
        return None
    if np.isinf(value):
        return "inf" if value > 0 else "-inf"
    return int(value) if float(value).is_integer() and abs(value) < 2**53 else float(f"{value:.6g}")
