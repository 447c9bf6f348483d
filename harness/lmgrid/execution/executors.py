"""The executors that come with lmgrid: processes of this machine, or the process that asks."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import chdir, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lmgrid.engine import Executor, ExecutorContext, Resources
from lmgrid.execution.attempt import Callbacks, Job, attempt
from lmgrid.execution.supervise import start_server, supervise
from lmgrid.grid import AnyCell, GridError
from lmgrid.machine.environment import usable_cores
from lmgrid.plugin.registry import Registry


def check_jobs(jobs: int, cells: Sequence[AnyCell | Resources], cores: int | None = None) -> None:
    """Raise GridError if so many cells side by side would share cores, by default of here."""
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
    """Return whether a cell may begin beside others of the same machine, so many at most.

    What is timed on the processor runs alone, and any other device has one cell.
    """
    if len(running) >= jobs:
        return False
    if running and any(has_machine(cell) for cell in (resources, *running)):
        return False
    return resources.device == "cpu" or resources.device not in {r.device for r in running}


def has_machine(resources: Resources) -> bool:
    """Return whether a cell must have the machine to itself."""
    return resources.timed and resources.device == "cpu"


class LocalExecutor(Executor):
    """Each cell in a process of its own on this machine, so many side by side."""

    def __init__(self, context: ExecutorContext) -> None:
        self._context = context
        start_server()
        self._threads = ThreadPoolExecutor(context.jobs)

    def submit(self, job: Job, resources: Resources) -> Future[object]:
        context = self._context
        return self._threads.submit(supervise, job, partial(context.on_message, job), context.stop)

    def check(self, resources: Resources) -> None:
        check_jobs(self._context.jobs, (resources,))

    def fits(self, resources: Resources, running: Collection[Resources]) -> bool:
        return fits_beside(resources, running, self._context.jobs)

    def close(self) -> None:
        self._threads.shutdown()


@dataclass(frozen=True)
class InProcessExecutor(Executor):
    """One cell after the other in this process: the least overhead, and no protection."""

    context: ExecutorContext
    registry: Registry

    def submit(self, job: Job, resources: Resources) -> Future[object]:
        on_message = partial(self.context.on_message, job)
        future: Future[object] = Future()
        try:
            # Standard output is for results; a cell that changes the folder has changed its own.
            with redirect_stdout(sys.stderr), chdir(Path.cwd()):
                future.set_result(attempt(job, self.registry, Callbacks(on_message, on_message)))
        except Exception as error:
            future.set_exception(error)
        return future

    def check(self, resources: Resources) -> None:
        check_jobs(1, (resources,))

    def fits(self, resources: Resources, running: Collection[Resources]) -> bool:
        return not running
