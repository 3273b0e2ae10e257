"""`agentsim sweep`: run all cells of a specification, and keep what comes of them."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from agentsim.errors import AgentSimError, UserError
from scenarios.commands.interruption import Interruption
from scenarios.status import FAILED

if TYPE_CHECKING:
    from rich.console import Console

    from scenarios.sweeps.cells import Solved, SolveTask
    from scenarios.sweeps.engine import Failure
    from scenarios.sweeps.overview import Standing
    from scenarios.sweeps.spec import Spec

_SHOWN_CELLS: Final = 3
_SHOWN_VALUES: Final = 12
_SHOWN_FAILURES: Final = 5
_SHOWN_CAUSE: Final = 200
_SHOWN_LINES: Final = 5


@click.command()
@click.argument("spec", metavar="SPEC.toml")
@click.option("-o", "--output", metavar="DIR", help="Keep results there; go on there if it has some.")
@click.option("--workers", type=click.IntRange(0), metavar="N", help="Processes; 0: this one; default: all cores.")
@click.option("--scheduler", metavar="ADDRESS|local", help="Run on a dask cluster, or on one of --workers here.")
@click.option("--dry-run", is_flag=True, help="Count and show cells; run nothing, write nothing.")
@click.option("--retry-failed", is_flag=True, help="Run cells again that failed.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def sweep(
    spec: str,
    output: str | None,
    workers: int | None,
    scheduler: str | None,
    dry_run: bool,
    retry_failed: bool,
    as_json: bool,
) -> int:
    """Run every cell that SPEC.toml names: problems, solvers, networks, observers and seeds.

    A cell that is finished in DIR is never run again; one that fails is kept as such, and the others go on. Ctrl-C
    and SIGTERM lose nothing: the same command goes on. Exit status 0 when every cell was run, however it ended.
    """
    from scenarios.screen import Progress, console, print_json
    from scenarios.sweeps.cells import cells, check_first
    from scenarios.sweeps.overview import standing
    from scenarios.sweeps.spec import read_spec

    if output is None and not dry_run:
        raise UserError("-o DIR: say where to keep the results (or --dry-run)")
    folder = None if output is None else Path(output)
    with Progress(f"reading {spec}") as progress:
        sweep = read_spec(spec)
        check_first(sweep)
        progress.say(f"counting the cells of {sweep.name}")
        found = cells(sweep)
        stands = standing(sweep, found.tasks, folder)
    if dry_run:
        if as_json:
            print_json(_planned(sweep, found.tasks, found.repeated, stands, output))
        else:
            _show_plan(console(), sweep, found.tasks, found.repeated, stands, output)
        return 0
    assert output is not None
    return _run(sweep, found.tasks, stands, output, workers, scheduler, retry_failed, as_json)


def _run(
    sweep: Spec,
    tasks: Sequence[SolveTask],
    stands: Standing,
    output: str,
    workers: int | None,
    scheduler: str | None,
    retry_failed: bool,
    as_json: bool,
) -> int:
    """Run what is not done yet and tell what came of it; return the exit status."""
    from scenarios.executors import Serial, executor
    from scenarios.progress import Bar
    from scenarios.screen import complain, console, print_json
    from scenarios.sweeps.cells import Solved, provenance, solve_cell
    from scenarios.sweeps.engine import run_cells
    from scenarios.sweeps.overview import about, statuses

    began = time.monotonic()
    left = stands.new + (stands.failed if retry_failed else 0)
    bar = Bar(sweep.name)
    told = {"cells": len(tasks), "done": stands.done, "failed": stands.failed, "new": 0}

    def progress(done: int, total: int, failed: int) -> None:
        if not bar.total:  # the folder is ours
            bar.say(_line(sweep, tasks, stands, output, retry_failed))
        told.update(done=done - failed, failed=failed, new=done - (total - left))
        bar(done, total, failed)

    def show(counts: Mapping[str, int] | None) -> None:
        seconds = time.monotonic() - began
        print_json({"name": sweep.name, **told, "seconds": seconds, "statuses": counts, "folder": output})

    interruption = Interruption()
    try:
        with interruption, bar, executor(workers, scheduler, tell=bar.say) if left else Serial() as pool:
            results = run_cells(
                partial(solve_cell, base=str(sweep.base.resolve())),
                tasks,
                name=sweep.name,
                executor=pool,
                folder=Path(output),
                about=about(sweep, tasks),
                keep_failures=True,
                progress=progress,
                result_type=Solved,
                retry_failed=retry_failed,
                provenance=provenance,
                tell=bar.say,
            )
    except UserError:
        raise
    except (KeyboardInterrupt, AgentSimError) as error:  # of a cluster that went away our traceback would not tell more
        why = error if isinstance(error, AgentSimError) else "interrupted"
        kept = told["done"] + told["failed"]
        complain(f"{why}: {kept:,} of {len(tasks):,} cells are kept in {output}; the same command goes on")
        if as_json:
            show(None)
        return FAILED if isinstance(error, AgentSimError) else interruption.status
    if as_json:
        show(statuses(results))
    else:
        _show_results(console(), tasks, results, left, time.monotonic() - began, output)
    return 0


def _line(sweep: Spec, tasks: Sequence[SolveTask], stands: Standing, output: str | None, retry_failed: bool) -> str:
    """Return one sentence on what there is to do."""
    parts = [f"{sweep.name}: {len(tasks):,} cells"]
    if stands.done or stands.failed or stands.gone:
        parts.append(f"{stands.done:,} done")
        if stands.failed:
            again = "run again" if retry_failed else "kept as they are: --retry-failed runs them again"
            parts.append(f"{stands.failed:,} failed ({again})")
        parts.append(f"{stands.new:,} new")
    if stands.gone:
        parts.append(f"and {output} holds {stands.gone:,} that the spec no longer names")
    return ", ".join(parts)


def _planned(
    sweep: Spec, tasks: Sequence[SolveTask], repeated: int, stands: Standing, output: str | None
) -> dict[str, object]:
    """Return the keys of `agentsim sweep --dry-run --json`."""
    from dataclasses import asdict

    from scenarios.sweeps.overview import axes

    return {
        "name": sweep.name,
        "cells": len(tasks),
        "repeated": repeated,
        "done": stands.done,
        "failed": stands.failed,
        "new": stands.new,
        "gone": stands.gone,
        "axes": axes(tasks),
        "first": [asdict(task) for task in tasks[:_SHOWN_CELLS]],
        "folder": output,
    }


def _show_plan(
    out: Console, sweep: Spec, tasks: Sequence[SolveTask], repeated: int, stands: Standing, output: str | None
) -> None:
    """Show how many cells there are, by axis, and the first of them as commands that repeat them."""
    from scenarios.screen import plain, table, text
    from scenarios.sweeps.overview import axes, commands

    print(plain(_line(sweep, tasks, stands, output, False)))
    if repeated:
        print(f"{repeated:,} more are written twice, and are run once")
    rows: list[tuple[object, ...]] = []
    for axis, values in axes(tasks).items():
        items = list(values.items())
        rows += [(axis if i == 0 else "", value, cells) for i, (value, cells) in enumerate(items[:_SHOWN_VALUES])]
        if len(items) > _SHOWN_VALUES:
            rows.append(("", f"... and {len(items) - _SHOWN_VALUES:,} more", sum(n for _, n in items[_SHOWN_VALUES:])))
    out.print(table(("axis", "value", "cells"), rows, left=2))
    for i, task in enumerate(tasks[:_SHOWN_CELLS], start=1):
        out.print(text(f"cell {i}, by itself:", "dim"))
        for command in commands(task):
            print(f"  {plain(command)}")


def _show_results(
    out: Console,
    tasks: Sequence[SolveTask],
    results: Sequence[Solved | Failure],
    ran: int,
    seconds: float,
    output: str,
) -> None:
    """Show what came of the cells by solver, why some failed, and what to do next."""
    from collections import Counter

    from scenarios.screen import plain, table, text
    from scenarios.sweeps.engine import Failure
    from scenarios.sweeps.overview import by_solver

    columns, rows = by_solver(tasks, results)
    out.print(table(columns, rows))
    print(f"{ran:,} cells run in {seconds:,.1f} s" if ran else "nothing was left to do")
    failures = [(task, r) for task, r in zip(tasks, results, strict=True) if isinstance(r, Failure)]
    causes = Counter(failure.error for _, failure in failures)
    for cause, cells in causes.most_common(_SHOWN_FAILURES):
        out.print(text(f"{cells:,} failed: {cause[:_SHOWN_CAUSE]}", "yellow"))
    if len(causes) > _SHOWN_FAILURES:
        out.print(text(f"... and {len(causes) - _SHOWN_FAILURES:,} other causes", "yellow"))
    if causes:
        ((cause, _),) = causes.most_common(1)
        _show_failure(out, *next(pair for pair in failures if pair[1].error == cause), output)
    place = shlex.quote(output.rstrip("/"))
    print(plain(f"next: agentsim report {place} -o {place}.html"))


def _show_failure(out: Console, task: SolveTask, failure: Failure, output: str) -> None:
    """Show where a cell failed, which commands repeat it, and where all tracebacks are."""
    from scenarios.screen import plain, text
    from scenarios.sweeps.overview import commands

    root, _, _ = failure.traceback.partition("\n\nThe above exception was the direct cause")  # the agent's own
    lines = [line for line in root.splitlines() if line.strip(" ^~")]
    for line in lines[-_SHOWN_LINES:]:
        out.print(text(f"  {line[:_SHOWN_CAUSE]}", "dim"))
    out.print(text("the first cell of the first cause, by itself:", "dim"))
    for command in commands(task):
        print(f"  {plain(command)}")
    print(plain(f"all tracebacks: agentsim.load_results({output!r}).cell.traceback"))
