"""P-Gibbs' games: what the published algorithm and its hardened form say of the table of one agent.

`paper` and `code`: the target is a leaf; those above it hold value 0 and keep the iterations going. The target's values
d_0 = 0, d_1, ..., d_T are a Markov chain, of which the message fields are functions with or without noise. Whichever
fields are seen, their likelihood is a sum over all chains, worked out forwards; values that are seen leave one.

    VALUE.d                  the value: with probability q a new one, by the soft-max of the Gibbs probabilities
    VALUE.best               the best response: always the same
    BACKTRACK.delta          utility gained, clipped: normal with standard deviation tau sigma (code: sigma)
    BACKTRACK.best_delta     the same of the best response (code: with the very noise of delta)
    BACKTRACK.clean          (code) both without clipping and noise
    VALUE.t, t_star, t_bar and BACKTRACK.t repeat what the target was told

`hardened`: the target chooses once and tells those below it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from agentsim.runtime.agent import Agent
from agentsim.runtime.delivery import Delivery
from privacy.audit import Floats
from scenarios.audits.base import GAIN, Choices, Forest, Game, Subject, misfit
from solvers.exact_sampling import exponential_pmf
from solvers.p_gibbs import Backtrack, Choice, PGibbs, PGibbsParams, clipping_width, gibbs_exponent
from solvers.sd_gibbs import Stop, Value

VALUE_D: Final = "VALUE.d"
BEST: Final = "VALUE.best"
DELTA: Final = "BACKTRACK.delta"
BEST_DELTA: Final = "BACKTRACK.best_delta"
CLEAN: Final = "BACKTRACK.clean"
REPEATED: Final = ("VALUE.t", "VALUE.t_star", "VALUE.t_bar", "BACKTRACK.t")


def game(subject: Subject, seed: int, view: str | None) -> Game:
    """Return the game of a variant."""
    made: type[Forest] = HardenedGame if subject.params.variant == "hardened" else IterationsGame
    return made.of(subject, seed, view)


# Hardened ------------------------------------------------------------------------------------------------------


class Chosen(Agent):
    """Tells 0 to everybody below, or hears."""

    messages = PGibbs.messages

    async def run(self) -> None:
        """Tell or hear."""
        self.assign(0)
        if self.view.tree.parent is None:
            self.broadcast(Choice(0))
        else:
            await self.receive(Choice)


class HardenedGame(Choices):
    """The target's choice."""

    keeps = Chosen
    field = "CHOICE.value"

    def law(self, world: int) -> Sequence[float]:
        """Return the probability of each value of the target's."""
        params: PGibbsParams = self.subject.params
        low, high = (0.0, self.gain) if params.limits is None else params.limits
        costs = np.clip(self.costs(world), -high, -low)
        epsilon = params.claimed_epsilon
        width = clipping_width(epsilon) * (high - low)
        excess = np.minimum(costs - costs.min(), width) / width if width else np.zeros(2)
        return exponential_pmf(excess.tolist(), float(gibbs_exponent(epsilon, 2)))


# Paper and code ------------------------------------------------------------------------------------------------


class Steady(Agent):
    """Keeps its value 0 in every iteration, and claims to gain nothing by it."""

    messages = PGibbs.messages

    def start(self) -> None:
        """Begin the first iteration, at the root."""
        self.assign(0)
        self.parent, (self.child,) = self.view.tree.parent, self.view.tree.children
        if self.parent is None:
            self.broadcast(Value(1, 0, 0, 0, 0))

    def on_value(self, sender: str, value: Value) -> None:
        """Begin the iteration that the parent has begun."""
        if sender == self.parent:
            self.broadcast(Value(value.t, 0, 0, 0, 0))

    def on_backtrack(self, sender: str, report: Backtrack) -> None:
        """End the iteration, and begin the next one or end the run."""
        if self.parent is not None:
            self.send(self.parent, Backtrack(report.t, 0, 0, ()))
        elif report.t < self.params.iterations:
            self.broadcast(Value(report.t + 1, 0, 0, 0, 0))
        else:
            self.on_stop("", Stop(0, 0))

    def on_stop(self, sender: str, stop: Stop) -> None:
        """Pass it on."""
        self.send(self.child, stop)
        self.finish()


class IterationsGame(Forest):
    """The target's values and relative utilities in all iterations."""

    keeps = Steady
    downwards = False
    batch: ClassVar[int] = 50

    @property
    def gain(self) -> float:
        """How much more utility the target has of one value than of the other.

        In `code` what is clipped loses its sign: more than the clip would tell less.
        """
        params: PGibbsParams = self.subject.params
        return min(GAIN, params.clip) if params.variant == "code" else GAIN

    def subsets(self) -> dict[str, frozenset[str]]:
        """Return the sets of fields to look at, by name."""
        single = [VALUE_D, BEST, DELTA, BEST_DELTA]
        if self.subject.params.variant == "code":
            single.append(CLEAN)
        sets = [*([name] for name in single), [VALUE_D, DELTA], [DELTA, BEST_DELTA], [VALUE_D, DELTA, BEST_DELTA]]
        return {"+".join(names): frozenset(names) for names in sets} | {"all fields": frozenset(single)}

    def scores(self, runs: Sequence[Sequence[Delivery]]) -> dict[str, Floats]:
        """Return the log-ratios of the sets of fields, and none for what is repeated."""
        seen = {name: np.array(field) for name, field in self.fields(runs).items()}
        worlds = [_World(self.costs(world), self.subject.params) for world in (0, 1)]
        found = {}
        for name, fields in self.subsets().items():
            zero, one = (world.log_likelihood(seen, fields) for world in worlds)
            if np.isneginf(np.maximum(zero, one)).any():
                raise misfit(self.subject)
            found[name] = one - zero
        return found | dict.fromkeys(REPEATED, np.zeros(len(runs)))

    def fields(self, runs: Sequence[Sequence[Delivery]]) -> dict[str, list[Any]]:
        """Return what each target sent, by field, run and iteration; RunError if that is not what it should send."""
        iterations = range(1, self.subject.params.iterations + 1)
        found: dict[str, list[Any]] = {name: [] for name in (VALUE_D, BEST, DELTA, BEST_DELTA, CLEAN)}
        for run in runs:
            values = dict.fromkeys(d.message for d in run if d.type == "VALUE")  # the same to all neighbours
            reports = [d.message for d in run if d.type == "BACKTRACK"]
            told = [(v.t, v.t_star, v.t_bar) for v in values]
            if told != [(t, 0, 0) for t in iterations] or [r.t for r in reports] != list(iterations):
                raise misfit(self.subject)
            found[VALUE_D].append([v.d for v in values])
            found[BEST].append([v.best for v in values])
            found[DELTA].append([r.delta for r in reports])
            found[BEST_DELTA].append([r.best_delta for r in reports])
            found[CLEAN].append([r.clean for r in reports])
        return found


class _World:
    """The laws of the target's messages in one world.

    Args:
        costs: of its values, in solver's units.
        params: the solver's.
    """

    def __init__(self, costs: Sequence[float], params: PGibbsParams) -> None:
        self.params = params
        c = np.array(costs)
        code, clip = params.variant == "code", params.clip
        gibbs = np.exp(c.min() - c)
        probabilities = gibbs / gibbs.sum()
        choice = np.exp((probabilities - probabilities.max()) / params.gamma)
        self.choice = choice / choice.sum()  # Eq. 5
        self.best = int(c.argmin())
        self.gained = c[:, None] - c[None, :]  # by the value before and the new one
        self.best_gained = c - c.min()  # by the value before
        self.deviation = params.sigma * (1.0 if code else params.tau)
        self.delta, self.best_delta = (
            np.where(np.abs(x) > clip, clip, x) if code else np.clip(x, -clip, clip)
            for x in (self.gained, self.best_gained)
        )

    def log_likelihood(self, seen: Mapping[str, NDArray[Any]], fields: Collection[str]) -> Floats:
        """Return the log-likelihood of some fields, the others being unseen, by run.

        Args:
            seen: by field, shape (runs, iterations), for CLEAN (runs, iterations, 2).
            fields: those that are looked at.
        """
        runs, iterations = seen[VALUE_D].shape
        chain = np.full(
            (runs, len(self.choice)), -math.inf
        )  # log-likelihood of what was seen up to now and of the value now
        chain[:, 0] = 0.0
        with np.errstate(divide="ignore"):
            for t in range(iterations):
                q = 1.0 if self.params.variant == "code" and t == 0 else self.params.q
                steps = np.log((1 - q) * np.eye(len(self.choice)) + q * self.choice)
                now = {field: seen[field][:, t] for field in fields}
                chain = np.logaddexp.reduce(chain[:, :, None] + steps + self._emission(now, runs), axis=1)
        total: Floats = np.logaddexp.reduce(chain, axis=1)
        return total

    def _emission(self, now: Mapping[str, NDArray[Any]], runs: int) -> Floats:
        """Return the log-density of what was seen in one iteration. Shape (runs, d before, d)."""
        size = len(self.choice)
        total = np.zeros((runs, size, size))
        if VALUE_D in now:
            total += _certain(now[VALUE_D][:, None, None], np.arange(size))
        if BEST in now:
            total += _certain(now[BEST], self.best)[:, None, None]
        if CLEAN in now:
            total += _certain(now[CLEAN][:, 0, None, None], self.gained)
            total += _certain(now[CLEAN][:, 1, None, None], self.best_gained[:, None])
        if DELTA in now:
            total += self._noisy(now[DELTA][:, None, None], self.delta)
        if BEST_DELTA in now and DELTA in now and self.params.variant == "code":
            apart = now[BEST_DELTA] - now[DELTA]
            total += _certain(apart[:, None, None], self.best_delta[:, None] - self.delta)
        elif BEST_DELTA in now:
            total += self._noisy(now[BEST_DELTA][:, None, None], self.best_delta[:, None])
        return total

    def _noisy(self, seen: Floats, mean: Floats) -> Floats:
        if not self.deviation:
            return _certain(seen, mean)
        density: Floats = -(((seen - mean) / self.deviation) ** 2) / 2  # the constant is the same in both worlds
        return density


def _certain(seen: NDArray[Any], what: NDArray[Any] | int) -> Floats:
    """Return 0 where it was seen and minus infinity elsewhere; differences of noisy numbers are not exact."""
    near: Floats = np.where(np.abs(seen - what) <= 1e-6 + 1e-9 * np.abs(seen), 0.0, -math.inf)
    return near
