"""The router: what happens to messages between sending and delivery.

It decides when each message arrives (the network's latency, FIFO per ordered pair), what goes wrong with it, and asks
the interceptors. Routing happens when an instant closes, in the order of (sender's index, send number), so that
random draws and interceptors see the same order whatever task ran first.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heapify, heappush
from typing import Any, Final

from agentsim.errors import RunError
from agentsim.record.log import FATES_OF_MESSAGES, LogWriter
from agentsim.runtime.messages import Envelope, MessageError, MessageSpec, pack
from agentsim.runtime.network import Channel, Fate, Lateness, Network
from agentsim.runtime.port import Host, Port

_MAX_REPORTED: Final = 1000

Entry = tuple[int, int, int, float, Port, Port, MessageSpec, int, bytes]
"""A message on its way: (sender's index, send number, copy, sent_at, src, dst, type, stamp, payload)."""


class InterceptorFailure(RunError):
    """An interceptor raised, or returned something that is no verdict."""


@dataclass(frozen=True, slots=True)
class Drop:
    """An interceptor's verdict: the message never arrives."""


@dataclass(frozen=True, slots=True)
class Delay:
    """An interceptor's verdict: the message takes this much longer."""

    by: float


@dataclass(frozen=True, slots=True)
class Alter:
    """An interceptor's verdict: this message arrives instead."""

    message: Any


Interceptor = Callable[[Envelope], "Drop | Delay | Alter | None"]
"""An active adversary on the router: sees each message sent and may drop, delay or alter it."""


@dataclass(slots=True)
class Transport:
    """What the network did beneath the algorithm, in packets."""

    lost: int = 0
    duplicated: int = 0
    retransmitted: int = 0
    acknowledged: int = 0
    given_up: int = 0
    altered: int = 0

    def count(self, kind: str) -> None:
        """Count one fate."""
        name = {"dropped": "lost", "packet lost": "lost", "given up": "given_up"}.get(kind, kind)
        setattr(self, name, getattr(self, name) + 1)


class Router:
    """Carries messages of one run.

    Args:
        network: latency and faults.
        seed: of the network's random streams.
        writer: where fates are recorded.
        interceptors: active adversaries.
        steady: whether every message leaves at the instant's own time (no `check_cost`, no real time).
    """

    def __init__(
        self, network: Network, seed: int, writer: LogWriter, interceptors: tuple[Interceptor, ...], *, steady: bool
    ) -> None:
        self._network = network
        self._seed = seed
        self._writer = writer
        self._interceptors = interceptors
        self._constant = network.constant if steady and not interceptors else None
        self.plain = network.plain and not interceptors and self._constant is None
        """Whether there is nothing but latency, of which every message draws its own."""
        self._channels: defaultdict[Port, dict[Port, Channel]] = defaultdict(dict)
        self._late: dict[tuple[str, str], Lateness] = {}
        self.heap: list[tuple[float, Entry]] = []
        self.bulk: deque[tuple[float, list[Entry]]] = deque()
        """With one constant latency whole instants travel together and stay in order: no heap is needed."""
        self.next_step: list[Entry] = []
        """Messages that take no time: due at the next step of the same time."""
        self.transport = Transport()
        self.lost: list[tuple[float, str, str, str, int, str]] = []
        """Lost messages, the first thousand: (time, src, dst, type, n, reason)."""

    def route(self, out: list[Entry], now: float) -> None:
        """Take what was sent in the instant that closes at `now`."""
        if self.plain:
            self._route_plainly(out, now)
        elif self._constant is None:
            self._route_carefully(out, now)
        elif self._constant == 0:
            self.next_step.extend(out)
        else:
            self.bulk.append((now + self._constant, out))

    def _route_carefully(self, out: list[Entry], now: float) -> None:
        """Route where messages may be lost, altered or late: in their order, since what befalls them is drawn."""
        out.sort()
        network = self._network
        held_back: dict[tuple[int, int], float] = {}
        if self._interceptors:
            out = self._intercept(out, held_back)
        for entry in out:
            index, n, _, sent_at, src, dst, _, _, _ = entry
            if src.host is dst.host:
                self.schedule(sent_at + network.local_delay, entry, now)
                continue
            sent_at += held_back.get((index, n), 0.0)
            channel = self._channels[src].get(dst) or self._open_channel(src, dst)
            arrivals, fates = network.transmit(channel, sent_at, src.host.name, dst.host.name)
            for fate in fates:
                self.fate(entry, fate)
            for due, copy in arrivals:
                self.schedule(due, (index, n, copy, *entry[3:]), now)

    def _route_plainly(self, out: list[Entry], now: float) -> None:
        """Route where there is nothing but latency: the hot path of random networks, where nothing needs sorting."""
        channels, heap = self._channels, self.heap
        for entry in out:
            _, _, _, sent_at, src, dst, _, _, _ = entry
            if src.host is dst.host:
                self.schedule(sent_at + self._network.local_delay, entry, now)
                continue
            try:
                channel = channels[src][dst]
            except KeyError:
                channel = self._open_channel(src, dst)
            delays = channel.delays
            due = sent_at + (delays.pop() if delays else self._network.latency(channel))
            if due < channel.last:
                due = channel.last
            else:
                channel.last = due
            if due > now:
                heappush(heap, (due, entry))
            else:
                self.next_step.append(entry)

    def _open_channel(self, src: Port, dst: Port) -> Channel:
        pair = src.host.name, dst.host.name
        channel = self._network.channel(self._seed, src.name, dst.name, *pair)
        if channel.late is not None:  # all nodes of two agents count their messages together
            channel.late = self._late.setdefault(pair, channel.late)
        self._channels[src][dst] = channel
        return channel

    def schedule(self, due: float, entry: Entry, now: float) -> None:
        """Have a message delivered at `due`, or at the next step if that is not later than `now`."""
        if due > now:
            heappush(self.heap, (due, entry))
        else:
            self.next_step.append(entry)

    def postpone(self, host: Host, until: float) -> None:
        """Have what would reach an agent before `until` reach it then: its own nodes' mail, and what it is busy for."""
        heap = [(until if e[5].host is host and due < until else due, e) for due, e in self.heap]
        heapify(heap)
        self.heap[:] = heap

    def fate(self, entry: Entry, fate: Fate) -> None:
        """Record what happened to a message other than being delivered."""
        _, n, _, _, src, dst, spec, _, payload = entry
        self.transport.count(fate.kind)
        if fate.kind in ("dropped", "given up") and len(self.lost) < _MAX_REPORTED:
            self.lost.append((fate.time, src.name, dst.name, spec.name, n, fate.reason))
        kept = payload if fate.kind in FATES_OF_MESSAGES else None
        self._writer.add(("fate", fate.kind, fate.time, src.name, dst.name, spec.name, n, fate.copy, fate.reason, kept))

    def _intercept(self, out: list[Entry], held_back: dict[tuple[int, int], float]) -> list[Entry]:
        """Ask the interceptors; messages between nodes of one agent are not on the network and pass unseen."""
        kept: list[Entry] = []
        for entry in out:
            index, n, copy, sent_at, src, dst, spec, stamp, payload = entry
            arrives = True
            if src.host is dst.host:
                kept.append(entry)
                continue
            for interceptor in self._interceptors:
                try:
                    message = spec.decode(payload)
                except MessageError:
                    break  # it is told when it arrives, naming its sender
                envelope = Envelope(sent_at, src.name, dst.name, spec.name, n, message)
                name = getattr(interceptor, "__name__", type(interceptor).__name__)
                try:
                    verdict = interceptor(envelope)
                except Exception as error:
                    what = f"{type(error).__name__}: {error}"
                    raise InterceptorFailure(f"interceptor {name}: {what} at {envelope!r}"[:500]) from error
                if isinstance(verdict, Drop):
                    self.fate(entry, Fate("dropped", sent_at, 0, name))
                    arrives = False
                    break
                if isinstance(verdict, Delay) and isinstance(verdict.by, (int, float)):
                    held_back[index, n] = held_back.get((index, n), 0.0) + max(0.0, verdict.by)
                elif isinstance(verdict, Alter):
                    self.fate(
                        (index, n, copy, sent_at, src, dst, spec, stamp, payload), Fate("altered", sent_at, 0, name)
                    )
                    spec, payload = self._altered(src, dst, spec, verdict.message, name)
                elif verdict is not None:
                    raise InterceptorFailure(f"interceptor {name} returned {verdict!r}, not Drop, Delay, Alter or None")
            if arrives:
                kept.append((index, n, copy, sent_at, src, dst, spec, stamp, payload))
        return kept

    @staticmethod
    def _altered(src: Port, dst: Port, spec: MessageSpec, message: object, name: str) -> tuple[MessageSpec, bytes]:
        """Return the type and payload of what an interceptor put in a message's place."""
        tally = src._tally.get(type(message))
        what = f"interceptor {name}: what it made of {src.name}'s {spec.name} to {dst.name}"
        if tally is None:
            raise InterceptorFailure(f"{what}, a {type(message).__name__}, is not a message type of the solver")
        try:
            return tally.spec, pack(message)
        except (TypeError, ValueError, OverflowError) as error:
            raise InterceptorFailure(f"{what} cannot travel: {error}") from error

    def undelivered(self) -> list[Entry]:
        """Return what is still on its way, in the total order."""
        left = [*self.next_step, *(entry for _, entry in self.heap)]
        for _, entries in self.bulk:
            left.extend(entries)
        return sorted(left, key=lambda entry: entry[:3])
