"""What x1 learns of the constraint between x2 and x3, which it has no part in (Damle et al., section 4 and Figure 1).

Three agents, two values, the same utilities for each pair: F(0,0) = 0, F(0,1) = F(1,0) = -1, F(1,1) = 2. (The paper
prints the optimum, 6, and probabilities; these utilities give them.) x1 is the root, x3 the leaf. An observer with
the eyes of x1 alone uses two things that it is sent in each iteration:

* BACKTRACK: it knows its own two constraints and everybody's values, so that what is left of a relative utility is
  F23 after less F23 before. Equations, weighted by their noise, give F23 up to a constant: the initial F23(0,0) = 0.
* the best responses in VALUE: each says that a value of x2 or x3 is no worse than the other one, x1's parts of which it
  knows. Inequalities on differences of F23, free of noise in every variant that sends them.

`estimate` and `se` come from the equations (what the published code sends without noise is exact), `low` and `high`
from the inequalities.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agentsim.dcop.problem import Constraint, Domain, Problem, Variable
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.observer import Observer
from scenarios.experiments.base import Experiment, main_of
from scenarios.experiments.pgibbs import SETTINGS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

F: Final = ((0, -1), (-1, 2))
CELLS: Final = ((0, 0), (0, 1), (1, 0), (1, 1))
RUNS: Final = 20
EXACT: Final = 1e-9
"""Standard deviation below which an equation counts as exact."""


def figure1() -> Problem:
    """Return the problem of Figure 1; the range of utilities is public."""
    domain = Domain("values", (0, 1))
    pairs = (("x1", "x2"), ("x2", "x3"), ("x1", "x3"))
    return Problem.build(
        [Variable(name, domain) for name in ("x1", "x2", "x3")],
        [Constraint(f"F{a[1]}{b[1]}", (a, b), np.array(F), cost_range=(-1, 2)) for a, b in pairs],
        name="figure1",
        objective="max",
    )


class TableThief(Observer):
    """Solves for F23 from what x1 sees. Knows the algorithm and its public parameters."""

    name = "table-thief"
    default_view = "agent:x1"

    def start(self) -> None:
        """Begin with everybody at the first value, which is public."""
        self.t = 0
        self.values = {"x1": (0, 0), "x2": (0, 0), "x3": (0, 0)}  # sampled, best response
        self.before = {name: 0 for name in self.values}
        self.equations: list[tuple[NDArray[np.float64], float, float]] = []  # coefficients of F23, value, deviation
        self.bounds: dict[
            tuple[str, int], tuple[float, float]
        ] = {}  # of utility(1) - utility(0), by (chooser, other's value)

    def observe(self, delivery: Delivery) -> None:
        """Take a value, or an equation."""
        message = delivery.message
        if delivery.type == "VALUE" and message.t > 0:
            if delivery.src == "x1" and message.t > self.t:
                self.t = message.t
                self.before = {name: value for name, (value, _) in self.values.items()}
            self.values[delivery.src] = (message.d, message.best)
            if delivery.src != "x1":
                self.chosen(delivery.src, message.best)
        elif delivery.type == "BACKTRACK":
            self.gained(message)

    def chosen(self, node: str, best: int) -> None:
        """Bound the difference that decided a best response: x3 is below x2, which still had its old value for x2."""
        other = self.before["x3"] if node == "x2" else self.values["x2"][1]
        mine = self.values["x1"][1]
        known = F[mine][1] - F[mine][0]  # what x1's own constraint adds to the utility of 1 over 0
        low, high = self.bounds.get((node, other), (-math.inf, math.inf))
        # Ties go to the first value.
        self.bounds[node, other] = (max(low, -known), high) if best == 1 else (low, min(high, -known))

    def gained(self, message: Any) -> None:  # noqa: ANN401  # of either solver
        """Turn relative utilities into equations."""
        params: Any = self.context.setup.params
        variant = getattr(params, "variant", None)
        if variant == "code":
            sums = [(message.clean[0], 0, 0.0), (message.clean[1], 1, 0.0)]
        else:
            # Two agents below x1 have added noise of their own.
            deviation = math.sqrt(2) * params.tau * params.sigma if variant == "paper" else 0.0
            sums = [(message.delta, 0, deviation), (message.best_delta, 1, deviation)]
        mine = (self.values["x1"][0], self.values["x1"][1])
        for total, which, deviation in sums:
            after = {name: self.values[name][which] for name in ("x2", "x3")}
            known = sum(F[mine[which]][after[n]] - F[mine[which]][self.before[n]] for n in after)
            row = np.zeros(4)
            row[CELLS.index((after["x2"], after["x3"]))] += 1
            row[CELLS.index((self.before["x2"], self.before["x3"]))] -= 1
            if row.any():
                self.equations.append((row, total - known, deviation))

    def findings(self) -> dict[str, Any]:
        """Return the equations [coefficients, value, deviation] and the bounds [chooser, other's value, low, high]."""
        return {
            "equations": [[row.tolist(), value, deviation] for row, value, deviation in self.equations],
            "bounds": [[*key, *ends] for key, ends in self.bounds.items()],
        }


def solve(equations: Sequence[Sequence[Any]]) -> list[tuple[float | None, float | None]]:
    """Return F23 at all cells but the first by least squares, each with its standard error; None where undetermined."""
    if not equations:
        return [(None, None)] * 3
    rows = np.array([row[1:] for row, _, _ in equations])
    values = np.array([value for _, value, _ in equations])
    deviation = max(d for _, _, d in equations)
    inverse = np.linalg.pinv(rows.T @ rows)
    solution = inverse @ rows.T @ values
    determined = np.isclose(inverse @ (rows.T @ rows), np.eye(3)).all(axis=1)
    return [
        (round(float(solution[k]), 9), deviation * math.sqrt(inverse[k, k])) if determined[k] else (None, None)
        for k in range(3)
    ]


def limits(bounds: Iterable[Sequence[Any]]) -> list[tuple[float, float]]:
    """Return what the best responses leave of F23 at all cells but the first: (low, high)."""
    between: dict[tuple[str, int], tuple[float, float]] = {}
    for chooser, other, low, high in bounds:
        at = between.get((chooser, other), (-math.inf, math.inf))
        between[chooser, other] = (max(at[0], float(low)), min(at[1], float(high)))
    free = (-math.inf, math.inf)
    ways = [(between.get(("x2", 0), free), between.get(("x3", 1), free))]  # to F(1,1) over F(1,0)
    ways.append((between.get(("x3", 0), free), between.get(("x2", 1), free)))  # and over F(0,1)
    corner = (max(a[0] + b[0] for a, b in ways), min(a[1] + b[1] for a, b in ways))
    return [ways[1][0], ways[0][0], corner]


class Task(NamedTuple):
    """One solver, run a few times on the same problem."""

    label: str
    solver: str
    params: tuple[tuple[str, Any], ...]
    seeds: tuple[int, ...]


class Found(NamedTuple):
    """What x1 knows of F23 at all cells but the first after the runs of a task: see `solve` and `limits`."""

    entries: list[tuple[float | None, float | None]]
    limits: list[tuple[float, float]]
    equations: int


class PGibbsLeak(Experiment):
    """F23 as x1 recovers it."""

    name = "pgibbs-leak"
    columns = ("solver", "runs", "entry", "true", "estimate", "se", "low", "high", "equations")
    key_columns = 3

    def tasks(self) -> Sequence[Task]:
        """Return sd-gibbs and the variants of p-gibbs at the paper's epsilon .662: one run, and several."""
        params = tuple(SETTINGS["0.662"].items())
        variants = [(f"p-gibbs {v}", "p-gibbs", (("variant", v), *params)) for v in ("paper", "code", "hardened")]
        first = self.options.seed
        return [
            Task(*given, tuple(range(first, first + runs)))
            for given in (("sd-gibbs", "sd-gibbs", ()), *variants)
            for runs in (1, self.options.instances or RUNS)
        ]

    @staticmethod
    def run_task(task: Task) -> Found:
        """Return what the observer found in all runs together."""
        from scenarios.sweeps.recording import simulate

        equations, bounds = [], []
        for seed in task.seeds:
            result = simulate(figure1(), task.solver, seed=seed, root="x1", observers=[TableThief], **dict(task.params))
            found = result.findings[TableThief.name]
            equations += found["equations"]
            bounds += found["bounds"]
        return Found(solve(equations), limits(bounds), len(equations))

    def rows(self, results: Sequence[Found]) -> list[dict[str, Any]]:
        """Return a row for each solver and entry."""
        return [
            {
                "solver": task.label, "runs": str(len(task.seeds)), "entry": f"F23({i},{j})", "true": F[i][j],
                "estimate": estimate, "se": error, "low": low, "high": high, "equations": found.equations,
            }
            for task, found in zip(self.tasks(), results, strict=True)
            for (i, j), (estimate, error), (low, high) in zip(CELLS[1:], found.entries, found.limits, strict=True)
        ]  # fmt: skip

    def notes(self, rows: list[dict[str, Any]]) -> list[str]:
        """Return who gives the table away."""
        notes = ["given F23(0,0) = 0: relative utilities say nothing of a constant"]
        for name in dict.fromkeys(row["solver"] for row in rows):
            own = [row for row in rows if row["solver"] == name]
            several = [row for row in own if row["runs"] == own[-1]["runs"]]
            known = sum(row["se"] is not None and row["se"] < EXACT for row in several)
            row = several[-1]
            told = (
                "no equation" if row["estimate"] is None else f"{row['estimate']:.4g}, standard error {row['se']:.4g}"
            )
            notes.append(
                f"{name}, {row['runs']} runs: {known} of 3 entries exactly; F23(1,1): {told}; by best responses "
                f"alone from {row['low']} to {row['high']}"
            )
        return notes

    def figure(self, rows: list[dict[str, Any]]) -> Figure | None:
        """Return each entry as it was estimated over several runs, beside the truth."""
        from matplotlib.figure import Figure

        entries = list(dict.fromkeys(row["entry"] for row in rows))
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.add_subplot()
        solvers = list(dict.fromkeys(row["solver"] for row in rows))
        for k, name in enumerate(solvers):
            own = {row["entry"]: row for row in rows if row["solver"] == name}  # the last: several runs
            known = [(i, own[e]) for i, e in enumerate(entries) if own[e]["estimate"] is not None]
            axes.errorbar(
                [i + (k - len(solvers) / 2) * 0.1 for i, _ in known], [row["estimate"] for _, row in known],
                [row["se"] for _, row in known], linestyle="", marker="o", capsize=3,
                label=name if known else f"{name}: no equation",
            )  # fmt: skip
        axes.plot(range(len(entries)), [F[i][j] for i, j in CELLS[1:]], "k_", markersize=30, label="true")
        axes.set_yscale("symlog", linthresh=5)
        axes.set_xticks(range(len(entries)), entries)
        axes.set_ylabel("as x1 estimates it")
        axes.legend(fontsize=8)
        return figure


if __name__ == "__main__":
    main_of(PGibbsLeak.name)
