"""1-leader: the paper's meeting of two, which tuples are asked and in what order, and what its reader says."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import pytest

from agentsim import Constraint, Domain, Problem, Result, SolverRefusal, UserError, Variable, replay, simulate
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.reading import make_reader
from agentsim.runtime.setup import prepare
from agentsim.runtime.statements import CostIs, Nothing, Proposed, Statement, Term, Unanalysed, ValueIs
from agentsim.testing import check_statements
from solvers.leader import Ask, Leader

INF = math.inf


def meeting() -> Problem:
    """Two agents meet at T1 or T2, and travelling costs alice 600 or 800, bob 600 or 300."""
    when = Variable("when", Domain("times", ("T1", "T2")), "alice", unary=[600, 800])
    return Problem.build([when], [Constraint("bob's", ("when",), [600, 300], owner="bob")])


def three() -> Problem:
    """Variables of three agents, one without any; a public hard constraint, secrets of several kinds."""
    d = Domain("d", (0, 1, 2))
    return Problem.build(
        [Variable("x", d, "a", unary=[2, 1, 0]), Variable("y", d, "b", unary=[0, INF, 1]), Variable("z", d, "a")],
        [
            Constraint("public", ("z", "x"), [[1, 2, INF], [2, 1, 2], [INF, 2, 1]], known_to="all"),
            Constraint("secret", ("y", "z"), [[0, 4, 2], [1, 1, 0], [3, INF, 0]], owner="c"),
        ],
    )


def asked(result: Result) -> list[tuple[int, ...]]:
    """The tuples that were asked, each once."""
    return list(dict.fromkeys(d.message.values for d in result.log if d.type == "ASK"))


def answers(result: Result) -> list[tuple[str, str, float]]:
    return [(d.src, d.dst, d.message.cost) for d in result.log if d.type == "ANSWER"]


# The meeting of two -----------------------------------------------------------------------------------------------

T1, T2 = (0,), (1,)


@pytest.mark.parametrize(
    ("leader", "direction", "prune", "tuples", "solution"),
    [
        ("alice", "ascending", "P1", [T1, T2], ("T2", 1100)),
        ("alice", "ascending", "P2", [T1], ("T1", 1200)),
        ("alice", "descending", "P1", [T2, T1], ("T2", 1100)),
        ("alice", "descending", "P2", [T2, T1], ("T2", 1100)),
        ("bob", "ascending", "P1", [T1, T2], ("T2", 1100)),
        ("bob", "ascending", "P2", [T1, T2], ("T2", 1100)),
        ("bob", "descending", "P1", [T2, T1], ("T2", 1100)),
        ("bob", "descending", "P2", [T2], ("T2", 1100)),
    ],
)
def test_the_meeting(leader: str, direction: str, prune: str, tuples: list[tuple[int]], solution: Any) -> None:
    """By hand. Alice's P2 with T1 first skips T2 because 800 >= 600, and loses the optimum."""
    result = simulate(meeting(), Leader, leader=leader, direction=direction, prune=prune)
    slave, costs = ("bob", [600, 300]) if leader == "alice" else ("when", [600, 800])
    node = "when" if leader == "alice" else "bob"
    assert asked(result) == tuples
    assert answers(result) == [(slave, node, costs[i]) for (i,) in tuples]
    assert (result.assignment["when"], result.cost) == solution
    assert result.status == ("finished" if prune == "P2" else "optimal")
    assert result.bound == (None if prune == "P2" else 1100)


def test_the_messages_of_the_meeting() -> None:
    result = simulate(meeting(), Leader)
    assert [(d.delivered_at, d.src, d.dst, d.type, tuple(d.message)) for d in result.log] == [
        (1, "when", "bob", "ASK", (1, T1)),
        (2, "bob", "when", "ANSWER", (1, 600)),
        (3, "when", "bob", "ASK", (2, T2)),
        (4, "bob", "when", "ANSWER", (2, 300)),
        (5, "when", "bob", "SOLUTION", (T2, None)),
    ]
    assert max(len(d.payload) for d in result.log) == 5
    # Alice reads her own cost of both tuples, bob one entry for each answer; her second question waits for the first.
    assert (result.agents["alice"].checks, result.agents["bob"].checks, result.nccc) == (2, 2, 4)


def test_the_total_is_told_if_so_wished() -> None:
    result = simulate(meeting(), Leader, publish="totals")
    assert [tuple(d.message) for d in result.log if d.type == "SOLUTION"] == [(T2, 1100)]
    said = check_statements(meeting(), result, Leader, publish="totals")
    assert said["total"] == 3  # to bob, to alice, who sent it, and to the viewer of all


# Which tuples, in what order --------------------------------------------------------------------------------------

POSSIBLE = [(x, y, z) for x in range(3) for y in range(3) for z in range(3) if abs(x - z) < 2]


def test_tuples_come_in_lexicographic_order_or_its_reverse() -> None:
    """With lie=1 all are asked that are publicly possible, and none else."""
    assert asked(simulate(three(), Leader, lie=1)) == POSSIBLE
    assert asked(simulate(three(), Leader, lie=1, direction="descending")) == POSSIBLE[::-1]


@pytest.mark.parametrize(
    ("order", "key"),
    [("z", (2, 0, 1)), ("z,y", (2, 1, 0)), (["y", "z"], (1, 2, 0)), ("lexical", (0, 1, 2)), ("", (0, 1, 2))],
)
def test_the_order_says_which_variables_are_outermost(order: Any, key: tuple[int, ...]) -> None:
    found = asked(simulate(three(), Leader, lie=1, order=order))
    assert found == sorted(POSSIBLE, key=lambda values: tuple(values[i] for i in key))


@pytest.mark.parametrize("weight", ["local", "public"])
def test_the_cheapest_go_first(weight: str) -> None:
    own = [2, 1, 0]

    def cost(values: tuple[int, ...]) -> int:
        return abs(values[0] - values[2]) + (own[values[0]] if weight == "local" else 0)

    found = asked(simulate(three(), Leader, lie=1, direction="cheapest", weight=weight))
    assert found == sorted(POSSIBLE, key=cost), "ties in lexicographic order"


def test_a_random_order_is_a_permutation_drawn_from_the_seed() -> None:
    runs = [asked(simulate(three(), Leader, lie=1, direction="random", seed=seed)) for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]
    assert all(sorted(run) == POSSIBLE for run in runs)


@pytest.mark.parametrize("prune", ["P1", "P2", "P3"])
@pytest.mark.parametrize("weight", ["local", "public"])
@pytest.mark.parametrize("leader", ["a", "b", "c"])
def test_what_is_asked_is_what_algorithm_1_says(leader: str, weight: str, prune: str) -> None:
    """The same loop, tuple by tuple, with the problem's costs at hand."""
    problem = three()
    own = {"a": ["x"], "b": ["y"], "c": ["secret"]}[leader]
    tables = {"x": ("x",), "y": ("y",), "secret": ("y", "z"), "public": ("z", "x")}

    def cost(values: tuple[int, ...], functions: Iterable[str]) -> float:
        of = dict(zip("xyz", values, strict=True))
        costs = {
            **{n: v.unary for n, v in problem.variables.items()},
            **{n: c.table for n, c in problem.constraints.items()},
        }
        return float(sum(costs[name][tuple(of[v] for v in tables[name])] for name in functions))

    expected, best, best_weight = [], INF, INF
    for values in POSSIBLE:
        w = cost(values, ["public", *own] if weight == "local" else ["public"])
        if w < INF and {"P1": w < best, "P2": w < best_weight, "P3": w <= best}[prune]:
            expected.append(values)
            if cost(values, tables) < best:
                best, best_weight = cost(values, tables), w
    result = simulate(problem, Leader, leader=leader, weight=weight, prune=prune)
    assert asked(result) == expected
    assert result.cost == best


def test_a_hard_problem_ends_with_the_first_solution() -> None:
    """As in a constraint satisfaction problem, nothing is better than 0; P3 asks on."""
    bit = Domain("bit", (0, 1))
    problem = Problem.build(
        [Variable("x", bit, "a"), Variable("y", bit, "a")],
        [Constraint("b's", ("x",), [INF, 0], owner="b"), Constraint("c's", ("y",), [INF, 0], owner="c")],
    )
    assert asked(simulate(problem, Leader)) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert asked(simulate(problem, Leader, direction="descending")) == [(1, 1)]
    assert len(asked(simulate(problem, Leader, direction="descending", prune="P3"))) == 4
    # The first answers are both infinite, and each agent has one secret of each value: (0, 1) and (1, 0) are hopeless.
    assert asked(simulate(problem, Leader, prune="P3", avoid=True)) == [(0, 0), (1, 1)]


def test_lies_are_some_of_the_tuples_that_would_be_skipped() -> None:
    honest = asked(simulate(three(), Leader, prune="P1"))
    counts = []
    for seed in range(20):
        result = simulate(three(), Leader, lie=0.5, seed=seed)
        assert result.status == "optimal"
        assert set(honest) <= set(asked(result)) <= set(POSSIBLE)
        counts.append(len(asked(result)) - len(honest))
    assert len(set(counts)) > 3
    assert 0.3 < sum(counts) / 20 / (len(POSSIBLE) - len(honest)) < 0.7


# Ends -------------------------------------------------------------------------------------------------------------


def bounds(result: Result) -> list[tuple[Any, ...]]:
    return [r[2:] for r in result.log.records() if r[0] == "bound"]


def test_the_optimum_is_declared_where_there_is_one_component() -> None:
    assert bounds(simulate(three(), Leader)) == [("x", 2, 2)]
    assert bounds(simulate(three(), Leader, prune="P2", leader="b")) == [("y", None, 3)], "an upper bound"
    assert bounds(simulate(three(), Leader, leader="c")) == [], "c's node is in no component"
    apart = Problem.build([Variable(n, Domain("d", (0, 1)), n, unary=[3, 1]) for n in "xy"])
    result = simulate(apart, Leader)
    assert (result.status, result.cost, result.bound, bounds(result)) == ("optimal", 2, 2, [])


@pytest.mark.parametrize("options", [{}, {"prune": "P2"}, {"prune": "P3", "avoid": True}, {"publish": "totals"}])
@pytest.mark.parametrize("leader", ["x", "y", "c"])
def test_without_solution_every_variable_takes_its_first_value(leader: str, options: dict[str, Any]) -> None:
    """Two components, one of which has a solution."""
    d = Domain("d", ("p", "q"))
    problem = Problem.build(
        [Variable("x", d), Variable("y", d, unary=[1, 0])],
        [Constraint("no", ("x",), [INF, INF], owner="c")],
    )
    result = simulate(problem, Leader, leader=leader, **options)
    assert (result.status, result.bound) == ("infeasible", INF)
    assert result.assignment == {"x": "p", "y": "p"}
    assert all(d.message.values is None for d in result.log if d.type == "SOLUTION")
    check_statements(problem, result, Leader, leader=leader, **options)


@pytest.mark.parametrize("n_agents", [1, 3])
@pytest.mark.parametrize("n_variables", [0, 1, 3])
def test_small_worlds(n_agents: int, n_variables: int) -> None:
    agents = [f"a{i}" for i in range(n_agents)]
    problem = Problem.build(
        [Variable(f"x{i}", Domain("d", (0, 1)), agents[i % n_agents], unary=[2, 1]) for i in range(n_variables)],
        agents=agents,
        constant=5,
    )
    result = simulate(problem, Leader, publish="totals")
    assert (result.status, result.cost) == ("optimal", 5 + n_variables)
    assert (result.messages == 0) == (n_agents == 1), "what stays within an agent is no traffic"
    assert replay(result.log, verify=True, solver=Leader).verified
    check_statements(problem, result, Leader, publish="totals")


def test_nodes_that_do_not_speak_only_hear_the_solution() -> None:
    result = simulate(three(), Leader, leader="b")
    assert {(d.type, d.src) for d in result.log if d.dst == "z"} == {("SOLUTION", "y")}
    assert not [d for d in result.log if d.src == "z"]
    by_itself = simulate(three(), Leader, leader="a")
    assert [d.src for d in by_itself.log if d.dst == "z"] == ["x"], "a local message"
    assert by_itself.agents["a"].local_messages == 1


def test_a_leader_that_is_no_agent_is_refused() -> None:
    with pytest.raises(UserError, match="leader='x': no agent is called so"):
        simulate(three(), Leader, leader="x")
    assert not issubclass(UserError, SolverRefusal)


# The reader -------------------------------------------------------------------------------------------------------


def read(problem: Problem, viewer: Iterable[str], **params: Any) -> list[tuple[Delivery, list[Statement]]]:
    """What a viewer who sees everything, but has only the views of its nodes, concludes from each delivery."""
    result = simulate(problem, Leader, **params)
    reader = make_reader(Leader, prepare(problem, Leader, "leader", params), viewer)
    assert reader is not None
    return [(d, list(reader.read(d))) for d in result.log]


def test_an_answer_is_the_cost_of_a_share_on_the_tuple_that_was_asked() -> None:
    said = [(d.src, s) for d, own in read(meeting(), ["when"]) for s in own if isinstance(s, CostIs)]
    assert [(src, s.terms, s.relation, s.value) for src, s in said] == [
        ("bob", (Term(("bob",), "share", {"when": 0}),), "==", 600),
        ("bob", (Term(("bob",), "share", {"when": 1}),), "==", 300),
        ("when", (Term(("when",), "share", {"when": 1}),), "<", math.inf),  # the solution: nobody forbids it
        ("when", (Term(("bob",), "share", {"when": 1}),), "<", math.inf),
    ]


def test_offsets_are_told() -> None:
    """Negative costs are shifted; the statement says by how much, so that the cost is value - offset."""
    when = Variable("when", Domain("d", (0, 1)), "alice", unary=[0, 1])
    problem = Problem.build([when], [Constraint("bob's", ("when",), [-4, 6], owner="bob")])
    statements = [s for _, own in read(problem, ["when"], lie=1) for s in own if isinstance(s, CostIs)]
    statements = [s for s in statements if s.label == "answer"]
    assert [(s.value, s.offset) for s in statements] == [(0, 4), (10, 4)]


def test_the_total_is_what_the_shares_cost_without_the_public_part() -> None:
    last, said = read(three(), ["x"], publish="totals")[-1]
    assert last.message.total == 2
    total = next(s for s in said if s.label == "total")
    assert isinstance(total, CostIs)
    assert total.terms == (Term(("x", "y", "c"), "share", dict(zip("xyz", last.message.values, strict=True))),)
    assert total.value == 1, "1 is the public constraint's"
    assert [s for s in said if isinstance(s, ValueIs)] == [
        ValueIs("solution", ("values",), name, value, "final")
        for name, value in zip("xyz", last.message.values, strict=True)
    ]


def test_who_has_not_seen_the_question_does_not_know_what_was_answered() -> None:
    result = simulate(meeting(), Leader)
    reader = make_reader(Leader, prepare(meeting(), Leader, "leader", {}), ["when"])
    assert reader is not None
    for delivery in result.log:
        if delivery.type == "ANSWER":
            assert all(isinstance(s, Unanalysed) for s in reader.read(delivery))


def test_a_wire_analyses_no_costs() -> None:
    for delivery, said in read(meeting(), [], publish="totals"):
        assert not any(isinstance(s, CostIs) for s in said), delivery


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({}, Unanalysed),
        ({"weight": "public"}, Unanalysed),
        ({"lie": 0.5}, Unanalysed),
        ({"lie": 1}, Nothing),
        ({"lie": 1, "weight": "public", "direction": "cheapest"}, Nothing),
        ({"lie": 1, "direction": "cheapest"}, Unanalysed),  # the order is that of its own costs
        ({"lie": 1, "avoid": True}, Unanalysed),
    ],
)
def test_a_question_says_nothing_only_where_all_tuples_are_asked(options: dict[str, Any], kind: type) -> None:
    said = [s for d, own in read(three(), ["y"], **options) if isinstance(d.message, Ask) for s in own]
    assert said
    assert {type(s) for s in said} == {kind, Proposed}


def test_a_gate_sees_what_its_answer_would_tell() -> None:
    seen: list[Statement] = []

    class Shy:
        def before_send(self, views: Any, envelope: Any, statements: list[Statement]) -> Any:
            seen.extend(statements)
            return "send" if envelope.type != "ANSWER" or envelope.message.cost > 300 else ("abandon", "too private")

    result = simulate(meeting(), Leader, gates={"bob": Shy()})
    assert (result.status, result.abandoned and result.abandoned.agent) == ("abandoned", "bob")
    assert [(s.terms[0].context, s.value) for s in seen if isinstance(s, CostIs)] == [
        ({"when": 0}, 600),
        ({"when": 1}, 300),
    ]
    assert replay(result.log, verify=True, solver=Leader).verified
