"""The tables of a results folder as columns that are cheap to count with: a million runs take some hundred megabytes.

A text column is a list of distinct levels and a code for each run (-1: none); a parameter, which the table keeps in a
JSON text with all others, becomes a column of its own. A number column is an array of floats, NaN where there is none.
Findings of observers become measures of the runs: one for each name where names are few (aggregators), else mean and
maximum over the names (agents, pairs of agents).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

TEXTS: Final = (
    "version",
    "python",
    "problem",
    "generator",
    "file",
    "problem_parameters",
    "objective",
    "solver",
    "solver_parameters",
    "network",
    "observers",
    "status",
)
NUMBERS: Final = (
    "problem_seed",
    "variables",
    "constraints",
    "agents",
    "seed",
    "cost",
    "bound",
    "violations",
    "messages",
    "bytes",
    "local_messages",
    "nccc",
    "checks",
    "virtual_time",
    "wall_time",
    "startup_time",
)
TOLD: Final = ("cell", "run", "limit", "error")
MOST_NAMES: Final = 16
"""A finding with more names is shown by mean and maximum over them."""
_MOST_KEYS: Final = 100
_MOST_QUANTITIES: Final = 60


class Part(Protocol):
    """One part of every table of a results folder."""

    def read(self, table: str) -> pa.Table:
        """Return the part's rows of a table."""


@dataclass(frozen=True)
class Column:
    """Levels and a code for each run; a level is a text or, of a parameter, any JSON scalar."""

    levels: Sequence[Any]
    codes: Codes

    @classmethod
    def of(cls, texts: pa.ChunkedArray) -> Column:
        """Return a column of texts as levels and codes."""
        known: dict[str, int] = {}
        codes = _encode(texts, known)
        return cls(list(known), codes)

    @property
    def used(self) -> Codes:
        """The codes that occur, -1 included, in order."""
        return np.unique(self.codes)


@dataclass
class Finding:
    """One quantity of one observer, over the runs: by name while names are few, and over all names."""

    names: dict[str, Floats] | None = field(default_factory=dict)
    total: Floats = field(default_factory=lambda: np.empty(0))
    count: Floats = field(default_factory=lambda: np.empty(0))
    most: Floats = field(default_factory=lambda: np.empty(0))


@dataclass(frozen=True)
class Runs:
    """All runs of a folder, in the order of its parts.

    Args:
        count: how many.
        sizes: how many in each part.
        told: columns cell, run, limit and error.
        texts: by column.
        numbers: by column.
        findings: by observer and quantity.
        left_out: how many quantities of observers are not among them because there are too many.
    """

    count: int
    sizes: tuple[int, ...]
    told: pa.Table
    texts: Mapping[str, Column]
    numbers: Mapping[str, Floats]
    findings: Mapping[tuple[str, str], Finding]
    left_out: int

    def parameters(self, column: str) -> dict[str, Column]:
        """Return the parameters in a JSON text column, each as a column of its own, by key."""
        texts = self.texts[column]
        parsed = [_object(level) for level in texts.levels]
        keys = list(dict.fromkeys(key for found in parsed for key in found))[:_MOST_KEYS]
        columns = {}
        for key in keys:
            codes: dict[str, int] = {}
            levels: list[Any] = []
            of_text = np.full(len(parsed) + 1, -1, np.int64)  # the last is for code -1
            for i, found in enumerate(parsed):
                if found.get(key) is None:
                    continue
                value = found[key]
                mark = json.dumps(value, sort_keys=True)
                if mark not in codes:
                    codes[mark] = len(levels)
                    levels.append(mark if isinstance(value, (list, dict)) else value)
                of_text[i] = codes[mark]
            columns[key] = Column(levels, of_text[texts.codes])
        return columns


def read_runs(parts: Sequence[Part]) -> Runs:
    """Return the runs of all parts with what observers found in them."""
    import pyarrow as pa

    texts: dict[str, tuple[dict[str, int], list[Codes]]] = {name: ({}, []) for name in TEXTS}
    numbers: dict[str, list[Floats]] = {name: [] for name in NUMBERS}
    told = []
    for part in parts:
        table = part.read("run")
        told.append(table.select(TOLD))
        for name, (known, codes) in texts.items():
            codes.append(_encode(table.column(name), known))
        for name, arrays in numbers.items():
            arrays.append(floats_of(table.column(name)))
    findings, left_out = _read_findings(parts, told)
    empty = np.empty(0, np.int64)
    return Runs(
        count=sum(len(table) for table in told),
        sizes=tuple(len(table) for table in told),
        told=pa.concat_tables(told) if told else pa.table({key: pa.nulls(0) for key in TOLD}),
        texts={key: Column(list(known), np.concatenate([empty, *codes])) for key, (known, codes) in texts.items()},
        numbers={key: np.concatenate([np.empty(0), *arrays]) for key, arrays in numbers.items()},
        findings=findings,
        left_out=left_out,
    )


def keys_of(table: pa.Table) -> dict[tuple[str, int], int]:
    """Return the row of each run, by its cell and its number in the cell."""
    cells, runs = table.column("cell").to_pylist(), table.column("run").to_pylist()
    return {(cell, run): row for row, (cell, run) in enumerate(zip(cells, runs, strict=True))}


def rows_of(table: pa.Table, keys: Mapping[tuple[str, int], int]) -> Codes:
    """Return, for each row of a table with columns cell and run, the number of its run by `keys`, or -1."""
    cells: dict[str, int] = {}
    codes = _encode(table.column("cell"), cells)
    run = table.column("run").to_numpy().astype(np.int64)
    found = np.full(len(run), -1, np.int64)
    if not len(run) or not keys:
        return found
    wide = int(max(run.max(), max(number for _, number in keys))) + 1
    known = sorted((cells[cell] * wide + number, row) for (cell, number), row in keys.items() if cell in cells)
    if not known:
        return found
    marks, rows = np.array(known, np.int64).T
    wanted = codes * wide + run
    at = np.minimum(np.searchsorted(marks, wanted), len(marks) - 1)
    hit = marks[at] == wanted
    found[hit] = rows[at[hit]]
    return found


def _read_findings(parts: Sequence[Part], told: Sequence[pa.Table]) -> tuple[dict[tuple[str, str], Finding], int]:
    runs = sum(map(len, told))
    findings: dict[tuple[str, str], Finding] = {}
    left_out = set()
    start = 0
    for part, mine in zip(parts, told, strict=True):
        table = part.read("leakage")
        rows = rows_of(table, keys_of(mine))
        values = floats_of(table.column("value"))
        kept = (rows >= 0) & ~np.isnan(values)
        rows, values = rows[kept] + start, values[kept]
        observers, quantities, names = (Column.of(table.column(c)) for c in ("observer", "quantity", "name"))
        for (o, q), chosen in _groups(observers.codes[kept], quantities.codes[kept]):
            key = (observers.levels[o], quantities.levels[q])
            if key not in findings and len(findings) >= _MOST_QUANTITIES:
                left_out.add(key)
                continue
            finding = findings.setdefault(key, Finding())
            _add(finding, runs, rows[chosen], values[chosen], names.codes[kept][chosen], names.levels)
        start += len(mine)
    return findings, len(left_out)


def _add(finding: Finding, runs: int, rows: Codes, values: Floats, names: Codes, levels: Sequence[str]) -> None:
    if not len(finding.total):
        finding.total, finding.count, finding.most = np.zeros(runs), np.zeros(runs), np.full(runs, -np.inf)
    np.add.at(finding.total, rows, values)
    np.add.at(finding.count, rows, 1)
    np.maximum.at(finding.most, rows, values)
    for code in np.unique(names):
        if finding.names is None:
            return
        name = levels[code] if code >= 0 else ""
        if name not in finding.names:
            if len(finding.names) >= MOST_NAMES:
                finding.names = None
                return
            finding.names[name] = np.full(runs, np.nan)
        chosen = names == code
        finding.names[name][rows[chosen]] = values[chosen]


def _groups(first: Codes, second: Codes) -> Iterator[tuple[tuple[int, int], Codes]]:
    """Yield each pair of codes that occurs, none of them missing, with the places where it does."""
    if not len(first):
        return
    wide = int(second.max()) + 2
    marks = (first + 1) * wide + second + 1
    order = np.argsort(marks, kind="stable")
    ends = np.flatnonzero(np.diff(marks[order])) + 1
    for places in np.split(order, ends):
        pair = (int(first[places[0]]), int(second[places[0]]))
        if min(pair) >= 0:
            yield pair, places


def _encode(column: pa.ChunkedArray, known: dict[str, int]) -> Codes:
    """Return a code for each text of a column, -1 for null; new texts join `known`."""
    if not len(column):
        return np.empty(0, np.int64)
    coded = column.combine_chunks().dictionary_encode()
    codes = np.array([known.setdefault(text, len(known)) for text in coded.dictionary.to_pylist()] + [-1], np.int64)
    own: Codes = codes[coded.indices.fill_null(len(codes) - 1).to_numpy(zero_copy_only=False)]
    return own


def floats_of(column: pa.ChunkedArray) -> Floats:
    """Return a column of numbers, NaN for null."""
    import pyarrow as pa

    values: Floats = column.cast(pa.float64()).to_numpy()
    return values


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
