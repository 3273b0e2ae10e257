"""Attacks by hand: bombs, files that are none, bounds at their edge, names that do things to a terminal."""

import os
import subprocess
import sys
import textwrap
import zlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import msgpack
import pytest

import agentsim
from agentsim import errors
from agentsim.dcop import expressions
from agentsim.dcop.formats import cfn, limits, pydcop_yaml, tuples, wcsp, xcsp, yaml_nodes
from agentsim.dcop.problem import Domain, Problem, Variable
from agentsim.errors import FormatError, ProblemError, UserError
from agentsim.record.log import MAGIC, LogDamaged, NotALog
from scenarios.sweeps.document import read_text

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
    "arity": (wcsp, "MAX_ARITY", 2, lambda n: wcsp.read(f"p 3 1 1 9 1 1 1 {n} {words(n)} 0 0", "p"), "is not in 0..2"),
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
    assert all(f"`{name}`" in (limits.__doc__ or "") for name in named - {"MAX_ARITY", "MAX_AXES", "MAX_DIGITS"})


def test_file_of_the_greatest_size_is_read(tmp_path: Path) -> None:
    path = tmp_path / "p.bin"
    path.write_bytes(b"abc")
    assert limits.read_file(path, 3) == b"abc"
    with pytest.raises(UserError, match="3 bytes, more than the 2 allowed"):
        limits.read_file(path, 2)


# Files that are none


def loads(path: Path) -> object:
    return agentsim.load(path)


def opens(path: Path) -> object:
    return agentsim.open_log(path).summary()


def specs(path: Path) -> object:
    return read_text(path, 1 << 20)


def results(path: Path) -> object:
    return agentsim.load_results(path)


READS = pytest.mark.parametrize(
    ("read", "suffix"),
    [
        (loads, ".yaml"),
        (loads, ".xml"),
        (loads, ".wcsp"),
        (loads, ".cfn"),
        (loads, ".amdcop"),
        (opens, ".amlog"),
        (specs, ".toml"),
        (results, ""),
    ],
)


@READS
@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "nothing", "nul", "long", "huge", "empty"])
def test_what_is_no_such_file_is_told_at_once(
    read: Callable[[Path], object], suffix: str, kind: str, tmp_path: Path
) -> None:
    path = tmp_path / f"file{suffix}"
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "device":
            path.symlink_to("/dev/zero")
        case "nul":
            path = tmp_path / f"a\0b{suffix}"
        case "long":
            path = tmp_path / ("a" * 5000 + suffix)
        case "huge":
            with path.open("wb") as file:
                file.truncate(10 << 30)
        case "empty":
            path.touch()
    if kind == "empty" and read is specs:
        assert read(path) == ""
        return
    with pytest.raises(UserError) as refused:
        read(path)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) <= errors.MAX_MESSAGE


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no file that grows while it is read")
def test_file_that_grows_while_it_is_read_is_refused() -> None:
    with pytest.raises(UserError, match=r"^/proc/self/maps: grows while it is read$"):
        limits.read_file("/proc/self/maps", 1 << 20)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_file_without_permission_is_told(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(TWO)
    path.chmod(0)
    with pytest.raises(UserError, match="Permission denied"):
        agentsim.load(path)


# Bombs, under a limit on memory


def bomb_of_zstd() -> bytes:
    import zstandard

    content = zstandard.ZstdCompressor(level=1).compress(bytes(1 << 28))
    return MAGIC + b"\x01\x01" + framed(b"H", content)


def framed(kind: bytes, content: bytes) -> bytes:
    head = b"ABLK" + kind + len(content).to_bytes(4, "little") + zlib.crc32(content).to_bytes(4, "little")
    return head + zlib.crc32(head).to_bytes(4, "little") + content


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
    "lists.amlog": lambda: MAGIC + b"\x01\x00" + framed(b"H", (b"\xdd" + (2**31 - 1).to_bytes(4, "big")) * 1000),
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


# Names


def test_complaint_is_one_printable_line_whatever_the_names_are() -> None:
    for name in ("a\nb", "\x1b[2J", "\u202eabc", "\0", "\ud800", "n" * 10_000):
        said = str(FormatError("p.yaml", f"variable {name}", "has no domain"))
        assert said.isprintable()
        assert said.startswith("p.yaml: variable ")
        assert said.endswith(": has no domain")
        assert len(said) <= errors.MAX_MESSAGE
        assert str(LogDamaged("run.amlog", 7, name)).isprintable()
    assert str(NotALog("é and ℵ are shown")) == "é and ℵ are shown"


HOSTILE = [
    "a\x1b[31mred",
    "b\u202eevil",
    "../../etc/x",
    "<script>alert(1)</script>",
    "n" * 3000,
    "\u2028sep",
    "q\"uo'te",
]


@pytest.mark.parametrize("suffix", [".yaml", ".amdcop", ".wcsp"])
def test_hostile_names_survive_writing_and_cannot_be_seen(suffix: str, tmp_path: Path) -> None:
    variables = [Variable(name, Domain("d", (0, 1)), initial=1) for name in HOSTILE]
    constraints = [agentsim.Constraint(f"c{a}", (a, b), [[0, 1], [2, i]]) for i, (a, b) in enumerate(pairwise(HOSTILE))]
    problem = Problem.build(variables, constraints, name="p\x1b[2J\u202e")
    path = tmp_path / f"p{suffix}"
    agentsim.save(problem, path)
    again = agentsim.load(path)
    if suffix != ".wcsp":
        assert list(again.variables) == HOSTILE
        assert [c.scope for c in again.constraints.values()] == [c.scope for c in problem.constraints.values()]
        assert again.name == problem.name
    if suffix != ".amdcop":
        assert path.read_text("utf-8").replace("\n", "").isprintable()


def test_half_a_surrogate_pair_is_told_when_written(tmp_path: Path) -> None:
    problem = Problem.build([Variable("\ud800", Domain("d", (0, 1)))])
    with pytest.raises(UserError, match="half of a surrogate pair"):
        agentsim.save(problem, tmp_path / "p.yaml")


def test_table_that_contradicts_the_bounds_on_one_table_is_refused() -> None:
    with pytest.raises(ProblemError, match=r"more than the 20000000 allowed"):
        yaml(table(4500**2))


# Complaints name the file and the place


@pytest.mark.parametrize("slow", [False, True])
def test_character_that_yaml_forbids_is_named_with_its_line(slow: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if slow:
        monkeypatch.delattr("yaml.CSafeLoader")
    with pytest.raises(FormatError, match=r"^p\.yaml: line 2: not YAML: the character U\+001B is not allowed$"):
        yaml("name: é\nobjective: \x1b[2J\n")


def test_what_a_logs_header_lacks_is_told_with_the_logs_name(tmp_path: Path) -> None:
    path = tmp_path / "run.amlog"
    agentsim.simulate(Problem.build([Variable("x", Domain("d", (0, 1)))]), "dpop", log=path)
    whole = agentsim.open_log(path).header
    assert whole is not None
    forged = {
        "header: objective 'best': must be min or max": {"problem": {**whole["problem"], "objective": "best"}},
        "header: solver dpop has no parameter 'speed'": {"params": {"speed": 1}},
        "header: the log's header has a malformed tree or order": {"places": {"tree": None, "orders": [["y"]]}},
    }
    for said, change in forged.items():
        path.write_bytes(MAGIC + b"\x01\x00" + framed(b"H", msgpack.packb({**whole, **change})))
        with pytest.raises(UserError) as refused:
            agentsim.replay(path)
        assert str(refused.value).startswith(f"{path}: {said}")


def test_delivery_between_nodes_that_are_not_there_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "run.amlog"
    variables = [Variable(name, Domain("d", (0, 1))) for name in ("x", "y")]
    problem = Problem.build(variables, [agentsim.Constraint("c", ("x", "y"), [[0, 1], [1, 0]])])
    agentsim.simulate(problem, "dpop", log=path)
    header = agentsim.open_log(path).header
    record = next(iter(agentsim.open_log(path).records()))
    assert type(record[0]) is int
    forged = framed(b"H", msgpack.packb(header)) + framed(b"R", msgpack.packb((*record[:4], "nobody", *record[5:])))
    path.write_bytes(MAGIC + b"\x01\x00" + forged)
    found = agentsim.replay(path, ["disclosures"])
    assert found.damaged is not None
    assert found.damaged.endswith("delivery 1: no node is called 'nobody'")
    assert not found.complete


def test_number_that_is_none_draws_no_warning() -> None:
    signalling = b"\x01\x00\x80\x7f" * 2  # widening it makes numpy warn
    good = agentsim.dcop.formats.encode_problem(Problem.build([Variable("x", Domain("d", (0, 1)), unary=[0.5, 1])]))
    good["tables"] = [{"dtype": "<f4", "shape": [2], "data": signalling}]
    with pytest.raises(UserError, match="a cost is NaN"):
        agentsim.dcop.formats.load_bytes(msgpack.packb(good), "p.amdcop")
