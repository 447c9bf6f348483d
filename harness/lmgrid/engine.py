"""The contract of executors: an executor decides where cells run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING

from lmgrid.callbacks import Callbacks as Callbacks
from lmgrid.spec import AnyPart

if TYPE_CHECKING:
    from concurrent.futures import Future

    from lmgrid.execution.job import Job
    from lmgrid.records.record import Outcome


@dataclass
class StopSignal:
    """Whether a run has been asked to stop.

    >>> stop = StopSignal()
    >>> stop.request()
    >>> stop.graceful.is_set(), stop.immediate.is_set()
    (True, False)
    """

    graceful: Event = field(default_factory=Event)  # start no new cell
    immediate: Event = field(default_factory=Event)  # end the running cells too

    def request(self) -> None:
        """Ask for a graceful stop; the second request asks for an immediate one."""
        (self.immediate if self.graceful.is_set() else self.graceful).set()


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a cell needs of the machine that runs it."""

    threads: int = 1
    device: str = "cpu"
    memory: int | None = None  # bytes; the cell is killed if it holds more
    timed: bool = False  # its time is a result, so nothing else may run on its device

    @property
    def whole_machine(self) -> bool:
        """Whether no other cell may run on the same machine meanwhile."""
        return self.timed and self.device == "cpu"


@dataclass(frozen=True, kw_only=True)
class ExecutorContext:
    """What an executor is given when it is made."""

    jobs: int  # how many cells to run side by side
    stop: StopSignal
    callbacks: Callable[[Job], Callbacks]  # what to call while a job runs; from any thread


class Executor(ABC):
    """Decides where cells run.

    On the machine that it chooses it calls ``lmgrid.execution.supervise.supervise(job, callbacks,
    stop)``, which runs the cell in a child process.
    """

    @abstractmethod
    def submit(self, job: Job, resources: Resources) -> Future[Outcome | None]:
        """Start a job; the future gets what ``supervise`` returns or raises."""

    def check(self, resources: Resources) -> None:
        """Raise ValueError if no worker will ever have these resources."""
        return

    def fits(self, resources: Resources, running: Collection[Resources]) -> bool:
        """Return whether a cell can start now, beside those that are running."""
        return True

    def close(self) -> None:
        """Release what the executor holds. It is called when no cell is running."""
        return


class ExecutorPart(AnyPart, ABC):
    """Options of an executor, as in ``--executor 'dask[address=tcp://host:8786]'``."""

    @property
    def remote(self) -> bool:
        """Whether cells run on other machines. A grid may then name devices that are not here."""
        return False

    @abstractmethod
    def make(self, context: ExecutorContext) -> Executor: ...
