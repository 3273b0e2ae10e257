"""`agentsim solve`: run a solver on a problem file."""

from __future__ import annotations

import contextlib
import faulthandler
import math
import os
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from agentsim.errors import RunError, UserError
from scenarios.commands.options import SEED, parse_pairs
from scenarios.status import BY_RUN_STATUS, FAILED, UNFINISHED

if TYPE_CHECKING:
    from rich.table import Table

    from agentsim.dcop.problem import Problem
    from agentsim.runtime.kernel import Kernel
    from agentsim.runtime.result import Result
    from agentsim.runtime.simulate import ObserverLike
    from scenarios.diagnostics import Diagnostics
    from scenarios.reports.live import LivePage
    from scenarios.screen import Progress

LAST_RESORT_S: Final = 5.0
"""How long after it was told to stop a run may go on before the process is ended from outside."""

LINGER_S: Final = 10.0
"""How long a live page stays when nobody asks for more and there is no terminal to press Ctrl-C at."""

_MAX_SHOWN: Final = 60


@click.command()
@click.argument("problem")
@click.option("--algo", required=True, metavar="NAME", help="Solver; `agentsim list solvers` shows them.")
@click.option("-p", "params", multiple=True, metavar="KEY=VALUE", help="Parameter of the solver (repeat for more).")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of every random draw.")
@click.option("--network", default="unit", show_default=True, metavar="SPEC", help="Latency and faults.")
@click.option("--observe", multiple=True, metavar="NAME[:K=V,...]", help="Attach an observer (repeat for more).")
@click.option(
    "--adversary",
    multiple=True,
    metavar="NAME[:agent=A,K=V,...]",
    help="Attack the run (repeat for more); `agentsim list adversaries` shows them.",
)
@click.option(
    "--privacy",
    multiple=True,
    metavar="KEY=VALUE",
    help="In place of what the file's privacy section says: pricing=full|bits|probability, "
    "policy=zero|own_min|own_tuple|global_lb, coalition=true|false (repeat for more); or off: nobody minds what it "
    "reveals.",
)
@click.option("--distribution", metavar="FILE", help="pyDCOP file that says which agent owns which variable.")
@click.option("--log", metavar="FILE", help="Write the message log there (.zst: compressed).")
@click.option("--redact", is_flag=True, help="Leave private costs out of the log.")
@click.option("--timeout", type=float, metavar="S", help="Stop after S seconds.")
@click.option("--max-messages", type=int, metavar="N", help="Stop after N deliveries.")
@click.option("--max-time", type=float, metavar="T", help="Stop at virtual time T.")
@click.option("--realtime", type=float, metavar="F", help="Take F real seconds for each unit of virtual time.")
@click.option("--check-cost", type=float, default=0.0, metavar="T", help="Virtual time that a constraint check takes.")
@click.option("--live", is_flag=True, help="Show the run in a browser while it goes on, on this machine alone.")
@click.option("-v", "--verbose", is_flag=True, help="Tell on standard error what the run is doing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def solve(
    problem: str,
    algo: str,
    params: tuple[str, ...],
    seed: int,
    observe: tuple[str, ...],
    adversary: tuple[str, ...],
    privacy: tuple[str, ...],
    distribution: str | None,
    log: str | None,
    live: bool,
    verbose: bool,
    as_json: bool,
    **options: Any,  # noqa: ANN401  # those that are simulate's own
) -> int:
    """Solve PROBLEM (.yaml, .xml, .wcsp, .cfn or .amdcop) with asynchronous agents."""
    from agentsim import load, simulate
    from agentsim.runtime import registry
    from agentsim.runtime.setup import find_solver
    from scenarios.commands.adversary import show_attacks, staged
    from scenarios.commands.privacy import naming, rational_run
    from scenarios.diagnostics import Diagnostics
    from scenarios.screen import Progress, console, print_json

    given = parse_pairs(params, "-p")
    name, solver = find_solver(algo)
    registry.make_params(solver.Params, given, f"solver {name}")  # before anything is read; also: `-p seed=1` is none
    if log is not None and _same_file(log, problem):
        raise UserError(f"{log}: is the problem itself; give the log another name")
    page = _live_page() if live else None
    with Progress(f"reading {problem}") as progress:
        loaded = load(problem, seed=seed, distribution=distribution)
        loaded, gates, observers = rational_run(loaded, problem, privacy, observe, redact=options["redact"])
        attacks, watching = staged(adversary, loaded, algo, given, options)
        attached: list[ObserverLike] = [*observers, *watching]
        if page is not None:
            attached.append(page.observer(next((o for o in observe if o.partition(":")[0] == "vps"), None)))
        diagnostics = Diagnostics(verbose)
        diagnostics.say(
            "loaded", problem=loaded.name, variables=len(loaded.variables), constraints=len(loaded.constraints)
        )
        monitor = Monitor(loaded, name, seed, as_json, progress, diagnostics)
        failure: Exception | None = None
        result: Result | None = None
        with _ended_by_all_means(options["timeout"]):
            try:
                with naming(problem):
                    result = simulate(
                        loaded, algo, seed=seed, observers=attached, gates=gates, log=log, monitor=monitor,
                        **options, **given,
                    )  # fmt: skip
            except (UserError, KeyboardInterrupt):
                raise
            except Exception as error:
                failure = error
                result = getattr(error, "result", None)
    if result is not None:
        diagnostics.ended(result)
    if failure is not None:
        tell_failure(failure)
    if as_json:
        shown = result.to_json() if result is not None else _nothing(loaded, name, seed, "error")
        if failure is not None:
            shown["error"] = str(failure)
        if attacks:
            shown["adversaries"] = [attack.told(shown["findings"]) for attack in attacks]
        print_json(shown)
    elif result is not None:
        show_result(loaded, result, str(options["network"]), log)
        show_attacks(console(), attacks, result)
    if page is not None:
        _keep(page, waits=result is not None and result.status != "interrupted")
    return FAILED if result is None or failure is not None else BY_RUN_STATUS.get(result.status, 0)


def _live_page() -> LivePage:
    """Return a page that is served until the command ends, and say where."""
    from scenarios.reports.live import LivePage

    page = click.get_current_context().with_resource(LivePage())
    print(f"live: {page.address}", file=sys.stderr, flush=True)
    return page


def _keep(page: LivePage, *, waits: bool) -> None:
    """Let pages have the end of the run; a person may look for as long as they like."""
    sys.stdout.flush()
    with contextlib.suppress(KeyboardInterrupt):
        if waits and sys.stderr.isatty():
            print(f"live: the run has ended, {page.address} stays until Ctrl-C", file=sys.stderr, flush=True)
            page.linger(math.inf)
        else:
            page.linger(LINGER_S if waits else 2.0)


def tell_failure(failure: BaseException) -> None:
    """Write the traceback of an agent's or observer's exception, and who it was, to standard error.

    A full disk is nobody's exception: one line says which log could not be written.
    """
    from agentsim.record.log import LogUnwritable
    from scenarios.screen import complain, plain

    cause = failure.__cause__ or failure
    if not isinstance(failure, LogUnwritable):
        for line in "".join(traceback.format_exception(cause)).splitlines():
            print(plain(line), file=sys.stderr)
    complain(failure if isinstance(failure, RunError) else f"{type(failure).__name__}: {failure}")


def show_result(problem: Problem, result: Result, network: str, log: str | None) -> None:
    """Show a result to people."""
    from scenarios.screen import console, number, pairs, plain, show_findings, status_text, table, text

    out = console()
    out.print(
        text(
            f"{plain(problem.name)}: {len(problem.variables)} variables, {len(problem.constraints)} constraints, "
            f"{len(problem.agents)} agents; {result.solver} over {network}, seed {result.seed}"
        )
    )
    out.print()
    limit = f" ({result.limit})" if result.limit and result.limit not in (result.status, "interrupted") else ""
    cost = number(result.cost) + (f" ({result.violations} hard constraints violated)" if result.violations else "")
    rows: list[tuple[str, object]] = [("status", status_text(result.status).append(limit)), ("cost", cost)]
    if result.bound != result.cost:
        rows.append(("bound", number(result.bound)))
    rows += [
        ("messages", f"{number(result.messages)}, {number(result.bytes)} bytes"),
        ("virtual time", number(result.virtual_time)),
        ("NCCC", f"{number(result.nccc)} of {number(result.checks)} checks"),
        ("wall time", f"{result.wall_time:.3f} s, and {result.startup_time:.3f} s to start"),
    ]
    faults = ", ".join(f"{number(n)} {kind.replace('_', ' ')}" for kind, n in result.transport.items() if n)
    if faults:
        rows.append(("network", f"packets: {faults}"))
    if result.local_messages:
        rows.append(("local", f"{number(result.local_messages)} messages between an agent's own variables"))
    if log is not None:
        rows.append(("log", log))
    out.print(pairs(rows))
    if result.by_type:
        kinds = [(name, m.count, m.bytes, m.largest) for name, m in result.by_type.items()]
        out.print(table(("message", "count", "bytes", "largest"), kinds))
    if result.assignment:
        values = [f"{plain(n)}={plain(v)}" for n, v in list(result.assignment.items())[:_MAX_SHOWN]]
        more = len(result.assignment) - len(values)
        out.print(text("  ".join(values) + (f"  ... and {more} more" if more else "")))
    if result.deadlock is not None:
        out.print(text(f"deadlock: {result.deadlock}", "yellow"))
    for note in result.notes:
        out.print(text(f"note: {note}", "yellow"))
    show_findings(out, result.findings)


def _same_file(a: str, b: str) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return os.path.samefile(a, b)
    return False


def _nothing(problem: Problem, solver: str, seed: int, status: str) -> dict[str, Any]:
    """Return the keys of `solve --json` for a run that has no result."""
    keys = ("cost", "bound", "violations", "nccc", "virtual_time", "wall_time", "limit")
    counts: Mapping[str, Any] = {"assignment": {}, "messages": 0, "bytes": 0, "by_type": {}, "findings": {}}
    return {
        "status": status,
        **dict.fromkeys(keys),
        **counts,
        "seed": seed,
        "solver": solver,
        "problem": problem.name,
    }


@contextlib.contextmanager
def _ended_by_all_means(timeout: float | None) -> Iterator[None]:
    """End the process even when an agent sits in compiled code that never lets another thread run."""
    if timeout is None or not 0 <= timeout < 1e6:
        yield
        return
    stream = getattr(sys.__stderr__, "fileno", None)
    try:
        if stream is not None:
            faulthandler.dump_traceback_later(timeout + 2 * LAST_RESORT_S, exit=True, file=stream())
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


class Monitor:
    """Called a few times a second from the watchdog's thread: shows progress, and ends what cannot be ended.

    Args:
        problem: what is being solved.
        solver: by whom.
        seed: of the run.
        as_json: whether a JSON object is expected.
        progress: where to say how far the run is.
        diagnostics: where to say more, for those who asked.
    """

    def __init__(
        self,
        problem: Problem,
        solver: str,
        seed: int,
        as_json: bool,
        progress: Progress,
        diagnostics: Diagnostics,
    ) -> None:
        self._problem, self._solver, self._seed, self._as_json = problem, solver, seed, as_json
        self._progress, self._diagnostics = progress, diagnostics
        self._asked_at: float | None = None

    def __call__(self, kernel: Kernel) -> None:
        """Look at the run."""
        self._diagnostics.running(kernel)
        self._progress.say(
            f"{self._solver}: {kernel.seq:,} deliveries, virtual time {kernel.now:,.6g}", *self._tables(kernel)
        )
        if kernel.stop_request is None:
            return
        now = time.monotonic()
        if self._asked_at is None:
            self._asked_at = now
        elif now - self._asked_at > LAST_RESORT_S:
            self._end(kernel, kernel.stop_request)

    def _tables(self, kernel: Kernel) -> list[Table]:
        """Return what observers have found by now, for those that show it."""
        if not self._progress.visible:
            return []
        from scenarios.losses import losses_table
        from scenarios.screen import plain

        tables = []
        for label, live in kernel.live.items():
            with contextlib.suppress(Exception):  # it is changing under our eyes; the next look will do
                found = live()
                if "loss" in found and "aggregate" in found:
                    shown = losses_table(found["loss"], found["aggregate"], encoding=sys.stderr.encoding or "")
                    shown.title = plain(label)
                    tables.append(shown)
        return tables

    def _end(self, kernel: Kernel, why: str) -> None:
        """Print the best so far and leave, since some agent keeps the interpreter to itself."""
        from agentsim.runtime.result import best_assignment
        from scenarios.screen import complain, print_json

        who = kernel.current.mailbox.name if kernel.current is not None else "?"
        shown = _nothing(self._problem, self._solver, self._seed, "timeout" if why == "timeout" else why)
        held = best_assignment(self._problem, tuple(kernel.values))
        if held is not None:
            found = self._problem.evaluate_indices(held)
            shown.update(cost=found.cost, violations=found.violations, assignment=self._problem.values(held))
        shown.update(virtual_time=kernel.now, limit=why)
        with contextlib.suppress(Exception):
            kernel.writer.close()
        with contextlib.suppress(Exception):
            complain(f"agent {who} never gave control back; the process is ended without it ({why})")
            if self._as_json:
                print_json(shown)
            else:
                print(f"{shown['status']}: best cost so far {shown['cost']}", flush=True)
        os._exit(BY_RUN_STATUS.get(why, UNFINISHED))
