"""One private choice among the values of a domain: by ranks or by scores of what each value costs.

Ranks: the values of least cost are preferred, each exp(epsilon) times as likely as each other one. Scores: each table
adds 0 to 1 to a value's score by where in the table's range its cost lies; a value is exp(-b score) times as likely to
be taken. `choice_of` says which, with which numbers, from what is public: what is protected, epsilon, delta, the number
of values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from statistics import NormalDist
from typing import Final, Literal, NamedTuple

import numpy as np

from agentsim.runtime.mechanisms import (
    BoundedRange,
    Mechanism,
    PerTable,
    Pure,
    SubsetResponse,
    bounded_range_alpha,
    subset_epsilon,
)
from agentsim.runtime.messages import Array, Cost
from solvers.exact_sampling import (
    ExactCoins,
    exponential,
    exponential_pmf,
    lowest,
    permute_and_flip,
    permute_and_flip_pmf,
    subset_pmf,
    subset_response,
)

Protected = Literal["agent", "edge", "entry"]
"""What is protected: all tables that an agent uses, one table, or one entry of one."""

LEVELS: Final = 64
"""Scores are whole multiples of 1 / LEVELS."""

LARGEST_EPSILON: Final = 1000.0

RANKS_FROM: Final = 4.0
"""Epsilon from which on ranks serve an edge better than scores (measured)."""

RAMP_FROM: Final = 1.2
"""Exponent b from which on a ramp serves better than a threshold (measured)."""


class Row(NamedTuple):
    """One table at the values of an agent's earlier neighbours.

    Args:
        costs: by own value, shape (d,); infinite where forbidden.
        low: least cost that scores tell apart; ranks do not look at it.
        high: greatest such cost.
    """

    costs: Array
    low: Cost
    high: Cost


@dataclass(frozen=True, slots=True)
class Ranks:
    """A subset response: the values of least cost are preferred.

    Args:
        domain: number of values.
        size: number of preferred ones.
        epsilon: log of how many times as likely each of them is.
    """

    domain: int
    size: int
    epsilon: Fraction

    @property
    def event(self) -> Mechanism:
        """What accountants are told."""
        return SubsetResponse(float(self.epsilon), self.size, self.domain)

    def group(self, tables: int) -> float:
        """Return epsilon, at delta 0, of changing so many of the tables: as for one."""
        return float(self.epsilon)

    def scores(self, rows: Sequence[Row]) -> list[int]:
        """Return each value's place by forbidden tuples first, then by cost; equals have the same."""
        costs = np.array([row.costs for row in rows], dtype=float)
        forbidden = np.isinf(costs)
        totals = np.where(forbidden, 0.0, costs).sum(axis=0)
        keys = list(zip(forbidden.sum(axis=0).tolist(), totals.tolist(), strict=True))
        place = {key: i for i, key in enumerate(sorted(set(keys)))}
        return [place[key] for key in keys]

    def draw(self, coins: ExactCoins, rows: Sequence[Row]) -> int:
        """Choose a value."""
        return subset_response(coins, lowest(coins, self.scores(rows), self.size), self.domain, self.epsilon)

    def law(self, rows: Sequence[Row]) -> list[float]:
        """Return the probability of each value."""
        return subset_pmf(self.scores(rows), self.size, float(self.epsilon))


@dataclass(frozen=True, slots=True)
class Scores:
    """A choice by scores, of which each table contributes 0 to 1 to each value's.

    Args:
        b: exponent: a value is exp(-b) times as acceptable for a score that is greater by 1.
        permute: by permute and flip, else by the exponential mechanism.
    """

    b: Fraction
    permute: bool

    @property
    def event(self) -> Mechanism:
        """What accountants are told: one table moves all scores by 1 either way, one entry a single one."""
        b = float(self.b)
        if self.permute:
            return PerTable(Pure(2 * b), Pure(b))
        return PerTable(BoundedRange(2 * b), BoundedRange(b))

    def group(self, tables: int) -> float:
        """Return epsilon, at delta 0, of changing so many of the tables: for each that of one."""
        return 2 * float(self.b) * tables

    def scores(self, rows: Sequence[Row]) -> list[int]:
        """Return how bad each value is, in multiples of 1 / LEVELS."""
        ramp = self.b > RAMP_FROM
        return [int(score) for score in np.sum([badness(row, ramp) for row in rows], axis=0)]

    def draw(self, coins: ExactCoins, rows: Sequence[Row]) -> int:
        """Choose a value."""
        choose = permute_and_flip if self.permute else exponential
        return choose(coins, self.scores(rows), self.b / LEVELS)

    def law(self, rows: Sequence[Row]) -> list[float]:
        """Return the probability of each value."""
        law = permute_and_flip_pmf if self.permute else exponential_pmf
        return law(self.scores(rows), float(self.b) / LEVELS)


def place_of(costs: Array, low: Cost, high: Cost) -> Array:
    """Return where in their range costs lie, from 0 to 1; what is forbidden at 1."""
    if high <= low:
        return np.where(np.isinf(costs), 1.0, 0.0)
    place: Array = np.minimum(np.maximum((costs - low) / (high - low), 0.0), 1.0)
    return place


def badness(row: Row, ramp: bool) -> Array:
    """Return how bad a table makes each value, 0 to LEVELS: by a threshold within its range, or by a ramp."""
    place = place_of(row.costs, row.low, row.high)
    if not ramp:
        return np.where(place >= 0.4, LEVELS, 0)
    bad: Array = np.rint(LEVELS * np.minimum(np.maximum((place - 0.15) / 0.5, 0.0), 1.0)).astype(np.int64)
    return bad


@lru_cache(maxsize=256)
def choice_of(unit: Protected, epsilon: float, delta: float, domain: int) -> Ranks | Scores:
    """Return how a value is chosen: a function of what is public. `domain`: number of values, at least 2."""
    if unit == "agent" or (unit == "edge" and epsilon >= RANKS_FROM):
        size = preferred(epsilon, domain)
        return Ranks(domain, size, rounded_down(subset_epsilon(epsilon, delta, size, domain)))
    moved = 2 if unit == "edge" else 1  # in how many times b the log-ratio is
    alpha = bounded_range_alpha(epsilon, delta)
    permute = alpha <= epsilon * (1 + min(0.2, epsilon / (6 * moved)))  # what permute and flip gains in b (measured)
    return Scores(rounded_down(epsilon if permute else alpha) / moved, permute)


def preferred(epsilon: float, domain: int) -> int:
    """Return how many values to prefer, so that the expected rank of the one chosen is best for normal costs."""
    normal = NormalDist()
    z = [normal.inv_cdf((rank - 0.375) / (domain + 0.25)) for rank in range(1, domain + 1)]
    other = math.exp(-epsilon)

    def expected(size: int) -> float:
        return (math.fsum(z[:size]) + other * math.fsum(z[size:])) / (size + other * (domain - size))

    return min(range(1, domain), key=expected)


def rounded_down(epsilon: float) -> Fraction:
    """Return a fraction that is not greater than the number that `epsilon` is the rounding of."""
    return Fraction(math.floor(min(epsilon, LARGEST_EPSILON) * 2**40), 2**40)
