"""N-leaders: whose turn it is, who asks which part, what is published, and what its reader says."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from agentsim import Constraint, Domain, Problem, Result, Variable, replay, simulate
from agentsim.runtime.reading import make_reader
from agentsim.runtime.setup import prepare
from agentsim.runtime.statements import CostIs, Unanalysed, ValueIs
from agentsim.testing import brute_force, check_statements
from solvers.n_leaders import NLeaders

INF = math.inf
SLOW = ["unit", "uniform:1,10", "exponential:3", "constant:0"]


def meeting() -> Problem:
    """Two agents meet at T1 or T2, and travelling costs alice 600 or 800, bob 600 or 300."""
    when = Variable("when", Domain("times", ("T1", "T2")), "alice", unary=[600, 800])
    return Problem.build([when], [Constraint("bob's", ("when",), [600, 300], owner="bob")])


def grid() -> Problem:
    """Three agents, 12 tuples."""
    return Problem.build(
        [
            Variable("x", Domain("four", (0, 1, 2, 3)), "a", unary=[3, 1, 4, 1]),
            Variable("y", Domain("three", (0, 1, 2)), "b", unary=[5, 9, 2]),
        ],
        [Constraint("c's", ("x", "y"), [[6, 5, 3], [5, 8, 9], [7, 9, 3], [2, 3, 8]], owner="c")],
    )


def log_of(result: Result) -> list[tuple[float, str, str, str, tuple[Any, ...]]]:
    return [(d.delivered_at, d.src, d.dst, d.type, tuple(d.message)) for d in result.log]


def asked(result: Result) -> dict[str, list[tuple[int, ...]]]:
    """Tuples by asker, in order, each once."""
    found: dict[str, dict[tuple[int, ...], None]] = {}
    for d in sorted((d for d in result.log if d.type == "ASK"), key=lambda d: d.sent_at):
        found.setdefault(d.src, {})[d.message.values] = None
    return {asker: list(tuples) for asker, tuples in found.items()}


# The meeting of two -----------------------------------------------------------------------------------------------

T1, T2 = (0,), (1,)


@pytest.mark.parametrize("partition", ["blocks", "turns"])
def test_the_meeting_with_alice_asking_t1_and_bob_t2(partition: str) -> None:
    result = simulate(meeting(), NLeaders, partition=partition)
    assert (result.status, result.cost, result.bound) == ("optimal", 1100, 1100)
    assert log_of(result) == [
        (1, "when", "bob", "ASK", (1, T1, 1)),
        (2, "bob", "when", "ANSWER", (1, 600)),
        (2, "bob", "when", "ASK", (1, T2, 0)),
        (3, "when", "bob", "ANSWER", (1, 800)),
        (3, "when", "bob", "DONE", (1,)),
        (4, "bob", "when", "DONE", (-1,)),
        (4, "bob", "when", "BEST", (T2, 1100)),
        (5, "when", "bob", "BEST", (T1, 1200)),
    ]


@pytest.mark.parametrize("partition", ["blocks", "turns"])
def test_the_meeting_with_alice_asking_t2_and_bob_t1(partition: str) -> None:
    result = simulate(meeting(), NLeaders, partition=partition, direction="descending")
    assert asked(result) == {"when": [T2], "bob": [T1]}
    assert [(d.src, d.message.cost) for d in result.log if d.type == "ANSWER"] == [("bob", 300), ("when", 600)]
    assert {d.src: tuple(d.message) for d in result.log if d.type == "BEST"} == {
        "when": (T2, 1100),
        "bob": (T1, 1200),
    }
    assert (result.status, result.assignment) == ("optimal", {"when": "T2"})


def test_of_two_agents_each_learns_the_others_costs_from_the_totals() -> None:
    """What bob knows of alice after the answer (T2) and the total (T1), less his own 600."""
    reader = make_reader(NLeaders, prepare(meeting(), NLeaders, "n-leaders", {}), ["bob"])
    assert reader is not None
    said = [
        (s.terms[0].parties, s.terms[0].context["when"], s.value)
        for d in simulate(meeting(), NLeaders).log
        for s in reader.read(d)
        if isinstance(s, CostIs) and d.dst == "bob"
    ]
    assert said == [(("when",), 1, 800), (("when", "bob"), 0, 1200)]


# Parts and turns --------------------------------------------------------------------------------------------------

ALL = [(x, y) for x in range(4) for y in range(3)]


@pytest.mark.parametrize("network", SLOW)
@pytest.mark.parametrize(
    ("partition", "direction", "parts"),
    [
        ("blocks", "ascending", [ALL[:4], ALL[4:8], ALL[8:]]),
        ("blocks", "descending", [ALL[:-5:-1], ALL[-5:-9:-1], ALL[-9::-1]]),
        ("turns", "ascending", [ALL[0::3], ALL[1::3], ALL[2::3]]),
        ("turns", "descending", [ALL[::-1][0::3], ALL[::-1][1::3], ALL[::-1][2::3]]),
    ],
)
def test_the_parts(partition: str, direction: str, parts: list[list[tuple[int, int]]], network: str) -> None:
    """With lie=1 each agent asks its whole part, in the order of the enumeration."""
    result = simulate(grid(), NLeaders, lie=1, partition=partition, direction=direction, network=network, seed=3)
    assert asked(result) == dict(zip(("x", "y", "c"), parts, strict=True))


@pytest.mark.parametrize("partition", ["blocks", "turns"])
@pytest.mark.parametrize("direction", ["random", "cheapest"])
def test_a_private_order_stays_within_the_part(partition: str, direction: str) -> None:
    ascending = asked(simulate(grid(), NLeaders, lie=1, partition=partition))
    private = asked(simulate(grid(), NLeaders, lie=1, partition=partition, direction=direction, seed=1))
    assert private != ascending
    assert {a: sorted(part) for a, part in private.items()} == {a: sorted(part) for a, part in ascending.items()}


def test_each_agent_prunes_by_the_best_of_its_own_part() -> None:
    """By hand. Weights: a's part 3 3 3 1, b's 9 2 5 9, c's 3 2 3 8; totals: 14 17 8 11, 18 12 16 22, 9 8 13 11."""
    result = simulate(grid(), NLeaders)
    assert asked(result) == {"x": ALL[:4], "y": ALL[4:8], "c": [(2, 2), (3, 0), (3, 1)]}
    assert result.cost == brute_force(grid()) == 8
    by_weight = simulate(grid(), NLeaders, prune="P2")
    assert asked(by_weight) == {"x": [(0, 0), (1, 0)], "y": [(1, 1), (1, 2)], "c": [(2, 2), (3, 0)]}
    assert (by_weight.status, by_weight.cost) == ("finished", 8)


def test_turns_go_round_and_leave_out_who_is_done() -> None:
    """Five tuples and three agents: blocks of 1, 2, 2."""
    d = Domain("five", tuple(range(5)))
    problem = Problem.build([Variable("x", d, "a")], agents=("a", "b", "c"))
    result = simulate(problem, NLeaders, lie=1)
    sent = {(d.sent_at, d.src, d.type, d.message.next) for d in result.log if d.type in ("ASK", "DONE")}
    assert [turn[1:] for turn in sorted(sent)] == [
        ("x", "ASK", 1),
        ("b", "ASK", 2),
        ("c", "ASK", 0),
        ("x", "DONE", 1),
        ("b", "ASK", 2),
        ("c", "ASK", 1),
        ("b", "DONE", 2),
        ("c", "DONE", -1),
    ]


@pytest.mark.parametrize("network", SLOW)
def test_who_asks_has_all_answers_to_its_last_question(network: str) -> None:
    """The network may bring the turn first; then it waits."""
    early = 0
    for seed in range(12):
        result = simulate(grid(), NLeaders, network=network, seed=seed, prune="P3", weight="public")
        assert (result.status, result.cost) == ("optimal", 8)
        for node in ("x", "y", "c"):
            mine = [d for d in result.log if d.src == node and d.type == "ASK"]
            answers = [d for d in result.log if d.dst == node and d.type == "ANSWER"]
            assert len(answers) == len(mine)
            for sent in sorted({d.sent_at for d in mine}):
                earlier = sum(d.sent_at < sent for d in mine)
                assert sum(d.delivered_at <= sent for d in answers) >= earlier
            for d in result.log:
                if d.dst == node and getattr(d.message, "next", None) == ("x", "y", "c").index(node):
                    open_questions = sum(q.sent_at < d.delivered_at for q in mine)
                    early += sum(a.delivered_at <= d.delivered_at for a in answers) < open_questions
    assert (early > 0) == (network in ("uniform:1,10", "exponential:3"))


def test_the_turn_may_come_to_an_agent_that_is_done() -> None:
    """From one that has not heard so; it goes on to the next, and the run ends all the same."""
    again = 0
    for seed in range(25):
        result = simulate(grid(), NLeaders, network="exponential:3", seed=seed, partition="blocks", avoid=True)
        assert (result.status, result.cost) == ("optimal", 8)
        told = Counter(d.src for d in result.log if d.type == "DONE")
        assert min(told.values()) == 2, "each tells both others"
        again += max(told.values()) > 2
        assert replay(result.log, verify=True, solver=NLeaders).verified
    assert again > 0


# Publication ------------------------------------------------------------------------------------------------------


def test_of_equal_totals_the_first_agents_is_taken() -> None:
    problem = Problem.build([Variable("x", Domain("d", (0, 1)), "a", unary=[4, 4])], agents=("a", "b"))
    for direction, value in (("ascending", 0), ("descending", 1)):
        result = simulate(problem, NLeaders, direction=direction)
        assert result.assignment == {"x": value}
        assert {d.message.total for d in result.log if d.type == "BEST"} == {4}


def test_an_empty_part_has_no_best() -> None:
    problem = Problem.build([Variable("x", Domain("d", (0,)), "a", unary=[3])], agents=("a", "b", "c"))
    result = simulate(problem, NLeaders)
    best = {d.src: tuple(d.message) for d in result.log if d.type == "BEST"}
    assert sorted(best.values(), key=str) == [((0,), 3), (None, INF), (None, INF)]
    assert (result.status, result.cost) == ("optimal", 3)
    check_statements(problem, result, NLeaders)


def test_other_nodes_of_an_agent_are_told_the_solution_within_it() -> None:
    d = Domain("d", (0, 1))
    problem = Problem.build([Variable(n, d, "a", unary=[1, 0]) for n in "xyz"], agents=("a", "b"))
    result = simulate(problem, NLeaders)
    assert [(d.src, d.dst, d.message.total) for d in result.log if d.type == "SOLUTION"] == [
        ("x", "y", None),
        ("x", "z", None),
    ]
    assert (result.cost, result.agents["a"].local_messages) == (0, 2)


@pytest.mark.parametrize("prune", ["P1", "P2", "P3"])
def test_without_solution_every_variable_takes_its_first_value(prune: str) -> None:
    problem = Problem.build(
        [Variable("x", Domain("d", ("p", "q")), "a", unary=[0, INF])],
        [Constraint("no", ("x",), [INF, 0], owner="b")],
    )
    result = simulate(problem, NLeaders, prune=prune)
    assert (result.status, result.bound, result.assignment) == ("infeasible", INF, {"x": "p"})
    check_statements(problem, result, NLeaders, prune=prune)


@pytest.mark.parametrize("n_agents", [1, 3])
@pytest.mark.parametrize("n_variables", [0, 1, 3])
def test_small_worlds(n_agents: int, n_variables: int) -> None:
    agents = [f"a{i}" for i in range(n_agents)]
    problem = Problem.build(
        [Variable(f"x{i}", Domain("d", (0, 1)), agents[i % n_agents], unary=[2, 1]) for i in range(n_variables)],
        agents=agents,
        constant=5,
    )
    result = simulate(problem, NLeaders)
    assert (result.status, result.cost) == ("optimal", 5 + n_variables)
    assert (result.messages == 0) == (n_agents == 1)
    assert replay(result.log, verify=True, solver=NLeaders).verified
    check_statements(problem, result, NLeaders)


# The reader -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", SLOW)
def test_who_has_the_best_of_all_parts_knows_the_solution(network: str) -> None:
    result = simulate(grid(), NLeaders, network=network, seed=5)
    reader = make_reader(NLeaders, prepare(grid(), NLeaders, "n-leaders", {}), ["c"])
    assert reader is not None
    mail = [d for d in result.log if "c" in (d.src, d.dst)]
    known = [any(isinstance(s, ValueIs) for s in reader.read(d)) for d in mail]
    parts_known = [len({d.src for d in mail[: i + 1] if d.type == "BEST"}) for i in range(len(mail))]
    assert known.index(True) == parts_known.index(3)
    assert known.count(True) == 1
    assert all(a <= b for a, b in pairwise(parts_known))


def test_questions_and_the_end_of_a_part_are_not_passed_off_as_nothing() -> None:
    said = check_statements(grid(), simulate(grid(), NLeaders), NLeaders)
    assert said["that the local weight beats the total of the asker's best"] > 0
    assert said["that no other tuple of the sender's part passes its test"] > 0
    assert said["whose turn it is"] == said["that the local weight beats the total of the asker's best"]


def test_a_wire_analyses_no_costs() -> None:
    reader = make_reader(NLeaders, prepare(meeting(), NLeaders, "n-leaders", {}), [])
    assert reader is not None
    for delivery in simulate(meeting(), NLeaders).log:
        if delivery.src == "bob":
            assert not any(isinstance(s, CostIs) for s in reader.read(delivery))
            if delivery.type == "BEST":
                assert any(isinstance(s, Unanalysed) for s in reader.read(delivery))
