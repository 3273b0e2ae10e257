"""What an experiment is: independent tasks, and rows and sentences made of their results.

An experiment is a module with a class, registered under the entry point group `agentsim.experiments`. The first line
of the module's docstring is what `agentsim list experiments` shows. Results must depend on tasks alone, never on the
process that ran them or on when they finished.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, get_type_hints

from scenarios.executors import Executor
from scenarios.sweeps.engine import Progress, run_cells

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Console


@dataclass(frozen=True)
class Options:
    """What the command line gives to an experiment.

    Args:
        instances: how many random problems of each kind; None for the experiment's default.
        full: whether to do all that the paper did, however long it takes.
        seed: of every random draw.
    """

    instances: int | None = None
    full: bool = False
    seed: int = 0


class Experiment(ABC):
    """Base class of experiments.

    Attributes:
        name: as registered.
        columns: keys of rows to show, in order. A row may have more, which `--json` and `-o` give.
        key_columns: how many of the columns, from the left, are text.
    """

    name: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]
    key_columns: ClassVar[int]

    def __init__(self, options: Options) -> None:
        self.options = options

    @abstractmethod
    def tasks(self) -> Sequence[Any]:
        """Return the tasks: plain data, each with all that `run_task` needs, seeds included.

        Tasks that are equal are done once. A result that is kept is found by its task alone, so that a task that cannot
        be done here, for want of an extra, is left out rather than given an empty result.
        """

    @staticmethod
    @abstractmethod
    def run_task(task: Any) -> Any:  # noqa: ANN401  # each experiment has its own tasks and results
        """Return the result of a task: plain data, of the type that is declared. Runs in a worker process.

        What `scenarios.sweeps.recording.simulate` runs in it is kept with the result.
        """

    @abstractmethod
    def rows(self, results: Sequence[Any]) -> list[dict[str, Any]]:
        """Return the rows of the table from the results, which are in the order of the tasks."""

    def notes(self, rows: list[dict[str, Any]]) -> list[str]:
        """Return sentences: how our numbers compare with the paper's, what differs from its set-up."""
        del rows
        return []

    def figure(self, rows: list[dict[str, Any]]) -> Figure | None:
        """Return a picture of the rows; needs matplotlib (extra `report`). None where a table says it all."""
        del rows
        return None

    def show(self, out: Console, rows: list[dict[str, Any]]) -> None:
        """Show the rows to a person: a table of `columns`, unless an experiment knows better."""
        from scenarios.screen import table

        heads = [column.replace("_", " ") for column in self.columns]
        out.print(table(heads, ([row.get(c) for c in self.columns] for row in rows), left=self.key_columns))


@dataclass(frozen=True)
class Outcome:
    """What an experiment found."""

    experiment: str
    rows: list[dict[str, Any]]
    notes: list[str]

    def to_json(self) -> dict[str, Any]:
        """Return the keys of `agentsim reproduce --json`, infinities as strings."""
        from agentsim.runtime.result import jsonable

        found: dict[str, Any] = jsonable({"experiment": self.experiment, "rows": self.rows, "notes": self.notes})
        return found


def reproduce(
    experiment: Experiment,
    executor: Executor,
    progress: Progress | None = None,
    folder: Path | None = None,
    tell: Callable[[str], None] | None = None,
) -> Outcome:
    """Run an experiment.

    Args:
        experiment: which.
        executor: where its tasks run.
        progress: told how many tasks are done, how many there are, and that none failed.
        folder: where to keep what each task results in; one that is kept there is not run again. None keeps nothing.
        tell: told, in sentences, what was there already and what of it is damaged.
    """
    begun = False

    def told(done: int, total: int, failed: int) -> None:
        nonlocal begun
        if not begun and done and tell is not None:
            tell(f"{done:,} of {total:,} cells are there already")
        begun = True
        if progress is not None:
            progress(done, total, failed)

    results = run_cells(
        experiment.run_task,
        experiment.tasks(),
        name=experiment.name,
        executor=executor,
        folder=folder,
        about={"options": asdict(experiment.options)},
        progress=told,
        result_type=get_type_hints(experiment.run_task).get("return"),
        tell=tell,
    )
    rows = experiment.rows(results)
    return Outcome(experiment.name, rows, experiment.notes(rows))


def main_of(name: str) -> None:
    """Run the registered experiment `name` with the options of this process, as `agentsim reproduce` does.

    For `if __name__ == "__main__"` of an experiment's module. It is found by its name rather than given: worker
    processes cannot import what is defined in `__main__`.
    """
    from scenarios.cli import main

    main(["reproduce", name, *sys.argv[1:]], prog_name="agentsim")
