"""`agentsim audit`: how much of an epsilon is shown by playing the distinguishing game on what agents really sent."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import click

from agentsim.errors import UserError
from scenarios.commands.options import SEED, parse_pairs
from scenarios.status import FAILED

if TYPE_CHECKING:
    from agentsim.runtime.mechanisms import Claim
    from privacy.audit import Audit
    from scenarios.audits.base import Game

RUNS: Final = 2000


@click.command()
@click.argument("solver", required=False)
@click.option("--logs", nargs=2, metavar="DIR_A DIR_B", help="Two folders of logs, in place of runs of a solver.")
@click.option("--problems", nargs=2, metavar="FILE_A FILE_B", help="The two worlds, in place of the game's own.")
@click.option("-p", "params", multiple=True, metavar="KEY=VALUE", help="Parameter of the solver (repeat for more).")
@click.option("--runs", type=click.IntRange(8), metavar="N", help=f"Runs of each world; default {RUNS}, or all logs.")
@click.option("--delta", type=float, metavar="D", help="Of the guarantee; default: what the solver claims, else 0.")
@click.option("--view", metavar="V", help="Who guesses: agent:NAME, coalition:A+B, wire:A>B or all.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of every random draw.")
@click.option("--workers", type=click.IntRange(0), metavar="N", help="Processes; 0: this one; default: all cores.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def audit(
    solver: str | None,
    logs: tuple[str, str] | None,
    problems: tuple[str, str] | None,
    params: tuple[str, ...],
    runs: int | None,
    delta: float | None,
    view: str | None,
    seed: int,
    workers: int | None,
    as_json: bool,
) -> int:
    """Bound the epsilon of SOLVER from below, by guessing from its messages which of two worlds it ran in.

    Without --problems and --logs the worlds differ in one agent's costs, as much as the solver claims to hide; its
    neighbours, which --view names, hold their values and guess.
    """
    from privacy.audit import audit as find
    from scenarios.audits.base import conduct
    from scenarios.executors import WorkerDied, executor
    from scenarios.progress import Bar
    from scenarios.screen import complain, print_json

    if delta is not None and not 0 <= delta < 1:
        raise UserError(f"--delta {delta}: must be at least 0 and below 1")
    if logs is not None and solver is None:
        game = _of_logs(logs, problems, params, view, runs)
    elif solver is not None and logs is None:
        game = _of_solver(solver, problems, params, view, seed)
    else:
        raise UserError("audit: give a solver, or two folders by --logs, and not both")
    claim = game.claim
    at = delta if delta is not None else claim.delta if claim is not None and claim.delta < 1 else 0.0
    try:
        with Bar(f"audit {game.solver}") as bar, executor(workers) as pool:
            statistics = conduct(game, runs or RUNS, pool, bar)
    except WorkerDied as error:  # nothing in our traceback would tell more
        complain(error)
        return FAILED
    found = _to_json(game, claim, find(statistics, at), min(len(statistics[0].zero), len(statistics[0].one)))
    if as_json:
        print_json(found)
    else:
        _show(found)
    return 0


def _of_logs(
    logs: tuple[str, str],
    problems: tuple[str, str] | None,
    params: tuple[str, ...],
    view: str | None,
    runs: int | None,
) -> Game:
    from scenarios.audits.logs import Logs

    for given, option in ((problems, "--problems"), (params, "-p")):
        if given:
            raise UserError(f"{option}: goes with a solver, logs have their own")
    return Logs.of(logs, view, runs)


def _of_solver(
    solver: str, problems: tuple[str, str] | None, params: tuple[str, ...], view: str | None, seed: int
) -> Game:
    from agentsim import load
    from scenarios.audits import game_of
    from scenarios.audits.base import Subject

    subject = Subject.of(solver, parse_pairs(params, "-p"))
    pair = (load(problems[0], seed=seed), load(problems[1], seed=seed)) if problems is not None else None
    return game_of(subject, seed, view, pair)


def _to_json(game: Game, claim: Claim | None, audit: Audit, runs: int) -> dict[str, Any]:
    notes = list(game.notes)
    verdict = None
    if claim is not None and math.isfinite(claim.epsilon):
        if audit.delta < claim.delta:
            notes.append(f"the claim is for delta {claim.delta:g}, so that a bound at {audit.delta:g} cannot refute it")
        else:
            verdict = "refuted" if audit.epsilon_lower > claim.epsilon else "not refuted"
            if audit.cap <= claim.epsilon:
                notes.append("so few runs could not refute the claim, whatever had been seen: more --runs would")
    return {
        "solver": game.solver,
        "epsilon_lower": audit.epsilon_lower,
        "claimed": None if claim is None else claim.epsilon,
        "verdict": verdict,
        "cap": audit.cap,
        "delta": audit.delta,
        "confidence": audit.confidence,
        "runs": runs,
        "unit": None if claim is None else claim.unit,
        "view": game.view,
        "chosen": audit.chosen,
        "fields": {bound.name: bound.epsilon_lower for bound in audit.bounds},
        "statistic": game.statistic,
        "guesses": {
            bound.name: {
                "world": bound.rule.world,
                "right": bound.hits,
                "of": bound.hit_runs,
                "wrong": bound.false,
                "of_others": bound.false_runs,
            }
            for bound in audit.bounds
        },
        "problems": game.about,
        "notes": notes,
    }


def _show(found: dict[str, Any]) -> None:
    """Show what was found to people."""
    from scenarios.screen import console, number, table, text

    out = console()
    out.print(
        text(
            f"{found['solver']}: {number(found['runs'])} runs in each of two worlds, seen by {found['view']}; "
            f"{found['statistic']}"
        )
    )
    rows = [
        (name, bound, f"{g['right']:,} of {g['of']:,}", f"{g['wrong']:,} of {g['of_others']:,}")
        for (name, bound), g in zip(found["fields"].items(), found["guesses"].values(), strict=True)
    ]
    out.print(table(("what is seen", "epsilon at least", "right guesses", "wrong guesses"), rows))
    out.print(text(_sentence(found), "bold red" if found["verdict"] == "refuted" else "bold"))
    out.print(
        text(
            f"Half of the runs chose what to look at, the other half tested it. The bound of that choice holds with "
            f"{found['confidence']:.0%} confidence; those in the table do so one at a time. So many runs can show "
            f"{found['cap']:.3g} at most."
        )
    )
    for note in found["notes"]:
        out.print(text(f"note: {note}", "yellow"))


def _sentence(found: dict[str, Any]) -> str:
    """Return the verdict."""
    shown = f"By {found['chosen']}, epsilon is at least {found['epsilon_lower']:.3g} at delta {found['delta']:g}"
    claimed = found["claimed"]
    if claimed is None:
        return f"{shown}; nothing is claimed."
    if math.isinf(claimed):
        return f"{shown}; the solver claims no finite epsilon."
    if found["verdict"] is None:
        return f"{shown}; the claim, {claimed:.4g}, is another."
    return f"{shown}; the solver claims {claimed:.4g}: {found['verdict']}."
