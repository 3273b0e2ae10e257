"""What asking solvers share: the optimum of many problems, what answers foretell, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from agentsim import Constraint, Domain, Problem, Result, SolverRefusal, UserError, Variable, simulate
from agentsim import replay as replay_log
from agentsim.testing import brute_force, check_statements, random_problem, twin
from solvers.asking import AskingAgent
from solvers.asking_search import Foresight
from solvers.leader import Leader
from solvers.n_leaders import NLeaders

SOLVERS = [Leader, NLeaders]
NETWORKS = [
    "unit",
    "uniform:1,10",
    "constant:0",
    "unit+loss:.2+reliable",
    "uniform:1,5+loss:.3+duplicate:.2+reorder+reliable",
]
DIRECTIONS = ["ascending", "descending", "random", "cheapest"]
PROBLEMS = 120
CHUNK = 40


def secretive(rng: np.random.Generator) -> Problem:
    """A random problem in which agents have secrets on each other's variables and some constraints are public."""
    plain = random_problem(rng, max_cells=48)
    agents = [*plain.agents, *(["boss"] if rng.random() < 0.5 else [])]
    constraints = []
    for c in plain.constraints.values():
        kind = rng.random()
        if kind < 0.3:
            constraints.append(replace(c, owner=str(rng.choice(agents))))
        else:
            constraints.append(replace(c, known_to="all") if kind < 0.6 else c)
    for i, v in enumerate(plain.variables.values()):
        if rng.random() < 0.5:
            costs = rng.integers(-3, 6, v.size).astype(float)
            costs[rng.random(v.size) < 0.3] = math.inf if plain.objective == "min" else -math.inf
            constraints.append(Constraint(f"secret{i}", (v.name,), costs, owner=str(rng.choice(agents))))
    return Problem.build(
        plain.variables.values(), constraints, objective=plain.objective, agents=agents, constant=plain.constant
    )


def options_of(solver: type[AskingAgent], problem: Problem, rng: np.random.Generator, i: int) -> dict[str, Any]:
    options: dict[str, Any] = {
        "prune": ["P1", "P3", "P2"][i % 3],
        "direction": DIRECTIONS[i % 4],
        "weight": ["local", "public"][i % 2],
        "lie": [0.0, 0.0, 0.3, 1.0][int(rng.integers(4))],
        "avoid": bool(rng.integers(2)),
        "order": ["", "lexical", list(problem.variables)[-1]][int(rng.integers(3))],
    }
    if solver is NLeaders:
        return {**options, "partition": ["blocks", "turns"][int(rng.integers(2))]}
    publish = ["argmin", "totals"][int(rng.integers(2))]
    return {**options, "publish": publish, "leader": str(rng.choice(["", *problem.agents]))}


def questions(result: Result) -> list[tuple[str, str, tuple[int, ...]]]:
    return [(d.src, d.dst, d.message.values) for d in result.log if d.type == "ASK"]


def check_result(result: Result, problem: Problem, optimum: float, exact: bool, where: str) -> None:
    if math.isinf(optimum):
        assert result.status == "infeasible", where
    elif exact:
        assert (result.status, result.violations) == ("optimal", 0), f"{where}: {result.status}"
        assert result.cost == pytest.approx(optimum, abs=1e-9), where
        assert result.bound == pytest.approx(optimum, abs=1e-9), where
    else:
        assert result.status == "finished", where
        assert result.cost is not None
        worse = result.cost - optimum if problem.objective == "min" else optimum - result.cost
        assert -1e-9 <= worse < math.inf, f"{where}: better than the optimum, or no solution"


@pytest.mark.parametrize("start", range(0, PROBLEMS, CHUNK))
@pytest.mark.parametrize("solver", SOLVERS)
def test_complete_replayable_and_truthful(solver: type[AskingAgent], start: int) -> None:
    """P1 and P3 find the optimum however they ask, P2 finds a solution if there is one; avoidance only asks less."""
    for i in range(start, start + CHUNK):
        rng = np.random.default_rng([31, i])
        problem = secretive(rng)
        optimum = brute_force(problem)
        options, network = options_of(solver, problem, rng, i), NETWORKS[int(rng.integers(5))]
        where = f"problem {i}, {network}, {options}"
        result = simulate(problem, solver, seed=i, network=network, **options)
        check_result(result, problem, optimum, options["prune"] != "P2", where)
        if i % 5 == 0:
            replayed = replay_log(result.log, verify=True, solver=solver)
            assert replayed.verified, (where, replayed.first_difference)
        if i % 3 == 0:
            check_statements(problem, result, solver, **options)
        if i % 6 == 1:
            other = simulate(twin(problem), solver, seed=i, network=network, **options)
            check_result(other, twin(problem), -optimum, options["prune"] != "P2", f"twin of {where}")
        if options["avoid"]:
            asked = questions(simulate(problem, solver, seed=i, network=network, **{**options, "avoid": False}))
            assert set(questions(result)) <= set(asked), where


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("prune", ["P1", "P2", "P3"])
def test_avoidance_changes_no_answer(solver: type[AskingAgent], direction: str, prune: str) -> None:
    fewer = 0
    for i in range(8):
        problem = secretive(np.random.default_rng([32, i]))
        plain, avoiding = (
            simulate(problem, solver, seed=i, prune=prune, direction=direction, avoid=avoid) for avoid in (False, True)
        )
        assert avoiding.assignment == plain.assignment
        assert set(questions(avoiding)) <= set(questions(plain))
        fewer += len(questions(avoiding)) < len(questions(plain))
    assert fewer, "it never helped"


# What answers foretell --------------------------------------------------------------------------------------------


def test_what_is_foretold_is_true() -> None:
    """Two functions of one scope, several that overlap, finite and infinite costs: never wrong, and not silent."""
    sizes = {"x": 2, "y": 3, "z": 2}
    scopes = [("x",), ("z", "y"), ("y", "z"), ("y",), ("x",)]
    known = infinite = zero = 0
    for i in range(60):
        rng = np.random.default_rng([33, i])
        tables = [rng.integers(0, 2, [sizes[name] for name in scope]) * rng.integers(0, 4) for scope in scopes]
        tables = [np.where(rng.random(t.shape) < 0.2, math.inf, t * (rng.random(t.shape) < 0.5)) for t in tables]

        def cost(values: tuple[int, ...], tables: Any = tables) -> float:
            of = dict(zip(sizes, values, strict=True))
            return float(sum(t[tuple(of[n] for n in s)] for s, t in zip(scopes, tables, strict=True)))

        foresight = Foresight(scopes, sizes)
        answered = set()
        for number in rng.permutation(12):
            values = tuple(int(v) for v in np.unravel_index(number, (2, 3, 2)))
            least, exact = foresight.predict(values)
            assert 0 <= least <= cost(values)
            if exact:
                assert least == cost(values)
                known += 1
                infinite += least == math.inf
                zero += least == 0
            foresight.learn(values, cost(values))
            answered.add(values)
            assert all(foresight.predict(v) == (cost(v), True) for v in answered)
    assert min(infinite, zero) >= 10
    assert known == infinite + zero, "a tuple that was not asked yet, and whose answer is neither"


def test_an_infinite_answer_with_one_entry_unknown_foretells_others() -> None:
    foresight = Foresight([("x",), ("y",)], {"x": 2, "y": 2, "z": 5})
    foresight.learn((0, 0, 0), 7)
    assert foresight.predict((0, 0, 4)) == (7, True), "z is not in its scopes"
    assert foresight.predict((0, 1, 0)) == (0, False)
    foresight.learn((0, 1, 0), math.inf)
    assert foresight.predict((1, 1, 0)) == (math.inf, True), "x=0 is finite, so y=1 is not"
    assert foresight.predict((1, 0, 0)) == (0, False)
    foresight.learn((1, 0, 0), 0)
    assert foresight.predict((1, 0, 0)) == (0, True)


def test_who_answers_for_nothing_needs_no_question() -> None:
    assert Foresight([], {"x": 2}).predict((1,)) == (0, True)


# Refusals ---------------------------------------------------------------------------------------------------------


def bits(n: int) -> Problem:
    two = Domain("two", (0, 1))
    return Problem.build([Variable(f"x{i}", two, "a", unary=[0, 1]) for i in range(n)], agents=("a", "b"))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"lie": 1.5}, "lie=1.5: must be from 0 to 1"),
        ({"lie": -0.1}, "lie=-0.1: must be from 0 to 1"),
        ({"prune": "P4"}, "prune='P4' must be one of P1, P2, P3"),
        ({"direction": "up"}, "direction='up' must be one of ascending, descending, random, cheapest"),
        ({"weight": "secret"}, "weight='secret' must be one of local, public"),
        ({"order": "x1,nobody"}, "order: the problem has no variable 'nobody'"),
        ({"order": "x1,x1"}, "order: variable 'x1' occurs 2 times"),
        ({"publish": "all"}, "publish='all' must be one of"),
        ({"avoid": "maybe"}, "avoid='maybe' must be true or false"),
    ],
)
def test_wrong_parameters_are_refused(solver: type[AskingAgent], options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        simulate(bits(3), solver, **options)


@pytest.mark.parametrize("solver", SOLVERS)
def test_too_many_assignments_are_refused(solver: type[AskingAgent]) -> None:
    with pytest.raises(SolverRefusal, match="the 30 variables have 1073741824 assignments, more than the 1000000000"):
        simulate(bits(30), solver)
    for direction in ("random", "cheapest"):
        with pytest.raises(SolverRefusal, match=f"direction={direction} holds an index of all assignments"):
            simulate(bits(24), solver, direction=direction)


def test_many_assignments_end_early_where_nothing_can_be_better() -> None:
    """The first of 2^24 tuples costs 0."""
    result = simulate(bits(24), Leader)
    assert (result.status, result.cost) == ("optimal", 0)
    assert result.checks < 10**6


@pytest.mark.parametrize("avoid", [False, True])
def test_a_lie_is_told_whatever_is_foreseen(avoid: bool) -> None:
    """x=1 costs the leader more than the best comes to; with lie=1 it is asked all the same: b's answer is open."""
    x = Variable("x", Domain("d", (0, 1)), "a", unary=[1, 5])
    problem = Problem.build([x], [Constraint("b's", ("x",), [0, 0], owner="b")])
    for lie, questions in ((0.0, 1), (1.0, 2)):
        result = simulate(problem, Leader, lie=lie, avoid=avoid)
        assert (result.status, result.cost, result.by_type["ASK"].count) == ("optimal", 1, questions)
