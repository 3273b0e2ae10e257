"""ADOPT against brute force, its invariants, what its messages say (with its family), and each guard it needs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from agentsim import simulate
from agentsim.dcop.ordering import components
from agentsim.dcop.problem import Constraint, Domain, Problem, Variable
from agentsim.errors import UserError
from agentsim.runtime.agent import Agent
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.messages import Envelope
from agentsim.runtime.observer import Observer
from agentsim.runtime.result import Result
from agentsim.runtime.router import Alter, Delay
from agentsim.runtime.setup import prepare
from agentsim.runtime.statements import ValueIs, uncovered
from agentsim.testing import Truth, brute_force, random_problem
from solvers.adopt import Adopt, Child, Cost, Terminate, Threshold, Value, allocate
from solvers.adopt_plus import AdoptPlus
from solvers.bnb_adopt import BnBAdopt
from solvers.bnb_adopt_plus import BnBAdoptPlus

FAMILY = [Adopt, AdoptPlus, BnBAdopt, BnBAdoptPlus]
NETWORKS = ["unit", "uniform:1,10", "exponential:3", "uniform:1,5+loss:.3+duplicate:.2+reorder+reliable"]
TIES = np.array([[0, 1], [1, 0]])


def is_right(result: Result, optimum: float) -> bool:
    if math.isinf(optimum):
        return result.status == "infeasible"
    return result.status == "optimal" and abs(result.cost - optimum) < 1e-9


def problem_of(
    names: str, size: int, constraints: dict[str, Any], unary: dict[str, list[float]] | None = None
) -> Problem:
    domain = Domain("d", tuple(range(size)))
    unary = unary or {}
    return Problem.build(
        [Variable(n, domain, unary=np.array(unary[n]) if n in unary else None) for n in names],
        [Constraint(scope, tuple(scope), np.asarray(table)) for scope, table in constraints.items()],
    )


@pytest.mark.parametrize("network", NETWORKS)
def test_finds_the_optimum(network: str) -> None:
    for seed in range(16):
        problem = random_problem(np.random.default_rng(seed))
        result = simulate(problem, Adopt, seed=seed, network=network, invariants=True, max_messages=500_000)
        assert is_right(result, brute_force(problem)), f"seed {seed}: {result.status} {result.cost}"


def test_survives_duplicates_by_itself() -> None:
    for seed in range(100, 110):
        problem = random_problem(np.random.default_rng(seed))
        result = simulate(problem, Adopt, seed=seed, network="uniform:1,10+duplicate:.2", invariants=True)
        assert is_right(result, brute_force(problem)), f"seed {seed}: {result.status} {result.cost}"


@pytest.mark.parametrize("solver", [Adopt, AdoptPlus])
def test_error_bound_holds_and_is_used(solver: type[Agent]) -> None:
    worse = 0
    for seed in range(24):
        problem = random_problem(np.random.default_rng(seed))
        bound = (1, 2.5, 4, 8)[seed // 4 % 4]
        result = simulate(problem, solver, seed=seed, network=NETWORKS[seed % 4], invariants=True, error_bound=bound)
        optimum = brute_force(problem)
        assert result.status in ("finished", "infeasible"), "nothing is claimed to be optimal"
        if math.isinf(optimum):
            assert math.isinf(result.bound)
            continue
        assert abs(result.bound - optimum) <= bound * len(list(components(problem))) + 1e-9
        gap = abs(result.cost - optimum)
        assert gap <= bound * len(list(components(problem))) + 1e-9, f"seed {seed}: {gap} above the optimum"
        worse += gap > 1e-9
    assert worse, "no run made use of its error bound"


@pytest.mark.parametrize("solver", [Adopt, AdoptPlus])
def test_error_bound_must_make_sense(solver: type[Agent]) -> None:
    problem = random_problem(np.random.default_rng(0))
    for bad in (-1, math.inf):
        with pytest.raises(UserError, match="error_bound"):
            simulate(problem, solver, error_bound=bad)


# What messages say ------------------------------------------------------------------------------------------------


class Held(Observer):
    """Holds every statement against the truth; those about values are left for the end."""

    def start(self) -> None:
        self.truth = Truth(self.context.setup)
        self.known: set[Any] = set()
        self.values: list[tuple[float, str, str, int]] = []

    def observe(self, delivery: Delivery) -> None:
        statements = self.statements(delivery)
        assert not uncovered(delivery, statements), f"{delivery.type} leaves fields uncovered"
        for statement in statements:
            if isinstance(statement, ValueIs):
                self.values.append((delivery.sent_at, statement.when, statement.variable, statement.value))
            elif repr(statement) not in self.known:
                self.known.add(repr(statement))
                assert self.truth.holds(statement), f"{delivery}: {statement}"

    def findings(self) -> list[tuple[float, str, str, int]]:
        return self.values


@pytest.mark.parametrize("network", NETWORKS[:3])
@pytest.mark.parametrize("solver", FAMILY)
def test_every_statement_is_true(solver: type[Agent], network: str) -> None:
    for seed in range(200, 212):
        problem = random_problem(np.random.default_rng(seed), max_variables=5, max_cells=150)
        views = ["all", f"agent:{problem.agents[seed % len(problem.agents)]}"]
        observers = [(Held, {"view": view}) for view in views]
        result = simulate(problem, solver, seed=seed, network=network, observers=observers)
        assert result.status in ("optimal", "infeasible")
        final = {name: v for _, name, v in result.values}
        for when_seen, when, name, value in result.findings["Held"]:
            if when == "now":
                assert [v for t, n, v in result.values if n == name and t <= when_seen][-1] == value
            else:
                assert final[name] == value


@pytest.mark.parametrize("solver", FAMILY)
def test_a_run_cut_short_reports_a_bound(solver: type[Agent]) -> None:
    told = 0
    for seed in range(20):
        problem = random_problem(np.random.default_rng(seed))
        full = simulate(problem, solver, seed=seed)
        cut = simulate(problem, solver, seed=seed, max_messages=max(1, full.messages // 2))
        if cut.status == "timeout" and full.status == "optimal" and cut.bound is not None:
            told += 1
            assert problem.better(cut.bound, full.cost) or abs(cut.bound - full.cost) < 1e-9
    assert told > 10


@pytest.mark.parametrize("solver", FAMILY)
def test_a_run_can_be_repeated(solver: type[Agent]) -> None:
    problem = random_problem(np.random.default_rng(7))
    logs = []
    for order in (None, lambda activities: activities[::-1]):
        result = simulate(problem, solver, seed=3, network="exponential:3", task_order=order)
        logs.append([(d.seq, d.src, d.dst, d.payload) for d in result.log])
    assert logs[0] == logs[1]


# Small problems that break solvers --------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", FAMILY)
@pytest.mark.parametrize(
    ("problem", "optimum"),
    [
        (problem_of("a", 3, {}, {"a": [4, 2, 3]}), 2),
        (problem_of("a", 1, {}), 0),
        (problem_of("ab", 2, {}, {"a": [1, 0], "b": [5, 7]}), 5),
        (problem_of("abc", 2, {"ab": TIES}, {"c": [3, 1]}), 1),
        (problem_of("abc", 2, {"ab": TIES, "bc": TIES, "ac": 1 - TIES}), 1),
        (problem_of("ab", 2, {"ab": [[math.inf, math.inf], [math.inf, math.inf]]}), math.inf),
        (problem_of("ab", 2, {"ab": TIES}, {"a": [math.inf, math.inf]}), math.inf),
        (problem_of("ab", 2, {"ab": TIES}, {"b": [math.inf, math.inf]}), math.inf),
        (problem_of("abc", 2, {"abc": np.arange(8).reshape(2, 2, 2)[::-1, ::-1, ::-1]}, {"a": [0, 2]}), 2),
        (problem_of("abc", 2, {"ab": [[math.inf, 1], [3, math.inf]], "bc": [[math.inf, 1], [3, math.inf]]}), 4),
        (problem_of("abcd", 2, {"ab": TIES * 0, "bc": TIES * 0, "cd": TIES * 0}), 0),
    ],
)
def test_corner(solver: type[Agent], problem: Problem, optimum: float) -> None:
    assert brute_force(problem) == optimum
    for network in NETWORKS:
        assert is_right(simulate(problem, solver, network=network, invariants=True), optimum)


@pytest.mark.parametrize("solver", FAMILY)
def test_unary_costs_count_at_root_and_leaf(solver: type[Agent]) -> None:
    problem = problem_of("abc", 2, {"ab": TIES, "bc": TIES}, {"a": [3, 0], "b": [0, 1], "c": [0, 5]})
    for root in "abc":
        result = simulate(problem, solver, root=root)
        assert result.status == "optimal"
        assert result.cost == brute_force(problem)


def test_checks_are_counted_once_for_each_context() -> None:
    """Two variables of two values; the leaf reads its table of 4 entries by columns, one column per context."""
    result = simulate(problem_of("ab", 2, {"ab": [[0, 2], [2, 1]]}), Adopt)
    assert result.status == "optimal"
    assert result.checks == 2  # the root keeps its first value, which costs 0
    result = simulate(problem_of("ab", 2, {"ab": [[2, 2], [2, 1]]}, {"a": [0, 1], "b": [0, 0]}), Adopt)
    assert result.checks == 2 + 2 + 4 + 4  # unary costs of both, then unary and binary for each of a's values


# The guards -------------------------------------------------------------------------------------------------------


class Unguarded(Adopt):
    """The published pseudo-code: costs under an incomplete context count as if they were all."""

    def sum_bounds(self) -> None:
        self.missing.clear()
        stale = self.stale_delta
        covered = self.own.scope and all(n in self.context for n in self.own.scope)
        self.stale_delta = stale and bool(covered)
        super().sum_bounds()
        if not covered:
            self.stale_delta = stale


def slow(src: str, dst: str, by: float) -> Any:
    def interceptor(envelope: Envelope) -> Delay | None:
        return Delay(by) if (envelope.src, envelope.dst) == (src, dst) else None

    return interceptor


def test_no_upper_bound_before_the_context_is_complete() -> None:
    """A leaf whose pseudo-parent's VALUE is late must not report the cost of what it can see as an upper bound."""
    problem = problem_of("rml", 2, {"rm": TIES, "ml": TIES, "rl": [[5, 5], [0, 9]]}, {"r": [0, 3]})
    options: dict[str, Any] = {"order": "r,m,l", "interceptors": [slow("r", "l", 40)]}
    assert brute_force(problem) == 4
    result = simulate(problem, Adopt, invariants=True, **options)
    assert (result.status, result.cost) == ("finished", 4)  # not "optimal": somebody tampered with the network
    broken = simulate(problem, Unguarded, max_messages=100_000, **options)
    assert (broken.status, broken.cost) != ("finished", 4), "the guard does not bite on this problem"


class Wire:
    """A port that keeps what is sent; the rest of it does nothing."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Any]] = []
        self.finished = False

    def send(self, to: str, message: Any) -> None:
        self.sent.append((to, message))

    def check(self, n: int) -> None: ...

    def assign(self, value: int) -> None: ...

    def bound(self, lower: float | None, upper: float | None) -> None: ...


def agent_of(problem: Problem, name: str, **params: Any) -> tuple[Adopt, Wire]:
    """Return one agent of a problem, started, and what it sends."""
    setup = prepare(problem, Adopt, "adopt", {"invariants": True, **params})
    wire = Wire()
    agent = Adopt(setup.view(name), wire, setup.params)  # type: ignore[arg-type]
    agent.start()
    return agent, wire


CLIQUE = problem_of("rmkg", 2, {a + b: TIES for a, b in ("rm", "mk", "rk", "kg", "rg", "mg")})


def test_bounds_under_two_values_of_a_neighbour_are_not_merged() -> None:
    """m has not heard r, but its child k has, twice."""
    agent, _ = agent_of(CLIQUE, "m", order="r,m,k,g")
    agent.on_cost("k", Cost({"r": 0, "m": 0}, 5, 7))
    agent.on_cost("k", Cost({"r": 1, "m": 0}, 1, 2))  # only r itself can say that this is the newer one
    agent.decide()
    assert (agent.child["k"].lb[0], agent.child["k"].ub[0]) == (5, 7)
    agent.on_value("r", Value(1))
    assert (agent.child["k"].lb[0], agent.child["k"].ub[0]) == (0, math.inf)
    agent.on_cost("k", Cost({"r": 1, "m": 0}, 1, 2))
    agent.decide()
    assert (agent.child["k"].lb[0], agent.child["k"].ub[0]) == (1, 2)


def test_a_cost_whose_context_lacks_the_receiver_is_ignored() -> None:
    agent, _ = agent_of(CLIQUE, "m", order="r,m,k,g")
    agent.on_value("r", Value(0))
    agent.on_cost("k", Cost({"r": 0}, 5, 7))
    agent.decide()
    assert agent.child["k"].lb == [0, 0]
    assert agent.child["k"].ub == [math.inf, math.inf]

    spoilt = []

    def spoil(envelope: Envelope) -> Alter | None:
        if envelope.type == "COST" and len(spoilt) < 6:
            spoilt.append(envelope)
            context = {n: v for n, v in envelope.message.context.items() if n != envelope.dst}
            return Alter(Cost(context, 100, 100))
        return None

    result = simulate(CLIQUE, Adopt, interceptors=[spoil], invariants=True)
    assert spoilt
    assert (result.status, result.cost) == ("finished", brute_force(CLIQUE))


def test_terminate_brings_its_threshold() -> None:
    """A THRESHOLD refused because a VALUE came late is the right one once TERMINATE has set the context."""
    agent, wire = agent_of(CLIQUE, "k", order="r,m,k,g")
    agent.on_value("r", Value(1))
    agent.on_value("m", Value(0))
    agent.on_threshold("m", Threshold(9, {"r": 1}))
    agent.decide()
    agent.on_value("r", Value(0))
    agent.on_threshold("m", Threshold(2, {"r": 1}))  # the parent knows r's newer value already
    assert agent.threshold == 9
    agent.on_terminate("m", Terminate({"r": 1, "m": 0}))
    assert agent.threshold == 2
    agent.decide()
    assert not agent.finished, "TERMINATE alone is no reason to stop"
    agent.on_cost("g", Cost({"r": 1, "m": 0, "k": agent.value}, 1, 1))
    wire.sent.clear()
    agent.decide()
    assert agent.finished
    assert [(to, type(m)) for to, m in wire.sent] == [("g", Value), ("g", Threshold), ("g", Terminate)]
    assert wire.sent[-1][1].context == {"r": 1, "m": 0, "k": agent.value}


def test_values_after_terminate_are_ignored() -> None:
    agent, _ = agent_of(CLIQUE, "k", order="r,m,k,g")
    agent.on_terminate("m", Terminate({"r": 1, "m": 0}))
    agent.on_value("r", Value(0))
    agent.on_cost("g", Cost({"r": 0, "m": 0, "k": 0}, 1, 1))
    assert agent.context == {"r": 1, "m": 0}
    assert agent.child["g"].lb == [0, 0]


def test_allocation_never_subtracts_infinities() -> None:
    def children(*bounds: tuple[float, float, float]) -> list[Child]:
        made = []
        for i, (lb, t, ub) in enumerate(bounds):
            child = Child(f"c{i}", 1)
            child.lb, child.t, child.ub = [lb], [t], [ub]
            made.append(child)
        return made

    inf = math.inf
    for bounds, budget, expected in [
        ([(0, 0, inf), (0, 0, 5)], inf, [inf, 5]),
        ([(0, inf, inf), (1, 2, 5)], 4, [3, 1]),
        ([(0, 0, 2), (0, 0, inf)], 7, [2, 5]),
        ([(1, 4, 5), (2, 6, 9)], 5, [1, 4]),
        ([(0, 1.5, 2), (0, 0, 1)], 2.25, [2, 0.25]),
        ([(inf, inf, inf), (0, 0, 3)], inf, [inf, 3]),
    ]:
        made = children(*bounds)
        allocate(made, 0, budget)
        assert [c.t[0] for c in made] == expected


def test_without_cycles_messages_multiply() -> None:
    """Each delivered message makes more than two new ones, unless an agent waits for others before it decides."""
    domain = Domain("d", (0, 1, 2))
    edges = [(i, j) for j in range(6) for i in range(j)][:12]
    problem = Problem.build(
        [Variable(f"x{i}", domain) for i in range(6)],
        [Constraint(f"c{i}{j}", (f"x{i}", f"x{j}"), np.eye(3, dtype=int)) for i, j in edges],
    )
    limits: dict[str, Any] = {"network": "uniform:1,10", "max_messages": 30_000}
    assert simulate(problem, Adopt, cycle=0, **limits).status == "timeout"
    assert is_right(simulate(problem, Adopt, **limits), brute_force(problem))


# What is left out while nothing changes ---------------------------------------------------------------------------


def deciding_anew(solver: type[Agent]) -> type[Agent]:
    """The same solver, but it handles every repetition, adds all up again and decides anew in every cycle."""

    class Anew(solver):  # type: ignore[misc, valid-type]  # a base class that is an argument
        def decide(self) -> None:
            self.heard: dict[str, Any] = getattr(self, "heard", {})
            self.heard.clear()
            self.accepted, self.settled = None, False
            self.own._kept.clear()
            self.stale.update(range(self.view.size))
            super().decide()

    return Anew


@pytest.mark.parametrize("solver", FAMILY)
def test_what_is_left_out_changes_no_message(solver: type[Agent]) -> None:
    for seed in range(12):
        problem = random_problem(np.random.default_rng(seed), max_variables=5)
        options: dict[str, Any] = {"seed": seed, "network": NETWORKS[seed % 4]}
        one, other = simulate(problem, solver, **options), simulate(problem, deciding_anew(solver), **options)
        assert one.log is not None
        assert other.log is not None
        assert list(one.log) == list(other.log), f"seed {seed}"
        assert (one.status, one.cost, one.checks) == (other.status, other.cost, other.checks)
