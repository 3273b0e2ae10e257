"""All benchmarks in one table: `make bench`, or `python tests/benchmarks/run.py [--quick] [--keep] [BENCHMARK...]`.

Each benchmark runs in a process of its own, one after the other. The table is written to `kept/last.json` and compared
with the one kept for this kind of machine, `kept/<machine>.json`: each figure stands beside the kept one and the
change. The first table of a kind of machine is kept, and `--keep` keeps a later one. `--quick` takes a tenth of the
time, is as much less exact, and is never kept. Nothing here gates; targets are printed beside the figures.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from table import Row, as_json, from_json, show

import agentsim

HERE = Path(__file__).resolve().parent
KEPT = HERE / "kept"
BENCHMARKS = (
    "bench_start",
    "bench_kernel",
    "bench_adopt",
    "bench_dpop",
    "bench_local",
    "bench_vps",
    "bench_load",
    "bench_sweep",
)


def processor() -> str:
    """Return the processor's model."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()


def machine() -> dict[str, Any]:
    """Return what kind of machine this is: figures of one kind are compared."""
    version = ".".join(platform.python_version_tuple()[:2])
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "python": f"{platform.python_implementation()} {version}",
    }


def file_of(kind: dict[str, Any]) -> Path:
    """Return where the table of a kind of machine is kept."""
    words = f"{kind['processor']} {kind['cores']} cores {kind['python']}"
    return KEPT / f"{re.sub(r'[^a-z0-9.]+', '-', words.lower()).strip('-')}.json"


def kept_rows(path: Path) -> dict[str, Row] | None:
    """Return the rows of a kept table by name; None if there is none."""
    if not path.exists():
        return None
    return {given["name"]: from_json(given) for given in json.loads(path.read_text())["rows"]}


def rows_of(benchmark: str, quick: bool) -> Iterator[Row]:
    """Yield the rows of one benchmark, run in a process of its own; says so if it fails."""
    command = [sys.executable, str(HERE / "table.py"), benchmark, "--json", *(["--quick"] if quick else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):
                yield from_json(json.loads(line))
    if process.returncode:
        print(f"{benchmark} failed", flush=True)


def main(arguments: list[str]) -> int:
    """Print the table and compare it with the one kept; return 2 for arguments that make no sense."""
    quick, keep = "--quick" in arguments, "--keep" in arguments
    chosen = [a for a in arguments if not a.startswith("--")]
    if set(arguments) - {"--quick", "--keep", *BENCHMARKS} or (keep and (quick or chosen)):
        print(
            f"usage: run.py [--quick | --keep] [{' | '.join(BENCHMARKS)}]... (whole tables are kept)", file=sys.stderr
        )
        return 2
    kind, began = machine(), time.perf_counter()
    path = file_of(kind)
    before = kept_rows(path)
    print(f"agentsim {agentsim.__version__}, {kind['python']}, {kind['cores']} x {kind['processor']}\n")
    found = [row for name in chosen or BENCHMARKS for row in show(rows_of(name, quick), before, name)]
    KEPT.mkdir(exist_ok=True)
    table = {"machine": kind, "agentsim": agentsim.__version__, "quick": quick, "rows": [as_json(row) for row in found]}
    (KEPT / "last.json").write_text(json.dumps(table, indent=1) + "\n")
    if keep or (before is None and not quick and not chosen):
        path.write_text(json.dumps(table, indent=1) + "\n")
        print(f"\nkept as {path.relative_to(HERE.parent.parent)}")
    missed = sum(row.met is False for row in found)
    print(f"\n{len(found)} figures, {missed} targets missed, {time.perf_counter() - began:.0f} s")
    if importlib.util.find_spec("numba") is None:
        print("without numba, the extra `fast`")
    if "AGENTSIM_INSTANCES" not in os.environ:
        print("skipped: what needs the problem files of AGENTSIM_INSTANCES")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
