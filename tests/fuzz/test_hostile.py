"""Files that are none, names that do things to a terminal, and what is said of them."""

import os
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import msgpack
import pytest

import agentsim
from agentsim import errors
from agentsim.dcop.formats import limits, pydcop_yaml
from agentsim.dcop.problem import Domain, Problem, Variable
from agentsim.errors import FormatError, UserError
from agentsim.record.log import MAGIC, LogDamaged, NotALog
from agentsim.runtime.mechanisms import SampledGaussian
from scenarios.sweeps.document import read_text

sys.path.insert(0, str(Path(__file__).resolve().parent))

import framing  # beside this file

TWO = "domains: {d: {values: [0, 1]}}\nvariables: {x: {domain: d}, y: {domain: d}}\n"


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


# Names


def test_complaint_is_one_printable_line_whatever_the_names_are() -> None:
    for name in ("a\nb", "\x1b[2J", "\u202eabc", "\0", "\ud800", "n" * 10_000, "\u202e" * 10_000):
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


# Complaints name the file and the place


@pytest.mark.parametrize("slow", [False, True])
def test_character_that_yaml_forbids_is_named_with_its_line(slow: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if slow:
        monkeypatch.delattr("yaml.CSafeLoader")
    with pytest.raises(FormatError, match=r"^p\.yaml: line 2: not YAML: the character U\+001B is not allowed$"):
        pydcop_yaml.read("name: é\nobjective: \x1b[2J\n", "p.yaml")


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
        path.write_bytes(MAGIC + b"\x01\x00" + framing.block(b"H", msgpack.packb({**whole, **change})))
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
    forged = framing.block(b"H", msgpack.packb(header)) + framing.block(
        b"R", msgpack.packb((*record[:4], "nobody", *record[5:]))
    )
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


# Parameters


def test_parameter_that_nothing_can_hold_is_refused() -> None:
    problem = Problem.build([Variable("x", Domain("d", (0, 1)))])
    for value in (2**63, -(2**63) - 1, str(10**30), 1e300):
        with pytest.raises(UserError, match=r"^solver dsa: rounds=.* is too large$"):
            agentsim.simulate(problem, "dsa", rounds=value)
    with pytest.raises(UserError, match=r"^solver dsa: p=nan is not a number$"):
        agentsim.simulate(problem, "dsa", p=float("nan"))


@pytest.mark.parametrize("multiplier", [1e151, 1e200, 1e308, float("inf")])
def test_noise_without_measure_tells_nothing(multiplier: float) -> None:
    assert SampledGaussian(multiplier, 0.1).moment(8) == 0.0
    assert SampledGaussian(1e149, 0.1).moment(8) == pytest.approx(0.0)
