"""Cells written as a table: a CSV file with one row for each.

Columns: `generator` or `file`, `problem.KEY` for the generator's parameters, `privacy` ("off") or `privacy.KEY`,
`solver`, `solver.KEY`, `network`, `observers` (several between semicolons, or `none`), `seed`, `run`, `timeout`,
`max-messages`, `max-time`, `check-cost`. An empty field is one that is left out.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from agentsim.errors import UserError
from agentsim.runtime.network import split_names
from scenarios.sweeps.axes import LIMITS, MAX_CELLS
from scenarios.sweeps.document import fail, read_text, shown, under, unknown

MAX_TABLE_BYTES: Final = 64 * 2**20
"""The largest table that is read."""
MAX_COLUMNS: Final = 1000

_PLAIN: Final = ("network", "seed", "run", "check-cost")
_COLUMNS: Final = ("generator", "file", "privacy", "solver", "observers", *_PLAIN, *LIMITS)
_FAMILIES: Final = ("problem.", "solver.", "privacy.")


def read_rows(path: Path, source: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each row's place, and what it says in the form of a [[cell]].

    Args:
        path: the file.
        source: what it is called in complaints.

    Raises:
        UserError: no CSV, unknown columns, a row of another length than the header, or too many rows.
    """
    reader = csv.reader(io.StringIO(read_text(path, MAX_TABLE_BYTES), newline=""), strict=True)
    columns: list[str] = []
    count = 0
    try:
        for row in reader:
            where = f"{source} line {reader.line_num}"
            if not any(text.strip() for text in row):
                continue
            if not columns:
                columns = _header(row, where)
                continue
            count += 1
            if count > MAX_CELLS:
                fail(where, f"more than {MAX_CELLS:,} rows")
            if len(row) != len(columns):
                fail(where, f"{len(row)} fields, but the header has {len(columns)}")
            yield where, _cell({c: text.strip() for c, text in zip(columns, row, strict=True) if text.strip()}, where)
    except csv.Error as error:
        fail(f"{source} line {reader.line_num}", f"not CSV: {error}")
    if not count:
        fail(source, "has no rows" if columns else "is empty")


def _header(row: list[str], where: str) -> list[str]:
    columns = [text.strip() for text in row]
    if len(columns) > MAX_COLUMNS:
        fail(where, f"{len(columns)} columns, more than {MAX_COLUMNS}")
    for name in columns:
        if columns.count(name) > 1:
            fail(where, f"column {shown(name)} is there twice")
        if name not in _COLUMNS and not any(name.startswith(f) and name != f for f in _FAMILIES):
            unknown(
                where, name, [*_COLUMNS, "problem.KEY", "solver.KEY", "privacy.KEY"], f"unknown column {shown(name)}"
            )
    return columns


def _cell(row: dict[str, str], where: str) -> dict[str, Any]:
    """Return a row in the form of a [[cell]]."""
    family: dict[str, dict[str, str]] = {name: {} for name in _FAMILIES}
    for column, text in row.items():
        for name, found in family.items():
            if column.startswith(name):
                found[column.removeprefix(name)] = text
    cell: dict[str, Any] = {key: row[key] for key in _PLAIN if key in row}
    if limits := {key: row[key] for key in LIMITS if key in row}:
        cell["limits"] = limits
    if "observers" in row:
        try:
            cell["observers"] = [] if row["observers"] == "none" else split_names(row["observers"], ";")
        except UserError as error:
            fail(under(where, "observers"), str(error))
    if "privacy" in row and family["privacy."]:
        fail(where, "has both privacy and privacy.KEY")
    problem: dict[str, Any] = {key: row[key] for key in ("generator", "file", "privacy") if key in row}
    if family["problem."]:
        problem["parameters"] = family["problem."]
    if family["privacy."]:
        problem["privacy"] = family["privacy."]
    if problem:
        cell["problem"] = problem
    if "solver" in row:
        cell["solver"] = {"name": row["solver"], "parameters": family["solver."]}
    elif family["solver."]:
        fail(where, f"has parameters but no solver: {', '.join(map(shown, family['solver.']))}")
    return cell
