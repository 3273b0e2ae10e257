"""What is known in closed form: one use of a mechanism, any number of normal noises, and zCDP.

Sources: Dong, Durfee and Rogers, "Optimal differential privacy composition for exponential mechanisms" (ICML 2020),
for one use of a bounded range; Balle and Wang, "Improving the Gaussian mechanism for differential privacy" (ICML
2018); Bun and Steinke, "Concentrated differential privacy" (TCC 2016); Cesar and Rogers, "Bounding, concentrating,
and truncating" (ALT 2021), for bounded ranges under zCDP. How often a subset response errs is counted here.
"""

from __future__ import annotations

import math

from agentsim.runtime.mechanisms import BoundedRange, Gaussian, Pure, SubsetResponse
from privacy.accounting.uses import Uses, check_delta


def range_delta(epsilon: float, alpha: float) -> float:
    """Return the exact delta of one use of a bounded range of length `alpha`, at epsilon."""
    if epsilon >= alpha:
        return 0.0
    return math.expm1((epsilon - alpha) / 2) ** 2 / -math.expm1(-alpha)


def range_epsilon(alpha: float, delta: float) -> float:
    """Return epsilon of one use of a bounded range of length `alpha`: `range_delta` solved for it."""
    check_delta(delta, zero=True)
    kept = 1 - math.sqrt(delta * -math.expm1(-alpha))
    return max(0.0, alpha + 2 * math.log(kept)) if kept > 0 else 0.0


def subset_delta(epsilon: float, odds: float, size: int, domain: int) -> float:
    """Return the exact delta of one use of a subset response, at epsilon.

    Args:
        epsilon: of the guarantee.
        odds: ln A: how much likelier a preferred value is than another one.
        size: preferred values.
        domain: all values.
    """
    if epsilon >= odds:
        return 0.0
    # Over A, so that large odds do not overflow.
    others = domain - size
    return min(size, others) * -math.expm1(epsilon - odds) / (size + others * math.exp(-odds))


def subset_response_epsilon(odds: float, delta: float, size: int, domain: int) -> float:
    """Return epsilon of one use of a subset response: `subset_delta` solved for it."""
    check_delta(delta, zero=True)
    others = domain - size
    apart = min(size, others)
    left = apart - delta * (size + others * math.exp(-odds))
    return max(0.0, odds + math.log(left / apart)) if left > 0 else 0.0


def pure_epsilon(bound: float, delta: float) -> float:
    """Return epsilon, at delta, of one use of any mechanism whose log-ratio is at most `bound`.

    The worst of them is randomised response between two values, a subset response of one of two.
    """
    return subset_response_epsilon(bound, delta, 1, 2)


def gaussian_delta(epsilon: float, multiplier: float) -> float:
    """Return the exact delta of one number with normal noise, at epsilon (Balle and Wang, Theorem 8)."""
    if multiplier in (0, math.inf):
        return 0.0 if multiplier else 1.0
    below, above = epsilon * multiplier - 0.5 / multiplier, epsilon * multiplier + 0.5 / multiplier
    # exp(epsilon) Phi(-above) = phi(below) Phi(-above) / phi(above), in which nothing overflows.
    density = math.exp(-below * below / 2) / math.sqrt(2 * math.pi)
    return max(0.0, math.erfc(below / math.sqrt(2)) / 2 - density * _mills(above))


def _mills(x: float) -> float:
    """Return the upper tail of the standard normal distribution over its density, for x >= 0."""
    if x < 25:
        return math.sqrt(math.pi / 2) * math.exp(x * x / 2) * math.erfc(x / math.sqrt(2))
    return (1 - (1 - 3 / (x * x)) / (x * x)) / x


def gaussian_epsilon(multiplier: float, delta: float) -> float:
    """Return epsilon, at delta, of one number with normal noise; several are one with 1/m^2 = the sum of theirs."""
    check_delta(delta)
    if multiplier == 0:
        return math.inf
    if gaussian_delta(0.0, multiplier) <= delta:
        return 0.0
    low, high = 0.0, 1.0
    while gaussian_delta(high, multiplier) > delta:
        low, high = high, 2 * high
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if gaussian_delta(middle, multiplier) > delta else (low, middle)
    return high


def exact(uses: Uses, delta: float) -> float | None:
    """Return the exact epsilon at delta where a closed form gives it, else None.

    That is one use of a pure mechanism, a bounded range or a subset response, and any number of normal noises.
    """
    if delta > 0 and all(isinstance(event, Gaussian) for event in uses):
        return gaussian_epsilon(1 / math.sqrt(inverse_variance(uses)), delta)
    if uses.total() != 1:
        return None
    match next(iter(uses)):
        case Pure(epsilon):
            return pure_epsilon(epsilon, delta)
        case BoundedRange(alpha):
            return range_epsilon(alpha, delta)
        case SubsetResponse(odds, size, domain):
            return subset_response_epsilon(odds, delta, size, domain)
    return None


def inverse_variance(uses: Uses) -> float:
    """Return the sum of 1/multiplier^2 over the numbers with normal noise: they are one with this one's."""
    return math.fsum(times / event.multiplier**2 for event, times in uses.items() if isinstance(event, Gaussian))
