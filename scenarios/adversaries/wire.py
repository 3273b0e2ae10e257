"""Adversaries on the wire that change no word: they come late, or say again what they said before."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from agentsim.runtime.messages import Envelope
from agentsim.runtime.router import Alter, Delay
from agentsim.runtime.streams import Stream
from scenarios.adversaries.base import PATIENCE, Adversary, Options, Target, finite


@dataclass(frozen=True)
class Delayer(Adversary):
    """Delays what it sends, or what it is sent, or only what it would say before the other has spoken.

    A message that is delayed holds up those that follow it to the same node, since messages of a pair stay in order
    (but for a network with `reorder`).

    Args:
        delay: by how much virtual time; 0 is no attack. 0 to 1000000.
        what: "sends", "receives" or "both": which of its messages.
        when: "always"; or "never-first", of what it sends only a message to a node from which it has heard no more
            messages than it has sent there itself.
    """

    name: ClassVar[str] = "delayer"

    delay: float = 5.0
    what: Literal["sends", "receives", "both"] = "sends"
    when: Literal["always", "never-first"] = "always"

    def __post_init__(self) -> None:
        finite("delay", self.delay, 0, 1e6)
        if self.when == "never-first" and self.what != "sends":
            raise ValueError(f"what={self.what}: when=never-first is about what it sends")

    def against(self, target: Target) -> Options:
        """Return an interceptor on the agent's messages."""
        return {"interceptors": [Late(target.nodes, self)], "max_messages": PATIENCE}


class Late:
    """The interceptor of a delayer.

    Args:
        nodes: whose messages are delayed.
        how: the adversary's parameters.
    """

    def __init__(self, nodes: frozenset[str], how: Delayer) -> None:
        self._nodes, self._how = nodes, how
        self._said: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._heard: defaultdict[tuple[str, str], list[float]] = defaultdict(list)

    def __call__(self, envelope: Envelope) -> Delay | None:
        """Return by how much a message is delayed; None: not at all."""
        how = self._how
        if not how.delay:
            return None
        sent, received = envelope.src in self._nodes, envelope.dst in self._nodes
        if how.when == "never-first":
            return Delay(how.delay) if self._speaks_first(envelope, sent, received) else None
        return Delay(how.delay) if (sent and how.what != "receives") or (received and how.what != "sends") else None

    def _speaks_first(self, envelope: Envelope, sent: bool, received: bool) -> bool:
        at, src, dst = envelope[:3]
        if received:
            insort(self._heard[dst, src], at)
        if not sent:
            return False
        before = self._said[src, dst]
        self._said[src, dst] = before + 1
        return bisect_left(self._heard[src, dst], at) <= before  # of what was sent at the same time, nothing is known


@dataclass(frozen=True)
class Replayer(Adversary):
    """Says again, in place of something new, what it has said to the same node before in a message of the same type.

    Which messages is drawn by lot, for each pair of nodes by itself. The log keeps what should have been said.

    Args:
        share: how likely it is for each message that could be replaced; 0 is no attack. 0 to 1.
        back: how many messages of the type ago, from 1; as far back as there are, if fewer. 1 to 1000.
        seed: of the lots.
    """

    name: ClassVar[str] = "replayer"

    share: float = 0.5
    back: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        finite("share", self.share, 0, 1)
        finite("back", self.back, 1, 1000)
        finite("seed", self.seed, 0, 2**63 - 1)

    def against(self, target: Target) -> Options:
        """Return an interceptor on what the agent sends."""
        return {"interceptors": [Again(target.nodes, self)], "max_messages": PATIENCE}


class Again:
    """The interceptor of a replayer.

    Args:
        nodes: whose messages are replaced.
        how: the adversary's parameters.
    """

    def __init__(self, nodes: frozenset[str], how: Replayer) -> None:
        self._nodes, self._how = nodes, how
        self._said: defaultdict[tuple[str, str, str], list[Any]] = defaultdict(list)
        self._lots: dict[tuple[str, str], Stream] = {}

    def __call__(self, envelope: Envelope) -> Alter | None:
        """Return the old message that arrives instead; None: let the new one pass."""
        if envelope.src not in self._nodes:
            return None
        pair = envelope.src, envelope.dst
        said = self._said[(*pair, envelope.type)]
        old = said[-self._how.back :][0] if said else None
        said.append(envelope.message)
        del said[: -self._how.back]
        if old is None:
            return None
        if pair not in self._lots:
            self._lots[pair] = Stream(self._how.seed, "replayer", *pair)
        return Alter(old) if self._lots[pair].random() < self._how.share else None
