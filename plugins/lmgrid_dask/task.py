"""What a worker of the cluster does with a cell: supervises it, and sends back what came out."""

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
    """What is alike for all cells of a run."""

    topic: str  # of the messages
    shared: bool  # whether the results folder can be seen from here

    def stops(self, client: Any) -> tuple[Event, Event]:
        """Return the events that begin no cell any more, and that end those that run."""
        return Event(f"{self.topic}-soon", client), Event(f"{self.topic}-now", client)


@dataclass(frozen=True)
class CellResult:
    """What came of a cell; the files of its model where the folder is not shared."""

    outcome: Outcome
    files: tuple[tuple[str, bytes], ...] = ()
    shared: bool = True

    def deliver(self, job: Job) -> Outcome:
        """Return the outcome, once it is in the results folder of this machine."""
        return self.outcome if self.shared else deliver(job, self.outcome, self.files)


@dataclass(frozen=True)
class CellError:
    """An error that is no fault of the program; dask would log one that is raised at length."""

    error: Exception

    def deliver(self, job: Job) -> Outcome:
        raise self.error


class Threads:
    """The threads of a worker that its cells have; dask counts cells, however many they want."""

    def __init__(self) -> None:
        self._taken = 0
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, count: int, total: int) -> Iterator[None]:
        """Hold so many of the worker's threads, as soon as they are free; at most all."""
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
    """Run a cell in a process of its own, with its messages sent to whoever asked.

    Returns None if the run is stopped before the cell begins or ends.
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
        Store(folder).begin()
        outcome = run(replace(job, root=folder))
        model = folder / "models" / job.inputs.address
        files = tuple((p.name, p.read_bytes()) for p in model.glob("*"))
        return None if outcome is None else CellResult(outcome, files, shared=False)


@contextmanager
def _obeying(stops: tuple[Event, Event]) -> Iterator[StopSignal]:
    """Give what tells a cell that its run is stopped, for as long as the cell runs."""
    stop, ended = StopSignal(), threading.Event()
    threading.Thread(target=_obey, args=(stops, stop, ended), daemon=True).start()
    try:
        yield stop
    finally:
        ended.set()


def _obey(stops: tuple[Event, Event], stop: StopSignal, ended: threading.Event) -> None:
    """Ask whether the run is stopped, soon and then at once, until it is or the cell has ended.

    Not ``Event.wait``, which a scheduler that closes meanwhile logs as an error of its own.
    """
    with suppress(Exception):  # the scheduler is gone, and its workers with it
        for event in stops:
            while not event.is_set():
                if ended.wait(ASK_SECONDS):
                    return
            stop.request()
