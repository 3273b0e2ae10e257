"""Tasks on a cluster of machines, or a small one on this machine, through dask.distributed (extra `sweep`).

What a chunk of tasks is, and how results and exceptions travel, is the same as in a pool (`chunks`); dask moves bytes.
Workers may join and leave in the midst.

Left to itself dask would run what a dead worker had been given elsewhere, and after some deaths give up all of that,
whether a task was to blame or had only been waiting in line there. So each chunk is bound to a worker, and what that
had when it died is known. Those tasks are then suspects: each is run by a worker that has nothing else, and only one
that was alone with its worker when that died is held to account.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import queue
import subprocess
import sys
import tempfile
import time
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from pkgutil import resolve_name
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

from agentsim import __version__
from agentsim.errors import UserError
from scenarios.executors.chunks import CHUNK_S, Answer, Work, work_off
from scenarios.executors.local import SCRIPT
from scenarios.executors.seam import ClusterGone, WorkerDied, cores

T = TypeVar("T")
R = TypeVar("R")
Landed = tuple[list[tuple[int, R]], BaseException | None]
"""Results of a chunk with their indices, and an exception that is to be raised after these are handed over."""
Client = Any  # distributed.Client and distributed.Future: half of their methods have no types
Future = Any

_CONNECT_S: Final = 5.0
_START_S: Final = 60.0  # of a local cluster: seconds, more on a machine that is busy
_END_S: Final = 10.0
_POLL_S: Final = 0.05
_LOOK_S: Final = 0.25  # how often to look who joined or left
_RATE: Final = 100  # chunks a second, of the many more that a scheduler can do
_AHEAD: Final = 2  # chunks per thread of a worker: one that runs, one that waits there
_VERSION: Final = f"{__name__}:__version__"


class Dask:
    """Runs tasks in the workers of a dask cluster.

    Args:
        scheduler: `local` for a cluster of processes of its own, or the address of a scheduler.
        workers: of a local cluster: how many, one for each core by default.
        tell: is given sentences for the user: where the dashboard is, what the cluster lacks.
    """

    def __init__(self, scheduler: str, workers: int | None = None, tell: Callable[[str], None] | None = None) -> None:
        self.scheduler = scheduler
        self.workers = cores() if workers is None else workers
        self._tell = tell or (lambda words: None)
        self._open = ExitStack()
        self._client: Client | None = None
        self._mapping = False

    def __enter__(self) -> Self:
        if find_spec("distributed") is None:
            raise UserError("--scheduler needs dask: pip install 'agentsim[sweep]'")
        with ExitStack() as stack:
            stack.enter_context(_quiet())
            if self.scheduler == "local":
                address, dashboard = stack.enter_context(_local_cluster(self.workers))
            else:
                address, dashboard = self.scheduler, None
            self._client = stack.enter_context(_client(address, self._tell))
            if dashboard := dashboard or self._client.dashboard_link:
                self._tell(f"dashboard of the cluster: {dashboard}")
            self._open = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client = None
        self._open.close()

    def map(
        self,
        function: Callable[[T], R],
        tasks: Sequence[T],
        *,
        died: Callable[[int, WorkerDied], R] | None = None,
    ) -> Iterator[tuple[int, R]]:
        """Yield (index, result) for every task as they finish; see `Executor.map`.

        Tasks that are under way when this ends early cannot be stopped on a cluster of others: their results are
        dropped.
        """
        if self._client is None:
            raise RuntimeError("enter the executor first: with Dask(...) as executor")
        if self._mapping:
            raise RuntimeError("an executor runs one map at a time")
        self._mapping = True
        flight = _Flight(self._client, Work(function, tasks, 1, died), self._tell)
        try:
            busy = flight.launch()
            while busy:
                landed = flight.landed()
                busy = flight.launch()  # before we are away, who knows for how long
                for found, error in landed:
                    yield from found
                    if error is not None:
                        raise error
        finally:
            self._mapping = False
            flight.end()


@dataclass(frozen=True)
class _Chunk:
    """A chunk that a worker has."""

    span: range
    worker: str
    future: Future


class _Flight(Generic[T, R]):
    """The chunks of a `map` that workers have: not many more than these have threads.

    Each worker is asked at first which version of agentsim it has, by a function that any Python has: a worker that
    cannot find the function of a chunk breaks its connection, and nobody would learn why.
    """

    def __init__(self, client: Client, work: Work[T, R], tell: Callable[[str], None]) -> None:
        self._client = client
        self._work = work
        self._tell = tell
        self._names = (f"agentsim-{uuid.uuid4().hex}-{i}" for i in count())
        self._chunks: dict[str, _Chunk] = {}  # by key, in the order of submission
        self._threads: dict[str, int] = {}  # by the address of each living worker
        self._asked: dict[str, tuple[str, Future]] = {}  # for its version, by key: the worker
        self._ready: set[str] = set()  # workers that have answered
        self._alone = False  # whether the user knows that there are no workers
        self._suspects: set[int] = set()
        self._landed: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._looked = -math.inf
        self._versions = {__version__}

    def launch(self) -> bool:
        """Submit chunks, as many as there is room for; return whether anything is under way or left to do."""
        if time.monotonic() - self._looked > _LOOK_S:
            self._look()
        ready = {worker: wide for worker, wide in self._threads.items() if worker in self._ready}
        threads = sum(ready.values())
        deep = _AHEAD if self._work.quick else 1
        self._work.hands = deep * max(1, threads)
        self._work.seconds = max(CHUNK_S, threads / _RATE)
        has = Counter(chunk.worker for chunk in self._chunks.values())
        alone = {chunk.worker for chunk in self._chunks.values() if chunk.span.start in self._suspects}
        for depth in range(1, deep + 1):
            for worker, wide in ready.items():
                while worker not in alone and has[worker] < depth * wide and (span := self._work.next()):
                    if span.start in self._suspects:
                        if has[worker]:
                            self._work.put_back(span)
                            break
                        alone.add(worker)
                    self._submit(span, worker)
                    has[worker] += 1
        return bool(self._chunks) or self._work.waits

    def landed(self) -> list[Landed[R]]:
        """Wait a moment for chunks; return the results of each with their indices, and the exception that is in it."""
        found: list[Landed[R]] = []
        with suppress(queue.Empty):
            key, what = self._landed.get(timeout=_LOOK_S)
            while True:
                if key in self._asked:
                    found += self._hear(self._asked.pop(key)[0], what)
                elif key in self._chunks:  # it was not given up meanwhile
                    found.append(self._read(key, what))
                key, what = self._landed.get_nowait()
        gone = {chunk.worker for chunk in self._chunks.values()} - self._threads.keys()
        return found + [self._bury(worker) for worker in gone]

    def end(self) -> None:
        """Give up what is under way."""
        futures = [chunk.future for chunk in self._chunks.values()] + [future for _, future in self._asked.values()]
        self._chunks.clear()
        self._asked.clear()
        if futures:
            with suppress(Exception):  # of a cluster that is gone
                self._client.cancel(futures)

    def _look(self) -> None:
        """See which workers there are, and ask those that are new."""
        self._looked = time.monotonic()
        before = self._threads.keys()
        try:
            self._threads = self._client.nthreads()
        except OSError:
            raise self._gone() from None
        self._ready &= self._threads.keys()
        for worker in self._threads.keys() - before:
            future = self._send(resolve_name, _VERSION, worker)
            self._asked[future.key] = worker, future
        if not self._threads and not self._alone:
            self._tell(f"{_address(self._client)}: no workers are there; waiting for them")
        self._alone = not self._threads

    def _submit(self, span: range, worker: str) -> None:
        future = self._send(work_off, self._work.pack(span), worker)
        self._chunks[future.key] = _Chunk(span, worker, future)

    def _send(self, function: Callable[[Any], Any], argument: object, worker: str) -> Future:
        future = self._client.submit(
            function,
            argument,
            key=next(self._names),
            workers=[worker],
            allow_other_workers=False,
            pure=False,
        )
        self._client.loop.add_callback(self._fetch, future)
        return future

    async def _fetch(self, future: Future) -> None:
        """Wait for a chunk and fetch what came of it. Runs in the client's thread."""
        try:
            self._landed.put((future.key, await self._client.gather(future, asynchronous=True)))
        except (Exception, asyncio.CancelledError) as error:
            self._landed.put((future.key, error))

    def _hear(self, worker: str, what: Any) -> list[Landed[R]]:  # noqa: ANN401  # version, or an exception
        """Take a worker's version in; return the exception, if it is one."""
        from distributed import KilledWorker

        if worker not in self._threads or isinstance(what, KilledWorker):
            return []
        if isinstance(what, BaseException):
            return [([], self._cause(worker, what))]
        self._ready.add(worker)
        if what not in self._versions:
            self._versions.add(what)
            self._tell(f"{worker}: this worker has agentsim {what}, here it is {__version__}")
        return []

    def _read(self, key: str, what: Any) -> Landed[R]:  # noqa: ANN401  # what `work_off` returned, or an exception
        from distributed import KilledWorker

        chunk = self._chunks[key]
        if isinstance(what, KilledWorker):
            return self._bury(chunk.worker, what.allowed_failures + 1)
        if isinstance(what, BaseException):
            return [], self._cause(chunk.worker, what)
        del self._chunks[key]
        return self._work.taken(chunk.span, Answer.read(what))

    def _cause(self, worker: str, what: BaseException) -> BaseException:
        """Return what to raise for what came of a worker instead of an answer."""
        from distributed import CancelledError

        if isinstance(what, (CancelledError, asyncio.CancelledError, OSError)):
            return self._gone()
        root = what
        while root.__cause__ is not None:
            root = root.__cause__
        if isinstance(root, (ImportError, AttributeError)):
            where = f"{_address(self._client)}, {worker}"
            return UserError(f"{where}: {root}; its scheduler and its workers need agentsim {__version__}")
        return what

    def _bury(self, worker: str, times: int = 1) -> Landed[R]:
        """Give up what a dead worker had, and out again; return what stands for the result of a fatal task."""
        line = [(key, chunk) for key, chunk in self._chunks.items() if chunk.worker == worker]
        self._client.cancel([chunk.future for _, chunk in line])
        for key, chunk in reversed(line):  # so that they are given out in the same order
            del self._chunks[key]
            self._suspects.update(chunk.span)
            if len(line) > 1:
                self._work.split(chunk.span)
                continue
            try:
                return self._work.lost(chunk.span, f"at {worker} ended", times), None
            except WorkerDied as error:
                return [], error
        return [], None

    def _gone(self) -> ClusterGone:
        return ClusterGone(f"{_address(self._client)}: the scheduler of the cluster is gone")


def _address(client: Client) -> str:
    return str(client.scheduler.address)


@contextmanager
def _client(address: str, tell: Callable[[str], None]) -> Iterator[Client]:
    """Connect to a scheduler."""
    distributed: Any = import_module("distributed")
    try:
        _check(address)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", distributed.versions.VersionMismatchWarning)
            client = distributed.Client(address, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        why = "nobody answers there" if isinstance(error, OSError) else error
        raise UserError(f"--scheduler {address}: {why}") from None
    try:
        for warning in caught:
            tell(f"{address}: {warning.message}")
        yield client
    finally:
        client.close(timeout=_END_S)


def _check(address: str) -> None:
    """Raise ValueError for what can be no scheduler's address: dask says so ten seconds later, with a traceback."""
    from distributed.comm.addressing import parse_address, parse_host_port
    from distributed.comm.registry import get_backend

    security: Any = import_module("distributed").Security()
    scheme, place = parse_address(address)
    get_backend(scheme)
    parse_host_port(place)
    if scheme in ("tls", "wss") and security.get_connection_args("client").get("ssl_context") is None:
        raise ValueError("dask's configuration has no certificates (distributed.comm.tls)")


@contextmanager
def _local_cluster(workers: int) -> Iterator[tuple[str, str]]:
    """Start a cluster in a process of its own; give the addresses of its scheduler and of its dashboard."""
    with tempfile.TemporaryDirectory(prefix="agentsim-", ignore_cleanup_errors=True) as folder:
        found, log = Path(folder, "cluster.json"), Path(folder, "log.txt")
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", SCRIPT, str(workers), folder],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=out,
                start_new_session=True,  # Ctrl-C is its owner's business
            )
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(sys.path).encode() + b"\n")
            process.stdin.flush()
            until = time.monotonic() + _START_S
            while not found.exists():
                if process.poll() is not None or time.monotonic() > until:
                    said = log.read_text("utf-8", "replace").strip().splitlines() or ["it does not say why"]
                    raise ClusterGone(f"the local cluster did not start: {said[-1]}")
                time.sleep(_POLL_S)
            where = json.loads(found.read_text("utf-8"))
            yield where["scheduler"], where["dashboard"]
        finally:
            with suppress(BrokenPipeError):
                process.stdin.close()  # which tells it to end
            try:
                process.wait(_END_S)
            finally:
                process.kill()
                process.wait()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep dask's log off the terminal; it tells of every worker that comes, goes or is slow."""
    import_module("distributed")  # which sets the log up
    found = logging.root.manager.loggerDict
    ours = [logger for name, logger in found.items() if name.split(".")[0] in ("distributed", "tornado")]
    handlers = [handler for logger in ours if isinstance(logger, logging.Logger) for handler in logger.handlers]
    before = [(handler, handler.level) for handler in handlers]
    try:
        for handler in handlers:
            handler.setLevel(logging.CRITICAL + 1)
        yield
    finally:
        for handler, level in before:
            handler.setLevel(level)
