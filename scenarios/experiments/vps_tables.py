"""What the two tables of system privacy loss share: cells, runs, and the comparison with the paper's numbers."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from scenarios.experiments.base import Experiment

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.console import Console

AGGREGATORS: Final = ("average", "max", "risk")
PAPER_INSTANCES: Final = 10
"""Each number of the paper is a mean over so many instances; the five repetitions of each gave identical results."""

INSTANCES: Final = 200
PER_TASK: Final = 5

LABELS: Final = {"dpop": "DPOP", "bnb-adopt": "BnB-ADOPT", "adopt": "ADOPT", "synchbb": "SynchBB"}

OURS: Final = "#0072B2"
PAPER: Final = "#D55E00"
"""Colours of our numbers and the paper's, which the colour-blind tell apart too."""

FURTHER: Final = ("#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS: Final = "osD^v<>P"
"""Colours of what else there is, used again with other markers; the first marker is ours."""

FAR: Final = 2.0
"""Standard errors from which on a number of the paper counts as far off."""


class Cell(NamedTuple):
    """One solver on one kind of problem.

    Args:
        solver: its name.
        where: column value, such as a shape.
        generator: parameters of the problem generator.
        params: the solver's parameters: root and order.
        rules: options of the observer `vps`, one observer each; the first one is what the paper is compared with.
        more: further columns of its rows.
    """

    solver: str
    where: str | int
    generator: Mapping[str, Any]
    params: Mapping[str, str]
    rules: tuple[str, ...]
    more: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Task:
    """Some instances of a cell."""

    generator: str
    cell: Cell
    tau: float
    seeds: tuple[int, ...]


Losses = list[list[list[float]]]
"""By instance, then rule, then aggregator."""


def run_cell(task: Task) -> Losses:
    """Solve the instances of a task over the network `unit`, each once, watched by an observer for each rule."""
    from agentsim.runtime import registry
    from scenarios.sweeps.recording import Origin, simulate

    generator = registry.find("generators", task.generator)
    params = generator.Params(**task.cell.generator)
    observers = [f"vps:tau={task.tau},rule={rule}" for rule in task.cell.rules]
    found: Losses = []
    for seed in task.seeds:
        problem = generator.generate(params, seed)
        origin = Origin(task.generator, parameters=task.cell.generator, seed=seed)
        result = simulate(problem, task.cell.solver, origin=origin, observers=observers, log=False, **task.cell.params)
        if result.status != "optimal":
            raise AssertionError(f"{task.cell.solver} on {problem.name} ended as {result.status}")
        found.append([[f["aggregate"][name] for name in AGGREGATORS] for f in result.findings.values()])
    return found


class VpsTable(Experiment):
    """Base of both tables.

    Attributes:
        generator: name of the problem generator.
        tau: the threshold of the risk-based aggregator.
        axis: name of the column that tells kinds of problems apart.
        linear_below: the figure's scale is logarithmic above this loss; None where it is linear throughout.
        paper: (average, max, risk) by (solver, kind).
    """

    generator: ClassVar[str]
    tau: ClassVar[float]
    axis: ClassVar[str]
    linear_below: ClassVar[float | None] = None
    paper: ClassVar[Mapping[tuple[str, str | int], tuple[float, float, float]]]

    @abstractmethod
    def cells(self) -> Sequence[Cell]:
        """Return the cells, those that take longest first."""

    def tasks(self) -> Sequence[Task]:
        """Return the cells in portions of a few instances, so that no worker is left with a long one at the end."""
        seeds = range(self.options.seed, self.options.seed + (self.options.instances or INSTANCES))
        portions = [tuple(seeds[i : i + PER_TASK]) for i in range(0, len(seeds), PER_TASK)]
        return [Task(self.generator, cell, self.tau, portion) for cell in self.cells() for portion in portions]

    @staticmethod
    def run_task(task: Task) -> Losses:
        """Run some instances."""
        return run_cell(task)

    def rows(self, results: Sequence[Losses]) -> list[dict[str, Any]]:
        """Return a row for each cell, rule and aggregator: paper's mean, ours, standard errors, z."""
        cells = self.cells()
        portions = len(results) // len(cells)
        rows: list[dict[str, Any]] = []
        for c, cell in enumerate(cells):
            losses = [losses for portion in results[c * portions : (c + 1) * portions] for losses in portion]
            for r, rule in enumerate(cell.rules):
                for a, aggregator in enumerate(AGGREGATORS):
                    values = [instance[r][a] for instance in losses]
                    printed = self.paper[cell.solver, cell.where][a]
                    rows.append({
                        "solver": cell.solver, self.axis: cell.where, "aggregator": aggregator, "rule": rule,
                        **dict(cell.more), "paper": printed, **compare(values, printed),
                    })  # fmt: skip
        as_printed = {key: i for i, key in enumerate(self.paper)}
        rows.sort(key=lambda row: as_printed[row["solver"], row[self.axis]])
        return rows

    def show(self, out: Console, rows: list[dict[str, Any]]) -> None:
        """Show the three aggregators of a cell beside each other."""
        from scenarios.screen import table

        more = self._more(rows)
        lines: dict[tuple[str, ...], list[str]] = {}
        for row in rows:
            z = "" if row["z"] is None else f"{row['z']:+.1f}"
            shown = f"{_short(row['paper'])} {_short(row['ours'])}±{_short(row['se'])} {z:>4}"
            key = (LABELS[row["solver"]], str(row[self.axis]), row["rule"].removeprefix("paper,"))
            lines.setdefault((*key, *(row[name] for name in more)), []).append(shown)
        heads = [f"{name}: paper, ours±se, z" for name in AGGREGATORS]
        out.print(table(["solver", self.axis, "rule", *more, *heads], [(*k, *v) for k, v in lines.items()], left=3))

    def _more(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """Return the further columns in which rows differ."""
        return [key for key, _ in self.cells()[0].more if len({row[key] for row in rows}) > 1]

    def figure(self, rows: list[dict[str, Any]]) -> Figure | None:
        """Return the paper's numbers beside ours, a panel for each aggregator, kinds of problems grouped by solver."""
        from matplotlib.figure import Figure

        keys = list(dict.fromkeys((row["solver"], row[self.axis]) for row in rows))
        solvers = list(dict.fromkeys(solver for solver, _ in keys))
        places = {key: i + 0.6 * solvers.index(key[0]) for i, key in enumerate(keys)}
        figure = Figure(figsize=(9, 8), layout="constrained")
        panels = figure.subplots(len(AGGREGATORS), 1, sharex=True)
        for axes, aggregator in zip(panels, AGGREGATORS, strict=True):
            self._panel(axes, [row for row in rows if row["aggregator"] == aggregator], places)
            axes.set_ylabel(
                {"average": "average loss", "max": "maximum loss", "risk": f"risk-based, tau {self.tau:g}"}[aggregator]
            )
        panels[-1].set_xticks(list(places.values()), [str(kind) for _, kind in places])
        panels[-1].set_xlabel(self.axis)
        for solver in solvers:
            own = [place for key, place in places.items() if key[0] == solver]
            middle = math.fsum(own) / len(own)
            panels[0].text(middle, 1.03, LABELS[solver], transform=panels[0].get_xaxis_transform(), ha="center")
            for axes in panels:
                axes.axvline(max(own) + 0.8, color="0.8", linewidth=0.8)
        panels[-1].set_xlim(-0.8, max(places.values()) + 0.8)
        shown = {text: mark for axes in panels for mark, text in zip(*axes.get_legend_handles_labels(), strict=True)}
        figure.legend(
            shown.values(),
            shown.keys(),
            loc="outside upper center",
            ncols=len(shown) if len(shown) <= 4 else 3,
            fontsize=9,
            columnspacing=1.0,
        )
        return figure

    def _panel(self, axes: Axes, rows: Sequence[Mapping[str, Any]], places: Mapping[tuple[Any, ...], float]) -> None:
        """Draw one aggregator: in each cell the paper's number, then ours by rule, the one that is compared first."""
        cells: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
        for row in rows:
            cells.setdefault((row["solver"], row[self.axis]), []).append(row)
        step = 0.8 / (1 + max(map(len, cells.values())))
        starts = {key: places[key] - step * len(cell) / 2 for key, cell in cells.items()}
        firsts = {key: cell[0] for key, cell in cells.items()}
        if any(row["se"] is not None for row in rows):
            band = {key: FAR * math.hypot(row["se"], row["se10"]) for key, row in firsts.items()}
            axes.bar(
                [places[key] for key in band], [2 * half for half in band.values()], width=0.95, color="0.9", zorder=0,
                bottom=[firsts[key]["ours"] - half for key, half in band.items()],
                label=f"where |z| \u2264 {FAR:g} for a mean of {PAPER_INSTANCES} instances",
            )  # fmt: skip
        axes.plot(
            list(starts.values()), [firsts[key]["paper"] for key in starts], "x", color=PAPER, label="paper",
            markersize=7, markeredgewidth=1.8, zorder=3, clip_on=False,
        )  # fmt: skip
        lines: dict[str, list[tuple[float, float, float]]] = {}
        for key, cell in cells.items():
            for k, row in enumerate(cell):
                point = (starts[key] + step * (k + 1), row["ours"], row["se"] or 0.0)
                lines.setdefault(self._label(row, rows) if k else "ours \u00b1 standard error", []).append(point)
        for k, (label, points) in enumerate(lines.items()):
            x, y, error = zip(*points, strict=True)
            axes.errorbar(
                x, y, error, fmt=MARKERS[k % len(MARKERS)], markersize=5, capsize=3, label=label,
                color=FURTHER[(k - 1) % len(FURTHER)] if k else OURS, markerfacecolor=None if k == 0 else "none",
                clip_on=False,
            )  # fmt: skip
        if self.linear_below is not None:
            axes.set_yscale("symlog", linthresh=self.linear_below)
        axes.set_ylim(bottom=0)

    def _label(self, row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
        """Return by what a row differs from the one that is compared with the paper."""
        more = [f"{name} {row[name]}" for name in self._more(rows)]
        return ", ".join(["ours, " + row["rule"].removeprefix("paper,"), *more])


def _short(share: float | None) -> str:
    return "-" if share is None else f"{share:.4f}".removeprefix("0")


def compare(values: Sequence[float], printed: float) -> dict[str, float | int | None]:
    """Return ours, its standard error, and how far off the paper's mean of ten instances is.

    Returns:
        ours: mean; se: its standard error; se10: that of a mean of ten instances; z: (paper - ours) in standard errors
        of the difference, infinite where ours never varies and differs, None where it agrees; n: number of instances.
        With one instance there are no standard errors: None.
    """
    n = len(values)
    mean = math.fsum(values) / n
    if n == 1:
        return {"ours": mean, "se": None, "se10": None, "z": None, "n": 1}
    variance = math.fsum((v - mean) ** 2 for v in values) / (n - 1)
    spread = math.sqrt(variance * (1 / n + 1 / PAPER_INSTANCES))
    off = printed - mean
    return {
        "ours": mean,
        "se": math.sqrt(variance / n),
        "se10": math.sqrt(variance / PAPER_INSTANCES),
        "z": off / spread if spread else None if abs(off) < 1e-9 else math.copysign(math.inf, off),
        "n": n,
    }


def outliers(rows: Sequence[Mapping[str, Any]], axis: str, limit: float = FAR) -> str:
    """Return a sentence on which cells of the paper lie further off than `limit` standard errors."""
    if rows[0]["n"] == 1:
        return "one instance says nothing of how far the paper's cells are off"
    first: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for row in rows:
        first.setdefault((row["solver"], row[axis], row["aggregator"]), row)
    far = [row for row in first.values() if row["z"] is not None and abs(row["z"]) > limit]
    names = ", ".join(f"{LABELS[r['solver']]} {r[axis]} {r['aggregator']} (z {r['z']:+.1f})" for r in far)
    return (
        f"{len(first) - len(far)} of {len(first)} cells of the paper lie within {limit:g} standard errors of ours"
        + (f"; not so: {names}" if far else "")
        + ". Cells of one solver and kind come from the same ten instances, so they are not independent tests."
    )
