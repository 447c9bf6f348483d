"""Cells to outcomes, side by side, each in a process that may die."""

from __future__ import annotations

import math
import multiprocessing
import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from threading import Event
from time import monotonic

from lmgrid.grid import AnyCell, Grid, GridError
from lmgrid.plan import Planned, place_of, plan
from lmgrid.record import Outcome, Point
from lmgrid.registry import Registry
from lmgrid.store import Store, StoreError
from lmgrid.training import Live
from lmgrid.worker import Begun, Ears, Job, Message, attempt, failure, work

POLL_SECONDS = 0.1
# Windows has no fork; a fork of a process with threads, which this one is, may hang.
CONTEXT = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")


@dataclass(frozen=True)
class Manner:
    """How cells are executed. None of it decides a number; only times may feel ``jobs``."""

    jobs: int = 1
    timeout: float | None = None  # seconds of wall time a cell, from when it holds its lock
    keep_weights: bool = True


@dataclass
class Halt:
    """Asked to stop: ``soon`` starts no new cell, ``now`` ends the running ones too."""

    soon: Event = field(default_factory=Event)
    now: Event = field(default_factory=Event)

    def ask(self) -> None:
        (self.now if self.soon.is_set() else self.soon).set()


class Listener:
    """Hears of a run; each method does nothing unless a subclass does."""

    def started(self, planned: Planned) -> None: ...

    def live(self, planned: Planned, live: Live) -> None: ...

    def point(self, planned: Planned, point: Point) -> None: ...

    def finished(self, planned: Planned, outcome: Outcome) -> None: ...


@dataclass(frozen=True)
class Run:
    """A planned grid and what its execution needs."""

    grid: Grid
    store: Store
    planned: tuple[Planned, ...]
    manner: Manner = Manner()
    halt: Halt = field(default_factory=Halt)

    def job(self, planned: Planned) -> Job:
        return Job(
            planned.cell,
            planned.inputs,
            self.store.root,
            place_of(self.grid),
            self.manner.jobs,
            self.manner.keep_weights,
        )

    @property
    def remaining(self) -> tuple[Planned, ...]:
        return tuple(p for p in self.planned if not p.recorded)


def run_here(grid: Grid, store: Store, registry: Registry) -> Iterator[Outcome]:
    """Run what is left in this process; yield the outcome of every cell of the grid, in order."""
    run = Run(grid, store, plan(grid, store, registry))
    for planned in run.planned:
        found = store.find(planned.address) if planned.recorded else None
        yield found or attempt(run.job(planned), registry)


def execute(run: Run, listener: Listener) -> Iterator[tuple[Planned, Outcome]]:
    """Run what is left, each cell in a process of its own; yield outcomes as they come."""
    _preload(run.remaining)
    waiting = list(reversed(run.remaining))
    running: dict[Future[Outcome | None], Planned] = {}
    with ThreadPoolExecutor(run.manner.jobs) as pool:
        while running or (waiting and not run.halt.soon.is_set()):
            while waiting and len(running) < run.manner.jobs and not run.halt.soon.is_set():
                planned = waiting.pop()
                running[pool.submit(supervise, run, planned, listener)] = planned
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                planned, outcome = running.pop(future), future.result()
                if outcome is not None:
                    listener.finished(planned, outcome)
                    yield planned, outcome


def _preload(remaining: Sequence[Planned]) -> None:
    """Let the server that workers are forked from import what all of them need, once."""
    modules = dict.fromkeys(name for planned in remaining for name in planned.modules)
    CONTEXT.set_forkserver_preload(["lmgrid.worker", "lmgrid.kernel", "numpy", *modules])


def supervise(run: Run, planned: Planned, listener: Listener) -> Outcome | None:
    """Run a cell in a child process and turn any death of it into an outcome.

    Returns None where the run was stopped meanwhile.
    """
    job = run.job(planned)
    ours, theirs = CONTEXT.Pipe()
    process: BaseProcess = CONTEXT.Process(  # type: ignore[attr-defined]
        target=work, args=(job, theirs), daemon=True
    )
    started = monotonic()
    process.start()
    theirs.close()
    listener.started(planned)
    try:
        status = _listen(run, ours, _ears(planned, listener))
    finally:
        _end(process, ours)
    if status == "stopped":
        return None
    if not status:
        return run.store.find(job.inputs.address)
    found = failure(job, *_death(status, process, run.manner), monotonic() - started)
    run.store.add(found)
    return run.store.find(job.inputs.address)


def _ears(planned: Planned, listener: Listener) -> Ears:
    return Ears(
        lambda live: listener.live(planned, live), lambda point: listener.point(planned, point)
    )


def _listen(run: Run, connection: Connection, ears: Ears) -> str:
    """Hear a worker out; return why it ended without an outcome, or nothing if it has one."""
    deadline = math.inf
    while True:
        if run.halt.now.is_set():
            return "stopped"
        if monotonic() > deadline:
            return "timeout"
        try:
            if not connection.poll(POLL_SECONDS):
                continue
            message: Message = connection.recv()
        except (EOFError, OSError):
            # A signal to the whole group ends the workers too, and is no fault of theirs.
            return "stopped" if run.halt.soon.is_set() else "died"
        if message is None:
            return ""
        if isinstance(message, StoreError):
            raise message
        if isinstance(message, Begun):
            deadline = monotonic() + (run.manner.timeout or math.inf)
            continue
        (ears.on_live if isinstance(message, Live) else ears.on_point)(message)  # type: ignore[arg-type]


def _end(process: BaseProcess, connection: Connection) -> None:
    connection.close()  # a worker that still runs ends when it hears nothing any more
    process.join(1.0)
    if process.is_alive():
        process.kill()
        process.join()


def _death(status: str, process: BaseProcess, manner: Manner) -> tuple[str, str]:
    """Return status and cause of a worker that left no outcome."""
    if status == "timeout":
        return "timeout", f"over {manner.timeout:g} s"
    code = process.exitcode or 0
    if code < 0:
        return "killed", signal.Signals(-code).name
    return "error", f"worker ended with exit status {code}"


def check_jobs(jobs: int, cells: Sequence[AnyCell], cores: int) -> None:
    """Raise GridError if so many cells side by side would share cores."""
    threads = max((cell.threads for cell in cells), default=1)
    if threads > cores:
        raise GridError(f"threads = {threads}: there are {cores} cores here")
    if jobs > max(1, cores // threads):
        raise GridError(
            f"-j {jobs}: {jobs} cells of {threads} threads need more than the {cores} cores here; "
            f"at most -j {max(1, cores // threads)}"
        )
