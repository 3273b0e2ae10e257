"""How time and memory grow: `python tests/benchmarks/growth.py [--quick]`, for docs/performance.md.

Each point is measured in a process of its own, in CPU time, the best of a few; speeds stand beside those of the bare
program `ceiling`, which takes turns with the kernel. Writes the tables of docs/performance.md and docs/performance.svg;
with `--quick`, which leaves out the largest sizes, prints the tables and writes nothing.
"""

from __future__ import annotations

import json
import math
import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
DOCS = HERE.parent.parent / "docs"
AGENTS = (10, 100, 1_000, 10_000, 100_000)
IN_FLIGHT = (10, 100, 1_000, 10_000, 100_000)
SOLVERS = ("dpop", "adopt", "maxsum", "dsa")
DENSITIES = (1.0, 1.5, 2.0, 2.5, 3.0)
DOMAINS = (2, 4, 8, 16, 32)
STOP_S = 30.0


# Points ------------------------------------------------------------------------------------------------------------


def rss() -> float:
    """Return the most memory that this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def speed(agents: int, in_flight: int, deliveries: int) -> dict[str, float]:
    """Return deliveries per CPU second of the bare program and of the kernel, the best of three in turns."""
    from ceiling import ceiling

    from scenarios.bench import kernel

    best = {"ceiling": 0.0, "kernel": 0.0}
    for _ in range(3):
        best["ceiling"] = max(best["ceiling"], ceiling(agents, in_flight, deliveries))
        ours = kernel(agents, deliveries, in_flight)["deliveries_per_cpu_second"]
        best["kernel"] = max(best["kernel"], float(ours))
    return best


def start(agents: int) -> dict[str, float]:
    """Return CPU seconds from problem to result for one round of messages, and memory per agent in bytes."""
    from agentsim import simulate
    from scenarios.bench import RingAgent, ring

    simulate(ring(3), RingAgent, max_messages=3, agents=3, tokens=3)  # imports what there is to import
    before = rss()
    problem = ring(agents)
    begun = time.process_time()
    simulate(problem, RingAgent, max_messages=agents, agents=agents, tokens=agents, log=False)
    return {"cpu_s": time.process_time() - begun, "bytes_per_agent": (rss() - before) / agents}


def logged(deliveries: int, *, in_memory: bool) -> dict[str, float]:
    """Return the memory of a process after a run, with its log in memory or in a file, and the log's size; in bytes."""
    import tempfile

    from agentsim import simulate
    from scenarios.bench import RingAgent, ring

    with tempfile.TemporaryDirectory(prefix="agentsim-") as folder:
        log = None if in_memory else Path(folder) / "ring.amlog"
        result = simulate(ring(100), RingAgent, max_messages=deliveries, agents=100, tokens=50, log=log)
        return {"rss": rss(), "log": float(result.log.size)}


def solver(name: str, n: int, density: float, size: int, seed: int) -> dict[str, float]:
    """Return CPU seconds, messages, bytes and checks of one solver on a random graph to colour, random costs."""
    from bench_dpop import colouring

    from agentsim import simulate

    problem = colouring(n, size, density * 2 / (n - 1), seed)
    begun = time.process_time()
    result = simulate(problem, name, timeout=STOP_S, log=False)
    seconds = math.inf if result.status == "timeout" else time.process_time() - begun
    return {"cpu_s": seconds, "messages": result.messages, "bytes": result.bytes, "nccc": result.nccc}


POINTS: dict[str, Callable[..., dict[str, float]]] = {
    "speed": speed,
    "start": start,
    "logged": logged,
    "solver": solver,
}


def point(kind: str, **arguments: object) -> dict[str, float]:
    """Measure one point in a process of its own."""
    command = [sys.executable, str(HERE / "growth.py"), "--point", kind, json.dumps(arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(kind, arguments, found, file=sys.stderr, flush=True)
    return found


# Tables ------------------------------------------------------------------------------------------------------------


def agents_table(sizes: Sequence[int]) -> list[dict[str, float]]:
    """Return speed, start-up and memory by the number of agents, half as many messages as agents on their way."""
    rows = []
    for agents in sizes:
        deliveries = max(60_000, 2 * agents)
        found = point("speed", agents=agents, in_flight=max(5, agents // 2), deliveries=deliveries)
        begun = point("start", agents=agents)
        rows.append(
            {
                "agents": agents,
                **found,
                "ratio": found["kernel"] / found["ceiling"],
                "start_ms": begun["cpu_s"] / agents * 1e3,
                "kb": begun["bytes_per_agent"] / 1e3,
            }
        )
    return rows


def in_flight_table(sizes: Sequence[int]) -> list[dict[str, float]]:
    """Return speed by the number of messages on their way between 1,000 agents."""
    rows = []
    for tokens in sizes:
        found = point("speed", agents=1_000, in_flight=tokens, deliveries=max(60_000, 2 * tokens))
        rows.append({"in_flight": tokens, **found, "ratio": found["kernel"] / found["ceiling"]})
    return rows


def log_table(few: int, many: int) -> dict[str, float]:
    """Return bytes of memory and of log that one more message takes, with the log in memory and in a file."""
    found = {}
    for where, in_memory in (("memory", True), ("file", False)):
        a, b = (point("logged", deliveries=n, in_memory=in_memory) for n in (few, many))
        found[where] = max(0.0, b["rss"] - a["rss"]) / (many - few)
        found["log"] = (b["log"] - a["log"]) / (many - few)
    return found


def solver_tables(seeds: int) -> dict[str, list[dict[str, Any]]]:
    """Return medians by density and by domain size for each solver."""
    tables: dict[str, list[dict[str, Any]]] = {"density": [], "domain": []}
    cases = [("density", 9, density, 3) for density in DENSITIES] + [("domain", 8, 1.5, size) for size in DOMAINS]
    gone = set()
    for what, n, density, size in cases:
        for name in SOLVERS:
            if (what, name) in gone:  # a smaller one took too long already
                continue
            runs = [point("solver", name=name, n=n, density=density, size=size, seed=seed) for seed in range(seeds)]
            median = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
            if median["cpu_s"] == math.inf:
                gone.add((what, name))
                continue
            tables[what].append({"solver": name, what: density if what == "density" else size, **median})
    return tables


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table."""
    lines = [header, ["---:"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def seconds(value: float) -> str:
    """Return seconds in milliseconds, with two digits that count."""
    ms = value * 1e3
    return f"{ms:,.0f}" if ms >= 10 else f"{ms:.1f}"


def text(found: Mapping[str, Any]) -> str:
    """Return all tables as they stand in the documentation."""
    log = found["log"]
    parts = [
        "**Agents** (a ring, half as many messages as agents on their way, unit network, logged to a file):",
        markdown(
            ["agents", "ceiling /s", "kernel /s", "ratio", "begin and end, ms per agent", "kB per agent"],
            [
                [
                    f"{r['agents']:,}", f"{r['ceiling']:,.0f}", f"{r['kernel']:,.0f}", f"{r['ratio']:.2f}",
                    f"{r['start_ms']:.3f}", f"{r['kb']:.1f}" if r["agents"] >= 1000 else "",
                ]
                for r in found["agents"]
            ],
        ),
        "**Messages on their way** (1,000 agents):",
        markdown(
            ["in flight", "ceiling /s", "kernel /s", "ratio"],
            [
                [f"{r['in_flight']:,}", f"{r['ceiling']:,.0f}", f"{r['kernel']:,.0f}", f"{r['ratio']:.2f}"]
                for r in found["in_flight"]
            ],
        ),
        f"**Memory of a message** that was delivered and logged: {log['memory']:.0f} bytes with the log in memory, "
        f"{log['file']:.0f} with the log in a file, where it takes {log['log']:.0f} bytes.",
    ]  # fmt: skip
    for what, title in (
        (
            "density",
            "**Density**: colouring of 9 variables, 3 values, random costs; edges per variable, CPU ms (messages)",
        ),
        ("domain", "**Domain size**: 8 variables, 12 edges; CPU ms (messages)"),
    ):
        rows = found[what]
        at = sorted({r[what] for r in rows})
        by = {(r["solver"], r[what]): r for r in rows}
        lines = []
        for name in SOLVERS:
            cells = [by.get((name, x)) for x in at]
            lines.append(
                [name, *("-" if c is None else f"{seconds(c['cpu_s'])} ({c['messages']:,.0f})" for c in cells)]
            )
        parts += [f"{title} (median; `-`: more than {STOP_S:g} s):", markdown(["", *(f"{x:g}" for x in at)], lines)]
    return "\n\n".join(parts)


def picture(found: Mapping[str, Any], path: Path) -> None:
    """Plot the tables."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "growth"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 2, figsize=(9, 6.5), layout="constrained")
    speeds, costs, density, domain = axes.flat
    agents = [r["agents"] for r in found["agents"]]
    for name in ("ceiling", "kernel"):
        speeds.plot(agents, [r[name] for r in found["agents"]], marker="o", label=name)
    speeds.set(xscale="log", ylim=(0, None), xlabel="agents", ylabel="deliveries per CPU s")
    costs.plot(agents, [r["start_ms"] for r in found["agents"]], marker="o", label="begin and end, ms per agent")
    large = [r for r in found["agents"] if r["agents"] >= 1000]
    costs.plot([r["agents"] for r in large], [r["kb"] for r in large], marker="o", label="kB per agent")
    costs.set(xscale="log", yscale="log", xlabel="agents")
    for axis, what, label in ((density, "density", "edges per variable"), (domain, "domain", "domain size")):
        for name in SOLVERS:
            rows = [r for r in found[what] if r["solver"] == name]
            axis.plot([r[what] for r in rows], [r["cpu_s"] for r in rows], marker="o", label=name)
        axis.set(yscale="log", xlabel=label, ylabel="CPU s")
    domain.set_xscale("log", base=2)
    for axis in axes.flat:
        axis.legend(frameon=False)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})


def main(arguments: list[str]) -> int:
    """Measure, print and, unless quick, write."""
    if arguments[:1] == ["--point"]:
        print(json.dumps(POINTS[arguments[1]](**json.loads(arguments[2]))))
        return 0
    quick = arguments == ["--quick"]
    if arguments and not quick:
        print("usage: growth.py [--quick]", file=sys.stderr)
        return 2
    found: dict[str, Any] = {
        "agents": agents_table(AGENTS[: 3 if quick else None]),
        "in_flight": in_flight_table(IN_FLIGHT[: 3 if quick else None]),
        "log": log_table(20_000, 100_000 if quick else 400_000),
        **solver_tables(1 if quick else 3),
    }
    tables = text(found)
    print(tables)
    if not quick:
        page = DOCS / "performance.md"
        new = re.sub(
            r"(<!-- growth -->\n).*(\n<!-- /growth -->)",
            lambda m: f"{m[1]}![Speed, memory, density and domain size](performance.svg)\n\n{tables}{m[2]}",
            page.read_text(),
            flags=re.S,
        )
        page.write_text(new)
        picture(found, DOCS / "performance.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
