"""The true posterior by re-running: against its definition, against `consistent`, and by hand."""

import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np
import pytest

from agentsim import (
    Agent,
    AgentSimError,
    Constraint,
    Domain,
    Problem,
    SolverRefusal,
    UserError,
    Variable,
    message,
    simulate,
)
from agentsim.testing import random_problem, twin
from privacy.adversaries.consistent import Consistent
from privacy.adversaries.profiles import entropy
from privacy.adversaries.transcript import transcripts

SOLVERS = ["adopt", "bnb-adopt", "dpop", "synchbb", "brute-force", "mb-dpop"]


def chain(agents: tuple[str, ...] = ("a", "b", "c"), u: int = 2) -> Problem:
    """Return x - y - z with unary costs from 1 to u, of which the actual ones are (1, 2), (2, 1), (2, 2)."""
    d = Domain("d", (0, 1))
    variables = [
        Variable(n, d, a, np.array(costs), cost_range=(1, u))
        for n, a, costs in zip("xyz", agents, ([1, 2], [2, 1], [2, 2]), strict=True)
    ]
    table = np.array([[2, 0], [0, 2]])
    tables = [Constraint("xy", ("x", "y"), table), Constraint("yz", ("y", "z"), table)]
    return Problem.build(variables, tables)


def tiny(rng: np.random.Generator, most: int = 32) -> tuple[Problem, tuple[int, int]]:
    """Return a random problem of whole-number costs with at most so many profiles, and the range of private costs."""
    while True:
        problem = random_problem(rng, max_variables=4)
        if problem.integral and len({v.agent for v in problem.variables.values()}) > 1:
            break
    sense = 1 if problem.objective == "min" else -1
    low, profiles = int(rng.integers(-2, 3)), 1
    variables = []
    for v in problem.variables.values():
        unary = None
        if profiles * 2**v.size <= most:
            unary = low + rng.integers(0, 2, v.size).astype(float)
            unary[rng.random(v.size) < 0.1] = sense * math.inf
            profiles *= 2**v.size
        declared = (low, low + 1) if rng.random() < 0.6 else None
        variables.append(dataclasses.replace(v, unary=unary, cost_range=None if unary is None else declared))
    constraints = problem.constraints.values()
    built = Problem.build(variables, constraints, objective=problem.objective, agents=problem.agents)
    return built, (low, low + 1)


def owners(problem: Problem) -> list[str]:
    return list(dict.fromkeys(v.agent for v in problem.variables.values()))


# What no sound inference can beat ------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", SOLVERS)
def test_no_sound_inference_knows_more_than_the_transcript(solver: str) -> None:
    """Every statement is true in every run that looks the same: `consistent` excludes none of them."""
    told_more = 0
    for seed in range(5):
        problem, prior = tiny(np.random.default_rng([seed, SOLVERS.index(solver)])) if seed else (chain(), (1, 2))
        network = ("unit", "uniform:1,4")[seed % 2]
        runs = transcripts(problem, solver, prior=prior, seed=seed, network=network)
        views: dict[str, tuple[str, ...]] = {a: (a,) for a in owners(problem)}
        pair = tuple(owners(problem)[:2])
        views["+".join(pair)] = pair
        for number in {0, runs.count - 1, runs.actual}:
            observers: list[Any] = [
                (Consistent, {"view": f"coalition:{name}", "as": name, "prior": prior}) for name in views
            ]
            result = simulate(runs.problem(number), solver, seed=seed, network=network, observers=observers)
            for name, viewer in views.items():
                what = result.findings[name]
                bits = runs.loss(viewer, number)
                assert number in runs.posterior(viewer, number)
                assert bits >= what["joint"][name] - 1e-9
                told_more += bits > what["joint"][name] + 1e-9
                for subject, lost in what["together"][name].items():
                    assert 0 <= lost <= what["joint"][name] + 1e-9
                    assert subject in runs.matrix(viewer) or lost == 0
    assert told_more >= 1, "timing and choices inform, too"


@pytest.mark.parametrize("solver", SOLVERS)
def test_who_sees_more_expects_to_learn_no_less(solver: str) -> None:
    """Data processing: about a given subject, from an agent to a coalition that contains it."""
    compared = 0
    for seed in range(4):
        problem, prior = tiny(np.random.default_rng([seed, 50 + SOLVERS.index(solver)])) if seed else (chain(), (1, 2))
        runs = transcripts(problem, solver, prior=prior, seed=seed, network="uniform:1,4")
        agents = owners(problem)
        for subject in agents:
            others = [a for a in agents if a != subject]
            for k in range(1, len(others)):
                fewer, more = others[:k], others[: k + 1]
                assert runs.expected(fewer, subject) <= runs.expected(more, subject) + 1e-9
                compared += 1
    assert compared >= 4


# Against the definitions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["adopt", "synchbb"])
def test_posterior_loss_matrix_and_expectation_by_definition(solver: str) -> None:
    problem = chain()
    runs = transcripts(problem, solver, root="y")
    assert runs.count == 64
    own = {"a": "x", "b": "y", "c": "z"}
    for viewer in ("a", "b", "c", ("a", "c")):
        agents = set(viewer)
        known = {own[a] for a in agents}
        losses, by_subject = [], {s: 0.0 for s in set(own) - agents}
        views = [runs.deliveries(viewer, number) for number in range(64)]
        for number in range(0, 64, 9):
            result = simulate(runs.problem(number), solver, root="y")
            seen = [
                (d.delivered_at, d.step, d.src, d.dst, d.type, d.payload)
                for d in result.log
                if d.src in known or d.dst in known
            ]
            assert views[number] == seen
        for number in range(64):
            costs = runs.profile(number)
            left = [
                other
                for other in range(64)
                if all((runs.profile(other)[n] == costs[n]).all() for n in known) and views[other] == views[number]
            ]
            assert runs.posterior(viewer, number).tolist() == left
            assert runs.loss(viewer, number) == pytest.approx(2 * (3 - len(known)) - math.log2(len(left)))
            losses.append(runs.loss(viewer, number))
            matrix = runs.matrix(viewer, "entropy", number)
            assert set(matrix) == set(by_subject)
            for subject in by_subject:
                tables = [runs.profile(other)[own[subject]] for other in left]
                chances = [np.mean([t[value] == 1 for t in tables]) for value in range(2)]
                assert matrix[subject] == pytest.approx(sum(1 - entropy(np.array([p, 1 - p])) for p in chances))
                counts = np.unique([t.tolist() for t in tables], axis=0, return_counts=True)[1]
                by_subject[subject] += (2 - entropy(counts / len(left))) / 64
        assert runs.expected(viewer) == pytest.approx(np.mean(losses))
        for subject, bits in by_subject.items():
            assert runs.expected(viewer, subject) == pytest.approx(bits)


def test_metrics() -> None:
    runs = transcripts(chain(), "brute-force", root="x")
    for metric, full in (("entropy", 2.0), ("proportional", 2.0), ("guess", 2.0)):
        assert runs.matrix("a", metric) == {"b": full, "c": full}
    with pytest.raises(UserError, match="metric=bits"):
        runs.matrix("a", "bits")


def test_profiles_are_numbered_and_found_again() -> None:
    problem, (low, high) = tiny(np.random.default_rng(4))
    runs = transcripts(twin(problem), "dpop", prior=f"{-high}..{-low}")
    for number in range(runs.count):
        costs = runs.profile(number)
        assert runs.index(costs) == number
        for name, table in costs.items():
            assert (runs.problem(number).variables[name].unary == table).all()
    actual = runs.profile(runs.actual)
    assert all((table == twin(problem).variables[name].unary).all() for name, table in actual.items())
    assert runs.index({}) == runs.actual


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_twin_problem_loses_the_same(solver: str) -> None:
    problem = chain()
    one, other = transcripts(problem, solver), transcripts(twin(problem), solver)
    for viewer in ("a", "b", ("b", "c")):
        assert one.loss(viewer) == other.loss(viewer)
        assert one.matrix(viewer) == other.matrix(viewer)
        assert one.expected(viewer) == pytest.approx(other.expected(viewer))


# By hand -------------------------------------------------------------------------------------------------------------


@message("HELLO")
class Hello(NamedTuple):
    value: int


class Choosy(Agent):
    """A solver without a reader: everybody takes its own cheapest value and tells it; no cost is ever sent."""

    messages = (Hello,)

    async def run(self) -> None:
        value = int(np.argmin(self.view.unary))
        self.assign(value)
        self.broadcast(Hello(value))
        await self.gather(Hello)


class Slow(Choosy):
    """The same, but it always says 0, after a while that depends on its cost."""

    async def run(self) -> None:
        self.assign(0)
        await self.sleep(float(self.view.unary[0]))
        self.broadcast(Hello(0))
        await self.gather(Hello)


class Quiet(Choosy):
    """It says nothing."""

    async def run(self) -> None:
        self.assign(0)


class Stuck(Choosy):
    """It waits for ever when its first value costs 2."""

    async def run(self) -> None:
        self.assign(0)
        if self.view.unary[0] == 2:
            await self.receive(Hello)


def test_choices_inform() -> None:
    """Value 1 is chosen for (2, 1) alone, one profile of four; value 0 leaves the other three."""
    runs = transcripts(chain(), Choosy)
    assert runs.loss("a") == pytest.approx(2)  # y took value 1; z is out of earshot
    assert runs.loss("b") == pytest.approx(2 * math.log2(4 / 3))
    assert runs.expected("a") == pytest.approx(entropy(np.array([0.25, 0.75])))
    assert runs.expected("a", "c") == 0.0
    assert runs.expected(("a", "b"), "c") == runs.expected("b", "c") == runs.expected("b", "a")


def test_timing_informs() -> None:
    runs = transcripts(chain(), Slow)
    assert runs.loss("a") == 1.0
    assert runs.matrix("b") == {"a": 1.0, "c": 1.0}
    assert [d[0] for d in runs.deliveries("c") if d[2] == "y"] == [3.0]


def test_silence_of_everybody_says_nothing() -> None:
    runs = transcripts(chain(), Quiet)
    assert runs.deliveries("b") == []
    assert runs.loss("b") == runs.expected("b") == 0.0
    assert len(runs.posterior("b")) == 16
    assert runs.matrix("b") == {"a": 0.0, "c": 0.0}


def test_several_owners_of_one_variable() -> None:
    """A foreign agent's costs of a variable are private costs of its copy."""
    d = Domain("d", (0, 1))
    problem = Problem.build(
        [Variable("x", d, "a", np.array([0, 1])), Variable("y", d, "b")],
        [Constraint("mine", ("x",), np.array([1, 0]), owner="b"), Constraint("xy", ("x", "y"), np.eye(2))],
    )
    runs = transcripts(problem, "dpop")
    assert set(runs.profile(0)) == {"x", "x@b"}
    assert runs.count == 16
    assert set(runs.matrix("a")) == {"b"}


def test_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    transcripts(chain(), Quiet, progress=lambda done, of: told.append((done, of)))
    assert told == [(i + 1, 64) for i in range(64)]


# Refusals ------------------------------------------------------------------------------------------------------------


def test_too_many_profiles_are_refused_with_their_number() -> None:
    with pytest.raises(UserError, match="4096 profiles of private costs, more than limit=100"):
        transcripts(chain(), "dpop", prior="1..4", limit=100)


def test_a_run_that_does_not_end_is_an_error_that_names_its_profile() -> None:
    with pytest.raises(AgentSimError, match=r"profile 2, private costs .*'z': \[2, 1\].*deadlock") as caught:
        transcripts(chain(), Stuck)
    assert not isinstance(caught.value, UserError)


@pytest.mark.parametrize(
    ("options", "told"),
    [({"prior": "1..1"}, "impossible under the prior"), ({"prior": "0.5..2"}, "whole numbers"), ({"root": "w"}, "w")],
)
def test_options_that_make_no_sense(options: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        transcripts(chain(), "dpop", **options)


def test_a_solver_that_refuses_the_problem_is_heard() -> None:
    with pytest.raises(SolverRefusal):
        transcripts(chain(), "dpop", memory=8)


def test_questions_that_make_no_sense() -> None:
    runs = transcripts(chain(), Quiet)
    with pytest.raises(UserError, match="no agent is called 'd'"):
        runs.loss("d")
    with pytest.raises(UserError, match="b is itself of the viewers a, b"):
        runs.expected(("a", "b"), "b")
    with pytest.raises(UserError, match="no variable w"):
        runs.index({"w": [1, 2]})
    with pytest.raises(UserError, match="3 costs of x, which has 2"):
        runs.index({"x": [1, 2, 2]})
    for cost in (0, 3, 1.5, math.nan, math.inf):
        with pytest.raises(UserError, match="none of the possible costs of x"):
            runs.index({"x": [cost, 2]})
