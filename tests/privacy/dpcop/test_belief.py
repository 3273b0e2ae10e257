"""Beliefs: never exclude the truth, and are exactly what brute force over all private costs gives."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, Literal

import numpy as np
import pytest

import agentsim
from agentsim.dcop.problem import Constraint, Cost, Domain, Problem, Variable
from agentsim.errors import UserError
from agentsim.record.reader import Log
from agentsim.runtime.agent import Agent
from agentsim.runtime.reading import make_reader
from agentsim.runtime.setup import prepare
from agentsim.runtime.statements import Best, Chosen, CostIs, CostTable, Statement, Term, Unanalysed
from agentsim.runtime.view import Setup
from agentsim.testing import Truth, random_problem
from privacy.dpcop import belief as belief_module
from privacy.dpcop.belief import Belief, PrivateCosts, revealed
from privacy.dpcop.model import Dpcop, Secret, Stake, priced, private_tables
from privacy.dpcop.prices import AdditivePrices
from privacy.dpcop.revelation import Distributions, KnownSecrets, Probabilities
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


# Single cases ---------------------------------------------------------------------------------------------------------


def two_of_bob(
    high: Cost = 3, first: Sequence[float] = (1, 0), second: Sequence[float] = (1, 3), **build: Any
) -> Problem:
    """Return a problem in which Bob has private costs of two variables of Ann's."""
    variables = [Variable("x", BIT, "ann"), Variable("y", BIT, "ann")]
    constraints = [
        Constraint("bx", ("x",), first, owner="bob", cost_range=(0, high)),
        Constraint("by", ("y",), second, owner="bob", cost_range=(0, high)),
    ]
    return Problem.build(variables, constraints, agents=("ann", "bob"), **build)


def answer(setup: Setup, cost: Cost, **values: int) -> CostIs:
    """Return the statement of Bob's answer."""
    return CostIs("answer", ("cost",), (Term(("bob",), "share", values),), "==", cost)


def about(dpcop: Dpcop, **entry: int) -> Secret:
    return next(s for s in dpcop.stakes["bob"].secrets if dict(s.entry) == entry)


def test_a_sum_of_two_secrets() -> None:
    dpcop = priced(two_of_bob())
    setup = setup_of(dpcop.problem, Leader)
    belief = Belief(PrivateCosts(dpcop, setup), ("ann",))
    assert belief.distribution(about(dpcop, x=0)) == (0.25,) * 4
    assert belief.hear([answer(setup, 2, x=0, y=0)])  # 0+2, 1+1, 2+0
    assert belief.distribution(about(dpcop, x=0)) == pytest.approx((1 / 3, 1 / 3, 1 / 3, 0))
    assert belief.distribution(about(dpcop, y=0)) == pytest.approx((1 / 3, 1 / 3, 1 / 3, 0))
    assert belief.distribution(about(dpcop, x=1)) == (0.25,) * 4
    assert not belief.hear([answer(setup, 2, x=0, y=0)])
    assert belief.hear([answer(setup, 4, x=0, y=1)])  # the first is 1 at least, the second 2 at least
    assert belief.distribution(about(dpcop, x=0)) == (0, 0.5, 0.5, 0)
    assert belief.distribution(about(dpcop, y=0)) == (0.5, 0.5, 0, 0)
    assert belief.distribution(about(dpcop, y=1)) == (0, 0, 0.5, 0.5)
    assert [belief.true_level(about(dpcop, **e)) for e in ({"x": 0}, {"y": 0}, {"y": 1})] == [1, 1, 3]


def test_the_three_forms_of_what_is_revealed() -> None:
    dpcop = priced(two_of_bob(second=(1, 0)))
    setup = setup_of(dpcop.problem, Leader)
    belief = Belief(PrivateCosts(dpcop, setup), ("ann",))
    secrets = dpcop.stakes["bob"].secrets
    belief.hear([answer(setup, 2, x=0, y=0)])
    assert revealed({"ann": belief}, secrets, "full") == KnownSecrets()
    chances = revealed({"ann": belief}, secrets, "probability")
    assert isinstance(chances, Probabilities)
    assert chances.share("ann", "x=0") == pytest.approx((1 / 3 - 1 / 4) / (1 - 1 / 4))
    assert chances.share("ann", "x=1") == 0
    bits = revealed({"ann": belief}, secrets, "bits")
    assert isinstance(bits, Distributions)
    assert bits.share("ann", "x=0") == pytest.approx(1 - math.log2(3) / 2)
    assert bits.share("ann", "x=1") == 0
    belief.hear([answer(setup, 0, x=1, y=1)])  # both are 0
    assert revealed({"ann": belief}, secrets, "full") == KnownSecrets({"ann": frozenset({"x=1", "y=1"})})
    belief.hear([answer(setup, 1, x=0, y=1)])
    for pricing in ("full", "bits", "probability"):
        everything = revealed({"ann": belief}, secrets, pricing)  # type: ignore[arg-type]  # a literal
        assert all(everything.share("ann", secret.name) == 1 for secret in secrets)


def test_a_belief_that_the_true_cost_is_unlikely_reveals_nothing_of_it() -> None:
    """Of 0+3, 1+2, 2+1 and 3+0 three have at least 1 for x=0; told that its sum with y=1 is 4, at least 1 is sure."""
    dpcop = priced(two_of_bob(first=(3, 0), second=(0, 0)))
    setup = setup_of(dpcop.problem, Leader)
    belief = Belief(PrivateCosts(dpcop, setup), ("ann",))
    statement = replace(answer(setup, 4, x=0, y=0), relation="<=")
    assert belief.hear([statement])
    secret = about(dpcop, x=0)
    assert belief.distribution(secret)[belief.true_level(secret)] == pytest.approx(2 / 13)  # 3+0 and 3+1
    assert revealed({"ann": belief}, [secret], "probability") == Probabilities()


def test_a_lie_that_fits_no_costs_is_noticed_and_counts_for_nothing() -> None:
    dpcop = priced(two_of_bob())
    setup = setup_of(dpcop.problem, Leader)
    belief = Belief(PrivateCosts(dpcop, setup), ("ann",))
    belief.hear([answer(setup, 7, x=0, y=0)])  # two costs of at most 3
    assert belief.contradicted
    assert not belief.hear([answer(setup, 2, x=0, y=0)])
    for pricing in ("full", "bits", "probability"):
        nothing = revealed({"ann": belief}, dpcop.stakes["bob"].secrets, pricing)  # type: ignore[arg-type]  # a literal
        assert nothing == revealed({}, (), pricing)  # type: ignore[arg-type]


@pytest.mark.parametrize("objective", ["min", "max"])
def test_hard_secrets(objective: Literal["min", "max"]) -> None:
    worst = math.inf if objective == "min" else -math.inf
    x, y = Variable("x", BIT, "ann"), Variable("y", BIT, "ann")
    tables = [Constraint("bx", ("x",), [worst, 0], owner="bob"), Constraint("by", ("y",), [worst, 0], owner="bob")]
    dpcop = priced(Problem.build([x, y], tables, objective=objective, agents=("ann", "bob")))
    setup = setup_of(dpcop.problem, Leader)
    costs = PrivateCosts(dpcop, setup)
    assert costs.notes == ()
    belief = Belief(costs, ("ann",))
    assert belief.distribution(about(dpcop, x=0)) == (0.5, 0.5)
    belief.hear([answer(setup, math.inf, x=0, y=0)])  # one of them, or both
    assert belief.distribution(about(dpcop, x=0)) == pytest.approx((1 / 3, 2 / 3))
    assert [belief.true_level(about(dpcop, x=value)) for value in (0, 1)] == [1, 0]
    belief.hear([answer(setup, 0, x=1, y=1)])
    assert belief.distribution(about(dpcop, x=1)) == (1, 0)
    belief.hear([answer(setup, math.inf, x=0, y=1)])  # y=1 costs nothing
    assert belief.distribution(about(dpcop, x=0)) == (0, 1)
    assert belief.distribution(about(dpcop, y=0)) == (0.5, 0.5)


def test_what_is_forbidden_is_public_unless_secrets_are_hard() -> None:
    dpcop = priced(two_of_bob(first=(math.inf, 2)))
    setup = setup_of(dpcop.problem, Leader)
    belief = Belief(PrivateCosts(dpcop, setup), ("ann",))
    assert belief.distribution(about(dpcop, x=0)) == (1.0,)
    assert belief.true_level(about(dpcop, x=0)) == 0
    assert revealed({"ann": belief}, dpcop.stakes["bob"].secrets, "full") == KnownSecrets()
    assert not belief.hear([answer(setup, math.inf, x=0, y=0)])


def test_whether_zeros_and_infinities_are_hard_is_for_the_declared_range_to_say() -> None:
    """A range of costs that are not 0 makes an entry that is 0 a cost like others, and the forbidden one public."""
    for bounds, size in (((0, 3), 4), ((0, 0), 2), (None, 2)):
        table = Constraint("bx", ("x",), [0, math.inf], owner="bob", cost_range=bounds)
        dpcop = priced(Problem.build([Variable("x", BIT, "ann")], [table]))
        belief = Belief(PrivateCosts(dpcop, setup_of(dpcop.problem, Leader)), ("ann",))
        assert len(belief.distribution(about(dpcop, x=0))) == size


def test_two_functions_of_one_agent_over_the_same_variables_are_one_secret() -> None:
    """Their sum is what is secret: ranges add up, and all solvers speak of both at once."""
    x, y = Variable("x", BIT, "ann"), Variable("y", Domain("three", (0, 1, 2)), "ann")
    tables = [
        Constraint("one", ("x", "y"), [[0, 1, 2], [2, 2, 0]], owner="bob", cost_range=(0, 2)),
        Constraint("two", ("y", "x"), [[1, 0], [0, 1], [1, math.inf]], owner="bob", cost_range=(0, 1)),
    ]
    problem = Problem.build([x, y], tables)
    dpcop = priced(problem)
    assert len(dpcop.stakes["bob"].secrets) == 6
    for solver in (Leader, Dpop, SynchBB):
        setup = setup_of(problem, solver)
        belief = Belief(PrivateCosts(dpcop, setup), ("ann",))
        levels = [[belief.true_level(about(dpcop, x=a, y=b)) for b in range(3)] for a in range(2)]
        assert levels == [[1, 1, 3], [2, 3, 0]]
        assert len(belief.distribution(about(dpcop, x=0, y=0))) == 4
        assert len(belief.distribution(about(dpcop, x=1, y=2))) == 1
        check_truth(dpcop, solver, 0)


def test_which_part_of_a_secret_is_forbidden_matters_where_forbidden_tuples_count_a_number() -> None:
    """MGM-2's offers count 1,000,000 for each forbidden cost function, and Bob has two over the same variables."""
    x, y = Variable("x", Domain("one", (0,)), "ann"), Variable("y", BIT, "bob")
    tables = [
        Constraint("one", ("y", "x"), [[3], [-math.inf]], owner="bob"),
        Constraint("two", ("x", "y"), [[3, 1]], owner="bob"),
        Constraint("public", ("x", "y"), [[9, 8]]),
    ]
    problem = Problem.build([x, y], tables, objective="max")
    dpcop = priced(problem)
    setup = setup_of(problem, Mgm2)
    belief = Belief(PrivateCosts(dpcop, setup), ("ann",))
    terms = (
        Term(("y",), "local", {"x": 0, "x@bob": 0, "y": 0}),
        Term(("y",), "local", {"x": 0, "x@bob": 0, "y": 1}, -1.0),
    )
    gain = -9 - 3 - 3 - (-8 + 1_000_000 - 1)
    statement = CostIs("gain", ("gain",), terms, "==", gain, others="some", forbidden=1_000_000)
    assert Truth(setup).holds(statement)
    belief.hear([statement])
    assert not belief.contradicted
    for value in (0, 1):
        secret = about(dpcop, x=0, y=value)
        assert belief.distribution(secret)[belief.true_level(secret)] > 0


def test_ranges_that_nobody_declared_are_noted() -> None:
    problem = two_of_bob()
    undeclared = [replace(c, cost_range=None) for c in problem.constraints.values()]
    dpcop = priced(Problem.build(problem.variables.values(), undeclared))
    costs = PrivateCosts(dpcop, setup_of(dpcop.problem, Leader))
    assert len(costs.notes) == 1
    assert "2 of 2" in costs.notes[0]
    assert "between 0 and 3" in costs.notes[0]
    assert Belief(costs, ("ann",)).distribution(about(dpcop, x=0)) == (0.25,) * 4
    one = Problem.build(problem.variables.values(), [undeclared[0], problem.constraints["by"]])
    assert "1 of 2" in PrivateCosts(priced(one), setup_of(one, Leader)).notes[0]
    assert PrivateCosts(priced(problem), setup_of(problem, Leader)).notes == ()


def test_the_range_of_a_stake_comes_first() -> None:
    dpcop = priced(two_of_bob(), possible=(-2, 7))
    costs = PrivateCosts(dpcop, setup_of(dpcop.problem, Leader))
    assert costs.notes == ()
    assert Belief(costs, ("ann",)).distribution(about(dpcop, x=0)) == (0.1,) * 10


def test_what_is_told_and_not_used_is_counted() -> None:
    dpcop = priced(two_of_bob())
    setup = setup_of(dpcop.problem, Leader)
    belief = Belief(PrivateCosts(dpcop, setup), ("ann",))
    belief.hear([Unanalysed("that it is better", ("values",))])
    assert belief.unused == {"that it is better"}
    assert belief.exact
    belief.hear([CostIs("answer", ("cost",), (Term(("bob",), "unknown", {"x": 0}),), "==", 2)])
    assert not belief.exact


def test_who_shares_what_it_knows_believes_no_less() -> None:
    """Each of the others alone, and all of them together."""
    for seed in range(300, 315):
        problem = small_problem(seed)
        dpcop = priced(problem)
        if len(problem.agents) < 3:
            continue
        result = agentsim.simulate(problem, NLeaders)
        setup = setup_of(problem, NLeaders)
        alone = belief_of(dpcop, setup, NLeaders, result.log, "b")
        together = belief_of(dpcop, setup, NLeaders, result.log, "b", "c")
        for secret in foreign(dpcop, "b", "c"):
            one, both = alone.distribution(secret), together.distribution(secret)
            assert all(more == 0 for more, less in zip(both, one, strict=True) if less == 0)


@pytest.mark.parametrize(
    ("problem", "possible", "message"),
    [
        (two_of_bob(first=(0.5, 1)), None, "costs must be whole numbers"),
        (two_of_bob(high=2), None, "the costs of by lie between 1 and 3, outside of their declared range from 0 to 2"),
        (two_of_bob(), (0, 10**6), "1000001 possible costs of bx, more than 100000: narrow its range"),
        (two_of_bob(high=10**12, first=(0, 10**12)), (0, 10**12), "possible costs of bx"),
    ],
)
def test_what_cannot_be_counted_is_refused(problem: Problem, possible: Possible, message: str) -> None:
    dpcop = priced(problem, possible=possible)
    with pytest.raises(UserError, match=message):
        Belief(PrivateCosts(dpcop, setup_of(problem, Leader)), ("ann",))


def test_costs_that_hide_what_is_infinite_are_refused() -> None:
    x, y = Variable("x", BIT, "ann"), Variable("y", BIT, "ann")
    dear = Constraint("dear", ("x", "y"), [[0, 10**13]] * 2, known_to="all")
    problem = Problem.build([x, y], [dear, Constraint("by", ("y",), [0, math.inf], owner="bob")])
    with pytest.raises(UserError, match="too large to be told from infinite ones"):
        PrivateCosts(priced(problem), setup_of(problem, Leader))


def test_secrets_without_a_stake_are_unknown_too() -> None:
    """Beliefs are about all private costs: those that cost nothing to reveal hide others behind them."""
    problem = two_of_bob()
    some = Stake((Secret("s", "bob", {"x": 0}),), AdditivePrices({"ann": {"s": 5}}))
    dpcop = Dpcop(problem, {"bob": some})
    setup = setup_of(problem, Leader)
    belief = Belief(PrivateCosts(dpcop, setup), ("ann",))
    belief.hear([answer(setup, 2, x=0, y=0)])
    assert belief.distribution(some.secrets[0]) == pytest.approx((1 / 3, 1 / 3, 1 / 3, 0))
