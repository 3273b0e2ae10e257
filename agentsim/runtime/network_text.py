"""How networks are written: names in quotes, latency models, and modifiers that name agents and times."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from agentsim.errors import UserError

MAX_LEVELS: Final = 12
"""Levels of `priority`: messages of the highest then take some four million times as long as those of the lowest."""
_MAX_COUNT: Final = 1e9
_SPECIAL: Final = ':,+|@*=>"'
_MODIFIERS: Final = ("loss", "duplicate", "reorder", "partition", "crash", "slow", "hold", "late", "reliable")


def split_names(text: str, separator: str) -> list[str]:
    """Split at a separator, except inside double quotes; quotes are kept for `unquote`."""
    parts, current, quoted = [], "", False
    for char in text:
        if char == '"':
            quoted = not quoted
        if char == separator and not quoted:
            parts.append(current)
            current = ""
        else:
            current += char
    if quoted:
        raise UserError(f"{text}: a double quote is not closed")
    return [*parts, current]


def unquote(text: str) -> str:
    """Return a name without its double quotes."""
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return text[1:-1]
    return text


def quote(name: str) -> str:
    """Return a name as it is written in networks, views and options."""
    return f'"{name}"' if any(c in _SPECIAL for c in name) or name != name.strip() else name


class Partition(NamedTuple):
    """Two groups of agents that cannot reach each other from `start` until `end`."""

    left: frozenset[str]
    right: frozenset[str]
    start: float
    end: float

    def cuts(self, a: str, b: str, time: float) -> bool:
        """Tell whether a message from a to b at `time` is lost."""
        if not self.start <= time < self.end:
            return False
        return (a in self.left and b in self.right) or (a in self.right and b in self.left)


class Crash(NamedTuple):
    """An agent that is down from `start` until `end` (infinite: for good)."""

    agent: str
    start: float
    end: float


class Hold(NamedTuple):
    """What would arrive from one agent at another (None: any) from `start` until `end` arrives at `end`."""

    src: str | None
    dst: str | None
    start: float
    end: float

    def concerns(self, src: str, dst: str) -> bool:
        """Tell whether messages from src to dst are held."""
        return self.src in (None, src) and self.dst in (None, dst)


class Late(NamedTuple):
    """The `number`-th message from one agent to another takes `takes` instead of what was drawn."""

    src: str
    dst: str
    number: int
    takes: float


def parse_network(spec: str, agents: Iterable[str]) -> dict[str, Any]:
    """Return the fields of the network that a text describes.

    Raises:
        UserError: naming the part at fault, or an agent that does not exist.
    """
    known = set(agents)
    first, *modifiers = split_names(spec, "+")
    found: dict[str, Any] = dict(zip(("model", "low", "high"), _model(first), strict=True))
    partitions: list[Partition] = []
    crashes: list[Crash] = []
    holds: list[Hold] = []
    lates: dict[tuple[str, str, int], Late] = {}
    slow: dict[str, float] = {}
    for part in modifiers:
        name, *rest = split_names(part, ":")
        text = ":".join(rest)
        name = name.strip()
        if name in ("loss", "duplicate"):
            found[name] = _number(part, text, 0.0, 1.0)
        elif name in ("reorder", "reliable"):
            if text:
                raise UserError(f"network {_shown(part)}: {name} takes no number")
            found[name] = True
        elif name == "partition":
            partitions.append(_partition(part, text, known))
        elif name == "crash":
            crashes.append(_crash(part, text, known))
        elif name == "slow":
            who, factor = _split(part, text, "*")
            slow[_known(part, who, known)] = _number(part, factor, 0.0, math.inf)
        elif name == "hold":
            holds.append(_hold(part, text, known))
        elif name == "late":
            late = _late(part, text, known)
            if late[:3] in lates:
                raise UserError(f"network {_shown(part)}: that message is late already")
            lates[late[:3]] = late
        else:
            raise UserError(
                f"network {_shown(part)}: unknown modifier; known are {', '.join(_MODIFIERS[:-1])} and {_MODIFIERS[-1]}"
            )
    return {
        **found,
        "partitions": tuple(partitions),
        "crashes": tuple(crashes),
        "holds": tuple(holds),
        "lates": tuple(lates.values()),
        "slow": slow,
    }


def _model(text: str) -> tuple[str, float, float]:
    name, _, numbers = text.strip().partition(":")
    parts = numbers.split(",") if numbers else []
    if name == "unit" and not parts:
        return "constant", 1.0, 0.0
    if name == "constant" and len(parts) == 1:
        return "constant", _number(text, parts[0], 0.0, math.inf), 0.0
    if name == "uniform" and len(parts) == 2:
        low, high = _number(text, parts[0], 0.0, math.inf), _number(text, parts[1], 0.0, math.inf)
        if low > high:
            raise UserError(f"network {_shown(text)}: {parts[0]} is greater than {parts[1]}")
        return "uniform", low, high
    if name == "exponential" and len(parts) == 1:
        return "exponential", _number(text, parts[0], 0.0, math.inf), 0.0
    if name == "lognormal" and len(parts) == 2:
        return "lognormal", _number(text, parts[0], -50.0, 50.0), _number(text, parts[1], 0.0, 10.0)
    if name == "priority" and len(parts) in (1, 2):
        stay = _number(text, parts[1], 1.0, _MAX_COUNT) if len(parts) == 2 else 10.0
        return "priority", _whole(text, parts[0], MAX_LEVELS), stay
    if name == "burst" and len(parts) == 1:
        return "burst", _number(text, parts[0], 1e-3, 1e9), 0.0
    raise UserError(
        f"network {_shown(text)}: must start with unit, constant:S, uniform:LO,HI, exponential:MEAN, "
        "lognormal:MU,SIGMA, priority:LEVELS[,STAY] or burst:PERIOD"
    )


def _shown(part: str) -> str:
    return part if part.isprintable() else repr(part)


def _number(part: str, text: str, low: float, high: float) -> float:
    try:
        value = float(text)
    except ValueError:
        raise UserError(f"network {_shown(part)}: {text!r} is not a number") from None
    if not low <= value <= high or value == math.inf:
        raise UserError(f"network {_shown(part)}: {text} is out of range")
    return value


def _whole(part: str, text: str, high: float) -> int:
    value = _number(part, text, 1, high)
    if value != int(value):
        raise UserError(f"network {_shown(part)}: {text} is not a whole number")
    return int(value)


def _split(part: str, text: str, separator: str) -> tuple[str, str]:
    pieces = split_names(text, separator)
    if len(pieces) != 2:
        raise UserError(f"network {_shown(part)}: expected one {separator!r}")
    return pieces[0], pieces[1]


def _known(part: str, name: str, known: set[str]) -> str:
    name = unquote(name)
    if name not in known:
        raise UserError(f"network {_shown(part)}: no agent is called {name!r}")
    return name


def _times(part: str, text: str) -> tuple[float, float]:
    first, dash, second = text.partition("-")
    start = _number(part, first, 0.0, math.inf)
    if not dash:
        return start, math.inf
    end = _number(part, second, 0.0, math.inf)
    if end <= start:
        raise UserError(f"network {_shown(part)}: {text} ends before it starts")
    return start, end


def _partition(part: str, text: str, known: set[str]) -> Partition:
    who, when = _split(part, text, "@")
    left, right = _split(part, who, "|")
    start, end = _times(part, when)
    groups = [frozenset(_known(part, n, known) for n in split_names(side, ",")) for side in (left, right)]
    return Partition(groups[0], groups[1], start, end)


def _crash(part: str, text: str, known: set[str]) -> Crash:
    who, when = _split(part, text, "@")
    start, end = _times(part, when)
    return Crash(_known(part, who, known), start, end)


def _hold(part: str, text: str, known: set[str]) -> Hold:
    who, when = _split(part, text, "@")
    src, dst = (None if n.strip() == "*" else _known(part, n, known) for n in _split(part, who, ">"))
    start, end = _times(part, when)
    if end == math.inf:
        raise UserError(f"network {_shown(part)}: {when} has no end; what is held must arrive")
    return Hold(src, dst, start, end)


def _late(part: str, text: str, known: set[str]) -> Late:
    who, which = _split(part, text, "@")
    src, dst = (_known(part, n, known) for n in _split(part, who, ">"))
    number, takes = _split(part, which, "*")
    return Late(src, dst, _whole(part, number, _MAX_COUNT), _number(part, takes, 0.0, math.inf))
