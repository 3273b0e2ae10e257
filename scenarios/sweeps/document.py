"""A spec's text: read within bounds, taken apart with the place of everything that is wrong.

A place is a text that begins with the file: `SPEC.toml: solver[2].parameters.k`, counted from 1.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn, TypeAlias

from agentsim.dcop.formats.limits import read_file
from agentsim.dcop.formats.yaml_nodes import shorten
from agentsim.errors import UserError

MAX_SPEC_BYTES: Final = 4 * 2**20
"""The largest spec that is read."""
_MAX_LISTED: Final = 30
_MAX_PARTS: Final = 20
_PART: Final = r"""(?:[A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')"""
_DEEP_KEY: Final = re.compile(rf"(?:^|[\[{{,])[ \t]*({_PART}(?:[ \t]*\.[ \t]*{_PART}){{{_MAX_PARTS}}})", re.MULTILINE)

Scalar: TypeAlias = str | int | float | bool


class Placed(NamedTuple):
    """A text of a spec, and where it stands: for complaints that come later."""

    text: str
    where: str


def fail(where: str, cause: str) -> NoReturn:
    """Raise UserError for what is wrong at a place."""
    raise UserError(f"{where}: {cause}")


def unknown(where: str, name: str, known: Iterable[str], words: str = "unknown") -> NoReturn:
    """Raise UserError for a name that does not exist, with the one that may have been meant, or all there are."""
    names = sorted(known)
    near = get_close_matches(name, names, n=1)
    if near:
        fail(where, f"{words}; did you mean {near[0]}?")
    listed = ", ".join(names[:_MAX_LISTED]) + (", ..." if len(names) > _MAX_LISTED else "")
    fail(where, f"{words}; there {'is' if len(names) == 1 else 'are'} {listed or 'none'}")


def under(where: str, key: str) -> str:
    """Return the place of `key` under `where`: of a whole file, or of a section of it."""
    return f"{where}{'.' if ': ' in where else ': '}{key if len(key) <= 60 and key.isprintable() else shorten(key)}"


def shown(value: object) -> str:
    """Return a value for a complaint, on one line and short."""
    if isinstance(value, str):
        return shorten(value)
    try:
        return shorten(str(value))[1:-1]
    except (ValueError, RecursionError):  # thousands of digits, or of tables within tables
        return "something too large to be shown"


def read_text(path: Path, most: int) -> str:
    """Return a file's text; UserError if it is no regular file, too large or not UTF-8."""
    data = read_file(path, most)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        fail(str(path), f"line {line}: not UTF-8 text")


def parse_toml(text: str, source: str) -> dict[str, Any]:
    """Return what a TOML text says; UserError if it is none."""
    if deep := _DEEP_KEY.search(text):  # before the parser, which takes quadratic time for them
        line = text.count("\n", 0, deep.start(1)) + 1
        fail(source, f"not TOML: a key of more than {_MAX_PARTS} parts (at line {line})")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        fail(source, f"not TOML: {error}")
    except RecursionError:
        fail(source, "not TOML: nested too deeply")
    except ValueError as error:  # a number of thousands of digits, say
        fail(source, f"not TOML: {error}")


class Section:
    """A table of a spec: its values by key, each with its place; UserError for keys that it does not know.

    Args:
        where: the place of the table.
        data: what stands there; UserError if it is no table.
        keys: those that it may have.
        elsewhere: keys that belong to other places, with the sentence that says so.
    """

    def __init__(
        self, where: str, data: object, keys: Iterable[str], elsewhere: Mapping[str, str] | None = None
    ) -> None:
        if not isinstance(data, dict):
            fail(where, f"must be a table, not {shown(data)}")
        self.where = where
        self.data: dict[str, Any] = data
        known = list(keys)
        for key in data:
            if key not in known:
                if elsewhere and key in elsewhere:
                    fail(self.of(key), elsewhere[key])
                unknown(self.of(key), key, known)

    def of(self, key: str) -> str:
        """Return the place of a key."""
        return under(self.where, key)

    def __contains__(self, key: str) -> bool:
        return key in self.data

    def get(self, key: str) -> Any:  # noqa: ANN401  # whatever the file says
        """Return a value, None where there is none."""
        return self.data.get(key)

    def sections(self, key: str) -> list[tuple[str, object]]:
        """Return the tables of an array of tables (`[[key]]`) with their places."""
        found = self.data.get(key, [])
        if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
            fail(self.of(key), f"must be tables, each written under [[{key}]]")
        return [(f"{self.of(key)}[{i}]", item) for i, item in enumerate(found, start=1)]


def text_of(value: object, where: str, most: int = 10_000) -> str:
    """Return a text that is neither empty nor endless; UserError if it is none."""
    if not isinstance(value, str):
        fail(where, f"must be text, not {shown(value)}")
    if not value.strip():
        fail(where, "is empty")
    if len(value) > most:
        fail(where, f"{len(value)} characters, more than the {most} allowed")
    return value


def whole(value: object, where: str, low: int, high: int) -> int:
    """Return a whole number from low to high; UserError if it is none. Text of digits is one, for tables."""
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit() and len(value) <= 20:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        fail(where, f"must be a whole number, not {shown(value)}")
    if not low <= value <= high:
        fail(where, f"{shown(value)} must be from {low} to {high}")
    return value


def amount(value: object, where: str) -> float:
    """Return a finite number that is not negative; UserError if it is none. Text of a number is one, for tables."""
    number = math.nan
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
    if not 0 <= number < math.inf:
        fail(where, f"must be a number that is not negative, not {shown(value)}")
    return number


def scalar(value: object, where: str) -> Scalar:
    """Return text, a number or a truth value; UserError for anything else (dates, tables)."""
    if isinstance(value, int) and abs(value) >= 2**63:
        fail(where, "too large a number")
    if isinstance(value, (str, int, float, bool)):
        return value
    fail(where, f"must be text, a number, true or false, not {shown(value)}")
