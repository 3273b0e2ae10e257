"""Once: its published figures, what its transcripts tell, that nothing is read twice, keys, networks, all problems.

Draws are seeded (randomness=seed) wherever a frequency is looked at, so that no test can fail by chance; with another
seed such a test would fail with the probability that it states.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from agentsim import replay, simulate
from agentsim.dcop.ordering import build_orders
from agentsim.dcop.problem import Constraint, Domain, Problem, Variable
from agentsim.errors import SolverRefusal, UserError
from agentsim.record.log import LogReader
from agentsim.runtime import registry
from agentsim.runtime.agent import Agent
from agentsim.runtime.mechanisms import (
    BoundedRange,
    PerTable,
    Pure,
    SubsetResponse,
    bounded_range_alpha,
    subset_epsilon,
)
from agentsim.runtime.setup import prepare
from agentsim.runtime.statements import Nothing, ReaderContext, Released, ValueIs, uncovered
from agentsim.runtime.view import Setup
from agentsim.testing import Truth, random_problem, twin
from solvers.exact_sampling import permute_and_flip_pmf
from solvers.once import Once, OnceParams, Value
from solvers.private_choice import Ranks, Row, Scores, preferred

UNITS = ("agent", "edge", "entry")
SEEDED = {"randomness": "seed"}


class Unwatched(Once):
    """Once without its account, which takes longer than the run."""

    carries = ()


def colouring(seed: int, n: int = 40, size: int = 12, density: float = 0.2, costs: str = "whole") -> Problem:
    """A random graph whose edges cost 0 to 9, uniformly; `costs` "real" has no ties."""
    rng = np.random.default_rng([31, seed])
    domain = Domain("colours", tuple(range(size)))
    constraints = []
    for i, j in itertools.combinations(range(n), 2):
        if rng.random() < density:
            table = rng.integers(0, 10, (size, size)) if costs == "whole" else 9 * rng.random((size, size))
            constraints.append(Constraint(f"c{i}_{j}", (f"x{i}", f"x{j}"), table, cost_range=(0, 9)))
    return Problem.build([Variable(f"x{i}", domain) for i in range(n)], constraints)


def setup_of(problem: Problem, **params: Any) -> Setup:
    return prepare(problem, Once, "once", params)


class NoPort(SimpleNamespace):
    """Stands for a port where an agent is asked for its law alone."""

    def __init__(self) -> None:
        super().__init__(send=None, checked=0)

    def check(self, n: int) -> None:
        self.checked += n


def agents_of(setup: Setup) -> dict[str, Once]:
    return {name: Once(setup.view(name), NoPort(), setup.params) for order in setup.orders for name in order}


# Published figures ---------------------------------------------------------------------------------------------


def test_budgets_of_ranks() -> None:
    assert subset_epsilon(1, 1e-2, 5, 15) == pytest.approx(1.0173809897, abs=1e-10)
    assert subset_epsilon(1, 1e-5, 5, 15) == pytest.approx(1.0000173576, abs=1e-10)
    assert subset_epsilon(4.1, 1e-2, 1, 10) == pytest.approx(4.1115407655, abs=2e-10)
    choice = OnceParams(delta=1e-2).choice(15)
    assert choice.event == SubsetResponse(float(choice.epsilon), 5, 15)
    assert float(choice.epsilon) == pytest.approx(1.0173809897, abs=1e-10)
    ranked = [Row(np.arange(15), 0, 0)]
    assert sum(OnceParams().choice(15).law(ranked)[:5]) == pytest.approx(0.5761168848, abs=1e-10)


@pytest.mark.parametrize(
    ("epsilon", "domain", "size"), [(0.25, 15, 7), (1, 15, 5), (1, 10, 4), (2, 15, 3), (4.1, 15, 1), (1000, 15, 1)]
)
def test_how_many_values_are_preferred(epsilon: float, domain: int, size: int) -> None:
    assert preferred(epsilon, domain) == size


def test_law_of_permute_and_flip_and_what_one_edge_or_entry_can_do_to_it() -> None:
    before = permute_and_flip_pmf([2, 3, 5, 2], 0.5)
    assert before == pytest.approx([0.37300114, 0.19089895, 0.06309878, 0.37300114], abs=1e-8)
    worst = {"edge": 0.0, "entry": 0.0}
    for moved in itertools.product((-1, 0, 1), repeat=4):
        after = permute_and_flip_pmf([s + m for s, m in zip([2, 3, 5, 2], moved, strict=True)], 0.5)
        unit = "entry" if sum(map(abs, moved)) == 1 else "edge"
        worst[unit] = max(worst[unit], *(abs(math.log(a / b)) for a, b in zip(after, before, strict=True)))
    assert worst["entry"] <= 0.5 + 1e-12
    assert 0.5 < worst["edge"] <= 1 + 1e-12


def test_budgets_of_bounded_ranges() -> None:
    assert bounded_range_alpha(1, 1e-2) == pytest.approx(1.1735357083, abs=1e-10)
    assert bounded_range_alpha(1, 1e-5) == pytest.approx(1.0050421056, abs=1e-10)
    edge, entry = (OnceParams(unit=unit, epsilon=0.25, delta=1e-2).choice(15) for unit in ("edge", "entry"))
    alpha = bounded_range_alpha(0.25, 1e-2)
    assert edge.event == PerTable(BoundedRange(2 * float(edge.b)), BoundedRange(float(edge.b)))
    assert entry.event == PerTable(BoundedRange(2 * float(entry.b)), BoundedRange(float(entry.b)))
    assert (2 * float(edge.b), float(entry.b)) == (pytest.approx(alpha, abs=1e-11), pytest.approx(alpha, abs=1e-11))
    assert not edge.permute
    assert not entry.permute


def test_which_mechanism_serves_which_unit() -> None:
    assert OnceParams().choice(10) == Ranks(10, 4, Fraction(1))
    assert OnceParams(unit="edge").choice(10) == Scores(Fraction(1, 2), True)
    assert OnceParams(unit="edge", epsilon=4).choice(10) == Ranks(10, preferred(4, 10), Fraction(4))
    assert OnceParams(unit="entry").choice(10) == Scores(Fraction(1), True)
    assert OnceParams(unit="entry", delta=1e-5).choice(10).permute, "too little is gained by such a delta"
    assert 30 < OnceParams(delta=math.nextafter(1, 0)).choice(10).epsilon <= 1000, "as good as the truth"
    for unit in ("edge", "entry"):
        b = Fraction(1, 2) if unit == "edge" else Fraction(1)
        assert OnceParams(unit=unit).choice(5).event == PerTable(Pure(float(2 * b)), Pure(float(b)))


def test_budgets_are_never_rounded_up() -> None:
    for epsilon in (0.1, 0.662, 1.31, 1 / 3):
        assert Fraction(epsilon) - Fraction(1, 2**40) < OnceParams(epsilon=epsilon).choice(7).epsilon
        assert OnceParams(epsilon=epsilon).choice(7).epsilon <= Fraction(epsilon)
        assert OnceParams(epsilon=epsilon, unit="entry").choice(7).b <= Fraction(epsilon)


def test_scores_are_thresholds_or_ramps_and_what_is_forbidden_is_worst() -> None:
    row = Row(np.array([0, 3, 4, 9, math.inf, 20, -5]), 0, 9)
    step, ramp = Scores(Fraction(1), True), Scores(Fraction(2), True)
    assert step.scores([row]) == [0, 0, 64, 64, 64, 64, 0]
    expected = [64 * min(1, max(0, (c / 9 - 0.15) / 0.5)) for c in (0, 3, 4, 9, 9, 9, 0)]
    assert ramp.scores([row]) == [round(x) for x in expected]
    assert step.scores([row, row]) == [2 * s for s in step.scores([row])]
    flat = Row(np.array([3, 3, math.inf]), 3, 3)
    assert step.scores([flat]) == [0, 0, 64]


def test_ranks_count_forbidden_tuples_first() -> None:
    rows = [Row(np.array([0, math.inf, 9, 1]), 0, 0), Row(np.array([math.inf, math.inf, 9, 1]), 0, 0)]
    assert OnceParams().choice(4).scores(rows) == [2, 3, 1, 0]
    same = [Row(np.array([1, 2, 0]), 0, 0), Row(np.array([1, 0, 2]), 0, 0)]
    assert OnceParams().choice(3).scores(same) == [0, 0, 0]


# What a transcript tells ---------------------------------------------------------------------------------------


Laws = dict[tuple[Any, ...], list[float]]


def transcript_law(setup: Setup, known: Laws) -> dict[tuple[int, ...], float]:
    """Return the log-probability of every joint choice, from each agent's law under what it hears.

    `known`: laws by agent, its very tables, and what it hears; what two setups have in common is worked out once.
    """
    agents, sizes = agents_of(setup), setup.domain_sizes
    tables = {
        name: (id(a.view.unary) if a.view.has_unary else 0, *(id(c.table) for c in a.own)) for name, a in agents.items()
    }
    found = {}
    for values in itertools.product(*(range(sizes[name]) for name in agents)):
        joint = dict(zip(agents, values, strict=True))
        total = 0.0
        for name, agent in agents.items():
            key = (name, tables[name], *(joint[other] for other in agent.earlier))
            if key not in known:
                known[key] = agent.law({other: joint[other] for other in agent.earlier})
            total += math.log(known[key][joint[name]])
        found[values] = total
    return found


def log_ratio(before: Mapping[tuple[int, ...], float], after: Mapping[tuple[int, ...], float]) -> float:
    return max(abs(before[values] - after[values]) for values in before)


def other_tables(setup: Setup, chosen: Container[str], new: Callable[[np.ndarray], np.ndarray]) -> Setup:
    """Return the setup with other tables in place of those chosen by name; orders and ranges stay."""
    old = setup.problem
    problem = Problem.build(
        [
            dataclasses.replace(v, unary=new(v.unary)) if v.unary is not None and v.name in chosen else v
            for v in old.variables.values()
        ],
        [dataclasses.replace(c, table=new(c.table)) if c.name in chosen else c for c in old.constraints.values()],
    )
    return dataclasses.replace(setup, problem=problem, original=problem)


def used_by(setup: Setup) -> dict[str, list[str]]:
    """Return the names of the tables that each agent uses, private costs by the variable's name."""
    return {
        name: [c.name for c in setup.evaluated_at[name]] + [name] * (v.unary is not None)
        for name, v in setup.problem.variables.items()
    }


def chains(n: int, seed: int, unit: str, **params: Any) -> Iterator[list[Setup]]:
    """Yield n problems of two or three agents, each followed by ten more that differ from the one before by a unit.

    Half of the chains have extreme costs alone, half of them forbid some.
    """
    rng = np.random.default_rng(seed)
    domains = [Domain("two", (0, 1)), Domain("three", (0, 1, 2))]
    for i in range(n):
        names = ("x", "y", "z")[: 3 if i % 10 == 0 else 2]
        declared = None if unit == "edge" and rng.random() < 0.5 else (0, 9)  # a table's own range is part of the table
        domain, extreme, hard = domains[i % 3 == 0], rng.random() < 0.5, rng.choice([0.0, 0.1])

        def table(old: np.ndarray, extreme: bool = extreme, hard: float = hard) -> np.ndarray:
            costs = rng.choice([0.0, 9.0], old.shape) if extreme else rng.integers(0, 10, old.shape).astype(float)
            return np.where(rng.random(old.shape) < hard, math.inf, costs)

        def entry(old: np.ndarray, table: Callable[[np.ndarray], np.ndarray] = table) -> np.ndarray:
            fresh = old.astype(float)
            fresh[tuple(int(rng.integers(size)) for size in old.shape)] = table(np.zeros(()))
            return fresh

        scopes = [pair for pair in itertools.combinations(names, 2) for _ in range(int(rng.integers(1, 4)))]
        scopes += [names] * (len(names) == 3)
        private = [table(np.zeros(len(domain))) if rng.random() < 0.4 else None for _ in names]
        setup = setup_of(
            Problem.build(
                [Variable(n, domain, unary=u, cost_range=declared) for n, u in zip(names, private, strict=True)],
                [
                    Constraint(f"c{k}", scope, table(np.zeros((len(domain),) * len(scope))), cost_range=declared)
                    for k, scope in enumerate(scopes)
                ],
            ),
            unit=unit,
            **params,
        )
        used = [tables for tables in used_by(setup).values() if tables]
        chain = [setup]
        for _ in range(10):
            changed = used[rng.integers(len(used))]
            changed = changed if unit == "agent" else [changed[rng.integers(len(changed))]]
            chain.append(other_tables(chain[-1], changed, entry if unit == "entry" else table))
        yield chain


@pytest.mark.parametrize("unit", UNITS)
def test_no_transcript_tells_more_than_epsilon(unit: str) -> None:
    worst = 0.0
    for epsilon, n in ((1.0, 120), (0.5, 40), (2.5, 40)):  # 2,000 pairs
        for chain in chains(n, 5, unit, epsilon=epsilon):
            known: Laws = {}
            laws = [transcript_law(setup, known) for setup in chain]
            worst = max(worst, *(log_ratio(*pair) / epsilon for pair in itertools.pairwise(laws)))
    assert 0.9 < worst <= 1 + 1e-9


@pytest.mark.parametrize("unit", UNITS)
def test_some_transcript_tells_all_of_epsilon(unit: str) -> None:
    """Five tables put the second value far behind the first; then all of them, one, or an entry of one turn."""
    domain = Domain("d", (0, 1))
    before = np.array([[0, 9], [0, 9]])
    after = before.copy()
    after[:, 1] = 0
    if unit != "entry":
        after[:, 0] = 9
    turned = 5 if unit == "agent" else 1

    def problem(tables: list[np.ndarray]) -> Setup:
        constraints = [Constraint(f"c{i}", ("x", "y"), t, cost_range=(0, 9)) for i, t in enumerate(tables)]
        return setup_of(
            Problem.build([Variable("x", domain), Variable("y", domain)], constraints), unit=unit, order="x"
        )

    one, other = problem([before] * 5), problem([after] * turned + [before] * (5 - turned))
    assert log_ratio(transcript_law(one, {}), transcript_law(other, {})) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("delta", [1e-3, 1e-2])
@pytest.mark.parametrize("unit", UNITS)
def test_with_delta_what_is_told_beyond_epsilon_is_at_most_delta(unit: str, delta: float) -> None:
    epsilon, worst = 0.5, 0.0
    for chain in chains(15, 6, unit, epsilon=epsilon, delta=delta):
        known: Laws = {}
        for pair in itertools.pairwise([transcript_law(setup, known) for setup in chain]):
            for p, q in (pair, pair[::-1]):
                worst = max(worst, sum(max(0.0, math.exp(p[v]) - math.exp(epsilon + q[v])) for v in p))
    assert worst <= delta * (1 + 1e-6)
    assert worst > 0 or unit != "agent"


@pytest.mark.parametrize("unit", UNITS)
def test_all_tables_that_touch_an_agent_cost_what_the_claim_says_of_them(unit: str) -> None:
    rng = np.random.default_rng(7)
    worst = 0.0
    for setup, *_ in chains(60, 8, unit):
        who = str(rng.choice(list(setup.problem.variables)))
        touching = {who, *(c.name for c in setup.problem.constraints.values() if who in c.scope)}
        other = other_tables(setup, touching, lambda old: rng.choice([0, 9], old.shape))
        ratio = log_ratio(transcript_law(setup, {}), transcript_law(other, {}))
        worst = max(worst, ratio / touching_epsilon(setup))
    assert 0.6 < worst <= 1 + 1e-9


def touching_epsilon(setup: Setup) -> float:
    """Return what the claim says of all tables that touch one agent: its own epsilon where it is silent."""
    claim = Once.claim(setup)
    found = [re.search(r"come to epsilon ([\d.]+)", sentence) for sentence in claim.notes]
    return max([claim.epsilon, *(float(match[1]) for match in found if match)])


# Reading, counting ---------------------------------------------------------------------------------------------


class Watched:
    """A table that counts how often it is read, by name and reader."""

    def __init__(self, table: np.ndarray, name: str, reader: str, seen: Counter[tuple[str, str]]) -> None:
        self.table, self.name, self.reader, self.seen = table, name, reader, seen
        self.size = table.size

    def __getitem__(self, index: object) -> np.ndarray:
        self.seen[self.name, self.reader] += 1
        return self.table[index]


@pytest.mark.parametrize("unit", UNITS)
def test_each_table_is_read_once_by_one_agent(unit: str) -> None:
    for seed in range(25):
        problem = random_problem(np.random.default_rng(seed), max_variables=6)
        seen: Counter[tuple[str, str]] = Counter()

        def watched(view: Any, port: Any, params: Any, seen: Counter[tuple[str, str]] = seen) -> Once:
            unary = Watched(view.unary, view.name, view.name, seen) if view.has_unary else view.unary
            constraints = tuple(
                dataclasses.replace(c, table=Watched(c.table, c.name, view.name, seen)) for c in view.constraints
            )
            return Once(dataclasses.replace(view, unary=unary, constraints=constraints), port, params)

        result = simulate(problem, Once, unit=unit, low=-5, high=5, replace=dict.fromkeys(problem.agents, watched))
        assert result.status == "finished"
        sizes = {name: v.size for name, v in problem.variables.items()}
        used = {(table, n) for n, tables in used_by(setup_of(problem)).items() for table in tables if sizes[n] > 1}
        assert seen == Counter(dict.fromkeys(used, 1))
        assert result.checks == sum(sizes[n] for _, n in used)


@pytest.mark.parametrize("network", ["unit", "uniform:1,10", "exponential:3"])
def test_one_message_for_each_edge_of_the_primal_graph(network: str) -> None:
    for seed in range(40):
        problem = random_problem(np.random.default_rng(seed), max_variables=7)
        result = simulate(problem, Once, seed=seed, network=network, unit=UNITS[seed % 3])
        graph = problem.primal_graph()
        assert result.messages + result.local_messages == sum(map(len, graph.values())) // 2
        assert result.status == "finished"
        assert len(result.assignment) == len(problem.variables)
        assert {d.type for d in result.log} <= {"VALUE"}


def test_messages_go_from_earlier_to_later_and_are_of_one_size() -> None:
    problem = colouring(0)
    result = simulate(problem, Once)
    place = {name: i for order in build_orders(problem, order="smallest-last") for i, name in enumerate(order)}
    for delivery in result.log:
        assert place[delivery.src] < place[delivery.dst]
    assert len({len(d.payload) for d in result.log}) == 1
    assert result.messages == len(problem.constraints)


# Order ---------------------------------------------------------------------------------------------------------


def test_the_order_is_smallest_last_reversed() -> None:
    for seed in range(60):
        problem = random_problem(np.random.default_rng(seed), max_variables=9, max_domain=2)
        left = {name: set(near) for name, near in problem.primal_graph().items()}
        number = {name: i for i, name in enumerate(left)}
        removed = []
        while left:
            name = min(left, key=lambda n: (len(left[n]), number[n]))
            for other in left.pop(name):
                left[other].discard(name)
            removed.append(name)
        expected = [tuple(n for n in reversed(removed) if n in o) for o in build_orders(problem)]
        assert list(setup_of(problem).orders) == build_orders(problem, order="smallest-last") == expected


def test_another_order_is_taken_as_told() -> None:
    problem = colouring(1, n=8, density=0.8)
    assert setup_of(problem, order="lexical").orders[0] == tuple(f"x{i}" for i in range(8))
    assert setup_of(problem, root="x5").orders[0][0] == "x5"
    assert simulate(problem, Once, order="mcn").status == "finished"


def one_sided(known: Mapping[str, tuple[str, ...] | str]) -> Problem:
    domain = Domain("d", (0, 1))
    return Problem.build(
        [Variable(n, domain) for n in "xyz"],
        [Constraint(scope, tuple(scope), np.eye(2), known_to=to) for scope, to in known.items()],
    )


@pytest.mark.parametrize(
    ("known", "order"),
    [
        ({"xy": ("x",), "yz": ("y",)}, "zyx"),
        ({"xy": ("y",), "yz": ("z",)}, "xyz"),
        ({"xy": ("x",), "yz": ("z",), "xz": "scope"}, None),
        ({"xy": ("x",), "xz": ("x",)}, None),
    ],
)
def test_who_alone_knows_a_table_stands_behind_those_it_shares_it_with(
    known: Mapping[str, tuple[str, ...] | str], order: str | None
) -> None:
    problem = one_sided(known)
    place = {name: i for o in setup_of(problem).orders for i, name in enumerate(o)}
    for scope, to in known.items():
        if to != "scope":
            assert max(scope, key=place.__getitem__) == to[0]
    if order is not None:
        assert "".join(sorted(place, key=place.__getitem__)) == order
    assert simulate(problem, Once).status == "finished"


def test_refuses_what_no_order_can_do() -> None:
    with pytest.raises(SolverRefusal, match="not known to all agents of its scope"):
        simulate(one_sided({"xy": ("x",), "yz": ("y",), "xz": ("z",)}), Once)
    with pytest.raises(SolverRefusal, match="not known to all"):
        simulate(one_sided({"xy": ("x",)}), Once, order="x,y,z")


# Quality -------------------------------------------------------------------------------------------------------


def cost_per_edge(params: Mapping[str, Any], seeds: Sequence[int] = range(6)) -> float:
    costs = []
    for seed in seeds:
        problem = colouring(seed)
        costs.append(
            simulate(problem, Unwatched, seed=seed, log=False, **SEEDED, **params).cost / len(problem.constraints)
        )
    return float(np.mean(costs))


def test_without_budget_choices_are_random() -> None:
    # A random assignment costs 4.5 per edge; six problems of some 155 edges with a deviation of 2.87 each: 5 sigma.
    for unit in UNITS:
        assert cost_per_edge({"epsilon": 0, "unit": unit}) == pytest.approx(4.5, abs=5 * 2.87 / math.sqrt(6 * 140))


def test_quality_grows_with_epsilon_and_with_smaller_units() -> None:
    by_epsilon = [cost_per_edge({"epsilon": e}) for e in (0, 1, 4, 50)]
    assert by_epsilon == sorted(by_epsilon, reverse=True)
    agent, edge, entry = (cost_per_edge({"unit": unit, "epsilon": 2}) for unit in UNITS)
    assert entry < edge < agent < by_epsilon[0]
    assert by_epsilon[-1] < 2.3, "half of what random values cost"


def greedy(problem: Problem, order: Sequence[str], first: Mapping[str, int]) -> dict[str, int]:
    """Return what a greedy takes that adds one variable after the other to the values of the `first`."""
    values = dict(first)
    for name in order:
        total = np.zeros(problem.variables[name].size)
        for c in problem.constraints.values():
            if name in c.scope and values.keys() >= set(c.scope) - {name}:
                total += c.table[tuple(slice(None) if v == name else values[v] for v in c.scope)]
        values.setdefault(name, int(total.argmin()))
    return values


def test_with_all_budget_it_is_the_greedy_of_its_order() -> None:
    for seed in range(5):
        problem = colouring(seed, n=30, costs="real")
        result = simulate(problem, Once, seed=seed, epsilon=60, **SEEDED)
        values = problem.indices(result.assignment)
        used = used_by(setup_of(problem))
        uninformed = {name: value for name, value in values.items() if not used[name]}
        order = [name for o in setup_of(problem).orders for name in o]
        assert values == greedy(problem, order, uninformed)


# Keys, logs ----------------------------------------------------------------------------------------------------


def externals(source: Path | bytes) -> list[tuple[Any, ...]]:
    return [record for record in LogReader(source).records() if record[0] == "external"]


def test_a_run_with_a_key_of_the_system_verifies() -> None:
    problem = colouring(2, n=12)
    for unit in UNITS:
        runs = [simulate(problem, Once, unit=unit) for _ in range(2)]
        keys = [{record[4] for record in externals(run.log._source)} for run in runs]
        assert all(len(k) == 12 and {len(key) for key in k} == {32} for k in keys), "a key for each agent"
        assert not keys[0] & keys[1]
        assert runs[0].assignment != runs[1].assignment
        for run in runs:
            replayed = replay(run.log, verify=True)
            assert replayed.verified, replayed.first_difference


@pytest.mark.parametrize("compress", [False, True])
def test_a_redacted_log_holds_no_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, compress: bool) -> None:
    key = bytes(range(100, 132))

    async def known_key() -> bytes:
        return key

    monkeypatch.setattr("solvers.exact_sampling.fresh_key", known_key)
    problem = colouring(2, n=6, density=1)
    whole, redacted = tmp_path / "whole.amlog", tmp_path / "redacted.amlog"
    results = [
        simulate(problem, Once, log=path, redact=path == redacted, compress=compress) for path in (whole, redacted)
    ]
    assert results[0].assignment == results[1].assignment, "the same key"
    assert [record[4] for record in externals(whole)] == [key] * 6
    assert {record[2:] for record in externals(redacted)} == {(f"x{i}", "randomness", None) for i in range(6)}
    if not compress:
        assert key in whole.read_bytes()
        assert key not in redacted.read_bytes()
    seen = simulate(problem, Once, redact=True).log._source
    assert all(record[4] is None for record in externals(seen)), "nor does one in memory"
    with pytest.raises(UserError, match="cannot be verified"):
        replay(redacted, verify=True, solver=Once)
    assert replay(redacted, ["disclosures"], solver=Once).complete


def test_seeded_draws_are_repeated_and_differ_by_seed_and_agent() -> None:
    problem = colouring(3, n=12)
    one, again, other = (simulate(problem, Once, seed=s, **SEEDED) for s in (1, 1, 2))
    assert one.assignment == again.assignment != other.assignment
    assert one.log._source == again.log._source
    assert not externals(one.log._source)
    assert replay(one.log, verify=True).verified
    lonely = Problem.build([Variable(f"x{i}", Domain("d", tuple(range(50)))) for i in range(8)])
    assert len(set(simulate(lonely, Once, **SEEDED).assignment.values())) > 4


# Networks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "network",
    ["unit+duplicate:.3", "uniform:1,10", "exponential:3+reorder", "uniform:1,9+loss:.3+duplicate:.2+reorder+reliable"],
)
def test_the_network_changes_nothing(network: str) -> None:
    for seed in range(12):
        problem = random_problem(np.random.default_rng(seed), max_variables=7, max_domain=5)
        plain, other = (simulate(problem, Unwatched, seed=seed, network=net, **SEEDED) for net in ("unit", network))
        assert other.status == "finished"
        assert other.assignment == plain.assignment


class TwoFaced(Once):
    """Tells two values."""

    async def run(self) -> None:
        await super().run()
        for name in self.later:
            self.send(name, Value(2))


class Plain(Once):
    """Takes the first value."""

    def choose(self, coins: Any, values: Mapping[str, int]) -> int:
        return 0


class TwoFacedPlain(TwoFaced, Plain):
    """Tells the first value, then another."""


def test_the_first_value_of_a_neighbour_counts() -> None:
    problem = colouring(4, n=6, density=1)
    first = setup_of(problem).orders[0][0]
    honest, liar = (simulate(problem, Once, replace={first: cls}, **SEEDED) for cls in (Plain, TwoFacedPlain))
    assert liar.messages == honest.messages + 5
    assert liar.assignment == honest.assignment


def test_an_agent_that_was_down_does_not_choose_again() -> None:
    problem = colouring(4, n=6, density=1)
    order = setup_of(problem).orders[0]
    plain = simulate(problem, Once, **SEEDED)
    for who in order[:-1]:  # it is down after it has chosen, while others still wait
        result = simulate(problem, Once, network=f"unit+crash:{who}@4.6-4.8", **SEEDED)
        assert (result.status, result.assignment) == ("finished", plain.assignment)
        assert result.messages == plain.messages
    early = simulate(problem, Once, network=f"unit+crash:{order[3]}@0.5-1.5")
    assert early.status == "deadlock"
    assert order[3] not in {record[2] for record in externals(early.log._source)}, "it drew no key: it did not choose"


# Problems of all kinds -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", UNITS)
def test_statements_are_true_and_cover_every_field(unit: str) -> None:
    for seed in range(40):
        problem = random_problem(np.random.default_rng(seed), max_variables=6)
        result = simulate(problem, Unwatched, seed=seed, unit=unit, delta=(0, 1e-2)[seed % 2])
        setup = setup_of(problem, unit=unit, delta=(0, 1e-2)[seed % 2])
        truth = Truth(setup, problem.indices(result.assignment))
        for nodes in ((), tuple(setup.nodes)):
            reader = Once.reader(ReaderContext.of(setup, nodes))
            for delivery in result.log:
                statements = list(reader.read(delivery))
                assert not uncovered(delivery, statements)
                assert all(truth.holds(statement) for statement in statements), f"seed {seed}: {delivery}"
                assert [type(s) for s in statements] == [Nothing, ValueIs, Released]


def test_a_release_names_the_tables_that_the_viewer_knows() -> None:
    domain = Domain("d", (0, 1, 2))
    problem = Problem.build(
        [Variable("x", domain), Variable("y", domain, unary=[0, 1, 2]), Variable("z", domain)],
        [Constraint(n, tuple(n), np.eye(3), cost_range=(0, 1)) for n in ("xy", "yz", "xz")],
    )
    setup = setup_of(problem, order="lexical")
    delivery = next(d for d in simulate(problem, Once, order="lexical").log if d.src == "y")

    def released(nodes: tuple[str, ...]) -> Released:
        return next(s for s in Once.reader(ReaderContext.of(setup, nodes)).read(delivery) if isinstance(s, Released))

    assert released(("z",)) == Released("private-choice", ("value",), SubsetResponse(1.0, 1, 3), 0.0, "y")
    assert released(("x",)).tables == ("xy",)
    assert set(released(("x", "y", "z")).tables) == {"xy", "y"}


@pytest.mark.parametrize("unit", UNITS)
def test_the_twin_takes_the_same_values(unit: str) -> None:
    for seed in range(20):
        problem = random_problem(np.random.default_rng(seed), max_variables=6)
        low, high = (-5, 4) if problem.objective == "min" else (-4, 5)
        one = simulate(problem, Unwatched, seed=seed, unit=unit, low=low, high=high, **SEEDED)
        other = simulate(twin(problem), Unwatched, seed=seed, unit=unit, low=-high, high=-low, **SEEDED)
        assert one.assignment == other.assignment
        assert one.cost == pytest.approx(-other.cost) or math.isinf(one.cost)


def test_declared_ranges_serve_as_given_ones_do() -> None:
    problem = colouring(5, n=10, density=0.6)
    bare = Problem.build(
        problem.variables.values(), [dataclasses.replace(c, cost_range=None) for c in problem.constraints.values()]
    )
    for unit in ("edge", "entry"):
        declared = simulate(problem, Once, unit=unit, **SEEDED)
        given = simulate(bare, Once, unit=unit, low=0, high=9, **SEEDED)
        assert declared.assignment == given.assignment
        assert declared.checks == given.checks
        taken = simulate(bare, Once, unit=unit, **SEEDED)
        assert taken.checks == given.checks + sum(c.table.size for c in bare.constraints.values())


def test_an_agent_with_private_costs_alone_chooses_by_them() -> None:
    domain = Domain("d", tuple(range(8)))
    costs = [9, 9, 9, 0, 9, 9, 9, 9]
    problem = Problem.build(
        [*(Variable(f"x{i}", domain, unary=costs, cost_range=(0, 9)) for i in range(30)), Variable("free", domain)]
    )
    for unit in UNITS:
        result = simulate(problem, Once, unit=unit, epsilon=12, **SEEDED)
        best = sum(result.assignment[f"x{i}"] == 3 for i in range(30))
        assert best >= 25
    single = Problem.build([Variable("x", Domain("one", ("a",)), unary=[3])])
    assert simulate(single, Once).assignment == {"x": "a"}
    assert Once.claim(setup_of(single)).epsilon == 1


# Noisy tables --------------------------------------------------------------------------------------------------

NOISY = {"unit": "entry", "epsilon": 4.1, "rounds": 3}


def test_entries_are_published_from_some_epsilon_on() -> None:
    kinds = {e: OnceParams(unit="entry", epsilon=e).kinds for e in (1, 2.69, 2.7, 3.5, 7, 1000)}
    assert kinds == {1: 0, 2.69: 0, 2.7: 3, 3.5: 5, 7: 10, 1000: 10}
    assert OnceParams(unit="entry", epsilon=5, rounds=0).kinds == 0
    assert OnceParams(unit="edge", epsilon=5).kinds == OnceParams(epsilon=5).kinds == 0
    problem = colouring(0, n=6, density=1)
    assert {d.type for d in simulate(problem, Once, unit="entry", epsilon=5, rounds=0).log} == {"VALUE"}


def test_each_table_is_published_once_by_its_reader_with_randomised_response() -> None:
    problem = colouring(1, n=12, density=0.6)
    result = simulate(problem, Once, **NOISY, **SEEDED)
    tables = [d for d in result.log if d.type == "TABLE"]
    assert sorted(d.message.name for d in tables) == sorted(problem.constraints)
    assert result.by_type["VALUE"].count == 3 * 2 * len(problem.constraints)
    last = {c.name: name for name, own in setup_of(problem).evaluated_at.items() for c in own}
    wrong = cells = 0
    for d in tables:
        table = problem.constraints[d.message.name].table
        assert d.src == last[d.message.name]
        assert d.message.step == 9 / 5
        truth = np.minimum(table * 5 // 9, 4)
        wrong += int((truth != d.message.classes).sum())
        cells += table.size
    p = 4 / (math.exp(4.1) + 4)
    assert abs(wrong - cells * p) < 5 * math.sqrt(cells * p * (1 - p))  # 5 sigma: 6 in 10^7


def test_what_is_forbidden_is_of_the_worst_class_and_ternary_tables_go_to_two() -> None:
    domain = Domain("d", (0, 1, 2))
    cube = np.zeros((3, 3, 3))
    cube[0] = math.inf
    problem = Problem.build(
        [Variable(n, domain) for n in "xyz"], [Constraint("c", ("x", "y", "z"), cube, cost_range=(0, 4))]
    )
    result = simulate(problem, Once, **{**NOISY, "epsilon": 900})
    tables = [d for d in result.log if d.type == "TABLE"]
    assert {(d.src, d.dst) for d in tables} == {("x", "y"), ("x", "z")}, "x is the last of the order"
    assert all((d.message.classes == np.where(np.isinf(cube), 9, 0)).all() for d in tables)
    assert result.violations == 0


def test_after_that_nothing_depends_on_the_true_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    def fixed(self: Once, coins: Any, table: np.ndarray, declared: Any) -> tuple[np.ndarray, float]:
        return np.arange(table.size, dtype=np.uint8).reshape(table.shape) % 7, 1.5

    monkeypatch.setattr(Once, "noisy", fixed)
    for seed in range(8):
        one = random_problem(np.random.default_rng(seed), max_variables=6)
        other = Problem.build(
            [v if v.unary is None else dataclasses.replace(v, unary=np.zeros(v.size)) for v in one.variables.values()],
            [dataclasses.replace(c, table=np.zeros(c.table.shape)) for c in one.constraints.values()],
            objective=one.objective,
            agents=one.agents,
        )
        runs = [simulate(p, Once, seed=seed, **NOISY, **SEEDED) for p in (one, other)]
        assert [(d.src, d.dst, d.delivered_at, d.payload) for d in runs[0].log] == [
            (d.src, d.dst, d.delivered_at, d.payload) for d in runs[1].log
        ]
        assert runs[0].assignment == runs[1].assignment


@pytest.mark.parametrize("network", ["unit+duplicate:.3", "exponential:3+reorder"])
def test_noisy_tables_on_problems_and_networks_of_all_kinds(network: str) -> None:
    for seed in range(20):
        problem = random_problem(np.random.default_rng(seed), max_variables=6)
        nets = ("unit", network)
        plain, other = (simulate(problem, Unwatched, seed=seed, network=net, **NOISY, **SEEDED) for net in nets)
        assert plain.status == other.status == "finished"
        assert plain.assignment == other.assignment
        assert plain.assignment == simulate(twin(problem), Unwatched, seed=seed, **NOISY, **SEEDED).assignment
        if len({v.agent for v in problem.variables.values()}) == len(problem.variables):
            assert replay(other.log, verify=True).verified
        setup = setup_of(problem, **NOISY)
        truth = Truth(setup, problem.indices(other.assignment))
        reader = Once.reader(ReaderContext.of(setup, ()))
        for delivery in other.log:
            statements = list(reader.read(delivery))
            assert not uncovered(delivery, statements)
            assert all(truth.holds(statement) for statement in statements)


def test_the_account_of_noisy_tables() -> None:
    problem = colouring(2, n=8, size=4, density=1)
    found = simulate(problem, Once, **NOISY).findings["accounting"]
    assert (found["claimed"], found["unit"]) == (4.1, "entry")
    assert found["holds"]["entry"] == pytest.approx(4.1)
    assert found["holds"]["edge"] == pytest.approx(4.1 * 16)
    assert touching_epsilon(setup_of(problem, **NOISY)) == pytest.approx(7 * 16 * 4.1)


def test_noisy_tables_serve_better_than_one_choice() -> None:
    one, noisy = (cost_per_edge({"unit": "entry", "epsilon": 4.1, "rounds": rounds}, range(2)) for rounds in (0, 20))
    assert noisy < 0.95 * one


# The claim -----------------------------------------------------------------------------------------------------


def test_the_claim_names_what_is_protected_and_what_is_left_out() -> None:
    # x1's four tables are used by itself, x2, x3 and x4, x0's by these four; an edge is one table, an entry moves half.
    problem = colouring(0, n=5, density=1)
    for unit, protected, whole in (("agent", "own", 4), ("edge", "edge", 4), ("entry", "entry", 8)):
        setup = setup_of(problem, unit=unit, order="lexical")
        claim = Once.claim(setup)
        assert (claim.epsilon, claim.delta, claim.unit) == (1, 0, protected)
        assert (claim.outside, len(claim.notes)) == ((), 1)
        assert touching_epsilon(setup) == pytest.approx(whole)
    assert Once.claim(setup_of(problem, delta=1e-5)).delta == 1e-5
    seeded = Once.claim(setup_of(problem, unit="edge", randomness="seed"))
    assert any("run's seed" in sentence for sentence in seeded.notes)


def test_the_claim_says_where_ranges_come_from_tables() -> None:
    problem = random_problem(np.random.default_rng(3), max_variables=5)
    functions = len(problem.constraints) + sum(v.unary is not None for v in problem.variables.values())

    def outside(**params: Any) -> tuple[str, ...]:
        return Once.claim(setup_of(problem, **params)).outside

    assert outside(unit="entry") == (
        f"ranges of {functions} cost functions, taken from their tables: give low and high",
    )
    assert outside(unit="entry", low=-5, high=5) == ()
    assert outside(unit="edge") == (), "a table's range is part of the table"
    assert outside() == (), "ranks need none"


def test_an_agent_pays_for_each_of_its_variables() -> None:
    domain = Domain("d", (0, 1))
    problem = Problem.build(
        [Variable(n, domain, agent, unary=[0, 1]) for n, agent in (("u", "a"), ("v", "a"), ("w", "a"), ("x", "b"))],
        [Constraint("ux", ("u", "x"), np.eye(2), cost_range=(0, 1))],
    )
    claim = Once.claim(setup_of(problem, epsilon=0.5, delta=1e-3))
    assert (claim.epsilon, claim.delta) == (1.5, 3e-3)
    assert "an agent chooses for up to 3 variables, 0.5 for each" in claim.notes
    assert Once.claim(setup_of(problem, unit="edge", epsilon=0.5)).epsilon == 0.5


def test_what_the_accounting_finds_is_what_is_claimed() -> None:
    problem = colouring(6, n=15, density=0.5)
    for unit, held in (("agent", "own"), ("edge", "edge"), ("entry", "entry")):
        found = simulate(problem, Once, unit=unit, epsilon=1.25).findings["accounting"]
        assert (found["claimed"], found["unit"]) == (1.25, held)
        assert found["holds"][held] == pytest.approx(1.25)
        assert found["holds"]["agent"] > found["holds"]["own"] >= found["holds"]["edge"] >= 1.25 - 1e-9


# Parameters ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"epsilon": -1}, "epsilon=-1.0: must be from 0 to 1000"),
        ({"epsilon": math.inf}, "epsilon=inf: must be"),
        ({"delta": 1}, "delta=1.0: must be at least 0 and below 1"),
        ({"delta": -0.1}, "delta=-0.1"),
        ({"low": 1}, "low and high: both or neither"),
        ({"high": 1}, "low and high: both or neither"),
        ({"low": 2, "high": 1}, "must be finite and in this order"),
        ({"low": 0, "high": math.inf}, "must be finite"),
        ({"rounds": -1}, "rounds=-1: must not be negative"),
        ({"unit": "all"}, "unit='all' must be one of agent, edge, entry"),
        ({"randomness": "dice"}, "randomness='dice' must be one of crypto, seed"),
    ],
)
def test_wrong_parameters_are_told(params: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence.replace("(", r"\(")):
        simulate(colouring(0, n=3), Once, **params)


def test_it_is_an_agent_that_runs_with_no_parameter_given() -> None:
    assert issubclass(Once, Agent)
    result = simulate(colouring(0, n=5, density=1), Once)
    assert (result.status, result.violations) == ("finished", 0)
    assert OnceParams() == OnceParams(epsilon=1.0, delta=0.0, unit="agent", randomness="crypto")


# Public constraints ----------------------------------------------------------------------------------------------


def event_scheduling(seed: int) -> Problem:
    """Five people, two events of three each: who attends what is public, who likes which slot is not."""
    generator = registry.find("generators", "dimes")
    problem = generator.generate(generator.Params(people=5, events=2, attendees=3, d=4, u=6), seed)
    assert any(c.known_to == "all" for c in problem.constraints.values())
    return problem


@pytest.mark.parametrize("unit", ["agent", "edge", "entry"])
def test_public_constraints_are_kept_and_cost_nothing(unit: str) -> None:
    for seed in range(10):
        problem = event_scheduling(seed)
        result = simulate(problem, "once", unit=unit, randomness="seed", seed=seed)
        at = problem.indices(result.assignment)
        conflict = sum(
            c.table[tuple(at[v] for v in c.scope)].item() for c in problem.constraints.values() if c.known_to == "all"
        )
        assert conflict == 0, seed
        told = result.findings["accounting"]
        assert told["outside"] == []
        assert told["holds"]["own" if unit == "agent" else unit] <= told["claimed"] + 1e-9


@pytest.mark.parametrize("unit", ["agent", "edge", "entry"])
@pytest.mark.parametrize(
    "public", [[0, math.inf, 0, math.inf], [0, 1, 50, 0], [math.inf, math.inf, math.inf, math.inf]]
)
def test_what_public_constraints_leave_is_chosen_from_in_private(unit: str, public: list[float]) -> None:
    """Whatever the private costs are, the same values have a chance, and no log-ratio passes epsilon."""
    four = Domain("four", tuple(range(4)))
    rng = np.random.default_rng(5)

    def law(costs: Sequence[int], delta: float) -> list[float]:
        x = Variable("x", Domain("one", (0,)))
        y = Variable("y", four, unary=np.array(costs), cost_range=(0, 9))
        known = Constraint("known", ("x", "y"), np.array([public], dtype=float), known_to="all")
        setup = setup_of(Problem.build([x, y], [known]), unit=unit, order="x,y", delta=delta)
        return agents_of(setup)["y"].law({"x": 0})

    # Private costs can make up for 9, not for 50; where everything is forbidden, anything may be chosen.
    left = {d for d in range(4) if public[d] == min(public) or public[d] <= min(public) + 9}
    for _ in range(60):
        before = rng.integers(0, 10, 4)
        after = before.copy()
        if unit == "entry":
            after[rng.integers(4)] = rng.integers(10)
        else:
            after = rng.integers(0, 10, 4)
        for delta in (0.0, 1e-2):  # the same: with public constraints delta is not spent
            p, q = law(before.tolist(), delta), law(after.tolist(), delta)
            assert {d for d in range(4) if p[d] > 0} == {d for d in range(4) if q[d] > 0} == left
            assert max(abs(math.log(p[d] / q[d])) for d in left) <= 1 + 1e-9


def test_public_constraints_are_in_no_account() -> None:
    setup = setup_of(event_scheduling(1), delta=1e-2)
    public = {c.name for c in setup.problem.constraints.values() if c.known_to == "all"}
    reader = Once.reader(ReaderContext.of(setup, setup.nodes))
    assert Once.claim(setup).final
    for released in Once.claim(setup).final:
        assert public.isdisjoint(released.tables)
    result = simulate(event_scheduling(1), "once", delta=1e-2, randomness="seed")
    for delivery in result.log:
        for statement in reader.read(delivery):
            if isinstance(statement, Released):
                assert public.isdisjoint(statement.tables)
                restricted = any(c.public for c in setup.evaluated_at[statement.about])
                assert isinstance(statement.mechanism, Pure if restricted else SubsetResponse)


def test_a_choice_that_nobody_is_told_of_counts_all_the_same() -> None:
    """In a chain the last agent sends nothing; its value is in the assignment, and its table is its neighbour's too."""
    two = Domain("two", (0, 1))
    pairs = (("a", "b"), ("b", "c"))
    problem = Problem.build(
        [Variable(name, two) for name in "abc"],
        [Constraint("".join(s), s, np.eye(2), cost_range=(0, 1)) for s in pairs],
    )
    told = simulate(problem, "once", order="a,b,c", randomness="seed").findings["accounting"]
    assert told["uses"]["nodes"] == 3
    assert told["holds"] == {"own": pytest.approx(1), "edge": pytest.approx(1), "agent": pytest.approx(2)}
