"""`agentsim demo`: a guided tour of what agentsim does, from a problem to what its agents learnt about each other."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from agentsim.errors import AgentSimError

if TYPE_CHECKING:
    from rich.console import Console

    from agentsim.dcop.problem import Problem
    from agentsim.runtime.result import Result

SOLVERS: Final = ("synchbb", "adopt", "bnb-adopt", "dpop")
NETWORK: Final = "uniform:1,10"
LOGGED: Final = "dpop"
"""The solver whose run is watched, logged and replayed."""

LOG: Final = "demo.amlog"
PAGE: Final = "demo.html"

LEAKAGE: Final = "vps:aggregators=average+max+risk,tau=.083"
OBSERVERS: Final = ("traffic", "disclosures", LEAKAGE)


class DemoFailed(AgentSimError):
    """The tour showed something that must not be: solvers that disagree, or a log that does not verify."""


@click.command()
def demo() -> None:
    """Take a guided tour: four algorithms on one problem, what was learnt, a log replayed and verified."""
    from scenarios.screen import console

    tour(console())


def shipped_problem() -> Problem:
    """Return the meeting-scheduling problem that comes with the package."""
    from agentsim import load

    with as_file(files("scenarios") / "problems" / "meetings.yaml") as path:
        return load(path)


def tour(out: Console) -> None:
    """Show everything; DemoFailed if something is not as it must be."""
    problem = shipped_problem()
    _headline(out, 1, "A problem: meetings to be scheduled, preferences to be kept private")
    _introduce(out, problem)
    _headline(out, 2, f"Four algorithms solve it as asynchronous agents, over {NETWORK}")
    results = [_solve(problem, name, observers=(LEAKAGE,)) for name in SOLVERS]
    _compare(out, results)
    _headline(out, 3, "The schedule they all found")
    _schedule(out, problem, results[-1])
    folder = _folder()
    log = folder / LOG
    _headline(out, 4, "What did anybody learn of the others' private costs?")
    _compare_leakage(out, results)
    _headline(out, 5, f"A closer look at {LOGGED}: who lost what to whom, and every delivery logged")
    live = _solve(problem, LOGGED, observers=OBSERVERS, log=log)
    _watched(out, live.findings, log)
    _headline(out, 6, "Tomorrow's question, asked of yesterday's log")
    _replay(out, log, live.findings)
    _headline(out, 7, "And something to look at")
    _draw(out, log, folder / PAGE)
    _next(out)


def _folder() -> Path:
    """Return where page and log can be written: here, if nothing of somebody else's is in the way, else a new folder.

    What the demo writes stays, for whoever wants to go on from it.
    """
    from agentsim.record.log import MAGIC
    from scenarios.reports.page import GENERATOR

    with contextlib.suppress(OSError):  # where we are may have been removed
        here = Path.cwd()
        if os.access(here, os.W_OK) and _is_ours(here / LOG, MAGIC) and _is_ours(here / PAGE, GENERATOR.encode()):
            return here
    return Path(tempfile.mkdtemp(prefix="agentsim-demo-"))


def _is_ours(path: Path, sign: bytes) -> bool:
    """Tell whether a file is not there, or of the kind that the demo writes."""
    if path.is_symlink() or not path.is_file():
        return not os.path.lexists(path)
    with open(path, "rb") as file:
        return sign in file.read(4096)


def _headline(out: Console, number: int, words: str) -> None:
    from scenarios.screen import text

    out.print()
    out.rule(text(f"{number}. {words}", "bold cyan"), align="left", style="cyan", characters="─")
    out.print()


def _introduce(out: Console, problem: Problem) -> None:
    from scenarios.screen import table, text

    slots = next(iter(problem.variables.values())).size
    meetings = _meetings(problem)
    out.print(
        text(
            f"{len(problem.agents)} people schedule {len(meetings)} meetings in {slots} slots. Each has a variable for "
            f"each meeting he or she attends, {len(problem.variables)} in all. Attendees must agree, and nobody can be "
            "in two meetings at once. How much anybody dislikes a slot is nobody else's business."
        )
    )
    rows = []
    for agent in problem.agents:
        for name in problem.owned_by(agent):
            costs = problem.variables[name].unary
            shown = "" if costs is None else " ".join(f"{c:>3}" for c in costs.tolist())
            rows.append((agent, name.partition("_")[0], shown))
    out.print(table(("who", "meeting", "private cost of each slot"), rows, left=3))


def _meetings(problem: Problem) -> dict[str, list[str]]:
    """Return the variables of each meeting."""
    meetings: dict[str, list[str]] = {}
    for name in problem.variables:
        meetings.setdefault(name.partition("_")[0], []).append(name)
    return meetings


def _solve(problem: Problem, solver: str, observers: Sequence[str] = (), log: Path | None = None) -> Result:
    from agentsim import simulate
    from scenarios.screen import Progress

    with Progress(f"{solver} solves") as progress:
        result = simulate(
            problem,
            solver,
            network=NETWORK,
            seed=1,
            monitor=lambda kernel: progress.say(
                f"{solver} solves: {kernel.seq:,} deliveries, virtual time {kernel.now:,.0f}"
            ),
            observers=observers,
            log=log,
        )
    if result.status != "optimal":
        raise DemoFailed(f"{solver} ended as {result.status}")
    return result


def _compare(out: Console, results: list[Result]) -> None:
    from scenarios.screen import number, table, text

    rows = [
        (r.solver, r.status, number(r.cost), number(r.messages), number(r.bytes), number(round(r.virtual_time)),
         number(r.nccc), f"{r.wall_time:.2f} s")
        for r in results
    ]  # fmt: skip
    columns = ("algorithm", "status", "cost", "messages", "bytes", "virtual time", "NCCC", "wall time")
    out.print(table(columns, rows, left=2))
    if len({r.cost for r in results}) != 1:
        raise DemoFailed("complete algorithms disagree about the optimum")
    out.print(text("Same optimum, very different conversations. (NCCC: non-concurrent constraint checks.)"))


def _compare_leakage(out: Console, results: list[Result]) -> None:
    from scenarios.screen import table, text

    out.print(
        text(
            "In each run an observer sat behind every agent and drew the conclusions that its mail allows. An agent's "
            "loss is 0 when nobody learnt anything of its costs, and 1 when everybody knows all of them. Three ways to "
            "add losses up:"
        )
    )
    rows = []
    for result in results:
        found = result.findings["vps"]
        worst = max((p, agent) for agent, p in found["loss"].items() if p is not None)[1]
        rows.append((result.solver, worst, *(f"{p:.4f}" for p in found["aggregate"].values())))
    names = list(results[0].findings["vps"]["aggregate"])
    out.print(table(("algorithm", "most exposed", *names), rows, left=2))
    out.print(text("(risk: the mean of the losses above a threshold of .083, where there are such.)"))


def _schedule(out: Console, problem: Problem, result: Result) -> None:
    from scenarios.screen import table

    rows = []
    for meeting, names in _meetings(problem).items():
        slot = result.assignment[names[0]]
        who = " and ".join(problem.variables[n].agent for n in names)
        rows.append((meeting, who, slot))
    out.print(table(("meeting", "attended by", "slot"), rows, left=2))


def _watched(out: Console, findings: dict[str, Any], log: Path) -> None:
    from scenarios.losses import show_losses
    from scenarios.screen import number, table, text

    traffic, disclosed, leakage = (findings[name.partition(":")[0]] for name in OBSERVERS)
    rows = [(pair, f["messages"], f["bytes"]) for pair, f in traffic.items()]
    out.print(text("traffic, an observer of ten lines: who talks to whom, how much"))
    out.print(table(("from > to", "messages", "bytes"), rows))
    out.print(text("disclosures: what each one's mail says about the others, counted by kind"))
    labels = list(dict.fromkeys(label for counts in disclosed["statements"].values() for label in counts))
    lines = []
    for viewer, counts in disclosed["statements"].items():
        about = ", ".join(disclosed["subjects"][viewer]) or "nobody"
        lines.append((viewer, about, *(counts.get(label, 0) for label in labels)))
    out.print(table(("who", "learns about", *labels), lines, left=2))
    out.print(text("vps: what follows from it for each private cost"))
    show_losses(out, leakage)
    out.print(text(f"The log has {number(log.stat().st_size)} bytes: the problem, and every delivery."))


def _replay(out: Console, log: Path, live: dict[str, Any]) -> None:
    from agentsim import replay
    from scenarios.screen import text

    result = replay(log, observers=OBSERVERS, verify=True)
    same = result.findings == live
    _check(out, same, "observers fed from the log find exactly what they found live")
    _check(out, bool(result.verified), f"agents run again emit all {result.deliveries} messages byte for byte")
    if not (same and result.verified and result.complete):
        raise DemoFailed(f"the log does not replay: {result.first_difference}")
    out.print(text("An observer written next year can be asked about this run, too."))


def _check(out: Console, good: bool, words: str) -> None:
    from rich.text import Text

    mark = Text("  ok  " if good else " FAIL ", "bold green" if good else "bold red")
    out.print(mark.append(words, "not bold default"))


def _draw(out: Console, log: Path, page: Path) -> None:
    from scenarios.reports.page import address, write_page
    from scenarios.reports.replay import replay_page
    from scenarios.reports.trace import trace_of
    from scenarios.screen import text

    write_page(page, replay_page(trace_of(log)))
    out.print(
        text(
            "The same run in your browser: who sends what to whom, step by step, and what each one learns from it. "
            "One file that needs nothing else:"
        )
    )
    out.print(text(f"  {address(page)}", "bold"), soft_wrap=True)
    out.print(text(f"The log is beside it: {log.name}"))


def _next(out: Console) -> None:
    from scenarios.screen import text

    lines: Iterable[str] = (
        "agentsim generate meetings -p agents=5 -p meetings=4 --seed 7 -o mine.yaml",
        "agentsim solve mine.yaml --algo bnb-adopt-plus --network uniform:1,10+loss:.1+reliable --log mine.amlog",
        "agentsim replay mine.amlog --verify --observe vps:rule=exact,metric=guess",
        "agentsim report mine.amlog -o mine.html",
        "agentsim reproduce vps-table2 --instances 10",
        "agentsim list solvers",
    )
    out.print()
    out.print(text("What next?", "bold cyan"))
    for line in lines:
        out.print(text(f"  {line}"))
