"""Quality of a private solver's solutions, and how far its final assignments are from random ones.

Source: Damle, Triastcyn, Faltings and Gujar, on P-Gibbs: Definition 6 (solution quality), section 6.2.1 (coefficient of
variation), Definition 7, Eq. (13) (assignment distance) and Definition 8, Eq. (C1) (assignment proximity).

Costs and utilities are in the problem's units and sense: `objective` says whether less or more is better.

What the definitions do not say:

- Solution quality is a ratio. It means what the paper says of it only where both numbers are positive: with negative
  costs, as of Ising grids, the printed U_S / U_A is *above* 1 for solutions that are worse than the baseline's, and
  near zero, or between signs, it means nothing. `normalised_quality` says in either sense, and for either sign, which
  share of the way from a reference (random assignments, or the worst) to the baseline a solver has gone.
- Assignment distance is said to lie in [0, 1]. Jensen-Shannon divergence to base 2 does, but from the uniform
  distribution on d values nothing is farther than a point mass: .3113 for d = 2, .7583 for d = 10, .8550 for d = 20
  (`max_assignment_distance`). And frequencies of few runs are not uniform even if assignments are: Eq. (13) is above
  zero for random assignments, by `uniform_assignment_distance`.
- In Eq. (13) p is both the number of values and that of variables; the mean is over variables.
- Assignment proximity is a norm over variables, not a mean: it grows with the square root of their number, so that only
  problems of one size can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from agentsim.dcop.problem import Cost, Problem

Objective = Literal["min", "max"]


def solution_quality(utility: float, baseline: float, objective: Objective) -> float:
    """Return SQ exactly as printed (Definition 6): baseline / utility minimising, utility / baseline maximising.

    Meaningful for positive numbers alone; see `normalised_quality`.

    Args:
        utility: mean cost or utility U_A of the algorithm.
        baseline: that of SD-Gibbs, U_S.
        objective: "min" or "max".

    Raises:
        ValueError: the denominator is zero, a number is not finite, or the objective is neither.
    """
    _check_finite(utility=utility, baseline=baseline)
    if objective not in ("min", "max"):
        raise ValueError(f"objective={objective!r} must be min or max")
    above, below = (baseline, utility) if objective == "min" else (utility, baseline)
    if below == 0:
        raise ValueError(f"solution quality {above} / 0 is undefined")
    return above / below


def normalised_quality(utility: float, baseline: float, reference: float) -> float:
    """Return (U_A - U_ref) / (U_S - U_ref): 1 is as good as the baseline, 0 as good as the reference, negative worse.

    The same for costs and for utilities, of either sign, and whatever constant or positive factor is put to them all.

    Args:
        utility: mean cost or utility U_A of the algorithm.
        baseline: that of the baseline, U_S.
        reference: that of random assignments (`random_cost`), or of the worst one (`worst_cost`).

    Raises:
        ValueError: the baseline equals the reference, or a number is not finite.
    """
    _check_finite(utility=utility, baseline=baseline, reference=reference)
    if baseline == reference:
        raise ValueError(f"baseline and reference are both {baseline}: quality between them is undefined")
    return (utility - reference) / (baseline - reference)


def random_cost(problem: Problem) -> float:
    """Return the exact mean cost of a uniformly random assignment; ValueError if some tuple is forbidden."""
    means = []
    for where, table in problem.functions():
        if table.dtype.kind == "f" and bool(np.isinf(table).any()):
            raise ValueError(f"{where} forbids tuples: random assignments have no finite mean cost")
        means.append(float(table.mean()))
    return math.fsum([problem.constant, *means])


def worst_cost(problem: Problem) -> Cost:
    """Return the sum of every function's worst finite cost: no assignment is worse, but perhaps none is so bad.

    A function all of whose tuples are forbidden counts nothing.
    """
    total = problem.constant
    for _, table in problem.functions():
        finite = table[np.isfinite(table)]
        if finite.size:
            total += (finite.max() if problem.objective == "min" else finite.min()).item()
    return total


def coefficient_of_variation(values: ArrayLike, ddof: int = 1) -> float:
    """Return standard deviation / |mean| (section 6.2.1); the paper does not say which standard deviation.

    Args:
        values: numbers, shape (n,), n > ddof.
        ddof: 1 for the sample's standard deviation, 0 for the population's.

    Raises:
        ValueError: too few values, one that is not finite, or a mean of zero.
    """
    found = np.asarray(values, dtype=np.float64)
    if ddof not in (0, 1):
        raise ValueError(f"ddof={ddof} must be 0 or 1")
    if found.ndim != 1 or found.size <= ddof:
        raise ValueError(f"values of shape {found.shape} must be a list of more than {ddof}")
    if not np.isfinite(found).all():
        raise ValueError("values must be finite")
    mean = float(found.mean())
    if mean == 0:
        raise ValueError("the mean is 0: the coefficient of variation is undefined")
    return float(found.std(ddof=ddof)) / abs(mean)


def jensen_shannon(p: ArrayLike, q: ArrayLike) -> float:
    """Return the Jensen-Shannon divergence of two distributions in bits, from 0 to 1.

    Args:
        p: probabilities, shape (d,), that add up to 1.
        q: likewise.

    Raises:
        ValueError: shapes differ, a probability is negative or not finite, or a sum is not 1.
    """
    first, second = _distribution("p", p), _distribution("q", q)
    if first.shape != second.shape:
        raise ValueError(f"p has {first.size} probabilities and q {second.size}")
    middle = (first + second) / 2
    divergence = (_relative_entropy(first, middle) + _relative_entropy(second, middle)) / 2
    return min(max(divergence, 0.0), 1.0)


def assignment_distance(runs: ArrayLike, domain_sizes: int | Sequence[int]) -> float:
    """Return AD (Definition 7, Eq. 13): mean over variables of the divergence of their values from the uniform.

    Args:
        runs: final assignments as domain indices, shape (runs, variables).
        domain_sizes: of every variable, or of each.

    Raises:
        ValueError: no run, no variable, or an index outside its domain.
    """
    by_variable = [
        jensen_shannon(counts / counts.sum(), _uniform(counts.size)) for counts in _counts(runs, domain_sizes)
    ]
    return math.fsum(by_variable) / len(by_variable)


def assignment_proximity(runs: ArrayLike, domain_sizes: int | Sequence[int]) -> float:
    """Return AP (Definition 8, Eq. C1): the L2 norm over variables of (frequency of its most frequent value - 1/|D|).

    Arguments and errors are those of `assignment_distance`.
    """
    excess = [counts.max() / counts.sum() - 1 / counts.size for counts in _counts(runs, domain_sizes)]
    return math.hypot(*excess)


def max_assignment_distance(domain_size: int) -> float:
    """Return the greatest AD that variables of `domain_size` values can have: that of always the same value."""
    _check_positive(domain_size=domain_size)
    point = np.zeros(domain_size)
    point[0] = 1
    return jensen_shannon(point, _uniform(domain_size))


def uniform_assignment_distance(domain_size: int, runs: int) -> float:
    """Return the exact mean AD of uniformly random assignments over that many runs: what AD is too high by.

    Divergence is a sum over values, and a value's frequency is binomial: one sum over how often it occurs.
    """
    _check_positive(domain_size=domain_size, runs=runs)
    u = 1 / domain_size
    k = np.arange(runs + 1)
    logs = [math.lgamma(runs + 1) - math.lgamma(i + 1) - math.lgamma(runs - i + 1) for i in range(runs + 1)]
    with np.errstate(divide="ignore", invalid="ignore"):
        rest = np.where(k < runs, (runs - k) * np.log1p(-u), 0.0)
        chance = np.exp(np.array(logs) + k * math.log(u) + rest)
        f = k / runs
        own = np.where(k > 0, f * np.log2(2 * f / (f + u)), 0.0)
    other = u * np.log2(2 * u / (f + u))
    return domain_size * math.fsum(chance * (own + other)) / 2


def _counts(runs: ArrayLike, domain_sizes: int | Sequence[int]) -> list[NDArray[np.int64]]:
    """Return how often each variable had each of its values."""
    found = np.asarray(runs)
    if found.ndim != 2 or not found.size:
        raise ValueError(f"runs of shape {found.shape} must have a row for each run and a column for each variable")
    if found.dtype.kind not in "iu":
        raise ValueError("runs must hold domain indices, whole numbers")
    variables = found.shape[1]
    sizes = [domain_sizes] * variables if isinstance(domain_sizes, int) else list(domain_sizes)
    if len(sizes) != variables:
        raise ValueError(f"{len(sizes)} domain sizes for {variables} variables")
    for i, size in enumerate(sizes):
        if not 0 <= found[:, i].min() <= found[:, i].max() < size:
            raise ValueError(f"variable {i}: a domain index is not from 0 to {size - 1}")
    return [np.bincount(found[:, i], minlength=size) for i, size in enumerate(sizes)]


def _uniform(size: int) -> NDArray[np.float64]:
    return np.full(size, 1 / size)


def _distribution(name: str, probabilities: ArrayLike) -> NDArray[np.float64]:
    found = np.asarray(probabilities, dtype=np.float64)
    if found.ndim != 1 or not found.size:
        raise ValueError(f"{name} of shape {found.shape} must be a list of probabilities")
    if not (np.isfinite(found).all() and (found >= 0).all() and math.isclose(found.sum(), 1, abs_tol=1e-9)):
        raise ValueError(f"{name} must have probabilities of at least 0 that add up to 1")
    return found


def _relative_entropy(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    """Return the Kullback-Leibler divergence of p from q, a mean of p and another, in bits."""
    some = (p > 0) & (q > 0)  # half of the least number above zero is zero
    return math.fsum(p[some] * np.log2(p[some] / q[some]))


def _check_finite(**numbers: float) -> None:
    for name, number in numbers.items():
        if not math.isfinite(number):
            raise ValueError(f"{name}={number} must be finite")


def _check_positive(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"{name}={number} must be at least 1")
