"""Replay: yesterday's run under today's observers, and proof that a log is what its agents do.

*Observe* feeds the recorded deliveries to observers, instant by instant as they were fed live. *Verify* runs the agents
again on their recorded batches and compares everything they emit with what was logged: messages (receiver, type,
payload, time, NCCC stamp), values, bounds, places. Both stream; memory grows with what is in flight, not with the log.

Replaced agents and interceptors are known by name only. Replaced agents are not run again and what they sent is taken
from the log; what an interceptor did is in the log too.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agentsim.errors import UserError
from agentsim.record.log import LogDamaged, LogWriter
from agentsim.record.reader import Log
from agentsim.record.verify import verify as verify_log
from agentsim.runtime.agent import Agent
from agentsim.runtime.conclude import findings_of
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.kernel import Kernel
from agentsim.runtime.loop import run_apart
from agentsim.runtime.messages import Codec
from agentsim.runtime.network import Network
from agentsim.runtime.observer import Observer, Outcome
from agentsim.runtime.port import Abandonment
from agentsim.runtime.result import jsonable
from agentsim.runtime.setup import decode_places, prepare
from agentsim.runtime.simulate import ObserverLike, attach, make_observers
from agentsim.runtime.view import Setup


@dataclass(frozen=True, eq=False)
class ReplayResult:
    """What a replay found.

    Args:
        findings: by observer.
        verified: True or False, None when verifying was not asked for.
        complete: the log is whole and no agent was skipped.
        first_difference: seq, agent, expected, got of the first difference, or {"damaged"|"cut": ...}; None if none.
        deliveries: how many deliveries were read (and verified, up to the difference).
        skipped: names of replaced agents, which were not run again.
        damaged: what is wrong with the file, or None.
        notes: sentences worth telling.
    """

    findings: dict[str, Any]
    verified: bool | None
    complete: bool
    first_difference: dict[str, Any] | None
    deliveries: int
    skipped: tuple[str, ...] = ()
    damaged: str | None = None
    notes: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Return the keys of `agentsim replay --json`."""
        found = {
            "findings": self.findings,
            "verified": self.verified,
            "complete": self.complete,
            "first_difference": self.first_difference,
            "deliveries": self.deliveries,
            "skipped": list(self.skipped),
            "damaged": self.damaged,
            "notes": list(self.notes),
        }
        keys: dict[str, Any] = jsonable(found)
        return keys

    def _repr_html_(self) -> str:
        from agentsim.record.display import replay_html

        return replay_html(self)


def replay(
    source: str | os.PathLike[str] | bytes | Log,
    observers: Sequence[ObserverLike] = (),
    *,
    verify: bool = False,
    solver: type[Agent] | None = None,
) -> ReplayResult:
    """Replay a log.

    Args:
        source: the log's path, its bytes, or an opened log (such as `result.log`).
        observers: fed with the recorded deliveries; as for `simulate`.
        verify: also run the agents again and compare.
        solver: the solver's class, when it is not a registered one.

    Raises:
        NotALog: the file is not a log.
        UserError: the header was cut off, the solver is not known, or the log is redacted and `verify` was asked for.
    """
    log = source if isinstance(source, Log) else Log(source, solver)
    try:
        header = log.header
    except LogDamaged as error:
        difference = {"damaged": str(error)} if verify else None
        return ReplayResult({}, False if verify else None, False, difference, 0, damaged=str(error))
    if header is None:
        raise UserError(f"{log.name}: the log was cut off within its header, nothing can be replayed")
    cls = solver or log.solver
    if cls is None:
        raise UserError(f"{log.name}: made by the solver {header.get('solver')!r}, which is not installed here")
    setup = setup_of(log, cls, header)
    redacted = bool(header.get("redacted"))
    if verify and redacted:
        raise UserError(f"{log.name}: private costs were left out of this log (--redact), so it cannot be verified")
    slots = make_observers(observers, setup, cls, str(header.get("solver")), redacted=redacted)
    outcome = _observe(log, setup, cls, slots)
    if not verify:
        return ReplayResult(
            findings=outcome.findings,
            verified=None,
            complete=outcome.complete and not header.get("replaced"),
            first_difference=None,
            deliveries=outcome.deliveries,
            damaged=outcome.damaged,
        )
    replaced = [str(agent) for agent in header["replaced"]]
    difference, deliveries = verify_log(log, setup, cls, header, replaced)
    notes = []
    if replaced:
        notes.append(f"replaced agents were not run again: {', '.join(replaced)}")
    if header.get("interceptors"):
        notes.append("interceptors were not run again; what they did was taken from the log")
    return ReplayResult(
        findings=outcome.findings,
        verified=difference is None,
        complete=outcome.complete and not replaced,
        first_difference=difference,
        deliveries=deliveries,
        skipped=tuple(replaced),
        damaged=outcome.damaged,
        notes=tuple(notes),
    )


def setup_of(log: Log, cls: type[Agent], header: Mapping[str, Any]) -> Setup:
    """Return the setup of a logged run, with the very tree or order that it had.

    Raises:
        UserError: the header does not make sense.
    """
    try:
        params = dict(header["params"])
        places, offsets = header["places"], header["offsets"]
        published = (dict(offsets["unary"]), dict(offsets["constraints"]))
        numbers = [header["check_cost"], *published[0].values(), *published[1].values()]
        sound = (
            type(header["seed"]) is int
            and isinstance(header["network"], str)
            and isinstance(header["replaced"], list)
            and isinstance(header["nodes"], dict)
            and (header["realtime"] is None or isinstance(header["realtime"], (int, float)))
            and all(isinstance(n, (int, float)) and math.isfinite(n) for n in numbers)
        )
    except (KeyError, TypeError, ValueError):
        sound = False
    if not sound:
        raise UserError(f"{log.name}: the header lacks what replay needs, or has it in another form")
    problem = log.problem
    try:
        setup = decode_places(prepare(problem, cls, str(header.get("solver")), params, places=False), places)
    except UserError as error:
        raise UserError(f"{log.name}: header: {error}") from None
    return dataclasses.replace(setup, published_offsets=published) if header.get("redacted") else setup


# Observing -----------------------------------------------------------------------------------------------------


class _Feed(Kernel):
    """A kernel without agents whose instants come from a log."""

    def feed_from(self, log: Log, nodes: Container[str]) -> None:
        """Set the log to read, and the nodes of its problem."""
        self._log = log
        self._nodes = nodes
        self._records = log.records()
        self._next: Delivery | None = None
        self._final_time: float | None = None
        self.damaged: str | None = None
        self.outcome: Outcome | None = None
        self.running = 1
        self._pull()

    def _pull(self) -> None:
        self._next = None
        try:
            for record in self._records:
                if type(record[0]) is int:
                    for node in record[4:6]:
                        if node not in self._nodes:
                            raise LogDamaged(self._log.name, 0, f"delivery {record[0]}: no node is called {node!r}")
                    self._next = self._log.delivery(record)
                    return
                if record[0] == "result":
                    self._final_time = record[1].get("virtual_time")
                    self.outcome = _outcome(record[1])
        except LogDamaged as error:
            self.damaged = str(error)

    def _open_instant(self) -> bool:
        first = self._next
        if first is None:
            if self._final_time is not None:
                self.now = self._final_time
            self.finish(None)
            return False
        self.now, self.step = first.delivered_at, first.step
        while self._next is not None and (self._next.delivered_at, self._next.step) == (self.now, self.step):
            if self._feed is not None:
                self._feed.append(self._next)
            self.seq = self._next.seq
            self._pull()
        return True


@dataclass
class _Observed:
    findings: dict[str, Any]
    complete: bool
    deliveries: int
    damaged: str | None


def _observe(log: Log, setup: Setup, cls: type[Agent], observers: list[Observer]) -> _Observed:
    kernel = _Feed(Codec(cls.all_messages()), Network("unit"), 0, LogWriter(None, memory_limit=0))
    attach(kernel, observers, setup)
    kernel._feed = []
    kernel.feed_from(log, setup.nodes)

    async def go() -> None:
        if not observers:
            while kernel._next is not None:
                kernel.seq = kernel._next.seq
                kernel._pull()
            return
        await kernel.run()

    run_apart(go)
    if kernel.failure is not None:
        raise kernel.failure
    whole = bool(log.whole) and kernel.damaged is None
    return _Observed(findings_of(observers, kernel.outcome), whole, kernel.seq, kernel.damaged)


def _outcome(result: Mapping[str, Any]) -> Outcome | None:
    """Return how the run ended by its log; None if the record is not of a form that says so."""
    assignment, abandoned = result.get("assignment"), result.get("abandoned")
    try:
        values = {str(name): int(value) for name, value in dict(assignment or {}).items()}
        return Outcome(values or None, Abandonment(**abandoned) if abandoned is not None else None)
    except (TypeError, ValueError, OverflowError):
        return None
