"""The page of the results in a folder: of a sweep, of an experiment, or of several of them side by side.

What `summary` makes of each folder goes into the page as data, with the experiment's own rows, notes and figure
where they lie beside its folder. All of it is from elsewhere: sizes are bounded, texts are shown as texts, and a figure
is shown as an image, in which no script runs.
"""

from __future__ import annotations

import base64
import json
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from agentsim.errors import UserError
from scenarios.reports.page import packed, page, static
from scenarios.reports.summary import MOST_RUNS, summarise

if TYPE_CHECKING:
    import pyarrow as pa

    from agentsim.record.results import Results

MOST_SECTIONS: Final = 60
_MOST_ROWS: Final = 2_000
_MOST_KEYS: Final = 60
_MOST_JSON: Final = 2**26
_MOST_FIGURE: Final = 2**22
_MOST_SPEC: Final = 50_000
_MOST_TEXT: Final = 1_000
_LEAST_RUNS: Final = 1_000

_SCRIPTS: Final = (
    "d3.min.js",
    "plot.umd.min.js",
    "results-statistics.js",
    "viewer-base.js",
    "results-model.js",
    "results-figures.js",
    "results-saving.js",
    "results-tables.js",
    "results.js",
)


def results_page(folder: Path) -> str:
    """Return the page of a folder of results, or of a folder that holds such folders: one HTML document.

    Raises:
        UserError: there are no results in it, or pyarrow is missing.
    """
    found = _places(folder)
    most = max(MOST_RUNS // len(found), _LEAST_RUNS)
    sections = [_section(place, most) for place in found[:MOST_SECTIONS]]
    title = sections[0]["name"] if len(sections) == 1 else f"{folder.resolve().name}: {len(sections)} results"
    left_out = [place.name for place in found[MOST_SECTIONS:]]
    index = {
        "title": _brief(title),
        "sections": [{"name": section["name"], "kind": section["kind"]} for section in sections],
        "notes": [f"not shown, as there are too many: {_brief(', '.join(left_out))}"] if left_out else [],
    }
    data = {"index": packed(index), **{f"section-{i}": packed(section) for i, section in enumerate(sections)}}
    return page(
        f"{_brief(title)}: results",
        [static(name) for name in _SCRIPTS],
        [static("base.css"), static("results.css")],
        data,
        body=static("results.html"),
    )


@dataclass(frozen=True)
class _Place:
    """Where results lie: a folder of tables, or the rows of an experiment (NAME.json), or both."""

    name: str
    folder: Path | None
    rows: Path | None


class _Part:
    """One part of the tables in a folder, without the cells that another part has anew."""

    def __init__(self, folder: Path, number: int, superseded: Sequence[str], notes: list[str]) -> None:
        self._folder, self._number, self._superseded, self._notes = folder, number, superseded, notes

    def read(self, table: str) -> pa.Table:
        """Return the part's rows of a table; none, and a note, if it is damaged."""
        import pyarrow as pa
        import pyarrow.compute as pc

        from agentsim.record.results_parts import Damaged, arrow_table, read_table

        try:
            found = read_table(self._folder, table, self._number)
        except Damaged as damage:
            note = f"{damage}; it was left out"
            if note not in self._notes:
                self._notes.append(note)
            found = arrow_table(table, [])
        if self._superseded:
            known = pc.is_in(found.column("cell"), pa.array(self._superseded))
            found = found.filter(pc.invert(known))
        return found


def _places(folder: Path) -> list[_Place]:
    if (folder / "about.json").exists():
        beside = folder.resolve().with_name(f"{folder.resolve().name}.json")
        return [_Place(folder.resolve().name, folder, beside if _is_experiment(beside) else None)]
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise UserError(f"{folder}: cannot be read: {error.strerror}") from None
    folders = {name: folder / name for name in names if (folder / name / "about.json").exists()}
    rows = {name[:-5]: folder / name for name in names if name.endswith(".json") and _is_experiment(folder / name)}
    found = [_Place(name, folders.get(name), rows.get(name)) for name in sorted({*folders, *rows})]
    if not found:
        raise UserError(f"{folder}: holds no results (no about.json, and no folder or experiment that has results)")
    return found


def _section(place: _Place, most: int) -> dict[str, Any]:
    """Return what one tab of the page shows."""
    section: dict[str, Any] = {"name": _brief(place.name), "kind": "experiment", "notes": []}
    section |= {"about": {}, "runs": None, "experiment": None, "figure": None}
    if place.folder is not None:
        from agentsim.record.results import load_results

        results = load_results(place.folder)
        section |= _tables(results, most)
    if place.rows is not None:
        outcome = _outcome(place.rows)
        section["experiment"] = outcome
        section["notes"] = [*section["notes"], *outcome.pop("left_out")]
        section["figure"] = _figure(place.rows.with_suffix(".svg"))
    return section


def _tables(results: Results, most: int) -> dict[str, Any]:
    notes: list[str] = []
    parts = [_Part(results.folder, number, sorted(superseded), notes) for number, superseded in results.parts.items()]
    runs = summarise(parts, most)
    about = results.about
    spec = about.get("spec")
    said: dict[str, Any] = {key: about[key] for key in ("version", "source", "cells", "options") if key in about}
    return {
        "name": _brief(str(about.get("name"))),
        "kind": _brief(str(about.get("kind"))),
        "about": _bounded(said),
        "spec": spec[:_MOST_SPEC] if isinstance(spec, str) else None,
        "notes": [*map(_brief, results.notes), *map(_brief, notes)],
        "runs": runs,
    }


def _is_experiment(path: Path) -> bool:
    return path.name != "about.json" and isinstance(_read_json(path), dict)


def _outcome(path: Path) -> dict[str, Any]:
    """Return rows and notes of an experiment, bounded, and under "left_out" sentences on what is not there."""
    found = _read_json(path) or {}
    rows = [row for row in found["rows"] if isinstance(row, dict)]
    notes = found["notes"] if isinstance(found.get("notes"), list) else []
    left_out = [f"{path.name}: {len(rows) - _MOST_ROWS:,} more rows are not shown"] if len(rows) > _MOST_ROWS else []
    return {
        "rows": [_bounded(row) for row in rows[:_MOST_ROWS]],
        "notes": [_brief(str(note)) for note in notes[:200]],
        "left_out": left_out,
    }


def _read_json(path: Path) -> dict[str, Any] | None:
    """Return what a file holds if it is an experiment's: an object with "experiment" and a list of rows."""
    text = _read(path, _MOST_JSON)
    if text is None:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    sound = isinstance(found, dict) and "experiment" in found and isinstance(found.get("rows"), list)
    return found if sound else None


def _figure(path: Path) -> str | None:
    """Return a figure as an address that holds it."""
    content = _read(path, _MOST_FIGURE)
    return None if content is None else f"data:image/svg+xml;base64,{base64.b64encode(content).decode('ascii')}"


def _read(path: Path, most: int) -> bytes | None:
    """Return the content of an ordinary file that is not too large, else None."""
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > most:
            return None
        return path.read_bytes()
    except OSError:
        return None


def _bounded(row: dict[str, Any]) -> dict[str, Any]:
    return {_brief(str(key)): _plain(value) for key, value in list(row.items())[:_MOST_KEYS]}


def _plain(value: Any) -> Any:  # noqa: ANN401  # JSON
    """Return a JSON value of bounded size without NaN: what is nested as text."""
    from agentsim.runtime.result import jsonable

    if isinstance(value, str):
        return _brief(value)
    if isinstance(value, (dict, list)):
        return _brief(json.dumps(value))
    return jsonable(value)


def _brief(text: str) -> str:
    return text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]}… ({len(text):,} characters)"
