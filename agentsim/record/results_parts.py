"""The tables of a folder of results, and the files that they are kept in.

A folder of results has one folder for each table, and in each of these the parts `part-00001.parquet`,
`part-00002.parquet`, ... Part k of all tables is written at one moment and holds the rows of the same cells. It counts
from the moment at which `cell/part-k` has its name: that file comes last, and carries the number of rows and the
SHA-256 of each of the others. All parts of a table have one schema, so any reader of Parquet takes a table's folder as
one table.

A folder may come from somebody else. What a part claims of its size is looked at before it is read, how large its texts
become is found out before they are made, and no name or path is taken from within a file.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from agentsim.errors import UserError, one_line

if TYPE_CHECKING:
    import pyarrow as pa

Row = tuple[Any, ...]
Rows = Mapping[str, Sequence[Row]]
"""Rows of one cell by table, each without its first column, the cell's key."""

TABLES: Final[Mapping[str, tuple[str, ...]]] = {
    "cell": ("cell", "task", "status", "error", "result", "seconds:float", "version"),
    "run": (
        *("cell", "run:int", "version", "python"),
        *("problem", "generator", "file", "problem_parameters", "problem_seed:int", "objective"),
        *("variables:int", "constraints:int", "agents:int"),
        *("solver", "solver_parameters", "network", "observers", "seed:int"),
        *("status", "cost:float", "bound:float", "violations:int"),
        *("messages:int", "bytes:int", "local_messages:int", "nccc:int", "checks:int"),
        *("virtual_time:float", "wall_time:float", "startup_time:float", "limit", "error"),
    ),
    "agent": (
        *("cell", "run:int", "agent", "messages:int", "bytes:int", "local_messages:int", "checks:int", "nccc:int"),
    ),
    "leakage": ("cell", "run:int", "observer", "quantity", "name", "value:float"),
    "series": ("cell", "run:int", "series", "name", "time:float", "value:float"),
}
"""The columns of each table, as `name` for text and `name:int` or `name:float` for numbers."""

COLUMNS: Final = {table: tuple(c.partition(":")[0] for c in columns) for table, columns in TABLES.items()}
"""The names of each table's columns."""

OTHERS: Final = tuple(table for table in TABLES if table != "cell")

MOST_ROWS: Final = 20_000_000
MOST_BYTES: Final = 2**30
"""What a part of a table may hold, in rows and in bytes, compressed or not."""

_META: Final = b"agentsim"
_NAME: Final = re.compile(r"part-(\d{5,9})\.parquet", re.ASCII)
_DAMAGED: Final = re.compile(r"[a-z]+-part-(\d{5,9})\.parquet", re.ASCII)
_UNFINISHED: Final = re.compile(r"\.part-\d{5,9}\.parquet\.new", re.ASCII)


class Damaged(Exception):
    """A part is not as it was written; the text names the file and what is wrong."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What a finished cell leaves.

    Args:
        task: what was to be done, as JSON.
        status: "done" or "failed".
        error: why it failed, in one line, or None.
        result: what it returned, as JSON; of a failed cell its traceback; or None.
        seconds: how long it took.
        rows: by table, each row without the column `cell`.
    """

    task: str
    status: str
    error: str | None
    result: str | None
    seconds: float
    rows: Rows


@dataclass(frozen=True)
class Part:
    """A part that was looked through: its number, and the rows of its cells by key."""

    number: int
    cells: Mapping[str, Row]


@cache
def schema(table: str) -> pa.Schema:
    """Return the Arrow schema of a table."""
    arrow = _arrow()
    types = {"": arrow.string(), "int": arrow.int64(), "float": arrow.float64()}
    columns = [column.partition(":") for column in TABLES[table]]
    return arrow.schema([arrow.field(name, types[kind]) for name, _, kind in columns])


def part_path(folder: Path, table: str, number: int) -> Path:
    """Return where a part of a table is kept."""
    return folder / table / f"part-{number:05d}.parquet"


def part_numbers(folder: Path, table: str) -> list[int]:
    """Return the numbers of the parts of a table that are there, whole or not, ascending."""
    return sorted(int(m[1]) for m in map(_NAME.fullmatch, _names(folder / table)) if m)


def damaged_numbers(folder: Path) -> list[int]:
    """Return the numbers of the parts that were moved to `damaged/`, ascending."""
    return sorted({int(m[1]) for m in map(_DAMAGED.fullmatch, _names(folder / "damaged")) if m})


def unfinished(folder: Path, committed: Iterable[int]) -> list[Path]:
    """Return the files that a writer left behind when it was killed: of no part that counts."""
    kept = set(committed)
    found = []
    for table in TABLES:
        found += [folder / table / name for name in _names(folder / table) if _UNFINISHED.fullmatch(name)]
        found += [part_path(folder, table, n) for n in part_numbers(folder, table) if n not in kept]
    return found


def write_part(folder: Path, number: int, cells: Sequence[tuple[str, Cell]], version: str) -> None:
    """Write and commit a part; if this ends early, by whatever, the part does not count."""
    about: dict[str, Any] = {}
    places: list[tuple[Path, Path]] = []
    for table in OTHERS:
        rows = [row for _, cell in cells for row in cell.rows.get(table, ())]
        keys = [key for key, cell in cells for _ in cell.rows.get(table, ())]
        data = _parquet(arrow_table(table, [keys, *zip(*rows, strict=True)]), {})
        about[table] = {"rows": len(rows), "sha256": hashlib.sha256(data).hexdigest()}
        places.append(_write(part_path(folder, table, number), data))
    rows = [(key, c.task, c.status, c.error, c.result, c.seconds, version) for key, c in cells]
    made = arrow_table("cell", list(zip(*rows, strict=True)))
    about["cell"] = {"rows": len(rows), "sha256": _digest(made.to_pylist())}
    places.append(_write(part_path(folder, "cell", number), _parquet(made, about)))
    for new, place in places:  # the cells come last, when all others are there to stay
        os.replace(new, place)
        sync_folder(place.parent)


def read_part(folder: Path, number: int) -> Part:
    """Look through a part: its cells are read, of the other tables what is known without reading rows.

    Raises:
        Damaged: something is not as it was written.
    """
    path = part_path(folder, "cell", number)
    table, found = _read(path, "cell")
    try:
        about = json.loads(found[_META])
        expected = {name: (int(about[name]["rows"]), str(about[name]["sha256"])) for name in TABLES}
    except (KeyError, TypeError, ValueError):
        raise Damaged(f"{_named(path)}: it does not say what belongs to it") from None
    rows = table.to_pylist()
    if (len(rows), _digest(rows)) != expected["cell"]:
        raise Damaged(f"{_named(path)}: it is not what was written")
    for name in OTHERS:
        place = part_path(folder, name, number)
        if _sha256(place) != expected[name][1]:
            raise Damaged(f"{_named(place)}: it is not what was written (SHA-256 differs)")
        if _metadata(place, name).num_rows != expected[name][0]:
            raise Damaged(f"{_named(place)}: it has another number of rows than was written")
    cells = {row["cell"]: tuple(row.values()) for row in rows}
    if len(cells) != len(rows) or any(
        None in (row["cell"], row["task"]) or row["status"] not in ("done", "failed") for row in rows
    ):
        raise Damaged(f"{_named(path)}: it has a cell twice, or one without key, task or status")
    return Part(number, cells)


def read_table(folder: Path, table: str, number: int) -> pa.Table:
    """Return a part of a table; Damaged if it cannot be read."""
    return _read(part_path(folder, table, number), table)[0]


def arrow_table(table: str, columns: Sequence[Sequence[Any]] = ()) -> pa.Table:
    """Return columns of a table as Arrow, NaN as null; fewer columns than it has if it has no rows."""
    given = zip_longest(columns, schema(table), fillvalue=())
    return _arrow().table([_array(column, field) for column, field in given], schema=schema(table))


def sync_folder(folder: Path) -> None:
    """Have the names in a folder written to disk, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _array(values: Sequence[Any], field: pa.Field) -> pa.Array:
    arrow = _arrow()
    try:
        return arrow.array(values, field.type, from_pandas=True)
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON and Python can hold and UTF-8 cannot
        sound = [None if v is None else v.encode("utf-8", "backslashreplace").decode() for v in values]
        return arrow.array(sound, field.type)


def _parquet(table: pa.Table, about: Mapping[str, Any]) -> memoryview:
    import pyarrow.parquet as pq

    sink = _arrow().BufferOutputStream()
    with pq.ParquetWriter(sink, table.schema, compression="zstd", write_page_checksum=True) as writer:
        writer.write_table(table)
        if about:
            writer.add_key_value_metadata({_META: json.dumps(about)})
    return memoryview(sink.getvalue())


def _write(place: Path, data: memoryview) -> tuple[Path, Path]:
    new = place.with_name(f".{place.name}.new")
    with new.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return new, place


def _digest(rows: Sequence[Mapping[str, Any]]) -> str:
    return hashlib.sha256(json.dumps([list(row.values()) for row in rows]).encode()).hexdigest()


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _named(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _sha256(path: Path) -> str:
    _check_size(path)
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise Damaged(f"{_named(path)}: {error.strerror}") from None


def _check_size(path: Path) -> None:
    """Refuse what is no file (opening a pipe would wait for ever) or too large."""
    try:
        found = os.lstat(path)
    except OSError as error:
        raise Damaged(f"{_named(path)}: {error.strerror}") from None
    if not stat.S_ISREG(found.st_mode):
        raise Damaged(f"{_named(path)}: it is not a file")
    if found.st_size > MOST_BYTES:
        raise Damaged(f"{_named(path)}: it is larger than a part may be")


def _metadata(path: Path, table: str) -> Any:  # pyarrow has no types
    import pyarrow.parquet as pq

    arrow = _arrow()
    _check_size(path)
    try:
        found = pq.read_metadata(path)
        fits = found.schema.to_arrow_schema().equals(schema(table))
        size = sum(found.row_group(i).total_byte_size for i in range(found.num_row_groups))
    except (arrow.ArrowException, OSError, ValueError, RecursionError) as error:
        raise Damaged(f"{_named(path)}: {_cause(error)}") from None
    if not fits:
        raise Damaged(f"{_named(path)}: it has other columns")
    if found.num_rows > MOST_ROWS or size > MOST_BYTES:
        raise Damaged(f"{_named(path)}: it claims to hold more than a part may")
    return found


def _read(path: Path, table: str) -> tuple[pa.Table, Mapping[bytes, bytes]]:
    import pyarrow.parquet as pq

    arrow = _arrow()
    found = _metadata(path, table)
    texts = [field.name for field in schema(table) if field.type == arrow.string()]
    try:
        # Texts stay in dictionaries at first: a file of a kilobyte can repeat one text a million times.
        with pq.ParquetFile(path, read_dictionary=texts, page_checksum_verification=True) as file:
            read = file.read()
        if read.num_rows != found.num_rows:
            raise Damaged(f"{_named(path)}: it has another number of rows than it claims")
        if sum(_text_size(read.column(name)) for name in texts) > MOST_BYTES:
            raise Damaged(f"{_named(path)}: its texts are larger than a part may be")
        read = read.cast(schema(table))
        read.validate(full=True)  # texts that are no UTF-8 would only fail where they are used
        return read, dict(found.metadata or {})
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise Damaged(f"{_named(path)}: {_cause(error)}") from None


def _text_size(column: pa.ChunkedArray) -> int:
    import pyarrow.compute as pc

    total = 0
    for chunk in column.chunks:
        if hasattr(chunk, "dictionary"):
            lengths = pc.binary_length(chunk.dictionary)
            total += pc.sum(lengths.take(chunk.indices).cast("int64")).as_py() or 0
        else:
            total += chunk.nbytes
    return total


def _cause(error: BaseException) -> str:
    words = one_line(" ".join(str(error).split()))
    return f"it cannot be read ({words[:200] or type(error).__name__})"


@cache
def _arrow() -> Any:  # pyarrow has no types
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UserError("results need the package pyarrow: install agentsim[sweep]") from None
    return pyarrow
