"""PD-Gibbs: the distribution it samples, what it collects, and what its messages say."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from itertools import product
from typing import Any, ClassVar

import numpy as np
import pytest

from agentsim import Problem, Result, replay, simulate
from agentsim.dcop.problem import Constraint, Domain, Variable
from agentsim.errors import SolverRefusal, UserError
from agentsim.runtime.setup import prepare
from agentsim.runtime.statements import Chosen, CostIs, ReaderContext, Softmax, ValueIs
from agentsim.testing import brute_force, check_statements, random_problem, twin
from solvers.anytime import Anytime
from solvers.pd_gibbs import PdGibbs

NETWORKS = [
    "unit",
    "uniform:1,10",
    "uniform:1,5+loss:.3+duplicate:.2+reorder+reliable",
    "uniform:1,10+duplicate:.3+reorder",
]


class Watched(PdGibbs):
    """The same, and the mechanisms of all agents can be looked at afterwards."""

    mechanisms: ClassVar[dict[str, Anytime]] = {}

    def start(self) -> None:
        super().start()
        if self.view.neighbours:
            self.mechanisms[self.name] = self.anytime


def rounds_of(result: Result) -> dict[int, dict[str, int]]:
    """What everybody with a neighbour had in each round, by the log alone."""
    rounds: dict[int, dict[str, int]] = {}
    for d in result.log:
        if d.type == "VALUE":
            rounds.setdefault(d.message.round, {})[d.src] = d.message.value
    return rounds


def binary(pairs: tuple[str, ...]) -> Problem:
    """Four binary variables with private costs, and functions between these pairs."""
    rng = np.random.default_rng(3)
    domain = Domain("d", (0, 1))
    variables = [Variable(name, domain, unary=rng.random(2).round(2)) for name in "abcd"]
    return Problem.build(variables, [Constraint(xy, tuple(xy), rng.random((2, 2)).round(2)) for xy in pairs])


SQUARE = binary(("ab", "bc", "cd", "da", "ac"))
CYCLE = binary(("ab", "bc", "cd", "da"))


# What is collected -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chromatic", [True, False])
@pytest.mark.parametrize("network", NETWORKS)
def test_the_assignment_costs_what_the_roots_believe_and_no_round_was_better(network: str, chromatic: bool) -> None:
    for seed in range(30):
        problem = random_problem(np.random.default_rng(seed))
        Watched.mechanisms.clear()
        result = simulate(problem, Watched, seed=seed, network=network, iterations=8, chromatic=chromatic)
        assert result.status == "finished", f"seed {seed}: {result.status} {result.deadlock}"
        final = problem.indices(result.assignment)
        evaluated = problem.evaluate_indices(final)
        setup = prepare(problem, Watched, "pd-gibbs", {})
        alone = {name for name in problem.variables if not setup.view(name).neighbours}
        best = [m.best for m in Watched.mechanisms.values() if m.best is not None]
        unary = [setup.unary_table(name)[final[name]].item() for name in alone]
        violations = sum(b[0] for b in best) + sum(map(math.isinf, unary))
        cost = sum(b[1] for b in best) + sum(c for c in unary if math.isfinite(c))
        soft = setup.sense * (evaluated.soft - problem.constant)
        assert (evaluated.violations, soft) == (violations, pytest.approx(cost, abs=1e-9)), f"seed {seed}"
        for joint in rounds_of(result).values():
            assert not problem.better(
                problem.evaluate_indices({**final, **joint}).cost, evaluated.cost - 1e-9 * setup.sense
            )
        assert all(setup.unary_table(name).min() == c for name, c in zip(alone, unary, strict=True))


def test_every_agent_sends_its_value_to_each_neighbour_in_every_round() -> None:
    for seed in range(30):
        problem = random_problem(np.random.default_rng(seed))
        graph = problem.primal_graph()
        for chromatic in (True, False):
            result = simulate(problem, PdGibbs, seed=seed, iterations=7, chromatic=chromatic)
            sent = Counter((d.src, d.dst) for d in result.log if d.type == "VALUE")
            assert sent == {(a, b): 7 for a in graph for b in graph[a]}
            colours = Counter((d.src, d.dst) for d in result.log if d.type == "COLOUR")
            assert colours == ({(a, b): 1 for a in graph for b in graph[a]} if chromatic else {})


def test_neighbours_have_different_colours_and_sample_one_after_the_other() -> None:
    for seed in range(30):
        problem = random_problem(np.random.default_rng(seed))
        result = simulate(problem, PdGibbs, seed=seed, iterations=3, network="exponential:3")
        colours = {d.src: d.message.colour for d in result.log if d.type == "COLOUR"}
        sent: dict[tuple[str, int], float] = {}
        for d in result.log:
            if d.type == "VALUE":
                sent.setdefault((d.src, d.message.round), d.sent_at)
        for a, neighbours in problem.primal_graph().items():
            for b in neighbours:
                assert colours[a] != colours[b]
                for k in (1, 2, 3):
                    assert (sent[a, k] < sent[b, k]) == (colours[a] < colours[b])


def test_in_parallel_a_round_takes_one_step() -> None:
    result = simulate(SQUARE, PdGibbs, iterations=20, chromatic=False)
    last = max(d.delivered_at for d in result.log if d.type == "VALUE")
    assert last == 20
    tree = prepare(SQUARE, PdGibbs, "pd-gibbs", {}).tree
    assert result.virtual_time == last + 2 * max(place.depth for place in tree.values())  # up, and down again


def test_the_first_sample_is_drawn_under_the_first_values() -> None:
    domain = Domain("d", (0, 1))
    table = [[50, 0], [0, 50]]  # whoever knows the other at 0 takes 1
    problem = Problem.build([Variable("x", domain), Variable("y", domain)], [Constraint("c", ("x", "y"), table)])
    rounds = rounds_of(simulate(problem, PdGibbs, iterations=5, chromatic=False))
    assert rounds == {k: {"x": k % 2, "y": k % 2} for k in range(1, 6)}  # in lock-step for ever
    result = simulate(problem, PdGibbs, iterations=5)
    assert result.cost == 0


def test_an_agent_without_neighbours_takes_its_cheapest_value() -> None:
    problem = Problem.build([Variable("x", Domain("d", (0, 1, 2)), unary=[2.0, math.inf, 1.0])])
    result = simulate(problem, PdGibbs)
    assert (result.assignment, result.cost, result.messages, result.checks) == ({"x": 2}, 1, 0, 3)


# What is sampled ---------------------------------------------------------------------------------------------------

CHI_SQUARE_15_999 = 37.697
"""The 99.9 % point of the chi-square distribution with 15 degrees of freedom: one seed in a thousand passes it."""


def chi_square(chromatic: bool, rounds: int = 2000, thin: int = 2) -> float:
    """Pearson's statistic of every second round against the Gibbs distribution of the joint cost."""
    result = simulate(SQUARE, PdGibbs, seed=1, iterations=rounds, chromatic=chromatic)
    assert not result.log_truncated
    by_round = rounds_of(result)
    seen = Counter(tuple(by_round[k][name] for name in "abcd") for k in range(thin, rounds + 1, thin))
    joints = list(product((0, 1), repeat=4))
    costs = np.array([SQUARE.evaluate_indices(dict(zip("abcd", joint, strict=True))).cost for joint in joints])
    expected = np.exp(costs.min() - costs)
    expected *= seen.total() / expected.sum()
    assert expected.min() > 10
    observed = np.array([seen[joint] for joint in joints])
    return float(((observed - expected) ** 2 / expected).sum())


def test_colour_classes_sample_the_gibbs_distribution() -> None:
    assert chi_square(chromatic=True) < CHI_SQUARE_15_999


def test_all_at_once_do_not_and_the_test_can_tell() -> None:
    assert chi_square(chromatic=False) > 2 * CHI_SQUARE_15_999


def clash(costs: Any, n: int = 2) -> Problem:
    domain = Domain("d", tuple(range(n)))
    return Problem.build([Variable("x", domain), Variable("y", domain)], [Constraint("c", ("x", "y"), costs)])


def test_forbidden_tuples_are_never_sampled_where_another_value_is_allowed() -> None:
    result = simulate(clash([[math.inf, 0, 3], [0, math.inf, 3], [3, 3, math.inf]], 3), PdGibbs, iterations=300)
    assert all(joint["x"] != joint["y"] for joint in rounds_of(result).values())
    assert result.violations == 0


def test_where_all_is_forbidden_all_values_are_alike() -> None:
    result = simulate(clash(np.full((2, 2), math.inf)), PdGibbs, iterations=400)
    counts = Counter(joint["x"] for joint in rounds_of(result).values())
    assert 140 < counts[0] < 260  # more than six standard deviations on either side
    assert (result.status, result.cost, result.violations) == ("finished", math.inf, 1)


def test_costs_of_any_size_give_a_distribution() -> None:
    for costs in ([[10**9, -(10**9)], [-(10**9), 10**9]], [[0, 10**15], [10**15, 0]]):
        result = simulate(clash(costs), PdGibbs, iterations=20, penalty=1e12)
        assert result.cost == min(min(row) for row in costs)


# Runs --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chromatic", [True, False])
def test_twin_replay_and_tree_by_messages(chromatic: bool) -> None:
    for seed in range(15):
        problem = random_problem(np.random.default_rng(seed))
        options: dict[str, Any] = {"seed": seed, "iterations": 6, "chromatic": chromatic}
        result = simulate(problem, PdGibbs, network=NETWORKS[seed % 4], **options)
        replayed = replay(result.log, verify=True)
        assert replayed.verified, (seed, replayed.first_difference)
        other = simulate(twin(problem), PdGibbs, network=NETWORKS[seed % 4], **options)
        assert (other.assignment, other.cost) == (result.assignment, pytest.approx(-result.cost))
        found = simulate(problem, PdGibbs, tree="messages", network=NETWORKS[seed % 3], **options)
        assert found.assignment == result.assignment  # what is drawn depends on nobody's speed


def test_more_rounds_find_the_optimum_of_small_problems() -> None:
    for seed in range(15):
        problem = random_problem(np.random.default_rng(seed), max_variables=4)
        result = simulate(problem, PdGibbs, seed=seed, iterations=150)
        optimum = brute_force(problem)
        if problem.integral:
            worse = abs(result.cost - optimum) if math.isfinite(optimum) else 0.0
            assert worse <= 2, f"seed {seed}: {result.cost}, not {optimum}"


def test_parameters_are_checked() -> None:
    for wrong in ({"iterations": 0}, {"penalty": 0}, {"penalty": math.inf}, {"chromatic": "maybe"}):
        with pytest.raises(UserError):
            simulate(SQUARE, PdGibbs, **wrong)


def test_constraints_that_somebody_does_not_know_are_refused() -> None:
    domain = Domain("d", (0, 1))
    secret = Constraint("c", ("x", "y"), np.eye(2), known_to=("x",))
    problem = Problem.build([Variable("x", domain), Variable("y", domain)], [secret])
    with pytest.raises(SolverRefusal, match="pd-gibbs needs every agent"):
        simulate(problem, PdGibbs, order="y,x")


# What messages say -------------------------------------------------------------------------------------------------


def statements(result: Result, problem: Problem, viewer: tuple[str, ...], **params: Any) -> Iterator[tuple[Any, Any]]:
    """Deliveries that the viewer saw, with what they say to it."""
    reader = PdGibbs.reader(ReaderContext.of(prepare(problem, PdGibbs, "pd-gibbs", params), viewer))
    for delivery in result.log:
        if delivery.src in viewer or delivery.dst in viewer:
            yield delivery, list(reader.read(delivery))


def test_every_statement_of_every_viewer_is_true() -> None:
    said: Counter[str] = Counter()
    for seed in range(45):
        problem = random_problem(np.random.default_rng(seed), max_variables=5, max_cells=100)
        params: dict[str, Any] = {"iterations": 3, "chromatic": seed % 3 > 0}
        if seed % 5 == 0:
            params["tree"] = "messages"
        result = simulate(problem, PdGibbs, seed=seed, network=NETWORKS[seed % 4], **params)
        said += check_statements(problem, result, PdGibbs, **params)
    assert min(said[label] for label in ("sample", "value", "subtree-cost")) > 100


@pytest.mark.parametrize("chromatic", [True, False])
def test_a_sample_is_said_to_be_drawn_under_the_values_that_it_was_drawn_under(chromatic: bool) -> None:
    problem = SQUARE
    result = simulate(problem, PdGibbs, iterations=5, chromatic=chromatic, network="exponential:3")
    rounds = {0: dict.fromkeys(problem.variables, 0), **rounds_of(result)}
    colours = {d.src: d.message.colour for d in result.log if d.type == "COLOUR"}
    graph = problem.primal_graph()
    for viewer in (("b",), ("a", "c"), tuple(problem.variables)):
        seen = 0
        for delivery, said in statements(result, problem, viewer, chromatic=chromatic):
            if delivery.type != "VALUE":
                continue
            (value,) = [s for s in said if isinstance(s, ValueIs)]
            (chosen,) = [s for s in said if isinstance(s, Chosen)]
            src, k = delivery.src, delivery.message.round
            assert (value.variable, value.value) == (chosen.variable, chosen.value) == (src, rounds[k][src])
            before = {n: chromatic and colours[n] < colours[src] for n in graph[src]}
            expected = {n: rounds[k if before[n] else k - 1][n] for n in graph[src] if n in viewer}
            assert chosen.context == expected
            assert (chosen.law, chosen.forbidden) == (Softmax(None, 0.0, True), 1e6)
            seen += 1
        assert seen >= 15


def test_a_subtrees_cost_is_exact_to_whoever_knows_all_its_values() -> None:
    """The tree is the chain a, b, c, d, and d has a constraint with a, which c has none with."""
    rounds: dict[int, dict[str, int]] = {}
    exact = {("a", "b", "c", "d"): {"b", "c", "d"}, ("a", "c"): {"b", "c", "d"}, ("c",): set(), ("b",): set()}
    for viewer, known in exact.items():
        params: dict[str, Any] = {"order": "a,b,c,d", "iterations": 4}
        result = simulate(CYCLE, PdGibbs, **params)
        rounds = rounds_of(result)
        senders = set()
        for delivery, said in statements(result, CYCLE, viewer, **params):
            if delivery.type != "UP":
                continue
            (cost,) = [s for s in said if isinstance(s, CostIs)]
            (term,) = cost.terms
            assert (cost.relation, cost.value, term.rest) == ("==", delivery.message.cost, "subtree")
            assert term.parties == (delivery.src,)
            assert term.context.items() <= rounds[delivery.message.round].items()
            assert (cost.others == "best") == (delivery.src in known)
            senders.add(delivery.src)
        assert senders >= known


def test_forbidden_tuples_are_told_as_penalties() -> None:
    problem = clash([[math.inf, 3], [math.inf, math.inf]])
    params = {"iterations": 30, "chromatic": False, "penalty": 2.0}
    result = simulate(problem, PdGibbs, **params)
    told = set()
    for delivery, said in statements(result, problem, ("x", "y"), **params):
        if delivery.type == "UP":
            (cost,) = [s for s in said if isinstance(s, CostIs)]
            told.add((delivery.message.violations, delivery.message.cost, cost.value, cost.forbidden))
    assert told == {(0, 3, 3, math.inf), (1, 0, 2.0, 2.0)}
