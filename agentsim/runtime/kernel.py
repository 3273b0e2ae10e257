"""The kernel: virtual time, the router, and the rule that whoever blocks last delivers the next instant.

Every agent is an asyncio task with a mailbox. A counter knows how many are awake. When the last one blocks, the kernel
closes the instant (records what agents declared, routes what they sent, lets observers look at what was delivered) and
opens the next: control events, deliveries, timers; then agents run until all wait.

The order of deliveries within an instant is (sender's index, sender's send number, copy); instants are ordered by
(time, step). Nothing depends on which task ran first, and nothing on a hash.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from agentsim.errors import RunError
from agentsim.record.log import BLOCK_SIZE, LogWriter
from agentsim.runtime.agent import Agent
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.messages import Abandon, Codec, MessageError, spec_of
from agentsim.runtime.network import Fate, Network
from agentsim.runtime.port import Abandoned, Activity, Host, Mailbox, Port, Tally
from agentsim.runtime.router import Entry, Interceptor, Router
from agentsim.runtime.waits import Timeout
from agentsim.runtime.watchdog import StuckAgent

STEP_LIMIT: Final = 10_000

_new = tuple.__new__


class AgentFailure(RunError):
    """An agent raised, or sent or was sent something malformed.

    Args:
        agent: name of the node at fault.
        cause: what happened, in a sentence.
    """

    def __init__(self, agent: str, cause: str) -> None:
        super().__init__(f"agent {agent}: {cause}")
        self.agent, self.cause = agent, cause


class ObserverFailure(RunError):
    """An observer raised; half a privacy trace is worse than none."""

    def __init__(self, observer: str, cause: str) -> None:
        super().__init__(f"observer {observer}: {cause}")
        self.observer, self.cause = observer, cause


class Livelock(RunError):
    """Messages that take no time went round for `STEP_LIMIT` steps."""


@dataclass(frozen=True, slots=True)
class Deadlock:
    """Why nothing moved any more.

    Args:
        waiting: node -> what it waits for.
        lost: lost messages to nodes that wait: (time, src, dst, type, n, reason).
    """

    waiting: Mapping[str, str]
    lost: tuple[tuple[float, str, str, str, int, str], ...]

    def __str__(self) -> str:
        shown = [f"{node} waits for {what}" for node, what in list(self.waiting.items())[:8]]
        more = len(self.waiting) - len(shown)
        text = "; ".join(shown) + (f"; and {more} more wait" if more else "")
        if self.lost:
            at, src, dst, kind, n, reason = self.lost[0]
            text += f"; {src}'s message {n} ({kind}) to {dst} was lost at time {at:g} ({reason})"
            if len(self.lost) > 1:
                text += f", and {len(self.lost) - 1} more"
        return text


@dataclass(slots=True)
class Limits:
    """When a run stops though agents have not finished: deliveries, virtual time."""

    max_messages: int | None = None
    max_time: float | None = None


@dataclass(slots=True)
class ObserverSlot:
    """An observer's mailbox and what of the feed it may see."""

    name: str
    mailbox: Mailbox
    sees: Callable[[Delivery], bool] | None
    activity: Activity | None = None


@dataclass
class Kernel:
    """One run. `simulate` builds it, `run` drives it to its end.

    Args:
        codec: the solver's message types.
        network: what carries messages.
        seed: of all random streams.
        writer: where records go.
        limits: deliveries and virtual time allowed.
        check_cost: virtual time a constraint check takes.
        realtime: real seconds per unit of virtual time, or None for virtual time alone.
        interceptors: active adversaries on the router.
        gates: node -> gate before each of its sends.
    """

    codec: Codec
    network: Network
    seed: int
    writer: LogWriter
    limits: Limits = field(default_factory=Limits)
    check_cost: float = 0.0
    realtime: float | None = None
    interceptors: tuple[Interceptor, ...] = ()
    checked_sends: Callable[[Port, str, Any, bytes], None] | None = None

    def __post_init__(self) -> None:
        self.ports: dict[str, Port] = {}
        self.hosts: dict[str, Host] = {}
        self.observers: list[ObserverSlot] = []
        self.live: dict[str, Callable[[], Mapping[str, Any]]] = {}  # by observer: what to show of it
        self.factory: Callable[[Port], Agent] | None = None
        self.now = 0.0
        self.step = 0
        self.seq = 0
        self.awake = 0
        self.running = 0
        self.outside = 0
        """Activities that await something real; they count as awake, so virtual time stands still."""
        self.current: Activity | None = None
        self.outbox: list[Entry] = []
        self.recording: list[Port] = []
        self.values: list[tuple[float, str, int]] = []
        """Every change of value: (time, node, domain index)."""
        self.deadlock: Deadlock | None = None
        self.failure: BaseException | None = None
        self.limit: str | None = None
        self.complaints: list[str] = []
        self.abandoned: tuple[str, float, str] | None = None
        self.components: Mapping[str, str] = {}
        self.lower_bounds: dict[str, float] = {}
        self.stop_request: str | None = None
        self.hard_stop = False
        self.ended = False
        self.external_results: Callable[[str, str], Any] | None = None
        self._max_messages = self.limits.max_messages if self.limits.max_messages is not None else math.inf
        # Infinity itself lies beyond the limit: that is how a deadlock is noticed.
        self._max_time = self.limits.max_time if self.limits.max_time is not None else sys.float_info.max
        self.simple_time = not self.check_cost and self.realtime is None
        self.plain_sends = self.simple_time
        self.router = Router(self.network, self.seed, self.writer, self.interceptors, steady=self.simple_time)
        self._close_always = bool(self.check_cost)
        self._timers: list[tuple[float, int, Activity, Timeout | None]] = []
        self._timer_count = 0
        self._controls: list[tuple[float, int, str]] = []
        self._feed: list[Delivery] | None = None
        self._observing = False
        self._woken: dict[Host, None] = {}
        self._wall_start = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._done: asyncio.Future[None] | None = None

    # Building --------------------------------------------------------------------------------------------------

    def add_node(self, name: str, agent: str) -> Port:
        """Add a node of `agent` and return its port; nodes are ordered as they are added."""
        host = self.hosts.get(agent)
        if host is None:
            host = self.hosts[agent] = Host(agent, self.network.slow.get(agent, 1.0))
        port = Port(self, name, len(self.ports), host)
        self.ports[name] = port
        return port

    def populate(self, port: Port, agent: Agent) -> None:
        """Put an agent behind a port."""
        port._agent = agent
        port._tally = {cls: port._tally.get(cls) or Tally(spec_of(cls)) for cls in agent.all_messages()}

    def add_observer(self, name: str, sees: Callable[[Delivery], bool] | None, start: Callable[[Mailbox], Any]) -> None:
        """Add an observer: `start` takes its mailbox and returns the coroutine to run."""
        mailbox = Mailbox(self, name)
        slot = ObserverSlot(name, mailbox, sees)
        slot.activity = Activity(self, mailbox, start(mailbox), name, main=True)
        self.observers.append(slot)
        if self._feed is None:
            self._feed = []

    # Running ---------------------------------------------------------------------------------------------------

    async def run(self, task_order: Callable[[list[Activity]], list[Activity]] | None = None) -> None:
        """Run to the end. `task_order` may shuffle the tasks' start, which must change nothing (tests do)."""
        self._loop = asyncio.get_running_loop()
        self._done = self._loop.create_future()
        self._wall_start = time.monotonic()
        activities = [slot.activity for slot in self.observers if slot.activity is not None]
        activities += [self._main_activity(port) for port in self.ports.values()]
        for crash in self.network.crashes:
            heapq.heappush(self._controls, (crash.start, 0, crash.agent))
            if crash.end < math.inf:
                heapq.heappush(self._controls, (crash.end, 1, crash.agent))
        for activity in activities if task_order is None else task_order(activities):
            self.start(activity)
        if not activities:
            self.finish(None)
        try:
            await self._done
        finally:
            self.ended = True
            self._close()

    def _main_activity(self, port: Port) -> Activity:
        agent = port._agent
        assert agent is not None
        by_messages = agent.place == "tree" and agent.view.domain and agent.view.place is None
        main = agent.find_place_then_run() if by_messages else agent.run()
        activity = Activity(self, port, main, port.name, main=True)
        port._activities = [activity]
        self.running += 1
        return activity

    def start(self, activity: Activity) -> None:
        """Give an activity its asyncio task; it counts as awake at once."""
        assert self._loop is not None
        self.awake += 1
        activity.task = self._loop.create_task(activity.drive(), name=activity.name)

    def finish(self, limit: str | None) -> None:
        """End the run; `limit` names the limit that ended it."""
        if not self.ended:
            self.ended = True
            self.limit = limit
            if self._done is not None and not self._done.done():
                self._done.set_result(None)

    def fail(self, error: BaseException) -> None:
        """End the run because of an error."""
        if self.failure is None:
            self.failure = error
        self.finish(None)

    def stuck(self, error: BaseException) -> None:
        """End the run at an agent that never gave control back."""
        if self.current is not None and not self.ended:
            self.complaints.append(f"agent {self.current.mailbox.name} never gave control back at time {self.now:g}")
        self.finish(self.stop_request or "timeout")

    def poke(self) -> None:
        """Look at `stop_request` even if nothing moves; called in the loop by the watchdog or a signal."""
        if self.stop_request is not None and not self.ended and (self.awake == self.outside or self.hard_stop):
            self.finish(self.stop_request)

    def _close(self) -> None:
        for activity in self._all_activities():
            if not activity.done:
                activity.done = True
                if activity.task is not None:
                    activity.task.cancel()
                complaint = activity.close()
                if complaint:
                    self.complaints.append(f"{activity.mailbox.name}: {complaint}")
        self._record_undelivered()

    def _all_activities(self) -> list[Activity]:
        own = [a for port in self.ports.values() for a in port._activities]
        return own + [slot.activity for slot in self.observers if slot.activity is not None]

    def _record_undelivered(self) -> None:
        self.router.next_step += self.outbox  # sent in an instant that was never closed
        for _, n, copy, _, src, dst, spec, _, payload in self.router.undelivered():
            self.writer.add(("fate", "undelivered", self.now, src.name, dst.name, spec.name, n, copy, "end", payload))

    def activity_ended(self, activity: Activity) -> None:
        """Take note that a coroutine returned or raised."""
        mailbox = activity.mailbox
        error = activity.error
        if isinstance(error, Abandoned):
            assert isinstance(mailbox, Port)
            self._abandon(mailbox, activity, error)
            return
        if isinstance(error, StuckAgent):
            self.stuck(error)
            return
        if error is not None and not (activity.joiners and isinstance(error, Exception)):
            self.fail(self._failure(mailbox, error))
            return
        for joiner in activity.joiners:
            joiner.wake()
        if all(slot.activity is not None and slot.activity.done for slot in self.observers):
            self._feed = None  # nobody watches any more
        if activity.main and isinstance(mailbox, Port):
            mailbox.finished = True
            self.running -= 1
            self._close_others(mailbox, activity)
        self.awake -= 1
        if not self.awake:
            self.advance()

    def _abandon(self, port: Port, activity: Activity, why: Abandoned) -> None:
        """Take an agent out of the run that has abandoned it, and tell all others, for whom it is then over too."""
        host = port.host
        self.writer.add(("abandon", self.now, why.node, why.reason, port._n))
        if self.abandoned is None:
            self.abandoned = (why.node, self.now, why.reason)
        if activity.main:
            self.running -= 1
        self._leave(host)
        for other in self.hosts.values():
            if other is not host:
                port.send(other.nodes[0].name, Abandon())
        self.awake -= 1
        if not self.awake:
            self.advance()

    def _leave(self, host: Host) -> None:
        """Close all that an agent still does; it does not come back, crash or no crash."""
        host.left = True
        for port in host.nodes:
            for activity in port._activities:
                if not activity.done:
                    self._retire(activity)
                    if activity.main:
                        self.running -= 1
            port.finished, port.parked = True, []

    def _close_others(self, port: Port, main: Activity) -> None:
        for other in port._activities:
            if other is not main and not other.done:
                self._retire(other)
        port.parked = []

    def _retire(self, activity: Activity) -> None:
        """Close an activity that will never be wanted again; one that is awake gives up its place among the awake."""
        activity.done = True
        activity.close()
        if activity.task is not None:
            activity.task.cancel()
        if not activity.parked:
            self.awake -= 1

    def _failure(self, mailbox: Mailbox, error: BaseException) -> RunError:
        batch = [(b[0], b[1]) for b in mailbox.last_batch if type(b) is tuple]
        shown = ", ".join(f"{src}: {message!r}"[:120] for src, message in batch[:3])
        if len(batch) > 3:
            shown += f", and {len(batch) - 3} more"
        working = f" while working on [{shown}]" if batch else ""
        what = str(error) if isinstance(error, RunError) else f"{type(error).__name__}: {error}"
        if isinstance(mailbox, Port):
            if isinstance(error, AgentFailure):
                return error
            owner = f" of {mailbox.host.name}" if mailbox.host.name != mailbox.name else ""
            failure: RunError = AgentFailure(
                mailbox.name, f"{what}{owner and f' (node{owner})'} at time {self.now:g}{working}"
            )
        else:
            failure = ObserverFailure(mailbox.name, f"{what} at time {self.now:g}")
        failure.__cause__ = error
        return failure

    # Sending ---------------------------------------------------------------------------------------------------

    def cannot_send(self, port: Port, to: str, message: Any, error: Exception) -> MessageError:
        """Say why a send failed, naming sender, receiver and type."""
        kind = type(message)
        if kind not in port._tally:
            known = ", ".join(t.spec.name for cls, t in port._tally.items() if cls is not Abandon) or "none"
            return MessageError(f"{port.name} sent {to} a {kind.__name__}, not a message type of its solver ({known})")
        name = port._tally[kind].spec.name
        if to not in self.ports:
            return MessageError(f"{port.name} sent {name} to {to!r}, which does not exist")
        return MessageError(f"{port.name} sent {to} a {name} that cannot travel: {error}")

    def examine_send(self, port: Port, to: str, message: Any, payload: bytes) -> float:
        """Ask the sender's gate, if there are gates, and return when the message leaves.

        That is later than now by the computing done in this step, and as late as the clock says in real time.
        """
        if self.checked_sends is not None and type(message) is not Abandon:
            self.checked_sends(port, to, message, payload)
        host = port.host
        at = self.now + (host.checks - host.work_mark) * self.check_cost * host.speed
        if self.realtime is not None:
            at = max(at, self._wall_time())
        return at

    def _wall_time(self) -> float:
        assert self.realtime is not None
        return (time.monotonic() - self._wall_start) / self.realtime if self.realtime else self.now

    # Time ------------------------------------------------------------------------------------------------------

    def add_timer(self, when: float, activity: Activity, scope: Timeout | None) -> None:
        """Wake an activity at `when`; with a scope, tell it that its time is up."""
        self._timer_count += 1
        heapq.heappush(self._timers, (when, self._timer_count, activity, scope))

    def advance(self) -> None:
        """Close this instant and open the next; called when nobody is awake."""
        self.current = None
        try:
            while not self.awake and not self.ended:
                if not self._observing:
                    if self.outbox or self.recording or self._close_always:
                        self._close_instant()
                    if self._feed and self._hand_out():
                        self._observing = True
                        continue
                self._observing = False
                if self.stop_request is not None:
                    self.finish(self.stop_request)
                elif not self.running:
                    self.finish(None)
                elif not self._open_instant():
                    return
        except Exception as error:
            self.fail(error)

    def _close_instant(self) -> None:
        if self.recording:
            self.recording.sort(key=_by_index)
            for port in self.recording:
                for record in port._records:
                    if record[0] == "assign":
                        self.values.append(record[1:])
                    elif record[0] == "bound" and record[3] is not None:
                        self.lower_bounds[self.components.get(port.name, port.name)] = record[3]
                    self.writer.add(record)
                port._records = []
            self.recording = []
        if self.check_cost:
            for host in self._woken:
                host.busy_until = self.now + (host.checks - host.work_mark) * self.check_cost * host.speed
                host.work_mark = host.checks
            self._woken = {}
        if self.outbox:
            out, self.outbox = self.outbox, []
            self.router.route(out, self.now)

    def _hand_out(self) -> bool:
        """Give observers what was delivered; tell whether any of them woke."""
        feed, self._feed = self._feed, []
        assert feed is not None
        for slot in self.observers:
            if slot.activity is not None and slot.activity.done:
                continue
            sees = slot.sees
            seen = feed if sees is None else [d for d in feed if sees(d)]
            if seen:
                slot.mailbox.inbox.extend(seen)
                self._wake_parked(slot.mailbox)
        return self.awake > 0

    def _wake_parked(self, mailbox: Mailbox) -> None:
        parked, mailbox.parked = mailbox.parked, []
        for activity in parked:
            activity.wake()

    def _open_instant(self) -> bool:
        """Move time on and deliver; False if the run ended or waits for the real clock."""
        if self.seq >= self._max_messages:
            self.finish("max_messages")
            return False
        router = self.router
        heap, bulk = router.heap, router.bulk
        if self.step > STEP_LIMIT:
            raise Livelock(f"{STEP_LIMIT} steps at time {self.now:g}: messages that take no time go round for ever")
        if router.next_step:
            self.step += 1
            batch, router.next_step = router.next_step, []
        else:
            when = heap[0][0] if heap else math.inf
            if bulk and bulk[0][0] < when:
                when = bulk[0][0]
            timers, controls = self._timers, self._controls
            if timers and timers[0][0] < when:
                when = timers[0][0]
            if controls and controls[0][0] < when:
                when = controls[0][0]
            if when > self._max_time or self.realtime is not None:
                if when == math.inf:
                    self._report_deadlock()
                    return False
                if when > self._max_time:
                    self.finish("max_time")
                    return False
                wall = self._wall_time()
                if when > wall and self.realtime:
                    assert self._loop is not None
                    self._loop.call_later((when - wall) * self.realtime, self._resume)
                    return False
                when = max(when, wall)
            self.step = self.step + 1 if when == self.now else 0
            self.now = when
            if controls and controls[0][0] <= when:
                self._control()
            batch = bulk.popleft()[1] if bulk and bulk[0][0] <= when else []
            while heap and heap[0][0] <= when:  # in real time several moments may have passed at once
                batch.append(heapq.heappop(heap)[1])
        self._deliver(batch)
        if self._timers and self._timers[0][0] <= self.now:
            self._fire_timers()
        return True

    def _fire_timers(self) -> None:
        self.writer.add(("wake", self.now, self.step))
        while self._timers and self._timers[0][0] <= self.now:
            _, _, activity, scope = heapq.heappop(self._timers)
            self._fire(activity, scope)

    def _resume(self) -> None:
        if not self.ended and not self.awake:
            self._observing = False
            self.advance()

    def _fire(self, activity: Activity, scope: Timeout | None) -> None:
        if activity.done:
            return
        if scope is not None:
            if scope not in activity.scopes:
                return
            scope.fired = True
        if not activity.parked:
            return  # it is awake already: a message at the same instant came first
        if activity in activity.mailbox.parked:
            activity.mailbox.parked.remove(activity)
        if isinstance(activity.mailbox, Port) and self.check_cost:
            self._woken[activity.mailbox.host] = None
        activity.wake()

    def _deliver(self, batch: list[Entry]) -> None:
        """Log and hand over one instant's messages."""
        if len(batch) > 1:
            batch.sort()
        now, step, seq = self.now, self.step, self.seq
        writer = self.writer
        buffer, write = writer.buffer, writer.pack
        feed, check_cost = self._feed, self.check_cost
        for index, n, copy, sent_at, src, dst, spec, stamp, payload in batch:
            host = dst.host
            if check_cost:
                if host.busy_until > now:
                    self.router.schedule(
                        host.busy_until, (index, n, copy, sent_at, src, dst, spec, stamp, payload), now
                    )
                    continue
                self._woken[host] = None
            if host.crashed:
                self.router.fate(
                    (index, n, copy, sent_at, src, dst, spec, stamp, payload), Fate("dropped", now, copy, "crash")
                )
                continue
            seq += 1
            record = (seq, sent_at, now, step, src.name, dst.name, spec.name, n, copy, stamp, payload)
            buffer += write(record)
            if len(buffer) >= BLOCK_SIZE:
                writer.cut()
            try:
                message = spec.decode(payload)
            except MessageError as error:
                self.seq = seq
                raise AgentFailure(
                    src.name, f"its {spec.name} (send {n}) to {dst.name} is malformed: {error}"
                ) from error
            if feed is not None:
                feed.append(_new(Delivery, (*record, message)))
            if self.abandoned is not None and type(message) is Abandon:
                self._leave(host)
            if not dst.finished:
                dst.inbox.append((src.name, message))
                dst.stamps.append(stamp)
                parked = dst.parked
                if parked:
                    for activity in parked:
                        activity.wake()
                    parked.clear()
        self.seq = seq

    def _control(self) -> None:
        """Crash and restart agents whose moment has come."""
        while self._controls and self._controls[0][0] <= self.now:
            _, restart, agent = heapq.heappop(self._controls)
            host = self.hosts[agent]
            if host.left:
                continue
            host.down += -1 if restart else 1  # windows may overlap
            if restart and not host.down:
                self.restart(host)
            elif not restart and host.down == 1:
                self.crash(host)

    def crash(self, host: Host) -> None:
        """Close every coroutine of an agent; what is on its way to it will be lost."""
        host.crashed = True
        self.writer.add(("crash", self.now, host.name))
        for port in host.nodes:
            for activity in port._activities:
                if not activity.done:
                    activity.done = True
                    activity.close()
                    if activity.task is not None:
                        activity.task.cancel()
                    if activity.main:
                        self.running -= 1
            port.parked, port.inbox, port.stamps = [], [], []

    def restart(self, host: Host) -> None:
        """Start an agent anew from its local view; it has forgotten everything."""
        assert self.factory is not None
        host.crashed = False
        self.writer.add(("restart", self.now, host.name))
        for port in host.nodes:
            port.finished = False
            self.populate(port, self.factory(port))
            self.start(self._main_activity(port))

    def _report_deadlock(self) -> None:
        waiting = {}
        for port in self.ports.values():
            for activity in port._activities:
                if not activity.done and activity.waiting is not None:
                    waiting[port.name] = activity.waiting.describe()
                    break
            if port.host.crashed and not port.finished:
                waiting[port.name] = "nothing: it has crashed"
        lost = tuple(record for record in self.router.lost if record[2] in waiting)
        self.deadlock = Deadlock(waiting, lost or tuple(self.router.lost))
        self.finish("deadlock")


def _by_index(port: Port) -> int:
    return port._index
