"""P-Gibbs: what each variant samples and releases, and that the hardened one keeps what it claims.

Statistical tests have fixed seeds. Their limits are such that a right solver would fail with one seed in a million.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from statistics import NormalDist
from typing import Any, ClassVar

import numpy as np
import pytest

from agentsim import Problem, Result, replay, simulate
from agentsim.dcop.problem import Constraint, Domain, Variable
from agentsim.errors import SolverRefusal, UserError
from agentsim.runtime.mechanisms import Clear, Gaussian, Pure, VisibleChoice
from agentsim.runtime.reading import make_reader
from agentsim.runtime.router import Delay
from agentsim.runtime.setup import prepare
from agentsim.runtime.statements import Chosen, Released, Softmax, Statement
from agentsim.runtime.view import Setup
from agentsim.testing import check_statements, random_problem, twin
from solvers import p_gibbs as module
from solvers.exact_sampling import ExactCoins, exponential_pmf
from solvers.p_gibbs import PGibbs, PGibbsParams, Value, clipping_width, gibbs_exponent
from solvers.sd_gibbs import SdGibbs

NETWORKS = ["unit", "uniform:1,10", "exponential:3", "uniform:1,5+loss:.3+duplicate:.2+reorder+reliable"]
PAPER: dict[str, Any] = {"variant": "paper"}
CODE: dict[str, Any] = {"variant": "code"}


class Plain(PGibbs):
    """The solver alone, without the observers that every run of it has."""

    carries = ()


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


def kite(size: int = 3, most: float = 2.0, seed: int = 3) -> Problem:
    """A triangle a, b, c with d at c; with private costs at a and d."""
    rng = np.random.default_rng(seed)
    tables = {pair: (most * rng.random((size, size))).round(2) for pair in ("ab", "bc", "ac", "cd")}
    return problem_of("abcd", size, tables, {n: (most * rng.random(size)).round(2) for n in "ad"})


def setup_of(problem: Problem, **params: Any) -> Setup:
    return prepare(problem, Plain, "p-gibbs", params)


def chi_square_limit(freedom: int, sign: int = 1) -> float:
    """The point that a chi-square number is beyond once in a million, on the side of `sign` (Wilson and Hilferty)."""
    part = 2 / (9 * freedom)
    return float(freedom * (1 - part + sign * NormalDist().inv_cdf(1 - 1e-6) * math.sqrt(part)) ** 3)


def pearson(counts: Sequence[int], law: Iterable[float]) -> float:
    """Pearson's statistic; it has one degree of freedom less than there are values."""
    expected = np.array(list(law)) * sum(counts)
    assert expected.min() >= 5
    return float(((np.array(counts) - expected) ** 2 / expected).sum())


def likely(successes: int, of: int, p: float) -> bool:
    """Whether a binomial count is one that would be further off once in a million."""
    return abs(successes - of * p) <= NormalDist().inv_cdf(1 - 5e-7) * math.sqrt(of * p * (1 - p)) + 0.5


# What is in a log of the iterated variants -----------------------------------------------------------------------


@dataclasses.dataclass
class Iterations:
    """The VALUEs and BACKTRACKs of a run, and the local costs that they come from."""

    problem: Problem
    result: Result
    setup: Setup

    def __post_init__(self) -> None:
        start = {name: Value(0, 0, 0, 0, 0) for name in self.problem.variables}
        self.said: dict[int, dict[str, Value]] = {0: start}
        self.reports: dict[tuple[str, int], Any] = {}
        for d in self.result.log:
            if d.type == "VALUE":
                self.said.setdefault(d.message.t, {})[d.src] = d.message
            elif d.type == "BACKTRACK":
                self.reports[d.src, d.message.t] = d.message
        tree = self.setup.tree
        assert tree is not None
        assert not self.result.log_truncated
        self.tree = tree

    def context(self, name: str, t: int, bar: bool = False) -> dict[str, int]:
        """The values under which an agent chose in iteration t: new ones above, those of the last iteration below."""
        place = self.tree[name]
        above = {*place.pseudo_parents, place.parent}
        return {
            n: (self.said[t][n].best if bar else self.said[t][n].d) if n in above else self.said[t - 1][n].d
            for n in self.setup.view(name).neighbours
        }

    def costs(self, name: str, context: Mapping[str, int]) -> list[float]:
        """Local cost by value."""
        view = self.setup.view(name)
        tables = [(c.scope, c.table) for c in view.constraints]
        return [
            view.unary[v].item()
            + sum(table[tuple({**context, name: v}[n] for n in scope)].item() for scope, table in tables)
            for v in range(view.size)
        ]

    def gain(self, name: str, t: int, bar: bool) -> float:
        """The own relative utility."""
        costs, value = self.costs(name, self.context(name, t, bar)), self.said[t][name]
        return costs[self.said[t - 1][name].d] - costs[value.best if bar else value.d]

    def own(self, name: str, t: int) -> tuple[float, float]:
        """What an agent added to its children's reports: to the sampled and the best-response one."""
        report = self.reports[name, t]
        below = [self.reports[child, t] for child in self.tree[name].children]
        return report.delta - sum(r.delta for r in below), report.best_delta - sum(r.best_delta for r in below)

    def reporters(self) -> Iterator[tuple[str, int]]:
        yield from sorted(self.reports)


def iterate(problem: Problem, **options: Any) -> Iterations:
    params = {name: value for name, value in options.items() if name not in ("seed", "network")}
    return Iterations(problem, simulate(problem, Plain, **options), setup_of(problem, **params))


def clip(x: float, c: float) -> float:
    return max(-c, min(c, x))


# Procedure 5 -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("q", [0.1, 0.4])
def test_a_value_is_kept_with_probability_1_minus_q(q: float, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = 0

    def counted(uniform: float, weights: Any) -> int:
        nonlocal drawn
        drawn += 1
        return pick(uniform, weights)

    pick = module.pick
    monkeypatch.setattr(module, "pick", counted)
    run = iterate(kite(4), **PAPER, q=q, gamma=math.inf, iterations=500, seed=1)
    assert likely(drawn, 4 * 500, q)
    moved = sum(new[n].d != old[n].d for (_, old), (_, new) in pairwise(sorted(run.said.items())) for n in new)
    assert likely(moved, 4 * 500, q * 3 / 4)  # uniform over four values, the old one among them


@pytest.mark.parametrize(("q", "moves"), [(0, False), (1, True)])
def test_certain_coins(q: float, moves: bool) -> None:
    run = iterate(kite(40), **PAPER, q=q, gamma=math.inf, iterations=10)
    values = {said[n].d for said in run.said.values() for n in said}
    assert (len(values) > 10) == moves
    assert moves or values == {0}


def weights_of(costs: Sequence[float], monkeypatch: pytest.MonkeyPatch, **params: Any) -> list[float]:
    """The law by which an agent with these local costs draws."""
    laws: list[list[float]] = []

    def spy(uniform: float, weights: Any) -> int:
        laws.append((weights / weights.sum()).tolist())
        return 0

    with monkeypatch.context() as patch:
        patch.setattr(module, "pick", spy)
        problem = problem_of("ab", len(costs), {"ab": np.zeros((len(costs),) * 2)}, {"a": costs})
        simulate(problem, Plain, **{**PAPER, "q": 1, "iterations": 1, "order": "a,b", **params})
    return laws[0]


@pytest.mark.parametrize(
    ("gamma", "law"),
    [
        (1, [0.501401, 0.261754, 0.236845]),
        (2, [0.414969, 0.299827, 0.285204]),
        (10, [0.349063, 0.327096, 0.323841]),
        (math.inf, [1 / 3, 1 / 3, 1 / 3]),
    ],
)
def test_the_example_of_the_soft_max(gamma: float, law: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    costs = [-math.log(p) for p in (0.8, 0.15, 0.05)]
    assert weights_of(costs, monkeypatch, gamma=gamma) == pytest.approx(law, abs=1e-6)


@pytest.mark.parametrize("gamma", [0.01, 1e-3, 1e-9])
def test_a_soft_max_of_any_temperature_has_a_law(gamma: float, monkeypatch: pytest.MonkeyPatch) -> None:
    likeliest = weights_of([5.0, 1.0, 2.0], monkeypatch, gamma=gamma)
    assert likeliest == pytest.approx([0, 1, 0], abs=1e-9)
    assert weights_of([1.0, 1.0, 30.0], monkeypatch, gamma=gamma) == pytest.approx([0.5, 0.5, 0], abs=1e-9)


@pytest.mark.parametrize("costs", [[1e6, 0.0, 2e6], [1e12, 0, 3e6], [1e15, 0, 1e14]])
def test_costs_of_any_size_have_a_law(costs: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    e = math.exp(1 / 20)
    assert weights_of(costs, monkeypatch) == pytest.approx([1 / (2 + e), e / (2 + e), 1 / (2 + e)])


def test_values_are_sampled_from_the_soft_max_of_probabilities() -> None:
    run = iterate(kite(), **PAPER, q=1, gamma=0.25, iterations=1200, seed=2)
    seen: dict[tuple[Any, ...], Counter[int]] = {}
    for t in range(1, 1201):
        for name, value in run.said[t].items():
            seen.setdefault((name, *sorted(run.context(name, t).items())), Counter())[value.d] += 1
    statistic = freedom = 0.0
    for (name, *context), counts in seen.items():
        gibbs = exponential_pmf(run.costs(name, dict(context)), 1.0)
        law = exponential_pmf([-p for p in gibbs], 4.0)
        if min(law) * counts.total() >= 5:
            statistic += pearson([counts[v] for v in range(3)], law)
            freedom += 2
    assert freedom >= 40
    assert statistic < chi_square_limit(int(freedom))


def test_noise_of_each_agent_is_normal_independent_and_added_once() -> None:
    sigma, c, T = 0.3, 1.0, 700
    run = iterate(kite(), **PAPER, q=0.5, gamma=0.5, sigma=sigma, clip=c, iterations=T, seed=4)
    deviation = 2 * c * sigma
    noise = np.array(
        [
            [own - clip(run.gain(name, t, bar), c) for bar, own in zip((False, True), run.own(name, t), strict=True)]
            for name, t in run.reporters()
        ]
    )
    n = 3 * T
    assert noise.shape == (n, 2)  # the root reports to nobody
    for draws in noise.T:
        squares = float(((draws / deviation) ** 2).sum())
        assert chi_square_limit(n, -1) < squares < chi_square_limit(n)
        assert abs(draws.mean()) < 4.9 * deviation / math.sqrt(n)
        ranks = np.array([NormalDist(0, deviation).cdf(x) for x in np.sort(draws)])
        steps = np.arange(n + 1) / n
        gap = max(np.abs(ranks - steps[:-1]).max(), np.abs(ranks - steps[1:]).max())
        assert gap * math.sqrt(n) < 2.7  # Kolmogorov and Smirnov: 2 exp(-2 gap^2 n) < 1e-6
        assert abs(np.corrcoef(draws[:-1], draws[1:])[0, 1]) < 5 / math.sqrt(n)
    assert abs(np.corrcoef(noise.T)[0, 1]) < 5 / math.sqrt(n)
    assert len(np.unique(noise)) == 2 * n


@pytest.mark.parametrize("network", NETWORKS)
def test_without_noise_reports_are_the_clipped_relative_utilities(network: str) -> None:
    c = 1.5
    run = iterate(kite(4, 6), **PAPER, q=0.7, gamma=0.3, sigma=0, clip=c, iterations=60, network=network)
    ends: Counter[float] = Counter()
    for name, t in run.reporters():
        sampled, best = run.own(name, t)
        assert sampled == pytest.approx(clip(run.gain(name, t, False), c), abs=1e-9)
        assert best == pytest.approx(clip(run.gain(name, t, True), c), abs=1e-9)
        assert best > -1e-9
        assert run.reports[name, t].clean == ()
        if run.said[t][name].d == run.said[t - 1][name].d:
            assert sampled == pytest.approx(0, abs=1e-9)
        ends[round(sampled, 9)] += 1
    assert ends[c] > 5
    assert ends[-c] > 5  # what is lost keeps its sign


class Watched(Plain):
    """What the roots believe after each iteration can be looked at afterwards."""

    believed: ClassVar[list[tuple[float, float]]] = []

    def end_iteration(self) -> None:
        Omega_bar = self.Omega + self.delta_bar
        super().end_iteration()
        self.believed.append((self.Omega, Omega_bar))


def test_without_noise_and_clipping_it_is_sd_gibbs_that_rarely_samples() -> None:
    problem = kite(4, 6)
    Watched.believed.clear()
    result = simulate(problem, Watched, **PAPER, q=0.3, gamma=0.3, sigma=0, clip=1e9, iterations=40)
    run = Iterations(problem, result, setup_of(problem))

    def utility(values: Mapping[str, int]) -> float:
        return -problem.evaluate_indices(values).cost

    start = utility(dict.fromkeys("abcd", 0))
    for t, (Omega, Omega_bar) in enumerate(Watched.believed[:-1], 1):
        assert pytest.approx(utility({n: v.d for n, v in run.said[t].items()}) - start, abs=1e-9) == Omega
        assert pytest.approx(utility({n: v.best for n, v in run.said[t].items()}) - start, abs=1e-9) == Omega_bar
    final = utility(problem.indices(result.assignment)) - start
    assert final == pytest.approx(max(0, *(max(pair) for pair in Watched.believed)), abs=1e-9)


def test_messages_of_the_paper_variant_are_those_of_sd_gibbs() -> None:
    for seed in range(6):
        problem = random_problem(np.random.default_rng(seed))
        ours = simulate(problem, Plain, **PAPER, iterations=4, seed=seed)
        theirs = simulate(problem, SdGibbs, iterations=4, seed=seed)
        assert {n: m.count for n, m in ours.by_type.items()} == {n: m.count for n, m in theirs.by_type.items()}


# The published code ----------------------------------------------------------------------------------------------


def test_the_published_codes_noise_is_small_and_shared_and_what_is_clipped_loses_its_sign() -> None:
    sigma, c, T = 0.3, 1.5, 500
    run = iterate(kite(4, 6), **CODE, q=0.7, gamma=0.3, sigma=sigma, clip=c, iterations=T, seed=5)
    noise, lost = [], 0
    for name, t in run.reporters():
        released = [gain if abs(gain) <= c else c for gain in (run.gain(name, t, False), run.gain(name, t, True))]
        lost += run.gain(name, t, False) < -c
        sampled, best = run.own(name, t)
        assert best - sampled == pytest.approx(released[1] - released[0], abs=1e-9)  # the same noise on both
        noise.append(sampled - released[0])
    n = len(noise)
    assert lost > 50
    squares = float(((np.array(noise) / sigma) ** 2).sum())  # without tau
    assert chi_square_limit(n, -1) < squares < chi_square_limit(n)


def test_the_published_code_sends_the_sums_without_noise_too() -> None:
    run = iterate(kite(4, 6), **CODE, q=0.7, gamma=0.3, clip=0.5, iterations=40, network="exponential:3")
    for name, t in run.reporters():
        clean = run.reports[name, t].clean
        for bar in (False, True):
            below = sum(run.gain(n, t, bar) for n in run.tree.subtree(name))
            assert clean[bar] == pytest.approx(below, abs=1e-9)


def test_in_the_published_code_everybody_samples_in_the_first_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = 0

    def counted(uniform: float, weights: Any) -> int:
        nonlocal drawn
        drawn += 1
        return pick(uniform, weights)

    pick = module.pick
    monkeypatch.setattr(module, "pick", counted)
    run = iterate(kite(40), **CODE, q=0, gamma=math.inf, iterations=20)
    assert drawn == 4
    first = {n: v.d for n, v in run.said[1].items()}
    assert len(set(first.values())) > 1
    assert all({n: v.d for n, v in run.said[t].items()}.items() <= first.items() for t in range(2, 21))


def test_in_the_published_code_the_root_sends_a_value_too_many() -> None:
    for variant, sent_by_root in (("code", 6), ("paper", 5)):
        problem = kite()
        run = iterate(problem, variant=variant, iterations=5)
        counts = Counter((d.src, d.dst) for d in run.result.log if d.type == "VALUE")
        (root,) = run.tree.roots
        graph = problem.primal_graph()
        assert counts == {(a, b): sent_by_root if a == root else 5 for a in graph for b in graph[a]}


@pytest.mark.parametrize("variant", ["paper", "code"])
def test_isolated_agents_and_forests(variant: str) -> None:
    problem = problem_of("abcde", 2, {"ab": np.eye(2), "cd": np.eye(2)}, {"e": [3, 1]})
    result = simulate(problem, Plain, variant=variant, iterations=3)
    assert (result.status, result.assignment["e"]) == ("finished", 1)
    assert result.by_type["STOP"].count == 2


# The hardened variant --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", [*NETWORKS, "uniform:1,10+duplicate:.5+reorder"])
def test_one_choice_goes_down_each_edge_and_nothing_else(network: str) -> None:
    for seed in range(25):
        problem = random_problem(np.random.default_rng(seed))
        result = simulate(problem, Plain, seed=seed, network=network)
        tree, graph = setup_of(problem).tree, problem.primal_graph()
        assert tree is not None
        edges = {(a, b) for a in graph for b in graph[a] if tree.depth_of(a) < tree.depth_of(b)}
        sent = {(d.src, d.dst) for d in result.log if d.copy == 0}
        assert sent <= edges
        assert (result.status, result.messages + result.local_messages) == ("finished", len(edges))
        assert set(result.by_type) <= {"CHOICE"}
        final = problem.indices(result.assignment)
        assert all(d.message.value == final[d.src] for d in result.log)
        if network == "unit":
            assert sent == edges
            assert result.virtual_time <= max(tree.depth_of(n) for n in problem.variables)


class Wire:
    """A port for an agent that is only asked what it would choose."""

    send = None

    def check(self, n: int) -> None: ...


def agent_of(setup: Setup, name: str, tables: Mapping[str, Any] | None = None, unary: Any = None) -> PGibbs:
    """An agent; with other tables than the problem's, in solver's units, but the same declared ranges."""
    view = setup.view(name)
    if tables is not None:
        constraints = tuple(dataclasses.replace(c, table=tables[c.name]) for c in view.constraints)
        view = dataclasses.replace(view, constraints=constraints, unary=view.unary if unary is None else unary)
    return PGibbs(view, Wire(), setup.params)  # type: ignore[arg-type]


def law_of(agent: PGibbs, context: Mapping[str, int], monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The law of an agent's choice in closed form, from what is handed to the exact exponential mechanism."""
    handed: list[list[float]] = []

    def spy(coins: ExactCoins, scores: Sequence[Fraction], b: Fraction) -> int:
        assert all(0 <= s <= 1 for s in scores)
        handed.append(exponential_pmf(scores, float(b)))
        return 0

    with monkeypatch.context() as patch:
        patch.setattr(module, "exponential", spy)
        agent.select(ExactCoins.from_key(bytes(32)), context)
    return handed[0] if handed else [1 / agent.view.size] * agent.view.size  # whose choice is free of its tables


def ranged(size: int, tables: Mapping[str, Any], span: tuple[float, float], **options: Any) -> Problem:
    """A problem whose constraints' ranges are declared."""
    plain = problem_of("abcd", size, tables, **options)
    constraints = [dataclasses.replace(c, cost_range=span) for c in plain.constraints.values()]
    variables = [dataclasses.replace(v, cost_range=None if v.unary is None else span) for v in plain.variables.values()]
    return Problem.build(variables, constraints, objective=plain.objective)


@pytest.mark.parametrize("objective", ["min", "max"])
def test_the_law_of_a_choice_is_the_gibbs_law_of_the_clipped_excess(
    objective: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(8)
    sign, epsilon = (1 if objective == "min" else -1), 3.0
    tables = {pair: sign * rng.integers(0, 11, (4, 4)) for pair in ("ab", "ac", "bc", "cd")}
    unary = {"c": sign * rng.integers(0, 11, 4), "a": sign * rng.integers(0, 11, 4)}
    span = (0, 10) if objective == "min" else (-10, 0)
    problem = ranged(4, tables, span, unary=unary, objective=objective)
    setup = setup_of(problem, epsilon=epsilon, order="a,b,c,d")
    for name, context, used in (
        ("a", {}, [unary["a"]]),
        ("c", {"a": 1, "b": 2}, [unary["c"], tables["ac"][1], tables["bc"][2]]),  # "cd" is read by d
        ("d", {"c": 3}, [tables["cd"][3]]),
    ):
        costs = sign * sum(used)
        width = clipping_width(epsilon) * math.sqrt(len(used) * 10**2)
        excess = np.minimum(costs - costs.min(), width) / width
        expected = exponential_pmf(excess.tolist(), float(gibbs_exponent(epsilon, 4)))
        agent = agent_of(setup, name)
        assert law_of(agent, context, monkeypatch) == pytest.approx(expected, abs=1e-9)
        assert max(expected) > 1.5 * min(expected)
        coins = ExactCoins.from_key(bytes(range(32)))
        counts = Counter(agent.select(coins, context) for _ in range(1200))
        assert pearson([counts[v] for v in range(4)], expected) < chi_square_limit(3)


def test_runs_follow_the_law_from_end_to_end() -> None:
    problem = problem_of("ab", 2, {"ab": [[0, 10], [10, 0]]})
    equal = sum(
        len(set(simulate(problem, Plain, seed=seed, epsilon=2.0, range="0..10", log=False).assignment.values())) == 1
        for seed in range(300)
    )
    y = math.exp(gibbs_exponent(2.0, 2))  # an excess of 10 is beyond the width
    assert likely(equal, 300, y / (1 + y))
    assert not likely(equal, 300, 0.5)


@pytest.mark.parametrize("size", [2, 3, 7])
def test_no_two_tables_make_a_choice_more_than_epsilon_different(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With 2,000 pairs for all sizes together; entries go beyond the declared range now and then."""
    rng = np.random.default_rng(size)
    zeros = {pair: np.zeros((size, size)) for pair in ("ab", "ac", "bc", "cd")}
    problem = ranged(size, zeros, (-3, 5), unary={"c": np.zeros(size)})
    params = [{}, {"epsilon": 0.01}, {"epsilon": 2.0}, {"epsilon": 9.0}, {"range": "-1..1", "gamma": 4.0}]
    setups = [setup_of(problem, order="a,b,c,d", **given) for given in params]
    closest = 0.0
    for i in range(667):
        setup = setups[i % len(setups)]
        epsilon, context = setup.params.claimed_epsilon, {"a": i % size, "b": 0}
        laws = []
        for _ in range(2):
            kind = rng.integers(4)
            best = int(rng.integers(size))
            tables = {}
            for pair, zero in zeros.items():
                table = rng.uniform(-4, 6, zero.shape)
                if kind > 0:  # adversarial: all tables are for one value, or against it
                    table[:] = 100 if kind == 1 else -100
                    table[(slice(None), best) if pair in ("ac", "bc") else best] *= -1
                if kind == 3:
                    table[rng.random(zero.shape) < 0.2] = math.inf
                tables[pair] = table
            unary = rng.uniform(-4, 6, size) if kind == 0 else (-100.0 if kind == 1 else 100) * np.eye(size)[best]
            laws.append(law_of(agent_of(setup, "c", tables, unary), context, monkeypatch))
        ratio = max(abs(math.log(p / q)) for p, q in zip(*laws, strict=True))
        assert ratio <= epsilon * (1 + 1e-12), f"pair {i}: {ratio}, and {epsilon} is claimed"
        closest = max(closest, ratio / epsilon)
    assert closest > 1 - 1e-6  # it is attained: nothing is given away


def test_the_exponent_solves_its_equation_from_below() -> None:
    for epsilon in (0, 1e-12, 1e-3, 0.0461, 0.662, 1.31, 9.55, 40, 100):
        for size in (2, 3, 10, 1000):
            g = gibbs_exponent(epsilon, size)
            ratio = math.log1p((size - 1) * math.exp(g)) - math.log1p((size - 1) * math.exp(-g))
            assert epsilon - 1e-9 * max(1, epsilon) <= ratio <= epsilon * (1 + 1e-14)
            assert g >= 0
    assert float(gibbs_exponent(3, 2)) == pytest.approx(3)  # randomised response


@pytest.mark.parametrize(
    ("params", "epsilon", "places"),
    [
        ({}, 0.66198, 5),
        ({"gamma": math.inf, "sigma": 1000, "q": 0.1}, 0.0461, 4),
        ({"sigma": 25, "gamma": 20, "q": 0.2}, 1.31, 2),
        ({"sigma": 10, "gamma": 8, "q": 0.2}, 4.101, 3),
        ({"sigma": 7, "gamma": 4, "q": 0.2}, 9.55755, 5),  # the paper cuts it off after 9.55
        ({"sigma": 10, "gamma": math.inf, "q": 0.1}, 0.3257, 4),
        ({"iterations": 1}, 0.103957, 6),
    ],
    ids=str,
)
@pytest.mark.parametrize("variant", ["hardened", "paper", "code"])
def test_what_is_claimed(variant: str, params: dict[str, Any], epsilon: float, places: int) -> None:
    claim = Plain.claim(setup_of(kite(), variant=variant, **params))
    assert round(claim.epsilon, places) == epsilon
    assert (claim.delta, claim.unit) == (0.01, "own")


def test_a_budget_given_is_the_budget_claimed() -> None:
    for epsilon in (0.0, 0.5, 100.0):
        assert Plain.claim(setup_of(kite(), epsilon=epsilon, delta=1e-5)).epsilon == epsilon
    result = simulate(problem_of("ab", 2, {"ab": [[0, 9], [9, 0]]}), Plain, epsilon=60)
    assert result.cost == 0
    counts = Counter(
        simulate(problem_of("a", 2, {}, {"a": [0, 9]}), Plain, epsilon=0, seed=seed, log=False).cost
        for seed in range(200)
    )
    assert likely(counts[0], 200, 0.5)


def test_what_a_claim_leaves_out_is_said() -> None:
    plain, declared = kite(), ranged(2, {"ab": np.eye(2), "bc": np.eye(2)}, (0, 1), unary={"d": [0, 1]})
    half = dataclasses.replace(next(iter(declared.constraints.values())), cost_range=None)
    partly = Problem.build(declared.variables.values(), [half, *list(declared.constraints.values())[1:]])

    def outside(problem: Problem, **params: Any) -> tuple[str, ...]:
        return Plain.claim(setup_of(problem, randomness="crypto", **params)).outside

    (said,) = outside(plain)
    assert "ranges of 6 cost functions" in said
    assert "range=" in said
    (said,) = outside(partly)
    assert "ranges of 1 cost functions" in said
    assert outside(declared) == outside(plain, range="0..2") == outside(partly, range="0..1") == ()
    (said,) = Plain.claim(setup_of(declared)).notes
    assert "seed" in said


def test_a_given_range_clips() -> None:
    """Tables that are alike once they are clipped give the same run, whatever they were."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        tables = {pair: rng.integers(-10, 20, (3, 3)).astype(float) for pair in ("ab", "bc", "ac")}
        beyond = {pair: np.where(table >= 8, math.inf, table) for pair, table in tables.items()}
        within = {pair: np.clip(table, 2, 8) for pair, table in tables.items()}
        options: dict[str, Any] = {"range": "2..8", "epsilon": 5, "seed": seed}
        runs = [simulate(problem_of("abc", 3, t), Plain, **options).assignment for t in (tables, beyond, within)]
        assert runs[0] == runs[1] == runs[2]
        mirrored = simulate(twin(problem_of("abc", 3, tables)), Plain, **{**options, "range": "-8..-2"})
        assert mirrored.assignment == runs[0]


def test_hard_constraints_without_a_range_still_count() -> None:
    """A table of 0 and forbidden has only one finite entry: its range is not the whole of what it says."""
    forbidden = np.where(np.eye(3) > 0, math.inf, 0.0)
    problem = problem_of("ab", 3, {"ab": forbidden})
    violated = sum(simulate(problem, Plain, epsilon=50, seed=seed, log=False).violations for seed in range(20))
    assert violated == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"sigma": -1},
        {"sigma": math.inf},
        {"gamma": 0},
        {"gamma": -1},
        {"q": -0.1},
        {"q": 1.1},
        {"clip": 0},
        {"clip": math.inf},
        {"delta": 0},
        {"delta": 1},
        {"epsilon": -1},
        {"epsilon": 101},
        {"epsilon": math.nan},
        {"epsilon": 1, "variant": "paper"},
        {"epsilon": 1, "variant": "code"},
        {"variant": "soft"},
        {"listing": "paper"},
        {"iterations": 0},
        {"randomness": "dice"},
        {"range": "1"},
        {"range": "2..1"},
        {"range": "a..b"},
        {"range": "1..2..3"},
        {"range": "0..inf"},
        {"range": "nan..1"},
        {"range": ".."},
    ],
    ids=str,
)
def test_parameters_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        simulate(kite(), Plain, **wrong)


@pytest.mark.parametrize("params", [{"sigma": 0}, {"sigma": 1}, {"gamma": 0.001}, {"iterations": 10**6}], ids=str)
def test_a_budget_that_is_none_is_refused_before_the_run(params: dict[str, Any]) -> None:
    """The paper's epsilon for these is beyond what `epsilon` takes, and beyond floating point."""
    with pytest.raises(UserError, match="epsilon"):
        simulate(kite(), Plain, **params)
    assert simulate(kite(), Plain, **params, epsilon=1).status == "finished"  # where it does not matter


def test_ranges_and_costs_of_any_size() -> None:
    assert gibbs_exponent(100, 2) > 99
    for span in ("-1e150..1e150", "3..3", "0..1e-200"):
        assert simulate(kite(), Plain, range=span).status == "finished"
    for span in ("-1e200..1e200", "-1e308..1e308"):
        with contextlib.suppress(UserError):  # too much may be refused, but not fail
            assert simulate(kite(), Plain, range=span).status == "finished"
    assert [PGibbsParams(range=r).limits for r in ("-2..3", "-1e3..0.5", "1..1")] == [(-2, 3), (-1000, 0.5), (1, 1)]


def test_isolated_agents_choose_in_private_too() -> None:
    problem = problem_of("ab", 2, {}, {"a": [0, 1]})
    values = Counter(tuple(simulate(problem, Plain, seed=seed).assignment.values()) for seed in range(200))
    y = math.exp(gibbs_exponent(PGibbsParams().claimed_epsilon, 2))
    assert likely(sum(n for (a, _), n in values.items() if a == 0), 200, y / (1 + y))
    assert likely(sum(n for (_, b), n in values.items() if b == 0), 200, 0.5)


def test_checks_do_not_tell_what_was_drawn() -> None:
    """One per entry read: of each table one row, by the deepest of its scope, and of each private cost."""
    results = [simulate(kite(seed=seed), Plain, seed=seed) for seed in range(5)]
    assert {r.checks for r in results} == {3 * (4 + 2)}


# Runs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["hardened", "paper", "code"])
def test_twin_replay_seeds_and_tree_by_messages(variant: str) -> None:
    differ = 0
    for seed in range(8):
        problem = random_problem(np.random.default_rng(seed))
        options: dict[str, Any] = {"seed": seed, "iterations": 3, "q": 0.5, "variant": variant}
        network = NETWORKS[seed % 4]
        result = simulate(problem, Plain, network=network, **options)
        replayed = replay(result.log, verify=True, solver=Plain)
        assert replayed.verified, (seed, replayed.first_difference)
        again = simulate(problem, Plain, network=network, **options)
        assert list(again.log.records()) == list(result.log.records())
        other = simulate(problem, Plain, network=network, **{**options, "seed": seed + 100})
        differ += [d.payload for d in other.log] != [d.payload for d in result.log]
        mirrored = simulate(twin(problem), Plain, network=network, **options)
        assert (mirrored.assignment, mirrored.cost) == (result.assignment, pytest.approx(-result.cost))
        found = simulate(problem, Plain, network=network, tree="messages", order="degree", **options)
        computed = simulate(problem, Plain, network=network, order="degree", **options)
        assert found.assignment == computed.assignment
    assert differ > 2


def test_randomness_from_the_operating_system_is_new_each_time_and_in_the_log(tmp_path: Any) -> None:
    domain = Domain("d", tuple(range(50)))
    rng = np.random.default_rng(0)
    variables = [Variable(f"x{i}", domain, unary=rng.integers(0, 9, 50)) for i in range(6)]
    problem = Problem.build(variables, [Constraint("c", ("x0", "x1"), np.zeros((50, 50)))])
    runs = [simulate(problem, Plain, seed=1, randomness="crypto", log=tmp_path / f"{i}.amlog") for i in range(2)]
    assert runs[0].assignment != runs[1].assignment  # equal once in ten thousand million
    for i in range(2):
        replayed = replay(tmp_path / f"{i}.amlog", verify=True, solver=Plain)
        assert replayed.verified, replayed.first_difference
    again = [simulate(problem, Plain, seed=1, randomness="seed").assignment for _ in range(2)]
    assert again[0] == again[1]


def test_constraints_that_somebody_does_not_know_are_refused() -> None:
    domain = Domain("d", (0, 1))
    secret = Constraint("c", ("x", "y"), np.eye(2), known_to=("y",))
    problem = Problem.build([Variable("x", domain), Variable("y", domain)], [secret])
    with pytest.raises(SolverRefusal, match="p-gibbs needs every agent"):
        simulate(problem, Plain, variant="paper", order="x,y")
    # Hardened, the deepest agent alone reads it: that may be who knows it.
    assert simulate(problem, Plain, order="x,y").status == "finished"
    with pytest.raises(SolverRefusal, match="give the constraint an owner"):
        simulate(problem, Plain, order="y,x")


# What messages say -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["hardened", "paper", "code"])
def test_every_statement_is_true(variant: str) -> None:
    said: Counter[str] = Counter()
    for seed in range(12):
        problem = random_problem(np.random.default_rng(seed), max_variables=5, max_cells=100)
        params: dict[str, Any] = {"iterations": 3, "q": 0.5, "variant": variant}
        if seed % 5 == 0:
            params["tree"] = "messages"
        result = simulate(problem, Plain, seed=seed, network=NETWORKS[seed // 2 % 4], **params)
        said += check_statements(problem, result, Plain, **params)
    expected = {
        "hardened": {"choice", "value"},
        "paper": {"value", "sample", "best-response", "best-delta"},
        "code": {"value", "sample", "best-response", "best-delta", "clean-delta"},
    }[variant]
    assert min(said[label] for label in expected) > 20


def test_a_viewer_with_an_agent_without_variables_reads_on() -> None:
    problem = problem_of("ab", 2, {"ab": np.eye(2)}, agents=["idle"])
    for variant in ("hardened", "paper", "code"):
        result = simulate(problem, Plain, variant=variant, iterations=2)
        check_statements(problem, result, Plain, variant=variant, iterations=2)


def statements(run: Iterations, viewer: Iterable[str]) -> Iterator[tuple[Any, list[Statement]]]:
    """Deliveries that a coalition of variables saw, with what they say to it."""
    nodes = set(viewer)
    reader = make_reader(Plain, run.setup, sorted(nodes))
    assert reader is not None
    for delivery in run.result.log:
        if delivery.src in nodes or delivery.dst in nodes:
            yield delivery, list(reader.read(delivery))


def uses(run: Iterations) -> dict[tuple[str, str, int], Released]:
    """Each use of anybody's tables, as told to a viewer who sees everything, once."""
    found: dict[tuple[str, str, int], Released] = {}
    for _, said in statements(run, run.problem.variables):
        for s in said:
            if isinstance(s, Released):
                known = found.setdefault((s.about, s.label, s.draw), s)
                assert (known.mechanism, known.sensitivity, known.tables) == (s.mechanism, s.sensitivity, s.tables)
    return found


def test_every_use_of_the_paper_variant_is_accounted() -> None:
    run = iterate(kite(), **PAPER, sigma=3, gamma=8, q=0.2, clip=5, iterations=4)
    found = uses(run)
    for (name, label, _), use in found.items():
        if label == "sample":
            assert (use.mechanism, use.sensitivity) == (VisibleChoice(1 / 8, 0.2, 3), 10)
        else:
            assert (label, use.mechanism, use.sensitivity) == ("best-delta", Gaussian(6), 5)
        functions = {c.name for c in run.problem.constraints.values() if name in c.scope}
        assert set(use.tables) == functions | ({name} if name in "ad" else set())
    assert {key for key in found if key[1] == "sample"} == {(n, "sample", t) for n in "abcd" for t in (1, 2, 3, 4)}
    (root,) = run.tree.roots
    reported = {(n, "best-delta", t) for n in "abcd" if n != root for t in (1, 2, 3, 4)}
    assert {key for key in found if key[1] == "best-delta" and key[0] != root} == reported


def test_the_roots_own_best_response_is_accounted_too() -> None:
    """It goes into the choice of the best iteration, which the next VALUE and STOP tell."""
    run = iterate(kite(), **PAPER, iterations=4)
    (root,) = run.tree.roots
    assert {t for name, label, t in uses(run) if (name, label) == (root, "best-delta")} >= {1, 2, 3}


def test_the_published_codes_uses() -> None:
    run = iterate(kite(), **CODE, sigma=3, gamma=8, q=0.2, clip=5, iterations=3)
    found = uses(run)
    (root,) = run.tree.roots
    assert {t for name, label, t in found if (name, label) == (root, "sample")} == {1, 2, 3, 4}
    for (_, label, t), use in found.items():
        if label == "sample":
            assert use.mechanism == VisibleChoice(1 / 8, 1 if t == 1 else 0.2, 0.3)
        else:
            assert isinstance(use.mechanism, Clear)


def test_a_choice_is_one_pure_use_of_what_its_maker_reads() -> None:
    problem = kite()
    run = iterate(problem, epsilon=0.7, order="a,b,c,d")
    found = uses(run)
    assert {key[0] for key in found} == set("abc")  # the last one tells nobody
    assert {use.mechanism for use in found.values()} == {Pure(0.7)}
    read = {name: set(use.tables) for (name, _, _), use in found.items()}
    assert read == {"a": {"a"}, "b": {"ab"}, "c": {"ac", "bc"}}


@pytest.mark.parametrize("variant", ["paper", "code"])
def test_contexts_are_those_in_which_the_sender_chose(variant: str) -> None:
    """Also when what a pseudo-child says is long on its way to the root, which need not wait for it in the end."""

    def slow(envelope: Any) -> Delay | None:
        return Delay(50) if (envelope.src, envelope.dst) == ("c", "a") else None

    for seed in range(8):
        problem = kite(4, 6, seed)
        params: dict[str, Any] = {"variant": variant, "q": 1, "gamma": math.inf, "iterations": 3, "order": "a,b,c,d"}
        result = simulate(problem, Plain, seed=seed, interceptors=[slow], **params)
        run = Iterations(problem, result, setup_of(problem, **params))
        for viewer in ("a", "b", "c", "d", "bc", "cd", "abcd"):
            for delivery, said in statements(run, viewer):
                for s in said:
                    if not isinstance(s, Chosen):
                        continue
                    t, bar = delivery.message.t, s.label == "best-response"
                    if t <= 3:
                        true = run.context(delivery.src, t, bar)
                        assert s.context == {n: v for n, v in true.items() if n in viewer}
                    elif "c" in viewer:  # the root has not heard of c's third value
                        assert s.context.get("c") in (None, run.said[2]["c"].d)
                    if not bar:
                        assert s.law == Softmax((0.0, 0.0), 0.0, True)
