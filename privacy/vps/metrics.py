"""What a loss is: from the costs that are still possible to bits, shares and chances.

A private cost is one of `levels` public levels 1..u. When k of them are still possible, then by metric (paper section
II.C)::

    entropy       log2(u / k)                    bits; all of it: log2 u
    proportional  (u - k) / (u - 1)              share of the levels ruled out; all of it: 1
    guess         (1/k - 1/u) / (1 - 1/u)        chance to guess right, above that of guessing blindly; all of it: 1
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike

Metric = Literal["entropy", "proportional", "guess"]
Gain = Callable[[int, int], float]


def _entropy(k: int, u: int) -> float:
    return math.log2(u / k)


def _proportional(k: int, u: int) -> float:
    return (u - k) / (u - 1) if u > 1 else 0.0


def _guess(k: int, u: int) -> float:
    return (u / k - 1) / (u - 1) if u > 1 else 0.0


GAINS: Final[dict[str, Gain]] = {"entropy": _entropy, "proportional": _proportional, "guess": _guess}
"""Loss of one cost by metric: from (k levels left, u levels in all) to the metric's unit; 0 at k = u."""


def loss_of_some(metric: str, left: Sequence[int], above: Sequence[int], u: int) -> float:
    """Return the loss of a variable when, besides ranges, "some value costs at most s" is known as a logical fact.

    Of the product of the ranges those costs drop out that lie above s for every value: a share r of them. The joint
    entropy falls by -log2(1 - r) beyond that of the ranges. Levels up to s become the likelier ones to guess. No single
    cost has a level less for it, so the proportional loss stays, unless only one value can be meant.

    Args:
        metric: its name.
        left: levels left, by value.
        above: how many of these are above s, by value.
        u: number of levels.
    """
    gain = GAINS[metric]
    r = math.prod(a / k for a, k in zip(above, left, strict=True))
    loss = sum(gain(k, u) for k in left)
    if r == 0.0 or r == 1.0:  # some value's range says it already; all are ruled out, so the prior is wrong
        return loss
    if metric == "entropy":
        return loss - math.log2(1.0 - r)
    if metric == "guess":
        chances = [1.0 / (k * (1.0 - r)) if a < k else 1.0 / k for a, k in zip(above, left, strict=True)]
        return sum((chance - 1.0 / u) / (1.0 - 1.0 / u) for chance in chances) if u > 1 else 0.0
    meant = [(k, k - a) for a, k in zip(above, left, strict=True) if a < k]
    if len(meant) == 1:
        loss += gain(meant[0][1], u) - gain(meant[0][0], u)
    return loss


def full_loss(metric: str, domain_size: int, levels: int) -> float:
    """Return the loss of a variable all of whose private costs are known, in the metric's unit."""
    return domain_size * GAINS[metric](1, levels)


def mixture_loss(bounds: ArrayLike, domain_size: int, max_cost: int, metric: Metric = "entropy") -> float:
    """Return the expected loss of a variable of which only "some value costs at most s" is known, for several s.

    The ambiguity rule of the paper (section IV.B, Example 4): every map from bounds to the d values is equally likely,
    each value then costs at most the least bound mapped to it. By linearity of expectation no map has to be enumerated:
    with q = 1 - 1/d a value's bound B has P(B >= x) = q^#{k: s_k < x} for 1 <= x <= u.

    Args:
        bounds: costs s_k, any shape; those of u and more say nothing, those below 1 count as 1, fractions are cut.
        domain_size: d, at least 1.
        max_cost: u; private costs are 1..u.
        metric: "entropy", "proportional" or "guess".

    Returns:
        The loss of the variable, all d values together: bits for entropy, else a number from 0 to d.

    Raises:
        ValueError: a bound is NaN, or domain_size, max_cost or metric makes no sense.

    >>> round(mixture_loss([2, 1, 3], domain_size=4, max_cost=4), 6)
    2.983459
    """
    if domain_size < 1 or max_cost < 1:
        raise ValueError(f"domain_size={domain_size}, max_cost={max_cost}: both must be at least 1")
    if metric not in GAINS:
        raise ValueError(f"metric={metric!r}: must be one of {', '.join(GAINS)}")
    given = np.asarray(bounds, dtype=np.float64).ravel()
    if np.isnan(given).any():
        raise ValueError("a bound is not a number")
    useful = np.maximum(given[given < max_cost], 1.0).astype(np.int64)
    if max_cost <= 4 * useful.size:  # a histogram is cheaper than sorting
        tally = np.bincount(useful, minlength=1)
        levels = np.flatnonzero(tally)
        counts = tally[levels]
    else:
        levels, counts = np.unique(useful, return_counts=True)
    steps = list(zip(levels.tolist(), counts.tolist(), strict=True))
    return domain_size * expected_gain(steps, domain_size, max_cost, max_cost, GAINS[metric])


def expected_gain(steps: Sequence[tuple[int, int]], d: int, cap: int, u: int, gain: Gain) -> float:
    """Return the expected loss of one of d values under the ambiguity rule.

    Args:
        steps: (level, number of bounds at it), levels from 1 and rising.
        d: number of values that a bound may be about.
        cap: the value costs at most this level in any case; u where nothing else is known.
        u: number of levels.
        gain: loss by levels left.
    """
    q = 1.0 - 1.0 / d
    below, count, survives, loss = 1, 0, 1.0, 0.0
    # P(B >= x) is constant between two levels that bounds stand at: E gain(B) is a sum over these steps.
    for level, number in steps:
        if level >= cap:
            break
        loss += (gain(below, u) - gain(level, u)) * (1.0 - survives)
        below, count = level, count + number
        survives = q**count
    return loss + (gain(below, u) - gain(cap, u)) * (1.0 - survives) + gain(cap, u)


def enumerated_loss(bounds: Iterable[int], domain_size: int, max_cost: int, metric: Metric = "entropy") -> float:
    """Return what `mixture_loss` returns by trying all d^m maps: for tests and for teaching."""
    from itertools import product

    gain = GAINS[metric]
    given = [max(1, s) for s in bounds]
    total = 0.0
    for places in product(range(domain_size), repeat=len(given)):
        least = [max_cost] * domain_size
        for place, bound in zip(places, given, strict=True):
            least[place] = min(least[place], bound)
        total += sum(gain(k, max_cost) for k in least)
    return total / float(domain_size ** len(given))
