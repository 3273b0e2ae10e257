"""Small problems, solvers that say what a test wants, and what `consistent` must find of them: by enumeration."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import numpy as np
import pytest

from agentsim import (
    Constraint,
    Domain,
    Problem,
    Variable,
    simulate,
)
from agentsim.runtime.reading import make_reader
from agentsim.runtime.registry import find
from agentsim.runtime.setup import prepare
from agentsim.runtime.statements import (
    Chosen,
    CostIs,
    CostTable,
    Statement,
)
from agentsim.runtime.view import Setup
from agentsim.testing import Truth, random_problem
from privacy.adversaries.consistent import Consistent
from privacy.adversaries.profiles import loss
from privacy.vps.prior import make_prior


def found(problem: Problem, solver: Any, **options: Any) -> dict[str, Any]:
    return simulate(problem, solver, observers=[(Consistent, options)]).findings["consistent"]


def chain(agents: tuple[str, ...] = ("a", "b", "c"), u: int = 3) -> Problem:
    """Return x - y - z with unary costs from 1 to u, of which the actual ones are (1, 2), (2, 1), (2, 2)."""
    d = Domain("d", (0, 1))
    variables = [
        Variable(n, d, a, np.array(costs), cost_range=(1, u))
        for n, a, costs in zip("xyz", agents, ([1, 2], [2, 1], [2, 2]), strict=True)
    ]
    table = np.array([[2, 0], [0, 2]])
    tables = [Constraint("xy", ("x", "y"), table), Constraint("yz", ("y", "z"), table)]
    return Problem.build(variables, tables)


def tiny(rng: np.random.Generator, most: int = 400, forbid: float = 0.1) -> Problem:
    """Return a random problem of whole-number costs with at most so many profiles of private costs.

    Of the private costs a share of `forbid` is infinite.
    """
    while True:
        problem = random_problem(rng, max_variables=4)
        if problem.integral:
            break
    sense = 1 if problem.objective == "min" else -1
    low, profiles = int(rng.integers(-2, 3)), 1
    variables = []
    for v in problem.variables.values():
        u = int(rng.integers(2, 4))
        unary = None
        if profiles * u**v.size <= most:
            unary = low + rng.integers(0, u, v.size).astype(float)
            unary[rng.random(v.size) < forbid] = sense * math.inf
            profiles *= u**v.size
        declared = (low, low + u - 1) if rng.random() < 0.7 else None
        variables.append(dataclasses.replace(v, unary=unary, cost_range=None if unary is None else declared))
    return Problem.build(
        variables, problem.constraints.values(), objective=problem.objective, agents=problem.agents, constant=2
    )


# Against enumeration -------------------------------------------------------------------------------------------------


def profiles_of(setup: Setup, known: set[str], given: Any = None) -> Iterator[tuple[dict[str, Any], Setup]]:
    """Yield every profile of the others' private costs, and the setup of the problem that has it."""
    prior = make_prior(setup, given)
    problem = setup.problem
    names = [n for n in prior.scales if problem.variables[n].agent not in known]
    choices = []
    for name in names:
        scale, unary = prior.scales[name], problem.variables[name].unary
        levels = [setup.sense * scale.least(level) for level in range(1, scale.levels + 1)]
        choices.append(list(product(*(levels if np.isfinite(c) else [c] for c in unary))))
    offsets = (setup.unary_offsets, setup.constraint_offsets)
    for combination in product(*choices):
        profile = dict(zip(names, combination, strict=True))
        other = Problem.build(
            [
                dataclasses.replace(v, unary=np.array(profile[v.name])) if v.name in profile else v
                for v in problem.variables.values()
            ],
            problem.constraints.values(),
            objective=problem.objective,
            agents=problem.agents,
            constant=problem.constant,
        )
        yield profile, dataclasses.replace(setup, problem=other, published_offsets=offsets)


def heard(result: Any, solver: Any, setup: Setup, viewer: set[str]) -> list[Statement]:
    """Return the statements on costs and choices that a viewer draws from what others sent to it, each once."""
    nodes = tuple(n for n, agent in setup.nodes.items() if agent in viewer)
    reader = make_reader(solver, setup, nodes)
    assert reader is not None
    statements: dict[str, Statement] = {}
    for delivery in result.log:
        if delivery.src not in nodes and delivery.dst not in nodes:
            continue
        drawn = list(reader.read(delivery))
        if delivery.src not in nodes:
            statements.update((repr(s), s) for s in drawn if isinstance(s, (CostIs, CostTable, Chosen)))
    return list(statements.values())


def enumerated(setup: Setup, viewer: set[str], statements: list[Statement], given: Any = None) -> tuple[int, list[Any]]:
    """Return the number of all profiles of the others, and those under which all statements are true."""
    count, left = 0, []
    for profile, other in profiles_of(setup, viewer, given):
        count += 1
        truth = Truth(other)
        if all(truth.holds(s) for s in statements):
            left.append(profile)
    return count, left


def entropy(counts: Any) -> float:
    shares = np.array(list(counts), float) / sum(counts)
    return float(-(shares * np.log2(shares)).sum())


def tally(items: Any) -> dict[Any, int]:
    counts: dict[Any, int] = {}
    for item in items:
        counts[item] = counts.get(item, 0) + 1
    return counts


def check_against_enumeration(
    problem: Problem,
    solver: Any,
    viewers: Mapping[str, set[str]],
    what: dict[str, Any],
    result: Any,
    metric: str,
    **params: Any,
) -> None:
    cls = find("solvers", solver) if isinstance(solver, str) else solver
    setup = prepare(problem, cls, str(solver), params)
    prior = make_prior(setup)
    owner = {name: problem.variables[name].agent for name in prior.scales}
    for name, viewer in viewers.items():
        count, left = enumerated(setup, viewer, heard(result, cls, setup, viewer))
        actual = {n: tuple(problem.variables[n].unary) for n in prior.scales if owner[n] not in viewer}
        assert actual in [{n: tuple(map(float, c)) for n, c in p.items()} for p in left], "the truth is excluded"
        assert what["method"][name] == "exact"
        assert what["joint"][name] == pytest.approx(math.log2(count) - math.log2(len(left)), abs=1e-9)
        assert what["left"][name] * count == what["profiles"][name] * len(left)
        assert set(what["matrix"][name]) == {owner[n] for n in actual}
        for subject, lost in what["matrix"][name].items():
            names = [n for n in actual if owner[n] == subject]
            before = after = expected = 0.0
            for n in names:
                u = prior.scales[n].levels
                for value, cost in enumerate(actual[n]):
                    if np.isfinite(cost):
                        counts = tally(p[n][value] for p in left)
                        chances = np.zeros(u)
                        chances[: len(counts)] = np.array(list(counts.values())) / len(left)
                        expected += loss(metric, np.full(u, 1 / u), chances)
                        before += math.log2(u)
            after = entropy(tally(tuple(p[n] for n in names) for p in left).values())
            assert lost == pytest.approx(expected, abs=1e-9)
            assert what["together"][name][subject] == pytest.approx(before - after, abs=1e-8)
            if metric == "entropy":
                assert lost <= what["together"][name][subject] + 1e-8
                assert what["together"][name][subject] <= what["joint"][name] + 1e-8
        points = what["curve"][name]
        assert points == sorted(points), "time passes and the loss never falls"
        assert all(bits > 0 for _, bits in points)
        assert (points[-1][1] if points else 0.0) == what["joint"][name]


def wide(seed: int) -> Problem:
    """Return a tree of five with costs 0..3: thousands of combinations in one message, too few to be hard to count."""
    rng = np.random.default_rng(seed)
    d = Domain("d", (0, 1))
    variables = [Variable(f"x{i}", d, unary=rng.integers(0, 4, 2), cost_range=(0, 3)) for i in range(5)]
    edges = [(0, 1), (1, 2), (1, 3), (0, 4)]
    tables = [Constraint(f"c{i}{j}", (f"x{i}", f"x{j}"), rng.integers(0, 4, (2, 2))) for i, j in edges]
    return Problem.build(variables, tables)
