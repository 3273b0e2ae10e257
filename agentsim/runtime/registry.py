"""Finding solvers, observers and generators by name, through entry points."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from agentsim.errors import UserError


@cache
def _entries(group: str) -> dict[str, EntryPoint]:
    return {e.name: e for e in entry_points(group=f"agentsim.{group}")}


def names(group: str) -> list[str]:
    """Return the names registered in a group ("solvers", "observers", "generators"), sorted."""
    return sorted(_entries(group))


def find(group: str, name: str) -> Any:
    """Return what is registered under `name`; UserError listing what there is."""
    entry = _entries(group).get(name)
    if entry is None:
        raise UserError(
            f"no {group.removesuffix('s')} is called {name!r}; there are {', '.join(names(group)) or 'none'}"
        )
    try:
        return entry.load()
    except Exception as error:  # whatever a third party's package may raise while it is imported
        raise UserError(
            f"{group.removesuffix('s')} {name} cannot be loaded: {type(error).__name__}: {error}"
        ) from error


@cache
def _hints(cls: type[Any]) -> dict[str, Any]:
    """Return the types of a dataclass's fields; working them out takes longer than all the rest."""
    return typing.get_type_hints(cls)


def make_params(cls: type[Any] | None, given: Mapping[str, Any], owner: str) -> Any:
    """Build a parameter dataclass from names and values, converting strings to the fields' types.

    Args:
        cls: a dataclass whose fields all have defaults, or None for no parameters.
        given: value by name; strings are converted, anything else is type-checked.
        owner: who the parameters are for, in error messages.

    Raises:
        UserError: an unknown name, or a value of the wrong type or (ValueError from the dataclass) out of range.
    """
    if cls is None:
        if given:
            raise UserError(f"{owner} takes no parameter {next(iter(given))!r}")
        return None
    hints = _hints(cls)  # type: ignore[arg-type]  # classes can be hashed, which mypy doubts of type[Any]
    fields = {f.name for f in dataclasses.fields(cls)}
    values = {}
    for name, value in given.items():
        if name not in fields:
            raise UserError(f"{owner} has no parameter {name!r}; it has {', '.join(sorted(fields)) or 'none'}")
        values[name] = _convert(value, hints[name], f"{owner}: {name}")
    try:
        return cls(**values)
    except ValueError as error:
        raise UserError(f"{owner}: {error}") from None
    except OverflowError:
        told = ", ".join(f"{name}={value!r}" for name, value in values.items())
        raise UserError(f"{owner}: nothing can be computed with {told}") from None


def _convert(value: Any, hint: Any, where: str) -> Any:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        options = typing.get_args(hint)
        if value is None and type(None) in options:
            return None
        errors: list[UserError] = []
        for option in sorted(options, key=_conversion_order):
            if option is type(None):
                continue
            try:
                return _convert(value, option, where)
            except UserError as error:
                errors.append(error)
        raise errors[0]
    if typing.get_origin(hint) is typing.Literal:
        allowed = typing.get_args(hint)
        if value in allowed:
            return value
        raise UserError(f"{where}={value!r} must be one of {', '.join(map(str, allowed))}")
    if hint is bool:
        if isinstance(value, bool):
            return value
        text = str(value).lower()
        if text in ("true", "yes", "on", "1"):
            return True
        if text in ("false", "no", "off", "0"):
            return False
        raise UserError(f"{where}={value!r} must be true or false")
    if hint in (int, float):
        try:
            plain = isinstance(value, (int, float)) and not isinstance(value, bool)
            if hint is float:
                number = float(value)
            elif plain and value == int(value):
                number = int(value)
            else:
                number = int(str(value))
        except (TypeError, ValueError, OverflowError):  # a log's header may hold anything
            raise UserError(f"{where}={value!r} is not a {'number' if hint is float else 'whole number'}") from None
        if number != number:
            raise UserError(f"{where}={value!r} is not a number")
        if hint is int and not -(2**63) <= number < 2**63:  # no log could hold it
            raise UserError(f"{where}={value!r} is too large")
        return number
    if hint is str:
        return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return value


def _conversion_order(option: Any) -> int:
    return [type(None), bool, int, float, str].index(option) if option in (type(None), bool, int, float, str) else 9
