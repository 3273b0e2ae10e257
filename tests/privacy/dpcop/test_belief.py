"""Beliefs: never exclude the truth, and are exactly what brute force over all private costs gives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

import agentsim
from agentsim.dcop.problem import Constraint, Cost, Problem
from agentsim.runtime.agent import Agent
from agentsim.runtime.statements import Best, Chosen, CostIs, CostTable, Statement
from agentsim.testing import Truth, random_problem
from privacy.dpcop import belief as belief_module
from privacy.dpcop.belief import Belief
from privacy.dpcop.model import Dpcop, Secret, priced, private_tables
from solvers.adopt import Adopt
from solvers.adopt_plus import AdoptPlus
from solvers.bnb_adopt import BnBAdopt
from solvers.brute_force import BruteForce
from solvers.dpop import Dpop
from solvers.dsa import Dsa
from solvers.leader import Leader
from solvers.maxsum import MaxSum
from solvers.mgm import Mgm
from solvers.mgm2 import Mgm2
from solvers.n_leaders import NLeaders
from solvers.once import Once
from solvers.synchbb import SynchBB
from tests.privacy.dpcop.believing import Possible, belief_of, check_truth, heard, setup_of, small_problem

# The truth is never excluded ------------------------------------------------------------------------------------------


def random_dpcop(seed: int) -> Dpcop:
    """Return a small random DPCOP in which all private entries are secrets.

    Several agents have secrets on one variable, alone or together with others, and one agent has no variable; secrets
    are hard in some problems; ranges are declared or not, by agent.
    """
    rng = np.random.default_rng(seed)
    base = random_problem(rng, max_variables=4, max_cells=81)
    while not base.integral:
        base = random_problem(rng, max_variables=4, max_cells=81)
    names, agents = list(base.variables), [*base.agents, "guest"]
    worst = math.inf if base.objective == "min" else -math.inf
    hard = float(rng.choice([0.0, 0.5, 1.0]))  # share of hard functions
    owned = []
    for k in range(int(rng.integers(1, 5))):
        arity = min(len(names), int(rng.choice([1, 1, 1, 2, 2, 3])))
        scope = tuple(names[int(i)] for i in rng.choice(len(names), arity, replace=False))
        shape = tuple(base.variables[v].size for v in scope)
        table = rng.integers(0, 4, shape).astype(float)
        if rng.random() < hard:
            table[:] = 0
        table[rng.random(shape) < (0.4 if hard else 0.1)] = worst
        owned.append(Constraint(f"p{k}", scope, table, owner=agents[int(rng.integers(len(agents)))]))
    problem = Problem.build(
        base.variables.values(),
        [*base.constraints.values(), *owned],
        objective=base.objective,
        agents=agents,
        constant=base.constant,
    )
    dpcop = priced(problem, seed=seed)
    declared = {agent: declaration(problem, agent, rng) for agent in dpcop.stakes}
    return replace(dpcop, stakes={a: replace(s, possible=declared[a]) for a, s in dpcop.stakes.items()})


def declaration(problem: Problem, agent: str, rng: np.random.Generator) -> Possible:
    """Return a range of an agent's private costs, "hard" where that is true of them, or nothing."""
    entries = np.concatenate([table.ravel() for table in private_tables(problem)[agent].values()])
    finite = entries[np.isfinite(entries)]
    choice = int(rng.integers(3))
    if choice == 1 and not finite.any():
        return "hard"
    if choice == 0 or finite.size < entries.size:
        return None
    return int(finite.min()) - int(rng.integers(2)), int(finite.max()) + int(rng.integers(2))


@pytest.mark.parametrize(
    ("solver", "problems"),
    [
        (Leader, 50),
        (NLeaders, 30),
        (SynchBB, 30),
        (Dpop, 30),
        (Adopt, 20),
        (AdoptPlus, 15),
        (BnBAdopt, 15),
        (BruteForce, 30),
        (Mgm, 15),
        (Mgm2, 6),
        (Dsa, 4),
        (MaxSum, 4),
        (Once, 15),
    ],
)
def test_the_true_costs_stay_possible(solver: type[Agent], problems: int) -> None:
    counts = [check_truth(random_dpcop(seed), solver, seed) for seed in range(problems)]
    if solver.complete:  # something is learnt, so that the test tells something
        assert sum(known for known, _ in counts) > problems
        assert sum(in_part for _, in_part in counts) > 0


@pytest.mark.parametrize(("solver", "params"), [(Leader, {"publish": "totals"}), (Leader, {"avoid": True})])
def test_the_true_costs_stay_possible_whatever_is_asked_and_published(
    solver: type[Agent], params: dict[str, Any]
) -> None:
    for seed in range(100, 120):
        check_truth(random_dpcop(seed), solver, seed, **params)


def test_the_truth_stays_possible_where_facts_are_put_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(belief_module, "LIMIT", 30)
    for seed in range(200, 216):
        check_truth(random_dpcop(seed), (NLeaders, SynchBB, Dpop, BruteForce)[seed % 4], seed)


# Beliefs are exact ----------------------------------------------------------------------------------------------------


Entry = tuple[str, tuple[str, ...], tuple[int, ...]]  # agent, scope, cell


def possible_costs(problem: Problem, *but: str) -> dict[Entry, list[Cost]]:
    """Return what is publicly possible of each private entry of all agents but some, in ascending minimised order."""
    sense = 1 if problem.objective == "min" else -1
    functions = [(v.agent, (v.name,), v.unary, v.cost_range) for v in problem.variables.values()]
    functions += [(c.owner or "", c.scope, c.table, c.cost_range) for c in problem.constraints.values() if c.owner]
    entries: dict[Entry, list[Cost]] = {}
    for agent, scope, table, bounds in functions:
        if agent in but or table is None:
            continue
        for cell in np.ndindex(table.shape):
            if bounds is None:
                entries[agent, scope, cell] = [0, sense * math.inf]
            elif math.isfinite(table[cell]):
                entries[agent, scope, cell] = list(range(bounds[0], bounds[1] + 1))[::sense]
    return entries


def secret_at(dpcop: Dpcop, entry: Entry) -> Secret:
    agent, scope, cell = entry
    wanted = dict(zip(scope, cell, strict=True))
    return next(s for s in dpcop.stakes[agent].secrets if dict(s.entry) == wanted)


def check_shares(belief: Belief, dpcop: Dpcop, options: dict[Entry, list[Cost]], left: Sequence[Sequence[Cost]]) -> int:
    """Compare beliefs with the share of each cost among the profiles that are left; return the number of known ones."""
    assert left
    known = 0
    for k, (entry, costs) in enumerate(options.items()):
        expected = [sum(profile[k] == cost for profile in left) / len(left) for cost in costs]
        assert belief.distribution(secret_at(dpcop, entry)) == pytest.approx(tuple(expected)), entry
        known += len(costs) > 1 and max(expected) == 1
    return known


@pytest.mark.parametrize("leader", ["a", "b"])
def test_the_leaders_belief_is_what_all_answers_leave(leader: str) -> None:
    """Answers are compared here with sums of all private costs within the ranges, without statements or readers."""
    known = 0
    for seed in range(30):
        problem = small_problem(seed)
        dpcop = priced(problem)
        result = agentsim.simulate(problem, Leader, leader=leader)
        setup = setup_of(problem, Leader, leader=leader)
        belief = belief_of(dpcop, setup, Leader, result.log, leader)
        assert belief.exact
        names = list(problem.variables)
        asked: dict[str, tuple[int, ...]] = {}
        answers: dict[str, list[tuple[dict[str, int], Cost]]] = {}
        for d in result.log:
            if d.type == "ASK":
                asked[d.dst] = d.message.values
            elif d.type == "ANSWER":
                cost = setup.sense * (d.message.cost - setup.share_offset(d.src))
                answers.setdefault(setup.nodes[d.src], []).append((dict(zip(names, asked[d.src], strict=True)), cost))
        for agent in problem.agents:
            if agent == leader:
                continue
            options = possible_costs(problem, *(other for other in problem.agents if other != agent))
            at = {(scope, cell): k for k, (_, scope, cell) in enumerate(options)}
            scopes = [scope for scope in private_tables(problem).get(agent, {})]
            left = []
            for profile in product(*options.values()):
                fits = True
                for values, cost in answers.get(agent, []):
                    total: Cost = 0
                    for scope in scopes:
                        named = next((s for s, _ in at if set(s) == set(scope)), scope)
                        k = at.get((named, tuple(values[v] for v in named)))
                        total += profile[k] if k is not None else setup.sense * math.inf
                    fits = fits and total == cost
                if fits:
                    left.append(profile)
            known += check_shares(belief, dpcop, options, left)
    assert known > 30


@pytest.mark.parametrize("solver", [Leader, NLeaders, SynchBB, Dpop, Adopt, BruteForce])
def test_beliefs_are_what_all_statements_leave(solver: type[Agent]) -> None:
    """Each statement is held against the truth of a problem with other private costs, for all of them."""
    known = cases = 0
    for seed in range(100, 130):
        problem = small_problem(seed)
        viewer = problem.agents[seed % len(problem.agents)]
        options = possible_costs(problem, viewer)
        if not 1 < math.prod(map(len, options.values())) <= 40:
            continue
        cases += 1
        params = {"publish": "totals"} if solver is Leader else {}
        dpcop = priced(problem)
        result = agentsim.simulate(problem, solver, **params)
        setup = setup_of(problem, solver, **params)
        belief = belief_of(dpcop, setup, solver, result.log, viewer)
        assert belief.exact
        said = {repr(s): s for told in heard(setup, solver, result.log, viewer) for s in told if is_used(s)}
        left = []
        for profile in product(*options.values()):
            other = with_costs(problem, dict(zip(options, profile, strict=True)))
            truth = Truth(setup_of(other, solver, **params))
            if all(truth.holds(statement) for statement in said.values()):
                left.append(profile)
        known += check_shares(belief, dpcop, options, left)
    assert cases > 5
    assert known > 5


def is_used(statement: Statement) -> bool:
    return isinstance(statement, CostIs | CostTable) or (
        isinstance(statement, Chosen) and isinstance(statement.law, Best)
    )


def with_costs(problem: Problem, costs: dict[Entry, Cost]) -> Problem:
    """Return the problem with other private costs."""
    tables = {c.scope: c.table.astype(float) for c in problem.constraints.values() if c.owner}
    own = {v.name: v.unary.astype(float) for v in problem.variables.values() if v.unary is not None}
    by_owner = {(c.owner, c.scope): c.name for c in problem.constraints.values() if c.owner}
    changed = {name: problem.constraints[name].table.astype(float) for name in by_owner.values()}
    assert len(by_owner) == len(changed) >= len(tables)
    for (agent, scope, cell), cost in costs.items():
        name = by_owner.get((agent, scope))
        (changed[name] if name is not None else own[scope[0]])[cell] = cost
    variables = {name: replace(v, unary=own.get(name)) for name, v in problem.variables.items()}
    constraints = {
        name: replace(c, table=changed[name]) if name in changed else c for name, c in problem.constraints.items()
    }
    return replace(problem, variables=variables, constraints=constraints)
