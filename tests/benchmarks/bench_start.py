"""What it takes to begin: the command line, and many agents that do nothing.

`python tests/benchmarks/table.py bench_start [--quick]`
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from table import Row

IDLE = """
import resource, sys, time
from agentsim import Agent, Domain, Problem, Variable, simulate
class Idle(Agent):
    async def run(self):
        self.assign(0)
        await self.sleep(10)
domain = Domain("d", (0, 1))
problem = Problem.build([Variable(f"x{i}", domain) for i in range(int(sys.argv[1]))], name="idle")
begun = time.process_time()
result = simulate(problem, Idle, max_time=5.0)
assert result.status == "timeout", result.status
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time() - begun)
"""


def idle_agents(agents: int) -> tuple[float, float]:
    """Return the memory in MiB and the CPU seconds that idle agents take, in a process of their own."""
    command = [sys.executable, "-c", IDLE, str(agents)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    unit = 1 if sys.platform == "darwin" else 1024
    return int(out[0]) * unit / 2**20, float(out[1])


def five(folder: Path) -> Path:
    """Write a problem of five variables and return its file."""
    lines = ["name: five", "objective: min", "domains: {d: {values: [0, 1, 2]}}", "variables:"]
    lines += [f"  v{i}: {{domain: d}}" for i in range(5)] + ["constraints:"]
    lines += [f"  c{i}: {{type: intention, function: 1 if v{i} == v{i + 1} else 0}}" for i in range(4)]
    path = folder / "five.yaml"
    path.write_text("\n".join([*lines, f"agents: [{', '.join(f'v{i}' for i in range(5))}]", ""]))
    return path


def rows(quick: bool) -> Iterator[Row]:
    """Yield CPU times of commands, process start included, and what 100,000 idle agents take."""
    with tempfile.TemporaryDirectory(prefix="agentsim-") as name:
        problem = str(five(Path(name)))
        # As installed: compiled. The first call of each compiles and does not count, being slower.
        env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(Path(name) / "compiled")}
        for what, target, arguments in (
            ("agentsim --help", "<= .3", ["--help"]),
            ("agentsim solve, 5 variables, --json", "<= .7", ["solve", problem, "--algo", "dpop", "--json"]),
            ("agentsim solve, 5 variables, for people", "", ["solve", problem, "--algo", "adopt"]),
        ):
            cpu = []
            for _ in range(3 if quick else 6):
                before = resource.getrusage(resource.RUSAGE_CHILDREN)
                command = [sys.executable, "-c", "from scenarios.cli import main; main()", *arguments]
                subprocess.run(command, capture_output=True, check=True, env=env)
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
            yield Row(what, min(cpu[1:]), "CPU s", target)
    memory, seconds = idle_agents(100_000)
    yield Row("100,000 idle agents, memory of the process", memory, "MiB", "<= 1,024")
    yield Row("100,000 idle agents, from problem to result", seconds, "CPU s")
