"""The kernel's waits: what an agent's coroutine may await, and what it yields to its driver while it waits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from agentsim.runtime.messages import spec_of

if TYPE_CHECKING:
    from agentsim.runtime.port import Activity, Mailbox, Port


class Wait:
    """What an agent's coroutine yields to its driver while it waits."""

    __slots__ = ()

    def describe(self) -> str:
        """Return what is waited for, for a deadlock report."""
        return ""


class Drain(Wait):
    """Wait for mail and take all of it."""

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


class Receive(Wait):
    """Wait for the first message of some types, from some sender."""

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


class Join(Wait):
    """Wait for a spawned coroutine."""

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
