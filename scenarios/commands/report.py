"""`agentsim report`: a page to look at, of a log or of a sweep's results."""

from __future__ import annotations

from pathlib import Path

import click

from agentsim.errors import UserError


@click.command()
@click.argument("source", metavar="LOG_OR_DIR")
@click.option("-o", "out", required=True, metavar="FILE", help="The HTML file to write.")
@click.option("--observe", metavar="vps[:K=V,...]", help="Whose leakage to show (of a log; vps:rule=tight by default).")
@click.option("--from", "first", type=click.IntRange(1), metavar="SEQ", help="First delivery to show (of a log).")
@click.option("--most", type=click.IntRange(1), metavar="N", help="Deliveries to show (of a log; 100,000 by default).")
def report(source: str, out: str, observe: str | None, first: int | None, most: int | None) -> None:
    """Write one HTML file that needs nothing else: the replay of a log, or the results of a sweep.

    It shows who sent what to whom and what everybody learnt from it; of results, tables and figures.
    """
    from scenarios.reports.page import address, check_target, write_page
    from scenarios.screen import console, number, text

    target = Path(out)
    check_target(target)
    if Path(source).is_dir():
        if not (observe is None and first is None and most is None):
            raise UserError(f"{source}: is a folder of results; --observe, --from and --most are for logs")
        content = _results(source)
    else:
        if target.exists() and Path(source).exists() and target.samefile(source):
            raise UserError(f"{target}: is the log itself, give the page another name")
        content = _replay(source, observe, first, most)
    write_page(target, content)
    size = number(target.stat().st_size)
    console().print(text(f"{target}: {size} bytes, to be opened in a browser: {address(target)}"), soft_wrap=True)


def _results(folder: str) -> str:
    from scenarios.reports.results import results_page

    return results_page(Path(folder))


def _replay(log: str, observe: str | None, first: int | None, most: int | None) -> str:
    from scenarios.reports.replay import replay_page
    from scenarios.reports.trace import MOST, trace_of
    from scenarios.screen import Progress

    with Progress(f"reading {log}") as progress:
        trace = trace_of(
            log,
            observe,
            1 if first is None else first,
            MOST if most is None else most,
            lambda seen: progress.say(f"reading {log}: {seen:,} deliveries"),
        )
        progress.say("writing the page")
        return replay_page(trace)
