"""The accountant `rdp`: moments, or Renyi divergences, which add up over uses.

The moment of order l of one use is c(l) = l D_{l+1}, D the greatest Renyi divergence between what two sets of tables
give, and (Mironov, "Renyi differential privacy", CSF 2017, Propositions 1 and 3)::

    epsilon = min over l of (sum of c(l) - ln delta) / l

This is the paper's Eq. 10 with the order left free. Canonne, Kamath and Steinke ("The discrete Gaussian for
differential privacy", NeurIPS 2020, Proposition 12) get more from the same moments: with `improved`,
ln delta becomes ln(delta (l+1)) and ln(1 - 1/(l+1)) is added.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agentsim.runtime.mechanisms import (
    BoundedRange,
    Gaussian,
    Mechanism,
    Pure,
    SampledChoice,
    SampledGaussian,
    SubsetResponse,
    VisibleChoice,
)
from privacy.accounting.uses import Uses, check_delta, count, reveals

Orders = NDArray[np.float64]

_WHOLE: Final = (*range(1, 129), *(2**k for k in range(8, 13)))
"""Orders of mechanisms whose moments are known at whole ones only."""


def rdp(events: Iterable[Mechanism], delta: float, *, improved: bool = False) -> float:
    """Return epsilon at delta by Renyi divergences; infinite where something is in the clear.

    Args:
        events: mechanism events.
        delta: failure probability, between 0 and 1.
        improved: convert the moments to epsilon as Canonne, Kamath and Steinke do, rather than as the paper does.

    Raises:
        TypeError: an event of an unknown class. ValueError: delta out of range.
    """
    check_delta(delta)
    return of_uses(count(events), delta, improved)


def of_uses(uses: Uses, delta: float, improved: bool) -> float:
    """Return epsilon at delta of counted uses."""
    if any(reveals(event) for event in uses):
        return math.inf
    if not uses:
        return 0.0

    def moments(orders: Orders) -> Orders:
        total = np.zeros_like(orders)
        for event, times in uses.items():
            total += times * moment(event, orders)
        return total

    whole = any(isinstance(event, SampledGaussian) for event in uses)
    return _least(moments, delta, improved, np.array(_WHOLE, dtype=float) if whole else None)


def zcdp_epsilon(rho: float, delta: float) -> float:
    """Return epsilon at delta of rho-zCDP: a moment of rho l (l + 1), by the improved conversion."""
    check_delta(delta)
    return _least(lambda orders: rho * orders * (orders + 1), delta, True, None)


def _least(moments: Callable[[Orders], Orders], delta: float, improved: bool, orders: Orders | None) -> float:
    """Return the least epsilon over orders: over those given, or over all positive ones."""
    refinements = 3 if orders is None else 0
    if orders is None:
        orders = np.geomspace(1e-3, 1e9, 481)
    found = _convert(orders, moments(orders), delta, improved)
    for _ in range(refinements):
        at = int(found.argmin())
        orders = np.geomspace(orders[max(at - 1, 0)], orders[min(at + 1, len(orders) - 1)], 41)
        found = _convert(orders, moments(orders), delta, improved)
    return max(0.0, float(found.min()))


def _convert(orders: Orders, moments: Orders, delta: float, improved: bool) -> Orders:
    gained = np.log1p(orders) + orders * np.log1p(1 / orders) if improved else 0.0
    epsilon: Orders = (moments - math.log(delta) - gained) / orders
    return epsilon


def moment(event: Mechanism, orders: Orders) -> Orders:
    """Return the moments of one use that does not reveal everything, by order (any positive ones)."""
    match event:
        case Pure(epsilon):
            return _response(epsilon, orders)
        case BoundedRange(alpha):
            return np.minimum(alpha**2 / 8 * orders * (orders + 1), _response(alpha, orders))
        case SubsetResponse(epsilon, size, domain):
            return _subset(epsilon, size, domain, orders)
        case SampledChoice():
            return _response(event.amplified, orders)
        case Gaussian(multiplier):
            return orders * (orders + 1) / (2 * multiplier**2)
        case VisibleChoice(bound, q, multiplier):
            together = orders * (orders + 1) / (2 * multiplier**2) + _response(bound, orders)
            return together if q == 1 else np.logaddexp(math.log1p(-q), math.log(q) + together)
        case SampledGaussian():
            return np.array([event.moment(int(order)) for order in orders])
    raise TypeError(f"no moments are known of {type(event).__name__}")


def _response(bound: float, orders: Orders) -> Orders:
    """Return the moments of randomised response between two values: the most that a log-ratio of `bound` allows."""
    moments: Orders = np.logaddexp((orders + 1) * bound, -orders * bound) - np.logaddexp(bound, 0.0)
    return moments


def _subset(epsilon: float, size: int, domain: int, orders: Orders) -> Orders:
    """Return the moments of a subset response: as many values as can be are preferred on one side only."""
    others = domain - size
    apart = min(size, others)
    terms: list[Any] = [math.log(apart) + (orders + 1) * epsilon, math.log(apart) - orders * epsilon]
    if size > apart:
        terms.append(math.log(size - apart) + epsilon)
    if others > apart:
        terms.append(math.log(others - apart))
    total = np.logaddexp.reduce([np.broadcast_to(t, orders.shape) for t in terms])
    moments: Orders = total - np.logaddexp(math.log(size) + epsilon, math.log(others))
    return moments
