"""What each solver's messages tell, by hand and by the book (Lee, Mak and Shi, section IV)."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest

from agentsim import Constraint, Domain, Problem, Result, Variable, simulate
from agentsim.runtime.setup import prepare
from agentsim.testing import twin
from privacy.vps import Vps, exclusions, mixture_loss
from solvers.synchbb import SynchBB
from tests.privacy.vps_watching import DIMES, INF, RANDOM, SYNCHBB, Watch, event, highs, ranges, watch

# Our solvers, by hand ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["adopt", "adopt-plus", "bnb-adopt", "bnb-adopt-plus"])
@pytest.mark.parametrize("rule", ["paper", "exact", "tight"])
def test_a_search_tree_tells_the_parent_of_leaves(solver: str, rule: str) -> None:
    """The root of a star learns a bound for each slot that it tried, which is the leaf's cost; nobody else learns."""
    costs = [[1, 3, 3], [2, 1, 4], [2, 4, 3]]
    watched = watch(event(costs, "S"), solver, rule, root="x0")
    for leaf in (1, 2):
        known = ranges(watched, "a0", f"x{leaf}")
        assert known[0] == (1, costs[leaf][0])  # the root's best slot was tried
        assert all(high in (4, cost) for (_, high), cost in zip(known, costs[leaf], strict=True))
        assert highs(watched, "a0", f"x{leaf}") != [4, 4, 4]
    matrix = watched.findings()["matrix"]
    assert matrix["a1"] == {"a0": 0, "a2": 0}
    assert matrix["a2"] == {"a0": 0, "a1": 0}


@pytest.mark.parametrize("solver", ["adopt", "adopt-plus", "bnb-adopt", "bnb-adopt-plus"])
def test_a_leaf_that_is_known_to_be_one_tells_its_cost(solver: str) -> None:
    """Where its bounds meet, nothing else is in them. In plain `tight` the root cannot know that."""
    costs = [[1, 3, 3], [2, 1, 4], [2, 4, 3]]
    watched = watch(event(costs, "S"), solver, "tight", {"topology": True}, root="x0")
    for leaf in (1, 2):
        known = ranges(watched, "a0", f"x{leaf}")
        assert known[0] == (2, 2)
        assert all(pair in ((1, 4), (cost, cost)) for pair, cost in zip(known, costs[leaf], strict=True))


def test_dpop_tells_the_parent_of_leaves_everything_but_that_it_is_all() -> None:
    """The parent knows an upper bound for each slot; that nothing else is in it is topology."""
    costs = [[1, 3, 3], [2, 1, 4]]
    problem = event(costs, "C")
    for rule in ("paper", "exact", "tight"):
        assert ranges(watch(problem, "dpop", rule, root="x0"), "a0", "x1") == [(1, 2), (1, 1), (1, 4)]
    topology = watch(problem, "dpop", "tight", {"topology": True}, root="x0")
    assert ranges(topology, "a0", "x1") == [(2, 2), (1, 1), (4, 4)]
    assert topology.findings()["matrix"]["a0"]["a1"] == pytest.approx(6)
    assert topology.findings()["loss"] == {"a0": 0, "a1": 1}


def test_dpop_tells_of_inner_nodes_with_all_below_them() -> None:
    """UTIL of x1 is C1 + C2: the paper and `exact` take it for a bound on C1, whoever is below."""
    problem = event([[1, 1, 1], [1, 2, 1], [1, 1, 4]], "C")
    for rule in ("paper", "exact", "tight"):
        watched = watch(problem, "dpop", rule, root="x0")
        assert highs(watched, "a0", "x1") == [2, 3, 4]
        assert highs(watched, "a1", "x2") == [1, 1, 4]
        assert watched.findings()["matrix"]["a0"]["a2"] == 0
    topology = watch(problem, "dpop", "tight", {"topology": True}, root="x0")
    assert ranges(topology, "a0", "x1") == [(1, 1), (1, 2), (1, 4)]  # one below, which costs 1..4


def test_dpop_on_a_clique_diagonal_or_first() -> None:
    """x2 tells x1 a table over x0 and x1. With x0 at its first slot, only that slot of x1 is finite."""
    problem = event([[1, 1, 1], [2, 1, 2], [2, 3, 2]], "Q")
    options = {"order": "x0,x1,x2"}
    diagonal = watch(problem, "dpop", "paper", **options)
    assert highs(diagonal, "a1", "x2") == [2, 3, 2]
    assert highs(diagonal, "a0", "x1") == [4, 4, 4]
    first = watch(problem, "dpop", "paper", {"table": "first"}, **options)
    assert highs(first, "a1", "x2") == [2, 4, 4]
    assert highs(watch(problem, "dpop", "paper", {"table": "max"}, **options), "a1", "x2") == [4, 4, 4]
    for table in ("diagonal", "first", "max"):
        assert f"table={table}" in watch(problem, "dpop", "paper", {"table": table}, **options).findings()["rule"]


@pytest.mark.parametrize("rule", ["paper", "exact"])
def test_synchbb_down_tells_everybody_named_and_up_everybody_behind(rule: str) -> None:
    """DOWN: C_i <= P_k - (k - 1). UP, improved: C_i <= B - P_k - (r - 1). Each other one costs 1 at least."""
    watched = watch(SYNCHBB, "synchbb", rule, order="x0,x1,x2,x3")
    assert highs(watched, "a3", "x0") == [4, 1]  # 7 - 2 for slot 0; 3 - 2
    assert highs(watched, "a2", "x0") == [4, 1]  # 5 - 1; 2 - 1
    assert highs(watched, "a2", "x1") == [4, 1]
    assert highs(watched, "a1", "x0") == [2, 1]  # alone: its cost
    assert highs(watched, "a2", "x3") == [4, 1]  # alone: its cost
    assert highs(watched, "a1", "x2") == [4, 1]  # 6 - 1; 2 - 1
    assert highs(watched, "a1", "x3") == [4, 1]
    assert highs(watched, "a0", "x1") == [4, 1]  # 9 - 2; 3 - 2
    # The bound after slot 0 is 11, and a2 hears of no better one before slot 1 is done.
    assert exclusions(watched) == []


def test_synchbb_when_nothing_improves_nothing_is_told() -> None:
    """Slot 0 costs 3. Of slot 1 the bound comes back as it was: P_2 = 2 was sent on, but not a word of x2's cost."""
    problem = event([[1, 1], [1, 1], [1, 4]], "C")
    for rule in ("paper", "exact"):
        watched = watch(problem, "synchbb", rule, order="x0,x1,x2")
        assert highs(watched, "a1", "x2") == [1, 4]
        assert highs(watched, "a0", "x2") == [1, 4]
        assert highs(watched, "a2", "x0") == [1, 1]


def test_synchbb_tells_tight_sums_exactly() -> None:
    """The first alone is known to the second exactly, the last to the last but one, sums from both sides."""
    problem = event([[3, 1], [4, 1], [4, 2], [2, 4]], "C")
    watched = watch(problem, "synchbb", "tight", order="x0,x1,x2,x3")
    assert ranges(watched, "a1", "x0") == [(3, 3), (1, 1)]
    assert ranges(watched, "a2", "x3")[0] == (2, 2)
    assert ranges(watched, "a2", "x0")[0] == (3, 4)  # 7 = C0 + C1, each at most 4
    assert ranges(watched, "a2", "x1")[0] == (3, 4)
    assert ranges(watched, "a3", "x0")[0] == (3, 4)  # 11 = C0 + C1 + C2
    assert ranges(watched, "a1", "x2")[0] == (2, 4)  # 6 = C2 + C3
    pair = watch(problem, "synchbb", "tight", {"view": "coalition:a1+a2"}, order="x0,x1,x2,x3")
    assert ranges(pair, "a1+a2", "x0")[0] == (3, 3)
    assert ranges(pair, "a1+a2", "x3")[0] == (2, 2)
    paper = watch(problem, "synchbb", "paper", order="x0,x1,x2,x3")
    assert ranges(paper, "a1", "x0") == [(1, 3), (1, 1)]


def test_synchbb_tells_the_second_in_line_exactly_what_the_first_costs() -> None:
    """A prefix of one: no constraint is in it, whatever constraints there are elsewhere."""
    problem = RANDOM.generate(RANDOM.Params(agents=4, u=6, d=3, b=3), 5)
    watched = watch(problem, "synchbb", "tight", {"topology": True}, order="x0,x1,x2,x3")
    costs = [int(c) for c in problem.variables["x0"].unary]
    known = ranges(watched, "a1", "x0")
    assert known[0] == (costs[0], costs[0])
    assert all(pair in ((1, 6), (cost, cost)) for pair, cost in zip(known, costs, strict=True))
    plain = ranges(watch(problem, "synchbb", "exact", order="x0,x1,x2,x3"), "a1", "x0")
    assert plain[0] == (1, costs[0])


def test_tight_does_not_take_what_it_does_not_know_for_nothing() -> None:
    """Soft constraints of others, without topology: sums bound nobody from below."""
    problem = RANDOM.generate(RANDOM.Params(agents=5, u=4, d=2, b=3, shape="Q"), 1)
    watched = watch(problem, "synchbb", "tight", order="x0,x1,x2,x3,x4")
    for viewer in watched.viewers:
        for name, belief in viewer.mind.beliefs.items():
            if name not in ("x0", "x4"):
                assert belief.low == [1, 1], (viewer.mind.name, name)


def test_brute_force_tells_the_leader_everything() -> None:
    problem = event([[1, 3], [2, 1], [4, 3]], "C")
    for rule in ("paper", "exact"):
        watched = watch(problem, "brute-force", rule, order="x0,x1,x2")
        assert highs(watched, "a0", "x1") == [2, 1]
        assert highs(watched, "a0", "x2") == [4, 3]
    watched = watch(problem, "brute-force", "tight", order="x0,x1,x2")
    assert ranges(watched, "a0", "x1") == [(2, 2), (1, 1)]
    assert watched.findings()["matrix"] == {
        "a0": {"a1": 4, "a2": 4},
        "a1": {"a0": 0, "a2": 0},
        "a2": {"a0": 0, "a1": 0},
    }


# Costs that do not start at 1 ----------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["paper", "exact"])
def test_the_least_cost_stands_in_for_1(rule: str) -> None:
    """Costs 5..8: DOWN with P_3 = 5 + 6 + 7 tells a3 that C0 <= 18 - 2 * 5; what one would say of 1..4 is the same."""
    costs = np.array([[5, 8], [6, 8], [7, 8], [6, 8]])
    low = watch(event(costs - 4, "C"), "synchbb", rule, order="x0,x1,x2,x3")
    high = watch(event(costs, "C", (5, 8)), "synchbb", rule, order="x0,x1,x2,x3")
    assert highs(high, "a3", "x0") == [8, 8]
    assert highs(high, "a2", "x0") == [6, 8]  # 11 - 5
    assert highs(high, "a2", "x1") == [6, 8]
    assert highs(high, "a1", "x0") == [5, 8]
    assert highs(high, "a2", "x3") == [6, 8]
    assert highs(high, "a1", "x3") == [8, 8]  # 13 - 5
    for observer, variable in product(("a1", "a2", "a3"), ("x0",)):
        assert [c - 4 for c in highs(high, observer, variable)] == highs(low, observer, variable)


@pytest.mark.parametrize("rule", ["paper", "exact"])
def test_costs_may_be_negative(rule: str) -> None:
    """Costs -3..0, declared: two that cost -5 together cost at most -2 each."""
    problem = event([[-3, 0], [-2, 0], [-1, 0]], "C", (-3, 0))
    watched = watch(problem, "synchbb", rule, order="x0,x1,x2")
    assert highs(watched, "a2", "x0") == [-2, 0]  # -5 + 3
    assert highs(watched, "a2", "x1") == [-2, 0]
    assert highs(watched, "a1", "x0") == [-3, 0]
    assert highs(watched, "a1", "x2") == [-1, 0]
    assert highs(watch(problem, "dpop", rule, root="x1"), "a1", "x2") == [-1, 0]
    assert highs(watch(problem, "dpop", rule, root="x0"), "a0", "x1") == [0, 0]  # -3 of both, and -3 may be x2's


@pytest.mark.parametrize("solver", ["synchbb", "adopt", "bnb-adopt", "dpop", "brute-force"])
@pytest.mark.parametrize("rule", ["paper", "exact", "tight"])
def test_utilities_are_costs_upside_down(solver: str, rule: str) -> None:
    problem = event([[1, 3], [2, 1], [4, 3]], "C")
    order = {"order": "x0,x1,x2"}
    low, high = watch(problem, solver, rule, **order), watch(twin(problem), solver, rule, **order)
    for observer, variable in product(("a0", "a1", "a2"), ("x0", "x1", "x2")):
        if observer[1] != variable[1]:
            assert ranges(low, observer, variable) == ranges(high, observer, variable)
    assert high.findings()["prior"]["range"] == [-4, -1]


def test_constraints_that_may_be_negative_are_reckoned_with() -> None:
    """What a constraint can take off a cost, as declared, is added to the bound."""
    values = Domain("values", (0, 1))
    variables = [Variable(n, values, unary=np.array(c), cost_range=(1, 6)) for n, c in (("a", [1, 1]), ("b", [4, 4]))]
    rebate = Constraint("ab", ("a", "b"), np.array([[0, 0], [0, -2]]), cost_range=(-3, 0))
    watched = watch(Problem.build(variables, [rebate]), "dpop", "exact", root="a")
    (viewer,) = (v for v in watched.viewers if v.mind.name == "a")
    assert viewer.mind.beliefs["b"].least == 5  # the least said is 2, but for 3 that may be the constraint's
    assert exclusions(watched) == []


# By the book: every message of random runs, read as the paper's authors would ------------------------------------


def book_of_slots(result: Result, order: Sequence[str], u: int, table: str) -> dict[tuple[str, str], dict[int, int]]:
    """Return (observer, subject) -> slot -> least upper bound on the cost, from the log of a one-event run."""
    bounds: dict[tuple[str, str], dict[int, int]] = defaultdict(dict)
    sent: dict[str, Any] = {}

    def learn(observer: str, subject: str, slot: int, bound: float) -> None:
        if bound < u:
            known = bounds[observer, subject]
            known[slot] = int(min(known.get(slot, u), bound))

    for d in result.log:
        said = d.message
        if d.type == "COST" and d.dst in said.context:
            learn(d.dst, d.src, said.context[d.dst], said.lower)
        elif d.type == "UTIL":
            rows = np.moveaxis(said.table, said.axes.index(d.dst), 0)
            for t in range(len(rows)):
                others = rows.ndim - 1
                cell = (t,) * others if table == "diagonal" else (0,) * others
                learn(d.dst, d.src, t, rows[t][cell].item())
        elif d.type == "FWD":
            sent[d.src] = said
            k = len(said.path)
            for name, value in zip(order, said.path, strict=False):
                learn(d.dst, name, value, said.cost - (k - 1))
        elif d.type == "BACK":
            forward = sent[d.dst]
            behind = order[len(forward.path) :]
            if said.bound < forward.bound:
                for name in behind:
                    learn(d.dst, name, forward.path[-1], said.bound - forward.cost - (len(behind) - 1))
    return bounds


@pytest.mark.parametrize("shape", "STCQ")
@pytest.mark.parametrize(
    ("solver", "table"),
    [
        ("adopt", "diagonal"),
        ("adopt-plus", "diagonal"),
        ("bnb-adopt", "diagonal"),
        ("bnb-adopt-plus", "diagonal"),
        ("dpop", "diagonal"),
        ("dpop", "first"),
        ("synchbb", "diagonal"),
    ],
)
def test_the_rules_of_an_event_by_the_book(solver: str, table: str, shape: Any) -> None:
    n, d = 5, 3
    for seed in range(3):
        u = 2 + seed
        problem = DIMES.generate(DIMES.Params(people=n, d=d, u=u, shape=shape), seed)
        names = tuple(problem.variables)
        run = {"order": ",".join(names)} if solver == "synchbb" else {}
        options = {"rule": "paper", "table": table}
        result = simulate(problem, solver, seed=seed, network="uniform:1,5", observers=[(Vps, options)], **run)
        book = book_of_slots(result, names, u, table)
        found = result.findings["vps"]
        total: Counter[str] = Counter()
        for a, b in product(names, repeat=2):
            if a != b:
                bits = sum(math.log2(u / bound) for bound in book[a, b].values())
                owners = f"a{a[1:]}", f"a{b[1:]}"
                assert found["matrix"][owners[0]][owners[1]] == pytest.approx(bits), (seed, a, b)
                total[owners[1]] += bits
        for agent, loss in found["loss"].items():
            assert loss == pytest.approx(total[agent] / ((n - 1) * d * math.log2(u)))
        root = names[0] if solver == "synchbb" else None
        if root is None:
            assert min(found["loss"].values()) == 0  # the root tells nobody


def book_of_bounds(
    result: Result, order: Sequence[str], table: str
) -> dict[tuple[str, str], list[tuple[tuple[Any, ...], int]]]:
    """Return (observer, subject) -> bounds "some value costs at most s", with what they were said under."""
    bounds: dict[tuple[str, str], list[tuple[tuple[Any, ...], int]]] = defaultdict(list)
    sent: dict[str, Any] = {}
    for d in result.log:
        said = d.message
        key = (d.dst, d.src)
        if d.type == "COST" and d.dst in said.context and said.lower < INF:
            bounds[key].append((tuple(sorted(said.context.items())), said.lower))
        elif d.type == "UTIL":
            rows = np.moveaxis(said.table, said.axes.index(d.dst), 0).reshape(said.table.shape[0], -1)
            picked = rows[:, 0].tolist() if table == "first" else [rows.max().item()]
            bounds[key] += [((t,), s) for t, s in enumerate(picked)]
        elif d.type == "FWD":
            sent[d.src] = said
        elif d.type == "BACK":
            forward = sent[d.dst]
            if said.bound < forward.bound:
                context = tuple(zip(order, forward.path, strict=False))
                bounds[key].append((context, said.bound - forward.cost))
    return bounds


@pytest.mark.parametrize("repeats", ["all", "distinct"])
@pytest.mark.parametrize(
    ("solver", "table"),
    [
        ("adopt", "max"),
        ("adopt-plus", "max"),
        ("bnb-adopt", "max"),
        ("bnb-adopt-plus", "max"),
        ("dpop", "max"),
        ("dpop", "first"),
        ("synchbb", "max"),
    ],
)
def test_the_ambiguity_rule_by_the_book(solver: str, table: str, repeats: str) -> None:
    n, d, u = 5, 3, 6
    for seed in range(3):
        problem = RANDOM.generate(RANDOM.Params(agents=n, d=d, u=u, b=2, shape="TCQ"[seed]), seed)
        names = tuple(problem.variables)
        run = {"order": ",".join(names)} if solver == "synchbb" else {}
        options = {"rule": "paper", "table": table, "repeats": repeats}
        result = simulate(problem, solver, seed=seed, observers=[(Vps, options)], **run)
        book = book_of_bounds(result, names, table)
        found = result.findings["vps"]
        for a, b in product(names, repeat=2):
            if a != b:
                said = book[a, b] if repeats == "all" else list(dict.fromkeys(book[a, b]))
                expected = mixture_loss([s for _, s in said], d, u)
                assert found["matrix"][f"a{a[1:]}"][f"a{b[1:]}"] == pytest.approx(expected), (seed, a, b)


def test_exact_on_synchbb_by_the_book() -> None:
    """DOWN names values, so it bounds them; UP says that some value of each one behind is that cheap."""
    n, d, u = 4, 2, 4
    for seed in range(4):
        problem = RANDOM.generate(RANDOM.Params(agents=n, d=d, u=u, b=2, shape="Q"), seed)
        names = tuple(problem.variables)
        result = simulate(problem, "synchbb", order=",".join(names), observers=[(Watch, {"rule": "exact"})])
        observer = Watch.runs.pop()
        high: dict[tuple[str, str, int], int] = {}
        some: dict[tuple[str, str], int] = {}
        sent: dict[str, Any] = {}
        for delivery in result.log:
            said = delivery.message
            if delivery.type == "FWD":
                sent[delivery.src] = said
                for name, value in zip(names, said.path, strict=False):
                    key = (delivery.dst, name, value)
                    high[key] = min(high.get(key, u), said.cost - (len(said.path) - 1))
            elif delivery.type == "BACK" and said.bound < sent[delivery.dst].bound:
                forward = sent[delivery.dst]
                behind = names[len(forward.path) :]
                for name in behind:
                    bound = said.bound - forward.cost - (len(behind) - 1)
                    some[delivery.dst, name] = min(some.get((delivery.dst, name), u), bound)
        for a, b in product(names, repeat=2):
            if a == b:
                continue
            tops = [high.get((a, b, v), u) for v in range(d)]
            left = [c for c in product(*(range(1, t + 1) for t in tops)) if min(c) <= some.get((a, b), u)]
            bits = d * math.log2(u) - math.log2(len(left))
            assert result.findings["vps"]["matrix"][f"a{a[1:]}"][f"a{b[1:]}"] == pytest.approx(bits)
        assert exclusions(observer) == []


def test_synchbb_is_the_order_it_is_told() -> None:
    """The hand-made orders above are what the solver uses."""
    setup = prepare(SYNCHBB, SynchBB, "synchbb", {"order": "x0,x1,x2,x3"})
    assert setup.orders == (("x0", "x1", "x2", "x3"),)
