"""System privacy loss of four algorithms on event scheduling (Lee, Mak and Shi, Table II).

Seven people schedule one event in four slots, each slot costs everybody 1 or 2; entropy metric, tau = .083. The
equality constraints form a star (S), a balanced binary tree (T), a chain (C) or a clique (Q).

Settings. Network `unit`: the paper's five repetitions gave identical results, so its simulator was deterministic.
Roots: centre of the star, top of the heap, agent 0 of the clique, middle of the chain; children by index; SynchBB in
preorder of the tree, on the chain from end to end. Rule `paper`: a COST bounds the sender's cost of the slot in its
context from above; UTIL that of the slot that all separator variables share; SynchBB's tokens those of every agent that
they speak of.

What the numbers mean. p = 1 means that every other agent knows all of an agent's costs; observers that learn nothing
count. Only upper bounds are used, so that a cost of 2 is never revealed: `--observe vps:rule=tight,topology=true` shows
that exact inference at leaves doubles the loss on the star.

What does not fit. (1) ADOPT on the tree: the paper's average is 3.5 standard errors below ours, no variant that was
tried explains it. (2) DPOP on the clique: the paper's cell needs table=first, where the other separator variables are
taken to be at their first value; the principled diagonal gives four times as much, and on the other shapes both agree.
(3) SynchBB does not depend on the shape as long as each agent has an earlier neighbour: the paper's spread from .045 to
.093 is the noise of ten instances.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from scenarios.experiments.base import main_of
from scenarios.experiments.vps_tables import LABELS, Cell, VpsTable, outliers

ROOTS = {"S": "x0", "T": "x0", "C": "x3", "Q": "x0"}


class VpsTable2(VpsTable):
    """Table II."""

    name = "vps-table2"
    columns = ("solver", "shape", "aggregator", "rule", "paper", "ours", "se", "z", "n")
    key_columns = 4
    generator = "dimes"
    tau = 0.083
    axis = "shape"
    paper: ClassVar[Mapping[tuple[str, str | int], tuple[float, float, float]]] = {
        ("dpop", "S"): (0.070833, 0.129167, 0.101736),
        ("dpop", "T"): (0.046428, 0.125, 0.103819),
        ("dpop", "C"): (0.026786, 0.120833, 0.110416),
        ("dpop", "Q"): (0.002976, 0.020834, 0.0),
        ("bnb-adopt", "S"): (0.070833, 0.129167, 0.101736),
        ("bnb-adopt", "T"): (0.069643, 0.133333, 0.103542),
        ("bnb-adopt", "C"): (0.073214, 0.141667, 0.110000),
        ("bnb-adopt", "Q"): (0.065476, 0.129167, 0.101805),
        ("adopt", "S"): (0.070833, 0.129167, 0.101736),
        ("adopt", "T"): (0.047619, 0.125, 0.103125),
        ("adopt", "C"): (0.052381, 0.137500, 0.110902),
        ("adopt", "Q"): (0.065476, 0.125, 0.099792),
        ("synchbb", "S"): (0.064286, 0.175000, 0.126667),
        ("synchbb", "T"): (0.062500, 0.191667, 0.137500),
        ("synchbb", "C"): (0.093452, 0.195833, 0.162778),
        ("synchbb", "Q"): (0.044643, 0.125, 0.082361),
    }

    def cells(self) -> Sequence[Cell]:
        """Return solver by shape; the clique takes longest."""
        cells = []
        for shape in "QCTS":
            for solver in reversed(LABELS):
                params = {"root": ROOTS[shape], "order": "lexical"}
                if solver == "synchbb":
                    params = {"order": "lexical"} if shape == "C" else {"root": ROOTS[shape], "order": "tree"}
                rules = ("paper", "paper,table=first") if solver == "dpop" else ("paper",)
                cells.append(Cell(solver, shape, {"shape": shape}, params, rules))
        return cells

    def notes(self, rows: list[dict[str, Any]]) -> list[str]:
        """Return what fits and what does not."""
        return [
            "network unit; se is the standard error of ours, z that of the difference to the paper's ten instances",
            outliers(rows, self.axis),
            "DPOP on the clique fits with table=first (second row of the cell), the principled diagonal does not",
            "ADOPT on the tree: the paper's average is lower than any reading of the rules gives",
            "the risk-based aggregator is not monotone: (.4, .4, 1) gives 1 but (.4, .6, 1) gives .8 at tau = .5",
        ]


if __name__ == "__main__":
    main_of(VpsTable2.name)
