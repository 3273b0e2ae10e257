"""Measures of quality and of distance from random assignments, against hand-made and published numbers."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from agentsim import Constraint, Domain, Problem, Variable
from agentsim.testing import random_problem
from privacy.measures import (
    assignment_distance,
    assignment_proximity,
    coefficient_of_variation,
    jensen_shannon,
    max_assignment_distance,
    normalised_quality,
    random_cost,
    solution_quality,
    uniform_assignment_distance,
    worst_cost,
)

numbers = st.integers(-1000, 1000)


@st.composite
def distributions(draw: st.DrawFn, n: int = 2) -> list[NDArray[np.float64]]:
    """Distributions on the same number of values, zeros and all."""
    d = draw(st.integers(1, 6))
    weights = st.lists(st.integers(0, 9), min_size=d, max_size=d).filter(any)
    return [np.array(w) / sum(w) for w in (draw(weights) for _ in range(n))]


# Quality -----------------------------------------------------------------------------------------------------------


def test_solution_quality_as_printed() -> None:
    assert solution_quality(200, 150, "min") == 0.75
    assert solution_quality(150, 200, "max") == 0.75
    assert solution_quality(5, 5, "min") == solution_quality(5, 5, "max") == 1


def test_solution_quality_has_the_wrong_sense_for_negative_costs() -> None:
    """Ising: -20 is worse than -30, and the printed ratio praises it."""
    assert solution_quality(-20, -30, "min") == 1.5
    assert normalised_quality(-20, -30, 0) == pytest.approx(2 / 3)


@given(numbers, numbers, numbers, numbers, st.integers(1, 9))
def test_normalised_quality_is_free_of_sign_sense_and_scale(
    utility: int, baseline: int, reference: int, shift: int, factor: int
) -> None:
    if baseline == reference:
        with pytest.raises(ValueError, match="undefined"):
            normalised_quality(utility, baseline, reference)
        return
    quality = normalised_quality(utility, baseline, reference)
    assert normalised_quality(-utility, -baseline, -reference) == quality
    others = [factor * x + shift for x in (utility, baseline, reference)]
    assert normalised_quality(*others) == pytest.approx(quality, rel=1e-12)
    assert normalised_quality(baseline, baseline, reference) == 1
    assert normalised_quality(reference, baseline, reference) == 0


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: solution_quality(0, 1, "min"), "1 / 0 is undefined"),
        (lambda: solution_quality(1, 0, "max"), "1 / 0 is undefined"),
        (lambda: solution_quality(1, 1, "least"), "objective='least' must be min or max"),
        (lambda: solution_quality(math.inf, 1, "min"), "utility=inf must be finite"),
        (lambda: solution_quality(1, math.nan, "min"), "baseline=nan must be finite"),
        (lambda: normalised_quality(1, 2, math.inf), "reference=inf must be finite"),
        (lambda: coefficient_of_variation([1]), r"shape \(1,\) must be a list of more than 1"),
        (lambda: coefficient_of_variation([], ddof=0), "more than 0"),
        (lambda: coefficient_of_variation([[1, 2]]), r"shape \(1, 2\)"),
        (lambda: coefficient_of_variation([1, -1]), "the mean is 0"),
        (lambda: coefficient_of_variation([1, math.nan]), "must be finite"),
        (lambda: coefficient_of_variation([1, 2, 3], ddof=2), "ddof=2 must be 0 or 1"),
    ],
)
def test_quality_that_is_not_defined(call: Callable[[], float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        call()


def test_coefficient_of_variation() -> None:
    values = [2, 4, 4, 4, 5, 5, 7, 9]
    assert coefficient_of_variation(values, ddof=0) == pytest.approx(2 / 5)
    assert coefficient_of_variation(values) == pytest.approx(math.sqrt(32 / 7) / 5)
    assert coefficient_of_variation([-x for x in values]) == coefficient_of_variation(values)
    assert coefficient_of_variation([3, 3, 3]) == 0
    assert coefficient_of_variation([3], ddof=0) == 0


def small(objective: str = "min") -> Problem:
    domain = Domain("d", (0, 1))
    variables = [Variable("x", domain, unary=[-3, 1]), Variable("y", domain)]
    return Problem.build(variables, [Constraint("c", ("x", "y"), [[0, 4], [6, 2]])], objective=objective, constant=5)


def test_random_and_worst_cost() -> None:
    assert random_cost(small()) == 5 - 1 + 3
    assert worst_cost(small()) == 5 + 1 + 6
    assert worst_cost(small("max")) == 5 - 3 + 0


@given(st.integers(0, 10_000))
def test_random_and_worst_cost_against_every_assignment(seed: int) -> None:
    problem = random_problem(np.random.default_rng(seed), max_variables=4)
    found = [problem.evaluate_indices(indices) for indices in problem.assignments()]
    # A forbidden tuple counts nothing in either; what else the assignment costs is still bounded.
    worst = worst_cost(problem)
    forbids = any(np.isinf(table).any() for _, table in problem.functions())
    assert all(problem.better(e.soft, worst) or e.soft == pytest.approx(worst) for e in found if not e.violations)
    if forbids:
        with pytest.raises(ValueError, match="forbids tuples: random assignments have no finite mean"):
            random_cost(problem)
    else:
        assert random_cost(problem) == pytest.approx(math.fsum(e.cost for e in found) / len(found), abs=1e-9)


# Distance ----------------------------------------------------------------------------------------------------------


def test_jensen_shannon_by_hand() -> None:
    assert jensen_shannon([0.5, 0.5, 0, 0], [0.25] * 4) == pytest.approx(0.3112781, abs=5e-8)
    assert jensen_shannon([1, 0], [0, 1]) == 1
    assert jensen_shannon([0.3, 0.7], [0.3, 0.7]) == 0


@given(distributions())
def test_jensen_shannon(pair: list[NDArray[np.float64]]) -> None:
    p, q = pair
    divergence = jensen_shannon(p, q)
    assert 0 <= divergence <= 1
    assert divergence == pytest.approx(jensen_shannon(q, p), abs=1e-12)
    middle = (p + q) / 2
    assert divergence == pytest.approx(entropy(middle) - (entropy(p) + entropy(q)) / 2, abs=1e-12)
    assert (divergence < 1e-12) == bool(np.allclose(p, q, rtol=0, atol=1e-6))
    # Its root is a metric: no further than by way of the middle.
    steps = math.sqrt(jensen_shannon(p, middle)) + math.sqrt(jensen_shannon(middle, q))
    assert math.sqrt(divergence) <= steps + 1e-9


def entropy(p: NDArray[np.float64]) -> float:
    return -sum(x * math.log2(x) for x in p.tolist() if x > 0)


def test_the_least_numbers_are_no_trouble() -> None:
    assert jensen_shannon([5e-324, 1.0], [0.0, 1.0]) == 0


@pytest.mark.parametrize(
    ("p", "q", "sentence"),
    [
        ([0.5, 0.5], [1], "p has 2 probabilities and q 1"),
        ([0.5, 0.6], [0.5, 0.5], "p must have probabilities of at least 0 that add up to 1"),
        ([0.5, 0.5], [1.5, -0.5], "q must have probabilities"),
        ([math.nan, 1], [0.5, 0.5], "p must have probabilities"),
        ([], [], r"p of shape \(0,\) must be a list"),
        ([[0.5, 0.5]], [0.5, 0.5], r"p of shape \(1, 2\) must be a list"),
    ],
)
def test_what_is_no_distribution(p: list[float], q: list[float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        jensen_shannon(p, q)


@pytest.mark.parametrize(("size", "expected"), [(1, 0), (2, 0.3113), (10, 0.7583), (20, 0.8550)])
def test_the_greatest_distance(size: int, expected: float) -> None:
    assert max_assignment_distance(size) == pytest.approx(expected, abs=5e-5)
    # In closed form: the middle of a point mass and the uniform distribution has (d + 1) / 2d at the point.
    d = size
    closed = (math.log2(2 * d / (d + 1)) + (math.log2(2 / (d + 1)) + d - 1) / d) / 2
    assert max_assignment_distance(size) == pytest.approx(closed, abs=1e-12)
    always = np.full((7, 3), size - 1)
    assert assignment_distance(always, size) == pytest.approx(closed, abs=1e-12)
    assert uniform_assignment_distance(size, 1) == pytest.approx(closed, abs=1e-12)  # one run is a point mass


def test_assignment_distance_by_hand() -> None:
    # One variable is 0 or 1 half of the time, of four values; the other has each of two values equally often.
    runs = [[0, 0], [1, 1], [0, 1], [1, 0]]
    assert assignment_distance(runs, [4, 2]) == pytest.approx(0.3112781 / 2, abs=5e-8)
    assert assignment_distance(runs, 2) == 0


def test_assignment_proximity_by_hand() -> None:
    runs = [[0, 0], [0, 1], [0, 1], [3, 0]]
    assert assignment_proximity(runs, [4, 2]) == pytest.approx(0.5)
    assert assignment_proximity([[1] * 4] * 3, 10) == pytest.approx(2 * 0.9)  # grows as the root of 4
    assert assignment_proximity([[1] * 16] * 3, 10) == pytest.approx(4 * 0.9)


@given(st.integers(1, 6), st.integers(1, 5), st.integers(1, 30), st.integers(0, 1000))
def test_measures_of_assignments_are_bounded(size: int, variables: int, n_runs: int, seed: int) -> None:
    runs = np.random.default_rng(seed).integers(0, size, (n_runs, variables))
    assert -1e-12 <= assignment_distance(runs, size) <= max_assignment_distance(size) + 1e-12
    assert -1e-12 <= assignment_proximity(runs, size) <= math.sqrt(variables) * (1 - 1 / size) + 1e-12
    order = np.random.default_rng(seed).permutation(size)  # what values are called does not matter
    assert assignment_distance(order[runs], size) == pytest.approx(assignment_distance(runs, size), abs=1e-12)
    assert assignment_proximity(order[runs], size) == pytest.approx(assignment_proximity(runs, size), abs=1e-12)


def test_random_assignments_have_a_distance_all_the_same() -> None:
    expected = uniform_assignment_distance(10, 40)
    assert expected == pytest.approx(0.04639, abs=5e-6)
    found = [assignment_distance(np.random.default_rng(seed).integers(0, 10, (40, 30)), 10) for seed in range(100)]
    error = np.std(found, ddof=1) / 10
    assert abs(np.mean(found) - expected) < 3.891 * error  # a right one misses with probability 1e-4; seeds are fixed
    assert uniform_assignment_distance(2, 2) == pytest.approx(max_assignment_distance(2) / 2)
    assert uniform_assignment_distance(1, 5) == 0
    assert uniform_assignment_distance(10, 4000) < 0.0005


@pytest.mark.parametrize(
    ("runs", "sizes", "sentence"),
    [
        ([], 2, r"runs of shape \(0,\)"),
        ([[]], 2, r"runs of shape \(1, 0\)"),
        ([0, 1], 2, r"runs of shape \(2,\)"),
        ([[0, 2]], 2, "variable 1: a domain index is not from 0 to 1"),
        ([[-1, 0]], 2, "variable 0: a domain index is not from 0 to 1"),
        ([[0.5, 0]], 2, "domain indices, whole numbers"),
        ([[0, 1]], [2], "1 domain sizes for 2 variables"),
    ],
)
def test_runs_that_are_none(runs: list[list[int]], sizes: int | list[int], sentence: str) -> None:
    for measure in (assignment_distance, assignment_proximity):
        with pytest.raises(ValueError, match=sentence):
            measure(runs, sizes)


def test_numbers_that_are_not_positive() -> None:
    with pytest.raises(ValueError, match="domain_size=0 must be at least 1"):
        max_assignment_distance(0)
    with pytest.raises(ValueError, match="runs=0 must be at least 1"):
        uniform_assignment_distance(2, 0)
