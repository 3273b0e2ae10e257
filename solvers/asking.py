"""What the solvers that ask share: complete assignments go round as questions, and each agent answers with its cost.

Source: Doshi, Matsui, Silaghi, Yokoo, Zanker, "Distributed Private Constraint Optimization", Algorithm 1. `leader` and
`n_leaders` are its two versions; this file has the mathematics of both sides and the messages that they share.

A *tuple* is a complete assignment: one domain index for each variable, in the problem's order. Every agent speaks
through its first node. The *local weight* of a tuple is the cost of the public constraints plus the asker's own share
of the costs; its *total* is that plus all answers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agentsim.dcop.ordering import PrimalGraph
from agentsim.dcop.pseudotree import cells_text
from agentsim.dcop.shadow import Shadow
from agentsim.errors import SolverRefusal
from agentsim.runtime.agent import Agent
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.messages import Cost, message
from agentsim.runtime.port import Port
from agentsim.runtime.statements import CostIs, Nothing, Proposed, ReaderContext, Statement, Term, Unanalysed, ValueIs
from agentsim.runtime.streams import generator
from agentsim.runtime.view import LocalView, PublicPart, Setup, costs_list

Values = tuple[int, ...]

MOST_TUPLES: Final = 10**9
"""The most tuples that are gone through."""

MOST_INDEXED: Final = 10**7
"""The most tuples of which an index is held in memory."""

BLOCK: Final = 8192
"""Tuples whose weights are worked out at once."""

MOST_KEPT: Final = 1 << 16
"""The most answers that are kept, so as not to add them up or not to ask again."""


@message("ANSWER")
class Answer(NamedTuple):
    """What the sender's share of the costs comes to on the tuple that the receiver asked last."""

    cost: Cost


@message("SOLUTION")
class Solution(NamedTuple):
    """The end: the tuple that was found (None: there is none), and its total if that is told."""

    values: Values | None
    total: Cost | None


@dataclass(frozen=True)
class AskingParams:
    """Parameters of all solvers that ask.

    Args:
        prune: which tuples are worth a question, w being the tuple's weight: "P1", w < the best tuple's total; "P2",
            w < the best tuple's weight (may lose the optimum); "P3", w <= the best tuple's total.
        order: names of variables between commas, outermost first, the rest follows in the problem's order; or
            "lexical", all by name.
        direction: of the enumeration: "ascending" is lexicographic, "descending" the reverse, "random" a permutation of
            the asker's own, "cheapest" by ascending weight.
        weight: "local", public constraints and own share; or "public", the asker does not filter by its own secrets.
        lie: probability of asking a tuple, all the same, that is not worth a question.
        avoid: whether to skip questions whose answers earlier answers make predictable or hopeless.
    """

    prune: Literal["P1", "P2", "P3"] = "P1"
    order: str = ""
    direction: Literal["ascending", "descending", "random", "cheapest"] = "ascending"
    weight: Literal["local", "public"] = "local"
    lie: float = 0.0
    avoid: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.lie <= 1:
            raise ValueError(f"lie={self.lie}: must be from 0 to 1")


def names_outermost_first(order: str, sizes: Iterable[str]) -> list[str]:
    """Return all variables, the outermost of the enumeration first."""
    if order == "lexical":
        return sorted(sizes)
    named = [name for part in order.split(",") if (name := part.strip())]
    return list(dict.fromkeys([*named, *sizes]))


def position_of(sizes: Mapping[str, int]) -> dict[str, int]:
    """Return each variable's place in a tuple."""
    return {name: i for i, name in enumerate(sizes)}


def projection(scopes: Iterable[tuple[str, ...]], positions: Mapping[str, int]) -> Callable[[Values], Any]:
    """Return what takes from a tuple the values that matter to functions of these scopes, as a key."""
    places = sorted({positions[name] for scope in scopes for name in scope})
    return itemgetter(*places) if places else lambda values: ()


class Share:
    """An answering agent's share of the costs; `checks` is the number of constraint checks that an answer takes."""

    def __init__(self, view: LocalView, positions: Mapping[str, int]) -> None:
        self._functions = [
            (tuple(positions[name] for name in f.scope), costs_list(f.table, view.integral)) for f in view.share
        ]
        self.checks = len(self._functions)
        self._key = projection((f.scope for f in view.share), positions)
        self._known: dict[Any, Answer] = {}

    def answer(self, values: Values) -> Answer:
        """Return what the share comes to on a tuple."""
        key = self._key(values)
        known = self._known.get(key)
        if known is None:
            cost: Cost = 0
            for places, table in self._functions:
                entry: Any = table
                for i in places:
                    entry = entry[values[i]]
                cost += entry
            known = Answer(cost)
            if len(self._known) < MOST_KEPT:
                self._known[key] = known
        return known


class Foresight:
    """What an asker can say of another agent's answers, from earlier ones. Costs are never negative.

    An *entry* is one cell of one of its cost functions; which functions it has is public. An answer is known where the
    same entries were answered for before; where each of them occurred in an answer of 0, because then each is 0; and
    where one is known to be infinite. The last is `Shadow`'s business: its zeros stand for finite costs here, whatever
    they are, which changes nothing in what it finds to be infinite.

    Args:
        scopes: of the agent's cost functions.
        sizes: number of values by variable, in the order of a tuple.
    """

    def __init__(self, scopes: Iterable[tuple[str, ...]], sizes: Mapping[str, int]) -> None:
        positions = position_of(sizes)
        functions = list(dict.fromkeys(scopes))  # two functions of one scope have the same entries: they count as one
        self._places: list[list[tuple[int, int]]] = []  # by function: (variable's place in a tuple, its stride)
        for scope in functions:
            strides = [math.prod(sizes[later] for later in scope[i + 1 :]) for i in range(len(scope))]
            self._places.append([(positions[name], stride) for name, stride in zip(scope, strides, strict=True)])
        self._key = projection(functions, positions)
        self._answers: dict[Any, Cost] = {}
        self._zeros: set[tuple[int, int]] = set()  # (function, entry)
        self._shadow = Shadow([math.prod(sizes[name] for name in scope) for scope in functions])
        self._predicted: dict[Any, tuple[Cost, bool]] = {}  # by all that is known now

    def _entries(self, values: Values) -> Values:
        return tuple([sum([values[i] * stride for i, stride in place]) for place in self._places])

    def learn(self, values: Values, cost: Cost) -> None:
        """Take in the answer to a tuple."""
        key = self._key(values)
        if key in self._answers:
            return
        if len(self._answers) < MOST_KEPT:
            self._answers[key] = cost
        self._predicted.clear()
        entries = self._entries(values)
        if cost < math.inf:
            self._shadow.finite(entries)
        else:
            self._shadow.infinite(entries)
        if cost == 0:
            self._zeros.update(enumerate(entries))

    def predict(self, values: Values) -> tuple[Cost, bool]:
        """Return a lower bound on the answer to a tuple, and whether it is the answer itself."""
        key = self._key(values)
        predicted = self._predicted.get(key)
        if predicted is None:
            entries = self._entries(values)
            if key in self._answers:
                predicted = self._answers[key], True
            elif self._shadow.predict(entries) == math.inf:
                predicted = math.inf, True
            else:
                predicted = 0, self._zeros.issuperset(enumerate(entries))
            if len(self._predicted) < MOST_KEPT:
                self._predicted[key] = predicted
        return predicted


class Search:
    """An asker's side: which tuples of its part to ask, one after another, and the best of them so far.

    Args:
        agent: the asker's speaker.
        part: (k, n, blocks): go through the k-th of n parts of the enumeration, either contiguous blocks or every n-th
            tuple. With direction "random" and "cheapest" the parts are those of "ascending".

    Attributes:
        best: the best tuple so far, or None.
        total: its total; infinite without one.
        foresight: what is known of the other agents' answers, by speaker; empty unless `avoid` is set.
    """

    def __init__(self, agent: AskingAgent, part: tuple[int, int, bool] = (0, 1, True)) -> None:
        view, params, public = agent.view, agent.params, agent.public
        self._params, self._rng, self._check = params, agent.rng, agent.check
        self._tolerance, self._integral = view.tolerance, view.integral
        positions = agent.positions
        self._public = [(f.table, [positions[name] for name in f.scope]) for f in public.constraints]
        self._own = [(f.table, [positions[name] for name in f.scope]) for f in view.share]
        self._decoding = [(1, 1)] * len(public.sizes)  # by place in a tuple: stride in the enumeration, size
        n_tuples = 1
        for name in reversed(names_outermost_first(params.order, public.sizes)):
            self._decoding[positions[name]] = (n_tuples, public.sizes[name])
            n_tuples *= public.sizes[name]
        every = range(n_tuples)[:: -1 if params.direction == "descending" else 1]
        k, n, blocks = part
        self._part = every[k * n_tuples // n : (k + 1) * n_tuples // n] if blocks else every[k::n]
        self.best: Values | None = None
        self.total: Cost = math.inf
        self._best_weight: float = math.inf
        self._asked: tuple[Values, float, float] = ((), math.inf, math.inf)  # tuple, weight, local weight
        self.foresight: dict[str, Foresight] = {}
        if params.avoid:
            self.foresight = {
                speaker: Foresight(public.scopes[agent], public.sizes)
                for agent, speaker in public.speakers.items()
                if agent != view.agent
            }

    def questions(self) -> Iterator[Values]:
        """Yield the tuples to ask; what is still worth asking is judged anew whenever a better tuple is found."""
        for numbers in self._blocks():
            if not self._params.lie and not self._worth_asking(np.zeros(1))[0]:
                return  # not even a tuple of weight 0 is
            tuples, public, local = self._evaluate(numbers)
            weights = public if self._params.weight == "public" else local
            lies = self._lies(public)
            start = 0
            while start < len(numbers):
                chosen = start + np.flatnonzero(self._worth_asking(weights[start:]) | lies[start:])
                start, total = len(numbers), self.total
                asked = zip(
                    chosen.tolist(), tuples[:, chosen].T.tolist(), weights[chosen].tolist(), local[chosen].tolist(),
                    strict=True,
                )  # fmt: skip
                for i, values, weight, cost in asked:
                    self._asked = (tuple(values), weight, cost)
                    if not self.foresight or self._need_to_ask():
                        yield self._asked[0]
                    if self.total != total:
                        start = i + 1
                        break

    def take(self, answers: Cost) -> None:
        """Take in the sum of all answers to the last question."""
        values, weight, local = self._asked
        total = local + answers
        if total < self.total - self._tolerance:
            self.best, self._best_weight = values, weight
            self.total = int(total) if self._integral else total

    def _need_to_ask(self) -> bool:
        """Tell whether the answers to `_asked` may matter and are not all known; if they are, take them in."""
        values, _, local = self._asked
        answers: Cost = 0
        all_known = True
        for other in self.foresight.values():
            cost, known = other.predict(values)
            answers += cost
            all_known = all_known and known
            if not local + answers < self.total - self._tolerance:
                return False
        if all_known:
            self.take(answers)
        return not all_known

    def _worth_asking(self, weights: NDArray[Any]) -> NDArray[np.bool_]:
        """Tell which weights pass the test; infinite ones never do."""
        prune = self._params.prune
        if prune == "P3":
            return np.asarray((weights <= self.total + self._tolerance) & (weights < math.inf))
        return np.asarray(weights < (self.total if prune == "P1" else self._best_weight) - self._tolerance)

    def _lies(self, public: NDArray[Any]) -> NDArray[np.bool_]:
        """Draw the tuples that are asked, worth it or not; never one that everybody knows to be forbidden."""
        lies = np.zeros(len(public), dtype=np.bool_)
        if self._params.lie:
            for i in np.flatnonzero(public < math.inf).tolist():
                lies[i] = self._rng.random() < self._params.lie
        return lies

    def _blocks(self) -> Iterator[NDArray[np.int64]]:
        """Yield the numbers of the part's tuples, in the order of asking."""
        direction, part = self._params.direction, self._part
        if direction in ("ascending", "descending"):
            for at in range(0, len(part), BLOCK):
                block = part[at : at + BLOCK]
                yield np.arange(block.start, block.stop, block.step, dtype=np.int64)
            return
        numbers = np.arange(part.start, part.stop, part.step, dtype=np.int64)
        if direction == "random":
            numbers = generator(self._rng.integer(2**53), "permutation").permutation(numbers)
        elif len(numbers):
            by_public = self._params.weight == "public"
            blocks = (self._evaluate(numbers[at : at + BLOCK]) for at in range(0, len(numbers), BLOCK))
            weights = np.concatenate([public if by_public else local for _, public, local in blocks])
            numbers = numbers[np.argsort(weights, kind="stable")]
        for at in range(0, len(numbers), BLOCK):
            yield numbers[at : at + BLOCK]

    def _evaluate(
        self, numbers: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Return the tuples of these numbers, (variables, n), their public and their local weights, both (n,)."""
        tuples = np.empty((len(self._decoding), len(numbers)), dtype=np.int64)
        for place, (stride, size) in enumerate(self._decoding):
            tuples[place] = numbers // stride % size
        self._check(len(numbers) * (len(self._public) + len(self._own)))
        public, own = np.zeros(len(numbers)), np.zeros(len(numbers))
        for weights, functions in ((public, self._public), (own, self._own)):
            for table, places in functions:
                weights += table[tuple(tuples[place] for place in places)]
        return tuples, public, public + own


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
        self._questions: dict[tuple[str, str], Values] = {}
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
        values = delivery.message.values
        self._questions[delivery.src, delivery.dst] = values
        if self._proposed[0] != values:  # the same question goes to many
            statement = Proposed("question", ("values",), dict(zip(self._names, values, strict=True)))
            self._proposed = values, statement
        yield self._proposed[1]
        yield self._asking

    def answered(self, delivery: Delivery) -> Iterator[Statement]:
        """Return the statements of an ANSWER."""
        sender, cost = delivery.src, delivery.message.cost
        values = self._questions.get((delivery.dst, sender))
        if values is None or self._public is None:
            yield Unanalysed("the sender's own cost on a tuple that was not seen", ("cost",))
            return
        scope, answer = self._scopes[sender]
        key = (sender, answer(values), cost)
        statement = self._answers.get(key)
        if statement is None:  # questions that differ elsewhere have the same answer again and again
            parties = (sender,)
            term = Term(parties, "share", {name: values[i] for name, i in scope})
            offset = self._context.offset(parties, "share")
            statement = CostIs("answer", ("cost",), (term,), "==", cost, offset)
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
        if total is None:
            yield Nothing("the total is not told", ("total",))
        else:
            yield self.total(("total",), values, total)
