"""`agentsim reproduce`: run an experiment and show a paper's numbers beside ours."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agentsim.errors import UserError
from scenarios.commands.interruption import Interruption
from scenarios.commands.options import SEED, writable_folder
from scenarios.progress import Bar
from scenarios.status import FAILED

if TYPE_CHECKING:
    from scenarios.experiments.base import Experiment, Outcome


@click.command()
@click.argument("experiment")
@click.option("--instances", type=click.IntRange(1), metavar="N", help="Random problems of each kind.")
@click.option("--full", is_flag=True, help="All that the paper did, however long it takes.")
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    help="Write rows (JSON, CSV), notes and figure (SVG, PNG) there, and keep all runs in DIR/EXPERIMENT; go on there.",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of every random draw.")
@click.option("--workers", type=click.IntRange(0), metavar="N", help="Processes; 0: this one; default: all cores.")
@click.option("--scheduler", metavar="ADDRESS|local", help="Run on a dask cluster, or on one of --workers here.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def reproduce(
    experiment: str,
    instances: int | None,
    full: bool,
    output: str | None,
    seed: int,
    workers: int | None,
    scheduler: str | None,
    as_json: bool,
) -> int:
    """Reproduce a paper's table or figure; `agentsim list experiments` shows which.

    Without --instances and --full it does the experiment's own default, which is smaller than the paper's. What is kept
    in DIR is not run again, and neither Ctrl-C nor SIGTERM loses anything of it.
    """
    from agentsim.runtime import registry
    from scenarios.executors import ClusterGone, WorkerDied, executor
    from scenarios.experiments.base import Options
    from scenarios.experiments.base import reproduce as run
    from scenarios.screen import complain, console, print_json, text

    chosen = registry.find("experiments", experiment)(Options(instances, full, seed))
    folder = None if output is None else _folder(output)
    kept = None if folder is None else folder / experiment
    bar = Bar(experiment)
    interruption = Interruption()
    try:
        with interruption, bar, executor(workers, scheduler, tell=bar.say) as pool:
            outcome = run(chosen, pool, bar, kept, bar.say)
    except (KeyboardInterrupt, WorkerDied, ClusterGone) as error:  # nothing in our traceback would tell more
        why = str(error) or "interrupted"
        if kept is not None and bar.total:
            why += f": {bar.done:,} of {bar.total:,} cells are kept in {kept}; the same command goes on"
        complain(why)
        return interruption.status if isinstance(error, KeyboardInterrupt) else FAILED
    found = outcome.to_json()
    lost = None
    if folder is not None:
        try:
            write(folder / experiment, found)
            draw(folder / experiment, chosen, outcome)
        except OSError as error:  # what took long to find is shown all the same
            lost = error
    if as_json:
        print_json(found)
    else:
        out = console()
        chosen.show(out, outcome.rows)
        for note in outcome.notes:
            out.print(text(note))
    if lost is not None:
        complain(f"{output}: cannot write: {lost.strerror or lost}")
        return FAILED
    return 0


def write(stem: Path, found: Mapping[str, Any]) -> None:
    """Write an outcome as stem.json, the object that `--json` prints, and its rows as stem.csv.

    The CSV has a column for every key of any row. What is not a number or text is written as JSON, none as nothing.
    """
    stem.with_name(f"{stem.name}.json").write_text(json.dumps(found, indent=2, allow_nan=False) + "\n", "utf-8")
    columns = list(dict.fromkeys(key for row in found["rows"] for key in row))
    with stem.with_name(f"{stem.name}.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.DictWriter(file, columns, lineterminator="\n")
        rows.writeheader()
        for row in found["rows"]:
            rows.writerow({k: v if isinstance(v, (str, int, float)) else _cell(v) for k, v in row.items()})


def draw(stem: Path, experiment: Experiment, outcome: Outcome) -> None:
    """Write an outcome's figure as stem.svg and stem.png, and its notes as stem.txt; no figure without matplotlib."""
    if outcome.notes:
        stem.with_name(f"{stem.name}.txt").write_text("\n".join(outcome.notes) + "\n", "utf-8")
    if find_spec("matplotlib") is None:
        return
    import matplotlib as mpl

    # The same picture, byte for byte, from the same rows.
    with mpl.rc_context({"svg.hashsalt": experiment.name, "svg.fonttype": "none"}):
        figure = experiment.figure(outcome.rows)
        if figure is not None:
            figure.savefig(stem.with_name(f"{stem.name}.svg"), metadata={"Date": None})
            figure.savefig(stem.with_name(f"{stem.name}.png"), dpi=150, metadata={"Software": None})


def _cell(value: object) -> str:
    return "" if value is None else json.dumps(value)


def _folder(name: str) -> Path:
    """Return the folder for results, made if need be: before the work, not after it."""
    if find_spec("pyarrow") is None or find_spec("msgspec") is None:
        raise UserError(f"-o {name}: keeping results needs pyarrow and msgspec: pip install 'agentsim[sweep]'")
    return writable_folder(name)
