"""Axioms and attitudes of aggregators: the table of what is known of each, and that the search finds what is wrong."""

import json
import math
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from itertools import pairwise
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from agentsim.runtime import registry
from privacy.aggregators import (
    TAU,
    Aggregate,
    Average,
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
from privacy.attitudes import Attitude, check, classify
from scenarios.cli import main
from scenarios.commands.listing import registered

# name: axioms kept, idempotent, high/low/combined, and the same where one agent leaks nothing
KNOWN = {
    "max": ("123", True, "pess pess pess", "pess pess pess"),
    "kth-max": ("123", True, "pess pess pess", "pess pess pess"),
    "min": ("123", True, "opt opt opt", "opt opt opt"),
    "average": ("123", True, "neut neut neut", "neut neut neut"),
    "median": ("123", True, "neut neut neut", "neut neut neut"),
    "weighted": ("123", True, "neut neut neut", "neut neut neut"),
    "geometric": ("123", True, "neut neut neut", "neut opt opt"),
    "harmonic": ("123", True, "neut neut neut", "neut opt opt"),
    "mean-above": ("2", False, "neut opt pess", "neut opt pess"),
    # Of high losses it makes 0, which is below tau: no attitude at all. Agg(G+, tau) = 0 and Agg(G-, tau) is
    # Agg(G-, G+), so two of the combined attitudes hold.
    "mean-below": ("", False, "mixed neut pess+opt", "mixed neut pess+opt"),
    "risk": ("12", True, "pess opt pess", "pess opt pess"),
    "risk-mean": ("123", True, "pess opt neut", "pess opt neut"),
    "risk-max": ("123", True, "pess opt pess", "pess opt pess"),
}


def product(p: Sequence[float]) -> float:
    return math.prod(p)


def some(p: Sequence[float]) -> float:
    return 1.0 - math.prod(1.0 - x for x in p)


def capped_sum(p: Sequence[float]) -> float:
    return min(1.0, sum(p))


@pytest.mark.parametrize("tau", [TAU, 0.01, 0.5, 0.9])
@pytest.mark.parametrize("name", sorted(KNOWN))
def test_what_is_known(name: str, tau: float) -> None:
    axioms, idempotent, usual, with_zero = KNOWN[name]
    aggregate = parse_aggregators(name, tau=tau)[name]
    properties, attitudes = check(aggregate, tau=tau), classify(aggregate, tau=tau)
    assert "".join(number for number, holds in properties.axioms.items() if holds) == axioms
    assert properties.idempotent.holds is idempotent
    assert properties.bounded.holds is idempotent
    assert properties.codomain.holds
    assert properties.is_aggregation is (axioms == "123")
    assert list(attitudes.verdicts.values()) == usual.split()
    assert list(attitudes.verdicts_with_zero.values()) == with_zero.split()
    assert_genuine(properties, aggregate)


def assert_genuine(properties: Any, aggregate: Aggregate) -> None:
    """Each counterexample holds what the aggregator returns, and breaks what it is said to break."""
    for broken, example in properties.counterexamples().items():
        assert [aggregate(p) for p in example.inputs] == list(example.outputs)
        (p, *others), out = example.inputs, example.outputs
        match broken:
            case "codomain":
                assert not 0.0 <= out[0] <= 1.0
            case "axiom_1":
                assert len(p) == 1
                assert out[0] != p[0]
            case "axiom_2":
                assert set(p) in ({0.0}, {1.0})
                assert out[0] != p[0]
            case "axiom_3":
                assert all(a <= b for a, b in zip(p, others[0], strict=True))
                assert out[0] > out[1]
            case "idempotent":
                assert len(set(p)) == 1
                assert out[0] != p[0]
            case "bounded":
                assert not min(p) <= out[0] <= max(p)
            case _:
                pytest.fail(f"what is {broken}?")


# The axioms --------------------------------------------------------------------------------------------------------


def test_risk_breaks_axiom_3_with_three_agents_only() -> None:
    assert check(Risk(0.5), tau=0.5, sizes=(1, 2)).axiom_3.holds
    example = check(Risk(0.5), tau=0.5).axiom_3.counterexample
    assert example is not None
    assert (example.inputs, example.outputs) == (((0.0, 0.0, 1.0), (0.0, 0.75, 1.0)), (1.0, 0.875))


@pytest.mark.parametrize("repair", [RiskMean, RiskMax])
@pytest.mark.parametrize("tau", [0.0, 1e-9, TAU, 0.3, 0.999, 1.0])
def test_repairs_are_monotone_wherever_tau_is(repair: type[RiskMean | RiskMax], tau: float) -> None:
    properties = check(repair(tau), tau=tau, n_random=400)
    assert properties.is_aggregation
    assert properties.idempotent.holds


def test_wrong_repairs_are_found() -> None:
    """Each branch of these is monotone, but not the step between two of them."""

    def below_as_zero(p: Sequence[float]) -> float:  # (.5, .5) gives .5, (.5, .6) gives .3
        if max(p) <= 0.5:
            return min(p)
        return max(p) if min(p) > 0.5 else sum(x for x in p if x > 0.5) / len(p)

    assert not check(below_as_zero, tau=0.5).axiom_3.holds
    assert not check(lambda p: max(p) if max(p) < 0.5 else min(p), tau=0.5).axiom_3.holds


def test_mean_above_of_a_constant_is_no_repair() -> None:
    """Where no loss exceeds tau, 0 breaks axiom (1), 1 breaks axiom (2), and neither mends axiom (3)."""
    for empty, axioms in ((0.0, [False, True, False]), (0.5, [False, False, False]), (1.0, [False, False, False])):
        assert list(check(MeanAbove(0.5, empty), tau=0.5).axioms.values()) == axioms
    assert list(check(MeanBelow(0.5, empty=1.0), tau=0.5).axioms.values()) == [False, True, False]


def test_aggregators_of_ones_own() -> None:
    """Product and 1 - prod(1 - p) are aggregation functions, but not idempotent ones (Definition 2)."""
    for aggregate, above in ((product, False), (some, True), (capped_sum, True)):
        properties = check(aggregate)
        assert properties.is_aggregation
        assert not properties.idempotent.holds
        example = properties.bounded.counterexample
        assert example is not None
        assert (example.outputs[0] > max(example.inputs[0])) is above
        assert_genuine(properties, aggregate)


def test_lemma_2() -> None:
    for k in range(1, 7):
        properties = check(KthMax(k))
        assert properties.is_aggregation
        assert properties.idempotent.holds
    for weights in ("1/2/1", "0/0/1", "5/1e-9/3"):
        properties = check(Weighted(weights), sizes=(3,))
        assert properties.is_aggregation
        assert properties.idempotent.holds
        assert properties.bounded.holds
        assert properties.axiom_1.inputs == 0  # there is no single agent


def test_lemma_2_fails_for_negative_weights() -> None:
    properties = check(lambda p: 2 * p[0] - p[1], sizes=(2,))
    assert properties.idempotent.holds
    assert set(properties.counterexamples()) == {"codomain", "axiom_3", "bounded"}


INNER = [Max(), Min(), Median(), Average(), KthMax(2), RiskMean(), RiskMax(), Weighted()]


@settings(max_examples=15)
@given(
    cuts=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    inner=st.lists(st.sampled_from(INNER), min_size=3, max_size=3),
    outer=st.sampled_from(INNER),
)
def test_lemma_3(cuts: list[int], inner: list[Aggregate], outer: Aggregate) -> None:
    """An idempotent aggregator of idempotent ones is idempotent, within the losses and an aggregation function."""
    ends = [0, *(sum(cuts[: i + 1]) for i in range(len(cuts)))]
    groups = [(f, range(a, b)) for f, (a, b) in zip(inner, pairwise(ends), strict=False)]
    properties = check(Hybrid(groups, outer), sizes=(ends[-1],), n_random=50)
    assert properties.is_aggregation
    assert properties.idempotent.holds
    assert properties.bounded.holds


def test_lemma_3_needs_idempotent_ones() -> None:
    hybrid = Hybrid([(product, (0, 1)), (Max(), (2,))], Average())
    assert not check(hybrid, sizes=(3,)).idempotent.holds
    hybrid = Hybrid([(Risk(), (0, 1, 2)), (Max(), (3,))], Average())
    properties = check(hybrid, sizes=(4,))
    assert properties.idempotent.holds  # as a condition; Risk is no aggregation function
    assert not properties.axiom_3.holds


@pytest.mark.parametrize(
    ("aggregate", "broken"),
    [
        (sum, {"codomain", "axiom_2", "idempotent", "bounded"}),
        (lambda p: math.nan, {"codomain", "axiom_1", "axiom_2", "axiom_3", "idempotent", "bounded"}),
        (lambda p: 0.0, {"axiom_1", "axiom_2", "idempotent", "bounded"}),
        (lambda p: -max(p), {"codomain", "axiom_1", "axiom_2", "axiom_3", "idempotent", "bounded"}),
        (lambda p: max(p) ** 2, {"axiom_1", "idempotent", "bounded"}),
        (lambda p: 1.0 - max(p), {"axiom_1", "axiom_2", "axiom_3", "idempotent", "bounded"}),
        (lambda p: p[0] if len(p) < 4 or p[2] < 0.9 else min(p), {"axiom_3"}),
        (lambda p: p[0] if len(p) < 4 else sorted([p[3], 1.0 - p[2], p[0]])[1], {"axiom_3"}),
        (lambda p: max(p) if not 0.3 < min(p) < 0.4 else min(p), {"axiom_3"}),
        (lambda p: p[0] + 1e-13, set()),  # rounding is forgiven
        (lambda p: p[-1], set()),
    ],
)
def test_search_finds_what_is_wrong(aggregate: Aggregate, broken: set[str]) -> None:
    properties = check(aggregate)
    assert set(properties.counterexamples()) == broken
    if not math.isnan(aggregate([0.5])):
        assert_genuine(properties, aggregate)


def test_the_simplest_counterexample_is_kept() -> None:
    properties = check(lambda p: 1.0 - max(p))
    assert properties.axiom_1.counterexample is not None
    assert properties.axiom_1.counterexample.inputs == ((0.0,),)
    assert properties.axiom_3.counterexample is not None
    assert properties.axiom_3.counterexample.inputs == ((0.0,), (1.0,))


def test_check_looks_at_a_lot_and_at_the_same_each_time() -> None:
    seen: list[list[float]] = []

    def watched(p: Sequence[float]) -> float:
        assert isinstance(p, list)
        seen.append(list(p))
        p.clear()  # what an aggregator does to its list is its own affair
        return 0.0

    properties = check(watched)
    first, seen[:] = list(seen), []
    assert check(watched) == properties
    assert seen == first
    assert len({tuple(p) for p in seen}) == len(seen) == properties.codomain.inputs > 2000
    assert properties.axiom_3.inputs > 4000
    assert {len(p) for p in seen} == {1, 2, 3, 4, 5}
    assert all(0.0 <= x <= 1.0 for p in seen for x in p)
    assert any(TAU in p for p in seen)
    seen.clear()
    check(watched, seed=1)
    assert seen != first


# The attitudes -----------------------------------------------------------------------------------------------------


def test_kth_max_lies_between() -> None:
    """The second of two is the smallest, the second of more is in between; ties and sizes decide."""
    assert classify(KthMax(2)).verdicts == {"high": "mixed", "low": "mixed", "combined": "pess"}
    high = classify(KthMax(2)).high
    assert high.counts["opt"] + high.counts["neut"] == high.inputs
    assert high.held == frozenset()


def test_own_functions_have_attitudes() -> None:
    assert classify(product).low.verdict == "opt"
    assert classify(some).high.verdict == "pess"
    assert classify(lambda p: 0.0).verdicts == {"high": "mixed", "low": "opt", "combined": "pess+opt"}
    assert classify(lambda p: math.nan).verdicts == dict.fromkeys(("high", "low", "combined"), "mixed")
    assert classify(lambda p: 0.5, tau=0.5).verdicts == {"high": "opt", "low": "pess", "combined": "pess+opt"}


def test_optimism_about_high_losses_stops_at_tau() -> None:
    """And pessimism about low ones: Definition 3 bounds both by tau."""
    assert classify(lambda p: 0.9 * min(p), tau=0.5).high.counts["opt"] > 0
    assert classify(lambda p: 0.9 * min(p), tau=0.5).high.verdict == "mixed"
    assert classify(lambda p: max(0.5, 0.9 * min(p)), tau=0.5).high.verdict == "opt"
    assert classify(lambda p: 1.1 * max(p), tau=0.5).low.verdict == "mixed"
    assert classify(lambda p: min(0.5, 1.1 * max(p)), tau=0.5).low.verdict == "pess"


def test_rounding_decides_nothing() -> None:
    """The naive mean of some numbers is an ulp off, so that pess(imistic) would not hold of it."""
    assert classify(lambda p: math.exp(math.log(max(p)))).verdicts == dict.fromkeys(("high", "low", "combined"), "pess")
    above = classify(lambda p: sum(x * (1 / 3) for x in p if x > TAU) * 3).combined
    assert above.counts["pess"] == above.inputs


@pytest.mark.parametrize("tau", [0.0, 1e-9])
def test_nothing_is_below_the_lowest_tau(tau: float) -> None:
    assert classify(Average(), tau=tau).verdicts == {"high": "neut", "low": "none", "combined": "none"}
    assert classify(Average(), tau=tau).low.inputs == 0


@pytest.mark.parametrize("tau", [1.0, 1.0 - 1e-9])
def test_nothing_is_above_the_highest_tau(tau: float) -> None:
    assert classify(Average(), tau=tau).verdicts == {"high": "none", "low": "neut", "combined": "none"}


def test_inputs_are_those_of_definition_3() -> None:
    """Two to five distinct losses on each side of tau, none of them tau; zero only where it is asked for."""
    seen: list[tuple[float, ...]] = []

    def watched(p: Sequence[float]) -> float:
        seen.append(tuple(p))
        return 0.0

    for tau in (0.01, 0.3, 0.95):
        seen.clear()
        found = classify(watched, tau=tau)
        assert {a.inputs for a in (found.high, found.low, found.combined, found.combined_with_zero)} == {320}
        sizes = set()
        for p in seen:
            assert len(set(p)) == len(p)
            assert all(0.0 <= x <= 1.0 for x in p)
            higher, lower = [x for x in p if x > tau], [x for x in p if x < tau]
            sizes |= {(len(lower), len(higher))}
            assert len(p) - len(higher) - len(lower) in ({0} if higher and lower else {0, 1})
        assert {s for s in sizes if min(s) > 0} == {(f, e) for f in range(2, 6) for e in range(2, 6)}
        assert {s for s in sizes if min(s) == 0} == {s for n in range(2, 6) for s in ((n, 0), (0, n))}
        assert sum(0.0 in p for p in seen) == 3 * 320
        assert any(p.count(0.0) == 0 and min(p) < tau for p in seen)
        again, first = classify(watched, tau=tau), seen[:]
        assert again == found
        assert first[: len(first) // 2] == first[len(first) // 2 :]


def test_words_for_attitudes() -> None:
    assert Attitude(3, {"pess": 3, "opt": 0, "neut": 0}).verdict == "pess"
    assert Attitude(3, {"pess": 2, "opt": 0, "neut": 1}).verdict == "mixed"
    assert Attitude(3, {"pess": 3, "opt": 3, "neut": 0}).held == {"pess", "opt"}
    assert Attitude(0, {"pess": 0, "opt": 0, "neut": 0}).verdict == "none"


def test_refusals() -> None:
    for search in (check, classify):
        for tau in (-0.1, 1.1, math.nan):
            with pytest.raises(ValueError, match="tau="):
                search(Max(), tau=tau)
        with pytest.raises(TypeError, match="'high', not a number"):
            search(lambda p: "high")
        with pytest.raises(ZeroDivisionError):
            search(lambda p: 1 / 0)
    for sizes in ((), (0, 1), (-1,)):
        with pytest.raises(ValueError, match="sizes"):
            check(Max(), sizes=sizes)
    with pytest.raises(ValueError, match="3 weights for"):
        check(Weighted("1/1/1"))
    with pytest.raises(ValueError, match="3 weights for"):  # it is defined for one size, Definition 3 compares several
        classify(Weighted("1/1/1"))


# What the command line tells of them -------------------------------------------------------------------------------


def test_list_tells_what_aggregators_are() -> None:
    result = CliRunner().invoke(main, ["list", "aggregators", "--json"])
    rows = {row["name"]: row for row in json.loads(result.stdout)["aggregators"]}
    assert result.exit_code == 0
    assert list(rows) == registry.names("aggregators")
    for name, (axioms, idempotent, usual, with_zero) in KNOWN.items():
        row = rows[name]
        assert row["status"] == "tested"
        assert row["summary"].endswith(".")
        assert all(p["meaning"] for p in row["parameters"])
        assert row["axioms"] == {number: number in axioms for number in "123"}
        assert row["idempotent"] is idempotent
        assert row["attitudes"] == dict(zip(("high", "low", "combined"), usual.split(), strict=True))
        assert list(row["attitudes_with_zero"].values()) == with_zero.split()
        assert (row["counterexamples"] == {}) is (axioms == "123")
        assert row["tau"] == TAU
    assert rows["risk"]["counterexamples"]["axiom_3"]["inputs"] == [[0.0, 0.0, 1.0], [0.0, 0.084, 1.0]]
    assert [p["name"] for p in rows["mean-above"]["parameters"]] == ["tau", "empty"]
    assert rows["weighted"]["parameters"][0]["default"] == []


def test_list_shows_what_aggregators_are() -> None:
    result = CliRunner().invoke(main, ["list", "aggregators"])
    shown = " ".join(result.stdout.split())
    assert result.exit_code == 0
    assert "mean-above - 2 - no neut opt pess" in shown
    assert "tau=0.083, empty=0.0" in shown
    assert "weights=none" in shown
    assert "Where one agent leaks nothing: geometric neut/opt/opt, harmonic neut/opt/opt." in shown


def test_list_says_which_aggregators_are_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    others = {
        "good": "statistics:fmean",
        "gone": "math:nothing_of_the_kind",
        "wrong": "math:sqrt",
        "class": "builtins:list",
    }
    entries = {name: EntryPoint(name, value, "agentsim.aggregators") for name, value in others.items()}
    monkeypatch.setattr(registry, "_entries", lambda group: entries)
    rows = {row["name"]: row for row in registered("aggregators")}
    assert {name: row["status"] for name, row in rows.items()} == {
        **{"good": "tested", "gone": "broken", "wrong": "broken", "class": "broken"},
    }
    assert rows["good"]["attitudes"] == {"high": "neut", "low": "neut", "combined": "neut"}
    assert "cannot be loaded" in rows["gone"]["summary"]
    assert "cannot be examined: TypeError" in rows["wrong"]["summary"]
    assert "axioms" not in rows["wrong"]
    result = CliRunner().invoke(main, ["list", "aggregators"])
    assert result.exit_code == 0, result.output
    assert "wrong" in result.stdout
