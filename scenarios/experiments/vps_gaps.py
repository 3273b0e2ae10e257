"""How far inference rules are from what can be inferred at all: rules, all statements together, the whole transcript.

On problems small enough to try everything, each observer's knowledge of the others' private costs is counted in bits,
all costs together:

    paper                  upper bounds, spread by the ambiguity rule where a message leaves the value open
    exact                  upper bounds that follow from single messages and the observer's own view
    tight, with topology   bounds from both sides, with what was learnt before; the observer knows the tree
    consistent             all costs under which every statement that the observer drew is true, constraints known
    transcript             all costs under which it would have seen the very same messages at the same times

Each of the last four can only know more than the one before. `paper` may claim more than there is to know.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from scenarios.experiments.base import Experiment, main_of
from scenarios.experiments.vps_tables import OURS, PAPER

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Console

RULES: Final = {
    "paper": "paper",
    "exact": "exact",
    "tight": "tight",
    "tight, topology": "tight,topology=true",
}
ADVERSARIES: Final = (*RULES, "consistent", "transcript")
COLOURS: Final = dict(zip(ADVERSARIES, (PAPER, "#BFD9EA", "#6BAED6", OURS, "#9A9A9A", "#333333"), strict=True))
"""The paper's rule stands out; rules are blue, the exact adversaries grey, and who knows more is darker."""

SOLVERS: Final = ("synchbb", "adopt", "bnb-adopt", "dpop")
PROBLEMS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "event, 2 slots": ("dimes", {"people": 3, "d": 2, "u": 2, "shape": "S"}),
    "event, 3 slots": ("dimes", {"people": 3, "d": 3, "u": 2, "shape": "C"}),
    "random": ("random-dcop", {"agents": 3, "d": 2, "u": 3, "b": 2}),
}
INSTANCES: Final = 5


@dataclass(frozen=True)
class Task:
    """One instance, one solver."""

    problem: str
    solver: str
    seed: int


class VpsGaps(Experiment):
    """Rules, `consistent` and `transcript` beside each other."""

    name = "vps-gaps"
    columns = ("problem", "solver", "adversary", "bits", "se", "share", "n")
    key_columns = 3

    def tasks(self) -> Sequence[Task]:
        """Return every instance with every solver."""
        seeds = range(self.options.seed, self.options.seed + (self.options.instances or INSTANCES))
        return [Task(problem, solver, seed) for problem in PROBLEMS for solver in SOLVERS for seed in seeds]

    @staticmethod
    def run_task(task: Task) -> tuple[dict[str, list[float]], float]:
        """Return bits by adversary, one number for each observer, and how many bits there are to know."""
        from agentsim.runtime import registry
        from privacy.adversaries.transcript import transcripts
        from scenarios.sweeps.recording import Origin, simulate

        kind, given = PROBLEMS[task.problem]
        generator = registry.find("generators", kind)
        problem = generator.generate(generator.Params(**given), task.seed)
        specs = [f"vps:as={name.replace(', ', '-')},rule={rule}" for name, rule in RULES.items()]
        origin = Origin(kind, parameters=given, seed=task.seed)
        findings = simulate(problem, task.solver, origin=origin, observers=[*specs, "consistent"]).findings
        bits: dict[str, list[float]] = {}
        for name in RULES:
            matrix = findings[name.replace(", ", "-")]["matrix"]
            bits[name] = [math.fsum(row.values()) for row in matrix.values()]
        bits["consistent"] = list(findings["consistent"]["joint"].values())
        seen = transcripts(problem, task.solver)
        bits["transcript"] = [seen.loss(agent) for agent in matrix]
        one = math.log2(given["u"]) * given["d"]
        return bits, one * (len(matrix) - 1)

    def rows(self, results: Sequence[tuple[dict[str, list[float]], float]]) -> list[dict[str, Any]]:
        """Return mean bits of an observer, and their share of all bits, by problem, solver and adversary."""
        gathered: dict[tuple[str, str], list[dict[str, list[float]]]] = {}
        most: dict[str, float] = {}
        for task, (bits, full) in zip(self.tasks(), results, strict=True):
            gathered.setdefault((task.problem, task.solver), []).append(bits)
            most[task.problem] = full
        rows = []
        for (problem, solver), instances in gathered.items():
            for name in ADVERSARIES:
                means = [math.fsum(bits[name]) / len(bits[name]) for bits in instances]
                n, mean = len(means), math.fsum(means) / len(means)
                spread = math.fsum((m - mean) ** 2 for m in means) / (n - 1) if n > 1 else 0.0
                rows.append({
                    "problem": problem, "solver": solver, "adversary": name, "bits": mean,
                    "se": math.sqrt(spread / n), "share": mean / most[problem], "n": n,
                })  # fmt: skip
        self._disorder = sum(
            bits[less][observer] > bits[more][observer] + 1e-9
            for instances in gathered.values()
            for bits in instances
            for less, more in pairwise(ADVERSARIES[1:])
            for observer in range(len(bits[less]))
        )
        self._overstated = sum(
            claimed > known + 1e-9
            for instances in gathered.values()
            for bits in instances
            for claimed, known in zip(bits["paper"], bits["transcript"], strict=True)
        )
        self._observers = sum(len(bits["paper"]) for instances in gathered.values() for bits in instances)
        return rows

    def notes(self, rows: list[dict[str, Any]]) -> list[str]:
        """Return how often the order was broken, and how often the paper's rule claims more than there is to know."""
        return [
            "bits: what an observer learns of all others' private costs together, mean over observers and instances",
            f"exact <= tight <= tight with topology <= consistent <= transcript was broken {self._disorder} times "
            f"({self._observers} observers)",
            f"the rule `paper` claims more than the whole transcript tells for {self._overstated} of them",
        ]

    def show(self, out: Console, rows: list[dict[str, Any]]) -> None:
        """Show the adversaries beside each other."""
        from scenarios.screen import table

        lines: dict[tuple[str, str], list[str]] = {}
        for row in rows:
            lines.setdefault((row["problem"], row["solver"]), []).append(f"{row['bits']:.2f}±{row['se']:.2f}")
        out.print(table(("problem", "solver", *ADVERSARIES), [(*key, *line) for key, line in lines.items()], left=2))

    def figure(self, rows: list[dict[str, Any]]) -> Figure | None:
        """Return the bits of each adversary by solver, a panel for each kind of problem; dotted: all there is to know.

        A line across a solver's bars stands at what the transcript tells: what ends below misses something, what ends
        above claims more than anybody can know.
        """
        from matplotlib.figure import Figure

        kinds = list(dict.fromkeys(row["problem"] for row in rows))
        figure = Figure(figsize=(9, 2.5 * len(kinds) + 0.6), layout="constrained")
        panels = figure.subplots(len(kinds), 1, squeeze=False)[:, 0]
        width = 0.8 / len(ADVERSARIES)
        for axes, kind in zip(panels, kinds, strict=True):
            own = [row for row in rows if row["problem"] == kind]
            solvers = list(dict.fromkeys(row["solver"] for row in own))
            for k, name in enumerate(ADVERSARIES):
                bars = [row for row in own if row["adversary"] == name]
                axes.bar(
                    [solvers.index(row["solver"]) + (k + 0.5) * width - 0.4 for row in bars],
                    [row["bits"] for row in bars], width * 0.9, yerr=[row["se"] for row in bars],
                    color=COLOURS[name], label=name, error_kw={"elinewidth": 0.9, "capsize": 2},
                )  # fmt: skip
            full = [row for row in own if row["adversary"] == ADVERSARIES[-1]]
            for row in full:
                place = solvers.index(row["solver"])
                axes.hlines(row["bits"], place - 0.4, place + 0.4, color="black", linewidth=0.9, linestyle="--")
            most = [row["bits"] / row["share"] for row in full if row["share"]]
            if most:
                axes.axhline(most[0], color="0.4", linewidth=1.2, linestyle=":", label="all there is")
            axes.set_ylim(bottom=0)
            axes.set_xticks(range(len(solvers)), solvers)
            axes.set_title(kind)
            axes.set_ylabel("bits of an observer")
        marks = panels[0].get_legend_handles_labels()
        figure.legend(*marks, loc="outside upper center", ncols=len(ADVERSARIES) + 1, fontsize=9, columnspacing=1.2)
        return figure


if __name__ == "__main__":
    main_of(VpsGaps.name)
