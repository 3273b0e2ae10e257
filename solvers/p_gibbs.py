"""P-Gibbs: SD-Gibbs with differential privacy (Damle, Triastcyn, Faltings and Gujar).

`variant` tells which of three algorithms runs:

paper     Procedure 5. As SD-Gibbs, but an agent samples anew with probability q only, from a soft-max with temperature
          gamma of the Gibbs probabilities (Eq. 5); relative utilities are clipped to [-c, c] and get normal noise of
          standard deviation tau sigma, tau = 2 c. gamma=inf is the paper's P-Gibbs-infinity: uniform samples.
code      as the authors published it, for study: UNSAFE. Noise has standard deviation sigma, without tau; one draw
          serves both relative utilities; what is clipped loses its sign; the relative utilities go up the tree without
          noise as well; everybody samples in iteration 1; the root sends a VALUE too many.
hardened  (default) what is left of P-Gibbs when nothing unaccounted leaves an agent, see below.

    message                                  from -> to           when
    VALUE, STOP as in SD-Gibbs               (paper, code)
    BACKTRACK(t, delta, best_delta, clean)   child -> parent      (paper, code) clean is () but in code
    CHOICE(value)                            to lower neighbours  (hardened) all upper neighbours have chosen

Why `paper` is not private for any finite epsilon: VALUE carries the best response, a function of the tables, in the
clear; it is also what most final assignments are made of. Leaving it out is not enough: the theorem bounds neither
what an agent emits (who samples shows in the value, so there is no amplification by a hidden coin, and two noisy
numbers leave an agent in each iteration, of which one is charged) nor an edge, whose table two agents use.

The hardened variant. One sweep down the tree, each agent choosing by a Gibbs distribution under the values chosen above
it; no relative utilities, so no incumbent, no root's decision, no message up. A table is read once, by the deepest
agent of its scope. Every further sweep would have to be paid for, and only the last value counts: one sweep is best.
The local cost is the sum of tables clipped to public ranges; what exceeds the least by more than a public width counts
as the width w. A value has probability proportional to exp(-b s), s in [0, w]. Over all tables its log-ratio is at most

    epsilon = ln (1 + (D - 1) exp(b w)) / (1 + (D - 1) exp(-b w))

which is attained, and is solved for b. Draws are exact (no floating point decides). sigma, gamma, q, iterations and
delta set the budget alone: epsilon is what the paper says for them, .662 by default, unless `epsilon` is given; it is
claimed for each agent's own mechanism, once, and so holds for any one table too, which one agent reads.

Guarantees: as claimed, if ranges are public (`range`, or declared in the problem). Complexity: hardened |E| messages.

Deviations from the paper: those of SD-Gibbs. Differing domain sizes are allowed, the bounds do not depend on them. Not
taken over from the published code: soft-max without shift (it ends in NaN at penalties of 10^5), constants in place of
parameters.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Final, Literal, NamedTuple

import numpy as np

from agentsim.runtime.delivery import Delivery
from agentsim.runtime.local_costs import refuse_unknown_costs
from agentsim.runtime.mechanisms import (
    Claim,
    Clear,
    Gaussian,
    Mechanism,
    Pure,
    SampledChoice,
    SampledGaussian,
    VisibleChoice,
    moments_epsilon,
)
from agentsim.runtime.messages import Array, Cost, Index, message
from agentsim.runtime.statements import Chosen, Nothing, ReaderContext, Released, Softmax, Statement, ValueIs
from agentsim.runtime.view import LocalConstraint, Setup
from solvers.exact_sampling import ExactCoins, Randomness, draw_coins, exponential
from solvers.sd_gibbs import SdGibbs, SdGibbsParams, SdGibbsReader, Stop, Value, pick

MOST: Final = 100.0
"""Greatest epsilon of the hardened variant."""

ORDER: Final = 100
"""Order of the moment that the paper's numbers are computed with; the sampling part takes one less."""


@message("BACKTRACK")
class Backtrack(NamedTuple):
    """As in SD-Gibbs, with noise; `clean` has the same two sums without noise, as the published code sends them."""

    t: int
    delta: Cost
    best_delta: Cost
    clean: tuple[Cost, ...]


@message("CHOICE")
class Choice(NamedTuple):
    """The sender's value, chosen once and for all."""

    value: Index


@dataclass(frozen=True)
class PGibbsParams(SdGibbsParams):
    """Parameters of P-Gibbs. See the module's docstring.

    Args:
        sigma: noise parameter: the standard deviation of noise is tau sigma, tau = 2 clip.
        gamma: temperature of the soft-max; inf for uniform samples.
        q: probability that an agent samples anew in an iteration.
        clip: relative utilities are clipped to [-clip, clip].
        delta: failure probability of the guarantee.
        variant: hardened, paper or code.
        epsilon: budget of the hardened variant, in place of what the paper says for the parameters above.
        range: LO..HI (in Python also a pair), public range of every table's entries, in the file's units; tables are
            clipped to it. None: the declared ranges, and where there are none those of the tables, which is reported
            as unaccounted.
        randomness: hardened: "crypto", keyed by the operating system, or "seed", by the run's seed.
    """

    sigma: float = 25.0
    gamma: float = 20.0
    q: float = 0.1
    clip: float = 25.0
    delta: float = 1e-2
    variant: Literal["hardened", "paper", "code"] = "hardened"
    epsilon: float | None = None
    range: str | None = None
    randomness: Randomness = "seed"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, fine, must in (
            ("sigma", 0 <= self.sigma < math.inf, "a number that is not negative"),
            ("gamma", self.gamma >= 1e-9, "at least 1e-9"),
            ("q", 0 <= self.q <= 1, "from 0 to 1"),
            ("clip", 0 < self.clip < math.inf, "a positive number"),
            ("delta", 0 < self.delta < 1, "between 0 and 1"),
            ("epsilon", self.epsilon is None or 0 <= self.epsilon <= MOST, f"from 0 to {MOST:g}"),
        ):
            if not fine:
                raise ValueError(f"{name}={getattr(self, name)}: must be {must}")
        if self.listing != "corrected":
            raise ValueError("listing: p-gibbs is built on the corrected SD-Gibbs only")
        if self.epsilon is not None and self.variant != "hardened":
            raise ValueError(f"epsilon: variant {self.variant} has what the paper says for its parameters")
        self.limits  # noqa: B018  # says so if it is malformed
        if self.variant == "hardened" and not self.claimed_epsilon <= MOST:
            raise ValueError(f"the paper's epsilon for these parameters is {self.claimed_epsilon:g}: give epsilon")

    @property
    def tau(self) -> float:
        """Sensitivity of a relative utility (Definition 5)."""
        return 2 * self.clip

    @property
    def limits(self) -> tuple[float, float] | None:
        """The given range as two numbers."""
        if self.range is None:
            return None
        low, dots, high = self.range.partition(".." if ".." in self.range else ",")  # a comma: from a pair in Python
        try:
            limits = float(low), float(high)
        except ValueError:
            limits = math.nan, math.nan
        if not dots or not -1e150 <= limits[0] <= limits[1] <= 1e150:
            raise ValueError(f"range={self.range}: must be LO..HI, two numbers")
        return limits

    @cached_property
    def published_epsilon(self) -> float:
        """What the paper's accountant gives for the parameters: each part with its own delta (Eqs. 9, 10)."""
        noise = (SampledGaussian(self.sigma, self.q), ORDER)
        parts: list[tuple[SampledChoice | SampledGaussian, int]]
        parts = [noise] if math.isinf(self.gamma) else [(SampledChoice(2 / self.gamma, self.q), ORDER - 1), noise]
        return math.fsum(moments_epsilon(parts, self.iterations, self.delta))

    @property
    def claimed_epsilon(self) -> float:
        """The epsilon that the run claims."""
        return self.published_epsilon if self.epsilon is None else self.epsilon


class PGibbs(SdGibbs):
    """Agent x_i of the pseudo-tree."""

    messages = (Value, Backtrack, Stop, Choice)
    Params = PGibbsParams
    carries = ("accounting",)

    params: PGibbsParams
    clean: tuple[Cost, ...] = ()

    @classmethod
    def refuse(cls, setup: Setup) -> None:
        """Refuse constraints that somebody in their scope does not know."""
        if setup.params.variant != "hardened":  # where the deepest agent alone reads a table
            refuse_unknown_costs(setup, "p-gibbs")

    @classmethod
    def claim(cls, setup: Setup) -> Claim:
        """Return the paper's epsilon, or the hardened variant's budget, for each agent's own mechanism once."""
        params: PGibbsParams = setup.params
        outside: list[str] = []
        final: list[Released] = []
        notes: list[str] = []
        if params.variant == "hardened":
            problem = setup.problem
            undeclared = sum(c.cost_range is None for c in problem.constraints.values())
            undeclared += sum(v.unary is not None and v.cost_range is None for v in problem.variables.values())
            if params.range is None and undeclared:
                outside.append(f"ranges of {undeclared} cost functions, taken from their tables: give range=LO..HI")
            event = Pure(params.claimed_epsilon)
            final = [
                Released("choice", (), event, 0, name, 0, tables)
                for name in problem.variables
                if (tables := setup.functions_at(name))
            ]
            if params.randomness == "seed":
                notes.append("draws follow from the run's seed: randomness=crypto where it counts")
        else:
            notes.append(f"variant {params.variant}: for study, not for use")
        return Claim(params.claimed_epsilon, params.delta, "own", tuple(outside), tuple(notes), tuple(final))

    async def run(self) -> None:
        """Run Procedures 1 to 5, or one accounted sweep."""
        if self.params.variant == "hardened":
            await self.choose_once()
        else:
            await super().run()

    # Procedure 5 -------------------------------------------------------------------------------------------------

    def draw(self, cost: Array) -> int:
        """Return a new value with probability q, else the old one (lines 2 to 11)."""
        forced = self.params.variant == "code" and self.t == 1
        if not forced and not self.rng.random() < self.params.q:
            return self.d_hat
        weights = np.exp(cost.min() - cost)
        probabilities = weights / weights.sum()
        return pick(self.rng.random(), np.exp((probabilities - probabilities.max()) / self.params.gamma))

    def sanitise(self) -> None:
        """Clip the own relative utilities and add noise to them (lines 15 to 20)."""
        params = self.params
        if params.variant == "code":
            self.clean = (self.delta, self.delta_bar)
            c, noise = params.clip, params.sigma * self.rng.normal()
            self.delta = (c if abs(self.delta) > c else self.delta) + noise
            self.delta_bar = (c if abs(self.delta_bar) > c else self.delta_bar) + noise
        else:
            c, deviation = params.clip, params.tau * params.sigma
            self.delta = max(-c, min(c, self.delta)) + deviation * self.rng.normal()
            self.delta_bar = max(-c, min(c, self.delta_bar)) + deviation * self.rng.normal()

    def on_backtrack(self, sender: str, report: Backtrack) -> None:  # type: ignore[override]  # has a field more
        if report.clean and report.t == self.t and sender not in self.reported:
            self.clean = (self.clean[0] + report.clean[0], self.clean[1] + report.clean[1])
        super().on_backtrack(sender, report)  # type: ignore[arg-type]

    def backtrack(self) -> None:
        assert self.parent is not None
        self.send(self.parent, Backtrack(self.t, self.delta, self.delta_bar, self.clean))

    def end(self) -> None:
        super().end()
        if self.params.variant == "code" and self.parent is None and self.children:
            self.sample()  # it does not return

    # Hardened ----------------------------------------------------------------------------------------------------

    async def choose_once(self) -> None:
        """Choose under the values chosen above, and tell those below."""
        place = self.view.tree
        upper = (*place.pseudo_parents, *(() if place.parent is None else (place.parent,)))
        coins = await draw_coins(self, self.params.randomness)
        above = await self.gather(Choice, upper)
        value = self.select(coins, {name: choice.value for name, choice in above.items()})
        self.assign(value)
        for name in self.view.neighbours:
            if name not in above:
                self.send(name, Choice(value))

    def select(self, coins: ExactCoins, context: Mapping[str, int]) -> int:
        """Return a value with probability proportional to exp(-b s), s being its clipped excess cost."""
        size = self.view.size
        tables = [
            (c, np.moveaxis(c.table, c.scope.index(self.name), -1))
            for c in self.view.constraints
            if context.keys() >= {v for v in c.scope if v != self.name}
        ]
        cost: list[Fraction | int] = [0] * size  # exact: whole numbers stay int, which is ten times faster
        ranges: list[Cost] = []
        for c, table in tables:
            low, high = self.public_range(c.table, c.bounds)
            at = tuple(context[v] for v in c.scope if v != self.name)
            cost = _plus(cost, np.clip(table[at], low, high))
            ranges.append(high - low)
        if self.view.has_unary:
            low, high = self.public_range(self.view.unary, self.view.unary_bounds)
            ranges.append(high - low)
            cost = _plus(cost, np.clip(self.view.unary, low, high))
        self.check(size * (len(tables) + self.view.has_unary))
        epsilon = self.params.claimed_epsilon
        width = Fraction(clipping_width(epsilon) * math.hypot(*ranges))
        if not width or size == 1:
            return coins.below(size)
        least = min(cost)
        excess = [min(c - least, width) / width for c in cost]
        return exponential(coins, excess, gibbs_exponent(epsilon, size))

    def public_range(self, table: Array, declared: tuple[Cost, Cost] | None) -> tuple[Cost, Cost]:
        """Return the range that a table is clipped to, in solver's units."""
        if self.params.limits is not None:
            ends = sorted(self.view.sense * x for x in self.params.limits)
            return ends[0], ends[1]
        if declared is not None:
            return declared
        finite = table[np.isfinite(table)]
        low, high = (finite.min().item(), finite.max().item()) if finite.size else (0, 0)
        # A forbidden tuple must cost more than any other.
        return low, high if finite.size == table.size else high + max(1, high - low)


def _plus(totals: list[Fraction | int], costs: Array) -> list[Fraction | int]:
    """Return the exact sums of totals and finite costs."""
    return [total + (x if isinstance(x, int) else Fraction(x)) for total, x in zip(totals, costs.tolist(), strict=True)]


def clipping_width(epsilon: float) -> float:
    """Return what costs are clipped at, above the least one, in roots of the sum of squared ranges.

    Public, and so free to choose. The less there is to spend, the more of the costs must count for anything to show;
    this is near the best for sums of 2 to 14 tables of uniform costs over 10 to 19 values.
    """
    return min(0.8, 2 / epsilon) if epsilon else 0.8


def gibbs_exponent(epsilon: float, domain: int) -> Fraction:
    """Return the greatest g with which a choice of exp(-g s), s in [0, 1], over `domain` values is epsilon-private.

    It solves (D - 1) y^2 - (e - 1) y - e (D - 1) = 0 for y = exp(g), e = exp(epsilon); rounded down.
    """
    others, e = domain - 1, math.exp(epsilon)
    y = (e - 1 + math.sqrt((e - 1) ** 2 + 4 * e * others**2)) / (2 * others)
    return Fraction(max(0, math.floor(math.log(y) * 2**32) - 1), 2**32)


_NUMBER: Final = Nothing("number of the iteration", ("t",))
_EMPTY: Final = Nothing("empty", ("clean",))
_FOLLOWS: Final = Nothing("follows from noisy sums", ("t_star", "t_bar"))


class PGibbsReader(SdGibbsReader):
    """What a viewer of P-Gibbs can conclude, and which mechanism stands between a table and a message."""

    def __init__(self, context: ReaderContext) -> None:
        super().__init__(context)
        self.params: PGibbsParams = context.params
        # The same objects again and again: accountants count them.
        self.drawn = VisibleChoice(1 / self.params.gamma, self.params.q, self.multiplier)
        self.forced = VisibleChoice(1 / self.params.gamma, 1.0, self.multiplier)
        self.noisy = Gaussian(2 * self.multiplier)
        self.law = Softmax((0.0, 1 / self.params.gamma), 1 - self.params.q, True)
        self.tables: dict[str, tuple[str, ...]] = {}
        for node, view in context.views.items():
            names = tuple(c.name for c in self.used(view.constraints, node))
            self.tables[node] = (node, *names) if view.has_unary else names

    def used(self, constraints: Sequence[LocalConstraint], node: str) -> list[LocalConstraint]:
        """Return the constraints that a node's own mechanism uses."""
        if self.params.variant != "hardened" or not constraints:
            return list(constraints)
        below = set(self.context.subtree[node]) - {node}
        return [c for c in constraints if below.isdisjoint(c.scope)]

    def read(self, delivery: Delivery) -> Iterable[Statement]:
        """Return the statements that one delivery supports, given all earlier ones."""
        content = delivery.message
        return self.choice(delivery.src, content) if isinstance(content, Choice) else super().read(delivery)

    def choice(self, src: str, choice: Choice) -> Iterator[Statement]:
        """Return what a CHOICE says."""
        mechanism = Pure(self.params.claimed_epsilon)
        yield Released("choice", ("value",), mechanism, 0, src, 0, self.tables.get(src, ()))
        yield ValueIs("value", ("value",), src, choice.value, "final")

    def sampled(self, src: str, value: Value, context: Mapping[str, int]) -> list[Statement]:
        """Return what a sampled value says, and by which mechanism it came about."""
        law = self.law if self.sampled_with(value.t) < 1 else Softmax((0.0, 1 / self.params.gamma), 0.0, True)
        return [
            ValueIs("value", ("t", "d"), src, value.d, "now"),
            Chosen("sample", ("d",), src, value.d, context, law, self.penalty),
            self.sample_use(src, "d", value.t),
        ]

    def sampled_with(self, t: int) -> float:
        """Return the probability of a new sample in iteration t."""
        return 1.0 if self.params.variant == "code" and t == 1 else self.params.q

    @property
    def multiplier(self) -> float:
        """Standard deviation of the noise on the relative utility, over its sensitivity."""
        return self.params.sigma / self.params.tau if self.params.variant == "code" else self.params.sigma

    def sample_use(self, src: str, field: str, t: int) -> Released:
        """Return the use that gives an iteration's value and, where it is a new one, its noisy relative utility."""
        return self.use(
            src, "sample", field, self.forced if self.sampled_with(t) == 1 else self.drawn, self.params.tau, t
        )

    def improvement(self, src: str, t: int) -> list[Statement]:
        """Return what the number of the best iteration says: it follows from noisy sums, the root's own among them."""
        follows: list[Statement] = [_FOLLOWS]
        if src in self.context.roots and t:
            follows.append(self.best_use(src, "t_bar", t))
        return follows

    def backtrack(self, src: str, report: Backtrack) -> Iterator[Statement]:  # type: ignore[override]
        """Return which mechanism stands before the relative utilities: the children's parts are released already."""
        params, t = self.params, report.t
        yield _NUMBER
        yield self.sample_use(src, "delta", t)
        yield self.best_use(src, "best_delta", t)
        if params.variant == "code":
            clean = Clear("relative utilities without noise")
            yield self.use(src, "clean-delta", "clean", clean, params.tau, t)
        else:
            yield _EMPTY

    def best_use(self, src: str, field: str, t: int) -> Released:
        """Return the use that gives an iteration's noisy relative utility of the best response."""
        if self.params.variant == "code":
            both = Clear("the same noise as on the other relative utility: their difference is exact")
            return self.use(src, "best-delta", field, both, self.params.tau, t)
        # The best response is compared with a candidate for it: clipped to [0, c], the sensitivity is c.
        return self.use(src, "best-delta", field, self.noisy, self.params.clip, t)

    def use(self, src: str, label: str, field: str, mechanism: Mechanism, sensitivity: float, t: int) -> Released:
        """Return one use of a node's tables in iteration t."""
        return Released(label, (field,), mechanism, sensitivity, src, t, self.tables.get(src, ()))


PGibbs.reader = PGibbsReader
