"""Small pictures for notebooks, as SVG inside the page: curves, deliveries between agents, a constraint graph.

Lines and words take the colour of the text around them, so that they are seen on light and on dark ground; the few
colours that tell things apart are of middle brightness. Every picture is bounded and says what it leaves out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations, groupby, islice
from typing import TYPE_CHECKING, Final

from agentsim.record.html import Html, joined, number, paragraph, text

if TYPE_CHECKING:
    from agentsim.dcop.problem import Problem
    from agentsim.runtime.delivery import Delivery

COLOURS: Final = ("#3b82c4", "#d97a29", "#3f9b5c", "#c8504f", "#8a6fc2", "#8c7a5b", "#c667a4", "#4f9fa6")
"""Told apart on white and on black (contrast of at least 3 with both)."""

MOST_CURVES: Final = 8
MOST_LIFELINES: Final = 30
MOST_NODES: Final = 200
MOST_EDGES: Final = 2000

_NAME: Final = 18
_LABELLED: Final = 40
"""A graph of more nodes shows their names only where the pointer is."""

_EDGE: Final = 16
"""Height of the strip for infinite values."""

Point = tuple[float, float]


def steps(curves: Mapping[str, Sequence[Point]], *, end: float | None = None, what: str = "") -> Html:
    """Return a picture of step curves over a common time, each [(time, value), ...] in the order of time.

    Infinite values lie at the edge, which is marked so. Of more than `MOST_CURVES` curves those that end highest show.

    Args:
        curves: by name, which the legend tells unless there is one curve alone.
        end: until when the last values hold; by default the time of the latest point.
        what: what is drawn, for readers of the screen.
    """
    known = {
        name: [(time, value) for time, value in points if math.isfinite(time) and not math.isnan(value)]
        for name, points in curves.items()
    }
    ranked = sorted((name for name in known if known[name]), key=lambda name: -known[name][-1][1])[:MOST_CURVES]
    times = [time for name in ranked for time, _ in known[name]]
    values = {value for name in ranked for _, value in known[name]}
    finite = [value for value in values if math.isfinite(value)]
    if not finite or min(times) >= (last := max(times) if end is None else max(*times, end)):
        return paragraph("no change over time", dim=True)
    left, right, top, bottom = 64, 512, 8, 110
    low, high = bottom - _EDGE * (-math.inf in values), top + _EDGE * (math.inf in values)
    x = _scale(min(times), last, left, right)
    between = _scale(min(finite), max(finite), low, high)

    def y(value: float) -> float:
        return between(value) if math.isfinite(value) else (top if value > 0 else bottom)

    colours = ["currentColor"] if len(ranked) == 1 else COLOURS
    marks = {y(value): number(value) for value in (min(finite), max(finite), *(values - set(finite)))}
    parts = [f'<path d="M{left} {top}V{bottom}H{right}" fill="none" stroke="currentColor" opacity=".5"/>']
    parts += [_word(left - 6, at + 4, words, "end") for at, words in marks.items()]
    parts += [_word(left, bottom + 15, number(min(times)), "start")]
    parts += [_word(right, bottom + 15, f"time {number(last)}", "end")]
    parts += [
        f'<path d="{_stairs(known[name], x, y, last)}" fill="none" stroke="{colour}" stroke-width="1.6"/>'
        for name, colour in zip(ranked, colours, strict=False)
    ]
    picture = _svg(right + 8, bottom + 20, what or "curves over time", parts)
    if len(curves) == 1:
        return picture
    hidden = _more(len(curves) - len(ranked), "curves")
    return joined([picture, _legend(zip(ranked, colours, strict=False)), hidden])


def _stairs(points: Sequence[Point], x: Callable[[float], float], y: Callable[[float], float], last: float) -> str:
    """Return the path of a step curve; of many points in one column of pixels the first, least, greatest and last."""
    path: list[str] = []
    for _, column in groupby(points, key=lambda point: round(x(point[0]))):
        group = list(column)
        by_value = sorted(range(len(group)), key=lambda i: group[i][1])
        for i in sorted({0, by_value[0], by_value[-1], len(group) - 1}):
            across, up = x(group[i][0]), y(group[i][1])
            path.append(f"H{across:.1f}V{up:.1f}" if path else f"M{across:.1f} {up:.1f}")
    return "".join([*path, f"H{x(last):.1f}"])


def space_time(deliveries: Sequence[Delivery], order: Iterable[str] = ()) -> Html:
    """Return deliveries as lines from sender and time of sending to receiver and time of delivery, a row per node.

    Args:
        deliveries: in log order; where no time passes between them they are drawn one after the other.
        order: names of nodes in the order of the rows, those that had mail and are not among them come after.
    """
    if not deliveries:
        return paragraph("no deliveries", dim=True)
    seen = dict.fromkeys(name for d in deliveries for name in (d.src, d.dst))
    rows = [*(name for name in dict.fromkeys(order) if name in seen)]
    rows = [*rows, *(name for name in seen if name not in set(rows))][:MOST_LIFELINES]
    row = {name: 14 + 18 * i for i, name in enumerate(rows)}
    shown = [d for d in deliveries if d.src in row and d.dst in row]
    first, last = min(d.sent_at for d in shown or deliveries), max(d.delivered_at for d in shown or deliveries)
    timeless = first >= last
    width, left = 760, 130
    height = 18 * len(rows) + 28
    x = _scale(0, len(shown), left, width - 12) if timeless else _scale(first, last, left, width - 12)
    kinds: dict[str, list[str]] = {}
    dots: dict[str, list[str]] = {}
    for i, d in enumerate(shown):
        start, end = (x(i), x(i + 1)) if timeless else (x(d.sent_at), x(d.delivered_at))
        words = text(
            f"{_cut(d.type)} {_cut(d.src)} > {_cut(d.dst)}, {number(d.sent_at)} to {number(d.delivered_at)}", 120
        )
        line = f'<path d="M{start:.1f} {row[d.src]}L{end:.1f} {row[d.dst]}"><title>{words}</title></path>'
        kinds.setdefault(d.type, []).append(line)
        dots.setdefault(d.type, []).append(f"M{end:.1f} {row[d.dst]}h0")
    colours = {kind: COLOURS[i % len(COLOURS)] for i, kind in enumerate(kinds)}
    lines = [
        f'<g stroke="{colours[kind]}" fill="none" stroke-width="1.2">{"".join(drawn)}'
        f'<path d="{"".join(dots[kind])}" stroke-width="5" stroke-linecap="round"/></g>'
        for kind, drawn in kinds.items()
    ]
    rails = "".join(f"M{left} {at}H{width - 12}" for at in row.values())
    frame = [f'<path d="{rails}" stroke="currentColor" opacity=".25"/>']
    frame += [_word(left - 8, at + 4, _cut(name), "end", name) for name, at in row.items()]
    if not timeless:
        frame.append(_word(left, height - 4, number(first), "start"))
        frame.append(_word(width - 12, height - 4, f"time {number(last)}", "end"))
    picture = _svg(width, height, f"{len(shown)} deliveries between {len(rows)} nodes", [*frame, *lines])
    hidden = len(deliveries) - len(shown)
    return joined(
        [picture, _legend(islice(colours.items(), 2 * MOST_CURVES)), _more(hidden, "deliveries, of further nodes")]
    )


def graph(problem: Problem) -> Html:
    """Return the constraint graph of a problem's first variables, those of one agent in one colour.

    Public constraints are dashed. The layout needs networkx and is the same each time.
    """
    import networkx

    names = list(islice(problem.variables, MOST_NODES))
    known = set(names)
    drawn = networkx.Graph()
    drawn.add_nodes_from(names)
    left_out = 0
    for c in problem.constraints.values():
        public = c.known_to == "all"
        for a, b in combinations((v for v in c.scope if v in known), 2):
            if drawn.has_edge(a, b):
                drawn.edges[a, b]["public"] &= public
            elif drawn.number_of_edges() < MOST_EDGES:
                drawn.add_edge(a, b, public=public)
            else:
                left_out += 1
    if not names:
        return paragraph("no variables", dim=True)
    width, height, edge = (520, 300, 46) if len(names) <= _LABELLED else (620, 420, 14)
    places = networkx.spring_layout(drawn, seed=0, k=1.6 / math.sqrt(len(names)))
    xs, ys = zip(*(places[name] for name in names), strict=True)
    x, y = _scale(min(xs), max(xs), edge, width - edge), _scale(min(ys), max(ys), 20, height - 20)
    at = {name: (x(places[name][0]), y(places[name][1])) for name in names}
    parts = []
    for public, dash in ((False, ""), (True, ' stroke-dasharray="4 3"')):
        lines = [
            f"M{at[a][0]:.1f} {at[a][1]:.1f}L{at[b][0]:.1f} {at[b][1]:.1f}"
            for a, b, p in drawn.edges(data="public")
            if p == public
        ]
        if lines:
            parts.append(f'<path d="{"".join(lines)}" fill="none" stroke="currentColor" opacity=".45"{dash}/>')
    owners = list(dict.fromkeys(problem.variables[name].agent for name in names))
    colour = {agent: COLOURS[i % len(COLOURS)] for i, agent in enumerate(owners)}
    for name in names:
        agent = problem.variables[name].agent
        words = _cut(name) if name == agent else f"{_cut(name)}, of {_cut(agent)}"
        parts.append(
            f'<circle cx="{at[name][0]:.1f}" cy="{at[name][1]:.1f}" r="{6 if len(names) <= _LABELLED else 4}" '
            f'fill="{colour[agent]}"><title>{text(words)}</title></circle>'
        )
    if len(names) <= _LABELLED:
        parts += [_word(px, py - 9, _cut(name), "middle") for name, (px, py) in at.items()]
    return joined(
        [
            _svg(width, height, f"constraint graph of {len(names)} variables", parts),
            _more(len(problem.variables) - len(names), "variables"),
            _more(left_out, "edges"),
        ]
    )


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """Return a function from [low, high] to [start, end]; by halves, which the widest range does not overflow."""
    span = high / 2 - low / 2
    if span <= 0:
        return lambda _: (start + end) / 2
    return lambda value: start + (end - start) * ((value / 2 - low / 2) / span)


def _svg(width: int, height: int, what: str, parts: Iterable[str]) -> Html:
    return Html(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" aria-label="{text(what)}">{"".join(parts)}</svg>'
    )


def _word(x: float, y: float, words: str, anchor: str, title: str = "") -> str:
    whole = f"<title>{text(title)}</title>" if title and title != words else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="11" fill="currentColor">'
        f"{whole}{text(words)}</text>"
    )


def _cut(name: str) -> str:
    return name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"


def _legend(entries: Iterable[tuple[str, str]]) -> Html:
    return paragraph(
        joined(
            Html(f'<span style="margin-right:1em"><span style="color:{colour}">■</span> {text(_cut(name))}</span>')
            for name, colour in entries
        )
    )


def _more(count: int, what: str) -> Html:
    return paragraph(f"not drawn: {count:,} {what}", dim=True) if count > 0 else Html()
