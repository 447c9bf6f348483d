"""One attempt at one cell: runs it under its lock, and writes a record or a failure."""

from __future__ import annotations

import os
import re
import signal
import threading
import traceback
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, TypeAlias

from lmgrid.checkpoint import Checkpoints
from lmgrid.environment import capture, load_average, now
from lmgrid.errors import Mistake
from lmgrid.grid import AnyCell, Cell
from lmgrid.identity import Identities
from lmgrid.record import Circumstances, Failure, Inputs, Outcome, Point
from lmgrid.registry import Registry
from lmgrid.run import Desk, run
from lmgrid.spec import Diverged, Place
from lmgrid.store import Store, StoreError
from lmgrid.training import Live

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_MESSAGE = 2_000
LONGEST_TRACEBACK = 20_000


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
        if store.has(address):
            return _found(store, address)
        started = perf_counter()
        ears.on_begun()
        try:
            store.add(_record(job, registry, ears))
        except StoreError:
            raise
        except Exception as error:
            store.add(failure(job, _status(error), error, perf_counter() - started))
        # A cell that was killed goes on from here; one that ended, well or not, begins anew.
        Checkpoints(store.checkpoint_folder(address)).remove()
        return _found(store, address)


def _found(store: Store, address: str) -> Outcome:
    outcome = store.find(address)
    if outcome is None:
        raise StoreError(f"{store.root}: what was just written is gone")
    return outcome


def _record(job: Job, registry: Registry, ears: Ears) -> Outcome:
    store, address = Store(job.root), job.inputs.address
    if Identities(registry, job.place).of(job.cell) != job.inputs:
        raise Mistake("the corpus or a plugin's source was edited after the run began; run again")
    checkpoints = store.checkpoint_folder(address)
    desk = Desk(job.place, None, checkpoints, job.jobs, ears.on_live, ears.on_point)
    if not (job.keep_weights and isinstance(job.cell, Cell)):
        return run(job.cell, registry, desk)
    with store.weights_draft(address) as draft:
        outcome = run(job.cell, registry, replace(desk, weights=draft))
        store.keep_weights(address, draft)
        return outcome


def failure(job: Job, status: str, error: BaseException | str, seconds: float) -> Failure:
    """Return the end of a cell that has no record; texts are bounded."""
    circumstances = Circumstances(capture(), now(), job.jobs, round(load_average(), 2))
    kind = error if isinstance(error, str) else type(error).__name__
    message = "" if isinstance(error, str) else str(error)
    trace = "" if isinstance(error, str) else "".join(traceback.format_exception(error))
    return Failure(
        job.inputs,
        status,
        kind,
        message[:LONGEST_MESSAGE],
        _without_paths(trace)[-LONGEST_TRACEBACK:],
        round(seconds, 3),
        circumstances,
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


def work(job: Job, connection: Connection) -> None:
    """Be a worker: attempt the cell, and tell the parent how it goes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    threading.Thread(target=_die_with_parent, args=(connection,), daemon=True).start()
    ears = Ears(connection.send, connection.send, lambda: connection.send(Begun()))
    try:
        attempt(job, Registry.installed(), ears)
        connection.send(None)
    except StoreError as error:
        connection.send(error)


def _die_with_parent(connection: Connection) -> None:
    """End this process as soon as its parent is gone, so that no orphan computes a cell."""
    try:
        connection.recv()
    except (EOFError, OSError):
        os._exit(1)
