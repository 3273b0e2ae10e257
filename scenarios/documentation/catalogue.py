"""Pages on what is registered: solvers with their status, observers, generators, aggregators, networks."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any, Final

from agentsim.runtime import registry
from scenarios.commands.listing import networks as listed_networks
from scenarios.commands.listing import registered
from scenarios.documentation.markdown import escaped, prose, span, table

STATUSES: Final = {
    "verified": "complete; compared with brute force in the tests on random problems over every kind of network, its "
    "invariants and disclosure statements asserted in those runs",
    "tested": "its identities, laws and disclosure statements are asserted in the tests",
    "experimental": "runs, and its statements are true; whether it is good for anything is not known yet",
}
"""What a solver's status means."""


def pages() -> dict[str, str]:
    """Return the pages by name, without their suffix."""
    found = {"solvers": _solvers(), "aggregators": _aggregators(), "networks": _networks()}
    for kind in ("observers", "generators"):
        found[kind] = _several(kind)
    for row in registered("solvers"):
        found[f"solvers/{row['name']}"] = _one("solvers", row)
    return found


def _solvers() -> str:
    rows = registered("solvers")
    lines = [(f"[`{row['name']}`](solvers/{row['name']}.md)", escaped(row["summary"]), row["status"]) for row in rows]
    used = dict.fromkeys(row["status"] for row in rows)
    meanings = [f"*{status}*\n: {STATUSES[status]}" for status in STATUSES if status in used]
    toctree = "\n".join(f"solvers/{row['name']}" for row in rows)
    return "\n\n".join(
        [
            "# Solvers",
            "Every solver runs with no parameter given. One that cannot do a problem refuses at once, with a sentence "
            "that says why and which solver would. Each page is the head of the solver's own file: its paper, its "
            "messages, its guarantees and every deviation from the paper.",
            table(("solver", "what, and its reference", "status"), lines),
            "\n\n".join(meanings),
            f"```{{toctree}}\n:hidden:\n\n{toctree}\n```",
        ]
    )


def _several(kind: str) -> str:
    rows = registered(kind)
    lines = [(f"[`{row['name']}`](#{kind}-{row['name']})", escaped(row["summary"])) for row in rows]
    use = {
        "observers": 'Attach one by `--observe NAME:KEY=VALUE,...` or `observers=["NAME:KEY=VALUE"]`, live or in '
        "replay. Every observer takes `view=` and `as=` (the name under which its findings appear).",
        "generators": "`agentsim generate NAME -p KEY=VALUE --seed N -o FILE`. A seed gives the same problem on every "
        "machine.",
    }[kind]
    return "\n\n".join([f"# {kind.capitalize()}", use, table((kind[:-1], "what"), lines), *(
        f"({kind}-{row['name']})=\n\n" + _one(kind, row, level=2) for row in rows
    )])  # fmt: skip


def _one(kind: str, row: Mapping[str, Any], level: int = 1) -> str:
    """Return the section on a registered thing: the head of its module, its parameters, its presets."""
    found = registry.find(kind, row["name"])
    mark = "#" * level
    parts = [f"{mark} {row['name']}"]
    if kind == "solvers":
        complete = "complete" if found.complete else "incomplete"
        analysed = "has a reader" if found.reader is not None else "not analysed: has no reader"
        parts.append(f"**{row['status']}**, {complete}, {analysed}; file `{found.__module__.replace('.', '/')}.py`")
    parts.append(prose(sys.modules[found.__module__].__doc__))
    if row["parameters"]:
        parts += [f"{mark}# Parameters", parameters(row)]
    if row.get("presets"):
        presets = [(span(p["name"]), escaped(p["summary"]), escaped(str(p["paper"]))) for p in row["presets"]]
        parts += [f"{mark}# Presets", "Published experiments, by `-p preset=NAME`.",
                  table(("preset", "what", "in the paper"), presets)]  # fmt: skip
    return "\n\n".join(parts)


def parameters(row: Mapping[str, Any]) -> str:
    """Return the table of a registered thing's parameters."""
    lines = [
        (span(p["name"]), _type(p["type"]), span(_default(p["default"])), escaped(p["meaning"]))
        for p in row["parameters"]
    ]
    return table(("parameter", "type", "default", "meaning"), lines)


def _type(text: str) -> str:
    """Return a type as people say it: of a choice what can be chosen."""
    choices = re.fullmatch(r"Literal\[(.*)\]", text)
    return ", ".join(span(choice.strip("'")) for choice in choices[1].split(", ")) if choices else span(text)


def _default(value: object) -> str:
    return "none" if value is None or value == () else str(value).lower() if isinstance(value, bool) else str(value)


def _aggregators() -> str:
    rows = registered("aggregators")
    marks = {True: "yes", False: "**no**", None: "-"}
    axioms = list(dict.fromkeys(number for row in rows for number in row["axioms"]))
    lines = [
        (
            span(row["name"]), escaped(row["summary"]), *(marks[row["axioms"].get(number)] for number in axioms),
            marks[row["idempotent"]], *row["attitudes"].values(),
            escaped(", ".join(f"{p['name']}={_default(p['default'])}" for p in row["parameters"])) or "-",
        )
        for row in rows
    ]  # fmt: skip
    heads = ("aggregator", "what", *(f"axiom {number}" for number in axioms), "idempotent", "high", "low", "combined")
    broken = [
        (span(row["name"]), escaped(name), span(example["inputs"]), span(example["outputs"]))
        for row in rows
        for name, example in row["counterexamples"].items()
    ]
    return "\n\n".join(
        [
            "# Aggregators",
            "What the losses of all agents add up to: `--observe vps:aggregators=average+max+risk,tau=.083`. Axioms "
            "and attitudes are searched by machine, not proved; where one is broken the counterexample stands below. "
            "Attitudes are to losses above tau, below it, and both: pess(imistic), opt(imistic), neut(ral); mixed is "
            "none of them on every input.",
            table((*heads, "parameters"), lines),
            "## Counterexamples",
            table(("aggregator", "breaks", "inputs", "outputs"), broken),
            prose(sys.modules["privacy.aggregators"].__doc__),
        ]
    )


def _networks() -> str:
    import agentsim.runtime.network as network

    rows = listed_networks()
    tables = []
    for kind, heading in (("latency", "Latencies"), ("modifier", "Modifiers")):
        lines = [(span(row["name"]), escaped(row["summary"])) for row in rows if row["kind"] == kind]
        tables.append(f"## {heading}\n\n{table(('write', 'meaning'), lines)}")
    return "\n\n".join(
        [
            "# Networks",
            "A network is a latency and modifiers joined by `+`: `--network uniform:1,10+loss:.1+reliable`.",
            *tables,
            "## In the words of the code",
            prose(network.__doc__),
        ]
    )
