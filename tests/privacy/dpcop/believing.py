"""Runs, and what agents believe after them of the others' private costs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

import agentsim
from agentsim.dcop.problem import Constraint, Cost, Domain, Problem, Variable
from agentsim.record.reader import Log
from agentsim.runtime.agent import Agent
from agentsim.runtime.reading import make_reader
from agentsim.runtime.setup import prepare
from agentsim.runtime.statements import Statement
from agentsim.runtime.view import Setup
from privacy.dpcop.belief import Belief, PrivateCosts
from privacy.dpcop.model import Dpcop, Secret

Possible = tuple[Cost, Cost] | Literal["hard"] | None

BIT = Domain("bit", (0, 1))


def setup_of(problem: Problem, solver: type[Agent], **params: object) -> Setup:
    return prepare(problem, solver, solver.__name__, params)


def heard(setup: Setup, solver: type[Agent], log: Log, *agents: str) -> Iterator[list[Statement]]:
    """Yield what each delivery from others tells some agents, who share their mail."""
    reader = make_reader(solver, setup, [node for node, owner in setup.nodes.items() if owner in agents])
    assert reader is not None
    for delivery in log:
        src, dst = setup.nodes[delivery.src], setup.nodes[delivery.dst]
        if src in agents or dst in agents:
            statements = list(reader.read(delivery))
            if src not in agents:
                yield statements


def belief_of(dpcop: Dpcop, setup: Setup, solver: type[Agent], log: Log, *agents: str) -> Belief:
    """Return what some agents believe after a run."""
    belief = Belief(PrivateCosts(dpcop, setup), agents)
    for statements in heard(setup, solver, log, *agents):
        belief.hear(statements)
    return belief


def foreign(dpcop: Dpcop, *agents: str) -> list[Secret]:
    """Return the secrets of all others."""
    return [secret for agent, stake in dpcop.stakes.items() if agent not in agents for secret in stake.secrets]


def check_truth(dpcop: Dpcop, solver: type[Agent], seed: int, **params: object) -> tuple[int, int]:
    """Check that every agent thinks every true cost possible; return how many secrets are known, and in part."""
    result = agentsim.simulate(dpcop.problem, solver, seed=seed, max_messages=1000, **params)
    setup = setup_of(dpcop.problem, solver, **params)
    known = in_part = 0
    for agent in dpcop.problem.agents:
        belief = belief_of(dpcop, setup, solver, result.log, agent)
        assert not belief.contradicted, (seed, agent)
        for secret in foreign(dpcop, agent):
            chances = belief.distribution(secret)
            assert chances[belief.true_level(secret)] > 0, (seed, agent, secret, chances)
            assert math.isclose(sum(chances), 1)
            if len(chances) > 1:
                known += max(chances) == 1
                in_part += 1 / len(chances) + 1e-9 < max(chances) < 1
    return known, in_part


def small_problem(seed: int) -> Problem:
    """Return a problem with two or three variables of two values, and few private costs of declared ranges."""
    rng = np.random.default_rng(seed)
    objective: Literal["min", "max"] = "min" if rng.random() < 0.6 else "max"
    worst = math.inf if objective == "min" else -math.inf
    n, agents = int(rng.integers(2, 4)), ["a", "b", "c"][: int(rng.integers(2, 4))]
    left = 6  # private entries to come

    def table(shape: tuple[int, ...]) -> tuple[Any, tuple[int, int] | None]:
        nonlocal left
        left -= math.prod(shape)
        if rng.random() < 0.4:  # hard
            costs = np.where(rng.random(shape) < 0.5, worst, 0.0)
            costs.flat[:2] = worst, 0
            return costs, None
        low = int(rng.integers(-2, 2))
        high = low + int(rng.integers(1, 3))
        costs = rng.integers(low, high + 1, shape).astype(float)
        if rng.random() < 0.2:
            costs.flat[0] = worst
        return costs, (low, high)

    variables = []
    for i in range(n):
        unary, bounds = table((2,)) if rng.random() < 0.5 else (None, None)
        variables.append(Variable(f"x{i}", BIT, agents[int(rng.integers(len(agents)))], unary=unary, cost_range=bounds))
    constraints = []
    for i in range(n - 1):
        costs = rng.integers(0, 4, (2, 2)).astype(float)
        costs[0, 1] = worst if rng.random() < 0.3 else 0
        constraints.append(Constraint(f"c{i}", (f"x{i}", f"x{i + 1}"), costs, known_to="all", cost_range=(0, 3)))
    taken = {(v.agent, frozenset([v.name])) for v in variables}
    for k in range(4):
        arity = 2 if left >= 4 and rng.random() < 0.5 else 1
        scope = tuple(f"x{int(i)}" for i in rng.choice(n, arity, replace=False))
        owner = agents[int(rng.integers(len(agents)))]
        if left >= 2**arity and (owner, frozenset(scope)) not in taken:
            taken.add((owner, frozenset(scope)))
            costs, bounds = table((2,) * arity)
            constraints.append(Constraint(f"p{k}", scope, costs, owner=owner, cost_range=bounds))
    return Problem.build(variables, constraints, objective=objective, agents=agents)
