from __future__ import annotations

import math
import sys
from itertools import combinations, pairwise

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentsim.dcop import pseudotree
from agentsim.dcop.ordering import HEURISTICS, components, preference_ranks
from agentsim.dcop.problem import Constraint, Domain, Problem, Variable
from agentsim.dcop.pseudotree import PseudoTree, build_tree, cells_text
from agentsim.dcop.tree_search import smallest_table_tree
from agentsim.errors import ProblemError, SolverRefusal, UserError


def make_problem(sizes: dict[str, int], scopes: list[tuple[str, ...]]) -> Problem:
    variables = [Variable(name, Domain(f"d{name}", tuple(range(d)))) for name, d in sizes.items()]
    tables = [np.zeros([sizes[v] for v in scope]) for scope in scopes]
    pairs = zip(scopes, tables, strict=True)
    return Problem.build(variables, [Constraint(f"c{i}", scope, table) for i, (scope, table) in enumerate(pairs)])


def grid(side: int) -> Problem:
    names = {(i, j): f"v{i}_{j}" for i in range(side) for j in range(side)}
    scopes = [(names[a], names[b]) for a, b in combinations(names, 2) if abs(a[0] - b[0]) + abs(a[1] - b[1]) == 1]
    return make_problem(dict.fromkeys(names.values(), 3), scopes)


def path(n: int) -> Problem:
    return make_problem({f"v{i}": 2 for i in range(n)}, [(f"v{i}", f"v{i + 1}") for i in range(n - 1)])


@st.composite
def hypergraphs(draw: st.DrawFn, min_size: int = 0) -> Problem:
    names = [f"v{i}" for i in range(draw(st.integers(min_size, 9)))]
    sizes = {name: draw(st.integers(1, 4)) for name in names}
    count = draw(st.integers(0, 2 * len(names)))
    scopes = [tuple(draw(st.permutations(names)))[: draw(st.sampled_from([2, 2, 3]))] for _ in range(count)]
    return make_problem(sizes, [s for s in scopes if len(s) > 1])


def check(tree: PseudoTree, problem: Problem) -> None:
    """Check the invariants of a pseudo-tree, each computed directly."""
    near = problem.primal_graph()
    assert list(tree) == list(problem.variables)
    assert [{v for v in tree if tree[v].component == r} for r in tree.roots] == [set(c) for c in components(problem)]
    assert all(tree[r].parent is None and tree[r].component == r for r in tree.roots)
    for name, place in tree.items():
        roles = [*((place.parent,) if place.parent else ()), *place.children]
        roles += [*place.pseudo_parents, *place.pseudo_children]
        assert len(roles) == len(set(roles))
        assert set(roles) == near[name]
        above = tree.ancestors(name)
        assert place.depth == len(above)
        assert above == ((*tree.ancestors(place.parent), place.parent) if place.parent else ())
        assert all(tree[c].parent == name for c in place.children)
        assert all(name in tree[u].pseudo_parents for u in place.pseudo_children)
        assert all(name in tree[u].pseudo_children for u in place.pseudo_parents)
        assert list(place.pseudo_children) == sorted(place.pseudo_children, key=list(tree).index)
        below = tree.subtree(name)
        assert below == (name, *(u for c in place.children for u in tree.subtree(c)))
        assert place.pseudo_parents == tuple(a for a in above[:-1] if a in near[name])
        assert place.separator == tuple(a for a in above if any(a in near[u] for u in below))
        assert place.child_separators == {c: tree[c].separator for c in place.children}
    assert tree.preorder() == tuple(u for r in tree.roots for u in tree.subtree(r))
    for c in problem.constraints.values():
        deepest = tree.evaluator(c)
        assert set(c.scope) <= {deepest, *tree.ancestors(deepest)}
    cells = [math.prod(problem.variables[u].size for u in (v, *tree[v].separator)) for v in tree]
    assert tree.largest_table(problem) == max(cells, default=0)
    assert tree.width == max((len(p.separator) for p in tree.values()), default=0)
    assert tree.depth == max((p.depth for p in tree.values()), default=0)


def distributed_dfs(problem: Problem, heuristic: str) -> tuple[dict[str, str | None], dict[str, list[str]]]:
    """Run the messages CHILD, PSEUDO and DONE one at a time; return parents and children."""
    near, rank = problem.primal_graph(), preference_ranks(problem, heuristic)
    parent: dict[str, str | None] = {}
    children: dict[str, list[str]] = {v: [] for v in near}
    unexplored = {v: set(u) for v, u in near.items()}

    def preference(v: str) -> tuple[int, int]:
        return (-len(near[v] & parent.keys()) if heuristic == "mcn" else 0, rank[v])

    for component in components(problem):
        root = min(component, key=rank.__getitem__)
        parent[root], at = None, root
        while True:
            if unexplored[at]:
                to = min(unexplored[at] - parent.keys() or unexplored[at], key=preference)
                unexplored[at].discard(to)
                unexplored[to].discard(at)
                if to not in parent:
                    parent[to], at = at, to
            else:
                up = parent[at]
                if up is None:
                    break
                children[up].append(at)
                at = up
    return parent, children


@given(hypergraphs(), st.sampled_from(HEURISTICS))
def test_invariants_and_the_choices_of_the_distributed_dfs(problem: Problem, heuristic: str) -> None:
    tree = build_tree(problem, heuristic=heuristic)
    check(tree, problem)
    parent, children = distributed_dfs(problem, heuristic)
    assert {v: place.parent for v, place in tree.items()} == parent
    assert {v: list(place.children) for v, place in tree.items()} == children


@settings(max_examples=50)
@given(hypergraphs())
def test_searched_trees_keep_the_invariants_and_are_no_worse(problem: Problem) -> None:
    best = smallest_table_tree(problem)
    check(best, problem)
    if problem.variables:
        assert best.largest_table(problem) <= build_tree(problem).largest_table(problem)
    assert smallest_table_tree(problem) == best


@given(hypergraphs(min_size=1), st.data())
def test_root_is_kept(problem: Problem, data: st.DataObject) -> None:
    root = data.draw(st.sampled_from(list(problem.variables)))
    for tree in (build_tree(problem, root=root), smallest_table_tree(problem, root=root)):
        assert root in tree.roots
        check(tree, problem)


@given(hypergraphs(), st.sampled_from(HEURISTICS), st.sampled_from(HEURISTICS))
def test_the_preorder_of_a_dfs_tree_gives_it_again(problem: Problem, first: str, second: str) -> None:
    tree = build_tree(problem, heuristic=first)
    again = build_tree(problem, heuristic=second, order=tree.preorder())
    assert again == tree


@given(hypergraphs(), st.data())
def test_partial_orders_choose_the_roots(problem: Problem, data: st.DataObject) -> None:
    names = list(problem.variables)
    order = data.draw(st.lists(st.sampled_from(names), unique=True)) if names else []
    tree = build_tree(problem, order=order, heuristic=data.draw(st.sampled_from(HEURISTICS)))
    check(tree, problem)
    for component in components(problem):
        mine = [v for v in order if v in component]
        assert not mine or mine[0] in tree.roots


@given(hypergraphs())
def test_encoding_survives_msgpack(problem: Problem) -> None:
    tree = build_tree(problem)
    again = PseudoTree.decode(msgpack.unpackb(msgpack.packb(tree.encode())))
    assert again == tree
    assert dict(again) == dict(tree)
    check(again, problem)


@pytest.mark.parametrize(
    "rows",
    [
        [["a", 1, -1, []]],
        [["a", 0, -1, []], ["b", 1, 1, [1]]],
        [["a", 0, -1, []], ["b", 1, 0, []]],
        [["a", 0, -1, []], ["b", 1, 0, [0]], ["c", 2, 0, [1]]],
        [["a", 0, -1, []], ["b", 1, 0, [0]], ["c", 2, 0, [0]], ["d", 3, 2, [1, 2]]],
        [["a", 0, 5, []]],
        [["a", 0]],
        [["a", "x", -1, []]],
        [7],
    ],
)
def test_damaged_rows_are_refused(rows: list[object]) -> None:
    with pytest.raises(ProblemError, match=r"^tree: "):
        PseudoTree.decode(rows)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"heuristic": "best"},
            "heuristic 'best': must be one of degree, mcn, min-domain, max-domain, lexical, random",
        ),
        ({"root": "z"}, "root: the problem has no variable 'z'"),
        ({"order": "v0, z"}, "order: the problem has no variable 'z'"),
        ({"order": ["v0", "v0"]}, "order: variable 'v0' occurs 2 times"),
    ],
)
def test_wrong_options_are_one_clear_sentence(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        build_tree(path(2), **options)  # type: ignore[arg-type]  # one option each
    assert str(caught.value) == sentence


def test_a_good_tree_of_a_grid_is_a_sweep() -> None:
    problem = grid(10)
    assert build_tree(problem).largest_table(problem) > 10**9
    assert smallest_table_tree(problem).largest_table(problem) == 3**11


def test_deep_trees_need_no_recursion_and_little_time() -> None:
    n = 5 * sys.getrecursionlimit()
    problem = path(n)
    tree = build_tree(problem, order=["v0"])
    assert (tree.depth, tree.width, tree.largest_table(problem)) == (n - 1, 1, 4)
    assert tree["v7"].separator == ("v6",)
    assert smallest_table_tree(problem).largest_table(problem) == 4


def test_too_many_separator_names_are_refused_but_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pseudotree, "MAX_SEPARATOR_NAMES", 3)
    tree = build_tree(path(9))
    with pytest.raises(SolverRefusal, match="8 names in total"):
        tree["v3"]
    place = tree.place("v3", separators=False)
    assert (place.separator, place.child_separators) == ((), {})


def test_tables_past_any_memory_are_still_counted() -> None:
    names = {f"v{i}": 2 for i in range(300)}
    problem = make_problem(names, list(combinations(names, 2))[:20_000])
    tree = build_tree(problem)
    assert tree.largest_table(problem) == 2 ** (tree.width + 1)
    assert cells_text(tree.largest_table(problem)).startswith("10^")


def test_children_in_the_order_of_the_search() -> None:
    problem = make_problem(dict.fromkeys("abcde", 2), [("a", "b"), ("a", "c"), ("a", "d"), ("c", "e")])
    tree = build_tree(problem, order="a,c,b")
    assert tree["a"].children == ("c", "b", "d")
    assert all(tree[u].depth < tree[v].depth for u, v in pairwise(tree.preorder()[:3]))
