"""The replay viewer's page: a trace, and the program that shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from scenarios.reports.head import title_of
from scenarios.reports.page import packed, page, static
from scenarios.reports.trace import Trace

VIEWER: Final = ("model", "base", "axis", "graph", "lanes", "curves", "inspect", "find", "live")
"""The viewer's parts, each after those that it needs."""
SCRIPTS: Final = ("d3.min.js", *(f"viewer-{part}.js" for part in VIEWER), "viewer.js")
STYLES: Final = ("base.css", "viewer.css")
BODY: Final = "viewer.html"


def replay_page(trace: Trace) -> str:
    """Return the replay viewer with a trace inside, as one HTML document.

    Increment K is in two parts, `core-K` and `details-K`: what the whole picture needs, and what one click needs.
    """
    data = {"head": packed(trace.head)}
    for k, increment in enumerate(trace.increments):
        data[f"core-{k}"] = packed({name: part for name, part in increment.items() if name != "details"})
        data[f"details-{k}"] = packed(increment["details"])
    return viewer_page(title_of(trace.head), data)


def viewer_page(title: str, data: Mapping[str, bytes], *, live: bool = False) -> str:
    """Return the viewer with some data; with live=True it asks where it came from for what is not there."""
    scripts, styles = [*map(static, SCRIPTS)], [*map(static, STYLES)]
    return page(title, scripts, styles, data, body=static(BODY), connects=live)
