"""The accountant `pld`: privacy loss distributions, which convolve over uses; the tightest of the accountants.

The privacy loss is ln P(o) / Q(o), o drawn from P, for a pair (P, Q) that dominates the mechanism: whatever the tables
are, at no epsilon is its delta greater than the pair's. Pairs compose as mechanisms do, adaptively too (Zhu, Dong and
Wang, "Optimal accounting of differential privacy via characteristic function", AISTATS 2022, Theorem 10).

    event              the loss under P
    Pure               +-epsilon with odds exp(epsilon): randomised response between two values
    BoundedRange       density exp((x - alpha) / 2) / (2 - 2 exp(-alpha)) on [-alpha, alpha]
    SubsetResponse     +-epsilon where two subsets that overlap least differ, else 0
    Gaussian           normal, mean 1 / (2 m^2) and variance 1 / m^2
    VisibleChoice      with probability 1 - q nothing and 0; else +-bound, and a Gaussian's with it
    SampledChoice      as Pure with what the hidden coin leaves, ln(1 - q + q exp(bound))
    SampledGaussian    dp-accounting's, for a record that is there or not; the greater epsilon of both directions

The pair of a bounded range is the one whose delta is that of one use at every epsilon at once: no exponential mechanism
attains it at more than one, so that over many uses zCDP may tell more.

A loss between two points of the grid is split between them so that the masses under P and under Q stay what they are
(Doroshenko et al., "Connect the dots", PETS 2022): this makes no delta smaller. Masses are computed here, convolved by
dp-accounting. Below a delta of 1e-10 its floating-point Fourier transform is not to be trusted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agentsim.errors import UserError
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
from privacy.accounting.closed import inverse_variance
from privacy.accounting.uses import Uses, check_delta, count, reveals

Masses = NDArray[np.float64]

_TAIL: Final = 9.0
"""Standard deviations of normal noise beyond which the loss counts as infinite: a mass of 1e-19."""
_LOWEST: Final = 40.0
"""Losses below minus this count as minus this: their mass is at most exp(-40)."""
_NOTHING: Final = 1e-20
"""So much of the least losses counts as the least of the others."""
_MOST_POINTS: Final = 1_000_000


def available() -> bool:
    """Tell whether dp-accounting is installed."""
    return find_spec("dp_accounting") is not None


def require() -> None:
    """Raise UserError unless dp-accounting is installed."""
    if not available():
        raise UserError("privacy loss distributions need the package dp-accounting: install agentsim[dp]")


def pld(events: Iterable[Mechanism], delta: float, grid: float | None = None) -> float:
    """Return epsilon at delta by privacy loss distributions; infinite where something is in the clear.

    Args:
        events: mechanism events.
        delta: failure probability, between 0 and 1.
        grid: None: as tight as is reasonable. Else the loss of each use is moved up to the next multiple of it, which
            adds at most as much per use: the plain way, which most figures in circulation were made in.

    Raises:
        TypeError: an event of an unknown class. ValueError: delta out of range.
        UserError: dp-accounting is not installed.
    """
    check_delta(delta)
    return of_uses(count(events), delta, grid)


def of_uses(uses: Uses, delta: float, grid: float | None = None) -> float:
    """Return epsilon at delta of counted uses."""
    if any(reveals(event) for event in uses):
        return math.inf
    if not uses:
        return 0.0
    merged = Uses({event: times for event, times in uses.items() if not isinstance(event, Gaussian)})
    if inverse := inverse_variance(uses):
        merged[Gaussian(1 / math.sqrt(inverse))] = 1  # exactly what all normal noises are together
    step = _step(merged) if grid is None else max(grid, max(map(_greatest, merged)) / _MOST_POINTS)
    total: Any = None
    for event, times in merged.items():
        one = _distribution(event, step, up=grid is not None)
        several = one.self_compose(times) if times > 1 else one
        total = several if total is None else total.compose(several)
    return max(0.0, float(total.get_epsilon_for_delta(delta)))


def _step(uses: Uses) -> float:
    """Return the distance between points of the grid.

    Splitting a loss adds at most step^2 / 4 to its variance, which is to be 1e-4 of the whole, however many uses; and
    there are to be some thousand points within the standard deviation of everything, however few.
    """
    sizes = [(times, *_size(event)) for event, times in uses.items()]
    drawn = sum(times * weight for times, weight, _ in sizes)
    scale = math.sqrt(sum(times * weight * size**2 for times, weight, size in sizes))
    widest = max(scale, *(size for _, _, size in sizes))
    step = min(scale / math.sqrt(drawn) / 50, widest / 2000)
    return max(step, scale / 10_000, max(map(_greatest, uses)) / _MOST_POINTS)


def _size(event: Mechanism) -> tuple[float, float]:
    """Return the probability of a loss that is not 0, and about how far it is from what it always is."""
    match event:
        case Pure(bound) | BoundedRange(bound) | SubsetResponse(bound):
            return 1.0, bound
        case SampledChoice():
            return 1.0, event.amplified
        case Gaussian(multiplier):
            return 1.0, 1 / multiplier  # the mean is but a shift
        case VisibleChoice(bound, q, multiplier):
            return q, math.hypot(bound, 1 / multiplier, 0.5 / multiplier**2)
        case SampledGaussian(multiplier, q):
            small = q * math.sqrt(math.expm1(min(multiplier**-2, 700.0)))
            return 1.0, min(small, math.sqrt(q) * math.hypot(1 / multiplier, 0.5 / multiplier**2))
    raise _unknown(event)


def _greatest(event: Mechanism) -> float:
    """Return the greatest loss that the grid has to hold."""
    match event:
        case Pure(bound) | BoundedRange(bound) | SubsetResponse(bound):
            return bound
        case SampledChoice():
            return event.amplified
        case Gaussian(multiplier):
            return _reach(multiplier)
        case VisibleChoice(bound, _, multiplier):
            return bound + _reach(multiplier)
        case SampledGaussian(multiplier, _):
            return _reach(multiplier)
    raise _unknown(event)


def _reach(multiplier: float) -> float:
    return 0.5 / multiplier**2 + _TAIL / multiplier


def _unknown(event: Mechanism) -> TypeError:
    return TypeError(f"no privacy losses are known of {type(event).__name__}")


class _Part(NamedTuple):
    """A part of a loss's distribution: a point, or, with `deviation`, a normal one; both of mass `mass`."""

    mass: float
    loss: float
    deviation: float = 0.0


def _parts(event: Mechanism) -> Iterator[_Part]:
    """Return the parts of a loss, but for those of a bounded range."""
    match event:
        case Pure(bound):
            yield from _response(1.0, bound, 0.0)
        case SampledChoice():
            yield from _response(1.0, event.amplified, 0.0)
        case SubsetResponse(bound, size, domain):
            others = domain - size
            apart = min(size, others)
            all_odds = size + others * math.exp(-bound)
            differ = apart * (1 + math.exp(-bound)) / all_odds
            yield from _response(differ, bound, 0.0)
            yield _Part(1 - differ, 0.0)
        case Gaussian(multiplier):
            yield _Part(1.0, 0.5 / multiplier**2, 1 / multiplier)
        case VisibleChoice(bound, q, multiplier):
            yield _Part(1 - q, 0.0)
            yield from _response(q, bound, 1 / multiplier)
        case _:
            raise _unknown(event)


def _response(mass: float, bound: float, deviation: float) -> Iterator[_Part]:
    """Return the parts of randomised response of log-ratio `bound`, with normal noise of 1 / `deviation` beside it."""
    mean, lies = deviation**2 / 2, math.exp(-bound) / (1 + math.exp(-bound))
    yield _Part(mass * (1 - lies), mean + bound, deviation)
    yield _Part(mass * lies, mean - bound, deviation)


def _distribution(event: Mechanism, step: float, *, up: bool) -> Any:  # noqa: ANN401  # dp-accounting has no types
    """Return the pessimistic distribution of one use's losses on the grid of multiples of `step`; `up`: rounded up."""
    require()
    from dp_accounting.pld.pld_pmf import DensePLDPmf
    from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution, from_gaussian_mechanism

    if isinstance(event, SampledGaussian):
        return from_gaussian_mechanism(event.multiplier, value_discretization_interval=step, sampling_prob=event.q)
    lowest, masses, beyond = _masses(event, step, up=up)
    return PrivacyLossDistribution(DensePLDPmf(step, lowest, masses, beyond, True))


def _masses(event: Mechanism, step: float, *, up: bool) -> tuple[int, Masses, float]:
    """Return the grid's lowest point, the mass on each point from there, and that of an infinite loss."""
    top = math.ceil(_greatest(event) / step) + 1
    edges: Masses = np.arange(-top, top + 1, dtype=np.float64) * np.float64(step)
    masses = np.zeros(2 * top + 1)
    between = np.zeros(2 * top)
    below = beyond = 0.0
    if isinstance(event, BoundedRange):
        within = np.clip(edges, -event.alpha, event.alpha)
        between += np.exp((within[:-1] - event.alpha) / 2) * np.expm1(np.diff(within) / 2) / -math.expm1(-event.alpha)
    else:
        for mass, loss, deviation in _parts(event):
            if deviation:
                tail, inside, head = _normal((edges - loss) / deviation)
                below, beyond = below + mass * tail, beyond + mass * head
                between += mass * inside
            else:
                # One point up even from a point of the grid: whether it is one must not hang on the last bit.
                upper = math.floor(loss / step) + 1 if up else math.ceil(loss / step)
                moved = mass if up else mass * math.expm1((upper - 1) * step - loss) / math.expm1(-step)
                masses[upper + top] += moved
                masses[upper - 1 + top] += mass - moved
    if up:
        masses[1:] += between
    else:
        _split(between, edges, step, masses)
    masses[0] += below
    cut = max(0, top - math.ceil(_LOWEST / step), int(np.searchsorted(masses.cumsum(), _NOTHING)))
    masses[cut] += masses[:cut].sum()
    return cut - top, masses[cut:], beyond


def _split(between: Masses, edges: Masses, step: float, masses: Masses) -> None:
    """Add the masses of losses between two points each to these points.

    Under Q a loss x has the mass that -x has under P, as all our pairs are symmetric. So m between two points, under Q
    m' = the mass between their negatives, gives the upper one u: m - u on the lower x and u on x + step must have m'
    under Q, (m - u) exp(-x) + u exp(-x - step) = m'.
    """
    lower = edges[:-1]
    other = between[::-1] * np.exp(np.minimum(lower, 700.0))
    upper = np.where(lower < 700.0, (between - other) / -math.expm1(-step), between)
    upper = np.clip(upper, 0.0, between)
    masses[1:] += upper
    masses[:-1] += between - upper


def _normal(edges: Masses) -> tuple[float, Masses, float]:
    """Return the standard normal mass below the first edge, between neighbouring ones and above the last."""
    from scipy.special import ndtr

    low, high = edges[:-1], edges[1:]
    # From the nearer tail, so that small masses are exact.
    inside = np.where(low > 0, ndtr(-low) - ndtr(-high), ndtr(high) - ndtr(low))
    return float(ndtr(edges[0])), inside, float(ndtr(-edges[-1]))
