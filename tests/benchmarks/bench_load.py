"""How much longer a problem takes to load than the YAML C loader takes to parse the same file.

Run it: `AGENTSIM_INSTANCES=... python tests/benchmarks/bench_load.py [repeats]`. Both are measured in turn in one run
and the fastest of each counts, so that a busy machine slows both alike. Allowed: 1.5, and 3 for gc_v100_d25.
SimpleHouse is 4 kB that stand for 50,000 tuples of 24 expressions: there, tabulating is the work, not parsing.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from agentsim.dcop.formats import load

FILES = {
    "gc_v100_d25.yaml": 3.0,
    "ms_v100_s24.yaml": 1.5,
    "ising_32x32.yaml": 1.5,
    "graph_coloring_50.yaml": 1.5,
    "ms_v25_s20.yaml": 1.5,
    "gc_grid100_d3_hard.yaml": 1.5,
    "SimpleHouse.yml": 10.0,
}


def seconds(function: Callable[[], object]) -> float:
    """Return the CPU seconds of one call: other processes do not count."""
    started = time.process_time()
    function()
    return time.process_time() - started


def main(repeats: int = 7) -> int:
    """Print a table; return 1 when a file takes longer than allowed."""
    folder = os.environ.get("AGENTSIM_INSTANCES")
    if folder is None:
        print("skipped: AGENTSIM_INSTANCES is not set")
        return 0
    print(f"{'file':<26} {'kB':>6} {'yaml ms':>8} {'load ms':>8} {'first ms':>8} {'ratio':>6} {'allowed':>7}")
    failed = False
    for name, allowed in FILES.items():
        path = Path(folder) / "pydcop" / name
        text = path.read_text()
        first = seconds(lambda path=path: load(path))  # type: ignore[misc]
        parse, ours = [], []
        for _ in range(repeats):
            parse.append(seconds(lambda text=text: yaml.load(text, Loader=yaml.CSafeLoader)))  # type: ignore[misc]
            ours.append(seconds(lambda path=path: load(path)))  # type: ignore[misc]
        ratio = min(ours) / min(parse)
        failed |= ratio > allowed
        print(
            f"{name:<26} {len(text) // 1000:>6} {min(parse) * 1e3:>8.1f} {min(ours) * 1e3:>8.1f} {first * 1e3:>8.1f} "
            f"{ratio:>6.2f} {allowed:>7}"
        )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:2])))
