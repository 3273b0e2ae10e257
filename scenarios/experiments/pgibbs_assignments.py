"""What the experiments on final assignments share: the same instance solved many times, values counted by variable.

Source: Damle, Triastcyn, Faltings and Gujar, section 6.3 (assignment distance, Table 5) and appendix C (proximity).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, NamedTuple

from scenarios.experiments.base import Experiment
from scenarios.experiments.pgibbs import SETTINGS, Arm, origin_of

EPSILONS: Final = ("0.046", "0.662", "9.55")
RUNS_PER_TASK: Final = 10


class Task(NamedTuple):
    """Some runs of an arm on an instance."""

    benchmark: str
    preset: str
    seed: int
    arm: Arm
    runs: tuple[int, ...]


@dataclass(frozen=True)
class Assignments:
    """Final domain index by run, then variable; the domain sizes; the mean cost."""

    values: tuple[tuple[int, ...], ...]
    sizes: tuple[int, ...]
    cost: float


class AssignmentExperiment(Experiment):
    """A measure of final assignments by arm."""

    columns: ClassVar[tuple[str, ...]] = ("benchmark", "variant", "epsilon", "paper", "ours", "se", "n")
    key_columns = 3
    benchmarks: ClassVar[Mapping[str, str]]
    """Preset by benchmark."""
    runs: ClassVar[int]
    """Runs of each arm on each instance: the measures depend on it."""
    default_instances: ClassVar[int] = 1

    def arms(self) -> list[Arm]:
        """Return SD-Gibbs and the variants of P-Gibbs."""
        arms = [Arm.of("sd-gibbs", {"variant": "sd-gibbs", "epsilon": "inf"})]
        for variant in ("paper", "code"):
            for epsilon in EPSILONS:
                keys = {"variant": variant, "epsilon": epsilon}
                arms.append(Arm.of("p-gibbs", keys, variant=variant, **SETTINGS[epsilon]))
        arms.append(Arm.of("p-gibbs", {"variant": "hardened", "epsilon": "0.662"}, **SETTINGS["0.662"]))
        return arms

    def tasks(self) -> Sequence[Task]:
        """Return all runs, some at a time."""
        count = self.options.instances or (3 if self.options.full else self.default_instances)
        return [
            Task(benchmark, preset, seed, arm, tuple(range(first, min(first + RUNS_PER_TASK, self.runs))))
            for benchmark, preset in self.benchmarks.items()
            for arm in self.arms()
            for seed in range(self.options.seed, self.options.seed + count)
            for first in range(0, self.runs, RUNS_PER_TASK)
        ]

    @staticmethod
    def run_task(task: Task) -> Assignments:
        """Return the final assignments of some runs."""
        from scenarios.generators.presets import instance
        from scenarios.sweeps.recording import simulate

        problem, origin = instance(task.preset, task.seed), origin_of(task.preset, task.seed)
        values, costs = [], []
        for run in task.runs:
            result = simulate(problem, task.arm.solver, origin=origin, seed=run, log=False, **dict(task.arm.params))
            assert result.cost is not None
            values.append(tuple(problem.indices(result.assignment)[name] for name in problem.variables))
            costs.append(float(result.cost))
        sizes = tuple(v.size for v in problem.variables.values())
        return Assignments(tuple(values), sizes, math.fsum(costs) / len(costs))

    def gathered(self, results: Sequence[Assignments]) -> dict[tuple[str, Arm], dict[int, Assignments]]:
        """Return all runs of an instance together, by benchmark, arm and seed."""
        parts: dict[tuple[str, Arm], dict[int, list[Assignments]]] = {}
        for task, found in zip(self.tasks(), results, strict=True):
            parts.setdefault((task.benchmark, task.arm), {}).setdefault(task.seed, []).append(found)
        return {
            key: {
                seed: Assignments(
                    tuple(values for one in some for values in one.values),
                    some[0].sizes,
                    math.fsum(one.cost * len(one.values) for one in some) / sum(len(one.values) for one in some),
                )
                for seed, some in by_seed.items()
            }
            for key, by_seed in parts.items()
        }


def mean_and_error(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean and its standard error, None for a single value."""
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return mean, None
    return mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1) / len(values))
