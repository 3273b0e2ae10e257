"""Rows of results made from runs: what `simulate` records inside a cell.

`simulate` is `agentsim.simulate`, and inside a cell that is kept (see `engine`) each run leaves its rows: one of the
table `run`, one of `agent` for each agent, in `leakage` every number that an observer found, in `series` the cost of
the joint assignment and every curve that an observer drew, over virtual time.
"""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import agentsim
from agentsim.errors import UserError
from agentsim.record.results_parts import COLUMNS, OTHERS, Row
from scenarios.sweeps.curves import as_curve, thinned

if TYPE_CHECKING:
    from agentsim.dcop.problem import Problem
    from agentsim.runtime.agent import Agent
    from agentsim.runtime.result import Result

MOST_LEAVES: Final = 1_000
"""Rows that one observer's findings have in `leakage`; one more, `left out`, counts what is missing."""

MOST_POINTS: Final = 500
"""Points that a series is thinned to."""

_RUN_COLUMNS: Final = COLUMNS["run"][2:]
_DEEPEST: Final = 12
_MOST_SOLVERS: Final = 256
_SOLVERS: dict[tuple[Any, str], tuple[str, str]] = {}  # a third of a recording's time, and nearly always the same


@dataclass(frozen=True)
class Origin:
    """Where a problem came from.

    Args:
        generator: the name of what generated it, or None.
        file: the name of the file it was read from, or None.
        parameters: of the generator, as plain data.
        seed: that it was generated or read with, or None.
    """

    generator: str | None = None
    file: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.seed is not None and not -(2**63) <= self.seed < 2**63:
            raise ValueError(f"seed={self.seed} must fit into 64 bits")


class Recorder:
    """Collects the rows of one cell's runs, by table.

    Args:
        keeps: whether rows are wanted at all.
    """

    def __init__(self, keeps: bool) -> None:
        self.keeps = keeps
        self.rows: dict[str, list[Row]] = {table: [] for table in OTHERS}
        self.runs = 0

    def add(self, rows: Mapping[str, Sequence[Row]]) -> None:
        """Add the rows of one more run."""
        for table, more in rows.items():
            self.rows[table] += [(self.runs, *row) for row in more]
        self.runs += 1


_RECORDER: ContextVar[Recorder | None] = ContextVar("recorder", default=None)


@contextmanager
def recording(keeps: bool = True) -> Iterator[Recorder]:
    """Make the block a cell: every `simulate` in it records its rows, unless they are not wanted."""
    recorder = Recorder(keeps)
    token = _RECORDER.set(recorder)
    try:
        yield recorder
    finally:
        _RECORDER.reset(token)


def simulate(
    problem: Problem,
    solver: str | type[Agent],
    *,
    origin: Origin | None = None,
    **options: Any,  # noqa: ANN401  # as of `agentsim.simulate`
) -> Result:
    """Solve a problem as `agentsim.simulate` does, with its arguments, and record the run inside a cell that is kept.

    Args:
        problem: what to solve.
        solver: a registered name, or a subclass of `Agent`.
        origin: where the problem came from.
        **options: as of `agentsim.simulate`.

    Raises:
        KeyboardInterrupt: the run was interrupted: inside a cell, half a run would pass for a whole one.
    """
    recorder = _RECORDER.get()
    if recorder is None:
        return agentsim.simulate(problem, solver, **options)
    began = time.perf_counter()
    try:
        result = agentsim.simulate(problem, solver, **options)
    except Exception as error:
        partial = getattr(error, "result", None)
        took = time.perf_counter() - began
        if recorder.keeps:
            recorder.add(rows_of(partial, problem, solver, options, origin, error=error, wall_time=took))
        raise
    if result.status == "interrupted":
        raise KeyboardInterrupt
    if recorder.keeps:
        recorder.add(rows_of(result, problem, solver, options, origin))
    return result


def rows_of(
    result: Result | None,
    problem: Problem,
    solver: str | type[Agent],
    options: Mapping[str, Any],
    origin: Origin | None = None,
    *,
    error: Exception | None = None,
    wall_time: float | None = None,
) -> dict[str, list[Row]]:
    """Return the rows of one run by table, each without the columns `cell` and `run`.

    Args:
        result: what came of it; None, or what there is so far, if it ended with an error.
        problem: what was to be solved.
        solver: by name or class.
        options: the other arguments of `simulate`.
        origin: where the problem came from.
        error: what ended the run, if an error did.
        wall_time: how long it took, where no result tells.
    """
    origin = origin or Origin()
    name, parameters = _solver(solver, {k: v for k, v in options.items() if k not in _run_options()})
    columns: dict[str, Any] = {
        "problem": problem.name,
        "generator": origin.generator,
        "file": origin.file,
        "problem_parameters": _json(origin.parameters),
        "problem_seed": origin.seed,
        "objective": problem.objective,
        "variables": len(problem.variables),
        "constraints": len(problem.constraints),
        "agents": len(problem.agents),
        "solver": name,
        "solver_parameters": parameters,
        "network": options.get("network", "unit"),
        "observers": _json([_observer(o) for o in options.get("observers", ())]),
        "seed": options.get("seed", 0),
        "wall_time": wall_time,
    }
    if error is not None:
        columns |= {"status": status_of(error), "error": words_of(error)}
    if result is None:
        return {"run": [run_row(columns)]}
    for key in ("cost", "bound", "violations", "messages", "bytes", "local_messages", "nccc", "checks"):
        columns[key] = getattr(result, key)
    columns |= {
        "virtual_time": result.virtual_time,
        "wall_time": result.wall_time,
        "startup_time": result.startup_time,
        "limit": result.limit,
    }
    columns.setdefault("status", result.status)
    found = dict(result.findings)
    return {
        "run": [run_row(columns)],
        "agent": [(n, a.messages, a.bytes, a.local_messages, a.checks, a.nccc) for n, a in result.agents.items()],
        "leakage": [(label, *leaf) for label, findings in found.items() for leaf in leaves(findings)],
        "series": [
            *(("cost", "", t, v) for t, v in thinned(result.cost_over_time(), MOST_POINTS)),
            *(row for label, findings in found.items() for row in _curves(label, findings)),
        ],
    }


def run_row(columns: Mapping[str, Any]) -> Row:
    """Return a row of the table `run` without `cell` and `run`, nulls where `columns` says nothing.

    The versions of agentsim and of Python are this process's.
    """
    made = {"version": agentsim.__version__, "python": platform.python_version(), **columns}
    return tuple(made.get(name) for name in _RUN_COLUMNS)


def status_of(error: BaseException) -> str:
    """Return the status of a run that ended with this error."""
    return "refused" if isinstance(error, UserError) else "error"


def words_of(error: BaseException) -> str:
    """Return an error as one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:2_000]


def leaves(findings: object) -> list[tuple[str, str, float]]:
    """Return the numbers of an observer's findings as (quantity, name, value).

    The quantity is the outermost key, the name the keys below it, with " > " between them. Curves, notes, flags, nulls
    and NaN are not among them. Of more than `MOST_LEAVES` those that lie deepest are left out, and counted.
    """
    found = list(_leaves(findings, ()))
    left_out = len(found) - MOST_LEAVES
    if left_out > 0:
        found.sort(key=lambda leaf: len(leaf[0]))
        del found[MOST_LEAVES:]
    rows = [(path[0] if path else "", " > ".join(path[1:]), value) for path, value in found]
    return [*rows, ("left out", "", float(left_out))] if left_out > 0 else rows


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], float]]:  # noqa: ANN401
    number = _number(value)
    if number is not None:
        yield path, number
    elif len(path) > _DEEPEST:
        return
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if key not in ("curve", "notes"):
                yield from _leaves(inner, (*path, str(key)))
    elif isinstance(value, (list, tuple)):
        for i, inner in enumerate(value):
            yield from _leaves(inner, (*path, str(i)))


def _curves(label: str, findings: object) -> Iterator[Row]:
    curve = findings.get("curve") if isinstance(findings, Mapping) else None
    curves = curve if isinstance(curve, Mapping) else {"": curve}
    for name, points in curves.items():
        for at, value in thinned(as_curve(points), MOST_POINTS):
            yield f"{label}.curve", str(name), at, value


def _number(value: object) -> float | None:
    """Return a number of findings, where infinite ones are "inf" and "-inf"; None for NaN, and for what is none."""
    if isinstance(value, str):
        return float(value) if value in ("inf", "-inf") else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:  # a whole number of hundreds of digits: of possible profiles, say
        return math.inf if value > 0 else -math.inf
    return None if math.isnan(number) else number


@cache
def _run_options() -> frozenset[str]:
    """The arguments of `simulate` that are not parameters of the solver."""
    import inspect

    parameters = inspect.signature(agentsim.run).parameters.values()
    return frozenset(p.name for p in parameters if p.kind is not p.VAR_KEYWORD)


def _solver(solver: str | type[Agent], given: Mapping[str, Any]) -> tuple[str, str]:
    """Return a solver's name and all its parameters as JSON; as they were given if it has no such parameters."""
    known = solver, repr(sorted(given.items()))
    if known not in _SOLVERS:
        while len(_SOLVERS) >= _MOST_SOLVERS:
            _SOLVERS.popitem()
        _SOLVERS[known] = _resolved(solver, given)
    return _SOLVERS[known]


def _resolved(solver: str | type[Agent], given: Mapping[str, Any]) -> tuple[str, str]:
    from agentsim.runtime.registry import make_params
    from agentsim.runtime.setup import find_solver

    try:
        name, cls = find_solver(solver)
        params = make_params(cls.Params, given, name)
        return name, _json(asdict(params) if params is not None else {})
    except UserError:  # which is what ended the run
        return solver if isinstance(solver, str) else solver.__name__, _json(given)


def _observer(given: Any) -> str:  # noqa: ANN401  # an ObserverLike
    if isinstance(given, str):
        return given
    cls, options = given if isinstance(given, tuple) else (given, {})
    name = getattr(cls, "name", "") or cls.__name__
    plain = {k: v if isinstance(v, (str, int, float)) else type(v).__name__ for k, v in options.items()}
    return f"{name}:{','.join(f'{k}={v}' for k, v in plain.items())}" if plain else str(name)


def _json(value: object) -> str:
    from agentsim.runtime.result import jsonable

    return json.dumps(jsonable(value))
