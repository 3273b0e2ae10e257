"""From a run that has ended to its result: status, cost, bound, metrics, findings, the log's last record."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

from agentsim.dcop.problem import Cost, Problem
from agentsim.errors import RunError
from agentsim.record.reader import Log
from agentsim.runtime.agent import Agent
from agentsim.runtime.failures import ObserverFailure
from agentsim.runtime.kernel import Kernel
from agentsim.runtime.messages import Abandon, spec_of
from agentsim.runtime.observer import Observer, Outcome
from agentsim.runtime.port import Abandonment
from agentsim.runtime.result import AgentMetrics, Result, TypeMetrics, best_assignment, jsonable
from agentsim.runtime.view import Setup


def findings_of(observers: Iterable[Observer], outcome: Outcome | None) -> dict[str, Any]:
    """Return the findings of recorded observers by label, having told all how the run ended (None: the log was cut)."""
    findings: dict[str, Any] = {}
    for observer in observers:
        try:
            if outcome is not None:
                observer.ended(outcome)
            if observer.recorded:
                findings[observer.label] = jsonable(observer.findings())
        except Exception as error:
            raise ObserverFailure(observer.label, f"{type(error).__name__}: {error} in findings()") from error
    return findings


def conclude(
    kernel: Kernel,
    setup: Setup,
    cls: type[Agent],
    solver_name: str,
    seed: int,
    observers: list[Observer],
    wall: float,
    startup: float,
    honest: bool,
) -> Result:
    """Return the result of a run that has ended, and close its log with it.

    Raises:
        RunError: what made the run fail, with the result as its `result`.
    """
    failure = kernel.failure
    problem = setup.original
    final = {name: kernel.ports[name]._assigned for name in problem.variables}
    status = _status(kernel, cls.is_exact(setup.params) and honest, failure)
    indices = _held(kernel, setup, status, final)
    cost, violations = _evaluate(problem, indices)
    findings: dict[str, Any] = {}
    if failure is None:
        try:
            findings = findings_of(observers, Outcome(indices if cost is not None else None, _who(kernel, setup)))
        except ObserverFailure as error:
            failure, status = error, "error"
            indices = _held(kernel, setup, status, final)
            cost, violations = _evaluate(problem, indices)
    bound = _bound(kernel, setup) if honest else None
    if status in ("optimal", "finished") and bound == (math.inf if setup.sense > 0 else -math.inf):
        status = "infeasible"
    elif status == "optimal":
        if violations:
            status, bound = "infeasible", cost
        elif cost is None:
            missing = [n for n, v in final.items() if v is None]
            failure = failure or RunError(f"solver {solver_name} ended without a value for {', '.join(missing[:5])}")
            status = "error"
        else:
            bound = cost
    assignment = problem.values(indices) if cost is not None else {}
    types, startup_types, agents, local = _metrics(kernel, cls)
    notes = list(kernel.complaints)
    if setup.offsets_from_tables:
        notes.append(
            f"{len(setup.offsets_from_tables)} cost functions had to be shifted by an offset read off a private table: "
            "declare a cost range to avoid this disclosure"
        )
    abandoned = _who(kernel, setup)
    if abandoned is not None:
        notes.append(f"{abandoned.agent} abandoned at time {abandoned.time:g}: {abandoned.reason}")
    summary: dict[str, Any] = {
        "status": status,
        "cost": cost,
        "bound": bound,
        "assignment": {n: int(i) for n, i in indices.items()} if cost is not None else {},
        "messages": sum(m.count for m in types.values()),
        "bytes": sum(m.bytes for m in types.values()),
        "nccc": max((h.clock for h in kernel.hosts.values()), default=0),
        "virtual_time": kernel.now,
        "limit": kernel.limit if status != "deadlock" else None,
    }
    if abandoned is not None:
        summary["abandoned"] = dataclasses.asdict(abandoned)
    for label, found in findings.items():
        kernel.writer.add(("finding", kernel.now, label, found))
    kernel.writer.add(("result", {**summary, "partial": kernel.hard_stop}))
    kernel.writer.close()
    if kernel.writer.failure is not None:  # the run may have ended well, but its log has not
        failure, status = failure or kernel.writer.failure, "error"
    result = Result(
        status=status,
        cost=cost,
        bound=bound,
        assignment=assignment,
        violations=violations,
        messages=summary["messages"],
        bytes=summary["bytes"],
        nccc=summary["nccc"],
        checks=sum(h.checks for h in kernel.hosts.values()),
        virtual_time=kernel.now,
        wall_time=wall,
        startup_time=startup,
        by_type=types,
        startup_by_type=startup_types,
        agents=agents,
        local_messages=local,
        transport=dataclasses.asdict(kernel.router.transport),
        seed=seed,
        solver=solver_name,
        problem=problem.name,
        limit=summary["limit"],
        abandoned=abandoned,
        findings=findings,
        deadlock=kernel.deadlock,
        notes=tuple(notes),
        log=Log(kernel.writer.source, cls),
        log_truncated=kernel.writer.truncated,
        values=tuple(kernel.values),
        _problem=problem,
    )
    if failure is not None:
        if isinstance(failure, RunError):
            failure.result = result
        raise failure
    return result


def _held(kernel: Kernel, setup: Setup, status: str, final: dict[str, int | None]) -> dict[str, int]:
    """Return the final values, or, of a run that did not end by itself, the best that were held together."""
    if status in ("timeout", "interrupted", "deadlock", "error", "abandoned"):
        return best_assignment(setup.original, tuple(kernel.values)) or {}
    return {n: v for n, v in final.items() if v is not None}


def _evaluate(problem: Problem, indices: dict[str, int]) -> tuple[Cost | None, int | None]:
    """Return cost and violations of a complete assignment; (None, None) if it is not complete."""
    if len(indices) < len(problem.variables):
        return None, None
    evaluation = problem.evaluate_indices(indices)
    return evaluation.cost, evaluation.violations


def _who(kernel: Kernel, setup: Setup) -> Abandonment | None:
    """Return who abandoned the run first."""
    if kernel.abandoned is None:
        return None
    node, time, reason = kernel.abandoned
    return Abandonment(setup.nodes[node], node, time, reason)


def _status(kernel: Kernel, exact: bool, failure: BaseException | None) -> str:
    if failure is not None:
        return "error"
    if kernel.abandoned is not None:
        return "abandoned"
    if kernel.limit == "deadlock":
        return "deadlock"
    if kernel.limit == "interrupted":
        return "interrupted"
    if kernel.limit is not None:
        return "timeout"
    return "optimal" if exact else "finished"


def _bound(kernel: Kernel, setup: Setup) -> Cost | None:
    """Return the best proved bound on the optimum in the user's units: components' lower bounds, added up."""
    lower = kernel.lower_bounds
    wanted = set(kernel.components.values())
    if any(math.isinf(v) and v > 0 for v in lower.values()):
        return math.inf if setup.sense > 0 else -math.inf
    if not wanted or set(lower) != wanted:
        return None
    return setup.to_user(sum(lower.values()))


def _metrics(
    kernel: Kernel, cls: type[Agent]
) -> tuple[dict[str, TypeMetrics], dict[str, TypeMetrics], dict[str, AgentMetrics], int]:
    """Return by type what the algorithm sent, the same of finding the tree, by agent, and the local messages."""
    by_type: dict[str, list[int]] = {}
    own = {spec_of(t).name for t in (*cls.messages, Abandon)}
    agents: dict[str, AgentMetrics] = {}
    local = 0
    for host in kernel.hosts.values():
        count = size = local_here = 0
        for tally in (t for port in host.nodes for t in port._tally.values()):
            total = by_type.setdefault(tally.spec.name, [0, 0, 0])
            total[0] += tally.count
            total[1] += tally.size
            total[2] = max(total[2], tally.largest)
            if tally.spec.name in own:
                count += tally.count
                size += tally.size
                local_here += tally.local_count
        local += local_here
        agents[host.name] = AgentMetrics(count, size, local_here, host.checks, host.clock)
    metrics = {name: TypeMetrics(*total) for name, total in sorted(by_type.items()) if total[0]}
    return (
        {name: m for name, m in metrics.items() if name in own},
        {name: m for name, m in metrics.items() if name not in own},
        agents,
        local,
    )
