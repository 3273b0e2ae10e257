"""What experiments keep: every result survives being written down, and runs leave their rows with their origin."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_type_hints

import pytest

pytest.importorskip("pyarrow")
from agentsim.record.results import load_results
from agentsim.runtime import registry
from scenarios.executors import Serial
from scenarios.experiments.base import Experiment, Options, reproduce
from scenarios.sweeps.plain import decode, encode

ELSEWHERE = {"pgibbs-epsilon"}
"""Takes seconds, and is run and kept in its own tests."""

CHOSEN = {
    "dpcop-example": (0, 1, 34, -1),
    "dpcop-solvers": (-1,),
    "pgibbs-figure4": (0,),
    "private-frontier": (20,),
    "vps-examples": (0, 1, 2, 3),
    "vps-gaps": (3,),
}
"""Tasks that are quick, and one of each kind where results differ in kind; the last one of the others."""


def brief(task: Any) -> Any:
    """Return a task with one run of several."""
    runs = getattr(task, "runs", 1)
    if not hasattr(task, "_replace") or runs == 1:
        return task
    return task._replace(runs=runs[:1] if isinstance(runs, tuple) else 1)


def kind(task: Any) -> object:
    return getattr(task, "part", None)


@pytest.mark.parametrize("name", sorted(set(registry.names("experiments")) - ELSEWHERE))
def test_results_and_rows_survive_being_written(name: str) -> None:
    experiment: Experiment = registry.find("experiments", name)(Options(instances=1))
    tasks = experiment.tasks()
    chosen = {i % len(tasks): experiment.run_task(brief(tasks[i])) for i in CHOSEN.get(name, (-1,))}
    read = {i: decode(encode(result), get_type_hints(experiment.run_task)["return"]) for i, result in chosen.items()}
    assert read == chosen

    def rows(found: dict[int, Any]) -> list[dict[str, Any]]:
        results = [
            found.get(i, next((r for c, r in found.items() if kind(tasks[c]) == kind(task)), None))
            for i, task in enumerate(tasks)
        ]
        return experiment.rows(results)

    assert rows(read) == rows(chosen)


class Stopped(Serial):
    """Ends as by Ctrl-C after some results, and counts what it was given."""

    def __init__(self, after: int | None = None) -> None:
        self.given = 0
        self.after = after

    def map(
        self, function: Callable[[Any], Any], tasks: Sequence[Any], *, died: Any = None
    ) -> Iterator[tuple[int, Any]]:
        self.given = len(tasks)
        for done, found in enumerate(super().map(function, tasks, died=died), start=1):
            yield found
            if done == self.after:
                raise KeyboardInterrupt


def test_an_interrupted_experiment_goes_on(tmp_path: Path) -> None:
    experiment: Experiment = registry.find("experiments", "vps-table2")(Options(instances=1))
    said: list[str] = []
    seen: list[tuple[int, int, int]] = []
    whole = reproduce(experiment, Serial())
    with pytest.raises(KeyboardInterrupt):
        reproduce(experiment, Stopped(5), folder=tmp_path, tell=said.append)
    assert said == []
    rest = Stopped()
    found = reproduce(experiment, rest, lambda *told: seen.append(told), tmp_path, said.append)
    assert (found, rest.given, said) == (whole, 11, ["5 of 16 cells are there already"])
    assert (seen[0], seen[-1]) == ((5, 16, 0), (16, 16, 0))
    more: Experiment = registry.find("experiments", "vps-table2")(Options(instances=1, seed=7))
    reproduce(more, others := Stopped(), folder=tmp_path)
    assert others.given == 16, "other instances are other cells"
    results = load_results(tmp_path)
    assert (len(results.cell), len(results.run)) == (32, 32)
    assert set(results.run["generator"]) == {"dimes"}
    assert set(results.run["problem_seed"]) == {0, 7}
    assert set(results.run["solver"]) == {"adopt", "bnb-adopt", "dpop", "synchbb"}
    assert results.about["name"] == "vps-table2"
