"""N-leaders: every agent asks about its own part of the assignments, one question each, in turn.

Source: Doshi, Matsui, Silaghi, Yokoo, Zanker, "Distributed Private Constraint Optimization", section 3, Algorithm 1.

The complete assignments (tuples) are divided between the agents. One agent at a time has the turn: it asks about one
tuple of its part and names in the question whose turn is next. Each agent compares with the best of its own part alone.
When all parts are exhausted the agents tell each other the best of theirs, and the best of these is the solution.

    message                  from -> to                        when
    ASK(number, values, next)  agent -> every other agent      it has the turn, and a tuple passes the test `prune`
    ANSWER(number, cost)       asked agent -> asker            at once
    DONE(next)               agent -> every other agent        it has the turn, and nothing left to ask
    BEST(values, total)      agent -> every other agent        it knows that all are done
    SOLUTION(values, total)  agent -> its other nodes          it has the BEST of all

With publish=argmin nobody is told a total. In place of BEST there is a knock-out: the first agent is compared with the
second, who has the lesser total (of equals the first of them) with the third, and so on. The winner knows the solution.

    COMPARE(modulus, entries)  leading -> next agent           all are done, and the sender has beaten all before
    REPLY(entries)             next -> leading agent           COMPARE came, and it knows that all are done
    OUTCOME(beaten)            leading -> next agent           REPLY came; if beaten, the next agent leads from now on
    SOLUTION(values, total)    agent -> every other agent      it leads, and there is no next agent
    SOLUTION(values, total)    agent -> its other nodes        it knows the solution

`next` is the number of the agent whose turn it is, in the problem's order, -1 when all are done. `values` are as in
`solvers.leader`, null without a tuple of finite total; the `total` of SOLUTION is null.

The network keeps the order of messages between two agents only, so the turn may come before answers to the agent's
last question, which it waits for: what is worth asking depends on them. It may also come to an agent that is done, from
one that has not heard so yet; it passes the turn on, with DONE to the next alone.

Guarantees, and what happens without solution, as in `solvers.leader`: complete with prune=P1 and P3. Of equally good
tuples that of the first agent is taken. Complexity: with n agents and q questions 2 (n-1) q messages and O(n^2) more;
questions do not wait for the answers to those of others. Each agent goes through its own part of the tuples.

What is not in the paper: which parts (`partition`), the order of turns (round the agents, those who are done left out),
and DONE. With publish=totals every agent learns two or more totals, and of two agents each learns the other's cost.

With publish=argmin an agent learns who of two has the lesser total when it is one of them, who leads when it is
compared, and the solution with the name of its finder. The cryptography is that of `solvers.secure_comparison`, costs
must be whole numbers, and a leading agent makes one key for all its comparisons. What is drawn comes from the operating
system and is in the log (not in a redacted one): two such runs differ in ciphertexts and in nothing else.

The rest is as in `solvers.leader`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final, Literal, NamedTuple

import numpy as np

from agentsim.errors import SolverRefusal
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.messages import Cost, message
from agentsim.runtime.port import Port
from agentsim.runtime.statements import Nothing, ReaderContext, Statement, Unanalysed
from agentsim.runtime.view import LocalView, Setup
from solvers.asking import Answer, AskingAgent, AskingReader, Solution
from solvers.asking_search import AskingParams, Search, Values
from solvers.secure_comparison import (
    DEFAULT_BITS,
    DEFAULT_KEY_SIZE,
    Secret,
    Table,
    answer,
    decide,
    make_table,
    paillier,
    require_sizes,
    whole,
)

NOBODY: Final = -1
_WHO: Final = "who of the two has the lesser best total"


@message("ASK")
class Ask(NamedTuple):
    """What does this tuple cost you? Then it is the turn of agent `next`."""

    number: int
    values: Values
    next: int


@message("DONE")
class Done(NamedTuple):
    """I have nothing left to ask. Now it is the turn of agent `next`."""

    next: int


@message("BEST")
class Best(NamedTuple):
    """The best tuple of the sender's part and its total; None and infinity without one."""

    values: Values | None
    total: Cost


@message("COMPARE")
class Compare(NamedTuple):
    """The sender's best total, bit by bit, encrypted under its own key."""

    modulus: bytes
    entries: tuple[bytes, ...]


@message("REPLY")
class Reply(NamedTuple):
    """From which the receiver, who has the key, sees whether its best total is the greater one, and nothing else."""

    entries: tuple[bytes, ...]


@message("OUTCOME")
class Outcome(NamedTuple):
    """Whether the receiver's best total is less than the sender's."""

    beaten: bool


@dataclass(frozen=True)
class NLeadersParams(AskingParams):
    """Parameters of N-leaders.

    Args:
        partition: "blocks", each agent has a contiguous part of the enumeration, the first agent the first; "turns", of
            n agents the k-th has every n-th tuple from the k-th on.
        publish: what the agents tell each other in the end: the best tuple of each part and its total ("totals"), or
            nothing but the solution ("argmin", which needs the extra `crypto`).
        bits: of a total in a secure comparison; all finite ones must be less than 2^bits - 1.
        key_size: bits of a key for it: 2048 is for use, 512 and less for tests (see `solvers.secure_comparison`).
    """

    partition: Literal["blocks", "turns"] = "blocks"
    publish: Literal["totals", "argmin"] = "totals"
    bits: int = DEFAULT_BITS
    key_size: int = DEFAULT_KEY_SIZE

    def __post_init__(self) -> None:
        super().__post_init__()
        require_sizes(self.bits, self.key_size)


class NLeaders(AskingAgent):
    """A node; those that speak for their agents take turns."""

    messages = (Ask, Answer, Done, Best, Compare, Reply, Outcome, Solution)
    Params = NLeadersParams

    params: NLeadersParams

    def __init__(self, view: LocalView, port: Port, params: NLeadersParams) -> None:
        super().__init__(view, port, params)
        self.speakers = tuple(self.public.speakers.values())
        self.number = list(self.public.speakers).index(view.agent)
        self.search = Search(self, (self.number, len(self.speakers), params.partition == "blocks"))
        self.done: set[int] = set()  # numbers of agents that are known to have nothing left to ask
        self.my_turn = self.number == 0
        self.answers: Cost = 0  # to the last question, of those that have come

    @classmethod
    def refuse(cls, setup: Setup) -> None:
        """Refuse totals that cannot be compared in secret, and what every solver that asks refuses."""
        super().refuse(setup)
        params: NLeadersParams = setup.params
        if params.publish == "totals":
            return
        paillier()
        if not setup.problem.integral:
            raise SolverRefusal("publish=argmin compares whole numbers, and some costs are not: use publish=totals")
        functions = (*setup.public_part.constraints, *chain.from_iterable(setup.shares.values()))
        most = sum(int(f.table.max(initial=0, where=np.isfinite(f.table))) for f in functions)
        if most >= (1 << params.bits) - 1:
            raise SolverRefusal(f"a total may not fit into bits={params.bits}: give bits={(most + 1).bit_length()}")

    async def run(self) -> None:
        """Ask and answer until all parts are exhausted, then find out which tuple is the best of all."""
        if not self.speaks:
            self.settle((await self.receive(Solution)).values)
            return
        await self.ask_in_turn()
        values = await (self.compare_totals() if self.params.publish == "totals" else self.knock_out())
        for node in self.view.siblings:
            self.send(node, Solution(values, None))
        self.settle(values)

    async def ask_in_turn(self) -> None:
        """Take turns at asking, and answer, until everybody is known to be done."""
        questions = self.search.questions()
        asked: Values = ()
        while True:
            while self.my_turn and not self.waiting:
                values = next(questions, None)
                if values is None:
                    self.pass_on()
                else:
                    asked = values
                    self.ask(values)
            if len(self.done) == len(self.speakers):
                return
            mail: Ask | Answer | Done = await self.receive(Ask, Answer, Done)
            if isinstance(mail, Answer):
                if self.is_awaited(self.sender, mail.number):
                    self.take(asked, mail.cost)
                continue
            if isinstance(mail, Ask):
                self.check(self.share.checks)
                self.send(self.sender, Answer(mail.number, self.share.cost(mail.values)))
            else:
                self.done.add(self.speakers.index(self.sender))
            self.my_turn = self.my_turn or mail.next == self.number

    def ask(self, values: Values) -> None:
        """Ask every other agent what a tuple costs it, and give the turn away."""
        turn = self.whose_turn()
        self.my_turn = turn == self.number
        question, self.answers = Ask(self.next_question(), values, turn), 0
        for peer in self.peers:
            self.send(peer, question)
        if not self.peers:
            self.search.take(0)

    def take(self, values: Values, cost: Cost) -> None:
        """Take in an answer to the last question."""
        self.answers += cost
        if self.search.foresight:
            self.search.foresight[self.sender].learn(values, cost)
        if not self.waiting:
            self.search.take(self.answers)

    def pass_on(self) -> None:
        """Give the turn away with nothing to ask; everybody is told that once."""
        news = self.number not in self.done
        self.done.add(self.number)
        turn = self.whose_turn()
        self.my_turn = False
        told = self.peers if news else self.speakers[turn : turn + 1]
        for peer in told:
            self.send(peer, Done(turn))

    def whose_turn(self) -> int:
        """Return the next agent that is not known to be done, this one last of all; NOBODY if all are."""
        n = len(self.speakers)
        after = (k % n for k in range(self.number + 1, self.number + n + 1))
        return next((k for k in after if k not in self.done), NOBODY)

    async def compare_totals(self) -> Values | None:
        """Tell everybody the best of the own part; return the best of all, of equal ones the first agent's."""
        own = Best(self.search.best, self.search.total)
        for peer in self.peers:
            self.send(peer, own)
        bests = {**await self.gather(Best, self.peers), self.name: own}
        first = min(self.speakers, key=lambda speaker: bests[speaker].total)
        if first == self.name:
            self.declare(own.total)
        return bests[first].values

    async def knock_out(self) -> Values | None:
        """Find out by secure comparisons whose total is the least, and from that agent the solution."""
        total = whole(self.search.total, self.params.bits)
        if self.number and not await self.challenge(total):
            return (await self.receive(Solution)).values
        if not await self.defend(total):
            return (await self.receive(Solution)).values
        for peer in self.peers:
            self.send(peer, Solution(self.search.best, None))
        self.declare(self.search.total)
        return self.search.best

    async def challenge(self, total: int) -> bool:
        """Be compared with the best of all agents before; tell whether the own total is less."""
        table = Table(*await self.receive(Compare))
        leading = self.sender

        async def reply() -> tuple[bytes, ...]:
            return answer(total, self.params.bits, table)

        self.send(leading, Reply(await self.external("reply", reply)))
        return (await self.receive(Outcome, sender=leading)).beaten

    async def defend(self, total: int) -> bool:
        """Be compared with one agent after the other of those that follow; tell whether none has less."""
        challengers = self.speakers[self.number + 1 :]
        if not challengers:
            return True

        async def table() -> tuple[Secret, Table]:
            return make_table(total, self.params.bits, self.params.key_size)

        secret, own = await self.external("table", table)
        for challenger in challengers:
            self.send(challenger, Compare(*own))
            beaten = decide(secret, (await self.receive(Reply, sender=challenger)).entries)
            self.send(challenger, Outcome(beaten))
            if beaten:
                return False
        return True


class NLeadersReader(AskingReader):
    """What a viewer of N-leaders can conclude; see `AskingReader`. Who has seen the BEST of all knows the solution."""

    def __init__(self, context: ReaderContext) -> None:
        super().__init__(context)
        self._bests: dict[str, Best] = {}

    def read(self, delivery: Delivery) -> Iterator[Statement]:
        """Return the statements that one delivery supports."""
        mail = delivery.message
        if isinstance(mail, Answer):
            yield from self.answered(delivery)
        elif isinstance(mail, Ask):
            yield from self.asked(delivery)
            yield Nothing("whose turn it is", ("next",))
        elif isinstance(mail, Done):
            yield Unanalysed("that no other tuple of the sender's part passes its test", ("next",))
        elif isinstance(mail, Best):
            yield from self._best(delivery.src, mail)
        elif isinstance(mail, Compare):
            yield from self._compared(delivery)
        elif isinstance(mail, Reply):
            has_key = delivery.dst in self._context.viewer
            yield (Unanalysed(_WHO, ("entries",)) if has_key else Nothing("encrypted, not to the viewer", ("entries",)))
        elif isinstance(mail, Outcome):
            yield Unanalysed(_WHO, ("beaten",))
        else:
            yield from self.solution(delivery)

    def _compared(self, delivery: Delivery) -> Iterator[Statement]:
        """Return that a table is sealed; from the third agent on it matters who sends it."""
        yield Nothing("encrypted under the sender's key", ("modulus", "entries"))
        speakers = tuple(self._public.speakers.values()) if self._public is not None else ()
        if speakers[1:2] != (delivery.dst,):
            yield Unanalysed("that the sender has the least best total of all before the receiver", ("entries",))

    def _best(self, sender: str, best: Best) -> Iterator[Statement]:
        fields = ("values", "total")
        if best.values is None:
            yield Unanalysed("that no tuple of the sender's part is a solution", fields)
        else:
            yield self.total(fields, best.values, best.total)
        if self._public is None or sender in self._bests:
            return
        self._bests[sender] = best
        speakers = tuple(self._public.speakers.values())
        if len(self._bests) == len(speakers):
            values = min((self._bests[speaker] for speaker in speakers), key=lambda b: b.total).values
            if values is not None:
                yield from self.final(values)


NLeaders.reader = NLeadersReader
