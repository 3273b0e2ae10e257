"""Everything that reads what comes from elsewhere, behind one seam: a callable from bytes.

Such a callable returns, or raises one of `ALLOWED` with one printable line; anything else is a finding, and so is one
that takes longer than `MAX_SECONDS` of CPU time, or more than `MAX_GROWTH` of memory, for an input of some kilobytes.
The callables sit below the last resort of `agentsim.load`, which would hide what the readers themselves let through.
"""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import framing
import msgpack

import agentsim
from agentsim.dcop import expressions
from agentsim.dcop.formats import amdcop, cfn, pydcop_yaml, wcsp, xcsp
from agentsim.dcop.formats.yaml_nodes import Document
from agentsim.dcop.problem import Domain, Problem, Variable
from agentsim.errors import FormatError, UserError
from agentsim.record import replay, results, results_store, verify
from agentsim.record.log import LogDamaged
from agentsim.record.reader import Log
from agentsim.runtime.messages import Codec, MessageError, unpack
from agentsim.runtime.network import Network
from agentsim.runtime.observer import ObserverView
from agentsim.runtime.registry import make_params
from agentsim.runtime.result import jsonable
from agentsim.runtime.setup import find_solver
from agentsim.runtime.simulate import make_observers, parse_observer
from privacy.dpcop.model import Dpcop
from scenarios.commands.options import parse_pairs
from scenarios.sweeps.spec import parse_spec

ALLOWED: Final = (UserError, LogDamaged, MessageError)
"""What a reader may raise: the input's fault, told in one line."""
MAX_SECONDS: Final = 4.0
MAX_GROWTH: Final = 700 << 20
MAX_LINE: Final = 2_000
SOURCE: Final = "input"

Read = Callable[[bytes], object]


class Finding(AssertionError):
    """A reader did what no reader may do."""


def attempt(read: Read, data: bytes) -> str:
    """Return what the reader says of an input, "" if it took it; Finding unless that is one printable line."""
    try:
        read(data)
    except ALLOWED as error:
        line = str(error)
        if not line.strip() or not line.isprintable() or len(line) > MAX_LINE:
            raise Finding(f"the complaint is not one printable line: {line[:300]!r}") from error
        return line
    return ""


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise FormatError(SOURCE, "", "not UTF-8 text") from None


def _keep(problem: Problem) -> Problem:
    """Return a problem that was read, if a log's header takes it."""
    amdcop.dump_bytes(problem)
    return problem


# Problem files


def read_yaml(data: bytes) -> object:
    return _keep(pydcop_yaml.read(_text(data), SOURCE, 3))


def read_xml(data: bytes) -> object:
    return _keep(xcsp.read(data, SOURCE))


def read_wcsp(data: bytes) -> object:
    return _keep(wcsp.read(_text(data), SOURCE))


def read_cfn(data: bytes) -> object:
    return _keep(cfn.read(_text(data), SOURCE))


def read_amdcop(data: bytes) -> object:
    return _keep(amdcop.load_bytes(data, SOURCE))


_DOMAINS: Final = {"x": (0, 1, 2, 5), "y": (-1, 0.5, 7), "name": ("R", "", "a b"), "flag": (True, False)}


def read_expression(data: bytes) -> object:
    found = expressions.parse(_text(data), SOURCE, "line 1")
    scope = [name for name in found.names if name in _DOMAINS]
    return found.tabulate(scope, [_DOMAINS[name] for name in scope], {"z": 3})


_PLACED: Final = """
name: placed
objective: min
domains: {d: {values: [0, 1]}}
variables: {x: {domain: d}, y: {domain: d}, z: {domain: d}}
constraints: {c: {type: intention, function: x + y + z}}
agents: [a, b, c]
"""


def read_distribution(data: bytes) -> object:
    return pydcop_yaml.read(_PLACED, "placed", 0, (_text(data), SOURCE))


@functools.cache
def _tiny() -> Problem:
    domain = Domain("d", (0, 1))
    variables = [Variable("x", domain, "a", [0, 3]), Variable("y", domain, "b", [1, 0])]
    table = [[0, 4], [2, 1]]
    return Problem.build(variables, [agentsim.Constraint("c", ("x", "y"), table)], name="tiny")


def read_privacy(data: bytes) -> object:
    """Read a section from YAML, or from msgpack as a log's header has it."""
    import dataclasses

    if data[:1] >= b"\x80":
        section: Any = _unpacked(data)
    else:
        document = Document(_text(data), SOURCE)
        section = document.plain(document.root)
    model = Dpcop.of(dataclasses.replace(_tiny(), extras={"privacy": section}))
    return None if model is None else model.attached()


def _unpacked(data: bytes) -> object:
    try:
        return msgpack.unpackb(data, strict_map_key=False)
    except Exception:
        raise FormatError(SOURCE, "", "not msgpack") from None


# Logs


def read_log(data: bytes) -> object:
    """Read a file as a log, in every way there is."""
    log = Log(data)
    found = log.summary()
    for _ in log:
        pass
    return jsonable(found)


def read_records(data: bytes) -> object:
    """Read deliveries and their messages, framed as a log would have them: `framing` says how."""
    log = Log(framing.log(data, _logged().header))
    return [jsonable(record) for record in log.records()] + list(log)


def read_header(data: bytes) -> object:
    """Read a header, and all that replay makes of it."""
    log = Log(framing.log(b"\0" + framing.END, data))
    if log.header is None or (cls := log.solver) is None:
        return None
    return replay.setup_of(log, cls, log.header)


@dataclass(frozen=True)
class _Logged:
    """A real run's log, taken apart, so that only the records have to be read."""

    header: bytes
    records: bytes
    setup: Any
    solver: Any
    facts: Mapping[str, Any]


@functools.cache
def _logged(solver: str = "adopt") -> _Logged:
    result = agentsim.simulate(_tiny(), solver, seed=1, network="uniform:1,3+duplicate:.3")
    assert result.log is not None
    whole = result.log._source
    assert isinstance(whole, bytes)
    header, records = framing.taken_apart(whole)
    log = Log(whole)
    assert log.header is not None
    cls = find_solver(solver)[1]
    return _Logged(header, records, replay.setup_of(log, cls, log.header), cls, log.header)


def read_observe(data: bytes) -> object:
    """Replay records for observers, beneath a header that is in order."""
    logged = _logged()
    log = Log(framing.log(data, logged.header), logged.solver)
    slots = make_observers(["disclosures", "traffic"], logged.setup, logged.solver, "adopt", redacted=False)
    return replay._observe(log, logged.setup, logged.solver, slots)


def read_verify(data: bytes) -> object:
    """Run agents again on records, beneath a header that is in order."""
    logged = _logged()
    log = Log(framing.log(data, logged.header), logged.solver)
    return verify.verify(log, logged.setup, logged.solver, logged.facts, [])


# Results


def _folder(files: Mapping[str, bytes]) -> object:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as name:
        folder = Path(name) / SOURCE
        for path, data in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        return _everything_in(results.load_results(folder))


def _everything_in(found: results.Results) -> object:
    notes = [note for note in found.notes if not note.isprintable()]
    if notes:
        raise Finding(f"a note is not one printable line: {notes[0][:300]!r}")
    return found.run, found.cell, found._repr_html_()


_ABOUT: Final = b'{"format": "agentsim results", "format_version": 1, "kind": "sweep", "name": "fuzz"}'


@functools.cache
def _scratch() -> Path:
    return Path(tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None))


def read_about(data: bytes) -> object:
    (_scratch() / "about.json").write_bytes(data)
    return results_store.read_about(_scratch())


def read_part(data: bytes) -> object:
    """Read a part of a folder of results: one file's bytes stand for its cells, and for its runs."""
    return _folder({"about.json": _ABOUT, "cell/part-00001.parquet": data, "run/part-00001.parquet": data})


# Sweeps


def read_spec(data: bytes) -> object:
    return parse_spec(_text(data), SOURCE, Path(__file__).parent / "no-such-folder")


def read_table(data: bytes) -> object:
    """Read a CSV table as a spec that names it would."""
    (_scratch() / "cells.csv").write_bytes(data)
    return parse_spec('table = "cells.csv"', SOURCE, _scratch())


# The command line's texts


_AGENTS: Final = ("a", "b", 'c"d', "e:f,g", "h i")


def read_network(data: bytes) -> object:
    network = Network.parse(_text(data), _AGENTS)
    channel = network.channel(1, "x", "y", "a")
    return [network.transmit(channel, at, "a", "b") for at in (0.0, 1.5, 40.0)]


def read_view(data: bytes) -> object:
    view = ObserverView.parse(_text(data), _AGENTS)
    again = ObserverView.parse(view.spec, _AGENTS)
    if again != view:
        raise Finding(f"{view.spec!r} is read as {again.spec!r}")
    return view.viewers(_AGENTS)


def read_observer(data: bytes) -> object:
    """Read an observer's text and make the observer."""
    text = _text(data)
    parse_observer(text)
    logged = _logged()
    return make_observers([text], logged.setup, logged.solver, "adopt", redacted=False)


def read_parameter(data: bytes) -> object:
    """Read `-p` texts, one a line, for the solver that the first line names."""
    solver, *given = _text(data).split("\n")
    _, cls = find_solver(solver)
    return make_params(cls.Params, parse_pairs(given, "-p"), f"solver {solver}")


# Messages


@functools.cache
def _codecs() -> tuple[tuple[Codec, str], ...]:
    found = []
    for solver in ("adopt", "bnb-adopt-plus", "dpop", "maxsum", "p-gibbs", "once", "leader", "synchbb", "mgm2"):
        codec = Codec(find_solver(solver)[1].all_messages())
        found += [(codec, name) for name in codec.by_name]
    return tuple(found)


def read_message(data: bytes) -> object:
    """Decode a payload; the first byte says as which message."""
    codecs = _codecs()
    codec, name = codecs[data[0] % len(codecs)] if data else codecs[0]
    return codec.decode(name, data[1:])


def read_payload(data: bytes) -> object:
    return unpack(data)


READERS: Final[Mapping[str, Read]] = {
    "yaml": read_yaml,
    "expression": read_expression,
    "distribution": read_distribution,
    "privacy": read_privacy,
    "xml": read_xml,
    "wcsp": read_wcsp,
    "cfn": read_cfn,
    "amdcop": read_amdcop,
    "log": read_log,
    "records": read_records,
    "header": read_header,
    "observe": read_observe,
    "verify": read_verify,
    "about": read_about,
    "part": read_part,
    "spec": read_spec,
    "table": read_table,
    "network": read_network,
    "view": read_view,
    "observer": read_observer,
    "parameter": read_parameter,
    "message": read_message,
    "payload": read_payload,
}
"""Every reader by name."""
