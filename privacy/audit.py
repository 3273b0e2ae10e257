"""Empirical lower bounds on epsilon: a distinguishing game, played many times.

A mechanism runs in two worlds that differ by what it promises to protect. If it is (epsilon, delta)-differentially
private, then for every set S of outputs::

    P(S in one world) <= exp(epsilon) P(S in the other) + delta

so that any rule which guesses the world from the output, right with probability TPR in the world that it guesses and
wrong with probability FPR in the other, shows that epsilon >= ln((TPR - delta) / FPR). Rates are counted in runs and
replaced by their limits of Clopper and Pearson (Biometrika 26, 1934), each of them missed with probability
(1 - confidence) / 2: the bound holds with the confidence stated. The idea of auditing by such games: Ding, Wang, Wang,
Zhang and Kifer (CCS 2018); Jagielski, Ullman and Oprea (NeurIPS 2020).

A rule is a threshold on a score, and a direction. Scores are log-likelihood ratios where the law of the output is
known; else they are learned: histograms of each feature in both worlds, smoothed, their log-ratios added up (naive
Bayes). What is learned, which of several scores is used, its threshold and its direction are all chosen in one half of
the runs; the other half does nothing but test the one rule that was chosen. Bounds of the single scores are tested in
the same half: each holds with the confidence stated by itself, all of them together with less.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CONFIDENCE: Final = 0.95

FEWEST_RUNS: Final = 8
"""Runs of a world: less cannot be divided among learning, choosing and testing."""

_LARGEST: Final = 1e300  # stands for infinite scores, between which there is no middle
_BINS: Final = 16
_MOST_VALUES: Final = 32
"""Up to so many distinct values, a histogram has one bin for each."""


# Bounds --------------------------------------------------------------------------------------------------------


def clopper_pearson(successes: int, trials: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return exact limits of a probability, each missed with probability (1 - confidence) / 2 at most.

    Args:
        successes: how often it happened, 0 to `trials`.
        trials: how often it could have, at least 1.
        confidence: between 0 and 1.
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"{successes} of {trials}: must be 0 to all of at least one trial")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence}: must be between 0 and 1")
    tail = (1 - confidence) / 2
    return _lower_limit(successes, trials, tail), 1 - _lower_limit(trials - successes, trials, tail)


def _lower_limit(successes: int, trials: int, tail: float) -> float:
    """Return the p for which so many successes or more have probability `tail`, by bisection, rounded down."""
    low, high = 0.0, successes / trials
    while low < (middle := (low + high) / 2) < high:
        if _upper_tail(successes, trials, middle) > tail:
            high = middle
        else:
            low = middle
    return low


def _upper_tail(k: int, n: int, p: float) -> float:
    """Return P(X >= k), X binomial(n, p), for p below k / n: from k on each term is less than the one before."""
    log_choices = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    term = total = math.exp(log_choices + k * math.log(p) + (n - k) * math.log1p(-p))
    odds = p / (1 - p)
    for i in range(k, n):
        term *= (n - i) / (i + 1) * odds
        if term <= total * 1e-17:
            break
        total += term
    return total


def epsilon_of(hit_rate: float, false_rate: float, delta: float) -> float:
    """Return the least epsilon that these rates allow, 0 at least."""
    if hit_rate <= delta:
        return 0.0
    return max(0.0, math.log((hit_rate - delta) / false_rate)) if false_rate > 0 else math.inf


def largest_bound(runs: tuple[int, int], delta: float, confidence: float = CONFIDENCE) -> float:
    """Return the greatest bound that so many test runs of the two worlds can give: no guess is wrong."""
    (low0, high0), (low1, high1) = (
        (clopper_pearson(n, n, confidence)[0], clopper_pearson(0, n, confidence)[1]) for n in runs
    )
    return max(epsilon_of(low0, high1, delta), epsilon_of(low1, high0, delta))


# Rules ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rule:
    """When to guess a world: `world` 1 for a score of at least `threshold`, 0 for one below it."""

    threshold: float
    world: int

    def guesses(self, scores: Floats) -> int:
        """Return in how many runs it guesses its world."""
        above = int(np.count_nonzero(scores >= self.threshold))
        return above if self.world else len(scores) - above


def choose_rule(zero: Floats, one: Floats, delta: float, confidence: float = CONFIDENCE) -> tuple[Rule, float]:
    """Return the rule that promises the greatest bound, and that bound, which is too good to be believed.

    Thresholds are looked at halfway between neighbouring scores. Wilson's limits stand for the exact ones here, which
    thousands of thresholds would make slow; nothing depends on them but which rule is chosen.

    Args:
        zero: finite scores in world 0.
        one: in world 1.
    """
    values = np.unique(np.concatenate((zero, one)))
    if len(values) < 2:
        return Rule(math.inf, 1), -math.inf
    thresholds = values[:-1] / 2 + values[1:] / 2
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    n0, n1 = len(zero), len(one)
    above0 = n0 - np.searchsorted(np.sort(zero), thresholds)
    above1 = n1 - np.searchsorted(np.sort(one), thresholds)
    best, promise = Rule(math.inf, 1), -math.inf
    for world, (hits, n_hit, false, n_false) in enumerate(
        ((n0 - above0, n0, n1 - above1, n1), (above1, n1, above0, n0)),
    ):
        gain = _wilson(hits, n_hit, -z) - delta
        ratio = np.where(gain > 0, gain, 0.0) / _wilson(false, n_false, z)
        i = int(ratio.argmax())
        if ratio[i] > 0 and math.log(ratio[i]) > promise:
            best, promise = Rule(float(thresholds[i]), world), math.log(ratio[i])
    return best, promise


def _wilson(successes: NDArray[np.int64], trials: int, z: float) -> Floats:
    """Return Wilson's limits of probabilities: the lower ones for a negative z."""
    p, shrunk = successes / trials, z * z / trials
    limits: Floats = (p + shrunk / 2 + z * np.sqrt(p * (1 - p) / trials + shrunk / (4 * trials))) / (1 + shrunk)
    return limits


# Learned scores ------------------------------------------------------------------------------------------------


class Histograms:
    """A score learned from features in both worlds: the sum of the log-ratios of their histograms.

    Features whose histograms differ no more than chance would have them differ are left out: each would add noise.

    Args:
        zero: features in world 0, shape (runs, features); NaN for one that a run does not have.
        one: the same features in world 1.
    """

    def __init__(self, zero: Floats, one: Floats) -> None:
        self._columns: list[tuple[int, Floats, Floats]] = []
        for column in range(zero.shape[1]):
            edges = _edges(np.concatenate((zero[:, column], one[:, column])))
            bins = len(edges) + 2  # the last one for NaN
            counts = [np.bincount(_bin(x[:, column], edges), minlength=bins).astype(float) for x in (zero, one)]
            if _differ(*counts):
                # Half a run more in each bin: what never came is not impossible.
                rates = [(c + 0.5) / (c.sum() + 0.5 * bins) for c in counts]
                self._columns.append((column, edges, np.log(rates[1] / rates[0])))

    def score(self, features: Floats) -> Floats:
        """Return how much each row speaks for world 1. Shape (runs,)."""
        total = np.zeros(len(features))
        for column, edges, ratios in self._columns:
            total += ratios[_bin(features[:, column], edges)]
        return total


def _edges(values: Floats) -> Floats:
    """Return where bins meet: between any two values if they are few, else so that the bins hold as many each."""
    known = np.sort(_finite(values[~np.isnan(values)]))
    distinct = np.unique(known)
    if len(distinct) > _MOST_VALUES:
        return np.unique(known[len(known) * np.arange(1, _BINS) // _BINS])
    edges: Floats = distinct[:-1] / 2 + distinct[1:] / 2
    return edges


def _bin(values: Floats, edges: Floats) -> NDArray[np.int64]:
    missing = np.isnan(values)
    return np.where(missing, len(edges) + 1, np.searchsorted(edges, np.where(missing, 0.0, values), side="right"))


def _differ(zero: Floats, one: Floats) -> bool:
    """Tell whether two histograms differ by more than chance, by three standard deviations of the G statistic."""
    both = zero + one
    used = both > 0
    freedom = int(used.sum()) - 1
    if freedom < 1:
        return False
    g = 0.0
    for counts in (zero, one):
        expected = both[used] * (counts.sum() / both.sum())
        seen = counts[used]
        g += 2 * float(np.sum(seen * np.log(np.where(seen > 0, seen, 1.0) / expected)))
    return g > freedom + 3 * math.sqrt(2 * freedom)


def _finite(values: Floats) -> Floats:
    return np.clip(values, -_LARGEST, _LARGEST)


# The audit -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Statistic:
    """Something that was seen in every run of both worlds, and that speaks for one of them or for the other.

    Args:
        name: of the message fields that it is made of.
        zero: in world 0: log-likelihood ratios, shape (runs,), greater where world 1 is likelier, infinite ones too; or
            features to learn them from, shape (runs, features), NaN where a run lacks one.
        one: in world 1.
    """

    name: str
    zero: Floats
    one: Floats

    @property
    def learned(self) -> bool:
        """Whether scores are to be learned."""
        return self.zero.ndim == 2


@dataclass(frozen=True, slots=True)
class Bound:
    """What the rule of one statistic shows in the runs that it was not chosen in.

    Args:
        name: the statistic's.
        epsilon_lower: the bound.
        rule: the rule.
        hits: in how many of `hit_runs` runs of its world it guesses that.
        false: in how many of `false_runs` runs of the other world it does.
        promise: the bound that it seemed to give where it was chosen.
    """

    name: str
    epsilon_lower: float
    rule: Rule
    hits: int
    hit_runs: int
    false: int
    false_runs: int
    promise: float


@dataclass(frozen=True, slots=True)
class Audit:
    """The outcome of a game.

    Args:
        epsilon_lower: epsilon is at least that, with the confidence stated.
        chosen: the statistic that it comes from, chosen in the other half of the runs.
        cap: the greatest bound that so many runs can give.
        bounds: of every statistic, each with that confidence by itself.
        delta: failure probability of the guarantee that epsilon belongs to.
        confidence: of the bounds.
    """

    epsilon_lower: float
    chosen: str
    cap: float
    bounds: tuple[Bound, ...]
    delta: float
    confidence: float


def audit(statistics: Sequence[Statistic], delta: float, confidence: float = CONFIDENCE) -> Audit:
    """Return the lower bound on epsilon that runs in two worlds show.

    Args:
        statistics: at least one; all of the same runs, which are independent of each other within each world.
        delta: failure probability of the guarantee, at least 0 and below 1.
        confidence: that the bound holds, between 0 and 1.

    Raises:
        ValueError: too few runs, no statistics, NaN for a score, or a number out of its range.
    """
    if not statistics:
        raise ValueError("no statistics: nothing was seen")
    if not 0 <= delta < 1:
        raise ValueError(f"delta={delta}: must be at least 0 and below 1")
    bounds = [_bound(statistic, delta, confidence) for statistic in statistics]
    best = max(bounds, key=lambda bound: bound.promise)
    tests = (len(statistics[0].zero[1::2]), len(statistics[0].one[1::2]))
    cap = largest_bound(tests, delta, confidence)
    return Audit(best.epsilon_lower, best.name, cap, tuple(bounds), delta, confidence)


def _bound(statistic: Statistic, delta: float, confidence: float) -> Bound:
    """Choose a rule in the runs of even number, having learned in every second one of them; test in the others."""
    worlds = (statistic.zero, statistic.one)
    if min(map(len, worlds)) < FEWEST_RUNS:
        raise ValueError(
            f"{statistic.name}: {min(map(len, worlds))} runs of a world, at least {FEWEST_RUNS} are needed"
        )
    first = 0
    if statistic.learned:
        learned, first = Histograms(*(world[::4] for world in worlds)), 2
        worlds = (learned.score(statistic.zero), learned.score(statistic.one))
    if any(np.isnan(scores).any() for scores in worlds):
        raise ValueError(f"{statistic.name}: a score is NaN")
    scores = [_finite(world) for world in worlds]
    zero, one = (world[first :: 2 + first] for world in scores)
    rule, promise = choose_rule(zero, one, delta, confidence)
    held = scores[rule.world][1::2], scores[1 - rule.world][1::2]
    hits, false = (rule.guesses(world) for world in held)
    hit_rate = clopper_pearson(hits, len(held[0]), confidence)[0]
    false_rate = clopper_pearson(false, len(held[1]), confidence)[1]
    found = epsilon_of(hit_rate, false_rate, delta)
    return Bound(statistic.name, found, rule, hits, len(held[0]), false, len(held[1]), promise)
