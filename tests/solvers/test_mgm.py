"""MGM and MGM-2: the cost never rises, runs end at local optima; and MGM's messages. See test_dsa.py for the rest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import networkx as nx
import numpy as np
import pytest

from agentsim import Constraint, Delivery, Domain, Observer, Problem, Result, Variable, simulate
from agentsim.dcop.ordering import components
from agentsim.runtime.setup import prepare
from agentsim.runtime.statements import Best, Chosen, CostIs, Nothing, ReaderContext, Statement, Term, Unanalysed
from agentsim.testing import random_problem, twin
from solvers.mgm import Mgm, Stillness, best_value
from solvers.mgm2 import Mgm2

NETWORKS = [
    "unit",
    "uniform:1,10",
    "exponential:3",
    "unit+duplicate:.3",
    "uniform:1,10+duplicate:.3+reorder",
    "uniform:1,5+loss:.3+duplicate:.2+reorder+reliable",
]
PENALTY = 1000


class Costs:
    """Costs in solver's units, a forbidden tuple counting PENALTY: what MGM minimises."""

    def __init__(self, problem: Problem) -> None:
        setup = prepare(problem, Mgm, "mgm", {})
        self.sizes = setup.domain_sizes
        functions = [((name,), setup.unary_table(name)) for name in self.sizes]
        functions += [(c.scope, setup.solver_table(c.table, 0)) for c in problem.constraints.values()]
        self.functions = [(scope, np.where(np.isinf(t), PENALTY, t)) for scope, t in functions]

    def __call__(self, values: Mapping[str, int]) -> float:
        return sum(table[tuple(values[n] for n in scope)].item() for scope, table in self.functions)

    def is_optimal_for(self, names: tuple[str, ...], values: Mapping[str, int]) -> bool:
        """Tell whether no other values of these variables together cost less."""
        cells = np.ndindex(*(self.sizes[name] for name in names))
        least = min(self({**values, **dict(zip(names, cell, strict=True))}) for cell in cells)
        return self(values) <= least + 1e-8


@cache
def many() -> list[list[Problem]]:
    """Return random problems, twenty and twenty; fractional costs stand together, so that few runs have rounding."""
    drawn = [random_problem(np.random.default_rng(seed), max_variables=5) for seed in range(500)]
    drawn.sort(key=lambda problem: problem.integral)
    return [drawn[first : first + 20] for first in range(0, 500, 20)]


def side_by_side(problems: list[Problem]) -> Problem:
    """Return one problem that consists of several, the variables and agents of the k-th being called k.NAME."""
    objective = problems[0].objective
    variables, constraints = [], []
    for k, given in enumerate(problems):
        problem = given if given.objective == objective else twin(given)
        variables += [replace(v, name=f"{k}.{v.name}", agent=f"{k}.{v.agent}") for v in problem.variables.values()]
        constraints += [
            replace(c, name=f"{k}.{c.name}", scope=tuple(f"{k}.{n}" for n in c.scope))
            for c in problem.constraints.values()
        ]
    return Problem.build(variables, constraints, objective=objective)


class Rounds(Observer):
    """Who had which value in which round, how many rounds each went through, and which pairs agreed to go in which."""

    def start(self) -> None:
        self.values: defaultdict[str, dict[int, int]] = defaultdict(dict)
        self.going: defaultdict[tuple[int, str, str], set[str]] = defaultdict(set)

    def observe(self, delivery: Delivery) -> None:
        told = delivery.message
        if delivery.type == "VALUE":
            self.values[delivery.src][told.round] = told.value
        elif delivery.type == "GO" and told.go:
            self.going[told.round, *sorted((delivery.src, delivery.dst))].add(delivery.src)  # type: ignore[index]

    def findings(self) -> dict[str, Any]:
        return {
            "values": {name: [by_round[k] for k in range(len(by_round))] for name, by_round in self.values.items()},
            "pairs": [pair for pair, who in self.going.items() if len(who) == 2],
        }


WATCHED: dict[str, Any] = {"observers": [Rounds], "log": False}


def assignments(problem: Problem, result: Result) -> list[dict[str, int]]:
    """Return the joint assignment of each round, and the last one; who has ended keeps its value."""
    last, told = problem.indices(result.assignment), result.findings["Rounds"]["values"]
    rounds = max(map(len, told.values()), default=0)
    return [{n: told[n][k] if k < len(told.get(n, ())) else v for n, v in last.items()} for k in range(rounds)] + [last]


@pytest.mark.parametrize("solver", [Mgm, Mgm2])
def test_the_cost_never_rises_and_only_partners_move_together(solver: type[Mgm | Mgm2]) -> None:
    """Five hundred random problems, in twenty-five runs of twenty each, side by side."""
    moves = together = 0
    for seed, twenty in enumerate(many()):
        problem, network = side_by_side(twenty), NETWORKS[seed % 5 if seed % 10 else -1]
        result = simulate(problem, solver, seed=seed, network=network, rounds=4, penalty=PENALTY, **WATCHED)
        parts = [Costs(part) for part in twenty]
        graph, pairs = problem.primal_graph(), result.findings["Rounds"]["pairs"]
        for k, (before, after) in enumerate(pairwise(assignments(problem, result))):
            moved = {name for name in before if before[name] != after[name]}
            moves += len(moved)
            for part, costs in enumerate(parts):
                names = {name: f"{part}.{name}" for name in costs.sizes}
                if moved.intersection(names.values()):
                    was, now = (costs({n: values[long] for n, long in names.items()}) for values in (before, after))
                    assert now < was, f"seed {seed}, part {part}, round {k}"
            for a, b in {(m, n) for m in moved for n in graph[m] & moved if m < n}:
                together += 1
                assert [k, a, b] in pairs, f"seed {seed}, round {k}: {a} and {b} moved together"
    assert moves > 300
    assert (together > 0) == (solver is Mgm2)


@pytest.mark.parametrize("solver", [Mgm, Mgm2])
def test_a_run_that_ends_by_itself_is_at_a_local_optimum(solver: type[Mgm | Mgm2]) -> None:
    """MGM: for each variable alone; MGM-2: for each two neighbours."""
    for seed in range(40):
        problem = random_problem(np.random.default_rng(seed))
        result = simulate(problem, solver, seed=seed, network=NETWORKS[seed % 6], penalty=PENALTY, **WATCHED)
        costs, final, graph = Costs(problem), problem.indices(result.assignment), problem.primal_graph()
        assert all(costs.is_optimal_for((name,), final) for name in final), f"seed {seed}"
        if solver is Mgm2:
            assert all(costs.is_optimal_for((a, b), final) for a in graph for b in graph[a]), f"seed {seed}"
        rounds = {name: len(values) for name, values in result.findings["Rounds"]["values"].items()}
        for component in components(problem):
            assert len({rounds.get(name, 0) for name in component}) == 1, "agents of a component end together"
        assert max(rounds.values(), default=0) < 100


def test_exactly_as_many_rounds_as_asked_for() -> None:
    for seed in range(10):
        problem = random_problem(np.random.default_rng(seed))
        degrees = sum(map(len, problem.primal_graph().values()))
        result = simulate(problem, Mgm, seed=seed, network=NETWORKS[seed % 6], rounds=30, detect=False)
        assert result.messages + result.local_messages == 30 * 2 * degrees
        assert {d.message[2:] for d in result.log if d.type == "GAIN"} <= {(0, 0, 0)}


def line(n: int, size: int = 2, **initial: int) -> Problem:
    """Return a path of variables whose neighbours should be equal."""
    domain = Domain("d", tuple(range(size)))
    variables = [Variable(f"v{i}", domain, initial=initial.get(f"v{i}")) for i in range(n)]
    table = np.ones((size, size), dtype=int) - np.eye(size, dtype=int)
    return Problem.build(variables, [Constraint(f"c{i}", (f"v{i - 1}", f"v{i}"), table) for i in range(1, n)])


def test_equal_gains_go_to_the_lower_name() -> None:
    result = simulate(line(2, v0=0, v1=1), Mgm)
    assert result.assignment == {"v0": 1, "v1": 1}
    result = simulate(line(2, size=3, v0=2, v1=1), Mgm)
    assert result.assignment == {"v0": 1, "v1": 1}


def test_checks_and_messages_of_a_run_by_hand() -> None:
    """v1 gains 2 in the first round and moves; then nobody gains. The path's end is 2 from v2, who has most."""
    result = simulate(line(3, v0=0, v1=1, v2=0), Mgm)
    assert [d.message.gain for d in result.log if d.type == "GAIN"][:4] == [1, 2, 2, 1]
    assert result.assignment == {"v0": 0, "v1": 0, "v2": 0}
    rounds = 3 * 2 + 2
    assert result.messages == rounds * 2 * 4
    assert result.virtual_time == rounds * 2
    assert result.checks == rounds * (2 + 4 + 2)
    assert result.nccc == rounds * 4


@pytest.mark.parametrize(
    ("costs", "value", "tolerance", "expected"),
    [
        ([3, 1, 1], 0, 0.0, (1, 2)),
        ([1, 3, 1], 2, 0.0, (2, 0)),
        ([1.0, 1.0 + 1e-13], 1, 1e-12, (1, 0)),
        ([2.5, 1.0, 4.0], 2, 0.0, (1, 3)),
    ],
)
def test_best_values(costs: list[float], value: int, tolerance: float, expected: tuple[int, float]) -> None:
    assert best_value(costs, value, tolerance) == expected
    assert type(best_value(costs, value, tolerance)[1]) is int


# The end ----------------------------------------------------------------------------------------------------------


def ends(graph: Any, numbers: list[int], restless: list[int]) -> list[int]:
    """Return the round in which each agent would end, or -1, if `restless[k]` is not still in round k, then all are."""
    agents = [Stillness(n) for n in numbers]
    for k in range(len(restless) + 5 * len(numbers)):
        told = [SimpleNamespace(gain=0, still=a.still, leader=a.leader, radius=a.radius) for a in agents]
        who = restless[k] if k < len(restless) else -1
        ended = [agent.update(i != who, [told[j] for j in graph[i]]) for i, agent in enumerate(agents)]
        if any(ended):
            return [k if end else -1 for end in ended]
    return [-1] * len(numbers)


def test_all_end_in_one_round_and_not_before_all_are_still() -> None:
    """On random connected graphs, whatever the numbers, and however far away somebody is not still."""
    for seed in range(300):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(2, 12))
        graph = nx.path_graph(n) if seed % 3 == 0 else nx.random_labeled_tree(n, seed=seed)
        if seed % 3 == 2:
            graph.add_edges_from([tuple(rng.choice(n, 2, replace=False)) for _ in range(n)])
        numbers = [int(v) for v in rng.permutation(n) + rng.integers(1000)]
        restless = [int(v) for v in rng.integers(n if seed % 2 else 1, size=rng.integers(4 * n))]
        ended = ends(graph, numbers, restless)
        assert len(set(ended)) == 1, f"seed {seed}: {ended}"
        rounds, diameter = ended[0] + 1, nx.diameter(graph)
        assert len(restless) < rounds <= max(len(restless) + 2 * diameter + 1, 3 * diameter + 2), f"seed {seed}"


def test_a_great_number_far_away_is_waited_for() -> None:
    """The middle of a path hears of nobody greater for long, and takes itself for the leader."""
    n = 21
    numbers = [50 if i == 10 else i for i in range(n - 1)] + [99]
    assert set(ends(nx.path_graph(n), numbers, [0] * 60)) == {60 + 2 * 20}
    assert set(ends(nx.path_graph(n), numbers, [0])) == {3 * 20 + 1}


# What messages say ------------------------------------------------------------------------------------------------


def told_to(problem: Problem, viewer: tuple[str, ...], **params: Any) -> dict[tuple[str, str, int], list[Statement]]:
    """Return what a viewer concludes, by sender, type and round, without what is said of the number of the round."""
    setup = prepare(problem, Mgm, "mgm", params)
    reader = Mgm.reader(ReaderContext.of(setup, viewer))  # type: ignore[misc]
    found: defaultdict[tuple[str, str, int], list[Statement]] = defaultdict(list)
    for d in simulate(problem, Mgm, **params).log:
        if d.src in viewer or d.dst in viewer:
            drawn = [s for s in reader.read(d) if "round" not in s.fields]
            found[d.src, d.type, d.message.round].extend(
                s for s in drawn if s not in found[d.src, d.type, d.message.round]
            )
    return dict(found)


def local(context: dict[str, int], sign: float = 1.0) -> Term:
    return Term(("v1",), "local", context, sign)


def test_a_neighbour_learns_differences_from_moves_and_best_values_from_gains_of_zero() -> None:
    said = told_to(line(3, v0=0, v1=1, v2=0), ("v0",), detect=False, rounds=2)
    assert said["v1", "GAIN", 0][0] == Unanalysed("gain under values that the viewer does not know", ("gain",))
    assert said["v1", "VALUE", 1] == [
        Chosen("best-response", ("value",), "v1", 0, {"v0": 0}, Best("lowest"), 1e6),
        CostIs(
            "gain",
            ("value",),
            (local({"v0": 0, "v1": 1}), local({"v0": 0, "v1": 0}, -1.0)),
            "==",
            2,
            0,
            None,
            "some",
            1e6,
        ),
    ]
    assert said["v1", "GAIN", 1][0] == Chosen("best-response", ("gain",), "v1", 0, {"v0": 0}, Best("any"), 1e6)
    assert said["v1", "GAIN", 1][1] == Nothing("not in use", ("still", "leader", "radius"))


def test_who_knows_all_neighbours_learns_the_gain_exactly() -> None:
    said = told_to(line(3, v0=0, v1=1, v2=0), ("v0", "v1", "v2"), rounds=2)
    context = {"v0": 0, "v2": 0}
    terms = (local({**context, "v1": 1}), local(context, -1.0))
    assert said["v1", "GAIN", 0][0] == CostIs("gain", ("gain",), terms, "==", 2, 0, None, "best", 1e6)
    assert said["v1", "GAIN", 0][1] == Unanalysed("how long nobody nearby could gain", ("still",))
