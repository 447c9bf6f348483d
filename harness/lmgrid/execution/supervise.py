"""A cell in a child process that may die; any death of it becomes an outcome.

Every executor calls ``supervise`` on the machine where it wants the cell to run.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from time import monotonic
from types import FunctionType, ModuleType
from typing import Protocol

import msgspec

from lmgrid.cell.training import Live
from lmgrid.engine import StopSignal
from lmgrid.execution.attempt import Job, LockedElsewhere, failure, keep, stands
from lmgrid.execution.attempt import Termination as Termination  # for executors
from lmgrid.execution.worker import (
    PRELOAD,
    STOPS,
    Begun,
    Message,
    Preload,
    Waiting,
    end_group,
    work,
)
from lmgrid.machine.memory import MemoryWatch
from lmgrid.records.record import Outcome
from lmgrid.records.store import Store, StoreError
from lmgrid.records.verify import MANIFEST
from lmgrid.result import Point

POLL_SECONDS = 0.05
# Windows has no fork; a fork of a process with threads, which this one is, may hang.
CONTEXT = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")
WORKER = (
    "import sys; sys.path[:] = {path}; "
    "from lmgrid.execution.supervise import serve; serve({handle})"
)

Hear = Callable[[Live | Point], None]


class Child(Protocol):
    """A process that runs a cell."""

    @property
    def pid(self) -> int | None: ...

    @property
    def exitcode(self) -> int | None: ...

    def join(self, timeout: float | None = None) -> None: ...

    def kill(self) -> None: ...


def preload(modules: Iterable[str]) -> None:
    """Let the server that workers are forked from import what all of them need, once.

    Every worker imports the main module anew, so that what this one imports is among it. Their
    names, and where to look for them, go by the environment to ``lmgrid.execution.preload``, since
    the server itself would end with an import that fails.
    """
    main = dict.fromkeys(_imported_by(sys.modules["__main__"]))
    asked = Preload(tuple(sys.path), ("lmgrid.cell.kernel", "numpy", *main, *modules))
    os.environ[PRELOAD] = msgspec.json.encode(asked).decode()
    CONTEXT.set_forkserver_preload(["lmgrid.execution.preload"])


def _imported_by(module: ModuleType) -> Iterator[str]:
    """Yield the modules whose contents a module has imported."""
    for value in vars(module).values():
        name = value.__name__ if isinstance(value, ModuleType) else value.__class__.__module__
        if isinstance(value, (type, FunctionType)):
            name = value.__module__
        if name not in ("__main__", "builtins"):
            yield name


def start_server() -> None:
    """Start what workers are forked from, in the thread that lives as long as the run.

    It and what is forked from it ignore from their birth what a terminal or a queue sends to all.
    """
    if sys.platform == "win32":
        return
    from multiprocessing import forkserver

    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    in_main = threading.current_thread() is threading.main_thread()
    handlers = {n: signal.signal(n, signal.SIG_IGN) for n in STOPS} if in_main else {}
    try:
        forkserver.ensure_running()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)  # what came meanwhile comes now


def supervise(job: Job, on_message: Hear, stop: StopSignal) -> Outcome | None:
    """Run a cell in a child process and turn any death of it into an outcome.

    Returns None where the run was stopped meanwhile, and raises Held where another run has the
    cell and the job is not to wait.
    """
    started = monotonic()
    try:
        connection, child = _start(job)
    except (OSError, EOFError) as error:  # no process, no pipe
        return conclude(job, Termination("error", error), monotonic() - started)
    watch = MemoryWatch(child.pid or 0)
    try:
        why = _Listening(job, connection, child, watch).hear_out(on_message, stop)
    finally:
        _end(child, connection)
    if why == "stopped":
        return None
    if not why:
        return Store(job.root).written(job.inputs.address)
    end = _death(why, child.exitcode or 0, job)
    return conclude(job, end, monotonic() - started, watch.peak or None)


def conclude(job: Job, end: Termination, seconds: float, peak_bytes: int | None = None) -> Outcome:
    """Store the failure of a cell that left none itself."""
    store = Store(job.root)
    store.add(failure(job, end, seconds, peak_bytes))
    return store.written(job.inputs.address)


def deliver(job: Job, outcome: Outcome, files: Iterable[tuple[str, bytes]]) -> Outcome:
    """Store what was made on a machine that does not see the results folder.

    Whatever stands there and is not to be replaced is returned instead, as where a cell is run.
    """
    store, address = Store(job.root), job.inputs.address
    with store.lock(address):
        before = store.find(address)
        if before and stands(before, job):
            return before
        with store.weights_draft(address) as draft:
            draft.mkdir()
            for name, data in files:
                if _is_file_name(name) and name != MANIFEST:
                    (draft / name).write_bytes(data)
            store.keep_weights(address, draft)
        keep(outcome, store)
        return store.written(address)


def _is_file_name(name: str) -> bool:
    """Whether a name that came from elsewhere can only mean a file of the folder it is put in."""
    plain = Path(name).name == name and name not in ("", "..") and "\x00" not in name
    return plain and len(name.encode()) < 256


@dataclass(frozen=True)
class _Listening:
    """Hears a worker out, and watches its time and its memory."""

    job: Job
    connection: Connection
    child: Child
    watch: MemoryWatch

    def hear_out(self, on_message: Hear, stop: StopSignal) -> str:
        """Return why a worker ended without an outcome, or nothing if it has one."""
        deadline, waits, looked = math.inf, False, 0.0
        while True:
            if stop.immediate.is_set() or (stop.graceful.is_set() and waits):
                return "stopped"
            if monotonic() > deadline:
                return "timeout"
            if monotonic() > looked + POLL_SECONDS:
                looked = monotonic()
                if self.watch.look() > (self.job.memory or math.inf):
                    return "out-of-memory"
            try:
                if not self._speaks():
                    continue
                message: Message = self.connection.recv()
            except (EOFError, OSError):
                return "died"
            if message is None:
                return ""
            if isinstance(message, (StoreError, LockedElsewhere)):
                raise message
            if isinstance(message, Waiting):
                waits = True
            elif isinstance(message, Begun):
                waits, deadline = False, monotonic() + (self.job.timeout or math.inf)
            else:
                on_message(message)

    def _speaks(self) -> bool:
        """Return whether there is a message; EOFError if the worker died.

        What it started may hold its end of the pipe and live on.
        """
        if self.connection.poll(POLL_SECONDS):
            return True
        if self.child.exitcode is not None and not self.connection.poll(0):
            raise EOFError
        return False


def _end(child: Child, connection: Connection) -> None:
    connection.close()  # a worker that still runs ends when it hears nothing any more
    child.join(1.0)
    if child.pid and hasattr(os, "killpg"):
        end_group(child.pid)  # and what it started
    if child.exitcode is None:
        child.kill()
        child.join()


def _death(why: str, code: int, job: Job) -> Termination:
    """Return the end of a worker that left no outcome."""
    if why == "timeout":
        return Termination(why, f"over {job.timeout:g} s")
    if why == "out-of-memory":
        return Termination(why, f"over {(job.memory or 0) / 1e6:,.0f} MB")
    if code < 0:
        return Termination("killed", _name_signal(-code))
    return Termination("error", f"worker ended with exit status {code}")


def _name_signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal but the first and the last
        return f"signal {number}"


# ---------------------------------------------------------------- how a child is started


def _start(job: Job) -> tuple[Connection, Child]:
    ours, theirs = CONTEXT.Pipe()
    try:
        if multiprocessing.current_process().daemon:  # as dask's workers are: it may have no child
            child: Child = _Plain(theirs)
            ours.send(job)
        else:
            process = CONTEXT.Process(target=work, args=(job, theirs))  # type: ignore[attr-defined]
            process.start()
            child = process
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return ours, child


class _Plain:
    """A new interpreter, for where multiprocessing starts none; POSIX alone hands it its pipe."""

    def __init__(self, connection: Connection) -> None:
        handle = connection.fileno()
        command = [sys.executable, "-c", WORKER.format(path=sys.path, handle=handle)]
        self._process = subprocess.Popen(command, pass_fds=[handle])

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exitcode(self) -> int | None:
        return self._process.poll()

    def join(self, timeout: float | None = None) -> None:
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return

    def kill(self) -> None:
        self._process.kill()


def serve(handle: int) -> None:
    """Be a worker that was started with a pipe; its job comes through it."""
    connection = Connection(handle)
    work(connection.recv(), connection)
