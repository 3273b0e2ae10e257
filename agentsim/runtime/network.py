"""Networks: how long a message takes, and what goes wrong on the way.

A network is written as a latency model and modifiers joined by `+`: `uniform:1,10+loss:.1+reliable`.

Latency: `unit` (every message takes 1), `constant:S`, `uniform:LO,HI`, `exponential:MEAN`, `lognormal:MU,SIGMA`, and
two that make rare orders of events common: `priority:LEVELS[,STAY]` (each ordered pair of nodes draws a level from 0
to LEVELS - 1 and keeps it for a random number of packets, STAY on average, 10 if not given; a packet takes `4**level`
times a draw between 1 and 2) and `burst:PERIOD` (what is sent to an agent arrives in bursts: at its next multiple of
PERIOD that is at least 1 later; each agent has a phase of its own).

Modifiers: `loss:P`, `duplicate:P`, `reorder` (drops the FIFO promise), `partition:A,B|C@T1-T2` (agents not named stay
connected to all), `crash:NAME@T`, `crash:NAME@T1-T2` (restarts at T2), `slow:NAME*F` (what NAME sends takes F times as
long), `hold:A>B@T1-T2` (what would arrive from A at B within that time arrives at T2; A or B may be `*`, any agent),
`late:A>B@N*T` (the N-th message from A to B, counted from 1, takes T) and `reliable`. Names that hold any of
`:,+|@*=>` are quoted with double quotes.

`reliable` puts acknowledgement, retransmission and resequencing under the algorithm. What happens to each packet of an
ordered pair is drawn when it is sent: attempts follow at doubling intervals until an acknowledgement has come back or
`MAX_ATTEMPTS` have gone, not counting those that met a partition or a crash which passes; an agent that is down makes
its attempts when it is back. The first attempt that arrives is delivered, after everything sent before it on the same
pair. This gives the same deliveries as exchanging the packets one by one, since nothing else depends on them. An agent
that crashes and restarts recovers its state from its journal.

Messages between two nodes of one agent are not on the network: they take `local_delay` and nothing goes wrong.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from agentsim.runtime.network_text import (
    Crash,
    Hold,
    Late,
    Partition,
    parse_network,
    quote,
    split_names,
    unquote,
)
from agentsim.runtime.streams import Stream

MAX_ATTEMPTS: Final = 40
_LONGEST_INTERVAL: Final = 64.0
"""The longest between two attempts, in mean latencies, except after `_PATIENT_ATTEMPTS`."""
_PATIENT_ATTEMPTS: Final = 20
"""After so many attempts those that meet a partition or a crash double the interval without bound, so any passes."""
_EXACT: Final = 2.0**52


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


class Way(NamedTuple):
    """One direction between two agents: when arrivals are held, by start, and the phase of the receiver's bursts."""

    holds: tuple[tuple[float, float], ...]
    phase: float


_OPEN: Final = Way((), 0.0)


@dataclass(slots=True)
class Lateness:
    """How many messages went from one agent to another, and how long some of them take, by number."""

    takes: Mapping[int, float]
    sent: int = 0

    def next(self) -> float | None:
        """Count a message; return how long it takes, None if as long as is drawn."""
        self.sent += 1
        return self.takes.get(self.sent)


@dataclass(slots=True)
class Channel:
    """State of one ordered pair of nodes: its random streams, latencies drawn ahead, the latest arrival for FIFO.

    `level` and `stays` belong to `priority`: the level now, and for how many packets more. `late` is shared by all
    pairs of nodes of two agents; whoever keeps channels sees to that.
    """

    latency: Stream
    faults: Stream
    factor: float
    there: Way
    back: Way
    late: Lateness | None = None
    delays: list[float] = field(default_factory=list)
    last: float = 0.0
    level: int = 0
    stays: int = 0


@dataclass(frozen=True)
class Network:
    """A parsed network specification; `Network.parse` makes one.

    Args:
        spec: the text it was parsed from.
        model: "constant", "uniform", "exponential", "lognormal", "priority" or "burst".
        low: the first number of the model (S, LO, MEAN, MU, LEVELS or PERIOD).
        high: the second (HI, SIGMA or STAY).
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
    holds: tuple[Hold, ...] = ()
    lates: tuple[Late, ...] = ()
    slow: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def parse(cls, spec: str, agents: Iterable[str] = ()) -> Network:
        """Parse a specification; UserError naming the part at fault, or an agent that does not exist."""
        return cls(spec=spec, **parse_network(spec, agents))

    @property
    def constant(self) -> float | None:
        """The latency when it is the same for all and nothing goes wrong, else None."""
        return self.low if self.model == "constant" and self.plain else None

    @property
    def plain(self) -> bool:
        """Whether there is nothing but latency, and that the same at all times."""
        faults = self.loss or self.duplicate or self.reorder or self.reliable or self.partitions or self.crashes
        return not (faults or self.slow or self.holds or self.lates or self.model == "burst")

    @property
    def recovering(self) -> frozenset[str]:
        """Agents that crash, restart and then recover their state."""
        return frozenset(c.agent for c in self.crashes if c.end < math.inf) if self.reliable else frozenset()

    @property
    def mean(self) -> float:
        """Mean latency."""
        if self.model == "uniform":
            return (self.low + self.high) / 2
        if self.model == "lognormal":
            return math.exp(self.low + self.high**2 / 2)
        if self.model == "priority":
            return (math.pow(4.0, self.low) - 1) / (2 * self.low)
        if self.model == "burst":
            return 1.0 + self.low / 2
        return self.low

    @property
    def local_delay(self) -> float:
        """How long a message between two nodes of one agent takes: the shortest latency, or 1 without one."""
        return self.low if self.model in ("constant", "uniform") else min(1.0, self.mean)

    def channel(self, seed: int, src: str, dst: str, agent: str, to_agent: str = "") -> Channel:
        """Return the state of the pair (src, dst), whose sender belongs to `agent` and whose receiver to `to_agent`."""
        takes = {late.number: late.takes for late in self.lates if (late.src, late.dst) == (agent, to_agent)}
        return Channel(
            Stream(seed, "network", src, dst),
            Stream(seed, "faults", src, dst),
            self.slow.get(agent, 1.0),
            self._way(seed, agent, to_agent),
            self._way(seed, to_agent, agent),
            Lateness(takes) if takes else None,
        )

    def _way(self, seed: int, src: str, dst: str) -> Way:
        if not self.holds and self.model != "burst":
            return _OPEN
        holds = sorted((h.start, h.end) for h in self.holds if h.concerns(src, dst))
        phase = Stream(seed, "burst", dst).random() * self.low if self.model == "burst" else 0.0
        return Way(tuple(holds), phase)

    def latency(self, channel: Channel) -> float:
        """Draw one latency, and a few more ahead into `channel.delays`; not for `burst`, which draws none."""
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
        elif self.model == "priority":
            drawn = [self._prioritised(channel) * factor for _ in range(8)]
            drawn.reverse()  # they are taken from the end, and levels are to follow each other
        else:
            drawn = [math.exp(self.low + self.high * stream.normal()) * factor for _ in range(8)]
        channel.delays = drawn
        return drawn.pop()

    def _prioritised(self, channel: Channel) -> float:
        """Draw one latency of `priority`; a level stays for a geometric number of packets."""
        stream = channel.latency
        if channel.stays == 0:
            channel.level = stream.integer(int(self.low))
            u = stream.random()
            channel.stays = 1 + (int(math.log1p(-u) / math.log1p(-1.0 / self.high)) if self.high > 1 else 0)
        channel.stays -= 1
        return 4.0**channel.level * (1.0 + stream.random())

    def _arrival(self, channel: Channel, way: Way, sent_at: float, takes: float | None = None) -> float:
        """Return when a packet sent at `sent_at` would arrive if nothing goes wrong."""
        if self.model == "burst":
            due = self._next_burst(sent_at + channel.factor, way.phase)
        else:
            due = sent_at + self.latency(channel)
        if takes is not None:
            due = sent_at + takes
        for start, end in way.holds:
            if start <= due < end:
                due = end
        return due

    def _next_burst(self, earliest: float, phase: float) -> float:
        count = math.ceil((earliest - phase) / self.low) if earliest < _EXACT * self.low else 0
        due = phase + count * self.low
        if due < earliest and count:
            due = phase + (count + 1) * self.low
        return max(due, earliest)

    def transmit(self, channel: Channel, sent_at: float, from_agent: str, to_agent: str) -> Transmission:
        """Decide what happens to a message sent at `sent_at`."""
        takes = channel.late.next() if channel.late is not None else None
        if self.reliable:
            return self._transmit_reliably(channel, sent_at, from_agent, to_agent, takes)
        due = self._arrival(channel, channel.there, sent_at, takes)
        reason, _ = self._lost(channel, sent_at, due, from_agent, to_agent)
        if reason:
            return Transmission((), (Fate("dropped", due, 0, reason),))
        if not self.reorder:
            due = channel.last = max(due, channel.last)
        if not self.duplicate or channel.faults.random() >= self.duplicate:
            return Transmission(((due, 0),))
        again = self._arrival(channel, channel.there, due)
        if not self.reorder:
            channel.last = max(again, channel.last)
        return Transmission(((due, 0), (again, 1)), (Fate("duplicated", again, 1, "network"),))

    def _lost(self, channel: Channel, sent: float, due: float, from_agent: str, to_agent: str) -> tuple[str, float]:
        """Return why a packet is lost, or "", and when the partition or crash in its way, if any, is over."""
        reason, over = "", sent
        for partition in self.partitions:
            if partition.cuts(from_agent, to_agent, sent):
                reason, over = "partition", partition.end
                break
        back = self.up_again(to_agent, due)
        if not reason and back > due:
            reason, over = "crash", back
        return ("loss" if self.loss and channel.faults.random() < self.loss else reason), over

    def up_again(self, agent: str, time: float) -> float:
        """Return when an agent is next up, from `time` on: infinite if it has crashed for good."""
        for crash in sorted(self.crashes, key=lambda c: c.start) if self.crashes else ():
            if crash.agent == agent and crash.start <= time < crash.end:
                time = crash.end
        return time

    def _transmit_reliably(
        self, channel: Channel, sent_at: float, from_agent: str, to_agent: str, takes: float | None
    ) -> Transmission:
        fates: list[Fate] = []
        unit = max(self.mean * channel.factor, 1e-9)
        attempt_at, interval = sent_at, 4.0 * unit
        arrival, acknowledged = math.inf, math.inf
        attempt = counted = 0
        while counted < MAX_ATTEMPTS:
            up = self.up_again(from_agent, attempt_at)
            if acknowledged <= up or up == math.inf:
                break
            attempt_at = up
            if attempt:
                fates.append(Fate("retransmitted", attempt_at, attempt, "reliable"))
            in_vain = False
            copies = 2 if self.duplicate and channel.faults.random() < self.duplicate else 1
            for _ in range(copies):
                due = self._arrival(channel, channel.there, attempt_at, takes)
                reason, over = self._lost(channel, attempt_at, due, from_agent, to_agent)
                if reason:
                    fates.append(Fate("packet lost", due, attempt, reason))
                    in_vain = in_vain or attempt_at < over < math.inf
                    continue
                arrival = min(arrival, due)
                back = self._arrival(channel, channel.back, due)
                if (
                    not (self.loss and channel.faults.random() < self.loss)
                    and not any(p.cuts(to_agent, from_agent, due) for p in self.partitions)
                    and self.up_again(from_agent, back) == back
                ):
                    fates.append(Fate("acknowledged", back, attempt, "reliable"))
                    acknowledged = min(acknowledged, back)
            attempt += 1
            counted += not in_vain
            attempt_at += interval
            interval *= 2
            if not in_vain or attempt < _PATIENT_ATTEMPTS:
                interval = min(interval, _LONGEST_INTERVAL * unit)
        if arrival == math.inf:
            ended = min(attempt_at, sys.float_info.max)
            fates.append(Fate("given up", ended, 0, f"reliable: {attempt} attempts"))
            return Transmission((), tuple(fates))
        due = channel.last = max(arrival, channel.last)
        return Transmission(((due, 0),), tuple(fates))


__all__ = [
    "MAX_ATTEMPTS",
    "Channel",
    "Crash",
    "Fate",
    "Hold",
    "Late",
    "Network",
    "Partition",
    "Transmission",
    "quote",
    "split_names",
    "unquote",
]
