"""Medians and their confidence intervals, when some values are known only as "at least this".

The interval is the exact one for a median: whatever the law of independent values is, the median lies between the
k-th least and the k-th greatest of n of them with probability P(k <= X <= n - k), X binomial(n, 1/2) (and more where
values tie). k is the greatest that makes it `CONFIDENCE` or more. No law is assumed and nothing is drawn by lot. With
fewer than six values even the least and the greatest are not enough: there is no interval.

A run that was stopped by a limit would have gone on: its messages are *at least* those that were counted. Such a value
is censored. The median and the ends of its interval are taken twice, with censored values as they were counted and as
infinite; the truth lies between. Where both agree the limit did not matter; else the figure is a lower bound, and says
so. `scenarios/reports/static/statistics.js` does the same in the page.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

CONFIDENCE: Final = 0.95


@dataclass(frozen=True, slots=True)
class Median:
    """A median of values some of which may be lower bounds only.

    Args:
        n: how many values.
        censored: how many of them are lower bounds.
        value: the median; a lower bound of it if `at_least`. None without values.
        at_least: whether censored values decide it.
        low: lower end of the confidence interval, None without an interval.
        high: its upper end, infinite where censored values leave it open, None without an interval.
    """

    n: int
    censored: int
    value: float | None
    at_least: bool
    low: float | None
    high: float | None


def median(values: Iterable[float], censored: Iterable[bool] | None = None) -> Median:
    """Return the median of values (infinities allowed, NaN not); `censored` marks those that are lower bounds."""
    given = np.fromiter(values, np.float64)
    n = len(given)
    if n == 0:
        return Median(0, 0, None, False, None, None)
    least = np.sort(given)
    marks = np.zeros(n, bool) if censored is None else np.fromiter(censored, np.bool_, n)
    count = int(marks.sum())
    most = np.sort(np.where(marks, math.inf, given)) if count else least
    value, upper = _middle(least), _middle(most)
    k = rank(n)
    low, high = (float(least[k - 1]), float(most[n - k])) if k else (None, None)
    return Median(n, count, value, value != upper, low, high)


def _middle(ordered: npt.NDArray[np.float64]) -> float:
    n = len(ordered)
    low, high = float(ordered[(n - 1) // 2]), float(ordered[n // 2])
    if math.isinf(low):
        return low
    return high if math.isinf(high) else low + (high - low) / 2


@cache
def rank(n: int) -> int:
    """Return the k for which the k-th least and k-th greatest of n values hold the median, 0 if there is none.

    Sums the binomial law from its middle outwards: about sqrt(n) steps, and no term underflows.
    """
    low, high = n // 2, n - n // 2
    term = math.exp(math.lgamma(n + 1) - math.lgamma(low + 1) - math.lgamma(high + 1) - n * math.log(2))
    covered = term if low == high else 2 * term
    while covered < CONFIDENCE and low > 0:
        term *= low / (n - low + 1)
        low -= 1
        covered += 2 * term
    return low
