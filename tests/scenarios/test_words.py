"""Statements in plain words: every kind of them, in the user's units, short."""

import math
from typing import Any

import numpy as np
import pytest

from agentsim import Constraint, Domain, Problem, SolverRefusal, Variable, simulate
from agentsim.runtime import mechanisms, registry
from agentsim.runtime.setup import prepare
from agentsim.runtime.statements import (
    Best,
    Chosen,
    CostIs,
    CostTable,
    Exponential,
    Nothing,
    Proposed,
    Released,
    Softmax,
    Statement,
    Term,
    Unanalysed,
    ValueIs,
)
from agentsim.runtime.view import Setup
from scenarios.generators.meetings import Meetings, MeetingsParams
from scenarios.generators.random_dcop import RandomDcop, RandomDcopParams
from scenarios.reports.details import MOST_ENTRIES, Plain
from scenarios.reports.head import MOST_LEVELS, step_of
from scenarios.reports.trace import trace_of
from scenarios.reports.words import MOST_CHARACTERS, MOST_SENTENCES, Words
from solvers.dpop import Dpop


def setup_of_words(objective: Any = "min") -> Setup:
    d = Domain("d", ("mon", "tue", "wed"))
    variables = [Variable("m_Ana", d, "Ana", [1, 2, 3]), Variable("m_Ben", d, "Ben"), Variable("n_Ben", d, "Ben")]
    tables = [Constraint("c", ("m_Ana", "m_Ben"), np.ones((3, 3))), Constraint("e", ("m_Ben", "n_Ben"), np.eye(3))]
    return prepare(Problem.build(variables, tables, objective=objective), Dpop, "dpop", {})


ANA = Term(("m_Ana",), "none", {"m_Ben": 2})
BEN = Term(("m_Ben", "n_Ben"), "subtree", {"m_Ana": 0}, -1.0)
EPSILON = mechanisms.Pure(0.5)


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        (CostIs("x", (), (ANA,), "<=", 7, 2), "Ana: own cost is at most 5 if m_Ben = wed"),
        (CostIs("x", (), (ANA,), ">=", math.inf), "Ana: own cost is forbidden if m_Ben = wed"),
        (CostIs("x", (), (ANA,), "<", math.inf), "Ana: own cost is not forbidden if m_Ben = wed"),
        (CostIs("x", (), (ANA,), "<=", math.inf), "Ana: own cost may be anything if m_Ben = wed"),
        (
            CostIs("x", (), (ANA,), "==", 1.5, others="some", noise="normal"),
            "Ana: own cost is 1.5, with noise if m_Ben = wed for some values of the rest",
        ),
        (
            CostIs("x", (), (ANA, BEN), "==", 4),
            "[Ana: own cost if m_Ben = wed] - [m_Ben and n_Ben: cost with everything below if m_Ana = mon] is 4",
        ),
        (
            CostTable("x", (), ("m_Ana",), "none", ("m_Ben",), np.array([3.0, math.inf, 5.0]), 1, {"n_Ben": 1}),
            "Ana: own cost for each of 3 values of m_Ben if n_Ben = tue: 2, forbidden, 4",
        ),
        (CostTable("x", (), ("m_Ana",), "none", (), np.array(3)), "Ana: own cost: 3"),
        (ValueIs("x", (), "m_Ana", 1, "now"), "m_Ana = tue"),
        (ValueIs("x", (), "m_Ana", 7, "final"), "m_Ana = value number 7 in the end"),
        (Chosen("x", (), "m_Ana", 1, {}, Best()), "m_Ana = tue was chosen by least cost"),
        (
            Chosen("x", (), "m_Ana", 1, {"m_Ben": 0}, Softmax(None, 0.5, True)),
            "m_Ana = tue was chosen by a random choice that prefers what is good if m_Ben = mon",
        ),
        (Chosen("x", (), "m_Ana", 1, {}, Exponential(1.0)), "m_Ana = tue was chosen by the exponential mechanism"),
        (
            Released("sum", (), mechanisms.Gaussian(2.0), 3.0, "m_Ana", tables=("m_Ana", "c")),
            "Ana: released through normal noise of 2 x sensitivity, sensitivity 3, on m_Ana and c (sum)",
        ),
        (Proposed("x", (), {"m_Ana": 0, "m_Ben": 1}), "asks what it costs if m_Ana = mon and m_Ben = tue"),
        (Nothing("a number", ("round",)), "says nothing of costs (a number: round)"),
        (Unanalysed("a budget", ("t", "u")), "not analysed: a budget (t, u)"),
    ],
)
def test_words_of_each_kind_of_statement(statement: Statement, sentence: str) -> None:
    assert Words(setup_of_words()).sentence(statement) == sentence


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("unknown", "Ana: cost together with others not named is 1"),
        ("local", "Ana: local cost is 1"),
        ("share", "Ana: cost of what it answers for is 1"),
    ],
)
def test_words_of_parts_of_a_cost(rest: Any, said: str) -> None:
    statement = CostIs("x", (), (Term(("m_Ana",), rest, {}),), "==", 1)
    assert Words(setup_of_words()).sentence(statement) == said


def test_words_speak_the_users_units_when_maximising() -> None:
    words = Words(setup_of_words("max"))
    assert words.sentence(CostIs("x", (), (ANA,), "<=", 7, 9)) == "Ana: own utility is at least 2 if m_Ben = wed"
    assert words.sentence(CostIs("x", (), (ANA,), ">=", 7, 9)) == "Ana: own utility is at most 2 if m_Ben = wed"
    assert words.sentence(Chosen("x", (), "m_Ana", 0, {}, Best())) == "m_Ana = mon was chosen by most utility"


@pytest.mark.parametrize(
    "mechanism",
    [
        EPSILON,
        mechanisms.BoundedRange(1.0),
        mechanisms.SubsetResponse(1.0, 1, 3),
        mechanisms.Gaussian(1.0),
        mechanisms.VisibleChoice(1.0, 0.5),
        mechanisms.SampledChoice(1.0, 0.5),
        mechanisms.SampledGaussian(1.0, 0.5),
        mechanisms.PerTable(EPSILON, EPSILON),
        mechanisms.Clear("told as it is"),
        mechanisms.Repeated(EPSILON, 3),
    ],
    ids=lambda m: type(m).__name__,
)
def test_words_of_each_mechanism(mechanism: mechanisms.Mechanism) -> None:
    said = Words(setup_of_words()).sentence(Released("x", (), mechanism, 0, "m_Ana"))
    assert said.startswith("Ana: released through ")
    assert type(mechanism).__name__ not in said
    assert "(" not in said.removesuffix("(x)").replace("(told as it is)", "")


def test_every_mechanism_has_words() -> None:
    """A mechanism that is added later needs words, too."""
    known = {
        cls for cls in vars(mechanisms).values() if isinstance(cls, type) and issubclass(cls, mechanisms.Mechanism)
    }
    assert len(known - {mechanisms.Mechanism}) == 10


def test_a_strange_statement_has_no_words() -> None:
    with pytest.raises(TypeError, match="no words for a Statement"):
        Words(setup_of_words()).sentence(Statement("x", ()))


def test_few_and_short_sentences() -> None:
    words = Words(setup_of_words())
    many = [ValueIs("x", (), f"variable {i}" + "y" * 1000, 0, "now") for i in range(50)]
    said = words.all([*many, *many])
    assert len(said) == MOST_SENTENCES
    assert said[-1] == "… and 43 more"
    assert all(len(s) <= MOST_CHARACTERS for s in said)
    wide = CostTable("x", (), tuple(f"p{i}" * 50 for i in range(30)), "none", ("a",), np.zeros(1000))
    assert len(words.all([wide])[0]) <= MOST_CHARACTERS


@pytest.mark.parametrize("solver", registry.names("solvers"))
def test_every_solver_is_put_into_words(solver: str) -> None:
    meetings = Meetings.generate(MeetingsParams(agents=3, meetings=2, slots=3), 1)
    costs = RandomDcop.generate(RandomDcopParams(agents=4, p=0.6), 1)
    ran = 0
    for problem in (meetings, costs):
        try:
            result = simulate(problem, solver, seed=1, max_messages=300)
        except SolverRefusal:
            continue
        ran += 1
        trace = trace_of(result.log)
        assert not any("failed" in note for note in trace.head["notes"])
        said = {s for increment in trace.increments for _, sentences in increment["details"] for s in sentences}
        assert said
        for sentence in said:
            assert len(sentence) <= MOST_CHARACTERS
            assert not any(word in sentence for word in (" object at ", "Term(", "mappingproxy", "array(", "np.")), (
                sentence
            )
    assert ran


# Payloads, beside which the sentences stand ---------------------------------------------------------------------


def test_payloads_are_plain_and_short() -> None:
    plain = Plain().of(
        {
            "table": np.arange(10_000.0).reshape(100, 100),
            "text": "x" * 10_000,
            "big": 2**80,
            "inf": math.inf,
            "bytes": bytes(1000),
            "long": tuple(range(1000)),
            "none": None,
            "yes": True,
        }
    )
    assert plain["table"]["shape"] == [100, 100]
    assert plain["table"]["dtype"] == "float64"
    assert plain["table"]["first"] == list(range(MOST_ENTRIES))
    assert len(plain["text"]) == 500
    assert plain["big"] == str(2**80)
    assert plain["inf"] == "inf"
    assert plain["bytes"] == {"bytes": 1000, "first": "00" * MOST_ENTRIES}
    assert plain["long"][-1].endswith("more")
    assert (plain["none"], plain["yes"]) == (None, True)


def test_payloads_that_nest_without_end_are_cut() -> None:
    value: Any = ()
    for _ in range(6):
        value = (value,) * 60
    shown = str(Plain().of(value))
    assert len(shown) < 20_000


# Costs by level -------------------------------------------------------------------------------------------------


def test_scales_of_very_many_levels_are_shown_in_steps() -> None:
    d = Domain("d", (0, 1, 2))
    problem = Problem.build([Variable("a", d, unary=[0, 10_000, 77]), Variable("b", d, unary=[1, 2, 3])], [])
    trace = trace_of(simulate(problem, "dpop").log)
    scale = trace.head["nodes"][0]["scale"]
    assert scale["levels"] == len(scale["labels"]) == MOST_LEVELS
    assert scale["labels"][0].startswith("0 to ")
    assert scale["labels"][-1].endswith(" to 10000")
    for levels in (MOST_LEVELS, MOST_LEVELS + 1, 1001, 10_001):
        steps = [step_of(level, levels) for level in range(1, levels + 1)]
        assert steps == sorted(steps)
        assert set(steps) == set(range(1, min(levels, MOST_LEVELS) + 1))


def test_labels_of_a_maximising_problem_are_its_own_costs() -> None:
    d = Domain("d", (0, 1))
    problem = Problem.build(
        [Variable("a", d, unary=[3, 5]), Variable("b", d)], [Constraint("c", ("a", "b"), [[5, 1], [0, 2]])],
        objective="max",
    )  # fmt: skip
    trace = trace_of(simulate(problem, "dpop").log)
    assert trace.head["nodes"][0]["scale"] == {"levels": 3, "labels": ["5", "4", "3"]}
