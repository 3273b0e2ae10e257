"""Reference pages: every command, the keys of its JSON, exit statuses, the log's format, the public names."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import click

import agentsim
from agentsim.record import log as log_format
from agentsim.runtime.result import STATUSES
from scenarios import cli
from scenarios.documentation import keys
from scenarios.documentation.markdown import code, escaped, prose, span, table
from scenarios.status import BY_RUN_STATUS, DIFFERS, FAILED, INTERRUPTED, UNFINISHED, USER_ERROR

EXITS: Final = {
    0: "solved, infeasible, abandoned, or stopped as told; a log that verifies; a sweep all of whose cells were run",
    FAILED: "an agent or an observer failed (with its traceback)",
    USER_ERROR: "something in the input is wrong (a file, a name, an option, a parameter): one line says what",
    UNFINISHED: "a limit was reached, or the run ended in a deadlock",
    DIFFERS: "a log differs, is damaged, or was cut off where it had to be whole; exploration found a fault",
    INTERRUPTED: "interrupted; the log is whole up to there, the best so far is printed, a sweep can be resumed",
}
"""What each exit status means."""

BASES: Final[Mapping[str, Sequence[str]]] = {
    "For solvers": (
        "agentsim.runtime.view.LocalView", "agentsim.runtime.view.LocalConstraint", "agentsim.runtime.view.PublicPart",
        "agentsim.runtime.view.Setup", "agentsim.dcop.pseudotree.TreePlace", "agentsim.dcop.ordering.OrderPlace",
        "agentsim.runtime.own_costs.OwnCosts", "agentsim.runtime.local_costs.LocalCosts",
        "agentsim.runtime.streams.Stream",
    ),
    "For observers": (
        "agentsim.runtime.observer.ObserverContext", "agentsim.runtime.observer.Outcome", "privacy.vps.rules.Rule",
    ),
    "For sweeps and their results": (
        "agentsim.record.results.Results", "scenarios.sweeps.engine.run_cells", "scenarios.sweeps.engine.Failure",
        "scenarios.sweeps.recording.simulate", "scenarios.sweeps.recording.Origin", "scenarios.executors.executor",
        "scenarios.executors.Executor",
    ),
    "For experiments": (
        "scenarios.experiments.base.Experiment", "scenarios.experiments.base.Options",
        "scenarios.experiments.base.Outcome",
    ),
    "For tests": (
        "agentsim.testing.random_problem", "agentsim.testing.brute_force", "agentsim.testing.check_statements",
        "agentsim.testing.holds", "agentsim.testing.twin",
    ),
}  # fmt: skip
"""What people extend or call besides the names of `agentsim` itself, by whom it is for."""


def pages() -> dict[str, str]:
    """Return the pages by name, without their suffix."""
    return {
        "commands": _commands(),
        "json": _json(),
        "log-format": _log_format(),
        "sweep-spec": _sweep_spec(),
        "tables": _tables(),
        "api": _api(),
    }


def helps(name: str = "", command: click.Command | None = None) -> Iterator[tuple[str, str]]:
    """Yield each command's name, with those of the groups that it is in, and its help."""
    found = cli.main if command is None else command
    info = "agentsim" + f" {name}" * bool(name)
    with click.Context(found, info_name=info, terminal_width=100, max_content_width=100) as context:
        yield name, found.get_help(context)
        if isinstance(found, click.Group):
            for sub in found.list_commands(context):
                yield from helps(f"{name} {sub}".strip(), found.get_command(context, sub))


def _commands() -> str:
    parts = ["# Commands", "As `agentsim COMMAND --help` shows them.", "## Exit status"]
    parts.append(table(("status", "meaning"), EXITS.items()))
    by_status = [(span(status), BY_RUN_STATUS.get(status, 0)) for status in STATUSES]
    parts += ["How a run ended is its *status*, and that decides the exit status of `agentsim solve`:",
              table(("status of the run", "exit"), by_status)]  # fmt: skip
    for name, text in helps():
        parts += [f"## agentsim {name}".rstrip(), code(text)]
    return "\n\n".join(parts)


def _json() -> str:
    parts = [
        "# Keys of `--json`",
        "With `--json` a command prints one JSON object on standard output and nothing else. With exit status 2 it "
        'prints nothing there; with every other the object is printed. Infinite numbers are the strings `"inf"` and '
        '`"-inf"`.',
    ]
    for name, meanings in keys.COMMANDS.items():
        parts += [f"## agentsim {name}", meaning_table("key", meanings)]
    return "\n\n".join(parts)


def meaning_table(head: str, meanings: Mapping[str, str]) -> str:
    """Return a table of names and what they mean."""
    return table((head, "meaning"), ((span(key), escaped(meaning)) for key, meaning in meanings.items()))


# The log -----------------------------------------------------------------------------------------------------------


def record_fields() -> dict[str, list[tuple[str, str]]]:
    """Return name and type of each field by kind of record, from the docstring and the shapes that readers check.

    Raises:
        ValueError: the two do not agree on the kinds or on the number of fields of one.
    """
    shapes = log_format._SHAPES
    named: dict[str, list[str]] = {}
    for line in re.findall(r"^    (\[.*)$", log_format.__doc__ or "", flags=re.M):
        for record in re.findall(r"\[([^\]]*)\]", line):
            names = [name.strip() for name in record.split(",")]
            kind = names[0].strip('"') if names[0].startswith('"') else "delivery"
            named[kind] = names
    if named.keys() != shapes.keys():
        raise ValueError(f"kinds of records differ: {sorted(named.keys() ^ shapes.keys())}")
    found = {}
    for kind, names in named.items():
        if len(names) != len(shapes[kind]):
            raise ValueError(f"record {kind}: {len(names)} names for {len(shapes[kind])} fields")
        found[kind] = [(name, type_name(shape)) for name, shape in zip(names, shapes[kind], strict=True)]
    return found


def type_name(shape: Any) -> str:  # noqa: ANN401  # a type, or a tuple of types
    """Return what stands for a field's types: msgpack's words."""
    words = {int: "integer", float: "float", str: "text", bytes: "bytes", dict: "map", object: "anything"}
    if isinstance(shape, tuple):
        return " or ".join(type_name(one) for one in shape)
    return "nil" if shape is types.NoneType else words[shape]


def _log_format() -> str:
    parts = ["# The log's format", prose(log_format.__doc__), "## Records"]
    for kind, fields in record_fields().items():
        parts += [f"### {kind}", table(("field", "type"), ((span(name), kind_) for name, kind_ in fields))]
        if kind == "fate":
            parts.append(
                "Fates: " + ", ".join(f"`{fate}`" for fate in log_format.FATES) + "; the payload is kept for "
                + ", ".join(f"`{fate}`" for fate in log_format.FATES_OF_MESSAGES) + "."
            )  # fmt: skip
    parts += ["## Header", meaning_table("key", keys.HEADER), "## Sizes", table(("what", "bytes"), [
        ("content of a block, before compression", f"{log_format.BLOCK_SIZE:,}, and as long as its last record needs"),
        ("content of a block that a reader takes", f"{log_format.MAX_BLOCK:,} at most"),
        ("log in memory, by default", f"{log_format.MEMORY_LIMIT:,} at most"),
    ])]  # fmt: skip
    return "\n\n".join(parts)


# Sweeps ------------------------------------------------------------------------------------------------------------


def _sweep_spec() -> str:
    from scenarios.sweeps import spec, table

    words = prose(spec.__doc__).replace("```text", "```toml", 1)
    return "\n\n".join(["# A sweep's spec", words, "## Tables of cells", prose(table.__doc__)])


def _tables() -> str:
    from agentsim.record.results_parts import TABLES
    from scenarios.sweeps import recording

    parts = [
        "# Tables of results",
        "A folder of results has a folder for each of these tables, with Parquet parts of one schema. "
        "`agentsim.load_results(DIR)` has each as a pandas frame.",
    ]
    for name, meanings in keys.TABLES.items():
        kinds = {column.partition(":")[0]: column.partition(":")[2] or "text" for column in TABLES[name]}
        rows = [(span(key), kinds[key], escaped(meaning)) for key, meaning in meanings.items()]
        parts += [f"## {name}", table(("column", "type", "meaning"), rows)]
    parts += [
        "## Bounds",
        f"Of an observer's findings at most {recording.MOST_LEAVES:,} numbers are kept, those that lie deepest left "
        f"out and counted; a series is thinned to {recording.MOST_POINTS:,} points, the first and the last kept.",
    ]
    return "\n\n".join(parts)


# Public names ------------------------------------------------------------------------------------------------------


def _api() -> str:
    from agentsim.runtime import statements

    own = [f"{module}.{name}" for module, names in agentsim._HOME.items() for name in names]
    said = [
        f"{statements.__name__}.{name}"
        for name, found in vars(statements).items()
        if isinstance(found, type) and found.__module__ == statements.__name__ and not name.startswith("_")
    ]
    parts = [
        "# Python",
        "What can be imported from `agentsim` itself comes first; what people extend, or call from their own solvers, "
        "observers and tests, after it, each under the module that it is in.",
        "## agentsim",
        *map(_autodoc, own),
    ]
    for heading, names in {**BASES, "Disclosure statements": said}.items():
        parts += [f"## {heading}", *map(_autodoc, names)]
    return "\n\n".join(parts)


def _autodoc(path: str) -> str:
    """Return the directive that documents a class or a function; those of `agentsim` under that name."""
    from importlib import import_module

    module, _, name = path.rpartition(".")
    found = getattr(import_module(module), name)
    shown = f"agentsim.{name}" if getattr(agentsim, name, None) is found else path
    if not isinstance(found, type):
        return f"```{{eval-rst}}\n.. autofunction:: {shown}\n```"
    return f"```{{eval-rst}}\n.. autoclass:: {shown}\n   :members:\n```"
