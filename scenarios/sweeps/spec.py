"""A sweep's specification: what a TOML file says, checked as a whole before anything runs.

    name = "scaling"                    # default: the file's name
    seeds = 20                          # 0 to 19; or "5..9", or [1, 2, 5]: of the random problem and of the run alike
    runs = 1                            # runs of each problem; run 0 has the problem's seed, others one derived from it
    networks = ["unit", "uniform:1,10"]
    observers = ["vps:rule=tight"]      # attached together; a list of lists is an axis
    check-cost = 0.0                    # virtual time of a constraint check
    table = "cells.csv"                 # more cells, one row each; or a list of files

    [limits]                            # of each cell
    timeout = 60                        # seconds
    max-messages = 1000000
    max-time = 100000                   # virtual

    [[problem]]
    generator = "random-dcop"           # lists multiply, here and below
    parameters = { agents = [5, 10], p = [0.3, 0.5] }      # or { preset = "pgibbs-ising" }

    [[problem]]
    files = ["instances/*.yaml"]        # seen from the spec's folder
    privacy = { policy = ["zero", "own_min"] }             # or "off"; for problems with a privacy section

    [[solver]]
    name = ["dpop", "mb-dpop"]
    parameters = { memory = 1000000 }

    [[cell]]                            # cells written out
    problem = { generator = "dimes", parameters = { people = 4 } }         # or { file = "x.yaml" }
    solver = { name = "adopt", parameters = { order = "mcn" } }            # or "adopt"
    network = "unit"
    observers = ["disclosures"]
    seed = 3
    run = 0
    limits = { timeout = 5 }

Every [[problem]] is solved by every [[solver]], with each seed, network, set of observers and run. Cells written out
and rows of tables (columns: `scenarios.sweeps.table`) are added; what they leave out they take from the rest of the
spec: the solver that is not named is every [[solver]], and so on. A cell that is written twice is run once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from scenarios.sweeps import axes
from scenarios.sweeps.axes import MAX_CELLS, MAX_SEED, Limits, Watch
from scenarios.sweeps.choices import PROBLEM_KEYS, ProblemChoice, SolverChoice, problems, solvers
from scenarios.sweeps.document import (
    MAX_SPEC_BYTES,
    Placed,
    Section,
    amount,
    fail,
    parse_toml,
    read_text,
    text_of,
    whole,
)
from scenarios.sweeps.table import read_rows

_TOP: Final = ("name", "seeds", "runs", "networks", "observers", "check-cost", "table")
_TABLES: Final = ("limits", "problem", "solver", "cell")
_CELL: Final = ("problem", "solver", "network", "observers", "seed", "run", "limits", "check-cost")
_CELL_PROBLEM: Final = ("generator", "parameters", "file", "privacy")
_SOLVER: Final = ("name", "parameters")
_MAX_NAME: Final = 100


@dataclass(frozen=True)
class Block:
    """Cells that are the product of what they choose from: the whole grid, or one that is written out."""

    problems: Sequence[ProblemChoice]
    solvers: Sequence[SolverChoice]
    networks: Sequence[Placed]
    watches: Sequence[Watch]
    seeds: Sequence[int]
    runs: Sequence[int]
    limits: Limits
    check_cost: float

    def __len__(self) -> int:
        return (
            len(self.problems)
            * len(self.solvers)
            * len(self.networks)
            * len(self.watches)
            * len(self.seeds)
            * len(self.runs)
        )


@dataclass(frozen=True)
class Spec:
    """A checked specification.

    Args:
        name: of the sweep.
        source: the file, as it was given.
        base: its folder, from which problem files are seen.
        text: what stands in it.
        blocks: the grid, if there is one, and the cells that are written out.
    """

    name: str
    source: str
    base: Path
    text: str
    blocks: tuple[Block, ...]


def read_spec(path: str | Path) -> Spec:
    """Return the specification in a file; UserError, one line with file, place and cause, if anything is wrong."""
    file = Path(path)
    text = read_text(file, MAX_SPEC_BYTES)
    return parse_spec(text, str(path), file.parent)


def parse_spec(text: str, source: str, base: Path) -> Spec:
    """Return the specification in a text.

    Args:
        text: TOML.
        source: what it is called in complaints.
        base: folder from which its files are seen.

    Raises:
        UserError: anything in it is wrong.
    """
    top = Section(source, parse_toml(text, source), (*_TOP, *_TABLES))
    name = text_of(top.get("name") if "name" in top else Path(source).stem, top.of("name"), _MAX_NAME)
    if not name.isprintable():
        fail(top.of("name"), "has characters that cannot be shown")
    reader = _Reader(top, base)
    blocks = reader.blocks()
    cells = sum(map(len, blocks))
    if cells > MAX_CELLS:
        fail(source, f"asks for {cells:,} cells, more than {MAX_CELLS:,}")
    return Spec(name, source, base, text, tuple(blocks))


class _Reader:
    """Takes a spec apart."""

    def __init__(self, top: Section, base: Path) -> None:
        self._top, self._base = top, base
        self._misplaced = {key: "belongs at the top of the file, before the first [table]" for key in _TOP}
        self._networks = axes.networks(top.get("networks") if "networks" in top else "unit", top.of("networks"))
        self._watches = axes.watches(top.get("observers") if "observers" in top else [], top.of("observers"))
        self._seeds = axes.seeds(top.get("seeds") if "seeds" in top else 1, top.of("seeds"))
        self._runs = axes.runs(top.get("runs") if "runs" in top else 1, top.of("runs"))
        self._limits = axes.limits(
            self._section(top.of("limits"), top.get("limits") if "limits" in top else {}, axes.LIMITS)
        )
        self._check_cost = amount(top.get("check-cost") if "check-cost" in top else 0.0, top.of("check-cost"))
        self._problems = [p for where, data in top.sections("problem") for p in self._problem(where, data)]
        self._solvers = [s for where, data in top.sections("solver") for s in self._solver(where, data)]
        self._used = {"problem": False, "solver": False}

    def blocks(self) -> list[Block]:
        """Return the grid and the cells that are written out, tables last."""
        found = []
        if self._problems and self._solvers:
            self._used = {"problem": True, "solver": True}
            found.append(
                Block(
                    self._problems, self._solvers, self._networks, self._watches, self._seeds, self._runs,
                    self._limits, self._check_cost,
                )
            )  # fmt: skip
        found += [self._cell(where, data) for where, data in self._top.sections("cell")]
        tables = self._top.get("table") if "table" in self._top else []
        for i, name in enumerate(tables if isinstance(tables, list) else [tables], start=1):
            place = self._top.of("table") + (f"[{i}]" if isinstance(tables, list) else "")
            source = text_of(name, place)
            found += [self._cell(where, data) for where, data in read_rows(self._base / source, source)]
        if not found and not self._problems and not self._solvers:
            fail(self._top.where, "names nothing to run: write [[problem]] and [[solver]], [[cell]], or a table")
        for kind, other, there in (("problem", "solver", self._problems), ("solver", "problem", self._solvers)):
            if there and not self._used[kind]:
                fail(self._top.of(kind), f"is not used: there is no [[{other}]], and all cells have their own {kind}")
        return found

    def _section(self, where: str, data: object, keys: Sequence[str]) -> Section:
        return Section(where, data, keys, self._misplaced)

    def _problem(self, where: str, data: object) -> list[ProblemChoice]:
        entry = self._section(where, data, PROBLEM_KEYS)
        return problems(where, self._base, **{key: entry.get(key) for key in PROBLEM_KEYS})

    def _solver(self, where: str, data: object) -> list[SolverChoice]:
        entry = self._section(where, data, _SOLVER)
        return solvers(where, entry.get("name"), entry.get("parameters"))

    def _cell(self, where: str, data: object) -> Block:
        """Return a cell that is written out, with all that the spec has where it leaves something open."""
        entry = self._section(where, data, _CELL)
        return Block(
            self._cell_problem(entry),
            self._cell_solver(entry),
            axes.networks(self._one(entry, "network"), entry.of("network")) if "network" in entry else self._networks,
            [axes.watch(entry.get("observers"), entry.of("observers"))] if "observers" in entry else self._watches,
            (whole(entry.get("seed"), entry.of("seed"), 0, MAX_SEED),) if "seed" in entry else self._seeds,
            (whole(entry.get("run"), entry.of("run"), 0, MAX_CELLS),) if "run" in entry else self._runs,
            axes.limits(self._section(entry.of("limits"), entry.get("limits"), axes.LIMITS), self._limits)
            if "limits" in entry
            else self._limits,
            amount(entry.get("check-cost"), entry.of("check-cost")) if "check-cost" in entry else self._check_cost,
        )

    def _cell_problem(self, entry: Section) -> list[ProblemChoice]:
        where = entry.of("problem")
        if "problem" not in entry:
            self._used["problem"] = True
            return self._problems or fail(entry.where, "has no problem, and there is no [[problem]] to take")
        given = self._section(where, entry.get("problem"), _CELL_PROBLEM)
        found = {"files" if key == "file" else key: given.get(key) for key in _CELL_PROBLEM}
        return problems(where, self._base, **found, lists=False)

    def _cell_solver(self, entry: Section) -> list[SolverChoice]:
        where = entry.of("solver")
        if "solver" not in entry:
            self._used["solver"] = True
            return self._solvers or fail(entry.where, "has no solver, and there is no [[solver]] to take")
        data = entry.get("solver")
        given = self._section(where, {"name": data} if isinstance(data, str) else data, _SOLVER)
        return solvers(where, given.get("name"), given.get("parameters"), lists=False)

    @staticmethod
    def _one(entry: Section, key: str) -> Any:  # noqa: ANN401  # whatever the file says
        if isinstance(entry.get(key), list):
            fail(entry.of(key), "must be one text here")
        return entry.get(key)
