"""One attempt at one cell: runs it under its lock, and writes a record or a failure."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import traceback
from dataclasses import dataclass, field, replace
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, TypeAlias

from lmgrid.checkpoint import Checkpoints
from lmgrid.contention import Company, Neighbourhood
from lmgrid.environment import capture, load_average, now
from lmgrid.grid import AnyCell, Cell
from lmgrid.record import (
    Circumstances,
    Failure,
    Inputs,
    KernelRecord,
    Outcome,
    Point,
    Record,
)
from lmgrid.registry import Registry
from lmgrid.run import Desk, run
from lmgrid.spec import Diverged, Place
from lmgrid.store import Store, StoreError
from lmgrid.training import Live

if TYPE_CHECKING:
    from collections.abc import Callable

PRELOAD = "LMGRID_PRELOAD"  # variable: a Preload as JSON
LONGEST_MESSAGE = 2_000
LONGEST_TRACEBACK = 20_000


@dataclass(frozen=True)
class Preload:
    """What the server of the workers imports ahead, and where it looks for modules."""

    path: tuple[str, ...]
    modules: tuple[str, ...]


@dataclass(frozen=True)
class Begun:
    """A worker holds its cell's lock and begins; from now on its time counts."""


# What a worker says. None: an outcome is in the store.
Message: TypeAlias = Begun | Live | Point | StoreError | None


@dataclass(frozen=True)
class Job:
    """A cell and where it is to be run; it travels to the worker process."""

    cell: AnyCell
    inputs: Inputs
    root: Path  # of the store
    place: Place
    jobs: int = 1  # cells side by side
    keep_weights: bool = True
    timeout: float | None = None  # seconds of wall time, from when it holds its lock
    memory: int | None = None  # bytes
    again: bool = False  # also if there is a record, where that one's times were contended
    apart: bool = False  # it has a process of its own, which needs no device but the cell's


@dataclass(frozen=True)
class Ears:
    """Who hears of a running cell."""

    on_live: Callable[[Live], None] = field(default=lambda live: None)
    on_point: Callable[[Point], None] = field(default=lambda point: None)
    on_begun: Callable[[], None] = field(default=lambda: None)  # the lock is held


DEAF = Ears()


def attempt(job: Job, registry: Registry, ears: Ears = DEAF) -> Outcome:
    """Run a cell, unless it was finished meanwhile, and put what came of it into the store."""
    store, address = Store(job.root), job.inputs.address
    with store.lock(address):
        before = store.find(address)
        if before and stands(before, job):
            return before
        started = perf_counter()
        ears.on_begun()
        try:
            neighbourhood = Neighbourhood()
            outcome = _beside(_record(job, registry, ears), neighbourhood.company())
            keep(outcome, store)
        except StoreError:
            raise
        except Exception as error:
            store.check_room(error)
            end = End(_status(error), error)
            store.add(failure(job, end, perf_counter() - started))
            if end.of_machine:
                return store.written(address)
        # What was killed, or lacked memory or a disk, goes on from here; all else begins anew.
        Checkpoints(store.checkpoint_folder(address)).remove()
        return store.written(address)


def stands(before: Outcome, job: Job) -> bool:
    """Return whether an outcome that is there already is what the job asks for."""
    return not isinstance(before, Failure) and not (job.again and is_contended(before))


def keep(outcome: Outcome, store: Store) -> None:
    """Put an outcome in its place; a record moves an older one aside. The lock must be held."""
    if store.has(outcome.inputs.address) and not isinstance(outcome, Failure):
        store.supersede(outcome)
    else:
        store.add(outcome)


def is_contended(outcome: Outcome) -> bool:
    """Return whether a record's times were taken beside others."""
    return not isinstance(outcome, Failure) and outcome.circumstances.contended


def _beside(outcome: Record | KernelRecord, company: Company) -> Record | KernelRecord:
    circumstances = replace(
        outcome.circumstances,
        others=company.others,
        competing=company.competing,
        load_after=company.load_after,
    )
    return replace(outcome, circumstances=circumstances)


def _record(job: Job, registry: Registry, ears: Ears) -> Record | KernelRecord:
    store, address = Store(job.root), job.inputs.address
    desk = Desk(
        job.place,
        checkpoints=store.checkpoint_folder(address),
        jobs=job.jobs,
        on_live=ears.on_live,
        on_point=ears.on_point,
        planned=job.inputs,
        device=registry.confine(job.cell.device) if job.apart else "",
    )
    if not (job.keep_weights and isinstance(job.cell, Cell)):
        return run(job.cell, registry, desk)
    with store.weights_draft(address) as draft:
        outcome = run(job.cell, registry, replace(desk, weights=draft))
        store.keep_weights(address, draft)
        return outcome


@dataclass(frozen=True)
class End:
    """How a cell ended that has no record, and by what: an exception, or a few words."""

    status: str
    cause: BaseException | str

    @property
    def of_machine(self) -> bool:
        """Whether another machine, or this one later, may get further."""
        return self.status == "out-of-memory" or isinstance(self.cause, OSError)


def failure(job: Job, end: End, seconds: float, peak_bytes: int | None = None) -> Failure:
    """Return what is stored of an end; texts are bounded."""
    circumstances = Circumstances(capture(), now(), job.jobs, round(load_average(), 2))
    error = end.cause
    kind = error if isinstance(error, str) else type(error).__name__
    message = "" if isinstance(error, str) else str(error)
    trace = "" if isinstance(error, str) else "".join(traceback.format_exception(error))
    return Failure(
        job.inputs,
        end.status,
        kind,
        message[:LONGEST_MESSAGE],
        _without_paths(trace)[-LONGEST_TRACEBACK:],
        round(seconds, 3),
        circumstances,
        peak_bytes,
    )


def _without_paths(trace: str) -> str:
    """Shorten file names to the package, so that a shared store tells nothing of a home folder."""
    return re.sub(r'File "[^"]*?([^"/\\]+[/\\][^"/\\]+)"', r'File "\1"', trace)


def _status(error: Exception) -> str:
    if isinstance(error, Diverged):
        return "diverged"
    # torch.OutOfMemoryError is no MemoryError, and this module does not import torch.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "out-of-memory"
    return "error"


# ---------------------------------------------------------------- in a process of its own


def search_path() -> tuple[str, ...]:
    """Return the folders where distributions are looked for and some are."""
    return tuple(p for p in sys.path if p and _holds_distributions(p))


def _holds_distributions(folder: str) -> bool:
    try:
        return any(name.endswith(("-info", ".egg")) for name in os.listdir(folder))
    except OSError:
        return False


@cache
def installed(path: tuple[str, ...]) -> Registry:
    """Return the plugins that are found there; a process forked from one that knows has them."""
    return Registry.installed()


def work(job: Job, connection: Connection) -> None:
    """Be a worker: attempt the cell, and tell the parent how it goes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    threading.Thread(target=_die_with_parent, args=(connection,), daemon=True).start()

    def tell(message: Message) -> None:
        try:
            connection.send(message)
        except OSError:  # nobody listens any more; that is no fault of the cell
            os._exit(1)

    ears = Ears(tell, tell, lambda: tell(Begun()))
    try:
        attempt(replace(job, apart=True), installed(search_path()), ears)
        tell(None)
    except StoreError as error:
        tell(error)


def _die_with_parent(connection: Connection) -> None:
    """End this process as soon as its parent is gone, so that no orphan computes a cell."""
    try:
        connection.recv()
    except (EOFError, OSError):
        os._exit(1)
