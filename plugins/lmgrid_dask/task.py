"""What a worker of the cluster does with a cell: supervises it, and sends back what came out."""

from __future__ import annotations

import pickle
import tempfile
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread
from typing import Any

from distributed import Event, get_client, get_worker

from lmgrid.spec import Halt
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
    halt, worker, address = Halt(), get_worker(), job.inputs.address

    def hear(message: Any) -> None:
        worker.log_event(orders.topic, pickle.dumps((address, message)))

    Thread(target=_obey, args=(Event(orders.topic, client=get_client()), halt), daemon=True).start()
    if orders.shared:
        outcome = supervise(job, hear, halt)
        return None if outcome is None else Parcel(outcome)
    with tempfile.TemporaryDirectory(prefix="lmgrid-") as folder:
        outcome = supervise(replace(job, root=Path(folder)), hear, halt)
        model = Path(folder) / "models" / address
        files = tuple((p.name, p.read_bytes()) for p in model.glob("*"))
        return None if outcome is None else Parcel(outcome, files, shared=False)


def _obey(stop: Event, halt: Halt) -> None:
    """Wait until the run is stopped at once."""
    with suppress(Exception):  # the scheduler is gone, and its workers with it
        while not stop.wait(timeout=ASK_SECONDS):
            pass
        halt.now.set()
