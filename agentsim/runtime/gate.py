"""Gates: an agent's own guard at its door.

A gate sees each message that its agent is about to send, together with the statements that the receiver could draw from
it, and says "send" or "abandon". It runs inside the sender's step, so nothing has left when it decides. Who abandons
leaves, every other agent is told so (ABANDON), and with that the run ends with status `abandoned`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

from agentsim.runtime.agent import Agent
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.messages import Envelope
from agentsim.runtime.port import Abandoned, Port
from agentsim.runtime.reading import make_reader
from agentsim.runtime.statements import Reader, Statement
from agentsim.runtime.view import LocalView, Setup


class Gate(Protocol):
    """Decides over each message of one agent."""

    def before_send(
        self, views: Mapping[str, LocalView], envelope: Envelope, statements: list[Statement]
    ) -> Literal["send", "abandon"] | tuple[Literal["abandon"], str]:
        """Return "send", or "abandon", with a reason if it gives one: ("abandon", "it costs too much").

        Args:
            views: the agent's own local views, by node.
            envelope: the message about to be sent.
            statements: what its receiver can conclude from it, given what the two have exchanged before.
        """
        ...


GateFactory = Callable[[Setup, type[Agent]], Mapping[str, Gate]]
"""Makes the gates of a run, by agent, from its setup and its solver's class."""


class GateKeeper:
    """Runs the gates of a run: keeps, for each gated agent and each peer, a reader with the peer's eyes.

    The reader of a peer sees only what passed between the two, since the agent knows no more of the peer's mail.
    """

    def __init__(self, gates: Mapping[str, Gate], setup: Setup, solver: type[Agent]) -> None:
        self._gates = gates
        self._setup = setup
        self._solver = solver
        self._readers: dict[tuple[str, str], Reader | None] = {}
        self._views = {
            agent: {n: setup.view(n) for n, owner in setup.nodes.items() if owner == agent} for agent in gates
        }

    def check(self, port: Port, to: str, message: Any, payload: bytes) -> None:
        """Ask the sender's gate; raises `Abandoned`. Called before anything is sent or counted."""
        owners = self._setup.nodes
        sender, receiver = owners[port.name], owners[to]
        if sender == receiver:
            return
        kernel = port.kernel
        kind = port._tally[type(message)].spec
        delivery = Delivery(
            0, kernel.now, kernel.now, kernel.step, port.name, to, kind.name, port._n + 1, 0, port.host.clock, payload,
            kind.decode(payload),
        )  # fmt: skip
        if receiver in self._gates:
            self._read(receiver, sender, delivery)
        gate = self._gates.get(sender)
        if gate is None:
            return
        statements = self._read(sender, receiver, delivery)
        envelope = Envelope(kernel.now, port.name, to, kind.name, port._n + 1, delivery.message)
        verdict = gate.before_send(self._views[sender], envelope, statements)
        why = ""
        if isinstance(verdict, tuple):
            verdict, why = verdict[0], f": {verdict[1]}"
        if verdict == "abandon":
            raise Abandoned(port.name, f"its gate refused to send {kind.name} to {to}{why}")
        if verdict != "send":
            raise ValueError(f"the gate of {sender} returned {verdict!r}, not 'send' or 'abandon'")

    def _read(self, agent: str, peer: str, delivery: Delivery) -> list[Statement]:
        if (agent, peer) not in self._readers:
            nodes = tuple(n for n, owner in self._setup.nodes.items() if owner == peer)
            self._readers[agent, peer] = make_reader(self._solver, self._setup, nodes)
        reader = self._readers[agent, peer]
        return [] if reader is None else list(reader.read(delivery))
