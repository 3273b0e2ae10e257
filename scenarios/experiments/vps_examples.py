"""The worked examples of Lee, Mak and Shi (Examples 1 to 4), number by number.

Example 1 composes a hybrid aggregator. Example 2 classifies the maximum and the geometric mean at tau = .5; the paper's
vector has p4 = tau, which is in neither set, and its geometric mean of all (.428) is that of the other four: with p4 it
is .442. Example 3 is one COST of 2 in event scheduling with costs 1..4. Example 4 is the ambiguity rule for three
bounds, which the paper describes without a final number.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

from scenarios.experiments.base import Experiment, main_of
from scenarios.experiments.vps_tables import OURS, PAPER

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.console import Console

TAU = 0.5
LOSSES = {"p1": 0.2, "p2": 0.4, "p3": 0.6, "p4": 0.5, "p5": 0.7}
BOUNDS = (2, 1, 3)
SITUATIONS = ("all different", "vi = vj", "vi = vk", "vj = vk", "all equal")


class VpsExamples(Experiment):
    """Examples 1 to 4."""

    name = "vps-examples"
    columns = ("example", "what", "paper", "ours")
    key_columns = 2

    def tasks(self) -> Sequence[int]:
        """Return the examples' numbers."""
        return (1, 2, 3, 4)

    @staticmethod
    def run_task(task: int) -> list[tuple[str, Any, Any]]:
        """Return (what, the paper's value or None, ours) for an example."""
        return (_hybrid, _attitudes, _one_cost, _ambiguity)[task - 1]()

    def rows(self, results: Sequence[list[tuple[str, Any, Any]]]) -> list[dict[str, Any]]:
        """Return a row for each number."""
        return [
            {"example": f"Example {number}", "what": what, "paper": paper, "ours": ours}
            for number, found in zip(self.tasks(), results, strict=True)
            for what, paper, ours in found
        ]

    def notes(self, rows: list[dict[str, Any]]) -> list[str]:
        """Return what the paper leaves open."""
        return [
            "Example 2: .5 = tau belongs to neither set; the paper's geometric mean of all leaves it out",
            "Example 3: loss is the entropy before less that after, so that it is never negative",
            "Example 4: only the least bound is a logical fact; the ambiguity rule claims more than follows",
        ]

    def show(self, out: Console, rows: list[dict[str, Any]]) -> None:
        """Show numbers to six places, as one would compare them by hand."""
        from scenarios.screen import table

        cells = [(row["example"], row["what"], _places(row["paper"]), _places(row["ours"])) for row in rows]
        out.print(table(self.columns, cells, left=2))

    def figure(self, rows: list[dict[str, Any]]) -> Figure | None:
        """Return the paper's numbers with ours, and how the loss of Example 4 comes about."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9, 8), layout="constrained")
        above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=(3, 2))[:, 0]
        _draw_numbers(above.subplots(), [row for row in rows if isinstance(row["paper"], float)])
        _draw_ambiguity(below.subplots(), {row["what"]: row["ours"] for row in rows if row["example"] == "Example 4"})
        return figure


def _draw_numbers(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw a line for each number of the paper, ours a ring around it."""
    at = range(len(rows))
    axes.plot([row["ours"] for row in rows], at, "o", color=OURS, markersize=10, fillstyle="none", label="ours")
    axes.plot([row["paper"] for row in rows], at, "x", color=PAPER, markersize=6, label="paper")
    for place, row in zip(at, rows, strict=True):
        axes.annotate(f"{row['paper']:.4g}", (row["paper"], place), (10, 0), textcoords="offset points", va="center")
    axes.set_yticks(at, [f"{row['example']}: {row['what'].split(' of [')[0]}" for row in rows], fontsize=9)
    axes.set_xlim(0, 1)
    axes.grid(axis="y", color="0.9")
    axes.invert_yaxis()
    axes.set_title("every number that the paper gives")
    axes.legend(loc="lower right")


def _draw_ambiguity(axes: Axes, found: Mapping[str, float]) -> None:
    """Draw the situations of Example 4 as wide as they are probable and as high as their loss."""
    left = 0.0
    for situation in SITUATIONS:
        wide, high = found[f"{situation}: probability"], found[f"{situation}: loss in bits"]
        axes.bar(left, high, wide, align="edge", color="#9ECAE1", edgecolor="white")
        axes.text(
            left + wide / 2,
            high / 2,
            situation.replace(" ", "\n").replace("=\n", "= "),
            ha="center",
            va="center",
            fontsize=9,
        )
        left += wide
    mean, logical = found["expected loss in bits, closed form"], found["what follows logically, in bits"]
    axes.axhline(mean, color="black", linestyle="--", label=f"expected loss by the ambiguity rule: {mean:.3f}")
    axes.axhline(logical, color="black", linestyle=":", label=f"what follows logically: {logical:.3f}")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 4.2)
    axes.set_title(f"Example 4: some values of an agent cost at most {', '.join(map(str, BOUNDS))}; which ones?")
    axes.set_xlabel("probability of the situation")
    axes.set_ylabel("loss, bits")
    axes.legend(loc="upper right", ncols=2, fontsize=9)


def _places(value: object) -> object:
    return f"{value:.6f}".rstrip("0").rstrip(".") if isinstance(value, float) else value


def _hybrid() -> list[tuple[str, Any, Any]]:
    from privacy.aggregators import Average, Hybrid, Max, Median
    from privacy.attitudes import check

    losses = [0.1, 0.3, 0.2, 0.4, 0.5, 0.9, 0.3, 0.6, 0.3]
    hybrid = Hybrid([(Max(), (0, 1)), (Median(), (2, 3, 4, 5)), (Average(), (6, 7, 8))], Max())
    by_hand = max(max(0.1, 0.3), (0.4 + 0.5) / 2, (0.3 + 0.6 + 0.3) / 3)
    found = check(hybrid, sizes=(9,))
    return [
        (f"max(max, median, mean) of {losses}", by_hand, hybrid(losses)),
        ("aggregation function", "yes", "yes" if found.is_aggregation else "no"),
        ("idempotent (Lemma 3)", "yes", "yes" if found.idempotent.holds else "no"),
    ]


def _attitudes() -> list[tuple[str, Any, Any]]:
    from privacy.aggregators import Average, Geometric, Max
    from privacy.attitudes import classify

    def words(aggregate: Any) -> str:  # noqa: ANN401
        return "/".join(classify(aggregate, tau=TAU).verdicts.values())

    high = [p for p in LOSSES.values() if p > TAU]
    low = [p for p in LOSSES.values() if p < TAU]
    mean = Geometric()
    return [
        ("maximum: towards losses above/below tau, and both", "pess/pess/pess", words(Max())),
        ("geometric mean: the same", "neut/neut/neut", words(mean)),
        ("arithmetic mean: the same", "neut/neut/neut", words(Average())),
        ("geometric mean of G+", 0.648, mean(high)),
        ("geometric mean of G-", 0.283, mean(low)),
        ("geometric mean of G- and tau", 0.342, mean([*low, TAU])),
        ("geometric mean of G- and G+", 0.428, mean([*low, *high])),
        ("geometric mean of G+ and tau", 0.594, mean([*high, TAU])),
        ("geometric mean of all five", None, mean(list(LOSSES.values()))),
        ("mean of G+ alone", 0.65, Average()(high)),
        ("mean of G- alone", 0.3, Average()(low)),
    ]


def _one_cost() -> list[tuple[str, Any, Any]]:
    """Let agent x1 receive a COST of 2 from x2 for the slot it has, and look at what it believes."""
    from agentsim.runtime.setup import prepare
    from agentsim.runtime.statements import CostIs, Term
    from privacy.vps.knowledge import Mind, Public
    from privacy.vps.metrics import full_loss
    from privacy.vps.prior import make_prior
    from privacy.vps.rules import Exact
    from scenarios.generators.dimes import Dimes, DimesParams
    from solvers.adopt import Adopt

    u, d, n = 4, 3, 3
    problem = Dimes.generate(DimesParams(u=u, d=d, people=n))
    setup = prepare(problem, Adopt, "adopt", {"root": "x0"})
    mind = Mind("a0", ["a0"], ["x0"], Public(setup, make_prior(setup)))
    rule = Exact(mind, None)
    cost = CostIs("own-cost", (), (Term(("x1",), "none", {"x0": 2}),), "<=", 2)
    rule.at_most(cost.terms, cost.value)
    belief = mind.beliefs["x1"]
    before, bits = full_loss("entropy", d, u), belief.loss("entropy")
    left = belief.high[2] - belief.low[2] + 1
    return [
        ("bits that a1 lacks of a2's costs, before", None, before),
        ("and after a COST of 2", None, before - bits),
        ("what p2 gains", None, bits / (before * (n - 1))),
        ("chance to guess the slot's cost, before", 1 / 4, 1 / u),
        ("and after", 1 / 2, 1 / left),
        ("share of the slot ruled out (proportional)", None, belief.loss("proportional")),
        ("gain of guessing, from 0 to 1", None, belief.loss("guess")),
    ]


def _ambiguity() -> list[tuple[str, Any, Any]]:
    from privacy.vps.metrics import GAINS, enumerated_loss, loss_of_some, mixture_loss

    d = u = 4
    seen: Counter[str] = Counter()
    losses: dict[str, float] = {}
    for places in product(range(d), repeat=len(BOUNDS)):
        i, j, k = places
        situation = (
            "all equal" if i == j == k else "vi = vj" if i == j else "vi = vk" if i == k else "vj = vk" if j == k
            else "all different"
        )  # fmt: skip
        seen[situation] += 1
        least = [min((s for s, p in zip(BOUNDS, places, strict=True) if p == v), default=u) for v in range(d)]
        losses[situation] = sum(GAINS["entropy"](b, u) for b in least)
    total = d ** len(BOUNDS)
    found: list[tuple[str, Any, Any]] = []
    for situation in SITUATIONS:
        chance = 24 / 64 if situation == "all different" else None
        found.append((f"{situation}: probability", chance, seen[situation] / total))
        found.append((f"{situation}: loss in bits", None, losses[situation]))
    return [
        *found,
        ("expected loss in bits, closed form", None, mixture_loss(BOUNDS, d, u)),
        ("and by enumeration", None, enumerated_loss(BOUNDS, d, u)),
        ("share of all bits", None, mixture_loss(BOUNDS, d, u) / (d * math.log2(u))),
        ("proportional loss of each value", None, mixture_loss(BOUNDS, d, u, "proportional") / d),
        ("chance to guess each cost", None, mixture_loss(BOUNDS, d, u, "guess") / d * (1 - 1 / u) + 1 / u),
        ("what follows logically, in bits", None, loss_of_some("entropy", [u] * d, [u - min(BOUNDS)] * d, u)),
    ]


if __name__ == "__main__":
    main_of(VpsExamples.name)
