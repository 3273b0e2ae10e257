"""What an aggregator is: does it keep the axioms, and which attitude to risk does it express?

Lee, Mak and Shi, "A General Privacy Loss Aggregation Framework for Distributed Constraint Reasoning", section III.
`check` looks for counterexamples to Definition 1 (codomain and axioms 1 to 3), Definition 2 (idempotence) and Lemma 1
(min <= Agg <= max); `classify` finds which of the nine attitudes of Definition 3 hold.

Both are searches: over a grid about tau, 0 and 1 and over seeded random losses. A counterexample is proof; "none found
in so many inputs" is not, though on the losses of the grid, up to three agents, monotonicity is decided. Differences
under 1e-12 count as none.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Real
from typing import Final, TypeAlias

import numpy as np

from agentsim.runtime.streams import generator
from privacy.aggregators import TAU, Aggregate

ATTITUDES: Final = ("pess", "opt", "neut")

_TOLERANCE: Final = 1e-12
_NEAR: Final = 1e-3  # how near to tau the grid goes
_STEPS: Final = 64  # of losses above tau and below, so that distinct ones are far apart beside the tolerance
_GROUP_SIZES: Final = (2, 3, 4, 5)

_Losses: TypeAlias = tuple[float, ...]
_Example: TypeAlias = tuple[tuple[_Losses, ...], _Losses]  # inputs and outputs, as in a Counterexample


@dataclass(frozen=True, slots=True)
class Counterexample:
    """Losses that break an axiom, and what the aggregator makes of them.

    Args:
        inputs: one vector of losses; for axiom (3) two, the second nowhere below the first.
        outputs: the result for each.
    """

    inputs: tuple[_Losses, ...]
    outputs: _Losses


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of a search for counterexamples.

    Args:
        inputs: vectors (for axiom 3: pairs) looked at; 0 where there are none, as for axiom (1) without N = 1.
        counterexample: the simplest of those found: fewest agents, then fewest losses that differ, then fewest digits.
    """

    inputs: int
    counterexample: Counterexample | None = None

    @property
    def holds(self) -> bool:
        """Whether no counterexample was found."""
        return self.counterexample is None


@dataclass(frozen=True, slots=True)
class Properties:
    """Which properties of section III an aggregator has.

    Args:
        codomain: Agg is in [0, 1] (Definition 1).
        axiom_1: Agg([p]) = p.
        axiom_2: Agg(0, .., 0) = 0 and Agg(1, .., 1) = 1.
        axiom_3: no loss rises and Agg falls.
        idempotent: Agg(c, .., c) = c (the condition of Definition 2).
        bounded: min <= Agg <= max, which Lemma 1 says of every idempotent aggregation function.
    """

    codomain: Verdict
    axiom_1: Verdict
    axiom_2: Verdict
    axiom_3: Verdict
    idempotent: Verdict
    bounded: Verdict

    @property
    def axioms(self) -> dict[str, bool]:
        """Whether each axiom holds, by its number in the paper."""
        return {"1": self.axiom_1.holds, "2": self.axiom_2.holds, "3": self.axiom_3.holds}

    @property
    def is_aggregation(self) -> bool:
        """Whether this is an aggregation function by Definition 1, as far as was seen."""
        return self.codomain.holds and all(self.axioms.values())

    def counterexamples(self) -> dict[str, Counterexample]:
        """Return the counterexamples found, by the property they break."""
        verdicts: dict[str, Verdict] = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: v.counterexample for name, v in verdicts.items() if v.counterexample is not None}


@dataclass(frozen=True, slots=True)
class Attitude:
    """How an aggregator treats one kind of input: high losses, low ones, or both combined.

    Args:
        inputs: how many were looked at; none if no loss can be on that side of tau.
        counts: on how many of them each of `ATTITUDES` held.
    """

    inputs: int
    counts: Mapping[str, int]

    @property
    def held(self) -> frozenset[str]:
        """Return the attitudes that held on every input; none if there was no input."""
        return frozenset(a for a in ATTITUDES if 0 < self.inputs == self.counts[a])

    @property
    def verdict(self) -> str:
        """Return "pess", "opt", "neut", or "mixed" where none held on every input.

        Two can hold of combined losses if Agg is not monotone ("pess+opt"). Without any input it is "none".
        """
        return "+".join(a for a in ATTITUDES if a in self.held) or ("mixed" if self.inputs else "none")


@dataclass(frozen=True, slots=True)
class Attitudes:
    """The attitudes of an aggregator (Definition 3), over losses that are all positive.

    Args:
        tau: the threshold.
        high: towards losses above tau.
        low: towards losses below tau.
        combined: towards both at once.
        low_with_zero: `low` where one agent leaks nothing, as the root does in many algorithms.
        combined_with_zero: the same for `combined`.
    """

    tau: float
    high: Attitude
    low: Attitude
    combined: Attitude
    low_with_zero: Attitude
    combined_with_zero: Attitude

    @property
    def verdicts(self) -> dict[str, str]:
        """Return the words for high, low and combined losses, all of them positive."""
        return {"high": self.high.verdict, "low": self.low.verdict, "combined": self.combined.verdict}

    @property
    def verdicts_with_zero(self) -> dict[str, str]:
        """Return the words where one agent leaks nothing; high losses are above zero anyway."""
        low, combined = self.low_with_zero.verdict, self.combined_with_zero.verdict
        return {"high": self.high.verdict, "low": low, "combined": combined}


def check(
    aggregate: Aggregate,
    *,
    tau: float = TAU,
    sizes: Sequence[int] = (1, 2, 3, 4, 5),
    n_random: int = 100,
    seed: int = 0,
) -> Properties:
    """Search for counterexamples to the axioms, idempotence and Lemma 1.

    Calls the aggregator some thousand times with fresh lists; what it raises is passed on.

    Args:
        aggregate: the function.
        tau: where it may behave in another way, if it has a threshold.
        sizes: numbers of agents; to be given for a function that takes a fixed number.
        n_random: random vectors for each size, besides those of the grid.
        seed: of the random vectors; the same one gives the same answer.

    Raises:
        TypeError: the aggregator returned something else than a number.
        ValueError: tau outside [0, 1], or no size from 1 on.
    """
    grid = _grid(tau)
    if not sizes or min(sizes) < 1:
        raise ValueError(f"sizes {list(sizes)} must be numbers of agents, from 1 on")
    outputs: dict[_Losses, float] = {}

    def agg(losses: _Losses) -> float:
        if losses not in outputs:
            outputs[losses] = _call(aggregate, losses)
        return outputs[losses]

    pairs: list[_Example] = [
        ((low, high), (agg(low), agg(high)))
        for n in sorted(set(sizes))
        for low, high in itertools.chain(_grid_raises(grid, n), _random_raises(grid, tau, n, n_random, seed))
    ]
    for c in (*grid, *generator(seed, "attitudes", "equal").random(20).tolist()):
        for n in sizes:
            agg((c,) * n)

    singles: list[_Example] = [((losses,), (output,)) for losses, output in outputs.items()]
    equal = [((p,), out) for (p,), out in singles if p.count(p[0]) == len(p)]
    return Properties(
        codomain=_verdict(singles, lambda _, out: _le(0.0, out[0]) and _le(out[0], 1.0)),
        axiom_1=_verdict([((p,), out) for (p,), out in equal if len(p) == 1], _returns_the_first),
        axiom_2=_verdict([((p,), out) for (p,), out in equal if p[0] in (0.0, 1.0)], _returns_the_first),
        axiom_3=_verdict(pairs, lambda _, out: _le(*out)),
        idempotent=_verdict(equal, _returns_the_first),
        bounded=_verdict(singles, lambda p, out: _le(min(p[0]), out[0]) and _le(out[0], max(p[0]))),
    )


def classify(aggregate: Aggregate, *, tau: float = TAU, n_random: int = 320, seed: int = 0) -> Attitudes:
    """Find the attitudes of Definition 3 that an aggregator shows on every input.

    Each input has two to five distinct losses above tau, below tau, or both: of one loss, or of equal ones, the
    maximum is the minimum, pessimism is optimism, and nothing is neutral. So one example decides nothing.

    Args:
        aggregate: a function that takes any number of losses: the definition compares it on vectors of several lengths.
        tau: the threshold.
        n_random: inputs of each kind.
        seed: of these; the same one gives the same answer.

    Raises:
        TypeError: the aggregator returned something else than a number.
        ValueError: tau outside [0, 1].
    """
    _check_tau(tau)
    rng = generator(seed, "attitudes", "classify")
    sizes = list(itertools.islice(itertools.cycle(itertools.product(_GROUP_SIZES, repeat=2)), n_random))
    above = _draw(rng, [min(tau + (1.0 - tau) * k / _STEPS, 1.0) for k in range(1, _STEPS + 1)], [e for e, _ in sizes])
    below = _draw(rng, [tau * k / _STEPS for k in range(1, _STEPS)], [f for _, f in sizes])
    with_zero = [(0.0, *losses[1:]) for losses in below]

    def high(losses: _Losses) -> Iterator[str]:
        value = _call(aggregate, losses)
        if _le(max(losses), value):
            yield "pess"
        if _le(tau, value) and _le(value, min(losses)):
            yield "opt"
        if _lt(min(losses), value) and _lt(value, max(losses)):
            yield "neut"

    def low(losses: _Losses) -> Iterator[str]:
        value = _call(aggregate, losses)
        if _le(max(losses), value) and _le(value, tau):
            yield "pess"
        if _le(value, min(losses)):
            yield "opt"
        if _lt(min(losses), value) and _lt(value, max(losses)):
            yield "neut"

    def combined(lower: _Losses, higher: _Losses) -> Iterator[str]:
        worse = _call(aggregate, (*higher, tau))
        better = _call(aggregate, (*lower, tau))
        value = _call(aggregate, (*lower, *higher))
        if _le(worse, value):
            yield "pess"
        if _le(value, better):
            yield "opt"
        if _lt(better, value) and _lt(value, worse):
            yield "neut"

    return Attitudes(
        tau=tau,
        high=_attitude(high, zip(above)),
        low=_attitude(low, zip(below)),
        combined=_attitude(combined, zip(below, above, strict=False)),  # one of them may be empty
        low_with_zero=_attitude(low, zip(with_zero)),
        combined_with_zero=_attitude(combined, zip(with_zero, above, strict=False)),
    )


def _attitude(judge: Callable[..., Iterable[str]], inputs: Iterable[tuple[_Losses, ...]]) -> Attitude:
    judged = [frozenset(judge(*groups)) for groups in inputs]
    return Attitude(len(judged), Counter(itertools.chain.from_iterable(judged)))


def _draw(rng: np.random.Generator, losses: Sequence[float], sizes: Sequence[int]) -> list[_Losses]:
    """Return vectors of distinct losses in random order; none where the losses are too close together to tell apart."""
    if max(losses) - min(losses) < 1e-6:
        return []
    rows = rng.permuted(np.tile(losses, (len(sizes), 1)), axis=1)[:, : max(_GROUP_SIZES)].tolist()
    return [tuple(row[:n]) for row, n in zip(rows, sizes, strict=True)]


def _grid(tau: float) -> list[float]:
    """Return the losses 0 and 1, tau, its neighbours and the middles between, rising."""
    _check_tau(tau)
    around = (tau / 2, tau - _NEAR, tau + _NEAR, (1.0 + tau) / 2)
    return sorted({0.0, 1.0, float(tau), *(round(p, 12) for p in around if 0.0 < p < 1.0)})


def _grid_raises(grid: Sequence[float], n: int) -> Iterator[tuple[_Losses, _Losses]]:
    """Yield vectors of n losses and the same with one loss raised.

    Up to three losses these are all vectors over the grid and all such raises; with four and five the rising vectors,
    and raises by one step of the first of equal losses.
    """
    if n > 5:
        return
    vectors = itertools.product(grid, repeat=n) if n <= 3 else itertools.combinations_with_replacement(grid, n)
    for low in vectors:
        for i, p in enumerate(low):
            if n > 3 and i > 0 and low[i - 1] == p:
                continue
            higher = [q for q in grid if q > p]
            for q in higher if n <= 3 else higher[:1]:
                yield low, (*low[:i], q, *low[i + 1 :])


def _random_raises(
    grid: Sequence[float], tau: float, n: int, count: int, seed: int
) -> Iterator[tuple[_Losses, _Losses]]:
    """Yield random vectors, half their losses from the grid, with one loss raised, one carried over tau, all raised."""
    rng = generator(seed, "attitudes", "check", str(n))
    shape = (count, n)
    lows = np.where(rng.random(shape) < 0.5, rng.choice(grid, shape), rng.random(shape))
    highs = lows + (1.0 - lows) * rng.random(shape)
    over = min((p for p in grid if p > tau), default=1.0)
    for low, high, i in zip(lows.tolist(), highs.tolist(), rng.integers(n, size=count).tolist(), strict=True):
        yield tuple(low), (*low[:i], high[i], *low[i + 1 :])
        if low[i] < over:
            yield tuple(low), (*low[:i], over, *low[i + 1 :])
        yield tuple(low), tuple(high)


def _verdict(examples: Sequence[_Example], holds: Callable[[tuple[_Losses, ...], _Losses], bool]) -> Verdict:
    broken = min((e for e in examples if not holds(*e)), key=_complexity, default=None)
    return Verdict(len(examples), None if broken is None else Counterexample(*broken))


def _complexity(example: _Example) -> tuple[int, int, int, tuple[_Losses, ...]]:
    inputs, _ = example
    changes = sum(a != b for a, b in zip(inputs[0], inputs[-1], strict=True))
    return len(inputs[0]), changes, sum(len(repr(p)) for losses in inputs for p in losses), inputs


def _returns_the_first(inputs: tuple[_Losses, ...], outputs: _Losses) -> bool:
    return _le(inputs[0][0], outputs[0]) and _le(outputs[0], inputs[0][0])


def _call(aggregate: Aggregate, losses: _Losses) -> float:
    value: object = aggregate(list(losses))
    if not isinstance(value, (float, Real)):
        raise TypeError(f"aggregator returned {value!r}, not a number")
    return float(value)


def _le(a: float, b: float) -> bool:
    return a <= b + _TOLERANCE  # false for NaN, which is no loss


def _lt(a: float, b: float) -> bool:
    return a + _TOLERANCE < b


def _check_tau(tau: float) -> None:
    if not 0.0 <= tau <= 1.0:
        raise ValueError(f"tau={tau} must be from 0 to 1")
