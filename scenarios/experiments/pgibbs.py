"""What the experiments on P-Gibbs share: the paper's five settings, runs, and solution quality.

Source: Damle, Triastcyn, Faltings and Gujar, "Differentially private multi-agent constraint optimization", section 6.

A task is one solver on one random instance, run a few times; quality compares its mean cost with that of a baseline on
the same instance. SQ is as the paper prints it, with its trouble with signs; NQ is the share of the way from random
assignments (for meetings: from the worst conceivable one) to the baseline.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

import numpy as np

from scenarios.experiments.base import Experiment

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from scenarios.sweeps.recording import Origin

ITERATIONS: Final = 50

SETTINGS: Final[Mapping[str, Mapping[str, float]]] = {
    "0.046": {"sigma": 1000.0, "gamma": math.inf, "q": 0.1},
    "0.662": {"sigma": 25.0, "gamma": 20.0, "q": 0.1},
    "1.31": {"sigma": 25.0, "gamma": 20.0, "q": 0.2},
    "4.101": {"sigma": 10.0, "gamma": 8.0, "q": 0.2},
    "9.55": {"sigma": 7.0, "gamma": 4.0, "q": 0.2},
}
"""The paper's settings by the epsilon that it states for them; tau = 50, delta = 1e-2, 50 iterations throughout."""

BENCHMARKS: Final[dict[str, str]] = {
    "Ising": "pgibbs-ising",
    "colouring": "pgibbs-coloring",
    "meetings": "pgibbs-meetings",
}
"""The presets of section 6."""

VARIANTS: Final = ("paper", "code", "hardened")


class Arm(NamedTuple):
    """A solver with parameters.

    Args:
        keys: its columns in the table.
        solver: its name.
        params: its parameters.
    """

    keys: tuple[tuple[str, Any], ...]
    solver: str
    params: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of(cls, solver: str, keys: Mapping[str, Any], **params: Any) -> Arm:  # noqa: ANN401  # whatever the solver takes
        """Return the arm with these columns and parameters."""
        return cls(tuple(keys.items()), solver, tuple(params.items()))


class Task(NamedTuple):
    """One arm on one instance of a benchmark."""

    benchmark: str
    preset: str
    seed: int
    runs: int
    arm: Arm


@dataclass(frozen=True)
class Measured:
    """Costs of the runs of a task, in the problem's units and sense; and what random and worst assignments cost.

    `seconds` is the wall time of solving, of all runs together.
    """

    costs: tuple[float, ...]
    random: float
    worst: float
    objective: str
    seconds: float = 0.0

    @property
    def mean(self) -> float:
        """Mean over the runs."""
        return math.fsum(self.costs) / len(self.costs)


def origin_of(preset: str, seed: int) -> Origin:
    """Return where the problem of a preset came from."""
    from scenarios.generators.presets import find
    from scenarios.sweeps.recording import Origin

    return Origin(find(preset).generator, parameters={"preset": preset}, seed=seed)


def run_arm(task: Task) -> Measured:
    """Return what a solver reaches on an instance. Runs are numbered from the instance's seed."""
    from privacy.measures import random_cost, worst_cost
    from scenarios.generators.presets import instance
    from scenarios.sweeps.recording import simulate

    problem, origin = instance(task.preset, task.seed), origin_of(task.preset, task.seed)
    costs = []
    seconds = 0.0
    for run in range(task.runs):
        seed = 1000 * task.seed + run
        result = simulate(problem, task.arm.solver, origin=origin, seed=seed, log=False, **dict(task.arm.params))
        assert result.cost is not None
        costs.append(float(result.cost))
        seconds += result.wall_time
    return Measured(tuple(costs), random_cost(problem), float(worst_cost(problem)), problem.objective, seconds)


class QualityExperiment(Experiment):
    """Quality of arms against a baseline, by benchmark."""

    columns: ClassVar[tuple[str, ...]] = ("benchmark", "variant", "epsilon", "SQ", "sd", "CoV", "NQ", "NQ_se", "n")
    key_columns = 3
    benchmarks: ClassVar[Mapping[str, str]]
    """Preset by benchmark."""
    default_instances: ClassVar[int] = 4
    paper_instances: ClassVar[int] = 20
    default_runs: ClassVar[int] = 2
    paper_runs: ClassVar[int] = 10
    baseline: ClassVar[Arm] = Arm.of("sd-gibbs", {"variant": "sd-gibbs"})

    @abstractmethod
    def arms(self) -> Sequence[Arm]:
        """Return what is compared with the baseline."""

    @property
    def runs(self) -> int:
        """Runs of each arm on each instance."""
        return self.paper_runs if self.options.full else self.default_runs

    @property
    def instances(self) -> int:
        """Instances of each benchmark."""
        default = self.paper_instances if self.options.full else self.default_instances
        return self.options.instances or default

    def arms_on(self, benchmark: str) -> Sequence[Arm]:
        """Return the arms on a benchmark: all of them, unless an experiment knows better."""
        del benchmark
        return self.arms()

    def tasks(self) -> Sequence[Task]:
        """Return every arm on every instance, the baseline first."""
        seeds = range(self.options.seed, self.options.seed + self.instances)
        return [
            Task(benchmark, preset, seed, self.runs, arm)
            for benchmark, preset in self.benchmarks.items()
            for arm in (self.baseline, *self.arms_on(benchmark))
            for seed in seeds
        ]

    @staticmethod
    def run_task(task: Task) -> Measured:
        """Return what a solver reaches on an instance."""
        return run_arm(task)

    def rows(self, results: Sequence[Measured]) -> list[dict[str, Any]]:
        """Return quality by benchmark and arm: mean, standard deviation and number over instances."""
        found: dict[tuple[str, Arm], list[Measured]] = {}
        for task, measured in zip(self.tasks(), results, strict=True):
            found.setdefault((task.benchmark, task.arm), []).append(measured)
        return self.rows_of(found)

    def rows_of(self, found: Mapping[tuple[str, Arm], Sequence[Measured]]) -> list[dict[str, Any]]:
        """Return the rows of the table, given what was measured by benchmark and arm, in the order of instances."""
        rows = []
        for (benchmark, arm), runs in found.items():
            if arm != self.baseline:
                row = {"benchmark": benchmark, "preset": self.benchmarks[benchmark], **dict(arm.keys)}
                rows.append(row | qualities(runs, found[benchmark, self.baseline]))
        return rows

    def figure(self, rows: list[dict[str, Any]]) -> Figure | None:
        """Return NQ by epsilon, a panel for each benchmark and a line for each variant."""
        return panels(rows, panel="benchmark", x="epsilon", line="variant")


def qualities(runs: Sequence[Measured], baseline: Sequence[Measured]) -> dict[str, Any]:
    """Return SQ and NQ over instances: `runs` and `baseline` have the same instances in the same order."""
    from privacy.measures import coefficient_of_variation, normalised_quality, solution_quality

    sq, nq = [], []
    for measured, base in zip(runs, baseline, strict=True):
        reference = base.random if base.objective == "min" else base.worst
        if measured.mean and base.mean:
            sq.append(solution_quality(measured.mean, base.mean, "min" if base.objective == "min" else "max"))
        if base.mean != reference:
            nq.append(normalised_quality(measured.mean, base.mean, reference))
    several = len(sq) > 1
    return {
        "SQ": _mean(sq),
        "sd": float(np.std(sq, ddof=1)) if several else None,
        "CoV": abs(coefficient_of_variation(sq)) if several and _mean(sq) else None,
        "NQ": _mean(nq),
        "NQ_se": float(np.std(nq, ddof=1) / math.sqrt(len(nq))) if len(nq) > 1 else None,
        "n": len(runs),
    }


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def by_epsilon(variants: Sequence[str] = VARIANTS) -> list[Arm]:
    """Return p-gibbs in its variants at the paper's five settings."""
    return [
        Arm.of("p-gibbs", {"variant": variant, "epsilon": epsilon}, variant=variant, **params)
        for variant in variants
        for epsilon, params in SETTINGS.items()
    ]


def cell(rows: Sequence[Mapping[str, Any]], column: str, **keys: Any) -> Any:  # noqa: ANN401  # whatever a row holds
    """Return a column of the one row with these keys; None if there is none."""
    return next((row[column] for row in rows if all(row.get(k) == v for k, v in keys.items())), None)


def spread(rows: Sequence[Mapping[str, Any]], column: str, digits: int = 3) -> str:
    """Return "least to greatest" of a column."""
    values = [row[column] for row in rows if row.get(column) is not None]
    return f"{min(values):.{digits}f} to {max(values):.{digits}f}" if values else "unknown"


def panels(
    rows: Sequence[Mapping[str, Any]], *, panel: str, x: str, line: str, y: str = "NQ", error: str = "NQ_se"
) -> Figure:
    """Return a figure: a panel for each value of one column, in it a line with error bars for each of another."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(row[panel] for row in rows))
    figure = Figure(figsize=(4.2 * len(names), 3.6), layout="constrained")
    for k, name in enumerate(names):
        axes = figure.add_subplot(1, len(names), k + 1)
        own = [row for row in rows if row[panel] == name and row.get(y) is not None]
        ticks = list(dict.fromkeys(str(row[x]) for row in own))
        for label in dict.fromkeys(row[line] for row in own):
            points = [row for row in own if row[line] == label]
            places = [ticks.index(str(row[x])) for row in points]
            axes.errorbar(
                places, [row[y] for row in points], [row.get(error) or 0.0 for row in points],
                marker="o", markersize=4, capsize=3, label=str(label),
            )  # fmt: skip
        axes.set_xticks(range(len(ticks)), ticks)
        axes.set_title(str(name))
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.axhline(1.0, color="0.8", linewidth=0.8)
        if k == 0:
            axes.legend(fontsize=8)
    return figure
