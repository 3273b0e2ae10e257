"""SD-Gibbs: what the roots believe against the true utilities, the distribution sampled, what its messages say.

Statistical tests have fixed seeds. Their limits are such that a right solver would fail with one seed in a million.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from statistics import NormalDist
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest

from agentsim import Problem, Result, replay, simulate
from agentsim.dcop.problem import Constraint, Domain, Variable
from agentsim.errors import SolverRefusal, UserError
from agentsim.runtime.reading import make_reader
from agentsim.runtime.router import Delay
from agentsim.runtime.setup import prepare
from agentsim.runtime.statements import Best, Chosen, CostIs, Softmax, Statement, Unanalysed, ValueIs
from agentsim.runtime.view import Setup
from agentsim.testing import Truth, brute_force, check_statements, random_problem, twin
from solvers import sd_gibbs as module
from solvers.sd_gibbs import Backtrack, SdGibbs, Stop, Value

NETWORKS = ["unit", "uniform:1,10", "exponential:3", "uniform:1,5+loss:.3+duplicate:.2+reorder+reliable"]
COPYING = ["unit+duplicate:.3", "uniform:1,10+duplicate:.3", "exponential:3+duplicate:.9"]
WITHOUT_ORDER = ["uniform:1,10+reorder", "uniform:1,10+duplicate:.5+reorder"]

Function = tuple[tuple[str, ...], Any]


class Watched(SdGibbs):
    """The same, and what the roots believe after each iteration can be looked at afterwards."""

    believed: ClassVar[dict[str, list[tuple[float, float, float]]]] = {}  # Omega, Omega-bar and Omega* by root

    def end_iteration(self) -> None:
        Omega_bar = self.Omega + self.delta_bar
        super().end_iteration()
        self.believed.setdefault(self.name, []).append((self.Omega, Omega_bar, self.Omega_star))


def problem_of(
    names: str, size: int, constraints: Mapping[str, Any], unary: Mapping[str, Any] | None = None, **options: Any
) -> Problem:
    """Variables and scopes are single letters: {"ab": table}."""
    domain = Domain("d", tuple(range(size)))
    return Problem.build(
        [Variable(n, domain, unary=(unary or {}).get(n)) for n in names],
        [Constraint(scope, tuple(scope), table) for scope, table in constraints.items()],
        **options,
    )


def clique(n: int, size: int, seed: int, most: int = 10) -> Problem:
    rng = np.random.default_rng(seed)
    names = "abcdefgh"[:n]
    pairs = ["".join(pair) for pair in combinations(names, 2)]
    return problem_of(names, size, {pair: rng.integers(0, most, (size, size)) for pair in pairs})


def rounds_of(result: Result) -> dict[int, dict[str, Value]]:
    """What everybody with a neighbour said in each iteration, by the log alone."""
    rounds: dict[int, dict[str, Value]] = {}
    for d in result.log:
        if d.type == "VALUE":
            rounds.setdefault(d.message.t, {})[d.src] = d.message
    return rounds


def functions_of(problem: Problem, penalty: float = 1e6) -> list[Function]:
    """All cost functions, to be minimised, with forbidden tuples at the penalty."""
    sense = 1 if problem.objective == "min" else -1
    functions: list[Function] = [((v.name,), v.unary) for v in problem.variables.values() if v.unary is not None]
    functions += [(c.scope, c.table) for c in problem.constraints.values()]
    return [(scope, np.where(np.isinf(table), penalty, sense * table)) for scope, table in functions]


def utility(functions: Iterable[Function], component: Iterable[str], values: Mapping[str, int]) -> float:
    """F of the component's variables."""
    members = set(component)
    return -math.fsum(table[tuple(values[n] for n in scope)] for scope, table in functions if scope[0] in members)


def components(setup: Setup) -> dict[str, tuple[str, ...]]:
    """Those below a root and itself, for roots that are not alone."""
    assert setup.tree is not None
    return {root: setup.tree.subtree(root) for root in setup.tree.roots if setup.tree[root].children}


def upper(setup: Setup, name: str) -> set[str]:
    place = setup.view(name).tree
    return {*place.pseudo_parents, *([] if place.parent is None else [place.parent])}


def differences(problem: Problem, result: Result, setup: Setup, penalty: float = 1e6) -> list[str]:
    """Where what the roots believed of a run is not so: the identities, iteration by iteration."""
    functions, rounds, wrong = functions_of(problem, penalty), rounds_of(result), []
    final = problem.indices(result.assignment)

    def compare(what: str, believed: float, true: float) -> None:
        if believed != true and (problem.integral or abs(believed - true) > 1e-6):
            wrong.append(f"{what}: {believed}, not {true}")

    for root, members in components(setup).items():
        at_start = utility(functions, members, dict.fromkeys(members, 0))
        before, best = 0.0, 0.0
        for t, (Omega, Omega_bar, Omega_star) in enumerate(Watched.believed[root], 1):
            said = rounds[t]
            best = max(best, Omega, Omega_bar)
            where = f"iteration {t} of {root}"
            if said.keys() >= set(members):  # of the last iteration, some may not have arrived before the end
                sampled, best_response = {n: said[n].d for n in members}, {n: said[n].best for n in members}
                compare(f"{where}: Omega", Omega, utility(functions, members, sampled) - at_start)
                compare(f"{where}: Omega-bar", Omega_bar, utility(functions, members, best_response) - at_start)
            compare(f"{where}: Omega*", Omega_star, best)
            if Omega_bar < before - 1e-6:
                wrong.append(f"{where}: the best response is worse than what was there: {Omega_bar} < {before}")
            before = Omega
        compare(f"{root} in the end", Watched.believed[root][-1][2], utility(functions, members, final) - at_start)
    return wrong


class Run(NamedTuple):
    result: Result
    setup: Setup
    wrong: list[str]


def watched(problem: Problem, cls: type[Watched] = Watched, **options: Any) -> Run:
    """Run, and tell what the roots were wrong about."""
    Watched.believed.clear()
    result = simulate(problem, cls, **options)
    assert result.status == "finished", (result.status, result.deadlock)
    params = {name: value for name, value in options.items() if name in ("order", "root", "penalty")}
    setup = prepare(problem, cls, "sd-gibbs", params)
    return Run(result, setup, differences(problem, result, setup, params.get("penalty", 1e6)))


# What the root knows ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", NETWORKS)
def test_the_root_knows_the_utility_of_every_assignment_exactly(network: str) -> None:
    improved = 0
    for seed in range(100):
        problem = random_problem(np.random.default_rng(seed), max_variables=5)
        result, setup, wrong = watched(problem, seed=seed, network=network, iterations=3)
        assert not wrong, f"seed {seed}: {wrong}"
        improved += any(star > 0 for history in Watched.believed.values() for _, _, star in history)
        tree, graph = setup.tree, problem.primal_graph()
        assert tree is not None
        sent = Counter((d.src, d.dst, d.type, getattr(d.message, "t", None)) for d in result.log)
        expected = Counter((a, b, "VALUE", t) for a in graph for b in graph[a] for t in (1, 2, 3))
        for name, place in tree.items():
            if place.parent is not None:
                expected.update((name, place.parent, "BACKTRACK", t) for t in (1, 2, 3))
                expected[place.parent, name, "STOP", None] += 1
        assert sent <= expected, f"seed {seed}"
        assert result.messages + result.local_messages == expected.total()  # some arrive when all have ended
    assert improved > 40


@pytest.mark.parametrize("network", [*COPYING, *WITHOUT_ORDER])
def test_copies_and_messages_out_of_order_do_no_harm(network: str) -> None:
    for seed in range(30):
        problem = random_problem(np.random.default_rng(seed))
        run = watched(problem, seed=seed, network=network, iterations=4)
        assert not run.wrong, f"seed {seed}: {run.wrong}"


def test_the_network_does_not_change_what_is_said() -> None:
    for seed in range(12, 24):
        problem = random_problem(np.random.default_rng(seed))
        plain = simulate(problem, SdGibbs, seed=seed, iterations=4)
        for network in (*NETWORKS[1:], *COPYING, *WITHOUT_ORDER):
            result = simulate(problem, SdGibbs, seed=seed, iterations=4, network=network)
            assert result.assignment == plain.assignment, f"{seed}, {network}"
            for t, said in rounds_of(result).items():
                assert said.items() <= rounds_of(plain)[t].items(), f"{seed}, {network}"


def test_a_stop_is_passed_on_once_even_if_its_copy_comes_with_it() -> None:
    chain = problem_of("abcdef", 2, {pair: np.eye(2) for pair in ("ab", "bc", "cd", "de", "ef")})
    result = simulate(chain, SdGibbs, network="constant:0+duplicate:.9", order="lexical", iterations=2)
    assert result.by_type["STOP"].count == 5


def test_a_slow_link_to_a_pseudo_parent_is_waited_for() -> None:
    def slow(envelope: Any) -> Delay | None:
        return Delay(30) if {envelope.src, envelope.dst} == {"a", "c"} else None

    patient = hasty = 0
    for seed in range(20):
        problem = clique(3, 3, seed, most=4)
        options: dict[str, Any] = {"seed": seed, "iterations": 4, "order": "lexical", "interceptors": [slow]}
        patient += bool(watched(problem, **options).wrong)
        hasty += bool(watched(problem, Hasty, **options).wrong)
    assert (patient, hasty > 10) == (0, True)


class Hasty(Watched):
    """Samples as soon as the parent's VALUE comes."""

    def ready(self) -> bool:
        return self.iteration_over if self.parent is None else self.parent_knows is not None


class BestBelow(Watched):
    """Puts the best response of lower neighbours into the best-response context, too."""

    def on_value(self, sender: str, value: Value) -> None:
        super().on_value(sender, value)
        if value.t == self.seen[sender]:
            self.C_bar[sender] = value.best


class TakesBest(Watched):
    """Takes over its best response also where the sampled assignment was the better one."""

    def learn(self, t_star: int, t_bar: int) -> None:
        self.d = self.d_bar
        super().learn(t_star, t_bar)


@pytest.mark.parametrize(
    ("cls", "params"), [(Watched, {"listing": "paper"}), (Hasty, {}), (BestBelow, {}), (TakesBest, {})]
)
def test_each_correction_of_the_printed_procedures_is_needed(cls: type[Watched], params: dict[str, Any]) -> None:
    corrected = printed = 0
    for seed in range(25):
        problem = clique(4, 3, seed, most=4)
        options: dict[str, Any] = {"seed": seed, "network": "uniform:1,10", "iterations": 6}
        corrected += bool(watched(problem, **options).wrong)
        printed += bool(watched(problem, cls, **options, **params).wrong)
    assert (corrected, printed > 5) == (0, True), printed


def test_forests_have_a_root_each_and_stop_by_themselves() -> None:
    table = np.array([[3, 1], [0, 2]])
    forest = problem_of("abcdefg", 2, {"ab": table, "bc": table, "de": table}, {"f": [2, 1], "a": [0, 5]})
    result, _, wrong = watched(forest, iterations=5)
    assert not wrong
    assert len(Watched.believed) == 2
    assert {result.assignment["f"], result.assignment["g"]} == {1, 0}
    assert not any({"f", "g"} & {d.src, d.dst} for d in result.log)


def test_several_variables_of_one_agent() -> None:
    rng = np.random.default_rng(5)
    domain = Domain("d", (0, 1, 2))
    variables = [Variable(f"x{i}", domain, f"a{i % 2}", unary=rng.integers(0, 5, 3)) for i in range(5)]
    scopes = [("x0", "x2"), ("x1", "x2", "x3"), ("x3", "x4"), ("x0", "x4")]
    problem = Problem.build(variables, [Constraint("".join(s), s, rng.integers(0, 9, (3,) * len(s))) for s in scopes])
    result, _, wrong = watched(problem, iterations=10, network="exponential:3")
    assert not wrong
    assert result.local_messages > 0
    assert result.messages + result.local_messages == len(list(result.log))


def test_agents_alone_take_their_cheapest_value_without_a_message() -> None:
    result = simulate(problem_of("a", 3, {}, {"a": [2.0, math.inf, 1.0]}), SdGibbs)
    assert (result.assignment, result.cost, result.messages, result.checks) == ({"a": 2}, 1, 0, 3)
    result = simulate(problem_of("a", 3, {}, {"a": [2, 7, 1]}, objective="max", agents=["idle"]), SdGibbs)
    assert (result.assignment, result.cost) == ({"a": 1}, 7)


def test_checks_are_the_entries_read() -> None:
    problem = problem_of("abc", 3, {"ab": np.eye(3), "abc": np.zeros((3, 3, 3))}, {"c": [1, 2, 3]})
    result = simulate(problem, SdGibbs, iterations=7)
    assert result.checks == 7 * 2 * 3 * (2 + 2 + 2)  # iterations, contexts, values, functions of a, b and c


def test_more_iterations_find_the_optimum_of_small_problems() -> None:
    for seed in range(10):
        problem = clique(4, 3, seed)
        assert simulate(problem, SdGibbs, seed=seed, iterations=100).cost <= brute_force(problem) + 1


# One agent by itself ---------------------------------------------------------------------------------------------


class Wire:
    """A port that keeps what is sent, and whose random numbers are all a half."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Any]] = []
        self.assigned: list[int] = []
        self.finished = False
        self.rng = self

    def send(self, to: str, message: Any) -> None:
        self.sent.append((to, message))

    def assign(self, value: int) -> None:
        self.assigned.append(value)

    def check(self, n: int) -> None: ...

    def random(self) -> float:
        return 0.5

    def take(self) -> list[tuple[str, Any]]:
        taken, self.sent = self.sent, []
        return taken


def middle() -> tuple[SdGibbs, Wire]:
    """Agent c of the tree a, b below a, c below b, d below c, with the pseudo-parent a and the pseudo-child e.

    It prefers the value 2 strongly, whatever its neighbours have.
    """
    pairs = ["ab", "bc", "ac", "cd", "de", "ce"]
    problem = problem_of("abcde", 3, {p: np.zeros((3, 3)) for p in pairs}, {"c": [100, 50, 0]})
    setup = prepare(problem, SdGibbs, "sd-gibbs", {"order": "a,b,c,d,e"})
    wire = Wire()
    agent = SdGibbs(setup.view("c"), wire, setup.params)  # type: ignore[arg-type]
    assert (agent.view.tree.parent, agent.view.tree.children, agent.view.tree.pseudo_parents) == ("b", ("d",), ("a",))
    agent.start()
    return agent, wire


def test_an_iteration_of_an_agent_in_the_middle() -> None:
    agent, wire = middle()
    agent.on_value("b", Value(1, 1, 2, 0, 0))
    agent.decide()
    assert wire.take() == []  # the pseudo-parent's is missing
    agent.on_value("a", Value(1, 0, 1, 0, 0))
    agent.decide()
    assert wire.take() == [(n, Value(1, 2, 2, 0, 0)) for n in "abde"]
    assert (agent.C, agent.C_bar) == ({"a": 0, "b": 1, "d": 0, "e": 0}, {"a": 1, "b": 2, "d": 0, "e": 0})
    agent.on_backtrack("d", Backtrack(1, 7, 8))
    assert wire.take() == [("b", Backtrack(1, 107, 108))]
    agent.on_value("b", Value(2, 0, 0, 1, 0))
    agent.on_value("a", Value(2, 0, 0, 1, 0))
    agent.on_value("d", Value(1, 1, 2, 0, 0))
    agent.decide()
    assert wire.take() == []  # the pseudo-child's of the last iteration is missing
    agent.on_value("e", Value(1, 2, 1, 0, 0))
    assert (agent.C["d"], agent.C_bar["d"], agent.C["e"], agent.C_bar["e"]) == (1, 1, 2, 2)
    agent.decide()
    assert wire.take() == [(n, Value(2, 2, 2, 1, 0)) for n in "abde"]
    assert (agent.d_star, wire.assigned[-1]) == (2, 2)
    assert (agent.delta, agent.delta_bar) == (0, 0)


def test_copies_count_once() -> None:
    agent, wire = middle()
    for _ in range(2):
        agent.on_value("a", Value(1, 0, 0, 0, 0))
    agent.decide()
    assert wire.take() == []
    for _ in range(2):
        agent.on_value("b", Value(1, 0, 0, 0, 0))
        agent.decide()
    assert len(wire.take()) == 4
    for _ in range(2):
        agent.on_backtrack("d", Backtrack(1, 1, 1))
    assert wire.take() == [("b", Backtrack(1, 101, 101))]
    agent.on_value("b", Value(2, 1, 1, 0, 0))
    agent.on_value("b", Value(1, 2, 2, 0, 0))  # late
    assert (agent.C["b"], agent.C_bar["b"]) == (1, 1)


def test_what_is_learnt_of_an_iteration_is_what_was_had_in_it() -> None:
    agent, _ = middle()
    agent.d, agent.d_bar = 0, 1
    agent.learn(1, 0)
    assert (agent.d_star, agent.t_star, agent.t_bar) == (0, 1, 0)
    agent.d, agent.d_bar = 2, 1
    agent.learn(1, 0)  # known already
    assert agent.d_star == 0
    agent.learn(1, 2)
    assert (agent.d_star, agent.t_star, agent.t_bar) == (1, 1, 2)
    agent.d = 0
    agent.on_stop("b", Stop(1, 2))
    assert agent.finished
    assert agent.d_star == 1


# What is sampled -------------------------------------------------------------------------------------------------


def chi_square_limit(freedom: int) -> float:
    """The point that a chi-square number of so many degrees of freedom passes once in a million (Wilson, Hilferty)."""
    part = 2 / (9 * freedom)
    return float(freedom * (1 - part + NormalDist().inv_cdf(1 - 1e-6) * math.sqrt(part)) ** 3)


def pearson(problem: Problem, result: Result, scale: float = 1.0) -> tuple[float, int]:
    """Pearson's statistic of all samples of a run against Eq. 2, with its degrees of freedom.

    Samples are grouped by agent and context; groups are left out where a value would be expected less than 5 times.
    """
    setup, functions, rounds = prepare(problem, SdGibbs, "sd-gibbs", {}), functions_of(problem), rounds_of(result)
    above = {name: upper(setup, name) for name in problem.variables}
    graph = problem.primal_graph()
    seen: dict[tuple[str, tuple[tuple[str, int], ...]], Counter[int]] = {}
    for t in range(2, len(rounds) + 1):
        for name, value in rounds[t].items():
            context = tuple((n, rounds[t if n in above[name] else t - 1][n].d) for n in sorted(graph[name]))
            seen.setdefault((name, context), Counter())[value.d] += 1
    statistic, freedom = 0.0, 0
    for (name, context), counts in seen.items():
        local = [f for f in functions if name in f[0]]
        size = problem.variables[name].size
        costs = [sum(table[tuple({**dict(context), name: v}[n] for n in s)] for s, table in local) for v in range(size)]
        expected = np.exp(scale * (min(costs) - np.array(costs)))
        expected *= counts.total() / expected.sum()
        if expected.min() >= 5:
            statistic += float(((np.array([counts[v] for v in range(size)]) - expected) ** 2 / expected).sum())
            freedom += size - 1
    return statistic, freedom


def test_values_are_sampled_from_the_gibbs_distribution() -> None:
    rng = np.random.default_rng(3)
    tables = {pair: (2 * rng.random((3, 3))).round(2) for pair in ("ab", "bc", "ac", "cd")}
    problem = problem_of("abcd", 3, tables, {"a": [0.5, 0.0, 0.25]})
    result = simulate(problem, SdGibbs, seed=1, iterations=1500)
    assert not result.log_truncated
    statistic, freedom = pearson(problem, result)
    assert freedom > 50
    assert statistic < chi_square_limit(freedom)
    assert pearson(problem, result, scale=1.35)[0] > chi_square_limit(freedom)  # the test has the power to tell


FIGURE_1 = problem_of("abc", 2, {pair: [[0, -1], [-1, 2]] for pair in ("ab", "bc", "ac")}, objective="max")
"""The paper's example. Its Fig. 1 cannot be read; this table gives all the numbers that the text draws from it."""


def test_the_example_of_the_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    laws: dict[tuple[int, ...], list[float]] = {}
    context: list[tuple[int, ...]] = [()]

    class Spied(SdGibbs):
        def draw(self, cost: Any) -> int:
            context[0] = tuple(self.C.values())
            return super().draw(cost)

    def spy(uniform: float, weights: Any) -> int:
        laws[context[0]] = (weights / weights.sum()).tolist()
        return pick(uniform, weights)

    pick = module.pick
    monkeypatch.setattr(module, "pick", spy)
    results = [simulate(FIGURE_1, Spied, seed=seed, iterations=50) for seed in range(5)]
    assert brute_force(FIGURE_1) == 6
    assert all(r.cost == 6 and set(r.assignment.values()) == {1} for r in results)
    assert laws[0, 0] == pytest.approx([0.88, 0.12], abs=0.005)
    assert laws[1, 1] == pytest.approx([0.002, 0.998], abs=0.001)


def test_forbidden_tuples_are_never_sampled_where_another_value_is_allowed() -> None:
    inf = math.inf
    problem = problem_of("ab", 3, {"ab": [[inf, 0, 3], [0, inf, 3], [3, 3, inf]]})
    result, _, wrong = watched(problem, iterations=200)
    assert not wrong
    assert all(said["a"].d != said["b"].d for t, said in rounds_of(result).items())
    assert result.violations == 0


def test_where_all_is_forbidden_all_values_are_alike() -> None:
    result, _, wrong = watched(problem_of("ab", 2, {"ab": np.full((2, 2), math.inf)}), iterations=400)
    assert not wrong
    counts = Counter(said["a"].d for said in rounds_of(result).values())
    assert 150 < counts[0] < 250  # five standard deviations on either side
    assert (result.cost, result.violations) == (math.inf, 1)


@pytest.mark.parametrize("scale", [1e-300, 1, 1e6, 1e14, 1e200])
def test_costs_of_any_size_give_a_distribution_and_finite_sums(scale: float) -> None:
    table = scale * np.array([[0.5, -3.25, math.inf], [2.5, 0.75, -1.0], [math.inf, 0.25, 3.0]])
    problem = problem_of(
        "abc", 3, {"ab": table, "bc": table, "ac": table}, {"a": [0.25, 0, 0], "b": [0.0, math.inf, scale]}
    )
    result = simulate(problem, SdGibbs, iterations=10)
    for d in result.log:
        assert all(math.isfinite(x) for x in d.message)
    assert result.status == "finished"


def test_the_penalty_is_what_a_forbidden_tuple_counts() -> None:
    problem = problem_of("ab", 2, {"ab": [[math.inf, 1], [1, 0]]})
    result = simulate(problem, SdGibbs, penalty=1000, order="a,b", iterations=1)
    (report,) = [d.message for d in result.log if d.type == "BACKTRACK"]
    (said,) = rounds_of(result).values()
    assert (said["a"], said["b"].best) == (Value(1, 1, 1, 0, 0), 1)  # nobody stays at the penalty
    assert (report.delta, report.best_delta) == (1 - said["b"].d == 0, 1)
    for penalty in (1.0, 1e3, 1e9, 1e12):
        assert not watched(problem, penalty=penalty, iterations=5).wrong


# Runs ------------------------------------------------------------------------------------------------------------


def test_twin_replay_seeds_and_tree_by_messages(tmp_path: Any) -> None:
    differ = same_tree = 0
    for seed in range(12):
        problem = random_problem(np.random.default_rng(seed))
        options: dict[str, Any] = {"seed": seed, "iterations": 4, "network": NETWORKS[seed % 4]}
        first, second = tmp_path / "first.amlog", tmp_path / "second.amlog"
        result = simulate(problem, SdGibbs, log=first, **options)
        simulate(problem, SdGibbs, log=second, **options)
        assert first.read_bytes() == second.read_bytes()
        replayed = replay(first, verify=True, solver=SdGibbs)
        assert replayed.verified, (seed, replayed.first_difference)
        differ += rounds_of(simulate(problem, SdGibbs, **{**options, "seed": seed + 1000})) != rounds_of(result)
        mirrored = simulate(twin(problem), SdGibbs, **options)
        assert (mirrored.assignment, mirrored.cost) == (result.assignment, pytest.approx(-result.cost))
        assert rounds_of(mirrored) == rounds_of(result)
        found = simulate(problem, SdGibbs, tree="messages", **options)
        if parents(found) == parents(result):
            same_tree += bool(parents(found))
            assert (rounds_of(found), found.assignment) == (rounds_of(result), result.assignment)
        assert found.status == "finished"
    assert differ > 3
    assert same_tree > 3


def parents(result: Result) -> dict[str, str]:
    return {d.src: d.dst for d in result.log if d.type == "BACKTRACK"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"iterations": 0},
        {"penalty": 0},
        {"penalty": -1},
        {"penalty": math.inf},
        {"penalty": math.nan},
        {"listing": "printed"},
        {"temperature": 1},
    ],
    ids=str,
)
def test_parameters_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        simulate(FIGURE_1, SdGibbs, **wrong)


def test_constraints_that_somebody_does_not_know_are_refused() -> None:
    domain = Domain("d", (0, 1))
    for secret in ({"known_to": ("y",)}, {"owner": "y"}):
        constraint = Constraint("c", ("x", "y"), np.eye(2), **secret)
        problem = Problem.build([Variable("x", domain), Variable("y", domain)], [constraint])
        if "owner" in secret:  # its owner gets a copy of x, and evaluates it alone
            assert simulate(problem, SdGibbs).status == "finished"
        else:
            with pytest.raises(SolverRefusal, match="x's agent x does not know c"):
                simulate(problem, SdGibbs, order="x,y")


# What messages say -----------------------------------------------------------------------------------------------


def statements(
    result: Result, setup: Setup, viewer: Iterable[str], cls: type[SdGibbs] = SdGibbs
) -> Iterator[tuple[Any, list[Statement]]]:
    """Deliveries that a coalition of agents saw, with what they say to it."""
    nodes = {node for node, owner in setup.nodes.items() if owner in set(viewer)}
    reader = make_reader(cls, setup, sorted(nodes))
    assert reader is not None
    for delivery in result.log:
        if delivery.src in nodes or delivery.dst in nodes:
            yield delivery, list(reader.read(delivery))


def test_every_statement_is_true() -> None:
    said: Counter[str] = Counter()
    for seed in range(30):
        problem = random_problem(np.random.default_rng(seed), max_variables=5, max_cells=100)
        params: dict[str, Any] = {"iterations": 3}
        if seed % 5 == 0:
            params["tree"] = "messages"
        elif seed % 5 == 1:
            params["listing"] = "paper"
        result = simulate(problem, SdGibbs, seed=seed, network=NETWORKS[seed // 2 % 4], **params)
        said += check_statements(problem, result, SdGibbs, **params)
    assert min(said[label] for label in ("value", "sample", "best-response", "delta")) > 300


@pytest.mark.parametrize("network", ["exponential:3", NETWORKS[3], COPYING[2], *WITHOUT_ORDER])
def test_contexts_are_those_in_which_the_sender_chose(network: str) -> None:
    """To every agent, to all coalitions of two and to all together; and "now" is now."""
    chosen = gained = 0
    for seed in range(22, 30):
        problem = random_problem(np.random.default_rng(seed), max_variables=4, max_cells=100)
        setup = prepare(problem, SdGibbs, "sd-gibbs", {})
        result = simulate(problem, SdGibbs, seed=seed, network=network, iterations=4)
        rounds, graph, truth = rounds_of(result), problem.primal_graph(), Truth(setup)
        rounds[0] = {name: Value(0, 0, 0, 0, 0) for name in problem.variables}
        sent = {(d.src, d.message.t): d.sent_at for d in result.log if d.type == "VALUE"}
        viewers = [*combinations(problem.agents, 1), *combinations(problem.agents, 2), problem.agents]
        for viewer in viewers:
            for delivery, said in statements(result, setup, viewer):
                src, where = delivery.src, f"seed {seed}, viewer {viewer}: {delivery}"
                for statement in said:
                    assert truth.holds(statement), f"{where}: {statement}"
                    if isinstance(statement, Chosen):
                        chosen += 1
                        t, bar = delivery.message.t, statement.label == "best-response"
                        above = upper(setup, src)
                        true = {
                            n: rounds[t][n].best if bar and n in above else rounds[t if n in above else t - 1][n].d
                            for n in graph[src]
                        }
                        known = {n: v for n, v in true.items() if setup.nodes[n] in viewer}
                        assert statement.context == known, f"{where}: {statement}, not {known}"
                        assert statement.law == (Best() if bar else Softmax(None, 0.0, True))
                        assert statement.value == (delivery.message.best if bar else delivery.message.d)
                    elif isinstance(statement, ValueIs):
                        assert statement.when == "now"
                        later = sent.get((src, delivery.message.t + 1), math.inf)
                        assert delivery.delivered_at <= later, f"{where}: it has another value now"
                    gained += isinstance(statement, CostIs)
    assert chosen > 800
    assert gained > 100


def test_a_leafs_gain_is_exact_to_its_neighbours_together() -> None:
    problem = clique(3, 3, 1)
    setup = prepare(problem, SdGibbs, "sd-gibbs", {"order": "a,b,c"})
    result = simulate(problem, SdGibbs, iterations=5, order="a,b,c")
    rounds = {0: dict.fromkeys("abc", Value(0, 0, 0, 0, 0)), **rounds_of(result)}
    functions = [f for f in functions_of(problem) if "c" in f[0]]

    def cost(values: Mapping[str, int]) -> float:
        return sum(table[tuple(values[n] for n in scope)].item() for scope, table in functions)

    for viewer, known in ((("b",), {"b"}), (("a", "b"), {"a", "b"}), (("a", "b", "c"), {"a", "b"})):
        told = 0
        for delivery, said in statements(result, setup, viewer):
            if delivery.type != "BACKTRACK" or delivery.src != "c":
                continue
            by_field = {s.fields: s for s in said if isinstance(s, CostIs)}
            t = delivery.message.t
            for bar, field in ((False, "delta"), (True, "best_delta")):
                statement = by_field[(field,)]
                old, new = statement.terms
                above = {n: rounds[t][n].best if bar else rounds[t][n].d for n in "ab"}
                assert (old.rest, new.rest, old.coefficient, new.coefficient) == ("local", "local", 1, -1)
                assert old.context == {**{n: above[n] for n in known}, "c": rounds[t - 1]["c"].d}
                assert new.context["c"] == (rounds[t]["c"].best if bar else rounds[t]["c"].d)
                assert (statement.relation, statement.value) == ("==", getattr(delivery.message, field))
                assert (statement.others, statement.forbidden) == ("some", 1e6)
                told += 1
                if known == {"a", "b"}:
                    gain = cost({**old.context}) - cost({**new.context})
                    assert gain == statement.value
        assert told == 10


def test_what_the_printed_procedures_compute_nobody_can_tell() -> None:
    """An agent may have sampled before its neighbours' values came: its context is not known."""
    problem = clique(3, 3, 1)
    setup = prepare(problem, SdGibbs, "sd-gibbs", {"listing": "paper"})
    result = simulate(problem, SdGibbs, iterations=3, listing="paper")
    kinds: Counter[type] = Counter()
    for delivery, said in statements(result, setup, problem.agents):
        kinds.update(type(s) for s in said)
        assert all(not s.context for s in said if isinstance(s, Chosen))
        if delivery.type == "BACKTRACK":
            assert {s.fields for s in said if isinstance(s, Unanalysed)} == {("delta", "best_delta")}
    assert kinds[CostIs] == 0 < kinds[Chosen]
