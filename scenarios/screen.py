"""What people see: tables, findings, progress. What programs see: one JSON object.

Text from files never reaches the terminal raw: `plain` shows control characters as escapes, and rich's markup is not
interpreted. rich is imported only where something is drawn.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

PIPED_WIDTH: Final = 110
_MAX_COLUMNS: Final = 10
_MAX_ROWS: Final = 40
_STYLES: Final = {
    "optimal": "bold green",
    "finished": "bold green",
    "infeasible": "bold yellow",
    "abandoned": "bold yellow",
    "timeout": "bold yellow",
    "interrupted": "bold yellow",
}


def plain(text: object) -> str:
    """Return text on one line with everything unprintable (control characters, say) as backslash escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text))


def one_line(text: object) -> str:
    """Return text on one line: white space joined, the unprintable escaped."""
    return plain(" ".join(str(text).split()))


def complain(text: object) -> None:
    """Write one line to standard error; what is longer than anybody reads is cut in the middle."""
    from agentsim.errors import one_line as bounded

    print(f"agentsim: {bounded(' '.join(str(text).split()))}", file=sys.stderr, flush=True)


def print_json(value: Mapping[str, Any]) -> None:
    """Write one JSON object to standard output, in ASCII, infinities as strings."""
    from agentsim.runtime.result import jsonable

    print(json.dumps(jsonable(value), indent=2, allow_nan=False), flush=True)


def console(*, stderr: bool = False) -> Console:
    """Return a console for standard output, of a fixed width when it is piped."""
    from rich.console import Console

    class Pipe(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # the command line decides what that means; rich would exit 1

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else PIPED_WIDTH
    return Pipe(file=stream, width=width, highlight=False, markup=False, emoji=False, soft_wrap=False)


def text(value: object, style: str = "") -> Text:
    """Return a value as text that is safe to show."""
    from rich.text import Text

    return Text(plain(value), style=style)


def status_text(status: str) -> Text:
    """Return a run's status in its colour."""
    return text(status, _STYLES.get(status, "bold red"))


def number(value: object) -> str:
    """Return a number for people: thousands apart, floats short, "-" for none."""
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return plain(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if value.is_integer() and abs(value) < 1e15 else f"{value:,.4g}"


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "", left: int = 1) -> Table:
    """Return a table; the first `left` columns are text, the others are numbers on the right."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    result = Table(box=box.SIMPLE_HEAD, title=text(title) if title else None, title_justify="left", pad_edge=False)
    for i, name in enumerate(columns):
        result.add_column(text(name), justify="left" if i < left else "right", overflow="fold")
    for row in rows:
        result.add_row(*(c if isinstance(c, Text) else text(c if i < left else number(c)) for i, c in enumerate(row)))
    return result


def pairs(rows: Iterable[tuple[str, object]]) -> Table:
    """Return a table of names and values without lines."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(text(name), value if isinstance(value, Text) else text(value))
    return grid


def show_findings(out: Console, findings: Mapping[str, Any]) -> None:
    """Show what observers found."""
    from scenarios.losses import is_losses, show_losses
    from scenarios.prices import is_inferred, is_priced, show_inferred, show_prices

    for label, found in findings.items():
        out.print()
        out.print(text(f"Findings of {label}", "bold"))
        if is_losses(found):
            show_losses(out, found)
        elif is_priced(found):
            show_prices(out, found)
        elif is_inferred(found):
            show_inferred(out, found)
        else:
            _show_found(out, found, "")


def _show_found(out: Console, found: object, name: str) -> None:
    if not isinstance(found, Mapping):
        out.print(text(f"{name + ': ' if name else ''}{_short(found)}"))
        return
    if not found:
        out.print(text(f"{name + ': ' if name else ''}nothing"))
        return
    inner = list(found.values())
    if all(isinstance(v, Mapping) and not any(isinstance(x, (Mapping, list)) for x in v.values()) for v in inner):
        columns = list(dict.fromkeys(k for v in inner for k in v))
        if 0 < len(columns) <= _MAX_COLUMNS:
            rows = [[key, *(v.get(c) for c in columns)] for key, v in list(found.items())[:_MAX_ROWS]]
            out.print(table([name, *columns], rows))
            _more(out, len(found))
            return
    if not any(isinstance(v, (Mapping, list)) for v in inner):
        if name:
            out.print(text(name, "dim"))
        out.print(pairs((k, number(v)) for k, v in list(found.items())[:_MAX_ROWS]))
        _more(out, len(found))
        return
    for key, value in list(found.items())[:_MAX_ROWS]:
        _show_found(out, value, f"{name}.{key}" if name else str(key))
    _more(out, len(found))


def _more(out: Console, count: int) -> None:
    if count > _MAX_ROWS:
        out.print(text(f"... and {count - _MAX_ROWS} more (--json has them all)", "dim"))


def _short(value: object) -> str:
    shown = json.dumps(value) if isinstance(value, list) else str(value)
    return shown if len(shown) <= 500 else shown[:500] + " ..."


class Progress:
    """A spinner on standard error after half a second of work; nothing at all when that is not a terminal.

    A context manager. `say` changes its words and what is shown below them, and may be called from any thread.
    """

    def __init__(self, words: str) -> None:
        self._words = words
        self._below: tuple[RenderableType, ...] = ()
        self._live: Live | None = None
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            # Now: a thread that imports beside a busy run gets its turn every 5 ms, and would need seconds.
            import rich.live
            import rich.spinner  # noqa: F401

            self._timer = threading.Timer(0.5, self._begin)
            self._timer.daemon = True
            self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is None:
            return
        self._timer.cancel()
        with self._lock:
            self._timer = None
            if self._live is not None:
                self._live.stop()

    @property
    def visible(self) -> bool:
        """Whether anybody sees it by now."""
        return self._live is not None

    def say(self, words: str, *below: RenderableType) -> None:
        """Show other words, and tables below them."""
        self._words, self._below = words, below
        with self._lock:
            if self._live is not None and self._timer is not None:
                self._live.update(self._picture())

    def _picture(self) -> RenderableType:
        from rich.console import Group

        self._spinner.update(text=text(self._words))
        return Group(self._spinner, *self._below)

    def _begin(self) -> None:
        from rich.live import Live
        from rich.spinner import Spinner

        with self._lock:
            if self._timer is not None:
                self._spinner = Spinner("dots")
                out = console(stderr=True)
                self._live = Live(self._picture(), console=out, transient=True, refresh_per_second=8)
                self._live.start()
