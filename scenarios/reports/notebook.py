"""Pages inside notebooks: `show` puts a replay viewer or a results page into the output of a cell.

The page is the one that `agentsim report` writes, in a frame of its own that may run the page's scripts and nothing
else: it has no way to the notebook around it. It becomes part of the notebook's file, some hundred kilobytes of program
and the data, which is why fewer deliveries are taken than by the command.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agentsim.errors import UserError
from agentsim.record.reader import Log
from agentsim.runtime.result import Result

if TYPE_CHECKING:
    from agentsim.record.results import Results

MOST: Final = 20_000


@dataclass(frozen=True)
class Shown:
    """A page that a notebook shows.

    Args:
        page: a self-contained HTML document.
        height: of its frame, in pixels.
    """

    page: str = field(repr=False)
    height: int

    def _repr_html_(self) -> str:
        inside = self.page.replace("&", "&amp;").replace('"', "&quot;")
        return (
            f'<iframe srcdoc="{inside}" sandbox="allow-scripts allow-downloads" title="agentsim" '
            f'style="width:100%;height:{self.height}px;border:1px solid rgba(128,128,128,.35)"></iframe>'
        )


def show(
    what: Log | Result | Results | str | os.PathLike[str],
    *,
    height: int = 720,
    observe: str | None = None,
    first: int = 1,
    most: int = MOST,
) -> Shown:
    """Return a page to be the last thing in a notebook's cell.

    Args:
        what: a log, a run's result (whose log is shown), results as `agentsim.load_results` returns them, or the path
            of a log or of a folder of results.
        height: of the page, in pixels.
        observe: of a log: whose leakage to show, the observer `vps` with options.
        first: of a log: the first delivery to show.
        most: of a log: how many deliveries to show.

    Raises:
        UserError: it is none of these, or an argument makes no sense for it.
    """
    if isinstance(height, bool) or not isinstance(height, int) or height < 1:
        raise UserError(f"height={height!r}: must be a number of pixels")
    if isinstance(what, Result):
        what = what.log
    elif not isinstance(what, (Log, str, os.PathLike)):
        folder = getattr(what, "folder", None)
        if not isinstance(folder, Path):
            raise UserError(f"a {type(what).__name__} cannot be shown: give a log, a result, results or a path")
        what = folder
    if isinstance(what, Log) or not Path(what).is_dir():
        from scenarios.reports.replay import replay_page
        from scenarios.reports.trace import trace_of

        return Shown(replay_page(trace_of(what, observe, first, most)), height)
    if (observe, first, most) != (None, 1, MOST):
        raise UserError(f"{what}: is a folder of results; observe, first and most are for logs")
    from scenarios.reports.results import results_page

    return Shown(results_page(Path(what)), height)
