"""Exact sampling: private choices drawn with whole numbers alone, so that their law is the one that is claimed.

A choice whose probabilities were computed in floating point has another law than the one on paper, and rounding has
undone guarantees of differential privacy before. Here every draw is decided by fair bits and comparisons of integers.
The one non-trivial coin is Bernoulli(exp(-x)) for a rational x (Canonne, Kamath and Steinke, "The discrete Gaussian for
differential privacy", NeurIPS 2020, Algorithm 1): with x in [0, 1], flip coins of probability x/1, x/2, x/3, ... until
one fails; the number of flips is odd with probability 1 - x + x^2/2 - ... = exp(-x).

Choices of one of D values, each with its law beside it:

* subset response: each of some preferred values exp(epsilon) times as likely as each other one;
* permute and flip (McKenna and Sheldon, NeurIPS 2020): look at the values in random order, take the first whose coin
  of probability exp(-b (score - least score)) falls;
* exponential mechanism (McSherry and Talwar, FOCS 2007): probability proportional to exp(-b score);

and randomised response for many small numbers at once, each drawn by comparing a uniform number with the probability
of a lie, of which as many bits are worked out as need be.

Bits come from a key of 32 bytes by BLAKE2b, keyed, over a counter. Whoever knows the key can undo the noise.

Scores must be finite. How long a draw takes depends on what is drawn; agents draw within an instant of virtual time.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from fractions import Fraction
from functools import cache, lru_cache, partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from agentsim.runtime.agent import Agent
from agentsim.runtime.port import KEY_SIZE, fresh_key

Randomness = Literal["crypto", "seed"]
Score = Fraction | float


class KeyedBits:
    """Bits expanded from a key: a pseudo-random function over a counter.

    Args:
        key: 32 bytes that nobody else knows.
    """

    __slots__ = ("_blocks", "_key", "_left", "_pool")

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_SIZE:
            raise ValueError(f"a key of {len(key)} bytes: must be {KEY_SIZE}")
        self._key = key
        self._blocks = 0
        self._pool = 0
        self._left = 0

    def __call__(self, n: int) -> int:
        """Return the next n bits as a whole number."""
        while self._left < n:
            block = hashlib.blake2b(self._blocks.to_bytes(8, "little"), key=self._key).digest()
            self._blocks += 1
            self._pool |= int.from_bytes(block, "little") << self._left
            self._left += 8 * len(block)
        bits = self._pool & ((1 << n) - 1)
        self._pool >>= n
        self._left -= n
        return bits


class ExactCoins:
    """Coins and dice without rounding.

    Args:
        bits: returns n fair, independent bits as a whole number.
    """

    __slots__ = ("_bits",)

    def __init__(self, bits: Callable[[int], int]) -> None:
        self._bits = bits

    @classmethod
    def from_key(cls, key: bytes) -> ExactCoins:
        """Return the coins that a key of 32 bytes determines."""
        return cls(KeyedBits(key))

    def below(self, n: int) -> int:
        """Return a uniform whole number in 0..n-1; ValueError unless n >= 1."""
        if n < 1:
            raise ValueError(f"below({n}): n must be at least 1")
        width = (n - 1).bit_length()
        while True:  # rejection: a remainder would favour the low numbers
            drawn = self._bits(width)
            if drawn < n:
                return drawn

    def bernoulli(self, p: Fraction) -> bool:
        """Return True with probability p, from 0 to 1."""
        return self.below(p.denominator) < p.numerator

    def bernoulli_exp(self, x: Fraction) -> bool:
        """Return True with probability exp(-x); ValueError unless x >= 0."""
        if x < 0:
            raise ValueError(f"bernoulli_exp({x}): x must not be negative")
        whole = x.numerator // x.denominator
        for _ in range(whole):
            if not self._bernoulli_exp(Fraction(1)):
                return False
        return self._bernoulli_exp(x - whole)

    def _bernoulli_exp(self, x: Fraction) -> bool:
        """Return True with probability exp(-x) for x from 0 to 1."""
        flips = 1
        while self.bernoulli(x / flips):
            flips += 1
        return flips % 2 == 1

    def bernoulli_real(self, floor_of: Callable[[int], int]) -> bool:
        """Return True with probability p, a number of which `floor_of(n)` is the whole part of p times 2^n.

        A uniform number is compared with p, bit by bit as far as need be.
        """
        n, drawn = 64, self._bits(64)
        while drawn == floor_of(n):
            n, drawn = n + 64, drawn << 64 | self._bits(64)
        return drawn < floor_of(n)

    def shuffled(self, n: int) -> list[int]:
        """Return 0..n-1 in an order of which each is equally likely."""
        order = list(range(n))
        for last in range(n - 1, 0, -1):
            other = self.below(last + 1)
            order[last], order[other] = order[other], order[last]
        return order


async def draw_coins(agent: Agent, randomness: Randomness) -> ExactCoins:
    """Return an agent's coins, keyed by the operating system (the key goes into the log) or by the run's seed.

    To be awaited in the agent's `run`, once. With "seed" whoever knows the seed can undo the noise.
    """
    if randomness == "seed":
        return ExactCoins.from_key(bytes(agent.rng.integer(256) for _ in range(KEY_SIZE)))
    return ExactCoins.from_key(await agent.external("randomness", fresh_key))


# Choices -------------------------------------------------------------------------------------------------------


def subset_response(coins: ExactCoins, top: Collection[int], domain: int, epsilon: Fraction) -> int:
    """Return one of 0..domain-1, each of `top` exp(epsilon) times as likely as each other one."""
    while True:
        value = coins.below(domain)
        if value in top or coins.bernoulli_exp(epsilon):
            return value


def lowest(coins: ExactCoins, scores: Sequence[Score], size: int) -> set[int]:
    """Return the indices of the `size` lowest scores, ties broken at random."""
    return set(sorted(coins.shuffled(len(scores)), key=scores.__getitem__)[:size])


def permute_and_flip(coins: ExactCoins, scores: Sequence[Fraction | int], b: Fraction) -> int:
    """Return the index of a low score: the first in random order whose coin exp(-b (score - least score)) falls."""
    least = min(scores)
    return next(d for d in coins.shuffled(len(scores)) if coins.bernoulli_exp(b * (scores[d] - least)))


def exponential(coins: ExactCoins, scores: Sequence[Fraction | int], b: Fraction) -> int:
    """Return the index of a low score, with probability proportional to exp(-b score)."""
    least = min(scores)
    while True:
        value = coins.below(len(scores))
        if coins.bernoulli_exp(b * (scores[value] - least)):
            return value


def randomised_response(coins: ExactCoins, truths: Iterable[int], kinds: int, epsilon: Fraction) -> list[int]:
    """Return a number below `kinds` for each truth: the truth exp(epsilon) times as likely as each other one."""
    lie = cache(partial(_lies, kinds, epsilon))
    return [(t + 1 + coins.below(kinds - 1)) % kinds if coins.bernoulli_real(lie) else t for t in truths]


@lru_cache(maxsize=64)
def _lies(kinds: int, epsilon: Fraction, n: int) -> int:
    """Return the whole part of 2^n times the probability of another number than the truth."""
    terms = 8
    while True:
        odds = [(kinds - 1) * bound for bound in exp_bounds(epsilon, terms)]
        least, most = (math.floor((1 << n) * odd / (1 + odd)) for odd in odds)
        if least == most:
            return least
        terms *= 2


def exp_bounds(x: Fraction, terms: int) -> tuple[Fraction, Fraction]:
    """Return two rationals between which exp(-x) lies, x >= 0, from that many pairs of terms of its series."""
    whole = math.floor(x)
    low = high = Fraction(1)
    for part, times in ((Fraction(1), whole), (x - whole, 1)):
        term = above = Fraction(1)
        for j in range(1, 2 * terms + 1):
            term *= -part / j
            above += term
        below = above + term * -part / (2 * terms + 1)  # sums end below and above by turns
        low, high = low * below**times, high * above**times
    return low, high


# Their laws, in floating point: for tests and audits -----------------------------------------------------------


def subset_pmf(scores: Sequence[Score], size: int, epsilon: float) -> list[float]:
    """Return the law of `subset_response` to the `lowest` scores. Length D, adds up to 1."""
    domain = len(scores)
    boundary = sorted(scores)[size - 1]
    below = sum(s < boundary for s in scores)
    tied = sum(s == boundary for s in scores)
    other = math.exp(-epsilon)  # the weight of a value that is not preferred
    preferred = [(size - below) / tied if s == boundary else float(s < boundary) for s in scores]
    return [(q + (1 - q) * other) / (size + (domain - size) * other) for q in preferred]


def permute_and_flip_pmf(scores: Sequence[Score], b: float) -> list[float]:
    """Return the law of `permute_and_flip`. Length D, adds up to 1.

    In continuous form each value has a uniform arrival time u; a value is taken when its coin falls and that of none
    before it did: p_d times the integral over u in [0, 1] of the product over j != d of (1 - u p_j), where p are the
    coins' probabilities. The integrand is a polynomial, which Gauss and Legendre integrate exactly.
    """
    least = min(scores)
    p = np.exp([-b * float(s - least) for s in scores])
    nodes, weights = _quadrature(len(p) // 2 + 1)
    survives = np.repeat(1 - np.outer(nodes, p)[None], len(p), axis=0)  # by value chosen, node, other value
    survives[range(len(p)), :, range(len(p))] = 1
    return [float(q) for q in p * (survives.prod(axis=2) @ weights)]


@lru_cache(maxsize=64)
def _quadrature(n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return nodes and weights that integrate polynomials of degree below 2 n over [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return (nodes + 1) / 2, weights / 2


def exponential_pmf(scores: Sequence[Score], b: float) -> list[float]:
    """Return the law of `exponential`. Length D, adds up to 1."""
    least = min(scores)
    weights = [math.exp(-b * float(s - least)) for s in scores]
    total = math.fsum(weights)
    return [w / total for w in weights]
