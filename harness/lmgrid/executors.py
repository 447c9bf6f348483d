"""The executors that come with lmgrid: processes of this machine, or the process that asks."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from lmgrid.registry import Registry
from lmgrid.spec import Crew, Executor, Resources
from lmgrid.supervise import supervise
from lmgrid.worker import Ears, Job, attempt


class Local(Executor):
    """Each cell in a process of its own on this machine, so many side by side."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._threads = ThreadPoolExecutor(crew.jobs)

    def submit(self, job: Job, resources: Resources) -> Future[object]:
        crew = self._crew
        return self._threads.submit(supervise, job, partial(crew.hear, job), crew.halt)

    def fits(self, resources: Resources, running: Collection[Resources]) -> bool:
        """Whatever is timed runs alone, and a device other than the processor has one cell."""
        if not running:
            return True
        if len(running) >= self._crew.jobs or resources.alone or any(r.alone for r in running):
            return False
        return resources.device == "cpu" or resources.device not in {r.device for r in running}

    def close(self) -> None:
        self._threads.shutdown()


@dataclass(frozen=True)
class Here(Executor):
    """One cell after the other in this process: the least overhead, and no protection."""

    crew: Crew
    registry: Registry

    def submit(self, job: Job, resources: Resources) -> Future[object]:
        hear = partial(self.crew.hear, job)
        future: Future[object] = Future()
        try:
            future.set_result(attempt(job, self.registry, Ears(hear, hear)))
        except Exception as error:
            future.set_exception(error)
        return future

    def fits(self, resources: Resources, running: Collection[Resources]) -> bool:
        return not running
