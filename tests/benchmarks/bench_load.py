"""How much longer a problem takes to load than the YAML C loader takes to parse the same file.

`AGENTSIM_INSTANCES=... python tests/benchmarks/table.py bench_load [--quick]`. Both are measured in turn in one run
and the fastest of each counts, so that a busy machine slows both alike. Allowed: 1.5, and 3 for gc_v100_d25.
SimpleHouse is 4 kB that stand for 50,000 tuples of 24 expressions: there, tabulating is the work, not parsing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml
from table import Row

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


def rows(quick: bool) -> Iterator[Row]:
    """Yield the time that each file takes, relative to its parsing; none without AGENTSIM_INSTANCES."""
    folder = os.environ.get("AGENTSIM_INSTANCES")
    for name, allowed in FILES.items() if folder else ():
        path = Path(folder or "") / "pydcop" / name
        text = path.read_text()
        parse, ours = [], []
        for _ in range(3 if quick else 8):
            parse.append(seconds(lambda text=text: yaml.load(text, Loader=yaml.CSafeLoader)))  # type: ignore[misc]
            ours.append(seconds(lambda path=path: load(path)))  # type: ignore[misc]
        ratio = min(ours) / min(parse)
        yield Row(f"loading {name} (to parsing it)", min(ours) * 1e3, "CPU ms", f"<= {allowed:g}", ratio)
