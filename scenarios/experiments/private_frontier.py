"""How good a private solver can be: quality against the epsilon that really holds, and the converse.

Random-cost colouring (costs 0 to 9, 30 to 99 agents, 10 to 19 values, density .2). For each solver and budget: what
it claims, what holds for all that leaves an agent (one entry, one table, each agent's own mechanism, all tables at an
agent; by the observer `accounting`), SQ against SD-Gibbs, and NQ, which is 0 for random assignments and 1 for
SD-Gibbs. Rows `converse` bound every solver, local or with a trusted centre, for each unit of protection
(`privacy.converse`); `cap` is the quality that the converse of the row's own unit allows at the epsilon claimed.

SQ .8 at epsilon 1 for the unit edge cannot be had by anybody here: the cap is about .73.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from scenarios.experiments.base import Experiment, main_of
from scenarios.experiments.pgibbs import SETTINGS, Arm, cell, origin_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PRESET: Final = "frontier-coloring"
EPSILONS: Final = (0.25, 0.662, 1.0, 1.31, 2.0, 4.1, 9.55)
UNITS: Final = ("agent", "edge", "entry")
INSTANCES: Final = 6
BASELINE: Final = Arm.of("sd-gibbs", {"solver": "sd-gibbs", "epsilon": None})
BASELINE_RUNS: Final = 3
LOW, HIGH = 0, 9
CAPTIONS: Final = {
    "entry": "one entry of a table",
    "edge": "one table",
    "own": "an agent's own mechanism",
    "agent": "all tables at an agent",
}


@dataclass(frozen=True)
class Task:
    """One arm on one instance."""

    arm: Arm
    seed: int
    runs: int


@dataclass(frozen=True)
class Found:
    """What an arm reached on an instance: mean cost, and what its accounting says; and facts of the instance."""

    cost: float
    accounting: Mapping[str, Any]
    random: float
    degrees: tuple[int, ...]
    readers: tuple[int, ...]
    """Tables by agent, if each is read by the later of its two agents in the smallest-last order."""


class PrivateFrontier(Experiment):
    """Quality by true epsilon."""

    name = "private-frontier"
    columns = ("solver", "epsilon", "entry", "edge", "own", "agent", "SQ", "SQ_se", "NQ", "NQ_se", "cap", "n")
    key_columns = 1

    def arms(self) -> list[Arm]:
        """Return all solvers at all budgets."""
        arms = [BASELINE]
        arms += [Arm.of(name, {"solver": name, "epsilon": None}) for name in ("dsa", "mgm")]
        for unit in UNITS:
            arms += [
                Arm.of("once", {"solver": f"once, {unit}", "epsilon": e}, unit=unit, epsilon=e, randomness="seed")
                for e in EPSILONS
            ]
        arms += [Arm.of("p-gibbs", {"solver": "p-gibbs hardened", "epsilon": e}, epsilon=e) for e in EPSILONS]
        for variant in ("paper", "code"):
            for epsilon, params in SETTINGS.items():
                keys = {"solver": f"p-gibbs {variant}", "epsilon": float(epsilon)}
                arms.append(Arm.of("p-gibbs", keys, variant=variant, **params))
        return arms

    def tasks(self) -> Sequence[Task]:
        """Return every arm on every instance."""
        count = self.options.instances or (20 if self.options.full else INSTANCES)
        seeds = range(self.options.seed, self.options.seed + count)
        quick = ("once", "p-gibbs hardened")  # one message on each edge
        return [
            Task(arm, seed, BASELINE_RUNS if arm == BASELINE or str(arm.keys[0][1]).startswith(quick) else 1)
            for arm in self.arms()
            for seed in seeds
        ]

    @staticmethod
    def run_task(task: Task) -> Found:
        """Return what an arm reaches on an instance."""
        from agentsim.dcop.ordering import build_orders
        from privacy.measures import random_cost
        from scenarios.generators.presets import instance
        from scenarios.sweeps.recording import simulate

        problem, origin = instance(PRESET, task.seed), origin_of(PRESET, task.seed)
        costs = []
        accounting: Mapping[str, Any] = {}
        for run in range(task.runs):
            seed = 1000 * task.seed + run
            result = simulate(problem, task.arm.solver, origin=origin, seed=seed, log=False, **dict(task.arm.params))
            assert result.cost is not None
            costs.append(float(result.cost))
            accounting = result.findings.get("accounting", {})
        graph = problem.primal_graph()
        position = {
            name: (k, i)
            for k, order in enumerate(build_orders(problem, order="smallest-last"))
            for i, name in enumerate(order)
        }
        readers = tuple(sum(position[other] < position[name] for other in near) for name, near in graph.items())
        degrees = tuple(len(near) for near in graph.values())
        return Found(math.fsum(costs) / len(costs), accounting, random_cost(problem), degrees, readers)

    def rows(self, results: Sequence[Found]) -> list[dict[str, Any]]:
        """Return the rows: solvers by budget, random assignments, and the converse of each unit."""
        found: dict[Arm, list[Found]] = {}
        for task, result in zip(self.tasks(), results, strict=True):
            found.setdefault(task.arm, []).append(result)
        base = found[BASELINE]
        rows = []
        for arm, instances in found.items():
            row = {**dict(arm.keys), **_holds(instances[0].accounting)}
            row |= _quality([one.cost for one in instances], base)
            unit = {"once, agent": "own", "once, edge": "edge", "once, entry": "entry", "p-gibbs hardened": "own"}
            if row["solver"] in unit:
                row["cap"] = _quality(_converse(base, unit[row["solver"]], row["epsilon"]), base)["SQ"]
            rows.append(row)
        rows.append({"solver": "random", "epsilon": 0.0, **dict.fromkeys(CAPTIONS, 0.0)})
        rows[-1] |= _quality([one.random for one in base], base)
        for unit_name in ("own", "edge", "agent"):
            for epsilon in EPSILONS:
                cap = _quality(_converse(base, unit_name, epsilon), base)
                rows.append({"solver": f"converse, {unit_name}", "epsilon": epsilon, **cap})
        return rows

    def notes(self, rows: list[dict[str, Any]]) -> list[str]:
        """Return what can be had at which price."""
        notes = ["epsilon: as claimed; entry, edge, own, agent: what holds for all that leaves an agent"]
        for unit in UNITS:
            quality, cap = (cell(rows, column, solver=f"once, {unit}", epsilon=1.0) for column in ("SQ", "cap"))
            if quality is not None and cap is not None:
                notes.append(f"once, unit {unit}, epsilon 1: SQ {quality:.3f}; no solver can pass {cap:.3f}")
        random = cell(rows, "SQ", solver="random")
        hardened = cell(rows, "SQ", solver="p-gibbs hardened", epsilon=0.662)
        if random is not None and hardened is not None:
            notes.append(f"p-gibbs hardened, epsilon .662: SQ {hardened:.3f}; random assignments have {random:.3f}")
        edge = cell(rows, "SQ", solver="converse, edge", epsilon=1.0)
        if edge is not None:
            notes.append(
                f"a quality of .8 at epsilon 1 and unit edge is out of reach for anybody: the converse is {edge:.3f}"
            )
        notes.append(
            "p-gibbs paper and code: epsilon is what the paper says; nothing holds, the best response is in the clear"
        )
        return notes

    def figure(self, rows: list[dict[str, Any]]) -> Figure | None:
        """Return NQ by the epsilon that holds, a panel for each unit; the converse dashed, what has none dotted."""
        from matplotlib.figure import Figure

        names = [name for name in dict.fromkeys(row["solver"] for row in rows) if not name.startswith("converse")]
        colours = {name: f"C{k}" for k, name in enumerate(n for n in names if n.startswith(("once", "p-gibbs")))}
        figure = Figure(figsize=(16, 4.4), layout="constrained")
        for k, unit in enumerate(CAPTIONS):
            axes = figure.add_subplot(1, len(CAPTIONS), k + 1)
            for name, colour in colours.items():
                own = [row for row in rows if row["solver"] == name]
                points = [row for row in own if row[unit] and math.isfinite(float(row[unit]))]
                if points:
                    axes.errorbar(
                        [row[unit] for row in points], [row["NQ"] for row in points],
                        [row["NQ_se"] or 0.0 for row in points],
                        label=name, marker="o", markersize=4, capsize=2, color=colour,
                    )  # fmt: skip
                else:
                    best = max(row["NQ"] for row in own)
                    axes.axhline(best, label=f"{name}: no epsilon holds", color=colour, linestyle=":")
            bound = [r for r in rows if r["solver"] == f"converse, {'edge' if unit == 'entry' else unit}"]
            axes.plot([row["epsilon"] for row in bound], [row["NQ"] for row in bound], "k--", label="converse")
            axes.set_xscale("log")
            axes.set_xlim(0.1, 200)
            axes.set_ylim(-0.1, 1.2)
            axes.set_xlabel(f"epsilon that holds for {CAPTIONS[unit]}")
            axes.set_ylabel("NQ: 0 random, 1 SD-Gibbs")
            if k == 0:
                axes.legend(fontsize=7)
        return figure


def _holds(accounting: Mapping[str, Any]) -> dict[str, Any]:
    holds = accounting.get("holds", {})
    # A mechanism that does not tell entries from tables protects both alike.
    return {"entry": holds.get("entry", holds.get("edge"))} | {u: holds.get(u) for u in ("edge", "own", "agent")}


def _quality(costs: Sequence[float], base: Sequence[Found]) -> dict[str, Any]:
    """Return SQ and NQ with their standard errors over instances."""
    from privacy.measures import normalised_quality, solution_quality

    sq = [solution_quality(cost, one.cost, "min") for cost, one in zip(costs, base, strict=True)]
    nq = [normalised_quality(cost, one.cost, one.random) for cost, one in zip(costs, base, strict=True)]
    row: dict[str, Any] = {"n": len(costs)}
    for name, values in (("SQ", sq), ("NQ", nq)):
        mean = math.fsum(values) / len(values)
        several = len(values) > 1
        variance = math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1) if several else 0.0
        row[name], row[f"{name}_se"] = mean, math.sqrt(variance / len(values)) if several else None
    return row


def _converse(base: Sequence[Found], unit: str, epsilon: float) -> list[float]:
    """Return the least mean cost of each instance that `epsilon` leaves possible."""
    from privacy.converse import least_cost

    costs = []
    for one in base:
        if unit == "own":
            groups = [(tables, 1.0) for tables in one.readers]
        elif unit == "agent":
            groups = [(tables, 0.5) for tables in one.degrees]
        else:
            groups = [(1, sum(one.degrees) / 2)]
        costs.append(least_cost(epsilon, LOW, HIGH, groups))
    return costs


if __name__ == "__main__":
    main_of(PrivateFrontier.name)
