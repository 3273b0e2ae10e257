"""What an accountant is given: mechanism events, counted, and what can be told of each one at once."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Final

from agentsim.runtime.mechanisms import (
    BoundedRange,
    Clear,
    Gaussian,
    Mechanism,
    PerTable,
    Pure,
    Repeated,
    SampledChoice,
    SampledGaussian,
    SubsetResponse,
    VisibleChoice,
)

Uses = Counter[Mechanism]
"""How often each mechanism is used; the order of uses does not matter, each may depend on what earlier ones gave."""


FAINT: Final = 1e-4
"""Noise with a lower multiplier counts as none: its epsilon would be beyond ten million."""

_KNOWN: Final = frozenset(
    {Pure, BoundedRange, SubsetResponse, Gaussian, VisibleChoice, SampledChoice, SampledGaussian, Clear}
)


def count(events: Iterable[Mechanism]) -> Uses:
    """Return how often each mechanism is used, those left out that disclose nothing.

    Raises:
        TypeError: for an event of a class that no accountant knows; subclasses of known ones are not known.
    """
    uses: Uses = Counter()
    for several in events:
        event, times = unwrapped(several)
        if times and log_ratio(event) > 0:
            uses[event] += times
    return uses


def unwrapped(event: Mechanism) -> tuple[Mechanism, int]:
    """Return the mechanism inside `Repeated`, and how often it is used."""
    times = 1
    while isinstance(event, Repeated):
        times *= event.times
        event = event.mechanism
    return event, times


def log_ratio(event: Mechanism) -> float:
    """Return the greatest log-likelihood ratio of one use, epsilon at delta = 0; infinite for normal noise."""
    if isinstance(event, PerTable):
        raise TypeError(
            "PerTable is several mechanisms, by how much changes: give its table, its entry or of(n) instead"
        )
    if type(event) not in _KNOWN:
        raise TypeError(f"no accountant knows the mechanism {type(event).__name__}")
    match event:
        case Pure(bound) | BoundedRange(bound):
            return bound
        case SubsetResponse(epsilon, size, domain):
            return epsilon if size < domain else 0.0
        case Gaussian(multiplier):
            return 0.0 if multiplier == math.inf else math.inf
        case SampledGaussian(multiplier, q):
            return 0.0 if q == 0 or multiplier == math.inf else math.inf
        case VisibleChoice(bound, q, multiplier):
            return 0.0 if q == 0 else bound if multiplier == math.inf else math.inf
        case SampledChoice():
            return event.amplified
    return math.inf


def reveals(event: Mechanism) -> bool:
    """Tell whether nothing hides the tables in one use: its epsilon is taken to be infinite for every delta.

    That includes what is sent without noise only when a coin says so, though it has a guarantee where delta exceeds
    the chance that it ever does.
    """
    match event:
        case Clear():
            return True
        case Gaussian(multiplier) | SampledGaussian(multiplier, _):
            return multiplier < FAINT
        case VisibleChoice(bound, _, multiplier):
            return multiplier < FAINT or bound == math.inf
    return log_ratio(event) == math.inf


def check_delta(delta: float, *, zero: bool = False) -> None:
    """Raise ValueError unless delta is a probability below 1 that is positive, or 0 if that is allowed."""
    if not 0 <= delta < 1 or (delta == 0 and not zero):
        raise ValueError(f"delta={delta}: must be between 0 and 1")
