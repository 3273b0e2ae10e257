"""The sampling mutation tester: which changes it makes, which it never makes, and what it says of a sample."""

from __future__ import annotations

import ast
import importlib.util
import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).resolve().parent


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"mutation_{name}", HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


operators = load("operators")


def changes(source: str) -> set[tuple[str, str, str]]:
    return {(m.operator, m.before, m.after) for m in operators.mutants(source, "a.py")}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a < b", {("comparison", "a < b", "a <= b")}),
        ("a is b > c", {("comparison", "a is b > c", t) for t in ("a is not b > c", "a is b >= c")}),
        ("a // b", {("arithmetic", "a // b", "a / b")}),
        ("a += b", {("arithmetic", "a += b", "a -= b"), ("statement", "a += b", "pass")}),
        ("-a", {("arithmetic", "-a", "a")}),
        ("a and not b", {("boolean", "a and (not b)", "a or not b"), ("boolean", "not b", "b")}),
        ("x = 7", {("constant", "7", "8"), ("constant", "7", "6")}),
        ("x = True", {("constant", "True", "False")}),
        ("lambda n=1: n", {("default", "1", "2"), ("default", "1", "0")}),
        ("a if b else c", {("condition", "a if b else c", "a if not b else c")}),
        ("[a for a in b if a]", {("condition", "[a for a in b if a]", "[a for a in b if not a]")}),
        ("while a: f()", {("condition", "while a:", "while not a:"), ("statement", "f()", "pass")}),
        ("if a == b: a[c] = b", {("comparison", "a == b", "a != b"), ("statement", "a[c] = b", "pass")}),
        ("raise E", {("statement", "raise E", "pass")}),
        ("def f(): return a", {("return", "return a", "return None")}),
        ("max(a)", {("extremum", "max(a)", "min(a)"), ("statement", "max(a)", "pass")}),
        ("for a in b: continue", {("jump", "continue", "break")}),
        ("a[b:c]", {("slice", "b:c", "b:"), ("slice", "b:c", ":c")}),
    ],
)  # fmt: skip
def test_changes(source: str, expected: set[tuple[str, str, str]]) -> None:
    assert changes(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        '"""Docstring."""',
        'x = "text" + f"{a}"',
        "x: Annotated[int, 3]",
        "def f(a: Literal[1]) -> Literal[2]: ...",
        "@dataclass(frozen=True)\nclass A(B, final=True): ...",
        "if TYPE_CHECKING:\n    f(1 < 2)",
        "logger.debug(a + b)",
        "Number = int | float",
        "def f(): return",
        "x = 1e300",  # one more is the same
    ],
)
def test_left_alone(source: str) -> None:
    assert changes(source) == set()


def test_each_mutant_is_one_change_in_place() -> None:
    source = (HERE / "operators.py").read_text()
    found = operators.mutants(source, "operators.py")
    assert len(found) > 50
    assert [mutant.number for mutant in found] == [*range(len(found))]
    lines = ast.unparse(ast.parse(source)).splitlines()
    for mutant in found[::29]:
        tree = operators.mutated(source, mutant.number)
        compile(tree, "operators.py", "exec")
        differing = [pair for pair in zip(lines, ast.unparse(tree).splitlines(), strict=False) if pair[0] != pair[1]]
        assert differing, mutant
    with pytest.raises(IndexError, match="no mutant"):
        operators.mutated("x", 1)


def test_what_is_around_a_mutant() -> None:
    source = "LIMIT = 3\nclass A:\n    n = 5\n    def f(self, k=1):\n        return (k *\n                2)\n"
    by_text = {mutant.before: mutant for mutant in operators.mutants(source, "a.py")}
    assert (by_text["3"].scope, by_text["3"].names) == (None, ("LIMIT",))
    assert by_text["5"].scope == (2, 6)
    assert (by_text["1"].operator, by_text["1"].statement, by_text["1"].scope) == ("default", (4, 4), (4, 6))
    assert (by_text["2"].lines, by_text["2"].statement) == ((6, 6), (5, 6))
    assert by_text["k * 2"].lines == (5, 6)


def test_sample_is_of_the_seed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("coverage")
    monkeypatch.syspath_prepend(HERE)
    monkeypatch.setenv("CI", "1")
    run = load("run")
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "a.py").write_text("x = 1\ny = a < b\nz = [1, 2, 3]\n")
    monkeypatch.setattr(run, "ROOT", tmp_path)
    assert run.sample("some", 5, 1) == run.sample("some", 5, 1) != run.sample("some", 5, 2)
    assert len({mutant.number for mutant in run.sample("some", 99, 1)}) == 9
    assert run.interval(0, 0) == (0, 1)
    low, high = run.interval(80, 100)
    assert (round(low, 3), round(high, 3)) == (0.711, 0.867)
    assert run.interval(50, 50)[1] == 1

    results = run.Results(tmp_path / "mutants.jsonl", {"seed": 1})
    one, two = run.sample("some", 2, 1)
    results.add(one, run.UNCOVERED)
    results.add(two, run.Outcome("killed", "t.py::test", "call: assert 0", 1, 0.5))
    with results.file.open("a") as out:
        out.write('{"file": "so')  # stopped while it was written
    again = run.Results(tmp_path / "mutants.jsonl", {"seed": 1})
    assert again.last == results.last
    assert again.killers(two.path) == Counter(["t.py::test"])
    assert [line.partition(":")[0] for line in again.survivors()] == [one.path]
    with pytest.raises(SystemExit, match="another sample"):
        run.Results(tmp_path / "mutants.jsonl", {"seed": 2})


MODULE = """
LIMIT = 10

class Counter:
    start = 0

def total(numbers, first=0.0):
    for number in numbers:
        first += number
    return first if first < LIMIT else LIMIT

def never():
    return 1
"""
TESTS = """
from agentsim.dcop import Counter, total

def test_total():
    assert total([1, 2]) == 3
    assert total([9, 9]) == 10

def test_counter():
    assert Counter.start == 0

def test_fails_anyway():
    assert total([1]) == 2
"""


@pytest.mark.slow
def test_tries_every_mutant_of_a_package(tmp_path: Path) -> None:
    pytest.importorskip("coverage")
    for folder, files in {
        "agentsim": {"__init__.py": ""},
        "agentsim/dcop": {"__init__.py": MODULE},
        "tests": {"conftest.py": (HERE.parent / "conftest.py").read_text()},
        "tests/agentsim/dcop": {"test_small.py": TESTS},
        ".": {"pyproject.toml": (HERE.parents[1] / "pyproject.toml").read_text()},
    }.items():
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (tmp_path / folder / name).write_text(text)
    shutil.copytree(HERE, tmp_path / "tests" / "mutation", ignore=shutil.ignore_patterns("test_*", "__pycache__"))

    def run(*options: str) -> str:
        command = [sys.executable, "tests/mutation/run.py", "agentsim/dcop", *options, "-o", str(tmp_path / "out")]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120).stdout

    said = run("--mutants", "99")
    assert "test_fails_anyway" in said
    results = [json.loads(line) for line in (tmp_path / "out" / "mutants.jsonl").read_text().splitlines()[1:]]
    by_change = {(r["before"], r["after"]): r for r in results}
    assert len(by_change) == len(results) == len(operators.mutants(MODULE, "a.py"))

    def outcome(before: str, after: str) -> str:
        return by_change[before, after]["outcome"]

    assert outcome("first += number", "first -= number") == "killed"
    assert by_change["first += number", "first -= number"]["test"].endswith("::test_total")
    assert outcome("10", "9") == "killed"  # a module
    assert outcome("0", "1") == "killed"  # a class
    assert outcome("0.0", "1.0") == "killed"  # a default argument
    assert outcome("first < LIMIT", "first <= LIMIT") == "survived"
    assert outcome("return 1", "return None") == "uncovered"
    assert "killed" in said
    assert "uncovered" in said

    with (tmp_path / "tests/agentsim/dcop/test_small.py").open("a") as tests:
        tests.write("\ndef test_never():\n    from agentsim.dcop import never\n    assert never() == 1\n")
    said = run("--mutants", "99", "--retry")
    assert "at first" in said
    assert '"after": "return None", "outcome": "killed"' in (tmp_path / "out" / "mutants.jsonl").read_text()
