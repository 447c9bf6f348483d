"""Runs a cell in a child process and turns whatever happens to that process into an outcome.

Every executor calls ``supervise`` on the machine where the cell is to run.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from time import monotonic
from types import FunctionType, ModuleType
from typing import Protocol

import msgspec

from lmgrid.callbacks import Callbacks
from lmgrid.engine import StopSignal
from lmgrid.execution.attempt import LockedElsewhere, failure, store_outcome
from lmgrid.execution.attempt import Termination as Termination  # for executors
from lmgrid.execution.job import Job
from lmgrid.execution.messages import Begun, Waiting, dispatch
from lmgrid.execution.worker import PRELOAD, STOP_SIGNALS, Preload, Sent, end_group, work
from lmgrid.machine.memory import MemoryMonitor
from lmgrid.records.record import Outcome
from lmgrid.records.store import Store, StoreError
from lmgrid.records.verify import MANIFEST

POLL_SECONDS = 0.05
# Windows has no fork; a fork of a process with threads, which this one is, may hang.
CONTEXT = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")
WORKER = (
    "import sys; sys.path[:] = {path}; "
    "from lmgrid.execution.supervise import serve; serve({handle})"
)


class Child(Protocol):
    """A child process that runs a cell."""

    @property
    def pid(self) -> int | None: ...

    @property
    def exitcode(self) -> int | None: ...

    def join(self, timeout: float | None = None) -> None: ...

    def kill(self) -> None: ...


def preload(modules: Iterable[str]) -> None:
    """Let the fork server import modules once, so that no worker needs to import them.

    A worker imports the main module again, so the modules that the main module imports are
    added. The names go to ``lmgrid.execution.preload`` in an environment variable, since the fork
    server itself ends if an import fails.
    """
    main = dict.fromkeys(_imported_by(sys.modules["__main__"]))
    asked = Preload(tuple(sys.path), ("lmgrid.cell.kernel", "numpy", *main, *modules))
    os.environ[PRELOAD] = msgspec.json.encode(asked).decode()
    CONTEXT.set_forkserver_preload(["lmgrid.execution.preload"])


def _imported_by(module: ModuleType) -> Iterator[str]:
    """Yield the names of the modules from which a module has imported something."""
    for value in vars(module).values():
        name = value.__name__ if isinstance(value, ModuleType) else value.__class__.__module__
        if isinstance(value, (type, FunctionType)):
            name = value.__module__
        if name not in ("__main__", "builtins"):
            yield name


def start_server() -> None:
    """Start the fork server, from the thread that lives as long as the run.

    Stop signals are blocked meanwhile, so that the server and its workers never obey one that a
    terminal or a batch queue sends to all processes at once.
    """
    if sys.platform == "win32":
        return
    from multiprocessing import forkserver

    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    in_main = threading.current_thread() is threading.main_thread()
    handlers = {n: signal.signal(n, signal.SIG_IGN) for n in STOP_SIGNALS} if in_main else {}
    try:
        forkserver.ensure_running()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)  # signals sent meanwhile come now


def supervise(job: Job, callbacks: Callbacks, stop: StopSignal) -> Outcome | None:
    """Run a cell in a child process; return its stored outcome.

    A process that dies, exceeds its time or its memory leaves a Failure. Returns None if the run
    was stopped before the cell ended. LockedElsewhere if another run has the cell and the job does
    not wait for it; StoreError if the outcome cannot be stored.
    """
    started = monotonic()
    try:
        connection, child = _start(job)
    except (OSError, EOFError) as error:  # no process or no pipe could be made
        return store_failure(job, Termination("error", error), monotonic() - started)
    watch = MemoryMonitor(child.pid or 0)
    try:
        why = _Supervision(job, connection, child, watch).wait(callbacks, stop)
    finally:
        _end(child, connection)
    if why == "stopped":
        return None
    if not why:
        return Store(job.root).get(job.inputs.address)
    end = _termination(why, child.exitcode or 0, job)
    return store_failure(job, end, monotonic() - started, watch.peak or None)


def store_failure(
    job: Job, end: Termination, seconds: float, peak_bytes: int | None = None
) -> Outcome:
    """Store the failure of a cell whose process stored no outcome itself."""
    store = Store(job.root)
    store.add(failure(job, end, seconds, peak_bytes))
    return store.get(job.inputs.address)


def deliver(job: Job, outcome: Outcome, files: Iterable[tuple[str, bytes]]) -> Outcome:
    """Store an outcome, and model files by name, that were made without the results folder.

    If an outcome that settles the job is stored already, that one is returned and nothing stored.
    """
    store, address = Store(job.root), job.inputs.address
    with store.lock(address):
        before = store.find(address)
        if before and job.is_settled_by(before):
            return before
        with store.weights_draft(address) as draft:
            draft.mkdir()
            for name, data in files:
                if _is_file_name(name) and name != MANIFEST:
                    (draft / name).write_bytes(data)
            store.keep_weights(address, draft)
        store_outcome(outcome, store)
        return store.get(address)


def _is_file_name(name: str) -> bool:
    """Whether a name from another machine is a plain file name, which leads to no other folder."""
    plain = Path(name).name == name and name not in ("", "..") and "\x00" not in name
    return plain and len(name.encode()) < 256


@dataclass(frozen=True)
class _Supervision:
    """Receives the messages of a worker, and watches its time and its memory."""

    job: Job
    connection: Connection
    child: Child
    watch: MemoryMonitor

    def wait(self, callbacks: Callbacks, stop: StopSignal) -> str:
        """Return why a worker ended without an outcome; empty if it stored one."""
        options = self.job.options
        deadline, waiting, looked = math.inf, False, 0.0
        while True:
            # Look for a reason to end it: a stop, its time, its memory.
            if stop.immediate.is_set() or (stop.graceful.is_set() and waiting):
                return "stopped"
            if monotonic() > deadline:
                return "timeout"
            if monotonic() > looked + POLL_SECONDS:
                looked = monotonic()
                if self.watch.sample() > (options.memory or math.inf):
                    return "out-of-memory"
            # Receive its next message, if there is one.
            try:
                if not self._has_message():
                    continue
                message: Sent = self.connection.recv()
            except (EOFError, OSError):
                return "died"
            # Obey the message: it has ended, or it reports something.
            if message is None:
                return ""
            if isinstance(message, (StoreError, LockedElsewhere)):
                raise message
            if isinstance(message, Waiting):
                waiting = True
            elif isinstance(message, Begun):
                waiting, deadline = False, monotonic() + (options.timeout or math.inf)
            dispatch(message, callbacks)

    def _has_message(self) -> bool:
        """Return whether there is a message; EOFError if the worker died.

        A process that it started may still hold its end of the pipe open.
        """
        if self.connection.poll(POLL_SECONDS):
            return True
        if self.child.exitcode is not None and not self.connection.poll(0):
            raise EOFError
        return False


def _end(child: Child, connection: Connection) -> None:
    """End a worker and every process that it started."""
    connection.close()  # a worker that still runs ends when the pipe is closed
    child.join(1.0)
    if child.pid and hasattr(os, "killpg"):
        end_group(child.pid)
    if child.exitcode is None:
        child.kill()
        child.join()


def _termination(why: str, code: int, job: Job) -> Termination:
    """Return how a worker ended that stored no outcome."""
    options = job.options
    if why == "timeout":
        return Termination(why, f"over {options.timeout:g} s")
    if why == "out-of-memory":
        return Termination(why, f"over {(options.memory or 0) / 1e6:,.0f} MB")
    if code < 0:
        return Termination("killed", _name_signal(-code))
    return Termination("error", f"worker ended with exit status {code}")


def _name_signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # most real-time signals have no name
        return f"signal {number}"


# ---------------------------------------------------------------- how a child is started


def _start(job: Job) -> tuple[Connection, Child]:
    ours, theirs = CONTEXT.Pipe()
    try:
        if multiprocessing.current_process().daemon:  # a dask worker is; it may not fork
            child: Child = _Interpreter(theirs)
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


class _Interpreter:
    """A worker in a new interpreter, where multiprocessing may start no process (POSIX only)."""

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
    """Run as a worker that was started with a pipe, and receive the job through it."""
    connection = Connection(handle)
    work(connection.recv(), connection)
