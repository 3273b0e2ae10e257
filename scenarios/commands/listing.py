"""`agentsim list`: what is registered, with parameters and defaults."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from rich.console import Console

KINDS: Final = ("solvers", "observers", "generators", "aggregators", "networks", "experiments", "adversaries")

NETWORKS: Final = (
    ("unit", "every message takes 1: an instant is a cycle", "latency"),
    ("constant:S", "every message takes S", "latency"),
    ("uniform:LO,HI", "uniform between LO and HI", "latency"),
    ("exponential:MEAN", "exponential", "latency"),
    ("lognormal:MU,SIGMA", "log-normal", "latency"),
    (
        "priority:LEVELS[,STAY]",
        "4**level times a draw from 1 to 2; each pair draws a level and keeps it for STAY packets or so (10)",
        "latency",
    ),
    ("burst:PERIOD", "at the receiver's next multiple of PERIOD that is at least 1 later", "latency"),
    ("loss:P", "each message is lost with probability P", "modifier"),
    ("duplicate:P", "each message arrives twice with probability P", "modifier"),
    ("reorder", "messages of a pair may overtake each other", "modifier"),
    ("partition:A,B|C@T1-T2", "two groups of agents cannot reach each other from T1 to T2", "modifier"),
    ("crash:NAME@T", "the agent crashes at T, for good", "modifier"),
    (
        "crash:NAME@T1-T2",
        "the agent crashes at T1 and restarts at T2, recovering its state if reliable",
        "modifier",
    ),
    ("slow:NAME*F", "what the agent sends takes F times as long", "modifier"),
    ("hold:A>B@T1-T2", "what would arrive from A at B from T1 to T2 arrives at T2; A or B may be *", "modifier"),
    ("late:A>B@N*T", "the N-th message from A to B takes T", "modifier"),
    ("reliable", "acknowledgement, retransmission and resequencing beneath the algorithm", "modifier"),
)


@click.command("list")
@click.argument("kind", type=click.Choice(KINDS))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def list_(kind: str, as_json: bool) -> int:
    """List what there is of KIND, with parameters and their defaults.

    Networks are written as a latency and modifiers joined by +, such as uniform:1,10+loss:.1+reliable.
    """
    from scenarios.screen import console, print_json, table, text

    own = {"networks": networks, "adversaries": adversaries}
    rows = own[kind]() if kind in own else registered(kind)
    if as_json:
        print_json({kind: rows})
        return 0
    out = console()
    if not rows:
        out.print(text(f"no {kind} yet"))
        return 0
    if kind == "networks":
        out.print(table(("write", "meaning", "kind"), [(r["name"], r["summary"], r["kind"]) for r in rows], left=3))
        return 0
    if kind == "aggregators":
        _show_aggregators(out, rows)
        return 0
    lines = [(row["name"], row["status"], row["summary"], _given(row)) for row in rows]
    out.print(table(("name", "status", "summary", "parameters"), lines, left=4))
    for row in rows:
        if row.get("presets"):
            names = ", ".join(preset["name"] for preset in row["presets"])
            out.print(text(f"{row['name']} -p preset=NAME, published experiments: {names}"))
    return 0


def networks() -> list[dict[str, Any]]:
    """Return the latency models and modifiers."""
    return [{"name": name, "summary": summary, "kind": kind} for name, summary, kind in NETWORKS]


def adversaries() -> list[dict[str, Any]]:
    """Return the adversaries, with what they do and their parameters."""
    from scenarios.adversaries import ADVERSARIES

    return [
        {"name": name, "summary": cls.summary(), "status": cls.kind, "parameters": parameters(cls)}
        for name, cls in ADVERSARIES.items()
    ]


def registered(kind: str) -> list[dict[str, Any]]:
    """Return a row for each registered one of a kind; one that cannot be imported says so."""
    from agentsim.runtime import registry

    rows: list[dict[str, Any]] = []
    for name in registry.names(kind):
        try:
            found = registry.find(kind, name)
        except Exception as error:  # whatever somebody else's package does while it is imported
            rows.append({"name": name, "summary": f"cannot be loaded: {error}", "status": "broken", "parameters": []})
            continue
        row = {
            "name": name,
            "summary": _summary(found, of_module=kind in ("solvers", "experiments")),
            "status": str(getattr(found, "status", "tested")),
            "parameters": parameters(found if kind == "aggregators" else getattr(found, "Params", None)),
        }
        more = {"aggregators": _examined, "generators": _presets}.get(kind)
        rows.append(row | more(name) if more else row)
    return rows


def _presets(name: str) -> dict[str, Any]:
    """Return the presets of a generator, with what the paper prints and how it is read."""
    from scenarios.generators.presets import PRESETS

    shown = ("name", "summary", "paper", "ours", "instances", "runs")
    found = [{key: getattr(p, key) for key in shown} for p in PRESETS.values() if p.generator == name]
    return {"presets": found}


def _examined(name: str) -> dict[str, Any]:
    """Return what is found out about an aggregator with default parameters; one that cannot be examined says so."""
    from privacy.aggregators import TAU, parse_aggregators
    from privacy.attitudes import check, classify

    try:
        aggregate = parse_aggregators(name)[name]
        tau = float(getattr(aggregate, "tau", TAU))
        properties, attitudes = check(aggregate, tau=tau), classify(aggregate, tau=tau)
    except Exception as error:  # whatever somebody else's aggregator does when it is called
        return {"status": "broken", "summary": f"cannot be examined: {type(error).__name__}: {error}"}
    return {
        "axioms": properties.axioms,
        "idempotent": properties.idempotent.holds,
        "tau": tau,
        "attitudes": attitudes.verdicts,
        "attitudes_with_zero": attitudes.verdicts_with_zero,
        "counterexamples": {
            broken: {"inputs": example.inputs, "outputs": example.outputs}
            for broken, example in properties.counterexamples().items()
        },
    }


def _show_aggregators(out: Console, rows: Iterable[dict[str, Any]]) -> None:
    """Show aggregators with the axioms they keep and their attitudes; what is broken has neither."""
    from scenarios.screen import table, text

    lines, with_zero = [], []
    for row in rows:
        axioms = " ".join(number if holds else "-" for number, holds in row.get("axioms", {}).items()) or "-"
        idempotent = {True: "yes", False: "no", None: "-"}[row.get("idempotent")]
        attitudes = row.get("attitudes", dict.fromkeys(("high", "low", "combined"), "-"))
        lines.append((row["name"], axioms, idempotent, *attitudes.values(), row["summary"], _given(row)))
        if row.get("attitudes_with_zero", attitudes) != attitudes:
            with_zero.append(f"{row['name']} {'/'.join(row['attitudes_with_zero'].values())}")
    columns = ("name", "axioms", "idempotent", "high", "low", "combined", "summary", "parameters")
    out.print(table(columns, lines, left=len(columns)))
    out.print(
        text("Attitudes to losses above tau, below it, and both: pess(imistic), opt(imistic), neut(ral); mixed is")
    )
    out.print(text("none of them on every input. All this is searched, not proved; --json has the counterexamples."))
    if with_zero:
        out.print(text(f"Where one agent leaks nothing: {', '.join(with_zero)}."))


def parameters(cls: object) -> list[dict[str, Any]]:
    """Return name, type, default and meaning of each field of a parameter dataclass."""
    if not dataclasses.is_dataclass(cls):
        return []
    meanings: dict[str, str] = {}
    for base in reversed(inspect.getmro(cls if isinstance(cls, type) else type(cls))):
        meanings.update(_arguments(base.__doc__ or ""))
    return [
        {
            "name": f.name,
            "type": f.type if isinstance(f.type, str) else getattr(f.type, "__name__", str(f.type)),
            "default": None if f.default is dataclasses.MISSING else f.default,
            "meaning": meanings.get(f.name, ""),
        }
        for f in dataclasses.fields(cls)
    ]


def _arguments(doc: str) -> dict[str, str]:
    """Return the entries of a docstring's `Args:` section."""
    _, _, section = inspect.cleandoc(doc).partition("Args:\n")
    found = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", section.split("\n\n")[0], flags=re.M)
    return {name: " ".join(meaning.split()) for name, meaning in found}


def _summary(found: object, *, of_module: bool) -> str:
    """Return the first line of documentation: of the module, which cites the paper, or of the class."""
    module = sys.modules.get(getattr(found, "__module__", ""))
    doc = (module.__doc__ if of_module and module is not None else None) or found.__doc__ or ""
    return inspect.cleandoc(doc).partition("\n")[0]


def _given(row: dict[str, Any]) -> str:
    """Return the parameters of a row with their defaults."""
    from scenarios.screen import plain

    return ", ".join(f"{plain(p['name'])}={plain(_shown(p['default']))}" for p in row["parameters"]) or "-"


def _shown(default: object) -> str:
    return "none" if default is None or default == () else str(default)
