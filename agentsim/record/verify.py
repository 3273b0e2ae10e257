"""Verifying a log: its agents run again on their recorded mail, and all they emit is compared."""

from __future__ import annotations

import contextlib
import heapq
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from agentsim.errors import AgentSimError
from agentsim.record.log import LogDamaged, LogWriter
from agentsim.record.reader import Log
from agentsim.runtime.agent import Agent
from agentsim.runtime.kernel import Kernel
from agentsim.runtime.loop import run_apart
from agentsim.runtime.messages import Abandon, Codec, MessageError, spec_of
from agentsim.runtime.network import Network
from agentsim.runtime.port import Abandoned, Port
from agentsim.runtime.recovery import RecoveringKernel
from agentsim.runtime.result import jsonable
from agentsim.runtime.simulate import populate, published_facts
from agentsim.runtime.view import Setup


class ReplayDivergence(AgentSimError):
    """A run agent emitted something else than the log has.

    Args:
        record: number of the delivery at or after which it happened (0 before the first).
        agent: the node at fault.
        expected: what the log has, as text.
        got: what the agent did, as text.
    """

    def __init__(self, record: int, agent: str, expected: str, got: str) -> None:
        super().__init__(f"record {record}, agent {agent}: the log has {expected}, the agent {got}")
        self.record, self.agent, self.expected, self.got = record, agent, expected, got


@dataclass(slots=True)
class _Emission:
    """A message that a re-run agent sent and the log has not accounted for yet."""

    dst: str
    type: str
    payload: bytes | None
    sent_at: float
    stamp: int
    copies: int = 1


class _Verifier(Kernel):
    """A kernel whose deliveries come from a log, and which compares what agents emit with it."""

    def verify_against(self, log: Log, setup: Setup, skipped: frozenset[str], partial: bool) -> None:
        """Set the log, its setup, the nodes that are not run again, and whether the run stopped within an instant."""
        self._log = log
        self._setup = setup
        self._records = log.records()
        self._ahead: deque[tuple[Any, ...]] = deque()
        self._skipped = skipped
        self._pending: dict[tuple[str, int], _Emission] = {}
        self._last_seq = 0
        self._partial = partial
        self._close_always = True
        self._result: dict[str, Any] | None = None
        self.external_results = self._external

    def abandon_as_logged(self, records: Iterable[tuple[Any, ...]]) -> None:
        """Let nodes abandon where they did: gates are not run again, so their verdicts come from the log."""
        refused = {(record[2], record[4]): record[3] for record in records}

        def check(port: Port, to: str, message: Any, payload: bytes) -> None:
            reason = refused.get((port.name, port._n))
            if reason is not None:
                raise Abandoned(port.name, reason)

        if refused:
            self.checked_sends, self.plain_sends = check, False

    def _peek(self) -> tuple[Any, ...] | None:
        if not self._ahead:
            record = next(self._records, None)
            if record is None:
                return None
            self._ahead.append(record)
        return self._ahead[0]

    def _external(self, node: str, label: str) -> Any:
        """Return the recorded result of an external wait, which stands before the next delivery."""
        for i, record in enumerate(self._ahead):
            if record[0] == "external" and record[2:4] == (node, label):
                del self._ahead[i]
                return record[4]
        for record in self._records:
            if record[0] == "external" and record[2:4] == (node, label):
                return record[4]
            self._ahead.append(record)
            if _opens(record):
                break
        raise ReplayDivergence(self._last_seq, node, "no such external result", f"waits for {label}")

    def _take_note_of_sends(self) -> None:
        out, self.outbox = self.outbox, []
        for _, n, _, sent_at, src, dst, spec, stamp, payload in out:
            self._pending[src.name, n] = _Emission(dst.name, spec.name, payload, sent_at, stamp)

    def _close_instant(self) -> None:
        produced: deque[tuple[Any, ...]] = deque()
        if self.recording:
            self.recording.sort(key=lambda port: port._index)
            for port in self.recording:
                produced.extend(r for r in port._records if r[0] != "external")
                port._records = []
            self.recording = []
        if self.check_cost:
            for host in self._woken:
                host.busy_until = self.now + (host.checks - host.work_mark) * self.check_cost * host.speed
                host.work_mark = host.checks
            self._woken = {}
        self._take_note_of_sends()
        self._consume(produced)
        if produced and not (self._partial and self._peek() is None):
            record = produced[0]
            raise ReplayDivergence(self._last_seq, _node_of(record), "nothing", f"declared {_shown(record)}")

    def _consume(self, produced: deque[tuple[Any, ...]]) -> None:
        """Account for the log's records up to what opens the next instant."""
        while (record := self._peek()) is not None and not _opens(record):
            self._ahead.popleft()
            kind = record[0]
            if kind in ("assign", "bound", "place"):
                if _node_of(record) in self._skipped:
                    continue
                if not produced or jsonable(produced[0]) != jsonable(record):
                    got = f"declared {_shown(produced[0])}" if produced else "declared nothing"
                    raise ReplayDivergence(self._last_seq, _node_of(record), _shown(record), got)
                produced.popleft()
            elif kind == "fate":
                self._account_fate(record)
            elif kind == "result":
                self._result = record[1]

    def _account_fate(self, record: tuple[Any, ...]) -> None:
        _, fate, _, src, dst, type_name, n, _, _, payload = record
        if src in self._skipped:
            return
        if fate == "duplicated":
            emission = self._pending.get((src, n))
            if emission is not None:
                emission.copies += 1
        elif fate in ("dropped", "given up", "undelivered", "altered"):
            emission = self._pending.get((src, n))
            self._compare(emission, src, n, dst, type_name, payload, None, None)
            assert emission is not None
            if fate == "altered":
                emission.payload = None
            else:
                self._settle(emission, (src, n))

    def _settle(self, emission: _Emission, key: tuple[str, int]) -> None:
        emission.copies -= 1
        if emission.copies == 0:
            del self._pending[key]

    def _compare(
        self,
        emission: _Emission | None,
        src: str,
        n: int,
        dst: str,
        type_name: str,
        payload: bytes,
        sent_at: float | None,
        stamp: int | None,
    ) -> None:
        logged = f"send {n} {type_name} to {dst}: {payload[:60].hex(' ')}"
        if emission is None:
            raise ReplayDivergence(self._last_seq, src, logged, "sent nothing")
        if emission.payload is None:
            return
        got = f"sent {emission.type} to {emission.dst}: {emission.payload[:60].hex(' ')}"
        if (emission.dst, emission.type, emission.payload) != (dst, type_name, payload):
            raise ReplayDivergence(self._last_seq, src, logged, got)
        if sent_at is not None and self.realtime is None and (emission.sent_at, emission.stamp) != (sent_at, stamp):
            raise ReplayDivergence(
                self._last_seq,
                src,
                f"{logged} at time {sent_at:g} with stamp {stamp}",
                f"{got} at time {emission.sent_at:g} with stamp {emission.stamp}",
            )

    def _open_instant(self) -> bool:
        """Open the instant that the log's next record opens: control events, deliveries, timers."""
        record = self._peek()
        if record is None:  # in a cut log, what timers would do next is not known to have happened
            self.finish(None)
            return False
        at = self._instant_of(record)
        if at < (self.now, self.step):
            raise LogDamaged(self._log.name, 0, f"after delivery {self._last_seq} time runs backwards")
        self.now, self.step = at
        while (record := self._peek()) is not None and record[0] in ("crash", "restart") and record[1] == at[0]:
            self._ahead.popleft()
            host = self.hosts.get(record[2])
            if host is None or host.crashed == (record[0] == "crash"):
                raise LogDamaged(self._log.name, 0, f"{record[2]!r} cannot {record[0]} here")
            (self.crash if record[0] == "crash" else self.restart)(host)
        while (record := self._peek()) is not None and not self._ends_deliveries(record, at):
            self._ahead.popleft()
            if record[0] == "fate":
                self._account_fate(record)
            else:
                self._redeliver(record)
        if record is not None and record[0] == "wake" and self._instant_of(record) == at:
            self._ahead.popleft()
            if not self._skipped and (not self._timers or self._timers[0][0] > self.now):
                raise ReplayDivergence(self._last_seq, "", f"a timer at {self.now:g}", "set none")
            while self._timers and self._timers[0][0] <= self.now:
                _, _, activity, scope = heapq.heappop(self._timers)
                self._fire(activity, scope)
        return True

    def _instant_of(self, record: tuple[Any, ...]) -> tuple[float, int]:
        """Return (time, step) of the instant that a record opens; a crash opens the next of its time."""
        if type(record[0]) is int:
            return record[2], record[3]
        if record[0] == "wake":
            return record[1], record[2]
        return record[1], self.step + 1 if record[1] == self.now else 0

    def _ends_deliveries(self, record: tuple[Any, ...], at: tuple[float, int]) -> bool:
        """Tell whether a record stands after an instant's deliveries; among them may be losses to crashed agents."""
        if record[0] == "fate":
            return not (record[1] == "dropped" and record[8] == "crash" and (record[3], record[6]) in self._pending)
        return type(record[0]) is not int or self._instant_of(record) != at

    def _redeliver(self, record: tuple[Any, ...]) -> None:
        seq, sent_at, _, _, src, dst, type_name, n, copy, stamp, payload = record
        if seq != self._last_seq + 1:
            raise ReplayDivergence(seq, src, f"delivery {seq} after {self._last_seq}", "sends are numbered one by one")
        self._last_seq = seq
        if src not in self._skipped:
            emission = self._pending.get((src, n))
            self._compare(emission, src, n, dst, type_name, payload, sent_at, stamp)
            assert emission is not None
            self._settle(emission, (src, n))
        port = self.ports.get(dst)
        if port is None:
            raise ReplayDivergence(seq, src, f"a message to {dst}", "knows no such agent")
        self.seq = seq
        if self.check_cost:
            self._woken[port.host] = None
        try:
            message = self.codec.decode(type_name, payload)
        except MessageError as error:
            raise ReplayDivergence(seq, src, f"a malformed {type_name} ({error})", "would not send it") from None
        if self.abandoned is not None and type(message) is Abandon:
            self._leave(port.host)
        if port.finished or port.name in self._skipped or (copy and port.once):
            return
        port.inbox.append((src, message))
        port.stamps.append(stamp)
        if port.parked:
            self._wake_parked(port)

    def leftover(self) -> ReplayDivergence | None:
        """Return what agents sent or ended with that the log does not have, or the other way round."""
        result = self._result
        if result is None:
            return None
        if self._pending and not self._partial:
            (src, n), emission = next(iter(self._pending.items()))
            return ReplayDivergence(
                self._last_seq, src, "nothing", f"sent {emission.type} to {emission.dst} (send {n})"
            )
        if not self._partial and not self._skipped:
            solver = self._log.solver
            own = {spec_of(t).name for t in (*solver.messages, Abandon)} if solver is not None else set()
            tallies = [t for p in self.ports.values() for t in p._tally.values() if t.spec.name in own]
            got = {
                "messages": sum(t.count for t in tallies),
                "bytes": sum(t.size for t in tallies),
                "nccc": max((h.clock for h in self.hosts.values()), default=0),
            }
            for key, value in got.items():
                if result.get(key) != value:
                    return ReplayDivergence(self._last_seq, "", f"{key} {result.get(key)}", f"made {value}")
        return self._compare_values(result)

    def _compare_values(self, result: Mapping[str, Any]) -> ReplayDivergence | None:
        """Compare the logged assignment with the values agents took, and its cost with what they cost."""
        logged = result.get("assignment")
        problem = self._setup.original
        if not isinstance(logged, dict) or any(type(logged.get(n, 0)) is not int for n in problem.variables):
            return ReplayDivergence(self._last_seq, "", f"assignment {logged!r}"[:200], "took values")
        if result.get("status") in ("optimal", "finished"):
            for name, value in logged.items():
                port = self.ports.get(name)
                if port is not None and name not in self._skipped and port._assigned != value:
                    return ReplayDivergence(
                        self._last_seq, name, f"final value {value}", f"ended with {port._assigned}"
                    )
        complete = all(0 <= logged.get(n, -1) < v.size for n, v in problem.variables.items())
        cost = problem.evaluate_indices(logged).cost if complete else None
        if result.get("cost") != cost:
            return ReplayDivergence(self._last_seq, "", f"cost {result.get('cost')}", f"took values that cost {cost}")
        return None


class _RecoveringVerifier(RecoveringKernel, _Verifier):
    """A verifier whose agents that crash and restart recover, as they did."""

    def _external(self, node: str, label: str) -> Any:
        result = super()._external(node, label)
        self.note_external(node, label, result)
        return result


class _Absent(Agent):
    """Stands where a replaced agent stood: takes its mail and does nothing."""

    async def run(self) -> None:
        """Return at once; what the replaced agent sent comes from the log."""


def _forged(header: Mapping[str, Any], setup: Setup) -> dict[str, Any] | None:
    """Return where a header says of nodes, offsets or floors what does not follow from its problem."""
    truth = published_facts(setup)
    for key, fact in truth.items():
        if header.get(key) != fact:
            return {
                "seq": 0,
                "agent": "",
                "expected": f"header {key} {header.get(key)!r}"[:200],
                "got": f"{fact!r}"[:200],
            }
    return None


def _last_record(log: Log) -> tuple[tuple[Any, ...] | None, list[tuple[Any, ...]]]:
    """Return a log's last record, None if it has none, and those of agents that abandoned."""
    last, abandoned = None, []
    with contextlib.suppress(LogDamaged):
        for record in log.records():
            last = record
            if record[0] == "abandon":
                abandoned.append(record)
    return last, abandoned


def _opens(record: tuple[Any, ...]) -> bool:
    """Tell whether a record opens an instant."""
    return type(record[0]) is int or record[0] in ("crash", "restart", "wake")


def _node_of(record: tuple[Any, ...]) -> str:
    return str(record[1] if record[0] == "place" else record[2])


def _shown(record: tuple[Any, ...]) -> str:
    return f"{record[0]} {', '.join(str(part) for part in record[1:])}"[:200]


def verify(
    log: Log, setup: Setup, cls: type[Agent], header: Mapping[str, Any], replaced: list[str]
) -> tuple[dict[str, Any] | None, int]:
    """Run a log's agents again and compare.

    Args:
        log: the log.
        setup: the run's setup.
        cls: the solver's class.
        header: the log's header, its form already checked.
        replaced: names of replaced agents, which are not run.

    Returns:
        The first difference or None, and how many deliveries were compared.
    """
    difference = _forged(header, setup)
    if difference is not None:
        return difference, 0
    skipped = frozenset(node for node, owner in setup.nodes.items() if owner in replaced)
    last, abandoned = _last_record(log)
    ended = last[1] if last is not None and last[0] == "result" else {}
    network = Network.parse(header["network"], setup.original.agents)
    kernel = (_RecoveringVerifier if network.recovering else _Verifier)(
        Codec(cls.all_messages()),
        network,
        header["seed"],
        LogWriter(None, memory_limit=0),
        check_cost=header["check_cost"],
        realtime=header["realtime"],
    )
    status = ended.get("status")
    stopped = bool(ended.get("partial")) and status in ("timeout", "interrupted")
    kernel.verify_against(log, setup, skipped, stopped or status == "error")
    kernel.abandon_as_logged(abandoned)
    populate(kernel, setup, cls, dict.fromkeys(replaced, _Absent))
    failure: BaseException | None
    try:
        run_apart(kernel.run)
        failure = kernel.failure or kernel.leftover()
    except LogDamaged as error:
        failure = error
    if isinstance(failure, ReplayDivergence):
        difference = {
            "seq": failure.record,
            "agent": failure.agent,
            "expected": failure.expected,
            "got": failure.got,
        }
    elif isinstance(failure, LogDamaged):
        difference = {"damaged": str(failure)}
    elif failure is not None and ended.get("status") != "error":  # an agent that failed then is to fail again
        difference = {
            "seq": kernel._last_seq,
            "agent": getattr(failure, "agent", ""),
            "expected": "no failure",
            "got": str(failure),
        }
    elif last is None or last[0] != "result":
        difference = {"cut": f"the log ends after delivery {kernel._last_seq} without a result"}
    return difference, kernel._last_seq
