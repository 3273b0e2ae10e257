"""What `agentsim bench` measures: how fast the kernel delivers, and what complete solvers take.

The kernel's benchmark is a ring of agents that pass tokens, through the public API: an `Agent` with a typed message,
run by `simulate` with its log in a file. What a program without any framework would reach is measured by
`tests/benchmarks/run.py`.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple

import numpy as np

from agentsim.dcop.problem import Constraint, Domain, Problem, Variable
from agentsim.errors import UserError
from agentsim.runtime.agent import Agent
from agentsim.runtime.delivery import Delivery
from agentsim.runtime.kernel import Kernel
from agentsim.runtime.messages import message
from agentsim.runtime.observer import Observer
from agentsim.runtime.port import Port
from agentsim.runtime.simulate import ObserverLike, simulate
from agentsim.runtime.streams import generator
from agentsim.runtime.view import LocalView

_ENOUGH_NOTES: Final = 5
SOLVERS: Final = ("synchbb", "afb", "adopt", "adopt-plus", "bnb-adopt", "bnb-adopt-plus", "dpop", "mb-dpop")
"""The complete ones, but those that ask for every cost there is."""


@message("TOKEN")
class Token(NamedTuple):
    """What goes round: a count of hops, and something of the size of a context."""

    value: int
    context: tuple[int, ...]


@dataclass(frozen=True)
class RingParams:
    """Parameters of the ring.

    Args:
        agents: how many agents are in it.
        tokens: how many tokens go round.
    """

    agents: int = 100
    tokens: int = 50


class RingAgent(Agent):
    """Passes every token on to the next agent, one hop older, for ever."""

    messages = (Token,)
    Params: ClassVar[type[RingParams]] = RingParams

    params: RingParams

    def __init__(self, view: LocalView, port: Port, params: RingParams) -> None:
        super().__init__(view, port, params)
        self.index = int(self.name)
        self.next = str((self.index + 1) % params.agents)

    async def run(self) -> None:
        """Start this agent's tokens, then pass on what comes."""
        for _ in range(self.index, self.params.tokens, self.params.agents):
            self.send(self.next, Token(0, (1, 2, 3)))
        to, send = self.next, self.send
        while True:
            for _, token in await self.drain():
                send(to, Token(token.value + 1, token.context))


class Decode(Observer):
    """Looks into every message, and no more: what one observer costs."""

    name = "decode"

    def start(self) -> None:
        """Begin to count."""
        self.hops = 0

    def observe(self, delivery: Delivery) -> None:
        """Read a field of the message."""
        self.hops += delivery.message.value

    def findings(self) -> dict[str, int]:
        """Return the sum of what was read."""
        return {"hops": self.hops}


class Stopwatch:
    """A run's monitor that notes when how many deliveries had been made, so that start and end do not count."""

    def __init__(self) -> None:
        self.notes: list[tuple[float, float, int]] = []

    def __call__(self, kernel: Kernel) -> None:
        """Note wall time, CPU time and deliveries."""
        if kernel.seq and not kernel.ended:
            self.notes.append((time.perf_counter(), time.process_time(), kernel.seq))

    def per_second(self, *, cpu: bool = False) -> float | None:
        """Return deliveries per second between the first note and the last; None for a run too short to tell."""
        if len(self.notes) < _ENOUGH_NOTES:
            return None
        first, last = self.notes[0], self.notes[-1]
        return (last[2] - first[2]) / (last[cpu] - first[cpu])


def ring(agents: int) -> Problem:
    """Return a problem whose variables form a ring."""
    domain = Domain("bit", (0, 1))
    table = np.eye(2, dtype=np.int64)
    names = [str(i) for i in range(agents)]
    links = [Constraint(f"c{i}", (names[i], names[(i + 1) % agents]), table) for i in range(agents)]
    return Problem.build([Variable(name, domain) for name in names], links, name="ring")


def kernel(
    agents: int = 100,
    deliveries: int = 300_000,
    in_flight: int = 50,
    network: str = "unit",
    observe: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Return deliveries per second of the token ring, by the clock and by CPU time, once it goes round.

    Args:
        agents: in the ring, at least 3.
        deliveries: after which the run stops.
        in_flight: how many tokens go round.
        network: as for `simulate`.
        observe: observers to attach; "decode" is one that reads every message.
    """
    if agents < 3:
        raise UserError(f"a ring of {agents} agents: at least 3 are needed")
    observers: list[ObserverLike] = [Decode if name == "decode" else name for name in observe]
    watch = Stopwatch()
    with tempfile.TemporaryDirectory(prefix="agentsim-") as folder:
        result = simulate(
            ring(agents),
            RingAgent,
            network=network,
            observers=observers,
            log=Path(folder) / "ring.amlog",
            max_messages=deliveries,
            monitor=watch,
            agents=agents,
            tokens=in_flight,
        )
    done = result.messages - in_flight  # every token is on its way when the run stops
    overall = done / max(result.wall_time, 1e-9)
    return {
        "deliveries_per_second": round(watch.per_second() or overall),
        "deliveries_per_cpu_second": round(watch.per_second(cpu=True) or overall),
        "agents": agents,
        "deliveries": done,
        "in_flight": in_flight,
        "network": network,
        "observers": list(observe),
        "wall_time": result.wall_time,
        "startup_time": result.startup_time,
    }


def colouring(n: int = 9, density: float = 2.0, colours: int = 3, seed: int = 0) -> Problem:
    """Return a random connected graph of n nodes and density * n edges to colour; an edge of one colour costs 1."""
    rng = generator(seed, "bench", "colouring")
    edges = {(int(rng.integers(i)), i) for i in range(1, n)}
    while len(edges) < min(round(density * n), n * (n - 1) // 2):
        i, j = sorted(int(v) for v in rng.choice(n, 2, replace=False))
        edges.add((i, j))
    domain = Domain("colours", tuple(range(colours)))
    table = np.eye(colours, dtype=np.int64)
    links = [Constraint(f"c{i}_{j}", (f"x{i}", f"x{j}"), table) for i, j in sorted(edges)]
    return Problem.build([Variable(f"x{i}", domain) for i in range(n)], links, name=f"colouring_{n}_{density:g}")


def solvers(agents: int = 9, network: str = "unit") -> dict[str, Any]:
    """Return what each of the complete `SOLVERS` takes for one colouring."""
    problem = colouring(agents)
    rows = []
    for name in SOLVERS:
        result = simulate(problem, name, network=network, timeout=60.0)
        rows.append(
            {
                "solver": name,
                "status": result.status,
                "cost": result.cost,
                "messages": result.messages,
                "bytes": result.bytes,
                "virtual_time": result.virtual_time,
                "nccc": result.nccc,
                "wall_time": result.wall_time,
                "messages_per_second": round(result.messages / result.wall_time) if result.wall_time else 0,
            }
        )
    return {"problem": problem.name, "agents": agents, "network": network, "rows": rows}
