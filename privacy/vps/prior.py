"""What is public of private costs before anything is said: the range of each variable's costs.

All of inference counts in *minimising user's units*: `sense * cost`, so that a problem and its maximising twin are the
same. A range is cut into levels 1..u: one for each whole number, or `bins` classes of equal width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from agentsim.dcop.problem import Cost, Variable
from agentsim.errors import UserError
from agentsim.runtime.view import Setup

DEFAULT_BINS: Final = 10
MAX_LEVELS: Final = 10**9


@dataclass(frozen=True, slots=True)
class Scale:
    """The public range of a variable's private costs, cut into levels 1..levels.

    Args:
        low: least cost, minimising.
        levels: u.
        width: of a level; 1 for whole numbers.
        classes: whether a level is a class of costs and not one cost.
        slop: tolerance for sums of fractional costs.
    """

    low: Cost
    levels: int
    width: float = 1
    classes: bool = False
    slop: float = 0.0

    @property
    def high(self) -> Cost:
        """The greatest cost."""
        return self.low + (self.levels * self.width if self.classes else self.levels - 1)

    def level(self, cost: Cost) -> int:
        """Return the level of a cost; the first or last one for a cost outside of the range."""
        if cost >= self.high:
            return self.levels
        if cost <= self.low:
            return 1
        return min(int((cost - self.low) / self.width) + 1 if self.classes else int(cost - self.low) + 1, self.levels)

    def at_most(self, cost: Cost) -> int:
        """Return the highest level that something that costs at most `cost` can have."""
        return self.level(cost + self.slop)

    def at_least(self, cost: Cost) -> int:
        """Return the lowest level that something that costs at least `cost` can have."""
        cost -= self.slop
        return self.level(cost if self.classes or not math.isfinite(cost) else math.ceil(cost))

    def least(self, level: int) -> Cost:
        """Return the least cost at a level."""
        return self.low + (level - 1) * self.width

    def greatest(self, level: int) -> Cost:
        """Return the greatest cost at a level."""
        return self.low + (level * self.width if self.classes else level - 1)


@dataclass(frozen=True)
class Prior:
    """The public ranges.

    Args:
        scales: by variable that has private costs, in the problem's order.
        source: "given", "declared", "observed" (least and greatest finite private cost of all agents), or "declared and
            observed" when only some variables declare a range.
        sense: +1 for a problem that minimises, -1 for one that maximises.
        bins: number of classes, or None when each whole number is a level.
        notes: sentences about what was assumed.
    """

    scales: Mapping[str, Scale]
    source: str
    sense: int = 1
    bins: int | None = None
    notes: tuple[str, ...] = ()

    def describe(self) -> dict[str, Any]:
        """Return the prior as findings show it: source, range (or ranges by variable) in user's units, bins."""
        ranges = {
            name: sorted((self.sense * scale.low, self.sense * scale.high)) for name, scale in self.scales.items()
        }
        same = len({tuple(r) for r in ranges.values()}) <= 1
        found: dict[str, Any] = {
            "source": self.source,
            "range": next(iter(ranges.values()), None) if same else None,
            "bins": self.bins,
        }
        if not same:
            found["ranges"] = ranges
        return found


def make_prior(setup: Setup, given: str | tuple[Cost, Cost] | None = None, bins: int | None = None) -> Prior:
    """Return the prior of a problem's private costs.

    Args:
        setup: the run's setup.
        given: "LO..HI" or (LO, HI) in the user's units, for every variable; None: the declared range of each variable,
            or else the least and greatest finite private cost over all agents.
        bins: number of classes of equal width; 10 by default where costs are not whole numbers.

    Raises:
        UserError: the range makes no sense.
    """
    problem = setup.problem
    private = [v for v in problem.variables.values() if v.unary is not None]
    chosen = None if given is None else _parse(given)
    declared = [v for v in private if v.cost_range is not None]
    undeclared = [v for v in private if v.cost_range is None]
    notes: list[str] = []
    if chosen is not None:
        source, fallback = "given", chosen
    else:
        source = "declared" if not undeclared else "observed" if not declared else "declared and observed"
        fallback = _observed(private) if undeclared else (0, 0)
    if not private:
        source = "nothing is private"
    if undeclared and chosen is None:
        notes.append(
            f"no range of private costs is declared for {len(undeclared)} of {len(private)} variables: that they lie "
            f"between {fallback[0]:g} and {fallback[1]:g}, the least and the greatest of all, is taken as public"
        )
    ranges = [chosen] if chosen is not None else [v.cost_range for v in declared] + [fallback]
    whole = all(_is_whole(v) for v in private) and all(
        float(x).is_integer() for r in ranges if r is not None for x in r
    )
    if bins is None and not whole:
        bins = DEFAULT_BINS
        notes.append(f"private costs are not whole numbers: each range is cut into {bins} classes (bins=)")
    if bins is not None and not 1 <= bins <= MAX_LEVELS:
        raise UserError(f"bins={bins}: must be from 1 to {MAX_LEVELS}")
    scales: dict[str, Scale] = {}
    outside = 0
    for v in private:
        low, high = fallback if chosen is not None or v.cost_range is None else v.cost_range
        scales[v.name] = _scale(v.name, low, high, setup.sense, bins, problem.tolerance)
        outside += not _contains(v, low, high, problem.tolerance)
    if outside:
        notes.append(f"the true costs of {outside} variables lie outside of the prior range: their losses mean nothing")
    return Prior(scales, source, setup.sense, bins, tuple(notes))


def _parse(given: str | tuple[Cost, Cost]) -> tuple[Cost, Cost]:
    low_text, dots, high_text = given.partition("..") if isinstance(given, str) else ("", "", "")
    try:
        low, high = (float(low_text), float(high_text)) if dots else (float(end) for end in given)
    except (TypeError, ValueError):
        raise UserError(f"prior={given}: write it as LO..HI, such as 1..6") from None
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise UserError(f"prior={given}: must be two finite numbers, the lower one first")
    return (int(low), int(high)) if low.is_integer() and high.is_integer() else (low, high)


def _observed(variables: list[Variable]) -> tuple[Cost, Cost]:
    low, high = math.inf, -math.inf
    for v in variables:
        assert v.unary is not None
        finite = v.unary[np.isfinite(v.unary)] if v.unary.dtype.kind == "f" else v.unary
        if finite.size:
            low, high = min(low, finite.min().item()), max(high, finite.max().item())
    return (low, high) if low <= high else (0, 0)


def _scale(name: str, low: Cost, high: Cost, sense: int, bins: int | None, tolerance: float) -> Scale:
    least, greatest = (low, high) if sense > 0 else (-high, -low)
    if bins is None:
        levels = int(greatest) - int(least) + 1
        if levels > MAX_LEVELS:
            raise UserError(f"variable {name}: {levels} possible costs are too many to tell apart: give bins=")
        return Scale(int(least), levels, slop=tolerance)
    if greatest == least:
        return Scale(least, 1, 0.0, True, tolerance)
    width = (greatest - least) / bins
    return Scale(least, bins, width, True, max(tolerance, 1e-9 * width))  # edges of classes are rounded


def _is_whole(variable: Variable) -> bool:
    assert variable.unary is not None
    finite = variable.unary[np.isfinite(variable.unary)] if variable.unary.dtype.kind == "f" else variable.unary
    return bool((finite == np.rint(finite)).all())


def _contains(variable: Variable, low: Cost, high: Cost, tolerance: float) -> bool:
    assert variable.unary is not None
    finite = variable.unary[np.isfinite(variable.unary)] if variable.unary.dtype.kind == "f" else variable.unary
    return bool(((finite >= low - tolerance) & (finite <= high + tolerance)).all())
