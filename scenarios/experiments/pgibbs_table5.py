"""Assignment distance of P-Gibbs and SD-Gibbs (Damle et al., Table 5).

How far the distribution of each variable's final value over 40 runs is from uniform, as Jensen-Shannon divergence to
base 2, averaged over variables (Eq. 13). The paper says that it lies in [0, 1]; a value that never changes has .758
for ten values (`most`), and 40 uniform draws have about .05 (`uniform`), not 0. Problems: 30 agents, ten values; the
density of the colouring and the meetings' shape are ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from scenarios.experiments.base import main_of
from scenarios.experiments.pgibbs import cell, panels
from scenarios.experiments.pgibbs_assignments import AssignmentExperiment, Assignments, mean_and_error

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAPER: Final[Mapping[tuple[str, str], Mapping[str, float]]] = {
    ("colouring", "sd-gibbs"): {"inf": 0.553},
    ("colouring", "p-gibbs"): {"0.046": 0.253, "0.662": 0.275, "9.55": 0.288},
    ("meetings", "sd-gibbs"): {"inf": 0.71},
    ("meetings", "p-gibbs"): {"0.046": 0.623, "0.662": 0.624, "9.55": 0.64},
}


class PGibbsTable5(AssignmentExperiment):
    """Table 5."""

    name = "pgibbs-table5"
    columns = ("benchmark", "variant", "epsilon", "paper", "ours", "se", "most", "uniform", "n")
    benchmarks: ClassVar[Mapping[str, str]] = {"colouring": "table5-coloring", "meetings": "table5-meetings"}
    runs = 40

    def rows(self, results: Sequence[Assignments]) -> list[dict[str, Any]]:
        """Return the distance by benchmark and arm: mean over instances."""
        from privacy.measures import assignment_distance, max_assignment_distance, uniform_assignment_distance

        rows = []
        for (benchmark, arm), by_seed in self.gathered(results).items():
            keys = dict(arm.keys)
            ours, error = mean_and_error([assignment_distance(a.values, a.sizes) for a in by_seed.values()])
            sizes = next(iter(by_seed.values())).sizes
            most, _ = mean_and_error([max_assignment_distance(size) for size in sizes])
            uniform, _ = mean_and_error([uniform_assignment_distance(size, self.runs) for size in sizes])
            paper = None if keys["variant"] == "hardened" else PAPER[benchmark, arm.solver][keys["epsilon"]]
            rows.append({
                "benchmark": benchmark, **keys, "paper": paper, "ours": ours, "se": error, "most": most,
                "uniform": uniform, "n": len(by_seed),
            })  # fmt: skip
        return rows

    def notes(self, rows: list[dict[str, Any]]) -> list[str]:
        """Return whether P-Gibbs is nearer to random than SD-Gibbs, and by how much."""
        notes = [f"{self.runs} runs of each arm on each instance"]
        for benchmark in self.benchmarks:
            own = [row for row in rows if row["benchmark"] == benchmark]
            base = cell(own, "ours", variant="sd-gibbs")
            shares = [row["ours"] / base for row in own if row["variant"] == "paper"]
            published = [
                row["paper"] / cell(own, "paper", variant="sd-gibbs") for row in own if row["variant"] == "paper"
            ]
            notes.append(
                f"{benchmark}: P-Gibbs (paper variant) has {min(shares):.0%} to {max(shares):.0%} of SD-Gibbs's "
                f"distance (the "
                f"paper: {min(published):.0%} to {max(published):.0%})"
            )
        notes.append("the levels depend on the density and on the meetings' shape, which the paper does not state")
        return notes

    def figure(self, rows: list[dict[str, Any]]) -> Figure | None:
        """Return the distances, a panel for each benchmark."""
        return panels(rows, panel="benchmark", x="epsilon", line="variant", y="ours", error="se")


if __name__ == "__main__":
    main_of(PGibbsTable5.name)
