"""What a game is, and games of one target among agents that hold their values, with exact log-likelihood ratios.

Many copies of a small game are played in one run, as components of one problem: agents of different components share
nothing, each has a random stream of its own, and all messages go through the router and are read from the log. A run
of one copy takes ten times as long to set up as to play.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import combinations
from typing import Any, ClassVar, Final

import numpy as np

from agentsim import simulate
from agentsim.dcop.problem import Constraint, Domain, Problem, Variable
from agentsim.errors import RunError, UserError
from agentsim.runtime import registry
from agentsim.runtime.agent import Agent
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.mechanisms import Claim
from agentsim.runtime.network import quote, split_names, unquote
from agentsim.runtime.result import Result
from agentsim.runtime.setup import find_solver, prepare
from agentsim.runtime.streams import Stream
from agentsim.runtime.view import Setup
from privacy.audit import Floats, Statistic
from scenarios.executors import Executor

GAIN: Final = 60.0
"""How much more utility the target has of one value than of the other: of 1 in world 0, of 0 in world 1."""

TARGET: Final = "target"
BINARY: Final = Domain("binary", (0, 1))

UtilityTable = tuple[tuple[float, float], tuple[float, float]]
ZERO: Final[UtilityTable] = ((0.0, 0.0), (0.0, 0.0))

EXACT_RATIO: Final = "exact log-likelihood ratio"
LEARNED: Final = "learned histograms"


# Games ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Subject:
    """A solver with its parameters: what is audited.

    Args:
        name: as registered.
        solver: its class.
        given: parameters by name.
        notes: what was decided for the user, in sentences.
    """

    name: str
    solver: type[Agent]
    given: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, solver: str | type[Agent], given: Mapping[str, Any]) -> Subject:
        """Return the subject, its draws determined by seeds unless told otherwise; UserError if there is none such."""
        name, found = find_solver(solver)
        own = {f.name for f in fields(found.Params)} if found.Params is not None else set()
        notes: tuple[str, ...] = ()
        if "randomness" in own and "randomness" not in given:
            given = {**given, "randomness": "seed"}
            notes = ("the solver's draws follow from --seed here, so that the audit can be repeated",)
        registry.make_params(found.Params, given, f"solver {name}")
        return cls(name, found, given, notes)

    @cached_property
    def params(self) -> Any:  # noqa: ANN401  # each solver has its own
        """The resolved parameters."""
        return registry.make_params(self.solver.Params, self.given, f"solver {self.name}")

    def setup(self, problem: Problem, **more: Any) -> Setup:  # noqa: ANN401  # parameters
        """Return the setup of the solver on a problem; SolverRefusal if it cannot do it."""
        return prepare(problem, self.solver, self.name, {**self.given, **more})

    def run(self, problem: Problem, seed: int, **more: Any) -> Result:  # noqa: ANN401  # of `simulate`
        """Return the result of a run, which ends by itself; the observers that its runs have are left out."""
        own = {"carries": (), "name": self.name}
        result = simulate(problem, type(self.solver.__name__, (self.solver,), own), seed=seed, **{**self.given, **more})
        if result.status == "interrupted":
            raise KeyboardInterrupt
        if result.status in ("timeout", "deadlock"):
            raise RunError(f"solver {self.name} did not end by itself: {result.deadlock or result.limit}")
        if result.log_truncated:
            raise RunError(f"solver {self.name}: a run's log is too long to be kept in memory")
        return result


@dataclass(frozen=True)
class Game(ABC):
    """Two worlds, and what is seen of runs in them. Games are plain data: workers are sent them.

    Attributes:
        statistic: what scores are, in words.
        batch: runs of one task.
    """

    statistic: ClassVar[str]
    batch: ClassVar[int]

    def __getstate__(self) -> dict[str, Any]:
        """Return what is sent to workers: not what was worked out from it."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @property
    @abstractmethod
    def solver(self) -> str:
        """Name of what is audited."""

    @property
    @abstractmethod
    def claim(self) -> Claim | None:
        """What the solver claims to protect; None for nothing."""

    @property
    @abstractmethod
    def view(self) -> str:
        """Whose eyes the guesser has, as users write it."""

    @property
    @abstractmethod
    def about(self) -> Mapping[str, Any]:
        """Which worlds these are, for `--json`."""

    @property
    @abstractmethod
    def notes(self) -> tuple[str, ...]:
        """What users should know besides, in sentences."""

    def tasks(self, runs: int) -> list[Task]:
        """Return what is to be played, both worlds by turns."""
        starts = range(0, runs, self.batch)
        return [Task(self, world, i, min(self.batch, runs - at)) for i, at in enumerate(starts) for world in (0, 1)]

    @abstractmethod
    def play(self, world: int, number: int, runs: int) -> Any:  # noqa: ANN401  # each game has its own
        """Return what was seen in `runs` runs of a world, the `number`th such batch. Runs in a worker process."""

    @abstractmethod
    def statistics(self, zero: Sequence[Any], one: Sequence[Any]) -> list[Statistic]:
        """Return the statistics of everything that was seen in the two worlds, by batches in order."""


@dataclass(frozen=True, slots=True)
class Task:
    """A batch of runs of one world."""

    game: Game
    world: int
    number: int
    runs: int


def play(task: Task) -> Any:  # noqa: ANN401  # each game has its own
    """Play a task: what workers are told to do."""
    return task.game.play(task.world, task.number, task.runs)


def conduct(
    game: Game, runs: int, executor: Executor, progress: Callable[[int, int], None] | None = None
) -> list[Statistic]:
    """Play `runs` runs of each world and return their statistics; `progress` is told how many of how many are done."""
    tasks = game.tasks(runs)
    total, done = sum(task.runs for task in tasks), 0
    seen: list[Any] = [None] * len(tasks)
    for index, result in executor.map(play, tasks):
        seen[index] = result
        done += tasks[index].runs
        if progress is not None:
            progress(done, total)
    worlds: tuple[list[Any], list[Any]] = ([], [])
    for task, result in zip(tasks, seen, strict=True):
        worlds[task.world].append(result)
    return game.statistics(*worlds)


def run_seed(seed: int, world: int, number: int) -> int:
    """Return the seed of one run."""
    return Stream(seed, "audit", str(world), str(number)).integer(2**53)


# One target among agents that hold their values ----------------------------------------------------------------


@dataclass(frozen=True)
class Forest(Game):
    """Copies of a game of one target: agents above it that hold value 0, and agents below it that listen.

    Agents above and below are replaced by `keeps`. They collude: what any of them is sent is seen. The target's table
    with the first of those above it differs between the worlds; all other tables are zero.

    Args:
        subject: what is audited.
        seed: of every random draw.
        names: of the agents that look: the target's neighbours above it, or those below it if `downwards`.
    """

    subject: Subject
    seed: int
    names: tuple[str, ...]

    statistic: ClassVar[str] = EXACT_RATIO
    batch: ClassVar[int] = 50
    keeps: ClassVar[type[Agent]]
    downwards: ClassVar[bool]

    @property
    def gain(self) -> float:
        """How much more utility the target has of one value than of the other."""
        return GAIN

    @classmethod
    def of(cls, subject: Subject, seed: int, view: str | None) -> Forest:
        """Return the game with the agents that a view names; UserError for other views, or if places are given."""
        for name in ("root", "order", "tree"):
            if name in subject.given:
                raise UserError(f"-p {name}: the agents' places are the game's own; with --problems you may give it")
        default, reserved = ("child", {TARGET, "parent"}) if cls.downwards else ("parent", {TARGET})
        names = neighbours_in(view, default)
        if len(set(names)) < len(names) or reserved & {*names}:
            heard = ", below it: the parent hears nothing" if cls.downwards else ""
            raise UserError(f"--view {view}: must name different neighbours of the agent {TARGET}{heard}")
        return cls(subject, seed, names)

    @property
    def solver(self) -> str:
        """Name of what is audited."""
        return self.subject.name

    @cached_property
    def claim(self) -> Claim | None:
        """What the solver claims."""
        setup = self.subject.setup(self.problem(ZERO, 1), order=self.order(1))
        return self.subject.solver.claim(setup)

    @property
    def view(self) -> str:
        """Whose eyes the guesser has."""
        kind = "agent" if len(self.names) == 1 else "coalition"
        return f"{kind}:{'+'.join(map(quote, self.names))}"

    @property
    def about(self) -> Mapping[str, Any]:
        """Which worlds these are."""
        above = ["parent"] if self.downwards else list(self.names)
        return {
            "agents": {"above": above, "target": TARGET, "below": list(self.names) if self.downwards else []},
            "objective": "max",
            "table": f"{above[0]} (which holds 0) by {TARGET}",
            "worlds": [self.table(0), self.table(1)],
            "range": [0.0, self.gain],
        }

    @property
    def notes(self) -> tuple[str, ...]:
        """What users should know."""
        return self.subject.notes

    def table(self, world: int) -> UtilityTable:
        """Return the target's utilities, by the value of the agent above it and by its own."""
        if self.claim is not None and self.claim.unit == "entry":
            return ((0.0, self.gain * world), (0.0, 0.0))
        row = (self.gain, 0.0) if world else (0.0, self.gain)
        return (row, row)

    def costs(self, world: int) -> list[float]:
        """Return what the target's values cost it, in solver's units, the agent above it being where it holds."""
        return [-float(utility) for utility in self.table(world)[0]]

    @property
    def above(self) -> int:
        """How many agents are above the target."""
        return 1 if self.downwards else len(self.names)

    @property
    def below(self) -> int:
        """How many are below it."""
        return len(self.names) if self.downwards else 0

    def problem(self, table: UtilityTable, copies: int) -> Problem:
        """Return a world, whose one table is given, so many times."""
        variables: list[Variable] = []
        constraints: list[Constraint] = []

        def tie(a: str, b: str, utilities: UtilityTable) -> None:
            constraints.append(Constraint(f"{a} {b}", (a, b), np.array(utilities), cost_range=(0, self.gain)))

        for k in range(copies):
            above = [f"above{i}.{k}" for i in range(self.above)]
            below = [f"below{i}.{k}" for i in range(self.below)]
            target = f"{TARGET}.{k}"
            variables += [Variable(name, BINARY) for name in (*above, target, *below)]
            for i, name in enumerate(above):
                tie(name, target, ZERO if i else table)
            for a, b in combinations(above, 2):
                tie(a, b, ZERO)
            for name in below:
                tie(target, name, ZERO)
        return Problem.build(variables, constraints, name="audit", objective="max")

    def order(self, copies: int) -> str:
        """Return who goes first, in every copy: those above from the last to the first, then the target."""
        heads = [[*(f"above{i}.{k}" for i in reversed(range(self.above))), f"{TARGET}.{k}"] for k in range(copies)]
        return ",".join(name for head in heads for name in head)

    def play(self, world: int, number: int, runs: int) -> dict[str, Floats]:
        """Return the scores of so many runs by fields."""
        problem = self.problem(self.table(world), runs)
        replace = {name: self.keeps for name in problem.variables if not name.startswith(f"{TARGET}.")}
        seed = run_seed(self.seed, world, number)
        result = self.subject.run(problem, seed, replace=replace, order=self.order(runs))
        sent: dict[str, list[Delivery]] = {f"{TARGET}.{k}": [] for k in range(runs)}
        for delivery in result.log:
            if delivery.src in sent:
                sent[delivery.src].append(delivery)
        return self.scores(list(sent.values()))

    @abstractmethod
    def scores(self, runs: Sequence[Sequence[Delivery]]) -> dict[str, Floats]:
        """Return by fields how much likelier what the target sent in each run is in world 1, as a log-ratio."""

    def statistics(self, zero: Sequence[Any], one: Sequence[Any]) -> list[Statistic]:
        """Return the scores of all runs."""
        return [
            Statistic(name, *(np.concatenate([batch[name] for batch in world]) for world in (zero, one)))
            for name in zero[0]
        ]


class Choices(Forest):
    """A game in which the target says one thing, its value, to those below it.

    Attributes:
        field: what that is called.
    """

    downwards = True
    field: ClassVar[str]

    @abstractmethod
    def law(self, world: int) -> Sequence[float]:
        """Return the probability of each value of the target's."""

    def scores(self, runs: Sequence[Sequence[Delivery]]) -> dict[str, Floats]:
        """Return the log-ratios of the value that each target told."""
        with np.errstate(divide="ignore"):  # a value that a world does not have
            ratios = np.log(self.law(1)) - np.log(self.law(0))
        told = [{delivery.message for delivery in run} for run in runs]
        if any(len(messages) != 1 for messages in told):
            raise misfit(self.subject)
        return {self.field: ratios[[messages.pop()[0] for messages in told]]}


def misfit(subject: Subject) -> RunError:
    """Return the error for a transcript that is possible in neither world."""
    return RunError(f"what the target sent fits neither world: the audit's formulas are not those of {subject.name}")


def neighbours_in(view: str | None, default: str) -> tuple[str, ...]:
    """Return the agents that a view names, or the one of a game's own; UserError on other views."""
    if view is None or view == "all":
        return (default,)
    kind, *rest = split_names(view, ":")
    names = [unquote(name) for name in split_names(":".join(rest), "+")]
    if kind not in ("agent", "coalition") or not all(names) or (kind == "agent" and len(names) > 1):
        raise UserError(
            f"--view {view}: in the game's own problems agent:NAME or coalition:A+B (NAME, A and B being the target's "
            f"neighbours), or all; any view with --problems"
        )
    return tuple(names)
