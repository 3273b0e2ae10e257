"""Writing a folder of results: cells as they finish, in parts that are whole or not there.

A thread of the store's own writes what is waiting, every two seconds at first and less often as time goes on, so that a
cell that takes hours does not hold back those that finished before it, and Ctrl-C, which interrupts the main thread
alone, finds no half-written part.
"""

from __future__ import annotations

import json
import os
import queue
import stat
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, NamedTuple, Self

import agentsim
from agentsim.errors import UserError
from agentsim.record.results_parts import (
    TABLES,
    Cell,
    Damaged,
    damaged_numbers,
    part_numbers,
    part_path,
    read_part,
    schema,
    sync_folder,
    unfinished,
    write_part,
)

FORMAT: Final = "agentsim results"
FORMAT_VERSION: Final = 1
MOST_TEXT: Final = 2**26
"""What `about.json`, and a task or a result as JSON, may hold, in bytes."""

_LEAST_PAUSE_S: Final = 2.0
_MOST_PAUSE_S: Final = 60.0
_SHARE: Final = 0.02
_MOST_WAITING: Final = 50_000


class Kept(NamedTuple):
    """What is known of a finished cell.

    Args:
        status: "done" or "failed".
        error: why it failed, or None.
        result: as JSON; None for cells that were finished since the store was opened.
        version: that ran it.
    """

    status: str
    error: str | None
    result: str | None
    version: str


class Store:
    """A folder of results, open for writing. A context manager.

    Opening it removes what a killed writer left, and moves damaged parts to `damaged/`: their cells are then not among
    `done`, and will be run again.

    Args:
        folder: where; made if need be.
        about: what is run: "kind" ("sweep" or "experiment"), "name", and whatever else tells of it, as plain data.

    Attributes:
        done: what is known of each finished cell, by key.
        notes: a sentence on each part that was damaged, and on a lock that could not be had.

    Raises:
        UserError: the folder holds something else, or another process is writing there.
    """

    def __init__(self, folder: str | os.PathLike[str], about: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        self.done: dict[str, Kept] = {}
        self.notes: list[str] = []
        self._waiting: list[tuple[str, Cell]] = []
        self._rows = 0
        self._next = 1
        self._error: BaseException | None = None
        self._requests: queue.SimpleQueue[threading.Event | None] = queue.SimpleQueue()
        schema("cell")  # the complaint that pyarrow is missing comes before anything is made
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(self.folder, self.notes)
        except OSError as error:
            raise UserError(f"{self.folder}: cannot write there: {error.strerror}") from None
        try:
            self._introduce(about)
            self._clear()
        except OSError as error:
            self._lock.close()
            raise UserError(f"{error.filename or self.folder}: cannot write there: {error.strerror}") from None
        except BaseException:
            self._lock.close()
            raise
        self._opened = self._written = time.monotonic()
        self._thread = threading.Thread(target=self._work, name="agentsim results", daemon=True)
        self._thread.start()

    def add(self, key: str, cell: Cell) -> None:
        """Take a finished cell in; it is on disk some seconds later, or after `flush`.

        Raises:
            UserError: what was added before could not be written.
            ValueError: the cell is done already, its JSON is too large, or the store is closed.
        """
        self._check()
        before = self.done.get(key)
        if before is not None and before.status == "done":
            raise ValueError(f"cell {key} is done already")
        if len(cell.task) + len(cell.result or "") > MOST_TEXT:
            raise ValueError(f"cell {key}: its task and result have more than {MOST_TEXT} characters as JSON")
        self.done[key] = Kept(cell.status, cell.error, None, agentsim.__version__)
        self._waiting.append((key, cell))
        self._rows += sum(map(len, cell.rows.values()))
        if self._rows >= _MOST_WAITING:
            self._rows = 0
            self._requests.put(threading.Event())

    def flush(self) -> None:
        """Write what is waiting, and return when it is on disk; UserError if it cannot be written."""
        self._check()
        written = threading.Event()
        self._requests.put(written)
        written.wait()
        self._check()

    def close(self) -> None:
        """Write what is waiting and let others write; UserError if it cannot be written."""
        if self._lock.closed:
            return
        self._requests.put(None)
        self._thread.join()  # if this is interrupted, the lock stays until the process ends, as the thread may write
        self._lock.close()
        if self._error is not None:
            raise self._error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error
        if self._lock.closed:
            raise ValueError(f"{self.folder}: is closed")

    def _work(self) -> None:
        """Write every now and then, and when told to. Runs in a thread."""
        while True:
            pause = min(max(_LEAST_PAUSE_S, _SHARE * (self._written - self._opened)), _MOST_PAUSE_S)
            written: threading.Event | None
            try:
                written = self._requests.get(timeout=max(0.0, self._written + pause - time.monotonic()))
            except queue.Empty:
                written = threading.Event()
            try:
                self._write()
                self._error = None
            except OSError as error:  # the main thread hears of it
                self._error = UserError(f"{self.folder}: cannot write there: {error.strerror or error}")
            except Exception as error:
                self._error = error
            self._written = time.monotonic()
            if written is None:
                return
            written.set()

    def _write(self) -> None:
        cells = self._waiting[:]
        if not cells:
            return
        number, self._next = self._next, self._next + 1
        write_part(self.folder, number, cells, agentsim.__version__)
        del self._waiting[: len(cells)]  # the main thread may have added more by now

    def _introduce(self, about: Mapping[str, Any]) -> None:
        """Write about.json; UserError if the folder is about something else."""
        from agentsim.runtime.result import jsonable  # which has a reader of logs, which is next to this

        path = self.folder / "about.json"
        found = read_about(self.folder) if path.exists() or path.is_symlink() else None
        if found is None:
            for table in TABLES:
                if (self.folder / table).exists():
                    raise UserError(f"{self.folder}: has {table!r} in it, which is not of results; use another folder")
        elif (found.get("kind"), found.get("name")) != (about.get("kind"), about.get("name")):
            was, wanted = (f"{a.get('kind')} {a.get('name')!r}" for a in (found, about))
            raise UserError(f"{self.folder}: holds results of {was}, not of {wanted}; use another folder")
        first = {"format": FORMAT, "format_version": FORMAT_VERSION, "version": agentsim.__version__}
        if found is not None and isinstance(found.get("version"), str):
            first["version"] = found["version"]
        told = jsonable({**about, **first})
        if told != found:
            new = self.folder / ".about.json.new"
            with new.open("w", encoding="utf-8") as file:
                json.dump(told, file, indent=2)
                file.flush()
                os.fsync(file.fileno())
            os.replace(new, path)
        for table in TABLES:
            place = self.folder / table
            if place.is_symlink():  # what is found there would be cleared away
                raise UserError(f"{place}: is a link to somewhere else; use another folder")
            place.mkdir(exist_ok=True)
        sync_folder(self.folder)

    def _clear(self) -> None:
        """Look through all parts; put away what is damaged, remove what was not finished."""
        numbers = part_numbers(self.folder, "cell")
        for path in unfinished(self.folder, numbers):
            path.unlink()
        for number in numbers:
            try:
                part = read_part(self.folder, number)
            except Damaged as damage:
                self._put_away(number)
                self.notes.append(f"{damage}; part {number} was moved to damaged/, its cells are run again")
                continue
            for key, (_, _, status, error, result, _, version) in part.cells.items():
                before = self.done.get(key)
                if before is None or before.status == "failed":
                    self.done[key] = Kept(status, error, result, version)
        self._next = max([0, *numbers, *damaged_numbers(self.folder)]) + 1

    def _put_away(self, number: int) -> None:
        damaged = self.folder / "damaged"
        if damaged.is_symlink():
            raise UserError(f"{damaged}: is a link to somewhere else; use another folder")
        damaged.mkdir(exist_ok=True)
        for table in sorted(TABLES, key="cell".__ne__):  # the cells first: without them the part does not count
            place = part_path(self.folder, table, number)
            if place.exists() or place.is_symlink():
                os.replace(place, damaged / f"{table}-{place.name}")


def read_about(folder: Path) -> dict[str, Any]:
    """Return what `about.json` of a folder says; UserError if the folder is not one of results."""
    path = folder / "about.json"
    try:
        found = os.lstat(path)
        if not stat.S_ISREG(found.st_mode) or found.st_size > MOST_TEXT:
            raise ValueError
        about = json.loads(path.read_text("utf-8"))
        if not isinstance(about, dict) or about.get("format") != FORMAT:
            raise ValueError
    except FileNotFoundError:
        raise UserError(f"{folder}: is not a folder of results (it has no about.json)") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise UserError(f"{path}: is not about a folder of results") from None
    if about.get("format_version") != FORMAT_VERSION:
        raise UserError(f"{path}: format {about.get('format_version')!r} is of another version of agentsim")
    return about


def _lock(folder: Path, notes: list[str]) -> IO[str]:
    """Return the open file whose lock keeps other writers out; the system releases it when this process ends."""
    file = (folder / ".lock").open("a+", encoding="utf-8")
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(1 << 20)  # what is locked cannot be read, and others want to read who holds it
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        file.seek(0)
        holder = file.read(20).strip()
        file.close()
        who = f"process {holder}" if holder.isdigit() else "another process"
        raise UserError(f"{folder}: {who} is writing there") from None
    except OSError:  # a file system without locks, as some clusters have
        notes.append(f"{folder}: files cannot be locked there; see to it that only one process writes")
    file.seek(0)
    file.truncate()
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file
