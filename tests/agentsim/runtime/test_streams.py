"""Random streams: independent by name, the same on every machine, and of the distributions they claim."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentsim.runtime.streams import Stream, generator

# A sample of n numbers is off by more than five standard errors once in 1.7 million; seeds are fixed besides.
N = 20_000

GOLDEN_AGENT = [0.7115697005630208, 0.9581973995763268, 0.9975340217927537]
GOLDEN_NETWORK = [0.41049880569634556, 0.7054094477320926, 0.4768537408984047]
GOLDEN_ODD = [0.3103052619438672]
GOLDEN_GENERATOR = [646263466, 1000950687, 215207169]


def draws(stream: Stream, n: int) -> list[float]:
    return [stream.random() for _ in range(n)]


def test_the_numbers_of_a_stream_never_change() -> None:
    """Golden numbers: a log's promise of the same bytes on every machine hangs on them."""
    assert draws(Stream(0, "agent", "x1"), 3) == GOLDEN_AGENT
    assert draws(Stream(42, "network", "a", "b"), 3) == GOLDEN_NETWORK
    assert draws(Stream(-1, "é", ""), 1) == GOLDEN_ODD
    assert generator(7, "dp", "x").integers(1 << 30, size=3).tolist() == GOLDEN_GENERATOR


def test_a_block_is_eight_numbers_and_random_takes_them_from_its_end() -> None:
    blocks, singles = Stream(3, "s"), Stream(3, "s")
    for _ in range(3):
        assert blocks.block()[::-1] == draws(singles, 8)


@given(
    seed=st.integers(-(1 << 70), 1 << 70),
    name=st.lists(st.text(max_size=5), max_size=3),
)
def test_the_same_seed_and_name_give_the_same_stream(seed: int, name: list[str]) -> None:
    assert draws(Stream(seed, *name), 10) == draws(Stream(seed, *name), 10)
    assert generator(seed, *name).random() == generator(seed, *name).random()


def test_any_difference_in_seed_or_name_gives_another_stream() -> None:
    names = [("a",), ("b",), ("a", "b"), ("b", "a"), ("ab",), ("a", "b", ""), ("", "a", "b"), ("a b",), ("A", "b")]
    streams = [draws(Stream(seed, *name), 4) for seed in (0, 1, 10, 11) for name in names]
    assert len({tuple(s) for s in streams}) == len(streams)
    assert len({generator(seed, *name).random() for seed in (0, 1) for name in names}) == 2 * len(names)


def test_streams_of_two_names_are_not_correlated() -> None:
    samples = [draws(Stream(5, "network", a, b), N) for a, b in (("x", "y"), ("y", "x"), ("x", "z"))]
    for one, other in combinations(samples, 2):
        assert abs(np.corrcoef(one, other)[0, 1]) < 5 / math.sqrt(N)
    assert abs(np.corrcoef(samples[0][:-1], samples[0][1:])[0, 1]) < 5 / math.sqrt(N)  # nor one with itself


def test_drawing_from_one_stream_does_not_move_another() -> None:
    alone = draws(Stream(1, "b"), 20)
    one, other = Stream(1, "a"), Stream(1, "b")
    mixed = []
    for _ in range(20):
        one.random()
        mixed.append(other.random())
    assert mixed == alone


def test_random_is_uniform_on_the_unit_interval() -> None:
    sample = np.array(draws(Stream(2, "u"), N))
    assert sample.min() >= 0.0
    assert sample.max() < 1.0
    counts, _ = np.histogram(sample, bins=20, range=(0, 1))
    chi2 = float(((counts - N / 20) ** 2 / (N / 20)).sum())
    assert chi2 < 19 + 5 * math.sqrt(38)  # chi square with 19 degrees of freedom


def test_uniform_lies_within_its_bounds_and_in_their_middle() -> None:
    stream = Stream(2, "u")
    sample = np.array([stream.uniform(-3, 5) for _ in range(N)])
    assert sample.min() >= -3
    assert sample.max() < 5
    assert abs(sample.mean() - 1) < 5 * (8 / math.sqrt(12)) / math.sqrt(N)
    assert stream.uniform(2, 2) == 2


def test_exponential_has_its_mean_and_forgets() -> None:
    stream = Stream(2, "e")
    sample = np.array([stream.exponential(4.0) for _ in range(N)])
    assert sample.min() >= 0
    assert abs(sample.mean() - 4) < 5 * 4 / math.sqrt(N)
    share = math.exp(-1)  # beyond the mean
    assert abs((sample > 4).mean() - share) < 5 * math.sqrt(share * (1 - share) / N)
    assert stream.exponential(0.0) == 0


def test_normal_has_mean_zero_variance_one_and_its_tails() -> None:
    stream = Stream(2, "n")
    sample = np.array([stream.normal() for _ in range(N)])
    assert abs(sample.mean()) < 5 / math.sqrt(N)
    assert abs(sample.var() - 1) < 5 * math.sqrt(2 / N)
    for z, share in ((1.0, 0.158655), (2.0, 0.022750), (-1.0, 0.841345)):
        assert abs((sample > z).mean() - share) < 5 * math.sqrt(share * (1 - share) / N)


@given(n=st.integers(1, 1 << 40), seed=st.integers(0, 1000))
def test_integer_lies_in_its_range(n: int, seed: int) -> None:
    stream = Stream(seed, "i")
    assert all(0 <= stream.integer(n) < n for _ in range(20))


def test_integer_and_choice_give_each_with_the_same_chance() -> None:
    stream = Stream(2, "i")
    for sample in ([stream.integer(6) for _ in range(N)], [stream.choice(range(6)) for _ in range(N)]):
        counts = np.bincount(sample, minlength=6)
        assert np.all(np.abs(counts - N / 6) < 5 * math.sqrt(N * 5 / 36))


@pytest.mark.parametrize("n", [0, -1])
def test_integer_of_nothing_is_refused(n: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Stream(0, "i").integer(n)
