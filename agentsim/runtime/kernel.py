"""The kernel: virtual time, and the rule that the next instant is delivered when the last agent blocks.

Every agent is an asyncio task with a mailbox. A queue knows who is awake. When the last one blocks, the kernel
closes the instant (records what agents declared, routes what they sent, lets observers look at what was delivered) and
opens the next: control events, deliveries, timers; then agents run until all wait.

The order of deliveries within an instant is (sender's index, sender's send number, copy); instants are ordered by
(time, step). Nothing depends on which task ran first, and nothing on a hash.
"""

from __future__ import annotations

import asyncio
import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any, Final

from agentsim.record.log import BLOCK_SIZE
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.failures import Deadlock, Livelock, deadlock_of, malformed
from agentsim.runtime.messages import Abandon, MessageError
from agentsim.runtime.network import Fate
from agentsim.runtime.population import Population
from agentsim.runtime.port import Activity, Host, Mailbox, Port
from agentsim.runtime.router import Entry, Interceptor, Router
from agentsim.runtime.waits import Timeout
from agentsim.runtime.watchdog import StuckAgent

STEP_LIMIT: Final = 10_000
_INSTANTS_PER_TURN: Final = 256
"""After so many the event loop gets its turn: other runs in it, the watchdog."""
_NEVER: Final = math.inf

_new = tuple.__new__


@dataclass(slots=True)
class Limits:
    """When a run stops though agents have not finished: deliveries, virtual time."""

    max_messages: int | None = None
    max_time: float | None = None


@dataclass(slots=True, eq=False, repr=False)
class Kernel(Population):
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
        checked_sends: called with port, receiver, message and payload before each send: the gates.
    """

    limits: Limits = field(default_factory=Limits)
    check_cost: float = 0.0
    realtime: float | None = None
    interceptors: tuple[Interceptor, ...] = ()
    checked_sends: Callable[[Port, str, Any, bytes], None] | None = None

    step: int = field(init=False, default=0)
    """Within the time `now`: messages that take no time arrive at its next step."""
    seq: int = field(init=False, default=0)
    """Deliveries so far."""
    outbox: list[Entry] = field(init=False, default_factory=list)
    recording: list[Port] = field(init=False, default_factory=list)
    """Ports with records of this instant, in any order."""
    values: list[tuple[float, str, int]] = field(init=False, default_factory=list)
    """Every change of value: (time, node, domain index)."""
    lower_bounds: dict[str, float] = field(init=False, default_factory=dict)
    """By component, the last lower bound that was declared."""
    components: Mapping[str, str] = field(init=False, default_factory=dict)
    """By node, the first node of its component."""
    deadlock: Deadlock | None = field(init=False, default=None)
    hard_stop: bool = field(init=False, default=False)
    simple_time: bool = field(init=False)
    """Whether what is sent leaves at the instant's own time."""
    plain_sends: bool = field(init=False)
    """Whether a send needs no look at clock or gates."""
    router: Router = field(init=False)
    _max_messages: float = field(init=False)
    _max_time: float = field(init=False)
    _free_until: float = field(init=False)
    """Up to this time the clock may be moved without asking anybody."""
    _only_messages: bool = field(init=False, default=False)
    """Whether `_work_plainly` will do."""
    _all_are_up: bool = field(init=False)
    """Whether no agent is ever busy or crashed."""
    _close_always: bool = field(init=False)
    _timers: list[tuple[float, int, Activity, Timeout | None]] = field(init=False, default_factory=list)
    _timer_count: int = field(init=False, default=0)
    _controls: list[tuple[float, int, str]] = field(init=False, default_factory=list)
    """Crashes (0) and restarts (1) to come: (time, which, agent)."""
    _alarm: float = field(init=False, default=_NEVER)
    """When the first of timers and controls is due."""
    _woken: dict[Host, None] = field(init=False, default_factory=dict)
    """With `check_cost`: who had something to do in this instant."""
    _observing: bool = field(init=False, default=False)
    _scheduled: bool = field(init=False, default=False)
    _wall_start: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        limits = self.limits
        self._max_messages = limits.max_messages if limits.max_messages is not None else _NEVER
        # Infinity itself lies beyond the limit: that is how a deadlock is noticed.
        self._max_time = limits.max_time if limits.max_time is not None else sys.float_info.max
        self._free_until = self._max_time if self.realtime is None else -_NEVER
        self.plain_sends = self.simple_time = not self.check_cost and self.realtime is None
        self._close_always = bool(self.check_cost)
        self._all_are_up = not self.check_cost and not self.network.crashes
        self.router = Router(self.network, self.seed, self.writer, self.interceptors, steady=self.simple_time)
        self.writer.on_failure = self.fail

    # Running ---------------------------------------------------------------------------------------------------

    async def run(self, task_order: Callable[[list[Activity]], list[Activity]] | None = None) -> None:
        """Run to the end. `task_order` may shuffle the tasks' start, which must change nothing (tests do)."""
        self._loop = asyncio.get_running_loop()
        self._done = self._loop.create_future()
        self._wall_start = time.monotonic()
        activities = [slot.activity for slot in self.observers if slot.activity is not None]
        activities += [self._main_activity(port) for port in self.ports.values()]
        for crash in self.network.crashes:
            self._add_control(crash.start, 0, crash.agent)
            if crash.end < _NEVER:
                self._add_control(crash.end, 1, crash.agent)
        unwatched = self._feed is None and self.door is None and self.checked_sends is None
        usual = type(self) is Kernel and self.simple_time and self._all_are_up
        self._only_messages = usual and unwatched and self.router.plain
        for activity in activities if task_order is None else task_order(activities):
            self.start(activity)
        self.schedule()
        if not activities:
            self.finish(None)
        try:
            await self._done
        finally:
            self.ended = True
            self._close()
            self._record_undelivered()

    def schedule(self) -> None:
        """Have the event loop call `work`, soon and once."""
        if not self._scheduled and self._loop is not None:
            self._scheduled = True
            self._loop.call_soon(self.work)

    def poke(self) -> None:
        """Look at `stop_request` even if nothing moves; called in the loop by the watchdog or a signal."""
        nothing_moves = not self.awake and not self._scheduled
        if self.stop_request is not None and not self.ended and (nothing_moves or self.hard_stop):
            self.finish(self.stop_request)

    def work(self) -> None:
        """Have whoever is awake go on; when all wait, close the instant and open the next; for many instants."""
        self._scheduled = False
        awake = self.awake
        try:
            for _ in range(_INSTANTS_PER_TURN):
                if self._only_messages and self._work_plainly():
                    break
                while awake:
                    activity = awake.popleft()
                    if activity.done:
                        continue
                    resume = activity.rest.resume
                    if resume is None:  # its task has not begun, which is the event loop's business
                        awake.appendleft(activity)
                        self.current = None
                        self.schedule()
                        return
                    resume()
                self.current = None
                if self.ended or self.outside:
                    return
                if self._observing:
                    self._observing = False
                else:
                    if self.outbox or self.recording or self._close_always:
                        self._close_instant()
                    if self._feed and self._hand_out():
                        self._observing = True
                        continue
                if self.stop_request is not None or not self.running:
                    self.finish(self.stop_request)
                if self.ended or not self._open_instant():
                    return
        except Exception as error:
            self.fail(error)
        except StuckAgent as error:
            self.stuck(error)
        else:
            self.schedule()

    def _work_plainly(self) -> bool:
        """Do what `work` does as long as there are messages alone; tell whether it is the event loop's turn.

        It is for random networks, where most instants have one message: the look-ups that many instants can share and
        the calls that each of them takes were a fifth of a run's time.
        """
        awake, router, writer = self.awake, self.router, self.writer
        heap, buffer, write = router.heap, writer.buffer, writer.pack
        last_time, last_seq = self._free_until, self._max_messages
        for _ in range(_INSTANTS_PER_TURN):
            while awake:
                activity = awake.popleft()
                if activity.done:
                    continue
                resume = activity.rest.resume
                if resume is None:
                    awake.appendleft(activity)
                    return False
                resume()
            if self.ended or self.outside or self.stop_request is not None or not self.running:
                return False
            if self.outbox or self.recording:
                self._close_instant()
            seq = self.seq
            if not heap or router.next_step or seq >= last_seq:
                return False
            now = heap[0][0]
            if now > last_time or now >= self._alarm:
                return False
            self.current = None
            self.now, self.step = now, 0
            batch = [heappop(heap)[1]]
            if heap and heap[0][0] == now:
                while heap and heap[0][0] == now:
                    batch.append(heappop(heap)[1])
                batch.sort()
            for entry in batch:
                _, n, copy, sent_at, src, dst, spec, stamp, payload = entry
                src_name = src.name
                message = spec.known.get(payload)
                if message is None:
                    self.seq = seq
                    message = self._read(entry, batch)
                seq += 1
                buffer += write((seq, sent_at, now, 0, src_name, dst.name, spec.name, n, copy, stamp, payload))
                if len(buffer) >= BLOCK_SIZE:
                    writer.cut()
                if not dst.finished:
                    dst.inbox.append((src_name, message))
                    dst.stamps.append(stamp)
                    parked = dst.parked
                    if parked:
                        for activity in parked:
                            activity.waiting = None
                        awake.extend(parked)
                        parked.clear()
            self.seq = seq
            if writer.failure is not None:
                awake.clear()
        return True

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
        return bool(self.awake)

    def _wake_parked(self, mailbox: Mailbox) -> None:
        parked, mailbox.parked = mailbox.parked, []
        for activity in parked:
            activity.wake()

    def _close_instant(self) -> None:
        """Record what was declared in this instant, in the order of nodes, and route what was sent."""
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

    def _record_undelivered(self) -> None:
        self.router.next_step += self.outbox  # sent in an instant that was never closed
        for _, n, copy, _, src, dst, spec, _, payload in self.router.undelivered():
            self.writer.add(("fate", "undelivered", self.now, src.name, dst.name, spec.name, n, copy, "end", payload))

    # Sending ---------------------------------------------------------------------------------------------------

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

    def _open_instant(self) -> bool:
        """Move time on and deliver; False if the run ended or waits for the real clock."""
        if self.seq >= self._max_messages:
            self.finish("max_messages")
            return False
        router = self.router
        if router.next_step:
            self._step_on()
            batch, router.next_step = router.next_step, []
        else:
            heap, bulk = router.heap, router.bulk
            when = alarm = self._alarm
            if heap and heap[0][0] < when:
                when = heap[0][0]
            if bulk and bulk[0][0] < when:
                when = bulk[0][0]
            if when > self._free_until:
                allowed = self._ask_clock(when)
                if allowed is None:
                    return False
                when = allowed
            if when == self.now:
                self._step_on()
            else:
                self.now, self.step = when, 0
            if alarm <= when:
                self._control()
            batch = bulk.popleft()[1] if bulk and bulk[0][0] <= when else []
            while heap and heap[0][0] <= when:  # in real time several moments may have passed at once
                batch.append(heappop(heap)[1])
        self._deliver(batch)
        if self.door is not None:
            self.door(batch)
        if self._alarm <= self.now:
            self._fire_timers()
        return not self.ended

    def _step_on(self) -> None:
        self.step += 1
        if self.step > STEP_LIMIT + 1:
            raise Livelock(f"{STEP_LIMIT} steps at time {self.now:g}: messages that take no time go round for ever")

    def _ask_clock(self, when: float) -> float | None:
        """Return the time of the next instant, which is due at `when`; None if the run ends or must wait for it."""
        if when == _NEVER:
            self.deadlock = deadlock_of(self.ports.values(), self.router.lost)
            self.finish("deadlock")
            return None
        if when > self._max_time:
            self.finish("max_time")
            return None
        wall = self._wall_time()
        if when > wall and self.realtime:
            assert self._loop is not None
            self._loop.call_later((when - wall) * self.realtime, self.schedule)
            return None
        return max(when, wall)

    def _deliver(self, batch: list[Entry]) -> None:
        """Log and hand over one instant's messages."""
        if len(batch) > 1:
            batch.sort()
        now, step, seq = self.now, self.step, self.seq
        writer = self.writer
        buffer, write = writer.buffer, writer.pack
        feed, awake, all_are_up, abandoned = self._feed, self.awake, self._all_are_up, self.abandoned is not None
        for entry in batch:
            _, n, copy, sent_at, src, dst, spec, stamp, payload = entry
            if not all_are_up and not self._is_up(dst.host, entry):
                continue
            src_name = src.name
            message = spec.known.get(payload)
            if message is None:
                self.seq = seq
                message = self._read(entry, batch)
            seq += 1
            record = (seq, sent_at, now, step, src_name, dst.name, spec.name, n, copy, stamp, payload)
            buffer += write(record)
            if len(buffer) >= BLOCK_SIZE:
                writer.cut()
            if feed is not None:
                feed.append(_new(Delivery, record + (message,)))  # noqa: RUF005  # a list less than with a star
            if abandoned and type(message) is Abandon:
                self._leave(dst.host)
            if not (dst.finished or (copy and dst.once)):
                dst.inbox.append((src_name, message))
                dst.stamps.append(stamp)
                parked = dst.parked
                if parked:
                    for activity in parked:
                        activity.waiting = None  # `wake`, without a call for each delivery
                    awake.extend(parked)
                    parked.clear()
        self.seq = seq

    def _read(self, entry: Entry, batch: list[Entry]) -> Any:
        """Return the message of an entry; if it is malformed, it and those after it are undelivered."""
        _, n, _, _, src, dst, spec, _, payload = entry
        try:
            return spec.decode(payload)
        except MessageError as error:
            self.router.next_step += batch[batch.index(entry) :]  # what is delivered can be read
            raise malformed(src.name, spec.name, n, dst.name, error) from error

    def _is_up(self, host: Host, entry: Entry) -> bool:
        """Tell whether an agent takes a message now: if it is busy it gets it later, if it has crashed not at all."""
        if self.check_cost:
            if host.busy_until > self.now:
                self.router.schedule(host.busy_until, entry, self.now)
                return False
            self._woken[host] = None
        if host.crashed:
            self.router.fate(entry, Fate("dropped", self.now, entry[2], "crash"))
            return False
        return True

    # Timers, crashes, restarts ---------------------------------------------------------------------------------

    def add_timer(self, when: float, activity: Activity, scope: Timeout | None) -> None:
        """Wake an activity at `when`; with a scope, tell it that its time is up."""
        self._timer_count += 1
        heappush(self._timers, (when, self._timer_count, activity, scope))
        self._alarm = min(self._alarm, when)

    def _add_control(self, when: float, restart: int, agent: str) -> None:
        heappush(self._controls, (when, restart, agent))
        self._alarm = min(self._alarm, when)

    def _control(self) -> None:
        """Crash and restart agents whose moment has come."""
        while self._controls and self._controls[0][0] <= self.now:
            _, restart, agent = heappop(self._controls)
            host = self.hosts[agent]
            if host.left:
                continue
            host.down += -1 if restart else 1  # windows may overlap
            if restart and not host.down:
                self.restart(host)
            elif not restart and host.down == 1:
                self.crash(host)

    def _fire_timers(self) -> None:
        """Have all go off whose time has come, and set the alarm for the next."""
        timers, controls = self._timers, self._controls
        if timers and timers[0][0] <= self.now:
            self.writer.add(("wake", self.now, self.step))
            while timers and timers[0][0] <= self.now:
                _, _, activity, scope = heappop(timers)
                self._fire(activity, scope)
        self._alarm = min(timers[0][0] if timers else _NEVER, controls[0][0] if controls else _NEVER)

    def _fire(self, activity: Activity, scope: Timeout | None) -> None:
        if activity.done:
            return
        if scope is not None:
            if scope not in activity.scopes:
                return
            scope.fired = True
        if activity.waiting is None:
            return  # it is awake already: a message at the same instant came first
        if activity in activity.mailbox.parked:
            activity.mailbox.parked.remove(activity)
        if isinstance(activity.mailbox, Port) and self.check_cost:
            self._woken[activity.mailbox.host] = None
        activity.wake()


def _by_index(port: Port) -> int:
    return port._index
