"""Privacy losses as people see them: who lost how much to whom, when, and what that adds up to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

BAR: Final = 20
SPARKS: Final = "▁▂▃▄▅▆▇█"
SPARK_CELLS: Final = 24
MAX_AGENTS: Final = 30
MAX_OBSERVERS: Final = 10


def is_losses(found: object) -> bool:
    """Tell whether findings are losses by agent, such as those of the observer `vps`."""
    return isinstance(found, Mapping) and {"loss", "matrix", "aggregate", "curve"} <= set(found)


def show_losses(out: Console, found: Mapping[str, Any]) -> None:
    """Show losses with their course, the matrix of who learnt how much of whom, aggregates, prior and notes."""
    from scenarios.screen import number, text

    prior = found.get("prior") or {}
    span = prior.get("range")
    told = f"costs from {number(span[0])} to {number(span[1])}" if span else "a range for each variable"
    source = prior.get("source")
    told = f"public beforehand: {told} ({source})" if span or prior.get("ranges") else str(source)
    out.print(text(f"rule {found.get('rule')}, metric {found.get('metric')}; {told}"))
    if found.get("solver_analysed", True):
        out.print(losses_table(found["loss"], found["aggregate"], found["curve"], out.encoding))
        _show_matrix(out, found)
    for note in found.get("notes", ()):
        out.print(text(f"note: {note}", "yellow"))


def losses_table(
    loss: Mapping[str, float | None],
    aggregate: Mapping[str, float | None],
    curve: Mapping[str, Sequence[Sequence[float]]] | None = None,
    encoding: str = "utf-8",
) -> Table:
    """Return a table of p by agent, most exposed first, and of the aggregates.

    Args:
        loss: p by agent, None where there is none.
        aggregate: verdict by aggregator.
        curve: p over time by agent, [[time, p], ...].
        encoding: of the terminal; without block characters the bars are plain.
    """
    from rich import box
    from rich.table import Table

    from scenarios.screen import text

    blocks = encoding.lower().replace("-", "").startswith("utf")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
    table.add_column("agent")
    table.add_column("privacy lost", justify="right")
    table.add_column("0" + " " * (BAR - 2) + "1")
    if curve is not None and blocks:
        table.add_column("over time")
    ranked = sorted(loss.items(), key=lambda item: -1.0 if item[1] is None else item[1], reverse=True)
    end = max((points[-1][0] for points in (curve or {}).values() if points), default=0.0)
    for agent, p in ranked[:MAX_AGENTS]:
        row = [text(agent), text("-" if p is None else f"{p:.4f}"), text("" if p is None else _bar(p, blocks), "red")]
        if curve is not None and blocks:
            row.append(text(_spark(curve.get(agent, ()), end), "cyan"))
        table.add_row(*row)
    if len(ranked) > MAX_AGENTS:
        table.add_row(text(f"... and {len(ranked) - MAX_AGENTS} more", "dim"))
    table.add_section()
    for name, p in aggregate.items():
        shown = [text(name, "bold"), text("-" if p is None else f"{p:.4f}", "bold")]
        table.add_row(*shown, text("" if p is None else _bar(p, blocks), "bold red"))
    return table


def _bar(p: float, blocks: bool) -> str:
    filled = p * BAR
    if not blocks:
        return "#" * round(filled)
    rest = int((filled - int(filled)) * 8)
    return "█" * int(filled) + (" ▏▎▍▌▋▊▉"[rest].strip() if rest else "")


def _spark(points: Sequence[Sequence[float]], end: float) -> str:
    """Return p at equal steps of time as a row of small bars, as high as p is of its own final value."""
    if not points or end <= 0 or points[-1][1] <= 0:
        return ""
    top, shown, at = points[-1][1], "", 0
    for cell in range(SPARK_CELLS):
        when = end * (cell + 1) / SPARK_CELLS
        while at + 1 < len(points) and points[at + 1][0] <= when:
            at += 1
        share = min(1.0, points[at][1] / top)
        shown += " " if share == 0 else SPARKS[min(len(SPARKS) - 1, int(share * len(SPARKS)))]
    return shown


def _show_matrix(out: Console, found: Mapping[str, Any]) -> None:
    from scenarios.screen import table, text

    matrix: Mapping[str, Mapping[str, float]] = found["matrix"]
    observers = [name for name, row in matrix.items() if any(row.values())]
    subjects = [a for a in found["loss"] if any(matrix[o].get(a) for o in observers)]
    if not observers or not subjects:
        return
    if len(observers) > MAX_OBSERVERS or len(subjects) > MAX_AGENTS:
        out.print(text(f"{len(observers)} observers learnt of {len(subjects)} agents (--json has the matrix)", "dim"))
        return
    rows = [(a, *("" if a not in matrix[o] else f"{matrix[o][a]:.3g}" for o in observers)) for a in subjects]
    out.print(text(f"{found.get('unit', '')} that the observer in the column learnt of the agent in the row", "dim"))
    out.print(table(("of", *observers), rows))
