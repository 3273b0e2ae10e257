"""Rational agents: the rule of abandonment, its bound W, what has been revealed so far, and gates in whole runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

import agentsim
from agentsim.dcop.problem import Constraint, Cost, Domain, Problem, Variable
from agentsim.errors import UserError
from agentsim.runtime.agent import Agent
from agentsim.runtime.gate import Gate
from agentsim.runtime.messages import Envelope
from agentsim.runtime.result import Result
from agentsim.runtime.setup import prepare
from agentsim.runtime.statements import Chosen, CostIs, Nothing, Proposed, Softmax, Statement, Term, ValueIs
from agentsim.runtime.view import Setup
from agentsim.testing import brute_force, random_problem
from privacy.dpcop.belief import Belief, PrivateCosts
from privacy.dpcop.model import Dpcop, Policy, Pricing, Secret, Stake, priced, private_tables
from privacy.dpcop.observer import DpcopCosts
from privacy.dpcop.prices import AdditivePrices, Price
from privacy.dpcop.rational import Ledger, RationalGate, SolutionBound, abandons, dpcop_of, rational
from privacy.dpcop.revelation import KnownSecrets, Revelation
from solvers.adopt import Adopt
from solvers.adopt_plus import AdoptPlus
from solvers.brute_force import BruteForce
from solvers.dpop import Dpop
from solvers.dsa import Dsa
from solvers.leader import Leader
from solvers.mgm import Mgm
from solvers.n_leaders import NLeaders
from solvers.synchbb import SynchBB

MEETING = agentsim.load(Path(__file__).parents[3] / "scenarios" / "problems" / "meeting_of_two.yaml")
POLICIES: tuple[Policy, ...] = ("zero", "own_min", "own_tuple", "global_lb")
PRICINGS: tuple[Pricing, ...] = ("full", "bits", "probability")
INF = math.inf
BIT = Domain("bit", (0, 1))


def setup_of(problem: Problem, solver: type[Agent] = Leader, **params: object) -> Setup:
    return prepare(problem, solver, solver.__name__, params)


# The rule -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("increment", "bound", "reward", "leaves"),
    [
        (0, 0, 1, False),
        (0, 0, 0, True),  # equality
        (30, 600, 631, False),
        (30, 600, 630, True),
        (30, 600, 0, True),
        (0, 600, 600, True),
        (0, -5, 0, False),
        (5, -5, 0, True),
        (INF, 0, 10**15, True),
        (0, INF, 10**15, True),
        (INF, INF, 10**15, True),
        (0, 0, INF, False),
        (INF, 0, INF, False),
        (0, INF, INF, False),
        (INF, INF, INF, False),
    ],
)
def test_when_a_minimising_agent_abandons(increment: float, bound: float, reward: float, leaves: bool) -> None:
    assert abandons(True, increment, bound, reward) is leaves


@pytest.mark.parametrize(
    ("increment", "bound", "leaves"),
    [
        (0, 1, False),
        (0, 0, True),  # equality
        (7, 8, False),
        (8, 8, True),
        (9, 8, True),
        (0, -1, True),
        (5, INF, False),
        (INF, 8, True),
        (INF, INF, True),
        (0, -INF, True),
        (INF, -INF, True),
    ],
)
@pytest.mark.parametrize("reward", [0, 5, INF])
def test_when_a_maximising_agent_abandons(increment: float, bound: float, leaves: bool, reward: float) -> None:
    """It has no reward: what it may gain is the quality itself."""
    assert abandons(False, increment, bound, reward) is leaves


# W --------------------------------------------------------------------------------------------------------------------


def random_dpcop(seed: int) -> Dpcop:
    """Return a random problem of which two agents own constraints over any variables; some ranges are declared."""
    rng = np.random.default_rng(seed)
    base = random_problem(rng, max_variables=4, max_cells=81)
    while not base.integral:
        base = random_problem(rng, max_variables=4, max_cells=81)
    names, worst = list(base.variables), INF if base.objective == "min" else -INF
    owned = []
    for k, owner in enumerate((base.agents[0], "guest", "guest")):
        scope = tuple(names[int(i)] for i in rng.choice(len(names), min(len(names), 1 + k % 2), replace=False))
        table = rng.integers(-3, 4, tuple(base.variables[v].size for v in scope)).astype(float)
        table[rng.random(table.shape) < 0.1] = worst
        declared = (-4, 5) if rng.random() < 0.5 else None
        owned.append(Constraint(f"p{k}", scope, table, owner=owner, cost_range=declared))
    return priced(
        Problem.build(
            base.variables.values(),
            [*base.constraints.values(), *owned],
            objective=base.objective,
            agents=[*base.agents, "guest"],
            constant=base.constant,
        ),
        seed=seed,
    )


def own_cost(problem: Problem, agent: str, values: Mapping[str, int]) -> float:
    tables = private_tables(problem).get(agent, {})
    return sum(float(table[tuple(values[v] for v in scope)]) for scope, table in tables.items())


def best_own_cost(problem: Problem, agent: str, given: Mapping[str, int]) -> float:
    """Return the least (greatest) own cost over all assignments that agree with what is given."""
    costs = [
        own_cost(problem, agent, values)
        for values in problem.assignments()
        if all(values[name] == value for name, value in given.items())
    ]
    return min(costs) if problem.objective == "min" else max(costs)


@pytest.mark.parametrize("solver", [Leader, Dpop])
def test_bounds_are_what_brute_force_finds(solver: type[Agent]) -> None:
    """own_min and own_tuple exactly; global_lb is on the right side of the best solution, and no worse than it."""
    rng = np.random.default_rng(1)
    for seed in range(40):
        dpcop = random_dpcop(seed)
        problem = dpcop.problem
        setup = setup_of(problem, solver)
        best, sense = brute_force(problem), setup.sense
        for agent in dpcop.stakes:
            bounds = {policy: SolutionBound(dpcop, agent, policy, setup) for policy in POLICIES}
            least = best_own_cost(problem, agent, {})
            assert {policy: bounds[policy].of([]) for policy in ("zero", "own_min", "own_tuple")} == {
                "zero": 0,
                "own_min": least,
                "own_tuple": least,
            }
            assert sense * bounds["global_lb"].of([]) <= sense * best
            values = {name: int(rng.integers(v.size)) for name, v in problem.variables.items()}
            given = {name: value for name, value in values.items() if rng.random() < 0.5}
            for context in (values, given):
                for statement in speaking_of(context, setup, agent):
                    assert bounds["own_tuple"].of(statement) == best_own_cost(problem, agent, context), seed
                    assert bounds["own_min"].of(statement) == least
                    assert bounds["zero"].of(statement) == 0


def speaking_of(values: Mapping[str, int], setup: Setup, agent: str) -> list[list[Statement]]:
    """Return several ways to speak of an assignment, in the names that the agent's nodes have for variables."""
    copies = {original: copy for copy, original in setup.copies.items() if setup.problem.variables[copy].agent == agent}
    context = {copies.get(name, name): value for name, value in values.items()}
    node = next(node for node, owner in setup.nodes.items() if owner == agent)
    other = next(node for node, owner in setup.nodes.items() if owner != agent)
    cost = CostIs("cost", ("cost",), (Term((node,), "share", context),), "==", 1)
    gain = CostIs("gain", ("gain",), (Term((node,), "local", context), Term((node,), "local", {}, -1.0)), "==", 1)
    lowest = dict.fromkeys(setup.problem.variables, 0)
    elsewhere = CostIs("cost", ("cost",), (Term((other,), "none", lowest),), "==", 1)  # of another agent's cost
    proposed = Proposed("question", ("values",), context)
    each = [ValueIs("value", ("values",), name, value, "now") for name, value in context.items()]
    ways: list[list[Statement]] = [[cost], [gain], [proposed], [Nothing("", ()), cost, elsewhere], [*each]]
    if context:
        (name, value), *rest = context.items()
        ways.append([Chosen("choice", ("value",), name, value, dict(rest), Softmax(None, 0, False))])
    return ways


def test_the_global_bound_adds_what_is_public_of_all_others() -> None:
    """Ann's own least cost is 2; Bob's lies from 1 to 9, a public cost is 3 at least, and the constant is 4."""
    x, y = Variable("x", BIT, "ann", unary=[2, 5], cost_range=(0, 9)), Variable("y", BIT, "bob", unary=[7, 8])
    public = Constraint("c", ("x", "y"), [[3, 6], [6, 3]], known_to="all")
    problem = Problem.build([x, replace(y, cost_range=(1, 9))], [public], constant=4)
    assert SolutionBound(priced(problem), "ann", "global_lb", setup_of(problem)).of([]) == 2 + 1 + 3 + 4
    assert SolutionBound(priced(problem), "bob", "global_lb", setup_of(problem)).of([]) == 7 + 0 + 3 + 4
    declared = priced(problem, possible=(-2, 20))
    assert SolutionBound(declared, "ann", "global_lb", setup_of(problem)).of([]) == 2 - 2 + 3 + 4
    undeclared = Problem.build([replace(x, cost_range=None), y], [public], constant=4)  # from 2 to 8, as observed
    assert SolutionBound(priced(undeclared), "ann", "global_lb", setup_of(undeclared)).of([]) == 2 + 2 + 3 + 4
    greatest = replace(problem, objective="max")
    assert SolutionBound(priced(greatest), "ann", "global_lb", setup_of(greatest)).of([]) == 5 + 9 + 6 + 4


def test_an_agent_without_a_solution_of_its_own_expects_an_infinite_cost() -> None:
    problem = Problem.build([Variable("x", BIT, "ann", unary=[INF, INF]), Variable("y", BIT, "bob", unary=[0, 1])])
    dpcop = priced(problem, reward=10**9)
    assert SolutionBound(dpcop, "ann", "own_min", setup_of(problem)).of([]) == INF
    result = agentsim.simulate(dpcop.attached(), Leader, leader="bob", gates=rational(policy="own_min"))
    assert result.abandoned is not None
    assert result.abandoned.agent == "ann"


# What has been revealed so far ----------------------------------------------------------------------------------------


def two_secrets(reward: float = INF) -> Dpcop:
    """Return a problem in which Bob has costs of 1 each of two variables of Ann's, from 0 to 3, worth 8 and 100."""
    constraints = [Constraint(f"b{v}", (v,), [1, 0], owner="bob", cost_range=(0, 3)) for v in "xy"]
    problem = Problem.build([Variable(v, BIT, "ann") for v in "xy"], constraints, agents=("ann", "bob"))
    secrets = tuple(Secret(v, "bob", {v: 0}) for v in "xy")
    return Dpcop(problem, {"bob": Stake(secrets, AdditivePrices({"ann": {"x": 8, "y": 100}}), reward)})


def answer(cost: Cost, **values: int) -> CostIs:
    return CostIs("answer", ("cost",), (Term(("bob",), "share", values),), "==", cost)


@pytest.mark.parametrize(
    ("pricing", "share"),
    [("full", 0.0), ("bits", 1 - math.log2(3) / 2), ("probability", (1 / 3 - 1 / 4) / (1 - 1 / 4))],
)
def test_a_sum_of_two_secrets_reveals_a_part_of_both(pricing: Pricing, share: float) -> None:
    """1 + 1 = 2 is 0 + 2 or 2 + 0 as well: of four costs three are left, of two bits log2(3) are open."""
    dpcop = two_secrets()
    belief = Belief(PrivateCosts(dpcop, setup_of(dpcop.problem)), ("ann",))
    ledger = Ledger(dpcop.stakes["bob"], pricing)
    assert ledger.price == 0
    belief.hear([answer(2, x=0, y=0)])
    assert ledger.update({"ann": belief}) == pytest.approx(108 * share)
    assert ledger.price == pytest.approx(108 * share)
    assert ledger.update({"ann": belief}) == 0
    belief.hear([answer(0, x=1, y=1), answer(1, x=0, y=1)])  # x=0 alone costs 1, so y=0 costs 1
    assert ledger.update({"ann": belief}) == pytest.approx(108 * (1 - share))
    assert ledger.price == 108


@pytest.mark.parametrize("solver", [Dpop, BruteForce])
def test_what_is_known_costs_the_same_in_all_forms(solver: type[Agent]) -> None:
    """Ann is at the root and told all of Bob's costs, apart in this form of the problem."""
    dpcop = two_secrets()
    only = Problem.build([dpcop.problem.variables["x"]], [dpcop.problem.constraints["bx"]], agents=("ann", "bob"))
    secret = dpcop.stakes["bob"].secrets[0]
    problem = Dpcop(only, {"bob": Stake((secret,), AdditivePrices({"ann": {"x": 8}}))}).attached()
    for pricing in PRICINGS:
        result = agentsim.simulate(problem, solver, root="x", observers=[(DpcopCosts, {"pricing": pricing})])
        assert result.findings["dpcop"]["privacy_cost"] == 8


class Told:
    """What stands for a belief: a distribution by secret."""

    contradicted = False

    def __init__(self, chances: Mapping[str, tuple[float, ...]]) -> None:
        self.chances = chances

    def distribution(self, secret: Secret) -> tuple[float, ...]:
        return self.chances[secret.name]

    def true_level(self, secret: Secret) -> int:
        return 1


@pytest.mark.parametrize("pricing", PRICINGS)
def test_what_is_revealed_never_falls(pricing: Pricing) -> None:
    """Beliefs may turn away from the truth, or become less certain of one secret as they learn of another."""
    rng = np.random.default_rng(5)
    stake = Stake(
        tuple(Secret(name, "bob", {name: 0}) for name in "xyz"),
        AdditivePrices({"ann": {"x": 3, "y": 5, "z": 7}, "eve": {"x": 2, "z": 1}}),
    )
    for _ in range(20):
        ledger = Ledger(stake, pricing)
        for _ in range(10):
            before, price = ledger.revelation, ledger.price
            told = {}
            for peer in ("ann", "eve"):
                weights = rng.integers(0, 3, (3, 3)) + np.eye(3, dtype=int)[rng.integers(3, size=3)]
                told[peer] = Told(dict(zip("xyz", map(tuple, weights / weights.sum(1, keepdims=True)), strict=True)))
            increment = ledger.update(cast("Mapping[str, Belief]", told))
            assert increment >= 0
            assert ledger.price == pytest.approx(price + increment)
            for peer in ("ann", "eve"):
                for name in "xyz":
                    assert ledger.revelation.share(peer, name) >= before.share(peer, name)
    certain = Told(dict.fromkeys("xyz", (0.0, 1.0, 0.0)))
    ledger.update(cast("Mapping[str, Belief]", {"ann": certain, "eve": certain}))
    assert ledger.price == 18


def test_each_forgotten_certainty_stays_revealed() -> None:
    stake = Stake((Secret("x", "bob", {"x": 0}),), AdditivePrices({"ann": {"x": 6}}))
    for pricing in PRICINGS:
        ledger = Ledger(stake, pricing)
        known, open_again = Told({"x": (0.0, 1.0)}), Told({"x": (0.5, 0.5)})
        assert ledger.update(cast("Mapping[str, Belief]", {"ann": known})) == 6
        assert ledger.update(cast("Mapping[str, Belief]", {"ann": open_again})) == 0
        assert ledger.price == 6


def ledger_with(price: Price) -> Ledger:
    return Ledger(Stake(tuple(Secret(name, "bob", {name: 0}) for name in "xy"), price), "full")


def told_of(*names: str) -> Mapping[str, Belief]:
    chances = {name: (0.0, 1.0) if name in names else (0.5, 0.5) for name in "xy"}
    return cast("Mapping[str, Belief]", {"ann": Told(chances)})


def shares(revelation: Revelation) -> float:
    return sum(revelation.share("ann", name) for name in "xy")


def test_a_price_that_falls_is_refused() -> None:
    ledger = ledger_with(lambda r: {0: 0.0, 1: 5.0, 2: 4.0}[int(shares(r))])
    assert ledger.update(told_of("x")) == 5
    with pytest.raises(UserError, match="a price fell from 5 to 4 when more was revealed"):
        ledger.update(told_of("x", "y"))
    with pytest.raises(UserError, match="fell from 0 to nan"):
        ledger_with(lambda r: math.nan if shares(r) else 0.0).update(told_of("x"))


def test_rounding_is_no_fall() -> None:
    ledger = ledger_with(lambda r: {0: 0.0, 1: 0.1 + 0.2, 2: 0.3}[int(shares(r))])
    ledger.update(told_of("x"))
    assert ledger.update(told_of("x", "y")) == 0
    assert ledger.price == 0.1 + 0.2


def test_an_infinite_price() -> None:
    ledger = ledger_with(lambda r: INF if shares(r) else 0.0)
    assert ledger.update(told_of("x")) == INF
    assert ledger.update(told_of("x", "y")) == 0


@pytest.mark.parametrize(("reward", "verdict"), [(INF, "send"), (10**15, "abandon")])
def test_the_gate_of_an_agent_with_an_infinite_price(reward: float, verdict: str) -> None:
    dpcop = two_secrets()
    setup = setup_of(dpcop.problem)
    stake = Stake(dpcop.stakes["bob"].secrets, lambda r: INF if shares(r) else 0.0, reward)
    belief = Belief(PrivateCosts(dpcop, setup), ("ann",))
    bound = SolutionBound(dpcop, "bob", "zero", setup)
    gate = RationalGate("bob", Ledger(stake, "full"), bound, {"ann": belief}, setup.nodes, minimising=True)
    envelope = Envelope(0, "bob", "x", "ANSWER", 1, None)
    assert gate.before_send({}, envelope, [answer(2, x=0, y=0)]) == "send"  # nothing is known yet
    assert gate.before_send({}, envelope, [answer(1, x=0, y=1)]) == "send"
    found = gate.before_send({}, envelope, [answer(0, x=1, y=1)])
    assert (found if isinstance(found, str) else found[0]) == verdict


# Gates in whole runs --------------------------------------------------------------------------------------------------


def gates_of(problem: Problem, **settings: object) -> Mapping[str, Gate]:
    return rational(**settings)(setup_of(problem), Leader)


def meeting(alice: float, bob: float) -> Problem:
    dpcop = Dpcop.of(MEETING)
    assert dpcop is not None
    rewards = {"alice": alice, "bob": bob}
    stakes = {agent: replace(stake, reward=rewards[agent]) for agent, stake in dpcop.stakes.items()}
    return replace(dpcop, stakes=stakes).attached()


def test_who_has_a_gate() -> None:
    assert list(gates_of(MEETING)) == ["alice", "bob"]
    assert list(gates_of(meeting(INF, 300))) == ["bob"]
    assert gates_of(meeting(INF, INF)) == {}
    assert list(gates_of(two_secrets(5).attached())) == ["bob"]  # Ann has nothing to lose
    assert list(gates_of(replace(two_secrets().attached(), objective="max"))) == ["bob"]


def deliveries(problem: Problem, solver: type[Agent], **options: Any) -> tuple[list[Any], Result]:
    result = agentsim.simulate(problem, solver, **options)
    return list(result.log), result


@pytest.mark.parametrize("network", ["unit", "uniform:1,10"])
@pytest.mark.parametrize("solver", [Leader, NLeaders, SynchBB, Dpop, Adopt, Mgm, Dsa])
def test_gates_change_nothing_where_nobody_abandons(solver: type[Agent], network: str) -> None:
    for seed in range(3):
        dpcop = random_dpcop(seed)
        if dpcop.problem.objective == "max":
            continue
        problem = replace(
            dpcop, stakes={a: replace(s, reward=10**9) for a, s in dpcop.stakes.items()}, policy="zero"
        ).attached()
        options = {"network": network, "seed": seed, "max_messages": 400}
        free, without = deliveries(problem, solver, **options)
        for settings in ({}, {"pricing": "bits"}, {"pricing": "probability", "coalition": True}):
            gated, result = deliveries(problem, solver, gates=rational(**settings), **options)
            assert gated == free
            assert (result.status, result.cost, result.abandoned) == (without.status, without.cost, None)
            assert result.log.header is not None
            assert result.log.header["gates"] == sorted(dpcop.stakes)


def gains(t1: Cost, t2: Cost) -> Problem:
    """Return a problem that maximises: Bob's quality of T1 and T2 is 6 and 8, and what he reveals is worth this."""
    qualities = Constraint("b", ("x",), [6, 8], owner="bob")
    problem = Problem.build([Variable("x", BIT, "ann")], [qualities], objective="max", agents=("ann", "bob"))
    secrets = tuple(Secret(f"T{value + 1}", "bob", {"x": value}) for value in (0, 1))
    return Dpcop(problem, {"bob": Stake(secrets, AdditivePrices({"ann": {"T1": t1, "T2": t2}}))}).attached()


@pytest.mark.parametrize(
    ("policy", "t1", "t2", "answers"),
    [
        (None, 7, 7, 2),  # 8 - 7 > 0 both times: own_min is the default
        ("own_min", 8, 0, 0),  # 8 - 8 <= 0 for the first answer
        ("own_min", 0, 8, 1),
        ("own_tuple", 5, 7, 2),
        ("own_tuple", 6, 0, 0),  # T1 is worth 6
        ("own_tuple", 5, 8, 1),
        ("global_lb", 7, 7, 2),
        ("global_lb", 8, 7, 0),
        ("zero", 0, 0, 0),  # nothing to be gained
    ],
)
@pytest.mark.parametrize("solver", [Leader, AdoptPlus])
def test_agents_that_maximise(policy: Policy | None, t1: Cost, t2: Cost, answers: int, solver: type[Agent]) -> None:
    settings = {} if policy is None else {"policy": policy}
    problem = gains(t1, t2)
    options: dict[str, Any] = {"leader": "ann"} if solver is Leader else {"root": "x"}
    result = agentsim.simulate(problem, solver, gates=rational(**settings), observers=[DpcopCosts], **options)
    revelation = result.findings["dpcop"]["agents"]["bob"]["revelation"]
    assert revelation == ({"ann": ["T1", "T2"][:answers]} if answers else {})
    if answers == 2:
        assert (result.status, result.cost) == ("optimal", 8)
        return
    assert result.abandoned is not None
    assert result.abandoned.agent == "bob"
    assert "quality" in result.abandoned.reason


def test_the_leaf_that_sends_a_whole_table_pays_for_it_at_once() -> None:
    """300 + 40 + 20."""
    for reward, status in ((361, "optimal"), (360, "abandoned")):
        result = agentsim.simulate(meeting(INF, reward), Dpop, root="x1", gates=rational(policy="own_min"))
        assert result.status == status


def test_peers_that_share_what_they_learn_make_agents_leave_earlier() -> None:
    """An answer costs Bob 10 for each that learns it; a coalition of two learns all that one of them is told."""
    x = Variable("x", Domain("four", (0, 1, 2, 3)), "ann", unary=[0, 0, 0, 0])
    bob = Constraint("b", ("x",), [1, 1, 1, 1], owner="bob", cost_range=(0, 1))
    problem = Problem.build([x], [bob], agents=("ann", "eve", "bob"))
    secrets = tuple(Secret(str(v), "bob", {"x": v}) for v in range(4))
    prices = AdditivePrices({peer: {str(v): 10 for v in range(4)} for peer in ("ann", "eve")})
    for coalition, reward, status in ((False, 11, "optimal"), (True, 20, "abandoned"), (True, 21, "optimal")):
        dpcop = Dpcop(problem, {"bob": Stake(secrets, prices, reward)}, policy="zero")
        gates = rational(coalition=coalition)
        result = agentsim.simulate(dpcop.attached(), NLeaders, gates=gates, publish="totals", prune="P3", lie=1)
        assert result.status == status, (coalition, reward)


@pytest.mark.parametrize("solver", [Leader, NLeaders, SynchBB])
def test_what_coalitions_know_costs_no_less(solver: type[Agent]) -> None:
    for seed in range(8):
        dpcop = random_dpcop(seed)
        ways = [(DpcopCosts, {"as": "alone"}), (DpcopCosts, {"as": "together", "coalition": True})]
        found = agentsim.simulate(dpcop.attached(), solver, observers=ways).findings
        for agent, alone in found["alone"]["agents"].items():
            together = found["together"]["agents"][agent]
            assert together["privacy_cost"] >= alone["privacy_cost"]
            assert all(set(names) <= set(together["revelation"][peer]) for peer, names in alone["revelation"].items())


@pytest.mark.parametrize("pricing", PRICINGS)
def test_agents_of_random_problems_leave_at_the_price_that_they_set(pricing: Pricing) -> None:
    """With W = 0 a reward above the price of everything keeps everybody, a fiftieth of it drives somebody away."""
    left = 0
    for seed in range(12):
        dpcop = random_dpcop(seed)
        if dpcop.problem.objective == "max":
            continue
        problem = replace(dpcop, pricing=pricing, policy="zero")
        highest = {agent: stake.price(everything(dpcop, agent)) for agent, stake in dpcop.stakes.items()}
        for share, expected in ((1.01, {"optimal", "infeasible"}), (0.02, {"abandoned", "optimal", "infeasible"})):
            stakes = {a: replace(s, reward=share * highest[a] + 0.01) for a, s in dpcop.stakes.items()}
            result = agentsim.simulate(replace(problem, stakes=stakes).attached(), Leader, gates=rational())
            assert result.status in expected
            left += result.status == "abandoned"
    assert left > 0


def everything(dpcop: Dpcop, agent: str) -> Revelation:
    names = frozenset(secret.name for secret in dpcop.stakes[agent].secrets)
    return KnownSecrets({peer: names for peer in dpcop.problem.agents if peer != agent})


@pytest.mark.parametrize("network", ["unit", "uniform:1,10"])
@pytest.mark.parametrize("solver", [Leader, NLeaders, Dpop, Adopt, SynchBB])
def test_abandoned_runs_are_verified(solver: type[Agent], network: str) -> None:
    abandoned = 0
    for seed, reward in ((1, 39.0), (2, 31.0), (3, 20.0)):
        problem = meeting(reward, reward)
        result = agentsim.simulate(problem, solver, seed=seed, network=network, gates=rational(policy="zero"))
        assert agentsim.replay(result.log, verify=True, solver=solver).verified
        abandoned += result.status == "abandoned"
    assert abandoned > 1


def test_an_agent_that_lies_deceives_gates_no_further() -> None:
    """Bob answers ten times what he may: his own gate finds that no costs fit, and counts nothing more."""

    def liar(view: Any, port: Any, params: Any) -> Agent:
        return Leader(replace(view, share=tuple(replace(f, table=10 * f.table) for f in view.share)), port, params)

    dpcop = two_secrets(50)
    result = agentsim.simulate(
        dpcop.attached(), Leader, replace={"bob": liar}, gates=rational(), observers=[DpcopCosts]
    )
    found = result.findings["dpcop"]
    assert found["contradicted"] == ["ann"]
    assert result.abandoned is None
    assert found["privacy_cost"] == 0


# Errors ---------------------------------------------------------------------------------------------------------------


class NoReader(Leader):
    """A solver of which nobody has analysed what its messages say."""

    reader = None


def test_a_solver_without_a_reader_is_refused_where_somebody_may_leave() -> None:
    with pytest.raises(UserError, match="NoReader has no reader: what its messages reveal cannot be priced"):
        agentsim.simulate(MEETING, NoReader, gates=rational())
    assert agentsim.simulate(meeting(INF, INF), NoReader, gates=rational()).status == "optimal"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"colour": "red"}, "no setting colour; there are pricing, policy and coalition"),
        ({"policy": "none"}, "privacy.policy: "),
        ({"pricing": 3}, "privacy.pricing: '3' is not one of full, bits, probability"),
        ({"coalition": "yes"}, "privacy.coalition: 'yes' must be true or false"),
        ({"coalition": 1}, "privacy.coalition: must be true or false"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        agentsim.simulate(MEETING, Leader, gates=rational(**settings))


def test_a_problem_without_prices_is_refused() -> None:
    with pytest.raises(UserError, match="has no privacy section, so nothing has a price"):
        agentsim.simulate(replace(MEETING, extras={}), Leader, gates=rational())


def test_settings_may_be_text() -> None:
    dpcop = dpcop_of(MEETING, {"coalition": "true", "policy": "own_min", "pricing": "bits"})
    assert (dpcop.coalition, dpcop.policy, dpcop.pricing) == (True, "own_min", "bits")
    assert dpcop_of(MEETING, {"coalition": "false"}).coalition is False
    assert dpcop_of(MEETING, {}).policy == "zero"


def test_prices_that_no_file_can_hold_are_given_from_python() -> None:
    """A price that grows with the square of how many secrets are known: given to gates and observer alike."""
    problem = MEETING
    section = Dpcop.of(problem)
    assert section is not None

    def squared(revelation: Revelation) -> float:
        return 10 * sum(revelation.share("alice", name) for name in ("T1", "T2")) ** 2

    stakes = {**section.stakes, "bob": replace(section.stakes["bob"], price=squared)}
    dpcop = replace(section, stakes=stakes)
    observers = [(DpcopCosts, {"dpcop": dpcop})]
    result = agentsim.simulate(problem, Leader, gates=rational(dpcop=dpcop), observers=observers)
    found = result.findings["dpcop"]
    assert found["agents"]["bob"]["privacy_cost"] == 40
    assert [price for _, price in found["curve"]] == [10, 40]
    mean = replace(dpcop, stakes={**stakes, "bob": replace(stakes["bob"], reward=30)})
    left = agentsim.simulate(problem, Leader, gates=rational(dpcop=mean), observers=[(DpcopCosts, {"dpcop": mean})])
    assert left.status == "abandoned"  # at the second secret, which costs 30 more
    assert left.findings["dpcop"]["privacy_cost"] in (10, 40)  # the observer sees what was delivered
    with pytest.raises(UserError, match="given from Python"):
        agentsim.simulate(problem, Leader, gates=rational(dpcop="x"))
