"""One attempt to run a cell: under its lock, ending in a stored record or failure."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from time import perf_counter

from filelock import Timeout

from lmgrid.callbacks import NO_CALLBACKS, Callbacks
from lmgrid.cell.cell_runner import CellRunner
from lmgrid.cell.checkpoint import Checkpoints
from lmgrid.cell.runner import Workspace
from lmgrid.execution.job import Job
from lmgrid.grid import Cell
from lmgrid.machine.contention import LoadMonitor, LoadSample
from lmgrid.machine.environment import capture, load_average, now
from lmgrid.plugin.registry import Registry
from lmgrid.records.record import Failure, KernelRecord, Outcome, Provenance, Record
from lmgrid.records.store import Store, StoreError
from lmgrid.spec import Diverged

LONGEST_MESSAGE = 2_000  # characters of an error's message that are stored
LONGEST_TRACEBACK = 20_000


class LockedElsewhere(Exception):
    """Another run holds the cell's lock, and the job does not wait for it."""


def attempt(job: Job, registry: Registry, callbacks: Callbacks = NO_CALLBACKS) -> Outcome:
    """Run a cell and store its outcome; return the stored outcome if there is one already.

    An error of the cell is stored as a Failure. StoreError if the results folder cannot be
    written, LockedElsewhere if another run has the cell and the job does not wait.
    """
    store, address = Store(job.root), job.inputs.address
    # Take the cell's lock: another run may have the same cell.
    with _locked(store, job, callbacks):
        before = store.find(address)
        if before and job.is_settled_by(before):
            return before
        started = perf_counter()
        callbacks.begun()
        checkpoints = Checkpoints(store.checkpoint_folder(address))
        try:
            # Run it, and see what else the machine does meanwhile.
            load = LoadMonitor()
            device = registry.confine(job.cell.device) if job.own_process else ""
            runner = CellRunner(
                registry, job.place, side_by_side=job.side_by_side, device_name=device
            )
            workspace = Workspace(checkpoints=checkpoints, callbacks=callbacks)
            if job.options.keep_weights and isinstance(job.cell, Cell):
                with store.weights_draft(address) as draft:
                    workspace = replace(workspace, weights=draft)
                    outcome = runner.run(job.cell, workspace, planned=job.inputs)
                    store.keep_weights(address, draft)
            else:
                outcome = runner.run(job.cell, workspace, planned=job.inputs)
            store_outcome(with_load(outcome, load.sample()), store)
        except StoreError:
            raise
        except BaseException as error:
            # Ctrl-C in the process of the command stops the run; elsewhere it is the cell's error.
            if isinstance(error, KeyboardInterrupt) and not job.own_process:
                raise
            store.raise_if_unwritable(error)
            end = Termination(_status(error), error)
            store.add(failure(job, end, perf_counter() - started))
            # After a lack of memory or disk the next attempt resumes from the checkpoint.
            if end.of_machine:
                return store.get(address)
        checkpoints.remove()
        return store.get(address)


@contextmanager
def _locked(store: Store, job: Job, callbacks: Callbacks) -> Iterator[None]:
    """Hold the cell's lock. If another run has it, wait for it or raise LockedElsewhere."""
    address = job.inputs.address
    with ExitStack() as stack:
        try:
            stack.enter_context(store.lock(address, wait=False))
        except Timeout:
            if not job.wait_for_lock:
                raise LockedElsewhere from None
            callbacks.waiting()
            stack.enter_context(store.lock(address))
        yield


def store_outcome(outcome: Outcome, store: Store) -> None:
    """Store an outcome; a record moves an older one aside. The cell's lock must be held."""
    if store.has(outcome.inputs.address) and not isinstance(outcome, Failure):
        store.replace_record(outcome)
    else:
        store.add(outcome)


def with_load(outcome: Record | KernelRecord, load: LoadSample) -> Record | KernelRecord:
    """Return a record that says what else the machine did while its cell ran."""
    provenance = replace(
        outcome.provenance,
        others=load.others,
        competing=load.competing,
        load_after=load.load_after,
    )
    return replace(outcome, provenance=provenance)


@dataclass(frozen=True)
class Termination:
    """How a cell ended without a record: its status, and an exception or a few words."""

    status: str
    cause: BaseException | str

    @property
    def of_machine(self) -> bool:
        """Whether the machine lacked something, so that another attempt may get further."""
        return self.status == "out-of-memory" or isinstance(self.cause, OSError)


def failure(job: Job, end: Termination, seconds: float, peak_bytes: int | None = None) -> Failure:
    """Return the Failure that is stored of a cell; its texts are cut to a bounded length."""
    provenance = Provenance(capture(), now(), job.side_by_side, round(load_average(), 2))
    error = end.cause
    kind = error if isinstance(error, str) else type(error).__name__
    message = "" if isinstance(error, str) else _message(error)
    trace = "" if isinstance(error, str) else "".join(traceback.format_exception(error))
    return Failure(
        inputs=job.inputs,
        status=end.status,
        error=kind,
        message=_encodable(message)[:LONGEST_MESSAGE],
        traceback=_encodable(_without_paths(trace))[-LONGEST_TRACEBACK:],
        seconds=round(seconds, 3),
        provenance=provenance,
        peak_bytes=peak_bytes,
    )


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as worse:
        return f"its message cannot be shown: {type(worse).__name__}"


def _encodable(text: str) -> str:
    """Return a text with escapes for what UTF-8 cannot encode, such as bytes of a file's name."""
    return text.encode(errors="backslashreplace").decode()


def _without_paths(trace: str) -> str:
    """Shorten file names to two parts, so that a stored traceback names no home folder."""
    return re.sub(r'File "[^"]*?([^"/\\]+[/\\][^"/\\]+)"', r'File "\1"', trace)


def _status(error: BaseException) -> str:
    if isinstance(error, Diverged):
        return "diverged"
    # torch.OutOfMemoryError is not a MemoryError; by its name, as torch is not imported here.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "out-of-memory"
    return "error"
