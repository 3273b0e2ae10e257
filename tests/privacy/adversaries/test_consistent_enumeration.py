"""The exact adversary `consistent` on runs of every solver, against enumeration of all profiles of private costs."""

import math
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

import numpy as np
import pytest

from agentsim import (
    SolverRefusal,
    replay,
    simulate,
)
from agentsim.runtime.registry import find
from agentsim.runtime.setup import prepare
from agentsim.testing import twin
from privacy.adversaries.consistent import Consistent
from privacy.adversaries.profiles import loss
from privacy.vps.metrics import GAINS
from tests.privacy.adversaries.enumerating import (
    chain,
    check_against_enumeration,
    enumerated,
    found,
    heard,
    tiny,
)

SOLVERS = ["adopt", "bnb-adopt", "dpop", "synchbb", "brute-force", "mb-dpop", "afb"]
INCOMPLETE = sorted(e.name for e in entry_points(group="agentsim.solvers") if not getattr(e.load(), "complete", False))


@pytest.mark.parametrize("solver", SOLVERS)
def test_equals_enumeration(solver: str) -> None:
    informed = 0
    for seed in range(14):
        problem = tiny(np.random.default_rng([seed, SOLVERS.index(solver)]))
        metric = sorted(GAINS)[seed % 3]
        result = simulate(
            problem, solver, observers=[(Consistent, {"metric": metric})], network="uniform:1,4", seed=seed
        )
        what = result.findings["consistent"]
        viewers = {a: {a} for a in dict.fromkeys(v.agent for v in problem.variables.values())}
        check_against_enumeration(problem, solver, viewers, what, result, metric)
        informed += sum(bits > 0 for bits in what["joint"].values())
        assert replay(result.log, observers=[(Consistent, {"metric": metric})]).findings["consistent"] == what
    assert informed >= 5


@pytest.mark.parametrize("solver", INCOMPLETE)
def test_equals_enumeration_of_local_search_and_sampling(solver: str) -> None:
    """Differences of local costs, choices and what else solvers say that do not add up costs in a tree."""
    fields = getattr(find("solvers", solver).Params, "__dataclass_fields__", {})
    params = {k: v for k, v in {"rounds": 5, "iterations": 4, "randomness": "seed"}.items() if k in fields}
    for seed in range(5):
        problem = tiny(np.random.default_rng([seed, 61]), most=150)
        try:
            result = simulate(problem, solver, observers=[Consistent], network="uniform:1,4", seed=seed, **params)
        except SolverRefusal:
            continue
        viewers = {a: {a} for a in dict.fromkeys(v.agent for v in problem.variables.values())}
        check_against_enumeration(problem, solver, viewers, result.findings["consistent"], result, "entropy", **params)


@pytest.mark.parametrize("solver", ["adopt", "synchbb", "dpop"])
def test_a_coalition_equals_enumeration_and_knows_more(solver: str) -> None:
    for seed in range(6):
        problem = tiny(np.random.default_rng([seed, 77]))
        agents = list(dict.fromkeys(v.agent for v in problem.variables.values()))
        if len(agents) < 2:
            continue
        pair = agents[:2]
        views = {"all": "all", "pairs": "coalitions:2", "pair": f"coalition:{'+'.join(pair)}"}
        views |= {a: f"agent:{a}" for a in agents}
        if len(problem.agents) <= 2:
            del views["pairs"]
        result = simulate(problem, solver, observers=[(Consistent, {"view": v, "as": n}) for n, v in views.items()])
        together = result.findings["pair"]
        check_against_enumeration(problem, solver, {"+".join(pair): set(pair)}, together, result, "entropy")
        for agent in agents:
            for key in ("joint", "left", "matrix", "together", "curve"):
                assert result.findings[agent][key][agent] == result.findings["all"][key][agent]
        if "pairs" in views:
            assert result.findings["pairs"]["matrix"]["+".join(pair)] == together["matrix"]["+".join(pair)]
        # Of the others: one member's own costs may be what another one learns about.
        everything = result.findings["all"]["together"]
        for subject, bits in together["together"]["+".join(pair)].items():
            assert all(bits >= everything[a][subject] - 1e-8 for a in pair)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_twin_problem_loses_the_same(solver: str) -> None:
    for seed in range(4):
        problem = tiny(np.random.default_rng([seed, 5]))
        one, other = found(problem, solver), found(twin(problem), solver)
        for key in ("joint", "left", "profiles", "matrix", "together", "loss", "curve"):
            assert one[key] == other[key]


@pytest.mark.parametrize("solver", SOLVERS)
def test_no_sound_rule_claims_more(solver: str) -> None:
    rules = [f"vps:rule={rule},as={name}" for name, rule in (("exact", "exact"), ("topology", "tight,topology=true"))]
    for seed in range(6):
        problem = tiny(np.random.default_rng([seed, 9]), most=2000)
        findings = simulate(problem, solver, observers=["consistent", *rules]).findings
        assert set(findings["consistent"]["method"].values()) == {"exact"}
        for rule in ("exact", "topology"):
            for viewer, row in findings[rule]["matrix"].items():
                for subject, bits in row.items():
                    assert bits <= findings["consistent"]["together"][viewer][subject] + 1e-9


# Priors that are not uniform -----------------------------------------------------------------------------------------


def test_weights_equal_enumeration() -> None:
    rng = np.random.default_rng(8)
    for solver in ("dpop", "adopt", "synchbb"):
        problem = chain()
        weights = {n: rng.dirichlet(np.ones(3), 2) for n in "xz"}
        weights["x"][0] = (0.25, 0.75, 0.0)
        cls = find("solvers", solver)
        setup = prepare(problem, cls, solver, {})
        result = simulate(problem, solver, observers=[(Consistent, {"weights": weights})])
        what = result.findings["consistent"]

        def chance(profile: Mapping[str, Any], weights: Mapping[str, Any] = weights) -> float:
            chances = [
                weights[n][value, int(cost) - 1] if n in weights else 1 / 3
                for n, costs in profile.items()
                for value, cost in enumerate(costs)
            ]
            return math.prod(chances)

        for viewer in "abc":
            _, left = enumerated(setup, {viewer}, heard(result, cls, setup, {viewer}))
            mass = sum(map(chance, left))
            assert what["joint"][viewer] == pytest.approx(-math.log2(mass), abs=1e-9)
            for subject, lost in what["matrix"][viewer].items():
                name = dict(zip("abc", "xyz", strict=True))[subject]
                expected = 0.0
                for value in range(2):
                    before = weights[name][value] if name in weights else np.full(3, 1 / 3)
                    after = np.zeros(3)
                    for p in left:
                        after[int(p[name][value]) - 1] += chance(p) / mass
                    expected += loss("entropy", before, after)
                assert lost == pytest.approx(expected, abs=1e-9)


def test_uniform_weights_are_no_weights() -> None:
    weights = {n: np.full((2, 3), 1 / 3) for n in "xyz"}
    for metric in GAINS:
        one, other = found(chain(), "dpop", metric=metric), found(chain(), "dpop", metric=metric, weights=weights)
        assert one["left"] == other["left"]
        for key in ("joint", "loss"):
            assert other[key] == pytest.approx(one[key])
