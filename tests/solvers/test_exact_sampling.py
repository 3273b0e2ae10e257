"""Exact sampling: laws by enumerating the coins, closed forms, uniform dice, keys.

Statistical tests draw from fixed keys, so that they cannot fail by chance; with another key each would fail with
probability below 1e-6 for every frequency that it looks at (`LIMIT` standard deviations).
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvers.exact_sampling import (
    ExactCoins,
    KeyedBits,
    _lies,
    exp_bounds,
    exponential,
    exponential_pmf,
    lowest,
    permute_and_flip,
    permute_and_flip_pmf,
    randomised_response,
    subset_pmf,
    subset_response,
)

LIMIT = 5.0
SCORES = st.lists(st.integers(0, 6), min_size=1, max_size=5)
EXPONENTS = st.sampled_from([Fraction(0), Fraction(1, 3), Fraction(1, 2), Fraction(2)])


class Undecided(BaseException):
    """The script of outcomes is at its end; `branches` are the probabilities of what may come next."""

    def __init__(self, branches: list[Fraction | float]) -> None:
        self.branches = branches


class Scripted(ExactCoins):
    """Coins whose outcomes are given, and which ask for more. Biased coins are taken as they are."""

    def __init__(self, script: tuple[int, ...]) -> None:
        self.script = list(script)

    def outcome(self, branches: list[Fraction | float]) -> int:
        if not self.script:
            raise Undecided(branches)
        return self.script.pop(0)

    def below(self, n: int) -> int:
        return self.outcome([Fraction(1, n)] * n)

    def bernoulli(self, p: Fraction) -> bool:
        return bool(self.outcome([1 - p, p]))


class ScriptedExp(Scripted):
    """As `Scripted`, for what is built on coins of probability exp(-x)."""

    def bernoulli_exp(self, x: Fraction) -> bool:
        p = math.exp(-x)
        return bool(self.outcome([1 - p, p]))


class Rejected(Exception):
    """A draw by rejection begins anew."""


class OneRound(ScriptedExp):
    """As `ScriptedExp`, for the first round of a draw by rejection: its law is that of a round that accepts."""

    thrown = 0

    def below(self, n: int) -> int:
        self.thrown += 1
        if self.thrown > 1:
            raise Rejected
        return super().below(n)


def law(draw: Callable[[Scripted], int], coins: type[Scripted] = Scripted, cut: float = 1e-9) -> dict[int, float]:
    """Return the law of a draw by following every outcome of its coins whose probability is above `cut`."""
    found: dict[int, Fraction | float] = {}
    todo: list[tuple[tuple[int, ...], Fraction | float]] = [((), Fraction(1))]
    while todo:
        script, probability = todo.pop()
        try:
            value = draw(coins(script))
        except Rejected:
            pass
        except Undecided as undecided:
            todo += [((*script, i), probability * p) for i, p in enumerate(undecided.branches) if probability * p > cut]
        else:
            found[value] = found.get(value, 0) + probability
    return found


def assert_frequencies(values: Iterator[int], pmf: list[float], n: int) -> None:
    """Hold n drawn values against a law, value by value."""
    counts = Counter(next(values) for _ in range(n))
    for value, p in enumerate(pmf):
        deviation = math.sqrt(n * p * (1 - p))
        assert abs(counts[value] - n * p) <= LIMIT * deviation, (value, counts[value] / n, p)


def coins(n: int) -> ExactCoins:
    return ExactCoins.from_key(bytes([n] * 32))


# Coins and dice ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "x", [Fraction(0), Fraction(1, 7), Fraction(1, 2), Fraction(1), Fraction(3, 2), Fraction(31, 9)]
)
def test_the_coin_is_exp_of_minus_x_by_enumeration(x: Fraction) -> None:
    found = law(lambda c: int(c.bernoulli_exp(x)), cut=1e-14)
    assert sum(found.values()) > 1 - 1e-12
    assert float(found.get(1, 0)) == pytest.approx(math.exp(-x), abs=1e-12)
    assert float(found.get(0, 0)) == pytest.approx(-math.expm1(-x), abs=1e-12)


def test_the_number_of_flips_has_the_terms_of_the_series_exactly() -> None:
    x = Fraction(2, 3)

    def flips(c: Scripted) -> int:
        given = len(c.script)
        assert c.bernoulli_exp(x) == bool(given % 2)
        return given

    found = law(flips, cut=1e-12)
    for k in range(1, 12):
        assert found[k] == x ** (k - 1) / math.factorial(k - 1) - x**k / math.factorial(k)


def test_the_coin_of_a_large_x_never_falls_and_takes_no_time() -> None:
    c = coins(1)
    assert not any(c.bernoulli_exp(Fraction(10**40)) for _ in range(200))
    assert all(c.bernoulli_exp(Fraction(0)) for _ in range(200))


def test_a_negative_x_is_refused() -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        coins(0).bernoulli_exp(Fraction(-1, 2))


@pytest.mark.parametrize("n", [1, 2, 3, 5, 6, 8, 11])
def test_below_is_uniform_over_all_bits(n: int) -> None:
    width = (n - 1).bit_length()
    accepted = Counter[int]()
    for word in range(1 << width):
        asked: list[int] = []

        def bits(k: int, word: int = word, asked: list[int] = asked) -> int:
            asked.append(k)
            return word if len(asked) == 1 else 0

        drawn = ExactCoins(bits).below(n)
        assert set(asked) == {width}
        if len(asked) == 1:
            accepted[drawn] += 1
    assert accepted == Counter(range(n))


def test_below_refuses_nothing_to_choose_from() -> None:
    with pytest.raises(ValueError, match=r"below\(0\)"):
        coins(0).below(0)


def test_every_order_is_equally_likely() -> None:
    orders = list(permutations(range(4)))
    found = law(lambda c: orders.index(tuple(c.shuffled(4))), cut=0)
    assert found == dict.fromkeys(range(24), Fraction(1, 24))
    assert coins(0).shuffled(0) == []


def test_coins_of_a_key_fall_as_they_should() -> None:
    c = coins(2)
    n = 20_000
    assert_frequencies(
        (int(c.bernoulli_exp(Fraction(7, 10))) for _ in range(n)), [1 - math.exp(-0.7), math.exp(-0.7)], n
    )
    assert_frequencies((c.below(7) for _ in range(n)), [1 / 7] * 7, n)


def test_a_uniform_number_is_compared_with_p_bit_by_bit() -> None:
    third = lambda n: (1 << n) // 3  # noqa: E731
    words = [third(64), third(128) & (1 << 64) - 1, 5]
    asked: list[int] = []

    def bits(n: int) -> int:
        asked.append(n)
        return words[len(asked) - 1]

    assert ExactCoins(bits).bernoulli_real(third), "5 is below the next 64 bits of 1/3"
    assert asked == [64, 64, 64]
    assert ExactCoins(lambda n: third(64) - 1).bernoulli_real(third)
    assert not ExactCoins(lambda n: third(64) + 1).bernoulli_real(third)


@given(st.fractions(0, 30, max_denominator=1 << 40), st.integers(1, 12))
def test_exp_lies_between_its_bounds(x: Fraction, terms: int) -> None:
    low, high = exp_bounds(x, terms)
    assert 0 <= low <= high
    exact = Decimal(-x.numerator) / Decimal(x.denominator)
    assert Decimal(low.numerator) / Decimal(low.denominator) <= exact.exp() * (1 + Decimal("1e-26"))
    assert Decimal(high.numerator) / Decimal(high.denominator) >= exact.exp() * (1 - Decimal("1e-26"))
    assert terms < 8 or high - low < 1e-10


@pytest.mark.parametrize(("kinds", "epsilon"), [(2, 0.0), (3, 2.7), (5, 4.1), (10, 9.55), (10, 300.0)])
def test_lies_of_randomised_response_have_their_probability_to_every_bit(kinds: int, epsilon: float) -> None:
    x = Fraction(epsilon)
    with localcontext(prec=220):
        odds = (kinds - 1) * (Decimal(-x.numerator) / Decimal(x.denominator)).exp()
        for n in (64, 128, 192):
            assert _lies(kinds, x, n) == math.floor(2**n * odds / (1 + odds))


def test_randomised_response_has_its_law() -> None:
    n, c, e = 20_000, coins(5), math.exp(1.5)
    drawn = randomised_response(c, [2] * n, 4, Fraction(3, 2))
    assert_frequencies(iter(drawn), [1 / (e + 3), 1 / (e + 3), e / (e + 3), 1 / (e + 3)], n)
    assert randomised_response(c, [0, 1, 2, 3], 4, Fraction(1000)) == [0, 1, 2, 3]


# Keys ----------------------------------------------------------------------------------------------------------


def test_bits_are_keyed_blake2b_over_a_counter() -> None:
    key = bytes(range(32))
    bits = KeyedBits(key)
    stream = b"".join(hashlib.blake2b(i.to_bytes(8, "little"), key=key).digest() for i in range(3))
    whole = int.from_bytes(stream, "little")
    position = 0
    for n in (1, 7, 0, 64, 200, 500, 3):
        assert bits(n) == whole >> position & ((1 << n) - 1)
        position += n


def test_keys_of_another_length_are_refused() -> None:
    for wrong in (b"", bytes(31), bytes(33)):
        with pytest.raises(ValueError, match="must be 32"):
            ExactCoins.from_key(wrong)


def test_one_key_gives_one_sequence() -> None:
    def drawn(key: bytes) -> list[int]:
        c = ExactCoins.from_key(key)
        return [c.below(1000) for _ in range(20)]

    assert drawn(bytes(32)) == drawn(bytes(32)) != drawn(bytes([1] * 32))


# Choices -------------------------------------------------------------------------------------------------------


def test_permute_and_flip_has_the_published_law() -> None:
    # McKenna and Sheldon's mechanism at b = 1/2; figures to eight places from the integral, by an independent program.
    expected = [0.37300114, 0.19089895, 0.06309878, 0.37300114]
    assert permute_and_flip_pmf([2, 3, 5, 2], 0.5) == pytest.approx(expected, abs=1e-8)


@given(SCORES, EXPONENTS)
def test_permute_and_flip_closed_form_is_the_mean_over_all_orders(scores: list[int], b: Fraction) -> None:
    p = [math.exp(-b * (s - min(scores))) for s in scores]
    expected = [0.0] * len(scores)
    for order in permutations(range(len(scores))):
        left = 1.0
        for d in order:
            expected[d] += left * p[d] / math.factorial(len(scores))
            left *= 1 - p[d]
    assert permute_and_flip_pmf(scores, float(b)) == pytest.approx(expected, abs=1e-12)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=3), EXPONENTS)
def test_draws_have_their_closed_forms(scores: list[int], b: Fraction) -> None:
    d = len(scores)
    found = law(lambda c: permute_and_flip(c, scores, b), ScriptedExp, cut=0)
    assert [found.get(v, 0) for v in range(d)] == pytest.approx(permute_and_flip_pmf(scores, float(b)), abs=1e-12)
    found = law(lambda c: exponential(c, scores, b), OneRound, cut=0)
    total = sum(found.values())
    assert [found[v] / total for v in range(d)] == pytest.approx(exponential_pmf(scores, float(b)), abs=1e-12)


@pytest.mark.parametrize(("size", "scores"), [(1, [3, 1, 2]), (2, [1, 0, 1, 1]), (2, [0, 0, 0]), (3, [2, 1, 0, 3])])
def test_a_subset_response_has_its_closed_form(size: int, scores: list[int]) -> None:
    epsilon, d = Fraction(3, 2), len(scores)
    expected = [0.0] * d
    for order in permutations(range(d)):  # all ways to break ties
        top = sorted(order, key=lambda v: scores[v])[:size]
        found = law(lambda c, top=top: subset_response(c, top, d, epsilon), OneRound, cut=0)
        for v in range(d):
            expected[v] += found[v] / sum(found.values()) / math.factorial(d)
    assert subset_pmf(scores, size, 1.5) == pytest.approx(expected, abs=1e-12)
    c = coins(3)
    drawn = (subset_response(c, lowest(c, scores, size), d, epsilon) for _ in range(4000))
    assert_frequencies(drawn, expected, 4000)


def test_the_preferred_have_the_stated_probability() -> None:
    pmf = subset_pmf(list(range(15)), 5, 1.0)
    assert sum(pmf[:5]) == pytest.approx(0.5761168848, abs=1e-10)
    assert max(pmf) / min(pmf) == pytest.approx(math.e)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=6), st.integers(1, 6), st.floats(0, 5))
def test_laws_add_up_to_one(scores: list[int], size: int, b: float) -> None:
    assert sum(subset_pmf(scores, min(size, len(scores)), b)) == pytest.approx(1)
    assert sum(permute_and_flip_pmf(scores, b)) == pytest.approx(1)
    assert sum(exponential_pmf(scores, b)) == pytest.approx(1)


def test_ties_at_the_edge_of_the_preferred_are_broken_evenly() -> None:
    found = law(lambda c: sum(1 << v for v in lowest(c, [5, 5, 0, 5], 2)), cut=0)
    assert found == {0b0101: Fraction(1, 3), 0b0110: Fraction(1, 3), 0b1100: Fraction(1, 3)}


def test_draws_with_keys_follow_the_closed_forms() -> None:
    scores, b, n, c = [2, 3, 5, 2, 9], Fraction(1, 2), 8000, coins(4)
    assert_frequencies((permute_and_flip(c, scores, b) for _ in range(n)), permute_and_flip_pmf(scores, 0.5), n)
    assert_frequencies((exponential(c, scores, b) for _ in range(n)), exponential_pmf(scores, 0.5), n)
