"""Max-Sum: optimal without cycles, best of its rounds with them, and what its messages say."""

from __future__ import annotations

import math
from collections import Counter
from itertools import product
from typing import Any, ClassVar

import numpy as np
import pytest

from agentsim import Problem, Result, replay, simulate
from agentsim.dcop.problem import Constraint, Domain, Variable
from agentsim.errors import SolverRefusal, UserError
from agentsim.runtime.failures import AgentFailure
from agentsim.runtime.messages import Envelope
from agentsim.runtime.router import Alter
from agentsim.runtime.setup import prepare
from agentsim.runtime.statements import CostIs, ReaderContext, Statement, Unanalysed
from agentsim.runtime.view import LocalConstraint
from agentsim.testing import brute_force, check_statements, random_problem, twin
from solvers.maxsum import MAX_DIFFERENCES, FunctionNodes, MaxSum, Q

NETWORKS = [
    "unit",
    "uniform:1,10",
    "uniform:1,5+loss:.3+duplicate:.2+reorder+reliable",
    "uniform:1,10+duplicate:.3+reorder",
]


class Watched(MaxSum):
    """The same, and the values of all rounds can be looked at afterwards."""

    chosen: ClassVar[dict[int, dict[str, int]]] = {}

    def answer(self) -> None:
        self.chosen.setdefault(self.round, {})[self.name] = self.value
        super().answer()


def acyclic(rng: np.random.Generator, *, hard: float = 0.0) -> Problem:
    """A random problem whose factor graph has no cycle: binary and ternary functions, private costs, many ties."""
    n = int(rng.integers(2, 8))
    sizes = [int(rng.integers(1, 4)) for _ in range(n)]
    low, high = ((0, 2), (-5, 6), (0, 10))[int(rng.integers(3))]
    objective = "min" if rng.random() < 0.7 else "max"

    def table(*shape: int) -> Any:
        costs = rng.integers(low, high + 1, shape).astype(float)
        costs[rng.random(shape) < hard] = math.inf if objective == "min" else -math.inf
        return costs

    domains = {size: Domain(f"d{size}", tuple(range(size))) for size in set(sizes)}
    variables = [
        Variable(f"x{i}", domains[size], unary=table(size) if rng.random() < 0.5 else None)
        for i, size in enumerate(sizes)
    ]
    constraints = []
    new = 1
    while new < n:
        many = 2 if new + 1 < n and rng.random() < 0.3 else 1
        scope = [int(rng.integers(new)), *range(new, new + many)]
        rng.shuffle(scope)
        new += many
        if rng.random() < 0.9:
            names = tuple(f"x{i}" for i in scope)
            constraints.append(Constraint(f"c{new}", names, table(*(sizes[i] for i in scope))))
    order = rng.permutation(n)
    return Problem.build([variables[i] for i in order], constraints, objective=objective)


def chain(names: str = "xyz", unary: bool = True) -> Problem:
    rng = np.random.default_rng(1)
    sizes = dict(zip(names, (2, 3, 4), strict=False))
    domains = {name: Domain(f"d{name}", tuple(range(size))) for name, size in sizes.items()}
    variables = [Variable(n, domains[n], unary=rng.integers(0, 9, sizes[n]) if unary else None) for n in sizes]
    pairs = [names[i : i + 2] for i in range(len(names) - 1)]
    return Problem.build(
        variables, [Constraint(p, tuple(p), rng.integers(0, 9, (sizes[p[0]], sizes[p[1]]))) for p in pairs]
    )


def ring(n: int, colours: int) -> Problem:
    domain = Domain("d", tuple(range(colours)))
    pairs = [(i, (i + 1) % n) for i in range(n)]
    return Problem.build(
        [Variable(f"x{i}", domain) for i in range(n)],
        [Constraint(f"c{i}", (f"x{i}", f"x{j}"), np.eye(colours)) for i, j in pairs],
    )


# Without cycles it is optimal --------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", range(0, 500, 100))
def test_optimal_on_five_hundred_acyclic_problems(start: int) -> None:
    for seed in range(start, start + 100):
        problem = acyclic(np.random.default_rng([7, seed]), hard=0.2 if seed % 5 == 0 else 0.0)
        result = simulate(problem, MaxSum, seed=seed, damping=0.0, anytime=seed % 2 == 0)
        assert result.status == "finished"
        assert result.cost == brute_force(problem), f"seed {seed}"


@pytest.mark.parametrize("damped", ["q", "r", "both"])
@pytest.mark.parametrize("normalise", ["mean", "min"])
def test_optimal_with_damping(damped: str, normalise: str) -> None:
    for seed in range(15):
        problem = acyclic(np.random.default_rng([8, seed]))
        result = simulate(problem, MaxSum, seed=seed, damped=damped, normalise=normalise, network=NETWORKS[seed % 4])
        assert result.cost == brute_force(problem), f"seed {seed}"


def test_as_many_rounds_as_the_graph_is_wide_are_enough_and_fewer_are_not() -> None:
    """Only the last of a chain has a preference, and equality carries it to all others: one step a round."""
    domain = Domain("d", (0, 1))
    variables = [Variable(f"x{i}", domain, unary=[3, 0] if i == 5 else None) for i in range(6)]
    equal = [Constraint(f"c{i}", (f"x{i}", f"x{i + 1}"), 9 * (1 - np.eye(2))) for i in range(5)]
    problem = Problem.build(variables, equal)
    for rounds in (5, 6):
        result = simulate(problem, MaxSum, rounds=rounds, damping=0.0, dust=0.0, anytime=False, quiet=0)
        assert (result.cost == 0) == (rounds == 6)


def test_messages_of_function_nodes_are_those_of_the_formula() -> None:
    rng = np.random.default_rng(5)
    tables = [rng.integers(-9, 9, (2, 3, 4)).astype(float) for _ in range(3)]
    tables[1][0, 1, 2] = math.inf
    functions = [
        LocalConstraint("f0", ("x", "y", "z"), tables[0]),
        LocalConstraint("f1", ("y", "x", "z"), np.moveaxis(tables[1], 0, 1)),
        LocalConstraint("f2", ("y", "z", "x"), np.moveaxis(tables[2], 0, 2)),
    ]
    nodes = FunctionNodes(functions, "x", 1e6)
    assert nodes.others == [("y", "z")] * 3
    assert nodes.cells == 72
    for q in nodes.q:
        q[:] = rng.random(q.shape)
    answers = nodes.answers()
    for k, table in enumerate(np.nan_to_num(tables, posinf=1e6)):
        for axis, size in enumerate((2, 3, 4)):
            for value in range(size):
                least = min(
                    table[cell] + sum(nodes.q[a][k, cell[a]] for a in range(3) if a != axis)
                    for cell in product(range(2), range(3), range(4))
                    if cell[axis] == value
                )
                assert answers[axis][k, value] == pytest.approx(least, abs=1e-9)


# With cycles: the best of all rounds -------------------------------------------------------------------------------


def rank(problem: Problem, indices: dict[str, int]) -> tuple[int, float]:
    evaluated = problem.evaluate_indices(indices)
    return evaluated.violations, round(evaluated.soft if problem.objective == "min" else -evaluated.soft, 9)


@pytest.mark.parametrize("network", NETWORKS)
def test_the_cost_is_the_least_of_all_rounds(network: str) -> None:
    for seed in range(25):
        problem = random_problem(np.random.default_rng(seed))
        options: dict[str, Any] = {"seed": seed, "network": network, "rounds": 8, "quiet": 2 * (seed % 2)}
        options["damped"] = ("q", "r", "both")[seed % 3]
        Watched.chosen.clear()
        result = simulate(problem, Watched, **options)
        assert result.status == "finished", f"seed {seed}: {result.status} {result.deadlock}"
        final = problem.indices(result.assignment)
        tree = prepare(problem, Watched, "maxsum", {}).tree
        for root in {place.component for place in tree.values() if place.children}:
            rounds = []
            for joint in Watched.chosen.values():
                own = {name: value for name, value in joint.items() if tree[name].component == root}
                rounds.append(rank(problem, {**final, **own}))
            # What comes after the end was decided is in no comparison.
            assert rank(problem, final) == min(rounds) or options["quiet"], f"seed {seed}: {rounds}"
            assert rank(problem, final) in rounds
        for d in result.log:
            if d.type == "Q":
                assert Watched.chosen.get(d.message.round, {}).get(d.src, d.message.value) == d.message.value
        if not options["quiet"]:
            last = simulate(problem, MaxSum, **options, anytime=False)
            joint = Watched.chosen.get(8, {})
            assert joint.items() <= problem.indices(last.assignment).items()


def test_rounds_without_forbidden_tuples_come_first_whatever_they_cost() -> None:
    """A penalty that is too small misleads messages, and not the comparison of rounds."""
    domain = Domain("d", (0, 1))
    variables = [Variable("x", domain, unary=[0, 1]), Variable("y", domain, unary=[0, 1])]
    problem = Problem.build(variables, [Constraint("c", ("x", "y"), [[math.inf, 50], [50, 50]])])
    result = simulate(problem, MaxSum, penalty=1.0, rounds=30)
    assert result.violations == 1  # x and y at 0 seem cheapest, from the first round on
    result = simulate(problem, MaxSum, rounds=30)
    assert (result.violations, result.cost) == (0, 51)


def test_dust_breaks_ties_and_is_not_in_the_cost() -> None:
    for n in (4, 6):
        assert simulate(ring(n, 2), MaxSum, dust=0.0).cost == n  # all values look alike for ever
        results = [simulate(ring(n, 2), MaxSum, seed=seed, rounds=50) for seed in range(5)]
        assert [r.cost for r in results] == [0] * 5
        assert len({tuple(r.assignment.items()) for r in results}) == 2  # either of the two, by chance
    fine = Problem.build([Variable("x", Domain("d", (0, 1)), unary=[0.5, 0.25])])
    assert simulate(fine, MaxSum).cost == 0.25


# How it runs -------------------------------------------------------------------------------------------------------


def test_ends_when_nothing_changes_anywhere() -> None:
    problem = chain()
    short = simulate(problem, MaxSum, damping=0.0)
    assert short.by_type["UP"].count < 2 * 12
    assert simulate(problem, MaxSum, damping=0.0, quiet=0).by_type["UP"].count == 2 * 200
    longer = simulate(problem, MaxSum, damping=0.0, quiet=9)
    assert longer.by_type["UP"].count - short.by_type["UP"].count >= 2 * 6
    assert short.cost == longer.cost == brute_force(problem)
    damped = simulate(problem, MaxSum, damping=0.8, eps=1e-3)
    assert short.by_type["UP"].count < damped.by_type["UP"].count < 2 * 200
    blind = simulate(problem, MaxSum, damping=0.0, anytime=False)
    assert blind.by_type["UP"].count == short.by_type["UP"].count
    assert blind.cost == short.cost


@pytest.mark.parametrize("anytime", [True, False])
def test_counts_of_messages(anytime: bool) -> None:
    for seed in range(25):
        problem = random_problem(np.random.default_rng(seed))
        result = simulate(problem, MaxSum, seed=seed, rounds=5, quiet=0, anytime=anytime, network="exponential:3")
        sent = Counter(d.type for d in result.log)
        edges = sum(c.arity - 1 for c in problem.constraints.values())
        assert sent["Q"] == edges * (5 if anytime else 4)
        assert sent["R"] == edges * 4
        assert sent["HOST"] == sum(c.arity - 2 for c in problem.constraints.values() if c.arity > 2)
        tree = prepare(problem, MaxSum, "maxsum", {}).tree
        assert sent["UP"] == (5 * sum(place.parent is not None for place in tree.values()) if anytime else 0)
        assert all(tree[d.src].depth < tree[d.dst].depth for d in result.log if d.type == "Q")


def test_figures_of_a_chain_computed_by_hand() -> None:
    """x - y - z with 2, 3 and 4 values and x on top: two rounds, so two q and one r on each of the two functions."""
    problem = chain()
    result = simulate(problem, MaxSum, root="x", rounds=2, quiet=0, dust=0.0, damping=0.0)
    assert {name: m.count for name, m in result.by_type.items()} == {
        "Q": 4,
        "R": 2,
        "UP": 4,
        "BEST": result.by_type["BEST"].count,
    }
    # In each round x reads 1, y 2 and z 1 rows of r and their own costs; in the first, y's and z's functions and the q
    # that came for them; then y and z evaluate a function, and all three their private costs.
    assert result.checks == 2 * (2 * 2 + 3 * 3 + 4 * 2) + (6 + 2) + (12 + 3) + 2 * (2 + 3)
    first = {(d.type, d.src, d.dst): d.message.costs for d in result.log if d.type in "QR" and d.message.round == 1}
    u = {name: problem.variables[name].unary for name in "xyz"}
    q = {name: u[name] - u[name].mean() for name in "xyz"}
    assert first["Q", "x", "y"] == pytest.approx(q["x"])
    assert first["Q", "y", "z"] == pytest.approx(q["y"])
    xy, yz = problem.constraints["xy"].table, problem.constraints["yz"].table
    assert first["R", "y", "x"] == pytest.approx((xy + q["y"]).min(axis=1))
    assert first["R", "z", "y"] == pytest.approx((yz + q["z"]).min(axis=1))
    second = {(d.src, d.dst): d.message.costs for d in result.log if d.type == "Q" and d.message.round == 2}
    q_yz = u["y"] + (xy + q["x"][:, None]).min(axis=0)
    assert second["y", "z"] == pytest.approx(q_yz - q_yz.mean())


def test_damping_mixes_what_is_sent_with_what_was_sent() -> None:
    options: dict[str, Any] = {"root": "x", "rounds": 2, "quiet": 0, "dust": 0.0}
    sent = {}
    for damping in (0.0, 0.75):
        result = simulate(chain(), MaxSum, damping=damping, **options)
        sent[damping] = [d.message.costs for d in result.log if d.type == "Q" and d.src == "y"]
    assert sent[0.75][0] == pytest.approx(sent[0.0][0])
    assert sent[0.75][1] == pytest.approx(0.75 * sent[0.0][0] + 0.25 * sent[0.0][1])


def test_twin_replay_and_tree_by_messages() -> None:
    for seed in range(20):
        problem = random_problem(np.random.default_rng(seed))
        options: dict[str, Any] = {"seed": seed, "rounds": 5, "anytime": seed % 3 > 0}
        result = simulate(problem, MaxSum, network=NETWORKS[seed % 4], **options)
        replayed = replay(result.log, verify=True)
        assert replayed.verified, (seed, replayed.first_difference)
        other = simulate(twin(problem), MaxSum, network=NETWORKS[seed % 4], **options)
        assert other.assignment == result.assignment
        assert other.cost == pytest.approx(-result.cost)
        found = simulate(problem, MaxSum, tree="messages", network=NETWORKS[seed % 3], **options)
        assert found.assignment == result.assignment


def test_an_agent_without_neighbours_takes_its_cheapest_value() -> None:
    problem = Problem.build([Variable("x", Domain("d", (0, 1, 2)), unary=[2.0, math.inf, 1.0])])
    result = simulate(problem, MaxSum)
    assert (result.assignment, result.cost, result.messages, result.checks) == ({"x": 2}, 1, 0, 3)


def test_parameters_are_checked() -> None:
    for wrong in (
        {"rounds": 0}, {"damping": 1.0}, {"damping": -0.1}, {"damped": "x"}, {"normalise": "none"}, {"dust": -1.0},
        {"dust": 1.0}, {"eps": 0.0}, {"quiet": -1}, {"penalty": 0.0}, {"penalty": math.inf},
    ):  # fmt: skip
        with pytest.raises(UserError):
            simulate(chain(), MaxSum, **wrong)


def test_constraints_that_somebody_does_not_know_are_refused() -> None:
    domain = Domain("d", (0, 1))
    secret = Constraint("c", ("x", "y"), np.eye(2), known_to=("x",))
    problem = Problem.build([Variable("x", domain), Variable("y", domain)], [secret])
    with pytest.raises(SolverRefusal, match="maxsum needs every agent"):
        simulate(problem, MaxSum, order="y,x")


@pytest.mark.parametrize("size", [1, 2, 4])
def test_costs_for_another_number_of_values_are_refused_by_their_receiver(size: int) -> None:
    def liar(envelope: Envelope) -> Alter | None:
        if envelope.type != "Q" or envelope.src != "y":
            return None
        return Alter(Q(envelope.message.function, envelope.message.round, np.zeros(size), 0))

    with pytest.raises(AgentFailure, match=rf"y sent costs of shape \({size},\), not \(3,\)"):
        simulate(chain(), MaxSum, root="x", interceptors=[liar])


# What messages say -------------------------------------------------------------------------------------------------


def said_of(
    problem: Problem, result: Result, viewer: tuple[str, ...], **params: Any
) -> list[tuple[Any, list[Statement]]]:
    reader = MaxSum.reader(ReaderContext.of(prepare(problem, MaxSum, "maxsum", params), viewer))
    seen = [d for d in result.log if d.src in viewer or d.dst in viewer]
    return [(d, list(reader.read(d))) for d in seen]


def test_every_statement_of_every_viewer_is_true() -> None:
    said: Counter[str] = Counter()
    for seed in range(45):
        rng = np.random.default_rng(seed)
        problem = acyclic(rng, hard=0.1) if seed % 3 == 0 else random_problem(rng, max_variables=5, max_cells=100)
        params: dict[str, Any] = {"rounds": 3, "dust": 1e-5 * (seed % 2), "anytime": seed % 7 > 0, "quiet": seed % 4}
        params["normalise"] = "min" if seed % 11 == 0 else "mean"
        if seed % 5 == 0:
            params["tree"] = "messages"
        result = simulate(problem, MaxSum, seed=seed, network=NETWORKS[seed % 4], **params)
        said += check_statements(problem, result, MaxSum, **params)
    assert min(said[label] for label in ("difference", "value", "subtree-cost")) > 100


def test_first_messages_tell_differences_of_costs() -> None:
    """x on top: its first q is its private costs. z evaluates yz alone: its first r is its own cost at best."""
    problem = chain()
    u, yz = problem.variables, problem.constraints["yz"].table
    own = {"x": u["x"].unary, "z": (yz + u["z"].unary).min(axis=1)}
    for dust in (0.0, 1e-3):
        params: dict[str, Any] = {"root": "x", "dust": dust, "rounds": 3}
        result = simulate(problem, MaxSum, **params)
        told: dict[str, set[tuple[str, int]]] = {"x": set(), "z": set()}
        for delivery, said in said_of(problem, result, ("y",), **params):
            for s in said:
                if not isinstance(s, CostIs) or s.label != "difference":
                    continue
                assert delivery.message.round == 1
                plus, minus = s.terms
                (axis,) = plus.context
                assert plus.parties == minus.parties == (delivery.src,)
                assert (plus.coefficient, minus.coefficient, minus.context[axis]) == (1, -1, 0)
                assert axis == ("x" if delivery.src == "x" else "y")
                value = plus.context[axis]
                true = own[delivery.src][value] - own[delivery.src][0]
                if dust:
                    assert (
                        true <= s.value <= true + 2 * dust if s.relation == "<=" else true - 2 * dust <= s.value <= true
                    )
                else:
                    assert s.relation == "=="
                    assert s.value == pytest.approx(true)
                told[delivery.src].add((s.relation, value))
        relations = ("<=", ">=") if dust else ("==",)
        assert told == {
            "x": {(r, 1) for r in relations},
            "z": {(r, v) for r in relations for v in (1, 2)},
        }


def test_what_has_gone_through_others_is_not_analysed() -> None:
    problem = chain()
    params: dict[str, Any] = {"root": "y", "rounds": 3}
    result = simulate(problem, MaxSum, **params)
    for delivery, said in said_of(problem, result, ("x", "y", "z"), **params):
        labels = {s.label for s in said if isinstance(s, Unanalysed) and s.fields == ("costs",)}
        if delivery.type in ("Q", "R"):
            expected = {"max-marginals behind the sender"} if delivery.message.round > 1 else set()
            assert labels == expected, delivery


def test_statements_are_bounded_for_large_domains() -> None:
    domain = Domain("d", tuple(range(100)))
    variables = [Variable("x", domain, unary=np.arange(100)), Variable("y", domain)]
    problem = Problem.build(variables, [Constraint("c", ("x", "y"), np.zeros((100, 100)))])
    params: dict[str, Any] = {"root": "x", "rounds": 2}
    result = simulate(problem, MaxSum, **params)
    for delivery, said in said_of(problem, result, ("y",), **params):
        assert len(said) <= 2 * MAX_DIFFERENCES + 5
        if delivery.type == "Q" and delivery.message.round == 1:
            assert sum(isinstance(s, CostIs) for s in said) == 2 * MAX_DIFFERENCES
            assert any(s.label == "differences of further entries" for s in said)
    check_statements(problem, result, MaxSum, **params)
