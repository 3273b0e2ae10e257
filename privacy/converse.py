"""The converse: how good a differentially private solver can be at best, whatever it does and whomever it trusts.

Random-cost problems only: every entry of every table is drawn by itself from one public law, so that permuting the
costs of a table gives an equally likely one. If the tables that a guarantee protects together add up to S at the chosen
values, then changing them (by a permutation of what they may add up to) changes the probability of each outcome by no
more than exp(epsilon). The chance c(L) that S falls into a set L of outcomes of prior probability P(L) therefore obeys
c(L) / P(L) <= exp(epsilon) c(H) / P(H) for every other set H, and the least mean of S has all outcomes below a
threshold exp(epsilon) times as likely as the others, in proportion to the prior::

    c* = min over v of (e^epsilon E[S; S < v] + E[S; S >= v]) / (e^epsilon P(S < v) + P(S >= v))

The bound is for an observer who sees the values of all variables concerned, as everybody does who receives them from
both ends of a constraint. With a delta > 0 it moves by next to nothing (1e-5), except for the unit entry, where a pair
of values is rarer than a delta of 1e-2 and nothing can be said.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


def least_mean(epsilon: float, low: int, high: int, tables: int = 1) -> float:
    """Return the least mean of the sum of some tables' costs that is compatible with a privacy of `epsilon`.

    Args:
        epsilon: of a pure guarantee for all of these tables together, not negative.
        low: least cost of an entry.
        high: greatest; every whole number between is equally likely.
        tables: how many are protected together: 1 for the units edge and entry, those of an agent for the others.

    Raises:
        ValueError: a negative epsilon, an empty range, or no table.
    """
    if epsilon < 0 or high < low or tables < 1:
        raise ValueError(f"epsilon={epsilon}, costs {low} to {high}, {tables} tables: makes no sense")
    law = _sum_law(high - low + 1, tables)
    sums = np.arange(len(law)) + tables * low
    below, mean_below = np.cumsum(law)[:-1], np.cumsum(law * sums)[:-1]
    mean = float((law * sums).sum())
    if not len(below):
        return mean
    odds = math.exp(-min(epsilon, 700.0))  # of an outcome above the threshold
    means = (mean_below + odds * (mean - mean_below)) / (below + odds * (1 - below))
    return float(min(mean, means.min()))


def least_cost(epsilon: float, low: int, high: int, groups: Iterable[tuple[int, float]]) -> float:
    """Return the least mean cost of a solution: the sum over groups of tables that are protected together.

    Args:
        epsilon: of the guarantee for each group.
        low: least cost of an entry.
        high: greatest.
        groups: (tables in the group, how much the group counts). Each table alone with weight 1: unit edge. Those that
            an agent uses, with weight 1: an agent's own mechanism. All tables at an agent with weight 1/2, as each is
            at two agents: unit agent.
    """
    found: dict[int, float] = {}
    total = 0.0
    for tables, weight in groups:
        if tables:
            if tables not in found:
                found[tables] = least_mean(epsilon, low, high, tables)
            total += weight * found[tables]
    return total


def _sum_law(size: int, tables: int) -> NDArray[np.float64]:
    """Return the law of the sum of independent uniform numbers from 0 to size - 1."""
    law = np.ones(1)
    for _ in range(tables):
        law = np.convolve(law, np.full(size, 1 / size))
    return law
