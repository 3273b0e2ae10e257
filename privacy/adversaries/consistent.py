"""The exact adversary: which private costs fit everything that a viewer was told, taken together.

Simple rules draw a bound from each message by itself (Lee, Mak and Shi, section IV). This observer asks what follows
from all disclosure statements that a viewer drew from its mail *together*: it keeps the set of profiles of the others'
private costs under which every one of them is true, and so says how much a rule under- or overstates. The joint loss
is -log2 of the prior probability of that set, in bits. It assumes the worst: the viewer knows everything but the
others' private costs, that is all constraints, the tree or order, who evaluates what, and also which values somebody's
private cost forbids (an infinite cost is in no range). What it draws no conclusion from is silence and timing;
`privacy.adversaries.transcript` does. Where all costs are in constraints, as in graph colouring, nothing is unknown to
it and so nothing is lost: to see what such a run gives away, let agents have private costs (preferences, say).

Statements used: `CostIs` without noise, `CostTable`, and `Chosen` as the best value: the private costs of the variable
itself then fit some values of the neighbours that the viewer was not told. Others are left out, which is sound: the set
is then larger. A sampled value (`Chosen` by another law) can only tell which values are forbidden, which is known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

import numpy as np

from agentsim.errors import UserError
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.observer import Observer, ObserverContext
from agentsim.runtime.statements import Reader, Statement
from agentsim.runtime.streams import generator
from privacy.adversaries.learner import Ears, Learner
from privacy.adversaries.possible import Estimate, Possible
from privacy.adversaries.profiles import Cells, Weights, check_prior, full, loss
from privacy.adversaries.sums import Sums
from privacy.vps.metrics import GAINS
from privacy.vps.prior import make_prior

LIMIT: Final = 2_000_000
SAMPLES: Final = 100_000

OPTIONS: Final = ("view", "as", "prior", "metric", "limit", "samples", "seed", "weights")

ASSUMES: Final = (
    "each viewer knows everything but the others' private costs: every constraint, the tree or order, who evaluates "
    "what, and which values a private cost forbids; it concludes from all statements on costs and on best choices "
    "together and nothing else"
)

NOTHING_PRIVATE: Final = "no variable has private costs, and constraints are taken as known: there is nothing to lose"

T = TypeVar("T")


class _Viewer:
    """One viewer: what it sees, its reader, and the profiles that it still thinks possible."""

    def __init__(self, name: str, agents: frozenset[str], reader: Reader | None, learner: Learner) -> None:
        self.name, self.agents, self.reader, self.learner = name, agents, reader, learner
        self.possible = learner.possible
        self.curve: list[tuple[float, float]] = []
        self.estimate: Estimate | None = None
        self._bits = 0.0
        self._ears = None if reader is None else Ears(reader)

    def read(self, delivery: Delivery, own: bool) -> None:
        """Read one delivery."""
        assert self._ears is not None
        self.hear(self._ears.hear(delivery, own), delivery.delivered_at)

    def hear(self, statements: Iterable[Statement], time: float) -> None:
        """Learn from the statements of one delivery."""
        if not self.learner.hear(statements):
            return
        bits = self.possible.bits
        assert bits >= self._bits - 1e-9, f"{self.name} forgot something: {self._bits} bits, then {bits}"
        self._bits = bits
        if self.curve and self.curve[-1][0] == time:
            self.curve.pop()
        self.curve.append((time, bits))


class Consistent(Observer):
    """The private costs that fit all that each agent was told, by enumeration or, where that is too much, by sampling.

    With the view `all` every agent that owns a variable is a viewer of its own, with `coalitions:K` every K of them; an
    agent, a coalition or a wire is one viewer. A viewer knows its own private costs (a wire knows none), and what it
    sends tells it nothing.

    Options:
        prior: "LO..HI", the public range of all private costs; by default as declared, else as observed.
        metric: "entropy", "proportional" or "guess", for `matrix` and `loss`.
        limit: most combinations of costs to go through at once (2,000,000); beyond it, sampling.
        samples: number of samples (100,000).
        seed: of the samples (0).
        weights: from Python only: by variable, prior probability of each level of each value, shape (d, u), rows that
            sum to 1. Level 1 is the best cost: the least when minimising, the greatest when maximising.

    Findings:
        joint: by viewer, bits; null if what it was told cannot all be true (`contradicted`: somebody lied).
        method, error, interval: by viewer, "exact" or "monte carlo", standard error and 95 % interval in bits.
        at_least: viewers whose joint loss is only known to be at least `joint`: no sample fitted.
        left, profiles: by viewer, exact only: combinations of the costs that something was learnt of, left and in all.
        matrix: viewer -> subject -> loss of each cost by itself, summed over values and variables, unit as `metric`.
        together: viewer -> subject -> bits that the subject's costs lose jointly, exact only.
        loss: by subject, the mean over all viewers of `matrix` as a share of full loss, null without private costs.
        curve: by viewer that was exact throughout, [time, bits] at each change.
        ignored: by viewer, number of statements that were too large or of a kind that is not used, where any.
        prior, notes, assumes: what was taken as public.

    Raises:
        UserError: costs are not whole numbers, lie outside of the prior, are not in the log, or an option makes no
            sense.
    """

    name = "consistent"

    def __init__(self, context: ObserverContext) -> None:
        super().__init__(context)
        options, setup = context.options, context.setup
        if context.redacted:
            raise UserError(f"observer {self.label}: private costs were left out of this log (--redact), it needs them")
        for key in options:
            if key not in OPTIONS:
                raise UserError(f"observer {self.label}: no option {key}; it has {', '.join(OPTIONS)}")
        self._metric = str(options.get("metric", "entropy"))
        if self._metric not in GAINS:
            raise UserError(f"observer {self.label}: metric={self._metric}: must be one of {', '.join(GAINS)}")
        self._limit = self._whole("limit", LIMIT, 1)
        self._samples = self._whole("samples", SAMPLES, 1)
        self._seed = self._whole("seed", 0, 0)
        self._prior = make_prior(setup, options.get("prior"))
        self._weights = self._given_weights(options.get("weights"))
        check_prior(self._prior, setup, f"observer {self.label}", self._limit, self._weights)

    def _whole(self, option: str, default: int, least: int) -> int:
        given = self.context.options.get(option, default)
        try:
            number = int(given)
        except (TypeError, ValueError):
            number = least - 1
        if number < least:
            raise UserError(f"observer {self.label}: {option}={given}: must be a whole number from {least}")
        return number

    def _given_weights(self, given: object) -> Weights | None:
        if given is None:
            return None
        if not isinstance(given, Mapping):
            raise UserError(f"observer {self.label}: weights is a mapping of variables to arrays, given from Python")
        found = {}
        for name, table in given.items():
            scale = self._prior.scales.get(name)
            if scale is None:
                raise UserError(f"observer {self.label}: weights: no variable {name} has private costs")
            shape = (self.context.setup.problem.variables[name].size, scale.levels)
            weights = np.asarray(table, np.float64)
            sound = weights.shape == shape and bool((weights >= 0).all())
            if not sound or not np.allclose(weights.sum(axis=1), 1, rtol=0, atol=1e-9):
                raise UserError(
                    f"observer {self.label}: weights of {name}: must be probabilities of shape {shape}, rows of sum 1"
                )
            found[name] = weights
        return found

    def start(self) -> None:
        """Give each viewer a reader and everything that is possible."""
        self._owners = self.context.setup.nodes
        self._agents = list(dict.fromkeys(v.agent for v in self.context.setup.problem.variables.values()))
        self._viewers = [self._viewer(name, group) for name, group in self.context.view.viewers(self._agents)]
        self._mail: dict[str, list[_Viewer]] = {agent: [] for agent in self._owners.values()}  # by agent: who sees it
        for viewer in self._viewers:
            for agent in viewer.agents:
                self._mail[agent].append(viewer)
        self._analysed = all(v.reader is not None for v in self._viewers)

    def _viewer(self, name: str, agents: Iterable[str]) -> _Viewer:
        setup, own = self.context.setup, frozenset(agents)
        cells = Cells.of(setup, self._prior, own, self._weights)
        reader = self.context.reader_for(node for node, agent in self._owners.items() if agent in own)
        return _Viewer(name, own, reader, Learner(Sums(setup, cells), Possible(cells, self._limit)))

    def observe(self, delivery: Delivery) -> None:
        """Let whoever sees one delivery read it."""
        if not self._analysed:
            return
        src, dst = self._owners[delivery.src], self._owners[delivery.dst]
        if self.context.view.wire is not None:
            ends = self._viewers
        else:
            ends = list(dict.fromkeys((*self._mail[src], *self._mail[dst])))
        for viewer in ends:
            viewer.read(delivery, own=src in viewer.agents)

    def findings(self) -> dict[str, Any]:
        """Return the losses, see the class."""
        if not self._analysed:
            return {"solver_analysed": False, "note": f"{self.context.solver_name}: not analysed, it has no reader"}
        for v in self._viewers:
            if not v.possible.exact and not v.possible.contradicted:
                v.estimate = v.possible.estimate(generator(self._seed, "consistent", v.name), self._samples)
        sound = [v for v in self._viewers if not v.possible.contradicted]
        exact = [v for v in sound if v.estimate is None]
        matrix = {v.name: self._matrix(v) for v in sound}
        return {
            "solver_analysed": True,
            "joint": self._by_viewer(lambda v: v.possible.bits if v.estimate is None else v.estimate.bits),
            "method": {v.name: "exact" if v.estimate is None else "monte carlo" for v in self._viewers},
            "error": self._by_viewer(lambda v: 0.0 if v.estimate is None else v.estimate.error),
            "interval": {v.name: list(v.estimate.interval) for v in sound if v.estimate is not None},
            "at_least": [v.name for v in sound if v.estimate is not None and v.estimate.at_least],
            "left": {v.name: _count(v.possible.left) for v in exact},
            "profiles": {v.name: _count(v.possible.in_all) for v in exact},
            "matrix": matrix,
            "together": {v.name: self._together(v) for v in exact},
            "loss": self._loss(matrix),
            "curve": {v.name: [list(point) for point in v.curve] for v in exact if not v.possible.deferred},
            "contradicted": [v.name for v in self._viewers if v.possible.contradicted],
            "ignored": {v.name: v.learner.ignored for v in self._viewers if v.learner.ignored},
            "metric": self._metric,
            "prior": self._prior.describe(),
            "notes": [*self._prior.notes, *([] if self._prior.scales else [NOTHING_PRIVATE])],
            "assumes": ASSUMES,
        }

    def _by_viewer(self, what: Callable[[_Viewer], T]) -> dict[str, T | None]:
        return {v.name: None if v.possible.contradicted else what(v) for v in self._viewers}

    def _variables(self, viewer: _Viewer | None = None) -> dict[str, list[str]]:
        """Return the variables with private costs by agent, without a viewer's own."""
        found: dict[str, list[str]] = {}
        for name in self._prior.scales:
            agent = self.context.setup.problem.variables[name].agent
            if viewer is None or agent not in viewer.agents:
                found.setdefault(agent, []).append(name)
        return found

    def _matrix(self, viewer: _Viewer) -> dict[str, float]:
        possible = viewer.possible
        cells = possible.cells
        return {
            agent: sum(
                loss(self._metric, cells.prior(cell), possible.posterior(cell, viewer.estimate))
                for name in names
                for cell in cells.of_function(name)
            )
            for agent, names in self._variables(viewer).items()
        }

    def _together(self, viewer: _Viewer) -> dict[str, float]:
        possible = viewer.possible
        return {
            agent: possible.lost(cell for name in names for cell in possible.cells.of_function(name))
            for agent, names in self._variables(viewer).items()
        }

    def _loss(self, matrix: Mapping[str, Mapping[str, float]]) -> dict[str, float | None]:
        """Return p_i by subject: the mean over viewers, also those that learn nothing, as a share of full loss."""
        setup, variables = self.context.setup, self._variables()
        found: dict[str, float | None] = {}
        for agent in self._agents:
            most = sum(full(self._metric, name, setup, self._prior, self._weights) for name in variables.get(agent, ()))
            lost = [row[agent] for row in matrix.values() if agent in row]
            found[agent] = sum(lost) / len(lost) / most if lost and most > 0 else None
        return found


def _count(number: int) -> int | float:
    """Return a count such that a log can hold it: beyond 64 bits as a float."""
    if number < 1 << 63:
        return number
    return float(number) if number.bit_length() < 1024 else math.inf
