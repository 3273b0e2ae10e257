"""1-leader: one agent asks, all others answer with their costs.

Source: Doshi, Matsui, Silaghi, Yokoo, Zanker, "Distributed Private Constraint Optimization", section 3, Algorithm 1
without its lines on the next leader.

The leader goes through all complete assignments (tuples) in a fixed order. One that may still be better than the best
so far, by what the leader knows alone, is asked: every other agent answers with what its own share of the costs comes
to. The answers go to the leader only.

    message                  from -> to                        when
    ASK(number, values)      leader -> every other agent       the tuple passes the test `prune`
    ANSWER(number, cost)     asked agent -> leader             at once
    SOLUTION(values, total)  leader -> every other node        all tuples are gone through

`values` are domain indices, one for each variable of the problem in its order. Agents speak through their first node;
the nodes of an agent's other variables only wait for SOLUTION. `total` is null unless publish=totals. An answer has the
`number` of its question in place of the paper's tuple: one that comes twice or late is told from the one awaited.

Guarantees: complete with prune=P1 and P3, whatever the other parameters. With P2 a tuple is compared by its weight
alone, which may lose the optimum: a tuple whose weight is no less than that of the best is skipped, whatever the others
would have answered. In every case a problem without solution is found to have none, since all tuples stay worth asking
until one has a finite total. The leader then says so (SOLUTION with null values) and every variable takes the first
value of its domain.

Complexity: with n agents and q questions 2 (n-1) q messages, one at a time; q is at most the number of tuples that the
public constraints allow. A tuple costs the leader a check for each public constraint and each cost function of its own,
each answer one for each cost function of the answering agent. Memory: a block of tuples; with direction=random 16 and
with cheapest 32 bytes for every tuple; with avoid what was answered, at most 65,536 answers of each agent, and what
they left open.

What is not in the paper: the readings P1, P2, P3 of "better local weight"; `weight=public`, where the leader does not
filter by its own secrets; orders other than a fixed one; the search ends early where not even a tuple of weight 0 would
be asked. `lie` is the paper's remark on leaders that ask tuples that they know to be worse; these change nothing in the
answer. `avoid` is its "privacy loss avoidance": a tuple is not asked if all answers are known by earlier ones, or if
what is known of the others' costs proves that it would not pass the test (see `solvers.asking_search.Foresight`). It
changes nothing in the best tuple found at each point, so it never asks more, and it finds the same solution. With
`closure` the asker also uses that one entry alone of each cost function is allowed, as in stable matching.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from agentsim.errors import UserError
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.messages import Cost, message
from agentsim.runtime.statements import Statement
from agentsim.runtime.view import Setup
from solvers.asking import Answer, AskingAgent, AskingReader, Solution
from solvers.asking_search import AskingParams, Search, Values


@message("ASK")
class Ask(NamedTuple):
    """What does this tuple cost you?"""

    number: int
    values: Values


@dataclass(frozen=True)
class LeaderParams(AskingParams):
    """Parameters of 1-leader.

    Args:
        leader: name of the agent that asks; the first agent by default.
        publish: what all are told in the end: the solution ("argmin"), or its cost as well ("totals").
    """

    leader: str = ""
    publish: Literal["argmin", "totals"] = "argmin"


class Leader(AskingAgent):
    """A node; that which speaks for the agent `leader` asks."""

    messages = (Ask, Answer, Solution)
    Params = LeaderParams

    params: LeaderParams

    @classmethod
    def refuse(cls, setup: Setup) -> None:
        """Refuse a leader that is no agent, and what every solver that asks refuses."""
        leader = setup.params.leader
        if leader and leader not in setup.problem.agents:
            raise UserError(f"leader={leader!r}: no agent is called so")
        super().refuse(setup)

    async def run(self) -> None:
        """Lead, or answer until the solution comes."""
        leader = self.params.leader or next(iter(self.public.speakers))
        if self.public.speakers[leader] == self.name:
            values = await self.lead()
        elif self.speaks:
            values = await self.follow()
        else:
            values = (await self.receive(Solution)).values
        self.settle(values)

    async def lead(self) -> Values | None:
        """Ask all that is worth asking and tell everybody the best; return it."""
        search = Search(self)
        for values in search.questions():
            search.take(await self.ask(search, values))
        told = search.total if self.params.publish == "totals" else None
        for node in dict.fromkeys([*self.public.sizes, *self.peers]):
            if node != self.name:
                self.send(node, Solution(search.best, told))
        self.declare(search.total)
        return search.best

    async def ask(self, search: Search, values: Values) -> Cost:
        """Ask every other agent what a tuple costs it and return the sum."""
        send, drain, is_awaited = self.send, self._drain, self.is_awaited
        question = Ask(self.next_question(), values)
        for peer in self.peers:
            send(peer, question)
        waiting, total = self.waiting, 0.0
        while waiting:
            for sender, answer in await drain:
                if is_awaited(sender, answer.number):
                    total += answer.cost
                    if search.foresight:
                        search.foresight[sender].learn(values, answer.cost)
        return total

    async def follow(self) -> Values | None:
        """Answer every question; return the solution when it comes."""
        drain, send, check = self._drain, self.send, self.check
        cost, checks = self.share.cost, self.share.checks
        while True:
            for sender, mail in await drain:
                if type(mail) is Solution:
                    return mail.values
                check(checks)
                send(sender, Answer(mail.number, cost(mail.values)))


class LeaderReader(AskingReader):
    """What a viewer of 1-leader can conclude; see `AskingReader`."""

    def read(self, delivery: Delivery) -> Iterator[Statement]:
        """Return the statements that one delivery supports."""
        kind = type(delivery.message)
        if kind is Answer:
            return self.answered(delivery)
        return self.asked(delivery) if kind is Ask else self.solution(delivery)


Leader.reader = LeaderReader
