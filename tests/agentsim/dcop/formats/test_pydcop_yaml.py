"""pyDCOP's YAML: what the format says, noise, owners, bad input, and writing back."""

from __future__ import annotations

import math
import time
from pathlib import Path
from re import escape

import numpy as np
import pytest

from agentsim.dcop.formats import load, save
from agentsim.dcop.formats.pydcop_yaml import noise, read
from agentsim.dcop.problem import Constraint, Domain, Problem, Variable
from agentsim.errors import FormatError, UserError

DATA = Path(__file__).parent / "data"

HEAD = """
domains:
  d: {values: [0, 1, 2]}
variables:
  x: {domain: d}
  y: {domain: d}
"""


def problem(constraints: str = "", top: str = "", seed: int = 0) -> Problem:
    return read(HEAD + (f"constraints:\n  c: {constraints}\n" if constraints else "") + top, "p.yaml", seed)


@pytest.fixture(scope="module")
def features() -> Problem:
    return load(DATA / "features.yaml", seed=3)


def test_domains(features: Problem) -> None:
    domains = {v.domain.name: v.domain for v in features.variables.values()}
    assert domains["level"].values == (1, 2, 3, 4)
    assert domains["level"].kind == "light"
    assert domains["colour"].values == ("red", "light blue", "it is")
    assert domains["flag"].values == (True, False)
    assert domains["quoted"].values == (0, 1)
    assert domains["half"].values == (0.5, 1.5)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("[1 .. 3]", (1, 2, 3)),
        ("'[1 .. 3]'", (1, 2, 3)),
        ("[-1..1]", (-1, 0, 1)),
        ("1 .. 2", (1, 2)),
        ("['1', '02']", (1, 2)),
        ("['1', b]", ("1", "b")),
        ("[yes, no]", (True, False)),
        ("[1.5, 2]", (1.5, 2)),
        ("[R, 2020-01-01]", ("R", "2020-01-01")),
    ],
)
def test_values_of_a_domain(text: str, values: tuple[object, ...]) -> None:
    got = read(f"domains: {{d: {{values: {text}}}}}\nvariables: {{x: {{domain: d}}}}", "p.yaml")
    assert got.variables["x"].domain.values == values
    assert [type(v) for v in got.variables["x"].domain.values] == [type(v) for v in values]


def test_unary_costs_are_private_to_the_variable(features: Problem) -> None:
    assert features.variables["y"].unary is not None
    assert features.variables["y"].unary.tolist() == [1, 4, 9, 16]
    assert features.variables["q"].unary is not None
    assert features.variables["q"].unary.tolist() == [2, -1.5]
    x = features.variables["x"]
    assert x.unary is not None
    # `fixed` freezes y and k, so that it is a unary constraint of x.
    base = np.array([0.5, 1.0, 1.5, 2.0]) + np.array([102, 202, 302, 402])
    assert ((x.unary - base >= 0) & (x.unary - base < 0.2)).all()
    assert x.initial == 1


def test_intentional_tables(features: Problem) -> None:
    diff = features.constraints["diff"]
    assert diff.scope == ("x", "y")
    assert (diff.table == 10 * np.eye(4)).all()
    body = features.constraints["body"]
    assert body.scope == ("x", "y", "c")  # the sensor is frozen at 3
    for x, y, c in np.ndindex(4, 4, 3):
        total = x + y + 2
        assert body.table[x, y, c] == (total - 3 if total > 3 else 7 if c == 0 else 0)


def test_extensional_tables(features: Problem) -> None:
    assert features.constraints["like"].table.tolist() == [[1, 9], [9, 1], [math.inf, 9]]
    assert features.constraints["pair"].table.tolist() == [[0, 3.5], [3.5, 0]]


def test_owners(features: Problem) -> None:
    assert {n: v.agent for n, v in features.variables.items()} == {
        "x": "a1",
        "y": "a1",
        "c": "a2",
        "f": "f",
        "q": "q",
        "h": "h",
    }
    assert features.agents == ("a1", "a2", "f", "q", "h")
    assert features.extras["agents"] == ["a1", "a2", "idle"]
    assert features.extras["privacy"] == {"epsilon": 1.0}
    assert features.extras["variables"] == {"c": {"weight": 3}}
    assert features.extras["domains"] == {"colour": {"note": "kept"}}


def test_distribution_file(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(HEAD + "agents: {a1: {}, a2: {}}\ndistribution_hints: {must_host: {a1: [x]}}\n")
    other = tmp_path / "dist.yaml"
    other.write_text("distribution:\n  a2: [x, y]\ncost: 12\n")
    assert {n: v.agent for n, v in load(path, distribution=other).variables.items()} == {"x": "a1", "y": "a2"}
    other.write_text("distribution:\n  a2: [z]\n")
    with pytest.raises(FormatError, match=r"dist.yaml: line 2: .*unknown variable 'z'"):
        load(path, distribution=other)
    other.write_text("distribution:\n  a9: [y]\n")
    with pytest.raises(FormatError, match="unknown agent 'a9'"):
        load(path, distribution=other)
    other.write_text("a2: [y]\n")
    with pytest.raises(FormatError, match="has no `distribution`"):
        load(path, distribution=other)


def test_cost_range_is_declared_for_each_variable() -> None:
    got = read(
        "cost_range: [0, 10]\ndomains: {d: {values: [0, 1]}}\n"
        "variables: {x: {domain: d, cost_function: 5 * x}, y: {domain: d, cost_range: [-1, 2.5]}}\n"
        "constraints: {u: {type: intention, function: 3 * x}}\n",
        "p.yaml",
    )
    assert got.variables["x"].cost_range == (0, 10)
    assert got.variables["x"].unary is not None
    assert got.variables["x"].unary.tolist() == [0, 8]
    assert got.variables["y"].cost_range == (-1, 2.5)


@pytest.mark.parametrize(("bounds", "outside"), [((1, 3), ""), ((1.25, 3), "x"), ((1, 2.75), "x")])
def test_costs_may_touch_their_declared_range(bounds: tuple[float, float], outside: str) -> None:
    text = (
        "domains: {d: {values: [0, 1]}}\n"
        f"variables: {{x: {{domain: d, cost_function: 1 + 2 * x, cost_range: {list(bounds)}}}}}\n"
    )
    if outside:
        with pytest.raises(FormatError, match="variable x: a unary cost is outside its declared cost_range"):
            read(text, "p.yaml")
    else:
        assert read(text, "p.yaml").variables["x"].cost_range == bounds


def test_a_frozen_variable_is_cut_out_of_what_it_shares_with_others() -> None:
    top = "external_variables: {s: {domain: d, initial_value: 2}}\n"
    got = problem(f"{{{EXT.replace('[x, y]', '[x, s]')}, default: 0, values: {{1: 0 2, 5: 1 2, 9: 1 1}}}}", top)
    assert not got.constraints
    unary = got.variables["x"].unary
    assert unary is not None
    assert unary.tolist() == [1, 5, 0]


def test_what_is_left_empty_is_nothing() -> None:
    got = problem(f"{{{EXT}, default: 3, values: {{1: ''}}}}")
    assert got.constraints["c"].table.tolist() == [[3, 3, 3]] * 3
    assert not problem(top="constraints:\n").constraints


def test_owners_in_the_file() -> None:
    got = problem(top="agents: [a, b]\ndistribution: {a: [y], b: [x]}\n")
    assert {v.name: v.agent for v in got.variables.values()} == {"x": "b", "y": "a"}


# --- noise ----------------------------------------------------------------------------------------------------------

NOISY = "{{domain: d, cost_function: 0 * {0}, noise_level: 0.5}}"


def noisy(*names: str, seed: int = 0) -> Problem:
    body = "".join(f"  {n}: {NOISY.format(n)}\n" for n in names)
    return read(f"domains: {{d: {{values: [0, 1, 2]}}}}\nvariables:\n{body}", "p.yaml", seed)


def test_noise_is_drawn_by_seed_and_name() -> None:
    first, again, more, other = noisy("x"), noisy("x"), noisy("w", "x", "y"), noisy("x", seed=1)
    costs = [p.variables["x"].unary for p in (first, again, more, other)]
    assert all(c is not None for c in costs)
    assert costs[0].tolist() == costs[1].tolist() == costs[2].tolist()  # type: ignore[union-attr]
    assert costs[0].tolist() != costs[3].tolist()  # type: ignore[union-attr]
    assert more.variables["w"].unary.tolist() != more.variables["x"].unary.tolist()  # type: ignore[union-attr]
    assert costs[0].tolist() == noise(0, "x", 0.5, 3).tolist()  # type: ignore[union-attr]
    assert all(0 <= c < 0.5 for c in costs[0])  # type: ignore[union-attr]


def test_noise_draw_is_stable_across_versions() -> None:
    drawn = [0.015080557520917482, 0.1679514688577407, 0.17520757919587227]
    assert noise(7, "l_k1", 0.2, 3).tolist() == drawn


# --- writing back ---------------------------------------------------------------------------------------------------


def same(a: Problem, b: Problem) -> None:
    assert (a.name, a.objective, a.constant) == (b.name, b.objective, b.constant)
    assert list(a.variables) == list(b.variables)
    for v, w in zip(a.variables.values(), b.variables.values(), strict=True):
        assert (v.domain.values, v.domain.kind, v.agent, v.initial, v.cost_range) == (
            w.domain.values,
            w.domain.kind,
            w.agent,
            w.initial,
            w.cost_range,
        )
        assert (v.unary is None) == (w.unary is None)
        assert v.unary is None or (v.unary == w.unary).all()
    assert list(a.constraints) == list(b.constraints)
    for c, d in zip(a.constraints.values(), b.constraints.values(), strict=True):
        assert (c.scope, c.owner, c.known_to, c.cost_range) == (d.scope, d.owner, d.known_to, d.cost_range)
        assert (c.table == d.table).all()


def test_features_written_and_read(features: Problem, tmp_path: Path) -> None:
    notes = save(features, tmp_path / "out.yaml")
    assert any("noise" in n for n in notes)
    assert any("External" in n for n in notes)
    got = load(tmp_path / "out.yaml")
    same(features, got)
    assert got.extras["agents"] == ["a1", "a2", "idle"]
    assert got.extras["privacy"] == {"epsilon": 1.0}
    assert got.extras["routes"] == {"default": 1}
    assert got.extras["variables"] == {"c": {"weight": 3}}
    assert got.extras["description"] == features.extras["description"]


@pytest.mark.parametrize("rest", [0, 7])
def test_a_large_table_comes_back(tmp_path: Path, rest: int) -> None:
    table = np.arange(40 * 40).reshape(40, 40) % 11
    table[:30] = rest  # the most frequent cost
    domains = [Domain(name, tuple(range(40))) for name in "de"]
    original = Problem.build(
        [Variable("x", domains[0]), Variable("y", domains[1])], [Constraint("c", ("x", "y"), table)]
    )
    save(original, tmp_path / "out.yaml")
    same(original, load(tmp_path / "out.yaml"))


def test_domains_of_one_name_are_written_apart(tmp_path: Path) -> None:
    domains = [Domain("d", (0, 1)), Domain("d", (0, 1), "level"), Domain("d", (0, 1)), Domain("d", (5, 6, 7))]
    original = Problem.build([Variable(name, domain) for name, domain in zip("wxyz", domains, strict=True)])
    save(original, tmp_path / "out.yaml")
    got = load(tmp_path / "out.yaml")
    same(original, got)
    # Whoever has the same domain shares it, and the first keeps its name.
    names = [v.domain.name for v in got.variables.values()]
    assert (names[0], len(set(names))) == ("d", 3)
    assert names[0] == names[2]


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    got = read("domains: {d: {values: ['1', 1, b]}}\nvariables: {x: {domain: d}}", "p.yaml")
    with pytest.raises(UserError, match="tell two of its values apart"):
        save(got, tmp_path / "out.yaml")
    got = read('domains: {d: {values: ["a\'b\\""]}}\nvariables: {x: {domain: d}}', "p.yaml")
    with pytest.raises(UserError, match="quote"):
        save(got, tmp_path / "out.yaml")


# --- bad input ------------------------------------------------------------------------------------------------------

EXT = "type: extensional, variables: [x, y]"
BAD_CONSTRAINTS = {
    "unknown variable": ("{type: intention, function: x + z}", "unknown variable 'z'"),
    "unknown variable, extensional": ("{type: extensional, variables: [x, z], values: {1: 0 0}}", "unknown variable"),
    "unknown value": (f"{{{EXT}, default: 0, values: {{1: 0 7}}}}", "value '7'"),
    "short tuple": (f"{{{EXT}, default: 0, values: {{1: '0 1 | 2'}}}}", "tuple of 1 values"),
    "long tuple": (f"{{{EXT}, default: 0, values: {{1: '0 1 2'}}}}", "more than 2 values"),
    "shifted tuples": (f"{{{EXT}, default: 0, values: {{1: '0 | 1 1 0'}}}}", "tuple of 1 values"),
    "no default": (f"{{{EXT}, values: {{1: 0 1}}}}", "8 of 9 tuples have no cost"),
    "two costs": (f"{{{EXT}, default: 0, values: {{1: 0 1, 2: 0 1}}}}", "two different costs"),
    "cost twice": (f"{{{EXT}, default: 0, values: {{1: 0 1, 1: 0 2}}}}", "occurs twice"),
    "nan cost": (f"{{{EXT}, default: 0, values: {{.nan: 0 1}}}}", "not a number"),
    "nan word": (f"{{{EXT}, default: nan, values: {{1: 0 1}}}}", "not a number"),
    "text cost": (f"{{{EXT}, default: 0, values: {{cheap: 0 1}}}}", "not a number"),
    "infinitely good": (f"{{{EXT}, default: 0, values: {{-.inf: 0 1}}}}", "infinitely good"),
    "huge cost": (f"{{{EXT}, default: 0, values: {{{'9' * 40}: 0 1}}}}", "2**53"),
    "huge digits": (f"{{{EXT}, default: 0, values: {{{'9' * 500}: 0 1}}}}", "not a number"),
    "same variable twice": ("{type: extensional, variables: [x, x], default: 0}", "distinct"),
    "no variables": ("{type: extensional, variables: [], default: 0}", "distinct"),
    "values is a list": (f"{{{EXT}, default: 0, values: [1, 2]}}", "must map a cost"),
    "tuples is a list": (f"{{{EXT}, default: 0, values: {{1: [0, 1]}}}}", "single value"),
    "no values": (f"{{{EXT}}}", "needs variables and values"),
    "no type": ("{function: x + y}", "must be intention or extensional"),
    "unknown type": ("{type: magic, function: x}", "must be intention or extensional"),
    "no function": ("{type: intention}", "has no function"),
    "function is a map": ("{type: intention, function: {a: 1}}", "single value"),
    "source": ("{type: intention, function: source.f(x), source: a.py}", "is code and is not run"),
    "attack": ("{type: intention, function: __import__('os').system('true')}", "not allowed"),
    "a list": ("[1, 2]", "must be a mapping"),
    "a word": ("word", "must be a mapping"),
    "bad partial": ("{type: intention, function: x + y, partial: {x: 9}}", "not in domain"),
    "forbidden whatever": ("{type: intention, function: float('inf')}", "is forbidden"),
    "unknown owner list": (f"{{{EXT}, default: 0, known_to: some}}", "known_to must be"),
    "empty range": (f"{{{EXT}, default: 0, cost_range: [2, 1]}}", "cost_range"),
    "complex key": (f"{{{EXT}, default: 0, values: {{[1]: 0 1}}}}", "single value"),
}


@pytest.mark.parametrize(("text", "cause"), BAD_CONSTRAINTS.values(), ids=BAD_CONSTRAINTS.keys())
def test_bad_constraints(text: str, cause: str) -> None:
    with pytest.raises(UserError, match=escape(cause)) as caught:
        problem(text)
    assert "\n" not in str(caught.value)
    if isinstance(caught.value, FormatError):
        assert caught.value.place.startswith("line 8")


BAD_FILES = {
    "empty": ("", "empty"),
    "a word": ("hello", "must be a mapping"),
    "a list": ("[1, 2]", "must be a mapping"),
    "two documents": ("a: 1\n---\nb: 2\n", "not YAML"),
    "unclosed": ("a: [1, 2", "not YAML"),
    "tab": ("a:\n\tb: 1", "not YAML"),
    "control character": ("a: \x01", "not YAML"),
    "tag": (HEAD + "x: !!python/object/apply:os.system ['true']", "tag 'tag:yaml.org,2002:python/object/apply:os.sys"),
    "own tag": (HEAD + "x: !exec 'true'", "tag '!exec' is not allowed"),
    "duplicate key": (HEAD + "objective: min\nobjective: max\n", "'objective' occurs twice"),
    "duplicate variable": ("domains: {d: {values: [1]}}\nvariables: {x: {domain: d}, x: {domain: d}}", "occurs twice"),
    "no domains": ("variables: {x: {domain: d}}", "no domains"),
    "no variables": ("domains: {d: {values: [1]}}", "no variables"),
    "unknown domain": ("domains: {d: {values: [1]}}\nvariables: {x: {domain: e}}", "unknown domain 'e'"),
    "variable without domain": ("domains: {d: {values: [1]}}\nvariables: {x: {}}", "has no domain"),
    "domain without values": ("domains: {d: {}}\nvariables: {x: {domain: d}}", "has no values"),
    "empty domain": ("domains: {d: {values: []}}\nvariables: {x: {domain: d}}", "has no values"),
    "value twice": ("domains: {d: {values: [1, 1]}}\nvariables: {x: {domain: d}}", "occurs twice"),
    "null value": ("domains: {d: {values: [1, ~]}}\nvariables: {x: {domain: d}}", "has no value"),
    "nan value": ("domains: {d: {values: [1, .nan]}}\nvariables: {x: {domain: d}}", "not finite"),
    "nested value": ("domains: {d: {values: [[1]]}}\nvariables: {x: {domain: d}}", "single value"),
    "huge range": ("domains: {d: {values: [1 .. 999999999999]}}\nvariables: {x: {domain: d}}", "more than 300000"),
    "empty range": ("domains: {d: {values: [5 .. 1]}}\nvariables: {x: {domain: d}}", "empty"),
    "not a range": ("domains: {d: {values: [a .. b]}}\nvariables: {x: {domain: d}}", "nor a range"),
    "objective": (HEAD + "objective: best", "must be min or max"),
    "initial value": ("domains: {d: {values: [1]}}\nvariables: {x: {domain: d, initial_value: 2}}", "not in domain d"),
    "noise": (
        "domains: {d: {values: [1]}}\nvariables: {x: {domain: d, cost_function: x, noise_level: -1}}",
        "not negative",
    ),
    "cost function of another": (HEAD.replace("x: {domain: d}", "x: {domain: d, cost_function: y}"), "unknown name y"),
    "hosted twice": (HEAD + "distribution_hints: {must_host: {a: [x], b: [x]}}", "hosted by both a and b"),
    "host of nobody": (HEAD + "distribution_hints: {must_host: {a: [z]}}", "unknown variable 'z'"),
    "unknown host": (HEAD + "agents: [a]\ndistribution_hints: {must_host: {b: [x]}}", "unknown agent 'b'"),
    "ambiguous owner": (HEAD + "distribution_hints: {must_host: {y: [x]}}", "an agent of its name hosts"),
    "agent twice": (HEAD + "agents: [a, a]", "declared twice"),
    "false range": (
        "cost_range: [0, 1]\n" + HEAD.replace("x: {domain: d}", "x: {domain: d, cost_function: 9}"),
        "outside",
    ),
    "range of one": (HEAD + "cost_range: [1]", "two finite numbers"),
    "key that is a list": ("? [a]\n: 1\n" + HEAD, "a key is not a plain value"),
    "cyclic alias": (HEAD + "a: &a [*a]", "contains itself"),
    "unknown alias": (HEAD + "a: *b", "not YAML"),
    "external without value": (HEAD + "external_variables: {s: {domain: d}}", "no initial value"),
    "external twice": (HEAD + "external_variables: {x: {domain: d, initial_value: 1}}", "is a variable too"),
}


@pytest.mark.parametrize(("text", "cause"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_bad_files(text: str, cause: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(FormatError, match=escape(cause)) as caught:
        load(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def bombs() -> dict[str, str]:
    laughs = "a0: &a0 [lol, lol]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30))
    text = "0 0 | " * 20_000 + "0 0"
    return {
        "billion laughs": HEAD + laughs,
        "deep lists": HEAD + "a: " + "[" * 100_000,
        "deep maps": HEAD + "a: " + "{a: " * 100_000,
        "deep blocks": HEAD + "a:\n" + " " + "- " * 100_000 + "1",
        "deep keys": HEAD + "a:\n " + "? " * 100_000 + "1",
        "tables by alias": HEAD
        + f"values: &v {{1: '{text}'}}\nconstraints:\n"
        + "".join(f"  c{i}: {{type: extensional, variables: [x, y], default: 0, values: *v}}\n" for i in range(5000)),
        "a table too large": "domains: {d: {values: [1 .. 10000]}}\n"
        "variables: {x: {domain: d}, y: {domain: d}}\n"
        "constraints: {c: {type: intention, function: x + y}}",
        "an extensional table too large": "domains: {d: {values: [1 .. 10000]}}\n"
        "variables: {x: {domain: d}, y: {domain: d}}\n"
        "constraints: {c: {type: extensional, variables: [x, y], default: 0}}",
        "many large tables": "domains: {d: {values: [1 .. 4000]}}\n"
        "variables: {x: {domain: d}, y: {domain: d}}\n"
        "constraints:\n"
        + "".join(f"  c{i}: {{type: extensional, variables: [x, y], default: 0}}\n" for i in range(100)),
        "many large domains": "domains:\n"
        + "".join(f"  d{i}: {{values: [1 .. 900000]}}\n" for i in range(1000))
        + "variables: {x: {domain: d1}}",
        "long token": HEAD + "a: " + "x" * 5_000_000 + "\nobjective: [",
    }


@pytest.mark.parametrize("name", bombs())
def test_bombs_are_refused_fast(name: str) -> None:
    text = bombs()[name]
    started = time.process_time()
    with pytest.raises(UserError) as caught:
        read(text, "bomb.yaml")
    assert time.process_time() - started < 3.0
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_aliases_and_merges_are_understood() -> None:
    got = read(
        "base: &b {domain: d}\ndomains: {d: {values: &v [0, 1]}, e: {values: *v}}\n"
        "variables: {x: *b, y: {<<: *b, initial_value: 1}, z: {domain: e}}\n",
        "p.yaml",
    )
    assert [v.domain.name for v in got.variables.values()] == ["d", "d", "e"]
    assert got.variables["y"].initial == 1


def test_without_the_c_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = load(DATA / "features.yaml")
    monkeypatch.delattr("yaml.CSafeLoader")
    same(fast, load(DATA / "features.yaml"))
    with pytest.raises(FormatError, match="nested deeper"):
        read("a: " + "[" * 500, "p.yaml")
