"""The worked examples that the documentation shows, held to what they say of themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agentsim import Constraint, Domain, Problem, Result, SolverRefusal, Variable, load, replay, simulate
from agentsim.testing import check_statements, random_problem, twin
from scenarios.examples import adversary_example, generator_example, observer_example, solver_example
from scenarios.examples.adversary_example import Hush, Stubborn, attacks
from scenarios.examples.generator_example import Channels, ChannelsParams
from scenarios.examples.observer_example import FirstWord
from scenarios.examples.solver_example import RoundRobin, Token

NETWORKS = ("unit", "uniform:1,10", "uniform:1,5+loss:.3+duplicate:.2+reorder+reliable")


def random(i: int) -> Problem:
    return random_problem(np.random.default_rng([6, i]), max_variables=5, max_cells=120)


def solved(problem: Problem, **options: Any) -> Result:
    return simulate(problem, RoundRobin, **options)


def penalised(problem: Problem, at: dict[str, int]) -> float:
    """Return what the solver minimises: the cost, a forbidden tuple counting a penalty."""
    found = problem.evaluate_indices(at)
    return found.soft * (1 if problem.objective == "min" else -1) + 1e6 * found.violations


@pytest.mark.parametrize("i", range(24))
def test_nobody_alone_can_do_better_than_round_robin(i: int) -> None:
    problem = random(i)
    result = solved(problem, seed=i, network=NETWORKS[i % 3])
    assert result.status == "finished", result.deadlock
    best = problem.indices(result.assignment)
    for name, variable in problem.variables.items():
        for value in range(variable.size):
            assert penalised(problem, best) <= penalised(problem, {**best, name: value}) + 1e-6
    check_statements(problem, result, RoundRobin)
    verified = replay(result.log, verify=True, solver=RoundRobin)
    assert verified.verified, verified.first_difference
    assert solved(twin(problem)).assignment == solved(problem).assignment


def test_the_cost_never_rises_and_the_token_tells_the_end() -> None:
    problem = Channels.generate(ChannelsParams(points=8), 5)
    result = solved(problem)
    costs = [cost for _, cost in result.cost_over_time()]
    assert costs == sorted(costs, reverse=True)
    assert len(set(costs)) > 3
    tokens = [delivery.message for delivery in result.log]
    assert all(isinstance(token, Token) for token in tokens)
    assert tokens[-1].content == 2 * 8 - 2  # everybody else has been told
    assert result.nccc == result.checks  # one token: nothing is done at once


def test_round_robin_refuses_what_its_agents_cannot_evaluate() -> None:
    two = Domain("d", (0, 1))
    hidden = Constraint("hidden", ("a", "b"), np.eye(2), known_to=("b",))
    with pytest.raises(SolverRefusal, match="round robin needs every agent"):
        solved(Problem.build([Variable("a", two), Variable("b", two)], [hidden]))


def test_privacy_observers_analyse_a_solver_that_they_have_never_heard_of() -> None:
    problem = Channels.generate(ChannelsParams(points=4, channels=3, dislike=2), 1)
    found = solved(problem, observers=["consistent", "vps", "disclosures", "accounting"]).findings
    assert found["consistent"]["contradicted"] == []  # the truth is among what is still possible
    assert max(found["consistent"]["joint"].values()) > 1
    assert found["disclosures"]["solver_analysed"]
    assert not found["disclosures"]["unread_fields"]
    assert any("TOKEN" in note for note in found["vps"]["notes"])  # vps counts no choices, and says so
    assert found["accounting"]["outside"]


# The observer --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["dpop", "adopt", "synchbb", "mgm"])
def test_the_observer_finds_the_same_live_and_in_replay(solver: str) -> None:
    problem = Channels.generate(ChannelsParams(), 2)
    observers = [FirstWord, (FirstWord, {"view": "agent:owner2", "as": "second"})]
    result = simulate(problem, solver, observers=observers)
    assert replay(result.log, observers=observers).findings == result.findings
    of_all, of_one = result.findings["first-word"], result.findings["second"]
    assert set(of_one) <= set(of_all) <= set(problem.agents)
    assert sum(first["statements"] for first in of_one.values()) < sum(f["statements"] for f in of_all.values())
    for agent, first in of_one.items():
        assert first["time"] >= of_all[agent]["time"]
    reported = [r for r in result.log.records() if r[0] == "finding" and r[2] == "second" and "first word of" in r[3]]
    assert [r[3]["first word of"] for r in reported] == list(of_one)
    assert [r[1] for r in reported] == [first["time"] for first in of_one.values()]


def test_the_viewers_own_words_tell_it_nothing() -> None:
    problem = Channels.generate(ChannelsParams(points=2, reach=1), 0)
    found = solved(problem, observers=[(FirstWord, {"view": "agent:owner0"})])
    told = [d for d in found.log if d.dst == "p0"]
    assert found.findings["first-word"]["owner1"]["time"] == told[0].delivered_at


# The adversaries -----------------------------------------------------------------------------------------------------


def test_attacks_are_logged_and_prove_nothing() -> None:
    problem = Channels.generate(ChannelsParams(points=10), 1)
    runs = attacks(problem, "owner9")
    assert [result.status for result in runs.values()] == ["finished"] * 3
    assert runs["hushed"].cost > runs["honest"].cost
    assert runs["hushed"].transport["altered"] >= 1
    altered = [record for record in runs["hushed"].log.records() if record[0] == "fate"]
    assert {(record[1], record[3]) for record in altered} == {("altered", "p9")}
    stubborn = replay(runs["stubborn"].log, verify=True, solver=RoundRobin)
    assert (stubborn.verified, stubborn.complete, stubborn.skipped) == (True, False, ("owner9",))
    likes = problem.variables["p9"]
    assert likes.unary is not None
    assert runs["stubborn"].assignment["p9"] == likes.domain.values[int(likes.unary.argmin())]


@pytest.mark.parametrize("seed", range(6))
def test_no_attack_keeps_the_others_waiting(seed: int) -> None:
    problem = Channels.generate(ChannelsParams(points=3 + seed), seed)
    for agent in problem.agents:
        assert [r.status for r in attacks(problem, agent).values()] == ["finished"] * 3
    everybody = solved(problem, replace=dict.fromkeys(problem.agents, Stubborn), interceptors=[Hush("p0")])
    assert everybody.status == "finished"


# The generator -------------------------------------------------------------------------------------------------------


def test_a_longer_street_begins_like_the_shorter_one() -> None:
    short, long = (Channels.generate(ChannelsParams(points=n), 7) for n in (5, 9))
    for name, variable in short.variables.items():
        assert (long.variables[name].unary == variable.unary).all()
    assert set(short.constraints) < set(long.constraints)
    other = Channels.generate(ChannelsParams(points=5), 8)
    assert any((other.variables[name].unary != v.unary).any() for name, v in short.variables.items())


def test_declared_ranges_hold_what_is_drawn() -> None:
    problem = Channels.generate(ChannelsParams(points=40, channels=6, reach=3, dislike=9), 1)
    drawn = {int(cost) for v in problem.variables.values() for cost in v.unary}  # type: ignore[union-attr]
    assert drawn == set(range(10))
    for table in (problem.variables.values(), problem.constraints.values()):
        for function in table:
            low, high = function.cost_range  # type: ignore[misc]
            costs = function.unary if hasattr(function, "unary") else function.table
            assert low <= costs.min()
            assert costs.max() <= high
    assert not simulate(problem, "mgm", rounds=2).notes
    assert max(int(c.scope[1][1:]) - int(c.scope[0][1:]) for c in problem.constraints.values()) == 3


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"points": 0}, "points=0"), ({"channels": 101}, "from 1 to 100"), ({"dislike": -1}, "dislike")],
)
def test_parameters_out_of_range(wrong: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ChannelsParams(**wrong)


# As programs ---------------------------------------------------------------------------------------------------------


def test_they_run_as_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    street = str(tmp_path / "street.yaml")
    assert generator_example.main([street, "3"]) == 0
    assert len(load(street).variables) == 6
    assert capsys.readouterr().out == ""
    assert solver_example.main([street]) == 0
    assert "best-response" in capsys.readouterr().out
    assert observer_example.main([street, "synchbb", "owner0"]) == 0
    assert "by FWD" in capsys.readouterr().out
    assert adversary_example.main([street, "owner5"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


@pytest.mark.parametrize("module", [solver_example, observer_example, adversary_example, generator_example])
def test_what_is_wrong_takes_one_line(module: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["a", "b", "c", "d"], [str(tmp_path / "none" / "x.yaml")]):
        assert module.main(arguments) == 2
        told = capsys.readouterr()
        assert (told.out, told.err.count("\n")) == ("", 1)
