"""The tally of an exploration: which runs are done, what came of them, and the file that keeps it."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import agentsim
from agentsim.dcop.formats import dump_bytes
from agentsim.errors import UserError
from agentsim.runtime.setup import find_solver
from scenarios.exploration.checks import DEAR
from scenarios.exploration.plans import BLOCK, Account, Plan

FILE: Final = "explore.json"
FORMAT: Final = 1
MAX_FILE_BYTES: Final = 64 << 20
MAX_KEPT: Final = 100
"""Most failures of which more than the number is kept."""


def asked_of(plan: Plan) -> dict[str, Any]:
    """Return what is explored as plain data: what a folder is for."""
    problem = None
    if plan.problem is not None:
        problem = hashlib.sha256(dump_bytes(plan.problem)).hexdigest()[:16]
    return {
        "problem": problem or f"random, at most {plan.max_variables} variables and {plan.max_domain} values",
        "solvers": [find_solver(solver)[0] for solver in plan.solvers],
        "params": {name: str(value) for name, value in plan.params.items()},
        "networks": list(plan.networks),
        "seed": plan.seed,
        "max_messages": plan.max_messages,
        "timeout": plan.timeout,
    }


@dataclass
class Tally:
    """What came of all runs so far.

    Args:
        asked: what is explored, see `asked_of`.
        done: numbers of the runs that each solver has done, as [start, stop) in order.
        outcomes: how many, by (solver, family, outcome).
        checks: how many of each were made.
        messages: that solvers sent.
        cpu_seconds: that runs and checks took, of all processes together.
        seconds: that passed meanwhile.
        failures: what is told of them, the first `MAX_KEPT` of them.
    """

    asked: dict[str, Any]
    done: list[list[int]] = field(default_factory=list)
    outcomes: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    checks: Counter[str] = field(default_factory=Counter)
    messages: int = 0
    cpu_seconds: float = 0.0
    seconds: float = 0.0
    failures: list[dict[str, Any]] = field(default_factory=list)

    @property
    def runs(self) -> int:
        """How many were done."""
        return self.outcomes.total()

    def count(self, *outcomes: str) -> int:
        """Return how many runs went so."""
        return sum(n for (_, _, outcome), n in self.outcomes.items() if outcome in outcomes)

    @property
    def bad(self) -> int:
        """How many failed or hung."""
        return self.count("failed", "hung")

    def add(self, runs: range, account: Account) -> None:
        """Take in an account of some runs, which were not done before."""
        self.outcomes.update(account.outcomes)
        self.checks.update(account.checks)
        self.messages += account.messages
        self.cpu_seconds += account.seconds
        merged: list[list[int]] = []
        for start, stop in sorted([*self.done, [runs.start, runs.stop]]):
            if merged and start <= merged[-1][1]:
                merged[-1][1] = max(stop, merged[-1][1])
            else:
                merged.append([start, stop])
        self.done = merged

    def left(self, runs: int) -> list[range]:
        """Return the runs below `runs` that are to be done, each range within one block."""
        return list(self._left(runs))

    def _left(self, runs: int) -> Iterator[range]:
        at = 0
        for start, stop in [*self.done, [runs, runs]]:
            while at < min(start, runs):
                end = min(at - at % BLOCK + BLOCK, start, runs)
                yield range(at, end)
                at = end
            at = max(at, stop)

    def by(self, part: int) -> dict[str, dict[str, int]]:
        """Return counts of outcomes by solver (0) or family (1)."""
        found: dict[str, dict[str, int]] = {}
        for key, n in self.outcomes.items():
            row = found.setdefault(key[part], dict.fromkeys(("runs", "failed", "hung", "told", "refused"), 0))
            row["runs"] += n
            if key[2] in row:
                row[key[2]] += n
        return found

    def to_json(self) -> dict[str, Any]:
        """Return the keys of `agentsim explore --json`."""
        return {
            "runs": self.runs,
            "failed": self.count("failed"),
            "hung": self.count("hung"),
            "told": self.count("told"),
            "refused": self.count("refused"),
            "first_failure": self.failures[0] if self.failures else None,
            "solvers": self.by(0),
            "families": self.by(1),
            "checks": dict(self.checks),
            "sampled": dict(DEAR),
            "messages": self.messages,
            "seconds": round(self.seconds, 3),
            "cpu_seconds": round(self.cpu_seconds, 3),
            "failures": self.failures,
            "asked": self.asked,
        }

    def write(self, folder: Path) -> None:
        """Keep it in a folder: whoever reads there finds this tally or the one before.

        Raises:
            UserError: it cannot be written.
        """
        kept = {
            "format": FORMAT,
            "version": agentsim.__version__,
            "asked": self.asked,
            "done": self.done,
            "outcomes": [[*key, n] for key, n in sorted(self.outcomes.items())],
            "checks": dict(self.checks),
            "messages": self.messages,
            "cpu_seconds": self.cpu_seconds,
            "seconds": self.seconds,
            "failures": self.failures,
        }
        path, new = folder / FILE, folder / f"{FILE}.new"
        try:
            with new.open("w", encoding="utf-8") as file:
                json.dump(kept, file, indent=1, allow_nan=False)
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)
        except OSError as error:
            raise UserError(f"{path}: cannot be written: {error.strerror or error}") from None

    @classmethod
    def read(cls, folder: Path, asked: Mapping[str, Any]) -> Tally:
        """Return what a folder keeps, an empty tally if that is nothing.

        Raises:
            UserError: it is of another exploration, or no tally.
        """
        path = folder / FILE
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise UserError(f"{path}: more than {MAX_FILE_BYTES} bytes, which is no tally")
            kept = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            return cls(dict(asked))
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
        except (ValueError, RecursionError):
            raise UserError(f"{path}: is damaged; use another folder") from None
        try:
            tally = cls._decoded(kept)
        except (ArithmeticError, LookupError, TypeError, ValueError):
            raise UserError(f"{path}: is no tally of this version; use another folder") from None
        for key, value in asked.items():
            if tally.asked.get(key) != value:
                raise UserError(
                    f"{folder}: holds another exploration, of {key} {_shown(tally.asked.get(key))} and not "
                    f"{_shown(value)}; use another folder"
                )
        return tally

    @classmethod
    def _decoded(cls, kept: Any) -> Tally:  # noqa: ANN401  # whatever is in the file
        if kept["format"] != FORMAT:
            raise ValueError
        done = [[int(start), int(stop)] for start, stop in kept["done"]]
        if done != sorted(done) or any(not 0 <= start < stop for start, stop in done):
            raise ValueError
        failures = [dict(failure) for failure in kept["failures"]]
        if any(not isinstance(failure.get(key), str) for failure in failures for key in ("command", "why", "solver")):
            raise ValueError
        return cls(
            asked=dict(kept["asked"]),
            done=done,
            outcomes=Counter({(str(a), str(b), str(c)): int(n) for a, b, c, n in kept["outcomes"]}),
            checks=Counter({str(name): int(n) for name, n in kept["checks"].items()}),
            messages=int(kept["messages"]),
            cpu_seconds=float(kept["cpu_seconds"]),
            seconds=float(kept["seconds"]),
            failures=failures,
        )


def _shown(value: object) -> str:
    shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    shown = shown or "none"
    return shown if len(shown) <= 60 else f"{shown[:60]}..."
