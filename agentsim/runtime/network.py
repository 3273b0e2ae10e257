"""Networks: how long a message takes, and what goes wrong on the way.

A network is written as a latency model and modifiers joined by `+`: `uniform:1,10+loss:.1+reliable`.

Latency: `unit` (every message takes 1), `constant:S`, `uniform:LO,HI`, `exponential:MEAN`, `lognormal:MU,SIGMA`.
Modifiers: `loss:P`, `duplicate:P`, `reorder` (drops the FIFO promise), `partition:A,B|C@T1-T2` (agents not named stay
connected to all), `crash:NAME@T`, `crash:NAME@T1-T2` (restarts at T2), `slow:NAME*F` (what NAME sends takes F times as
long) and `reliable`. Names that hold any of `:,+|@*=` are quoted with double quotes.

`reliable` puts acknowledgement, retransmission and resequencing under the algorithm. What happens to each packet of an
ordered pair is drawn when it is sent: attempts follow at doubling intervals until an acknowledgement has come back or
`MAX_ATTEMPTS` have gone; the first attempt that arrives is delivered, after everything sent before it on the same pair.
This gives the same deliveries as exchanging the packets one by one, since nothing else depends on them.

Messages between two nodes of one agent are not on the network: they take `local_delay` and nothing goes wrong.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from agentsim.errors import UserError
from agentsim.runtime.streams import Stream

MAX_ATTEMPTS: Final = 40
_SPECIAL: Final = ':,+|@*=>"'


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


def _shown(part: str) -> str:
    return part if part.isprintable() else repr(part)


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


@dataclass(slots=True)
class Fate:
    """What happened to a packet other than being delivered: (kind, time, copy, reason)."""

    kind: str
    time: float
    copy: int
    reason: str


class Transmission(NamedTuple):
    """What the network does with one message: when copies arrive, and what else befell it."""

    arrivals: tuple[tuple[float, int], ...]
    fates: tuple[Fate, ...] = ()


@dataclass(slots=True)
class Channel:
    """State of one ordered pair of nodes: its random streams, latencies drawn ahead, the latest arrival for FIFO."""

    latency: Stream
    faults: Stream
    factor: float
    delays: list[float] = field(default_factory=list)
    last: float = 0.0


@dataclass(frozen=True)
class Network:
    """A parsed network specification; `Network.parse` makes one.

    Args:
        spec: the text it was parsed from.
        model: "constant", "uniform", "exponential" or "lognormal".
        low: the first number of the model (S, LO, MEAN or MU).
        high: the second (HI or SIGMA).
    """

    spec: str
    model: str = "constant"
    low: float = 1.0
    high: float = 0.0
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: bool = False
    reliable: bool = False
    partitions: tuple[Partition, ...] = ()
    crashes: tuple[Crash, ...] = ()
    slow: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def parse(cls, spec: str, agents: Iterable[str] = ()) -> Network:
        """Parse a specification; UserError naming the part at fault, or an agent that does not exist."""
        known = set(agents)
        first, *modifiers = split_names(spec, "+")
        settings: dict[str, Any] = dict(zip(("model", "low", "high"), _parse_model(first), strict=True))
        partitions: list[Partition] = []
        crashes: list[Crash] = []
        slow: dict[str, float] = {}
        for part in modifiers:
            name, *rest = split_names(part, ":")
            text = ":".join(rest)
            name = name.strip()
            if name in ("loss", "duplicate"):
                settings[name] = _number(part, text, 0.0, 1.0)
            elif name in ("reorder", "reliable"):
                if text:
                    raise UserError(f"network {_shown(part)}: {name} takes no number")
                settings[name] = True
            elif name == "partition":
                partitions.append(_parse_partition(part, text, known))
            elif name == "crash":
                crashes.append(_parse_crash(part, text, known))
            elif name == "slow":
                who, factor = _split(part, text, "*")
                slow[_known(part, who, known)] = _number(part, factor, 0.0, math.inf)
            else:
                raise UserError(
                    f"network {_shown(part)}: unknown modifier; "
                    "known are loss, duplicate, reorder, partition, crash, slow and reliable"
                )
        return cls(spec=spec, partitions=tuple(partitions), crashes=tuple(crashes), slow=slow, **settings)

    @property
    def constant(self) -> float | None:
        """The latency when it is the same for all and nothing goes wrong, else None."""
        return self.low if self.model == "constant" and self.plain else None

    @property
    def plain(self) -> bool:
        """Whether there is nothing but latency."""
        return not (
            self.loss or self.duplicate or self.reorder or self.reliable or self.partitions or self.crashes or self.slow
        )

    @property
    def mean(self) -> float:
        """Mean latency."""
        if self.model == "uniform":
            return (self.low + self.high) / 2
        if self.model == "lognormal":
            return math.exp(self.low + self.high**2 / 2)
        return self.low

    @property
    def local_delay(self) -> float:
        """How long a message between two nodes of one agent takes: the shortest latency, or 1 without one."""
        return self.low if self.model in ("constant", "uniform") else min(1.0, self.mean)

    def channel(self, seed: int, src: str, dst: str, agent: str) -> Channel:
        """Return the state of the pair (src, dst), whose sender belongs to `agent`."""
        return Channel(
            Stream(seed, "network", src, dst),
            Stream(seed, "faults", src, dst),
            self.slow.get(agent, 1.0),
        )

    def latency(self, channel: Channel) -> float:
        """Draw one latency, and a few more ahead into `channel.delays`."""
        if channel.delays:
            return channel.delays.pop()
        stream, factor = channel.latency, channel.factor
        if self.model == "constant":
            return self.low * factor
        if self.model == "uniform":
            low, width = self.low * factor, (self.high - self.low) * factor
            drawn = [low + width * u for u in stream.block()]
        elif self.model == "exponential":
            drawn = [stream.exponential(self.low) * factor for _ in range(8)]
        else:
            drawn = [math.exp(self.low + self.high * stream.normal()) * factor for _ in range(8)]
        channel.delays = drawn
        return drawn.pop()

    def transmit(self, channel: Channel, sent_at: float, from_agent: str, to_agent: str) -> Transmission:
        """Decide what happens to a message sent at `sent_at`."""
        if self.reliable:
            return self._transmit_reliably(channel, sent_at, from_agent, to_agent)
        due = sent_at + self.latency(channel)
        reason = self._lost(channel, sent_at, due, from_agent, to_agent)
        if reason:
            return Transmission((), (Fate("dropped", due, 0, reason),))
        if not self.reorder:
            due = channel.last = max(due, channel.last)
        if not self.duplicate or channel.faults.random() >= self.duplicate:
            return Transmission(((due, 0),))
        again = due + self.latency(channel)
        if not self.reorder:
            channel.last = max(again, channel.last)
        return Transmission(((due, 0), (again, 1)), (Fate("duplicated", again, 1, "network"),))

    def _lost(self, channel: Channel, sent: float, due: float, from_agent: str, to_agent: str) -> str:
        """Return why a packet is lost, or ""."""
        if self.loss and channel.faults.random() < self.loss:
            return "loss"
        if any(p.cuts(from_agent, to_agent, sent) for p in self.partitions):
            return "partition"
        for crash in self.crashes:
            if crash.agent == to_agent and crash.start <= due < crash.end:
                return "crash"
        return ""

    def _transmit_reliably(self, channel: Channel, sent_at: float, from_agent: str, to_agent: str) -> Transmission:
        fates: list[Fate] = []
        attempt_at, interval = sent_at, 4.0 * max(self.mean * channel.factor, 1e-9)
        arrival, acknowledged = math.inf, math.inf
        for attempt in range(MAX_ATTEMPTS):
            if acknowledged <= attempt_at or any(
                c.agent == from_agent and c.start <= attempt_at < c.end for c in self.crashes
            ):
                break
            if attempt:
                fates.append(Fate("retransmitted", attempt_at, attempt, "reliable"))
            copies = 2 if self.duplicate and channel.faults.random() < self.duplicate else 1
            for _ in range(copies):
                due = attempt_at + self.latency(channel)
                reason = self._lost(channel, attempt_at, due, from_agent, to_agent)
                if reason:
                    fates.append(Fate("packet lost", due, attempt, reason))
                    continue
                arrival = min(arrival, due)
                back = due + self.latency(channel)
                if not (self.loss and channel.faults.random() < self.loss) and not any(
                    p.cuts(to_agent, from_agent, due) for p in self.partitions
                ):
                    fates.append(Fate("acknowledged", back, attempt, "reliable"))
                    acknowledged = min(acknowledged, back)
            attempt_at += interval
            interval = min(interval * 2, 64.0 * max(self.mean * channel.factor, 1e-9))
        if arrival == math.inf:
            fates.append(Fate("given up", attempt_at, 0, f"reliable: {MAX_ATTEMPTS} attempts"))
            return Transmission((), tuple(fates))
        due = channel.last = max(arrival, channel.last)
        return Transmission(((due, 0),), tuple(fates))


def _parse_model(text: str) -> tuple[str, float, float]:
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
    raise UserError(
        f"network {_shown(text)}: must start with unit, constant:S, uniform:LO,HI, exponential:MEAN "
        "or lognormal:MU,SIGMA"
    )


def _number(part: str, text: str, low: float, high: float) -> float:
    try:
        value = float(text)
    except ValueError:
        raise UserError(f"network {_shown(part)}: {text!r} is not a number") from None
    if not low <= value <= high or value == math.inf:
        raise UserError(f"network {_shown(part)}: {text} is out of range")
    return value


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


def _parse_partition(part: str, text: str, known: set[str]) -> Partition:
    who, when = _split(part, text, "@")
    left, right = _split(part, who, "|")
    start, end = _times(part, when)
    groups = [frozenset(_known(part, n, known) for n in split_names(side, ",")) for side in (left, right)]
    return Partition(groups[0], groups[1], start, end)


def _parse_crash(part: str, text: str, known: set[str]) -> Crash:
    who, when = _split(part, text, "@")
    start, end = _times(part, when)
    return Crash(_known(part, who, known), start, end)
