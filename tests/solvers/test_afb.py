"""AFB: the chain worked by hand, optimality without FIFO or reliability, and the ways in which it goes wrong."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from agentsim import Constraint, Domain, Problem, RunError, Variable, replay, simulate
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.reading import make_reader
from agentsim.runtime.setup import prepare
from agentsim.runtime.statements import CostIs, uncovered
from agentsim.testing import brute_force, check_statements, random_problem, twin
from solvers.afb import Afb, AfbParams, Back, Cpa, Est, Fb, Sol, Terminate

DIFFER = [[1, 0], [0, 1]]


def chain(names: str = "abc") -> Problem:
    """Neighbours in a chain should differ."""
    d = Domain("d", (0, 1))
    edges = [Constraint(one + two, (one, two), DIFFER) for one, two in itertools.pairwise(names)]
    return Problem.build([Variable(n, d) for n in names], edges)


class Port:
    """As much of a port as an agent needs: it keeps what it is told to do."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Any]] = []
        self.finished = False
        self.checks = 0
        self.value: int | None = None
        self.bounds: list[tuple[float, float]] = []

    def send(self, to: str, message: Any) -> None:
        self.sent.append((to, message))

    def check(self, n: int) -> None:
        self.checks += n

    def assign(self, value: int) -> None:
        self.value = value

    def bound(self, lower: float, upper: float) -> None:
        self.bounds.append((lower, upper))

    def take(self) -> list[tuple[str, Any]]:
        taken, self.sent = self.sent, []
        return taken


def agents(problem: Problem, **params: Any) -> dict[str, tuple[Afb, Port]]:
    """Return every agent of a problem, started, in the problem's order."""
    setup = prepare(problem, Afb, "afb", {"order": ",".join(problem.variables)})
    found = {}
    for name in problem.variables:
        port = Port()
        agent = Afb(setup.view(name), port, AfbParams(**params))  # type: ignore[arg-type]
        agent.start()
        found[name] = agent, port
    return found


def one(problem: Problem, name: str, **params: Any) -> tuple[Afb, Port]:
    agent, port = agents(problem, **params)[name]
    return agent, port


def cpa(path: tuple[int, ...], stamps: tuple[int, ...], bound: float = math.inf, version: int = 0) -> Cpa:
    return Cpa(path, 0, stamps, bound, version, ())


# Whole runs ----------------------------------------------------------------------------------------------------------


def test_the_chain_of_three_worked_by_hand() -> None:
    """a=0, b=0: c=0 costs 2, c=1 costs 1, so b, at 1, gives up; b=1, c=0 costs 0, and nothing is left for anybody.

    Checks: 4 + 4 entries minimised by a and b; a tries both values (1 each), b both (2 each), c four (1 each); b
    answers a (4), c answers b twice (2 each), and a without reading anything.
    """
    result = simulate(chain(), "afb", order="a,b,c", invariants=True)
    assert (result.status, result.cost, result.assignment) == ("optimal", 0, {"a": 0, "b": 1, "c": 0})
    counts = {name: m.count for name, m in result.by_type.items()}
    assert counts == {"CPA": 3, "FB": 4, "EST": 4, "SOL": 6, "BACK": 3, "TERM": 2}
    assert (result.checks, result.nccc, result.virtual_time) == (26, 17, 6)


NETWORKS = (
    "unit",
    "uniform:1,10",
    "exponential:3",
    "constant:0",
    "uniform:1,10+reorder",
    "exponential:3+reorder+duplicate:.4",
    "uniform:1,5+loss:.3+duplicate:.2+reorder+reliable",
)


@pytest.mark.parametrize("network", NETWORKS)
def test_finds_the_optimum_whatever_the_order_of_arrival(network: str) -> None:
    for i in range(12):
        given = random_problem(np.random.default_rng([91, i]), max_cells=100)
        options = {"carry": ("none", "best")[i % 2], "order": ("mcn", "lexical", "degree")[i % 3], "invariants": True}
        optimum = brute_force(given)
        result = simulate(given, "afb", seed=i, network=network, **options)
        if math.isinf(optimum):
            assert result.status == "infeasible", i
            continue
        assert (result.status, result.violations) == ("optimal", 0), i
        assert result.cost == pytest.approx(optimum, abs=1e-9), i
        if i % 5 == 0:
            assert replay(result.log, verify=True).verified, i
            check_statements(given, result, "afb", **options)
            other = simulate(twin(given), "afb", seed=i, network=network, **options)
            assert other.cost == pytest.approx(-optimum, abs=1e-9), i


def test_what_travels() -> None:
    """Stamps rise, a CPA costs less than its bound, bounds fall, and by default no full assignment is shown."""
    for seed in range(15):
        given = random_problem(np.random.default_rng([92, seed]), max_variables=5, max_cells=100)
        for carry in ("none", "best"):
            result = simulate(given, "afb", seed=seed, network="uniform:1,10", carry=carry)
            assert result.log.header is not None
            size = {name: len(o) for o in result.log.header["places"]["orders"] for name in o}
            newest: dict[str, tuple[int, ...]] = {}
            bounds: dict[str, float] = {}
            for delivery in result.log:
                content = delivery.message
                if isinstance(content, Cpa):
                    assert content.cost < content.bound <= bounds.get(delivery.dst, math.inf)
                    assert newest.get(delivery.dst, ()) < content.stamps
                    newest[delivery.dst], bounds[delivery.dst] = content.stamps, content.bound
                if carry == "none":
                    assert not getattr(content, "best", ())
                    assert len(getattr(content, "path", ())) < size[delivery.src]
                elif isinstance(content, Sol):
                    assert len(content.best) == size[delivery.src]


def test_the_bound_holds_at_any_time() -> None:
    checked = 0
    for seed in range(12):
        given = random_problem(np.random.default_rng([93, seed]), max_variables=6, max_cells=300)
        optimum = brute_force(given)
        whole = simulate(given, "afb", seed=seed)
        worse = math.inf if given.objective == "max" else -math.inf
        last = worse
        for messages in range(5, whole.messages, max(1, whole.messages // 4)):
            cut = simulate(given, "afb", seed=seed, max_messages=messages)
            if cut.status != "timeout":
                continue
            assert cut.bound is not None
            assert not given.better(optimum, cut.bound), seed
            assert not given.better(cut.bound, last), "it never gets worse"
            last = cut.bound
            checked += math.isfinite(last)
    assert checked > 10


# What is estimated ---------------------------------------------------------------------------------------------------


def test_an_estimate_has_what_lies_within_the_prefix_and_what_later_agents_cost_at_least() -> None:
    """Pitfall (i): a function between two agents without values is counted by the earlier one alone."""
    d = Domain("d", (0, 1))
    problem = Problem.build(
        [Variable(n, d, unary=[1, 1]) for n in "abcd"],
        [
            Constraint("ac", ("c", "a"), [[10, 11], [12, 13]]),
            Constraint("bc", ("b", "c"), [[20, 30], [40, 50]]),
            Constraint("cd", ("c", "d"), [[200, 100], [400, 300]]),
        ],
    )
    every = agents(problem)
    estimates = {name: agent.estimate((1,)) for name, (agent, _) in every.items() if name != "a"}
    assert estimates == {"b": 1 + 20, "c": min(1 + 11 + 100, 1 + 13 + 300), "d": 1}
    assert every["c"][0].estimate((1, 1)) == min(1 + 11 + 40 + 100, 1 + 13 + 50 + 300)
    assert every["d"][0].estimate((1, 1, 1)) == min(1 + 400, 1 + 300)


def test_a_function_of_three_is_counted_once() -> None:
    """Pitfall (ii): by the first agent without a value, at its least over later ones."""
    d = Domain("d", (0, 1))
    table = np.arange(7, 15).reshape(2, 2, 2)  # axes c, a, b
    every = agents(Problem.build([Variable(n, d) for n in "abc"], [Constraint("cab", ("c", "a", "b"), table)]))
    assert [every[n][0].estimate((1,)) for n in "bc"] == [table[:, 1, :].min(), 0]
    assert every["c"][0].estimate((1, 0)) == table[:, 1, 0].min()
    assert every["a"][0].least_by_value == table.min(axis=(0, 2)).tolist()


def test_no_completion_costs_less_than_its_prefix_and_all_estimates() -> None:
    for seed in range(30):
        given = random_problem(np.random.default_rng([94, seed]), max_variables=4, max_cells=36)
        setup = prepare(given, Afb, "afb", {})
        for order in setup.orders or ():
            every = []
            for name in order:
                every.append(Afb(setup.view(name), Port(), AfbParams()))  # type: ignore[arg-type]
                every[-1].start()
            tables = [f for name in order for f in setup.functions_of((name,), "none")]
            for values in itertools.product(*(range(setup.domain_sizes[name]) for name in order)):
                named = dict(zip(order, values, strict=True))
                total = sum(f.table.item(tuple([named[n] for n in f.scope])) for f in tables)
                cost: float = 0
                for k, agent in enumerate(every):
                    agent.enter(values[:k], cost)
                    cost = agent.cost_by_value[values[k]]
                    assert agent.least_by_value[values[k]] <= total + 1e-9
                    least = cost + sum(later.estimate(values[: k + 1]) for later in every[k + 1 :])
                    assert least <= total + 1e-9, f"seed {seed}, prefix {values[: k + 1]}"
                assert cost == pytest.approx(total)


def test_an_estimate_that_is_too_high_is_noticed() -> None:
    class Boasting(Afb):
        """Counts functions with agents between as well."""

        def estimate(self, path: Any) -> float:
            return super().estimate(path) + 2

    caught = []
    for seed in range(40):
        given = random_problem(np.random.default_rng([95, seed]), max_variables=4, max_cells=54)
        try:
            simulate(given, Boasting, seed=seed, network="uniform:1,10", invariants=True)
        except RunError as error:
            caught.append(str(error))
    assert len(caught) > 3
    assert all("exceeds a completion's cost" in what for what in caught)


# Messages out of turn ------------------------------------------------------------------------------------------------


def test_of_two_live_cpas_only_the_newer_one_counts() -> None:
    """Pitfall (iii), and (vii): the older may come later, by any way, and counters are never reset."""
    c, port = one(chain("abcd"), "c")
    c.on_cpa("b", cpa((0, 1), (1, 1)))
    assert [m.stamps for _, m in port.take()] == [(1, 1, 1)] * 2
    c.on_cpa("b", cpa((1, 0), (2, 3)))  # a has given its first value up
    assert [(m.path, m.stamps) for _, m in port.take()] == [((1, 0, 0), (2, 3, 2))] * 2
    c.on_cpa("b", cpa((0, 0), (1, 2)))
    c.on_cpa("b", cpa((1, 0), (2, 3)))  # a copy
    c.on_back("d", Back((1, 1, 1), 5, 0, ()))
    assert port.take() == []
    c.on_fb("a", Fb((1,), (3,)))  # newer than the CPA it works on
    assert [m for _, m in port.take()] == [Est((3,), 0)]
    c.on_back("d", Back((2, 3, 2), math.inf, 0, ()))
    c.on_est("d", Est((2, 3, 2), math.inf))
    c.on_cpa("b", cpa((0, 0), (2, 9)))
    c.on_fb("b", Fb((0, 0), (2, 9)))
    assert port.take() == [], "all of it belongs to what a has given up"
    c.on_cpa("b", cpa((1, 1), (3, 4)))
    assert [m.stamps for _, m in port.take()] == [(3, 4, 3)] * 2


def test_who_hears_of_the_end_first_waits_for_the_solution() -> None:
    """Pitfall (iv)."""
    b, port = one(chain(), "b")
    b.on_cpa("a", cpa((0,), (1,)))
    b.on_sol("c", Sol(2, 1, 1, ()))
    assert port.value == 0
    port.take()
    b.on_terminate("a", Terminate(2, ()))
    b.on_cpa("a", cpa((1,), (2,)))
    b.on_fb("a", Fb((1,), (2,)))
    b.on_back("c", Back((1, 1), 0, 2, ()))
    assert (port.finished, port.take()) == (False, [])
    b.on_sol("c", Sol(0, 2, 1, ()))
    assert (port.finished, port.value) == (True, 0)

    b, port = one(chain(), "b", carry="best")
    b.on_terminate("a", Terminate(2, (0, 1, 0)))
    assert (port.finished, port.value) == (True, 1)

    b, port = one(chain(), "b")
    b.on_terminate("a", Terminate(0, ()))
    assert (port.finished, port.value) == (True, None)


def test_versions_may_come_in_any_order() -> None:
    b, port = one(chain(), "b")
    b.on_cpa("a", cpa((0,), (1,)))
    b.on_back("c", Back((1, 1), math.inf, 0, ()))  # on to the second value
    b.on_sol("c", Sol(1, 2, 2, ()))
    assert (port.value, b.bound_seen) == (1, 1)
    b.on_sol("c", Sol(3, 1, 1, ()))
    b.on_cpa("a", cpa((1,), (2,), bound=3, version=1))
    assert (port.value, b.bound_seen, b.version) == (1, 1, 2)
    b.on_terminate("a", Terminate(1, ()))
    assert port.value == 0, "the version that ended the search is what counts"


def test_an_estimate_counts_for_the_very_same_proposal_only() -> None:
    """Pitfall (v): neither for an older nor for a newer one."""
    a, port = one(chain(), "a")
    a.on_back("b", Back((1,), math.inf, 0, ()))
    port.take()
    a.on_est("b", Est((1,), math.inf))
    a.on_est("b", Est((3,), math.inf))
    assert port.take() == []
    a.on_est("b", Est((2,), math.inf))
    assert [to for to, _ in port.take()] == ["b", "c"], "TERM: that was the last value"


def test_of_several_estimates_the_first_that_suffices_moves_on() -> None:
    """Pitfall (vi), and estimates that are late, repeated, or suffice only when the bound has fallen."""
    a, port = one(chain(), "a")
    a.on_est("b", Est((1,), math.inf))
    assert [m.stamps for _, m in port.take()] == [(1,), (1,), (1,), (2,), (2,), (2,)]
    a.on_est("c", Est((1,), math.inf))
    a.on_est("b", Est((2,), 3))
    a.on_est("b", Est((2,), 3))  # a copy is not added
    a.on_est("c", Est((2,), 2))
    assert port.take() == []
    a.on_sol("c", Sol(6, 1, 2, ()))
    assert port.take() == []
    a.on_sol("c", Sol(5, 2, 2, ()))
    assert port.take() == [("b", Terminate(2, ())), ("c", Terminate(2, ()))]
    assert (port.finished, port.value, port.bounds[0], port.bounds[-1]) == (True, 1, (0, math.inf), (5, 5))


# What is disclosed ---------------------------------------------------------------------------------------------------


def told(problem: Problem, viewer: str, *mail: tuple[str, str, Any]) -> list[list[tuple[str, str, float]]]:
    """Return what a viewer's reader says of the costs for each (sender, receiver, message): label, relation, value."""
    setup = prepare(problem, Afb, "afb", {"order": ",".join(problem.variables)})
    reader = make_reader(Afb, setup, [viewer])
    assert reader is not None
    said = []
    for src, dst, content in mail:
        delivery = Delivery(1, 0, 1, 0, src, dst, "", 1, 0, 0, b"", content)
        statements = list(reader.read(delivery))
        assert uncovered(delivery, statements) == ()
        said.append([(s.label, s.relation, s.value) for s in statements if isinstance(s, CostIs)])
    return said


def test_what_a_suffix_costs_exactly_follows_from_a_solution_under_the_proposal_that_was_exhausted() -> None:
    """A bound that fell meanwhile may have been found elsewhere, by a CPA that its sender has not heard of."""
    proposal = ("b", "c", Cpa((0, 1), 3, (1, 1), 9, 1, ()))
    back = ("c", "b", Back((1, 1), 7, 2, ()))
    best = ("incumbent", "<=", 7)
    assert told(chain(), "b", proposal, back)[-1] == [("suffix-lower", ">=", 4), best]
    here, there = ("c", "b", Sol(7, 2, 1, ())), ("c", "b", Sol(7, 2, 2, ()))
    assert told(chain(), "b", proposal, here, back)[1:] == [
        [("suffix-upper", "<=", 4), best],
        [("improved-suffix", "==", 4), best],
    ]
    assert told(chain(), "b", proposal, there, back)[1:] == [[best], [("suffix-lower", ">=", 4), best]]
    late = ("c", "b", Back((1, 5), 7, 2, ()))
    assert told(chain(), "b", proposal, late)[-1] == [best], "the answer to what was not seen"


def test_what_an_estimate_says() -> None:
    """Of everybody's later costs at least that; of the own cost at most that, by who stands right behind."""
    ask, answer = Fb((0,), (4,)), Est((4,), 5)
    asked = [("a", "b", ask), ("b", "a", answer), ("a", "c", ask), ("c", "a", answer)]
    said = told(chain(), "a", *asked)
    assert said == [[], [("estimate", ">=", 5), ("own-cost", "<=", 5)], [], [("estimate", ">=", 5)]]
    assert told(chain(), "a", ("b", "a", answer)) == [[]], "the question was not seen"
    overtaken = [("a", "b", Fb((1,), (5,))), ("a", "b", ask), ("b", "a", Est((5,), 1)), ("b", "a", answer)]
    assert told(chain(), "a", *overtaken)[-1] == [], "a newer one has been answered"
