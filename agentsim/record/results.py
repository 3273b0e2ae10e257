"""Reading a folder of results: tidy tables of what was run, what it took and what leaked."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from agentsim.record import html
from agentsim.record.results_parts import (
    TABLES,
    Damaged,
    arrow_table,
    damaged_numbers,
    part_numbers,
    read_part,
    read_table,
    unfinished,
)
from agentsim.record.results_store import Store, read_about

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["Results", "Store", "load_results"]

_MOST_KEYS: Final = 500


def load_results(folder: str | os.PathLike[str]) -> Results:
    """Return the results in a folder, of what is finished by now; a writer may be at it.

    Damaged and half-written parts are left out and named in `.notes`.

    Raises:
        UserError: it is no folder of results, or pyarrow is missing.
    """
    return Results(Path(folder))


class Results:
    """The results in a folder.

    A cell that failed and was run again counts as it ended the last time; any other cell that is there twice counts
    as it was first.

    Attributes:
        folder: where they are.
        about: what was run: "kind", "name", and whatever else the writer said of it.
        notes: sentences on parts that were left out.
        parts: the parts that count, in order of their numbers: for each the cells whose rows in it do not.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.about = read_about(folder)
        self.notes: list[str] = []
        chosen: dict[str, tuple[int, str]] = {}
        twice: dict[int, int] = {}
        self.parts: dict[int, set[str]] = {}
        numbers = part_numbers(folder, "cell")
        for number in numbers:
            try:
                part = read_part(folder, number)
            except Damaged as damage:
                self.notes.append(f"{damage}; part {number} was left out")
                continue
            self.parts[number] = set()
            for key, row in part.cells.items():
                before = chosen.get(key)
                if before is None or before[1] == "failed":
                    chosen[key] = number, str(row[2])
                    if before is not None:
                        self.parts[before[0]].add(key)
                else:
                    self.parts[number].add(key)
                    twice[number] = twice.get(number, 0) + 1
        for number, count in twice.items():
            self.notes.append(f"part {number} has {count} cells that an earlier part has: the earlier ones count")
        rest = {path.name.removeprefix(".").removesuffix(".new") for path in unfinished(folder, numbers)}
        if rest:
            self.notes.append(f"half-written parts were left out: {', '.join(sorted(rest))}")
        away = damaged_numbers(folder)
        if away:
            listed = ", ".join(map(str, away[:10])) + (", ..." if len(away) > 10 else "")
            self.notes.append(f"damaged/ holds what was part {listed}, whose cells were to be run again")
        self._tables: dict[str, pa.Table] = {}

    def table(self, name: str) -> pa.Table:
        """Return a table as Arrow: "cell", "run", "agent", "leakage" or "series"."""
        if name not in self._tables:
            self._tables[name] = self._load(name)
        return self._tables[name]

    @property
    def tables(self) -> Mapping[str, pa.Table]:
        """All tables as Arrow, by name."""
        return {name: self.table(name) for name in TABLES}

    @cached_property
    def cell(self) -> pd.DataFrame:
        """One row for each cell; `traceback` is text where one failed with an exception."""
        frame = self._frame("cell")
        failed = zip(frame["status"], frame["result"], strict=True)
        found = [_object(result).get("traceback") if status == "failed" else None for status, result in failed]
        frame["traceback"] = [text if isinstance(text, str) and text else None for text in found]
        return frame

    @cached_property
    def run(self) -> pd.DataFrame:
        """One row for each run, with a column `problem.KEY` or `solver.KEY` for each parameter."""
        import pandas as pd

        frame = self._frame("run")
        more: dict[str, list[Any]] = {}
        for column, prefix in (("problem_parameters", "problem"), ("solver_parameters", "solver")):
            for i, text in enumerate(frame[column]):
                for key, value in _object(text).items():
                    name = f"{prefix}.{key}"
                    if name not in more and len(more) < _MOST_KEYS:
                        more[name] = [None] * len(frame)
                    if name in more:
                        more[name][i] = value
        return pd.concat([frame, pd.DataFrame(more, index=frame.index)], axis=1)

    @cached_property
    def agent(self) -> pd.DataFrame:
        """One row for each agent of each run."""
        return self._frame("agent")

    @cached_property
    def leakage(self) -> pd.DataFrame:
        """One row for each number that an observer found."""
        return self._frame("leakage")

    @cached_property
    def series(self) -> pd.DataFrame:
        """One row for each point of each series over virtual time."""
        return self._frame("series")

    def __repr__(self) -> str:
        words = f"{self.about.get('kind')} {self.about.get('name')!r}"
        return f"<Results of {words}: {self.table('cell').num_rows} cells, {self.table('run').num_rows} runs>"

    def _repr_html_(self) -> str:
        runs: dict[str, Counter[str]] = {}
        for row in self._counted("run", "solver", "status"):
            runs.setdefault(row["solver"] or "-", Counter())[row["status"] or "-"] += row["count_all"]
        statuses = sorted({status for counts in runs.values() for status in counts})
        cells = {row["status"]: row["count_all"] for row in self._counted("cell", "status")}
        rows = {name: self.table(name).num_rows for name in TABLES}
        shown = [
            html.pairs([
                ("folder", str(self.folder)),
                ("cells done", cells.get("done", 0)),
                ("cells failed", cells.get("failed", 0)),
                ("version", self.about.get("version")),
            ]),
            html.table(
                ["runs of", *statuses[: html.MOST_COLUMNS]],
                ([name, *(runs[name][status] for status in statuses[: html.MOST_COLUMNS])] for name in sorted(runs)),
            ),
            html.table(["table", "rows"], rows.items()),
            *(html.paragraph(note) for note in self.notes[: html.MOST_ROWS]),
        ]  # fmt: skip
        title = f"Results of {self.about.get('kind')} {self.about.get('name')}"
        return html.card(html.text(title), shown)

    def _counted(self, name: str, *columns: str) -> list[dict[str, Any]]:
        """Return how many rows of a table there are for each combination of some columns, as `count_all`."""
        found: list[dict[str, Any]] = self.table(name).group_by(columns).aggregate([([], "count_all")]).to_pylist()
        return found

    def _frame(self, name: str) -> pd.DataFrame:
        """Return a table as a frame; whole numbers stay whole, a null among them is <NA>."""
        import pandas as pd
        import pyarrow as pa

        return self.table(name).to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)

    def _load(self, name: str) -> pa.Table:
        import pyarrow as pa
        import pyarrow.compute as pc

        tables = [arrow_table(name)]
        for number, superseded in self.parts.items():
            try:
                table = read_table(self.folder, name, number)
            except Damaged as damage:
                self.notes.append(f"{damage}; it was left out")
                continue
            if superseded:
                known = pc.is_in(table.column("cell"), pa.array(sorted(superseded)))
                table = table.filter(pc.invert(known))
            tables.append(table)
        return pa.concat_tables(tables)


def _object(text: Any) -> Mapping[str, Any]:  # null in a column of texts has many forms
    """Return an object that is kept as JSON; lists and objects in it stay JSON."""
    if not isinstance(text, str):
        return {}
    try:
        found = json.loads(text)
        if not isinstance(found, dict):
            return {}
        return {k: json.dumps(v) if isinstance(v, (list, dict)) else v for k, v in found.items()}
    except (ValueError, RecursionError):
        return {}
