"""What a run returns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from agentsim.dcop.problem import Cost, Problem, Value
from agentsim.record.reader import Log
from agentsim.runtime.kernel import Deadlock
from agentsim.runtime.port import Abandonment

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


def cost_curve(problem: Problem, changes: tuple[tuple[float, str, int], ...]) -> list[tuple[float, Cost]]:
    """Return (time, cost) after each moment at which values changed, updating only the functions they touch."""
    return [(time, cost) for time, cost, _ in _replay_values(problem, changes)]


def best_assignment(problem: Problem, changes: tuple[tuple[float, str, int], ...]) -> dict[str, int] | None:
    """Return the best joint assignment that was held at any moment, as domain indices, or None."""
    best: Cost | None = None
    when = math.nan
    for time, cost, _ in _replay_values(problem, changes):
        if best is None or problem.better(cost, best):
            best, when = cost, time
    if best is None:
        return None
    held: dict[str, int] = {}
    for time, node, value in changes:
        if time > when:
            break
        held[node] = value
    return held


def _replay_values(problem: Problem, changes: tuple[tuple[float, str, int], ...]) -> Any:
    touching: dict[str, list[tuple[Any, tuple[str, ...]]]] = {
        name: [] if v.unary is None else [(v.unary, (name,))] for name, v in problem.variables.items()
    }
    for c in problem.constraints.values():
        for name in c.scope:
            touching[name].append((c.table, c.scope))
    held: dict[str, int] = {}
    soft: Cost = problem.constant
    violations = 0
    worst = math.inf if problem.objective == "min" else -math.inf
    complete = False
    i = 0
    while i < len(changes):
        time = changes[i][0]
        while i < len(changes) and changes[i][0] == time:
            _, node, value = changes[i]
            i += 1
            if node not in touching:
                continue
            if not complete:
                held[node] = value
                if len(held) == len(problem.variables):
                    complete = True
                    evaluation = problem.evaluate_indices(held)
                    soft, violations = evaluation.soft, evaluation.violations
                continue
            for sign in (-1, 1):
                for table, scope in touching[node]:
                    entry = table[tuple(held[s] for s in scope)].item()
                    if math.isfinite(entry):
                        soft += sign * entry
                    else:
                        violations += sign
                held[node] = value
        if complete:
            yield time, (worst if violations else (int(soft) if problem.integral else soft)), held


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
