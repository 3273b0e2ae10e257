"""`agentsim replay` and `agentsim inspect`: yesterday's runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from agentsim.errors import RunError
from scenarios.status import DIFFERS, FAILED

if TYPE_CHECKING:
    from agentsim.record.replay import ReplayResult


@click.command()
@click.argument("log")
@click.option("--observe", multiple=True, metavar="NAME[:K=V,...]", help="Attach an observer (repeat for more).")
@click.option("--verify", is_flag=True, help="Run the agents again and compare everything they emit.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def replay(log: str, observe: tuple[str, ...], verify: bool, as_json: bool) -> int:
    """Feed the deliveries of LOG to observers; with --verify also run its agents again.

    Exit status of --verify: 0 verified, 4 the log differs, is damaged or cut off, 2 not a log.
    """
    from agentsim import open_log
    from agentsim import replay as replay_log
    from agentsim.record.log import LogDamaged
    from agentsim.record.replay import ReplayResult
    from scenarios.commands.solve import tell_failure
    from scenarios.screen import Progress, complain, print_json

    failure: Exception | None = None
    with Progress(f"{'verifying' if verify else 'replaying'} {log}"):
        opened = open_log(log)
        broken: dict[str, str] | None = None
        try:
            if opened.header is None:
                broken = {"cut": "the log ends within its header"}
        except LogDamaged as error:
            broken = {"damaged": str(error)}
        if broken is not None:
            difference, damaged = broken if verify else None, broken.get("damaged")
            notes = tuple(broken.values())
            result = ReplayResult({}, False if verify else None, False, difference, 0, damaged=damaged, notes=notes)
        else:
            try:
                result = replay_log(opened, observers=observe, verify=verify)
            except RunError as error:  # an observer's
                failure = error
                result = ReplayResult({}, None, False, None, 0)
    if failure is not None:
        tell_failure(failure)
    elif result.verified is False:
        complain(_difference(log, result))
    elif result.damaged is not None:
        complain(f"{result.damaged}; {result.deliveries or 'no'} deliveries before that were replayed")
    if as_json:
        shown = result.to_json()
        print_json({**shown, "error": str(failure)} if failure is not None else shown)
    elif failure is None:
        _show_replay(result)
    if failure is not None:
        return FAILED
    return DIFFERS if result.verified is False or result.damaged is not None else 0


def _difference(log: str, result: ReplayResult) -> str:
    found: Mapping[str, Any] = result.first_difference or {}
    count = f"{result.deliveries or 'no'} deliveries were verified"
    if "damaged" in found:
        return f"{found['damaged']}; {count} before that"
    if "cut" in found:
        return f"{log}: cut off: {found['cut']}; {count}"
    return (
        f"{log}: differs at record {found.get('seq')}, agent {found.get('agent')}: the log has "
        f"{found.get('expected')}, the agent {found.get('got')}; all before that was verified"
    )


def _show_replay(result: ReplayResult) -> None:
    from scenarios.screen import console, number, show_findings, text

    out = console()
    if result.verified:
        out.print(text(f"verified: {number(result.deliveries)} deliveries, every byte as logged", "bold green"))
    elif result.verified is False:
        out.print(text("not verified", "bold red"))
    else:
        whole = "" if result.complete or result.skipped else " (the log is not complete)"
        out.print(text(f"replayed: {number(result.deliveries)} deliveries{whole}"))
    for note in result.notes:
        out.print(text(f"note: {note}", "yellow"))
    show_findings(out, result.findings)


@click.command()
@click.argument("log")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def inspect(log: str, as_json: bool) -> int:
    """Tell what is in LOG: its header, deliveries by type, findings, and whether it is whole."""
    from agentsim import open_log
    from scenarios.screen import Progress, print_json

    with Progress(f"reading {log}"):
        summary = open_log(log).summary()
        summary["header"] = _brief(summary["header"])
    if as_json:
        print_json(summary)
    else:
        _show_summary(log, summary)
    return 0


def _brief(header: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return a header with the problem's tables left out."""
    if header is None:
        return None
    brief = dict(header)
    problem = header.get("problem")
    if isinstance(problem, Mapping):
        kept = {k: problem.get(k) for k in ("name", "objective", "constant")}
        counts = {k: len(v) for k, v in problem.items() if k in ("variables", "constraints", "agents", "domains")}
        brief["problem"] = kept | counts
    else:
        brief["problem"] = None
    return brief


def _show_summary(log: str, summary: Mapping[str, Any]) -> None:
    from scenarios.screen import console, number, pairs, show_findings, status_text, table, text

    out = console()
    if summary["damaged"] is not None:
        state = text(f"damaged ({summary['damaged']})", "bold red")
    elif summary["whole"]:
        state = text("whole", "bold green")
    else:
        state = text("cut off" + (" within its header" if summary["header"] is None else ""), "bold yellow")
    rows: list[tuple[str, object]] = [("log", log), ("state", state)]
    header = summary["header"]
    if header is not None:
        problem = header.get("problem") or {}
        counts = ", ".join(f"{problem[k]} {k}" for k in ("variables", "constraints", "agents") if k in problem)
        params = ", ".join(f"{k}={v}" for k, v in (header.get("params") or {}).items() if v is not None)
        rows += [
            ("problem", f"{problem.get('name')}: {counts}" + (" (redacted)" if header.get("redacted") else "")),
            ("solver", f"{header.get('solver')}" + (f" ({params})" if params else "")),
            ("network", f"{header.get('network')}, seed {header.get('seed')}"),
        ]
        replaced = header.get("replaced") or []
        if replaced:
            rows.append(("replaced", ", ".join(map(str, replaced))))
    result = summary["result"]
    if isinstance(result, Mapping):
        rows.append(("status", status_text(str(result.get("status")))))
        rows.append(("cost", number(result.get("cost"))))
    rows.append(("deliveries", number(summary["deliveries"])))
    if summary["fates"]:
        rows.append(("packets", ", ".join(f"{number(n)} {kind}" for kind, n in summary["fates"].items())))
    out.print(pairs(rows))
    if summary["by_type"]:
        out.print(table(("message", "deliveries"), summary["by_type"].items()))
    show_findings(out, summary["findings"])
