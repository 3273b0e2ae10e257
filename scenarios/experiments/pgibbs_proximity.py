"""Assignment proximity of P-Gibbs and SD-Gibbs (Damle et al., appendix C, Figure C3).

How often each variable takes its most frequent value over 20 runs, less 1/|D|, as a Euclidean norm over variables
(Eq. C1). It grows with the root of the number of variables, and is not 0 for random assignments: `uniform` is what 20
uniform draws give. The paper's numbers are in a figure only; its text: P-Gibbs has about half of SD-Gibbs's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from scenarios.experiments.base import main_of
from scenarios.experiments.pgibbs import cell, panels
from scenarios.experiments.pgibbs_assignments import AssignmentExperiment, Assignments, mean_and_error

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class PGibbsProximity(AssignmentExperiment):
    """Figure C3."""

    name = "pgibbs-proximity"
    columns = ("benchmark", "variant", "epsilon", "ours", "se", "uniform", "share", "SQ", "n")
    benchmarks: ClassVar[Mapping[str, str]] = {"colouring": "proximity-coloring", "meetings": "proximity-meetings"}
    runs = 20

    def rows(self, results: Sequence[Assignments]) -> list[dict[str, Any]]:
        """Return the proximity by benchmark and arm, as a share of SD-Gibbs's too: means over instances."""
        import numpy as np

        from agentsim.runtime.streams import generator
        from privacy.measures import Objective, assignment_proximity, solution_quality

        found = self.gathered(results)
        rows = []
        for (benchmark, arm), by_seed in found.items():
            base = found[benchmark, self.arms()[0]]
            proximity = {s: assignment_proximity(a.values, a.sizes) for s, a in by_seed.items()}
            shares = [p / assignment_proximity(base[s].values, base[s].sizes) for s, p in proximity.items()]
            ours, error = mean_and_error(list(proximity.values()))
            sizes = next(iter(by_seed.values())).sizes
            draws = generator(self.options.seed, self.name).integers(0, sizes, (self.runs, len(sizes)))
            objective: Objective = "min" if benchmark == "colouring" else "max"
            quality = [solution_quality(a.cost, base[s].cost, objective) for s, a in by_seed.items() if a.cost]
            rows.append(
                {"benchmark": benchmark, **dict(arm.keys), "ours": ours, "se": error,
                 "uniform": assignment_proximity(np.asarray(draws), sizes), "share": mean_and_error(shares)[0],
                 "SQ": mean_and_error(quality)[0] if quality else None, "n": len(by_seed)}
            )  # fmt: skip
        return rows

    def notes(self, rows: list[dict[str, Any]]) -> list[str]:
        """Return P-Gibbs's share of SD-Gibbs's proximity."""
        notes = [f"{self.runs} runs of each arm on each instance; the paper: P-Gibbs has about half of SD-Gibbs's"]
        for benchmark in self.benchmarks:
            own = [r for r in rows if r["benchmark"] == benchmark and r["variant"] == "paper"]
            low, high = min(r["share"] for r in own), max(r["share"] for r in own)
            uniform = cell(own, "uniform") / cell(
                [r for r in rows if r["benchmark"] == benchmark], "ours", variant="sd-gibbs"
            )
            notes.append(
                f"{benchmark}: {low:.0%} to {high:.0%} (paper variant); random assignments would have {uniform:.0%}"
            )
        return notes

    def figure(self, rows: list[dict[str, Any]]) -> Figure | None:
        """Return proximity by epsilon, a panel for each benchmark."""
        return panels(rows, panel="benchmark", x="epsilon", line="variant", y="ours", error="se")


if __name__ == "__main__":
    main_of(PGibbsProximity.name)
