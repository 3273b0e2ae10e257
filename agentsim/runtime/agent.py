"""What a solver's author writes against: `Agent`, its port and its waits.

An agent is one node of a run: a variable's, or that of an agent without variables. It is built from its local view
and holds a port, never the kernel or the problem. Two styles work side by side:

* handlers: a method `on_<type>` for each message type and `decide`, called once when the mailbox is drained;
* straight-line coroutines: override `run` and write `reply = await self.receive(Answer)`.

Inside `run` only the kernel's own waits may be awaited: `receive`, `drain`, `sleep`, `timeout`, `join`,
`external`. Anything else stops the run and names the agent.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar

from agentsim.runtime.messages import spec_of
from agentsim.runtime.streams import Stream

if TYPE_CHECKING:
    from agentsim.runtime.port import Activity, Mailbox, Port
    from agentsim.runtime.statements import Reader, ReaderContext
    from agentsim.runtime.view import LocalView, Setup

M = TypeVar("M")
T = TypeVar("T")


class Wait:
    """What an agent's coroutine yields to its driver while it waits."""

    __slots__ = ()

    def describe(self) -> str:
        """Return what is waited for, for a deadlock report."""
        return ""


class _Drain(Wait):
    __slots__ = ("port",)

    def __init__(self, port: Mailbox) -> None:
        self.port = port

    def __await__(self) -> Generator[Wait, None, list[tuple[str, Any]]]:
        port = self.port
        while not port.inbox:
            yield self
        return port.take_all()

    def describe(self) -> str:
        """Return what is waited for."""
        return "any message"


class _Receive(Wait):
    __slots__ = ("port", "sender", "types")

    def __init__(self, port: Port, types: tuple[type, ...], sender: str | None) -> None:
        self.port, self.types, self.sender = port, types, sender

    def __await__(self) -> Generator[Wait, None, Any]:
        while True:
            found = self.port.take_first(self.types, self.sender)
            if found is not None:
                return found
            yield self

    def describe(self) -> str:
        """Return what is waited for."""
        what = " or ".join(spec_of(t).name for t in self.types) or "any message"
        return f"{what} from {self.sender}" if self.sender is not None else what


class Sleep(Wait):
    """Wait until a virtual time."""

    __slots__ = ("port", "until")

    def __init__(self, port: Port, until: float) -> None:
        self.port, self.until = port, until

    def __await__(self) -> Generator[Wait, None, None]:
        while self.port.now < self.until:
            yield self

    def describe(self) -> str:
        """Return what is waited for."""
        return f"time {self.until:g}"


class _Join(Wait):
    __slots__ = ("activity",)

    def __init__(self, activity: Activity) -> None:
        self.activity = activity

    def __await__(self) -> Generator[Wait, None, Any]:
        self.activity.joined = True
        while not self.activity.done:
            yield self
        if self.activity.error is not None:
            raise self.activity.error
        return self.activity.result

    def describe(self) -> str:
        """Return what is waited for."""
        return f"its own task {self.activity.name}"


class External(Wait):
    """Wait for something outside the simulation; its result is recorded in the log and replayed from there."""

    __slots__ = ("label", "result", "start")

    def __init__(self, label: str, start: Callable[[], Awaitable[Any]]) -> None:
        self.label, self.start = label, start
        self.result: Any = None

    def __await__(self) -> Generator[Wait, None, Any]:
        yield self
        return self.result

    def describe(self) -> str:
        """Return what is waited for."""
        return f"the outside world ({self.label})"


class Expired(BaseException):
    """Raised inside a timeout scope; its `Timeout` turns it into TimeoutError."""

    def __init__(self, scope: Timeout) -> None:
        super().__init__("timeout")
        self.scope = scope


class Timeout:
    """`async with agent.timeout(5): ...` raises TimeoutError when the block outlasts 5 units of virtual time."""

    __slots__ = ("_activity", "_delay", "_port", "fired")

    def __init__(self, port: Port, delay: float) -> None:
        self._port, self._delay = port, delay
        self._activity: Activity | None = None
        self.fired = False

    async def __aenter__(self) -> Self:
        self._activity = self._port.open_timeout(self, self._delay)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if self._activity is not None:
            self._activity.scopes.remove(self)
        if isinstance(error, Expired) and error.scope is self:
            raise TimeoutError(f"nothing came within {self._delay:g} units of virtual time") from None
        return False


class Agent:
    """Base of every agent.

    Class attributes are what the framework needs to know of a solver:

    * `messages`: its declared message types;
    * `Params`: a frozen dataclass of its parameters, all with defaults;
    * `place`: "tree", "order" or None, what it is told of its place among the others;
    * `tree_choice`: which tree it gets when neither root nor order is given;
    * `costs`: "nonnegative" (complete search: shifted by the offsets in the log's header) or "signed";
    * `complete`: whether it finds the optimum (see `is_exact` for parameters that give this up);
    * `status`: how far it is proved: "verified" (against an oracle), "tested" or "experimental";
    * `reader`: its disclosure reader, or None (reported as `not analysed`);
    * `refuse`: a class method that may raise `SolverRefusal` before the run.

    Args:
        view: all it knows of the problem.
        port: its only way to the outside.
        params: an instance of its `Params`.
    """

    messages: ClassVar[tuple[type, ...]] = ()
    Params: ClassVar[type[Any] | None] = None
    place: ClassVar[Literal["tree", "order"] | None] = None
    tree_choice: ClassVar[Literal["degree", "smallest-table"]] = "degree"
    costs: ClassVar[Literal["nonnegative", "signed"]] = "signed"
    complete: ClassVar[bool] = False
    status: ClassVar[Literal["verified", "tested", "experimental"]] = "tested"
    reader: ClassVar[Callable[[ReaderContext], Reader] | None] = None

    send: Callable[[str, Any], None]

    def __init__(self, view: LocalView, port: Port, params: Any = None) -> None:
        self.view = view
        self.port = port
        self.params = params
        self.name = view.name
        self.send = port.send
        self._drain = _Drain(port)
        self._handlers: dict[type, Callable[[str, Any], None]] = {}
        for cls in self.messages:
            handler = getattr(self, f"on_{cls.__name__.lower()}", None)
            if handler is not None:
                self._handlers[cls] = handler

    @classmethod
    def all_messages(cls) -> tuple[type, ...]:
        """Return every message type that a run of this solver may see: its own, and those of the distributed DFS."""
        if cls.place != "tree":
            return cls.messages
        from agentsim.runtime.dfs import DFS_MESSAGES

        return (*cls.messages, *DFS_MESSAGES)

    @classmethod
    def is_exact(cls, params: Any) -> bool:
        """Tell whether a run with these parameters that ends by itself has proved its assignment optimal."""
        return cls.complete

    @classmethod
    def refuse(cls, setup: Setup) -> None:
        """Raise `SolverRefusal` if the solver cannot do this; the default takes everything."""

    async def find_place_then_run(self) -> None:
        """Find its place in the tree by messages, then run; what the kernel starts with tree=messages."""
        from agentsim.runtime.dfs import DFS_MESSAGES, find_place

        place = await find_place(self, self.view.number)
        self.view = replace(self.view, place=place)
        self.port.place(place.encode())
        for late in DFS_MESSAGES:  # copies that the network made
            self._handlers.setdefault(late, lambda sender, message: None)
        await self.run()

    # The handler style -----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Start, then handle every message in the mailbox and decide, until `finish` is called."""
        self.start()
        port, drain, handlers, decide = self.port, self._drain, self._handlers, self.decide
        while not port.finished:
            for sender, message in await drain:
                handlers[type(message)](sender, message)
            decide()

    def start(self) -> None:
        """Do what is to be done before the first message."""

    def decide(self) -> None:
        """Act on the messages just handled; called once per drained mailbox."""

    def finish(self) -> None:
        """End this agent after the current step."""
        self.port.finished = True

    @property
    def finished(self) -> bool:
        """Whether `finish` was called."""
        return self.port.finished

    # Waits -----------------------------------------------------------------------------------------------------

    def drain(self) -> Awaitable[list[tuple[str, Any]]]:
        """Wait for mail and take all of it: (sender, message) in order of arrival, at least one."""
        return self._drain

    def receive(self, *types: type[M], sender: str | None = None) -> Awaitable[M]:
        """Wait for the first message of one of `types` (any type when none is given), leaving others waiting.

        Its sender is `self.sender` until the next wait. With `sender`, only that node's messages count.
        """
        return _Receive(self.port, types, sender)

    async def gather(self, message_type: type[M], senders: tuple[str, ...] | None = None) -> dict[str, M]:
        """Wait for one message of the type from each of `senders` (default: the neighbours); by sender."""
        wanted = self.view.neighbours if senders is None else senders
        return {name: await self.receive(message_type, sender=name) for name in wanted}

    def sleep(self, delay: float) -> Awaitable[None]:
        """Wait for `delay` units of virtual time."""
        return Sleep(self.port, self.port.now + delay)

    def timeout(self, delay: float) -> Timeout:
        """Return an async context manager that raises TimeoutError after `delay` units of virtual time."""
        return Timeout(self.port, delay)

    def spawn(self, coroutine: Coroutine[Any, Any, T], name: str = "") -> Activity:
        """Run a coroutine beside `run`, with the same mailbox; ends with the agent at the latest."""
        return self.port.spawn(coroutine, name)

    def join(self, activity: Activity) -> Awaitable[Any]:
        """Wait for a spawned coroutine and return its result, or raise its exception."""
        return _Join(activity)

    def external(self, label: str, start: Callable[[], Awaitable[T]]) -> Awaitable[T]:
        """Await something real (another process, say). Virtual time stands still; the result goes into the log.

        The result must be something msgpack can carry; replay takes it from the log and does not call `start`.
        """
        return External(label, start)

    # The port's plain services ---------------------------------------------------------------------------------

    @property
    def sender(self) -> str:
        """The node that sent the message which `receive` returned last."""
        return self.port.sender

    @property
    def now(self) -> float:
        """Virtual time."""
        return self.port.now

    @property
    def rng(self) -> Stream:
        """This agent's own random stream."""
        return self.port.rng

    def check(self, n: int) -> None:
        """Count n constraint checks (one per cost-table entry read)."""
        self.port.check(n)

    def assign(self, value: int) -> None:
        """Declare this node's current value, as a domain index."""
        self.port.assign(value)

    def bound(self, lower: float | None = None, upper: float | None = None) -> None:
        """Declare bounds on the cost of this node's component, in the solver's units."""
        self.port.bound(lower, upper)

    def broadcast(self, message: Any) -> None:
        """Send a message to every neighbour, in the view's order."""
        for name in self.view.neighbours:
            self.send(name, message)
