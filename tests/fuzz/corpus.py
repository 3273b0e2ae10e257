"""What fuzzing begins with: small inputs that are in order, and the words of each format."""

from __future__ import annotations

import functools
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import framing
import msgpack
import mutation
import readers
import words

import agentsim
from agentsim.dcop.formats import amdcop
from agentsim.record import results_parts
from agentsim.record.reader import Log
from agentsim.runtime import registry
from agentsim.runtime.setup import find_solver

HERE: Final = Path(__file__).resolve().parent
_TESTS: Final = HERE.parent
_ROOT: Final = _TESTS.parent
_MOST_BYTES: Final = 900


def _files(*suffixes: str) -> Iterator[bytes]:
    """Yield the small problem files of the repository, and those that AGENTSIM_INSTANCES names."""
    folders = [_TESTS / "agentsim" / "dcop" / "formats" / "data", _ROOT / "scenarios"]
    if instances := os.environ.get("AGENTSIM_INSTANCES"):
        folders.append(Path(instances))
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.suffix in suffixes and path.stat().st_size <= _MOST_BYTES:
                yield path.read_bytes()


def _problems() -> list[agentsim.Problem]:
    return [agentsim.load(path) for path in sorted((_TESTS / "agentsim/dcop/formats/data").iterdir())]


_YAML: Final = """
name: all
objective: max
domains: {d: {values: [0, 1]}, e: {values: [1 .. 3], type: t}, f: {values: [R, G]}}
variables:
  x: {domain: d, initial_value: 1, cost_range: [0, 9]}
  y: {domain: e, cost_function: y * 2, noise_level: 0.1, role: r}
  z: {domain: f}
external_variables: {s: {domain: d, initial_value: 0}}
constraints:
  c: {type: intention, function: x + y if z == 'R' else s, known_to: all}
  e: {type: extensional, variables: [x, z], default: 0, values: {5: 0 R | 1 G}, owner: a}
agents: [a, b]
distribution_hints: {must_host: {a: [x]}}
constant: 3
"""
_SMALLEST_YAML: Final = """
domains: {d: {values: [0, 1]}}
variables: {x: &v {domain: d}, y: *v}
constraints: {c: {type: intention, function: "if y:\\n return x\\nreturn 1", partial: {}}}
"""
_EXPRESSIONS: Final = (
    *("x + y * 2", "1 if x == 1 and not flag else y ** 2 // 3", "min(x, y) + max([x, 1, z])", "abs(-x) % 2"),
    *("1000 if name == 'R' else len(name)", "if x > y:\n  return 1\nelse:\n  return x\n", "a = x\na += y\nreturn a"),
    *("round(x / 3, 2) + int(y)", "x in (0, 1) or name not in ['R', 'a b']", "sum((x, y, z))[0]", "str(x) + name"),
)
_DISTRIBUTION: Final = """
distribution:
  a: [x, y]
  b: []
  c:
  - z
cost: 3
inputs: {algo: null, graph: pseudotree}
"""
_PRIVACY: Final = """
pricing: full
policy: zero
coalition: false
agents:
  a:
    reward: 200
    range: [0, 1000]
    secrets:
    - {name: early, entry: {x: 1}, price: 30}
    - {entry: {x: 0}, price: {b: 50}}
    combine: max
  b:
    range: hard
    secrets: [{name: s, entry: {y: 0}}, {name: t, entry: {y: 1}}]
    combine: [{peer: a, secrets: [s, t], price: 100}, {peer: a, secrets: [s], price: .5}]
"""
_XML: Final = """<instance><presentation name="p" maximize="true" format="XCSP 2.1_FRODO"/>
<agents nbAgents="2"><agent name="a"/><agent name="b"/></agents>
<domains nbDomains="2"><domain name="d" nbValues="3">1..3</domain><domain name="e">0 2.5</domain></domains>
<variables><variable name="x" domain="d" agent="a"/><variable name="y" domain="e" agent="b"/></variables>
<relations nbRelations="2">
<relation name="r" arity="2" semantics="soft" defaultCost="7">5: 1 0|2 2.5|-infinity: 3 0</relation>
<relation name="s" arity="1" nbTuples="1" semantics="conflicts">2</relation></relations>
<constraints nbConstraints="2"><constraint name="c" arity="2" scope="x y" reference="r" agent="a"/>
<constraint name="k" scope="x" reference="s" agent="PUBLIC"/></constraints></instance>
"""
_SPEC: Final = """
name = "scaling"
seeds = "5..9"
runs = 2
networks = ["unit", "uniform:1,10+loss:.1", "crash:a@3"]
observers = [["vps:rule=tight"], ["traffic", "disclosures"]]
check-cost = 0.5
table = ["cells.csv"]
[limits]
timeout = 60
max-messages = 1000000
max-time = 1e5
[[problem]]
generator = ["random-dcop", "ising"]
[[problem]]
generator = "random-dcop"
parameters = { agents = [5, 10], p = [0.3, 0.5] }
privacy = { policy = ["zero", "own_min"] }
[[problem]]
files = ["instances/*.yaml"]
[[solver]]
name = ["dpop", "mb-dpop"]
parameters = { memory = 1000000 }
[[cell]]
problem = { generator = "dimes", parameters = { people = 4 } }
solver = { name = "adopt", parameters = { order = "mcn" } }
network = "unit"
observers = ["disclosures"]
seed = 3
run = 0
limits = { timeout = 5 }
"""
_SMALL_SPEC: Final = """
seeds = 3
[[problem]]
generator = "random-dcop"
parameters = { agents = 5 }
[[solver]]
name = "dpop"
"""
_TABLE: Final = """generator,problem.agents,problem.p,solver,solver.order,network,observers,seed,run,max-messages
random-dcop,5,0.4,adopt,mcn,unit,none,3,0,100
random-dcop,6,,adopt,"a,b","uniform:1,10",traffic;disclosures,"1",,
"""
_TABLE_OF_FILES: Final = "file,privacy,solver,check-cost\nx.yaml,off,dpop,.5\nno.xml,,mgm,\n"
_NETWORKS: Final = (
    *("unit", "constant:2", "uniform:1,10+loss:.1+reliable", "exponential:3+duplicate:.2+reorder", "lognormal:0,1"),
    *("unit+partition:a|b@1-5+crash:a@3-4", 'unit+slow:"h i"*3+crash:"e:f,g"@2', 'unit+partition:a,b|"e:f,g"@0-9'),
    *(
        "priority:4,10",
        "burst:20",
        "unit+hold:a>b@1-9",
        "unit+hold:*>a@0-5",
        "unit+late:a>b@3*20",
        "burst:3+late:b>a@1*2",
    ),
)
_VIEWS: Final = ("all", "agent:a", "coalition:a+b", "wire:a>b", "coalitions:2", 'coalition:"e:f,g"+h i', 'agent:"h i"')
_PARAMETERS: Final = (
    "adopt\norder=mcn\nroot=x",
    "p-gibbs\nsigma=25\ngamma=inf\nq=.1",
    "dsa\nvariant=B\np=.7",
    "mb-dpop\nk=3",
)


@functools.cache
def _logs() -> tuple[bytes, ...]:
    return tuple(_made())


def _made() -> Iterator[bytes]:
    for solver in ("adopt", "dpop", "synchbb", "mgm2", "sd-gibbs", "leader"):
        for options in ({}, {"network": "uniform:1,5+loss:.2+reliable"}, {"redact": True}):
            result = agentsim.simulate(readers._tiny(), solver, seed=1, observers=["disclosures"], **options)
            assert result.log is not None
            yield result.log._source  # type: ignore[misc]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.zst"
        agentsim.simulate(readers._tiny(), "adopt", log=path)
        yield path.read_bytes()


def _messages() -> Iterator[bytes]:
    codecs = readers._codecs()
    for i, (codec, name) in enumerate(codecs):
        yield bytes((i,)) + msgpack.packb([0] * len(codec.by_name[name].fields))
    for log in _logs():
        for record in Log(log).records():
            if type(record[0]) is int:
                yield from (bytes((i,)) + record[10] for i, (_, name) in enumerate(codecs) if name == record[6])


def _parts() -> Iterator[bytes]:
    cell = results_parts.Cell("{}", "done", None, None, 1.0, {})
    with tempfile.TemporaryDirectory() as name:
        for table in results_parts.TABLES:
            (Path(name) / table).mkdir()
        results_parts.write_part(Path(name), 1, [("k", cell), ("l", cell)], "1")
        for table in ("cell", "run"):
            yield (Path(name) / table / "part-00001.parquet").read_bytes()


def _about() -> Iterator[bytes]:
    yield readers._ABOUT
    yield json.dumps({**json.loads(readers._ABOUT), "spec": "x", "base": "y", "cells": 4, "version": "1"}).encode()


def _encoded(texts: Sequence[str]) -> list[bytes]:
    return [text.encode() for text in texts]


def _records() -> list[bytes]:
    found = [bytes((how,)) + _few(framing.taken_apart(log)[1]) for how, log in enumerate(_logs())]
    return found + _own_records()


def _few(records: bytes) -> bytes:
    """Return two records of each kind: more of them take time and show nothing new."""
    unpacker, seen, kept = msgpack.Unpacker(use_list=False), dict[object, int](), b""
    unpacker.feed(records)
    for record in unpacker:
        kind = record[6] if type(record[0]) is int else record[0]
        seen[kind] = seen.get(kind, 0) + 1
        if seen[kind] <= 2:
            kept += msgpack.packb(record)
    return kept


def _own_records() -> list[bytes]:
    """Return the records that go with the header beneath which they are replayed."""
    return [bytes((how,)) + readers._logged().records for how in (0, 1, 2, 3, 0x10)]


@dataclass(frozen=True)
class Start:
    """What fuzzing a reader begins with.

    Args:
        seeds: makes inputs that are in order.
        words: those of the format.
        mutate: a change that knows the format.
        length: the longest input that is tried, in bytes.
    """

    seeds: Callable[[], Sequence[bytes]]
    words: tuple[str, ...]
    mutate: mutation.Mutate
    length: int = 1500


def _names(*groups: str) -> tuple[str, ...]:
    return tuple(name for group in groups for name in registry.names(group))


def _fields(solver: str) -> tuple[str, ...]:
    params = find_solver(solver)[1].Params
    return tuple(getattr(params, "__dataclass_fields__", ()))


STARTS: Final[Mapping[str, Start]] = {
    "yaml": Start(
        lambda: [*_encoded((_YAML, _SMALLEST_YAML)), *_files(".yaml", ".yml")],
        words.YAML + words.EXPRESSION,
        mutation.tokens,
        900,
    ),
    "expression": Start(lambda: _encoded(_EXPRESSIONS), words.EXPRESSION, mutation.tokens, 1024),
    "distribution": Start(
        lambda: _encoded((_DISTRIBUTION,)),
        ("distribution", "x", "y", "z", "a", "b", "c", "- ", "[x]"),
        mutation.tokens,
        1024,
    ),
    "privacy": Start(
        lambda: [_PRIVACY.encode(), msgpack.packb({"agents": {"a": {"secrets": [{"entry": {"x": 0}, "price": 3}]}}})],
        (
            "reward",
            "range",
            "secrets",
            "entry",
            "price",
            "combine",
            "peer",
            "sum",
            "max",
            "hard",
            "full",
            "bits",
            "x",
            "y",
            "probability",
            "own_min",
            "own_tuple",
            "global_lb",
            "policy",
            "a",
            "b",
        ),
        mutation.either,
        1500,
    ),
    "xml": Start(lambda: [_XML.encode()], words.XML, mutation.tokens),
    "wcsp": Start(lambda: [*_files(".wcsp")], ("0", "1", "2", "-1", "10", "\n", " ", "knary"), mutation.tokens, 1500),
    "cfn": Start(
        lambda: [*_files(".cfn")],
        (
            "{",
            "}",
            "[",
            "]",
            ":",
            ",",
            '"',
            "problem",
            "mustbe",
            "<10",
            ">-5",
            "variables",
            "functions",
            "scope",
            "costs",
            "defaultcost",
            "type",
            "//",
            "/*",
            "#",
            "name",
        ),
        mutation.tokens,
        1500,
    ),
    "amdcop": Start(
        lambda: [amdcop.dump_bytes(p, redact=r) for p in [*_problems(), readers._tiny()] for r in (False, True)],
        ("<i1", "<i8", "<f8", "dtype", "shape", "data", "tables", "domains", "redacted", "extras", "scope", "all"),
        mutation.packed,
        1500,
    ),
    "log": Start(lambda: [*_logs()], ("AMLOG", "ABLK", "H", "R"), lambda data, rng, words: data),
    "records": Start(_records, words.RECORD, mutation.records),
    "header": Start(
        lambda: [framing.taken_apart(log)[0] for log in _logs()],
        ("tree", "orders", "unary", "constraints", "a", "x"),
        mutation.packed,
        1500,
    ),
    "observe": Start(_own_records, words.RECORD, mutation.records, 1500),
    "verify": Start(_own_records, words.RECORD, mutation.records, 1500),
    "about": Start(lambda: [*_about()], ("format", "format_version", "kind", "name"), mutation.tokens, 1024),
    "part": Start(lambda: [*_parts()], (), lambda data, rng, words: data, 8192),
    "spec": Start(
        lambda: _encoded((_SPEC, _SMALL_SPEC)),
        (
            "[[problem]]",
            "[[solver]]",
            "[[cell]]",
            "[limits]",
            "generator",
            "parameters",
            "preset",
            "files",
            "file",
            "privacy",
            "seeds",
            "runs",
            "networks",
            "observers",
            "check-cost",
            "table",
            "timeout",
            "1979-05-27",
            '"""',
            "'''",
            *_names("generators", "solvers", "observers"),
        ),
        mutation.tokens,
        1500,
    ),
    "table": Start(
        lambda: _encoded((_TABLE, _TABLE_OF_FILES)),
        (
            "generator",
            "file",
            "privacy",
            "privacy.policy",
            "solver",
            "observers",
            "network",
            "seed",
            "run",
            "check-cost",
            "timeout",
            "max-messages",
            "max-time",
            "problem.agents",
            "problem.p",
            "solver.order",
            "none",
            "off",
            '"',
            ",",
            "\n",
            *_names("generators", "solvers", "observers"),
        ),
        mutation.tokens,
        1500,
    ),
    "network": Start(
        lambda: _encoded(_NETWORKS),
        (
            "unit",
            "constant:",
            "uniform:",
            "exponential:",
            "lognormal:",
            "priority:",
            "burst:",
            "loss:",
            "duplicate:",
            "reorder",
            "partition:",
            "crash:",
            "slow:",
            "hold:",
            "late:",
            "reliable",
            "+",
            "@",
            "-",
            "|",
            "*",
            ">",
            '"',
            "a",
            "b",
        ),
        mutation.tokens,
        512,
    ),
    "view": Start(
        lambda: _encoded(_VIEWS),
        ("all", "agent:", "coalition:", "coalitions:", "wire:", "+", ">", '"', "a", "b"),
        mutation.tokens,
        256,
    ),
    "observer": Start(
        lambda: (
            [f"{n}:view={v}".encode() for n in _names("observers") for v in ("all", "agent:a")]
            + [b"vps:rule=tight,pool=2"]
        ),
        ("view=", "as=", "rule=", "=", ",", ":", '"', "agent:a", "wire:a>b", "all", "tight", *_names("observers")),
        mutation.tokens,
        512,
    ),
    "parameter": Start(
        lambda: _encoded(_PARAMETERS),
        ("=", "\n", *_names("solvers"), *sorted({key for s in _names("solvers") for key in _fields(s)})),
        mutation.tokens,
        512,
    ),
    "message": Start(lambda: [*_messages()], ("a", "x"), mutation.headed, 1024),
    "payload": Start(lambda: [m[1:] for m in _messages()], ("a", "x"), mutation.packed, 1024),
}
