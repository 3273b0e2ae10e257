"""Graph colouring, classic or with random costs, on random, scale-free or square grid graphs, as pyDCOP generates it.

Source: pyDCOP's command `generate graph_coloring`, for the parameters, the graphs and the costs. Classic: neighbours of
one colour cost `penalty`, others nothing. With random costs (pyDCOP's `soft`): every pair of colours of every two
neighbours costs a whole number of its own, uniform on cost_min..cost_max; neither diagonal nor symmetry matters, so
that it is a random binary DCOP. Minimised.

Graphs: G(n, p) of Erdős and Rényi; preferential attachment of Barabási and Albert, which starts with a star of m + 1
nodes, ties each further node to m others drawn in proportion to their degree, and shuffles the names; a square grid
that is not a torus. Like pyDCOP, G(n, p) is drawn anew until it is connected unless `allow_subgraph` is set.

Deviations: the range of the random costs and the penalty are parameters (pyDCOP: 0..9 and 1000); more than its eight
colours are possible; its flag `intentional` has no counterpart, as it only says how its file is written.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

import numpy as np

from agentsim.dcop.problem import Constraint, Cost, Domain, Problem, Table, Variable, as_table
from agentsim.runtime.streams import Stream, generator
from scenarios.generators.bounds import require_between, require_one_of, require_room

_COLORS: Final = ("R", "G", "B", "O", "F", "Y", "L", "C")
_MAX_TRIES: Final = 1000
_MAX_PAIRS_TRIED: Final = 500_000_000


@dataclass(frozen=True)
class GraphColoringParams:
    """Parameters of the graph-coloring generator; ValueError if one is out of range or the costs would not fit.

    Args:
        variables_count: variables, each an agent's, 1 to 10000; a square number for a grid.
        colors_count: values of each variable, 1 to 1000.
        graph: "random", "scalefree" or "grid".
        p_edge: probability of an edge in a random graph, 0 to 1.
        m_edge: edges by which each node joins a scale-free graph, 1 to variables_count - 1.
        allow_subgraph: a random graph need not be connected.
        soft: random costs, not the classic problem.
        cost_min: least random cost, -1000000 to cost_max.
        cost_max: greatest random cost, up to 1000000.
        penalty: what two neighbours of one colour cost in the classic problem, 0 to 1000000000, or inf.
    """

    variables_count: int = 10
    colors_count: int = 3
    graph: Literal["random", "scalefree", "grid"] = "random"
    p_edge: float = 0.5
    m_edge: int = 2
    allow_subgraph: bool = False
    soft: bool = False
    cost_min: int = 0
    cost_max: int = 9
    penalty: float = 1000

    def __post_init__(self) -> None:
        require_one_of(self, "graph", ("random", "scalefree", "grid"))
        require_between(
            self,
            ("variables_count", 1, 10_000),
            ("colors_count", 1, 1000),
            ("p_edge", 0, 1),
            ("cost_max", -1_000_000, 1_000_000),
            ("cost_min", -1_000_000, self.cost_max),
        )
        if self.graph == "scalefree":
            require_between(self, ("m_edge", 1, self.variables_count - 1))
        if not (0 <= self.penalty <= 1e9 or self.penalty == math.inf):
            raise ValueError(f"penalty={self.penalty} must be from 0 to 1000000000, or inf")
        if self.graph == "grid" and math.isqrt(self.variables_count) ** 2 != self.variables_count:
            raise ValueError(f"variables_count={self.variables_count} must be a square number for a grid")


class GraphColoring:
    """Graph colouring: neighbours should differ (classic), or every pair of their colours has a random cost (soft).

    Variables `v{i}` of agents `a{i}`, i = 00, 01, ..., whose values are pyDCOP's colours R G B O F Y L C and then K08,
    K09, ...; a constraint `c_{i}_{j}`, i < j, for each edge. The declared range of costs is (cost_min, cost_max) or
    (0, penalty).

    A seed gives the random costs of a pair whatever the graph is. With `allow_subgraph` a greater p_edge only adds
    edges.
    """

    Params: ClassVar[type[GraphColoringParams]] = GraphColoringParams

    @staticmethod
    def generate(params: GraphColoringParams, seed: int = 0) -> Problem:
        """Return the problem that `seed` gives.

        Raises:
            ValueError: too many edges or costs, or p_edge is too small for a connected graph to be found.
        """
        n, d = params.variables_count, params.colors_count
        edges = _edges(params, seed)
        require_room(len(edges), (len(edges) if params.soft else 1) * d * d)
        colors = (*_COLORS, *(f"K{i:02d}" for i in range(len(_COLORS), d)))[:d]
        domain = Domain("colors", colors, kind="color")
        width = max(2, len(str(n - 1)))
        ids = [f"{i:0{width}d}" for i in range(n)]
        variables = [Variable(f"v{i}", domain, f"a{i}") for i in ids]
        same, public = _classic(params)
        constraints = []
        for i, j in edges:
            table = _random_costs(params, seed, i, j) if params.soft else same
            scope = (f"v{ids[i]}", f"v{ids[j]}")
            constraints.append(Constraint(f"c_{ids[i]}_{ids[j]}", scope, table, cost_range=public))
        shape = {"random": f"p{params.p_edge:g}", "scalefree": f"m{params.m_edge}", "grid": "grid"}[params.graph]
        kind = f"soft{params.cost_min}..{params.cost_max}" if params.soft else "classic"
        return Problem.build(variables, constraints, name=f"graph_coloring_v{n}_c{d}_{shape}_{kind}_seed{seed}")


def _classic(params: GraphColoringParams) -> tuple[Table, tuple[Cost, Cost]]:
    """Return the classic problem's table, which all constraints share, and the declared range of either problem."""
    table = as_table(np.where(np.eye(params.colors_count, dtype=bool), params.penalty, 0.0), "penalties")
    if params.soft:
        return table, (params.cost_min, params.cost_max)
    return table, (0, params.penalty if math.isfinite(params.penalty) else 0)


def _random_costs(params: GraphColoringParams, seed: int, i: int, j: int) -> Table:
    """Return the costs of neighbours i < j by their colours, shape (d, d)."""
    rng = generator(seed, "graph-coloring", "costs", f"{i}_{j}")
    shape = (params.colors_count, params.colors_count)
    return rng.integers(params.cost_min, params.cost_max, shape, endpoint=True)


def _edges(params: GraphColoringParams, seed: int) -> list[tuple[int, int]]:
    """Return the edges (i, j), i < j, in ascending order."""
    n = params.variables_count
    match params.graph:
        case "grid":
            side = math.isqrt(n)
            steps = [(i, i + 1) for i in range(n) if (i + 1) % side] + [(i, i + side) for i in range(n - side)]
            return sorted(steps)
        case "scalefree":
            return _scale_free(n, params.m_edge, seed)
        case "random":
            tries = min(_MAX_TRIES, max(1, _MAX_PAIRS_TRIED // max(1, n * (n - 1) // 2)))
            for attempt in range(1 if params.allow_subgraph else tries):
                edges = _gnp(params, seed, attempt)
                if params.allow_subgraph or _connected(n, edges):
                    return edges
            raise ValueError(
                f"p_edge={params.p_edge}: none of {tries} random graphs of {n} nodes was connected; raise it or set "
                "allow_subgraph"
            )


def _gnp(params: GraphColoringParams, seed: int, attempt: int) -> list[tuple[int, int]]:
    rng = generator(seed, "graph-coloring", "graph", str(attempt))
    edges: list[tuple[int, int]] = []
    for i in range(params.variables_count - 1):
        chosen = np.flatnonzero(rng.random(params.variables_count - i - 1) < params.p_edge)
        require_room(len(edges) + len(chosen), 0)
        edges += [(i, j) for j in (chosen + (i + 1)).tolist()]
    return edges


def _scale_free(n: int, m: int, seed: int) -> list[tuple[int, int]]:
    require_room(m * (n - m), 0)
    stream = Stream(seed, "graph-coloring", "graph")
    edges = [(i, m) for i in range(m)]
    ends = [node for edge in edges for node in edge]  # each node as often as it has edges
    for new in range(m + 1, n):
        targets: dict[int, None] = {}
        while len(targets) < m:
            targets[stream.choice(ends)] = None
        edges += [(old, new) for old in targets]
        ends += [*targets, *[new] * m]
    names = list(range(n))
    for k in range(n - 1, 0, -1):
        other = stream.integer(k + 1)
        names[k], names[other] = names[other], names[k]
    return sorted((min(names[i], names[j]), max(names[i], names[j])) for i, j in edges)


def _connected(n: int, edges: Iterable[tuple[int, int]]) -> bool:
    neighbours: list[list[int]] = [[] for _ in range(n)]
    for i, j in edges:
        neighbours[i].append(j)
        neighbours[j].append(i)
    reached, todo = {0}, [0]
    while todo:
        new = [k for k in neighbours[todo.pop()] if k not in reached]
        reached.update(new)
        todo += new
    return len(reached) == n
