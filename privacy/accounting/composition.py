"""The accountants put together: plain addition, and the least of what all of them give."""

from __future__ import annotations

import math
from collections.abc import Iterable

from agentsim.runtime.mechanisms import Mechanism
from privacy.accounting import closed, losses, renyi
from privacy.accounting.uses import Uses, check_delta, count, log_ratio, reveals


def pure(events: Iterable[Mechanism]) -> float:
    """Return the sum of the greatest log-ratios: epsilon at delta = 0; infinite where an event has no such bound.

    Raises:
        TypeError: an event of an unknown class.
    """
    return total(count(events))


def total(uses: Uses) -> float:
    """Return the sum of the greatest log-ratios of counted uses."""
    return math.fsum(times * log_ratio(event) for event, times in uses.items())


def compose(events: Iterable[Mechanism], delta: float) -> float:
    """Return the least epsilon at delta that holds: of pure composition, Renyi divergences and loss distributions.

    Where a closed form is exact (one use, or normal noise only) it is that. Bounded ranges count as zCDP among others.
    Without dp-accounting there are no loss distributions, and what is returned may be greater, but holds.

    Args:
        events: mechanism events.
        delta: failure probability; 0 leaves pure composition only.

    Raises:
        TypeError: an event of an unknown class. ValueError: delta out of range.
    """
    return of_uses(count(events), delta)


def of_uses(uses: Uses, delta: float) -> float:
    """Return the least epsilon at delta of counted uses."""
    check_delta(delta, zero=True)
    if any(reveals(event) for event in uses):
        return math.inf
    if not uses:
        return 0.0
    known = closed.exact(uses, delta)
    if known is not None:
        return known
    bounds = [total(uses)]
    if delta > 0:
        bounds.append(renyi.of_uses(uses, delta, improved=True))
        if losses.available():
            bounds.append(losses.of_uses(uses, delta))
    return min(bounds)
