"""What one problem file may ask for, in one place, and reading a file within that.

A file from elsewhere may ask for anything in few bytes. Whatever it says, loading it ends within 4 GiB of memory and
some minutes, with a problem or with one line; the files that people write stay far below all of this.

| bound | on |
|---|---|
| `MAX_FILE_BYTES` | the file |
| `MAX_NODES`, `MAX_ELEMENTS`, `MAX_TOKENS` | values of a YAML file, elements of an XML file, tokens of a CFN file |
| `MAX_ITEMS` | items of one list of a packed file |
| `MAX_DEPTH`, `MAX_XML_DEPTH`, `MAX_CFN_DEPTH` | nesting of YAML and packed data, of XML, of CFN |
| `MAX_AXES`, `MAX_DIGITS` | variables of one constraint, digits of a whole number |
| `MAX_DOMAIN_VALUES` | values of all domains together |
| `MAX_FILE_CELLS` | cells of all tables together; of one table `agentsim.dcop.problem.MAX_TABLE_CELLS` |
| `MAX_FILE_WORK` | what all cost expressions together may take to be tabulated |

Bounds on one expression stand in `agentsim.dcop.expressions`, on blocks of a log in `agentsim.record.log`, on parts of
a folder of results in `agentsim.record.results_parts`, on specs in `scenarios.sweeps`.
"""

from __future__ import annotations

import os
import stat
from typing import Any, Final

from agentsim.errors import UserError

MAX_FILE_BYTES: Final = 64 * 2**20
"""The largest problem file that is read."""
MAX_NODES: Final = 2_000_000
"""Values of one YAML file; one takes about half a kilobyte."""
MAX_ELEMENTS: Final = 1_000_000
"""Elements of one XML file; one takes about half a kilobyte."""
MAX_TOKENS: Final = 10_000_000
"""Tokens of one CFN file, lists of plain numbers apart; one takes about a hundred bytes."""
MAX_ITEMS: Final = 2_000_000
"""Items of one list or map of a packed file."""
MAX_DEPTH: Final = 60
MAX_XML_DEPTH: Final = 16
MAX_CFN_DEPTH: Final = 12
MAX_AXES: Final = 32
"""Variables of one constraint: a table has an axis for each, and numpy not many more."""
MAX_DIGITS: Final = 18
"""Digits of a whole number."""
MAX_FILE_CELLS: Final = 64_000_000
"""Cells of all tables of one file together: half a gigabyte."""
MAX_DOMAIN_VALUES: Final = 300_000
"""Values of all domains of one file together."""
MAX_FILE_WORK: Final = 2_000_000_000
"""Work of all cost expressions of one file: nodes times tuples over whole domains, a hundred times that where only
one tuple at a time gives Python's numbers. About ten seconds."""


def too_deep(value: object) -> bool:
    """Tell whether lists and maps are nested deeper than `MAX_DEPTH`: what walks through them may be recursive."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [v for v in level if isinstance(v, (dict, list, tuple))]
        if not level:
            return False
        level = [inner for v in level for inner in (v.values() if isinstance(v, dict) else v)]
    return True


def read_file(path: str | os.PathLike[str], most: int) -> bytes:
    """Return a regular file's bytes.

    Args:
        path: the file.
        most: the most bytes it may have.

    Raises:
        UserError: it is no regular file (opening a pipe would wait for ever), too large, grows while it is read, or
            cannot be read.
    """
    name = os.fspath(path)
    try:
        info = os.stat(path)
        if not stat.S_ISREG(info.st_mode):
            raise UserError(f"{name}: not a regular file")
        if info.st_size > most:
            raise UserError(f"{name}: {info.st_size} bytes, more than the {most} allowed")
        with open(path, "rb") as file:
            data = file.read(min(info.st_size, most) + 1)
    except OSError as error:
        raise UserError(f"{name}: cannot be read ({error.strerror or error})") from None
    except ValueError as error:
        raise UserError(f"{name!r}: not a file name ({error})") from None
    if len(data) > info.st_size:
        raise UserError(f"{name}: grows while it is read")
    return data
