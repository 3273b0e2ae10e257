"""`agentsim explore`: many runs of solvers under schedules that make rare orders common, every run checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from agentsim.errors import UserError
from scenarios.commands.interruption import Interruption
from scenarios.commands.options import SEED, parse_pairs, writable_folder
from scenarios.progress import Bar
from scenarios.status import DIFFERS, FAILED

if TYPE_CHECKING:
    from scenarios.exploration.tally import Tally


@click.command()
@click.argument("problem", metavar="PROBLEM|random")
@click.option(
    "--algo", "algos", multiple=True, required=True, metavar="NAME", help="Solver, complete or incomplete (repeat)."
)
@click.option("-p", "params", multiple=True, metavar="KEY=VALUE", help="Parameter of the solvers (repeat for more).")
@click.option("--runs", type=click.IntRange(1), default=1000, show_default=True, metavar="N", help="Of each solver.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of every random draw.")
@click.option("--network", "networks", multiple=True, metavar="SPEC", help="In place of drawn ones (repeat: in turn).")
@click.option("--variables", type=click.IntRange(1, 12), metavar="N", help="Most of a random problem; default 5.")
@click.option("--values", type=click.IntRange(1, 10), metavar="N", help="Most of a variable of one; default 3.")
@click.option("--max-messages", type=click.IntRange(1), metavar="N", help="Deliveries after which a run is hung.")
@click.option("--timeout", type=click.FloatRange(0.1), metavar="S", help="Seconds after which a run is hung.")
@click.option("--workers", type=click.IntRange(0), metavar="N", help="Processes; 0: this one; default: all cores.")
@click.option("-o", "--output", metavar="DIR", help="Keep the tally and the problems of failures there; go on there.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def explore(
    problem: str,
    algos: tuple[str, ...],
    params: tuple[str, ...],
    runs: int,
    seed: int,
    networks: tuple[str, ...],
    variables: int | None,
    values: int | None,
    max_messages: int | None,
    timeout: float | None,
    workers: int | None,
    output: str | None,
    as_json: bool,
) -> int:
    """Run solvers on PROBLEM, or on random problems, over many networks, and check all that can be checked.

    A failure is shrunk to the smallest problem and schedule that still fail, and told with the command that repeats it;
    a single run of a PROBLEM is only repeated. Exit status 4: something failed or hung.
    """
    from agentsim import load
    from scenarios.executors import WorkerDied, executor
    from scenarios.exploration.checks import MAX_MESSAGES, TIMEOUT_S
    from scenarios.exploration.engine import explore as run
    from scenarios.exploration.shrinking import SECONDS
    from scenarios.screen import complain, print_json

    given = parse_pairs(params, "-p")
    if problem != "random" and (variables or values):
        raise UserError(f"--{'variables' if variables else 'values'}: is for random problems")
    loaded = None if problem == "random" else load(problem, seed=seed)
    folder = None if output is None else writable_folder(output)
    bar = Bar("explore")
    interruption = Interruption()
    tally: list[Tally] = []
    if runs == 1:
        workers = 0
    status = 0
    try:
        with interruption, bar, executor(workers) as pool:
            run(
                loaded, algos, runs=runs, seed=seed, networks=networks, params=given, max_variables=variables or 5,
                max_domain=values or 3, max_messages=max_messages or MAX_MESSAGES, timeout=timeout or TIMEOUT_S,
                executor=pool, folder=folder, source=None if loaded is None else problem,
                shrink=0.0 if runs == 1 and loaded is not None else SECONDS,
                progress=bar, say=bar.say, begun=tally.append,
            )  # fmt: skip
    except KeyboardInterrupt:
        status = interruption.status
        kept = f": {bar.done:,} of {bar.total:,} runs are kept in {folder}; the same command goes on" if folder else ""
        complain(f"interrupted{kept}")
    except WorkerDied as error:  # nothing in our traceback would tell more
        complain(error)
        return FAILED
    if tally:
        if as_json:
            print_json(tally[0].to_json())
        else:
            _show(tally[0])
    return status or (DIFFERS if tally and tally[0].bad else 0)


def _show(tally: Tally) -> None:
    """Show a tally to people."""
    from scenarios.screen import console, number, table, text

    found = tally.to_json()
    out = console()
    columns = ("runs", "failed", "hung", "told", "refused")
    for what in ("solvers", "families"):
        rows = [(name, *(row[c] for c in columns)) for name, row in sorted(found[what].items())]
        name = {"solvers": "solver", "families": "network"}[what]
        out.print(table((name, *columns), rows))
    checks = ", ".join(f"{name} {number(n)}" for name, n in found["checks"].items())
    out.print(text(f"checks: {checks}", "dim"))
    speed = found["runs"] / found["seconds"] if found["seconds"] else 0.0
    out.print(
        text(
            f"{number(found['runs'])} runs, {number(found['messages'])} messages in {found['seconds']:,.1f} s "
            f"({speed:,.0f} runs/s, {found['cpu_seconds']:,.1f} s of processors): "
            f"{number(found['failed'])} failed, {number(found['hung'])} hung",
            "bold red" if tally.bad else "bold green",
        )
    )
    for failure in found["failures"]:
        _show_failure(out, failure)


def _show_failure(out: Any, failure: dict[str, Any]) -> None:  # noqa: ANN401  # rich is not imported here
    from scenarios.screen import text

    size = failure.get("size", {})
    shape = ", ".join(f"{n} {what}" for what, n in size.items())
    out.print()
    out.print(text(f"{failure['solver']}: {failure['why']}", "bold red"))
    if shape:
        out.print(text(shape, "dim"))
    out.print(text(failure["command"]), soft_wrap=True)
