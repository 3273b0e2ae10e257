"""How long 50 iterations take (Damle et al., appendix B: 300 s for colouring, 25 s for meetings).

100 agents with 25 values. The paper's times are those of its pyDCOP plug-in on its machine; ours are CPU seconds of
solving, on this one, everything logged in memory and accounted for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from scenarios.experiments.base import Experiment, main_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAPER: Final = {"runtime-coloring": 300.0, "runtime-meetings": 25.0}
SOLVERS: Final = {
    "sd-gibbs": ("sd-gibbs", {}),
    "p-gibbs paper": ("p-gibbs", {"variant": "paper"}),
    "p-gibbs hardened": ("p-gibbs", {}),
    "once": ("once", {}),
}


class Task(NamedTuple):
    """A solver on an instance."""

    preset: str
    solver: str
    seed: int


class PGibbsRuntime(Experiment):
    """The times of appendix B."""

    name = "pgibbs-runtime"
    columns = ("benchmark", "solver", "paper_s", "ours_s", "messages", "bytes", "n")
    key_columns = 2

    def tasks(self) -> Sequence[Task]:
        """Return every solver on every instance."""
        seeds = range(self.options.seed, self.options.seed + (self.options.instances or 2))
        return [Task(preset, solver, seed) for preset in PAPER for solver in SOLVERS for seed in seeds]

    @staticmethod
    def run_task(task: Task) -> tuple[float, int, int]:
        """Return CPU seconds, messages and bytes."""
        import time

        from scenarios.experiments.pgibbs import origin_of
        from scenarios.generators.presets import instance
        from scenarios.sweeps.recording import simulate

        problem, origin = instance(task.preset, task.seed), origin_of(task.preset, task.seed)
        solver, params = SOLVERS[task.solver]
        begun = time.process_time()
        result = simulate(problem, solver, origin=origin, seed=task.seed, **params)
        return time.process_time() - begun, result.messages, result.bytes

    def rows(self, results: Sequence[tuple[float, int, int]]) -> list[dict[str, Any]]:
        """Return means by benchmark and solver."""
        found: dict[tuple[str, str], list[tuple[float, int, int]]] = {}
        for task, result in zip(self.tasks(), results, strict=True):
            found.setdefault((task.preset, task.solver), []).append(result)
        rows = []
        for (preset, solver), some in found.items():
            seconds, messages, size = (math.fsum(column) / len(some) for column in zip(*some, strict=True))
            rows.append({
                "benchmark": preset.removeprefix("runtime-"), "solver": solver,
                "paper_s": PAPER[preset] if solver == "p-gibbs paper" else None, "ours_s": seconds,
                "messages": round(messages), "bytes": round(size), "n": len(some),
            })  # fmt: skip
        return rows

    def notes(self, rows: list[dict[str, Any]]) -> list[str]:
        """Return how much less time it takes."""
        return [
            f"{row['benchmark']}: 50 iterations in {row['ours_s']:.2f} CPU s, set-up and accounting included; the "
            f"paper "
            f"{row['paper_s']:g} s"
            for row in rows
            if row["paper_s"]
        ]

    def figure(self, rows: list[dict[str, Any]]) -> Figure | None:
        """Return the times as bars, the paper's among them."""
        from matplotlib.figure import Figure

        bars = [(f"{row['benchmark']}, {row['solver']}", row["ours_s"], "C0") for row in rows]
        bars += [(f"{row['benchmark']}, paper", row["paper_s"], "C3") for row in rows if row["paper_s"]]
        bars.sort()
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.add_subplot()
        axes.barh([name for name, _, _ in bars], [s for _, s, _ in bars], color=[colour for _, _, colour in bars])
        axes.set_xscale("log")
        axes.set_xlabel("seconds for 50 iterations (one pass for once and hardened)")
        return figure


if __name__ == "__main__":
    main_of(PGibbsRuntime.name)
