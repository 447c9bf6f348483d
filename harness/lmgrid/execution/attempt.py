"""One attempt at one cell: runs it under its lock, and writes a record or a failure."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Literal, TypeAlias

from filelock import Timeout

from lmgrid.cell.cell_runner import CellRunner
from lmgrid.cell.checkpoint import Checkpoints
from lmgrid.cell.runner import Workspace
from lmgrid.cell.training import Live
from lmgrid.grid import AnyCell, Cell
from lmgrid.machine.contention import LoadMonitor, LoadSample
from lmgrid.machine.environment import capture, load_average, now, unlike_libraries
from lmgrid.plugin.registry import Registry
from lmgrid.records.record import Failure, Inputs, KernelRecord, Outcome, Provenance, Record
from lmgrid.records.store import Store, StoreError
from lmgrid.result import Point
from lmgrid.spec import Diverged, Place

if TYPE_CHECKING:
    from collections.abc import Callable

# What is run again beside the cells without an outcome: nothing, what failed, or also what was
# timed beside others, or was made with other versions of the libraries that its code imports.
Retry: TypeAlias = Literal["none", "failed", "contended", "other-libraries"]
LONGEST_MESSAGE = 2_000
LONGEST_TRACEBACK = 20_000


class LockedElsewhere(Exception):
    """Another run holds the cell's lock, and was not to be waited for."""


@dataclass(frozen=True)
class Job:
    """A cell and where it is to be run; it travels to the worker process."""

    cell: AnyCell
    inputs: Inputs
    root: Path  # of the store
    place: Place
    jobs: int = 1  # cells side by side
    keep_weights: bool = True
    libraries: tuple[tuple[str, str], ...] = ()  # that its code imports, with their versions here
    timeout: float | None = None  # seconds of wall time, from when it holds its lock
    memory: int | None = None  # bytes
    retry: Retry = "failed"  # what there is already and is made again nevertheless
    own_process: bool = False  # it has a process of its own, which needs no device but the cell's
    wait_for_lock: bool = True  # for another run that has the cell; else Held is raised


@dataclass(frozen=True)
class Callbacks:
    """Who hears of a running cell."""

    on_live: Callable[[Live], None] = field(default=lambda live: None)
    on_point: Callable[[Point], None] = field(default=lambda point: None)
    on_begun: Callable[[], None] = field(default=lambda: None)  # the lock is held
    on_waiting: Callable[[], None] = field(default=lambda: None)  # for whoever has the lock


NO_CALLBACKS = Callbacks()


def attempt(job: Job, registry: Registry, ears: Callbacks = NO_CALLBACKS) -> Outcome:
    """Run a cell, unless it was finished meanwhile, and put what came of it into the store."""
    store, address = Store(job.root), job.inputs.address
    with _held(store, job, ears):
        before = store.find(address)
        if before and stands(before, job):
            return before
        started = perf_counter()
        ears.on_begun()
        try:
            load = LoadMonitor()
            outcome = _beside(_record(job, registry, ears), load.sample())
            keep(outcome, store)
        except StoreError:
            raise
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and not job.own_process:
                raise
            store.check_room(error)
            end = Termination(_status(error), error)
            store.add(failure(job, end, perf_counter() - started))
            if end.of_machine:
                return store.written(address)
        # What was killed, or lacked memory or a disk, goes on from here; all else begins anew.
        Checkpoints(store.checkpoint_folder(address)).remove()
        return store.written(address)


@contextmanager
def _held(store: Store, job: Job, ears: Callbacks) -> Iterator[None]:
    """Hold the cell's lock; whoever has it is waited for, if the job says so."""
    address = job.inputs.address
    with ExitStack() as stack:
        try:
            stack.enter_context(store.lock(address, wait=False))
        except Timeout:
            if not job.wait_for_lock:
                raise LockedElsewhere from None
            ears.on_waiting()
            stack.enter_context(store.lock(address))
        yield


def stands(before: Outcome, job: Job) -> bool:
    """Return whether an outcome that is there already is what the job asks for."""
    if isinstance(before, Failure):
        return False
    if job.retry == "contended":
        return not before.provenance.contended
    if job.retry == "other-libraries":
        return not unlike_libraries(before.provenance.environment, job.libraries)
    return True


def keep(outcome: Outcome, store: Store) -> None:
    """Put an outcome in its place; a record moves an older one aside. The lock must be held."""
    if store.has(outcome.inputs.address) and not isinstance(outcome, Failure):
        store.supersede(outcome)
    else:
        store.add(outcome)


def _beside(outcome: Record | KernelRecord, load: LoadSample) -> Record | KernelRecord:
    provenance = replace(
        outcome.provenance,
        others=load.others,
        competing=load.competing,
        load_after=load.load_after,
    )
    return replace(outcome, provenance=provenance)


def _record(job: Job, registry: Registry, ears: Callbacks) -> Record | KernelRecord:
    store, address = Store(job.root), job.inputs.address
    device = registry.confine(job.cell.device) if job.own_process else ""
    bench = CellRunner(registry, job.place, job.jobs, device)
    checkpoints = Checkpoints(store.checkpoint_folder(address))
    desk = Workspace(checkpoints=checkpoints, on_live=ears.on_live, on_point=ears.on_point)
    if not (job.keep_weights and isinstance(job.cell, Cell)):
        return bench.run(job.cell, desk, job.inputs)
    with store.weights_draft(address) as draft:
        outcome = bench.run(job.cell, replace(desk, weights=draft), job.inputs)
        store.keep_weights(address, draft)
        return outcome


@dataclass(frozen=True)
class Termination:
    """How a cell ended that has no record, and by what: an exception, or a few words."""

    status: str
    cause: BaseException | str

    @property
    def of_machine(self) -> bool:
        """Whether another machine, or this one later, may get further."""
        return self.status == "out-of-memory" or isinstance(self.cause, OSError)


def failure(job: Job, end: Termination, seconds: float, peak_bytes: int | None = None) -> Failure:
    """Return what is stored of an end; texts are bounded."""
    provenance = Provenance(capture(), now(), job.jobs, round(load_average(), 2))
    error = end.cause
    kind = error if isinstance(error, str) else type(error).__name__
    message = "" if isinstance(error, str) else _message(error)
    trace = "" if isinstance(error, str) else "".join(traceback.format_exception(error))
    return Failure(
        job.inputs,
        end.status,
        kind,
        _encodable(message)[:LONGEST_MESSAGE],
        _encodable(_without_paths(trace))[-LONGEST_TRACEBACK:],
        round(seconds, 3),
        provenance,
        peak_bytes,
    )


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as worse:
        return f"its message cannot be shown: {type(worse).__name__}"


def _encodable(text: str) -> str:
    """Return a text as UTF-8 can hold it; a file's name may have bytes that are none."""
    return text.encode(errors="backslashreplace").decode()


def _without_paths(trace: str) -> str:
    """Shorten file names to the package, so that a shared store tells nothing of a home folder."""
    return re.sub(r'File "[^"]*?([^"/\\]+[/\\][^"/\\]+)"', r'File "\1"', trace)


def _status(error: BaseException) -> str:
    if isinstance(error, Diverged):
        return "diverged"
    # torch.OutOfMemoryError is no MemoryError, and this module does not import torch.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "out-of-memory"
    return "error"
