"""Recovery: an agent that crashes and restarts over a `reliable` network gets its state back from its journal.

The journal has what the agent met, instant by instant: the mail it got, that its timers went off, that it was
restarted, and what came from outside. It also has what the agent sent. At a restart a new agent is made from the same
local view and lives through the journal again, in virtual time and with a random stream of its own from the start.
What it sends then goes nowhere and is compared with what had been sent: an agent that does otherwise the second time
(one that reads a clock, say) ends the run as one that cannot be recovered. Nothing is counted or recorded twice.

Journals are kept only for agents that the network crashes and restarts. The verifier of logs recovers in the same way.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from agentsim.record.log import LogWriter
from agentsim.runtime.failures import AgentFailure
from agentsim.runtime.kernel import Kernel
from agentsim.runtime.port import Activity, Host, Port
from agentsim.runtime.router import Entry
from agentsim.runtime.waits import Drain, Expired, External, Join, Receive, Sleep, Timeout, Wait
from agentsim.runtime.watchdog import StuckAgent

_Sent = tuple[str, str, bytes]
"""A message without its sender and number: receiver, type, payload."""


@dataclass(slots=True)
class _Moment:
    """What one agent met when an instant opened: by node (sender, message) with stamps; whether timers went off."""

    time: float
    step: int
    mail: list[tuple[Port, list[Any], list[int]]] = field(default_factory=list)
    timers: bool = False
    restart: bool = False


@dataclass(slots=True)
class _Journal:
    """The life of one agent so far."""

    moments: list[_Moment] = field(default_factory=list)
    sent: dict[str, list[_Sent]] = field(default_factory=dict)
    external: dict[str, list[tuple[str, Any]]] = field(default_factory=dict)

    def note_sent(self, entry: Entry) -> None:
        """Add a message that left."""
        _, _, _, _, src, dst, spec, _, payload = entry
        self.sent.setdefault(src.name, []).append((dst.name, spec.name, payload))

    def note_external(self, node: str, label: str, result: object) -> None:
        """Add a result of an external wait."""
        self.external.setdefault(node, []).append((label, result))


class RecoveringKernel(Kernel):
    """A kernel that keeps the journals of the agents that its network crashes and restarts, and recovers them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._journals = {agent: _Journal() for agent in sorted(self.network.recovering)}
        self._known: dict[Port, int] = {}
        """By node, how much of its mail the journal has."""
        self._opening: dict[str, _Moment] = {}
        """By agent, what it met in the instant that is being opened."""

    def _moment(self, agent: str) -> _Moment:
        moment = self._opening.get(agent)
        if moment is None:
            moment = self._opening[agent] = _Moment(self.now, self.step)
        return moment

    def _open_instant(self) -> bool:
        self._opening = {}
        ports = [port for agent in self._journals for port in self.hosts[agent].nodes]
        self._known = {port: len(port.stamps) for port in ports}
        opened = super()._open_instant()
        for port in ports:
            known = self._known[port]
            if len(port.stamps) > known:
                mail = (port, port.inbox[known:], port.stamps[known:])
                self._moment(port.host.name).mail.append(mail)
        for agent, moment in self._opening.items():
            self._journals[agent].moments.append(moment)
        return opened

    def _close_instant(self) -> None:
        for entry in self.outbox:
            journal = self._journals.get(entry[4].host.name)
            if journal is not None:
                journal.note_sent(entry)
        for port in self.recording:
            for record in port._records:
                if record[0] == "external":
                    self.note_external(*record[2:])
        super()._close_instant()

    def note_external(self, node: str, label: str, result: object) -> None:
        """Keep a result of an external wait, for an agent that may need it again."""
        journal = self._journals.get(self.ports[node].host.name)
        if journal is not None:
            journal.note_external(node, label, result)

    def _fire(self, activity: Activity, scope: Timeout | None) -> None:
        mailbox = activity.mailbox
        if isinstance(mailbox, Port) and mailbox.host.name in self._journals and not mailbox.host.crashed:
            self._moment(mailbox.host.name).timers = True
        super()._fire(activity, scope)

    def crash(self, host: Host) -> None:
        """Close every coroutine of an agent; its own mail waits until it is back, if it comes back."""
        super().crash(host)
        if host.name in self._journals:
            for port in host.nodes:
                self._known[port] = 0
            back = self.network.up_again(host.name, self.now)
            if back < math.inf:
                self.router.postpone(host, back)

    def restart(self, host: Host) -> None:
        """Start an agent anew and have it recover its state, if its journal is kept.

        Raises:
            AgentFailure: living through its journal again, it did something else.
        """
        journal = self._journals.get(host.name)
        if journal is None:
            super().restart(host)
            return
        self.revive(host)
        replay = _Replay(self.codec, self.network, self.seed, LogWriter(None, memory_limit=0))
        replay.live_again(self, host, journal)
        self._moment(host.name).restart = True
        for port in host.nodes:
            self._known[port] = len(port.stamps)
        if self.check_cost:
            self._woken[host] = None


class _Replay(Kernel):
    """A kernel in which one agent lives through its journal; it needs no event loop, and nothing leaves it."""

    def live_again(self, kernel: Kernel, host: Host, journal: _Journal) -> None:
        """Recover an agent into its ports, and leave it with `kernel`, its activities about to go on from there."""
        self.factory, self.ports, self.hosts = kernel.factory, kernel.ports, kernel.hosts
        self._host, self._journal = host, journal
        self._matched = dict.fromkeys((port.name for port in host.nodes), 0)
        self._results = {node: deque(found) for node, found in journal.external.items()}
        host_before = host.clock, host.checks, host.busy_until, host.work_mark
        before = {port: (port._tally, port._n) for port in host.nodes}
        try:
            for port in host.nodes:
                self._empty(port)
            self._start(kernel)
            for moment in journal.moments:
                if kernel.stop_request is not None:
                    kernel.current = None
                    kernel.finish(kernel.stop_request)
                    return
                self._relive(moment, kernel)
            for port in host.nodes:
                if self._matched[port.name] < len(journal.sent.get(port.name, ())):
                    raise self._differs(port, "had sent", journal.sent[port.name][self._matched[port.name]], None)
        finally:
            host.clock, host.checks, host.busy_until, host.work_mark = host_before
            for port, (tally, n) in before.items():
                port.kernel, port._tally, port._n = kernel, tally, n
        kernel.current = None
        self._hand_over(kernel)

    def _empty(self, port: Port) -> None:
        port.kernel = self
        port.inbox, port.stamps, port.parked, port.last_batch, port.sender = [], [], [], [], ""
        port._records, port._activities, port._tally = [], [], {}
        port._n, port._rng, port._assigned, port.finished = 0, None, None, False
        port.host.clock = port.host.checks = port.host.work_mark = 0

    def _start(self, kernel: Kernel) -> None:
        assert self.factory is not None
        for port in self._host.nodes:
            try:
                self.populate(port, self.factory(port))
            except Exception as error:
                raise self._unrecovered(port, f"a new one raised {type(error).__name__}: {error}") from error
        for port in self._host.nodes:
            self.start(self._main_activity(port))
        self._run(kernel)

    def _relive(self, moment: _Moment, kernel: Kernel) -> None:
        self.now, self.step = moment.time, moment.step
        if moment.restart:
            self._hand_over(self)
        for port, inbox, stamps in moment.mail:
            port.inbox += inbox
            port.stamps += stamps
            self._wake_parked(port)
        if moment.timers:
            while self._timers and self._timers[0][0] <= self.now:
                _, _, activity, scope = heapq.heappop(self._timers)
                self._fire(activity, scope)
        self._run(kernel)

    def _hand_over(self, kernel: Kernel) -> None:
        """Have `kernel` go on with all activities: each steps once more, finds that it still waits, and waits."""
        timers, self._timers = sorted(self._timers, key=lambda timer: timer[:2]), []
        for when, _, activity, scope in timers:
            if scope is not None and scope in activity.scopes:
                kernel.add_timer(max(when, kernel.now), activity, scope)
        for port in self._host.nodes:
            port.parked = []
            for activity in port._activities:
                if not activity.done:
                    activity.kernel, activity.waiting, activity.joiners = kernel, None, []
                    if activity.main and kernel is not self:
                        kernel.running += 1
                    kernel.start(activity)

    # Instead of tasks ------------------------------------------------------------------------------------------

    def start(self, activity: Activity) -> None:
        """Have an activity run when those before it wait."""
        self.awake.append(activity)

    def _run(self, kernel: Kernel) -> None:
        """Step activities until all wait, as their tasks did, and compare what they sent."""
        while self.awake:
            activity = self.awake.popleft()
            if not activity.done:
                kernel.current = activity  # the watchdog is to find one that never gives control back
                self._step(activity)
        out, self.outbox, self.recording = self.outbox, [], []
        for port in self._host.nodes:
            port._records = []
        for entry in out:
            self._compare(entry)

    def _step(self, activity: Activity) -> None:
        """Do what `Activity.drive` does until the activity waits or ends."""
        coroutine, mailbox = activity.coroutine, activity.mailbox
        wait: Wait | None
        try:
            while True:
                self.current = activity
                wait = coroutine.send(None)
                fired = next((scope for scope in activity.scopes if scope.fired), None)
                if fired is not None:
                    fired.fired = False
                    wait = coroutine.throw(Expired(fired))
                if isinstance(wait, External):
                    wait.result = self._result(mailbox.name, wait.label)
                    self.awake.append(activity)
                    return
                if wait is not None:
                    break
        except StopIteration as stop:
            activity.result = stop.value
            self._ended(activity)
            return
        except (StuckAgent, KeyboardInterrupt, AgentFailure):
            raise
        except BaseException as error:
            activity.error = error
            self._ended(activity)
            return
        if isinstance(wait, (Drain, Receive)):
            mailbox.parked.append(activity)
        elif isinstance(wait, Sleep):
            self.add_timer(wait.until, activity, None)
        elif isinstance(wait, Join):
            wait.activity.joiners.append(activity)
        else:
            raise self._unrecovered(mailbox, f"it awaited {wait!r}")
        activity.waiting = wait

    def _ended(self, activity: Activity) -> None:
        activity.done = True
        error, port = activity.error, activity.mailbox
        assert isinstance(port, Port)
        if error is not None and not (activity.joiners and isinstance(error, Exception)):
            raise self._unrecovered(port, f"it raised {type(error).__name__}: {error}") from error
        for joiner in activity.joiners:
            joiner.wake()
        if activity.main:
            port.finished = True
            self._close_others(port, activity)

    def _result(self, node: str, label: str) -> object:
        results = self._results.get(node)
        if not results or results[0][0] != label:
            raise self._unrecovered(self.ports[node], f"it waits for {label}, which it had not waited for")
        return results.popleft()[1]

    # Differences -----------------------------------------------------------------------------------------------

    def _compare(self, entry: Entry) -> None:
        _, n, _, _, src, dst, spec, _, payload = entry
        sent = self._journal.sent.get(src.name, ())
        got = dst.name, spec.name, payload
        if n > len(sent):
            raise self._differs(src, "had sent no more", None, got)
        if sent[n - 1] != got:
            raise self._differs(src, "had sent", sent[n - 1], got)
        self._matched[src.name] = n

    def _differs(self, port: Port, had: str, expected: _Sent | None, got: _Sent | None) -> AgentFailure:
        n = self._matched[port.name] + 1
        before = had if expected is None else f"{had} {_shown(expected)}"
        return self._unrecovered(port, f"message {n}: it {before}, and now {_shown(got) if got else 'nothing'}")

    def _unrecovered(self, port: Any, what: str) -> AgentFailure:
        return AgentFailure(
            port.name,
            f"cannot be recovered after its crash: living through its journal again, at time {self.now:g}, {what}",
        )


def _shown(sent: _Sent) -> str:
    dst, type_name, payload = sent
    return f"{type_name} {payload[:40].hex(' ')} to {dst}"


__all__ = ["RecoveringKernel"]
