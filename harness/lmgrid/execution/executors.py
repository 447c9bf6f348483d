"""The executors of this machine: each cell in a process of its own, or all in this process."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import chdir, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from lmgrid.engine import Executor, ExecutorContext, Resources
from lmgrid.execution.attempt import attempt
from lmgrid.execution.job import Job
from lmgrid.execution.supervise import start_server, supervise
from lmgrid.grid import AnyCell, GridError
from lmgrid.machine.environment import usable_cores
from lmgrid.plugin.registry import Registry
from lmgrid.records.record import Outcome


def check_jobs(jobs: int, cells: Sequence[AnyCell | Resources], cores: int | None = None) -> None:
    """Raise GridError if cells side by side need more cores than there are, by default here."""
    cores = usable_cores() if cores is None else cores
    threads = max((cell.threads for cell in cells), default=1)
    if threads > cores:
        raise GridError(f"threads = {threads}: there are {cores} cores here")
    if jobs > max(1, cores // threads):
        raise GridError(
            f"-j {jobs}: {jobs} cells of {threads} threads need more than the {cores} cores here; "
            f"at most -j {max(1, cores // threads)}"
        )


def fits_beside(resources: Resources, running: Collection[Resources], jobs: int) -> bool:
    """Return whether a cell may start beside those that run on the same machine.

    At most ``jobs`` run at once. A cell that needs the whole machine runs alone, and a device
    other than the processor has one cell at a time.
    """
    if len(running) >= jobs:
        return False
    if running and any(cell.whole_machine for cell in (resources, *running)):
        return False
    return resources.device == "cpu" or resources.device not in {r.device for r in running}


class LocalExecutor(Executor):
    """Runs each cell in a process of its own on this machine."""

    def __init__(self, context: ExecutorContext) -> None:
        self._context = context
        start_server()
        self._threads = ThreadPoolExecutor(context.jobs)

    def submit(self, job: Job, resources: Resources) -> Future[Outcome | None]:
        context = self._context
        return self._threads.submit(supervise, job, context.callbacks(job), context.stop)

    def check(self, resources: Resources) -> None:
        check_jobs(self._context.jobs, (resources,))

    def fits(self, resources: Resources, running: Collection[Resources]) -> bool:
        return fits_beside(resources, running, self._context.jobs)

    def close(self) -> None:
        self._threads.shutdown()


@dataclass(frozen=True)
class InProcessExecutor(Executor):
    """Runs one cell after the other in this process (``-j 0``): the least overhead, no protection.

    A cell that dies takes the run with it, and no time or memory limit is enforced.
    """

    context: ExecutorContext
    registry: Registry

    def submit(self, job: Job, resources: Resources) -> Future[Outcome | None]:
        future: Future[Outcome | None] = Future()
        try:
            # Standard output is for results, and a cell may change the working folder.
            with redirect_stdout(sys.stderr), chdir(Path.cwd()):
                future.set_result(attempt(job, self.registry, self.context.callbacks(job)))
        except Exception as error:
            future.set_exception(error)
        return future

    def check(self, resources: Resources) -> None:
        check_jobs(1, (resources,))

    def fits(self, resources: Resources, running: Collection[Resources]) -> bool:
        return not running
