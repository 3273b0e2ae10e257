"""Who takes part in a run: nodes with their agents, observers, and how each of them begins, ends, crashes and restarts.

A node finishes when its main coroutine returns. An agent leaves when it abandons the run, or is told that another has.
A crash closes coroutines and loses what is on its way; a restart makes a new agent from the same local view. The run
itself ends when all nodes have finished, at a limit, or at the first failure.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agentsim.errors import RunError
from agentsim.record.log import LogWriter
from agentsim.runtime.agent import Agent
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.failures import failure_of, observer_failure_of
from agentsim.runtime.messages import Abandon, Codec, spec_of
from agentsim.runtime.network import Network
from agentsim.runtime.port import Abandoned, Activity, Host, Mailbox, Port, Tally
from agentsim.runtime.router import Entry
from agentsim.runtime.watchdog import StuckAgent


@dataclass(slots=True)
class ObserverSlot:
    """An observer's mailbox and what of the feed it may see."""

    name: str
    mailbox: Mailbox
    sees: Callable[[Delivery], bool] | None
    activity: Activity | None = None


@dataclass(slots=True, eq=False, repr=False)
class Population:
    """All that takes part in one run; the part of the kernel that knows nothing of time.

    Args:
        codec: the solver's message types.
        network: what carries messages.
        seed: of all random streams.
        writer: where records go.
    """

    codec: Codec
    network: Network
    seed: int
    writer: LogWriter

    ports: dict[str, Port] = field(init=False, default_factory=dict)
    hosts: dict[str, Host] = field(init=False, default_factory=dict)
    factory: Callable[[Port], Agent] | None = field(init=False, default=None)
    observers: list[ObserverSlot] = field(init=False, default_factory=list)
    live: dict[str, Callable[[], Mapping[str, Any]]] = field(init=False, default_factory=dict)
    """By observer: what to show of it."""
    now: float = field(init=False, default=0.0)
    awake: deque[Activity] = field(init=False, default_factory=deque)
    """Activities that are to go on, in the order in which they woke."""
    running: int = field(init=False, default=0)
    """How many nodes have not finished."""
    outside: int = field(init=False, default=0)
    """How many activities await something real: virtual time stands still for them."""
    current: Activity | None = field(init=False, default=None)
    """The activity whose step it is."""
    ended: bool = field(init=False, default=False)
    limit: str | None = field(init=False, default=None)
    stop_request: str | None = field(init=False, default=None)
    failure: BaseException | None = field(init=False, default=None)
    complaints: list[str] = field(init=False, default_factory=list)
    abandoned: tuple[str, float, str] | None = field(init=False, default=None)
    external_results: Callable[[str, str], Any] | None = field(init=False, default=None)
    door: Callable[[list[Entry]], None] | None = field(init=False, default=None)
    """Looks at what was delivered before anybody acts on it; there is one where an adversary is about."""
    _feed: list[Delivery] | None = field(init=False, default=None)
    """What observers have not seen yet; None where nobody watches."""
    _cut_short: dict[Host, int] = field(init=False, default_factory=dict)
    """By crashed agent, how many of its nodes had not finished."""
    _loop: asyncio.AbstractEventLoop | None = field(init=False, default=None)
    _done: asyncio.Future[None] | None = field(init=False, default=None)

    # Beginning -------------------------------------------------------------------------------------------------

    def add_node(self, name: str, agent: str) -> Port:
        """Add a node of `agent` and return its port; nodes are ordered as they are added."""
        host = self.hosts.get(agent)
        if host is None:
            host = self.hosts[agent] = Host(agent, self.network.slow.get(agent, 1.0))
        port = Port(self, name, len(self.ports), host)  # type: ignore[arg-type]  # it is part of a kernel
        self.ports[name] = port
        return port

    def populate(self, port: Port, agent: Agent) -> None:
        """Put an agent behind a port."""
        port._agent = agent
        port.once = agent.exactly_once
        port._tally = {cls: port._tally.get(cls) or Tally(spec_of(cls)) for cls in agent.all_messages()}

    def add_observer(self, name: str, sees: Callable[[Delivery], bool] | None, start: Callable[[Mailbox], Any]) -> None:
        """Add an observer: `start` takes its mailbox and returns the coroutine to run."""
        mailbox = Mailbox(self, name)  # type: ignore[arg-type]  # it is part of a kernel
        slot = ObserverSlot(name, mailbox, sees)
        slot.activity = Activity(mailbox.kernel, mailbox, start(mailbox), name, main=True)
        self.observers.append(slot)
        if self._feed is None:
            self._feed = []

    def _main_activity(self, port: Port) -> Activity:
        agent = port._agent
        assert agent is not None
        by_messages = agent.place == "tree" and agent.view.domain and agent.view.place is None
        main = agent.find_place_then_run() if by_messages else agent.run()
        activity = Activity(port.kernel, port, main, port.name, main=True)
        port._activities = [activity]
        self.running += 1
        return activity

    def start(self, activity: Activity) -> None:
        """Give an activity its asyncio task; it is awake at once."""
        assert self._loop is not None
        self.awake.append(activity)
        activity.task = self._loop.create_task(activity.drive(), name=activity.name)

    # Ending ----------------------------------------------------------------------------------------------------

    def finish(self, limit: str | None) -> None:
        """End the run; `limit` names the limit that ended it."""
        if not self.ended:
            self.ended = True
            self.limit = limit
            self.awake.clear()
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
        if activity.main and isinstance(mailbox, Port):
            mailbox.finished = True
            self.running -= 1
            self._close_others(mailbox, activity)
        elif all(slot.activity is not None and slot.activity.done for slot in self.observers):
            self._feed = None  # nobody watches any more

    def _failure(self, mailbox: Mailbox, error: BaseException) -> RunError:
        told = failure_of if isinstance(mailbox, Port) else observer_failure_of
        return told(mailbox, error, self.now)  # type: ignore[arg-type]  # the first is for ports alone

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

    def _retire(self, activity: Activity) -> str | None:
        """Close an activity that will never be wanted again; returns a complaint if it refuses to end."""
        activity.done = True
        complaint = activity.close()
        if activity.task is not None:
            activity.task.cancel()
        return complaint

    def _close(self) -> None:
        """Close all that still goes on when the run has ended."""
        activities = [a for port in self.ports.values() for a in port._activities]
        activities += [slot.activity for slot in self.observers if slot.activity is not None]
        for activity in activities:
            if not activity.done and (complaint := self._retire(activity)):
                self.complaints.append(f"{activity.mailbox.name}: {complaint}")

    # Crashing and restarting -----------------------------------------------------------------------------------

    def crash(self, host: Host) -> None:
        """Close every coroutine of an agent; what is on its way to it will be lost."""
        host.crashed = True
        self.writer.add(("crash", self.now, host.name))
        for port in host.nodes:
            for activity in port._activities:
                if not activity.done:
                    self._retire(activity)
                    if activity.main:  # it has not finished: it still counts as running, and the run waits for it
                        self._cut_short[host] = self._cut_short.get(host, 0) + 1
            port.parked, port.inbox, port.stamps = [], [], []

    def revive(self, host: Host) -> None:
        """Have an agent be up again; its main activities are counted anew as they are started."""
        host.crashed = False
        self.running -= self._cut_short.pop(host, 0)
        self.writer.add(("restart", self.now, host.name))

    def restart(self, host: Host) -> None:
        """Start an agent anew from its local view; it has forgotten everything."""
        assert self.factory is not None
        self.revive(host)
        for port in host.nodes:
            if port.once:  # with its state it has lost its part in the run: it stays silent, and never finishes
                self.running += not port.finished
                continue
            port.finished = False
            self.populate(port, self.factory(port))
            self.start(self._main_activity(port))
