"""Why a run ends badly: agents and observers at fault, a livelock, a deadlock, and how each is told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentsim.errors import RunError
from agentsim.runtime.messages import Abandon, MessageError

if TYPE_CHECKING:
    from agentsim.runtime.port import Mailbox, Port

Loss = tuple[float, str, str, str, int, str]
"""A lost message: (time, src, dst, type, n, reason)."""


class AgentFailure(RunError):
    """An agent raised, or sent or was sent something malformed.

    Args:
        agent: name of the node at fault.
        cause: what happened, in a sentence.
    """

    def __init__(self, agent: str, cause: str) -> None:
        super().__init__(f"agent {agent}: {cause}")
        self.agent, self.cause = agent, cause


def malformed(src: str, kind: str, n: int, dst: str, wrong: MessageError) -> AgentFailure:
    """Return the failure of a sender whose message is not as declared, naming receiver and field."""
    return AgentFailure(src, f"its {kind} (send {n}) to {dst} is malformed: {wrong}")


class ObserverFailure(RunError):
    """An observer raised; half a privacy trace is worse than none."""

    def __init__(self, observer: str, cause: str) -> None:
        super().__init__(f"observer {observer}: {cause}")
        self.observer, self.cause = observer, cause


class Livelock(RunError):
    """Messages that take no time went round and round within one moment."""


@dataclass(frozen=True, slots=True)
class Deadlock:
    """Why nothing moved any more.

    Args:
        waiting: node -> what it waits for.
        lost: lost messages to nodes that wait: (time, src, dst, type, n, reason).
    """

    waiting: Mapping[str, str]
    lost: tuple[Loss, ...]

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


def deadlock_of(ports: Iterable[Port], lost: Iterable[Loss]) -> Deadlock:
    """Return who waits for what, and which lost messages explain it (all of them if none was to one that waits)."""
    waiting = {}
    for port in ports:
        for activity in port._activities:
            if not activity.done and activity.waiting is not None:
                waiting[port.name] = activity.waiting.describe()
                break
        if port.host.crashed and not port.finished:
            waiting[port.name] = "nothing: it has crashed"
        elif not port.finished and all(activity.done for activity in port._activities):
            waiting[port.name] = "nothing: it has restarted without its state"
    lost = tuple(lost)
    return Deadlock(waiting, tuple(loss for loss in lost if loss[2] in waiting) or lost)


def failure_of(port: Port, error: BaseException, now: float) -> RunError:
    """Return what is told of an agent that raised: the node, the time and the batch that it was working on."""
    if isinstance(error, AgentFailure):
        return error
    batch = [(b[0], b[1]) for b in port.last_batch if type(b) is tuple]
    shown = ", ".join(f"{src}: {message!r}"[:120] for src, message in batch[:3])
    if len(batch) > 3:
        shown += f", and {len(batch) - 3} more"
    working = f" while working on [{shown}]" if batch else ""
    owner = f" (node of {port.host.name})" if port.host.name != port.name else ""
    failure = AgentFailure(port.name, f"{_told(error)}{owner} at time {now:g}{working}")
    failure.__cause__ = error
    return failure


def observer_failure_of(mailbox: Mailbox, error: BaseException, now: float) -> RunError:
    """Return what is told of an observer that raised."""
    failure = ObserverFailure(mailbox.name, f"{_told(error)} at time {now:g}")
    failure.__cause__ = error
    return failure


def _told(error: BaseException) -> str:
    return str(error) if isinstance(error, RunError) else f"{type(error).__name__}: {error}"


def unsendable(port: Port, to: str, message: Any, error: Exception) -> MessageError:
    """Return why a message cannot be sent, naming sender, receiver and type."""
    kind = type(message)
    if kind not in port._tally:
        known = ", ".join(t.spec.name for cls, t in port._tally.items() if cls is not Abandon) or "none"
        return MessageError(f"{port.name} sent {to} a {kind.__name__}, not a message type of its solver ({known})")
    name = port._tally[kind].spec.name
    if to not in port.kernel.ports:
        return MessageError(f"{port.name} sent {name} to {to!r}, which does not exist")
    return MessageError(f"{port.name} sent {to} a {name} that cannot travel: {error}")
