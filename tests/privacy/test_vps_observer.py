"""The observer `vps`: who lost what to whom, whose eyes count, what was taken as public, and the same from a log."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from agentsim import Agent, Constraint, Domain, Problem, Result, UserError, Variable, load, message, replay, simulate
from agentsim.runtime import registry
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.observer import ObserverContext, ObserverView
from agentsim.runtime.setup import prepare
from agentsim.testing import random_problem
from privacy.vps import Rule, Vps
from privacy.vps.prior import Scale

DIMES = registry.find("generators", "dimes")
RANDOM = registry.find("generators", "random-dcop")
SOLVERS = [n for n in registry.names("solvers") if registry.find("solvers", n).complete]
RULES: list[dict[str, Any]] = [
    {"rule": "paper"},
    {"rule": "exact"},
    {"rule": "tight"},
    {"rule": "tight", "topology": True},
]
METRICS = ("entropy", "proportional", "guess")
INF = math.inf


def dimes(seed: int = 0, **params: Any) -> Problem:
    """Return a one-event scheduling problem of five people, three slots and costs 1..4, unless told otherwise."""
    problem = DIMES.generate(DIMES.Params(**{"people": 5, "d": 3, "u": 4, "shape": "T", **params}), seed)
    assert isinstance(problem, Problem)
    return problem


def found(problem: Problem, solver: Any = "dpop", options: str | Mapping[str, Any] = "", **run: Any) -> dict[str, Any]:
    """Return the findings of one observer, its options written as on the command line or as a mapping."""
    observer: Any = f"vps:{options}" if isinstance(options, str) else (Vps, options)
    result = simulate(problem, solver, observers=["vps" if options == "" else observer], **run)
    (findings,) = result.findings.values()
    assert isinstance(findings, dict)
    return findings


def chain(
    costs: Mapping[str, Sequence[float] | None],
    agents: Mapping[str, str] | None = None,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    agents_too: Sequence[str] = (),
) -> Problem:
    """Return variables with these private costs (None: none) in a chain of public ties.

    Args:
        costs: by variable and slot.
        agents: owners of variables that are not of their own name.
        ranges: what is declared of the private costs.
        agents_too: agents without variables.
    """
    names = list(costs)
    d = max(len(c) for c in costs.values() if c is not None)
    slots = Domain("slots", tuple(range(d)))
    same = np.where(np.eye(d, dtype=bool), 0.0, INF)
    variables = [
        Variable(
            n, slots, (agents or {}).get(n, ""), None if c is None else np.array(c), cost_range=(ranges or {}).get(n)
        )
        for n, c in costs.items()
    ]
    ties = [Constraint(f"{a}={b}", (a, b), same, known_to="all", cost_range=(0, 0)) for a, b in pairwise(names)]
    return Problem.build(variables, ties, agents=agents_too)


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


# Whose eyes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", RULES, ids=str)
@pytest.mark.parametrize("solver", ["adopt", "bnb-adopt-plus", "dpop", "mb-dpop", "synchbb", "brute-force"])
def test_one_agents_view_is_its_part_of_all(solver: str, options: dict[str, Any]) -> None:
    for problem in (dimes(2, people=4), RANDOM.generate(RANDOM.Params(agents=4, u=4, d=2), 1)):
        everything = found(problem, solver, options)
        for agent in problem.agents:
            own = found(problem, solver, {**options, "view": f"agent:{agent}"})
            assert own["matrix"] == {agent: everything["matrix"][agent]}
            for subject, loss in own["loss"].items():
                u = 4
                full = problem.variables["x0"].size * math.log2(u)
                if subject == agent:
                    assert loss is None
                else:
                    assert loss == pytest.approx(own["matrix"][agent][subject] / full)
        assert found(problem, solver, {**options, "view": "coalitions:1"}) == everything


@pytest.mark.parametrize("options", RULES[1:], ids=str)
@pytest.mark.parametrize("solver", ["adopt", "bnb-adopt", "dpop", "synchbb", "brute-force"])
def test_a_coalition_knows_at_least_what_each_member_knows(solver: str, options: dict[str, Any]) -> None:
    for problem in (dimes(1, people=4), RANDOM.generate(RANDOM.Params(agents=4, u=4, d=2, b=2), 2)):
        alone = found(problem, solver, options)["matrix"]
        pairs = found(problem, solver, {**options, "view": "coalitions:2"})
        assert set(pairs["matrix"]) == {f"{a}+{b}" for a, b in combinations(problem.agents, 2)}
        for a, b in combinations(problem.agents, 2):
            row = pairs["matrix"][f"{a}+{b}"]
            assert set(row) == set(problem.agents) - {a, b}
            assert found(problem, solver, {**options, "view": f"coalition:{a}+{b}"})["matrix"] == {f"{a}+{b}": row}
            for subject, loss in row.items():
                assert loss >= max(alone[a][subject], alone[b][subject]) - 1e-9
        full = problem.variables["x0"].size * 2  # bits: the costs are 1..4
        for agent, p in pairs["loss"].items():
            rows = [row[agent] for name, row in pairs["matrix"].items() if agent not in name.split("+")]
            assert len(rows) == 3
            assert p == pytest.approx(sum(rows) / (3 * full))


def test_a_coalition_puts_two_and_two_together() -> None:
    """SynchBB in the order a, b, c, d: b knows what a costs, d what a, b and c cost together, and b what b costs."""
    costs = {"a": [3, 4], "b": [2, 4], "c": [4, 4], "d": [4, 4]}
    problem = chain(costs, ranges=dict.fromkeys(costs, (1, 4)))
    run: dict[str, Any] = {"order": "a,b,c,d"}
    alone = found(problem, "synchbb", "rule=tight", **run)["matrix"]
    together = found(problem, "synchbb", "rule=tight,view=coalition:b+d", **run)["matrix"]["b+d"]
    assert alone["b"]["a"] >= 2  # exactly what its first slot costs
    assert together["a"] >= alone["b"]["a"]
    assert together["c"] > max(alone["b"]["c"], alone["d"]["c"])
    assert set(together) == {"a", "c"}


def test_members_of_a_coalition_of_all_have_nothing_to_learn() -> None:
    everybody = "+".join(f"a{i}" for i in range(5))
    findings = found(dimes(), "dpop", f"view=coalition:{everybody}")
    assert findings["matrix"] == {everybody: {}}
    assert set(findings["loss"].values()) == {None}


def test_a_wire_shows_what_goes_over_it() -> None:
    """UTIL of b to a, [3, 4], is read by whoever taps the wire and knows which event it is about."""
    costs = {"a": [1, 1], "b": [2, 3], "c": [1, 1]}
    problem = chain(costs, ranges=dict.fromkeys(costs, (1, 4)))
    tapped = found(problem, "dpop", "rule=exact,view=wire:b>a", order="a,b,c")
    bits = pytest.approx(math.log2(4 / 3))
    assert tapped["matrix"] == {"wire:b>a": {"a": 0, "b": bits, "c": 0}}
    assert tapped["loss"] == {"a": 0, "b": pytest.approx(math.log2(4 / 3) / 4), "c": 0}
    assert found(problem, "dpop", "rule=exact", order="a,b,c")["matrix"]["a"]["b"] == bits
    back = found(problem, "dpop", "rule=exact,view=wire:a>b", order="a,b,c")
    assert back["matrix"] == {"wire:a>b": {"a": 0, "b": 0, "c": 0}}


@pytest.mark.parametrize("options", RULES, ids=str)
@pytest.mark.parametrize("solver", SOLVERS)
def test_an_observer_uses_nothing_but_its_own_view_and_what_is_public(solver: str, options: dict[str, Any]) -> None:
    """The same messages mean the same to it, whatever the costs and constraints are that it cannot see."""
    rng = np.random.default_rng(5)
    several = dimes(1, people=4, events=2, attendees=3, d=4)
    general = RANDOM.generate(RANDOM.Params(agents=4, u=4, d=2, b=3, shape="Q"), 3)
    cls = registry.find("solvers", solver)
    for problem in (several, general):
        log = simulate(problem, solver).log
        for agent in problem.agents:
            other = Problem.build(
                [
                    v if v.agent == agent or v.unary is None else replace(v, unary=rng.permutation(v.unary))
                    for v in problem.variables.values()
                ],
                [
                    c if agent in problem.known_to(c) else replace(c, table=_others(rng, c))
                    for c in problem.constraints.values()
                ],
                name=problem.name,
                agents=problem.agents,
            )
            seen = [_learn(p, cls, solver, f"agent:{agent}", options, log) for p in (problem, other)]
            assert seen[0] == seen[1]


def _others(rng: np.random.Generator, c: Constraint) -> Any:
    """Return another table that fits what is declared of a constraint."""
    assert c.cost_range is not None
    table = rng.integers(int(c.cost_range[0]), int(c.cost_range[1]) + 1, c.table.shape).astype(float)
    table[np.isinf(c.table)[::-1]] = INF
    return table


def _learn(problem: Problem, cls: Any, name: str, view: str, options: Mapping[str, Any], log: Any) -> dict[str, Any]:
    """Return what an observer with these facts finds in these deliveries."""
    setup = prepare(problem, cls, name, {})
    observer = Vps(ObserverContext(ObserverView.parse(view, problem.agents), setup, cls, name, options))
    sees = observer.context.view.sees(setup.nodes)
    assert sees is not None
    observer.start()
    for delivery in log:
        if sees(delivery):
            observer.observe(delivery)
    return observer.findings()


# What is taken as public ---------------------------------------------------------------------------------------


PLAIN = {"a": [2.0, 5.0], "b": [3.0, 4.0]}


def test_the_declared_range_is_the_prior() -> None:
    findings = found(chain(PLAIN, ranges=dict.fromkeys(PLAIN, (1, 8))), root="a")
    assert findings["prior"] == {"source": "declared", "range": [1, 8], "bins": None}
    assert findings["matrix"]["a"]["b"] == pytest.approx(math.log2(8 / 3) + math.log2(8 / 4))
    assert not any("no range" in note for note in findings["notes"])


def test_ranges_may_differ_by_variable() -> None:
    findings = found(chain(PLAIN, ranges={"a": (1, 8), "b": (3, 4)}), root="a")
    assert findings["prior"]["source"] == "declared"
    assert findings["prior"]["range"] is None
    assert findings["prior"]["ranges"] == {"a": [1, 8], "b": [3, 4]}
    assert findings["loss"] == {"a": 0, "b": pytest.approx(1 / 2)}


def test_without_a_declared_range_the_least_and_greatest_cost_of_all_are_taken_and_it_is_said() -> None:
    findings = found(chain({**PLAIN, "c": [INF, 7.0]}), root="a")
    assert findings["prior"] == {"source": "observed", "range": [2, 7], "bins": None}
    (note,) = (n for n in findings["notes"] if "no range of private costs is declared" in n)
    assert "3 of 3 variables" in note
    assert "between 2 and 7" in note
    assert "public" in note


@pytest.mark.parametrize("given", ["prior=1..8", {"prior": "1..8"}, {"prior": (1, 8)}])
def test_a_given_prior_goes_before_what_is_declared(given: Any) -> None:
    findings = found(chain(PLAIN, ranges=dict.fromkeys(PLAIN, (0, 99))), "dpop", given, root="a")
    assert findings["prior"] == {"source": "given", "range": [1, 8], "bins": None}
    assert findings["matrix"]["a"]["b"] == pytest.approx(math.log2(8 / 3) + math.log2(8 / 4))


def test_the_prior_is_in_the_users_units() -> None:
    """When utilities are maximised, -8..-1 are the costs 1..8."""
    problem = chain(PLAIN)
    utilities = Problem.build(
        [replace(v, unary=-1 * v.unary) for v in problem.variables.values() if v.unary is not None],
        [replace(c, table=-1 * c.table) for c in problem.constraints.values()],
        objective="max",
    )
    findings = found(utilities, "dpop", "prior=-8..-1", root="a")
    assert findings["prior"]["range"] == [-8, -1]
    assert findings["matrix"]["a"]["b"] == pytest.approx(math.log2(8 / 3) + math.log2(8 / 4))


def test_a_prior_that_the_costs_do_not_keep_to_is_pointed_out() -> None:
    findings = found(chain(PLAIN), "dpop", "prior=3..9")
    assert any("1 variables lie outside of the prior range" in note for note in findings["notes"])


def test_fractional_costs_are_cut_into_classes() -> None:
    """0..1 in four classes: b's 0.3 is in the second, 0.9 in the last, about which nothing was said."""
    problem = chain({"a": [0.5, 0.25], "b": [0.3, 0.9]}, ranges={"a": (0, 1), "b": (0, 1)})
    findings = found(problem, "dpop", "bins=4", root="a")
    assert findings["prior"] == {"source": "declared", "range": [0, 1], "bins": 4}
    assert findings["matrix"]["a"]["b"] == pytest.approx(math.log2(4 / 2))
    assert findings["loss"]["b"] == pytest.approx(1 / 4)
    plain = found(problem, root="a")
    assert plain["prior"]["bins"] == 10
    assert any("10 classes (bins=)" in note for note in plain["notes"])
    assert plain["matrix"]["a"]["b"] == pytest.approx(math.log2(10 / 4))  # 0.3 is where the fourth class begins


def test_whole_costs_may_be_cut_into_classes_too() -> None:
    findings = found(chain(PLAIN, ranges=dict.fromkeys(PLAIN, (0, 8))), "dpop", "bins=2", root="a")
    assert findings["prior"]["bins"] == 2
    assert findings["matrix"]["a"]["b"] == pytest.approx(1)  # 3 is in the lower half, 4 begins the upper


def test_every_cost_is_in_the_class_that_its_own_value_bounds() -> None:
    """Also where binary fractions are not exact: nobody's class is ruled out by what he says of his own cost."""
    rng = np.random.default_rng(1)
    for _ in range(3000):
        low = float(rng.normal(0, 10).__round__(int(rng.integers(3))))
        bins, width = int(rng.integers(1, 20)), float(rng.choice([0.1, 0.3, 1 / 3, 1.0, 7.7]))
        scale = Scale(low, bins, width, True, 1e-12)
        cost = low + width * float(rng.integers(bins + 1)) if rng.random() < 0.5 else low + width * bins * rng.random()
        other = float(rng.normal(0, 1000))
        said = (cost + other) - other  # rounding errors of a sum
        level = scale.level(cost)
        assert 1 <= level <= bins
        slack = abs(said - cost)
        assert scale.at_most(said + slack) >= level
        assert scale.at_least(said - slack) <= level
        assert scale.least(level) - 1e-9 <= cost <= scale.greatest(level) + 1e-9


@pytest.mark.parametrize(("low", "levels"), [(1, 6), (-3, 4), (0, 1), (5, 4)])
def test_whole_numbers_are_levels(low: int, levels: int) -> None:
    scale = Scale(low, levels)
    assert scale.high == low + levels - 1
    for level in range(1, levels + 1):
        cost = low + level - 1
        assert scale.level(cost) == scale.at_most(cost) == scale.at_least(cost) == level
        assert scale.at_most(cost + 0.5) == level
        assert scale.least(level) == scale.greatest(level) == cost
    assert scale.at_most(low - 9) == scale.at_least(low - 9) == 1
    assert scale.at_most(low + 99) == scale.at_least(INF) == levels


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


# What is not there ---------------------------------------------------------------------------------------------


@message("HELLO")
class Hello(NamedTuple):
    value: int


class Unread(Agent):
    """A user's solver that declares no reader: everybody tells his neighbours his whole private cost."""

    messages = (Hello,)

    async def run(self) -> None:
        self.assign(0)
        self.broadcast(Hello(int(self.view.unary[0])))
        await self.gather(Hello)


@pytest.mark.parametrize("options", [{}, {"rule": "tight"}, {"view": "agent:a0"}, {"view": "coalitions:2"}], ids=str)
def test_a_solver_without_a_reader_is_not_analysed(options: dict[str, Any]) -> None:
    """Which is not the same as losing nothing."""
    findings = found(dimes(), Unread, options)
    assert findings["solver_analysed"] is False
    assert findings.keys() >= {"loss", "matrix", "aggregate", "prior", "rule", "curve", "notes"}
    assert findings["loss"] == dict.fromkeys(f"a{i}" for i in range(5))
    assert set(findings["aggregate"].values()) == {None}
    assert findings["matrix"] == {}
    (note,) = findings["notes"]
    assert "Unread" in note
    assert "not analysed" in note


class Silent:
    """A reader that leaves all fields out."""

    def read(self, delivery: Delivery) -> list[Any]:
        return []


class HalfRead(Unread):
    """A solver whose reader forgot a field."""

    reader = staticmethod(lambda context: Silent())


def test_fields_that_no_reader_speaks_of_are_named() -> None:
    findings = found(dimes(), HalfRead)
    assert findings["solver_analysed"] is True
    assert "not analysed, so not counted as loss: field value (HELLO)" in findings["notes"]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ("rule=clever", "no rule is called 'clever'; there are paper, exact, tight"),
        ("metric=surprise", "metric='surprise' must be one of entropy, proportional, guess"),
        ("aggregators=mode", "no aggregator is called 'mode'"),
        ("tau=high", "tau='high' is not a number"),
        ("empty=nan", "empty='nan' is not a number"),
        ("tau=2", "tau=2.0 must be from 0 to 1"),
        ("colour=red", "rule paper has no parameter 'colour'; it has prefix, repeats, table"),
        ("repeats=some", "repeats='some' must be one of all, distinct"),
        ("table=last", "table='last' must be one of diagonal, first, max"),
        ("prefix=maybe", "prefix='maybe' must be one of use, ignore"),
        ("rule=exact,repeats=all", "rule exact takes no parameter 'repeats'"),
        ("rule=tight,topology=perhaps", "topology='perhaps' must be true or false"),
        ("rule=tight,table=max", "rule tight has no parameter 'table'; it has topology"),
        ("prior=5", "prior=5: write it as LO..HI"),
        ("prior=low..high", "write it as LO..HI"),
        ("prior=6..1", "prior=6..1: must be two finite numbers, the lower one first"),
        ("prior=1..inf", "must be two finite numbers"),
        ("prior=nan..3", "must be two finite numbers"),
        ("prior=0..1e12", "possible costs are too many to tell apart: give bins="),
        ("bins=0", "bins=0: must be from 1"),
        ("bins=-3", "bins=-3: must be from 1"),
        ("bins=few", "bins='few' is not a whole number"),
        ("bins=2.5", "bins='2.5' is not a whole number"),
        ("bins=inf", "bins='inf' is not a whole number"),
        ("view=everybody", "must be agent:NAME, coalition:A"),
        ("view=agent:nobody", "no agent is called 'nobody'"),
        ("view=coalitions:5", "coalitions:K needs a K from 1 to 4"),
        ("view=coalitions:0", "coalitions:K needs a K from 1 to 4"),
    ],
)
def test_what_the_user_got_wrong_is_said_in_a_sentence(options: str, match: str) -> None:
    with pytest.raises(UserError, match=match):
        found(dimes(), "dpop", options)


def test_what_is_not_a_rule_is_refused() -> None:
    with pytest.raises(UserError, match="no rule is called"):
        found(dimes(), "dpop", {"rule": Vps})
    assert issubclass(registry.find("observers", "vps"), Vps)
    with pytest.raises(NotImplementedError):
        Rule(None, None).learn((), None)  # type: ignore[arg-type]  # the base does nothing


def test_more_coalitions_than_anybody_can_wait_for_are_refused() -> None:
    """30 agents in fives are 142,506 coalitions."""
    with pytest.raises(UserError, match="142506 coalitions of 5"):
        found(dimes(people=30), "dpop", "view=coalitions:5")


# Files that nobody here wrote ----------------------------------------------------------------------------------


HOME = os.environ.get("AGENTSIM_INSTANCES")
needs_instances = pytest.mark.skipif(HOME is None, reason="AGENTSIM_INSTANCES is not set")

RANGES: dict[str, tuple[list[float] | None, int | None]] = {
    "frodo/rn04_n10_e15_a4_amp20_multivar.xml": ([0, 19], None),
    "frodo/rn01_n06_e08_a6_amp20.xml": ([3, 19], None),
    "frodo/rn07_n08_e12_a8_max.xml": ([-19, -2], None),
    "frodo/ms01_PEAV_a4_m2_p2_s4.xml": ([2, 10], None),
    "frodo/ms03_PEAV_a5_m3_p3_s6.xml": ([0, 10], None),
    "frodo/ms05_EAV_a6_m5_p2_s5.xml": ([0, 10], None),
    "frodo/gc04_n12_d30_k3.xml": (None, None),
    "pydcop/gc_v5_d3.yaml": (None, None),
    "pydcop/gc_v8_d5.yaml": (None, None),
    "pydcop/graph_coloring_tuto.yaml": (None, None),
    "pydcop/graph_coloring1.yaml": ([-0.1, 0.1], 10),
    "pydcop/ms_tiny.yaml": ([-9, 8], None),
}
"""Range of the private costs and classes, by file; None: nothing is private in it."""


LARGE = ("rn04", "ms03", "gc04")
"""Files with more than 8 variables: too large for a search of a second."""


@pytest.mark.instances
@needs_instances
@pytest.mark.parametrize(
    ("file", "solver"),
    [(f, s) for f in RANGES for s in ("dpop", "bnb-adopt-plus", "synchbb") if s == "dpop" or f[6:10] not in LARGE],
)
def test_plain_vps_runs_on_files_and_says_what_it_took_as_public(file: str, solver: str) -> None:
    findings = found(load(Path(str(HOME)) / file), solver)
    expected, bins = RANGES[file]
    losses = findings["loss"]
    if expected is None:
        assert findings["prior"]["source"] == "nothing is private"
        assert set(losses.values()) == {None}
        assert set(findings["aggregate"].values()) == {None}
        assert any("no private costs" in note for note in findings["notes"])
    else:
        assert findings["prior"]["source"] == "observed"
        assert findings["prior"]["range"] == pytest.approx(expected)
        assert findings["prior"]["bins"] == bins
        assert any("no range of private costs is declared" in note for note in findings["notes"])
        assert any(p is not None for p in losses.values())
        assert all(p is None or 0 <= p <= 1 for p in losses.values())
        assert findings["aggregate"]["average"] is not None


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
