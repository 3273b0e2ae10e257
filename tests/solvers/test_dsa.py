"""DSA's table of moves, its counts and rounds; and what holds of every local search by rounds, MGM and MGM-2 too."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import agentsim
from agentsim import Agent, Constraint, Domain, Problem, Variable, simulate
from agentsim.errors import SolverRefusal, UserError
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.local_costs import LocalCosts
from agentsim.runtime.setup import prepare
from agentsim.runtime.statements import Best, Chosen, CostIs, ReaderContext, Statement, Unanalysed, ValueIs, uncovered
from agentsim.runtime.streams import Stream
from agentsim.runtime.view import Setup
from agentsim.testing import Truth, brute_force, random_problem, twin
from solvers.dsa import Dsa, DsaReader, LocalSearch, Recent
from solvers.mgm import Mgm
from solvers.mgm2 import Mgm2

FAMILY: list[type[LocalSearch]] = [Dsa, Mgm, Mgm2]
HONEST = ["unit", "uniform:1,10", "exponential:3", "uniform:1,5+loss:.3+duplicate:.2+reorder+reliable"]
COPYING = ["unit+duplicate:.3", "uniform:1,10+duplicate:.3+reorder"]
FEW = {Dsa: 10, Mgm: 10, Mgm2: 10}


def problem_of(names: str, size: int, constraints: dict[str, Any], **unary: list[float]) -> Problem:
    domain = Domain("d", tuple(range(size)))
    return Problem.build(
        [Variable(n, domain, unary=np.array(unary[n]) if n in unary else None) for n in names],
        [Constraint(scope, tuple(scope), np.asarray(table)) for scope, table in constraints.items()],
    )


# The table of moves -----------------------------------------------------------------------------------------------


class Desk:
    """A port with a random stream; it keeps nothing."""

    def __init__(self) -> None:
        self.rng = Stream(0, "desk")
        self.finished = False

    def send(self, to: str, message: Any) -> None: ...

    def check(self, n: int) -> None: ...

    def assign(self, value: int) -> None: ...


# By x's value and y's. At y=0 the least cost is 1, which x=1 and x=2 have, and elsewhere the function costs 0: a
# conflict. At y=1 two values cost 0.
MOVES = problem_of("xy", 3, {"xy": [[2, 0, 0], [1, 0, 9], [1, 3, 9]]})


def moves(variant: str, p: float, value: int, other: int, draws: int = 40) -> set[int]:
    setup = prepare(MOVES, Dsa, "dsa", {"variant": variant, "p": p})
    agent = Dsa(setup.view("x"), Desk(), setup.params)  # type: ignore[arg-type]
    found = set()
    for _ in range(draws):
        agent.move(value)
        agent.decide_on({"y": other})
        found.add(agent.value)
    return found


@pytest.mark.parametrize(
    ("variant", "conflict", "calm", "always"),
    [
        ("A", {1}, {0}, False),
        ("B", {2}, {0}, False),
        ("C", {2}, {1}, False),
        ("D", {2}, {0}, True),
        ("E", {2}, {1}, True),
    ],
)
def test_who_moves_when(variant: str, conflict: set[int], calm: set[int], always: bool) -> None:
    """Of delta > 0, delta = 0 with a conflict and without: what is moved to with p = 1, and with p = 0."""
    assert moves(variant, 1, value=0, other=0) == {1, 2}, "either of the best values"
    assert moves(variant, 1, value=1, other=0) == conflict
    assert moves(variant, 1, value=0, other=1) == calm
    assert moves(variant, 0, value=0, other=0) == ({1, 2} if always else {0})
    assert moves(variant, 0, value=1, other=0) == {1}
    assert moves(variant, 0, value=0, other=1) == {0}


@pytest.mark.parametrize("variant", "ABCDE")
def test_the_only_best_value_is_kept(variant: str) -> None:
    assert moves(variant, 1, value=0, other=2) == {0}


def test_p_is_the_probability_of_a_move() -> None:
    setup = prepare(MOVES, Dsa, "dsa", {"p": 0.3})
    agent = Dsa(setup.view("x"), Desk(), setup.params)  # type: ignore[arg-type]
    moved = 0
    for _ in range(2000):
        agent.move(0)
        agent.decide_on({"y": 0})
        moved += agent.value != 0
    assert 520 < moved < 680


# Counts and rounds ------------------------------------------------------------------------------------------------


def sent(log: Any) -> dict[tuple[str, int], Delivery]:
    """Return what was sent, once each, by sender and number."""
    return {(d.src, d.n): d for d in log}


@pytest.mark.parametrize("network", [*HONEST, *COPYING])
def test_every_agent_tells_every_neighbour_its_value_in_every_round(network: str) -> None:
    for seed in range(8):
        problem = random_problem(np.random.default_rng(seed))
        result = simulate(problem, Dsa, seed=seed, network=network, rounds=6)
        told: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        for delivery in sent(result.log).values():
            told[delivery.src, delivery.dst].append(delivery.message.round)
        graph = problem.primal_graph()
        assert {pair: sorted(rounds) for pair, rounds in told.items()} == {
            (a, b): list(range(6)) for a in graph for b in graph[a]
        }
        assert result.messages + result.local_messages == 6 * sum(map(len, graph.values()))


@pytest.mark.parametrize("network", [*HONEST, *COPYING])
def test_nobody_goes_on_before_all_neighbours_have_told_their_values(network: str) -> None:
    for seed in range(8):
        problem = random_problem(np.random.default_rng(seed))
        graph = problem.primal_graph()
        heard: set[tuple[str, str, int]] = set()
        log = list(simulate(problem, Dsa, seed=seed, network=network, rounds=6).log)
        arrived = iter(log)
        ahead = next(arrived, None)
        for delivery in sorted(log, key=lambda d: d.sent_at):
            while ahead is not None and ahead.delivered_at <= delivery.sent_at:
                heard.add((ahead.src, ahead.dst, ahead.message.round))
                ahead = next(arrived, None)
            before = delivery.message.round - 1
            assert before < 0 or all((name, delivery.src, before) in heard for name in graph[delivery.src])


class Tidy(Dsa):
    """Looks at its mail in every round."""

    def begin_round(self, number: int) -> None:
        super().begin_round(number)
        assert {*self._mail} <= {number, number + 1}, "old mail is kept"


def test_mail_that_comes_too_late_is_not_kept() -> None:
    for seed in range(5):
        problem = random_problem(np.random.default_rng(seed))
        network = "uniform:1,10+duplicate:.5+reorder"
        assert simulate(problem, Tidy, seed=seed, network=network, rounds=20).status == "finished"


def test_values_follow_the_table_from_round_to_round() -> None:
    """In a run of variant A with p = 1 each agent's next value is a best one where that gains, else the same."""
    moved = 0
    for seed in range(20):
        problem = random_problem(np.random.default_rng(seed))
        result = simulate(problem, Dsa, seed=seed, network="uniform:1,10", rounds=8, variant="A", p=1, penalty=1000)
        setup = prepare(problem, Dsa, "dsa", {})
        told: defaultdict[str, dict[int, int]] = defaultdict(dict)
        for delivery in result.log:
            told[delivery.src][delivery.message.round] = delivery.message.value
        for name, by_round in told.items():
            local = LocalCosts(setup.view(name), 1000)
            for k in range(7):
                costs = local.by_value({n: told[n][k] for n in setup.view(name).neighbours})
                gains = costs[by_round[k]] > costs.min() + 1e-9
                moved += gains
                assert costs[by_round[k + 1]] <= costs.min() + 1e-9 if gains else by_round[k + 1] == by_round[k]
            assert problem.indices(result.assignment)[name] == by_round[7], "the last told is the result"
    assert moved > 60


def test_checks_are_entries_read() -> None:
    problem = problem_of("ab", 3, {"ab": np.arange(9).reshape(3, 3)}, a=[1, 2, 3])
    a, b = 3 + 3, 3  # one look: the private cost and a row, or a row
    plain = simulate(problem, Dsa, rounds=5, variant="A")
    assert plain.checks == 4 * (a + b), "four decisions each"
    assert plain.nccc == 4 * a
    assert simulate(problem, Dsa, rounds=5, variant="B").checks == 4 * (a + b) + (9 + 3) + 9


def test_colouring_is_good_though_not_perfect() -> None:
    """A ring of 30 with 3 colours, which has a perfect colouring and many that are nearly so."""
    names = [f"x{i}" for i in range(30)]
    domain = Domain("colours", (0, 1, 2))
    problem = Problem.build(
        [Variable(n, domain) for n in names],
        [Constraint(f"c{i}", (names[i], names[i - 1]), np.eye(3, dtype=int)) for i in range(30)],
    )
    costs = [simulate(problem, Dsa, seed=seed, rounds=60).cost for seed in range(5)]
    assert max(costs) <= 2
    assert min(costs) == 0


# What holds of every local search by rounds -----------------------------------------------------------------------


def run(solver: type[LocalSearch], problem: Problem, seed: int, network: str, **params: Any) -> agentsim.Result:
    result = simulate(problem, solver, seed=seed, network=network, **{"rounds": FEW[solver], **params})
    assert result.status == "finished", f"seed {seed}: {result.status} {result.deadlock}"
    return result


@pytest.mark.parametrize("network", [*HONEST, *COPYING])
@pytest.mark.parametrize("solver", FAMILY)
def test_runs_of_all_kinds_end_and_can_be_verified(solver: type[LocalSearch], network: str) -> None:
    for seed in range(100, 105):
        problem = random_problem(np.random.default_rng(seed))
        result = run(solver, problem, seed, network)
        assert result.cost == pytest.approx(problem.evaluate_indices(problem.indices(result.assignment)).cost)
        assert not problem.better(result.cost, brute_force(problem) + (-1e-9 if problem.objective == "min" else 1e-9))
        assert agentsim.replay(result.log, verify=True).verified


@pytest.mark.parametrize("solver", FAMILY)
def test_the_network_changes_nothing_but_the_time(solver: type[LocalSearch]) -> None:
    """Rounds are rounds: whatever arrives when, the same messages are sent."""
    for seed in range(5):
        problem = random_problem(np.random.default_rng(seed))
        logs = set()
        for network in [*HONEST, *COPYING]:
            result = run(solver, problem, seed, network, rounds=6)
            logs.add(repr(sorted((d.src, d.dst, d.type, d.payload) for d in sent(result.log).values())))
        assert len(logs) == 1, f"seed {seed}"


@pytest.mark.parametrize("solver", FAMILY)
def test_the_maximising_twin_goes_the_same_way(solver: type[LocalSearch]) -> None:
    for seed in range(12):
        problem = random_problem(np.random.default_rng(seed))
        one, other = (run(solver, p, seed, HONEST[seed % 3], rounds=8) for p in (problem, twin(problem)))
        assert one.assignment == other.assignment
        assert one.cost == -other.cost
        assert [d.payload for d in one.log] == [d.payload for d in other.log]


@pytest.mark.parametrize("solver", FAMILY)
def test_a_variable_alone_takes_its_best_value_and_says_nothing(solver: type[LocalSearch]) -> None:
    problem = problem_of("abc", 3, {}, a=[4, 2, 2], b=[-1, -2, -3])
    for objective, best in (("min", {"a": 1, "b": 2, "c": 0}), ("max", {"a": 0, "b": 0, "c": 0})):
        alone = Problem.build(list(problem.variables.values()), objective=objective, agents=("idle",))  # type: ignore[arg-type]
        result = run(solver, alone, 0, "unit")
        assert result.assignment == best
        assert (result.messages, result.checks) == (0, 6)


@pytest.mark.parametrize("solver", FAMILY)
def test_variables_of_one_agent_talk_without_the_network(solver: type[LocalSearch]) -> None:
    domain = Domain("d", (0, 1))
    equal = np.eye(2, dtype=int)
    variables = [Variable(n, domain, agent="A" if n in "ab" else "B") for n in "abc"]
    problem = Problem.build(variables, [Constraint(s, tuple(s), equal) for s in ("ab", "bc")])
    result = run(solver, problem, 1, "uniform:1,10")
    inside = [d for d in result.log if {d.src, d.dst} == {"a", "b"}]
    assert result.local_messages == len(inside) > 0
    assert result.messages == sum(1 for _ in result.log) - len(inside)


@pytest.mark.parametrize("solver", FAMILY)
def test_the_first_value(solver: type[LocalSearch]) -> None:
    domain = Domain("d", tuple(range(5)))

    def first_values(given: dict[str, int], **params: Any) -> dict[str, int]:
        variables = [Variable(n, domain, initial=given.get(n)) for n in "abcdef"]
        constraints = [Constraint(s, tuple(s), np.zeros((5, 5))) for s in ("ab", "bc", "cd", "de", "ef")]
        log = run(solver, Problem.build(variables, constraints), 3, "unit", **params).log
        return {d.src: d.message.value for d in reversed(list(log)) if d.type == "VALUE"}

    assert len(set(first_values({}).values())) > 1, "random by default"
    assert set(first_values({}, initial="first").values()) == {0}
    assert first_values({"b": 4, "c": 2}, initial="first") == {"a": 0, "b": 4, "c": 2, "d": 0, "e": 0, "f": 0}
    assert first_values({"b": 4}) == {**first_values({}), "b": 4}


@pytest.mark.parametrize("solver", FAMILY)
@pytest.mark.parametrize(
    "params", [{"rounds": 0}, {"penalty": 0}, {"penalty": float("inf")}, {"initial": "last"}, {"penalty": -1}]
)
def test_parameters_must_make_sense(solver: type[LocalSearch], params: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(params))):
        simulate(MOVES, solver, **params)


@pytest.mark.parametrize("params", [{"p": -0.1}, {"p": 1.1}, {"variant": "F"}])
def test_parameters_of_dsa_must_make_sense(params: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(params))):
        simulate(MOVES, Dsa, **params)


@pytest.mark.parametrize("solver", FAMILY)
def test_costs_that_somebody_may_not_know_are_refused(solver: type[LocalSearch]) -> None:
    domain = Domain("d", (0, 1))
    secret = Constraint("c", ("x", "y"), np.eye(2), known_to=("y",))
    with pytest.raises(SolverRefusal, match=rf"^{solver.__name__.lower()} needs every agent .* x's agent x"):
        simulate(Problem.build([Variable("x", domain), Variable("y", domain)], [secret]), solver)


@pytest.mark.parametrize("solver", FAMILY)
def test_no_forbidden_tuple_is_kept_where_one_move_mends_it(solver: type[LocalSearch]) -> None:
    inf = float("inf")
    problem = problem_of("ab", 2, {"ab": [[inf, 0], [0, inf]]}, a=[0, 5], b=[3, 0])
    for seed in range(8):
        result = run(solver, problem, seed, "unit", rounds=40)
        assert result.violations == 0
    result = run(solver, problem, 0, "unit", rounds=40, penalty=1, initial="first")
    assert result.assignment == ({"a": 0, "b": 1}), "it costs less anyway"


# What messages say ------------------------------------------------------------------------------------------------


def viewers(setup: Setup) -> Iterator[tuple[str, ...]]:
    """Yield the nodes of each agent, those of a coalition, all nodes, and those of a wire: none."""
    by_agent: defaultdict[str, list[str]] = defaultdict(list)
    for node, agent in setup.nodes.items():
        by_agent[agent].append(node)
    yield from map(tuple, by_agent.values())
    yield tuple(setup.nodes)[::2]
    yield tuple(setup.nodes)
    yield ()


def statements(solver: type[Agent], result: agentsim.Result, setup: Setup, viewer: tuple[str, ...]) -> list[Statement]:
    """Return what a viewer concludes from a run, each field of each delivery being accounted for."""
    assert solver.reader is not None
    reader = solver.reader(ReaderContext.of(setup, viewer))
    found: list[Statement] = []
    for delivery in result.log:
        if not viewer or delivery.src in viewer or delivery.dst in viewer:
            drawn = list(reader.read(delivery))
            assert not uncovered(delivery, drawn), delivery
            found += drawn
    return found


@pytest.mark.parametrize("solver", FAMILY)
def test_every_statement_of_every_viewer_is_true(solver: type[LocalSearch]) -> None:
    kinds: Counter[type[Statement]] = Counter()
    for seed in range(300, 314):
        problem = random_problem(np.random.default_rng(seed), max_variables=4)
        params: dict[str, Any] = {"rounds": 6, "penalty": (1e6, 50)[seed % 2]}
        if solver is Dsa:
            params["variant"] = "ABCDE"[seed % 5]
        else:
            params["detect"] = seed % 4 > 0
        result = run(solver, problem, seed, [*HONEST, *COPYING][seed % 6], **params)
        setup = prepare(problem, solver, "", params)
        truth, held = Truth(setup), set()
        for viewer in viewers(setup):
            for statement in statements(solver, result, setup, viewer):
                kinds[type(statement)] += 1
                if (text := repr(statement)) not in held:
                    held.add(text)
                    assert truth.holds(statement), f"seed {seed}, viewer {viewer}: {statement}"
    assert kinds[Chosen] > 30
    assert (kinds[CostIs] > 100) == (kinds[Unanalysed] > 100) == (solver is not Dsa)


@pytest.mark.parametrize("solver", FAMILY)
def test_values_are_those_held_when_they_were_told(solver: type[LocalSearch]) -> None:
    for seed in range(12):
        problem = random_problem(np.random.default_rng(seed))
        result = run(solver, problem, seed, [*HONEST, *COPYING][seed % 6], rounds=6)
        reader = solver.reader(ReaderContext.of(prepare(problem, solver, "", {}), ()))  # type: ignore[misc]
        for delivery in result.log:
            for said in reader.read(delivery):
                if isinstance(said, ValueIs):
                    held = [v for t, n, v in result.values if n == said.variable and t <= delivery.sent_at]
                    assert (said.when, said.value) == ("now", held[-1])


def test_a_change_was_a_best_response_to_what_the_viewer_knows() -> None:
    """y sees x move; z, in a ternary constraint with both, knows y's value as well as its own."""
    table = np.array([[[3, 3], [3, 3]], [[0, 3], [3, 3]]])
    problem = problem_of("xyz", 2, {"xyz": table, "yz": [[0, 9], [9, 9]]})
    result = run(Dsa, problem, 0, "unit", initial="first", p=1, rounds=3)
    setup = prepare(problem, Dsa, "dsa", {})
    assert result.assignment == {"x": 1, "y": 0, "z": 0}
    for viewer, known in ((("z",), {"y": 0, "z": 0}), (("x",), {"y": 0, "z": 0}), ((), {})):
        chosen = [s for s in statements(Dsa, result, setup, viewer) if isinstance(s, Chosen)]
        assert [(c.variable, c.value, c.context, c.law) for c in chosen] == [("x", 1, known, Best("any"))]


def test_a_value_that_stays_says_nothing_of_costs() -> None:
    problem = problem_of("xy", 2, {"xy": np.eye(2)})
    result = run(Dsa, problem, 0, "unit", p=0, rounds=4)
    setup = prepare(problem, Dsa, "dsa", {})
    assert {type(s) for s in statements(Dsa, result, setup, ("x", "y"))} == {ValueIs}


def test_a_reader_forgets_what_it_will_not_be_asked_for() -> None:
    recent: Recent[str] = Recent()
    assert [recent.put("x", k, f"{k}") for k in (0, 2, 1, 2, 9, 4, 5, 9)] == [1, 1, 1, 0, 1, 0, 1, 0]
    assert [recent.get("x", k) for k in (4, 5, 9)] == [None, "5", "9"]
    assert recent.get("y", 0) is None
    reader = DsaReader(ReaderContext.of(prepare(MOVES, Dsa, "dsa", {}), ("x", "y")))
    for delivery in run(Dsa, MOVES, 0, "unit", rounds=200).log:
        list(reader.read(delivery))
    assert all(len(known) <= Recent.KEPT for known in reader._history._values._by_node.values())
