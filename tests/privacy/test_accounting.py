"""Accounting that needs no other library: the published numbers, closed forms, Renyi divergences, pure composition."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentsim import UserError
from agentsim.runtime.mechanisms import (
    BoundedRange,
    Clear,
    Gaussian,
    Mechanism,
    PerTable,
    Pure,
    Repeated,
    SampledChoice,
    SampledGaussian,
    SubsetResponse,
    VisibleChoice,
    bounded_range_alpha,
    subset_epsilon,
)
from privacy import accounting
from privacy.accounting.published import printed_moment
from privacy.accounting.renyi import moment

INF = math.inf
SETTINGS = [(1000, INF, 0.1), (25, 20, 0.1), (25, 20, 0.2), (10, 8, 0.2), (7, 4, 0.2)]
"""sigma, gamma and q of the experiments (Damle et al., section 6)."""

# The published numbers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "printed", "computed", "table4", "eq12"),
    [
        (SETTINGS[0], 0.046, 0.04608, 0.046077, (0.0463, 0.0463)),
        (SETTINGS[1], 0.662, 0.66198, 0.615411, (0.9976, 1.0436)),
        (SETTINGS[2], 1.31, 1.30984, 1.263223, (1.9401, 1.9862)),
        (SETTINGS[3], 4.101, 4.10135, 4.054556, (9.0706, 9.1166)),
        (SETTINGS[4], 9.55, 9.55755, 9.510416, (21.755, 21.801)),
    ],
)
def test_the_published_epsilons(
    setting: tuple[float, float, float], printed: float, computed: float, table4: float, eq12: tuple[float, float]
) -> None:
    found = accounting.paper(*setting)
    assert found.epsilon == pytest.approx(computed, abs=6e-6)
    assert found.epsilon == pytest.approx(printed, abs=0.01)  # 9.55 is cut off, not rounded
    assert found.table4 == pytest.approx(table4, abs=1e-6)
    assert found.eq12_printed == pytest.approx(eq12, abs=5e-4)
    assert found.epsilon == found.eps_s + found.eps_n


def test_parts_of_the_published_epsilon() -> None:
    found = accounting.paper(25, 20, 0.1)
    assert (found.eps_s, found.eps_n) == pytest.approx((0.57491, 0.087072), abs=1e-5)
    assert found.c_s == pytest.approx(1.0462171927)
    assert found.c_n == pytest.approx(0.0820399936)
    assert found.basic_composition == INF, "noisy numbers have no pure epsilon"


def test_without_choices_or_noise_there_is_no_part_for_them() -> None:
    uniform, silent = accounting.paper(1000, INF, 0.1), accounting.paper(INF, 20, 0.1)
    assert (uniform.eps_s, uniform.c_s) == (0, 0)
    assert (silent.eps_n, silent.c_n) == (0, 0)
    assert silent.epsilon == silent.eps_s > 0
    assert silent.basic_composition == pytest.approx(50 * 2 / 20)
    assert accounting.paper(INF, INF, 0.1).epsilon == 0
    assert accounting.paper(0, 20, 0.1).epsilon == accounting.paper(25, 0, 0.1).epsilon == INF


@pytest.mark.parametrize(
    ("settings", "printed"),
    [
        ([(s, INF, 0.1) for s in (1000, 100, 50, 25, 10)], [0.0461, 0.0486, 0.0562, 0.0871, 0.3257]),
        ([(100, g, 0.1) for g in (INF, 16, 8, 4, 2)], [0.0486, 0.7631, 1.5096, 3.2696, 8.1034]),
        ([(100, 16, q) for q in (0.1, 0.2, 0.3, 0.4, 0.5)], [0.7631, 1.4300, 2.0935, 2.7537, 3.4110]),
    ],
)
def test_sweeps_of_one_parameter(settings: list[tuple[float, float, float]], printed: list[float]) -> None:
    assert [accounting.paper(*s).epsilon for s in settings] == pytest.approx(printed, abs=5.1e-5)


@pytest.mark.parametrize(
    ("order", "q", "gamma", "value"),
    [
        (1, 0.1, 1, 0.9880574161), (1, 0.1, 20, 0.0209243439), (10, 0.1, 4, 0.6914019582),
        (100, 0.1, 20, 1.0566793646), (100, 0.2, 20, 2.1024179338), (100, 0.2, 8, 5.5802787180),
        (100, 0.2, 4, 12.3211196173), (99, 0.1, 20, 1.0462171927),
    ],
)  # fmt: skip
def test_moments_of_a_choice(order: int, q: float, gamma: float, value: float) -> None:
    assert SampledChoice(2 / gamma, q).moment(order) == pytest.approx(value, abs=5.1e-11)


@pytest.mark.parametrize(
    ("order", "q", "sigma", "value"),
    [
        (1, 0.1, 1, 0.01703686324), (2, 0.2, 2, 0.03556253028), (100, 0.1, 25, 0.0820399936),
        (100, 0.2, 25, 0.3319237157), (100, 0.2, 10, 2.436729694), (100, 0.2, 7, 6.607609659),
    ],
)  # fmt: skip
def test_moments_of_the_noise(order: int, q: float, sigma: float, value: float) -> None:
    assert SampledGaussian(sigma, q).moment(order) == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize(
    ("order", "q", "sigma", "value"),
    [(1, 0.1, 1, 0.3171301575), (100, 0.1, 25, 0.8463994226), (100, 0.2, 7, 31.09725668)],
)
def test_moments_of_the_noise_as_printed(order: int, q: float, sigma: float, value: float) -> None:
    assert printed_moment(order, q, sigma) == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("gamma", [1, 2, 4, 8, 20])
@pytest.mark.parametrize("n", [2, 3, 5, 10, 25])
def test_the_log_ratio_of_a_choice_is_half_of_what_proposition_1_says(n: int, gamma: float) -> None:
    """The soft-max of probabilities: at two vertices the ratio is exp(1/gamma), and no other pair exceeds it."""

    def choice(probabilities: np.ndarray) -> np.ndarray:
        weights = np.exp(probabilities / gamma)
        return weights / weights.sum(axis=-1, keepdims=True)

    vertices = np.log(choice(np.eye(n)))
    assert (vertices[0] - vertices[1]).max() == pytest.approx(1 / gamma, rel=1e-9)
    some = np.log(choice(np.random.default_rng(n).dirichlet(np.full(n, 0.2), 60)))
    assert (some[:, None] - some[None]).max() <= 1 / gamma + 1e-12


@pytest.mark.parametrize(
    ("setting", "n", "value_only", "with_noise"),
    [
        (SETTINGS[1], 2, 2.121, 10.11), (SETTINGS[1], 5, 1.398, 9.23), (SETTINGS[1], 10, 0.929, 8.57),
        (SETTINGS[2], 2, 2.755, 10.80), (SETTINGS[2], 10, 1.402, 9.26), (SETTINGS[3], 2, 10.26, 60.76),
        (SETTINGS[3], 20, 8.01, 58.5), (SETTINGS[4], 2, 22.8, 125.9), (SETTINGS[4], 20, 20.6, 123.7),
    ],
)  # fmt: skip
def test_theorem_1_is_no_bound_on_what_an_agent_sends(
    setting: tuple[float, float, float], n: int, value_only: float, with_noise: float
) -> None:
    """The moment of order 100 of one iteration, by enumeration, where two agents' probabilities are at vertices."""
    sigma, gamma, q = setting
    order = 100
    p, other = (np.exp(np.eye(n)[i] / gamma) / (math.exp(1 / gamma) + n - 1) for i in (0, 1))

    def sent(previous: int, noise: float) -> float:
        stays = np.arange(n) == previous
        one, two = q * p + (1 - q) * stays, q * other + (1 - q) * stays
        terms = order * np.log(one / two) + np.log(one) + np.where(stays, 0.0, noise)
        return float(np.logaddexp.reduce(terms))

    shifted = order * (order + 1) / (2 * sigma**2)
    assert max(sent(d, 0.0) for d in range(n)) == pytest.approx(value_only, rel=6e-3)
    assert max(sent(d, shifted) for d in range(n)) == pytest.approx(with_noise, rel=2e-3)
    claimed = SampledChoice(2 / gamma, q).moment(order) + SampledGaussian(sigma, q).moment(order)
    assert with_noise > claimed
    at = np.array([float(order)])
    assert moment(VisibleChoice(1 / gamma, q), at)[0] >= value_only * 0.994
    assert moment(VisibleChoice(1 / gamma, q, sigma), at)[0] >= with_noise * 0.998


@pytest.mark.parametrize("bad", [{"delta": 0.0}, {"delta": 1.0}, {"iterations": 0}, {"order": 1}, {"q": 1.5}])
def test_arguments_of_the_paper_are_checked(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        accounting.paper(**{"sigma": 25, "gamma": 20, "q": 0.1, **bad})  # type: ignore[arg-type]


# Closed forms ---------------------------------------------------------------------------------------------------------


def test_what_one_use_may_cost() -> None:
    assert subset_epsilon(1, 1e-2, 5, 15) == pytest.approx(1.0173809897, abs=5e-11)
    assert subset_epsilon(1, 1e-5, 5, 15) == pytest.approx(1.0000173576, abs=5e-11)
    assert subset_epsilon(4.1, 1e-2, 1, 10) == pytest.approx(4.1115407655, abs=5e-10)
    assert bounded_range_alpha(1, 1e-2) == pytest.approx(1.1735357083, abs=5e-11)
    assert bounded_range_alpha(1, 1e-5) == pytest.approx(1.0050421056, abs=5e-11)
    assert accounting.zcdp_epsilon(0.125, 1e-5) == pytest.approx(2.1657155, abs=5e-8)
    assert accounting.zcdp_epsilon(0.125, 1e-2) == pytest.approx(1.1289311, abs=5e-8)


def test_a_subset_response_that_need_not_hide_anything() -> None:
    assert subset_epsilon(1, 0.3, 12, 15) == INF  # two subsets differ by 3 of 12 values
    assert subset_epsilon(1, 0.0, 15, 15) == INF
    assert subset_epsilon(1, 0.0, 5, 15) == 1
    for size in (0, 16):
        with pytest.raises(ValueError, match="size"):
            subset_epsilon(1, 1e-2, size, 15)


@given(
    epsilon=st.floats(0.01, 8), delta=st.floats(0, 0.3), size=st.integers(1, 9), domain=st.integers(10, 20)
)  # fmt: skip
def test_closed_forms_and_their_inverses_agree(epsilon: float, delta: float, size: int, domain: int) -> None:
    odds = subset_epsilon(epsilon, delta, size, domain)
    if odds < INF:
        assert accounting.subset_delta(epsilon, odds, size, domain) == pytest.approx(delta, abs=1e-12)
        assert accounting.subset_response_epsilon(odds, delta, size, domain) == pytest.approx(epsilon, abs=1e-9)
    alpha = bounded_range_alpha(epsilon, delta)
    assert accounting.range_delta(epsilon, alpha) == pytest.approx(delta, abs=1e-12)
    assert accounting.range_epsilon(alpha, delta) == pytest.approx(epsilon, abs=1e-7)
    assert accounting.compose([BoundedRange(alpha)], delta) == accounting.range_epsilon(alpha, delta)


@pytest.mark.parametrize(("domain", "size"), [(5, 1), (5, 2), (5, 3), (5, 4), (4, 2)])
def test_delta_of_a_subset_response_is_that_of_the_worst_two_subsets(domain: int, size: int) -> None:
    epsilon, odds = 0.7, 1.3
    laws = []
    for preferred in itertools.combinations(range(domain), size):
        weights = np.where(np.isin(range(domain), preferred), math.exp(odds), 1.0)
        laws.append(weights / weights.sum())
    worst = max(np.maximum(p - math.exp(epsilon) * q, 0).sum() for p in laws for q in laws)
    assert accounting.subset_delta(epsilon, odds, size, domain) == pytest.approx(worst, rel=1e-12)


def test_delta_of_a_bounded_range_is_that_of_the_worst_two_outcomes() -> None:
    """Two outcomes whose log-ratios are t and t - alpha; the probabilities follow, as both laws sum to one."""
    alpha, epsilon = 1.4, 0.6
    t = np.linspace(1e-9, alpha - 1e-9, 200_001)
    upper = np.expm1(alpha - t) / (np.exp(alpha - t) - np.exp(-t))  # of the first outcome, in the law with log-ratio t
    delta = upper * -np.expm1(epsilon - t)
    assert accounting.range_delta(epsilon, alpha) == pytest.approx(delta.max(), rel=1e-9)


@pytest.mark.parametrize(("multiplier", "delta"), [(0.5, 1e-5), (1, 1e-2), (25, 1e-3), (3, 1e-12), (0.02, 1e-6)])
def test_normal_noise_is_exact(multiplier: float, delta: float) -> None:
    epsilon = accounting.gaussian_epsilon(multiplier, delta)
    assert accounting.gaussian_delta(epsilon, multiplier) == pytest.approx(delta, rel=1e-6)
    # By the definition: the integral of the positive part of p - exp(epsilon) q.
    x = np.linspace(-12 * multiplier, 1 + 12 * multiplier, 2_000_001)
    p = np.exp(-(((x - 1) / multiplier) ** 2) / 2)
    q = np.exp(np.minimum(epsilon - ((x / multiplier) ** 2) / 2, 50))
    integral = np.maximum(p - q, 0).sum() * (x[1] - x[0]) / (multiplier * math.sqrt(2 * math.pi))
    assert integral == pytest.approx(delta, rel=1e-3)


def test_normal_noise_at_its_ends() -> None:
    assert accounting.gaussian_epsilon(0, 1e-2) == INF
    assert accounting.gaussian_epsilon(1000, 1e-2) == 0
    assert accounting.gaussian_epsilon(INF, 1e-2) == 0


# Renyi divergences ----------------------------------------------------------------------------------------------------


@dataclass
class Law:
    """Two laws over finitely many outcomes, the worst of a mechanism."""

    event: Mechanism
    p: list[float]
    q: list[float]


def _response(bound: float) -> list[float]:
    return [math.exp(bound) / (1 + math.exp(bound)), 1 / (1 + math.exp(bound))]


def _law(event: Mechanism) -> Law:
    match event:
        case Pure(epsilon):
            return Law(event, _response(epsilon), _response(epsilon)[::-1])
        case SubsetResponse(epsilon, size, domain):
            weights = [math.exp(epsilon)] * size + [1.0] * (domain - size)
            total = sum(weights)
            return Law(event, [w / total for w in weights], [w / total for w in weights[::-1]])
        case VisibleChoice(bound, q, _):
            p = _response(bound)
            return Law(event, [1 - q, *(q * x for x in p)], [1 - q, *(q * x for x in p[::-1])])
    raise AssertionError(event)


@pytest.mark.parametrize(
    "event",
    [
        Pure(0.3), Pure(3.0), SubsetResponse(1.2, 2, 9), SubsetResponse(1.2, 6, 9), SubsetResponse(0.5, 2, 4),
        VisibleChoice(0.4, 0.2), VisibleChoice(2.0, 0.9),
    ],
)  # fmt: skip
def test_moments_are_those_of_the_worst_two_laws(event: Mechanism) -> None:
    law = _law(event)
    orders = np.array([0.5, 1, 7, 40.5])
    by_hand = [
        math.log(sum(p * (p / q) ** order for p, q in zip(law.p, law.q, strict=True))) for order in orders.tolist()
    ]
    assert moment(event, orders) == pytest.approx(by_hand, rel=1e-9)


def test_the_choice_of_the_paper_has_the_moments_of_its_vertices() -> None:
    """D_101 of two vertices of the soft-max, for domains of 2 and 10 values."""
    at = np.array([100.0])
    for gamma, two, ten in ((1, 0.996867, 0.985388), (4, 0.244241, 0.229194), (20, 0.043316, 0.027923)):
        assert moment(Pure(1 / gamma), at)[0] / 100 == pytest.approx(two, abs=5.1e-7)
        assert moment(SubsetResponse(1 / gamma, 1, 10), at)[0] / 100 == pytest.approx(ten, abs=5.1e-7)


@pytest.mark.parametrize(
    ("setting", "value", "best_c", "best_tau"),
    [
        (SETTINGS[0], 0.0078, 0.0129, 0.0226),
        (SETTINGS[1], 0.4964, 0.6556, 1.0205),
        (SETTINGS[2], 0.6715, 0.8034, 1.1272),
        (SETTINGS[3], 1.7728, 2.1478, 3.0691),
        (SETTINGS[4], 3.3610, 3.8712, 5.1372),
    ],
)
def test_renyi_of_what_p_gibbs_sends(
    setting: tuple[float, float, float], value: float, best_c: float, best_tau: float
) -> None:
    """The reference is the least over whole orders, ours over all."""
    sigma, gamma, q = setting
    choice = Repeated(VisibleChoice(1 / gamma, q, sigma), 50)
    for others, expected in (([], value), ([2 * sigma], best_c), ([sigma], best_tau)):
        found = accounting.rdp([choice, *(Repeated(Gaussian(m), 50) for m in others)], 1e-2)
        assert expected * 0.98 <= found <= expected + 5.1e-5


def test_renyi_of_zcdp() -> None:
    """Gaussian noise of multiplier 2 is 1/8-zCDP, and so is a bounded range of length 1."""
    expected = accounting.zcdp_epsilon(0.125, 1e-5)
    assert accounting.rdp([Gaussian(2)], 1e-5, improved=True) == pytest.approx(expected, rel=1e-9)
    eight = [Repeated(BoundedRange(0.1), 100)]
    assert accounting.rdp(eight, 1e-5, improved=True) == pytest.approx(expected, rel=1e-3)
    assert accounting.rdp(eight, 1e-5) > expected


def test_renyi_of_a_sampled_gaussian_is_the_papers_at_the_papers_order() -> None:
    events = [Repeated(SampledGaussian(25, 0.1), 50)]
    paper = accounting.paper(25, INF, 0.1)
    assert accounting.rdp(events, 1e-2) <= paper.epsilon
    assert moment(SampledGaussian(25, 0.1), np.array([100.0]))[0] == paper.c_n


# Pure composition, and all together -----------------------------------------------------------------------------------


def test_pure_composition_adds_up() -> None:
    events = [Pure(0.5), Repeated(BoundedRange(0.25), 3), Repeated(Repeated(SubsetResponse(0.1, 2, 5), 2), 5)]
    assert accounting.pure(events) == pytest.approx(0.5 + 0.75 + 1.0)
    assert accounting.pure([VisibleChoice(0.2, 0.1)]) == 0.2
    assert accounting.pure([SampledChoice(0.2, 0.1)]) == pytest.approx(math.log(0.9 + 0.1 * math.exp(0.2)))
    assert accounting.pure([]) == 0
    for event in (Gaussian(3), SampledGaussian(3, 0.1), VisibleChoice(0.2, 0.1, 7), Clear("in the clear")):
        assert accounting.pure([event]) == INF


HARMLESS = [
    Pure(0.0), BoundedRange(0.0), SubsetResponse(3.0, 4, 4), Gaussian(INF), VisibleChoice(1.0, 0.0, 0.0),
    SampledChoice(INF, 0.0), SampledGaussian(0.0, 0.0), SampledGaussian(INF, 0.5), Repeated(Clear("never"), 0),
]  # fmt: skip


@pytest.mark.parametrize("event", HARMLESS, ids=str)
def test_what_tells_nothing_costs_nothing(event: Mechanism) -> None:
    for delta in (0.0, 1e-5):
        assert accounting.compose([event], delta) == accounting.pure([event]) == 0
    assert accounting.rdp([event], 1e-5) == accounting.pld([event], 1e-5) == 0


REVEALING = [
    Clear("in the clear"), Pure(INF), BoundedRange(INF), SubsetResponse(INF, 1, 2), Gaussian(0.0), Gaussian(1e-9),
    VisibleChoice(INF, 0.1), VisibleChoice(0.1, 0.1, 0.0), SampledChoice(INF, 0.1), SampledGaussian(0.0, 0.1),
]  # fmt: skip


@pytest.mark.parametrize("event", REVEALING, ids=str)
def test_what_hides_nothing_is_infinite(event: Mechanism) -> None:
    events = [Pure(0.1), Repeated(event, 2)]
    for epsilon in (accounting.pure(events), accounting.rdp(events, 0.5), accounting.pld(events, 0.5)):
        assert epsilon == INF
    assert accounting.compose(events, 0.5) == INF


def test_unknown_events_are_refused_and_named() -> None:
    @dataclass(frozen=True)
    class Shuffled(Mechanism):
        rounds: int

    class Better(Pure):
        pass

    for event, name in ((Shuffled(3), "Shuffled"), (Better(0.1), "Better"), (Repeated(Shuffled(3), 2), "Shuffled")):
        for account in (accounting.rdp, accounting.pld, accounting.compose):
            with pytest.raises(TypeError, match=name):
                account([event], 1e-2)
        with pytest.raises(TypeError, match=name):
            accounting.pure([event])
    with pytest.raises(TypeError, match="PerTable is several mechanisms"):
        accounting.compose([PerTable(Pure(1.0), Pure(0.5))], 0.0)


def test_parameters_out_of_range_are_refused() -> None:
    bad = [
        lambda: Pure(-0.1), lambda: Pure(math.nan), lambda: BoundedRange(-1), lambda: SubsetResponse(1, 0, 3),
        lambda: SubsetResponse(1, 4, 3), lambda: SubsetResponse(-1, 1, 3), lambda: Gaussian(-1),
        lambda: VisibleChoice(-1, 0.1), lambda: VisibleChoice(1, 1.1), lambda: VisibleChoice(1, 0.1, -1),
        lambda: SampledChoice(1, -0.1), lambda: SampledGaussian(math.nan, 0.1), lambda: Repeated(Pure(1), -1),
    ]  # fmt: skip
    for make in bad:
        with pytest.raises(ValueError, match="must"):
            make()
    for delta in (-0.1, 1.0, math.nan):
        for account in (accounting.rdp, accounting.pld, accounting.compose):
            with pytest.raises(ValueError, match="delta"):
                account([Pure(1)], delta)
    for account in (accounting.rdp, accounting.pld):
        with pytest.raises(ValueError, match="delta"):
            account([Pure(1)], 0.0)


def test_at_delta_0_only_pure_composition_is_left() -> None:
    assert accounting.compose([Repeated(Pure(0.3), 3)], 0.0) == pytest.approx(0.9)
    assert accounting.compose([Pure(0.3)], 0.0) == 0.3
    assert accounting.compose([Gaussian(3)], 0.0) == INF


def test_three_uses_of_a_bounded_range() -> None:
    """At (1, 1e-5) the sum of three thirds wins over zCDP."""
    events = [Repeated(BoundedRange(1 / 3), 3)]
    assert accounting.zcdp_epsilon(3 / 9 / 8, 1e-5) > 1
    assert 0.9 < accounting.compose(events, 1e-5) <= 1


def test_without_the_extra_dp(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is pure, in closed form or a moment works; what needs the library says so in one line."""
    for module in ("dp_accounting", "scipy", "scipy.special"):
        monkeypatch.setitem(sys.modules, module, None)
    events = [Repeated(VisibleChoice(0.05, 0.1, 25), 50)]
    assert accounting.compose(events, 1e-2) == accounting.rdp(events, 1e-2, improved=True)
    assert accounting.compose([Pure(1.0)], 1e-2) == pytest.approx(0.98622678889)
    assert accounting.compose([Gaussian(3), Gaussian(4)], 1e-2) == pytest.approx(
        accounting.gaussian_epsilon(12 / 5, 1e-2)
    )
    assert accounting.paper(25, 20, 0.1).epsilon == pytest.approx(0.66198, abs=1e-5)
    assert accounting.pld([Clear("in the clear")], 1e-2) == INF
    with pytest.raises(UserError, match=r"install agentsim\[dp\]") as caught:
        accounting.pld(events, 1e-2)
    assert "\n" not in str(caught.value)


def test_the_library_is_imported_only_where_it_is_needed() -> None:
    code = (
        "import sys; from privacy.accounting import *; from privacy.accounting.observer import Accounting; "
        "from agentsim.runtime.mechanisms import Clear, Gaussian, Pure; "
        "assert compose([Pure(1.0)], 1e-2) < 1 < compose([Gaussian(1)], 1e-2) < compose([Clear('')], 1e-2); "
        "print([m for m in ('scipy', 'dp_accounting') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")
