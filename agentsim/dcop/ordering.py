"""Orders of variables: for SynchBB and AFB a total order per component, for a DFS its preferences.

A total order is `mcn` unless told otherwise: the variable of highest degree first, then always the one with most
predecessors among its neighbours. Every variable but the first then has a neighbour before it, so costs accrue, and
bounds bite, as early as possible. Orders never join two components: agents of one never learn of the other.

`smallest-last` (Matula and Beck 1983) keeps the number of earlier neighbours small for every variable: again and again
one of least degree among those that are left goes to the end. It has the least greatest number of all orders.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from agentsim.dcop.problem import Constraint, Problem
from agentsim.errors import UserError

HEURISTICS: Final = ("degree", "mcn", "min-domain", "max-domain", "lexical", "random")
"""Names of the preferences of a DFS."""

ORDERS: Final = ("mcn", "degree", "lexical", "tree", "smallest-last")
"""Names of the total orders, the default first."""

UNSEEN: Final = -2
"""In a list of parents: not visited yet."""

NO_PARENT: Final = -1
"""In a list of parents: a root."""


class PrimalGraph:
    """The primal graph over the problem's indices of variables.

    Attributes:
        names: the variables, in the problem's order.
        index: position of each name.
        adjacent: neighbours of each variable, ascending.
        sizes: domain sizes.
    """

    __slots__ = ("adjacent", "index", "names", "sizes")

    def __init__(self, problem: Problem) -> None:
        self.names = tuple(problem.variables)
        self.index = {name: i for i, name in enumerate(self.names)}
        self.sizes = [v.size for v in problem.variables.values()]
        adjacent: list[set[int]] = [set() for _ in self.names]
        for c in problem.constraints.values():
            scope = [self.index[v] for v in c.scope]
            for i in scope:
                adjacent[i].update(scope)
        for i, near in enumerate(adjacent):
            near.discard(i)
        self.adjacent = [sorted(near) for near in adjacent]

    def components(self) -> list[list[int]]:
        """Return the connected components, each ascending, by their first variables."""
        seen = [False] * len(self.names)
        found = []
        for start in range(len(self.names)):
            if seen[start]:
                continue
            seen[start] = True
            members = [start]
            for v in members:  # grows while it is read
                for u in self.adjacent[v]:
                    if not seen[u]:
                        seen[u] = True
                        members.append(u)
            found.append(sorted(members))
        return found

    def find(self, name: str, what: str) -> int:
        """Return the index of `name`; UserError that starts with `what` if there is none."""
        if name not in self.index:
            raise UserError(f"{what}: the problem has no variable {name!r}")
        return self.index[name]

    def named(self, order: str | Sequence[str]) -> list[int]:
        """Return the indices of a comma-separated string or list of names; UserError on unknown or repeated ones."""
        names = [part.strip() for part in order.split(",") if part.strip()] if isinstance(order, str) else list(order)
        found = [self.find(name, "order") for name in names]
        for name, times in Counter(names).items():
            if times > 1:
                raise UserError(f"order: variable {name!r} occurs {times} times")
        return found


def preference_ranks(
    problem: Problem, heuristic: str = "degree", order: str | Sequence[str] | None = None, seed: int = 0
) -> dict[str, int]:
    """Return each variable's rank in the choices of a DFS: the lowest is preferred.

    The root of a component is its lowest rank, the next open neighbour the lowest rank among them; `mcn` looks first
    at the number of visited neighbours. Ranks follow the heuristic's score, ties the problem's order. Names in `order`
    come first.

    Raises:
        UserError: unknown heuristic, unknown or repeated name.
    """
    graph = PrimalGraph(problem)
    ranks = rank_variables(graph, heuristic, order, seed)
    return {name: ranks[i] for i, name in enumerate(graph.names)}


def rank_variables(
    graph: PrimalGraph, heuristic: str, order: str | Sequence[str] | None = None, seed: int = 0
) -> list[int]:
    """Return `preference_ranks` by index."""
    degree = [-len(near) for near in graph.adjacent]
    keys: Sequence[Any]
    if heuristic in ("degree", "mcn"):
        keys = degree
    elif heuristic == "min-domain":
        keys = list(zip(graph.sizes, degree, strict=True))
    elif heuristic == "max-domain":
        keys = [(-d, k) for d, k in zip(graph.sizes, degree, strict=True)]
    elif heuristic == "lexical":
        keys = graph.names
    elif heuristic == "random":  # by name, so that another variable does not change the rest
        keys = [hashlib.blake2b(f"{seed} {name}".encode(), digest_size=16).digest() for name in graph.names]
    else:
        raise UserError(f"heuristic {heuristic!r}: must be one of {', '.join(HEURISTICS)}")
    ranks = inverse(sorted(range(len(keys)), key=keys.__getitem__))
    named = [] if order is None else graph.named(order)
    apart = len(keys) * (len(keys) + 1)  # more than `depth_first` ever takes from a rank
    for place, v in enumerate(named):
        ranks[v] = (place - len(named)) * apart
    return ranks


def inverse(order: Sequence[int]) -> list[int]:
    """Return the position of each index in `order`, a permutation."""
    ranks = [0] * len(order)
    for rank, v in enumerate(order):
        ranks[v] = rank
    return ranks


def depth_first(
    adjacent: list[list[int]], root: int, ranks: list[int], parent: list[int], *, connected: bool = False
) -> list[int]:
    """Return the preorder of the DFS tree below `root` and enter each node's parent; lower ranks go first.

    With `connected` the number of visited neighbours goes before the rank, and `ranks` is used up. One sort, at
    the visit, is enough: when the search comes back to a node, the subtree it finished has no open neighbours left,
    so no count of its open neighbours has changed.
    """
    n, preorder, stack = len(adjacent), list[int](), [(root, NO_PARENT)]
    while stack:
        v, up = stack.pop()
        if parent[v] != UNSEEN:
            continue
        parent[v] = up
        preorder.append(v)
        near = [u for u in adjacent[v] if parent[u] == UNSEEN]
        if connected:
            for u in near:
                ranks[u] -= n
        near.sort(key=ranks.__getitem__, reverse=True)
        stack += [(u, v) for u in near]
    return preorder


@dataclass(frozen=True, slots=True)
class OrderPlace:
    """All that a node is told of its place in the total order of its component.

    Args:
        order: all variables of the component, in order. All places of an order share it.
        index: its own number in the order, 0 at the first.
    """

    order: tuple[str, ...]
    index: int

    @property
    def component(self) -> str:
        """Name of the first variable."""
        return self.order[0]

    @property
    def size(self) -> int:
        """Number of variables in the component."""
        return len(self.order)

    @property
    def predecessor(self) -> str | None:
        """The variable just before it; None at the first."""
        return self.order[self.index - 1] if self.index else None

    @property
    def successor(self) -> str | None:
        """The variable just after it; None at the last."""
        return self.order[self.index + 1] if self.index + 1 < len(self.order) else None

    @property
    def before(self) -> tuple[str, ...]:
        """All earlier variables, in order."""
        return self.order[: self.index]

    @property
    def after(self) -> tuple[str, ...]:
        """All later variables, in order."""
        return self.order[self.index + 1 :]


def components(problem: Problem) -> list[tuple[str, ...]]:
    """Return the connected components of the primal graph, each in the problem's order, by their first variables."""
    graph = PrimalGraph(problem)
    return [tuple(graph.names[v] for v in members) for members in graph.components()]


def build_orders(
    problem: Problem, *, order: str | Sequence[str] | None = None, root: str | None = None
) -> list[tuple[str, ...]]:
    """Build one total order per component, in the order of `components`.

    Args:
        problem: its primal graph may have several components.
        order: `mcn` (the default; most predecessors among its neighbours, then highest degree), `degree` (highest
            first), `lexical` (by name), `tree` (preorder of the DFS tree of `build_tree`), `smallest-last` (what is
            left has least degree at its end, where its last variable's agent knows the costs), or the names that go
            first, as a list or between commas; `mcn` continues from them. Ties follow the problem's order.
        root: the first variable of its own component, before any of `order`.

    Raises:
        UserError: `order` or `root` is or has a name that the problem lacks, or has one twice.
    """
    graph = PrimalGraph(problem)
    method, named = ORDERS[0], list[int]()
    if isinstance(order, str) and order in ORDERS:
        method = order
    elif isinstance(order, str) and "," not in order and order not in graph.index:
        raise UserError(f"order {order!r}: must be one of {', '.join(ORDERS)}, or names of variables")
    elif order is not None:
        named = graph.named(order)
    if root is not None:
        named = list(dict.fromkeys([graph.find(root, "root"), *named]))
    if method == "smallest-last":
        ranks = inverse(_smallest_last(problem, graph))
    else:
        ranks = rank_variables(graph, "lexical" if method == "lexical" else "degree")
    parent = [UNSEEN] * len(graph.names)
    members = graph.components()
    component = [0] * len(graph.names)
    for number, group in enumerate(members):
        for v in group:
            component[v] = number
    heads: list[list[int]] = [[] for _ in members]
    for v in named:
        heads[component[v]].append(v)
    orders = []
    for group, head in zip(members, heads, strict=True):
        if method == "mcn":
            chosen = _most_connected(graph, group, head, ranks)
        elif method == "tree":
            top = head[0] if head else min(group, key=ranks.__getitem__)
            chosen = depth_first(graph.adjacent, top, ranks, parent)
        else:
            chosen = list(dict.fromkeys([*head, *sorted(group, key=ranks.__getitem__)]))
        orders.append(tuple(graph.names[v] for v in chosen))
    return orders


def _most_connected(graph: PrimalGraph, group: list[int], head: list[int], ranks: list[int]) -> list[int]:
    """Return maximum-cardinality order of a component, after `head`; O(m log n) by a heap with stale entries."""
    visited, chosen, done = dict.fromkeys(group, 0), list[int](), set[int]()
    heap = [(0, ranks[v], v) for v in group]
    heapq.heapify(heap)
    queue = list(reversed(head))
    while len(chosen) < len(group):
        v = queue.pop() if queue else heapq.heappop(heap)[2]
        if v in done:  # an entry from before its count grew; the better one came first
            continue
        done.add(v)
        chosen.append(v)
        for u in graph.adjacent[v]:
            if u not in done:
                visited[u] += 1
                heapq.heappush(heap, (-visited[u], ranks[u], u))
    return chosen


def _smallest_last(problem: Problem, graph: PrimalGraph) -> list[int]:
    """Return all variables, from the end the one of least degree among what is left, ties by index.

    A variable can only stand at the end of what is left where its agent knows every constraint that it evaluates there.
    Where nobody can, no order gives each constraint an evaluator who knows it; what that means is left to the caller.
    """
    n = len(graph.names)
    degree, left, barred = [len(near) for near in graph.adjacent], [True] * n, [0] * n
    bars: list[list[list[int]]] = [[] for _ in range(n)]  # by variable of a scope: whom each such constraint bars
    for c in problem.constraints.values():
        scope, known_to = [graph.index[name] for name in c.scope], problem.known_to(c)
        ignorant = [v for v in scope if problem.variables[graph.names[v]].agent not in known_to]
        for v in ignorant:
            barred[v] += 1
        for v in scope if ignorant else ():
            bars[v].append(ignorant)
    heap = [(degree[v], v) for v in range(n) if not barred[v]]
    heapq.heapify(heap)
    chosen = list[int]()
    while len(chosen) < n:
        if not heap:
            barred, bars = [0] * n, [[] for _ in range(n)]
            heap = [(degree[v], v) for v in range(n) if left[v]]
            heapq.heapify(heap)
        at, last = heapq.heappop(heap)
        if not left[last] or at != degree[last]:  # an entry from before its degree fell
            continue
        left[last] = False
        chosen.append(last)
        freed = []
        for ignorant in bars[last]:
            freed += ignorant
            ignorant.clear()  # for the other variables of its scope too
        for v in freed:
            barred[v] -= 1
        for u in graph.adjacent[last]:
            degree[u] -= 1
        for v in dict.fromkeys([*graph.adjacent[last], *freed]):
            if left[v] and not barred[v]:
                heapq.heappush(heap, (degree[v], v))
    return chosen[::-1]


def order_places(orders: Sequence[tuple[str, ...]]) -> dict[str, OrderPlace]:
    """Return every variable's place."""
    return {name: OrderPlace(order, i) for order in orders for i, name in enumerate(order)}


def evaluator(constraint: Constraint, places: Mapping[str, OrderPlace]) -> str:
    """Return the variable of the scope that is last in the order: the one that counts `constraint`."""
    return max(constraint.scope, key=lambda name: places[name].index)
