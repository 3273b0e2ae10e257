"""Aggregators: from the privacy loss of each agent to one loss of the system.

Lee, Mak and Shi, "A General Privacy Loss Aggregation Framework for Distributed Constraint Reasoning", section III:
an aggregation function takes N >= 1 losses in [0, 1] (0: nothing leaked, 1: all others know everything) to one in
[0, 1] such that (1) Agg([p]) = p, (2) Agg(0, .., 0) = 0 and Agg(1, .., 1) = 1, (3) no loss can rise and Agg fall. It is
idempotent if Agg(c, .., c) = c; then min <= Agg <= max (Lemma 1). `privacy.attitudes` tests a function for all of that.

Not everything here is an aggregation function: `mean-above` and `mean-below` break axioms (1) and (3), and so does
`risk`, the one of the paper's own experiments, with (3). They are offered because the paper proposes or uses them.

An aggregator of your own is a function of a sequence of losses, or a frozen dataclass like those below, registered
under the entry point group `agentsim.aggregators`.
"""

from __future__ import annotations

import dataclasses
import math
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Final, TypeAlias

from agentsim.errors import UserError
from agentsim.runtime import registry

TAU: Final = 0.083
"""Default threshold: the paper's for DiMES (section V)."""

Aggregate: TypeAlias = Callable[[Sequence[float]], float]
"""What takes N >= 1 losses in [0, 1], one for each agent, to the loss of the system."""


@dataclass(frozen=True)
class Average:
    """Arithmetic mean (section III)."""

    def __call__(self, losses: Sequence[float]) -> float:
        """Return the mean; ValueError unless there are losses, all in [0, 1]."""
        return _mean(_checked(losses))


@dataclass(frozen=True)
class Max:
    """Largest loss (section III)."""

    def __call__(self, losses: Sequence[float]) -> float:
        """Return the maximum; ValueError unless there are losses, all in [0, 1]."""
        return max(_checked(losses))


@dataclass(frozen=True)
class Min:
    """Smallest loss (section III)."""

    def __call__(self, losses: Sequence[float]) -> float:
        """Return the minimum; ValueError unless there are losses, all in [0, 1]."""
        return min(_checked(losses))


@dataclass(frozen=True)
class Median:
    """Median, between the middle two if N is even (Example 1)."""

    def __call__(self, losses: Sequence[float]) -> float:
        """Return the median; ValueError unless there are losses, all in [0, 1]."""
        return statistics.median(_checked(losses))


@dataclass(frozen=True)
class KthMax:
    """The k-th largest loss (Lemma 2).

    Args:
        k: which, from 1; with fewer than k agents, the smallest loss.
    """

    k: int = 1

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k={self.k} must be at least 1")

    def __call__(self, losses: Sequence[float]) -> float:
        """Return the k-th largest; ValueError unless there are losses, all in [0, 1]."""
        return sorted(_checked(losses), reverse=True)[: self.k][-1]


@dataclass(frozen=True)
class Weighted:
    """Weighted mean (Lemma 2).

    Lemma 2 asks only that the weights sum to 1. They must also be >= 0: with (2, -1), Agg(.8, .6) = 1 is above the
    largest loss, and Agg falls as the second loss rises.

    Args:
        weights: one for each agent, such as 1/2/1; at least 0, not all 0, normalised to sum 1. Empty: equal weights.
    """

    weights: str | tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", _normalised(self.weights))

    def __call__(self, losses: Sequence[float]) -> float:
        """Return the mean; ValueError unless there are as many losses as weights, all in [0, 1]."""
        checked = _checked(losses)
        if not self.weights:
            return _mean(checked)
        assert isinstance(self.weights, tuple)
        if len(self.weights) != len(checked):
            raise ValueError(f"{len(self.weights)} weights for {len(checked)} losses")
        return _within(math.fsum(w * p for w, p in zip(self.weights, checked, strict=True)), checked)


@dataclass(frozen=True)
class Geometric:
    """Geometric mean: 0 if any loss is 0, as a root's is (Example 2)."""

    def __call__(self, losses: Sequence[float]) -> float:
        """Return the mean; ValueError unless there are losses, all in [0, 1]."""
        checked = _checked(losses)
        if 0.0 in checked:
            return 0.0
        return _within(math.exp(math.fsum(map(math.log, checked)) / len(checked)), checked)


@dataclass(frozen=True)
class Harmonic:
    """Harmonic mean: 0 if any loss is 0 (not in the paper)."""

    def __call__(self, losses: Sequence[float]) -> float:
        """Return the mean; ValueError unless there are losses, all in [0, 1]."""
        checked = _checked(losses)
        smallest = min(checked)
        if smallest == 0.0:
            return 0.0
        # Relative to the smallest: 1 / p would overflow for p < 1e-308.
        return _within(smallest * (len(checked) / math.fsum(smallest / p for p in checked)), checked)


@dataclass(frozen=True)
class _Threshold:
    """An aggregator that looks at which losses exceed a threshold.

    Args:
        tau: the user's expected loss; a loss equal to it is neither above nor below (Definition 3).
    """

    tau: float = TAU

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # all of them are losses
            value = getattr(self, field.name)
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{field.name}={value} must be from 0 to 1")


@dataclass(frozen=True)
class MeanAbove(_Threshold):
    """Mean of the losses above tau (Example 2).

    No aggregation function: a single loss up to tau becomes `empty`, against axiom (1); and at tau = .5
    Agg(1, .5) = 1 but Agg(1, .7) = .85, against axiom (3).

    Args:
        empty: the result where no loss is above tau; other than 0, it breaks axiom (2) too.
    """

    empty: float = 0.0

    def __call__(self, losses: Sequence[float]) -> float:
        """Return the mean or `empty`; ValueError unless there are losses, all in [0, 1]."""
        above = [p for p in _checked(losses) if p > self.tau]
        return _mean(above) if above else self.empty


@dataclass(frozen=True)
class MeanBelow(_Threshold):
    """Mean of the losses below tau (Example 2).

    No aggregation function: a single loss from tau on becomes `empty`, against axiom (1), and Agg(1, .., 1) is `empty`
    as well, against (2) unless `empty` is 1; at tau = .5 Agg(.4, .1) = .25 but Agg(.6, .1) = .1, against (3).

    Args:
        empty: the result where no loss is below tau.
    """

    empty: float = 0.0

    def __call__(self, losses: Sequence[float]) -> float:
        """Return the mean or `empty`; ValueError unless there are losses, all in [0, 1]."""
        below = [p for p in _checked(losses) if p < self.tau]
        return _mean(below) if below else self.empty


@dataclass(frozen=True)
class Risk(_Threshold):
    """Max if all exceed tau, min if none, else the mean of those above (section V).

    No aggregation function, though idempotent and within [min, max]: at tau = .5 Risk(.4, .4, 1) = 1 but
    Risk(.4, .6, 1) = .8, against axiom (3). It takes three agents to show. `risk-mean` and `risk-max` are repairs.

    The paper's "all lower than tau" leaves out losses equal to tau; the mean of those above would then be a mean of
    nothing, so here the minimum holds wherever no loss exceeds tau. Its remark that Risk is 0 "if no privacy loss is
    greater than tau" is true if some agent, such as the root, leaks nothing.
    """

    def __call__(self, losses: Sequence[float]) -> float:
        """Return the loss; ValueError unless there are losses, all in [0, 1]."""
        checked = _checked(losses)
        above = [p for p in checked if p > self.tau]
        if not above:
            return min(checked)
        return max(checked) if len(above) == len(checked) else _mean(above)


@dataclass(frozen=True)
class RiskMean(_Threshold):
    """Risk made monotone: in between, the mean of max(p, tau).

    Ours, a repair of the paper's Risk. Monotone everywhere: so is each branch, and rising losses can only lead from
    "none exceeds tau" through "some do" to "all do". Min <= tau < mean_i max(p_i, tau) takes the first step,
    mean_i max(p_i, tau) <= mean_i p'_i <= max_i p'_i the second, losses equal to tau included. The price: with two
    agents or more below tau it is combined-neutral, where Risk is combined-pessimistic.
    """

    def __call__(self, losses: Sequence[float]) -> float:
        """Return the loss; ValueError unless there are losses, all in [0, 1]."""
        checked = _checked(losses)
        smallest, largest = min(checked), max(checked)
        if largest <= self.tau:
            return smallest
        return largest if smallest > self.tau else _mean([max(p, self.tau) for p in checked])


@dataclass(frozen=True)
class RiskMax(_Threshold):
    """Risk made monotone: max if any exceeds tau, else min.

    Ours, a repair of the paper's Risk. Monotone everywhere (min <= tau < max at the one step there is) and
    combined-pessimistic, as Risk is.
    """

    def __call__(self, losses: Sequence[float]) -> float:
        """Return the loss; ValueError unless there are losses, all in [0, 1]."""
        checked = _checked(losses)
        largest = max(checked)
        return largest if largest > self.tau else min(checked)


@dataclass(frozen=True)
class Hybrid:
    """An aggregator for each group of agents, and one for the groups' results (Example 1).

    Idempotent if all of them are (Lemma 3). It is defined for one number of agents, so it has no name to be found by.

    >>> groups = [(Max(), (0, 1)), (Median(), (2, 3, 4, 5)), (Average(), (6, 7, 8))]
    >>> Hybrid(groups, Max())([0, 0.1, 0.2, 0.4, 0.6, 0.8, 0.3, 0.3, 0.3])
    0.5

    Args:
        groups: aggregators, each with the positions, from 0, of the losses it takes. They share out all positions
            up to the highest, each to one group; ValueError otherwise.
        outer: takes the results, in the order of the groups.
    """

    groups: Sequence[tuple[Aggregate, Sequence[int]]]
    outer: Aggregate

    def __post_init__(self) -> None:
        groups = tuple((inner, tuple(members)) for inner, members in self.groups)
        object.__setattr__(self, "groups", groups)
        shares = [list(members) for _, members in groups]
        positions = sorted(i for share in shares for i in share)
        if not positions or positions != list(range(len(positions))) or not all(shares):
            raise ValueError(f"groups {shares} must share out positions from 0 on, each to one group")

    def __call__(self, losses: Sequence[float]) -> float:
        """Return the loss; ValueError unless there are as many losses as positions, all in [0, 1]."""
        checked = _checked(losses)
        size = sum(len(members) for _, members in self.groups)
        if len(checked) != size:
            raise ValueError(f"groups of {size} agents for {len(checked)} losses")
        return self.outer([inner([checked[i] for i in members]) for inner, members in self.groups])


def parse_aggregators(
    spec: str | Mapping[str, Aggregate] | Sequence[str | Aggregate],
    *,
    tau: float | None = None,
    empty: float | None = None,
) -> dict[str, Aggregate]:
    """Return aggregators by name, in the order given.

    >>> list(parse_aggregators("average + kth-max(k=2) + mean-above(tau=.1, empty=1)"))
    ['average', 'kth-max(k=2)', 'mean-above(tau=.1,empty=1)']

    Args:
        spec: names of registered aggregators joined by "+", each with parameters in parentheses or without; the keys
            are what is written, without spaces. Or a sequence of such texts and of functions, whose key is their
            name. Or functions by name. Functions are taken as they are, but one that does not return a number raises
            UserError when it is called.
        tau: default threshold for the named aggregators that have one.
        empty: the same, for their parameter `empty`.

    Raises:
        UserError: nothing given, an unknown name or parameter, a bad value, malformed text, the same one twice.
    """
    defaults = {name: value for name, value in (("tau", tau), ("empty", empty)) if value is not None}
    found: dict[str, Aggregate] = {}
    for key, aggregate in _named(spec, defaults):
        if key in found or aggregate in found.values():
            raise UserError(f"aggregators: {key} is there twice")
        found[key] = aggregate
    if not found:
        raise UserError("aggregators: none is given")
    return found


@dataclass(frozen=True)
class _Own:
    """Somebody's function, held to returning a number."""

    name: str
    function: Aggregate

    def __call__(self, losses: Sequence[float]) -> float:
        value: object = self.function(losses)
        if not isinstance(value, Real) or math.isnan(value):
            raise UserError(f"aggregator {self.name} returned {value!r}, not a number")
        return float(value)


def _named(
    spec: str | Mapping[str, Aggregate] | Sequence[str | Aggregate], defaults: Mapping[str, float]
) -> Iterable[tuple[str, Aggregate]]:
    """Yield names and aggregators, the same one as often as it is written."""
    if isinstance(spec, Mapping):
        for name, function in spec.items():
            yield name, _own(name, function)
        return
    items: object = [spec] if isinstance(spec, str) else spec
    if not isinstance(items, (list, tuple)):
        raise UserError(f"aggregators: {items!r} must be text such as average+max, a list, or functions by name")
    for item in items:
        if not isinstance(item, str):
            name = getattr(item, "__name__", None) or repr(item)
            yield name, _own(name, item)
            continue
        for part in re.split(r"\+(?![^(]*\))", "".join(item.split())):  # at each + outside parentheses
            yield part, _made(part, defaults)


def _own(name: str, function: Aggregate) -> Aggregate:
    if not callable(function):
        raise UserError(f"aggregator {name}: {function!r} is not a function of the losses")
    return _Own(name, function)


def _made(text: str, defaults: Mapping[str, float]) -> Aggregate:
    """Return the aggregator written as `name` or `name(parameter=value,...)`, without spaces."""
    match = re.fullmatch(r"([^()=,]+)(?:\(([^()]*)\))?", text)
    if match is None:
        raise UserError(f"aggregator {text!r} must be a name or name(parameter=value,...)")
    name, inside = match[1], match[2]
    given: dict[str, object] = {}
    for pair in inside.split(",") if inside else ():
        parameter, equals, value = pair.partition("=")
        if not (parameter and equals and value):
            raise UserError(f"aggregator {text}: {pair!r} must be parameter=value")
        if parameter in given:
            raise UserError(f"aggregator {text}: {parameter} is given twice")
        given[parameter] = value
    found = registry.find("aggregators", name)
    if isinstance(found, type) and dataclasses.is_dataclass(found):
        known = {field.name for field in dataclasses.fields(found)}
        usual = {parameter: value for parameter, value in defaults.items() if parameter in known}
        made: Aggregate = registry.make_params(found, usual | given, f"aggregator {name}")
        return made
    registry.make_params(None, given, f"aggregator {name}")  # refuses what is given
    return _own(name, found() if isinstance(found, type) else found)


def _checked(losses: Sequence[float]) -> list[float]:
    """Return the losses; ValueError unless there are any and all are in [0, 1]."""
    checked = [float(p) for p in losses]
    if not checked:
        raise ValueError("there are no losses to aggregate")
    for p in checked:
        if not 0.0 <= p <= 1.0:  # NaN too
            raise ValueError(f"loss {p} must be from 0 to 1")
    return checked


def _within(value: float, losses: Sequence[float]) -> float:
    """Return a mean, kept within its losses: rounding must not break Lemma 1, nor leave [0, 1] within a hybrid."""
    return min(max(value, min(losses)), max(losses))


def _mean(losses: Sequence[float]) -> float:
    # fsum is the rounded exact sum, so this mean is monotone to the last bit.
    return _within(math.fsum(losses) / len(losses), losses)


def _normalised(weights: str | Sequence[float]) -> tuple[float, ...]:
    """Return weights with the sum 1; ValueError if they are negative, all 0, or no numbers."""
    if isinstance(weights, str):
        try:  # a list in a file arrives joined by commas
            weights = [float(part) for part in weights.replace(",", "/").split("/")] if weights else ()
        except ValueError:
            raise ValueError(f"weights={weights!r} must be numbers separated by slashes, such as 1/2/1") from None
    largest = max(weights, default=1.0)
    if not all(0.0 <= w < math.inf for w in weights) or largest == 0.0:
        raise ValueError(f"weights={'/'.join(map(str, weights))} must be at least 0 and finite, and not all 0")
    relative = [w / largest for w in weights]  # their sum cannot overflow
    total = math.fsum(relative)
    return tuple(w / total for w in relative)
