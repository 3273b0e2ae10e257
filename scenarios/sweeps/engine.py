"""Running cells: independent calls of one function, over any executor, each finished once and kept.

A cell is one call `function(task)`. With a folder, what it returns and the rows of its runs (see `recording`) are kept
under a key that depends on the name and the task alone; a cell that is kept already is not run again. What is finished
is written every few seconds, and whatever ends the work, Ctrl-C as well.

Tasks and results are plain data (see `plain`). A result is what was read back from what is kept, even if it was
computed just now: work that is resumed cannot differ from work that was not.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from agentsim.errors import UserError
from agentsim.record.results_parts import Cell, Rows
from scenarios.executors import Executor, WorkerDied
from scenarios.sweeps.plain import canonical, decode, encode, key_of
from scenarios.sweeps.recording import recording, run_row, status_of, words_of

if TYPE_CHECKING:
    from agentsim.record.results_store import Kept, Store

T = TypeVar("T")
R = TypeVar("R")
Progress = Callable[[int, int, int], None]
"""Told how many cells are done (failed ones among them), how many there are, how many failed."""


@dataclass(frozen=True)
class Failure:
    """Stands for the result of a cell that failed.

    Args:
        error: the exception in one line, or how the worker died.
        traceback: as text; "" where there is none.
    """

    error: str
    traceback: str = ""


class _Ended(NamedTuple):
    """How a cell ended: its result (as JSON if it is kept), or its failure; and what it leaves."""

    result: Any
    failure: Failure | None
    status: str
    seconds: float
    rows: Rows


@dataclass(frozen=True)
class _Call(Generic[T]):
    """A cell's function as a worker calls it."""

    function: Callable[[T], Any]
    kept: bool
    keep_failures: bool

    def __call__(self, task: T) -> _Ended:
        began = time.perf_counter()
        with recording(self.kept) as recorder:
            try:
                result: Any = self.function(task)
                if self.kept:
                    result = encode(result)
            except Exception as error:
                if not self.keep_failures:
                    raise
                failure = Failure(words_of(error), "".join(traceback.format_exception(error)))
                return _Ended(None, failure, status_of(error), time.perf_counter() - began, recorder.rows)
        return _Ended(result, None, "", time.perf_counter() - began, recorder.rows)


def run_cells(
    function: Callable[[T], R],
    tasks: Sequence[T],
    *,
    name: str,
    executor: Executor,
    folder: Path | None = None,
    about: Mapping[str, Any] | None = None,
    keep_failures: bool = False,
    progress: Progress | None = None,
    result_type: Any = None,  # noqa: ANN401  # what msgspec reads: a class, or a form such as list[int]
    retry_failed: bool = False,
    provenance: Callable[[T], Mapping[str, Any]] | None = None,
    tell: Callable[[str], None] | None = None,
) -> list[R | Failure]:
    """Return what comes of each task, in order.

    Args:
        function: what to call; one that a worker can import.
        tasks: plain data. With a folder, tasks that are equal as data are one cell.
        name: of what is run; it is part of the cells' keys.
        executor: where to run.
        folder: where to keep results and rows, and to take finished cells from; None keeps nothing.
        about: what else `about.json` should say; `kind` is "experiment" unless given here.
        keep_failures: an exception of a cell, or the death of its workers, becomes a `Failure`. Otherwise it is
            raised, once what is finished is kept, and failures that were kept before are run again.
        progress: told of each finished cell.
        result_type: what results are read back as; None for lists, dicts, text and numbers.
        retry_failed: run cells again whose failure was kept.
        provenance: columns of the table `run` for a task (solver, seed, ...): of the row that stands for a cell that
            failed without a run.
        tell: told of each part that was damaged, in a sentence.

    Raises:
        UserError: the folder is of something else, in use, or has results that are no `result_type`; or it cannot be
            written.
        WorkerDied, and whatever a cell raises: unless failures are kept.
    """
    if folder is None:
        return _run_bare(function, tasks, executor, keep_failures, progress)
    from agentsim.record.results_store import Store

    with Store(folder, {"kind": "experiment", "name": name, **(about or {})}) as store:
        for note in store.notes:
            if tell is not None:
                tell(note)
        keys = [key_of(name, task) for task in tasks]
        found: dict[str, R | Failure] = {}
        for key in dict.fromkeys(keys):
            kept = store.done.get(key)
            if kept is not None and (kept.status == "done" or (keep_failures and not retry_failed)):
                found[key] = _read(kept, result_type, store)
        of_key = {key: task for key, task in zip(keys, tasks, strict=True) if key not in found}
        left, total = list(of_key), len(found) + len(of_key)
        failed = sum(isinstance(f, Failure) for f in found.values())
        if progress is not None:
            progress(len(found), total, failed)
        call = _Call(function, kept=True, keep_failures=keep_failures)
        for index, ended in executor.map(call, list(of_key.values()), died=_died if keep_failures else None):
            key = left[index]
            if ended.failure is None:
                found[key] = decode(ended.result, result_type)
            else:
                found[key] = ended.failure
                failed += 1
            store.add(key, _cell(of_key[key], ended, provenance))
            if progress is not None:
                progress(len(found), total, failed)
    return [found[key] for key in keys]


def _run_bare(
    function: Callable[[T], R], tasks: Sequence[T], executor: Executor, keep_failures: bool, progress: Progress | None
) -> list[R | Failure]:
    found: list[Any] = [None] * len(tasks)
    failed = 0
    if progress is not None:
        progress(0, len(tasks), 0)
    call = _Call(function, kept=False, keep_failures=keep_failures)
    ends = executor.map(call, tasks, died=_died if keep_failures else None)
    for done, (index, ended) in enumerate(ends, start=1):
        found[index] = ended.result if ended.failure is None else ended.failure
        failed += ended.failure is not None
        if progress is not None:
            progress(done, len(tasks), failed)
    return found


def _died(index: int, error: WorkerDied) -> _Ended:
    del index  # whose cell is known
    return _Ended(None, Failure(f"{type(error).__name__}: {error.how}"), "died", 0.0, {})


def _cell(task: T, ended: _Ended, provenance: Callable[[T], Mapping[str, Any]] | None) -> Cell:
    text = canonical(task)
    failure = ended.failure
    if failure is None:
        return Cell(text, "done", None, ended.result, ended.seconds, ended.rows)
    rows = ended.rows
    if not rows.get("run"):
        columns = {**(provenance(task) if provenance is not None else {}), "status": ended.status}
        rows = {**rows, "run": [(0, *run_row({**columns, "error": failure.error}))]}
    return Cell(text, "failed", failure.error, encode({"traceback": failure.traceback}), ended.seconds, rows)


def _read(kept: Kept, result_type: Any, store: Store) -> Any:  # noqa: ANN401
    try:
        if kept.status == "failed":
            return Failure(kept.error or "", str(decode(kept.result or "{}").get("traceback", "")))
        return decode(kept.result or "null", result_type)
    except (ValueError, AttributeError) as error:
        raise UserError(
            f"{store.folder}: has a result of another form, of version {kept.version} ({error}); use another folder"
        ) from None
