"""Mechanisms: what a randomised release is made of, as immutable events that accountants add up.

A solver says in its `Released` statements which mechanism stands between an agent's private cost functions and a
message; an accountant (in privacy/) turns the events of a run into epsilon and delta. Events speak of *one use* of an
agent's tables, in natural logarithms, under substitution: any tables against any others.

Sources: Damle, Triastcyn, Faltings and Gujar, "Differentially private multi-agent constraint optimization", section 5;
Triastcyn and Faltings, "Bayesian differential privacy for machine learning" (ICML 2020) for the sampled Gaussian.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from agentsim.runtime.statements import Released

Unit = Literal["own", "edge", "agent", "entry"]


def _not_negative(**values: float) -> None:
    for name, value in values.items():
        if not value >= 0:
            raise ValueError(f"{name}={value}: must not be negative")


def _probability(q: float) -> None:
    if not 0 <= q <= 1:
        raise ValueError(f"q={q}: must be a probability")


def _subset(size: int, domain: int) -> None:
    if not 0 < size <= domain:
        raise ValueError(f"size={size}: must be from 1 to the {domain} values of the domain")


@dataclass(frozen=True, slots=True)
class Mechanism:
    """Base of all mechanism events. A parameter out of its range is a ValueError."""


@dataclass(frozen=True, slots=True)
class Pure(Mechanism):
    """Any mechanism whose log-likelihood ratio never exceeds `epsilon`."""

    epsilon: float

    def __post_init__(self) -> None:
        _not_negative(epsilon=self.epsilon)


@dataclass(frozen=True, slots=True)
class BoundedRange(Mechanism):
    """Any mechanism whose log-likelihood ratio lies, over its outputs, in an interval of length `alpha`."""

    alpha: float

    def __post_init__(self) -> None:
        _not_negative(alpha=self.alpha)


@dataclass(frozen=True, slots=True)
class SubsetResponse(Mechanism):
    """One of `domain` values: each of the `size` preferred ones `exp(epsilon)` times as likely as each other one."""

    epsilon: float
    size: int
    domain: int

    def __post_init__(self) -> None:
        _not_negative(epsilon=self.epsilon)
        _subset(self.size, self.domain)


@dataclass(frozen=True, slots=True)
class Gaussian(Mechanism):
    """A number with normal noise; `multiplier` = standard deviation over sensitivity."""

    multiplier: float

    def __post_init__(self) -> None:
        _not_negative(multiplier=self.multiplier)


@dataclass(frozen=True, slots=True)
class VisibleChoice(Mechanism):
    """With probability `q` a value drawn from a distribution of log-ratio at most `bound`, else the old one.

    The coin shows in the output. Where the value changes, a number with normal noise of `multiplier` goes with it;
    infinite: none does.
    """

    bound: float
    q: float
    multiplier: float = math.inf

    def __post_init__(self) -> None:
        _not_negative(bound=self.bound, multiplier=self.multiplier)
        _probability(self.q)


@dataclass(frozen=True, slots=True)
class SampledChoice(Mechanism):
    """As `VisibleChoice` without noise, were the coin hidden and who is not drawn silent: the paper's model."""

    bound: float
    q: float

    def __post_init__(self) -> None:
        _not_negative(bound=self.bound)
        _probability(self.q)

    @property
    def amplified(self) -> float:
        """The log-ratio with the coin hidden: ln(1 - q + q exp(bound))."""
        if self.q == 0:
            return 0.0
        if self.bound > 700:  # where exp overflows, the coin's other side no longer counts
            return self.bound + math.log(self.q)
        return math.log1p(self.q * math.expm1(self.bound))

    def moment(self, order: int) -> float:
        """Return the log moment c(order) = ln E[exp(k bound)], k binomial(order + 1, q) (paper, Eq. 9)."""
        return (order + 1) * self.amplified


@dataclass(frozen=True, slots=True)
class SampledGaussian(Mechanism):
    """As `Gaussian`, released with probability `q` and hidden coin."""

    multiplier: float
    q: float

    def __post_init__(self) -> None:
        _not_negative(multiplier=self.multiplier)
        _probability(self.q)

    def moment(self, order: int) -> float:
        """Return the log moment ln E[exp((k^2 - k) / (2 multiplier^2))], k binomial(order + 1, q).

        The paper's Eq. 12 prints another exponent, which does not give its numbers; this one does.
        """
        n, q = order + 1, self.q
        if q == 0:
            return 0.0
        if self.multiplier < 1e-150:  # whose square is 0, or as good as
            return math.inf
        if self.multiplier > 1e150:  # whose square is too large, and the moment 0, or as good as
            return 0.0
        logs = [
            math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
            + k * math.log(q) + ((n - k) * math.log1p(-q) if k < n else 0.0)
            + (k * k - k) / (2 * self.multiplier**2)
            for k in range(n + 1)
            if q < 1 or k == n
        ]  # fmt: skip
        top = max(logs)
        return max(0.0, top + math.log(math.fsum(math.exp(x - top) for x in logs)))


@dataclass(frozen=True, slots=True)
class PerTable(Mechanism):
    """A use of several tables whose event depends on how much of them changes.

    Args:
        table: the event where one of the tables is substituted for any other.
        entry: the event where one entry of one of them is.
    """

    table: Pure | BoundedRange
    entry: Pure | BoundedRange

    def of(self, tables: int) -> Pure | BoundedRange:
        """Return the event where `tables` of them are substituted: so many times the log-ratio, or its range."""
        if isinstance(self.table, Pure):
            return Pure(tables * self.table.epsilon)
        return BoundedRange(tables * self.table.alpha)


@dataclass(frozen=True, slots=True)
class Clear(Mechanism):
    """No mechanism at all: what is released is a function of the tables. Its epsilon is infinite."""

    reason: str


@dataclass(frozen=True, slots=True)
class Repeated(Mechanism):
    """A mechanism used `times` times in a row, each use knowing what the earlier ones gave."""

    mechanism: Mechanism
    times: int

    def __post_init__(self) -> None:
        if self.times < 0:
            raise ValueError(f"times={self.times}: must not be negative")


@dataclass(frozen=True, slots=True)
class Claim:
    """What a solver says of itself.

    Args:
        epsilon: of the guarantee; infinite for none.
        delta: its failure probability.
        unit: what it protects: "own" (one agent's own mechanism, once), "edge", "agent" or "entry".
        outside: what is left out of it, in sentences.
        notes: what else whoever relies on it should know.
        final: uses behind the final assignment: they count even where no message carries their outcome.
    """

    epsilon: float
    delta: float
    unit: Unit
    outside: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    final: tuple[Released, ...] = ()


def moments_epsilon(
    parts: Iterable[tuple[SampledChoice | SampledGaussian, int]], times: int, delta: float
) -> tuple[float, ...]:
    """Return epsilon of each part by the moments accountant: (times c(order) - ln delta) / order (paper, Eq. 10).

    Args:
        parts: (mechanism, order of its moment), each a guarantee of its own with its own `delta`.
        times: iterations.
        delta: failure probability of each part.
    """
    return tuple((times * m.moment(order) - math.log(delta)) / order for m, order in parts)


def subset_epsilon(epsilon: float, delta: float, size: int, domain: int) -> float:
    """Return the largest eps0 with which one use of a subset response is (epsilon, delta)-differentially private.

    With A = exp(eps0) the exact failure probability is t (A - exp(epsilon)) / (size A + domain - size), where
    t = min(size, domain - size) is the most that two subsets of `size` values can differ by; eps0 solves it for A.

    Args:
        epsilon: of the guarantee, not negative.
        delta: failure probability, at least 0 and below 1.
        size: preferred values.
        domain: all values.

    Returns:
        eps0, infinite where the response may as well tell the truth: where all values are preferred, or `delta` is
        at least t / size.
    """
    _subset(size, domain)
    others = domain - size
    apart = min(size, others)
    if apart <= delta * size:
        return math.inf
    return epsilon + math.log((apart + delta * others * math.exp(-epsilon)) / (apart - delta * size))


def bounded_range_alpha(epsilon: float, delta: float) -> float:
    """Return the largest alpha with which one use of a bounded range is (epsilon, delta)-differentially private.

    The worst pair of distributions has two outcomes; its exact failure probability is
    (1 - exp((epsilon - alpha) / 2))^2 / (1 - exp(-alpha)), and this solves it for alpha. One use only: adaptive uses
    compose by what accountants know of bounded ranges, not by this.

    Args:
        epsilon: of the guarantee, not negative.
        delta: failure probability, at least 0 and below 1.
    """
    kept = 1 - math.sqrt(delta * (1 - (1 - delta) * math.exp(-epsilon)))
    return epsilon + 2 * math.log1p(delta * math.exp(-epsilon)) - 2 * math.log(kept)
