"""What a solver's author writes against: `Agent`, its port and its waits.

An agent is one node of a run: a variable's, or that of an agent without variables. It is built from its local view
and holds a port, never the kernel or the problem. Two styles work side by side:

* handlers: a method `on_<type>` for each message type and `decide`, called once when the mailbox is drained;
* straight-line coroutines: override `run` and write `reply = await self.receive(Answer)`.

Inside `run` only the kernel's own waits may be awaited: `receive`, `drain`, `sleep`, `timeout`, `join`,
`external`. Anything else stops the run and names the agent.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from agentsim.runtime.streams import Stream
from agentsim.runtime.waits import Drain, External, Join, Receive, Sleep, Timeout

if TYPE_CHECKING:
    from agentsim.runtime.mechanisms import Claim
    from agentsim.runtime.port import Activity, Port
    from agentsim.runtime.statements import Reader, ReaderContext
    from agentsim.runtime.view import LocalView, Setup

M = TypeVar("M")
T = TypeVar("T")


class Agent:
    """Base of every agent.

    Class attributes are what the framework needs to know of a solver:

    * `messages`: its declared message types;
    * `Params`: a frozen dataclass of its parameters, all with defaults;
    * `place`: "tree", "order" or None, what it is told of its place among the others;
    * `tree_choice`: which tree it gets when neither root nor order is given;
    * `knows`: its "neighbours"; or "everybody": all that is public of the problem (`view.public`), which then runs as
      it is, without copies for foreign owners, each agent answering for its share of the costs (`view.share`). Agents
      without variables take part;
    * `costs`: "nonnegative" (complete search: shifted by the offsets in the log's header) or "signed";
    * `exactly_once`: whether its protocol falls apart when a message comes twice or an agent forgets (that of a token,
      say): copies made by the network are then not handed over, and an agent that restarts without its state is silent;
    * `complete`: whether it finds the optimum (see `is_exact` for parameters that give this up);
    * `status`: how far it is proved: "verified" (against an oracle), "tested" or "experimental";
    * `reader`: its disclosure reader, or None (reported as `not analysed`);
    * `carries`: observers that every run of it has, by name;
    * `claim`: a class method that returns the privacy guarantee that it claims, or None;
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
    knows: ClassVar[Literal["neighbours", "everybody"]] = "neighbours"
    costs: ClassVar[Literal["nonnegative", "signed"]] = "signed"
    exactly_once: ClassVar[bool] = False
    complete: ClassVar[bool] = False
    status: ClassVar[Literal["verified", "tested", "experimental"]] = "tested"
    reader: ClassVar[Callable[[ReaderContext], Reader] | None] = None
    carries: ClassVar[tuple[str, ...]] = ()

    send: Callable[[str, Any], None]

    def __init__(self, view: LocalView, port: Port, params: Any = None) -> None:
        self.view = view
        self.port = port
        self.params = params
        self.name = view.name
        self.send = port.send
        self._drain = Drain(port)
        self._handlers: dict[type, Callable[[str, Any], None]] = {}
        for cls in self.messages:
            handler = getattr(self, f"on_{cls.__name__.lower()}", None)
            if handler is not None:
                self._handlers[cls] = handler

    @classmethod
    def all_messages(cls) -> tuple[type, ...]:
        """Return every message type that a run of this solver may see: its own, the distributed DFS's, ABANDON."""
        from agentsim.runtime.messages import Abandon

        if cls.place != "tree":
            return (*cls.messages, Abandon)
        from agentsim.runtime.dfs import DFS_MESSAGES

        return (*cls.messages, *DFS_MESSAGES, Abandon)

    @classmethod
    def is_exact(cls, params: Any) -> bool:
        """Tell whether a run with these parameters that ends by itself has proved its assignment optimal."""
        return cls.complete

    @classmethod
    def refuse(cls, setup: Setup) -> None:
        """Raise `SolverRefusal` if the solver cannot do this; the default takes everything."""

    @classmethod
    def claim(cls, setup: Setup) -> Claim | None:
        """Return the differential privacy that the solver claims for this run; None if it claims none."""
        return None

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
        return Receive(self.port, types, sender)

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
        return Join(activity)

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
