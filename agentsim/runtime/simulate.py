"""Running a solver on a problem: `simulate`, and its coroutine twin `run`."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import dataclasses
import gc
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import agentsim
from agentsim.dcop.ordering import components
from agentsim.dcop.problem import Cost, Problem
from agentsim.errors import RunError, UserError
from agentsim.record.log import LogWriter
from agentsim.record.reader import Log
from agentsim.runtime import registry
from agentsim.runtime.agent import Agent
from agentsim.runtime.gate import Gate, GateKeeper
from agentsim.runtime.kernel import Kernel, Limits, ObserverFailure
from agentsim.runtime.messages import Codec, spec_of
from agentsim.runtime.network import Network, split_names
from agentsim.runtime.observer import Observer, ObserverContext, ObserverView
from agentsim.runtime.port import Activity, Port
from agentsim.runtime.result import AgentMetrics, Result, TypeMetrics, best_assignment, jsonable
from agentsim.runtime.router import Interceptor
from agentsim.runtime.setup import encode_places, find_solver, prepare
from agentsim.runtime.view import LocalView, Setup
from agentsim.runtime.watchdog import StuckAgent, Watchdog

T = TypeVar("T")
ObserverLike = str | type[Observer] | tuple[type[Observer], Mapping[str, Any]]
AgentFactory = Callable[[LocalView, Port, Any], Agent]


class IdleAgent(Agent):
    """The node of an agent without variables: it has nothing to do."""

    async def run(self) -> None:
        """Return at once."""


def simulate(problem: Problem, solver: str | type[Agent], **options: Any) -> Result:
    """Solve a problem with agents and return the result. Takes the arguments of `run`.

    Works inside a running event loop too (a notebook): the simulation then has a thread of its own.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return in_own_loop(run(problem, solver, **options))
    outcome: list[Result | BaseException] = []

    def work() -> None:
        try:
            outcome.append(in_own_loop(run(problem, solver, **options)))
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=work, name="agentsim")
    thread.start()
    thread.join()
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


class _LeanLoop(asyncio.SelectorEventLoop):
    """An event loop for many short callbacks and nothing urgent from outside.

    On a random network each delivery takes a turn of the loop. asyncio's turn asks the clock and the operating system
    each time, and checks each callback at four places; here that happens at every 64th turn, or when there is nothing
    to do. Worth a sixth of a run's time.
    """

    _turns = 0
    _ready: deque[asyncio.Handle]

    def call_soon(  # type: ignore[override]  # the stubs tie callback and arguments by a TypeVarTuple
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """Queue a callback."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def _run_once(self) -> None:
        ready = self._ready
        self._turns += 1
        if not ready or not self._turns & 63:
            super()._run_once()  # type: ignore[misc]  # not in the stubs
            return
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()


def in_own_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in an event loop of its own."""
    with asyncio.Runner(loop_factory=_LeanLoop) as runner:
        return runner.run(work)


async def run(
    problem: Problem,
    solver: str | type[Agent],
    *,
    seed: int = 0,
    network: str = "unit",
    observers: Sequence[ObserverLike] = (),
    log: str | os.PathLike[str] | None = None,
    redact: bool = False,
    compress: bool = False,
    timeout: float | None = None,
    max_messages: int | None = None,
    max_time: float | None = None,
    realtime: float | None = None,
    check_cost: float = 0.0,
    replace: Mapping[str, AgentFactory] | None = None,
    interceptors: Sequence[Interceptor] = (),
    gates: Mapping[str, Gate] | None = None,
    monitor: Callable[[Kernel], None] | None = None,
    task_order: Callable[[list[Activity]], list[Activity]] | None = None,
    **params: Any,
) -> Result:
    """Solve a problem with agents, as a coroutine.

    Args:
        problem: what to solve.
        solver: a registered name ("adopt"), or a subclass of `Agent`.
        seed: of every random stream.
        network: latency model and modifiers, see `agentsim.runtime.network`.
        observers: names with options ("disclosures:view=agent:a1"), classes, or (class, options).
        log: file for the log; None keeps it in memory, bounded.
        redact: leave private costs out of the log's header.
        compress: compress the log with zstd.
        timeout: wall seconds after which the run stops.
        max_messages: deliveries after which it stops.
        max_time: virtual time at which it stops.
        realtime: real seconds per unit of virtual time; None runs as fast as possible.
        check_cost: virtual time that one constraint check takes.
        replace: agent -> class (or factory) of an agent to run instead: an active adversary.
        interceptors: active adversaries on the router.
        gates: agent -> gate before each of its sends.
        monitor: called with the kernel a few times a second, from another thread.
        task_order: shuffles the start of the tasks; changes nothing, which tests prove.
        **params: the solver's own parameters.

    Returns:
        The result; its status tells how the run ended.

    Raises:
        UserError: anything wrong with the arguments. SolverRefusal among them.
        AgentFailure, ObserverFailure, RunError: an agent, observer or message at fault; `error.result` has the rest.
    """
    name, cls = find_solver(solver)
    _check_limits(
        timeout=timeout, max_messages=max_messages, max_time=max_time, realtime=realtime, check_cost=check_cost
    )
    if not 0 <= seed < 2**63:
        raise UserError(f"seed={seed}: must be from 0 to 2^63-1")
    net = Network.parse(network, problem.agents)
    started = time.perf_counter()
    setup = prepare(problem, cls, name, params)
    replaced = dict(replace or {})
    unknown = set(replaced) | set(gates or {})
    for agent in sorted(unknown - set(problem.agents)):
        raise UserError(f"no agent is called {agent!r}")
    slots = [_observer(o, setup, cls, name) for o in observers]
    writer = LogWriter(log, compress=compress)
    kernel: Kernel | None = None
    try:
        header = make_header(
            setup, name, seed, network, redact=redact, check_cost=check_cost, realtime=realtime,
            observers=[o.label for o in slots], replaced=sorted(replaced), interceptors=len(interceptors),
            gates=sorted(gates or {}),
        )  # fmt: skip
        codec = Codec(cls.all_messages())
        kernel = Kernel(
            codec, net, seed, writer, Limits(max_messages, max_time), check_cost, realtime, tuple(interceptors)
        )
        if gates:
            kernel.checked_sends = GateKeeper(gates, setup, cls).check
            kernel.plain_sends = False
        populate(kernel, setup, cls, replaced)
        attach(kernel, slots, setup)
        startup = time.perf_counter() - started
        writer.header(header)
        begun = time.perf_counter()
        with _quiet_gc(), Watchdog(kernel, timeout, monitor):
            try:
                await kernel.run(task_order)
            except StuckAgent as stuck:
                kernel.stuck(stuck)
        wall = time.perf_counter() - begun
        honest = not replaced and not interceptors  # with an adversary about, nothing is proved
        return _conclude(kernel, setup, cls, name, seed, slots, wall, startup, honest)
    finally:
        writer.close()


def _check_limits(**limits: float | None) -> None:
    for name, value in limits.items():
        if value is not None and (not value >= 0 or value == math.inf or (name == "max_messages" and value < 1)):
            raise UserError(f"{name}={value}: must be a number that is not negative")


@contextlib.contextmanager
def _quiet_gc() -> Iterator[None]:
    """Collect garbage rarely: a run allocates much and leaves few cycles (88 k against 194 k deliveries/s)."""
    before = gc.get_threshold()
    gc.set_threshold(200_000, 50, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def populate(kernel: Kernel, setup: Setup, cls: type[Agent], replaced: Mapping[str, AgentFactory]) -> None:
    """Add every node with its agent to the kernel."""
    in_component = {name: group[0] for group in components(setup.problem) for name in group}

    def factory(port: Port) -> Agent:
        view = setup.view(port.name)
        make: AgentFactory = replaced.get(port.host.name, cls)
        if not view.domain and not getattr(cls, "uses_idle_agents", False):
            make = IdleAgent
        return make(view, port, setup.params)

    kernel.factory = factory
    kernel.components = in_component
    for node, agent in setup.nodes.items():
        kernel.add_node(node, agent)
    for port in kernel.ports.values():
        kernel.populate(port, factory(port))


def attach(kernel: Kernel, observers: Iterable[Observer], setup: Setup) -> None:
    """Add observers to the kernel."""
    for observer in observers:

        def start(mailbox: Any, observer: Observer = observer) -> Any:
            observer._mailbox = mailbox
            return observer.run()

        kernel.add_observer(observer.label, observer.context.view.sees(setup.nodes), start)


def parse_observer(spec: str) -> tuple[type[Observer], dict[str, Any]]:
    """Return the class and options of an observer written `NAME:K=V,K=V`; UserError if it makes no sense."""
    name, *rest = split_names(spec, ":")
    text = ":".join(rest)
    options: dict[str, Any] = {}
    for part in split_names(text, ",") if text else []:
        key, equals, value = part.partition("=")
        if not equals or not key:
            raise UserError(f"observer {spec}: option {part!r} is not KEY=VALUE")
        options[key.strip()] = value.strip()
    cls = registry.find("observers", name)
    if not (isinstance(cls, type) and issubclass(cls, Observer)):
        raise UserError(f"observer {name} is not a subclass of Observer")
    if not cls.name:
        cls.name = name
    return cls, options


def _observer(
    given: ObserverLike, setup: Setup, solver: type[Agent], solver_name: str, redacted: bool = False
) -> Observer:
    if isinstance(given, str):
        cls, options = parse_observer(given)
    elif isinstance(given, tuple):
        cls, options = given[0], dict(given[1])
    else:
        cls, options = given, {}
    view = ObserverView.parse(str(options.get("view", cls.default_view)), setup.original.agents)
    return cls(ObserverContext(view, setup, solver, solver_name, options, redacted))


def make_observers(
    given: Sequence[ObserverLike], setup: Setup, solver: type[Agent], solver_name: str, *, redacted: bool
) -> list[Observer]:
    """Return observers made from names, classes or (class, options)."""
    return [_observer(o, setup, solver, solver_name, redacted) for o in given]


def make_header(
    setup: Setup,
    solver: str,
    seed: int,
    network: str,
    *,
    redact: bool,
    check_cost: float,
    realtime: float | None,
    observers: list[str],
    replaced: list[str],
    interceptors: int,
    gates: list[str],
) -> dict[str, Any]:
    """Return a log's header: all that replay needs, and nothing of clock, path, host or process."""
    from agentsim.dcop.formats import encode_problem

    params = dataclasses.asdict(setup.params) if setup.params is not None else {}
    floors = {v.name: v.cost_range[0] for v in setup.problem.variables.values() if v.cost_range is not None}
    floors.update({c.name: c.cost_range[0] for c in setup.problem.constraints.values() if c.cost_range is not None})
    return {
        "package": agentsim.__version__,
        "problem": encode_problem(setup.original, redact=redact),
        "redacted": redact,
        "solver": solver,
        "params": params,
        "seed": seed,
        "network": network,
        "check_cost": check_cost,
        "realtime": realtime,
        "nodes": dict(setup.nodes),
        "places": encode_places(setup),
        "costs": setup.costs,
        "offsets": {"unary": setup.unary_offsets, "constraints": setup.constraint_offsets},
        "offsets_from_tables": setup.offsets_from_tables,
        "floors": floors,
        "observers": observers,
        "replaced": replaced,
        "interceptors": interceptors,
        "gates": gates,
    }


def findings_of(observers: Iterable[Observer]) -> dict[str, Any]:
    """Return each observer's findings by its label, a second of one label as `label#2`."""
    findings: dict[str, Any] = {}
    for observer in observers:
        label, k = observer.label, 2
        while label in findings:
            label, k = f"{observer.label}#{k}", k + 1
        try:
            findings[label] = jsonable(observer.findings())
        except Exception as error:
            raise ObserverFailure(observer.label, f"{type(error).__name__}: {error} in findings()") from error
    return findings


def _conclude(
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
    failure = kernel.failure
    findings: dict[str, Any] = {}
    if failure is None:
        try:
            findings = findings_of(observers)
        except ObserverFailure as error:
            failure = error
    problem = setup.original
    status = _status(kernel, cls.is_exact(setup.params) and honest, failure)
    final = {name: kernel.ports[name]._assigned for name in problem.variables}
    indices = {n: v for n, v in final.items() if v is not None}
    if status in ("timeout", "interrupted", "deadlock", "error", "abandoned"):
        indices = best_assignment(problem, tuple(kernel.values)) or {}
    cost: Cost | None = None
    violations: int | None = None
    if len(indices) == len(problem.variables):
        evaluation = problem.evaluate_indices(indices)
        cost, violations = evaluation.cost, evaluation.violations
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
    if kernel.abandoned is not None:
        notes.append(f"{kernel.abandoned[0]} abandoned at time {kernel.abandoned[1]:g}: {kernel.abandoned[2]}")
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
    for label, found in findings.items():
        kernel.writer.add(("finding", kernel.now, label, found))
    kernel.writer.add(("result", {**summary, "partial": kernel.hard_stop}))
    kernel.writer.close()
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
    own = {spec_of(t).name for t in cls.messages}
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
