"""The contract of executors: what decides where cells run, and what it is told of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING, Any

from lmgrid.spec import AnyPart

if TYPE_CHECKING:
    from concurrent.futures import Future


@dataclass
class StopSignal:
    """Asked to stop: ``soon`` starts no new cell, ``now`` ends the running ones too."""

    graceful: Event = field(default_factory=Event)
    immediate: Event = field(default_factory=Event)

    def request(self) -> None:
        (self.immediate if self.graceful.is_set() else self.graceful).set()


@dataclass(frozen=True)
class Resources:
    """What a cell needs of the machine that runs it."""

    threads: int = 1
    device: str = "cpu"
    memory: int | None = None  # bytes that it is killed beyond
    timed: bool = False  # its times count: nothing else may run on its device


@dataclass(frozen=True)
class ExecutorContext:
    """What an executor is made for."""

    jobs: int  # cells side by side, as asked
    stop: StopSignal
    on_message: Callable[[Any, Any], None]  # to be told each job and what its cell says meanwhile


class Executor(ABC):
    """Decides where cells run, and nothing else.

    There it calls ``lmgrid.execution.supervise.supervise``.
    """

    @abstractmethod
    def submit(self, job: Any, resources: Resources) -> Future[Any]:
        """Begin an ``lmgrid.execution.attempt.Job``; the future holds what ``supervise`` gives."""

    def check(self, resources: Resources) -> None:
        """Raise a ValueError if no worker can give so much: it would wait for ever."""
        return

    def fits(self, resources: Resources, running: Collection[Resources]) -> bool:
        """Return whether a cell can begin now, beside those that run."""
        return True

    def close(self) -> None:
        """Let go of what it holds; no cell is running."""
        return


class ExecutorPart(AnyPart, ABC):
    """Options of an executor, as in ``--executor 'dask[address=tcp://host:8786]'``."""

    @property
    def remote(self) -> bool:
        """Whether cells run on other machines, whose devices its ``check`` must know of."""
        return False

    @abstractmethod
    def make(self, context: ExecutorContext) -> Executor: ...
