"""What a sweep is about to do, and what it did: cells by axis, single cells as commands, a table by solver."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from statistics import median
from typing import Any, Final

from agentsim.errors import UserError
from agentsim.runtime.result import jsonable
from scenarios.sweeps.cells import Solved, SolveTask
from scenarios.sweeps.choices import PRESET
from scenarios.sweeps.engine import Failure
from scenarios.sweeps.plain import key_of
from scenarios.sweeps.spec import Spec

KIND: Final = "sweep"
"""What `about.json` calls it."""

_OTHER_AXES: Final = {
    "network": "network",
    "observers": "observers",
    "privacy": "privacy",
    "seed": "problem_seed",
    "run": "run",
    "timeout": "timeout",
    "max-messages": "max_messages",
    "max-time": "max_time",
    "check-cost": "check_cost",
}
_MAX_VALUES: Final = 1000
_FAILED: Final = "failed"


@dataclass(frozen=True)
class Standing:
    """How a sweep stands against what its folder holds.

    Args:
        cells: of the spec.
        done: of these, finished.
        failed: of these, failed.
        gone: cells in the folder that the spec does not name.
    """

    cells: int
    done: int = 0
    failed: int = 0
    gone: int = 0

    @property
    def new(self) -> int:
        """Cells that the folder does not have."""
        return self.cells - self.done - self.failed


def about(spec: Spec, tasks: Sequence[SolveTask]) -> dict[str, Any]:
    """Return what `about.json` says of a sweep: its spec, and its cells by axis."""
    return {
        "kind": KIND,
        "name": spec.name,
        "source": Path(spec.source).name,
        "spec": spec.text,
        "cells": len(tasks),
        "axes": axes(tasks),
    }


def standing(spec: Spec, tasks: Sequence[SolveTask], folder: Path | None) -> Standing:
    """Return how a sweep stands, touching nothing; UserError if the folder holds something else."""
    if folder is None or not (folder / "about.json").exists():
        return Standing(len(tasks))
    from agentsim.record.results import load_results

    results = load_results(folder)
    found = results.about.get("kind"), results.about.get("name")
    if found != (KIND, spec.name):
        held_by = f"{found[0]} {found[1]!r}"
        raise UserError(f"{folder}: holds results of {held_by}, not of {KIND} {spec.name!r}; use another folder")
    table = results.table("cell")
    held = dict(zip(table.column("cell").to_pylist(), table.column("status").to_pylist(), strict=True))
    here = Counter(held.pop(key_of(spec.name, task), None) for task in tasks)
    return Standing(len(tasks), here["done"], here[_FAILED], len(held))


def axes(tasks: Sequence[SolveTask]) -> dict[str, dict[str, int]]:
    """Return the number of cells by value, for each axis.

    Problems, solvers, networks and observers are always there, others and single parameters where they have more than
    one value. Of many values the first are named, and how many more there are.
    """
    found: dict[str, Counter[str]] = {}

    def count(axis: str, value: object, cells: int) -> None:
        found.setdefault(axis, Counter())[shown(value)] += cells

    problems = _shared((task.generator or task.file or "", task.problem_parameters) for task in tasks)
    solvers = _shared((task.solver, task.parameters) for task in tasks)
    for axis, choices in (("problem", problems), ("solver", solvers)):
        for name, parameters, cells in choices:
            count(axis, name, cells)
            for key, value in parameters.items():
                count(f"{name}.{key}", value, cells)
    for axis, field in _OTHER_AXES.items():
        for value, cells in Counter(map(attrgetter(field), tasks)).items():
            count(axis, value, cells)
    always = ("problem", "solver", "network", "observers")
    return {axis: _cut(values) for axis, values in found.items() if axis in always or len(values) > 1}


def commands(task: SolveTask) -> list[str]:
    """Return the commands that repeat a cell."""
    lines = []
    problem = task.file or "problem.amdcop"
    if task.generator is not None:
        given = {key: value for key, value in task.problem_parameters.items() if key != PRESET}
        words = ["agentsim", "generate", task.generator, *_pairs(given)]
        lines.append(shlex.join([*words, "--seed", str(task.problem_seed), "-o", problem]))
    words = ["agentsim", "solve", problem, "--algo", task.solver, *_pairs(task.parameters), "--seed", str(task.seed)]
    words += ["--network", task.network]
    for option, values in (("--observe", task.observers), ("--privacy", task.privacy)):
        words += [word for value in values for word in (option, value)]
    for option in ("timeout", "max_messages", "max_time", "check_cost"):
        if value := getattr(task, option):
            words += [f"--{option.replace('_', '-')}", f"{value:g}" if isinstance(value, float) else str(value)]
    lines.append(shlex.join(words))
    return lines


def statuses(results: Iterable[Solved | Failure]) -> dict[str, int]:
    """Return how many cells ended how: by the status of the run, `refused`, or `failed`."""
    return dict(Counter(_status(result) for result in results).most_common())


def by_solver(tasks: Sequence[SolveTask], results: Sequence[Solved | Failure]) -> tuple[list[str], list[list[object]]]:
    """Return the columns and rows of a table by solver: cells by how they ended, and the median number of messages."""
    groups: dict[str, list[Solved | Failure]] = {}
    for task, result in zip(tasks, results, strict=True):
        groups.setdefault(task.solver, []).append(result)
    others = set(statuses(results)) - {"optimal", "timeout", _FAILED}
    columns = ["optimal", *sorted(others), "timeout", _FAILED]
    rows: list[list[object]] = []
    for solver, group in groups.items():
        counts = statuses(group)
        messages = [r.messages for r in group if isinstance(r, Solved) and r.messages is not None]
        middle = median(messages) if messages else None
        rows.append([solver, len(group), *(counts.get(column, 0) for column in columns), middle])
    return ["solver", "cells", *columns, "median messages"], rows


def shown(value: object) -> str:
    """Return a value of an axis as text."""
    if isinstance(value, (list, tuple)):
        return " ".join(map(shown, value)) or "none"
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _status(result: Solved | Failure) -> str:
    return result.status if isinstance(result, Solved) else _FAILED


def _shared(named: Iterable[tuple[str, Mapping[str, Any]]]) -> list[tuple[str, Mapping[str, Any], int]]:
    """Return (name, parameters, cells) for each set of parameters: cells with the same ones share them as an object."""
    counts: Counter[tuple[str, int]] = Counter()
    objects = {}
    for name, parameters in named:
        counts[name, id(parameters)] += 1
        objects[id(parameters)] = parameters
    return [(name, objects[at], cells) for (name, at), cells in counts.items()]


def _cut(values: Counter[str]) -> dict[str, int]:
    items = list(values.items())
    first, rest = dict(items[:_MAX_VALUES]), items[_MAX_VALUES:]
    return {**first, f"... and {len(rest)} more": sum(cells for _, cells in rest)} if rest else first


def _pairs(parameters: Mapping[str, Any]) -> list[str]:
    given = {key: value for key, value in jsonable(parameters).items() if value is not None}
    return [word for key, value in given.items() for word in ("-p", f"{key}={value}")]
