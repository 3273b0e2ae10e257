"""The paper's example with all its numbers: two consultants look for a date (Doshi et al., sections 2 and 3).

Alice's journeys cost 600 at T1 and 800 at T2, Bob's 600 and 300. That Bob learns Alice's costs is worth 30 and 50 to
her, that she learns his is worth 40 and 20 to him. Rewards are 200 and 300.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import agentsim
from agentsim.dcop.problem import Problem
from agentsim.runtime.agent import Agent
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.result import Result
from privacy.dpcop.model import Dpcop, Policy
from privacy.dpcop.observer import DpcopCosts
from privacy.dpcop.rational import rational
from solvers.adopt import Adopt
from solvers.adopt_plus import AdoptPlus
from solvers.bnb_adopt import BnBAdopt
from solvers.bnb_adopt_plus import BnBAdoptPlus
from solvers.brute_force import BruteForce
from solvers.dpop import Dpop
from solvers.leader import Leader
from solvers.mb_dpop import MbDpop
from solvers.n_leaders import NLeaders
from solvers.synchbb import SynchBB

FILE = Path(__file__).parents[3] / "scenarios" / "problems" / "meeting_of_two.yaml"
PROBLEM = agentsim.load(FILE)

ON_TREES: tuple[type[Agent], ...] = (Adopt, AdoptPlus, BnBAdopt, BnBAdoptPlus, Dpop, MbDpop, BruteForce)


class BeforePublication(DpcopCosts):
    """What was lost when the agents of N-leaders have asked everything, but told nobody their best."""

    def observe(self, delivery: Delivery) -> None:
        if delivery.type != "BEST":
            super().observe(delivery)


def problem(reward: Mapping[str, float] | None = None) -> Problem:
    """Return the problem, with other rewards if any are given."""
    if reward is None:
        return PROBLEM
    dpcop = Dpcop.of(PROBLEM)
    assert dpcop is not None
    stakes = {agent: dataclasses.replace(stake, reward=reward[agent]) for agent, stake in dpcop.stakes.items()}
    return dataclasses.replace(dpcop, stakes=stakes).attached()


def run(solver: type[Agent], observer: type[DpcopCosts] = DpcopCosts, **options: Any) -> tuple[Result, dict[str, Any]]:
    """Return a run's result and what its observer found."""
    result = agentsim.simulate(options.pop("problem", PROBLEM), solver, observers=[(observer, {"as": "it"})], **options)
    return result, result.findings["it"]


def asked(result: Result) -> list[str]:
    """Return the values that were asked about, in order."""
    return [("T1", "T2")[d.message.values[0]] for d in result.log if d.type == "ASK"]


def lost(found: Mapping[str, Any]) -> tuple[float, float]:
    """Return the prices that Alice and Bob paid."""
    return found["agents"]["alice"]["privacy_cost"], found["agents"]["bob"]["privacy_cost"]


# Without rational agents: the two versions of the asking protocol -----------------------------------------------------

UP, DOWN = "ascending", "descending"
BOTH, TURNED = ["T1", "T2"], ["T2", "T1"]


@pytest.mark.parametrize(
    ("leader", "direction", "prune", "questions", "solution", "prices", "objective"),
    [
        ("alice", UP, "P1", BOTH, "T2", (0, 60), 1160),
        ("alice", UP, "P2", ["T1"], "T1", (0, 40), 1240),  # T2 costs Alice more than T1 did: the optimum is lost
        ("alice", UP, "P3", BOTH, "T2", (0, 60), 1160),
        ("alice", DOWN, "P1", TURNED, "T2", (0, 60), 1160),
        ("alice", DOWN, "P2", TURNED, "T2", (0, 60), 1160),
        ("bob", UP, "P1", BOTH, "T2", (80, 0), 1180),
        ("bob", UP, "P2", BOTH, "T2", (80, 0), 1180),
        ("bob", DOWN, "P1", TURNED, "T2", (80, 0), 1180),
        ("bob", DOWN, "P2", ["T2"], "T2", (50, 0), 1150),
    ],
)
def test_one_leader(
    leader: str,
    direction: str,
    prune: str,
    questions: list[str],
    solution: str,
    prices: tuple[int, int],
    objective: int,
) -> None:
    result, found = run(Leader, leader=leader, direction=direction, prune=prune)
    assert asked(result) == questions
    assert result.assignment == {"x1": solution}
    cost = {"T1": 1200, "T2": 1100}[solution]
    assert (result.cost, found["cost"]) == (cost, cost)
    assert lost(found) == prices
    assert (found["privacy_cost"], found["total"]) == (sum(prices), objective)
    assert found["total"] == cost + sum(prices)
    assert (result.status == "optimal") == (prune != "P2")
    slave, other = ("bob", "alice") if leader == "alice" else ("alice", "bob")
    assert found["agents"][slave]["revelation"] == {other: sorted(questions)}
    assert found["agents"][other]["revelation"] == {}


def test_each_question_adds_its_price() -> None:
    assert run(Leader, leader="alice")[1]["curve"] == [[2, 40], [4, 60]]
    assert run(Leader, leader="bob", direction=DOWN)[1]["curve"] == [[2, 50], [4, 80]]


@pytest.mark.parametrize("partition", ["blocks", "turns"])
@pytest.mark.parametrize(
    ("direction", "questions", "prices", "objective"),
    [(UP, BOTH, (50, 40), 1190), (DOWN, TURNED, (30, 20), 1150)],
)
def test_n_leaders(
    partition: str, direction: str, questions: list[str], prices: tuple[int, int], objective: int
) -> None:
    result, found = run(NLeaders, BeforePublication, direction=direction, partition=partition, publish="totals")
    assert asked(result) == questions
    assert (result.status, result.cost, result.assignment) == ("optimal", 1100, {"x1": "T2"})
    assert lost(found) == prices
    assert found["total"] == objective
    # Of two agents each can subtract its own cost from a total that the other publishes: then all is known.
    _, found = run(NLeaders, direction=direction, partition=partition, publish="totals")
    assert lost(found) == (80, 60)
    assert found["total"] == 1240
    assert found["agents"]["alice"]["revelation"] == {"bob": ["T1", "T2"]}
    assert found["agents"]["bob"]["revelation"] == {"alice": ["T1", "T2"]}


@pytest.mark.parametrize(("direction", "prices", "objective"), [(UP, (50, 40), 1190), (DOWN, (30, 20), 1150)])
def test_n_leaders_that_publish_the_argmin_alone(direction: str, prices: tuple[int, int], objective: int) -> None:
    pytest.importorskip("phe")
    settings = {"publish": "argmin", "key_size": 256, "bits": 12}
    result, found = run(NLeaders, direction=direction, **settings)
    assert (result.status, result.cost, result.assignment) == ("optimal", 1100, {"x1": "T2"})
    assert lost(found) == prices
    assert found["total"] == objective


def test_what_the_solution_costs_each_of_them() -> None:
    _, found = run(Leader, leader="alice")
    alice, bob = found["agents"]["alice"], found["agents"]["bob"]
    assert (alice["cost"], alice["total"], alice["reward"]) == (800, 800, 200)
    assert (bob["cost"], bob["total"], bob["reward"]) == (300, 360, 300)
    assert (found["cost"], found["public_cost"]) == (1100, 0)


def test_the_leader_that_publishes_the_total_reveals_its_own_cost_of_the_solution() -> None:
    _, found = run(Leader, leader="alice", publish="totals")
    assert lost(found) == (50, 60)
    assert found["agents"]["alice"]["revelation"] == {"bob": ["T2"]}


# The compiled form: Bob has a copy of Alice's variable ----------------------------------------------------------------


@pytest.mark.parametrize("solver", ON_TREES)
@pytest.mark.parametrize(("root", "prices"), [("x1", (0, 60)), ("x1@bob", (80, 0))])
def test_who_is_at_the_root_learns_all_that_the_other_knows(
    solver: type[Agent], root: str, prices: tuple[int, int]
) -> None:
    """The leaf sends all of its costs at once, or is asked under one value after the other; the root tells values."""
    result, found = run(solver, root=root)
    assert (result.status, result.cost, result.assignment) == ("optimal", 1100, {"x1": "T2"})
    assert lost(found) == prices
    assert found["total"] == 1100 + sum(prices)
    assert found["exact"]
    assert found["contradicted"] == []


@pytest.mark.parametrize("root", ["x1", "x1@bob"])
def test_tokens_that_carry_costs_both_ways_reveal_all(root: str) -> None:
    """FWD has the cost of the first agent's value in it, BACK the sum of both: neither value is pruned unseen."""
    result, found = run(SynchBB, root=root)
    assert (result.status, result.cost, result.assignment) == ("optimal", 1100, {"x1": "T2"})
    assert lost(found) == (80, 60)
    assert found["total"] == 1240


@pytest.mark.parametrize("network", ["unit", "uniform:1,10"])
@pytest.mark.parametrize("solver", [Leader, NLeaders, SynchBB, *ON_TREES])
def test_the_optimum_in_the_users_variables(solver: type[Agent], network: str) -> None:
    for seed in range(3):
        result, found = run(solver, network=network, seed=seed)
        assert (result.status, result.cost, result.assignment) == ("optimal", 1100, {"x1": "T2"})
        assert found["total"] == 1100 + sum(lost(found))
        assert list(found["agents"]) == ["alice", "bob"]


# Rational agents ------------------------------------------------------------------------------------------------------

ORDERS = [(leader, direction) for leader in ("alice", "bob") for direction in (UP, DOWN)]
STRICT: list[Policy] = ["own_min", "own_tuple", "global_lb"]


@pytest.mark.parametrize("policy", ["zero", None])
@pytest.mark.parametrize(("leader", "direction"), ORDERS)
def test_nobody_abandons_when_what_the_solution_costs_is_left_aside(
    policy: Policy | None, leader: str, direction: str
) -> None:
    """One answer costs 50 at most, less than any reward; so it is the increment that counts, not the sum of 80."""
    settings = {} if policy is None else {"policy": policy}
    result, found = run(Leader, leader=leader, direction=direction, gates=rational(**settings))
    assert (result.status, result.cost, result.abandoned) == ("optimal", 1100, None)
    assert result.to_json()["abandoned"] is None
    assert found["abandoned"] is None
    assert run(NLeaders, direction=direction, gates=rational(**settings))[0].status == "optimal"


def test_the_increment_counts_not_what_was_lost_so_far() -> None:
    """Alice loses 50 and then 30: with a reward of 51 she stays, though 80 are lost in the end; with 50 she leaves."""
    for reward, status in ((51, "optimal"), (50, "abandoned")):
        given = problem({"alice": reward, "bob": math.inf})
        result, _ = run(Leader, problem=given, leader="bob", direction=DOWN, gates=rational(policy="zero"))
        assert result.status == status


@pytest.mark.parametrize("policy", STRICT)
@pytest.mark.parametrize(("leader", "direction"), ORDERS)
def test_the_leader_abandons_before_it_asks(policy: Policy, leader: str, direction: str) -> None:
    """Alice: 600 >= 200. Bob: 300 >= 300, by equality."""
    result, found = run(Leader, leader=leader, direction=direction, gates=rational(policy=policy))
    check_nothing_revealed(result, found, leader)


@pytest.mark.parametrize("policy", STRICT)
@pytest.mark.parametrize(("leader", "direction"), ORDERS)
def test_who_is_asked_abandons_before_it_answers(policy: Policy, leader: str, direction: str) -> None:
    slave = "bob" if leader == "alice" else "alice"
    reward = {"alice": 200.0, "bob": 300.0} | {leader: math.inf}
    gates = rational(policy=policy)
    result, found = run(Leader, problem=problem(reward), leader=leader, direction=direction, gates=gates)
    check_nothing_revealed(result, found, slave)
    assert asked(result) == (BOTH if direction == UP else TURNED)[:1]


@pytest.mark.parametrize("policy", STRICT)
@pytest.mark.parametrize("direction", [UP, DOWN])
def test_whose_turn_it_is_first_abandons(policy: Policy, direction: str) -> None:
    result, found = run(NLeaders, direction=direction, gates=rational(policy=policy))
    check_nothing_revealed(result, found, "alice")


def check_nothing_revealed(result: Result, found: Mapping[str, Any], who: str) -> None:
    assert result.status == "abandoned"
    assert result.abandoned is not None
    assert result.abandoned.agent == who
    assert (result.cost, result.assignment) == (None, {})
    assert (found["cost"], found["total"]) == (None, None)
    assert (lost(found), found["privacy_cost"]) == ((0, 0), 0)
    assert all(agent["revelation"] == {} for agent in found["agents"].values())
    assert found["curve"] == []


def threshold(solver: type[Agent], who: str, reward: float, direction: str, **options: Any) -> Result:
    """Return a run that Bob or Alice, who has a reward, is asked in by the other, who never abandons."""
    other = "bob" if who == "alice" else "alice"
    gates = rational(policy=options.pop("policy", "own_min"))
    given = problem({who: reward, other: math.inf})
    return run(solver, problem=given, leader=other, direction=direction, gates=gates, **options)[0]


@pytest.mark.parametrize(
    ("who", "direction", "least"),
    [
        ("alice", UP, 631),  # 600 + 30 for T1
        ("alice", DOWN, 651),  # 600 + 50 for T2
        ("bob", UP, 341),  # 300 + 40 for T1
        ("bob", DOWN, 321),  # 300 + 20 for T2
    ],
)
def test_the_least_reward_for_which_the_first_question_is_answered(who: str, direction: str, least: int) -> None:
    stays = threshold(Leader, who, least, direction)
    assert [d.type for d in stays.log][:2] == ["ASK", "ANSWER"]
    leaves = threshold(Leader, who, least - 1, direction)
    assert "ANSWER" not in [d.type for d in leaves.log]
    assert leaves.abandoned is not None
    assert leaves.abandoned.agent == who


def test_own_tuple_asks_for_what_the_tuple_costs() -> None:
    """Alice's answer about T2 is worth 800 + 50 to her; the least of her costs is 600."""
    assert threshold(Leader, "alice", 851, DOWN, policy="own_tuple").abandoned is None
    leaves = threshold(Leader, "alice", 850, DOWN, policy="own_tuple")
    assert leaves.abandoned is not None
    assert leaves.abandoned.time == 1
    # For T1 it is 600 + 30; then she is asked about T2.
    later = threshold(Leader, "alice", 631, UP, policy="own_tuple")
    assert later.abandoned is not None
    assert later.abandoned.time == 3


def test_who_when_and_why() -> None:
    result = threshold(Leader, "alice", 631, UP)
    who = result.abandoned
    assert who is not None
    assert (who.agent, who.node, who.time) == ("alice", "x1", 3)  # asked at 0 and 2
    for figure in ("50", "600", "631", "ANSWER"):
        assert figure in who.reason
    assert result.status == "abandoned"
    assert result.to_json()["abandoned"] == {"agent": "alice", "node": "x1", "time": 3, "reason": who.reason}
    assert any("alice" in note and who.reason in note for note in result.notes)


def test_the_observer_tells_of_it_and_prices_what_was_revealed_before() -> None:
    given = problem({"alice": 631, "bob": math.inf})
    result, found = run(Leader, problem=given, leader="bob", gates=rational(policy="own_min"))
    assert result.abandoned is not None
    assert found["abandoned"] == dataclasses.asdict(result.abandoned)
    assert lost(found) == (30, 0)
    assert found["agents"]["alice"]["revelation"] == {"bob": ["T1"]}
    assert (found["cost"], found["total"], found["agents"]["alice"]["cost"]) == (None, None, None)


@pytest.mark.parametrize("who", ["alice", "bob"])
@pytest.mark.parametrize("solver", [Leader, NLeaders, SynchBB, *ON_TREES])
def test_the_other_is_told(solver: type[Agent], who: str) -> None:
    """Whatever the agent would send first, the least of its costs reaches its reward."""
    reward = {"alice": math.inf, "bob": math.inf} | {who: 300.0}
    result, found = run(solver, problem=problem(reward), gates=rational(policy="own_min"))
    assert result.abandoned is not None
    assert result.abandoned.agent == who
    owners = {"x1": "alice", "bob": "bob", "x1@bob": "bob"}
    other = "bob" if who == "alice" else "alice"
    assert [(owners[d.src], owners[d.dst]) for d in result.log if d.type == "ABANDON"] == [(who, other)]
    assert [d.type for d in result.log if owners[d.src] == who] == ["ABANDON"]
    assert found["agents"][who]["privacy_cost"] == 0


@pytest.mark.parametrize("policy", ["zero", *STRICT])
@pytest.mark.parametrize("solver", [Leader, NLeaders, Dpop, SynchBB])
def test_an_infinite_reward_never_abandons(policy: Policy, solver: type[Agent]) -> None:
    given = problem({"alice": math.inf, "bob": math.inf})
    result, found = run(solver, problem=given, gates=rational(policy=policy))
    assert (result.status, result.cost) == ("optimal", 1100)
    assert found["agents"]["alice"]["reward"] == "inf"
