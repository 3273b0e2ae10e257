"""DUCT: distributed upper confidence tree (Ottens, Dimitrakakis and Faltings, AAAI 2012; ACM TIST 8, 2017).

Sampling on a pseudo-tree, where each agent is a bandit. Each iteration draws one full assignment: from the root down,
everybody takes a value under the values that its ancestors took, and what that cost comes back up. An agent keeps, for
each context (the values of its separator) and own value, how often it was taken and the least cost that came back. It
goes where the cost may turn out to be lowest.

    message                                    from -> to         when
    RANGE(least, greatest, height, declared)   child -> parent    all children's RANGE have come; once
    CONTEXT(number, values)                    parent -> child    own value taken; values of the child's separator
    COST(number, cost, bound)                  child -> parent    all children's COST have come
    VALUE(values)                              parent -> child    own value final; values of the child's separator

Formulas. Under a context seen n times let value v have been taken n(v) times, m(v) be the least cost that came back,
d(v) the own cost, and b(v) the sum of the children's bounds (at first, of what they cost at least):

    bound(v) = max(d(v) + b(v), m(v) - u sqrt(2 h ln n / n(v))); of an untried value d(v) + b(v)
    B        = min over v of bound(v), which COST carries beside the cost of the sample
    the end: m(v*) - m(v) + u sqrt(ln(2 / delta) / n(v)) <= u epsilon for every v, v* = argmin m; or n = iterations

h is the height of the subtree in agents, and u its range (greatest less least possible cost) over h: in units of u a
subtree's costs lie in an interval of length h, for which these constants are made. At its end the root fixes v*. Its
children go on alone under that context until their own end, and so on. The assignment costs no more than any sample.

Guarantees: none that is proved here; epsilon and delta guide the search. With epsilon=0 and ever more iterations every
assignment is tried. Complexity: n - 1 RANGE and VALUE per component of n variables, for each iteration at most n - 1
CONTEXT and COST, of the size of a separator. An agent in depth k keeps at most (k + 1) iterations records of contexts,
and these may take at most `memory`. One check for each entry of an own cost function, once for each context.

Deviations:

* Ranges come from declared ranges and public tables. A private table without a declared range has its least and
  greatest finite cost added: a disclosure, which RANGE admits (`declared` is false).
* An infinite sample counts as a visit, and in the bound as the greatest possible cost, so that a value is not given up
  for one bad sample below it. A value that is forbidden, by own costs or by all that a child may do, is not tried, and
  under it nobody is asked. Where everything is forbidden the first values are taken.
* At the end a leaf takes its cheapest value, whether sampled or not.
* Messages are numbered, so copies do no harm. The defaults of epsilon, delta and iterations are ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from agentsim.errors import SolverRefusal
from agentsim.runtime.agent import Agent
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.messages import Array, message
from agentsim.runtime.messages import Context as Values
from agentsim.runtime.messages import Cost as Amount
from agentsim.runtime.own_costs import OwnCosts
from agentsim.runtime.setup import TreeParams
from agentsim.runtime.statements import (
    CostIs,
    Nothing,
    Proposed,
    ReaderContext,
    Relation,
    Statement,
    Term,
    Unanalysed,
    ValueIs,
)
from agentsim.runtime.view import Setup

INF: Final = math.inf
RECORD_BYTES: Final = (480, 40, 140)
"""What a record of a context takes: at most this, and more for each variable of the context and each own value."""


@message("RANGE")
class Range(NamedTuple):
    """What the sender's subtree may cost, whatever the values; its height; whether all of that is public anyway."""

    least: Amount
    greatest: Amount
    height: int
    declared: bool


@message("CONTEXT")
class Context(NamedTuple):
    """The values of the receiver's separator in the sender's sample of this number."""

    number: int
    values: Values


@message("COST")
class Cost(NamedTuple):
    """What the sender's subtree cost in this sample, and what it may cost at best under this context."""

    number: int
    cost: Amount
    bound: Amount


@message("VALUE")
class Value(NamedTuple):
    """The final values of the receiver's separator."""

    values: Values


@dataclass(frozen=True)
class DuctParams(TreeParams):
    """Parameters of DUCT.

    Args:
        iterations: most samples of the root, and of each agent under the values that its ancestors have fixed.
        epsilon: how far from the best an agent may settle, in units of u; 0: it never settles before `iterations`.
        delta: the chance to be farther away that the confidence interval is made for.
        memory: most bytes that one agent's records may take.
    """

    iterations: int = 300
    epsilon: float = 0.1
    delta: float = 0.1
    memory: int = 1 << 28

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise ValueError(f"iterations={self.iterations}: must be at least 1")
        if not 0 <= self.epsilon < INF:
            raise ValueError(f"epsilon={self.epsilon}: must be finite and not negative")
        if not 0 < self.delta < 1:
            raise ValueError(f"delta={self.delta}: must be between 0 and 1")
        if self.memory < 1:
            raise ValueError(f"memory={self.memory}: must be at least 1 byte")


class Record:
    """What an agent knows of one context: the number of samples and, by own value, samples, costs and bounds."""

    __slots__ = ("below", "best", "n", "own", "visits")

    def __init__(self, own: list[Amount], below: Amount) -> None:
        self.n = 0
        self.visits = [0] * len(own)
        self.best: list[Amount] = [INF] * len(own)  # m
        self.own = own  # d
        self.below: list[Amount] = [below] * len(own)  # b

    def allowed(self) -> list[int]:
        """Return the values that are not known to be forbidden."""
        return [v for v, own in enumerate(self.own) if own < INF and self.below[v] < INF]


class Duct(Agent):
    """One variable of the pseudo-tree."""

    messages = (Range, Context, Cost, Value)
    Params = DuctParams
    place = "tree"
    costs = "signed"
    status = "tested"

    params: DuctParams

    @classmethod
    def refuse(cls, setup: Setup) -> None:
        """Refuse a tree with an agent whose records may take more than `memory`."""
        assert setup.tree is not None
        tree, sizes, memory = setup.tree, setup.domain_sizes, setup.params.memory
        fixed, per_name, per_value = RECORD_BYTES
        for name in tree:
            depth, size = tree.depth_of(name), fixed + per_value * sizes[name]
            records = (depth + 1) * setup.params.iterations
            if records * (size + per_name * depth) <= memory:
                continue  # a separator is no longer than that, and need not be known
            separator = tree[name].separator
            records = min(records, math.prod(sizes[above] for above in separator))
            size += per_name * len(separator)
            if records * size > memory:
                raise SolverRefusal(
                    f"{name} would keep records of up to {records} contexts, {records * size} bytes, more than "
                    f"memory={memory}: duct could do it with fewer iterations, and dsa and mgm keep no records"
                )

    async def run(self) -> None:
        """Add up ranges; answer the parent's samples until its values are final; then sample on one's own, and end."""
        place = self.view.tree
        self.children, self.separator = place.child_separators, place.separator
        self.own = OwnCosts(self.view, () if place.parent is None else (place.parent, *place.pseudo_parents))
        self.records: dict[tuple[int, ...], Record] = {}
        self.number = 0  # of the sample that the children were asked for last
        await self.normalise(place.parent)
        await self.settle({} if place.parent is None else await self.answer(place.parent))

    async def normalise(self, parent: str | None) -> None:
        """Add up what the subtree may cost, and measure its height."""
        below = await self.gather(Range, tuple(self.children))
        ranges = [self.own_range(), *below.values()]
        self.floor = sum(r.least for r in below.values())
        self.greatest = sum(r.greatest for r in ranges)
        self.height = 1 + max(r.height for r in ranges)
        least = sum(r.least for r in ranges)
        self.unit = (self.greatest - least) / self.height
        if parent is not None:
            self.send(parent, Range(least, self.greatest, self.height, all(r.declared for r in ranges)))

    def own_range(self) -> Range:
        """Return what the own cost functions may cost, as far as that is public."""
        view, above = self.view, {self.name, *self.separator}
        least: Amount = 0
        greatest: Amount = 0
        declared = True
        functions = [(view.unary, view.unary_bounds, False)] if view.has_unary else []
        functions += [(c.table, c.bounds, c.public) for c in view.constraints if above.issuperset(c.scope)]
        for table, bounds, public in functions:
            if bounds is None:
                bounds, declared = extremes(table), declared and public
            least, greatest = least + bounds[0], greatest + bounds[1]
        return Range(least, greatest, 0, declared)

    async def answer(self, parent: str) -> Values:
        """Sample whenever the parent asks, and return the values that it has fixed in the end."""
        answered = 0
        while True:
            asked: Context | Value = await self.receive(Context, Value, sender=parent)
            if isinstance(asked, Value):
                return asked.values
            if asked.number > answered:  # else a copy
                answered = asked.number
                cost, bound = await self.sample(asked.values)
                self.send(parent, Cost(answered, cost, bound))

    async def sample(self, context: Values) -> tuple[Amount, Amount]:
        """Take a value, have the subtree sampled under it, and return the sample's cost and B."""
        record = self.record(context)
        value = self.choose(record)
        self.assign(value)
        cost = record.own[value]
        if self.children and cost < INF:
            self.number += 1
            known = {**context, self.name: value}
            for child, separator in self.children.items():
                self.send(child, Context(self.number, {name: known[name] for name in separator}))
            answers = [await self.answer_of(child) for child in self.children]
            cost += sum(answer.cost for answer in answers)
            record.below[value] = sum(answer.bound for answer in answers)
        record.n += 1
        record.visits[value] += 1
        record.best[value] = min(record.best[value], cost)
        return cost, min(self.bounds(record))

    async def answer_of(self, child: str) -> Cost:
        """Wait for a child's COST of the present sample."""
        while True:
            answer = await self.receive(Cost, sender=child)
            if answer.number == self.number:  # else a copy of an earlier one
                return answer

    def record(self, context: Values) -> Record:
        """Return what is known of a context."""
        key = tuple([context[name] for name in self.separator])
        found = self.records.get(key)
        if found is None:
            self.check(self.own.checks)
            found = self.records[key] = Record(self.own.by_value(context), self.floor)
        return found

    def choose(self, record: Record) -> int:
        """Return an untried value at random, or else the one of least bound."""
        untried = [v for v in record.allowed() if not record.visits[v]]
        if untried:
            return self.rng.choice(untried)
        bounds = self.bounds(record)
        return bounds.index(min(bounds))

    def bounds(self, record: Record) -> list[Amount]:
        """Return the bound of each value."""
        spread = self.unit * math.sqrt(2 * self.height * math.log(record.n)) if record.n else 0.0
        bounds: list[Amount] = []
        for own, below, visits, best in zip(record.own, record.below, record.visits, record.best, strict=True):
            known = own + below
            if visits:
                known = max(known, min(best, self.greatest) - spread / math.sqrt(visits))
            bounds.append(known)
        return bounds

    def is_at_end(self, record: Record) -> bool:
        """Tell whether the best value is good enough, or there were samples enough."""
        allowed = record.allowed()
        if record.n >= self.params.iterations or not allowed:
            return True
        best = min(record.best)
        if best == INF or not all(record.visits[v] for v in allowed):
            return False
        radius, most = self.unit * math.sqrt(math.log(2 / self.params.delta)), self.unit * self.params.epsilon
        return all(
            best - min(record.best[v], self.greatest) + radius / math.sqrt(record.visits[v]) <= most for v in allowed
        )

    async def settle(self, context: Values) -> None:
        """Sample on under the final values of the ancestors, take the best value, and tell the children."""
        record = self.record(context)
        while self.children and not self.is_at_end(record):
            await self.sample(context)
        costs, bounds = record.best if self.children else record.own, self.bounds(record)
        value = min(range(self.view.size), key=lambda v: (costs[v], bounds[v]))
        self.assign(value)
        known = {**context, self.name: value}
        for child, separator in self.children.items():
            self.send(child, Value({name: known[name] for name in separator}))


def extremes(table: Array) -> tuple[Amount, Amount]:
    """Return the least and the greatest finite entry; zeros where there is none."""
    finite = table[np.isfinite(table)]
    if not finite.size:
        return 0, 0
    least, greatest = finite.min().item(), finite.max().item()
    return least, greatest


class DuctReader:
    """What a viewer of DUCT can conclude.

    COST: the sender's subtree costs this much under the context for some values of its own, so at best no more; the
    bound of a leaf is what it costs at best. Other bounds, and which value looked best, follow from costs and counts of
    samples that the viewer does not see: not analysed, as are ranges read off private tables.
    """

    def __init__(self, context: ReaderContext) -> None:
        self._context = context
        self._asked: dict[tuple[str, str], Context] = {}  # by parent and child
        self._heights: dict[str, int] = {}

    def read(self, delivery: Delivery) -> Iterator[Statement]:
        """Return the statements that one delivery supports."""
        content, src, dst = delivery.message, delivery.src, delivery.dst
        if isinstance(content, Range):
            self._heights[src] = content.height
            yield Nothing("height of a subtree", ("height", "declared"))
            fields = ("least", "greatest")
            yield (
                Nothing("declared ranges, added up", fields)
                if content.declared
                else Unanalysed("least and greatest private costs, added up", fields)
            )
        elif isinstance(content, Context):
            self._asked[src, dst] = content
            yield _NUMBER
            yield Proposed("sample", ("values",), content.values)
            yield Unanalysed("which value was untried or looked best", ("values",))
        elif isinstance(content, Cost):
            yield _NUMBER
            yield from self._cost(src, self._asked.get((dst, src)), content)
        else:
            for name, value in content.values.items():
                yield ValueIs("decision", ("values",), name, value, "final")

    def _cost(self, src: str, asked: Context | None, answer: Cost) -> Iterator[Statement]:
        certain = asked is not None and asked.number == answer.number
        context: Mapping[str, int] = asked.values if certain and asked is not None else {}
        parties = (src,)
        below, offset = Term(parties, "subtree", context), self._context.offset(parties, "subtree")
        yield CostIs("sample-cost", ("cost",), (below,), "==", answer.cost, offset, others="some")
        if answer.cost < INF:
            yield CostIs("subtree-upper", ("cost",), (below,), "<=", answer.cost, offset)
        if self._heights.get(src) == 1:
            own = Term(parties, "none", context)
            exactly: Relation = "==" if certain else "<="
            yield CostIs("own-cost", ("bound",), (own,), exactly, answer.bound, self._context.offset(parties))
        else:
            yield Unanalysed("what looks possible after the samples so far", ("bound",))


_NUMBER: Final = Nothing("number of the sample", ("number",))


Duct.reader = DuctReader
