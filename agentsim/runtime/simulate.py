"""Running a solver on a problem: `simulate`, and its coroutine twin `run`."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar

import agentsim
from agentsim.dcop.ordering import components
from agentsim.dcop.problem import Problem
from agentsim.errors import UserError
from agentsim.record.log import LogWriter
from agentsim.runtime import registry
from agentsim.runtime.agent import Agent
from agentsim.runtime.conclude import conclude
from agentsim.runtime.dfs import DFS_MESSAGES
from agentsim.runtime.door import Door
from agentsim.runtime.gate import Gate, GateFactory, GateKeeper
from agentsim.runtime.kernel import Kernel, Limits
from agentsim.runtime.loop import run_apart
from agentsim.runtime.messages import Abandon, Codec
from agentsim.runtime.network import Network, split_names
from agentsim.runtime.observer import Observer, ObserverContext, ObserverView
from agentsim.runtime.port import Activity, Port
from agentsim.runtime.recovery import RecoveringKernel
from agentsim.runtime.result import Result
from agentsim.runtime.router import Interceptor
from agentsim.runtime.setup import encode_places, find_solver, prepare
from agentsim.runtime.view import LocalView, Setup
from agentsim.runtime.watchdog import StuckAgent, Watchdog

T = TypeVar("T")
ObserverLike = str | type[Observer] | tuple[type[Observer], Mapping[str, Any]]
AgentFactory = Callable[[LocalView, Port, Any], Agent]

_gc_lock = threading.Lock()
_gc_before: list[tuple[int, int, int]] = []
"""The collector's thresholds when each run in progress began; the first are those of the time before any."""


class IdleAgent(Agent):
    """The node of an agent without variables: it has nothing to do."""

    async def run(self) -> None:
        """Return at once."""


def simulate(problem: Problem, solver: str | type[Agent], **options: Any) -> Result:
    """Solve a problem with agents and return the result. Takes the arguments of `run`.

    Works inside a running event loop too (a notebook): the simulation then has a thread of its own.
    """
    return run_apart(lambda: run(problem, solver, **options))


async def run(
    problem: Problem,
    solver: str | type[Agent],
    *,
    seed: int = 0,
    network: str = "unit",
    observers: Sequence[ObserverLike] = (),
    log: str | os.PathLike[str] | Literal[False] | None = None,
    redact: bool = False,
    compress: bool = False,
    timeout: float | None = None,
    max_messages: int | None = None,
    max_time: float | None = None,
    realtime: float | None = None,
    check_cost: float = 0.0,
    replace: Mapping[str, AgentFactory] | None = None,
    interceptors: Sequence[Interceptor] = (),
    gates: Mapping[str, Gate] | GateFactory | None = None,
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
        log: file for the log; None keeps it in memory, bounded; False keeps none, which is a little faster.
        redact: leave private costs out of the log's header.
        compress: compress the log with zstd.
        timeout: wall seconds after which the run stops.
        max_messages: deliveries after which it stops.
        max_time: virtual time at which it stops.
        realtime: real seconds per unit of virtual time; None runs as fast as possible.
        check_cost: virtual time that one constraint check takes.
        replace: agent -> class (or factory) of an agent to run instead: an active adversary.
        interceptors: active adversaries on the router.
        gates: agent -> gate before each of its sends; or what makes them of setup and solver.
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
    if callable(gates):
        gates = gates(setup, cls)
    unknown = set(replaced) | set(gates or {})
    for agent in sorted(unknown - set(problem.agents)):
        raise UserError(f"no agent is called {agent!r}")
    slots = make_observers([*_carried(cls, observers), *observers], setup, cls, name, redacted=False)
    writer = LogWriter(None, memory_limit=0) if log is False else LogWriter(log, compress=compress)
    kernel: Kernel | None = None
    try:
        header = make_header(
            setup, name, seed, network, redact=redact, check_cost=check_cost, realtime=realtime,
            observers=[o.label for o in slots if o.recorded], replaced=sorted(replaced), interceptors=len(interceptors),
            gates=sorted(gates or {}),
        )  # fmt: skip
        codec = Codec(cls.all_messages())
        kernel = (RecoveringKernel if net.recovering else Kernel)(
            codec, net, seed, writer, Limits(max_messages, max_time), check_cost, realtime, tuple(interceptors)
        )
        if gates:
            kernel.checked_sends = GateKeeper(gates, setup, cls).check
            kernel.plain_sends = False
        populate(kernel, setup, cls, replaced)
        attach(kernel, slots, setup)
        honest = not replaced and not interceptors  # with an adversary about, nothing is proved
        if not honest:
            said = (*cls.messages, *DFS_MESSAGES) if not setup.tells_place else cls.messages
            kernel.door = Door(setup.problem, (*said, Abandon) if gates else said).check
        startup = time.perf_counter() - started
        writer.header(header)
        begun = time.perf_counter()
        with _quiet_gc(), Watchdog(kernel, timeout, monitor):
            try:
                await kernel.run(task_order)
            except StuckAgent as stuck:
                kernel.stuck(stuck)
        wall = time.perf_counter() - begun
        return conclude(kernel, setup, cls, name, seed, slots, wall, startup, honest)
    finally:
        writer.close()


def _check_limits(**limits: float | None) -> None:
    for name, value in limits.items():
        if value is not None and (not value >= 0 or value == math.inf or (name == "max_messages" and value < 1)):
            raise UserError(f"{name}={value}: must be a number that is not negative")


@contextlib.contextmanager
def _quiet_gc() -> Iterator[None]:
    """Collect garbage rarely: a run allocates much and leaves few cycles (88 k against 194 k deliveries/s).

    Runs may overlap, in one event loop or in several threads: the last of them to end puts things back.
    """
    with _gc_lock:
        _gc_before.append(gc.get_threshold())
        gc.set_threshold(200_000, 50, 100)
    try:
        yield
    finally:
        with _gc_lock:
            if len(_gc_before) == 1:
                gc.set_threshold(*_gc_before[0])
            _gc_before.pop()


def populate(kernel: Kernel, setup: Setup, cls: type[Agent], replaced: Mapping[str, AgentFactory]) -> None:
    """Add every node with its agent to the kernel."""
    in_component = {name: group[0] for group in components(setup.problem) for name in group}

    def factory(port: Port) -> Agent:
        view = setup.view(port.name)
        make: AgentFactory = replaced.get(port.host.name, cls)
        if not view.domain and cls.knows == "neighbours":
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
        kernel.live[observer.label] = observer.live


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


def _observer(given: ObserverLike, setup: Setup, solver: type[Agent], solver_name: str, redacted: bool) -> Observer:
    if isinstance(given, str):
        cls, options = parse_observer(given)
    elif isinstance(given, tuple):
        cls, options = given[0], dict(given[1])
    else:
        cls, options = given, {}
    view = ObserverView.parse(str(options.get("view", cls.default_view)), setup.original.agents)
    return cls(ObserverContext(view, setup, solver, solver_name, options, redacted))


def _carried(cls: type[Agent], given: Sequence[ObserverLike]) -> list[ObserverLike]:
    """Return the observers that every run of a solver has, without those that were asked for anyway."""
    asked = {split_names(o, ":")[0] if isinstance(o, str) else getattr(o, "name", "") for o in given}
    return [name for name in cls.carries if name not in asked]


def make_observers(
    given: Sequence[ObserverLike], setup: Setup, solver: type[Agent], solver_name: str, *, redacted: bool
) -> list[Observer]:
    """Return observers made from names, classes or (class, options), a second of one label as `label#2`."""
    made = [_observer(o, setup, solver, solver_name, redacted) for o in given]
    taken: set[str] = set()
    for observer in made:
        label, k = observer.label, 2
        while observer.label in taken:
            observer.label, k = f"{label}#{k}", k + 1
        taken.add(observer.label)
    return made


def published_facts(setup: Setup) -> dict[str, Any]:
    """Return what of a header follows from the problem and the solver: owners, offsets, declared floors."""
    floors = {v.name: v.cost_range[0] for v in setup.problem.variables.values() if v.cost_range is not None}
    floors.update({c.name: c.cost_range[0] for c in setup.problem.constraints.values() if c.cost_range is not None})
    return {
        "nodes": dict(setup.nodes),
        "costs": setup.costs,
        "offsets": {"unary": setup.unary_offsets, "constraints": setup.constraint_offsets},
        "offsets_from_tables": setup.offsets_from_tables,
        "floors": floors,
    }


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
        "places": encode_places(setup),
        **published_facts(setup),
        "observers": observers,
        "replaced": replaced,
        "interceptors": interceptors,
        "gates": gates,
    }
