"""The aggregators of Lee, Mak and Shi, section III: values, refusals, laws that hold to the last bit, and names."""

import math
from importlib.metadata import EntryPoint
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agentsim import UserError
from agentsim.runtime import registry
from privacy.aggregators import (
    TAU,
    Aggregate,
    Average,
    Geometric,
    Harmonic,
    Hybrid,
    KthMax,
    Max,
    MeanAbove,
    MeanBelow,
    Median,
    Min,
    Risk,
    RiskMax,
    RiskMean,
    Weighted,
    parse_aggregators,
)

NAMES = {
    *("average", "max", "min", "median", "kth-max", "weighted", "geometric", "harmonic", "mean-above", "mean-below"),
    *("risk", "risk-mean", "risk-max"),
}
IDEMPOTENT = [
    *(Average(), Max(), Min(), Median(), KthMax(), KthMax(2), KthMax(9), Weighted(), Geometric(), Harmonic()),
    *(Risk(), Risk(0.5), RiskMean(), RiskMean(0.5), RiskMax(), RiskMax(0.5), Risk(0.0), RiskMean(1.0), RiskMax(1.0)),
]
MONOTONE = [a for a in IDEMPOTENT if not isinstance(a, Risk)]
ROUNDED = (Geometric, Harmonic)  # the others are monotone to the last bit

loss = st.sampled_from([0.0, 0.1, TAU, 0.5, 0.7, 1.0]) | st.floats(0.0, 1.0)
losses = st.lists(loss, min_size=1, max_size=7)
raised = st.lists(st.tuples(loss, loss).map(sorted), min_size=1, max_size=7)


def test_all_are_registered_and_need_no_parameter() -> None:
    assert set(registry.names("aggregators")) >= NAMES
    for name in NAMES:
        assert 0.0 <= parse_aggregators(name)[name]([0.2, 0.4, 0.9]) <= 1.0


@pytest.mark.parametrize(
    ("aggregate", "given_losses", "expected"),
    [
        (Average(), [0.2, 0.4, 0.6], 0.4),
        (Max(), [0.2, 0.6, 0.4], 0.6),
        (Min(), [0.2, 0.6, 0.4], 0.2),
        (Median(), [0.9, 0.1, 0.4], 0.4),
        (Median(), [0.9, 0.1, 0.4, 0.2], 0.3),
        (KthMax(), [0.2, 0.6, 0.4], 0.6),
        (KthMax(2), [0.2, 0.6, 0.4], 0.4),
        (KthMax(2), [0.6, 0.6, 0.4], 0.6),
        (KthMax(3), [0.2, 0.6, 0.4], 0.2),
        (KthMax(4), [0.2, 0.6, 0.4], 0.2),
        (Weighted(), [0.2, 0.6, 0.4], 0.4),
        (Weighted("1/2/1"), [0.2, 0.6, 0.4], 0.45),
        (Weighted("1,2,1"), [0.2, 0.6, 0.4], 0.45),
        (Weighted((1, 2, 1)), [0.2, 0.6, 0.4], 0.45),
        (Weighted((1e308, 1e308)), [0.2, 0.6], 0.4),
        (Weighted("0/1"), [0.2, 0.6], 0.6),
        (Geometric(), [0.0, 0.6], 0.0),
        (Geometric(), [0.25, 1.0], 0.5),
        (Harmonic(), [0.0, 0.6], 0.0),
        (Harmonic(), [0.25, 1.0], 0.4),
        (Harmonic(), [5e-324, 5e-324], 5e-324),
        (MeanAbove(0.5), [1.0, 0.5], 1.0),
        (MeanAbove(0.5), [1.0, 0.7], 0.85),
        (MeanAbove(0.5), [0.5, 0.1], 0.0),
        (MeanAbove(0.5, empty=1.0), [0.5, 0.1], 1.0),
        (MeanBelow(0.5), [0.4, 0.1], 0.25),
        (MeanBelow(0.5), [0.6, 0.1], 0.1),
        (MeanBelow(0.5), [0.5, 0.7], 0.0),
        (MeanBelow(0.5, empty=1.0), [0.5, 0.7], 1.0),
        (Risk(0.5), [0.6, 0.9], 0.9),
        (Risk(0.5), [0.5, 0.9], 0.9),
        (Risk(0.5), [0.5, 0.6, 0.9], 0.75),
        (Risk(0.5), [0.5, 0.5], 0.5),
        (Risk(0.5), [0.5, 0.3], 0.3),
        (Risk(0.0), [0.0, 0.2, 0.4], 0.3),
        (Risk(1.0), [1.0, 0.2], 0.2),
        (RiskMean(0.5), [0.1, 0.6, 1.0], 0.7),
        (RiskMean(0.5), [0.6, 0.9], 0.9),
        (RiskMean(0.5), [0.5, 0.3], 0.3),
        (RiskMax(0.5), [0.1, 0.6, 1.0], 1.0),
        (RiskMax(0.5), [0.6, 0.9], 0.9),
        (RiskMax(0.5), [0.5, 0.3], 0.3),
    ],
)
def test_values_by_hand(aggregate: Aggregate, given_losses: list[float], expected: float) -> None:
    assert aggregate(given_losses) == pytest.approx(expected, abs=1e-15)


def test_example_1() -> None:
    """Section III B: max of a1 and a2, median of a3 to a6, mean of a7 to a9, and the max of the three."""
    groups = [(Max(), (0, 1)), (Median(), (2, 3, 4, 5)), (Average(), (6, 7, 8))]
    hybrid = Hybrid(groups, Max())
    assert hybrid([0.1, 0.3, 0.2, 0.4, 0.6, 0.8, 0.3, 0.6, 0.9]) == pytest.approx(0.6)  # max(.3, .5, .6)
    assert hybrid([0.7, 0.3, 0.2, 0.4, 0.6, 0.8, 0.3, 0.6, 0.9]) == 0.7
    assert hybrid([0.1, 0.3, 0.2, 0.4, 0.6, 0.8, 0.0, 0.0, 0.9]) == 0.5
    assert Hybrid(groups, Weighted("1/0/1"))([0.1, 0.3, 0.2, 0.4, 0.6, 0.8, 0.3, 0.6, 0.9]) == pytest.approx(0.45)


@pytest.mark.parametrize(
    ("given_losses", "geometric", "arithmetic"),
    [
        # Section III C prints the geometric means as .648, .283, .342, .428 and .594.
        ([0.6, 0.7], 0.648074, 0.65),
        ([0.2, 0.4], 0.282843, 0.30),
        ([0.2, 0.4, 0.5], 0.341995, 0.366667),
        ([0.2, 0.4, 0.6, 0.7], 0.428139, 0.475),
        ([0.5, 0.6, 0.7], 0.594392, 0.60),
        ([0.2, 0.4, 0.6, 0.5, 0.7], 0.441633, 0.48),  # with p4 = tau, which the paper's combination leaves out
    ],
)
def test_example_2(given_losses: list[float], geometric: float, arithmetic: float) -> None:
    assert Geometric()(given_losses) == pytest.approx(geometric, abs=5e-7)
    assert Average()(given_losses) == pytest.approx(arithmetic, abs=5e-7)


def test_example_2_means_of_one_side() -> None:
    agents = [0.2, 0.4, 0.6, 0.5, 0.7]
    assert MeanAbove(0.5)(agents) == pytest.approx(0.65)
    assert MeanBelow(0.5)(agents) == pytest.approx(0.3)


def test_risk_is_not_monotone_and_its_repairs_are() -> None:
    low, high = [0.4, 0.4, 1.0], [0.4, 0.6, 1.0]
    assert (Risk(0.5)(low), Risk(0.5)(high)) == (1.0, 0.8)
    assert RiskMean(0.5)(low) == pytest.approx(2 / 3)
    assert RiskMean(0.5)(high) == pytest.approx(0.7)
    assert RiskMax(0.5)(low) == RiskMax(0.5)(high) == 1.0


def test_lemma_2_needs_weights_from_0_on() -> None:
    """The weights 2 and -1 sum to 1, and the result is above both losses."""
    unchecked = 2 * 0.8 - 0.6
    assert unchecked == pytest.approx(1.0)
    with pytest.raises(ValueError, match="at least 0"):
        Weighted((2, -1))


# Refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("aggregate", [registry.find("aggregators", name)() for name in sorted(NAMES)], ids=repr)
def test_what_are_no_losses_is_refused(aggregate: Aggregate) -> None:
    for bad in ([], [-0.1], [1.1], [0.2, math.nan], [math.inf], np.array([])):
        with pytest.raises(ValueError, match="loss"):
            aggregate(bad)
    assert type(aggregate(np.array([0.5, 0.5]))) is float
    assert type(aggregate((0, 1))) in (float, int)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: KthMax(0), "at least 1"),
        (lambda: Weighted("1/x"), "slashes"),
        (lambda: Weighted("1//2"), "slashes"),
        (lambda: Weighted("0/0"), "not all 0"),
        (lambda: Weighted("1/-1"), "at least 0"),
        (lambda: Weighted("1/nan"), "at least 0"),
        (lambda: Weighted("1/inf"), "finite"),
        (lambda: Weighted("1/2")([0.5]), "2 weights for 1 losses"),
        (lambda: Risk(1.5), "tau=1.5"),
        (lambda: RiskMean(-0.1), "tau=-0.1"),
        (lambda: RiskMax(math.nan), "tau=nan"),
        (lambda: MeanAbove(0.5, 2.0), "empty=2.0"),
        (lambda: MeanBelow(0.5, -1.0), "empty=-1.0"),
        (lambda: Hybrid([], Max()), "share out"),
        (lambda: Hybrid([(Max(), [0]), (Min(), [])], Max()), "share out"),
        (lambda: Hybrid([(Max(), [0, 1]), (Min(), [1])], Max()), "share out"),
        (lambda: Hybrid([(Max(), [0, 2])], Max()), "share out"),
        (lambda: Hybrid([(Max(), [-1, 0])], Max()), "share out"),
        (lambda: Hybrid([(Max(), [0, 1])], Max())([0.5]), "2 agents for 1 losses"),
        (lambda: Hybrid([(sum, [0, 1])], Max())([0.9, 0.9]), "from 0 to 1"),
    ],
)
def test_bad_parameters_are_refused(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


# Laws --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("aggregate", IDEMPOTENT, ids=repr)
@given(p=losses)
@example(p=[0.1] * 7)
@example(p=[5e-324, 5e-324, 1.0])
def test_within_the_losses_and_idempotent(aggregate: Aggregate, p: list[float]) -> None:
    assert min(p) <= aggregate(p) <= max(p)
    assert aggregate([p[0]] * len(p)) == p[0]
    assert aggregate([0.0] * len(p)) == 0.0
    assert aggregate([1.0] * len(p)) == 1.0


@pytest.mark.parametrize("aggregate", MONOTONE, ids=repr)
@given(pairs=raised)
@example(pairs=[[0.4, 0.4], [0.4, 0.6], [1.0, 1.0]])
@example(pairs=[[0.5, 0.5], [0.5, 0.5000000000000001]])
@example(pairs=[[TAU, TAU], [0.0, 1.0]])
def test_monotone(aggregate: Aggregate, pairs: list[list[float]]) -> None:
    slack = 1e-15 if isinstance(aggregate, ROUNDED) else 0.0
    assert aggregate([low for low, _ in pairs]) <= aggregate([high for _, high in pairs]) + slack


@given(p=losses, order=st.randoms(use_true_random=False))
def test_only_weights_look_at_the_order(p: list[float], order: Any) -> None:
    shuffled = list(p)
    order.shuffle(shuffled)
    for name in NAMES:
        aggregate = parse_aggregators(name)[name]
        assert aggregate(shuffled) == pytest.approx(aggregate(p), abs=1e-15)


@given(p=losses, tau=loss)
def test_risk_is_what_section_v_says(p: list[float], tau: float) -> None:
    above = [x for x in p if x > tau]
    expected = max(p) if len(above) == len(p) else sum(above) / len(above) if above else min(p)
    assert Risk(tau)(p) == pytest.approx(expected, abs=1e-12)


@given(p=losses, weights=st.lists(st.floats(0.0, 1e308), min_size=7, max_size=7).filter(any))
def test_weights_are_normalised(p: list[float], weights: list[float]) -> None:
    weights = [*weights[: len(p) - 1], max(weights)]
    weighted = Weighted(tuple(weights))
    assert sum(weighted.weights) == pytest.approx(1.0)
    assert min(p) <= weighted(p) <= max(p)
    assert Weighted(weighted.weights).weights == pytest.approx(weighted.weights)


# Names -------------------------------------------------------------------------------------------------------------


def test_parse_names_parameters_and_defaults() -> None:
    found = parse_aggregators(
        " average+ kth-max( k = 2 ) +mean-above(empty=1)+risk(tau=5e-1) + risk-max+weighted(weights=1/2/1)"
    )
    assert found == {
        "average": Average(),
        "kth-max(k=2)": KthMax(2),
        "mean-above(empty=1)": MeanAbove(TAU, 1.0),
        "risk(tau=5e-1)": Risk(0.5),
        "risk-max": RiskMax(TAU),
        "weighted(weights=1/2/1)": Weighted("1/2/1"),
    }
    assert list(found)[:2] == ["average", "kth-max(k=2)"]
    assert parse_aggregators("risk(tau=1e-1+max)".replace("+max", "")) == {"risk(tau=1e-1)": Risk(0.1)}
    assert parse_aggregators("risk(tau=.01e+1)+max") == {"risk(tau=.01e+1)": Risk(0.1), "max": Max()}


def test_parse_gives_tau_and_empty_to_those_that_have_them() -> None:
    found = parse_aggregators("average+risk+risk-mean(tau=.2)+mean-below+mean-above(empty=0)", tau=0.5, empty=1.0)
    assert found == {
        "average": Average(),
        "risk": Risk(0.5),
        "risk-mean(tau=.2)": RiskMean(0.2),
        "mean-below": MeanBelow(0.5, 1.0),
        "mean-above(empty=0)": MeanAbove(0.5, 0.0),
    }
    with pytest.raises(UserError, match=r"aggregator risk: tau=2\.0 must be from 0 to 1"):
        parse_aggregators("risk", tau=2)
    assert parse_aggregators("max", tau=2) == {"max": Max()}


def test_parse_takes_functions() -> None:
    def worst(p: Any) -> float:
        return float(max(p))

    found = parse_aggregators({"mine": worst, "product": math.prod, "whole": lambda p: 1})
    assert [f([0.5, 0.5]) for f in found.values()] == [0.5, 0.25, 1.0]
    found = parse_aggregators(["average+min", worst, KthMax(2), np.mean])
    assert list(found) == ["average", "min", "worst", "KthMax(k=2)", "mean"]
    assert [f([0.5, 0.7]) for f in found.values()] == pytest.approx([0.6, 0.5, 0.7, 0.5, 0.6])


@pytest.mark.parametrize("result", ["much", None, math.nan, [0.5], 1j])
def test_own_functions_must_return_a_number(result: Any) -> None:
    (mine,) = parse_aggregators({"mine": lambda p: result}).values()
    with pytest.raises(UserError, match=r"aggregator mine returned .*, not a number"):
        mine([0.5])


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("", "must be a name"),
        ("average+", "must be a name"),
        ("+average", "must be a name"),
        ("average++max", "must be a name"),
        ([], "none is given"),
        ({}, "none is given"),
        ("mean", "no aggregator is called 'mean'; there are average"),
        ("average+Max", "no aggregator is called 'Max'"),
        ("risk(tau=.5", "must be a name or name"),
        ("risk)", "must be a name or name"),
        ("average+risk)", "must be a name or name"),
        ("risk(tau=.5)x", "must be a name or name"),
        ("risk(tau=(.5))", "must be a name or name"),
        ("(tau=.5)", "must be a name or name"),
        ("risk=.5", "must be a name or name"),
        ("risk(.5)", "'.5' must be parameter=value"),
        ("risk(tau=)", "'tau=' must be parameter=value"),
        ("risk(=1)", "'=1' must be parameter=value"),
        ("risk(tau=.5,)", "'' must be parameter=value"),
        ("risk(tau=.5,tau=.6)", "tau is given twice"),
        ("risk(k=2)", "aggregator risk has no parameter 'k'; it has tau"),
        ("average(k=2)", "aggregator average has no parameter 'k'; it has none"),
        ("risk(tau=x)", "aggregator risk: tau='x' is not a number"),
        ("risk(tau=7)", "aggregator risk: tau=7.0 must be from 0 to 1"),
        ("kth-max(k=1.5)", "aggregator kth-max: k='1.5' is not a whole number"),
        ("kth-max(k=0)", "aggregator kth-max: k=0 must be at least 1"),
        ("weighted(weights=2/-1)", "at least 0"),
        ("weighted(weights=a)", "slashes"),
        ("max+average+max", "max is there twice"),
        ("risk+risk(tau=.083)", "risk\\(tau=.083\\) is there twice"),
        (["max", "max"], "max is there twice"),
        ({"mine": 0.5}, "aggregator mine: 0.5 is not a function"),
        ([None], "not a function"),
        (3, "aggregators: 3 must be text"),
        (None, "aggregators: None must be text"),
        (max, "must be text"),
    ],
)
def test_parse_says_what_is_wrong(spec: Any, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        parse_aggregators(spec)
    assert "\n" not in str(caught.value)


def test_functions_and_classes_of_others_can_be_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = {name: EntryPoint(name, value, "agentsim.aggregators") for name, value in OTHERS.items()}
    monkeypatch.setattr(registry, "_entries", lambda group: entries)
    assert parse_aggregators("fmean", tau=0.5)["fmean"]([0.2, 0.4]) == pytest.approx(0.3)
    for spec, words in {
        "fmean(k=2)": "aggregator fmean takes no parameter 'k'",
        "gone": "aggregator gone cannot be loaded",
        "a-class": "is not a function of the losses",
    }.items():
        with pytest.raises(UserError, match=words):
            parse_aggregators(spec)


OTHERS = {"fmean": "statistics:fmean", "gone": "statistics:nothing_of_the_kind", "a-class": "builtins:list"}
