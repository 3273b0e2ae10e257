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
from typing import Literal

Unit = Literal["own", "edge", "agent", "entry"]


@dataclass(frozen=True, slots=True)
class Mechanism:
    """Base of all mechanism events."""


@dataclass(frozen=True, slots=True)
class Pure(Mechanism):
    """Any mechanism whose log-likelihood ratio never exceeds `epsilon`."""

    epsilon: float


@dataclass(frozen=True, slots=True)
class BoundedRange(Mechanism):
    """Any mechanism whose log-likelihood ratio lies, over its outputs, in an interval of length `alpha`."""

    alpha: float


@dataclass(frozen=True, slots=True)
class SubsetResponse(Mechanism):
    """One of `domain` values: each of the `size` preferred ones `exp(epsilon)` times as likely as each other one."""

    epsilon: float
    size: int
    domain: int


@dataclass(frozen=True, slots=True)
class Gaussian(Mechanism):
    """A number with normal noise; `multiplier` = standard deviation over sensitivity."""

    multiplier: float


@dataclass(frozen=True, slots=True)
class VisibleChoice(Mechanism):
    """With probability `q` a value drawn from a distribution of log-ratio at most `bound`, else the old one.

    The coin shows in the output. Where the value changes, a number with normal noise of `multiplier` goes with it;
    infinite: none does.
    """

    bound: float
    q: float
    multiplier: float = math.inf


@dataclass(frozen=True, slots=True)
class SampledChoice(Mechanism):
    """As `VisibleChoice` without noise, were the coin hidden and who is not drawn silent: the paper's model."""

    bound: float
    q: float

    def moment(self, order: int) -> float:
        """Return the log moment c(order) = ln E[exp(k bound)], k binomial(order + 1, q) (paper, Eq. 9)."""
        if math.isinf(self.bound):
            return math.inf
        return (order + 1) * math.log1p(self.q * math.expm1(self.bound))


@dataclass(frozen=True, slots=True)
class SampledGaussian(Mechanism):
    """As `Gaussian`, released with probability `q` and hidden coin."""

    multiplier: float
    q: float

    def moment(self, order: int) -> float:
        """Return the log moment ln E[exp((k^2 - k) / (2 multiplier^2))], k binomial(order + 1, q).

        The paper's Eq. 12 prints another exponent, which does not give its numbers; this one does.
        """
        if self.multiplier == 0:
            return math.inf
        n, q = order + 1, self.q
        if q == 0:
            return 0.0
        logs = [
            math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
            + k * math.log(q) + ((n - k) * math.log1p(-q) if k < n else 0.0)
            + (k * k - k) / (2 * self.multiplier**2)
            for k in range(n + 1)
            if q < 1 or k == n
        ]  # fmt: skip
        top = max(logs)
        return top + math.log(math.fsum(math.exp(x - top) for x in logs))


@dataclass(frozen=True, slots=True)
class Clear(Mechanism):
    """No mechanism at all: what is released is a function of the tables. Its epsilon is infinite."""

    reason: str


@dataclass(frozen=True, slots=True)
class Repeated(Mechanism):
    """A mechanism used `times` times in a row, each use knowing what the earlier ones gave."""

    mechanism: Mechanism
    times: int


@dataclass(frozen=True, slots=True)
class Claim:
    """What a solver says of itself.

    Args:
        epsilon: of the guarantee; infinite for none.
        delta: its failure probability.
        unit: what it protects: "own" (one agent's own mechanism, once), "edge", "agent" or "entry".
        outside: what is left out of it, in sentences.
    """

    epsilon: float
    delta: float
    unit: Unit
    outside: tuple[str, ...] = ()


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
