"""From statements to what is possible: the part of inference that all exact adversaries share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np

from agentsim.dcop.problem import Cost
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.statements import Best, Chosen, CostIs, CostTable, Reader, Statement, Term
from privacy.adversaries.possible import Possible
from privacy.adversaries.profiles import FORBIDDEN
from privacy.adversaries.sums import Sums, Unusable

MAX_TABLE: Final = 20_000
"""Most cells of a table that is used; each of them is a fact."""

MAX_REMEMBERED: Final = 2048
"""Bytes of the largest message that is recognised when it comes again."""

ROUNDING: Final = 1e-9
"""Relative error of what is told in figures that are not whole numbers, such as means."""


class Ears:
    """One viewer's reader, spared what cannot tell it anything new.

    Search algorithms repeat themselves again and again: a reader that says that it is stateless is not shown the same
    message twice, nor what its viewer sends.

    Args:
        reader: the viewer's.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._stateless = bool(getattr(reader, "stateless", False))
        self._read: set[tuple[str, str, str, bytes]] = set()

    def hear(self, delivery: Delivery, own: bool) -> list[Statement]:
        """Return what a delivery tells; one's `own` words tell nothing, but the reader may need them."""
        if self._stateless:
            key = (delivery.src, delivery.dst, delivery.type, delivery.payload)
            if own or key in self._read:
                return []
            if len(delivery.payload) <= MAX_REMEMBERED:
                self._read.add(key)
        statements = list(self._reader.read(delivery))
        return [] if own else statements


class Learner:
    """Learns from statements which profiles of private costs are possible.

    Used are `CostIs` without noise, `CostTable`, and `Chosen` as the best value. Others are left out, which is sound:
    more is then thought possible.

    Args:
        sums: what costs are, as functions of the unknown ones.
        possible: what is possible so far.

    Attributes:
        ignored: number of statements that were too large or of a kind that is not used.
    """

    def __init__(self, sums: Sums, possible: Possible) -> None:
        self.possible = possible
        self.ignored = 0
        self._sums = sums

    def hear(self, statements: Iterable[Statement]) -> bool:
        """Learn from statements; tell whether anything dropped out of what is possible."""
        changed = False
        for statement in statements:
            for claim in self._claims(statement):
                try:
                    changed |= self._learn(claim)
                except Unusable:
                    self.ignored += 1
        return changed

    def _claims(self, statement: Statement) -> Iterator[CostIs | Chosen]:
        """Yield what a statement says that may narrow down private costs, a table cell by cell."""
        if isinstance(statement, CostIs):
            if statement.noise is None:
                yield statement
            else:
                self.ignored += 1
        elif isinstance(statement, CostTable):
            if statement.values.size > MAX_TABLE:
                self.ignored += 1
                return
            for cell, value in np.ndenumerate(statement.values):
                context = {**statement.context, **dict(zip(statement.axes, cell, strict=True))}
                terms = (Term(statement.parties, statement.rest, context),)
                yield CostIs(statement.label, statement.fields, terms, "==", value.item())
        elif isinstance(statement, Chosen) and isinstance(statement.law, Best):
            yield statement

    def _learn(self, claim: CostIs | Chosen) -> bool:
        if isinstance(claim, Chosen):
            best = self._sums.chosen(claim)
            return best is not None and self.possible.learn_some(best)
        terms, relation, value = claim.terms, claim.relation, claim.value
        if not math.isfinite(value):
            return self._learn_infinite(claim)
        slack = _slack(value, claim.forbidden, *(term.coefficient for term in terms))
        low = value - slack if relation in (">=", "==") else -math.inf
        high = value + slack if relation in ("<=", "==", "<") else math.inf
        if claim.others == "some":
            some = self._sums.some(terms, low, high, claim.forbidden)
            return some is not None and self.possible.learn_some(some)
        sums = []
        for term in terms:
            least = self._sums.least(term, claim.forbidden)
            if least is None:
                return False
            sums.append((term.coefficient, least))
        return self.possible.learn(sums, low, high)

    def _learn_infinite(self, claim: CostIs) -> bool:
        """Learn that something is forbidden or not, which tells nothing where all that is forbidden is known."""
        terms, value = claim.terms, claim.value
        told = value == math.inf and claim.relation in ("==", ">=", "<") and claim.others == "best"
        if self.possible.cells.weights is None or not told or len(terms) != 1 or terms[0].coefficient != 1:
            return False
        least = self._sums.least(terms[0], claim.forbidden)
        ends = (-math.inf, FORBIDDEN / 2) if claim.relation == "<" else (FORBIDDEN / 2, math.inf)
        return least is not None and self.possible.learn([(1.0, least)], *ends)


def _slack(*figures: Cost) -> float:
    """Return what a sum of whole costs may be off by that is told in these figures: nothing if all are whole."""
    finite = [abs(f) for f in figures if math.isfinite(f)]
    return 0.0 if all(float(f).is_integer() for f in finite) else ROUNDING * max(1.0, *finite)
