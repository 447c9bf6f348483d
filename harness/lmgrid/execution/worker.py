"""A worker: one attempt in a process of its own, which may die, and ends when its run does."""

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

from lmgrid.cell.training import Live
from lmgrid.execution.attempt import Callbacks, Job, LockedElsewhere, attempt
from lmgrid.plugin.registry import Registry
from lmgrid.records.store import StoreError
from lmgrid.result import Point

PRELOAD = "LMGRID_PRELOAD"  # variable: a Preload as JSON
STOPS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
PR_SET_PDEATHSIG = 1  # linux/prctl.h: the signal to get when the parent ends


@dataclass(frozen=True)
class Preload:
    """What the server of the workers imports ahead, and where it looks for modules."""

    path: tuple[str, ...]
    modules: tuple[str, ...]


@dataclass(frozen=True)
class Begun:
    """A worker holds its cell's lock and begins; from now on its time counts."""


@dataclass(frozen=True)
class Waiting:
    """Another run has the cell; the worker waits for its lock."""


# What a worker says. None: an outcome is in the store.
Message: TypeAlias = Begun | Waiting | Live | Point | LockedElsewhere | StoreError | None


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
    stand_alone()
    threading.Thread(target=_die_with_parent, args=(connection,), daemon=True).start()

    def tell(message: Message) -> None:
        try:
            connection.send(message)
        except OSError:  # nobody listens any more; that is no fault of the cell
            os._exit(1)

    ears = Callbacks(tell, tell, lambda: tell(Begun()), lambda: tell(Waiting()))
    try:
        attempt(replace(job, own_process=True), installed(search_path()), ears)
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):  # whatever a cell has made of it
                stream.flush()
        tell(None)  # from here on this process may be ended at any moment
    except (StoreError, LockedElsewhere) as error:
        tell(error)


def stand_alone() -> None:
    """Make this process the head of a group, which ends as one, and its output no result's."""
    ignore_stops()
    end_with_parent()
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    with suppress(OSError):  # standard error is closed
        os.dup2(2, 1)


def ignore_stops() -> None:
    """Leave it to the run when to stop: a terminal or a queue signals all processes at once."""
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)


def end_with_parent() -> None:
    """Let the system kill this process when its parent ends, where it can (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def end_group(leader: int) -> None:
    """Kill a worker and whatever it started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def _die_with_parent(connection: Connection) -> None:
    """End this process as soon as its parent is gone, so that no orphan computes a cell."""
    try:
        connection.recv()
    except (EOFError, OSError):
        if hasattr(os, "killpg"):
            end_group(os.getpid())
        os._exit(1)
