"""Profiles of private costs, and what is lost when fewer of them are possible.

A *profile* gives each unknown private cost one of the levels of its public range. Costs are numbered as *cells*, one
for each entry of each cost function that is not known. A cell's level counts from 0 here: the cost, in minimising
user's units, is the least of its range plus the level. Of an entry that may be *forbidden* or cost nothing, level 1 is
that it is forbidden; it then weighs `FORBIDDEN`, more than all finite costs together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agentsim.dcop.problem import Cost
from agentsim.errors import UserError
from agentsim.runtime.view import Setup
from privacy.vps.metrics import full_loss
from privacy.vps.prior import Prior

FORBIDDEN: Final = 1 << 40
"""What a forbidden entry weighs; sums from half of it upwards are infinite."""

Key = str | tuple[str]
"""A cost function: a private cost by its variable's name, a constraint by its name in a tuple."""

Chances = NDArray[np.float64]
Weights = Mapping[str, Chances]
"""By variable, prior probability of each level of each value, shape (d, u)."""


def check_prior(prior: Prior, setup: Setup, who: str, most: int, weights: Weights | None = None) -> None:
    """Refuse a prior under which profiles cannot be counted, or under which the true one is not possible.

    Args:
        prior: the public ranges.
        setup: the run's setup.
        who: what to call whoever asks.
        most: most levels of one cost.
        weights: probabilities of the levels; uniform where none.

    Raises:
        UserError: costs are not whole numbers, there are too many levels, or a true cost is none of them.
    """
    if prior.bins is not None or not setup.problem.integral:
        raise UserError(f"{who}: costs must be whole numbers, so that what is possible can be counted")
    outside = []
    for name, scale in prior.scales.items():
        if scale.levels > most:
            raise UserError(
                f"{who}: variable {name}: {scale.levels} possible costs of one value, more than limit={most}"
            )
        unary = setup.problem.variables[name].unary
        assert unary is not None
        allowed = np.isfinite(unary)
        levels = (setup.sense * unary[allowed]).astype(np.int64) - int(scale.low)
        inside = bool(((levels >= 0) & (levels < scale.levels)).all())
        if inside and weights is not None and name in weights:
            inside = bool((weights[name][np.flatnonzero(allowed), levels] > 0).all())
        if not inside:
            outside.append(name)
    if outside:
        raise UserError(
            f"{who}: the true private costs of {', '.join(outside[:5])}{' ...' if outside[5:] else ''} are impossible "
            "under the prior: give a prior range that has them"
        )


@dataclass(frozen=True, eq=False)
class Cells:
    """The private costs that somebody does not know, numbered.

    Args:
        variable: by cell; of an entry of several variables, the first.
        value: by cell, the domain index; of an entry of several variables, its place in the table.
        levels: by cell, the number of levels u.
        chances: by cell, the prior probability of each level, shape (u,); None when all are equally likely.
        at: by unknown cost function (`LocalConstraint.key`), the cell of each entry, of the table's shape; -1 for an
            entry that is known to be forbidden (an infinite cost).
        floors: by unknown cost function, what level 0 costs, in solver's units; 0 where left out.
        weights: by cell, what one level weighs; None: 1 everywhere.
        one: by cost function, the one that stands for several which count as one; each other is one by itself.
    """

    variable: tuple[str, ...]
    value: tuple[int, ...]
    levels: tuple[int, ...]
    chances: tuple[Chances, ...] | None
    at: Mapping[Key, NDArray[np.intp]]
    floors: Mapping[Key, Cost] = field(default_factory=dict)
    weights: NDArray[np.int64] | None = None
    one: Mapping[Key, Key] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.variable)

    @classmethod
    def of(cls, setup: Setup, prior: Prior, known: Iterable[str] = (), weights: Weights | None = None) -> Cells:
        """Return the cells of all variables with private costs but those that the agents `known` own.

        Args:
            setup: the run's setup.
            prior: the public ranges; whole-number levels, no classes.
            known: agents whose private costs are known.
            weights: by variable, prior probabilities, shape (d, u); uniform for a variable without.
        """
        own = frozenset(known)
        variable: list[str] = []
        value: list[int] = []
        at: dict[Key, NDArray[np.intp]] = {}
        for name in prior.scales:
            v = setup.problem.variables[name]
            if v.agent in own:
                continue
            assert v.unary is not None
            cells = []
            for i, allowed in enumerate(np.isfinite(v.unary).tolist()):
                cells.append(len(variable) if allowed else -1)
                if allowed:
                    variable.append(name)
                    value.append(i)
            at[name] = np.array(cells)
        levels = tuple(prior.scales[name].levels for name in variable)
        floors: dict[Key, Cost] = {
            v: prior.scales[v].low + setup.unary_offsets.get(v, 0) for v in dict.fromkeys(variable)
        }
        chances = None
        if weights:
            chances = tuple(
                np.asarray(weights[name][i], np.float64) if name in weights else np.full(u, 1 / u)
                for name, i, u in zip(variable, value, levels, strict=True)
            )
        return cls(tuple(variable), tuple(value), levels, chances, at, floors)

    def of_function(self, name: Key) -> list[int]:
        """Return the cells of a cost function, without the entries that are known to be forbidden."""
        return [cell for cell in self.at[name].ravel().tolist() if cell >= 0]

    def prior(self, cell: int) -> Chances:
        """Return the prior probability of each level of a cell, shape (u,)."""
        return self.chances[cell] if self.chances is not None else np.full(self.levels[cell], 1 / self.levels[cell])


def entropy(chances: Chances) -> float:
    """Return the entropy of a distribution in bits."""
    positive = chances[chances > 0]
    return float(-(positive * np.log2(positive)).sum()) + 0.0


def loss(metric: str, before: Chances, after: Chances) -> float:
    """Return the loss of one cost whose levels had chances `before` and now have `after`, in the metric's unit.

    With equal chances it is what `privacy.vps.metrics` gives for the levels left (Lee, Mak and Shi, section II.C).
    With others the entropy may rise, so that a loss is negative.
    """
    if metric == "entropy":
        lost = entropy(before) - entropy(after)
    elif metric == "proportional":
        u, k = np.count_nonzero(before), np.count_nonzero(after)
        lost = (u - k) / (u - 1) if u > 1 else 0.0
    else:
        blind, guess = float(before.max()), float(after.max())
        lost = (guess - blind) / (1 - blind) if blind < 1 else 0.0
    return 0.0 if abs(lost) < 1e-12 else float(lost)


def full(metric: str, variable: str, setup: Setup, prior: Prior, weights: Weights | None = None) -> float:
    """Return the loss of a variable when all its private costs are known, in the metric's unit.

    Values that their owner forbids count too, as they do in `privacy.vps`, though nothing more can be lost of them.
    """
    if weights is None or variable not in weights:
        return full_loss(metric, setup.problem.variables[variable].size, prior.scales[variable].levels)
    if metric == "entropy":
        return sum(entropy(row) for row in weights[variable])
    return float(sum(np.count_nonzero(row) > 1 for row in weights[variable]))
