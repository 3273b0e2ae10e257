"""What a loss is: closed forms against enumeration, and the numbers of Lee, Mak and Shi's Examples 3 and 4."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.vps import mixture_loss
from privacy.vps.knowledge import Belief, Changes
from privacy.vps.metrics import enumerated_loss, full_loss
from privacy.vps.prior import Scale

METRICS = ("entropy", "proportional", "guess")


def gain(metric: str, k: int, u: int) -> float:
    """Return the loss of one cost of which k of u levels are left (Lee, Mak and Shi, section II.C)."""
    if u == 1:
        return 0.0
    return {
        "entropy": math.log2(u / k),
        "proportional": (u - k) / (u - 1),
        "guess": (1 / k - 1 / u) / (1 - 1 / u),
    }[metric]


def by_maps(bounds: list[int], d: int, u: int, metric: str, caps: list[int] | None = None) -> float:
    """Return the expected loss over every map from bounds to values, each value having a cap of its own."""
    total = 0.0
    for places in product(range(d), repeat=len(bounds)):
        least = list(caps or [u] * d)
        for place, bound in zip(places, bounds, strict=True):
            least[place] = min(least[place], max(1, bound))
        total += sum(gain(metric, k, u) for k in least)
    return total / d ** len(bounds)


# The ambiguity rule --------------------------------------------------------------------------------------------


def test_example_4_by_situations() -> None:
    """The five situations of Figure 1: which of the bounds 2, 1, 3 are about the same of the four values."""
    situations = [
        ((2, 1, 3), 24),  # all about different values
        ((1, 3), 12),  # 2 and 1 about the same
        ((2, 1), 12),  # 2 and 3 about the same, or 1 and 3
        ((1, 2), 12),
        ((1,), 4),  # all about the same
    ]
    losses = [sum(math.log2(4 / k) for k in known) for known, _ in situations]
    assert losses == pytest.approx([3.415037, 2.415037, 3, 3, 2], abs=1e-6)
    assert sum(number for _, number in situations) == 64
    expected = sum(loss * number / 64 for loss, (_, number) in zip(losses, situations, strict=True))
    assert mixture_loss([2, 1, 3], domain_size=4, max_cost=4) == pytest.approx(expected, abs=1e-12)
    assert mixture_loss([2, 1, 3], domain_size=4, max_cost=4) == pytest.approx(2.983459, abs=5e-7)
    assert mixture_loss([2, 1, 3], 4, 4) / full_loss("entropy", 4, 4) == pytest.approx(0.372932, abs=5e-7)


def test_example_4_by_the_other_metrics() -> None:
    assert mixture_loss([2, 1, 3], 4, 4, "proportional") / 4 == pytest.approx(0.421875, abs=1e-12)
    chance = 0.496094  # of guessing the cost of a value
    assert mixture_loss([2, 1, 3], 4, 4, "guess") / 4 == pytest.approx((chance - 0.25) / 0.75, abs=1e-6)


def test_two_thousand_random_cases_are_as_enumerated() -> None:
    rng = np.random.default_rng(4)
    for i in range(2000):
        d, u = int(rng.integers(1, 6)), int(rng.integers(1, 9))
        most = 5 if d < 3 else 3 if d > 3 else 4
        bounds = rng.integers(-1, u + 3, int(rng.integers(most + 1))).tolist()
        metric = METRICS[i % 3]
        expected = by_maps(bounds, d, u, metric)
        where = f"{bounds} d={d} u={u} {metric}"
        assert mixture_loss(bounds, d, u, metric) == pytest.approx(expected, abs=1e-9), where
        assert enumerated_loss(bounds, d, u, metric) == pytest.approx(expected, abs=1e-9), where


def test_it_is_the_formula_by_the_chances_of_the_least_bound() -> None:
    """E = d (log2 u - sum over x of log2 x P(B = x)), where P(B >= x) = q^(number of bounds below x)."""
    bounds, d, u = [5, 2, 2, 7, 3, 9, 9, 12], 3, 10
    q = 1 - 1 / d
    at_least = [q ** sum(s < x for s in bounds if s < u) for x in range(1, u + 1)] + [0.0]
    expected = d * (math.log2(u) - sum(math.log2(x) * (at_least[x - 1] - at_least[x]) for x in range(1, u + 1)))
    assert mixture_loss(bounds, d, u) == pytest.approx(expected, abs=1e-12)


cases = st.integers(1, 12).flatmap(
    lambda u: st.tuples(st.lists(st.integers(-2, u + 3), max_size=30), st.integers(1, 6), st.just(u))
)


@given(cases, st.integers(-2, 15), st.sampled_from(METRICS))
def test_one_more_bound_never_lowers_the_loss(case: Any, more: int, metric: Any) -> None:
    bounds, d, u = case
    before = mixture_loss(bounds, d, u, metric)
    assert mixture_loss([*bounds, more], d, u, metric) >= before - 1e-12
    assert -1e-12 <= before <= full_loss(metric, d, u) + 1e-12


@given(cases, st.data(), st.sampled_from(METRICS))
def test_a_lower_bound_never_lowers_the_loss(case: Any, data: Any, metric: Any) -> None:
    bounds, d, u = case
    lower = [s - data.draw(st.integers(0, 3)) for s in bounds]
    assert mixture_loss(lower, d, u, metric) >= mixture_loss(bounds, d, u, metric) - 1e-12


@given(cases, st.randoms(use_true_random=False), st.sampled_from(METRICS))
def test_order_and_shape_of_the_bounds_do_not_matter(case: Any, rng: Any, metric: Any) -> None:
    bounds, d, u = case
    shuffled = list(bounds)
    rng.shuffle(shuffled)
    expected = mixture_loss(bounds, d, u, metric)
    assert mixture_loss(shuffled, d, u, metric) == expected
    assert mixture_loss(np.array([shuffled, shuffled]), d, u, metric) == mixture_loss(bounds * 2, d, u, metric)


@pytest.mark.parametrize("metric", METRICS)
def test_bounds_that_say_nothing_are_void(metric: Any) -> None:
    assert mixture_loss([], 3, 6, metric) == 0
    assert mixture_loss([6, 7, 1000, math.inf], 3, 6, metric) == 0
    assert mixture_loss([4, 6, math.inf], 3, 6, metric) == mixture_loss([4], 3, 6, metric)


@pytest.mark.parametrize("metric", METRICS)
def test_bounds_below_the_least_cost_count_as_it_and_fractions_are_cut(metric: Any) -> None:
    assert mixture_loss([0, -5, -math.inf], 3, 6, metric) == mixture_loss([1, 1, 1], 3, 6, metric)
    assert mixture_loss([0.5, 3.7], 3, 6, metric) == mixture_loss([1, 3], 3, 6, metric)


@pytest.mark.parametrize("metric", METRICS)
def test_with_one_value_there_is_no_ambiguity(metric: Any) -> None:
    assert mixture_loss([5, 2, 4], 1, 6, metric) == pytest.approx(gain(metric, 2, 6))


@pytest.mark.parametrize("metric", METRICS)
def test_with_one_level_there_is_nothing_to_lose(metric: Any) -> None:
    assert mixture_loss([1, 1, 0], 3, 1, metric) == 0
    assert full_loss(metric, 3, 1) == 0


def test_with_many_repeats_all_values_seem_to_cost_no_more_than_the_least_bound() -> None:
    """Overstated, for only one value need cost that little; but that is the paper's rule."""
    assert mixture_loss([2] * 1000, 4, 8) == pytest.approx(4 * math.log2(8 / 2))
    assert mixture_loss([2] * 100_000 + [5] * 100_000, 4, 8) == pytest.approx(4 * math.log2(8 / 2))


def test_large_ranges_are_no_work() -> None:
    assert mixture_loss([1], 2, 10**9) == pytest.approx(math.log2(10**9))
    assert mixture_loss([5 * 10**8], 1, 10**9) == pytest.approx(1)


@pytest.mark.parametrize(
    ("bounds", "d", "u", "metric", "match"),
    [
        ([1, math.nan], 3, 4, "entropy", "not a number"),
        ([1], 0, 4, "entropy", "domain_size=0"),
        ([1], 3, 0, "entropy", "max_cost=0"),
        ([1], 3, 4, "surprise", "metric='surprise': must be one of entropy, proportional, guess"),
    ],
)
def test_what_makes_no_sense_is_refused(bounds: Any, d: int, u: int, metric: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        mixture_loss(bounds, d, u, metric)


@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("u", [2, 4, 6])
def test_full_loss_is_that_of_knowing_every_cost(d: int, u: int) -> None:
    assert full_loss("entropy", d, u) == pytest.approx(d * math.log2(u))
    assert full_loss("proportional", d, u) == d
    assert full_loss("guess", d, u) == pytest.approx(d)
    for metric in METRICS:
        assert full_loss(metric, d, u) == pytest.approx(mixture_loss([1] * 2000, d, u, metric))


# Beliefs -------------------------------------------------------------------------------------------------------


def belief(d: int, u: int) -> Belief:
    """Return what is believed at first: every value costs 1..u."""
    return Belief("x", "a", d, Scale(1, u), Changes())


def test_example_3_one_bound_of_two_on_a_slot() -> None:
    """Three slots, costs 1..4: knowing that one of them costs at most 2 is one bit of six."""
    known = belief(3, 4)
    assert known.loss("entropy") == 0
    known.cap(0, 2)
    assert known.loss("entropy") == pytest.approx(1)
    assert known.loss("entropy") / full_loss("entropy", 3, 4) / 2 == pytest.approx(1 / 12)  # two others watch
    assert known.loss("proportional") == pytest.approx(2 / 3)
    assert known.loss("guess") == pytest.approx(1 / 3)  # the chance to guess right rises from 1/4 to 1/2


def test_ranges_only_shrink() -> None:
    known = belief(2, 6)
    known.cap(0, 4)
    known.cap(0, 5)
    known.lift(0, 2)
    known.lift(0, 1)
    known.cap(1, 9)
    known.lift(1, 0)
    assert (known.low, known.high) == ([2, 1], [4, 6])
    assert known.loss("entropy") == pytest.approx(math.log2(6 / 3))
    known.lift(1, 6)
    assert known.loss("entropy") == pytest.approx(math.log2(6 / 3) + math.log2(6))


def test_a_range_never_becomes_empty() -> None:
    """What contradicts a range (an untrue prior, say) ends at its edge."""
    known = belief(1, 6)
    known.lift(0, 4)
    known.cap(0, 2)
    assert known.low[0] <= known.high[0]
    assert known.loss("entropy") == pytest.approx(math.log2(6))


def test_changes_are_noted_once_and_only_changes() -> None:
    changed = Changes()
    known = Belief("x", "a", 2, Scale(1, 6), changed)
    known.cap(0, 6)
    known.lift(0, 1)
    known.count(6)
    known.some(6)
    assert changed == []
    known.cap(0, 3)
    known.lift(1, 2)
    assert changed == [known]
    assert known.settle("entropy") == known.loss("entropy")
    changed.clear()
    known.some(3)
    assert changed == [known]


@settings(max_examples=150)
@given(st.data(), st.integers(1, 3), st.integers(1, 6), st.sampled_from(METRICS))
def test_bounds_of_some_value_beside_caps_are_as_enumerated(data: Any, d: int, u: int, metric: Any) -> None:
    known = belief(d, u)
    bounds = data.draw(st.lists(st.integers(1, u + 1), max_size=4))
    for value in range(d):
        known.cap(value, data.draw(st.integers(1, u)))
    for bound in bounds:
        known.count(bound)
    assert known.loss(metric) == pytest.approx(by_maps(bounds, d, u, metric, caps=known.high), abs=1e-9)


def by_states(low: list[int], high: list[int], some: int, u: int, metric: str) -> float:
    """Return the loss by trying every state: the costs within their ranges of which the least is at most `some`."""
    d = len(low)
    ranges = [range(a, b + 1) for a, b in zip(low, high, strict=True)]
    states = [costs for costs in product(*ranges) if min(costs) <= some]
    if metric == "entropy":
        return d * math.log2(u) - math.log2(len(states))
    total = 0.0
    for value in range(d):
        levels = [costs[value] for costs in states]
        counts = [levels.count(level) for level in set(levels)]
        if metric == "proportional":
            total += (u - len(counts)) / (u - 1)
        else:
            total += (max(counts) / len(states) - 1 / u) / (1 - 1 / u)
    return total


@settings(max_examples=300)
@given(st.data(), st.integers(1, 3), st.integers(2, 5), st.sampled_from(METRICS))
def test_a_bound_of_some_value_as_a_logical_fact_is_as_enumerated(data: Any, d: int, u: int, metric: Any) -> None:
    """Every state within the ranges is equally likely, but for those in which no value is as cheap as was said."""
    known = belief(d, u)
    for value in range(d):
        high = data.draw(st.integers(1, u))
        known.cap(value, high)
        known.lift(value, data.draw(st.integers(1, high)))
    some = data.draw(st.integers(min(known.low), u))
    known.some(some)
    assert known.loss(metric) == pytest.approx(by_states(known.low, known.high, some, u, metric), abs=1e-9)


@pytest.mark.parametrize("metric", METRICS)
def test_of_one_value_a_bound_of_some_value_is_a_bound(metric: str) -> None:
    """So it is where all other values are known to cost more."""
    known = belief(1, 4)
    known.some(2)
    assert known.loss(metric) == pytest.approx(gain(metric, 2, 4))
    known = belief(2, 4)
    known.lift(1, 3)
    known.some(2)
    assert known.loss(metric) == pytest.approx(2 * gain(metric, 2, 4))


def test_example_4_as_a_logical_fact() -> None:
    """Of the 256 states of four costs only the 81 without a cost of 1 are ruled out."""
    known = belief(4, 4)
    for bound in (2, 1, 3):
        known.some(bound)
    assert known.loss("entropy") == pytest.approx(math.log2(256) - math.log2(256 - 81))
    assert known.loss("entropy") == pytest.approx(0.548789, abs=1e-6)


@given(st.data(), st.integers(1, 3), st.integers(2, 6), st.sampled_from(("entropy", "proportional")))
def test_learning_never_lowers_a_loss(data: Any, d: int, u: int, metric: str) -> None:
    """Of bits and of levels ruled out; a chance to guess may well fall when a likely level turns out wrong."""
    known = belief(d, u)
    costs = [data.draw(st.integers(1, u)) for _ in range(d)]
    before = 0.0
    for _ in range(8):
        value = data.draw(st.integers(0, d - 1))
        match data.draw(st.integers(0, 2)):
            case 0:
                known.cap(value, data.draw(st.integers(costs[value], u)))
            case 1:
                known.lift(value, data.draw(st.integers(1, costs[value])))
            case _:
                known.some(data.draw(st.integers(min(costs), u)))
        after = known.loss(metric)
        assert after >= before - 1e-12
        assert after <= full_loss(metric, d, u) + 1e-12
        before = after


def test_the_edges_of_classes_hold_all_costs_in_spite_of_rounding() -> None:
    """Whole numbers in classes: what costs at least the least of a class is never put above that class."""
    for high in range(1, 60):
        for bins in range(1, 40):
            width = high / bins
            scale = Scale(0, bins, width, True, 1e-9 * width)
            for cost in range(high + 1):
                level = scale.level(cost)
                assert scale.at_least(cost) <= level <= scale.at_most(cost)
                assert scale.at_most(scale.greatest(level)) >= level >= scale.at_least(scale.least(level))
