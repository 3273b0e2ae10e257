"""The axes of a sweep: seeds, runs, networks, observers, limits, and grids of parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any, Final

from agentsim.errors import UserError
from agentsim.runtime import registry
from agentsim.runtime.network import Network, split_names
from agentsim.runtime.simulate import parse_observer
from scenarios.sweeps.document import Placed, Scalar, Section, amount, fail, scalar, shown, text_of, unknown, whole

MAX_CELLS: Final = 2_000_000
"""The most cells of one sweep."""
MAX_SEED: Final = 2**63 - 1
LIMITS: Final = ("timeout", "max-messages", "max-time")

_SPAN: Final = re.compile(r"\s*([0-9]{1,19})\s*\.\.\s*([0-9]{1,19})\s*")
_MAX_RUNS: Final = 1_000_000


@dataclass(frozen=True)
class Limits:
    """When a cell is stopped.

    Args:
        timeout: wall seconds of a run.
        max_messages: deliveries of a run.
        max_time: virtual time of a run.
    """

    timeout: float | None = None
    max_messages: int | None = None
    max_time: float | None = None


@dataclass(frozen=True)
class Watch:
    """Observers that are attached to a run together, as written, and where they stand in the spec."""

    specs: tuple[str, ...]
    where: str


def seeds(value: object, where: str) -> Sequence[int]:
    """Return seeds: 20 is 0 to 19, "5..9" is 5 to 9, and a list is what it says; UserError for anything else."""
    if isinstance(value, list):
        if not value:
            fail(where, "is empty")
        return tuple(whole(seed, where, 0, MAX_SEED) for seed in value)
    if isinstance(value, str):
        span = _SPAN.fullmatch(value)
        if span is None:
            fail(where, f'{shown(value)} must be a count, "FIRST..LAST" or a list of seeds')
        first, last = (whole(text, where, 0, MAX_SEED) for text in span.groups())
        if first > last:
            fail(where, f"{shown(value)} is empty")
        return range(first, last + 1)
    return range(whole(value, where, 1, MAX_SEED))


def runs(value: object, where: str) -> Sequence[int]:
    """Return the numbers of the runs of each problem; UserError unless it is a count."""
    return range(whole(value, where, 1, _MAX_RUNS))


def networks(value: object, where: str) -> tuple[Placed, ...]:
    """Return networks: one, or a list of them; UserError for what is none.

    Names of agents are not known yet: a network that has some is checked with the first problem.
    """
    texts = value if isinstance(value, list) else [value]
    if not texts:
        fail(where, "is empty")
    found = []
    for i, text in enumerate(texts, start=1):
        place = f"{where}[{i}]" if isinstance(value, list) else where
        network = text_of(text, place).strip()
        if not {"@", "*"} & set(network):
            try:
                Network.parse(network)
            except UserError as error:
                fail(place, str(error).removeprefix("network "))
        found.append(Placed(network, place))
    return tuple(found)


def watches(value: object, where: str) -> tuple[Watch, ...]:
    """Return sets of observers: of a list of texts the one set, of a list of lists each; UserError for what is none."""
    if isinstance(value, list) and any(isinstance(item, list) for item in value):
        return tuple(watch(item, f"{where}[{i}]") for i, item in enumerate(value, start=1))
    return (watch(value, where),)


def watch(value: object, where: str) -> Watch:
    """Return observers that are attached together: a text, or a list of them; UserError for what is none."""
    specs = []
    for i, item in enumerate(value if isinstance(value, list) else [value], start=1):
        place = f"{where}[{i}]" if isinstance(value, list) else where
        text = text_of(item, place).strip()
        specs.append(text)
        try:
            name = split_names(text, ":")[0]
            if name not in registry.names("observers"):
                unknown(place, name, registry.names("observers"), f"no observer is called {shown(name)}")
            parse_observer(text)
        except UserError as error:
            if str(error).startswith(place):
                raise
            fail(place, str(error))
    return Watch(tuple(specs), where)


def limits(section: Section, default: Limits | None = None) -> Limits:
    """Return the limits that a table names, the others as they are by default; UserError for what makes no sense."""
    given = default or Limits()
    timeout, messages, time = (section.get(key) for key in LIMITS)
    return Limits(
        given.timeout if timeout is None else amount(timeout, section.of("timeout")),
        given.max_messages if messages is None else whole(messages, section.of("max-messages"), 1, MAX_SEED),
        given.max_time if time is None else amount(time, section.of("max-time")),
    )


def grid(value: object, where: str, *, lists: bool = True) -> list[dict[str, Any]]:
    """Return every combination of parameters: where a list stands, each of its values is one of the choices.

    A list in a list is one value, for parameters that are lists themselves.

    Args:
        value: a table of parameters; None is none of them.
        where: its place.
        lists: whether lists are allowed.

    Raises:
        UserError: no table, an empty list, a value that is no parameter's, or too many combinations.
    """
    if value is None:
        return [{}]
    if not isinstance(value, Mapping):
        fail(where, f"must be a table, not {shown(value)}")
    choices: dict[str, list[Any]] = {}
    for key in value:
        place = f"{where}.{key}" if len(key) <= 60 and key.isprintable() else f"{where}.{shown(key)}"
        given = value[key]
        if isinstance(given, list) and not lists:
            fail(place, "must be one value here; lists multiply under [[problem]] and [[solver]]")
        if isinstance(given, list) and not given:
            fail(place, "is empty")
        choices[key] = [_value(item, place) for item in given] if isinstance(given, list) else [scalar(given, place)]
    combinations = prod(map(len, choices.values()))
    if combinations > MAX_CELLS:
        fail(where, f"{combinations:,} combinations, more than {MAX_CELLS:,}")
    return [dict(zip(choices, values, strict=True)) for values in product(*choices.values())]


def _value(item: object, where: str) -> Scalar | list[Scalar]:
    return [scalar(part, where) for part in item] if isinstance(item, list) else scalar(item, where)
