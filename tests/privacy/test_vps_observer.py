"""The observer `vps`: who lost what to whom, live and from a log."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agentsim import Constraint, Domain, Problem, Result, UserError, Variable, replay, simulate
from agentsim.runtime import registry
from agentsim.testing import random_problem
from privacy.vps import Vps
from tests.privacy.vps_findings import INF, RULES, SOLVERS, chain, dimes, found

METRICS = ("entropy", "proportional", "guess")


# What is found -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", SOLVERS)
def test_findings_are_complete_and_plain(solver: str) -> None:
    findings = found(dimes(), solver)
    assert findings.keys() >= {"loss", "matrix", "aggregate", "prior", "rule", "curve", "n", "metric", "notes", "sound"}
    assert findings["solver_analysed"] is True
    agents = {f"a{i}" for i in range(5)}
    assert findings["loss"].keys() == agents == findings["matrix"].keys() == findings["curve"].keys()
    assert all(row.keys() == agents - {viewer} for viewer, row in findings["matrix"].items())
    assert findings["n"] == 5
    assert (findings["rule"], findings["metric"], findings["unit"]) == ("paper", "entropy", "bits")
    assert json.loads(json.dumps(findings)) == findings


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_an_agents_loss_is_its_row_of_losses_over_all_it_could_lose(solver: str, metric: str) -> None:
    """p_i = sum over j of loss_ij / ((n - 1) full): those that learn nothing stay in the denominator."""
    full = {"entropy": 3 * math.log2(4), "proportional": 3, "guess": 3}[metric]
    findings = found(dimes(3), solver, {"metric": metric})
    assert findings["metric"] == metric
    for agent, p in findings["loss"].items():
        total = sum(row[agent] for viewer, row in findings["matrix"].items() if viewer != agent)
        assert p == pytest.approx(total / (4 * full), abs=1e-12)
        assert 0 <= p <= 1
    assert any(findings["loss"].values())


def test_the_aggregate_is_that_of_all_losses() -> None:
    findings = found(dimes(3), "synchbb", "aggregators=average+max+min+median+risk,tau=.2")
    losses = list(findings["loss"].values())
    assert findings["aggregate"].keys() == {"average", "max", "min", "median", "risk"}
    assert findings["aggregate"]["average"] == pytest.approx(sum(losses) / 5)
    assert findings["aggregate"]["max"] == max(losses)
    assert findings["aggregate"]["min"] == min(losses)
    assert findings["aggregate"]["median"] == sorted(losses)[2]
    above = [p for p in losses if p > 0.2]
    assert findings["aggregate"]["risk"] == pytest.approx(sum(above) / len(above) if above else min(losses))
    assert found(dimes())["aggregate"].keys() == {"average", "max", "risk"}


def test_an_agent_with_several_variables_can_lose_the_costs_of_all_of_them() -> None:
    """a owns x and y. c sees y's three slots at 1 bit each; a could lose 2 * 3 * 2 bits."""
    costs = {"x": [1, 1, 1], "y": [1, 1, 1], "c": [4, 4, 4]}
    problem = chain(costs, {"x": "a", "y": "a"}, dict.fromkeys(costs, (1, 4)))
    findings = found(problem, "dpop", root="c")  # x below y below c: UTIL of y is 2 in each slot
    assert findings["matrix"] == {"a": {"c": 0}, "c": {"a": pytest.approx(3)}}
    assert findings["loss"] == {"a": pytest.approx(3 / 12), "c": 0}
    assert findings["n"] == 2


def test_what_nodes_of_one_agent_tell_each_other_is_no_loss() -> None:
    costs = {"x": [1, 1], "y": [1, 1], "z": [1, 1]}
    problem = chain(costs, dict.fromkeys(costs, "a"), dict.fromkeys(costs, (1, 4)))
    for solver in SOLVERS:
        findings = found(problem, solver)
        assert findings["matrix"] == {"a": {}}
        assert findings["loss"] == {"a": None}  # there is nobody to lose anything to
        assert findings["aggregate"] == {"average": None, "max": None, "risk": None}


def test_n_counts_agents_that_own_a_variable() -> None:
    """Idle agents see nothing, and do not make everybody else's loss look smaller."""
    costs, ranges = {"a": [2, 1], "b": [1, 2]}, {"a": (1, 4), "b": (1, 4)}
    plain = found(chain(costs, ranges=ranges), root="a")
    idle = found(chain(costs, ranges=ranges, agents_too=("idle", "lazy")), root="a")
    assert plain["loss"] == {"a": 0, "b": pytest.approx(3 / 4)}
    assert idle["loss"] == plain["loss"]
    assert idle["n"] == plain["n"] == 2
    assert idle["matrix"] == plain["matrix"]


def test_an_agent_without_private_costs_has_no_loss_and_is_left_out() -> None:
    costs = {"a": [2, 1], "b": None, "c": [1, 1]}
    findings = found(chain(costs, ranges={"a": (1, 4), "c": (1, 4)}), root="b")
    assert findings["loss"]["b"] is None
    assert findings["loss"]["a"] == pytest.approx(3 / 4 / 2)  # b, of two others, knows 3 bits of 4
    assert findings["loss"]["c"] == pytest.approx(4 / 4 / 2)
    assert findings["aggregate"]["average"] == pytest.approx((3 + 4) / 16)
    assert findings["n"] == 3
    assert all("b" not in row for row in findings["matrix"].values())
    assert "no private costs, so no loss, and left out of aggregation: b" in findings["notes"]


def test_where_only_one_cost_is_possible_there_is_nothing_to_lose() -> None:
    findings = found(dimes(u=1))
    assert set(findings["loss"].values()) == {None}
    assert findings["aggregate"]["average"] is None


def test_where_nothing_is_private_nothing_is_lost() -> None:
    problem = dimes()
    bare = Problem.build(
        [replace(v, unary=None, cost_range=None) for v in problem.variables.values()], problem.constraints.values()
    )
    for solver in SOLVERS:
        findings = found(bare, solver)
        assert set(findings["loss"].values()) == {None}
        assert findings["prior"]["source"] == "nothing is private"
        assert findings["prior"]["range"] is None
        assert set(findings["aggregate"].values()) == {None}


def test_an_agent_with_private_costs_on_anothers_variable_has_them_to_lose() -> None:
    """It gets a copy of the variable, tied to it."""
    slots = Domain("slots", (0, 1))
    variables = [
        Variable("x", slots, "a", np.array([1, 1]), cost_range=(1, 4)),
        Variable("y", slots, "c", np.array([1, 1]), cost_range=(1, 4)),
    ]
    same = np.where(np.eye(2, dtype=bool), 0.0, INF)
    tie = Constraint("xy", ("x", "y"), same, known_to="all", cost_range=(0, 0))
    foreign = Constraint("b on x", ("x",), np.array([2, 4]), owner="b", cost_range=(1, 4))
    findings = found(Problem.build(variables, [tie, foreign]), "brute-force", "rule=tight", order="x,y")
    assert findings["loss"].keys() == {"a", "b", "c"}
    assert findings["matrix"]["a"] == {"b": pytest.approx(4), "c": pytest.approx(4)}
    assert findings["loss"]["b"] == pytest.approx(1 / 2)
    assert findings["n"] == 3


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_curve_ends_at_the_loss(solver: str) -> None:
    """Of every agent, at virtual times that only rise; for ranges that only shrink so does what is lost."""
    for seed in range(3):
        problem = random_problem(np.random.default_rng(seed), max_variables=5) if seed else dimes(people=4)
        for options in RULES:
            findings = found(problem, solver, options, network="uniform:1,5", seed=seed)
            for agent, curve in findings["curve"].items():
                times, losses = zip(*curve, strict=True)
                assert (times[0], losses[0]) == (0, 0)
                assert list(times) == sorted(set(times))
                assert losses[-1] == pytest.approx(findings["loss"][agent] or 0, abs=1e-12)
                assert all(b >= a - 1e-12 for a, b in pairwise(losses))


def test_what_nobody_has_analysed_is_said() -> None:
    (note,) = (n for n in found(dimes(), "adopt")["notes"] if n.startswith("not analysed"))
    assert "THRESHOLD" in note


def test_two_observers_and_their_names() -> None:
    result = simulate(dimes(), "dpop", observers=["vps", "vps:rule=exact", "vps:rule=tight,as=sharp"])
    assert set(result.findings) == {"vps", "vps#2", "sharp"}
    assert [f["rule"] for f in result.findings.values()] == ["paper", "exact", "tight"]
    alone = found(dimes(), "dpop", "rule=exact")
    assert result.findings["vps#2"] == alone


@pytest.mark.parametrize("solver", SOLVERS)
def test_it_changes_no_run_and_finds_the_same_twice(solver: str) -> None:
    problem = dimes(2)
    run: dict[str, Any] = {"network": "exponential:3", "seed": 5}
    without = simulate(problem, solver, **run)
    first, second = (simulate(problem, solver, observers=["vps"], **run) for _ in range(2))
    assert (without.cost, without.messages, without.virtual_time) == (first.cost, first.messages, first.virtual_time)
    assert json.dumps(first.findings) == json.dumps(second.findings)


def test_live_losses_are_those_found_in_the_end() -> None:
    kept: list[Vps] = []

    class Live(Vps):
        def start(self) -> None:
            super().start()
            kept.append(self)

    problem = random_problem(np.random.default_rng(8), max_variables=4)
    for solver in SOLVERS:
        result = simulate(problem, solver, observers=[Live])
        live = kept.pop().live()
        assert live["loss"] == pytest.approx(result.findings["vps"]["loss"], abs=1e-12)
        assert live["aggregate"] == pytest.approx(result.findings["vps"]["aggregate"], abs=1e-12)


# From a log ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_log_tells_the_same_to_the_last_bit(solver: str, tmp_path: Path) -> None:
    observers: list[Any] = [
        "vps",
        "vps:rule=exact,metric=guess",
        (Vps, {"rule": "tight", "topology": True, "metric": "proportional"}),
        "vps:rule=paper,repeats=distinct,table=first,prefix=use,as=other",
        "vps:rule=exact,view=coalitions:2,as=pairs",
        "vps:bins=3,rule=tight,as=classes",
    ]
    problems = [
        dimes(4),
        dimes(1, people=4, events=2, attendees=2, rewards="private"),
        *(random_problem(np.random.default_rng(s), max_variables=5) for s in (2, 11, 12, 13)),
    ]
    for i, problem in enumerate(problems):
        if len({v.agent for v in problem.variables.values()}) < 3:
            continue
        path = tmp_path / f"{i}.amlog"
        network = ("unit", "uniform:1,5", "exponential:3+reorder+duplicate:.2+reliable")[i % 3]
        live: Result = simulate(problem, solver, seed=i, network=network, observers=observers, log=str(path))
        replayed = replay(str(path), observers=observers)
        assert json.dumps(replayed.findings) == json.dumps(live.findings)
        assert json.dumps(replay(live.log, observers=observers[:1]).findings) == json.dumps(
            {"vps": live.findings["vps"]}
        )


def test_a_log_without_private_costs_cannot_be_read_for_losses(tmp_path: Path) -> None:
    path = tmp_path / "redacted.amlog"
    simulate(dimes(), "dpop", log=str(path), redact=True)
    with pytest.raises(UserError, match="needs private costs, which this log leaves out"):
        replay(str(path), observers=["vps"])


# Bounds ----------------------------------------------------------------------------------------------------------


def test_a_long_curve_is_thinned_and_keeps_its_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = registry.find("generators", "random-dcop").generate(
        registry.find("generators", "random-dcop").Params(agents=5), 1
    )
    whole = simulate(problem, "adopt", observers=["vps"]).findings["vps"]["curve"]
    monkeypatch.setattr("privacy.vps.observer.MAX_POINTS", 8)
    monkeypatch.setattr("privacy.vps.observer.MAX_REMEMBERED", 3)  # and forgetting messages changes nothing
    thin = simulate(problem, "adopt", observers=["vps"], log=False)
    curves = thin.findings["vps"]["curve"]
    assert max(map(len, whole.values())) > 16
    for agent, curve in curves.items():
        assert len(curve) <= 8
        assert curve[0] == whole[agent][0]
        assert curve[-1] == whole[agent][-1]
        assert all(point in whole[agent] for point in curve)
        half = len(whole[agent]) // 2
        assert half <= 8 or any(point in whole[agent][1:half] for point in curve[1:])  # not only what came last
    assert thin.log_truncated
    assert list(thin.log.records()) == []


def test_the_observed_range_is_over_all_private_costs() -> None:
    slots = Domain("slots", (0, 1))
    problem = Problem.build(
        [Variable("a", slots, unary=[2, 3]), Variable("b", slots, unary=[1, 8], cost_range=(0, 9))],
        [Constraint("c", ("a", "b"), [[0, 1], [1, 0]])],
    )
    prior = simulate(problem, "dpop", observers=["vps"]).findings["vps"]["prior"]
    assert prior["ranges"] == {"a": [1, 8], "b": [0, 9]}
