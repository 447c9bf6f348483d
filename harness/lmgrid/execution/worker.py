"""The worker process: one attempt to run a cell. It ends when the process that started it ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing.connection import Connection
from typing import TypeAlias

from lmgrid.execution.attempt import LockedElsewhere, attempt
from lmgrid.execution.job import Job
from lmgrid.execution.messages import Message, callbacks_to
from lmgrid.plugin.registry import Registry
from lmgrid.records.store import StoreError

PRELOAD = "LMGRID_PRELOAD"  # environment variable: a Preload as JSON
STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
PR_SET_PDEATHSIG = 1  # linux/prctl.h: ask for a signal when the parent process ends


@dataclass(frozen=True)
class Preload:
    """What the fork server imports before it forks workers."""

    path: tuple[str, ...]  # its sys.path
    modules: tuple[str, ...]


# What a worker sends. None: the cell's outcome is in the store.
Sent: TypeAlias = Message | LockedElsewhere | StoreError | None


def search_path() -> tuple[str, ...]:
    """Return the folders of ``sys.path`` that hold installed distributions."""
    return tuple(p for p in sys.path if p and _holds_distributions(p))


def _holds_distributions(folder: str) -> bool:
    try:
        return any(name.endswith(("-info", ".egg")) for name in os.listdir(folder))
    except OSError:
        return False


@cache
def installed(path: tuple[str, ...]) -> Registry:
    """Return the plugins found on a path. A process that is forked later has them already."""
    return Registry.installed()


def work(job: Job, connection: Connection) -> None:
    """Run a cell as a worker process; send messages, at last how it ended."""
    become_worker()
    threading.Thread(target=_die_with_parent, args=(connection,), daemon=True).start()

    def send(message: Sent) -> None:
        try:
            connection.send(message)
        except OSError:  # the parent is gone; that is not an error of the cell
            os._exit(1)

    try:
        attempt(replace(job, own_process=True), installed(search_path()), callbacks_to(send))
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):  # the cell may have replaced or closed it
                stream.flush()
        send(None)  # from here on this process may be ended at any moment
    except (StoreError, LockedElsewhere) as error:
        send(error)


def become_worker() -> None:
    """Ignore stop signals, lead a process group of its own, and send output to standard error."""
    ignore_stops()
    end_with_parent()
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    with suppress(OSError):  # standard error is closed
        os.dup2(2, 1)


def ignore_stops() -> None:
    """Ignore the stop signals: the run decides when its workers end."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def end_with_parent() -> None:
    """Ask the system to kill this process when its parent ends (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def end_group(leader: int) -> None:
    """Kill a worker and every process that it started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def _die_with_parent(connection: Connection) -> None:
    """End this process, and what it started, when the parent's end of the pipe is closed."""
    try:
        connection.recv()
    except (EOFError, OSError):
        if hasattr(os, "killpg"):
            end_group(os.getpid())
        os._exit(1)
