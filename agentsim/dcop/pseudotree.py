"""Pseudo-trees: DFS trees of the primal graph.

In a pseudo-tree every two variables that share a constraint are ancestor and descendant, so that branches can be
solved apart once their ancestors are fixed. All trees here are DFS trees (Hamadi, Bessiere and Quinqueton 1998;
Petcu 2007): every tree edge is an edge of the primal graph, messages go between neighbours only.

`build_tree` makes the very choices of the distributed DFS; `agentsim.dcop.tree_search` looks for a better tree.

Nothing recurses, and nothing but a separator that is asked for takes more than O(m log n) for m edges.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Self

from agentsim.dcop.ordering import NO_PARENT, UNSEEN, PrimalGraph, depth_first, inverse, rank_variables
from agentsim.dcop.problem import Constraint, Problem
from agentsim.errors import ProblemError, SolverRefusal

MAX_SEPARATOR_NAMES: Final = 50_000_000
"""The most names that the separators of one tree may have in total before they are refused."""


@dataclass(frozen=True, slots=True)
class TreePlace:
    """All that a node is told of its place in a pseudo-tree.

    Args:
        component: name of the root of its component.
        parent: None at a root.
        children: in the order in which the DFS found them.
        pseudo_parents: ancestors it shares a constraint with, the parent apart; by depth, highest first.
        pseudo_children: descendants it shares a constraint with, children apart; in the problem's order.
        depth: 0 at a root.
        separator: ancestors constrained with it or with a descendant, root first.
        child_separators: separator of each child.
    """

    component: str
    parent: str | None
    children: tuple[str, ...]
    pseudo_parents: tuple[str, ...]
    pseudo_children: tuple[str, ...]
    depth: int
    separator: tuple[str, ...]
    child_separators: Mapping[str, tuple[str, ...]]

    def encode(self) -> list[Any]:
        """Return the place as plain data: component, parent, children, pseudo-parents, -children, depth, separator."""
        return [
            self.component,
            self.parent,
            list(self.children),
            list(self.pseudo_parents),
            list(self.pseudo_children),
            self.depth,
            list(self.separator),
        ]


class PseudoTree(Mapping[str, TreePlace]):
    """A pseudo-forest: the place of each variable, iterated in the problem's order.

    Separators are made when first asked for. On a sparse random graph their total grows with the square of the
    number of variables: for thousands of variables, and for algorithms that need no separator, use
    `place(name, separators=False)`.
    """

    def __init__(self, names: Sequence[str], parent: list[int], preorder: list[int], above: list[list[int]]) -> None:
        """Keep a tree given by indices into `names`.

        Args:
            names: the variables, in the problem's order.
            parent: index of each variable's parent, -1 at a root.
            preorder: all variables, each subtree together, each component together.
            above: ancestors that each shares a constraint with, its parent included, root first.
        """
        self._names = tuple(names)
        self._parent, self._preorder, self._above = parent, preorder, above
        self._index = {name: i for i, name in enumerate(self._names)}
        self._position, self._depth, self._root = ([0] * len(parent) for _ in range(3))
        self._children: list[list[int]] = [[] for _ in parent]
        self._below: list[list[int]] = [[] for _ in parent]
        for position, v in enumerate(preorder):
            up = parent[v]
            self._position[v] = position
            self._depth[v] = 0 if up == NO_PARENT else self._depth[up] + 1
            self._root[v] = v if up == NO_PARENT else self._root[up]
            if up != NO_PARENT:
                self._children[up].append(v)
        for v, ancestors in enumerate(above):
            for a in ancestors:
                if a != parent[v]:
                    self._below[a].append(v)

    def __getitem__(self, name: str) -> TreePlace:
        return self.place(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._index

    def __eq__(self, other: object) -> bool:
        return self.encode() == other.encode() if isinstance(other, PseudoTree) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # equality by contents, as any mapping

    def place(self, name: str, *, separators: bool = True) -> TreePlace:
        """Return the place of `name`; without `separators` both separator fields are empty.

        Raises:
            SolverRefusal: the tree's separators together have more than MAX_SEPARATOR_NAMES names.
        """
        v, names = self._index[name], self._names
        children, up = self._children[v], self._parent[v]
        return TreePlace(
            component=names[self._root[v]],
            parent=None if up == NO_PARENT else names[up],
            children=tuple(names[c] for c in children),
            pseudo_parents=tuple(names[a] for a in self._above[v] if a != up),
            pseudo_children=tuple(names[u] for u in self._below[v]),
            depth=self._depth[v],
            separator=self._separators[v] if separators else (),
            child_separators={names[c]: self._separators[c] for c in children} if separators else {},
        )

    @property
    def roots(self) -> tuple[str, ...]:
        """One root per component."""
        return tuple(self._names[v] for v in self._preorder if self._parent[v] == NO_PARENT)

    @property
    def depth(self) -> int:
        """Edges on the longest root path; 0 without edges."""
        return max(self._depth, default=0)

    @cached_property
    def width(self) -> int:
        """Induced width: the size of the largest separator."""
        return max(self._separator_sums([1] * len(self._names)), default=0)

    def depth_of(self, name: str) -> int:
        """Return the depth of one variable."""
        return self._depth[self._index[name]]

    def preorder(self) -> tuple[str, ...]:
        """Return all variables, ancestors before descendants, in the order of the DFS."""
        return tuple(self._names[v] for v in self._preorder)

    def ancestors(self, name: str) -> tuple[str, ...]:
        """Return the proper ancestors of `name`, root first."""
        v, path = self._parent[self._index[name]], []
        while v != NO_PARENT:
            path.append(self._names[v])
            v = self._parent[v]
        return tuple(reversed(path))

    def subtree(self, name: str) -> tuple[str, ...]:
        """Return `name` and its descendants, in preorder."""
        v = self._index[name]
        start = end = self._position[v]
        while True:
            end += 1
            if end == len(self._preorder) or self._depth[self._preorder[end]] <= self._depth[v]:
                return tuple(self._names[u] for u in self._preorder[start:end])

    def evaluator(self, constraint: Constraint) -> str:
        """Return the deepest variable of the scope: the one that counts `constraint`."""
        return max(constraint.scope, key=self.depth_of)

    def largest_table(self, problem: Problem) -> int:
        """Return the cells of the largest table over a variable and its separator; 0 without variables."""
        tables = self._tables(problem)
        # The product of thousands of sizes is slow to form: only those within rounding of the largest are.
        logs = {key: sum(n * math.log(d) for d, n in key) for key in tables}
        top = max(logs.values(), default=0.0)
        return max((_product(key) for key, log in logs.items() if log >= top - 1e-9 * max(1.0, top)), default=0)

    def encode(self) -> list[Any]:
        """Return plain lists, one per variable in preorder: name, problem index, parent's row, rows of ancestors."""
        row = self._position
        return [
            [
                self._names[v],
                v,
                row[self._parent[v]] if self._parent[v] != NO_PARENT else NO_PARENT,
                [row[a] for a in self._above[v]],
            ]
            for v in self._preorder
        ]

    @classmethod
    def decode(cls, rows: Sequence[Any]) -> Self:
        """Rebuild a tree from `encode`; ProblemError when the rows are not those of a tree."""
        try:
            if sorted(row[1] for row in rows) != list(range(len(rows))):
                raise ProblemError("tree: its rows do not number the variables")
            order: list[int] = [row[1] for row in rows]
            names, parent, above = [""] * len(rows), [NO_PARENT] * len(rows), [[0] for _ in rows]
            path: list[int] = []
            on_path = [False] * len(rows)
            for row, (name, v, up, ancestors) in enumerate(rows):
                while path and path[-1] != up:
                    on_path[path.pop()] = False
                known = all(0 <= a < row and on_path[a] for a in ancestors) and sorted(set(ancestors)) == ancestors
                if not known or (ancestors[-1:] != [up] if path else up != NO_PARENT or ancestors):
                    raise ProblemError(f"tree: the place of {name} contradicts the rows before it")
                path.append(row)
                on_path[row] = True
                names[v], parent[v], above[v] = (
                    str(name),
                    order[up] if up >= 0 else NO_PARENT,
                    [order[a] for a in ancestors],
                )
        except (TypeError, ValueError, IndexError) as error:
            raise ProblemError(f"tree: not the rows of a tree ({error})") from None
        return cls(names, parent, order, above)

    @cached_property
    def _separators(self) -> list[tuple[str, ...]]:
        total = sum(self._separator_sums([1] * len(self._names)))
        if total > MAX_SEPARATOR_NAMES:
            raise SolverRefusal(f"the tree's separators have {total} names in total, more than {MAX_SEPARATOR_NAMES}")
        found: list[list[str]] = [[] for _ in self._names]
        stamp, parent = [NO_PARENT] * len(self._names), self._parent
        down = self._neighbours_below()
        for a in self._preorder:  # ancestors come root first, so each list fills by depth
            stamp[a] = a
            for u in down[a]:
                while stamp[u] != a:
                    stamp[u] = a
                    found[u].append(self._names[a])
                    u = parent[u]
        return [tuple(names) for names in found]

    def _neighbours_below(self) -> list[list[int]]:
        down: list[list[int]] = [[] for _ in self._names]
        for v, ancestors in enumerate(self._above):
            for a in ancestors:
                down[a].append(v)
        return down

    def _separator_sums(self, weights: Sequence[int]) -> list[int]:
        """Return the sum of `weights` over each variable's separator, in O(m alpha) (Gilbert, Ng and Peyton 1994).

        `a` is in the separators on the union of the paths from its lower neighbours u1, u2, ... (in preorder) to
        below `a`. That union is a subtree sum: +1 at each u, -1 where two consecutive ones meet, -1 at `a`.
        """
        sums, last = [0] * len(self._names), [NO_PARENT] * len(self._names)
        merged = list(range(len(self._names)))  # union-find: finished subtrees hang on their lowest open ancestor
        path: list[int] = []
        for u in self._preorder:
            while len(path) > self._depth[u]:
                done = path.pop()
                merged[done] = self._parent[done]
            path.append(u)
            for a in self._above[u]:
                meet = last[a]
                if meet == NO_PARENT:
                    meet = a
                while merged[meet] != meet:
                    merged[meet] = merged[merged[meet]]
                    meet = merged[meet]
                sums[u] += weights[a]
                sums[meet] -= weights[a]
                last[a] = u
            merged[u] = u
        for v in reversed(self._preorder):
            if self._parent[v] != NO_PARENT:
                sums[self._parent[v]] += sums[v]
        return sums

    def _tables(self, problem: Problem) -> Counter[tuple[tuple[int, int], ...]]:
        """Count the variables' tables by their shape, written as (domain size, number of axes of that size) pairs."""
        sizes = [problem.variables[name].size for name in self._names]
        kinds = {d: 32 * i for i, d in enumerate(sorted(set(sizes)))}
        weights = [1 << kinds[d] for d in sizes]  # one 32-bit counter per domain size
        packed = Counter(s + w for s, w in zip(self._separator_sums(weights), weights, strict=True))
        return Counter(
            {
                tuple((d, n) for d, shift in kinds.items() if (n := key >> shift & 0xFFFFFFFF)): times
                for key, times in packed.items()
            }
        )


def _product(shape: tuple[tuple[int, int], ...]) -> int:
    return math.prod(d**n for d, n in shape)


def cells_text(cells: int) -> str:
    """Return a number of cells for a sentence: digits, or a power of ten when there are many.

    >>> cells_text(1234567), cells_text(10**400)
    ('1234567', '10^400')
    """
    return str(cells) if cells < 10**12 else f"10^{math.log10(cells):.0f}"


def build_tree(
    problem: Problem,
    *,
    heuristic: str = "degree",
    root: str | None = None,
    order: str | Sequence[str] | None = None,
    seed: int = 0,
) -> PseudoTree:
    """Build the tree that the distributed DFS builds.

    Args:
        problem: its primal graph may have several components.
        heuristic: `degree` (highest), `mcn` (most visited neighbours, then highest degree), `min-domain`,
            `max-domain` (then highest degree), `lexical` (by name) or `random`.
        root: root of its own component, before any preference.
        order: names to prefer, first to last, before the heuristic; need not be complete. The preorder of any DFS tree,
            given as `order`, gives that tree again.
        seed: of `random`.

    Raises:
        UserError: unknown heuristic, unknown or repeated name.
    """
    graph = PrimalGraph(problem)
    ranks = rank_variables(graph, heuristic, order, seed)
    fixed = None if root is None else graph.find(root, "root")
    parent, preorder = [UNSEEN] * len(graph.names), list[int]()
    for members in graph.components():
        mine = fixed is not None and members[0] <= fixed <= members[-1] and fixed in members
        top = fixed if fixed is not None and mine else min(members, key=ranks.__getitem__)
        preorder += depth_first(graph.adjacent, top, ranks, parent, connected=heuristic == "mcn")
    return tree_of(graph, parent, preorder)


def tree_of(graph: PrimalGraph, parent: list[int], preorder: list[int]) -> PseudoTree:
    """Return the DFS forest with the given parents and preorder, as indices of the graph."""
    position = inverse(preorder)
    above = [
        sorted((u for u in near if position[u] < position[v]), key=position.__getitem__)
        for v, near in enumerate(graph.adjacent)
    ]
    return PseudoTree(graph.names, parent, preorder, above)
