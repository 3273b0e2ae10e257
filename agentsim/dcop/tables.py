"""Joins and projections of cost tables: the mathematics of DPOP.

A table is a pair (axes, array): one array axis per named variable. `project_min` forms `min_x sum_i T_i` without ever
holding the sum over all axes, a factor of x's domain larger than the result:

1. tables without x stay outside: `min_x (f(x, ..) + g(..)) = g + min_x f(x, ..)`;
2. tables are added smallest join first while they are small, so few are left to broadcast to full size;
3. what is left is added and minimised in blocks that stay in cache, x in front, each block's axes laid out whole.

Costs are int64 where every table is, else float64; hard tuples cost +inf when minimising and -inf when maximising, so
nothing here subtracts and inf - inf cannot occur. Ties go to the lowest domain index.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any, Final

import numpy as np

from agentsim.dcop.problem import Cost, Table

Axes = tuple[str, ...]
NamedTable = tuple[Axes, Table]
"""Names of the axes, in order, and the array."""

SMALL_CELLS: Final = 2_048
"""Joins of so few cells are made as they are: planning would take longer."""

BLOCK_CELLS: Final = 131_072
"""Most cells of a block: 1 MB, about a core's second-level cache (8,192 was five times slower at d = 10)."""


def cells_read(tables: Iterable[NamedTable]) -> int:
    """Return the constraint checks of one join: each entry of each table is read once."""
    return sum(table.size for _, table in tables)


def aligned(table: NamedTable, axes: Sequence[str]) -> Table:
    """Return a view with one axis per name in `axes`, of length 1 where the table lacks it.

    Raises:
        ValueError: `axes` lacks an axis of the table.
    """
    own, array = table
    missing = [name for name in own if name not in axes]
    if missing:
        raise ValueError(f"axes {tuple(axes)} lack {missing[0]}")
    here = [name for name in axes if name in own]
    turned = array.transpose([own.index(name) for name in here])
    return turned[tuple(slice(None) if name in own else None for name in axes)]


def restrict(table: NamedTable, assignment: Mapping[str, int]) -> NamedTable:
    """Return the view of a table where the assigned variables have their values; their axes are gone."""
    axes, array = table
    view = array[tuple(assignment.get(name, slice(None)) for name in axes)]
    return tuple(name for name in axes if name not in assignment), np.asarray(view)


def join(tables: Sequence[NamedTable], axes: Sequence[str], sizes: Mapping[str, int] | None = None) -> Table:
    """Return the sum of the tables over `axes`, in that order.

    Args:
        tables: with axes among `axes`.
        axes: of the result.
        sizes: domain sizes; needed only for an axis that no table has.
    """
    sizes = _sizes(tables, axes, sizes)
    parts = _merged(tables, math.prod(sizes[name] for name in axes), leave=2)
    out = np.zeros([sizes[name] for name in axes], _dtype(tables))
    if parts:
        np.copyto(out, aligned(parts[0], axes))
    for part in parts[1:]:
        out += aligned(part, axes)
    return out


def project_min(
    tables: Sequence[NamedTable], eliminated: str, axes: Sequence[str], sizes: Mapping[str, int] | None = None
) -> Table:
    """Return the least sum of the tables over the values of `eliminated`, for each index of `axes`.

    Args:
        tables: with axes among `axes` and `eliminated`.
        eliminated: minimised over.
        axes: of the result, in order.
        sizes: domain sizes; needed only for an axis that no table has.

    Returns:
        An array of its own. The peak of memory beside the tables is about twice its size.
    """
    return _project(tables, eliminated, axes, sizes, maximise=False)


def project_max(
    tables: Sequence[NamedTable], eliminated: str, axes: Sequence[str], sizes: Mapping[str, int] | None = None
) -> Table:
    """Return the greatest sum of the tables over the values of `eliminated`; the rest is as in `project_min`."""
    return _project(tables, eliminated, axes, sizes, maximise=True)


def minimised(
    tables: Sequence[NamedTable], kept: Iterable[str] = (), sizes: Mapping[str, int] | None = None
) -> list[NamedTable]:
    """Return tables over `kept` alone whose sum is the least of the sum of `tables` over all other variables.

    Variables are eliminated one by one, so that tables in between have no more axes than they must.
    """
    left, wanted = list(tables), set(kept)
    for name in dict.fromkeys(name for axes, _ in tables for name in axes if name not in wanted):
        own = [table for table in left if name in table[0]]
        axes = tuple(dict.fromkeys(a for names, _ in own for a in names if a != name))
        best = project_min(own, name, axes, sizes)
        left = [*(table for table in left if name not in table[0]), (axes, best)]
    return left


def best_value(
    tables: Sequence[NamedTable],
    variable: str,
    assignment: Mapping[str, int],
    *,
    maximise: bool = False,
    sizes: Mapping[str, int] | None = None,
) -> tuple[int, Cost]:
    """Return the lowest best index of `variable`, and its cost, when all other axes are assigned.

    Reads one row of each table: `sum(d)` checks, or one for a table without `variable`.
    """
    fixed = {name: index for name, index in assignment.items() if name != variable}
    row = join([restrict(table, fixed) for table in tables], (variable,), sizes)
    index = int(row.argmax() if maximise else row.argmin())
    return index, row[index].item()


def _project(
    tables: Sequence[NamedTable], x: str, axes: Sequence[str], sizes: Mapping[str, int] | None, *, maximise: bool
) -> Table:
    sizes = _sizes(tables, [x, *axes], sizes)
    shape = [sizes[x], *(sizes[name] for name in axes)]
    better = np.maximum if maximise else np.minimum
    if math.prod(shape) <= SMALL_CELLS:
        whole = np.zeros(shape, _dtype(tables))
        for table in tables:
            whole += aligned(table, (x, *axes))
        return np.asarray(better.reduce(whole, axis=0))
    with_x = [table for table in tables if x in table[0]]
    outside = [table for table in tables if x not in table[0]]
    if not with_x:
        return join(outside, axes, sizes)
    inner = tuple(name for name in axes if any(name in own for own, _ in with_x))
    best = _fold(with_x, x, inner, sizes, better)
    if not outside:
        if inner == tuple(axes):
            return best
        return np.ascontiguousarray(np.broadcast_to(aligned((inner, best), axes), [sizes[name] for name in axes]))
    if inner == tuple(axes):
        for part in _merged(outside, best.size, leave=1):
            if part[1].dtype.kind == "f" and best.dtype.kind == "i":
                best = best.astype(np.float64)
            best += aligned(part, axes)
        return best
    return join([(inner, best), *outside], axes, sizes)


def _fold(tables: list[NamedTable], x: str, axes: Axes, sizes: Mapping[str, int], better: np.ufunc) -> Table:
    """Return the best sum over x of tables that all have x and together have all of `axes`."""
    shape = [sizes[name] for name in axes]
    cells, depth = math.prod(shape), sizes[x]
    split, block = len(axes), depth  # axes from `split` on lie within a block
    while split and block * shape[split - 1] <= BLOCK_CELLS:
        split -= 1
        block *= shape[split]
    # Joining ahead pays while the join is smaller than the sum it saves adding to, and fits beside the result.
    parts = _merged(tables, max(cells // 2, BLOCK_CELLS), leave=2)
    views = [_laid_out(part, (x, *axes), split + 1, sizes, cells // 2) for part in parts]
    out = np.empty(shape, _dtype(tables))
    whole = np.empty([depth, *shape[split:]], out.dtype)
    for where in product(*map(range, shape[:split])):
        here: tuple[Any, ...] = (*where, ...)  # the ellipsis keeps a view where no axis is left
        target, blocks = out[here], []
        for view in views:
            at: list[Any] = [i if n > 1 else 0 for i, n in zip(where, view.shape[1 : split + 1], strict=True)]
            blocks.append(view[(slice(None), *at)])
        if len(blocks) == 1:
            better.reduce(np.broadcast_to(blocks[0], whole.shape), axis=0, out=target)
            continue
        np.add(blocks[0], blocks[1], out=whole)
        for more in blocks[2:]:
            whole += more
        better.reduce(whole, axis=0, out=target)
    return out


def _laid_out(part: NamedTable, axes: Axes, split: int, sizes: Mapping[str, int], most: int) -> Table:
    """Return `part` aligned to `axes`, and those from `split` on spread out, so that inner loops are long.

    A table with only some of a block's axes makes numpy loop over runs as short as one domain (5x slower).
    """
    view = aligned(part, axes)
    inner = view.shape[split:]
    full = tuple(sizes[name] for name in axes[split:])
    if inner == full or all(n == 1 for n in inner):
        return view
    shape = (*view.shape[:split], *full)
    if math.prod(shape) > max(most, BLOCK_CELLS):
        return view
    return np.ascontiguousarray(np.broadcast_to(view, shape))


def _merged(tables: Sequence[NamedTable], most: int, leave: int) -> list[NamedTable]:
    """Add tables pairwise, the smallest join first, while joins have at most `most` cells and over `leave` are left.

    Joins that cost nothing extra (one table's axes within the other's) are made even when few are left.
    """
    parts = sorted(_added(tables), key=lambda table: table[1].size)
    while len(parts) > 1:
        best: tuple[int, int, int] | None = None
        for j in range(1, len(parts)):
            for i in range(j):
                cells = _joined_cells(parts[i], parts[j])
                if best is None or cells < best[0]:
                    best = (cells, i, j)
        assert best is not None
        cells, i, j = best
        small, large = parts[i], parts[j]
        if cells > most or (len(parts) <= leave and cells > large[1].size):
            break
        axes = (*large[0], *(name for name in small[0] if name not in large[0]))
        joined = np.asarray(aligned(large, axes) + aligned(small, axes))
        del parts[j], parts[i]
        parts.append((axes, joined))
        parts.sort(key=lambda table: table[1].size)
    return parts


def _added(tables: Sequence[NamedTable]) -> list[NamedTable]:
    """Add up tables of the same axes, of which the centre of a star has thousands."""
    sums: dict[frozenset[str], NamedTable] = {}
    for axes, table in tables:
        known = sums.get(frozenset(axes))
        sums[frozenset(axes)] = (
            (axes, table) if known is None else (known[0], np.asarray(known[1] + aligned((axes, table), known[0])))
        )
    return list(sums.values())


def _joined_cells(a: NamedTable, b: NamedTable) -> int:
    extra = [d for name, d in zip(b[0], b[1].shape, strict=True) if name not in a[0]]
    cells: int = math.prod(a[1].shape) * math.prod(extra)
    return cells


def _sizes(tables: Iterable[NamedTable], axes: Sequence[str], sizes: Mapping[str, int] | None) -> Mapping[str, int]:
    """Return the length of each axis, and refuse tables that disagree or fall outside `axes`."""
    found = {} if sizes is None else {name: sizes[name] for name in axes if name in sizes}
    for own, table in tables:
        for name, n in zip(own, table.shape, strict=True):
            if name not in axes:
                raise ValueError(f"axes {tuple(axes)} lack {name}")
            if found.setdefault(name, n) != n:
                raise ValueError(f"axis {name}: tables of {found[name]} and {n} values")
    for name in axes:
        if name not in found:
            raise ValueError(f"axis {name}: no table has it, and no size is given")
    return found


def _dtype(tables: Iterable[NamedTable]) -> type[np.int64 | np.float64]:
    return np.int64 if all(table.dtype.kind in "biu" for _, table in tables) else np.float64
