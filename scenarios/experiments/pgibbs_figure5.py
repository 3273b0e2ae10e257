"""Distribution of one agent's value under SD-Gibbs and P-Gibbs, beside a random one (Damle et al., Figure 5).

A colouring problem with ten values. For one agent: Eq. 2 (SD-Gibbs samples from it) and Eq. 5 (P-Gibbs does, by
epsilon), its neighbours being at their final values of one SD-Gibbs run; and how often each value was its final one
over 40 runs. The paper shows an agent whose preferred value has a probability of about .9: shown is the one nearest
to that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scenarios.experiments.base import main_of
from scenarios.experiments.pgibbs import SETTINGS
from scenarios.experiments.pgibbs_assignments import AssignmentExperiment, Assignments

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PREFERRED: Final = 0.9


class PGibbsFigure5(AssignmentExperiment):
    """Figure 5."""

    name = "pgibbs-figure5"
    columns = ("value", "random", "sd_gibbs", "p_gibbs_0.662", "p_gibbs_9.55", "final_sd_gibbs", "final_p_gibbs_0.662")
    key_columns = 1
    benchmarks = {"colouring": "table5-coloring"}  # noqa: RUF012  # declared in the base class
    runs = 40

    def rows(self, results: Sequence[Assignments]) -> list[dict[str, Any]]:
        """Return a row for each value of the agent."""
        from agentsim.runtime.local_costs import LocalCosts
        from agentsim.runtime.setup import prepare
        from scenarios.generators.presets import instance
        from solvers.sd_gibbs import SdGibbs

        problem = instance("table5-coloring", self.options.seed)
        found = {arm.keys: by_seed[self.options.seed] for (_, arm), by_seed in self.gathered(results).items()}
        final = found[("variant", "sd-gibbs"), ("epsilon", "inf")]
        names = list(problem.variables)
        values = dict(zip(names, final.values[0], strict=True))
        setup = prepare(problem, SdGibbs, "sd-gibbs", {})
        laws = {}
        for name in names:
            cost = LocalCosts(setup.view(name)).by_value(values)
            weights = np.exp(cost.min() - cost)
            laws[name] = weights / weights.sum()
        self._agent = min(names, key=lambda name: abs(float(laws[name].max()) - PREFERRED))
        law, column = laws[self._agent], names.index(self._agent)
        rows = [
            {"value": str(v), "random": 1 / len(law), "sd_gibbs": float(law[d])}
            for d, v in enumerate(problem.variables[self._agent].domain.values)
        ]
        for epsilon in ("0.662", "9.55"):
            softened = np.exp(law / SETTINGS[epsilon]["gamma"])
            for row, p in zip(rows, softened / softened.sum(), strict=True):
                row[f"p_gibbs_{epsilon}"] = float(p)
        counted = {"final_sd_gibbs": final}
        counted |= {f"final_p_gibbs_{e}": found[("variant", "paper"), ("epsilon", e)] for e in ("0.662", "9.55")}
        for key, assignments in counted.items():
            for d, row in enumerate(rows):
                row[key] = sum(run[column] == d for run in assignments.values) / len(assignments.values)
        return rows

    def notes(self, rows: list[dict[str, Any]]) -> list[str]:
        """Return how peaked the distributions are."""
        peaks = {key: max(row[key] for row in rows) for key in rows[0] if key != "value"}
        return [
            f"agent {self._agent} of seed {self.options.seed}, neighbours at the final values of one SD-Gibbs run",
            "greatest probability: " + ", ".join(f"{key.replace('_', ' ')} {peak:.3f}" for key, peak in peaks.items()),
            "Eq. 5 is nearly uniform at every setting, as the paper shows. Final values are more peaked than that: "
            "most "
            "are best responses, which Eq. 5 has no part in",
        ]

    def figure(self, rows: list[dict[str, Any]]) -> Figure | None:
        """Return the distributions as bars."""
        from matplotlib.figure import Figure

        keys = [key for key in rows[0] if key not in ("value", "random")]
        figure = Figure(figsize=(8, 4), layout="constrained")
        axes = figure.add_subplot()
        for k, key in enumerate(keys):
            places = [i + (k - (len(keys) - 1) / 2) * 0.8 / len(keys) for i in range(len(rows))]
            axes.bar(places, [row[key] for row in rows], 0.8 / len(keys), label=key.replace("_", " "))
        axes.axhline(rows[0]["random"], color="0.4", linestyle="--", label="random")
        axes.set_xticks(range(len(rows)), [row["value"] for row in rows])
        axes.set_xlabel(f"value of {self._agent}")
        axes.set_ylabel("probability")
        axes.legend(fontsize=8)
        return figure


if __name__ == "__main__":
    main_of(PGibbsFigure5.name)
