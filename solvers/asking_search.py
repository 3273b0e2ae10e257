"""The mathematics of asking: which tuples to ask, in which order, and what earlier answers say of later ones.

Source: Doshi, Matsui, Silaghi, Yokoo, Zanker, "Distributed Private Constraint Optimization", Algorithm 1 and, for what
is foreseen, "privacy loss avoidance" in section 4. Words are those of `solvers.asking`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from agentsim.dcop.shadow import Shadow
from agentsim.runtime.agent import Agent
from agentsim.runtime.messages import Cost
from agentsim.runtime.streams import generator

Values = tuple[int, ...]

MOST_TUPLES: Final = 10**9
"""The most tuples that are gone through."""

MOST_INDEXED: Final = 10**7
"""The most tuples of which an index is held in memory."""

BLOCK: Final = 8192
"""Tuples whose weights are worked out at once."""

MOST_KEPT: Final = 1 << 16
"""The most answers that are kept, so as not to add them up or not to ask again."""


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
        avoid: whether to leave out questions whose answers are all known by earlier ones, or by which it is known that
            the tuple would not be worth a question (lies are told all the same).
        closure: with avoid, that each cost function of every agent is known to allow one entry, at no cost, and to
            forbid all others.
    """

    prune: Literal["P1", "P2", "P3"] = "P1"
    order: str = ""
    direction: Literal["ascending", "descending", "random", "cheapest"] = "ascending"
    weight: Literal["local", "public"] = "local"
    lie: float = 0.0
    avoid: bool = False
    closure: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.lie <= 1:
            raise ValueError(f"lie={self.lie}: must be from 0 to 1")
        if self.closure and not self.avoid:
            raise ValueError("closure=True: is for avoid=True")


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


class Foresight:
    """What an asker can say of another agent's answers, from earlier ones. Costs are never negative.

    An *entry* is one cell of one of its cost functions; which functions it has is public. An answer is known where the
    same entries were answered for before; where each of them occurred in an answer of 0, because then each is 0; and
    where one is known to be infinite. The last is `Shadow`'s business: its zeros stand for finite costs here, whatever
    they are, which changes nothing in what it finds to be infinite.

    Args:
        scopes: of the agent's cost functions.
        sizes: number of values by variable, in the order of a tuple.
        closure: whether each function is known to allow one entry, at no cost, and to forbid all others.
    """

    def __init__(self, scopes: Iterable[tuple[str, ...]], sizes: Mapping[str, int], closure: bool = False) -> None:
        positions = position_of(sizes)
        functions = list(dict.fromkeys(scopes))  # two functions of one scope have the same entries: they count as one
        self._places: list[list[tuple[int, int]]] = []  # by function: (variable's place in a tuple, its stride)
        for scope in functions:
            strides = [math.prod(sizes[later] for later in scope[i + 1 :]) for i in range(len(scope))]
            self._places.append([(positions[name], stride) for name, stride in zip(scope, strides, strict=True)])
        self._key = projection(functions, positions)
        self._answers: dict[Any, Cost] = {}
        self._zeros: set[tuple[int, int]] = set()  # (function, entry)
        self._closure = closure
        self._shadow = Shadow([math.prod(sizes[name] for name in scope) for scope in functions], closure=closure)
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
            else:
                shadowed = self._shadow.predict(entries)
                if shadowed == math.inf:
                    predicted = math.inf, True
                elif self._closure:
                    predicted = 0, shadowed == 0
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

    def __init__(self, agent: Agent, part: tuple[int, int, bool] = (0, 1, True)) -> None:
        view, params, public = agent.view, agent.params, agent.view.public
        assert public is not None
        self._params: AskingParams = params
        self._rng, self._check = agent.rng, agent.check
        self._tolerance, self._integral = view.tolerance, view.integral
        positions = position_of(public.sizes)
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
                speaker: Foresight(public.scopes[agent], public.sizes, params.closure)
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
                    if not self.foresight or not self._foresees(bool(lies[i])):
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

    def _foresees(self, lie: bool) -> bool:
        """Tell whether `_asked` need not be asked; if that is because all answers are known, take them in."""
        values, weight, _ = self._asked
        answers: Cost = 0
        all_known = True
        for other in self.foresight.values():
            cost, known = other.predict(values)
            answers += cost
            all_known = all_known and known
        if all_known:
            self.take(answers)
            return True
        return not lie and not self._may_improve(weight + answers)

    def _may_improve(self, least: Cost) -> bool:
        """Tell whether a tuple whose total may be as low as `least` is still worth a question."""
        if self._params.prune == "P3":
            return least <= self.total + self._tolerance and least < math.inf
        return least < self.total - self._tolerance

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
