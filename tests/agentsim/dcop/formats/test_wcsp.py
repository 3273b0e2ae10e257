"""WCSP: reading, writing with a stated factor and shift, and bad input."""

from __future__ import annotations

import math
import time
from pathlib import Path
from re import escape

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentsim.dcop.formats import load, save
from agentsim.dcop.formats.wcsp import read, write
from agentsim.dcop.problem import Constraint, Domain, Problem, Variable
from agentsim.errors import FormatError, UserError

DATA = Path(__file__).parent / "data"
TEXT = (DATA / "small.wcsp").read_text()


def test_reads() -> None:
    got = load(DATA / "small.wcsp")
    inf = math.inf
    assert list(got.variables) == ["x0", "x1", "x2"]
    assert [v.size for v in got.variables.values()] == [2, 3, 3]
    assert [v.agent for v in got.variables.values()] == ["x0", "x1", "x2"]
    assert got.constant == 5
    assert got.constraints["c0"].table.tolist() == [[4, 1, 1], [1, 1, inf]]
    assert got.variables["x2"].unary is not None
    assert got.variables["x2"].unary.tolist() == [7, inf, 0]
    assert got.constraints["c3"].table.tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, 3]]
    assert got.constraints["c4"].scope == ("x0", "x1", "x2")


BAD = {
    "empty": ("", "header"),
    "no header": ("name 3 3", "header"),
    "words": ("name three 3 5 100\n1 1 1\n", "line 1: number of variables"),
    "a billion variables": ("name 1000000000 3 5 100\n2 3 3\n", "before their domain sizes"),
    "negative variables": ("name -1 3 5 100\n", "negative"),
    "upper bound": ("name 1 2 0 0\n2\n", "must be positive"),
    "constant too high": ("name 1 2 1 9\n2\n0\n9\n0\n", "line 4: cost function c0: the constant reaches"),
    "constant with tuples, told apart": (
        "name 1 2 1 9\n2\n0\n8\n1\n0 0\n",
        "line 5: cost function c0: a constant has no",
    ),
    "upper bound on a line": ("name 1 2 0\n0\n2\n\n", "line 2: the upper bound must be positive"),
    "domain size 0": ("name 1 2 0 9\n0\n", "line 2: the domain size 0"),
    "domain too large": ("name 1 2 0 9\n3\n", "line 2: the domain size 3"),
    "huge domain": ("name 1 1000000000 0 9\n1000000000\n", "domain values"),
    "a billion functions": ("name 1 2 1000000000 9\n2\n", "the file ends before the arity"),
    "negative functions": ("name 1 2 -1 9\n2\n", "negative"),
    "arity": ("name 1 2 1 9\n2\n-2 0 0\n", "arity -2"),
    "huge arity": ("name 1 2 1 9\n2\n999999999 0 0\n", "arity 999999999"),
    "unknown variable": ("name 1 2 1 9\n2\n1 5 0 0\n", "line 3: cost function c0: unknown variable 5"),
    "variable twice": ("name 1 2 1 9\n2\n2 0 0 0 0\n", "occurs twice"),
    "too many tuples": ("name 1 2 1 9\n2\n1 0 0 1000000000\n0 1\n", "1000000000 tuples are declared"),
    "cut off": ("name 1 2 1 9\n2\n1 0 0 2\n0 1\n1", "2 tuples are declared"),
    "value": ("name 1 2 1 9\n2\n1 0 0 2\n0 1\n2 1\n", "line 5: cost function c0: value 2"),
    "negative value": ("name 1 2 1 9\n2\n1 0 0 1\n-1 1\n", "line 4: cost function c0: value -1"),
    "cost": ("name 1 2 1 9\n2\n1 0 0 1\n0 x\n", "line 4: tuple of cost function c0: 'x'"),
    "decimal cost": ("name 1 2 1 9\n2\n1 0 0 1\n0 1.5\n", "line 4: tuple"),
    "nan": ("name 1 2 1 9\n2\n1 0 nan 0\n", "line 3: default cost: 'nan'"),
    "long number": (f"name 1 2 1 9\n2\n1 0 0 1\n0 {'9' * 5000}\n", "at most 18 digits"),
    "two costs": ("name 1 2 1 9\n2\n1 0 0 2\n0 1\n0 2\n", "two different costs"),
    "rest": ("name 1 2 1 9\n2\n1 0 0 1\n0 1\n7\n", "line 5: more follows"),
    "global": ("name 2 2 1 9\n2 2\n2 0 1 -1 salldiff var 5\n", "global cost function 'salldiff'"),
    "negative tuples": ("name 1 2 1 9\n2\n1 0 -1 -1\n", "global"),
    "constant at the bound": ("name 1 2 1 9\n2\n0 9 0\n", "reaches the upper bound"),
    "constant with tuples": ("name 1 2 1 9\n2\n0 1 1\n", "a constant has no tuples"),
    "large table": ("name 3 1000 1 9\n1000 1000 1000\n3 0 1 2 0 0\n", "cells"),
}


@pytest.mark.parametrize(("text", "cause"), BAD.values(), ids=BAD.keys())
def test_bad_input(text: str, cause: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.wcsp"
    path.write_text(text)
    started = time.process_time()
    with pytest.raises(FormatError, match=escape(cause)) as caught:
        load(path)
    assert time.process_time() - started < 2.0
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("n_words", range(len(TEXT.split())))
def test_truncated(n_words: int) -> None:
    with pytest.raises(FormatError):
        read(" ".join(TEXT.split()[:n_words]), "p.wcsp")


# --- writing --------------------------------------------------------------------------------------------------------


def costs_of(problem: Problem) -> list[float]:
    return [float(problem.evaluate_indices(a).cost) for a in problem.assignments()]


COSTS = {
    "whole": st.integers(-1000, 1000),
    "forbidding": st.one_of(st.integers(0, 50), st.just(math.inf)),
    "decimals": st.integers(-(10**6), 10**6).map(lambda n: n / 1000),
}


@pytest.mark.parametrize("kind", COSTS)
@given(data=st.data(), objective=st.sampled_from(["min", "max"]), constant=st.integers(-20, 20))
@settings(max_examples=60, deadline=None)
def test_every_cost_comes_back_up_to_the_stated_factor_and_shift(
    kind: str, data: st.DataObject, objective: str, constant: int
) -> None:
    sign = 1 if objective == "min" else -1
    draw = [float(data.draw(COSTS[kind])) * (sign if kind == "forbidding" else 1) for _ in range(6 + 3)]
    table = np.array(draw[:6]).reshape(2, 3)
    original = Problem.build(
        [Variable("a", Domain("d", (0, 1))), Variable("b", Domain("e", ("r", "g", "b")), unary=np.array(draw[6:]))],
        [Constraint("c", ("a", "b"), table)],
        objective=objective,  # type: ignore[arg-type]
        constant=constant,
    )
    pieces, notes = write(original)
    got = read("".join(pieces), "p.wcsp")
    factor = next((int(n.split("multiplied by ")[1].split(",")[0]) for n in notes if "exact" in n), 1)
    too_high = next((int(n.split(" is ")[1].split(" ")[0]) for n in notes if "too high" in n), 0)
    expected = [sign * c * factor + too_high for c in costs_of(original)]
    assert costs_of(got) == pytest.approx(expected, abs=1e-6)
    assert ("minimises" in " ".join(notes)) == (objective == "max")


def test_costs_that_cannot_be_made_whole_are_rounded_and_the_note_says_so() -> None:
    original = Problem.build([Variable("a", Domain("d", (0, 1)), unary=np.array([math.pi * 1e4, 1 / 3]))])
    pieces, notes = write(original)
    read("".join(pieces), "p.wcsp")
    assert any("rounded, which moves each by at most" in n for n in notes)


@pytest.mark.parametrize("costs", [[0.25, 7.5], [math.pi, 1 / 3], [math.pi * 1e6, -1e6 / 3], [1e13 / 3, 0.1]])
def test_what_the_note_says_of_factor_and_rounding_holds(costs: list[float]) -> None:
    original = Problem.build([Variable("a", Domain("d", (0, 1)), unary=np.array(costs))])
    pieces, notes = write(original)
    (note,) = (n for n in notes if "multiplied by" in n)
    factor = int(note.split("multiplied by ")[1].split(" and")[0].split(",")[0])
    most = 0.0 if "exact" in note else float(note.split("at most ")[1].rstrip("."))
    assert ("exact" in note) == (costs == [0.25, 7.5])
    assert most in (0.0, 0.5 / factor)
    got = costs_of(read("".join(pieces), "p.wcsp"))
    assert set(str(factor)[1:]) <= {"0"}
    assert (got[1] - got[0]) / factor == pytest.approx(costs[1] - costs[0], abs=2 * most + 1e-9)


def test_notes_name_what_is_lost(tmp_path: Path) -> None:
    notes = " ".join(save(load(DATA / "features.yaml"), tmp_path / "out.wcsp"))
    for word in ("names", "values", "agents", "initial values", "privacy", "routes", "rounded"):
        assert word in notes
    notes = " ".join(save(load(DATA / "tiny.xml"), tmp_path / "out.wcsp"))
    assert "who owns a constraint" in notes


def test_a_wcsp_file_comes_back_as_it_was(tmp_path: Path) -> None:
    original = load(DATA / "small.wcsp")
    assert save(original, tmp_path / "out.wcsp") == ["WCSP does not say: names of constraints."]
    assert costs_of(load(tmp_path / "out.wcsp")) == costs_of(original)


def test_costs_too_large_are_refused(tmp_path: Path) -> None:
    huge = Problem.build([Variable("a", Domain("d", (0, 1)), unary=np.array([1e300, 0.5]))])
    with pytest.raises(UserError, match="too large"):
        save(huge, tmp_path / "out.wcsp")
