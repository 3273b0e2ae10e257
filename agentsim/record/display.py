"""What a notebook shows of a result, a log, a replay and a problem: their `_repr_html_`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from agentsim.record.html import Html, card, findings, folded, joined, number, pairs, paragraph, shortened, table, text
from agentsim.record.log import LogDamaged
from agentsim.record.pictures import graph, space_time, steps
from agentsim.runtime.delivery import Delivery

if TYPE_CHECKING:
    from agentsim.dcop.problem import Problem, Variable
    from agentsim.record.reader import Log
    from agentsim.record.replay import ReplayResult
    from agentsim.runtime.result import Result

MOST_RECORDS: Final = 50_000
MOST_LOG_BYTES: Final = 32 << 20
"""Displaying a log reads no more of it than this many records, or bytes of payload."""

MOST_DRAWN: Final = 200
"""Deliveries in the picture of a log."""

MOST_CHANGES: Final = 50_000
"""Changes of value behind the picture of cost over time."""

_FEW: Final = 12
_GOOD, _MIXED, _BAD = "#3f9b5c", "#d97a29", "#c8504f"
_COLOUR_OF: Final = {
    "optimal": _GOOD,
    "finished": _GOOD,
    "infeasible": _MIXED,
    "abandoned": _MIXED,
    "timeout": _MIXED,
    "interrupted": _MIXED,
}


def result_html(result: Result) -> Html:
    """Return a run's result: status, cost, what it took, cost over time, assignment, findings."""
    cost = "no assignment" if result.cost is None else f"cost {number(result.cost)}"
    title = Html(f"{text(result.solver)} on {text(result.problem)}: {_status(result.status)}, {text(cost)}")
    return card(title, _result_parts(result))


def _status(status: str) -> Html:
    colour = _COLOUR_OF.get(status, _BAD)
    return Html(f'<span style="color:{colour}">●</span> <b>{text(status)}</b>')


def _result_parts(result: Result) -> Iterator[Html]:
    yield joined(paragraph(note) for note in islice(_warnings(result), _FEW))
    yield pairs(_figures(result))
    yield from _cost_over_time(result)
    if result.by_type:
        rows = ((name, m.count, m.bytes, m.largest) for name, m in result.by_type.items())
        yield table(["message type", "count", "bytes", "largest"], rows)
    if result.assignment:
        shown = table(["variable", "value"], ((n, text(v)) for n, v in result.assignment.items()), left=2)
        title = f"assignment of {_count(len(result.assignment), 'variable')}"
        yield folded(title, shown, unfolded=len(result.assignment) <= _FEW)
    yield from _found(result.findings)
    by_agent = ((name, m.messages, m.bytes, m.local_messages, m.checks, m.nccc) for name, m in result.agents.items())
    columns = ["agent", "messages", "bytes", "local messages", "checks", "NCCC"]
    yield folded(f"what each of {_count(len(result.agents), 'agent')} did", table(columns, by_agent))


def _warnings(result: Result) -> Iterator[str]:
    if result.deadlock is not None:
        yield f"deadlock: {result.deadlock}"
    for note in result.notes:
        yield f"note: {note}"
    if result.log_truncated:
        yield "note: the log in memory reached its bound, so it is not whole"


def _figures(result: Result) -> Iterator[tuple[str, object]]:
    if result.bound is not None and result.bound != result.cost:
        yield "bound", result.bound
    if result.violations:
        yield "violated hard constraints", result.violations
    if result.limit is not None:
        yield "ended by", result.limit
    yield "messages", f"{number(result.messages)} ({number(result.bytes)} bytes)"
    if result.local_messages:
        yield "within agents", result.local_messages
    transport = [f"{number(n)} {what.replace('_', ' ')}" for what, n in result.transport.items() if n]
    if transport:
        yield "network", ", ".join(transport)
    yield "NCCC", f"{number(result.nccc)} ({number(result.checks)} checks in all)"
    yield "virtual time", result.virtual_time
    yield "wall time", f"{result.wall_time:.3f} s, after {result.startup_time:.3f} s of starting"
    yield "seed", result.seed


def _cost_over_time(result: Result) -> Iterator[Html]:
    whole = len(result.values) <= MOST_CHANGES
    curve = result.cost_over_time(MOST_CHANGES)
    if len(curve) > 1 and any(math.isfinite(cost) for _, cost in curve):
        yield paragraph("cost of the joint assignment over time", dim=True)
        yield steps({"cost": curve}, end=result.virtual_time if whole else None, what="cost over time")
        if not all(math.isfinite(cost) for _, cost in curve):
            yield paragraph("where the cost is infinite, a hard constraint is violated", dim=True)
        if not whole:
            yield paragraph(f"the first {MOST_CHANGES:,} of {len(result.values):,} changes of value", dim=True)


def _found(found: Mapping[str, Any]) -> Iterator[Html]:
    for label, what in islice(found.items(), _FEW):
        yield folded(
            f"findings of {label}", findings(what, lambda curves: steps(curves, what="what was found over time"))
        )
    if len(found) > _FEW:
        yield paragraph(f"… and findings of {len(found) - _FEW} more observers", dim=True)


def replay_html(found: ReplayResult) -> Html:
    """Return what a replay found: verified or not, the first difference, findings."""
    return card(_replay_title(found), _replay_parts(found))


def _replay_title(found: ReplayResult) -> Html:
    if found.verified is None:
        colour, word = (_GOOD, "observed") if found.damaged is None else (_BAD, "damaged")
    elif found.verified:
        colour, word = _GOOD, "verified"
    else:
        colour, word = _BAD, "not verified"
    return Html(
        f"replay of {text(_count(found.deliveries, 'delivery', 'deliveries'))}: "
        f'<span style="color:{colour}">●</span> <b>{word}</b>'
    )


def _replay_parts(found: ReplayResult) -> Iterator[Html]:
    if found.damaged is not None:
        yield paragraph(found.damaged)
    if not found.complete:
        yield paragraph("not complete: the log is cut or damaged, or agents were replaced and not run again")
    for note in islice(found.notes, _FEW):
        yield paragraph(f"note: {note}")
    if found.first_difference is not None and "damaged" not in found.first_difference:
        yield joined([paragraph("the first difference"), findings(found.first_difference, steps)])
    yield from _found(found.findings)


@dataclass
class _Read:
    """What was read of a log, which may be its beginning alone."""

    first: list[Delivery] = field(default_factory=list)
    by_type: Counter[str] = field(default_factory=Counter)
    fates: Counter[str] = field(default_factory=Counter)
    findings: dict[str, Any] = field(default_factory=dict)
    result: Mapping[str, Any] | None = None
    damaged: str | None = None
    whole: bool | None = None
    records: int = 0


def log_html(log: Log) -> Html:
    """Return a log's header, state, counts and the picture of its first deliveries, reading a bounded part of it.

    Changes what the reader says of the log (`whole`, `cut_off`): give it one of its own.
    """
    try:
        header = log.header
    except LogDamaged as error:
        return card(_log_title(None, "damaged"), [paragraph(error)])
    if header is None:
        return card(_log_title(None, "cut"), [paragraph(f"{log.name}: cut off within its header")])
    read = _read(log)
    state = "damaged" if read.damaged else {True: "whole", False: "cut", None: "read in part"}[read.whole]
    return card(_log_title(header, state), _log_parts(log, header, read))


def _log_title(header: Mapping[str, Any] | None, state: str) -> Html:
    colour = {"whole": _GOOD, "read in part": "currentColor"}.get(state, _BAD)
    of = "" if header is None else f" of {text(header.get('solver'))} on {text(_problem_name(header))}"
    return Html(f'log{of}: <span style="color:{colour}">●</span> <b>{state}</b>')


def _problem_name(header: Mapping[str, Any]) -> object:
    problem = header.get("problem")
    return problem.get("name") if isinstance(problem, Mapping) else None


def _read(log: Log) -> _Read:
    read, payload = _Read(), 0
    try:
        for record in log.records():
            if read.records == MOST_RECORDS or payload > MOST_LOG_BYTES:
                return read
            read.records += 1
            if type(record[0]) is int:
                read.by_type[record[6]] += 1
                payload += len(record[10])
                if len(read.first) < MOST_DRAWN:
                    read.first.append(Delivery._make((*record, None)))
            elif record[0] == "fate":
                read.fates[record[1]] += 1
            elif record[0] == "finding":
                read.findings[record[2]] = record[3]
            elif record[0] == "result":
                read.result = record[1]
        read.whole = log.whole
    except LogDamaged as error:
        read.damaged = str(error)
    return read


def _log_parts(log: Log, header: Mapping[str, Any], read: _Read) -> Iterator[Html]:
    if read.damaged is not None:
        yield paragraph(read.damaged)
    elif read.whole is None:
        yield paragraph(f"only the first {read.records:,} records of this log of {log.size:,} bytes were read for this")
    elif not read.whole:
        yield paragraph("the log ends without a result: it was cut off, or its run did not end")
    yield pairs(_header_rows(header, read))
    total = read.by_type.total()
    yield table(["message type", "deliveries"], [*sorted(read.by_type.items()), ("all", total)])
    if read.fates:
        yield table(["what else became of messages", "count"], sorted(read.fates.items()))
    drawn = len(read.first)
    if drawn:
        words = "its deliveries" if drawn == total else f"its first {drawn} deliveries"
        nodes = header.get("nodes")
        order = list(nodes) if isinstance(nodes, Mapping) else []
        yield joined(
            [
                paragraph(f"{words}, from sender and time of sending to receiver", dim=True),
                space_time(read.first, order),
            ]
        )
    yield from _found(read.findings)


def _header_rows(header: Mapping[str, Any], read: _Read) -> Iterator[tuple[str, object]]:
    if read.result is not None:
        yield "ended", f"{read.result.get('status')}, cost {number(read.result.get('cost'))}"
    params = header.get("params")
    if isinstance(params, Mapping) and params:
        shown = (f"{shortened(k)}={shortened(v)}" for k, v in islice(params.items(), 2 * _FEW))
        yield "parameters", ", ".join(shown)
    for key in ("seed", "network"):
        yield key, text(header.get(key))
    for key in ("observers", "replaced", "gates"):
        names = header.get(key)
        if isinstance(names, (list, tuple)) and names:
            yield key, ", ".join(map(shortened, islice(names, _FEW)))
    if header.get("interceptors"):
        yield "interceptors", text(header["interceptors"])
    if header.get("redacted"):
        yield "private costs", "left out (redacted)"
    yield "package", text(header.get("package"))


def problem_html(problem: Problem) -> Html:
    """Return a problem's size, objective, constraint graph and private costs."""
    title = Html(
        f"{text(problem.name)}: {text(_count(len(problem.variables), 'variable'))} of "
        f"{text(_count(len(problem.agents), 'agent'))}, {text(_count(len(problem.constraints), 'constraint'))}"
    )
    return card(title, _problem_parts(problem))


def _problem_parts(problem: Problem) -> Iterator[Html]:
    yield pairs(_problem_figures(problem))
    words = "constraint graph, agents by colour"
    if any(c.known_to == "all" for c in problem.constraints.values()):
        words += ", public constraints dashed"
    yield joined([paragraph(words, dim=True), graph(problem)])
    private = [v for v in problem.variables.values() if v.unary is not None]
    if private:
        yield folded(f"private costs of {_count(len(private), 'variable')}", _private_costs(private))


def _problem_figures(problem: Problem) -> Iterator[tuple[str, object]]:
    yield "objective", "minimise" if problem.objective == "min" else "maximise"
    sizes = [v.size for v in problem.variables.values()]
    if sizes:
        yield "values of a variable", _range(sizes)
    if problem.constraints:
        arities = Counter(c.arity for c in problem.constraints.values())
        yield "constraints", ", ".join(f"{number(n)} of arity {k}" for k, n in sorted(arities.items())[:_FEW])
    known = Counter(c.known_to if isinstance(c.known_to, str) else "named" for c in problem.constraints.values())
    if known["all"]:
        yield "public constraints", known["all"]
    if known["named"]:
        yield "known to named agents only", known["named"]
    if problem.constant:
        yield "constant cost", problem.constant
    yield "costs", "whole numbers" if problem.integral else "fractions"


def _range(sizes: Iterable[int]) -> str:
    low, high = min(sizes), max(sizes)
    return number(low) if low == high else f"{number(low)} to {number(high)}"


def _private_costs(private: list[Variable]) -> Html:
    """Return a table for each of the first domains: a row per variable, a column per value."""
    by_domain: dict[str, list[Variable]] = {}
    for v in private:
        by_domain.setdefault(v.domain.name, []).append(v)
    parts = []
    for name, variables in islice(by_domain.items(), 3):
        values = variables[0].domain.values[:_FEW]
        rows = (
            (v.name, v.agent, *(v.unary[i].item() for i in range(len(values))))
            for v in variables
            if v.unary is not None
        )
        parts.append(table(["variable", "agent", *values], rows, left=2))
        if len(values) < variables[0].size:
            parts.append(paragraph(f"the first {len(values)} of {variables[0].size:,} values of {name}", dim=True))
    if len(by_domain) > 3:
        parts.append(paragraph(f"… and variables of {len(by_domain) - 3:,} more domains", dim=True))
    return joined(parts)


def _count(n: int, one: str, many: str = "") -> str:
    return f"{n:,} {one if n == 1 else many or one + 's'}"
