"""Inference rules: from what messages disclose to what an observer believes.

A rule is told the statements of each delivery that its observer received and changes the observer's beliefs. It may use
labels and shapes of statements, the observer's `Mind`, and nothing else; no rule knows a solver. Write your own as a
subclass of `Rule`, register it under the entry point group `agentsim.rules`, or hand the class to the observer.

    rule    assumes                                         sound   what it does
    paper   who attends which event; each value equally     no*     upper bounds only; a slot where equalities tell it,
            likely where a message leaves it open                   else the ambiguity rule over all values
    exact   nothing beyond the observer's own view, and     yes     upper bounds, and "some value costs at most s"
            the public floors of what is in a sum
    tight   that too, or the tree and the order as well     yes     equalities and bounds from both sides, what was
            (`topology=true`)                                       learnt before is used for what is learnt next

(*) The bounds that `paper` collects are all true, and its ranges never exclude the truth. The ambiguity rule then
spreads each bound over all values alike, which overstates what follows: with many repeats it tends to claim that *all*
values cost no more than the least bound (paper section IV.B, Example 4).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Final, Literal

import numpy as np

from agentsim.dcop.problem import Cost, Table
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.statements import Chosen, CostIs, CostTable, Statement, Term
from privacy.vps.knowledge import Belief, Mind

Counted = tuple[Belief, int]
Rereads = Literal["always", "after change", "never"]


class Rule:
    """Base of every rule.

    Class attributes: `sound`, whether it never excludes the truth; `Params`, a frozen dataclass of options or None;
    `rereads`, when a message that came before must be read again: "always"; "after change" of any belief; "never", as
    it would change nothing but the counts that `learn` returned.

    Args:
        mind: of the observer; `learn` changes its beliefs.
        params: an instance of `Params`.
    """

    sound: ClassVar[bool] = False
    rereads: ClassVar[Rereads] = "always"
    Params: ClassVar[type[Any] | None] = None

    def __init__(self, mind: Mind, params: Any) -> None:  # noqa: ANN401  # whatever the rule declares
        self.mind, self.params = mind, params

    def learn(self, statements: Sequence[Statement], delivery: Delivery) -> Sequence[Counted]:
        """Change beliefs by what one delivery says.

        Returns:
            What was counted, so that a rule that never rereads can count it again when the message comes again.
        """
        raise NotImplementedError

    def uses(self, statement: Statement) -> bool:
        """Tell whether it draws conclusions from statements of this form; the observer names those it does not use."""
        return True


def is_plain(statement: CostIs) -> bool:
    """Tell whether it bounds a sum of least costs as they are: the only form on which the rules here conclude.

    Noise, differences, variables that are at some values rather than at their best, and forbidden tuples that count
    less than infinity (a forbidden cost would then seem to be a finite one) are none of that.
    """
    return (
        statement.noise is None
        and statement.others == "best"
        and statement.forbidden == math.inf
        and all(t.coefficient == 1 for t in statement.terms)
    )


def is_used(statement: Statement) -> bool:
    """Tell whether the rules here draw conclusions from statements of this form, or there are none to draw."""
    return is_plain(statement) if isinstance(statement, CostIs) else not isinstance(statement, Chosen)


def upper(statement: CostIs) -> Cost | None:
    """Return what the terms cost at most in minimising user units; None if the statement gives no usable bound."""
    if statement.relation in (">=", "<") or not is_plain(statement):
        return None
    total = statement.value - statement.offset
    return None if total == math.inf else total


def floors(mind: Mind, terms: Sequence[Term]) -> tuple[Cost, Cost]:
    """Return the least that the terms can cost together; see `Public.floors`."""
    if len(terms) == 1:
        return mind.public.floors(terms[0].parties, terms[0].rest)
    found = [mind.public.floors(t.parties, t.rest) for t in terms]
    return sum(f[0] for f in found), sum(f[1] for f in found)


def by_axis(table: Table, axes: Sequence[str], axis: str) -> Table:
    """Return a table with one axis in front and all others as the second. Shape (d, cells)."""
    moved = np.moveaxis(table, list(axes).index(axis), 0)
    return moved.reshape(moved.shape[0], -1)


def diagonal(table: Table, axes: Sequence[str], equal: Sequence[str]) -> Table:
    """Return the cells in which all of `equal` have the same index; the others as the second axis. Shape (d, cells)."""
    front = [list(axes).index(a) for a in equal]
    moved = np.moveaxis(table, front, range(len(front)))
    d = min(moved.shape[: len(front)])
    index = np.arange(d)
    return moved[(index,) * len(front)].reshape(d, -1)


@dataclass(frozen=True)
class PaperOptions:
    """Options of the rule `paper`; each goes by a statement's label or shape, never by solver.

    Args:
        repeats: "all" messages count, or only those "distinct" in context and bound (ambiguity rule).
        table: which cells of a table give bounds: "diagonal" (all separator variables alike), "first" (the others at
            their first value), "max" (the worst cell of all, once). By default diagonal, for the ambiguity rule max.
        prefix: whether costs of a named partial assignment are used. By default they are where equalities tie observer
            and subject, and not by the ambiguity rule.
    """

    repeats: Literal["all", "distinct"] = "all"
    table: Literal["diagonal", "first", "max"] | None = None
    prefix: Literal["use", "ignore"] | None = None


class Paper(Rule):
    """The paper's rules: upper bounds, by slot for events and by the ambiguity rule elsewhere (section IV)."""

    sound = False
    rereads = "never"
    Params = PaperOptions

    params: PaperOptions

    SILENT: Final = frozenset({"incumbent", "subtree-lower", "subtree-upper"})
    """Labels that the paper's rules do not look at."""

    def __init__(self, mind: Mind, params: PaperOptions) -> None:
        super().__init__(mind, params)
        self._seen: set[object] = set()

    def learn(self, statements: Sequence[Statement], delivery: Delivery) -> Sequence[Counted]:
        """Collect the upper bounds of one delivery."""
        counted: list[Counted] = []
        for statement in statements:
            if statement.label in self.SILENT:
                continue
            if isinstance(statement, CostIs):
                self._bound(statement, delivery, counted)
            elif isinstance(statement, CostTable):
                self._table(statement, delivery, counted)
        return counted if self.params.repeats == "all" else ()

    def uses(self, statement: Statement) -> bool:
        """Tell whether it draws conclusions from statements of this form."""
        return is_used(statement)

    def _bound(self, statement: CostIs, delivery: Delivery, counted: list[Counted]) -> None:
        total = upper(statement)
        if total is None:
            return
        mind, prefix = self.mind, self.params.prefix
        named, lenient = floors(mind, statement.terms)
        for term in statement.terms:
            for party in term.parties:
                belief = mind.belief(party)
                if belief is None:
                    continue
                tied, low = mind.is_tied(party), belief.scale.low
                if statement.label == "prefix" and (prefix == "ignore" or (prefix is None and not tied)):
                    continue
                if tied or party in term.context:
                    slot = mind.slot(party, term.parties, term.context)
                    if slot is not None:
                        belief.cap(slot, belief.scale.at_most(total - (named - low)))
                elif party == delivery.src:
                    level = belief.scale.at_most(total - (lenient - min(0, low)))
                    self._count(belief, level, (party, *sorted(term.context.items())), counted)

    def _table(self, statement: CostTable, delivery: Delivery, counted: list[Counted]) -> None:
        mind, axes, values = self.mind, statement.axes, statement.values
        named, lenient = mind.public.floors(statement.parties, statement.rest)
        for party in statement.parties:
            belief = mind.belief(party)
            if belief is None:
                continue
            low, scale = belief.scale.low, belief.scale
            strict, loose = statement.offset + named - low, statement.offset + lenient - min(0, low)
            if party in axes:
                for value, cost in enumerate(by_axis(values, axes, party).min(axis=1).tolist()):
                    belief.cap(value, scale.at_most(cost - strict))
            elif mind.is_tied(party):
                equal = mind.tied_axes(party, statement.parties, axes)
                if equal:
                    for value, cost in enumerate(self._cells(values, axes, equal, delivery.dst)):
                        belief.cap(value, scale.at_most(cost - strict))
                else:
                    slot = mind.slot(party, statement.parties, statement.context)
                    if slot is not None:
                        belief.cap(slot, scale.at_most(values.min().item() - strict))
            elif party == delivery.src:
                for value, cost in enumerate(self._cells(values, axes, (), delivery.dst)):
                    where = (party, value, *sorted(statement.context.items()))
                    self._count(belief, scale.at_most(cost - loose), where, counted)

    def _cells(self, values: Table, axes: Sequence[str], equal: Sequence[str], receiver: str) -> list[Cost]:
        """Return bounds: one for each value of the tied axes, or of the receiver; see the option `table`."""
        which = self.params.table or ("diagonal" if equal else "max")
        if not axes:
            return [values.item()]
        if which == "max":
            return [values.max().item()] * (values.shape[list(axes).index(equal[0])] if equal else 1)
        if which == "diagonal":
            costs: list[Cost] = diagonal(values, axes, equal or axes).min(axis=1).tolist()
            return costs
        candidates = equal or axes
        first: list[Cost] = by_axis(values, axes, receiver if receiver in candidates else candidates[0])[:, 0].tolist()
        return first

    def _count(self, belief: Belief, level: int, where: tuple[object, ...], counted: list[Counted]) -> None:
        if level >= belief.scale.levels:
            return
        if self.params.repeats == "distinct":
            if (where, level) in self._seen:
                return
            self._seen.add((where, level))
        belief.count(level)
        counted.append((belief, level))


class Exact(Rule):
    """What follows logically: an upper bound of a value that is known, else "some value costs at most s"."""

    sound = True
    rereads: ClassVar[Rereads] = "never"

    def learn(self, statements: Sequence[Statement], delivery: Delivery) -> Sequence[Counted]:
        """Draw the upper bounds of one delivery."""
        for statement in statements:
            if isinstance(statement, CostIs):
                total = upper(statement)
                if total is not None:
                    self.at_most(statement.terms, total)
            elif isinstance(statement, CostTable):
                self.table(statement)
        return ()

    def uses(self, statement: Statement) -> bool:
        """Tell whether it draws conclusions from statements of this form."""
        return is_used(statement)

    def at_most(self, terms: Sequence[Term], total: Cost) -> None:
        """Learn that the terms cost at most `total` together."""
        mind = self.mind
        named, _ = floors(mind, terms)
        for term in terms:
            for party in term.parties:
                belief = mind.belief(party)
                if belief is None:
                    continue
                level = belief.scale.at_most(total - (named - belief.scale.low))
                slot = mind.slot(party, term.parties, term.context)
                if slot is None:
                    belief.some(level)
                else:
                    belief.cap(slot, level)

    def table(self, statement: CostTable) -> None:
        """Learn the same from every cell of a table."""
        mind, values = self.mind, statement.values
        named, _ = mind.public.floors(statement.parties, statement.rest)
        for party in statement.parties:
            belief = mind.belief(party)
            if belief is None:
                continue
            others = statement.offset + named - belief.scale.low
            cells = self.cells(party, statement)
            if cells is not None:
                for value, cost in enumerate(cells.min(axis=1).tolist()):
                    belief.cap(value, belief.scale.at_most(cost - others))
                continue
            level = belief.scale.at_most(values.min().item() - others)
            slot = mind.slot(party, statement.parties, statement.context)
            if slot is None:
                belief.some(level)
            else:
                belief.cap(slot, level)

    def cells(self, party: str, table: CostTable) -> Table | None:
        """Return the cells in which each value of `party` is certain, by value; None if the axes tell none."""
        if party in table.axes:
            return by_axis(table.values, table.axes, party)
        equal = self.mind.tied_axes(party, table.parties, table.axes)
        return diagonal(table.values, table.axes, equal) if equal else None


@dataclass(frozen=True)
class TightOptions:
    """Options of the rule `tight`.

    Args:
        topology: whether the observer knows tree and order, and so who is below whom, and every declared cost range.
    """

    topology: bool = False


class Tight(Exact):
    """Bounds from both sides, with what is already known of the others in a sum, and one's own costs exactly.

    A sum of costs that is known from above and below bounds each of them from above (all others at their least) and, if
    nothing is in the sum whose greatest cost is unknown, from below (all others at their greatest). Without `topology`
    that takes a problem in which every constraint that the observer does not know is declared to be hard (range 0..0).
    """

    sound = True
    rereads = "after change"  # what is learnt in between makes the same message say more
    Params = TightOptions

    params: TightOptions

    def __init__(self, mind: Mind, params: TightOptions) -> None:
        super().__init__(mind, params)
        self._ceilings: dict[object, Cost] = {}

    def learn(self, statements: Sequence[Statement], delivery: Delivery) -> Sequence[Counted]:
        """Draw bounds from both sides of one delivery."""
        least: dict[int, Cost] = {}
        for s in statements:
            if isinstance(s, CostIs) and s.relation == ">=" and len(s.terms) == 1 and is_plain(s):
                least[id(s.terms[0])] = s.value - s.offset
        for s in statements:
            if isinstance(s, CostIs):
                total = upper(s)
                if total is None:
                    continue
                # That a cost is finite at all, the upper bound says; without it the lower one may stem from a conflict.
                low = total if s.relation == "==" else least.get(id(s.terms[0])) if len(s.terms) == 1 else None
                if len(s.terms) == 1:
                    self._sum(s.terms[0], total, low)
                else:
                    self.at_most(s.terms, total)
            elif isinstance(s, CostTable):
                self.table(s)
        return ()

    def _named(self, term: Term) -> tuple[str, ...]:
        """Return everybody whose costs are in a term, as far as the observer knows."""
        if term.rest == "subtree" and self.params.topology:
            return self.mind.public.nodes(term.parties, "subtree")
        return term.parties

    def _sum(self, term: Term, total: Cost, least: Cost | None) -> None:
        mind = self.mind
        named = self._named(term)
        slots = {p: mind.slot(p, named, term.context) for p in named}
        ranges = {p: self.cost_range(p, slots[p]) for p in named}
        # What is left once the private floors of those named here are out of it: constraints, and unnamed parts.
        floor = mind.public.floors(term.parties, term.rest)[1] - sum(
            min(0, mind.public.private_floor(p)) for p in named
        )
        lows = sum(low for low, _ in ranges.values())
        highs, ceiling = sum(high for _, high in ranges.values()), self._ceiling(term)
        # Beliefs and own costs are about values that equalities tell; whether these hold, only public floors can say.
        public = floor + sum(mind.public.private_floor(p) for p in named)
        certain = least is not None and ceiling < math.inf and total - public <= mind.public.reach
        for party in named:
            belief = mind.belief(party)
            if belief is None:
                continue
            scale, slot = belief.scale, slots[party]
            low, high = ranges[party]
            level = scale.at_most(total - floor - (lows - low))
            if slot is None:
                belief.some(level)
                continue
            belief.cap(slot, level)
            if certain:
                assert least is not None
                belief.lift(slot, scale.at_least(least - ceiling - (highs - high)))

    def cost_range(self, party: str, slot: int | None) -> tuple[Cost, Cost]:
        """Return the least and the greatest private cost that `party` can have at its value, minimising user units."""
        mind = self.mind
        belief = mind.belief(party)
        if belief is not None:
            scale, low, high = belief.scale, belief.low, belief.high
            if slot is not None:
                return scale.least(low[slot]), scale.greatest(high[slot])
            return scale.least(min(low)), scale.greatest(max(high))
        setup = mind.public.setup
        unary = setup.problem.variables[party].unary
        if unary is None:
            return 0, 0
        costs: list[Cost] = (setup.sense * unary).tolist()
        finite = [c for c in (costs if slot is None else [costs[slot]]) if c < math.inf]
        return (min(finite), max(finite)) if finite else (0, 0)  # infinite: no finite sum has it

    def _ceiling(self, term: Term) -> Cost:
        """Return the most that the constraints in a finite term can cost, and unnamed private costs; inf if unknown."""
        if term.rest != "none" and not (self.params.topology and term.rest == "subtree"):
            return math.inf
        key = (term.parties, term.rest, {*term.parties, *term.context} == {*term.parties[:1]})
        if key not in self._ceilings:
            public = self.mind.public
            at = public.setup.evaluated_at
            constraints = [c for n in public.nodes(term.parties, term.rest) for c in at[n]]
            # A cost that depends on one variable alone holds no constraint with others.
            alone = key[2] and term.rest == "none" and all(len(c.scope) == 1 for c in constraints)
            self._ceilings[key] = sum(self._most(c.name) for c in constraints) + (0 if alone else self._unknown)
        return self._ceilings[key]

    def _most(self, name: str) -> Cost:
        public = self.mind.public
        c = public.setup.problem.constraints[name]
        sense = public.setup.sense
        if self._knows(name):
            costs = sense * c.table
            if name in public.equalities:
                costs = costs.diagonal()
            finite = costs[np.isfinite(costs)]
            most: Cost = finite.max().item() if finite.size else 0
            return most
        if c.cost_range is None:
            return math.inf if self.params.topology else 0  # without topology `_unknown` speaks for it
        return max(0, c.cost_range[1] if sense > 0 else -c.cost_range[0])

    def _knows(self, name: str) -> bool:
        problem = self.mind.public.setup.problem
        c = problem.constraints[name]
        return c.known_to == "all" or not self.mind.agents.isdisjoint(problem.known_to(c))

    @cached_property
    def _unknown(self) -> Cost:
        """What constraints that the observer does not even know of may add: 0 only if all of them are declared hard."""
        if self.params.topology:
            return 0
        problem, sense = self.mind.public.setup.problem, self.mind.public.setup.sense
        for c in problem.constraints.values():
            if not self._knows(c.name):
                if c.cost_range is None:
                    return math.inf
                low, high = c.cost_range
                if (high if sense > 0 else -low) > 0:
                    return math.inf
        return 0

    def table(self, statement: CostTable) -> None:
        """Learn from each cell of a table as from a sum that is known exactly."""
        super().table(statement)
        mind = self.mind
        if len(statement.parties) != 1:
            return
        party = statement.parties[0]
        belief, cells = mind.belief(party), self.cells(party, statement)
        if belief is None or cells is None:
            return
        term = Term(statement.parties, statement.rest, {**statement.context, **dict.fromkeys(statement.axes, 0)})
        ceiling = self._ceiling(term)
        if ceiling == math.inf:
            return
        below = [p for p in self._named(term) if p != party]
        floor = mind.public.floors(term.parties, term.rest)[1] - sum(
            min(0, mind.public.private_floor(p)) for p in (party, *below)
        )
        # Whoever is below has the same value where equalities say so, and else any.
        slots = [[self._slot_below(p, party, value, (party, *below)) for p in below] for value in range(len(cells))]
        most = mind.public.reach + statement.offset + floor
        most += sum(mind.public.private_floor(p) for p in (party, *below))
        for value, row in enumerate(cells):
            ranges = [self.cost_range(p, slot) for p, slot in zip(below, slots[value], strict=True)]
            lows, highs = sum(low for low, _ in ranges), sum(high for _, high in ranges)
            certain = row[row <= most]  # no equality is broken in these
            if certain.size:
                belief.cap(value, belief.scale.at_most(certain.min().item() - statement.offset - floor - lows))
                belief.lift(value, belief.scale.at_least(certain.max().item() - statement.offset - ceiling - highs))

    def _slot_below(self, other: str, party: str, value: int, named: tuple[str, ...]) -> int | None:
        return self.mind.slot(other, named, {party: value})


BUILT_IN: Final[Mapping[str, type[Rule]]] = {"paper": Paper, "exact": Exact, "tight": Tight}
