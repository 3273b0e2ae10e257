"""Random binary problems with private unary costs, as in the experiments of Lee, Mak and Shi.

Source: "A general privacy loss aggregation framework for distributed constraint reasoning", section V. The parameters
are (b, u, d, p, s): binary costs uniform on 1..b, unary costs uniform on 1..u, domain size d, constraint density p, and
shape s of the constraint graph: star (S), balanced binary tree (T), chain (C) or clique (Q). Each agent has one
variable, and what is private is its unary cost.

A chain of seven has 6 of 21 pairs, which leaves open what density 0.5 means. Here the shape is the backbone of the
graph, and p says how much is added to it; `reading` tells in which of two ways. Deviation: the paper calls d the
"maximum domain size", here every domain has d values.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar, Literal, get_args

import numpy as np

from agentsim.dcop.problem import Constraint, Domain, Problem, Variable
from agentsim.runtime.streams import Stream
from scenarios.generators.dimes import Shape, shape_edges


@dataclass(frozen=True)
class RandomDcopParams:
    """Parameters of the random-dcop generator; ValueError if one is out of range.

    Args:
        b: binary costs are 1 to b, uniformly, 1 to 1000000.
        u: unary costs are 1 to u, uniformly, 1 to 1000000.
        d: values of each variable, 1 to 1000.
        p: constraint density, 0 to 1.
        shape: backbone of the constraint graph: S star, T binary tree, C chain, Q clique.
        agents: agents, each with one variable, 1 to 1000.
        reading: "exact", random pairs added to the backbone up to p of all pairs (rounded half to even), or "extra",
            each pair outside the backbone added with probability p.
    """

    b: int = 2
    u: int = 6
    d: int = 3
    p: float = 0.5
    shape: Literal["S", "T", "C", "Q"] = "C"
    agents: int = 7
    reading: Literal["exact", "extra"] = "exact"

    def __post_init__(self) -> None:
        for name, low, high in (
            ("b", 1, 1_000_000),
            ("u", 1, 1_000_000),
            ("d", 1, 1000),
            ("p", 0, 1),
            ("agents", 1, 1000),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name}={getattr(self, name)} must be from {low} to {high}")
        for name, allowed in (("shape", get_args(Shape)), ("reading", ("exact", "extra"))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}={getattr(self, name)!r} must be one of {', '.join(allowed)}")


class RandomDcop:
    """Random binary problem: uniform private unary and uniform binary costs on a graph of given shape and density.

    Variables `x{i}` of agents `a{i}`, i = 0, 1, ..., with values 0..d-1, and constraints `c_{i}_{j}`, i < j. That a
    binary cost is not negative is public, its least value of 1 is not: the declared range is (0, b).

    A seed gives the same graph and the same unary costs for every b, and a binary cost of 1 + floor(b z) with one z in
    [0, 1) for every b. A greater p only adds constraints.
    """

    Params: ClassVar[type[RandomDcopParams]] = RandomDcopParams

    @staticmethod
    def generate(params: RandomDcopParams, seed: int = 0) -> Problem:
        """Return the problem that `seed` gives."""
        domain = Domain("values", tuple(range(params.d)))
        agents = [f"a{i}" for i in range(params.agents)]
        variables = []
        for i, agent in enumerate(agents):
            unary = Stream(seed, "random-dcop", "unary", agent)
            costs = [1 + unary.integer(params.u) for _ in range(params.d)]
            variables.append(Variable(f"x{i}", domain, agent, np.array(costs), cost_range=(1, params.u)))
        constraints = []
        for i, j in _edges(params, seed):
            binary = Stream(seed, "random-dcop", "binary", f"{i}_{j}")
            table = np.array([[1 + binary.integer(params.b) for _ in range(params.d)] for _ in range(params.d)])
            constraints.append(Constraint(f"c_{i}_{j}", (f"x{i}", f"x{j}"), table, cost_range=(0, params.b)))
        title = (
            f"random_dcop_b{params.b}_u{params.u}_d{params.d}_p{params.p:g}_{params.shape}_n{params.agents}_"
            f"{params.reading}_seed{seed}"
        )
        return Problem.build(variables, constraints, name=title, agents=agents)


def _edges(params: RandomDcopParams, seed: int) -> list[tuple[int, int]]:
    """Return the constrained pairs (i, j), i < j, in ascending order."""
    edges = set(shape_edges(params.shape, params.agents))
    every = list(combinations(range(params.agents), 2))
    others = [pair for pair in every if pair not in edges]
    stream = Stream(seed, "random-dcop", "graph")
    if params.reading == "extra":
        edges.update([pair for pair in others if stream.random() < params.p])
    else:
        while len(edges) < round(params.p * len(every)):
            k = stream.integer(len(others))
            others[k], others[-1] = others[-1], others[k]
            edges.add(others.pop())
    return sorted(edges)
