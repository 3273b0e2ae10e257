"""What the solvers that ask share: complete assignments go round as questions, and each agent answers with its cost.

Source: Doshi, Matsui, Silaghi, Yokoo, Zanker, "Distributed Private Constraint Optimization", Algorithm 1. `leader` and
`n_leaders` are its two versions; this file has the messages, the answering side and the reader that they share, and
`solvers.asking_search` the asking side.

A *tuple* is a complete assignment: one domain index for each variable, in the problem's order. Every agent speaks
through its first node. The *local weight* of a tuple is the cost of the public constraints plus the asker's own share
of the costs; its *total* is that plus all answers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from agentsim.dcop.ordering import PrimalGraph
from agentsim.dcop.pseudotree import cells_text
from agentsim.errors import SolverRefusal
from agentsim.runtime.agent import Agent
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.messages import Cost, message
from agentsim.runtime.port import Port
from agentsim.runtime.statements import CostIs, Nothing, Proposed, ReaderContext, Statement, Term, Unanalysed, ValueIs
from agentsim.runtime.view import LocalView, PublicPart, Setup, costs_list
from solvers.asking_search import (
    MOST_INDEXED,
    MOST_KEPT,
    MOST_TUPLES,
    AskingParams,
    Values,
    position_of,
    projection,
)


@message("ANSWER")
class Answer(NamedTuple):
    """What the sender's share of the costs comes to on the tuple of the receiver's question of this number."""

    number: int
    cost: Cost


@message("SOLUTION")
class Solution(NamedTuple):
    """The end: the tuple that was found (None: there is none), and its total if that is told."""

    values: Values | None
    total: Cost | None


class Share:
    """An answering agent's share of the costs; `checks` is the number of constraint checks that an answer takes."""

    def __init__(self, view: LocalView, positions: Mapping[str, int]) -> None:
        self._functions = [
            (tuple(positions[name] for name in f.scope), costs_list(f.table, view.integral)) for f in view.share
        ]
        self.checks = len(self._functions)
        self._key = projection((f.scope for f in view.share), positions)
        self._known: dict[Any, Cost] = {}

    def cost(self, values: Values) -> Cost:
        """Return what the share comes to on a tuple."""
        key = self._key(values)
        cost = self._known.get(key)
        if cost is None:
            cost = 0
            for places, table in self._functions:
                entry: Any = table
                for i in places:
                    entry = entry[values[i]]
                cost += entry
            if len(self._known) < MOST_KEPT:
                self._known[key] = cost
        return cost


class AskingAgent(Agent):
    """A node of a solver that asks: its agent's speaker, or one that waits for the solution."""

    knows = "everybody"
    costs = "nonnegative"
    complete = True
    status = "verified"

    params: AskingParams

    def __init__(self, view: LocalView, port: Port, params: AskingParams) -> None:
        super().__init__(view, port, params)
        assert view.public is not None
        self.public = view.public
        self.positions = position_of(self.public.sizes)
        self.speaks = self.public.speakers[view.agent] == self.name
        self.peers = tuple(node for node in self.public.speakers.values() if node != self.name)
        """The speakers of all other agents, for a speaker."""
        self.share = Share(view, self.positions)
        # After a crash an agent begins anew, and answers to what it asked before may still come.
        self.question = self.rng.integer(1 << 30) if self.now else 0
        """Number of the last question."""
        self.waiting: set[str] = set()
        """Speakers whose answers to it have not come."""

    @classmethod
    def is_exact(cls, params: AskingParams) -> bool:
        """Tell whether the search with these parameters is complete: unless tuples are compared by weight alone."""
        return params.prune != "P2"

    @classmethod
    def refuse(cls, setup: Setup) -> None:
        """Refuse too many tuples, and an order of what is no variable."""
        params: AskingParams = setup.params
        n = math.prod(setup.domain_sizes.values())
        if n > MOST_TUPLES:
            raise SolverRefusal(
                f"the {len(setup.domain_sizes)} variables have {cells_text(n)} assignments, more than the "
                f"{MOST_TUPLES} that a leader goes through: dpop could do it"
            )
        if params.direction in ("random", "cheapest") and n > MOST_INDEXED:
            raise SolverRefusal(
                f"direction={params.direction} holds an index of all assignments, of which there are {cells_text(n)}, "
                f"more than {MOST_INDEXED}: use ascending or descending"
            )
        if params.order != "lexical":
            PrimalGraph(setup.problem).named(params.order)

    def next_question(self) -> int:
        """Return the number of a new question, which all others are to answer."""
        self.question += 1
        self.waiting = set(self.peers)
        return self.question

    def is_awaited(self, sender: str, number: int) -> bool:
        """Tell whether an answer is the first of its sender to the last question, and await it no more."""
        if number != self.question or sender not in self.waiting:
            return False
        self.waiting.remove(sender)
        return True

    def settle(self, values: Values | None) -> None:
        """Take the value of the solution; the first one of the domain where there is no solution."""
        if self.view.domain:
            self.assign(0 if values is None else values[self.positions[self.name]])

    def declare(self, total: Cost) -> None:
        """Declare what the search has proved; `total` is the best, infinite where there is no solution.

        A bound speaks of one component of the constraint graph, but a total is that of all of them: where there are
        several only an infinite one is declared.
        """
        if math.isinf(total):
            self.bound(lower=math.inf)
        elif self.view.domain and is_connected(self.public):
            self.bound(lower=total if self.is_exact(self.params) else None, upper=total)


def is_connected(public: PublicPart) -> bool:
    """Tell whether all variables are in one component of the constraint graph."""
    scopes = [c.scope for c in public.constraints]
    scopes += [scope for own in public.scopes.values() for scope in own]
    reached = set(list(public.sizes)[:1])
    grows = True
    while grows:
        before = len(reached)
        for scope in scopes:
            if not reached.isdisjoint(scope):
                reached.update(scope)
        grows = len(reached) > before
    return len(reached) == len(public.sizes)


class AskingReader:
    """What a viewer can conclude from answers and solutions; subclasses read the questions.

    ANSWER: the sender's share costs exactly that on the tuple it was asked. An asker has one question on its way at a
    time, so the tuple is the last one that it asked the sender, if the viewer saw that. A total: what all agents'
    shares cost together, which is the total less the public constraints' cost.

    A question tells something of the asker's costs and of the answers it had, but only as much as that the tuple's
    weight is below a bound that the viewer does not know: this is not analysed. It tells nothing with lie=1, since all
    tuples that are not publicly forbidden are then asked, in an order that, but for direction=cheapest, is no secret.
    """

    def __init__(self, context: ReaderContext) -> None:
        self._context = context
        self._names, self._positions = tuple(context.domain_sizes), position_of(context.domain_sizes)
        view = next(iter(context.views.values()), None)
        self._public = view.public if view is not None else None  # a wire has no view
        # By speaker: the variables of its agent's share with their places, and what takes them from a tuple.
        self._scopes: dict[str, tuple[list[tuple[str, int]], Callable[[Values], Any]]] = {}
        self._proposed: tuple[Values | None, Statement] = None, Nothing("no question yet", ())
        self._answers: dict[tuple[str, Any, Cost], Statement] = {}
        if self._public is not None:
            for agent, speaker in self._public.speakers.items():
                scopes = self._public.scopes[agent]
                names = dict.fromkeys(name for scope in scopes for name in scope)
                places = [self._positions[name] for name in names]
                self._scopes[speaker] = list(zip(names, places, strict=True)), projection(scopes, self._positions)
        self._questions: dict[tuple[str, str], tuple[int, Values]] = {}  # by asker and asked: the last
        params: AskingParams = context.params
        private_order = params.direction == "cheapest" and params.weight == "local"
        best = "weight" if params.prune == "P2" else "total"
        self._asking: Statement
        if params.lie == 1 and not params.avoid and not private_order:
            self._asking = Nothing("every tuple is asked", ("values",))
        else:
            what = f"that the {params.weight} weight beats the {best} of the asker's best"
            self._asking = Unanalysed(what, ("values",))

    def asked(self, delivery: Delivery) -> Iterator[Statement]:
        """Return the statements of a question."""
        number, values = delivery.message[:2]
        self._questions[delivery.src, delivery.dst] = number, values
        if self._proposed[0] != values:  # the same question goes to many
            statement = Proposed("question", ("number", "values"), dict(zip(self._names, values, strict=True)))
            self._proposed = values, statement
        yield self._proposed[1]
        yield self._asking

    def answered(self, delivery: Delivery) -> Iterator[Statement]:
        """Return the statements of an ANSWER."""
        sender, (number, cost) = delivery.src, delivery.message
        asked, values = self._questions.get((delivery.dst, sender), (0, ()))
        if asked != number or self._public is None:
            yield Unanalysed("the sender's own cost on a tuple that was not seen", ("number", "cost"))
            return
        scope, answer = self._scopes[sender]
        key = (sender, answer(values), cost)
        statement = self._answers.get(key)
        if statement is None:  # questions that differ elsewhere have the same answer again and again
            parties = (sender,)
            term = Term(parties, "share", {name: values[i] for name, i in scope})
            offset = self._context.offset(parties, "share")
            statement = CostIs("answer", ("number", "cost"), (term,), "==", cost, offset)
            if len(self._answers) >= MOST_KEPT:
                self._answers.clear()
            self._answers[key] = statement
        yield statement

    def total(self, fields: tuple[str, ...], values: Values, total: Cost) -> Statement:
        """Return what a tuple's total says."""
        if self._public is None:
            return Unanalysed("the cost of all agents on a tuple", fields)
        public: Cost = sum(
            c.table[tuple(values[self._positions[v]] for v in c.scope)] for c in self._public.constraints
        )
        parties = tuple(self._public.speakers.values())
        term = Term(parties, "share", dict(zip(self._names, values, strict=True)))
        return CostIs("total", fields, (term,), "==", total - public, self._context.offset(parties, "share"))

    def final(self, values: Values) -> Iterator[Statement]:
        """Return that a tuple is the solution."""
        for name, value in zip(self._names, values, strict=True):
            yield ValueIs("solution", ("values",), name, value, "final")

    def solution(self, delivery: Delivery) -> Iterator[Statement]:
        """Return the statements of a SOLUTION."""
        values, total = delivery.message
        if values is None:
            yield Unanalysed("that there is no solution", ("values", "total"))
            return
        yield from self.final(values)
        if not values:
            yield Nothing("there are no variables", ("values",))
        else:
            yield Unanalysed("that no tuple is better", ("values",))
        for speaker, (scope, _) in self._scopes.items():
            if scope:
                term = Term((speaker,), "share", {name: values[i] for name, i in scope})
                yield CostIs("solution", ("values",), (term,), "<", math.inf)
        if total is None:
            yield Nothing("the total is not told", ("total",))
        else:
            yield self.total(("total",), values, total)
