"""All benchmarks in one table: `make bench`, or `python tests/benchmarks/run.py [--quick]`.

Speeds are ratios within one run: our kernel against `ceiling`, a bare program that does the least that asynchronous
agents, msgpack and an ordered log can cost. The two take turns and the best of each counts, in CPU time, so
that what else the machine does counts for nothing. Nothing here gates; targets are printed beside the figures.
"""

from __future__ import annotations

import asyncio
import heapq
import importlib.util
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any

import msgpack

HERE = Path(__file__).resolve().parent
OTHERS = ("bench_load", "bench_adopt", "bench_dpop", "bench_vps", "bench_local")


# A program without framework ---------------------------------------------------------------------------------------


def ceiling(agents: int, tokens: int, deliveries: int) -> float:
    """Return deliveries per CPU second of a bare token ring: a task per agent, a heap, msgpack, a log."""
    pack = msgpack.Packer(use_bin_type=True).pack
    inboxes: list[deque[bytes]] = [deque() for _ in range(agents)]
    parked: list[asyncio.Future[None] | None] = [None] * agents
    due: list[tuple[float, int, int, int, bytes]] = []
    clock, sent, busy = 0.0, 0, 0
    turn: asyncio.Future[None]

    def post(src: int, message: tuple[Any, ...]) -> None:
        nonlocal sent
        sent += 1
        heapq.heappush(due, (clock + 1.0, sent, src, (src + 1) % agents, pack(message)))

    async def agent(me: int) -> None:
        nonlocal busy
        inbox = inboxes[me]
        while True:
            while inbox:
                kind, value, context = msgpack.unpackb(inbox.popleft())
                post(me, (kind, value + 1, context))
            busy -= 1
            if not busy and not turn.done():
                turn.set_result(None)
            parked[me] = wake = loop.create_future()
            await wake

    async def ring() -> float:
        nonlocal loop, turn, busy, clock
        loop = asyncio.get_running_loop()
        turn, busy = loop.create_future(), agents
        tasks = [loop.create_task(agent(i)) for i in range(agents)]
        await turn
        for k in range(tokens):
            post(k % agents, ("TOKEN", 0, (1, 2, 3)))
        done = 0
        with tempfile.TemporaryFile(buffering=1 << 20) as log:
            began = time.process_time()
            while done < deliveries:
                clock, turn = due[0][0], loop.create_future()
                while due and due[0][0] == clock:
                    when, n, src, dst, payload = heapq.heappop(due)
                    log.write(pack((n, when - 1.0, when, src, dst, 0, payload)))
                    inboxes[dst].append(payload)
                    wake, parked[dst] = parked[dst], None
                    if wake is not None:
                        wake.set_result(None)
                        busy += 1
                    done += 1
                await turn
            took = time.process_time() - began
        for task in tasks:
            task.cancel()
        return done / took

    loop: asyncio.AbstractEventLoop = None  # type: ignore[assignment]  # set once it runs
    turn = None  # type: ignore[assignment]  # likewise
    return asyncio.run(ring())


# The table ---------------------------------------------------------------------------------------------------------


def row(what: str, figure: str, target: str = "") -> None:
    """Print one line of the table."""
    print(f"{what:<58}{figure:>22}   {target}", flush=True)


def kernel_speed(rounds: int, deliveries: int) -> None:
    """Compare the kernel with the ceiling."""
    from scenarios.bench import kernel

    def ours(**options: Any) -> float:
        return float(kernel(deliveries=deliveries, **options)["deliveries_per_cpu_second"])

    best: dict[str, float] = {}

    def keep(name: str, value: float) -> None:
        best[name] = max(best.get(name, 0.0), value)

    for _ in range(rounds):
        keep("ceiling 100", ceiling(100, 50, deliveries))
        keep("unit", ours())
        keep("observed", ours(observe=("decode",)))
        keep("uniform", ours(network="uniform:1,10"))
        keep("ceiling 10000", ceiling(10_000, 5_000, deliveries))
        keep("ours 10000", ours(agents=10_000, in_flight=5_000))
    bare, crowd = best["ceiling 100"], best["ceiling 10000"]
    row("ceiling, 100 agents, 50 in flight, deliveries per CPU s", f"{bare:,.0f}")
    row("kernel, unit", f"{best['unit']:,.0f} = {best['unit'] / bare:.2f}", ">= .65 of the ceiling")
    row("kernel, uniform:1,10", f"{best['uniform']:,.0f} = {best['uniform'] / bare:.2f}", ">= .45 of the ceiling")
    cost = 1 - best["observed"] / best["unit"]
    row("kernel, unit, an observer that decodes everything", f"{best['observed']:,.0f} = -{cost:.0%}", "at most -25%")
    row("ceiling, 10,000 agents, 5,000 in flight", f"{crowd:,.0f}")
    row(
        "kernel, 10,000 agents", f"{best['ours 10000']:,.0f} = {best['ours 10000'] / crowd:.2f}", ">= .7 of the ceiling"
    )


IDLE = """
import resource
from agentsim import Agent, Domain, Problem, Variable, simulate
class Idle(Agent):
    async def run(self):
        self.assign(0)
        await self.sleep(10)
domain = Domain("d", (0, 1))
problem = Problem.build([Variable(f"x{i}", domain) for i in range(100_000)], name="idle")
result = simulate(problem, Idle, max_time=5.0)
assert result.status == "timeout", result.status
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, result.startup_time + result.wall_time)
"""


def idle_agents() -> None:
    """Tell the memory that 100,000 idle agents take, in a process of their own."""
    out = subprocess.run([sys.executable, "-c", IDLE], capture_output=True, text=True, check=True).stdout.split()
    unit = 1 if sys.platform == "darwin" else 1024
    row("100,000 idle agents", f"{int(out[0]) * unit / 2**20:,.0f} MiB, {float(out[1]):.1f} s", "<= 1024 MiB")


def command_line(rounds: int) -> None:
    """Time the command line, process start included; CPU time does not count what else the machine does."""
    with tempfile.TemporaryDirectory(prefix="agentsim-") as folder:
        problem = Path(folder) / "five.yaml"
        lines = ["name: five", "objective: min", "domains: {d: {values: [0, 1, 2]}}", "variables:"]
        lines += [f"  v{i}: {{domain: d}}" for i in range(5)] + ["constraints:"]
        lines += [f"  c{i}: {{type: intention, function: 1 if v{i} == v{i + 1} else 0}}" for i in range(4)]
        problem.write_text("\n".join([*lines, f"agents: [{', '.join(f'v{i}' for i in range(5))}]", ""]))
        # As installed: compiled. The first call of each compiles and does not count, being slower.
        env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(Path(folder) / "compiled")}
        for what, target, arguments in (
            ("agentsim --help", "< 0.3 s", ["--help"]),
            ("agentsim solve, 5 variables, --json", "< 0.7 s", ["solve", str(problem), "--algo", "dpop", "--json"]),
            ("agentsim solve, 5 variables, for people", "", ["solve", str(problem), "--algo", "adopt"]),
        ):
            wall, cpu = [], []
            for _ in range(rounds + 1):
                before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
                command = [sys.executable, "-c", "from scenarios.cli import main; main()", *arguments]
                subprocess.run(command, capture_output=True, check=True, env=env)
                wall.append(time.perf_counter() - began)
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
            row(what, f"{min(wall):.2f} s, CPU {min(cpu):.2f} s", target)


def others() -> None:
    """Run the benchmarks beside this one."""
    for name in OTHERS:
        path = HERE / f"{name}.py"
        if not path.exists():
            continue
        print(f"\n--- {name}", flush=True)
        subprocess.run([sys.executable, str(path)], check=False)
    if importlib.util.find_spec("numba") is None:
        print("\n(without numba, the extra `fast`)")
    if "AGENTSIM_INSTANCES" not in os.environ:
        print("\nskipped: what needs the problem files of AGENTSIM_INSTANCES")


def main(arguments: list[str]) -> int:
    """Print the table; --quick takes a tenth of the time and is as much less exact."""
    quick = "--quick" in arguments
    began = time.perf_counter()
    command_line(2 if quick else 5)
    idle_agents()
    kernel_speed(1 if quick else 3, 60_000 if quick else 300_000)
    if not quick:
        others()
    print(f"\n{time.perf_counter() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
