"""How fast schedules are explored, and how soon faults are found: `python tests/benchmarks/bench_explore.py`.

Three ADOPTs, each with one thing wrong, are explored until they fail, once with the solver's own invariants and once by
what can be seen from outside alone; then what the shrinker leaves of each. Speed is that of all complete solvers.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from scenarios.exploration import explore
from solvers.adopt import Adopt, Cost, Threshold


class GenerousThreshold(Adopt):
    """WRONG: takes a threshold for one more than it is, and stays with a value that is too expensive."""

    def on_threshold(self, sender: str, message: Threshold) -> None:
        super().on_threshold(sender, message._replace(threshold=message.threshold + 1))


class KeepsBounds(Adopt):
    """WRONG: does not forget the bounds that depended on what the context was."""

    def learn(self, name: str, value: int) -> None:
        children, self.children = self.children, []
        super().learn(name, value)
        self.children = children


class TakesAnyBound(Adopt):
    """WRONG: takes bounds under another context for bounds under its own."""

    def on_cost(self, sender: str, message: Cost) -> None:
        own = {n: v if n == self.name else self.context.get(n, v) for n, v in message.context.items()}
        super().on_cost(sender, message._replace(context=own))


BROKEN: tuple[type[Adopt], ...] = (GenerousThreshold, KeepsBounds, TakesAnyBound)


def caught(cls: type[Adopt], *, invariants: bool, seed: int = 0) -> dict[str, Any]:
    """Return what is told of the first failure of a broken solver, with how long it took and how many runs."""
    with tempfile.TemporaryDirectory(prefix="agentsim-") as name:
        began, heard = time.perf_counter(), []
        tally = explore(
            None, [cls], runs=5000, seed=seed, params={"invariants": invariants}, folder=Path(name), max_failures=1,
            max_messages=20_000, say=lambda words: heard.append(time.perf_counter() - began),
        )  # fmt: skip
        assert tally.bad, f"{cls.__name__} was not caught in {tally.runs} runs"
        return {**tally.failures[0], "caught": heard[0], "shrunk": heard[1] - heard[0]}


def main() -> None:
    """Print how soon each is caught, then the speed (argument: runs of each complete solver)."""
    print(f"{'broken ADOPT':<20}{'invariants':>11}{'caught in s':>12}{'shrunk in s':>12}   what is left")
    for cls in BROKEN:
        for invariants in (True, False):
            found = caught(cls, invariants=invariants)
            size, late = found["size"], found["network"].count("late:")
            print(
                f"{cls.__name__:<20}{'yes' if invariants else 'no':>11}{found['caught']:>12.2f}"
                f"{found['shrunk']:>12.2f}   run {found['found']['run']}, {found['kind']}: "
                f"{size['variables']} variables, {size['constraints']} constraints, "
                f"{'unit' if found['network'] == 'unit' else f'{late} late messages' if late else found['network']}",
                flush=True,
            )
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    began = time.process_time()
    tally = explore(None, ["complete"], runs=runs)
    took = time.process_time() - began
    print(
        f"\n{tally.runs:,} runs of all complete solvers, {tally.bad} bad: {tally.runs / took:,.0f} per CPU s, ", end=""
    )
    print(f"10^6 in {1e6 * took / tally.runs / 3600 / (os.cpu_count() or 1):.2f} h on all cores")


if __name__ == "__main__":
    main()
