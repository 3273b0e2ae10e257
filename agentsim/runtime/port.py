"""Ports and activities: one agent's side of the kernel.

A `Port` is everything an agent can do to the outside. An `Activity` is a coroutine and the asyncio task that drives
it: the driver steps the coroutine, sees what it waits for, parks it, and rests until the kernel has it go on.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import types
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from agentsim.errors import RunError
from agentsim.runtime.failures import unsendable
from agentsim.runtime.messages import MessageSpec, pack, unpack
from agentsim.runtime.streams import Stream
from agentsim.runtime.waits import Drain, Expired, External, Receive, Sleep, Timeout, Wait

if TYPE_CHECKING:
    from agentsim.runtime.agent import Agent
    from agentsim.runtime.kernel import Kernel


KEY_SIZE: Final = 32
"""Bytes of a key for private randomness."""


async def fresh_key() -> bytes:
    """Return a key from the operating system: what an agent starts with `external` for randomness nobody can guess."""
    return os.urandom(KEY_SIZE)


class IllegalWait(RunError):
    """An agent awaited something that is not the kernel's."""


class Abandoned(BaseException):
    """Raised in the step of an agent whose gate said "abandon"; BaseException so that no agent catches it."""

    def __init__(self, node: str, reason: str) -> None:
        super().__init__(reason)
        self.node, self.reason = node, reason


@dataclass(frozen=True, slots=True)
class Abandonment:
    """Who abandoned a run, with which of its nodes, at what virtual time and why."""

    agent: str
    node: str
    time: float
    reason: str


class Host:
    """One user's agent: the clock and processor that all of its nodes share.

    Args:
        name: the agent.
        clock: NCCC clock, in constraint checks.
        checks: constraint checks done.
        left: whether it has abandoned the run, or was told that another has.
        crashed: whether it is down now; `down` counts the crashes that are not over.
        busy_until: virtual time at which it is free again (with `check_cost`).
    """

    __slots__ = ("busy_until", "checks", "clock", "crashed", "down", "left", "name", "nodes", "speed", "work_mark")

    def __init__(self, name: str, speed: float = 1.0) -> None:
        self.name = name
        self.clock = 0
        self.checks = 0
        self.busy_until = 0.0
        self.work_mark = 0
        self.speed = speed
        self.crashed = False
        self.left = False
        self.down = 0
        self.nodes: list[Port] = []


class Tally:
    """What one node sent of one message type over the network."""

    __slots__ = ("count", "largest", "local_bytes", "local_count", "size", "spec")

    def __init__(self, spec: MessageSpec) -> None:
        self.spec = spec
        self.count = self.size = self.largest = self.local_count = self.local_bytes = 0


class Mailbox:
    """What activities wait on: messages that have come and nobody has taken."""

    __slots__ = ("inbox", "kernel", "last_batch", "name", "parked", "scheduled", "sender", "stamps")

    def __init__(self, kernel: Kernel, name: str) -> None:
        self.kernel = kernel
        self.name = name
        self.inbox: list[Any] = []
        self.stamps: list[int] = []
        self.parked: list[Activity] = []
        self.last_batch: list[Any] = []
        self.sender = ""

    @property
    def now(self) -> float:
        """Virtual time."""
        return self.kernel.now

    def take_all(self) -> list[Any]:
        """Empty the mailbox and return what was in it."""
        self.last_batch = batch = self.inbox
        self.inbox = []
        return batch


class Port(Mailbox):
    """An agent's only way to the outside: sending, waiting, time, randomness, checks, declared values.

    Everything whose name starts with an underscore is the kernel's.
    """

    __slots__ = (
        "_activities",
        "_agent",
        "_assigned",
        "_index",
        "_n",
        "_records",
        "_rng",
        "_tally",
        "finished",
        "host",
        "once",
    )

    def __init__(self, kernel: Kernel, name: str, index: int, host: Host) -> None:
        super().__init__(kernel, name)
        self.host = host
        self.finished = False
        self.once = False
        self._index = index
        self._n = 0
        self._tally: dict[type, Tally] = {}
        self._records: list[tuple[Any, ...]] = []
        self._rng: Stream | None = None
        self._activities: list[Activity] = []
        self._agent: Agent | None = None
        self._assigned: int | None = None
        host.nodes.append(self)

    def take_all(self) -> list[Any]:
        """Empty the mailbox; the NCCC clock moves to the latest stamp, because reading is processing."""
        self.last_batch = batch = self.inbox
        self.inbox = []
        stamps = self.stamps
        latest = max(stamps) if len(stamps) > 1 else stamps[0]
        if latest > self.host.clock:
            self.host.clock = latest
        self.stamps = []
        return batch

    def take_first(self, types: tuple[type, ...], sender: str | None) -> Any | None:
        """Take the first message of one of `types` (from `sender`, if given), or return None."""
        for i, (src, message) in enumerate(self.inbox):
            if (not types or type(message) in types) and (sender is None or src == sender):
                self.last_batch = [self.inbox.pop(i)]
                stamp = self.stamps.pop(i)
                if stamp > self.host.clock:
                    self.host.clock = stamp
                self.sender = src
                return message
        return None

    def send(self, to: str, message: Any) -> None:
        """Send a message to a node.

        Raises:
            MessageError: the node does not exist, the type was not declared by the solver, or a field cannot travel.
        """
        kernel = self.kernel
        try:
            dst = kernel.ports[to]
            tally = self._tally[type(message)]
            payload = pack(message)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise unsendable(self, to, message, error) from None
        sent_at = kernel.now
        if not kernel.plain_sends:
            sent_at = kernel.examine_send(self, to, message, payload)
        self._n = n = self._n + 1
        host = self.host
        size = len(payload)
        if dst.host is host:
            tally.local_count += 1
            tally.local_bytes += size
        else:
            tally.count += 1
            tally.size += size
            if size > tally.largest:
                tally.largest = size
        kernel.outbox.append((self._index, n, 0, sent_at, self, dst, tally.spec, host.clock, payload))

    @property
    def rng(self) -> Stream:
        """The node's own random stream."""
        if self._rng is None:
            self._rng = Stream(self.kernel.seed, "agent", self.name)
        return self._rng

    @property
    def node_agent(self) -> str:
        """The owner's name."""
        return self.host.name

    def check(self, n: int) -> None:
        """Count n constraint checks: on the NCCC clock, and as computing time with `check_cost`."""
        self.host.clock += n
        self.host.checks += n

    def assign(self, value: int) -> None:
        """Declare this node's value, as a domain index; recorded when it differs from the last."""
        if value != self._assigned:
            self._assigned = value
            self._record(("assign", self.kernel.now, self.name, value))

    def bound(self, lower: float | None, upper: float | None) -> None:
        """Declare bounds on the optimal cost of this node's component, in solver's units."""
        self._record(("bound", self.kernel.now, self.name, lower, upper))

    def place(self, place: Any) -> None:
        """Declare the place found by messages, for the log."""
        self._record(("place", self.name, place))

    def _record(self, record: tuple[Any, ...]) -> None:
        if not self._records:
            self.kernel.recording.append(self)
        self._records.append(record)

    def spawn(self, coroutine: Coroutine[Any, Any, Any], name: str) -> Activity:
        """Start a coroutine beside the agent's own."""
        activity = Activity(self.kernel, self, coroutine, name or f"task {len(self._activities)}", main=False)
        self._activities.append(activity)
        self.kernel.start(activity)
        return activity

    def open_timeout(self, scope: Timeout, delay: float) -> Activity:
        """Register a timeout scope with the activity that is running."""
        activity = self.kernel.current
        assert activity is not None
        activity.scopes.append(scope)
        self.kernel.add_timer(self.kernel.now + delay, activity, scope)
        return activity


class Rest:
    """What an agent's task awaits while its coroutine waits: as much of a future as asyncio asks for.

    A task that awaits an `asyncio.Future` is woken by way of the event loop, with a handle for each time. From this one
    the kernel takes `resume` and calls it, which has the task go on there and then: a fifth of a run's time less.
    """

    __slots__ = ("_asyncio_future_blocking", "_cancelled", "_loop", "resume")

    def __init__(self) -> None:
        self._asyncio_future_blocking = False
        self._cancelled = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self.resume: Callable[[], object] | None = None
        """Has the task go on, until it rests again; None before it has begun."""

    def begin(self) -> None:
        """Tell asyncio, which asks for it, whose loop the task runs in; called within the task."""
        self._loop = asyncio.get_running_loop()

    def add_done_callback(self, callback: Callable[[Rest], object], *, context: contextvars.Context) -> None:
        """Take what has the task go on; whenever it rests it hands over another one, which does the same."""
        if self.resume is None:
            self.resume = partial(context.run, callback, self)

    def result(self) -> None:
        """Return that there is nothing more to tell; CancelledError if the task was cancelled."""
        if self._cancelled:
            raise asyncio.CancelledError

    def cancel(self, msg: object = None) -> bool:
        """Have the task go on with a CancelledError, soon."""
        assert self._loop is not None
        assert self.resume is not None
        self._cancelled = True
        self._loop.call_soon(self.resume)
        return True


_undying: list[Coroutine[Any, Any, Any]] = []
"""Coroutines that refuse to end; kept, because Python would try to close them again and complain on the terminal."""


class Activity:
    """A coroutine under the kernel's care."""

    __slots__ = (
        "coroutine",
        "done",
        "error",
        "joined",
        "joiners",
        "kernel",
        "mailbox",
        "main",
        "name",
        "rest",
        "result",
        "scopes",
        "task",
        "waiting",
    )

    def __init__(
        self, kernel: Kernel, mailbox: Mailbox, coroutine: Coroutine[Any, Any, Any], name: str, *, main: bool
    ) -> None:
        self.kernel = kernel
        self.mailbox = mailbox
        self.coroutine = coroutine
        self.name = name
        self.main = main
        self.rest = Rest()
        self.done = False
        self.joined = False
        self.result: Any = None
        self.error: BaseException | None = None
        self.joiners: list[Activity] = []
        self.scopes: list[Timeout] = []
        self.waiting: Wait | None = None
        """What it waits for; None while it is awake."""
        self.task: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Have it go on when those before it wait."""
        self.waiting = None
        self.kernel.awake.append(self)

    async def drive(self) -> None:
        """Step the coroutine until it ends; the body of its asyncio task."""
        await self._steps()

    @types.coroutine
    def _steps(self) -> Generator[Any, None, None]:
        kernel, mailbox, step, rest = self.kernel, self.mailbox, self.coroutine.send, self.rest
        rest.begin()
        try:
            while True:
                rest._asyncio_future_blocking = True  # says that it is awaited, not yielded by mistake
                yield rest
                kernel.current = self
                wait = step(None)
                if self.scopes:
                    wait = self._expire(wait)
                while wait is None:  # a bare sleep(0): harmless
                    wait = step(None)
                kind = type(wait)
                if kind is Drain or kind is Receive:
                    mailbox.parked.append(self)
                elif isinstance(wait, External):
                    wait.result = yield from self._outside(wait).__await__()
                    self.wake()
                    kernel.schedule()
                    continue
                elif isinstance(wait, Sleep):
                    kernel.add_timer(wait.until, self, None)
                elif isinstance(wait, Wait):
                    wait.activity.joiners.append(self)  # type: ignore[attr-defined]  # the only one left is Join
                else:
                    raise IllegalWait(
                        f"awaited {wait!r}, which is not one of the kernel's waits "
                        "(receive, drain, sleep, timeout, join, external)"
                    )
                self.waiting = wait
        except StopIteration as stop:
            self.result = stop.value
        except asyncio.CancelledError:
            if kernel.ended or self.done:
                return
            raise
        except BaseException as error:
            self.error = error
        self.done = True
        kernel.activity_ended(self)

    def _expire(self, wait: Any) -> Any:
        """Tell the coroutine if a timeout of its went off while it waited; return what it waits for then."""
        fired = next((scope for scope in self.scopes if scope.fired), None)
        if fired is None:
            return wait
        fired.fired = False
        return self.coroutine.throw(Expired(fired))

    async def _outside(self, wait: External) -> Any:
        kernel, mailbox = self.kernel, self.mailbox
        if kernel.external_results is not None:
            return kernel.external_results(mailbox.name, wait.label)
        kernel.outside += 1
        kernel.current = None
        try:
            result = unpack(pack(await wait.start()))
        finally:
            kernel.outside -= 1
        if isinstance(mailbox, Port):
            mailbox._record(("external", kernel.now, mailbox.name, wait.label, result))
        return result

    def close(self) -> str | None:
        """Close the coroutine; returns a complaint if it refuses to end."""
        try:
            self.coroutine.close()
        except RuntimeError as error:
            _undying.append(self.coroutine)
            return str(error)
        except Exception as error:
            return f"{type(error).__name__} while closing: {error}"
        return None
