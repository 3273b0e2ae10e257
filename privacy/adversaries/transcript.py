"""The true posterior: run the solver on every profile of private costs and see which runs look the same.

A viewer that knows the algorithm can do more than read what messages say: silence, order, timing and choices inform it
too. Here the solver is run on *every* profile of private costs that the prior allows, all else equal (seed, network,
parameters). The profiles that fit what a viewer saw are those under which it would have seen the very same deliveries
and has the very same costs of its own; no inference can do better than that, and none that is sound excludes one of
them. Sources: the framework is that of Lee, Mak and Shi, section II.C (valuation of possible states); the expectation
of the entropy's fall is the mutual information between private costs and view.

What is public beside the deliveries is what a log's header publishes: where an offset had to be read off a private
table, profiles with another offset can be told apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from agentsim.dcop.compile_owners import compile_owners
from agentsim.dcop.problem import Cost, Problem
from agentsim.errors import AgentSimError, UserError
from agentsim.runtime.agent import Agent
from agentsim.runtime.result import Result
from agentsim.runtime.setup import find_solver, prepare
from agentsim.runtime.simulate import simulate
from agentsim.runtime.view import Setup
from privacy.adversaries.profiles import Cells, check_prior, loss
from privacy.vps.metrics import GAINS
from privacy.vps.prior import Prior, make_prior

LIMIT: Final = 20_000
ENDS: Final = ("optimal", "finished", "infeasible")

Numbers = NDArray[np.int64]
Viewer = str | Iterable[str]
Event = tuple[Any, ...]


def transcripts(
    problem: Problem,
    solver: str | type[Agent],
    *,
    prior: str | tuple[Cost, Cost] | None = None,
    seed: int = 0,
    network: str = "unit",
    limit: int = LIMIT,
    progress: Callable[[int, int], None] | None = None,
    **params: object,
) -> Transcripts:
    """Run a solver on every profile of private costs and return what everybody would have seen.

    Args:
        problem: the actual problem; of its private costs only those that are finite are varied.
        solver: a registered name or a class.
        prior: "LO..HI" or (LO, HI), the public range of all private costs; by default as declared, else as observed.
        seed: of every run.
        network: of every run.
        limit: most profiles.
        progress: called with the number of runs done and of all runs, after each.
        **params: the solver's parameters.

    Raises:
        UserError: there are more profiles than `limit`, or private costs are not whole numbers in the prior's range.
        AgentSimError: a run did not end by itself.
    """
    name, cls = find_solver(solver)
    compiled, _ = compile_owners(problem)
    setup = prepare(compiled, cls, name, params)
    ranges = make_prior(setup, prior)
    check_prior(ranges, setup, "transcripts", limit)
    found = Transcripts(setup, ranges)
    if found.count > limit:
        raise UserError(f"transcripts: {found.count} profiles of private costs, more than limit={limit}")
    for index in range(found.count):
        result = simulate(found.problem(index), solver, seed=seed, network=network, **params)
        found.add(index, result)
        if progress is not None:
            progress(index + 1, found.count)
    return found


class Transcripts:
    """The deliveries of a solver's runs under every profile of private costs; made by `transcripts`.

    Profiles are numbered from 0. The prior is uniform. A viewer is an agent's name or several agents' names: it sees
    what its nodes send and receive, in the log's order and with its time, and its own private costs.

    Args:
        setup: of the actual problem, owners compiled in.
        prior: the public ranges.
    """

    def __init__(self, setup: Setup, prior: Prior) -> None:
        self._setup, self.prior = setup, prior
        self._cells = Cells.of(setup, prior)
        self.count = math.prod(self._cells.levels)
        """Number of profiles."""
        strides, size = [], 1
        for u in reversed(self._cells.levels):
            strides.append(size)
            size *= u
        self._strides = strides[::-1]
        self._event_ids: dict[Event, int] = {}
        self._runs: dict[int, NDArray[np.int32]] = {}
        self._classes: dict[frozenset[str], Numbers] = {}
        self.actual = self.index({})
        """Number of the actual problem's profile."""

    # Profiles.

    def index(self, costs: Mapping[str, ArrayLike]) -> int:
        """Return the number of a profile.

        Args:
            costs: private costs in the user's units by variable, shape (d,); infinite ones are passed over. The actual
                costs for a variable that is missing.

        Raises:
            UserError: a cost is out of range, or a variable is unknown.
        """
        given: dict[str, NDArray[Any]] = {}
        for name, table in costs.items():
            if name not in self._cells.at:
                raise UserError(f"profile: no variable {name} has private costs")
            given[name] = np.asarray(table)
            if given[name].shape != (len(self._cells.at[name]),):
                raise UserError(f"profile: {given[name].size} costs of {name}, which has {len(self._cells.at[name])}")
        number = 0
        for cell, (name, value) in enumerate(zip(self._cells.variable, self._cells.value, strict=True)):
            unary = given.get(name, self._setup.problem.variables[name].unary)
            assert unary is not None
            level = float(self._setup.sense * unary[value] - self.prior.scales[name].low)
            if not (0 <= level < self._cells.levels[cell] and level.is_integer()):
                raise UserError(f"profile: {unary[value]} is none of the possible costs of {name}")
            number += int(level) * self._strides[cell]
        return number

    def profile(self, index: int) -> dict[str, NDArray[Any]]:
        """Return the private costs of a profile in the user's units, by variable."""
        found: dict[str, NDArray[Any]] = {}
        for name in self.prior.scales:
            unary = self._setup.problem.variables[name].unary
            assert unary is not None
            costs = unary.copy()
            for value, cell in enumerate(self._cells.at[name].tolist()):
                if cell >= 0:
                    costs[value] = self._setup.sense * (self.prior.scales[name].low + self._levels[index, cell])
            found[name] = costs
        return found

    def problem(self, index: int) -> Problem:
        """Return the problem with the private costs of a profile, all else equal, declared ranges too."""
        costs, actual = self.profile(index), self._setup.problem
        return Problem.build(
            [replace(v, unary=costs[v.name]) if v.name in costs else v for v in actual.variables.values()],
            actual.constraints.values(),
            name=actual.name,
            objective=actual.objective,
            agents=actual.agents,
            constant=actual.constant,
        )

    @cached_property
    def _levels(self) -> Numbers:
        """Levels by profile and cell."""
        profiles = np.arange(self.count)[:, None]
        return profiles // np.array(self._strides, np.int64) % np.array(self._cells.levels, np.int64)

    def add(self, index: int, result: Result) -> None:
        """Add the run of a profile.

        Raises:
            AgentSimError: it did not end by itself, or its log in memory is not whole.
        """
        if result.status not in ENDS or result.log_truncated:
            how = "its log was cut" if result.log_truncated else f"it ended as {result.status}"
            costs = {name: table.tolist() for name, table in self.profile(index).items()}
            raise AgentSimError(f"transcripts: the run under profile {index}, private costs {costs}: {how}")
        header = result.log.header
        assert header is not None
        ids = self._event_ids
        public = ("public", repr(header["offsets"]))
        events = [ids.setdefault(public, len(ids))]
        for record in result.log.records():
            if type(record[0]) is int:
                _, _, delivered_at, step, src, dst, kind, _, _, _, payload = record
                events.append(ids.setdefault((delivered_at, step, src, dst, kind, payload), len(ids)))
        self._runs[index] = np.array(events, np.int32)
        self._classes.clear()

    def deliveries(self, viewer: Viewer, profile: int | None = None) -> list[Event]:
        """Return what a viewer sees under a profile: (delivered_at, step, src, dst, type, payload) in order."""
        seen = self._seen(self._agents(viewer))
        events = list(self._event_ids)
        run = self._runs[self.actual if profile is None else profile]
        return [events[i] for i in run[seen[run]].tolist() if events[i][0] != "public"]

    # What follows from a view.

    def posterior(self, viewer: Viewer, profile: int | None = None) -> Numbers:
        """Return the numbers of the profiles that look to a viewer like the given one (the actual one), ascending."""
        classes = self._views(self._agents(viewer))
        return np.flatnonzero(classes == classes[self.actual if profile is None else profile])

    def loss(self, viewer: Viewer, profile: int | None = None) -> float:
        """Return by how many bits a viewer's view narrows down the others' private costs, all together."""
        own = math.prod(self._cells.levels[cell] for cell in self._own(self._agents(viewer)))
        return math.log2(self.count // own) - math.log2(len(self.posterior(viewer, profile))) + 0.0

    def matrix(self, viewer: Viewer, metric: str = "entropy", profile: int | None = None) -> dict[str, float]:
        """Return the loss of each other agent with private costs, cost by cost, in the metric's unit."""
        if metric not in GAINS:
            raise UserError(f"metric={metric}: must be one of {', '.join(GAINS)}")
        left, agents = self.posterior(viewer, profile), self._agents(viewer)
        found: dict[str, float] = {}
        for cell, name in enumerate(self._cells.variable):
            agent = self._setup.problem.variables[name].agent
            if agent not in agents:
                counts = np.bincount(self._levels[left, cell], minlength=self._cells.levels[cell])
                lost = loss(metric, self._cells.prior(cell), counts / len(left))
                found[agent] = found.get(agent, 0.0) + lost
        return found

    def expected(self, viewer: Viewer, subject: str | None = None) -> float:
        """Return the mean over all profiles of what a viewer learns about the others', or a subject's, private costs.

        It is the mutual information in bits between these costs, all together, and the view.
        """
        agents = self._agents(viewer)
        if subject is None:
            asked = [cell for cell in range(len(self._cells)) if cell not in self._own(agents)]
        elif agents & self._agents(subject):
            raise UserError(f"expected: {subject} is itself of the viewers {', '.join(sorted(agents))}")
        else:
            asked = self._own(self._agents(subject))
        costs = np.zeros(self.count, np.int64)
        for cell in asked:
            costs = costs * self._cells.levels[cell] + self._levels[:, cell]
        classes = self._views(agents)
        _, both = np.unique(classes * self.count + costs, return_counts=True)
        _, each = np.unique(classes, return_counts=True)
        unsure = float((each * np.log2(each)).sum() - (both * np.log2(both)).sum()) / self.count
        return max(0.0, sum(math.log2(self._cells.levels[cell]) for cell in asked) - unsure)

    def _agents(self, viewer: Viewer) -> frozenset[str]:
        agents = frozenset((viewer,) if isinstance(viewer, str) else viewer)
        for agent in sorted(agents - set(self._setup.problem.agents)):
            raise UserError(f"no agent is called {agent!r}")
        return agents

    def _own(self, agents: frozenset[str]) -> list[int]:
        variables = self._setup.problem.variables
        return [cell for cell, name in enumerate(self._cells.variable) if variables[name].agent in agents]

    def _seen(self, agents: frozenset[str]) -> NDArray[np.bool_]:
        nodes = {node for node, agent in self._setup.nodes.items() if agent in agents}
        return np.array([e[0] == "public" or e[2] in nodes or e[3] in nodes for e in self._event_ids])

    def _views(self, agents: frozenset[str]) -> Numbers:
        """Return a number for each profile, equal where the viewer sees the same and has the same costs."""
        if agents not in self._classes:
            seen, own = self._seen(agents), self._own(agents)
            numbers: dict[object, int] = {}
            classes = []
            for index in range(self.count):
                run = self._runs[index]
                key = (run[seen[run]].tobytes(), self._levels[index, own].tobytes())
                classes.append(numbers.setdefault(key, len(numbers)))
            self._classes[agents] = np.array(classes, np.int64)
        return self._classes[agents]
