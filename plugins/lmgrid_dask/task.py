"""What a worker of the cluster does with a cell: supervises it, and sends back what came out."""

from __future__ import annotations

import pickle
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from distributed import Event, get_client, get_worker

from lmgrid.spec import Halt
from lmgrid.store import Store
from lmgrid.supervise import deliver, supervise

ASK_SECONDS = 1.0


@dataclass(frozen=True)
class Orders:
    """What is alike for all cells of a run."""

    topic: str  # of the messages, and the event that stops at once
    shared: bool  # whether the results folder can be seen from here


@dataclass(frozen=True)
class Parcel:
    """What came of a cell; the files of its model where the folder is not shared."""

    outcome: Any
    files: tuple[tuple[str, bytes], ...] = ()
    shared: bool = True

    def deliver(self, job: Any) -> Any:
        """Return the outcome, once it is in the results folder of this machine."""
        return self.outcome if self.shared else deliver(job, self.outcome, self.files)


def run_cell(job: Any, orders: Orders) -> Parcel | None:
    """Run a cell in a process of its own, with its messages sent to whoever asked."""
    worker, address = get_worker(), job.inputs.address

    def hear(message: Any) -> None:
        worker.log_event(orders.topic, pickle.dumps((address, message)))

    with ExitStack() as held:
        halt = held.enter_context(_obeying(Event(orders.topic, client=get_client())))
        if orders.shared:
            outcome = supervise(job, hear, halt)
            return None if outcome is None else Parcel(outcome)
        folder = held.enter_context(tempfile.TemporaryDirectory(prefix="lmgrid-"))
        Store(folder).begin()
        outcome = supervise(replace(job, root=Path(folder)), hear, halt)
        model = Path(folder) / "models" / address
        files = tuple((p.name, p.read_bytes()) for p in model.glob("*"))
        return None if outcome is None else Parcel(outcome, files, shared=False)


@contextmanager
def _obeying(stop: Event) -> Iterator[Halt]:
    """Give what tells a cell that its run is stopped at once, for as long as the cell runs."""
    halt, ended = Halt(), threading.Event()
    threading.Thread(target=_obey, args=(stop, halt, ended), daemon=True).start()
    try:
        yield halt
    finally:
        ended.set()


def _obey(stop: Event, halt: Halt, ended: threading.Event) -> None:
    """Ask whether the run is stopped at once, until it is or the cell has ended.

    Not ``stop.wait``, which a scheduler that closes meanwhile logs as an error of its own.
    """
    with suppress(Exception):  # the scheduler is gone, and its workers with it
        while not ended.wait(ASK_SECONDS):
            if stop.is_set():
                halt.now.set()
                return
