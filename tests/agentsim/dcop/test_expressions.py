"""Expressions give Python's own numbers, and refuse everything that is not plain arithmetic, fast."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentsim.dcop import expressions
from agentsim.dcop.expressions import parse
from agentsim.errors import FormatError, UserError

MALICIOUS = {
    "import": "__import__('os').system('true')",
    "open": "open('/etc/passwd')",
    "attribute walk": "().__class__.__bases__[0].__subclasses__()",
    "attribute of a name": "x.real",
    "tower of powers": "9**9**9",
    "power by pow": "pow(9, pow(9, 9))",
    "power of a variable": "10 ** (x * 10 ** 9)",
    "big literal": "9" * 5000,
    "shift": "1 << 10 ** 9",
    "repeated string": "'a' * 10 ** 9",
    "repeated list": "[0] * 10 ** 9",
    "format": "'%1000000000d' % x",
    "format call": "'{:>1000000000}'.format(x)",
    "f-string": "f'{x:>1000000000}'",
    "growing string": "len(" + " + ".join(["'" + "a" * 900 + "'"] * 8) + ")",
    "long round": "round(x, -10 ** 9)",
    "comprehension": "sum([i for i in range(10 ** 9)])",
    "nested comprehension": "[[0 for i in range(10**5)] for j in range(10**5)]",
    "generator": "sum(i for i in (1, 2))",
    "range": "sum(range(10 ** 9))",
    "lambda": "(lambda: 0)()",
    "lambda recursion": "(lambda f: f(f))(lambda f: f(f))",
    "walrus": "(y := 1)",
    "identity": "x is x",
    "star": "max(*[1, 2])",
    "keyword": "max(1, 2, key=abs)",
    "deep brackets": "(" * 5000 + "1" + ")" * 5000,
    "deep signs": "-" * 8000 + "1",
    "deep not": "not " * 2000 + "1",
    "deep conditions": "1 if x else " * 600 + "0",
    "deep sum": "+".join(["x"] * 1500),
    "long text": "x" + " " * 10_000_000,
    "very long sum": "+".join(["1"] * 1_000_000),
    "null byte": "x\0",
    "none": "None",
    "ellipsis": "...",
    "complex": "1j",
    "bytes": "b'a'",
    "complex power": "(-1) ** 0.5",
    "empty": "",
    "statement": "import os",
    "body that imports": "import os\nreturn 1",
    "body with a loop": "while True:\n  pass\nreturn 1",
    "body with for": "for i in x:\n  pass\nreturn 1",
    "body with def": "def f():\n  return f()\nreturn f()",
    "body with class": "class A:\n  pass\nreturn 1",
    "body with try": "try:\n  return 1\nexcept Exception:\n  return 2",
    "body assigning an attribute": "x.y = 1\nreturn 1",
    "body assigning an index": "x[0] = 1\nreturn 1",
    "body unpacking": "a, b = x\nreturn a",
    "body growing a number": "a = 2 ** 200\n" + "a *= a\n" * 50 + "return a",
    "body growing a string": "a = 'abcdefgh'\n" + "a += a\n" * 100 + "return len(a)",
    "body without return": "a = 1\nif a == 2:\n  return 3",
    "body with empty return": "return",
    "global": "global x\nreturn x",
    "assert": "assert x\nreturn x",
    "delete": "del x\nreturn 1",
    "await": "await x",
    "yield": "(yield x)",
    "division by zero": "1 / (x - x)",
    "overflow": "1e308 ** 2.5",
    "infinite round": "round(1e999)",
    "nan": "1e999 - 1e999",
    "text cost": "'cheap'",
    "list cost": "[1, 2]",
    "mixed comparison": "x < 'a'",
    "index out of range": "(1, 2)[x + 5]",
    "infinite slice": "(1, 2)[0:x]",
    "dict": "{1: 2}[x]",
    "unknown name": "x + unknown_thing",
    "format of huge": "str(2 ** 250) + 1",
    "int of text": "int('9' * 3)",
}


@pytest.mark.parametrize("text", MALICIOUS.values(), ids=MALICIOUS.keys())
def test_refuses_at_once(text: str) -> None:
    started = time.process_time()
    with pytest.raises(FormatError) as caught:
        parse(text, "file.yaml", "constraint c").tabulate(["x"], [[0, 1, 2]])
    assert time.process_time() - started < 1.0
    message = str(caught.value)
    assert message.startswith("file.yaml: constraint c: ")
    assert "\n" not in message
    assert len(message) < 600


@given(st.text(alphabet="x01+-*/%()[],.<=> '\"ifelsnotrud:\n_", max_size=60))
@settings(max_examples=300, deadline=2000)
def test_any_text_gives_a_table_or_one_error(text: str) -> None:
    message = ""
    try:
        table = parse(text).tabulate(["x"], [[0, 1]])
    except UserError as error:
        message = str(error)
    else:
        assert table.shape == (2,)
        assert table.dtype.kind in "if"
    assert "\n" not in message


def test_too_large_tables_are_refused_before_they_are_made() -> None:
    domain = list(range(1000))
    with pytest.raises(FormatError, match="tuples"):
        parse("a + b + c").tabulate(["a", "b", "c"], [domain] * 3)
    with pytest.raises(FormatError, match="too much work"):
        parse("len(str(a)) + len(str(b)) + len(str(c))").tabulate(["a", "b", "c"], [domain[:200]] * 3)


# --- the numbers are Python's ---------------------------------------------------------------------------------------

EQUIVALENT = [
    "0 if m == round(0.7 * a + 0.5 * b + 0.3 * a) else 1000",
    "10 * (abs(m - 3) + abs(b - 3))",
    "0 if 0.6 * a + 0.6 * b + 0.3 * m == 1.2 else 1000",
    "0.2 * a + 0.3 * b + 0.4 * m",
    "a / (b + 10) - m // 3 + a % 3 - (a - 5) // 2 + (b - 5) % 3",
    "round(a / 3) + int(b / 2) + float(m)",
    "round(a / 3, 2) + round(a * 0.35, 1)",
    "min(a, b, m * 0.5) + max(a, 1) - min([a, b])",
    "a ** 2 + b ** 3 + 2 ** m + (a - 3) ** 2",
    "(a + 0.5) ** 1.5",
    "a < b < m",
    "a and b or m",
    "not a",
    "(a == b) + (a != m) * 2 + (a <= 2) - (b >= 2)",
    "1 if a in (0, 2) else 2 if b not in [1, 3] else 3",
    "1 / a if a != 0 else 7",
    "a if a > b else 0.25",
    "(a if a > b else 0.25) * (b if m else 0.5)",
    "(10, 20, 30, 40)[a] + [5, 6, 7, 8][b - 4]",
    "sum([a, b, m]) + len((a, b))",
    "bool(a) + True",
    "-a + +b - -m",
    "a & b | m ^ 1",
    "len(str(a)) + int('7') + float('0.5') + len('abc')",
    "a * 9007199254740993 - a * 9007199254740992",
    "(a * 123456789 * 987654321) % 1000",
    "1e300 * 10 ** a * 10",
    "(a if a else '1') == 1",
    "('none' if a else b) != 0",
    "a ** 16 - b ** 17",
    "float('inf') if a == b else 0",
    "total = a + b\nif total > m:\n  return total - m\nelif a == 0:\n  return 7\nreturn 0",
    "cost = 0\nif a == b:\n  cost += 10\nif b == m:\n  cost += 100\nelse:\n  cost -= 1\nreturn cost",
    "cost = len(str(a))\nif a > b:\n  cost += m\nelif b == m:\n  return 2\nelse:\n  cost -= 1\nreturn cost",
    "'a comment'\nif a:\n  pass\nelse:\n  b = 5\nreturn b * m",
]


def python(text: str, names: tuple[str, ...], values: tuple[object, ...]) -> object:
    """Run a trusted text the ordinary way."""
    if "return" in text:
        body = "\n".join("  " + line for line in text.splitlines())
        scope: dict[str, object] = {}
        exec(f"def f({', '.join(names)}):\n{body}", scope)
        return scope["f"](*values)  # type: ignore[operator]
    return eval(text, dict(zip(names, values, strict=True)))


@pytest.mark.parametrize("text", EQUIVALENT)
@pytest.mark.parametrize(
    "domain",
    [(0, 1, 2, 3), (0, 1), (3, 2), (0.5, 1.25, 3.0), (0, 0.5, 1), (False, True)],
    ids=["ints", "bits", "down", "floats", "mixed", "booleans"],
)
def test_numbers_are_exactly_pythons(text: str, domain: tuple[float, ...]) -> None:
    names = ("a", "b", "m")
    tuples = list(itertools.product(domain, repeat=3))
    try:
        expected = [python(text, names, t) for t in tuples]
    except (TypeError, ZeroDivisionError, IndexError, OverflowError):
        with pytest.raises(FormatError):
            parse(text).tabulate(names, [domain] * 3)
        return
    table = parse(text).tabulate(names, [domain] * 3)
    assert table.shape == (len(domain),) * 3
    assert table.ravel().tolist() == expected


@pytest.mark.parametrize(
    "text", ["1 if a == b else 0", "3 if a < 'c' else 4", "5 if a in ('b', 'd') else 0", "1 if a == 1 else 2", "a != 2"]
)
def test_strings_are_compared(text: str) -> None:
    domain = ("b", "c", "light blue", "B")
    expected = [python(text, ("a", "b"), t) for t in itertools.product(domain, repeat=2)]
    assert parse(text).tabulate(["a", "b"], [domain] * 2).ravel().tolist() == expected


@given(
    st.recursive(
        st.sampled_from(["a", "b", "0", "1", "2", "0.1", "3.5", "1e9", "9007199254740991"]),
        lambda inner: st.one_of(
            st.builds("({} {} {})".format, inner, st.sampled_from(["+", "-", "*", "/", "//", "%"]), inner),
            st.builds("({} {} {})".format, inner, st.sampled_from(["==", "<", ">=", "and", "or"]), inner),
            st.builds("({} if {} else {})".format, inner, inner, inner),
            st.builds("({}({}))".format, st.sampled_from(["abs", "round", "int", "-", "not "]), inner),
            st.builds("{}({}, {})".format, st.sampled_from(["min", "max"]), inner, inner),
        ),
        max_leaves=8,
    )
)
@settings(max_examples=400, deadline=None)
def test_arrays_and_tuples_agree(text: str) -> None:
    """Whatever numpy computes is what Python computes, to the last bit."""
    domains = [(0, 1, 2, -3), (0.5, 2.0, -1.25)]
    expression = parse(text)
    try:
        table = expression.tabulate(["a", "b"], domains)
    except FormatError:
        return
    for (i, a), (j, b) in itertools.product(*map(enumerate, domains)):
        expected = python(text, ("a", "b"), (a, b))
        assert table[i, j] == expected
        assert float(table[i, j]).hex() == float(expected).hex() or expected == 0  # type: ignore[arg-type]


SMALL, HIGH, LOW = (1, 2), (1, 2**50), (-(2**50), -1)
WIDE = [
    *(f"a {op} b" for op in ("+", "-", "*", "//", "%")),
    *("abs(a) + abs(b)", "-a - -b", "min(a, b)", "max(a, b)", "sum([a, b, a])", "int(a * 1.0) - round(b / 1)"),
    *("a if a > b else b", "a if b == 1 else -b", "a and b", "a or b", "a ** 1 + b ** 1", "(a == b) * a + (a < b) * b"),
]


@pytest.mark.parametrize("text", WIDE)
def test_large_whole_numbers_are_exact(text: str) -> None:
    """Every bound that is followed decides once whether int64 is wide enough: times 16385 it is not."""
    text = f"({text}) * 16385 % 1000003"
    for domains in itertools.product((SMALL, HIGH, LOW), repeat=2):
        expected = [python(text, ("a", "b"), values) for values in itertools.product(*domains)]
        assert parse(text).tabulate(["a", "b"], domains).ravel().tolist() == expected, domains


def test_names_are_listed_by_first_use() -> None:
    assert parse("b if a > c else max(d, a)").names == ("b", "a", "c", "d")
    assert parse("t = z + a\nreturn t * y").names == ("z", "a", "y")
    assert parse("x += 1\nreturn x").names == ("x",)
    assert parse("if a:\n  b = 1\nreturn b").names == ("a", "b")
    assert parse("if a:\n  b = 1\nelse:\n  b = max(b, c)\nreturn b").names == ("a", "b", "c")
    assert parse("if a:\n  b = 1\nelse:\n  return 2\nreturn b").names == ("a",)


def test_frozen_names_take_their_value() -> None:
    table = parse("x * k").tabulate(["x"], [[1, 2]], {"k": 10})
    assert table.tolist() == [10, 20]


def test_evaluate_one_tuple() -> None:
    assert parse("a + b").evaluate({"a": 1, "b": 2}) == 3
    assert parse("a + b").evaluate({"a": "x", "b": "y"}) == "xy"


def test_large_tables_are_made_in_chunks() -> None:
    domain = list(range(90))
    table = parse("abs(a - b) + c").tabulate(["a", "b", "c"], [domain] * 3)
    a, b, c = np.ogrid[:90, :90, :90]
    assert (table == abs(a - b) + c).all()
    assert table.size > expressions._CHUNK_CELLS
