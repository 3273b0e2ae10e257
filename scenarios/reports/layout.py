"""Where nodes stand in a picture: a constraint graph by stress, a pseudo-tree tidily, all in the unit square.

Stress layout puts nodes so that distances on paper are close to distances in the graph. It starts from distances to a
few pivots (their two principal axes), which is also what very large graphs are left with, and improves it by
majorisation, where each step can only lower the stress. Everything is deterministic. networkx has layouts like it, but
those need scipy, which is not there in a plain installation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Position = list[float]
"""[x, y], both from 0 to 1."""
Neighbours = Sequence[Sequence[int]]
Floats = NDArray[np.float64]

REFINED: Final = 1500
"""Beyond so many nodes in a component the positions by pivots are not improved: that takes the square in memory."""
_ALL_PAIRS: Final = 40
_PIVOTS: Final = 50
_MOST_STEPS: Final = 150
_ENOUGH: Final = 40e6
"""Pairs of nodes looked at in all steps together: a few seconds."""
_PLANE: Final = 2
_GAP: Final = 0.12


def graph_layout(count: int, scopes: Sequence[Sequence[int]]) -> list[Position]:
    """Return where the nodes of a constraint graph stand, each component by itself, side by side.

    Args:
        count: number of nodes.
        scopes: nodes of each constraint, all different; every two of them are neighbours.
    """
    linked: list[dict[int, None]] = [{} for _ in range(count)]
    for scope in scopes:
        # Constraints that link very many (all different, say) as a ring: the square of them is too much to look at.
        pairs = combinations(scope, 2) if len(scope) <= _ALL_PAIRS else zip(scope, [*scope[1:], scope[0]], strict=True)
        for a, b in pairs:
            linked[a][b] = linked[b][a] = None
    neighbours = [sorted(others) for others in linked]
    placed: list[tuple[list[int], Floats]] = []
    budget = _ENOUGH
    for members in _components(neighbours):
        index = {node: i for i, node in enumerate(members)}
        inner = [[index[b] for b in neighbours[node]] for node in members]
        placed.append((members, _normal(_spread(inner, budget))))
        budget = max(1e6, budget - _cost_of(len(members), budget))
    return _packed(count, placed)


def tree_layout(parents: Sequence[int | None]) -> list[Position]:
    """Return where the nodes of a forest stand: depth downwards, leaves in order, parents over their children.

    Args:
        parents: index of each node's parent, None at a root. A chain is one line.
    """
    count = len(parents)
    children: list[list[int]] = [[] for _ in range(count)]
    roots = []
    for node, parent in enumerate(parents):
        if parent is None:
            roots.append(node)
        else:
            children[parent].append(node)
    x, depth = [0.0] * count, [0] * count
    order: list[int] = []
    for root in roots:
        stack = [root]
        while stack:
            node = stack.pop()
            order.append(node)
            for child in reversed(children[node]):
                depth[child] = depth[node] + 1
                stack.append(child)
    leaves = 0
    for node in order:
        if not children[node]:
            x[node] = float(leaves)
            leaves += 1
    for node in reversed(order):
        if children[node]:
            x[node] = (x[children[node][0]] + x[children[node][-1]]) / 2
    deepest = max(depth, default=0)
    return [[_rounded((x[v] + 0.5) / max(1, leaves)), _rounded((depth[v] + 0.5) / (deepest + 1))] for v in range(count)]


def _rounded(value: float) -> float:
    return round(float(value), 4)


def _components(neighbours: Neighbours) -> list[list[int]]:
    """Return the connected components, large ones first."""
    seen = [False] * len(neighbours)
    found = []
    for start in range(len(neighbours)):
        if seen[start]:
            continue
        seen[start] = True
        members, i = [start], 0
        while i < len(members):
            for other in neighbours[members[i]]:
                if not seen[other]:
                    seen[other] = True
                    members.append(other)
            i += 1
        found.append(sorted(members))
    return sorted(found, key=lambda members: (-len(members), members[0]))


def _distances(neighbours: Neighbours, start: int) -> list[int]:
    distance = [-1] * len(neighbours)
    distance[start] = 0
    border = [start]
    while border:
        following = []
        for node in border:
            for other in neighbours[node]:
                if distance[other] < 0:
                    distance[other] = distance[node] + 1
                    following.append(other)
        border = following
    return distance


def _spread(neighbours: Neighbours, budget: float) -> Floats:
    """Return positions of one connected graph. Shape (n, 2)."""
    n = len(neighbours)
    if n <= 2:
        return np.array([[0.0, 0.0], [1.0, 0.0]])[:n]
    start = _by_pivots(neighbours)
    return start if n > REFINED else _refined(neighbours, start, budget)


def _by_pivots(neighbours: Neighbours) -> Floats:
    """Return the two principal axes of the distances to pivots, each as far as can be from those before it."""
    n = len(neighbours)
    farthest = np.full(n, np.inf)
    columns: list[Any] = []
    pivot = 0
    for _ in range(min(n, _PIVOTS)):
        column = np.array(_distances(neighbours, pivot), dtype=np.float64)
        columns.append(column)
        farthest = np.minimum(farthest, column)
        pivot = int(farthest.argmax())
    squared = np.stack(columns, axis=1) ** 2
    centred = squared - squared.mean(axis=0) - squared.mean(axis=1, keepdims=True) + squared.mean()
    _, vectors = np.linalg.eigh(centred.T @ centred)
    axes = vectors[:, ::-1][:, :2]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), range(axes.shape[1])])  # of v and -v always the same
    found = -centred @ axes
    if found.shape[1] < _PLANE:
        found = np.hstack([found, np.zeros((n, 1))])
    size = max(float(np.abs(found).max()), 1e-9)
    scale = max(float(column.max()) for column in columns) / (2 * size)
    # Nodes that look the same from every pivot (leaves of one star, say) would stand on each other for ever.
    jitter = np.random.default_rng(0).normal(0.0, 0.05, (n, 2))
    return np.asarray(found * scale + jitter)


def _cost_of(n: int, budget: float) -> float:
    return 0.0 if n > REFINED else min(float(_MOST_STEPS), max(10.0, budget / (n * n))) * n * n


def _refined(neighbours: Neighbours, start: Floats, budget: float) -> Floats:
    """Return positions of less stress, weighted by 1 / distance squared, by majorisation."""
    n = len(neighbours)
    distance = np.array([_distances(neighbours, v) for v in range(n)], dtype=np.float64)
    np.fill_diagonal(distance, 1.0)
    weight = distance**-2.0
    np.fill_diagonal(weight, 0.0)
    total = weight.sum(axis=1, keepdims=True)
    pull = weight * distance
    x = start
    for _ in range(int(min(_MOST_STEPS, max(10, budget / (n * n))))):
        dx, dy = (np.subtract.outer(x[:, k], x[:, k]) for k in (0, 1))
        length = np.sqrt(dx * dx + dy * dy)
        ratio = np.divide(pull, length, out=np.zeros_like(pull), where=length > 1e-9)
        # Each node moves to where its distances to all others would be right, the others staying (Jacobi's way).
        there = weight @ x + np.stack([(ratio * dx).sum(axis=1), (ratio * dy).sum(axis=1)], axis=1)
        moved = there / total
        step = float(np.abs(moved - x).max())
        x = moved
        if step < 1e-3:
            break
    return np.asarray(x)


def _normal(x: Floats) -> Floats:
    """Return positions turned so that the longer axis lies flat, from 0 in both directions, at the scale they had."""
    centred = x - x.mean(axis=0)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    axes = vectors[:, ::-1]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])
    turned = centred @ axes
    return np.asarray(turned - turned.min(axis=0))


def _packed(count: int, placed: Sequence[tuple[list[int], Floats]]) -> list[Position]:
    """Put components into rows, each in a box whose area goes with its number of nodes."""
    boxes = []
    for members, x in placed:
        size = float(x.max()) if x.size else 0.0
        side = math.sqrt(len(members))
        shape = x / size * side if size > 0 else x
        boxes.append((members, shape, float(shape[:, 0].max()), float(shape[:, 1].max())))
    gap = max(1.0, _GAP * math.sqrt(max((len(b[0]) for b in boxes), default=1)))
    limit = max(max((b[2] for b in boxes), default=0.0), math.sqrt(sum((b[2] + gap) * (b[3] + gap) for b in boxes)))
    at = np.zeros((count, 2))
    left = top = row = 0.0
    for members, shape, width, height in boxes:
        if left > 0 and left + width > limit:
            left, top, row = 0.0, top + row + gap, 0.0
        at[members] = shape + np.array([left, top])
        left += width + gap
        row = max(row, height)
    return _into_square(at)


def _into_square(at: Floats) -> list[Position]:
    """Return positions in the unit square, centred, with their proportions kept."""
    if not len(at):
        return []
    low, high = at.min(axis=0), at.max(axis=0)
    size = float((high - low).max())
    if size <= 0:
        return [[0.5, 0.5] for _ in range(len(at))]
    shifted = (at - (low + high) / 2) / size + 0.5
    return [[_rounded(x), _rounded(y)] for x, y in shifted.tolist()]
