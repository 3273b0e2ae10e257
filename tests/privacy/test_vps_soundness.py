"""No sound rule ever excludes the truth, and costs upside down, shifted or with another price of conflict are the same.

Random runs of every solver that has a reader, on problems of all kinds and on slow, lossy and disorderly networks. How
many problems comes from AGENTSIM_PROBLEMS (default 10, each solved by all solvers); 1,300 are more than 10,000 runs.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations, pairwise
from typing import Any, ClassVar

import numpy as np
import pytest

from agentsim import Constraint, Domain, Problem, Variable, simulate
from agentsim.runtime import registry
from agentsim.runtime.statements import Term
from agentsim.testing import random_problem, twin
from privacy.vps import Exact, Vps, exclusions

PROBLEMS = int(os.environ.get("AGENTSIM_PROBLEMS", "10"))
CHUNK = 10
INF = math.inf
DIMES = registry.find("generators", "dimes")
RANDOM = registry.find("generators", "random-dcop")
SOLVERS = [n for n in registry.names("solvers") if registry.find("solvers", n).complete]
NETWORKS = ("unit", "uniform:1,10", "exponential:3", "uniform:1,10+loss:.2+duplicate:.2+reorder+reliable")
RULES: list[dict[str, Any]] = [
    {"rule": "paper"},
    {"rule": "paper", "table": "first", "repeats": "distinct"},
    {"rule": "paper", "table": "max", "prefix": "use"},
    {"rule": "exact"},
    {"rule": "tight"},
    {"rule": "tight", "topology": True},
]
"""Those marked sound, and the paper's, whose bounds are all true as well."""


class Kept(Vps):
    """The observer, kept for a look at its beliefs."""

    runs: ClassVar[list[Kept]] = []

    def start(self) -> None:
        super().start()
        self.runs.append(self)


def observers(problem: Problem, solver: str, rules: list[dict[str, Any]], **run: Any) -> list[Kept]:
    """Run a solver and return an observer for each rule."""
    Kept.runs.clear()
    simulate(problem, solver, observers=[(Kept, rule) for rule in rules], max_messages=6000, **run)
    return list(Kept.runs)


def untrue(observer: Kept) -> list[str]:
    """Return where beliefs exclude the true costs: `exclusions` once more, from the costs as the user gave them."""
    problem = observer.context.setup.problem
    sense, slack = (1 if problem.objective == "min" else -1), max(problem.tolerance * 10, 1e-12)
    wrong = []
    for viewer in observer.viewers:
        for name, belief in viewer.mind.beliefs.items():
            unary, scale = problem.variables[name].unary, belief.scale
            assert unary is not None
            costs = (sense * unary).tolist()
            for cost, low, high in zip(costs, belief.low, belief.high, strict=True):
                top = INF if high == scale.levels else scale.greatest(high)
                if not scale.least(low) - slack <= cost <= top + slack:
                    wrong.append(f"{viewer.mind.name} on {name}: {cost} is not in {scale.least(low)}..{top}")
            least = min([belief.least, *belief.bounds])
            if least < scale.levels and min(costs) > scale.greatest(least) + slack:
                wrong.append(f"{viewer.mind.name} on {name}: nothing costs {scale.greatest(least)} or less")
    return wrong


# Problems ------------------------------------------------------------------------------------------------------


def event(rng: np.random.Generator) -> Problem:
    """Return one to three events, with costs from 1, from 0, or from below."""
    events = int(rng.choice([1, 1, 2, 3]))
    people = int(rng.integers(2, 7 if events == 1 else 5))
    params = DIMES.Params(
        u=int(rng.integers(1, 6)),
        d=int(rng.integers(max(2, events), 5)),
        shape="STCQ"[int(rng.integers(4))],
        people=people,
        events=events,
        attendees=0 if events == 1 else int(rng.integers(2, people + 1)),
        conflict=[INF, 1e6][int(rng.integers(2))],
        rewards=("none", "known", "private")[int(rng.integers(3))],
    )
    problem = DIMES.generate(params, int(rng.integers(10**6)))
    assert isinstance(problem, Problem)
    return problem if rng.random() < 0.6 else shifted(problem, int(rng.integers(-7, 8)))


def general(rng: np.random.Generator) -> Problem:
    """Return random binary costs on a random graph."""
    params = RANDOM.Params(
        agents=int(rng.integers(2, 6)),
        d=int(rng.integers(2, 4)),
        u=int(rng.integers(2, 7)),
        b=int(rng.integers(1, 5)),
        shape="STCQ"[int(rng.integers(4))],
    )
    problem = RANDOM.generate(params, int(rng.integers(10**6)))
    assert isinstance(problem, Problem)
    return problem


def odd(rng: np.random.Generator) -> Problem:
    """Return ties of all kinds: dear and cheap, public and not, rewarded, broken; foreign and public private costs."""
    n, d = int(rng.integers(2, 6)), int(rng.integers(2, 4))
    values = Domain("values", tuple(range(d)))
    low = int(rng.choice([0, 1, -4, 3]))
    high = low + int(rng.integers(5))
    agents = [f"a{int(rng.integers(n))}" if rng.random() < 0.3 else f"a{i}" for i in range(n)]
    declared, fractional, hard = rng.random() < 0.7, rng.random() < 0.15, rng.random() < 0.15
    variables = []
    for i in range(n):
        costs = low + rng.random(d).round(3) * (high - low) if fractional else rng.integers(low, high + 1, d) * 1.0
        if hard and rng.random() < 0.5:
            costs[int(rng.integers(d))] = INF
        private = rng.random() < 0.85
        variables.append(
            Variable(
                f"x{i}",
                values,
                agents[i],
                costs if private else None,
                cost_range=(low, high) if private and declared else None,
            )
        )
    reach = n * max(abs(low), abs(high), high - low)
    conflict = (INF, reach + 1.0, 1e6, 2.0)[int(rng.choice(4, p=[0.45, 0.25, 0.2, 0.1]))]
    constraints = []
    for i, j in combinations(range(n), 2):
        if rng.random() > 0.7 and j != i + 1:
            continue
        if rng.random() < 0.65:
            table = np.where(np.eye(d, dtype=bool), 0.0, conflict)
            if rng.random() < 0.2:
                table += np.diag(rng.integers(-2, 4, d))
            if rng.random() < 0.1:
                table[0, 0] = INF
        else:
            table = rng.integers(-3, 4, (d, d)) * 1.0
        finite = table[np.isfinite(table)]
        bounds = None if rng.random() < 0.3 or not finite.size else (int(finite.min()) - 1, int(finite.max()) + 1)
        scope = (f"x{i}", f"x{j}") if rng.random() < 0.5 else (f"x{j}", f"x{i}")
        owner = f"a{int(rng.integers(n))}" if rng.random() < 0.1 else None
        known: Any = "all" if owner is None and rng.random() < 0.6 else "scope"
        constraints.append(Constraint(f"c{i}_{j}", scope, table, owner=owner, known_to=known, cost_range=bounds))
    for i in range(n):
        if rng.random() < 0.2:
            table, bounds = rng.integers(-2, 4, d), (-2, 3) if rng.random() < 0.5 else None
            owner = f"a{int(rng.integers(n))}" if rng.random() < 0.5 else None
            known = "all" if owner is None else "scope"
            constraints.append(Constraint(f"u{i}", (f"x{i}",), table, owner=owner, known_to=known, cost_range=bounds))
    if n > 2 and rng.random() < 0.2:
        scope3 = tuple(f"x{i}" for i in rng.choice(n, 3, replace=False))
        constraints.append(Constraint("three", scope3, rng.integers(-1, 3, (d, d, d)), cost_range=(-1, 2)))
    return Problem.build(variables, constraints, agents=[f"a{i}" for i in range(n)])


def shifted(problem: Problem, by: int) -> Problem:
    """Return the same problem with all private costs, and what is declared of them, `by` higher."""
    return Problem.build(
        [
            v
            if v.unary is None or v.cost_range is None
            else replace(v, unary=v.unary + by, cost_range=(v.cost_range[0] + by, v.cost_range[1] + by))
            for v in problem.variables.values()
        ],
        problem.constraints.values(),
        name=problem.name,
        agents=problem.agents,
    )


def problem_of(i: int) -> tuple[Problem, np.random.Generator]:
    """Return problem i, and a generator for what else is drawn for it."""
    rng = np.random.default_rng([45, i])
    kind = rng.random()
    if kind < 0.45:
        problem = event(rng)
    elif kind < 0.6:
        problem = general(rng)
    elif kind < 0.75:
        problem = random_problem(rng, max_variables=5)
    else:
        problem = odd(rng)
    return (twin(problem) if rng.random() < 0.25 else problem), rng


def options_of(solver: str, rng: np.random.Generator) -> dict[str, Any]:
    """Return parameters worth varying."""
    cls = registry.find("solvers", solver)
    fields = set(cls.Params.__dataclass_fields__) if cls.Params is not None else set()
    options: dict[str, Any] = {}
    if "carry" in fields and rng.random() < 0.4:
        options["carry"] = "best"
    if "tree" in fields and rng.random() < 0.15:
        options["tree"] = "messages"
    if "k" in fields:
        options["k"] = int(rng.integers(1, 3))
    return options


def view_of(problem: Problem, rng: np.random.Generator) -> dict[str, Any]:
    """Return whose eyes are used: mostly everybody's own."""
    owners = list(dict.fromkeys(v.agent for v in problem.variables.values()))
    draw = rng.random()
    if draw < 0.2 and len(owners) > 2:
        return {"view": "coalitions:2"}
    if draw < 0.25 and len(owners) > 1:
        return {"view": f"wire:{owners[1]}>{owners[0]}"}
    if draw < 0.4:
        return {"bins": int(rng.integers(1, 6))}
    return {}


# Soundness -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", range(0, PROBLEMS, CHUNK))
def test_no_belief_excludes_the_truth(start: int) -> None:
    learnt = 0
    for i in range(start, min(start + CHUNK, PROBLEMS)):
        problem, rng = problem_of(i)
        for solver in SOLVERS:
            network = NETWORKS[int(rng.integers(len(NETWORKS)))]
            options, view = options_of(solver, rng), view_of(problem, rng)
            where = f"problem {i}, {solver} {options}, {network}, {view}"
            rules = [{**rule, **view} for rule in RULES]
            for observer in observers(problem, solver, rules, seed=i, network=network, **options):
                assert exclusions(observer) == [], f"{where}, {observer.rule}"
                assert untrue(observer) == [], f"{where}, {observer.rule}"
                assert all(p is None or 0 <= p <= 1 for p in observer.losses().values()), where
                learnt += sum(b.loss("entropy") > 0 for v in observer.viewers for b in v.mind.beliefs.values())
    assert learnt > 100, "who learns nothing excludes nothing"


def test_beliefs_may_rest_on_each_other_but_not_on_a_conflict() -> None:
    """A conflict costs one more than all private costs together, and UTIL of p shows B cells with such a conflict.

    B owns b and z and knows what z costs. That makes up for part of a conflict's price, but does not make it none.
    """
    slots = Domain("slots", (0, 1))
    costs = {"a": [0, 0], "b": [0, 0], "p": [0, 0], "z": [4, 0], "y": [3, 0]}
    owners = {"a": "A", "b": "B", "p": "P", "z": "B", "y": "Y"}
    conflict = 21  # five costs of 0..4
    same = np.where(np.eye(2, dtype=bool), 0, conflict)
    problem = Problem.build(
        [Variable(n, slots, owners[n], np.array(c), cost_range=(0, 4)) for n, c in costs.items()],
        [
            Constraint(f"{a}={b}", (a, b), same, known_to="all", cost_range=(0, conflict))
            for a, b in (("a", "b"), ("b", "p"), ("p", "z"), ("a", "z"), ("p", "y"))
        ],
    )
    for solver in SOLVERS:
        options = {"order": "a,b,p,z,y"}
        for observer in observers(problem, solver, RULES, **options):
            assert exclusions(observer) == [], (solver, observer.rule)


class Exaggerated(Exact):
    """WRONG: every upper bound is taken for one less."""

    def at_most(self, terms: Sequence[Term], total: float) -> None:
        super().at_most(terms, total - 1)


@pytest.mark.parametrize("solver", ["adopt", "bnb-adopt", "synchbb"])
def test_both_ways_of_checking_find_what_is_wrong(solver: str) -> None:
    for i in range(6):
        problem = DIMES.generate(DIMES.Params(people=4, d=3, u=4, shape="S"), i)
        wrong, right = observers(problem, solver, [{"rule": Exaggerated}, {"rule": "exact"}])
        assert len(exclusions(wrong)) == len(untrue(wrong)) > 0
        assert exclusions(right) == untrue(right) == []


# Twins ---------------------------------------------------------------------------------------------------------


TWIN_RULES: list[dict[str, Any]] = [
    {"rule": "paper"},
    {"rule": "exact", "metric": "guess"},
    {"rule": "tight", "metric": "proportional"},
    {"rule": "tight", "topology": True},
]

IN_USERS_UNITS = ("prior", "notes")
"""Findings that name costs."""


def findings(problem: Problem, solver: str, rules: list[dict[str, Any]] = TWIN_RULES, **run: Any) -> list[Any]:
    """Return the findings of an observer for each rule, without what is in the user's units."""
    result = simulate(problem, solver, observers=[(Vps, rule) for rule in rules], max_messages=6000, **run)
    return [{k: v for k, v in f.items() if k not in IN_USERS_UNITS} for f in result.findings.values()]


@pytest.mark.parametrize("solver", SOLVERS)
def test_utilities_tell_what_costs_tell(solver: str) -> None:
    """A problem and its maximising twin, of any kind, on any network."""
    for i in range(12):
        problem, _ = problem_of(1000 + i)
        run = {"seed": i, "network": NETWORKS[i % len(NETWORKS)]}
        assert findings(problem, solver, **run) == findings(twin(problem), solver, **run), i


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_public_shift_below_zero_tells_nothing(solver: str) -> None:
    """Costs from 0, and the same from -7: searches get them shifted back by what is declared."""
    for i in range(8):
        params = DIMES.Params(people=4, d=3, u=4, shape="STCQ"[i % 4], events=1 + i // 4, attendees=3 * (i // 4))
        from_zero = shifted(DIMES.generate(params, i), -1)
        run = {"seed": i, "network": NETWORKS[i % len(NETWORKS)]}
        assert findings(from_zero, solver, **run) == findings(shifted(from_zero, -7), solver, **run), i


@pytest.mark.parametrize("by", [-9, -1, 1, 7])
def test_dpop_from_leaves_tells_the_same_wherever_costs_start(by: int) -> None:
    for i in range(6):
        problem = DIMES.generate(DIMES.Params(people=5, d=3, u=4, shape="S"), i)
        assert findings(problem, "dpop", root="x0") == findings(shifted(problem, by), "dpop", root="x0")


@pytest.mark.parametrize("by", [-9, -1, 1, 7])
@pytest.mark.parametrize("shape", "STCQ")
def test_dpop_tells_the_same_wherever_costs_start_to_who_knows_the_tree(by: int, shape: str) -> None:
    """Who does not know how many are below a node cannot tell their least costs from its own."""
    rules: list[dict[str, Any]] = [{"rule": "tight", "topology": True}]
    for i in range(3):
        problem = DIMES.generate(DIMES.Params(people=5, d=3, u=4, shape=shape), i)
        assert findings(problem, "dpop", rules) == findings(shifted(problem, by), "dpop", rules)


# What a conflict costs -----------------------------------------------------------------------------------------


def scheduling(i: int, conflict: float, events: int) -> Problem:
    """Return a scheduling problem that is the same but for the price of a conflict."""
    params: Mapping[str, Any] = {"people": 4, "d": 3 + i % 2, "u": 2 + i % 3, "shape": "STCQ"[i % 4]}
    problem = DIMES.generate(
        DIMES.Params(**params, conflict=conflict, events=events, attendees=0 if events == 1 else 2), i
    )
    assert isinstance(problem, Problem)
    return problem


@pytest.mark.parametrize("solver", ["synchbb", "dpop", "mb-dpop", "brute-force"])
def test_of_one_event_it_does_not_matter_how_dear_a_conflict_is(solver: str) -> None:
    """Infinite or a million: all findings agree, whatever the network."""
    for i in range(8):
        run = {"seed": i, "network": NETWORKS[i % len(NETWORKS)]}
        dear, forbidden = scheduling(i, 1e6, 1), scheduling(i, INF, 1)
        assert findings(dear, solver, **run) == findings(forbidden, solver, **run), i


@pytest.mark.parametrize("solver", ["adopt", "adopt-plus", "bnb-adopt", "bnb-adopt-plus"])
def test_searches_that_weigh_conflicts_lose_the_same_though_at_other_times(solver: str) -> None:
    """They look at a dear conflict where they drop a forbidden one, so what they say in between may differ."""
    rules: list[dict[str, Any]] = [{"rule": "paper"}, {"rule": "exact"}, {"rule": "tight"}]
    for i in range(8):
        dear, forbidden = (findings(scheduling(i, c, 1), solver, rules) for c in (1e6, INF))
        for of_dear, of_forbidden in zip(dear, forbidden, strict=True):
            for key in ("loss", "matrix", "aggregate"):
                assert of_dear[key] == of_forbidden[key], (i, of_dear["rule"], key)


@pytest.mark.parametrize("solver", ["dpop", "mb-dpop", "brute-force"])
def test_of_several_events_upper_bounds_are_the_same_however_dear_a_conflict_is(solver: str) -> None:
    """Bounds from below are not: what a private constraint may add is 0 at most where it only forbids."""
    rules: list[dict[str, Any]] = [{"rule": "paper"}, {"rule": "exact"}]
    for i in range(8):
        dear, forbidden = (findings(scheduling(i, c, 2), solver, rules) for c in (1e6, INF))
        assert dear == forbidden, i


def test_whole_numbers_in_classes_whose_edges_are_rounded() -> None:
    """27 of 0..36 in 28 classes lies on an edge that floating point puts above it."""
    kept: list[Vps] = []

    class Kept(Vps):
        def start(self) -> None:
            super().start()
            kept.append(self)

    slots = Domain("slots", (0, 1))
    costs = {"x0": 27, "o": 0, "x1": 27, "z": 0}
    free = np.zeros((2, 2))
    problem = Problem.build(
        [Variable(name, slots, unary=[cost, cost]) for name, cost in costs.items()],
        [Constraint(f"{a}{b}", (a, b), free, known_to="all") for a, b in pairwise(costs)],
    )
    options = {"rule": "tight", "view": "coalition:o+z", "prior": "0..36", "bins": 28}
    for topology in (False, True):
        simulate(problem, "synchbb", order="x0,o,x1,z", observers=[(Kept, {**options, "topology": topology})])
    assert len(kept) == 2
    assert [exclusions(observer) for observer in kept] == [[], []]
