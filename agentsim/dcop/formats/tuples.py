"""Tables from the tuples a file lists, within the bounds on what one file may ask for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentsim.dcop.formats.limits import MAX_AXES, MAX_DOMAIN_VALUES, MAX_FILE_CELLS, MAX_FILE_WORK
from agentsim.dcop.problem import Cost, Table, check_table_size
from agentsim.errors import ProblemError


class Budget:
    """Counts what one file asks for and refuses it before it is allocated."""

    __slots__ = ("_cells", "_values", "_work")

    def __init__(self) -> None:
        self._cells = 0
        self._values = 0
        self._work = 0

    def values(self, where: str, count: int) -> None:
        """Take `count` domain values; ProblemError when the file has had its share."""
        self._values += max(count, 0)
        if self._values > MAX_DOMAIN_VALUES:
            raise ProblemError(f"{where}: more than {MAX_DOMAIN_VALUES} domain values")

    def cells(self, where: str, sizes: Sequence[int]) -> int:
        """Take a table of these sizes and return its number of cells; ProblemError when that is too many."""
        if len(sizes) > MAX_AXES:
            raise ProblemError(f"{where}: {len(sizes)} variables, more than the {MAX_AXES} allowed")
        check_table_size(where, sizes)
        cells = math.prod(sizes)
        self._cells += cells
        if self._cells > MAX_FILE_CELLS:
            raise ProblemError(f"{where}: the tables of the file pass {MAX_FILE_CELLS} cells together")
        return cells

    def work(self, amount: int) -> bool:
        """Take work of evaluating expressions; tell whether there was so much left."""
        self._work += amount
        return self._work <= MAX_FILE_WORK


def fill(where: str, cells: int, index: NDArray[Any], costs: NDArray[Any], default: Cost | None) -> Table:
    """Return a flat table with `costs` at `index` and `default` elsewhere.

    Args:
        where: for error messages.
        cells: size of the table; the caller has checked it.
        index: flat cell of each listed tuple, in range.
        costs: cost of each listed tuple.
        default: cost of every other tuple, or None when all must be listed.

    Raises:
        ProblemError: a tuple has two different costs, or has none.
    """
    if default is None:
        table = np.zeros(cells, costs.dtype)
    else:
        table = np.full(cells, default, np.result_type(costs.dtype, type(default)))
    table[index] = costs
    if default is not None and len(index) < 2:
        return table
    listed = np.zeros(cells, np.bool_)
    listed[index] = True
    distinct = int(np.count_nonzero(listed))
    if distinct < len(index) and not bool((table[index] == costs).all()):
        raise ProblemError(f"{where}: a tuple is listed with two different costs")
    if default is None and distinct < cells:
        raise ProblemError(f"{where}: {cells - distinct} of {cells} tuples have no cost and there is no default")
    return table


def cost_array(costs: Sequence[Cost]) -> NDArray[Any]:
    """Return costs as int64 where they are all whole numbers that fit, else as float64."""
    if all(type(c) is int for c in costs) and all(abs(c) < 2**62 for c in costs):
        return np.array(costs, dtype=np.int64)
    return np.array([float(c) for c in costs], dtype=np.float64)
