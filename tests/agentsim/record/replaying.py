"""Agents, problems and made-up logs, for the tests of replay."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

from agentsim import (
    Constraint,
    Domain,
    Envelope,
    Problem,
    Variable,
    replay,
    simulate,
)
from agentsim.record.log import LogWriter
from agentsim.record.replay import ReplayResult
from agentsim.runtime.agent import Agent
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.messages import message
from agentsim.runtime.observer import Observer
from agentsim.runtime.result import Result
from solvers.synchbb import Fwd, SynchBB


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail if the block takes longer, even where an endless loop catches what is raised in it."""
    late: list[bool] = []

    def ring(signum: int, frame: object) -> None:
        late.append(True)
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except KeyboardInterrupt:
        assert late, "somebody pressed Ctrl-C"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert not late, f"not done in {seconds:g} s"


@message("CHAT")
class Chat(NamedTuple):
    left: int
    word: float


@message("WHISPER")
class Whisper(NamedTuple):
    """The same fields under another name."""

    left: int
    word: float


class Chatter(Agent):
    """Everybody talks at once, to neighbours and to nodes of the same owner; random values, bounds and checks."""

    messages = (Chat, Whisper)

    def start(self) -> None:
        self.heard, self.batches = 0.0, 0
        self.talk(3)

    def talk(self, left: int) -> None:
        for name in (*self.view.neighbours, *self.view.siblings):
            self.send(name, Chat(left, self.rng.random()))

    def on_chat(self, sender: str, chat: Chat) -> None:
        self.check(1 + int(3 * chat.word))
        self.heard += chat.word
        self.last = sender, chat.left

    on_whisper = on_chat

    def decide(self) -> None:
        self.batches += 1
        if self.view.size and self.rng.random() < 0.4:
            self.assign(self.rng.integer(self.view.size))
        if self.rng.random() < 0.2:
            self.bound(lower=self.heard)
        sender, left = self.last
        if left and self.rng.random() < 0.9:
            self.send(sender, Chat(left - 1, self.heard))
        if self.batches > 10:
            self.finish()


class Sleeper(Chatter):
    """Chatter that also speaks, and changes its value, when nothing comes: timers open instants of their own."""

    async def run(self) -> None:
        self.start()
        while not self.finished:
            try:
                async with self.timeout(self.rng.uniform(0.5, 6)):
                    for sender, chat in await self.drain():
                        self.on_chat(sender, chat)
                self.decide()
            except TimeoutError:
                self.batches += 1
                if self.rng.random() < 0.6:
                    self.talk(0)
                if self.view.size and self.rng.random() < 0.3:
                    self.assign(self.rng.integer(self.view.size))
                if self.rng.random() < 0.2:
                    await self.sleep(self.rng.uniform(0, 3))
                if self.batches > 10:
                    self.finish()


def chain() -> Problem:
    d = Domain("d", (0, 1, 2))
    return Problem.build(
        [Variable(n, d, unary=[2, 0, 1]) for n in "abc"],
        [Constraint("ab", ("a", "b"), [[1, 2, 0]] * 3), Constraint("bc", ("b", "c"), [[0, 2, 1]] * 3)],
    )


def shared_owners() -> Problem:
    """Owners A (two variables), B and C, all constrained with each other."""
    d = Domain("d", (0, 1))
    owners = {"a1": "A", "b1": "B", "a2": "A", "c1": "C", "b2": "B"}
    pairs = [(x, y) for x in owners for y in owners if x < y]
    return Problem.build(
        [Variable(n, d, agent) for n, agent in owners.items()],
        [Constraint(f"{x}{y}", (x, y), [[1, 0], [0, 2]]) for x, y in pairs],
    )


def verified(result: Result, solver: type[Agent] | None = None) -> ReplayResult:
    with within(10):
        return replay(result.log, verify=True, solver=solver)


# Made-up logs ---------------------------------------------------------------------------------------------------------

Record = tuple[Any, ...]


def records_of(result: Result) -> list[Record]:
    return list(result.log.records())


def relogged(header: dict[str, Any] | None, records: list[Record]) -> bytes:
    """A log of these records, with the right checksums: what a forger makes."""
    writer = LogWriter(None)
    writer.header(header or {})
    for record in records:
        writer.add(record)
    writer.close()
    assert isinstance(writer.source, bytes)
    return writer.source


def difference(result: Result, records: list[Record], solver: type[Agent] | None = None) -> dict[str, Any]:
    outcome = replay(relogged(result.log.header, records), verify=True, solver=solver)
    assert outcome.verified is False
    assert outcome.first_difference is not None
    return outcome.first_difference


@cache
def a_run() -> Result:
    return simulate(chain(), "synchbb", seed=2, network="uniform:1,10")


DELIVERIES = [i for i, r in enumerate(records_of(a_run())) if type(r[0]) is int]


# Observers and gates --------------------------------------------------------------------------------------------------


class Tally(Observer):
    """All that an observer can see, in the order in which it sees it."""

    name = "tally"

    def start(self) -> None:
        self.seen: list[Any] = []

    def observe(self, delivery: Delivery) -> None:
        self.seen.append([*delivery[:10], delivery.payload.hex(), repr(delivery.message)])

    def findings(self) -> Any:
        return self.seen


class Abandons:
    def __init__(self, sends: int) -> None:
        self.sends = sends

    def before_send(self, views: Any, envelope: Envelope, statements: Any) -> Any:
        self.sends -= 1
        return "send" if self.sends >= 0 else "abandon"


# Adversaries ----------------------------------------------------------------------------------------------------------


class Liar(SynchBB):
    """Says that every path costs one more than it does."""

    def send(self, to: str, token: Any) -> None:  # type: ignore[override]  # the instance's `send` is the port's
        self.port.send(to, token)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.send = self.lie  # type: ignore[method-assign]

    def lie(self, to: str, token: Any) -> None:
        self.port.send(to, token._replace(cost=token.cost + 1) if isinstance(token, Fwd) else token)
