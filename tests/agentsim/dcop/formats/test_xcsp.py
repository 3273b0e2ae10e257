"""XCSP in FRODO's dialect: its features, owners, and bad input."""

from __future__ import annotations

import math
import time
from pathlib import Path
from re import escape

import pytest

from agentsim.dcop.formats import load
from agentsim.dcop.formats.xcsp import read
from agentsim.dcop.problem import Problem
from agentsim.errors import FormatError, ProblemError, UserError

DATA = Path(__file__).parent / "data"
TEXT = (DATA / "tiny.xml").read_text()


@pytest.fixture(scope="module")
def tiny() -> Problem:
    return load(DATA / "tiny.xml")


def test_agents_domains_variables(tiny: Problem) -> None:
    assert tiny.name == "small"
    assert tiny.agents == ("a1", "a2", "spare", "shared")
    assert tiny.variables["x"].domain.values == (1, 2, 3)
    assert tiny.variables["z"].domain.values == (0, 5, 6, 7.5)
    assert [v.agent for v in tiny.variables.values()] == ["a1", "a2", "a2", "shared"]
    assert tiny.extras["stats"] == {"seed": "7"}


def test_tables(tiny: Problem) -> None:
    inf = math.inf
    assert tiny.constraints["c1"].table.tolist() == [[10, 0, 0], [0, 10, 0], [0, 0, 10]]
    assert tiny.constraints["c2"].table.tolist() == [[0, inf, inf, inf], [inf] * 4, [inf, inf, inf, 3]]
    assert tiny.constraints["c5"].table.tolist() == [[0, inf, inf], [inf] * 3, [inf, 0, inf]]
    assert tiny.variables["y"].unary is not None
    assert tiny.variables["y"].unary.tolist() == [4, 1, 1]
    assert tiny.variables["shared"].unary is not None
    assert tiny.variables["shared"].unary.tolist() == [0, inf, 0]


def test_owners(tiny: Problem) -> None:
    assert tiny.constraints["c1"].known_to == "scope"
    assert tiny.constraints["c2"].owner == "a1"
    assert tiny.constraints["c2"].known_to == ("a1",)
    assert tiny.constraints["c5"].known_to == "all"
    # A unary constraint of an agent that does not own the variable stays a constraint.
    assert tiny.constraints["c4"].owner == "spare"
    assert "c3" not in tiny.constraints


def test_constraints_of_one_relation_share_a_table(tiny: Problem) -> None:
    assert tiny.constraints["c1"].table is tiny.constraints["c7"].table


def test_the_domains_of_a_file_have_one_limit_together() -> None:
    text = TEXT.replace(">1..3<", ">1..100000<").replace('nbValues="3"', 'nbValues="100000"')
    for last, fails in ((199_997, False), (199_998, True)):
        wide = text.replace(">0 5..6 7.5<", f">0 1..{last} 0.5 7.5<").replace('nbValues="4"', f'nbValues="{last + 3}"')
        with pytest.raises(UserError) as caught:  # else a table is too large
            read(wide, "p.xml")
        assert ("more than 300000 domain values" in str(caught.value)) == fails


def test_maximise() -> None:
    text = TEXT.replace('maximize="false"', 'maximize="true"').replace("infinity", "-infinity")
    got = read(text.encode(), "p.xml")
    assert got.objective == "max"
    assert got.constraints["c2"].table[0, 1] == -math.inf
    assert got.constraints["c5"].table[0, 1] == -math.inf


def test_encodings() -> None:
    text = TEXT.replace("small", "petit café").replace("UTF-8", "ISO-8859-1")
    assert read(text.encode("latin-1"), "p.xml").name == "petit café"


BAD = {
    "not XML": ("<instance>", "<instance", "not XML"),
    "wrong root": ("instance>", "problem>", "not <instance>"),
    "unknown element": ("<agents nbAgents", "<extra/><agents nbAgents", "unknown element"),
    "predicates": ("<agents nbAgents", "<predicates/><agents nbAgents", "intensional"),
    "nbAgents": ('nbAgents="3"', 'nbAgents="1000000"', "nbAgents is '1000000', but there are 3"),
    "nbAgents negative": ('nbAgents="3"', 'nbAgents="-3"', "nbAgents"),
    "nbTuples": ('nbTuples="3" defaultCost="0"', 'nbTuples="4" defaultCost="0"', "nbTuples"),
    "nbValues": ('nbValues="3"', 'nbValues="three"', "nbValues"),
    "nbConstraints": ('nbConstraints="7"', 'nbConstraints="8"', "nbConstraints"),
    "duplicate variable": ('name="y" domain', 'name="x" domain', "defined twice"),
    "duplicate agent": ('<agent name="a2"/>', '<agent name="a1"/>', "defined twice"),
    "unnamed": ('<agent name="a2"/>', "<agent/>", "has no name"),
    "unknown domain": ('domain="dx"', 'domain="dy"', "unknown domain 'dy'"),
    "unknown agent of a variable": ('domain="dx" agent="a2"', 'domain="dx" agent="a7"', "unknown agent 'a7'"),
    "unknown agent of a constraint": ('agent="spare"/>', 'agent="nobody"/>', "unknown agent 'nobody'"),
    "unknown variable": ('scope="x y"', 'scope="x q"', "unknown variable 'q'"),
    "unknown relation": ('reference="r_xz"', 'reference="r"', "unknown relation 'r'"),
    "global constraint": ('reference="r_xz"', 'reference="global:allDifferent"', "global constraint"),
    "random variable": ('<variable name="x"', '<variable type="random" name="x"', "random variable"),
    "scope twice": ('scope="x y"', 'scope="x x"', "occurs twice"),
    "arity": ('scope="x y" reference="neq"', 'scope="x" reference="neq"', "1 variables for relation neq of arity 2"),
    "arity attribute": ('name="c1" arity="2"', 'name="c1" arity="3"', "arity is '3'"),
    "huge arity": ('name="neq" arity="2"', 'name="neq" arity="999999999"', "arity"),
    "value": ("0 5..6 7.5", "0 5..6 x", "'x' is not a number"),
    "nan value": ("0 5..6 7.5", "0 5..6 nan", "not a number"),
    "interval": ("0 5..6 7.5", "0 5..999999999999 7.5", "more than 300000 values"),
    "empty interval": ("0 5..6 7.5", "0 6..5 7.5", "empty"),
    "value twice": ("0 5..6 7.5", "0 5..6 6", "occurs twice"),
    "short tuple": ("10: 1 1 |", "10: 1 |", "a tuple of 1 values"),
    "first cost": ("10: 1 1 |", "1 1 |", "no cost"),
    "cost": ("10: 1 1 |", "ten: 1 1 |", "'ten' is not a number"),
    "nan cost": ("10: 1 1 |", "NaN: 1 1 |", "not a number"),
    "overflowing cost": ("10: 1 1 |", "1e999: 1 1 |", "not a number"),
    "infinitely good": ('defaultCost="infinity"', 'defaultCost="-infinity"', "infinitely good"),
    "no default": ('arity="2" nbTuples="3" defaultCost="0"', 'arity="2" nbTuples="3"', "no default"),
    "two costs": ("4: 1 | 1: 2 | 3", "4: 1 | 1: 1 | 3", "two different costs"),
    "semantics": ('semantics="supports"', 'semantics="fuzzy"', "semantics 'fuzzy'"),
    "cost in supports": ("1 1 | 3 2", "5: 1 1 | 3 2", "a cost in a relation"),
    "maximize": ('maximize="false"', 'maximize="maybe"', "must be true or false"),
    "entity": (
        "<instance>",
        '<!DOCTYPE instance [<!ENTITY a "x"><!ENTITY b "&a;&a;">]><instance>',
        "not allowed",
    ),
    "external entity": (
        "<instance>",
        '<!DOCTYPE instance [<!ENTITY a SYSTEM "file:///etc/passwd">]><instance>',
        "not allowed",
    ),
    "external document type": ("<instance>", '<!DOCTYPE instance SYSTEM "http://x/y.dtd"><instance>', "not allowed"),
    "parameter entity": ("<instance>", '<!DOCTYPE instance [<!ENTITY % a "x">%a;]><instance>', "not allowed"),
    "undefined entity": ("small", "&small;", "not XML"),
    "encoding": ("UTF-8", "martian", "not XML"),
    "section twice": ("<domains nbDomains", '<agents nbAgents="0"/><domains nbDomains', "occurs twice"),
    "wrong child": ('<agent name="a2"/>', '<domain name="a2"/>', "does not belong"),
    "deep": ("<stats", "<stats>" * 100_000 + "<stats", "nested deeper"),
}


@pytest.mark.parametrize(("old", "new", "cause"), BAD.values(), ids=BAD.keys())
def test_bad_input(old: str, new: str, cause: str, tmp_path: Path) -> None:
    assert old in TEXT
    path = tmp_path / "bad.xml"
    path.write_text(TEXT.replace(old, new, 1) if old != "instance>" else TEXT.replace(old, new))
    with pytest.raises(FormatError, match=escape(cause)) as caught:
        load(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
def test_truncated(part: float) -> None:
    with pytest.raises(FormatError):
        read(TEXT[: int(part * len(TEXT.rstrip()))].encode(), "p.xml")


def test_a_million_declared_agents_cost_nothing() -> None:
    text = '<instance><agents nbAgents="1000000"><agent name="a"/></agents></instance>'
    started = time.process_time()
    with pytest.raises(UserError):
        read(text.encode(), "p.xml")
    assert time.process_time() - started < 0.5


def test_large_tables_are_refused_before_they_are_made() -> None:
    text = TEXT.replace('<domain name="d3" nbValues="3">1..3<', '<domain name="d3" nbValues="100000">1..100000<')
    started = time.process_time()
    with pytest.raises(FormatError, match="cells"):
        load_text(text)
    assert time.process_time() - started < 2.0


def load_text(text: str) -> Problem:
    try:
        return read(text.encode(), "p.xml")
    except ProblemError as error:
        raise FormatError("p.xml", "", str(error)) from None
