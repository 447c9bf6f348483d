"""The task that a worker of the cluster runs: supervises a cell and returns its outcome."""

from __future__ import annotations

import pickle
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from distributed import Event, get_client, get_worker

from lmgrid.engine import StopSignal
from lmgrid.errors import UserError
from lmgrid.execution.attempt import LockedElsewhere
from lmgrid.execution.job import Job
from lmgrid.execution.messages import Message, callbacks_to
from lmgrid.execution.supervise import deliver, supervise
from lmgrid.records.record import Outcome
from lmgrid.records.store import Store

ASK_SECONDS = 1.0


@dataclass(frozen=True)
class RunInfo:
    """What all cells of a run have in common."""

    topic: str  # of the messages
    shared: bool  # whether workers see the results folder

    def stops(self, client: Any) -> tuple[Event, Event]:
        """Return the events that stop the start of cells and that end running cells."""
        return Event(f"{self.topic}-soon", client), Event(f"{self.topic}-now", client)


@dataclass(frozen=True)
class CellResult:
    """The outcome of a cell, with the files of its model if the results folder is not shared."""

    outcome: Outcome
    files: tuple[tuple[str, bytes], ...] = ()
    shared: bool = True

    def deliver(self, job: Job) -> Outcome:
        """Store the outcome in the results folder of this machine and return it."""
        return self.outcome if self.shared else deliver(job, self.outcome, self.files)


@dataclass(frozen=True)
class CellError:
    """An error to show to the user. It is returned, because dask logs errors that are raised."""

    error: Exception

    def deliver(self, job: Job) -> Outcome:
        raise self.error


class Threads:
    """Counts the threads in use by a worker's cells; dask counts only cells."""

    def __init__(self) -> None:
        self._taken = 0
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, count: int, total: int) -> Iterator[None]:
        """Hold ``count`` of the worker's threads, at most ``total``; waits until they are free."""
        count = min(count, total)
        with self._changed:
            self._changed.wait_for(lambda: self._taken + count <= total)
            self._taken += count
        try:
            yield
        finally:
            with self._changed:
                self._taken -= count
                self._changed.notify_all()


THREADS = Threads()  # of this process, which is one worker


def run_cell(job: Job, run_info: RunInfo) -> CellResult | CellError | None:
    """Run a cell in a process of its own and send its messages to the run's topic.

    Returns None if the run is stopped before the cell starts or ends.
    """
    worker, address = get_worker(), job.inputs.address

    def send(message: Message) -> None:
        worker.log_event(run_info.topic, pickle.dumps((address, message)))

    with THREADS.taken(job.cell.threads, worker.state.nthreads):
        stops = run_info.stops(get_client())
        if stops[0].is_set():
            return None
        with _obeying(stops) as stop:
            try:
                return _run(
                    job, run_info.shared, lambda job: supervise(job, callbacks_to(send), stop)
                )
            except (UserError, LockedElsewhere) as error:
                return CellError(error)


def _run(job: Job, shared: bool, run: Callable[[Any], Any]) -> CellResult | None:
    if shared:
        if not job.root.is_dir():
            raise UserError(
                f"worker {socket.gethostname()} does not see {job.root}; use shared=false or "
                "mount it under that name"
            )
        outcome = run(job)
        return None if outcome is None else CellResult(outcome)
    with tempfile.TemporaryDirectory(prefix="lmgrid-") as name:
        folder = Path(name)
        Store(folder).create()
        outcome = run(replace(job, root=folder))
        model = folder / "models" / job.inputs.address
        files = tuple((p.name, p.read_bytes()) for p in model.glob("*"))
        return None if outcome is None else CellResult(outcome, files, shared=False)


@contextmanager
def _obeying(stops: tuple[Event, Event]) -> Iterator[StopSignal]:
    """Yield a StopSignal that follows the scheduler's events until the block ends."""
    stop, ended = StopSignal(), threading.Event()
    threading.Thread(target=_obey, args=(stops, stop, ended), daemon=True).start()
    try:
        yield stop
    finally:
        ended.set()


def _obey(stops: tuple[Event, Event], stop: StopSignal, ended: threading.Event) -> None:
    """Pass on the events of a graceful and then an immediate stop, until the cell has ended.

    The events are polled, because ``Event.wait`` logs an error if the scheduler closes.
    """
    with suppress(Exception):  # the scheduler is gone, and its workers with it
        for event in stops:
            while not event.is_set():
                if ended.wait(ASK_SECONDS):
                    return
            stop.request()
