"""Many independent tasks, here, in worker processes or on a cluster: the seam that experiments and sweeps run over.

An `Executor` maps a function over tasks and yields each result with its task's index as soon as it is there. Function,
tasks and results are pickled on their way, so the function is one that a worker can import and tasks are plain data.
"""

from __future__ import annotations

from collections.abc import Callable

from agentsim.errors import UserError
from scenarios.executors.pool import ProcessPool
from scenarios.executors.seam import ATTEMPTS, ClusterGone, Executor, TaskFailed, WorkerDied, WorkerTraceback, cores
from scenarios.executors.serial import Serial

__all__ = [
    "ATTEMPTS",
    "ClusterGone",
    "Executor",
    "ProcessPool",
    "Serial",
    "TaskFailed",
    "WorkerDied",
    "WorkerTraceback",
    "cores",
    "executor",
]


def executor(
    workers: int | None, scheduler: str | None = None, *, tell: Callable[[str], None] | None = None
) -> Executor:
    """Return the executor that a user's options ask for.

    Args:
        workers: 0 for this process, else how many processes; None for one for each core.
        scheduler: `local` for a dask cluster of that many workers on this machine, or the address of the scheduler of
            a cluster that is there already, which has the workers that it has.
        tell: is given sentences that the user of a cluster should see, the address of its dashboard first.

    Raises:
        UserError: `scheduler` and `workers` do not go together. A cluster that cannot be reached, or whose libraries
            are not installed, is told when the executor is entered.
    """
    if workers is not None and workers < 0:
        raise ValueError(f"workers={workers} must be at least 0")
    if scheduler is not None:
        from scenarios.executors.cluster import Dask

        if scheduler != "local" and workers is not None:
            raise UserError("--workers: a cluster has the workers that it has; give it with --scheduler local only")
        if scheduler == "local" and workers == 0:
            raise UserError("--workers 0: a local cluster has at least one worker")
        return Dask(scheduler, workers, tell)
    if workers is None:
        workers = cores()
    return ProcessPool(workers) if workers else Serial()
