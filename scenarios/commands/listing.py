"""`agentsim list`: what is registered, with parameters and defaults."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from typing import Any, Final

import click

KINDS: Final = ("solvers", "observers", "generators", "aggregators", "networks", "experiments")

NETWORKS: Final = (
    ("unit", "every message takes 1: an instant is a cycle", "latency"),
    ("constant:S", "every message takes S", "latency"),
    ("uniform:LO,HI", "uniform between LO and HI", "latency"),
    ("exponential:MEAN", "exponential", "latency"),
    ("lognormal:MU,SIGMA", "log-normal", "latency"),
    ("loss:P", "each message is lost with probability P", "modifier"),
    ("duplicate:P", "each message arrives twice with probability P", "modifier"),
    ("reorder", "messages of a pair may overtake each other", "modifier"),
    ("partition:A,B|C@T1-T2", "two groups of agents cannot reach each other from T1 to T2", "modifier"),
    ("crash:NAME@T", "the agent crashes at T, for good", "modifier"),
    ("crash:NAME@T1-T2", "the agent crashes at T1 and starts anew at T2", "modifier"),
    ("slow:NAME*F", "what the agent sends takes F times as long", "modifier"),
    ("reliable", "acknowledgement, retransmission and resequencing beneath the algorithm", "modifier"),
)


@click.command("list")
@click.argument("kind", type=click.Choice(KINDS))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def list_(kind: str, as_json: bool) -> int:
    """List what there is of KIND, with parameters and their defaults.

    Networks are written as a latency and modifiers joined by +, such as uniform:1,10+loss:.1+reliable.
    """
    from scenarios.screen import console, plain, print_json, table, text

    rows = networks() if kind == "networks" else registered(kind)
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
    lines = []
    for row in rows:
        given = ", ".join(f"{plain(p['name'])}={plain(_shown(p['default']))}" for p in row["parameters"])
        lines.append((row["name"], row["status"], row["summary"], given or "-"))
    out.print(table(("name", "status", "summary", "parameters"), lines, left=4))
    return 0


def networks() -> list[dict[str, Any]]:
    """Return the latency models and modifiers."""
    return [{"name": name, "summary": summary, "kind": kind} for name, summary, kind in NETWORKS]


def registered(kind: str) -> list[dict[str, Any]]:
    """Return a row for each registered solver, observer or generator; one that cannot be imported says so."""
    from agentsim.runtime import registry

    rows: list[dict[str, Any]] = []
    for name in registry.names(kind):
        try:
            found = registry.find(kind, name)
        except Exception as error:  # whatever somebody else's package does while it is imported
            rows.append({"name": name, "summary": f"cannot be loaded: {error}", "status": "broken", "parameters": []})
            continue
        rows.append(
            {
                "name": name,
                "summary": _summary(found, of_module=kind == "solvers"),
                "status": str(getattr(found, "status", "tested")),
                "parameters": parameters(getattr(found, "Params", None)),
            }
        )
    return rows


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
    """Return the first line of documentation: of a solver's module, which cites the paper, else of the class."""
    module = sys.modules.get(getattr(found, "__module__", ""))
    doc = (module.__doc__ if of_module and module is not None else None) or found.__doc__ or ""
    return inspect.cleandoc(doc).partition("\n")[0]


def _shown(default: object) -> str:
    return "none" if default is None else str(default)
