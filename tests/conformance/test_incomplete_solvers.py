"""Every solver that is not complete, on problems and networks that break solvers.

There is no optimum to compare with. What is asked instead: a run ends by itself with a full assignment, the same for
the same seed whatever the sign of the costs, its log replays, every statement of its reader is true, and what exact
adversary and sound rules conclude from these statements never excludes the true private costs.

The number of problems for each solver is a hundredth of AGENTSIM_PROBLEMS (default 2,000), the networks taking turns.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

import numpy as np
import pytest

from agentsim import Problem, Result, SolverRefusal, Variable, replay, simulate
from agentsim.runtime.agent import Agent
from agentsim.testing import check_statements, random_problem, twin
from privacy.adversaries.consistent import Consistent
from privacy.vps import Vps
from privacy.vps.observer import exclusions
from scenarios.exploration import options_of
from scenarios.generators.dimes import Dimes
from scenarios.generators.graph_coloring import GraphColoring

NETWORKS = ("unit", "uniform:1,10", "exponential:3", "uniform:1,5+loss:.3+duplicate:.2+reorder+reliable")
PROBLEMS = max(8, int(os.environ.get("AGENTSIM_PROBLEMS", "2000")) // 100)
CHUNK = 10
INCOMPLETE: dict[str, type[Agent]] = {
    e.name: cls for e in entry_points(group="agentsim.solvers") if not getattr(cls := e.load(), "complete", False)
}


def fewer(cls: type[Agent], i: int) -> dict[str, Any]:
    """Return parameters for few rounds, and for randomness that the run's seed decides."""
    if cls.Params is None:
        return {}
    given = {
        "rounds": 2 + i % 9,
        "iterations": 1 + i % 5,
        "randomness": "seed",
        "tree": "messages" if i % 5 == 0 else "computed",
    }
    fields = {field.name for field in dataclasses.fields(cls.Params)}
    return {name: value for name, value in given.items() if name in fields}


def problem(i: int) -> Problem:
    return random_problem(np.random.default_rng([21, i]), max_variables=5 if i % 4 else 7, max_cells=400)


def check_ended(result: Result, given: Problem, where: str) -> None:
    assert result.status == "finished", f"{where}: {result.status} {result.deadlock}"
    assert result.assignment.keys() == given.variables.keys(), where
    assert result.cost == pytest.approx(given.evaluate(result.assignment).cost, abs=1e-9), where
    assert result.bound is None, f"{where}: bounds are what complete search proves"


@pytest.mark.parametrize("start", range(0, PROBLEMS, CHUNK))
@pytest.mark.parametrize("name", sorted(INCOMPLETE))
def test_it_ends_alike_and_truthfully(name: str, start: int) -> None:
    cls, refusals = INCOMPLETE[name], []
    for i in range(start, min(start + CHUNK, PROBLEMS)):
        given, network, options = problem(i), NETWORKS[i % len(NETWORKS)], options_of(cls, i)
        where = f"{name} on problem {i}, {network}, {options}"
        run = {"seed": i, "network": network, "max_messages": 100_000, **options}
        try:
            result = simulate(given, name, **run)
        except SolverRefusal as refusal:
            refusals.append(str(refusal))
            continue
        check_ended(result, given, where)
        again = simulate(given, name, **run)
        assert list(again.log.records()) == list(result.log.records()), where
        mirrored = simulate(twin(given), name, **run)
        assert mirrored.assignment == result.assignment, where
        assert mirrored.cost == -result.cost, where  # type: ignore[operator]
        if i % 2:
            check_statements(given, result, name, **options)
        else:
            replayed = replay(result.log, verify=True)
            assert replayed.verified, (where, replayed.first_difference)
    assert len(refusals) < CHUNK / 2, f"{name} refuses too much: {refusals}"
    assert all(len(refusal.split()) >= 5 for refusal in refusals), refusals  # sentences


@pytest.mark.parametrize("name", sorted(INCOMPLETE))
def test_a_tree_found_by_messages_changes_nothing(name: str) -> None:
    """It is the tree that is computed otherwise, so the same is drawn and sent, only later."""
    if "tree" not in fewer(INCOMPLETE[name], 0):
        pytest.skip("it has no tree")
    for i in range(5):
        given, options = problem(i), {**fewer(INCOMPLETE[name], i), "tree": "computed", "order": "degree"}
        computed = simulate(given, name, seed=i, **options)
        found = simulate(given, name, seed=i, **{**options, "tree": "messages"})
        check_ended(found, given, f"{name} on problem {i}")
        searched = any(len(set(c.scope)) > 1 for c in given.constraints.values())
        assert [any(d.type == "SCORE" for d in result.log) for result in (found, computed)] == [searched, False]
        assert found.assignment == computed.assignment
        assert found.by_type == computed.by_type


# What it gives away --------------------------------------------------------------------------------------------------


def with_preferences(given: Problem, seed: int) -> Problem:
    """Return the problem with private costs 0 to 2 for every value."""
    rng = np.random.default_rng(seed)

    def liking(v: Variable) -> Variable:
        return dataclasses.replace(v, unary=rng.integers(0, 3, v.size), cost_range=(0, 2))

    return Problem.build([liking(v) for v in given.variables.values()], given.constraints.values())


def scheduling() -> Problem:
    generator = Dimes()
    return generator.generate(generator.Params(people=4, d=3, u=3, shape="T"), 1)


def colouring() -> Problem:
    generator = GraphColoring()
    params = generator.Params(variables_count=5, p_edge=0.5, penalty=3)
    return with_preferences(generator.generate(params, 1), 1)


class Open(Consistent):
    """The exact adversary, which can be looked into."""

    def findings(self) -> dict[str, Any]:
        found = super().findings()
        if found["solver_analysed"]:
            self.check_truth()
        return found

    def check_truth(self) -> None:
        """Assert that the true private costs are among the possible ones, and fulfil what had to be put off."""
        setup, scales = self.context.setup, self._prior.scales
        for viewer in self._viewers:
            possible = viewer.possible
            cells = possible.cells
            true = np.empty(len(cells), np.int64)
            for cell, (variable, value) in enumerate(zip(cells.variable, cells.value, strict=True)):
                unary = setup.problem.variables[variable].unary
                assert unary is not None
                true[cell] = setup.sense * unary[value] - scales[variable].low
            for factor in possible._factors.values():
                assert (factor.rows == true[list(factor.cells)]).all(axis=1).any(), f"{viewer.name} is wrong"
            for fact in possible._pending.values():
                assert fact.holds(true[None, :], np.arange(len(true))).all(), f"{viewer.name} is wrong"


@pytest.mark.parametrize("make", [scheduling, colouring])
@pytest.mark.parametrize("name", sorted(INCOMPLETE))
def test_the_exact_adversary_and_sound_rules_never_exclude_the_truth(name: str, make: Any) -> None:
    given, kept = make(), list[Vps]()
    options = {**fewer(INCOMPLETE[name], 1), "rounds": 12, "iterations": 12}
    options = {key: options[key] for key in fewer(INCOMPLETE[name], 1)}

    class Kept(Vps):
        def start(self) -> None:
            kept.append(self)
            super().start()

    observers: list[Any] = [(Open, {"as": "exact", "limit": 200_000, "samples": 20_000})]
    observers += [(Kept, {"rule": rule, "as": rule}) for rule in ("paper", "exact", "tight")]
    what = simulate(given, name, seed=3, observers=observers, **options).findings["exact"]
    assert what["contradicted"] == []
    assert [wrong for vps in kept for wrong in exclusions(vps)] == []
    most = {v: sum(u * np.log2(3) for u in (3,) * (len(given.variables) - 1)) for v in what["joint"]}
    for viewer, bits in what["joint"].items():
        assert 0 <= bits <= most[viewer] + 1e-9
    print(f"\n{name:12} {make.__name__:10}", " ".join(f"{v}={bits:.2f}" for v, bits in what["joint"].items()), end=" ")
    print({key: what[key] for key in ("method", "at_least", "ignored") if what[key]}, end="")


def test_none_is_left_out() -> None:
    everything: Mapping[str, Any] = {e.name: e.load() for e in entry_points(group="agentsim.solvers")}
    assert {name for name, cls in everything.items() if not cls.complete} == set(INCOMPLETE)
    for name, cls in INCOMPLETE.items():
        assert cls.reader is not None, f"{name} has no reader"
