"""The accountant of privacy loss distributions: against exact sums, closed forms, Renyi divergences and tables."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("dp_accounting")

from scipy.optimize import brentq
from scipy.special import ndtr
from scipy.stats import binom

from agentsim.runtime.mechanisms import (
    BoundedRange,
    Gaussian,
    Mechanism,
    Pure,
    Repeated,
    SampledChoice,
    SampledGaussian,
    SubsetResponse,
    VisibleChoice,
)
from privacy import accounting
from privacy.accounting import pld

INF = math.inf
T = 50
SETTINGS = [(1000, INF, 0.1), (25, 20, 0.1), (25, 20, 0.2), (10, 8, 0.2), (7, 4, 0.2)]
"""sigma, gamma and q of the experiments (Damle et al., section 6)."""


def sent(sigma: float, gamma: float, q: float, best: float = INF, times: int = 1) -> list[Mechanism]:
    """Return what P-Gibbs sends but for best responses; `best`: multiplier of the noise on the best difference."""
    return [Repeated(VisibleChoice(1 / gamma, q, sigma), T * times), Repeated(Gaussian(best), T * times)]


def own_model(sigma: float, gamma: float, q: float, log_ratio: float) -> list[Mechanism]:
    return [Repeated(SampledChoice(log_ratio / gamma, q), T), Repeated(SampledGaussian(sigma, q), T)]


def exact(sigma: float, gamma: float, q: float, best: float, delta: float) -> float:
    """Return epsilon of `sent` without any grid.

    Given how many iterations drew a value and how often the likelier one, the loss is normal: a finite mixture.
    """
    bound = 1 / gamma
    drawn, likelier = (a.ravel() for a in np.meshgrid(np.arange(T + 1), np.arange(T + 1)))
    drawn, likelier = drawn[likelier <= drawn], likelier[likelier <= drawn]
    weights = binom.pmf(drawn, T, q) * binom.pmf(likelier, drawn, 1 / (1 + math.exp(-bound)))
    losses, mu = (2 * likelier - drawn) * bound, np.sqrt(drawn / sigma**2 + T / best**2)
    mu = np.maximum(mu, 1e-9)  # as good as none

    def excess(epsilon: float) -> float:
        at = epsilon - losses
        return float(weights @ (ndtr(mu / 2 - at / mu) - np.exp(at) * ndtr(-mu / 2 - at / mu))) - delta

    return 0.0 if excess(0.0) <= 0 else float(brentq(excess, 0.0, 60.0, xtol=1e-10))


@pytest.mark.parametrize("delta", [1e-2, 1e-5])
@pytest.mark.parametrize("setting", SETTINGS)
def test_what_p_gibbs_sends_is_accounted_for_almost_exactly(setting: tuple[float, float, float], delta: float) -> None:
    sigma = setting[0]
    for best in (INF, 2 * sigma, sigma):
        truth = exact(*setting, best, delta)
        found = pld(sent(*setting, best), delta)
        assert truth - 1e-9 <= found <= truth * 1.001 + 1e-6


TABLE = {
    # own model with 2/gamma, with 1/gamma, value and difference, with the best difference at c, at tau; at delta 1e-2
    SETTINGS[0]: (0.000, 0.000, 0.000, 0.000, 0.000),
    SETTINGS[1]: (0.065, 0.0231, 0.1682, 0.2714, 0.5037),
    SETTINGS[2]: (0.1896, 0.0833, 0.2743, 0.3598, 0.5705),
    SETTINGS[3]: (0.7183, 0.3302, 0.9555, 1.2321, 1.9298),
    SETTINGS[4]: (1.9568, 0.7769, 2.0977, 2.4894, 3.5409),
}


def below(found: float, reference: float, times: int = 1) -> bool:
    """Tell whether a loss distribution gives the reference, which was computed on a coarser grid.

    Its losses were rounded up by as much as a grid's step of 1e-4 each, so that it is too high by up to T times that.
    """
    return reference * 0.98 - 1e-4 * T * times <= found <= reference + 6e-4


@pytest.mark.parametrize("setting", SETTINGS)
def test_loss_distributions_of_the_published_settings(setting: tuple[float, float, float]) -> None:
    sigma = setting[0]
    events = [own_model(*setting, 2), own_model(*setting, 1)]
    events += [sent(*setting), sent(*setting, 2 * sigma), sent(*setting, sigma)]
    found = [pld(e, 1e-2) for e in events]
    assert all(map(below, found, TABLE[setting])), (found, TABLE[setting])
    assert found[-1] == pytest.approx(TABLE[setting][-1], rel=0.02)
    assert found[-1] < accounting.paper(*setting).epsilon or found[-1] == 0  # the published number has slack enough


@pytest.mark.parametrize(
    ("setting", "edge", "agent"),
    [
        (SETTINGS[1], (0.280, 0.441), (0.532, 0.824)),
        (SETTINGS[2], (0.445, 0.579), (0.831, 1.074)),
        (SETTINGS[3], (1.505, 1.948), (2.763, 3.605)),
        (SETTINGS[4], (3.320, 3.965), (6.220, 7.499)),
    ],
)
def test_an_edge_is_used_twice_and_an_agent_of_four_neighbours_five_times(
    setting: tuple[float, float, float], edge: tuple[float, float], agent: tuple[float, float]
) -> None:
    for times, reference in ((2, edge), (5, agent)):
        for best, expected in zip((INF, 2 * setting[0]), reference, strict=True):
            assert below(pld(sent(*setting, best, times), 1e-2), expected, times)


def test_at_a_smaller_delta_the_published_numbers_do_not_hold() -> None:
    for setting, value, best in zip(
        SETTINGS, (0.010, 0.582, 0.795, 2.205, 4.255), (0.024, 1.219, 1.352, 3.783, 6.419), strict=True
    ):
        assert below(pld(sent(*setting), 1e-5), value)
        assert below(pld(sent(*setting, setting[0]), 1e-5), best)
    assert pld(sent(*SETTINGS[1], SETTINGS[1][0]), 1e-5) > 0.662
    assert pld(sent(*SETTINGS[2], SETTINGS[2][0]), 1e-5) > 1.31


# One use ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delta", [1e-8, 1e-5, 1e-2, 0.3])
def test_one_use_has_its_closed_form(delta: float) -> None:
    for event, expected in [
        (Pure(0.7), accounting.pure_epsilon(0.7, delta)),
        (Pure(7.0), accounting.pure_epsilon(7.0, delta)),
        (BoundedRange(0.7), accounting.range_epsilon(0.7, delta)),
        (BoundedRange(7.0), accounting.range_epsilon(7.0, delta)),
        (SubsetResponse(1.3, 5, 15), accounting.subset_response_epsilon(1.3, delta, 5, 15)),
        (SubsetResponse(1.3, 12, 15), accounting.subset_response_epsilon(1.3, delta, 12, 15)),
        (Gaussian(0.6), accounting.gaussian_epsilon(0.6, delta)),
        (Gaussian(60.0), accounting.gaussian_epsilon(60.0, delta)),
    ]:
        assert expected - 1e-9 <= pld([event], delta) <= expected + 1e-4 * max(1.0, expected)


def test_several_uses_of_randomised_response_are_binomial() -> None:
    bound, times, delta = 0.4, 7, 1e-3
    likelier = 1 / (1 + math.exp(-bound))
    kept = np.arange(times + 1)
    losses, masses = (2 * kept - times) * bound, binom.pmf(kept, times, likelier)

    def excess(epsilon: float) -> float:
        return float(masses @ np.maximum(0.0, -np.expm1(epsilon - losses))) - delta

    truth = brentq(excess, 0.0, times * bound)
    assert truth - 1e-9 <= pld([Repeated(Pure(bound), times)], delta) <= truth * 1.001
    assert truth - 1e-9 <= pld([Repeated(VisibleChoice(bound, 1.0), times)], delta) <= truth * 1.001


def test_a_gaussian_is_dp_accountings() -> None:
    from dp_accounting.pld import privacy_loss_distribution

    theirs = privacy_loss_distribution.from_gaussian_mechanism(3.0).self_compose(9).get_epsilon_for_delta(1e-5)
    assert pld([Repeated(Gaussian(3.0), 9)], 1e-5) == pytest.approx(theirs, rel=1e-3)
    assert pld([Repeated(Gaussian(3.0), 9)], 1e-5) == pytest.approx(pld([Gaussian(1.0)], 1e-5), rel=1e-6)


def test_a_sampled_gaussian_has_both_directions() -> None:
    """As the greater of removing and adding; certain sampling is no sampling."""
    assert pld([SampledGaussian(0.7, 1.0)], 1e-3) == pytest.approx(pld([Gaussian(0.7)], 1e-3), rel=1e-3)
    assert pld([SampledGaussian(0.7, 0.3)], 1e-3) < pld([Gaussian(0.7)], 1e-3)


@pytest.mark.parametrize(
    "events",
    [
        [Gaussian(0.01)], [Pure(2000.0)], [BoundedRange(2000.0), Pure(1.0)], [Repeated(SubsetResponse(900.0, 2, 9), 3)],
        [VisibleChoice(1000.0, 0.3, 0.05), Gaussian(0.05)], [Repeated(VisibleChoice(0.1, 1e-7, 30), 10)],
    ],
    ids=str,
)  # fmt: skip
def test_extremes_neither_overflow_nor_beat_the_other_accountants_wrongly(events: list[Mechanism]) -> None:
    found, renyi = pld(events, 1e-3), accounting.rdp(events, 1e-3)
    assert 0 <= found < INF
    assert found <= renyi * 1.001
    assert accounting.compose(events, 1e-3) <= min(found, renyi)


def test_below_what_its_arithmetic_can_tell_the_others_step_in() -> None:
    events = sent(25, 20, 0.1)
    assert pld(events, 1e-20) == INF
    assert accounting.compose(events, 1e-20) == accounting.rdp(events, 1e-20, improved=True)


# Order --------------------------------------------------------------------------------------------------------------


@settings(max_examples=8, deadline=None)
@given(
    bound=st.floats(0.01, 1),
    q=st.floats(0.05, 0.9),
    sigma=st.floats(1, 50),
    times=st.integers(1, 60),
    delta=st.sampled_from([1e-2, 1e-6]),
)
def test_more_is_never_less(bound: float, q: float, sigma: float, times: int, delta: float) -> None:
    """Monotone in every parameter, and never above Renyi divergences."""

    def epsilon(bound: float, q: float, sigma: float, times: int) -> float:
        return pld([Repeated(VisibleChoice(bound, q, sigma), times)], delta)

    base = epsilon(bound, q, sigma, times)
    slack = 1e-3 * base + 1e-6  # grids differ
    assert base <= epsilon(1.5 * bound, q, sigma, times) + slack
    assert base <= epsilon(bound, min(1.0, 1.5 * q), sigma, times) + slack
    assert base <= epsilon(bound, q, sigma / 1.5, times) + slack
    assert base <= epsilon(bound, q, sigma, times + 5) + slack
    events = [Repeated(VisibleChoice(bound, q, sigma), times)]
    assert base <= accounting.rdp(events, delta, improved=True) + slack <= accounting.rdp(events, delta) + 2 * slack
    assert accounting.compose(events, delta) <= base


@settings(max_examples=12, deadline=None)
@given(
    events=st.lists(
        st.one_of(
            st.builds(Pure, st.floats(0.01, 2)),
            st.builds(BoundedRange, st.floats(0.01, 2)),
            st.builds(SubsetResponse, st.floats(0.01, 2), st.integers(1, 4), st.integers(5, 9)),
            st.builds(Gaussian, st.floats(0.5, 20)),
            st.builds(VisibleChoice, st.floats(0.01, 2), st.floats(0.01, 1)),
            st.builds(SampledChoice, st.floats(0.01, 2), st.floats(0.01, 1)),
        ),
        min_size=1,
        max_size=5,
    ),
    delta=st.sampled_from([1e-1, 1e-3, 1e-6]),
)
def test_composition_is_the_least_and_any_order_gives_the_same(events: list[Mechanism], delta: float) -> None:
    least = accounting.compose(events, delta)
    assert least <= accounting.rdp(events, delta) + 1e-9
    assert least <= accounting.pure(events) + 1e-9
    assert least <= pld(events, delta) + 1e-9
    assert accounting.compose(events[::-1], delta) == pytest.approx(least, rel=1e-6, abs=1e-9)
    assert accounting.compose(events[1:], delta) <= least * 1.001 + 1e-6


def test_a_bounded_range_is_never_worse_than_the_log_ratio_it_implies() -> None:
    for times in (1, 3, 30):
        ranges, ratios = [Repeated(BoundedRange(0.4), times)], [Repeated(Pure(0.4), times)]
        assert accounting.compose(ranges, 1e-5) <= accounting.compose(ratios, 1e-5) + 1e-9
