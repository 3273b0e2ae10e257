"""Lower bounds on epsilon: limits against published values, validity and power on mechanisms of known epsilon."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentsim.runtime.streams import generator
from privacy.audit import (
    Audit,
    Histograms,
    Rule,
    Statistic,
    audit,
    choose_rule,
    clopper_pearson,
    epsilon_of,
    largest_bound,
)

DELTA = 1e-2


# Limits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("successes", "trials", "confidence", "low", "high"),
    [
        (81, 263, 0.95, 0.2527, 0.3676),  # Newcombe, Statistics in Medicine 17 (1998), table I, exact method
        (15, 148, 0.95, 0.0578, 0.1617),
        (0, 20, 0.95, 0.0, 0.1684),
        (1, 29, 0.95, 0.0009, 0.1776),
        (20, 20, 0.95, 0.8316, 1.0),
        (1, 1, 0.9, 0.05, 1.0),
    ],
)
def test_clopper_pearson_gives_published_values(
    successes: int, trials: int, confidence: float, low: float, high: float
) -> None:
    assert clopper_pearson(successes, trials, confidence) == pytest.approx((low, high), abs=5.1e-5)


@given(st.integers(1, 60), st.data())
def test_limits_are_missed_with_the_probability_stated(trials: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, trials))
    low, high = clopper_pearson(successes, trials, 0.9)

    def at_least(k: int, p: float) -> float:
        return math.fsum(math.comb(trials, i) * p**i * (1 - p) ** (trials - i) for i in range(k, trials + 1))

    assert low == 0 if successes == 0 else at_least(successes, low) == pytest.approx(0.05, rel=1e-6)
    assert high == 1 if successes == trials else 1 - at_least(successes + 1, high) == pytest.approx(0.05, rel=1e-6)


def test_limits_of_many_trials() -> None:
    low, high = clopper_pearson(250_000, 500_000)
    assert (low, high) == pytest.approx((0.4986136, 0.5013864), abs=2e-6)
    assert low < 0.5 < high


@pytest.mark.parametrize(("successes", "trials"), [(-1, 3), (4, 3), (0, 0)])
def test_limits_refuse_impossible_counts(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="of"):
        clopper_pearson(successes, trials)


def test_limits_refuse_certainty() -> None:
    with pytest.raises(ValueError, match="confidence"):
        clopper_pearson(1, 2, 1.0)


def test_epsilon_of_rates() -> None:
    assert epsilon_of(0.75, 0.25, 0) == pytest.approx(math.log(3))
    assert epsilon_of(0.76, 0.25, 0.01) == pytest.approx(math.log(3))
    assert epsilon_of(0.2, 0.4, 0) == epsilon_of(0.01, 1e-9, 0.01) == 0
    assert epsilon_of(0.5, 0, 0) == math.inf


def test_cap_is_what_all_right_and_none_wrong_give() -> None:
    assert largest_bound((20_000, 20_000), DELTA) == pytest.approx(8.59, abs=0.005)
    assert largest_bound((10, 20_000), DELTA) < largest_bound((20_000, 20_000), DELTA)
    assert largest_bound((1, 1), DELTA) == 0


# Rules -------------------------------------------------------------------------------------------------------------


def test_rule_is_the_threshold_between_separate_scores() -> None:
    rule, promise = choose_rule(np.array([0.0, 1.0, 2.0, 1.0]), np.array([5.0, 4.0, 6.0, 4.0]), 0)
    assert rule.threshold == 3
    assert promise > 0
    assert rule.guesses(np.array([2.9, 3.0, 3.1])) == (2 if rule.world else 1)


def test_rule_of_equal_scores_guesses_nothing() -> None:
    rule, promise = choose_rule(np.ones(9), np.ones(9), 0)
    assert rule == Rule(math.inf, 1)
    assert promise == -math.inf
    assert rule.guesses(np.ones(9)) == 0


def gaussians(seed: int, runs: int, apart: float) -> tuple[np.ndarray, np.ndarray]:
    rng = generator(seed, "test")
    return rng.normal(size=runs), rng.normal(size=runs) + apart


def test_worlds_may_be_exchanged() -> None:
    zero, one = gaussians(5, 4000, 1.5)
    there = audit([Statistic("x", zero, one)], DELTA)
    back = audit([Statistic("x", -one, -zero)], DELTA)
    assert there.epsilon_lower == back.epsilon_lower > 1
    assert there.bounds[0].rule.world == 1 - back.bounds[0].rule.world


# Validity and power ------------------------------------------------------------------------------------------------


def randomised_response(seed: int, runs: int, p: float) -> Statistic:
    """One bit, true with probability p: epsilon is the log-odds."""
    rng = generator(seed, "response")
    odds = math.log(p / (1 - p))
    zero, one = (np.where(rng.random(runs) < truth, odds, -odds) for truth in (1 - p, p))
    return Statistic("bit", zero, one)


def test_bound_holds_for_randomised_response_and_is_close_with_many_runs() -> None:
    epsilon = math.log(3)
    found = [audit([randomised_response(seed, 1000, 0.75)], 0).epsilon_lower for seed in range(100)]
    assert sum(bound > epsilon for bound in found) <= 5  # 5 %; both limits must err to one side, so it is far less
    assert np.mean(found) > 0.8 * epsilon
    many = audit([randomised_response(0, 100_000, 0.75)], 0)
    assert 0.97 * epsilon < many.epsilon_lower <= epsilon
    assert many.cap > 9


def test_delta_is_taken_off() -> None:
    pure = audit([randomised_response(1, 40_000, 0.75)], 0).epsilon_lower
    loose = audit([randomised_response(1, 40_000, 0.75)], 0.25).epsilon_lower
    assert loose < math.log((0.75 - 0.25) / 0.25) < pure


def test_choosing_among_many_is_paid_for() -> None:
    """Of twenty scores that say nothing one seems to say much in the half in which it is chosen, and is tested."""
    promised = refuted = 0
    for seed in range(25):
        rng = generator(seed, "noise")
        noise = [Statistic(str(i), rng.normal(size=100), rng.normal(size=100)) for i in range(20)]
        found = audit(noise, 0)
        promised += max(bound.promise for bound in found.bounds) > 0
        refuted += found.epsilon_lower > 0
    assert refuted <= 2 < 12 < promised


def test_shuffled_labels_show_nothing() -> None:
    zero, one = gaussians(1, 2000, 3.0)
    assert audit([Statistic("x", zero, one)], 0).epsilon_lower > 2
    mixed = generator(2, "shuffle").permutation(np.concatenate((zero, one)))
    assert audit([Statistic("x", mixed[:2000], mixed[2000:])], 0).epsilon_lower < 0.05


def test_the_statistic_that_tells_most_is_chosen_and_the_others_are_reported() -> None:
    weak, strong = gaussians(3, 2000, 0.5), gaussians(4, 2000, 3.0)
    found = audit([Statistic("weak", *weak), Statistic("strong", *strong)], DELTA)
    assert found.chosen == "strong"
    by_name = {bound.name: bound.epsilon_lower for bound in found.bounds}
    assert found.epsilon_lower == by_name["strong"] > by_name["weak"]
    assert found.epsilon_lower <= found.cap


def test_infinite_scores_are_certainty() -> None:
    zero, one = np.full(2000, -np.inf), np.full(2000, np.inf)
    found = audit([Statistic("clear", zero, one)], DELTA)
    assert found.epsilon_lower == found.cap == pytest.approx(5.59, abs=0.005)
    # A value that only one world can give, now and then.
    half = np.where(np.arange(2000) % 3, 0.0, np.inf)
    found = audit([Statistic("sometimes", np.zeros(2000), half)], DELTA)
    assert 3 < found.epsilon_lower < found.cap


# Learned -----------------------------------------------------------------------------------------------------------


def test_learned_scores_find_the_feature_that_matters() -> None:
    rng = generator(6, "features")
    zero, one = rng.normal(size=(2, 4000, 30))
    one[:, 17] += 2.0
    found = audit([Statistic("all", zero, one)], DELTA)
    exact = audit([Statistic("all", zero[:, 17] * 2 - 2, one[:, 17] * 2 - 2)], DELTA)
    assert 0.6 * exact.epsilon_lower < found.epsilon_lower < found.cap


def test_learned_scores_of_noise_show_nothing() -> None:
    shown = []
    for seed in range(40):
        rng = generator(seed, "nothing")
        digests = rng.integers(0, 2**48, size=(2, 200, 5)).astype(float)  # another one in every run
        shown.append(audit([Statistic("digests", digests[0], digests[1])], 0).epsilon_lower)
    assert sum(bound > 0 for bound in shown) <= 2


def test_histograms_tell_values_and_their_absence_apart() -> None:
    zero = np.array([[0.0, np.nan]] * 20 + [[1.0, np.nan]] * 20)
    one = np.array([[0.0, 5.0]] * 20 + [[1.0, 5.0]] * 20)
    learned = Histograms(zero, one)
    scores = learned.score(np.array([[0.0, np.nan], [1.0, 5.0], [0.0, -np.inf]]))
    assert scores[0] < -2
    assert scores[1] > 2
    assert np.isfinite(scores).all()
    assert not Histograms(zero, zero).score(zero).any()


def test_randomised_response_is_not_refuted_by_learning_either() -> None:
    found = []
    for seed in range(40):
        rng = generator(seed, "bits")
        bits = [(rng.random((400, 3)) < truth).astype(float) for truth in (0.5, 0.5)]
        for world, truth in zip(bits, (0.25, 0.75), strict=True):
            world[:, 1] = rng.random(400) < truth
        found.append(audit([Statistic("bits", *bits)], 0).epsilon_lower)
    assert sum(bound > math.log(3) for bound in found) <= 2
    assert np.mean(found) > 0.5


# Errors ------------------------------------------------------------------------------------------------------------


def outcome(zero: np.ndarray, one: np.ndarray, delta: float = 0.0) -> Audit:
    return audit([Statistic("x", zero, one)], delta)


def test_audit_refuses_what_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="no statistics"):
        audit([], 0)
    with pytest.raises(ValueError, match="7 runs"):
        outcome(np.zeros(7), np.zeros(9))
    with pytest.raises(ValueError, match="NaN"):
        outcome(np.full(9, np.nan), np.zeros(9))
    with pytest.raises(ValueError, match="delta"):
        outcome(np.zeros(9), np.zeros(9), 1.0)
    assert outcome(np.zeros(8), np.zeros(9)).epsilon_lower == 0
