"""Sets of profiles: those under which everything that somebody was told is true.

What is told is a *fact*: a sum of least costs lies in an interval, or one of several conditions holds. A set of
profiles is kept as a product of *factors*, groups of cells that no fact has tied together so far, each with the list of
its combinations that are still possible. A fact over cells of several factors joins them; where their product is too
large to go through, the fact is put off and the share of profiles that fulfil it is estimated by sampling from the
product.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from privacy.adversaries.facts import AnyFact, Either, Fact, LeastCost, Levels, Numbers, Some
from privacy.adversaries.profiles import Cells, Chances, entropy

BLOCK: Final = 1 << 18
"""Combinations made at a time."""


@dataclass(slots=True, eq=False)
class _Factor:
    """Combinations of the levels of `cells`, shape (n, number of cells); `weights` (n,) unless uniform."""

    cells: tuple[int, ...]
    rows: Levels
    weights: Chances | None


@dataclass(frozen=True, eq=False)
class Estimate:
    """A loss estimated by sampling.

    Args:
        bits: -log2 of the share of profiles left; only a lower bound if `at_least`.
        error: its standard error by the delta method; None if `at_least`.
        interval: that holds the true loss with a probability of at least 95 %; its end is None if `at_least`.
        at_least: whether no sample at all was accepted in some group of cells.
        accepted: by factor, the combinations of accepted samples of its cells.
    """

    bits: float
    error: float | None
    interval: tuple[float, float | None]
    at_least: bool
    accepted: Mapping[int, Levels] = field(repr=False)


class Possible:
    """The profiles that are still possible.

    Args:
        cells: the unknown costs.
        limit: most combinations to go through at once; no cell has more levels.
    """

    def __init__(self, cells: Cells, limit: int) -> None:
        self.cells, self.limit = cells, limit
        self.contradicted = False
        """Whether the facts cannot all be true."""
        self.deferred = False
        """Whether a fact ever had to wait."""
        self._factor_of = np.full(len(cells), -1, np.intp)
        self._factors: dict[int, _Factor] = {}
        self._intervals: dict[Hashable, tuple[float, float]] = {}
        self._conditions: set[Hashable] = set()
        self._pending: dict[Hashable, AnyFact] = {}
        self._low = np.zeros(len(cells), np.int64)
        self._high = np.array([u - 1 for u in cells.levels], np.int64)
        self._next = 0
        self._column = np.zeros(len(cells), np.intp)  # scratch

    @property
    def exact(self) -> bool:
        """Whether no fact is put off."""
        return not self._pending

    @property
    def settled(self) -> bool:
        """Whether each cell has one possible level."""
        return not self.contradicted and bool((self._low == self._high).all())

    @property
    def in_all(self) -> int:
        """Number of combinations of the cells that facts speak of, before the first fact."""
        return math.prod(self.cells.levels[c] for c in np.flatnonzero(self._factor_of >= 0).tolist())

    @property
    def left(self) -> int:
        """Number of these that are left, facts put off aside."""
        return 0 if self.contradicted else math.prod(len(f.rows) for f in self._factors.values())

    @property
    def bits(self) -> float:
        """-log2 of the prior probability of what is left, facts put off aside; infinite if nothing is."""
        if self.contradicted:
            return math.inf
        bits = 0.0
        for f in self._factors.values():
            if f.weights is None:
                bits += math.log2(math.prod(self.cells.levels[c] for c in f.cells)) - math.log2(len(f.rows))
            else:
                bits -= math.log2(min(1.0, float(f.weights.sum())))
        return bits + 0.0

    def learn(self, terms: Sequence[tuple[float, LeastCost]], low: float, high: float) -> bool:
        """Learn that the sum of the terms lies in [low, high]; tell whether profiles dropped out."""
        key = tuple((coefficient, term.key) for coefficient, term in terms)
        before = self._intervals.get(key, (-math.inf, math.inf))
        now = (max(low, before[0]), min(high, before[1]))
        if now == before or self.contradicted:
            return False
        self._intervals[key] = now
        return self._learn(key, Fact(tuple(terms), *now))

    def learn_some(self, fact: Some | Either) -> bool:
        """Learn that one of several conditions holds; tell whether profiles dropped out."""
        key = fact.key
        if key in self._conditions or self.contradicted:
            return False
        self._conditions.add(key)
        return self._learn(key, fact)

    def _learn(self, key: Hashable, new: AnyFact) -> bool:
        changed = progress = self._consider(key, new)
        while progress and self._pending:
            progress = False
            for other, fact in list(self._pending.items()):
                progress |= self._consider(other, fact)
        return changed

    def _consider(self, key: Hashable, whole: AnyFact) -> bool:
        fact = whole.narrowed(self._low, self._high)
        if fact.implied(self._low, self._high):
            self._pending.pop(key, None)
            return False
        groups = tuple(dict.fromkeys(self._factor_at(c) for c in fact.involved.tolist()))
        if not groups:
            self.contradicted = True
            return True
        if math.prod(len(self._factors[g].rows) for g in groups) > self.limit:
            self._pending[key] = whole
            self.deferred = True
            return self._cap(fact)
        self._pending.pop(key, None)
        return self._join(groups, fact)

    def _factor_at(self, cell: int) -> int:
        found = int(self._factor_of[cell])
        if found < 0:
            u = self.cells.levels[cell]
            rows = np.arange(u, dtype=np.min_scalar_type(u - 1))[:, None]
            weights = None
            if self.cells.chances is not None:
                weights = self.cells.chances[cell]
                rows, weights = rows[weights > 0], weights[weights > 0]
            found = self._add(_Factor((cell,), rows, weights))
        return found

    def _add(self, factor: _Factor) -> int:
        number = self._next
        self._next += 1
        self._factors[number] = factor
        cells = list(factor.cells)
        self._factor_of[cells] = number
        if len(factor.rows):
            self._low[cells], self._high[cells] = factor.rows.min(axis=0), factor.rows.max(axis=0)
        else:
            self.contradicted = True
        return number

    def _columns(self, cells: Sequence[int]) -> NDArray[np.intp]:
        self._column[list(cells)] = np.arange(len(cells))
        return self._column

    def _join(self, groups: Sequence[int], fact: AnyFact) -> bool:
        """Keep the combinations of some factors under which a fact is true, as one factor."""
        parts = [self._factors[g] for g in groups]
        cells = tuple(c for part in parts for c in part.cells)
        column = self._columns(cells)
        sizes = [len(part.rows) for part in parts]
        total, kept, weights = math.prod(sizes), [], []
        for start in range(0, total, BLOCK):
            picks = np.unravel_index(np.arange(start, min(start + BLOCK, total)), sizes)
            rows = np.concatenate([part.rows[pick] for part, pick in zip(parts, picks, strict=True)], axis=1)
            true = fact.holds(rows, column)
            kept.append(rows[true])
            if self.cells.chances is not None:
                chance = np.ones(len(rows))
                for part, pick in zip(parts, picks, strict=True):
                    assert part.weights is not None
                    chance *= part.weights[pick]
                weights.append(chance[true])
        if sum(map(len, kept)) == total:
            return False
        for g in groups:
            del self._factors[g]
        self._add(_Factor(cells, np.concatenate(kept), np.concatenate(weights) if weights else None))
        return True

    def _cap(self, fact: AnyFact) -> bool:
        """Draw the simplest consequence of a fact that is put off: an upper bound on a cell that all its rows share."""
        if not isinstance(fact, Fact) or len(fact.terms) != 1 or fact.terms[0][0] != 1 or fact.high == math.inf:
            return False
        term, changed = fact.terms[0][1], False
        if term.weights is not None:
            return False
        for k in range(term.cells.shape[1]):
            cell = int(term.cells[0, k])
            if cell >= 0 and (term.cells[:, k] == cell).all():
                others = int(term.rows_at(self._low).min()) - int(self._low[cell])
                if fact.high - others < self._high[cell]:
                    bound = LeastCost(np.zeros(1, np.int64), np.array([[cell]]))
                    changed |= self._join((int(self._factor_of[cell]),), Fact(((1.0, bound),), 0, fact.high - others))
        return changed

    # What is known of a cell or of several.

    def posterior(self, cell: int, estimate: Estimate | None = None) -> Chances:
        """Return the probability of each level of a cell, shape (u,), by accepted samples where there are any."""
        number = int(self._factor_of[cell])
        if number < 0:
            return self.cells.prior(cell)
        factor = self._factors[number]
        rows, weights = factor.rows, factor.weights
        if estimate is not None and len(estimate.accepted.get(number, ())):
            rows, weights = estimate.accepted[number], None
        counts = np.bincount(rows[:, factor.cells.index(cell)], weights, self.cells.levels[cell])
        return np.asarray(counts / counts.sum())

    def lost(self, cells: Iterable[int]) -> float:
        """Return by how many bits the entropy of some cells together fell, facts put off aside."""
        known = list(cells)
        lost = sum(entropy(self.cells.prior(c)) for c in known) - self._uncertainty(known)
        return 0.0 if abs(lost) < 1e-9 else lost

    def _uncertainty(self, cells: Iterable[int]) -> float:
        """Return the entropy in bits of some cells together, facts put off aside."""
        asked = set(cells)
        bits = sum(entropy(self.cells.prior(c)) for c in asked if self._factor_of[c] < 0)
        for number in sorted({int(self._factor_of[c]) for c in asked} - {-1}):
            factor = self._factors[number]
            columns = [k for k, c in enumerate(factor.cells) if c in asked]
            codes = _codes(factor.rows, columns, [self.cells.levels[c] for c in factor.cells])
            counts = np.bincount(codes, factor.weights)
            bits += entropy(counts / counts.sum())
        return bits

    # Facts that were put off.

    def estimate(self, rng: np.random.Generator, samples: int) -> Estimate:
        """Estimate the loss with all facts that were put off, by rejection.

        Groups of cells that these facts tie together are sampled apart, each from the product of its factors under the
        prior. The interval adds up Clopper and Pearson's, at levels that together give 95 %.
        """
        groups = self._tied()
        bits, low, high, variance = self.bits, self.bits, self.bits, 0.0
        at_least = False
        accepted: dict[int, Levels] = {}
        for numbers, facts in groups:
            rows = self._accepted(rng, samples, numbers, facts)
            some = len(rows[numbers[0]])
            accepted.update(rows)
            least, most = clopper_pearson(some, samples, 0.05 / len(groups))
            low -= math.log2(most)
            if some:
                share = some / samples
                bits -= math.log2(share)
                high -= math.log2(least)
                variance += (1 - share) / (share * samples)
            else:
                bits -= math.log2(most)
                at_least = True
        if at_least:
            return Estimate(low, None, (low, None), True, accepted)
        return Estimate(bits, math.sqrt(variance) / math.log(2), (low, high), False, accepted)

    def _tied(self) -> list[tuple[list[int], list[AnyFact]]]:
        groups: list[tuple[list[int], list[AnyFact]]] = []
        for whole in self._pending.values():
            fact = whole.narrowed(self._low, self._high)
            numbers = list(dict.fromkeys(self._factor_of[fact.involved].tolist()))
            facts: list[AnyFact] = [fact]
            rest = []
            for group in groups:
                if set(group[0]) & set(numbers):
                    numbers = list(dict.fromkeys((*group[0], *numbers)))
                    facts = group[1] + facts
                else:
                    rest.append(group)
            groups = [*rest, (numbers, facts)]
        return groups

    def _accepted(
        self, rng: np.random.Generator, samples: int, numbers: Sequence[int], facts: Sequence[AnyFact]
    ) -> dict[int, Levels]:
        parts = [self._factors[n] for n in numbers]
        column = self._columns([c for part in parts for c in part.cells])
        kept = []
        for start in range(0, samples, BLOCK):
            n = min(BLOCK, samples - start)
            picked = []
            for part in parts:
                if part.weights is None:
                    picked.append(part.rows[rng.integers(len(part.rows), size=n)])
                else:
                    steps = np.cumsum(part.weights)
                    at = np.searchsorted(steps, rng.random(n) * steps[-1], side="right")
                    picked.append(part.rows[np.minimum(at, len(steps) - 1)])
            rows = np.concatenate(picked, axis=1)
            for fact in facts:
                rows = rows[fact.holds(rows, column)]
            kept.append(rows)
        whole = np.concatenate(kept)
        ends = np.cumsum([len(part.cells) for part in parts])[:-1]
        return dict(zip(numbers, np.split(whole, ends, axis=1), strict=True))


def _codes(rows: Levels, columns: Sequence[int], levels: Sequence[int]) -> Numbers:
    """Return a number for each row by what it has in some columns, equal for equal contents, small."""
    codes, size = np.zeros(len(rows), np.int64), 1
    for k in columns:
        codes = codes * levels[k] + rows[:, k]
        size *= levels[k]
        if size > len(rows):
            distinct, codes = np.unique(codes, return_inverse=True)
            size = len(distinct)
    return codes


def clopper_pearson(hits: int, trials: int, alpha: float = 0.05) -> tuple[float, float]:
    """Return an interval that holds the chance of a hit with a probability of at least 1 - alpha.

    Source: Clopper and Pearson, Biometrika 26 (1934). The tails of the binomial distribution are summed and its
    parameter is found by bisection.
    """
    logs = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, trials + 1)))))
    k = np.arange(trials + 1)
    ways = logs[trials] - logs - logs[::-1]

    def at_most(p: float, most: int) -> float:
        kept = slice(0, most + 1)
        return float(np.exp(ways[kept] + k[kept] * math.log(p) + (trials - k[kept]) * math.log1p(-p)).sum())

    def solve(most: int, chance: float) -> float:
        low, high = 0.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if at_most(middle, most) > chance else (low, middle)
        return (low + high) / 2

    lower = 0.0 if hits == 0 else solve(hits - 1, 1 - alpha / 2)
    upper = 1.0 if hits == trials else solve(hits, alpha / 2)
    return lower, upper
