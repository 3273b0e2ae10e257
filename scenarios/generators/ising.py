"""Ising grids: binary variables on a torus, each bound to its four nearest neighbours, as pyDCOP generates them.

Sources: Cerquides, Rodríguez-Aguilar, Emonet and Picard, "Solving highly cyclic distributed optimization problems
without busting the bank" (Logic Journal of the IGPL 29, 2021), for the problem; pyDCOP's command `generate ising` for
the parameters, their defaults and the names. With k uniform on [-beta, beta] two neighbours cost k when they are equal
and -k when they differ; with r uniform on [-rho, rho] a variable costs its agent r at 0 and -r at 1. Minimised.

Deviations: pyDCOP's flag `intentional` has no counterpart, as it only says how its file is written (ours holds tables);
its flags for distributions have none either, as every variable here belongs to the agent of its own place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import numpy as np

from agentsim.dcop.problem import Constraint, Domain, Problem, Variable
from agentsim.runtime.streams import Stream
from scenarios.generators.bounds import require_between, require_room

_Place: TypeAlias = tuple[int, int]


@dataclass(frozen=True)
class IsingParams:
    """Parameters of the ising generator; ValueError if one is out of range or the grid is too large.

    Args:
        row_count: rows of the grid, 1 to 1000.
        col_count: columns of the grid, 1 to 1000.
        bin_range: beta; the strength of each pair is uniform on [-beta, beta], 0 to 1000000.
        un_range: rho; the strength of each private unary cost is uniform on [-rho, rho], 0 to 1000000.
    """

    row_count: int = 3
    col_count: int = 4
    bin_range: float = 1.6
    un_range: float = 0.05

    def __post_init__(self) -> None:
        require_between(
            self,
            ("row_count", 1, 1000),
            ("col_count", 1, 1000),
            ("bin_range", 0, 1_000_000),
            ("un_range", 0, 1_000_000),
        )
        pairs = 2 * self.row_count * self.col_count
        require_room(pairs, 4 * pairs)


class Ising:
    """Ising grid: binary variables on a torus, random ties of either sign, weak private unary costs.

    Variable `v_{row}_{column}` of agent `a_{row}_{column}` with values 0 and 1, and a constraint `cb_{v}_{w}` for each
    two neighbours. Opposite sides are joined where they are more than two apart, so that every place has four
    neighbours if both sides have three places or more. The declared ranges of costs are (-rho, rho) and (-beta, beta).

    A seed gives strengths that are beta, or rho, times the same numbers for every beta and rho.
    """

    Params: ClassVar[type[IsingParams]] = IsingParams

    @staticmethod
    def generate(params: IsingParams, seed: int = 0) -> Problem:
        """Return the problem that `seed` gives."""
        beta, rho = params.bin_range, params.un_range
        domain = Domain("spin", (0, 1), kind="binary")
        variables = []
        for row, col in _places(params):
            name = f"v_{row}_{col}"
            r = Stream(seed, "ising", "unary", name).uniform(-rho, rho)
            variables.append(Variable(name, domain, f"a_{row}_{col}", np.array([r, -r]), cost_range=(-rho, rho)))
        constraints = []
        for (row, col), (row2, col2) in _edges(params):
            scope = (f"v_{row}_{col}", f"v_{row2}_{col2}")
            k = Stream(seed, "ising", "binary", *scope).uniform(-beta, beta)
            table = np.array([[k, -k], [-k, k]])
            constraints.append(Constraint(f"cb_{scope[0]}_{scope[1]}", scope, table, cost_range=(-beta, beta)))
        title = f"ising_{params.row_count}x{params.col_count}_b{beta:g}_u{rho:g}_seed{seed}"
        return Problem.build(variables, constraints, name=title)


def _places(params: IsingParams) -> Iterator[_Place]:
    for row in range(params.row_count):
        for col in range(params.col_count):
            yield row, col


def _edges(params: IsingParams) -> Iterator[tuple[_Place, _Place]]:
    """Yield every pair of neighbours once, the lesser place first."""
    for row, col in _places(params):
        # The step beyond the last place of a row or column leads back to the first, unless these are neighbours anyway.
        if col + 1 < params.col_count:
            yield (row, col), (row, col + 1)
        elif params.col_count > 2:
            yield (row, 0), (row, col)
        if row + 1 < params.row_count:
            yield (row, col), (row + 1, col)
        elif params.row_count > 2:
            yield (0, col), (row, col)
