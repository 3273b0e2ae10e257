"""A dask cluster on this machine, in a process of its own: a scheduler, its dashboard and worker processes.

`dask.distributed.LocalCluster` would have run in the process that wants results, with its threads, its log on the
terminal and a shutdown that waits for busy workers. This one ends at once when its standard input is closed, which the
end of its owner does as well, however it came; its workers see that it is gone, and follow.

Workers that die are replaced here: dask's nannies do not replace one that dies before they have noted its start, which
is what a task does that kills its worker at once.

`SCRIPT` is what the process runs; it is given the number of workers and a folder, in which it writes cluster.json when
all workers are there, and the path to import from as the first line of its standard input.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import threading
import time
from importlib import import_module
from multiprocessing import active_children, connection, get_context
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any, Final

from scenarios.executors.pool import end_with_parent

# Nothing is imported before the path is the owner's. Workers get it from this process.
SCRIPT: Final = """
import json, sys
sys.path[:] = json.loads(sys.stdin.readline())
from scenarios.executors.local import main
main(int(sys.argv[1]), sys.argv[2])
"""

_POLL_S: Final = 0.02


def main(count: int, folder: str) -> None:
    """Start the cluster, say where it is, and stay."""
    ending = threading.Event()
    threading.Thread(target=_end_with_owner, args=(folder, ending), daemon=True).start()
    import dask

    distributed: Any = import_module("distributed")  # half of it has no types
    # A worker whose task holds the interpreter's lock for long sends no sign of life, but lives.
    dask.config.set({"distributed.scheduler.worker-ttl": None})
    # Workers are forked from a process that has imported dask, which takes a second. It has no threads: dask starts
    # none when it is imported, and these keep numpy from it. dask's own deployers let workers do without them, too.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    context = get_context("spawn" if sys.platform == "win32" else "forkserver")
    context.set_forkserver_preload(["distributed", __name__])
    with distributed.LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0") as cluster:
        address = cluster.scheduler_address
        workers = [_start(context, address, folder) for _ in range(count)]
        while len(cluster.scheduler.workers) < count:
            if not all(worker.is_alive() for worker in workers):
                sys.exit("a worker process ended before it was there")
            time.sleep(_POLL_S)
        new = Path(folder, "cluster.json.new")
        new.write_text(json.dumps({"scheduler": address, "dashboard": cluster.dashboard_link}), "utf-8")
        new.rename(Path(folder, "cluster.json"))
        while True:
            dead = connection.wait([worker.sentinel for worker in workers])
            if ending.wait(_POLL_S):  # they were killed
                threading.Event().wait()
            workers = [_start(context, address, folder) if worker.sentinel in dead else worker for worker in workers]


def _start(context: BaseContext, address: str, folder: str) -> Any:  # noqa: ANN401  # each context has its own processes
    worker: Any = context.Process(target=_work, args=(address, folder), daemon=True)  # type: ignore[attr-defined]
    worker.start()
    return worker


def _work(address: str, folder: str) -> None:
    """Be a worker. Runs in a process of its own."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    asyncio.run(_serve(address, folder))


async def _serve(address: str, folder: str) -> None:
    distributed: Any = import_module("distributed")
    worker = distributed.Worker(
        address,
        nthreads=1,
        host="127.0.0.1",
        dashboard=False,
        memory_limit=0,  # none: what a task may use is the system's business, as in a pool
        local_directory=folder,
    )
    async with worker:
        await worker.finished()


def _end_with_owner(folder: str, ending: threading.Event) -> None:
    while sys.stdin.buffer.read(1024):
        pass
    ending.set()  # nobody is replaced any more
    for worker in active_children():  # each would notice by itself; but then nobody could tell that it is gone
        worker.kill()
        worker.join(1.0)
    shutil.rmtree(folder, ignore_errors=True)  # the owner may have been killed
    os._exit(0)
