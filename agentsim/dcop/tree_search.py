"""The choice of a good pseudo-tree: the one whose largest table is smallest.

A variable's table, which DPOP must hold, has the domain sizes multiplied over the variable and its separator. The
search tries preferences taken from several elimination orders, then improves the best by local search. Its effort is
counted in steps, never in seconds, so the answer is the same on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np

from agentsim.dcop.ordering import NO_PARENT, UNSEEN, PrimalGraph, depth_first, inverse
from agentsim.dcop.problem import Problem
from agentsim.dcop.pseudotree import PseudoTree, tree_of


def smallest_table_tree(problem: Problem, *, root: str | None = None) -> PseudoTree:
    """Return the DFS tree with the smallest largest table that a bounded search finds.

    Ties go to fewer cells in total, then to lower depth, then to the first found. Components are searched apart, `root`
    (if given) stays the root of its own. The effort follows from the sizes alone: none to speak of where solving is
    cheap, about 50 ms for 30 wide variables, half a second from 100 on; beyond 100,000 variables and neighbours the
    default tree is taken.

    Raises:
        UserError: the problem has no variable `root`.
    """
    graph = PrimalGraph(problem)
    fixed = None if root is None else graph.find(root, "root")
    return _assemble(graph, [_Search(graph, members, fixed).improve() for members in graph.components()])


def _assemble(graph: PrimalGraph, preorders: Iterable[list[int]]) -> PseudoTree:
    """Return the forest of DFS trees with the given preorders, which determine them."""
    parent, whole = [UNSEEN] * len(graph.names), [v for preorder in preorders for v in preorder]
    ranks, seen = inverse(whole), [False] * len(whole)
    for v in whole:
        near = [u for u in graph.adjacent[v] if seen[u]]
        parent[v] = max(near, key=ranks.__getitem__, default=NO_PARENT)  # the deepest ancestor among the neighbours
        seen[v] = True
    return tree_of(graph, parent, whole)


_Start = tuple[int, list[int], bool]
"""What makes a DFS: root, ranks, whether visited neighbours go first."""


class _Search:
    """The search for a good DFS tree of one component, in indices into its members."""

    def __init__(self, graph: PrimalGraph, members: list[int], fixed: int | None) -> None:
        local = {v: i for i, v in enumerate(members)}
        self.members, self.fixed = members, None if fixed is None else local.get(fixed)
        self.adjacent = [[local[u] for u in graph.adjacent[v]] for v in members]
        self.sizes = [graph.sizes[v] for v in members]
        self.n, self.edges = len(members), sum(map(len, self.adjacent))
        self.floor = max(
            (a * self.sizes[u] for a, near in zip(self.sizes, self.adjacent, strict=True) for u in near), default=0
        )
        self.best: tuple[int, int, int] | None = None
        self.preorder: list[int] = []
        self.spent, self.limit = 0, min(600_000, max(45_000, 50 * self.n * self.n))
        if self.n + self.edges > 100_000:
            self.limit = 1

    def improve(self) -> list[int]:
        """Return the best preorder found, as indices of the problem."""
        for start in self.starts():
            self._try(*start)
            if self._is_enough():
                break
        draws, movable = np.random.PCG64(self.n), self.n - (self.fixed is not None)
        while not self._is_enough():
            # One variable moves to another place of the best preorder; most trees so made are refused half-built.
            taken, put = (int(x) % movable + self.n - movable for x in draws.random_raw(2))
            order = self.preorder.copy()
            order.insert(put, order.pop(taken))
            self._try(order[0], inverse(order), False)
        return [self.members[i] for i in self.preorder]

    def starts(self) -> Iterator[_Start]:
        """Yield preferences to try: degrees, two elimination orders, then breadth-first levels of every root.

        A good elimination order, read backwards, is a good preference; levels sweep grids and other long graphs.
        """
        degree = [len(near) for near in self.adjacent]
        by_degree = sorted(range(self.n), key=lambda v: -degree[v])
        families = [inverse(by_degree)]
        roots = by_degree if self.fixed is None else [self.fixed]
        for connected in (False, True):
            yield roots[0], families[0], connected
        if self.n <= 2:
            return
        if self.n <= 400 and self.edges <= 6_000:  # its fronts grow dense: seconds, for a thousand variables
            for fill in (False, True) if self.n <= 150 else (False,):
                families.append(inverse(self._eliminate(fill)[::-1]))
                for connected in (False, True):
                    yield self.fixed if self.fixed is not None else families[-1].index(0), families[-1], connected
        families.append(inverse(by_degree[::-1]))
        for root in roots:
            level = self._levels(root)
            for ranks in families[1:]:
                yield root, inverse(sorted(range(self.n), key=lambda v, r=ranks: (level[v], r[v]))), False  # type: ignore[misc]
            if root in roots[:8]:
                for ranks in families:
                    for connected in (False, True):
                        yield root, ranks, connected

    def _is_enough(self) -> bool:
        if self.n <= 2 or self.spent >= self.limit:
            return True
        # A step takes about 1 us, as DPOP for some 100 cells: do not search for much longer than solving takes.
        return self.best is not None and (self.best[0] <= self.floor or 30 * self.spent > self.best[1] + 100_000)

    def _try(self, root: int, ranks: list[int], connected: bool) -> None:
        """Keep a DFS tree if it is no worse than the best: equal ones let the search drift."""
        parent = [UNSEEN] * self.n
        preorder = depth_first(self.adjacent, root, ranks.copy(), parent, connected=connected)
        self.preorder = self.preorder or preorder
        score = self._score(preorder, parent)
        if score is not None and (self.best is None or score <= self.best):
            self.best, self.preorder = score, preorder

    def _score(self, preorder: list[int], parent: list[int]) -> tuple[int, int, int] | None:
        """Return (largest table, total cells, depth), or None as soon as a table passes the best tree's largest."""
        self.spent += self.n + self.edges
        walked = 0
        position, cells, stamp = inverse(preorder), self.sizes.copy(), [NO_PARENT] * self.n
        # Counting takes up to n log(most) steps. No solver lives to see such tables, so it does not matter much there.
        most = self.best[0] if self.best is not None else 10**60 if self.n <= 1000 else 10**24
        for a in preorder:
            size, stamp[a] = self.sizes[a], a
            for u in self.adjacent[a]:
                if position[u] > position[a]:
                    while stamp[u] != a:  # up from a lower neighbour: `a` is in all separators on the way
                        stamp[u] = a
                        cells[u] *= size
                        if cells[u] > most:
                            self.spent += walked // 4
                            return None
                        u = parent[u]
                        walked += 1
        self.spent += walked // 4
        depth = [0] * self.n
        for v in preorder[1:]:
            depth[v] = depth[parent[v]] + 1
        return max(cells), sum(cells), max(depth)

    def _eliminate(self, fill: bool) -> list[int]:
        """Return a greedy elimination order: least fill-in, or smallest table; ties go to the lower index."""
        near = [set(neighbours) for neighbours in self.adjacent]
        logs = [math.log(d) for d in self.sizes]

        def price(v: int) -> float:
            if fill:
                return sum(len(near[v]) - 1 - len(near[u] & near[v]) for u in near[v])
            return math.fsum(logs[u] for u in near[v]) + logs[v]

        prices = {v: price(v) for v in range(self.n)}
        order = []
        while prices:
            v = min(prices, key=lambda u: (prices[u], u))
            order.append(v)
            del prices[v]
            touched = set(near[v])
            for u in near[v]:
                near[u] |= near[v]
                near[u] -= {u, v}
                if fill:
                    touched |= near[u]
            for u in touched:
                prices[u] = price(u)
        return order

    def _levels(self, root: int) -> list[int]:
        level, reached = [NO_PARENT] * self.n, [root]
        level[root] = 0
        for v in reached:  # grows while it is read
            for u in self.adjacent[v]:
                if level[u] == NO_PARENT:
                    level[u] = level[v] + 1
                    reached.append(u)
        return level
