"""HTML for notebooks: the pieces that the `_repr_html_` methods of problems, results and logs are made of.

What is shown may come from a file of somebody else's: text is escaped, control characters are shown as escapes, long
text is cut and says how long it was, tables are bounded and say what they leave out, and `card` bounds the whole.
Pieces are `Html`, which says that they are safe; everything else is escaped on its way in.

Nothing here sets a colour of text or ground: a notebook may be light or dark.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from itertools import islice
from typing import Any, Final

MOST_BYTES: Final = 150_000
"""What a card may hold, in bytes of UTF-8, its frame apart."""

MOST_ROWS: Final = 40
MOST_COLUMNS: Final = 12
MOST_CHARACTERS: Final = 80

_HEADING: Final = 48
_SENTENCE: Final = 400
_FINDINGS_ROOM: Final = 60_000
_MOST_DEPTH: Final = 6
_SMALL: Final = 4000

_STYLE: Final = (
    "div.agentsim{font-size:13px;line-height:1.45;max-width:62em;overflow-wrap:anywhere}"
    "div.agentsim table{border-collapse:collapse;border:0;margin:.3em 0 .6em;table-layout:auto;"
    "font-size:inherit;font-variant-numeric:tabular-nums}"
    "div.agentsim tr{background:none}"
    "div.agentsim th,div.agentsim td{border:0;padding:.1em 1.2em .1em 0;text-align:left;vertical-align:top;"
    "max-width:40em;white-space:normal}"
    "div.agentsim thead th{border-bottom:1px solid rgba(128,128,128,.5);font-weight:600}"
    "div.agentsim tbody th{font-weight:400;opacity:.7}"
    "div.agentsim .n{text-align:right;overflow-wrap:normal}"
    "div.agentsim .dim{opacity:.7}"
    "div.agentsim p{margin:.3em 0}"
    "div.agentsim .title{font-size:115%}"
    "div.agentsim details{margin:.2em 0}"
    "div.agentsim details>div{margin-left:1em}"
    "div.agentsim summary{cursor:pointer}"
    "div.agentsim svg{display:block;max-width:100%;height:auto;margin:.3em 0}"
)


class Html(str):
    """Text that is HTML already: it is put in as it is, while any other text is escaped."""

    __slots__ = ()


def shortened(value: object, most: int = MOST_CHARACTERS) -> str:
    """Return a value as text on one line, not escaped for HTML: the unprintable as escapes, the long cut."""
    try:
        raw = str(value)
    except (ValueError, RecursionError):  # a whole number of many thousand digits, lists many deep
        raw = f"({type(value).__name__} too large to show)"
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in raw[:most])
    return shown if len(raw) <= most else f"{shown[:most]}… ({len(raw):,} characters)"


def text(value: object, most: int = MOST_CHARACTERS) -> Html:
    """Return any value as HTML text of at most `most` of its characters; `Html` is returned as it is."""
    return value if isinstance(value, Html) else Html(escape(shortened(value, most)))


def number(value: object) -> str:
    """Return a number as people write it: thousands apart, four figures of a fraction, "-" for none."""
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return shortened(value)
    if isinstance(value, int):
        return f"{value:,}" if abs(value) < 10**15 else shortened(value, 24)
    if not math.isfinite(value):
        return str(value)
    return f"{value:,.0f}" if value.is_integer() and abs(value) < 1e15 else f"{value:,.4g}"


def _cell(value: object) -> Html:
    return text(number(value)) if value is None or isinstance(value, (int, float)) else text(value)


def joined(parts: Iterable[Html], between: str = "") -> Html:
    """Return pieces as one."""
    return Html(between.join(parts))


def paragraph(words: object, *, dim: bool = False, most: int = _SENTENCE) -> Html:
    """Return a paragraph."""
    kind = ' class="dim"' if dim else ""
    return Html(f"<p{kind}>{text(words, most)}</p>")


def table(columns: Sequence[object], rows: Iterable[Sequence[object]], *, left: int = 1, most: int = MOST_ROWS) -> Html:
    """Return a table of at most `most` rows, which says how many it leaves out.

    Args:
        columns: their names.
        rows: cells, raw values or `Html`; all are counted, the first are shown.
        left: how many columns hold text, on the left; the others hold numbers, on the right.
        most: rows.
    """
    kinds = ["" if i < left else ' class="n"' for i in range(len(columns))]
    head = "".join(f"<th{kind}>{text(name, _HEADING)}</th>" for kind, name in zip(kinds, columns, strict=True))
    lines, count = [], 0
    for row in rows:
        count += 1
        if count <= most:
            cells = "".join(f"<td{kind}>{_cell(v)}</td>" for kind, v in zip(kinds, row, strict=True))
            lines.append(f"<tr>{cells}</tr>")
    return Html(f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>{_left_out(count, most)}")


def pairs(rows: Iterable[tuple[object, object]], *, most: int = MOST_ROWS) -> Html:
    """Return names and their values as a table without lines."""
    lines, count = [], 0
    for name, value in rows:
        count += 1
        if count <= most:
            shown = _cell(value) if not isinstance(value, str) else text(value, _SENTENCE)
            lines.append(f"<tr><th>{text(name)}</th><td>{shown}</td></tr>")
    return Html(f"<table><tbody>{''.join(lines)}</tbody></table>{_left_out(count, most)}")


def _left_out(count: int, most: int) -> Html:
    return paragraph(f"… and {count - most:,} more", dim=True) if count > most else Html()


def folded(title: object, body: Html, *, unfolded: bool = False) -> Html:
    """Return a part that opens at a click on its title."""
    return Html(f"<details{' open' if unfolded else ''}><summary>{text(title)}</summary><div>{body}</div></details>")


def card(title: Html, parts: Iterable[Html], most: int = MOST_BYTES) -> Html:
    """Return pieces under a title as one display, of `most` bytes and a frame.

    A piece that does not fit any more is left out, which is said; a smaller one after it may fit all the same.
    """
    shown, room, missing = [], most, 0
    for part in parts:
        size = len(part.encode("utf-8"))
        if size <= room:
            shown.append(part)
            room -= size
        else:
            missing += 1
    if missing:
        shown.append(paragraph(f"parts too large to be shown here: {missing}", dim=True))
    return Html(f'<div class="agentsim"><style>{_STYLE}</style><p class="title">{title}</p>{joined(shown)}</div>')


def findings(found: object, draw: Callable[[Mapping[str, Any]], Html]) -> Html:
    """Return what an observer found: maps of flat maps as tables, deeper ones folded, and all of it bounded.

    Args:
        found: plain data.
        draw: makes a picture of curves, name -> [[x, y], ...], which findings keep under "curve".
    """
    return _Findings(draw).show(found, 0)


class _Findings:
    """Plain data being shown; the room that is left bounds the whole, however it is nested."""

    def __init__(self, draw: Callable[[Mapping[str, Any]], Html]) -> None:
        self._draw = draw
        self._room = _FINDINGS_ROOM

    def show(self, value: object, depth: int, name: object = "") -> Html:
        if not isinstance(value, Mapping):
            return self._spent(paragraph(_listed(value)))
        if not value:
            return paragraph("nothing", dim=True)
        if depth > _MOST_DEPTH:
            return paragraph(f"… {len(value):,} entries", dim=True)
        if name == "curve" and all(map(_is_curve, value.values())):
            return self._spent(self._draw(value))
        columns = _columns(value.values())
        if columns:
            rows = ([key, *(row.get(c, "") for c in columns)] for key, row in value.items())
            return self._spent(table(["", *columns], rows))
        inner = {key: v for key, v in value.items() if isinstance(v, Mapping) and v}
        flat = [(key, _listed(v)) for key, v in value.items() if key not in inner]
        parts = [self._spent(pairs(flat))] if flat else []
        for key, v in islice(inner.items(), MOST_ROWS):
            if self._room <= 0:
                parts.append(paragraph("… and more than there is room for", dim=True))
                break
            body = self.show(v, depth + 1, key)
            parts.append(folded(key, body, unfolded=len(body) < _SMALL))
        return joined([*parts, _left_out(len(inner), MOST_ROWS)])

    def _spent(self, piece: Html) -> Html:
        self._room -= len(piece)
        return piece


def _columns(rows: Iterable[object]) -> list[object]:
    """Return the columns of a table of flat maps, none where the rows are something else or too wide."""
    columns: dict[object, None] = {}
    for row in rows:
        if not isinstance(row, Mapping) or any(isinstance(v, (Mapping, list, tuple)) for v in row.values()):
            return []
        columns.update(dict.fromkeys(row))
        if len(columns) > MOST_COLUMNS:
            return []
    return list(columns)


def _listed(value: object) -> object:
    """Return a list of sentences one under the other, any other value so that a cell takes it."""
    if isinstance(value, (Mapping, list, tuple)) and not value:
        return "nothing"
    if not isinstance(value, (list, tuple)):
        return value
    if not all(isinstance(v, str) for v in value):
        return text(value, _SENTENCE)
    lines = [text(v, _SENTENCE) for v in value[:MOST_ROWS]]
    if len(value) > MOST_ROWS:
        lines.append(text(f"… and {len(value) - MOST_ROWS:,} more"))
    return joined(lines, "<br>")


def _is_curve(value: object) -> bool:
    return isinstance(value, (list, tuple)) and all(
        isinstance(point, (list, tuple)) and len(point) == 2 and all(isinstance(x, (int, float)) for x in point)
        for point in value
    )
