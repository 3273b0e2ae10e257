"""The observer `vps`: whose eyes count, and what it takes as public."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from agentsim import Constraint, Problem, simulate
from agentsim.runtime import registry
from agentsim.runtime.observer import ObserverContext, ObserverView
from agentsim.runtime.setup import prepare
from privacy.vps import Vps
from privacy.vps.prior import Scale
from tests.privacy.vps_findings import INF, RULES, SOLVERS, chain, dimes, found

RANDOM = registry.find("generators", "random-dcop")


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
