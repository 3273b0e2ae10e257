"""What a run returns."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agentsim.dcop.problem import Cost, Problem, Table, Value
from agentsim.record.reader import Log
from agentsim.runtime.failures import Deadlock
from agentsim.runtime.port import Abandonment

Change = tuple[float, str, int]
"""A change of value: time, node, domain index."""
Array = NDArray[Any]

_MOST_AT_ONCE: Final = 2**20

STATUSES = ("optimal", "finished", "infeasible", "abandoned", "timeout", "deadlock", "error", "interrupted")


@dataclass(frozen=True, slots=True)
class AgentMetrics:
    """What one agent did: network messages and bytes of payload sent, checks, NCCC clock."""

    messages: int
    bytes: int
    local_messages: int
    checks: int
    nccc: int


@dataclass(frozen=True, slots=True)
class TypeMetrics:
    """What was sent of one message type: count, bytes of payload in total, bytes of the largest."""

    count: int
    bytes: int
    largest: int


@dataclass(frozen=True, eq=False)
class Result:
    """The outcome of a run, in the user's units.

    Args:
        status: one of `STATUSES`.
        cost: of the assignment; infinite if it violates a hard constraint, None without an assignment.
        bound: best proved bound on the optimum, or None.
        assignment: value by variable; empty where some agent never took a value.
        violations: hard constraints violated, None without an assignment.
        messages: sent by the algorithm over the network, each once.
        bytes: of their payloads.
        nccc: non-concurrent constraint checks.
        checks: constraint checks of all agents together.
        virtual_time: when the last thing happened (cycles, with the unit network).
        wall_time: seconds of solving alone.
        startup_time: seconds of choosing a tree or order and building local views.
        by_type: metrics by message type.
        startup_by_type: the same for finding the tree by messages, which the figures above leave out.
        agents: metrics by agent.
        local_messages: between nodes of one agent.
        transport: packets lost, duplicated, retransmitted, acknowledged, given up, altered by the network.
        seed: of the run.
        solver: its name.
        problem: its name.
        limit: which limit ended the run, or None.
        abandoned: who abandoned the run (the first to do so), when and why, or None.
        findings: by observer.
        deadlock: who waited for what, when the run ended so.
        notes: sentences worth telling, such as offsets read off private tables.
        log: a reader of the run's log.
        log_truncated: whether the log in memory reached its bound.
        values: every change of value: (time, node, domain index).
    """

    status: str
    cost: Cost | None
    bound: Cost | None
    assignment: dict[str, Value]
    violations: int | None
    messages: int
    bytes: int
    nccc: int
    checks: int
    virtual_time: float
    wall_time: float
    startup_time: float
    by_type: dict[str, TypeMetrics]
    startup_by_type: dict[str, TypeMetrics]
    agents: dict[str, AgentMetrics]
    local_messages: int
    transport: dict[str, int]
    seed: int
    solver: str
    problem: str
    limit: str | None
    abandoned: Abandonment | None
    findings: dict[str, Any]
    deadlock: Deadlock | None
    notes: tuple[str, ...]
    log: Log
    log_truncated: bool
    values: tuple[tuple[float, str, int], ...] = field(repr=False, default=())
    _problem: Problem | None = field(repr=False, default=None)

    def to_json(self) -> dict[str, Any]:
        """Return the keys of `agentsim solve --json`, infinities as strings."""
        keys: dict[str, Any] = jsonable(
            {
                "status": self.status,
                "cost": self.cost,
                "bound": self.bound,
                "assignment": self.assignment,
                "violations": self.violations,
                "messages": self.messages,
                "bytes": self.bytes,
                "nccc": self.nccc,
                "checks": self.checks,
                "virtual_time": self.virtual_time,
                "wall_time": self.wall_time,
                "startup_time": self.startup_time,
                "by_type": _types(self.by_type),
                "startup_messages": sum(m.count for m in self.startup_by_type.values()),
                "startup_bytes": sum(m.bytes for m in self.startup_by_type.values()),
                "local_messages": self.local_messages,
                "transport": self.transport,
                "seed": self.seed,
                "solver": self.solver,
                "problem": self.problem,
                "limit": self.limit,
                "abandoned": asdict(self.abandoned) if self.abandoned is not None else None,
                "findings": self.findings,
                "deadlock": str(self.deadlock) if self.deadlock is not None else None,
                "notes": list(self.notes),
            }
        )
        return keys

    def cost_over_time(self, most: int | None = None) -> list[tuple[float, Cost]]:
        """Return (virtual time, cost of the joint assignment) at each change, from when every variable has a value.

        Args:
            most: how many changes of value are followed; all by default.
        """
        assert self._problem is not None
        return cost_curve(self._problem, self.values[:most])

    def _repr_html_(self) -> str:
        from agentsim.record.display import result_html

        return result_html(self)


def _types(metrics: Mapping[str, TypeMetrics]) -> dict[str, dict[str, int]]:
    return {name: {"count": m.count, "bytes": m.bytes, "largest": m.largest} for name, m in metrics.items()}


def cost_curve(problem: Problem, changes: Sequence[Change]) -> list[tuple[float, Cost]]:
    """Return (time, cost) after each moment at which values changed, from when every variable has a value."""
    history = _History(problem, changes)
    return list(zip(history.times[history.start :], history.costs()[history.start :], strict=True))


def best_assignment(problem: Problem, changes: Sequence[Change]) -> dict[str, int] | None:
    """Return the best joint assignment that was held at any moment, as domain indices, or None."""
    history = _History(problem, changes)
    costs = history.costs()[history.start :]
    if not costs:
        return None
    best = costs.index(min(costs) if problem.objective == "min" else max(costs))
    when = history.times[history.start + best]
    return {node: value for time, node, value in changes if time <= when}


class _History:
    """Which value each variable had when, as arrays: what costs are found by without a step for each change.

    A change is an entry of three arrays, ordered by variable and instant: its variable's index times the number of
    instants plus its instant (`_at`), its instant (`_when`), and the new value (`_value`).

    Attributes:
        times: of the instants at which anything changed.
        start: the instant from which on every variable has a value.
    """

    def __init__(self, problem: Problem, changes: Sequence[Change]) -> None:
        self._problem = problem
        self.times: list[float] = []
        held: dict[str, dict[int, int]] = {name: {} for name in problem.variables}
        for time, node, value in changes:
            if not self.times or self.times[-1] != time:
                self.times.append(time)
            if node in held:  # else it is a copy, made for several agents' costs of one variable
                held[node][len(self.times) - 1] = value  # what counts is the last of an instant
        begins = [next(iter(one), len(self.times)) for one in held.values()]
        self.start = max(begins, default=len(self.times))
        self._index = {name: i for i, name in enumerate(held)}
        self._many = np.array([len(one) for one in held.values()], np.int64)
        self._first = np.cumsum(self._many) - self._many
        self._when = np.array([when for one in held.values() for when in one], np.int64)
        self._value = np.array([value for one in held.values() for value in one.values()], np.int64)
        self._at = np.repeat(np.arange(len(held)), self._many) * len(self.times) + self._when

    def costs(self) -> list[Cost]:
        """Return the cost of the joint assignment at each instant; before `start` it means nothing."""
        problem, instants = self._problem, len(self.times)
        if self.start == instants:
            return [math.nan] * instants
        if self.start == instants - 1:  # as of many a run
            last = dict(zip(self._index, self._value[self._first + self._many - 1].tolist(), strict=True))
            return [*[math.nan] * self.start, problem.evaluate_indices(last).cost]
        soft = np.zeros(instants, np.int64 if problem.integral else np.float64)
        soft[self.start] = problem.constant
        violations = np.zeros(instants, np.int64)
        for some in self._batches():
            self._add(some, soft, violations)
        worst = math.inf if problem.objective == "min" else -math.inf
        costs: list[Cost] = np.cumsum(soft).tolist()
        for instant in np.flatnonzero(np.cumsum(violations)).tolist():
            costs[instant] = worst
        return costs

    def _batches(self) -> Iterator[list[tuple[Table, tuple[str, ...]]]]:
        """Yield all cost functions as (table, scope), those of one arity together, but not too many at once."""
        variables, constraints = self._problem.variables.values(), self._problem.constraints.values()
        functions: list[tuple[Table, tuple[str, ...]]] = [(c.table, c.scope) for c in constraints]
        functions += [(v.unary, (v.name,)) for v in variables if v.unary is not None]
        for arity in {len(scope) for _, scope in functions}:
            batch, size = [], 0
            for table, scope in functions:
                if len(scope) != arity:
                    continue
                batch.append((table, scope))
                size += table.size + sum(int(self._many[self._index[name]]) for name in scope)
                if size > _MOST_AT_ONCE:
                    yield batch
                    batch, size = [], 0
            if batch:
                yield batch

    def _add(self, functions: list[tuple[Table, tuple[str, ...]]], soft: Array, violations: Array) -> None:
        """Add by how much each of some cost functions of one arity changes at each instant, from `start` on.

        Args:
            functions: (table, scope) of each.
            soft: to add changes of finite costs to, shape (instants,).
            violations: to add changes of how many are infinite to, shape (instants,).
        """
        instants = len(self.times)
        scopes = np.array([[self._index[name] for name in scope] for _, scope in functions])
        shapes = np.array([table.shape for table, _ in functions])
        sizes = shapes.prod(axis=1)
        entries = np.concatenate([table.ravel() for table, _ in functions])
        # Each (function, instant) at which a variable of its scope changes, once, as function * instants + instant.
        many = self._many[scopes].ravel()
        changes = np.arange(many.sum()) + np.repeat(self._first[scopes].ravel() - np.cumsum(many) + many, many)
        of = np.repeat(np.repeat(np.arange(len(functions)), scopes.shape[1]), many)
        pairs = np.unique(of * instants + np.maximum(self._when[changes], self.start))
        of, when = np.divmod(pairs, instants)
        place = np.zeros(len(of), np.int64)
        for axis in range(scopes.shape[1]):
            held = np.searchsorted(self._at, scopes[of, axis] * instants + when, "right") - 1
            place = place * shapes[of, axis] + self._value[held]
        found = entries[place + (np.cumsum(sizes) - sizes)[of]]
        finite = np.isfinite(found)
        fresh = np.diff(of, prepend=-1) != 0  # nothing to compare with: the function's first instant
        for total, now in ((soft, np.where(finite, found, 0)), (violations, ~finite)):
            now = now.astype(total.dtype)
            before = np.where(fresh, 0, np.concatenate([[0], now[:-1]])).astype(total.dtype)
            np.add.at(total, when, now - before)


def jsonable(value: Any) -> Any:
    """Return plain data with infinities as "inf" and "-inf", NaN as None, and numpy scalars as numbers."""
    if isinstance(value, Mapping):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(v) for v in value]
    if isinstance(value, bool) or value is None or isinstance(value, (str, int)):
        return value
    if hasattr(value, "tolist"):
        return jsonable(value.tolist())
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return value if math.isfinite(value) else ("inf" if value > 0 else "-inf")
    return str(value)
