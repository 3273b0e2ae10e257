"""Bounds at their edge, bombs, and inputs that used to take for ever."""

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path

import msgpack
import pytest

import agentsim
from agentsim.dcop import expressions
from agentsim.dcop.formats import cfn, encode_problem, limits, load_bytes, pydcop_yaml, tuples, wcsp, xcsp, yaml_nodes
from agentsim.dcop.problem import Domain, Problem, Variable
from agentsim.errors import ProblemError, UserError
from agentsim.record.log import MAGIC
from scenarios.sweeps.document import parse_toml
from scenarios.sweeps.spec import parse_spec
from scenarios.sweeps.table import read_rows

sys.path.insert(0, str(Path(__file__).resolve().parent))

import framing  # beside this file

TWO = "domains: {d: {values: [0, 1]}}\nvariables: {x: {domain: d}, y: {domain: d}}\n"


def yaml(text: str) -> Problem:
    return pydcop_yaml.read(text, "p.yaml")


def xml(inside: bytes) -> Problem:
    return xcsp.read(b"<instance>" + inside + b"</instance>", "p.xml")


def intention(function: str) -> str:
    return f"constraints: {{c: {{type: intention, function: {function}}}}}"


def words(count: int) -> str:
    return " ".join(map(str, range(count)))


# Bounds: at each of them, and one beyond


def sized(values: int) -> str:
    return f"domains: {{d: {{values: [1 .. {values}]}}}}\nvariables: {{x: {{domain: d}}, y: {{domain: d}}}}\n"


def table(cells: int, tables: int = 1) -> str:
    lines = [f" c{i}: {{type: extensional, variables: [x, y], default: {i}}}\n" for i in range(tables)]
    return sized(int(cells**0.5)) + "constraints:\n" + "".join(lines)


BOUNDS: dict[str, tuple[object, str, int, Callable[[int], object], str]] = {
    # name: where it stands, its name there, what it is set to, what asks for so much, what is said of one more
    "domain values": (
        tuples,
        "MAX_DOMAIN_VALUES",
        50,
        lambda n: yaml(sized(n)),
        "domain d: more than 50 domain values",
    ),
    "cells": (tuples, "MAX_FILE_CELLS", 8, lambda n: yaml(table(4, 2 if n == 8 else 3)), "pass 8 cells together"),
    "YAML nodes": (
        yaml_nodes,
        "MAX_NODES",
        40,
        lambda n: yaml(TWO + f"a: [{'0, ' * (n - 21)}]"),
        "more than 40 values",
    ),
    "YAML depth": (
        yaml_nodes,
        "MAX_DEPTH",
        9,
        lambda n: yaml(TWO + "a: " + "[" * (n - 2) + "0" + "]" * (n - 2)),
        "9 levels",
    ),
    "XML elements": (xcsp, "MAX_ELEMENTS", 5, lambda n: xml(b"<a/>" * (n - 1)), "more than 5 elements"),
    "XML depth": (
        xcsp,
        "MAX_XML_DEPTH",
        5,
        lambda n: xml(b"<a>" * (n - 1) + b"</a>" * (n - 1)),
        "deeper than 5 levels",
    ),
    "CFN tokens": (cfn, "MAX_TOKENS", 20, lambda n: cfn.read("{" + "a " * (n - 2) + "}", "p"), "more than 20 tokens"),
    "CFN depth": (
        cfn,
        "MAX_CFN_DEPTH",
        6,
        lambda n: cfn.read("{a: " + "[" * (n - 1) + "b" + "]" * (n - 1) + "}", "p"),
        "6 levels",
    ),
    "arity": (wcsp, "MAX_AXES", 2, lambda n: wcsp.read(f"p 3 1 1 9 1 1 1 {n} {words(n)} 0 0", "p"), "is not in 0..2"),
    "digits": (
        wcsp,
        "MAX_DIGITS",
        4,
        lambda n: wcsp.read(f"p 1 1 1 9999\n1\n1 0 {'1' * n} 0", "p"),
        "at most 4 digits",
    ),
    "work": (
        tuples,
        "MAX_FILE_WORK",
        16,
        lambda n: yaml(TWO + intention("x + y" + " + 1" * (n - 16))),
        "work together",
    ),
    "expression": (
        expressions,
        "MAX_LENGTH",
        9,
        lambda n: expressions.parse("1" + " " * (n - 1)),
        "10 characters, more than the 9",
    ),
    "its nodes": (
        expressions,
        "MAX_NODES",
        7,
        lambda n: expressions.parse(f"max({', '.join('1' * (n - 2))})"),
        "more than the 7 nodes",
    ),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_bound_holds_at_its_edge(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    where, constant, value, ask, said = BOUNDS[name]
    monkeypatch.setattr(where, constant, value)
    assert said not in complaint(lambda: ask(value))  # a small file may lack something else
    assert said in complaint(lambda: ask(value + 1))


def complaint(ask: Callable[[], object]) -> str:
    try:
        ask()
    except UserError as error:
        return str(error)
    return ""


def test_every_bound_on_problem_files_is_in_one_place() -> None:
    named = {name for name in vars(limits) if name.startswith("MAX_")}
    assert all(f"`{name}`" in (limits.__doc__ or "") for name in named)


def test_file_of_the_greatest_size_is_read(tmp_path: Path) -> None:
    path = tmp_path / "p.bin"
    path.write_bytes(b"abc")
    assert limits.read_file(path, 3) == b"abc"
    with pytest.raises(UserError, match="3 bytes, more than the 2 allowed"):
        limits.read_file(path, 2)


# Bombs, under a limit on memory


def bomb_of_zstd() -> bytes:
    import zstandard

    content = zstandard.ZstdCompressor(level=1).compress(bytes(1 << 28))
    return MAGIC + b"\x01\x01" + framing.block(b"H", content)


def doubling(first: bytes, then: bytes) -> bytes:
    """Return YAML in which everything is made of nine of what stands before it."""
    return first + b"".join(then % (i, i, b", ".join([b"*a%d" % (i - 1)] * 9)) for i in range(1, 30))


def entities() -> bytes:
    inside = b"".join(b"<!ENTITY b%d '&b%d;&b%d;'>" % (i + 1, i, i) for i in range(50))
    return b"<!DOCTYPE a [<!ENTITY b0 'x'>" + inside + b"]><instance>&b50;</instance>"


def declared() -> bytes:
    table = {"dtype": "<f8", "shape": [4000] * 30, "data": b""}
    top = {"format": "agentsim-problem", "version": 1, "redacted": False, "tables": [table]}
    return bytes(msgpack.packb(top))


INTERVAL = b"<domains><domain name='d'>0..999999999999</domain></domains><variables/>"
DEEP = 100_000
BOMBS: dict[str, Callable[[], bytes]] = {
    "aliases.yaml": lambda: doubling(b"a0: &a0 [x, x, x]\n", b"a%d: &a%d [%s]\n"),
    "merges.yaml": lambda: doubling(b"a0: &a0 {k: v}\n", b"a%d: &a%d {<<: [%s]}\n"),
    "deep.yaml": lambda: b"[" * DEEP,
    "deep-blocks.yaml": lambda: b"\n".join(b" " * i + b"- " for i in range(3000)),
    "range.yaml": lambda: b"domains: {d: {values: [1 .. 1000000000000]}}\nvariables: {x: {domain: d}}",
    "tables.yaml": lambda: table(4400**2, 5).encode(),
    "power.yaml": lambda: (TWO + intention("9**9**9**9 + x")).encode(),
    "digits.yaml": lambda: (TWO + f"constant: {'9' * 1_000_000}").encode(),
    "agents.yaml": lambda: (TWO + "agents: &a [a]\nb: &b [*a, *a, *a, *a]\nc: [*b, *b, *b, *b]\n").encode() * 2,
    "entities.xml": entities,
    "deep.xml": lambda: b"<a>" * DEEP,
    "attribute.xml": lambda: b"<instance a='" + b"x" * (8 << 20) + b"'/>",
    "attributes.xml": lambda: b"<instance " + b" ".join(b"a%d='1'" % i for i in range(200_000)) + b"/>",
    "interval.xml": lambda: b"<instance>" + INTERVAL + b"</instance>",
    "declared.wcsp": lambda: b"p 999999999 9 999999999 9\n2 2",
    "arity.wcsp": lambda: b"p 3 300000 1 9\n300000 1 1\n2 0 1 0 999999999999999999",
    "size.cfn": lambda: b'{"problem":{}, "variables": {"x": 999999999999}, "functions": {}}',
    "deep.cfn": lambda: b"{a:" + b"[" * DEEP,
    "comment.cfn": lambda: b"{" + b"/*" * 500_000,
    "lists.amdcop": lambda: (b"\xdd" + (2_000_000).to_bytes(4, "big")) * 1000,
    "maps.amdcop": lambda: b"\xdf\x7f\xff\xff\xff" * 1000,
    "declared.amdcop": declared,
    "zstd.amlog": bomb_of_zstd,
    "lists.amlog": lambda: MAGIC + b"\x01\x00" + framing.block(b"H", (b"\xdd" + (2**31 - 1).to_bytes(4, "big")) * 1000),
    "length.amlog": lambda: MAGIC + b"\x01\x00" + b"ABLKH" + b"\xff" * 12,
}

UNDER_A_LIMIT = """
    import resource, sys, time
    from pathlib import Path
    import agentsim
    from agentsim.record.log import LogDamaged
    try:
        import zstandard
    except ImportError:
        pass
    resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]), int(sys.argv[1])))
    resource.setrlimit(resource.RLIMIT_CPU, (120, 120))
    for name in sys.argv[2:]:
        try:
            if name.endswith(".amlog"):
                log = agentsim.open_log(name)
                found = log.summary()
                print(name, "|", found["damaged"] or f"{name}: header {found['header']}")
            else:
                print(name, "|", agentsim.load(name))
        except agentsim.UserError as error:
            print(name, "|", error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits on memory are a matter of the system")
def test_bombs_go_off_within_limits(tmp_path: Path) -> None:
    names = []
    for name, make in BOMBS.items():
        if name.startswith("zstd"):
            pytest.importorskip("zstandard")
        (tmp_path / name).write_bytes(make())
        names.append(name)
    # Numerical libraries reserve address space for each core; what is loaded comes on top of that.
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(UNDER_A_LIMIT), str(3 << 30), *names],
        capture_output=True, text=True, cwd=tmp_path, timeout=240, check=False,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    told = dict(line.split(" | ", 1) for line in done.stdout.splitlines())
    assert set(told) == set(names)
    for name, words in told.items():
        assert name in words, f"{name}: {words}"
        assert words.isprintable()
        assert "cannot be read (MemoryError)" not in words


# Time: what used to take quadratic time, or longer


def slow_aliases() -> str:
    keys = ", ".join(f"k{i}: 1" for i in range(10_000))
    return f"a: &a {{{keys}}}\nb:\n" + "".join(f" c{i}: {{<<: *a}}\n" for i in range(10_000))


def slow_values() -> str:
    lines = "".join(f" v{i}: {{domain: d, initial_value: {i + 1}.0}}\n" for i in range(2_000))
    return "domains: {d: {values: [1 .. 200000]}}\nvariables:\n" + lines


def slow_strings() -> str:
    long = "n" * 1_000_000
    values = ", ".join(f"v{i}" for i in range(2_000))
    return f"domains: {{d: {{values: [{values}, {long}]}}}}\nvariables: {{x: {{domain: d}}}}\n" + intention("x == 'v1'")


def slow_functions() -> str:
    variables = ",".join(f'"x{i}":2' for i in range(10_000))
    functions = ",".join(f'"f{i}":{{"scope":[{i}],"costs":[0,1]}}' for i in range(5_000))
    return f'{{"problem":{{"name":"p"}},"variables":{{{variables}}},"functions":{{{functions}}}}}'


SLOW: dict[str, tuple[Callable[[], object], str]] = {
    "aliases": (lambda: yaml(slow_aliases()), "its aliases expand"),
    "initial values": (lambda: yaml(slow_values()), ""),
    "strings": (lambda: yaml(slow_strings()), ""),
    "functions": (lambda: cfn.read(slow_functions(), "p.cfn"), ""),
    "comments": (lambda: cfn.read("{" + "/* " * 300_000, "p.cfn"), "a comment is not closed"),
    "keys": (lambda: parse_toml("name." + ".".join("a" * 100_000) + " = 1", "s.toml"), "more than 20 parts"),
    "columns": (lambda: rows(",".join(f"problem.k{i}" for i in range(20_000))), "20000 columns, more than 1000"),
}


def rows(text: str) -> object:
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(text)
        file.flush()
        return list(read_rows(Path(file.name), "t.csv"))


@pytest.mark.skipif(sys.platform == "win32", reason="no timer of CPU time")
@pytest.mark.parametrize("name", SLOW)
def test_long_input_takes_time_in_proportion(name: str) -> None:
    """The timer is for what would hang: each of these took from seconds to hours, and takes a fraction of one."""
    ask, said = SLOW[name]

    def too_long(*_: object) -> None:
        raise AssertionError(f"{name}: still at it after 20 s of CPU time")

    before = signal.signal(signal.SIGVTALRM, too_long)
    signal.setitimer(signal.ITIMER_VIRTUAL, 20)
    try:
        assert said in complaint(ask)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def test_spec_that_cannot_be_shown_is_told() -> None:
    for key in ("name", "seeds", "check-cost", "limits", "table"):
        with pytest.raises(UserError, match="something too large to be shown"):
            parse_spec(f"{key} = 0x{'f' * 20_000}", "s.toml", Path())


def test_key_of_twenty_parts_is_read() -> None:
    assert parse_toml(".".join("a" * 20) + " = 1", "s.toml")
    assert parse_toml(f'a = "{".".join("a" * 100)}"', "s.toml")
    with pytest.raises(UserError, match=r"^s\.toml: not TOML: a key of more than 20 parts \(at line 2\)$"):
        parse_toml("b = 1\n" + " . ".join(["'a'"] * 21) + " = 1", "s.toml")


@pytest.mark.parametrize("variables", [32, 33])
def test_constraint_of_so_many_variables(variables: int) -> None:
    names = [f"x{i}" for i in range(variables)]
    ones = " ".join(["1"] * variables)
    texts = {
        "p.yaml": "domains: {d: {values: [0]}}\nvariables:\n" + "".join(f" {n}: {{domain: d}}\n" for n in names)
        + intention(" + ".join(names)),
        "p.wcsp": f"p {variables} 1 1 9\n{ones}\n{variables} {words(variables)} 0 0",
        "p.cfn": f"{{problem: {{name: p}}, variables: {{{', '.join(f'{n}: 1' for n in names)}}}, "
        f"functions: {{f: {{scope: [{' '.join(names)}], costs: [3]}}}}}}",
    }  # fmt: skip
    for source, text in texts.items():
        module = {"p.yaml": pydcop_yaml, "p.wcsp": wcsp, "p.cfn": cfn}[source]
        said = complaint(lambda module=module, text=text, source=source: module.read(text, source))
        assert (said == "") is (variables <= 32), f"{source}: {said}"
        assert not said or "32" in said


def test_table_that_contradicts_the_bounds_on_one_table_is_refused() -> None:
    with pytest.raises(ProblemError, match=r"more than the 20000000 allowed"):
        yaml(table(4500**2))


@pytest.mark.parametrize("levels", [60, 61])
def test_packed_values_are_nested_so_deep(levels: int, tmp_path: Path) -> None:
    value: object = 0
    for _ in range(levels - 1):
        value = [value]
    problem = Problem.build([Variable("x", Domain("d", (0, 1)))])
    packed = encode_problem(problem)
    packed["extras"] = {"x": value}
    assert ("nested deeper than 60 levels" in complaint(lambda: load_bytes(msgpack.packb(packed)))) is (levels > 60)

    path = tmp_path / "run.amlog"
    header = framing.block(b"H", msgpack.packb({"x": value}))
    finding = framing.block(b"R", msgpack.packb(("result", {"x": value if levels > 60 else 0})))
    for blocks in (header, framing.block(b"H", b"\x80") + finding):
        path.write_bytes(MAGIC + b"\x01\x00" + blocks)
        damaged = agentsim.open_log(path).summary()["damaged"]
        assert ("nested deeper than 60 levels" in str(damaged)) is (levels > 60)
