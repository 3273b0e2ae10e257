"""CFN: relaxed JSON, both objectives, and bad input."""

from __future__ import annotations

import math
import time
from pathlib import Path
from re import escape

import pytest

from agentsim.dcop.formats import load
from agentsim.dcop.formats.cfn import read
from agentsim.errors import FormatError

DATA = Path(__file__).parent / "data"
TEXT = (DATA / "small.cfn").read_text()


def test_reads() -> None:
    got = load(DATA / "small.cfn")
    inf = math.inf
    assert got.name == "small"
    assert got.objective == "min"
    assert got.constant == 3
    assert [v.domain.values for v in got.variables.values()] == [("u", "v"), (0, 1, 2), ("x", 7)]
    assert got.constraints["ab"].table.tolist() == [[0, 1.5, 2], [inf, 4, -1]]
    assert got.constraints["again"].table.tolist() == got.constraints["ab"].table.tolist()
    assert got.variables["a"].unary is not None
    assert got.variables["a"].unary.tolist() == [10, 0]
    assert got.constraints["c2"].table.tolist() == [[5, 2], [2, inf], [2, 2]]


def test_maximise() -> None:
    text = '{problem: {mustbe: ">-5"}, variables: {a: 3}, functions: {{scope: [a], costs: [-5, 2, 1.5]}}}'
    got = read(text, "p.cfn")
    assert got.objective == "max"
    assert got.variables["a"].unary is not None
    assert got.variables["a"].unary.tolist() == [-math.inf, 2, 1.5]


def test_the_last_brace_may_be_missing() -> None:
    assert read(TEXT.rstrip()[:-1], "p.cfn").constant == 3


def model(functions: str = "", variables: str = "a: 2, b: [x, y]", mustbe: str = "<9") -> str:
    return f'{{problem: {{mustbe: "{mustbe}"}}, variables: {{{variables}}}, functions: {{{functions}}}}}'


BAD = {
    "empty": ("", "must start with {"),
    "a list": ("[1]", "must start with {"),
    "rest": (model() + " 1", "something follows"),
    "string": ('{"a', "unexpected"),
    "no functions": ("{variables: {a: 2}}", "no functions"),
    "no variables": (model(variables=""), "there are none"),
    "a billion values": (model(variables="a: 1000000000"), "domain values"),
    "no values": (model(variables="a: 0"), "not a positive whole number"),
    "negative size": (model(variables="a: -2"), "not a positive whole number"),
    "empty domain": (model(variables="a: []"), "has no values"),
    "value twice": (model(variables="a: [x, x]"), "occurs twice"),
    "nested value": (model(variables="a: [[1]]"), "is a list"),
    "variable twice": (model(variables="a: 2, a: 2"), "defined twice"),
    "unknown variable": (model("{scope: [q], costs: [1, 2]}"), "unknown variable 'q'"),
    "unknown position": (model("{scope: [7], costs: [1, 2]}"), "unknown variable '7'"),
    "scope twice": (model("{scope: [a, a], costs: [1, 2, 3, 4]}"), "occurs twice"),
    "no scope": (model("{costs: [1, 2]}"), "has no scope"),
    "nested scope": (model("{scope: [[a]], costs: [1, 2]}"), "flat list"),
    "too few costs": (model("{scope: [a], costs: [1]}"), "1 costs for 2 tuples"),
    "text cost": (model("{scope: [a], costs: [1, cheap]}"), "'cheap' is not a number"),
    "nan": (model("{scope: [a], costs: [1, nan]}"), "'nan' is not a number"),
    "overflowing": (model("{scope: [a], costs: [1, 1e999]}"), "not a number"),
    "ragged tuples": (model("{scope: [a], defaultcost: 0, costs: [1, 2, 3]}"), "no whole number of tuples"),
    "unknown value": (model("{scope: [b], defaultcost: 0, costs: [z, 2]}"), "'z' is not a number"),
    "value one too high": (model("{scope: [b], defaultcost: 0, costs: [2, 2]}"), "'2' is no value of b"),
    "value out of range": (model("{scope: [b], defaultcost: 0, costs: [5, 2]}"), "'5' is no value of b"),
    "two costs": (model("{scope: [a], defaultcost: 0, costs: [1, 2, 1, 3]}"), "two different costs"),
    "global": (model("{scope: [a, b], type: salldiff}"), "global cost function"),
    "unknown reference": (model('{scope: [a], costs: "other"}'), "refer to 'other'"),
    "function twice": (model("f: {scope: [a, b], costs: [1,2,3,4]}, f: {scope: [a, b], costs: [1,2,3,4]}"), "twice"),
    "forbidden constant": (model("{scope: [], costs: [9]}"), "constant is forbidden"),
    "mustbe": (model(mustbe="9"), "mustbe"),
    "mustbe words": (model(mustbe="<low"), "'low' is not a number"),
    "object as costs": (model("{scope: [a], costs: {x: 1}}"), "must be a list"),
    "function is a number": (model("f: 3"), "must be an object"),
    "deep": ("{a: " + "[" * 100_000, "nested deeper"),
    "deep objects": ("{" * 100_000, "nested deeper"),
    "open comment": ("{a: /* 1 }", "a comment is not closed"),
    "large table": (model("{scope: [a, b, c], costs: []}", "a: 1000, b: 1000, c: 1000"), "cells"),
    "infinitely good": (model("{scope: [a], costs: [-inf, 0]}"), "infinitely good"),
}


@pytest.mark.parametrize(("text", "cause"), BAD.values(), ids=BAD.keys())
def test_bad_input(text: str, cause: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.cfn"
    path.write_text(text)
    started = time.process_time()
    with pytest.raises(FormatError, match=escape(cause)) as caught:
        load(path)
    assert time.process_time() - started < 2.0
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("length", range(0, len(TEXT.rstrip()[:-1].rstrip()), 5))
def test_truncated(length: int) -> None:
    with pytest.raises(FormatError):
        read(TEXT[:length], "p.cfn")
