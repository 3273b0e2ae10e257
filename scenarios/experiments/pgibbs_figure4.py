"""Solution quality of P-Gibbs by sigma, gamma, q and the number of agents (Damle et al., Figure 4).

Three sweeps of one parameter on the three benchmarks, and bands of problem sizes on colouring and meetings (ten
instances each, epsilon .662). sigma: gamma = inf, q = .1; gamma: sigma = 100, q = .1; q: gamma = 16, sigma = 100. The
paper says 20 runs here and 10 elsewhere: --full does 20.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from scenarios.experiments.base import main_of
from scenarios.experiments.pgibbs import BENCHMARKS, SETTINGS, Arm, Measured, QualityExperiment, Task, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VARIANTS: Final = ("paper", "code")
BANDS: Final = ("10-30", "30-50", "50-70", "70-90", "90-110")
SWEEPS: Final[Mapping[str, Sequence[Mapping[str, float]]]] = {
    "sigma": [{"sigma": s, "gamma": math.inf, "q": 0.1} for s in (1000.0, 100.0, 50.0, 25.0, 10.0)],
    "gamma": [{"sigma": 100.0, "gamma": g, "q": 0.1} for g in (math.inf, 16.0, 8.0, 4.0, 2.0)],
    "q": [{"sigma": 100.0, "gamma": 16.0, "q": q} for q in (0.1, 0.2, 0.3, 0.4, 0.5)],
}


class PGibbsFigure4(QualityExperiment):
    """Figure 4."""

    name = "pgibbs-figure4"
    columns = ("sweep", "benchmark", "variant", "value", "epsilon", "SQ", "sd", "NQ", "NQ_se", "n")
    key_columns = 4
    benchmarks: ClassVar[Mapping[str, str]] = BENCHMARKS | {
        f"{kind}, {band} agents": f"pgibbs-{preset}-{band}"
        for kind, preset in (("colouring", "coloring"), ("meetings", "meetings"))
        for band in BANDS
    }
    default_instances = 2
    paper_runs = 20

    def arms(self) -> Sequence[Arm]:
        """Return the sweeps of one parameter."""
        return [
            Arm.of(
                "p-gibbs", {"sweep": sweep, "variant": variant, "value": str(params[sweep])}, variant=variant, **params
            )
            for sweep, points in SWEEPS.items()
            for params in points
            for variant in VARIANTS
        ]

    def arms_on(self, benchmark: str) -> Sequence[Arm]:
        """Return the sweeps, or, for a band of sizes, the variants at one setting."""
        if benchmark in BENCHMARKS:
            return self.arms()
        band = benchmark.split(", ")[1].removesuffix(" agents")
        keys = {"sweep": "agents", "value": band}
        return [Arm.of("p-gibbs", {**keys, "variant": v}, variant=v, **SETTINGS["0.662"]) for v in VARIANTS]

    def tasks(self) -> Sequence[Task]:
        """Return every arm on every instance; no more than ten for a band of sizes, as in the paper."""
        return [t for t in super().tasks() if t.benchmark in BENCHMARKS or t.seed - self.options.seed < 10]

    def rows(self, results: Sequence[Measured]) -> list[dict[str, Any]]:
        """Return quality by sweep, with the epsilon that the paper's accountant gives."""
        from solvers.p_gibbs import PGibbsParams

        rows = super().rows(results)
        for row in rows:
            row["benchmark"] = row["benchmark"].split(", ")[0]
            points = SWEEPS.get(row["sweep"], [SETTINGS["0.662"]])
            params = next((p for p in points if str(p.get(row["sweep"])) == row["value"]), points[0])
            row["epsilon"] = PGibbsParams(sigma=params["sigma"], gamma=params["gamma"], q=params["q"]).published_epsilon
        return sorted(rows, key=lambda row: [*SWEEPS, "agents"].index(row["sweep"]))

    def notes(self, rows: list[dict[str, Any]]) -> list[str]:
        """Return what moves with what."""
        notes = [f"{self.instances} instances, {self.runs} runs of each"]
        for sweep in SWEEPS:
            for benchmark in BENCHMARKS:
                own = [r for r in rows if (r["sweep"], r["benchmark"], r["variant"]) == (sweep, benchmark, "paper")]
                if own and own[0]["NQ"] is not None and own[-1]["NQ"] is not None:
                    ends = [own[0]["NQ_se"], own[-1]["NQ_se"]]
                    change = own[-1]["NQ"] - own[0]["NQ"]
                    error = "one instance" if None in ends else f"standard error {math.hypot(*ends):.3f}"
                    notes.append(
                        f"{sweep} from {own[0]['value']} to {own[-1]['value']}, {benchmark}, the paper's noise: NQ "
                        f"changes by {change:+.3f} ({error}), epsilon from {own[0]['epsilon']:.3g} to "
                        f"{own[-1]['epsilon']:.3g}"
                    )
        notes.append("the paper reports quality rising with each budget; its figures are not given in numbers")
        return notes

    def figure(self, rows: list[dict[str, Any]]) -> Figure | None:
        """Return a panel for each sweep, a line for each benchmark with the paper's noise."""
        return panels([r for r in rows if r["variant"] == "paper"], panel="sweep", x="value", line="benchmark")


if __name__ == "__main__":
    main_of(PGibbsFigure4.name)
