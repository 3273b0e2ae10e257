"""The trace of a run: all that the replay page shows, as plain JSON, collected live or from a log.

A `Tracer` is a display: it hears deliveries as any observer does, and of values, fates and crashes as they are logged.
An observer `vps` inside it says after *each delivery* what was learnt, in sum and belief by belief; what a message
discloses is put into words as the receiver's own reader reads it.

The trace has a head and increments of at most 4,096 deliveries. What happened has the number of deliveries seen by then
(`seq`): the state at a moment is all that happened with no greater one. Deliveries outside of the window are not kept;
losses and aggregates are, thinned, so that a log of any length takes little memory.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from agentsim.errors import RunError, UserError
from agentsim.record.log import LogDamaged
from agentsim.record.reader import Log
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.observer import Observer, ObserverContext, ObserverView
from agentsim.runtime.reading import make_reader
from agentsim.runtime.result import jsonable
from agentsim.runtime.simulate import make_observers, parse_observer
from privacy.vps.observer import Vps
from scenarios.reports.details import Detail, Details, payload_of
from scenarios.reports.head import Bounds, Ran, header_of, make_head, ran_in
from scenarios.reports.leakage import Leakage
from scenarios.reports.words import short

INCREMENT: Final = 4096
"""Deliveries in an increment, at most."""
MOST: Final = 100_000
"""Deliveries in a window, unless told otherwise."""
DEFAULT_OBSERVER: Final = "vps:rule=tight"
_MOST_EVENTS: Final = {"values": 500_000, "fates": 500_000, "marks": 5000}
_LATEST: Final = 1e15
"""Virtual times beyond this are nonsense, with which no picture can be drawn."""
_MOST_TYPES: Final = 200
"""Message types of one page; a log of a solver that is not known here may have as many as it has deliveries."""
_COLUMNS: Final = ("sent", "at", "step", "src", "dst", "type", "n", "copy", "bytes", "stamp")
_EVENTS: Final = ("values", "losses", "aggregates", "beliefs", "fates", "marks")
_RESULT: Final = ("status", "cost", "bound", "virtual_time", "messages", "bytes", "nccc", "limit")

Increment = dict[str, Any]


@dataclass(frozen=True)
class Trace:
    """What a replay page is made of.

    Args:
        head: who is there and what was run.
        increments: what happened, in order.
    """

    head: dict[str, Any]
    increments: list[Increment]


def trace_of(
    log: str | os.PathLike[str] | bytes | Log,
    observe: str | None = None,
    first: int = 1,
    most: int = MOST,
    progress: Callable[[int], None] | None = None,
) -> Trace:
    """Return the trace of a log, which is read as a stream.

    Args:
        log: its path, its bytes, or an opened log.
        observe: the observer of leakage, `vps` with options; by default by the rule `tight`.
        first: number of the first delivery to show.
        most: how many to show.
        progress: told now and then how many deliveries were read.

    Raises:
        UserError: not a log, nothing of its header is left, or `observe` makes no sense for it. A log that is damaged
            or cut later is traced as far as it goes, and the head says so.
    """
    if first < 1 or most < 1:
        raise UserError(f"deliveries from {first}, at most {most}: both must be at least 1")
    opened = log if isinstance(log, Log) else Log(log)
    ran = ran_in(opened)
    options = {"observe": observe, "first": first, "most": most}
    context = ObserverContext(ObserverView("all"), ran.setup, ran.solver, ran.name, options, ran.redacted)
    tracer = Tracer(context, ran)
    tracer.start()
    broken: str | None = None
    now = -_LATEST
    try:
        for record in opened.records():
            if tracer.over:
                raise LogDamaged(opened.name, 0, "it goes on after the result")
            if type(record[0]) is not int:
                tracer.record(record)
                continue
            if record[0] != tracer.seen + 1:
                raise LogDamaged(opened.name, 0, f"delivery {tracer.seen + 1} is missing")
            if not now <= record[2] <= _LATEST or not -_LATEST <= record[1] <= record[2]:
                raise LogDamaged(opened.name, 0, f"delivery {tracer.seen + 1} is out of time")
            now = record[2]
            tracer.observe(opened.delivery(record))
            if progress is not None and tracer.seen % 1000 == 0:
                progress(tracer.seen)
        if opened.cut_off:
            broken = "the log was cut off"
    except (LogDamaged, Stranger) as error:
        broken = str(error)
    if broken is not None:
        tracer.note(f"{broken}: shown as far as it goes, {tracer.seen:,} deliveries")
    tracer.finish()
    if first > max(1, tracer.seen):
        raise UserError(f"{opened.name}: has {tracer.seen} deliveries, there is none from {first} on")
    return Trace(tracer.head, tracer.increments)


class Stranger(RunError):
    """A record names somebody who is not in the problem."""


class Tracer(Observer):
    """Collects the trace of a run. A display: it is not in the log, has no findings, and cannot fail a run.

    Options: `observe`, the observer of leakage (`vps:...`); `first` and `most`, the window of deliveries.

    Attributes:
        head: who is there and what was run; its window, notes and types grow with the run.
        increments: those that are complete; `cut` completes the one being filled. Append-only.
        seen: number of deliveries.
        over: whether the run has ended.

    Args:
        context: as for any observer.
        ran: what was run, by a log; by default what goes on now.
    """

    name = "trace"
    recorded: ClassVar[bool] = False

    def __init__(self, context: ObserverContext, ran: Ran | None = None) -> None:
        super().__init__(context)
        self._ran = ran
        options = context.options
        self._first = int(options.get("first") or 1)
        self._last = self._first - 1 + int(options.get("most") or MOST)
        self._lock = threading.Lock()
        self.head: dict[str, Any] = {}
        self.increments: list[Increment] = []
        self.seen = 0
        self.over = False
        observe = options.get("observe")
        self._vps, self._leak_note = self._make_vps(None if observe is None else str(observe))

    def _make_vps(self, observe: str | None) -> tuple[Vps | None, str | None]:
        """Return the observer of leakage, or why this run cannot have one; UserError if it was asked for."""
        context = self.context
        spec = DEFAULT_OBSERVER if observe is None else observe
        if not issubclass(parse_observer(spec)[0], Vps):
            raise UserError(f"observer {spec}: the leakage on the page is that of vps, such as {DEFAULT_OBSERVER}")
        if make_reader(context.solver, context.setup, ()) is None:
            return None, f"{short(context.solver_name)} has no reader here: nothing is known of what it leaks"
        try:
            found = make_observers(
                [spec], context.setup, context.solver, context.solver_name, redacted=context.redacted
            )[0]
        except UserError as error:
            if observe is not None:
                raise
            return None, str(error)
        assert isinstance(found, Vps)
        return found, None

    def start(self) -> None:
        """Make the head; of a run that goes on also listen to what is logged."""
        context = self.context
        setup = context.setup
        ran = self._ran
        if ran is None:
            assert self._mailbox is not None
            kernel = self._mailbox.kernel
            kernel.writer.tap = self.record
            header = header_of(setup, kernel.seed, kernel.network.spec)
            ran = Ran(setup, context.solver, context.solver_name, header)
        live = self._ran is None
        scales = self._vps.prior.scales if self._vps is not None else {}
        self.head = make_head(ran, scales, live=live)
        self._agents = {name: i for i, name in enumerate(self.head["agents"])}
        self._nodes = {name: i for i, name in enumerate(setup.nodes)}
        self._types = {name: i for i, name in enumerate(self.head["types"])}
        self._details: Details | None = Details(context)
        self._leakage: Leakage | None = None
        if self._vps is not None:
            self._leakage = Leakage(self._vps, self._agents, self._nodes)
            if not self._leakage.subjects:
                self._leakage = None
                self._leak_note = "no agent has private costs of which another could learn anything"
        self.head["leak"] = None if self._leakage is None else self._leakage.head()
        self.head["leak_note"] = self._leak_note
        self.head["window"] = {"from": self._first, "to": self._last, "total": None}
        self._bounds = Bounds(setup)
        self._bound_of: dict[str, tuple[Any, Any]] = {}
        self._held: dict[int, list[Any]] = {}
        self._counts = dict.fromkeys(_MOST_EVENTS, 0)
        self._opened = False
        self._current = self._new_increment()

    def note(self, sentence: str) -> None:
        """Add a sentence to the head's notes, once."""
        if sentence not in self.head["notes"]:
            self.head["notes"].append(sentence)

    # What happens ----------------------------------------------------------------------------------------------

    def observe(self, delivery: Delivery) -> None:
        """Take one delivery in."""
        with self._lock:
            src, dst = self._nodes.get(delivery.src), self._nodes.get(delivery.dst)
            if src is None or dst is None:
                raise Stranger(f"delivery {self.seen + 1} is between nodes that are not in the problem")
            seq = self.seen = self.seen + 1
            inside = self._first <= seq <= self._last
            if inside:
                if not self._opened:
                    self._open(seq - 1)
                elif len(self._current["details"]) >= INCREMENT:
                    self._close()
            self._learn(delivery, seq, inside)
            detail = self._describe(delivery, inside)
            if inside:
                columns = self._current["deliveries"]
                if not self._current["details"]:
                    columns["seq0"] = seq
                self._current["details"].append(detail)
                columns["sent"].append(delivery.sent_at)
                columns["at"].append(delivery.delivered_at)
                columns["step"].append(delivery.step)
                columns["src"].append(src)
                columns["dst"].append(dst)
                columns["type"].append(self._type(delivery.type, detail[0]))
                columns["n"].append(delivery.n)
                columns["copy"].append(delivery.copy)
                columns["bytes"].append(len(delivery.payload))
                columns["stamp"].append(delivery.stamp)

    def _learn(self, delivery: Delivery, seq: int, inside: bool) -> None:
        if self._leakage is None:
            return
        try:
            self._leakage.observe(delivery, seq, inside)
        except Exception as error:  # a log may hold what no agent of this solver sends
            self._take_leakage()
            self._leakage = None
            self.note(f"leakage is known up to delivery {seq - 1:,} only: {_failure(self._vps, error)}")

    def _describe(self, delivery: Delivery, inside: bool) -> Detail:
        if self._details is not None:
            try:
                if inside:
                    return self._details.of(delivery)
                if self.seen < self._first:
                    self._details.hear(delivery)
                return []
            except Exception as error:
                self._details = None
                self.note(
                    f"what messages disclose is told up to delivery {self.seen - 1:,} only: {_failure(None, error)}"
                )
        return [payload_of(delivery), []] if inside else []

    def _type(self, name: str, payload: Mapping[str, Any]) -> int:
        if name not in self._types and len(self._types) >= _MOST_TYPES:
            name = "…"
        number = self._types.get(name)
        if number is None:
            number = self._types[name] = len(self._types)
            self.head["types"].append(short(name))
            self.head["fields"][short(name)] = list(payload)
        return number

    def record(self, record: Sequence[Any]) -> None:
        """Take a record in that is no delivery, as a log has it."""
        handle = _HANDLERS.get(record[0])
        if handle is not None and not self.over:
            with self._lock:
                handle(self, record)
            if record[0] == "result":
                self.finish()

    def _at(self) -> int | None:
        """Return how many deliveries there were by now; None where what happens now is not shown."""
        # Of a run that goes on the kernel knows: observers come last in an instant, and have not seen them all.
        seq = self.seen if self._mailbox is None else self._mailbox.kernel.seq
        return seq if self._first - 1 <= seq <= self._last and (self._opened or self._first == 1) else None

    def _assigned(self, record: Sequence[Any]) -> None:
        _, time, name, value = record
        node = self._nodes.get(name)
        if node is None or not 0 <= value < len(self.head["nodes"][node]["domain"]):
            return
        seq = self._at()
        if seq is None:
            self._held[node] = [time, node, value]
        else:
            self._add("values", [seq, time, node, value])

    def _fate(self, record: Sequence[Any]) -> None:
        _, fate, time, src, dst, kind, n, _, reason, _ = record
        seq, ends = self._at(), (self._nodes.get(src), self._nodes.get(dst))
        if seq is not None and None not in ends:
            self._add("fates", [seq, time, fate, *ends, self._type(kind, {}), n, short(reason)])

    def _bound(self, record: Sequence[Any]) -> None:
        _, time, node, lower, upper = record
        if node in self._nodes and self._bound_of.get(node) != (lower, upper):
            self._bound_of[node] = (lower, upper)
            self._mark(time, self._bounds.sentence(node, lower, upper))

    def _finding(self, record: Sequence[Any]) -> None:
        self._mark(record[1], f"findings of {short(record[2])}")

    def _crashed(self, record: Sequence[Any]) -> None:
        self._mark(record[1], f"{short(record[2])} {'crashes' if record[0] == 'crash' else 'restarts'}", always=True)

    def _abandoned(self, record: Sequence[Any]) -> None:
        self._mark(record[1], f"{short(record[2])} abandons: {short(record[3], 200)}", always=True)

    def _mark(self, time: float, text: str, *, always: bool = False) -> None:
        """Note what happened; outside of the window only what changes who takes part."""
        seq = self._at()
        if seq is None and not always:
            return
        self._add("marks", [self.seen if seq is None else seq, time, text])

    def _add(self, events: str, event: list[Any]) -> None:
        """Add what happened, unless its time is nonsense or there is so much of it that no page could hold it."""
        if abs(event[1]) > _LATEST:
            return
        if self._counts[events] >= _MOST_EVENTS[events]:
            self.note(f"of {events} the first {_MOST_EVENTS[events]:,} are shown")
            return
        self._counts[events] += 1
        self._current[events].append(event)

    def _ended(self, record: Sequence[Any]) -> None:
        found = {key: record[1].get(key) for key in _RESULT}
        plain = (int, float, type(None))
        self._current["result"] = jsonable({k: v if isinstance(v, plain) else short(v) for k, v in found.items()})

    # Increments ------------------------------------------------------------------------------------------------

    def _new_increment(self) -> Increment:
        return {
            "deliveries": {"seq0": max(self.seen + 1, self._first), **{column: [] for column in _COLUMNS}},
            "details": [],
            **{events: [] for events in _EVENTS},
        }

    def _open(self, seq: int) -> None:
        """Begin the window: what is the case by now."""
        self._opened = True
        self._current["values"] += [[seq, *held] for held in self._held.values()]

    def _take_leakage(self) -> None:
        if self._leakage is not None:
            for name, events in zip(("losses", "aggregates", "beliefs"), self._leakage.take(), strict=True):
                self._current[name] += events

    def _close(self) -> None:
        self._take_leakage()
        if self._current["details"] or "result" in self._current or any(self._current[e] for e in _EVENTS):
            self.increments.append(self._current)
        self._current = self._new_increment()

    def head_now(self) -> dict[str, Any]:
        """Return a copy of the head as it is by now. May be called from any thread."""
        with self._lock:
            fields = dict(self.head["fields"])
            return {**self.head, "types": [*self.head["types"]], "fields": fields, "notes": [*self.head["notes"]]}

    def cut(self) -> None:
        """Complete the increment that is being filled, if there is anything in it. May be called from any thread."""
        with self._lock:
            self._close()

    def finish(self) -> None:
        """Complete the trace; what comes later is not heard."""
        with self._lock:
            if self.over:
                return
            if self._leakage is not None:
                self._leakage.finish(self.seen)
                for sentence in self._leakage.notes():
                    self.note(sentence)
            self._close()
            first, last = self._first, min(self._last, self.seen)
            self.head["window"] = {"from": first, "to": last, "total": self.seen}
            if (first, last) != (1, self.seen):
                self.note(
                    f"deliveries {first:,} to {last:,} of {self.seen:,} are shown, with what was lost before. For "
                    "others make another page: agentsim report LOG -o FILE --from SEQ --most N"
                )
            self.over = True


_HANDLERS: Final[dict[str, Callable[[Tracer, Sequence[Any]], None]]] = {
    "assign": Tracer._assigned,
    "fate": Tracer._fate,
    "bound": Tracer._bound,
    "finding": Tracer._finding,
    "crash": Tracer._crashed,
    "restart": Tracer._crashed,
    "abandon": Tracer._abandoned,
    "result": Tracer._ended,
}


def _failure(vps: Vps | None, error: Exception) -> str:
    who = "a reader" if vps is None else f"reader or rule {vps.rule_name}"
    return short(f"{who} failed ({type(error).__name__}: {error})", 300)
