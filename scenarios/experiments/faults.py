"""What faults do to complete solvers: how many runs survive them, are told to have failed, or are lost.

Every fault is put on random small problems, with every complete solver, on the bare network and under `reliable`. A run

    survives    it ends as optimal with the cost of brute force, or as infeasible where there is no solution
    is told     it ends as deadlock, at a limit, or with an error that names an agent: nothing is claimed
    is lost     anything else: a wrong optimum, infeasible where there is a solution, a hang, a log that does not verify

`lost` must be 0 throughout, and under `reliable` all survive, except where an agent crashes for good: then nobody can
do its part. Faults of the process that writes a log: the disk is full or fails after a random number of bytes, the
process is killed (kill -9), or Ctrl-C comes while the log grows. Those runs are told when what is in the file can be
read up to its last whole block and is how the log of an undisturbed run begins, and the run has claimed nothing. Ctrl-C
leaves a whole log, which verifies.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from unittest import mock

from scenarios.experiments.base import Experiment, main_of

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from rich.console import Console

    from agentsim import Problem

INSTANCES: Final = 6
FULL: Final = 150
PROCESS_INSTANCES: Final = 2
MAX_MESSAGES: Final = 20_000
HUNG_S: Final = 120.0
"""A run that takes so long without reaching `MAX_MESSAGES` hangs."""
VERIFIED: Final = 3
"""One in so many problems has all of its logs verified."""
ALL: Final = "all"
"""In rows: all complete solvers together."""

MODELS: Final = ("unit", "uniform:1,10", "exponential:3", "lognormal:0,1")
Draw = Callable[["np.random.Generator", Sequence[str]], str]


def _window(rng: np.random.Generator) -> str:
    start = int(rng.integers(0, 40)) / 2
    return f"{start:g}-{start + int(rng.integers(1, 80)):g}"


def _partition(rng: np.random.Generator, agents: Sequence[str]) -> str:
    return f"partition:{agents[0]}|{','.join(agents[1:])}@{_window(rng)}"


def _pair(rng: np.random.Generator, agents: Sequence[str]) -> str:
    a, b = rng.choice(len(agents), 2, replace=False)
    return f"{agents[int(a)]}>{agents[int(b)]}"


def _one(rng: np.random.Generator, agents: Sequence[str]) -> str:
    return agents[int(rng.integers(len(agents)))]


NETWORK_FAULTS: Final[dict[str, Draw]] = {
    "loss .1": lambda rng, agents: "loss:.1",
    "loss .2": lambda rng, agents: "loss:.2",
    "loss .4": lambda rng, agents: "loss:.4",
    "duplicate .3": lambda rng, agents: "duplicate:.3",
    "reorder": lambda rng, agents: "reorder",
    "loss .4, duplicate, reorder": lambda rng, agents: "loss:.4+duplicate:.3+reorder",
    "partition that heals": _partition,
    "slow agent": lambda rng, agents: f"slow:{_one(rng, agents)}*20",
    "hold": lambda rng, agents: f"hold:{_pair(rng, agents)}@{_window(rng)}",
    "late message": lambda rng, agents: f"late:{_pair(rng, agents)}@{rng.integers(1, 4)}*{rng.integers(5, 90)}",
    "burst": lambda rng, agents: "burst:7",
    "priority": lambda rng, agents: "priority:5,4",
    "crash and restart": lambda rng, agents: f"crash:{_one(rng, agents)}@{_window(rng)}",
    "two crash and restart": lambda rng, agents: "+".join(f"crash:{_one(rng, agents)}@{_window(rng)}" for _ in "12"),
    "crash for good": lambda rng, agents: f"crash:{_one(rng, agents)}@{rng.integers(0, 30)}",
}
"""By name: the modifiers, or the model in place of the drawn one, with their agents and times."""

PROCESS_FAULTS: Final = ("disk full", "I/O error", "kill -9", "Ctrl-C")
PROCESS_SOLVER: Final = "adopt"
SURVIVED: Final = "survived"
TOLD: Final = ("deadlock", "timeout", "error", "finished", "told")


class Task(NamedTuple):
    """A fault, on the bare network or under `reliable`, and the problem's seed."""

    fault: str
    reliable: bool
    seed: int


class Faults(Experiment):
    """Runs, survived, told and lost, by fault and solver."""

    name = "faults"
    columns = ("fault", "network", "solver", "runs", "survived", "told", "lost", "ends")
    key_columns = 3

    def tasks(self) -> Sequence[Task]:
        """Return each fault with each problem; the process's first, which take longest."""
        count = self.options.instances or (FULL if self.options.full else INSTANCES)
        few = range(self.options.seed, self.options.seed + (count if self.options.full else PROCESS_INSTANCES))
        seeds = range(self.options.seed, self.options.seed + count)
        return [Task(fault, False, seed) for fault in PROCESS_FAULTS for seed in few] + [
            Task(fault, reliable, seed) for fault in NETWORK_FAULTS for reliable in (False, True) for seed in seeds
        ]

    @staticmethod
    def run_task(task: Task) -> dict[str, str]:
        """Return by solver how the run ended: "survived", one of `TOLD`, or what is wrong."""
        return process_ends(task) if task.fault in PROCESS_FAULTS else network_ends(task)

    def rows(self, results: Sequence[dict[str, str]]) -> list[dict[str, Any]]:
        """Return a row for each fault over all solvers, then one for each fault and solver."""
        together: dict[tuple[str, str, str], Counter[str]] = {}
        single: dict[tuple[str, str, str], Counter[str]] = {}
        for task, ends in zip(self.tasks(), results, strict=True):
            network = "a log file" if task.fault in PROCESS_FAULTS else "reliable" if task.reliable else "bare"
            for solver, end in ends.items():
                for found, who in ((together, ALL), (single, solver)):
                    found.setdefault((task.fault, network, who), Counter())[end] += 1
        return [_row(*key, ends) for found in (together, single) for key, ends in found.items()]

    def notes(self, rows: list[dict[str, Any]]) -> list[str]:
        """Return how many runs were lost, and what survived under `reliable`."""
        totals = [row for row in rows if row["solver"] == ALL]
        runs, lost = (sum(row[key] for row in totals) for key in ("runs", "lost"))
        sure = [row for row in totals if row["network"] == "reliable" and row["fault"] != "crash for good"]
        held = sum(row["survived"] for row in sure)
        return [
            f"{runs:,} runs, {lost:,} lost",
            f"under reliable, crashes for good apart: {held:,} of {sum(row['runs'] for row in sure):,} survived",
            f"problems of up to four variables with up to three values; network {', '.join(MODELS)} in turn; one "
            f"problem in {VERIFIED} has its logs verified by replay",
        ]

    def show(self, out: Console, rows: list[dict[str, Any]]) -> None:
        """Show what became of all solvers together; rows by solver are for `--json` and `-o`."""
        super().show(out, [row for row in rows if row["solver"] == ALL])

    def figure(self, rows: list[dict[str, Any]]) -> Figure | None:
        """Return for each fault the shares that survived, were told and were lost."""
        from matplotlib.figure import Figure

        totals = [row for row in rows if row["solver"] == ALL][::-1]
        figure = Figure(figsize=(8, 0.27 * len(totals) + 1), layout="constrained")
        axes = figure.add_subplot()
        places, left = range(len(totals)), [0.0] * len(totals)
        for what, colour in (("survived", "#4C9F70"), ("told", "#C9CED6"), ("lost", "#C0392B")):
            shares = [100 * row[what] / row["runs"] for row in totals]
            axes.barh(places, shares, left=left, color=colour, label=what)
            left = [a + b for a, b in zip(left, shares, strict=True)]
        axes.set_yticks(places, [f"{row['fault']}, {row['network']}" for row in totals])
        axes.set_xlim(0, 100)
        axes.set_ylim(-0.6, len(totals) - 0.4)
        axes.set_xlabel("% of runs, all complete solvers")
        figure.legend(loc="outside upper right", ncols=3)
        return figure


def _row(fault: str, network: str, solver: str, ends: Counter[str]) -> dict[str, Any]:
    told = sum(ends[end] for end in TOLD)
    return {
        "fault": fault, "network": network, "solver": solver, "runs": ends.total(), "survived": ends[SURVIVED],
        "told": told, "lost": ends.total() - ends[SURVIVED] - told,
        "ends": ", ".join(f"{n} {end}" for end, n in sorted(ends.items())),
    }  # fmt: skip


# Faults of the network ------------------------------------------------------------------------------------------------


def complete_solvers() -> list[str]:
    """Return the names of the registered solvers that find optima."""
    from agentsim.runtime import registry
    from agentsim.runtime.setup import find_solver

    return [name for name in registry.names("solvers") if find_solver(name)[1].complete]


def drawn(task: Task) -> tuple[Problem, str]:
    """Return a task's problem, which has at least two agents, and its network."""
    import numpy as np

    from agentsim.runtime.network import quote
    from agentsim.testing import random_problem

    rng = np.random.default_rng((task.seed, *task.fault.encode()))
    problem = random_problem(rng, max_variables=4)
    while len(problem.agents) < 2:
        problem = random_problem(rng, max_variables=4)
    fault = NETWORK_FAULTS[task.fault](rng, [quote(agent) for agent in sorted(problem.agents)])
    model = MODELS[task.seed % len(MODELS)]
    parts = [fault] if task.fault in ("burst", "priority") else [model, fault]
    return problem, "+".join([*parts, "reliable"] if task.reliable else parts)


def network_ends(task: Task) -> dict[str, str]:
    """Run every complete solver over a faulty network."""
    from agentsim.errors import SolverRefusal
    from agentsim.testing import brute_force

    problem, network = drawn(task)
    best = brute_force(problem)
    ends = {}
    for solver in complete_solvers():
        with contextlib.suppress(SolverRefusal):
            ends[solver] = end_of(problem, solver, network, task.seed, best, verifies=task.seed % VERIFIED == 0)
    return ends


def end_of(problem: Problem, solver: str, network: str, seed: int, best: float, *, verifies: bool) -> str:
    """Run a solver and return how that ended.

    Raises:
        SolverRefusal: the solver does not take the problem.
    """
    from agentsim import replay, simulate
    from agentsim.runtime.failures import AgentFailure

    try:
        result = simulate(problem, solver, seed=seed, network=network, max_messages=MAX_MESSAGES, timeout=HUNG_S)
    except AgentFailure as failure:
        return "error" if failure.agent in {*problem.agents, *problem.variables} else f"error of {failure.agent}"
    if result.limit == "timeout":
        return "hung"
    if verifies and not replay(result.log, verify=True).verified:
        return "log differs"
    if result.status == "infeasible":
        return SURVIVED if abs(best) == float("inf") else "wrongly infeasible"
    if result.status == "optimal":
        right = result.cost is not None and abs(result.cost - best) <= 1e-9 * max(1.0, abs(best))
        return SURVIVED if right else "wrong optimum"
    return result.status if result.status in TOLD else f"ended as {result.status}"


# Faults of the process ------------------------------------------------------------------------------------------------


def process_ends(task: Task) -> dict[str, str]:
    """Write a log while the disk or the process fails, and look at what is left of it."""
    import numpy as np

    from agentsim import save, simulate
    from agentsim.runtime import registry

    rng = np.random.default_rng((task.seed, *task.fault.encode()))
    kind = registry.find("generators", "random-dcop")
    problem = kind.generate(kind.Params(agents=12, d=3), task.seed)
    with TemporaryDirectory(prefix="agentsim-") as folder:
        whole, log, source = (Path(folder) / name for name in ("whole.amlog", "run.amlog", "problem.amdcop"))
        options: dict[str, Any] = {"seed": task.seed, "network": "uniform:1,10", "max_messages": 12_000}
        simulate(problem, PROCESS_SOLVER, log=whole, **options)
        most = whole.stat().st_size
        save(problem, source)
        if task.fault in ("kill -9", "Ctrl-C"):
            room = int(rng.integers(0, most))
            how = signal.SIGKILL if task.fault == "kill -9" else signal.SIGINT
            end = _signalled(source, log, room, how, options)
        else:
            room = int(rng.integers(most // 20, most))
            code = errno.ENOSPC if task.fault == "disk full" else errno.EIO
            end = _unwritable(problem, log, room, code, options)
        return {PROCESS_SOLVER: end or _left(log, whole)}


def _unwritable(problem: Problem, log: Path, room: int, code: int, options: dict[str, Any]) -> str | None:
    """Run with a disk that fails after `room` bytes; return what is wrong, or None."""
    from agentsim import simulate
    from agentsim.record.log import LogUnwritable

    try:
        with failing_disk(room, code):
            result = simulate(problem, PROCESS_SOLVER, log=log, **options)
    except LogUnwritable as failure:
        named = str(log) in str(failure) and os.strerror(code) in str(failure)
        return None if named and failure.result is not None and failure.result.status == "error" else "badly told"
    return f"{result.status} with a log that is not whole"


class _Disk(io.RawIOBase):
    """A file on a disk that fails after so many bytes."""

    def __init__(self, path: str | os.PathLike[str], room: int, code: int) -> None:
        self._file = io.FileIO(path, "wb")
        self._room, self._code = room, code

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:  # noqa: ANN401  # any buffer
        if self._room <= 0:
            raise OSError(self._code, os.strerror(self._code))
        written = self._file.write(bytes(data)[: self._room])
        self._room -= written
        return written

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._file.close()


@contextlib.contextmanager
def failing_disk(room: int, code: int) -> Iterator[None]:
    """Let logs that are opened within it be on a disk that fails with `code` after `room` bytes."""
    from agentsim.record import log as module

    def opened(path: str, mode: str, buffering: int = -1) -> Any:  # noqa: ANN401  # as `open` does
        return io.BufferedWriter(_Disk(path, room, code), buffering) if mode == "wb" else open(path, mode, buffering)

    with mock.patch.object(module, "open", opened, create=True):
        yield


def _signalled(source: Path, log: Path, room: int, how: signal.Signals, options: dict[str, Any]) -> str | None:
    """Run `agentsim solve`, send it a signal when its log has `room` bytes; return what is wrong, or None."""
    given = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    words = ["solve", str(source), "--algo", PROCESS_SOLVER, "--log", str(log), "--json", *given]
    call = [sys.executable, "-c", "from scenarios.cli import main; main()", *words]
    until = time.monotonic() + HUNG_S
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while process.poll() is None and not (log.exists() and log.stat().st_size > min(room, 1)):
            time.sleep(0.002)
        while process.poll() is None and log.stat().st_size < room and time.monotonic() < until:
            time.sleep(0.002)
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(how)
        try:
            out, complaints = process.communicate(timeout=HUNG_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return "hung"
    if b"Traceback" in complaints:
        return "traceback"
    if process.returncode == -signal.SIGKILL:
        return None if not out else "killed after it spoke"
    if process.returncode not in (3, 130):  # it may have reached its limit before
        return f"exit {process.returncode}"
    if not out and process.returncode == 130:  # before the run began
        return None
    return None if json.loads(out)["status"] in ("interrupted", "timeout") else "claims too much"


def _left(log: Path, whole: Path) -> str:
    """Return whether what is left of a log is as it should be: told, or what is wrong."""
    from agentsim import replay
    from agentsim.record.log import LogDamaged, LogReader, NotALog

    try:
        reader = LogReader(log)
        found = list(reader.records())
    except (NotALog, LogDamaged) as error:
        return type(error).__name__
    undisturbed = list(LogReader(whole).records())
    if reader.whole:
        return "told" if replay(log, verify=True).verified else "log differs"
    return "told" if found == undisturbed[: len(found)] else "log differs"


if __name__ == "__main__":
    main_of(Faults.name)
