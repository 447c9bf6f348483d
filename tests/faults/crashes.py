"""Crashes on purpose at named moments of a cell, where the environment asks for them.

LMGRID_CRASHES        a folder for the log and the counts; without it nothing here happens
LMGRID_CRASHES_AT     MOMENT:VICTIM:N,…: at each Nth time that a worker comes to the moment, it
                      kills itself (``worker``), or the run that started it (``run``)
LMGRID_CRASHES_SPOIL  ``sync`` or ``link``: do a plain write in its place; ``full``: a full disk
"""

from __future__ import annotations

import os
import signal
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import filelock

FOLDER = os.environ.get("LMGRID_CRASHES")
RUN = "LMGRID_CRASHES_RUN"
MOMENTS = ("before-lock", "mid-training", "mid-checkpoint", "before-link", "after-link")
_link, _fsync = os.link, os.fsync


def log(line: str) -> None:
    """Append a line to the log, whole even where several processes write."""
    if FOLDER:
        _append(Path(FOLDER) / "log", f"{line}\n".encode())


def _append(path: Path, data: bytes) -> int:
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(handle, data)
        return os.fstat(handle).st_size
    finally:
        os.close(handle)


def reach(moment: str) -> None:
    """Come to a moment, and crash if it is time to."""
    if not FOLDER or str(os.getpid()) == os.environ[RUN]:
        return
    count = _append(Path(FOLDER) / moment, b".")
    for asked in filter(None, os.environ.get("LMGRID_CRASHES_AT", "").split(",")):
        at, victim, every = asked.split(":")
        if at == moment and count % int(every) == 0:
            log(f"kill {victim} {moment}")
            os.kill(os.getpid() if victim == "worker" else int(os.environ[RUN]), signal.SIGKILL)


def install() -> None:
    """Put the moments into the functions that pass them."""
    if not FOLDER:
        return
    from lmgrid.cell.cell_runner import CellRunner
    from lmgrid.cell.training import TrainingMeter
    from lmgrid.records.store import Store

    os.environ.setdefault(RUN, str(os.getpid()))  # the run imports plugins before any worker
    spoilt = os.environ.get("LMGRID_CRASHES_SPOIL", "")
    os.fsync = _unsynced if spoilt == "sync" else _synced  # type: ignore[assignment]
    os.link = _written if spoilt == "link" else _linked  # type: ignore[assignment]
    os.replace = _during_checkpoint(os.replace)
    filelock.FileLock.acquire = _before(filelock.FileLock.acquire)  # type: ignore[method-assign]
    Store.add = _acknowledged(Store.add)  # type: ignore[method-assign]
    TrainingMeter.add = _trained(TrainingMeter.add)  # type: ignore[method-assign]
    CellRunner.run = _begun(CellRunner.run)  # type: ignore[method-assign]
    if spoilt == "full":
        tempfile.mkstemp = _on_a_full_disk(tempfile.mkstemp)  # type: ignore[assignment]


def _unsynced(handle: int) -> None:
    """Leave it to the system when to write."""


def _synced(handle: int) -> None:
    _fsync(handle)
    state = os.fstat(handle)
    if stat.S_ISDIR(state.st_mode):
        for name in os.listdir(handle):
            log(f"name {name}")
    else:
        log(f"bytes {state.st_ino} {state.st_size}")


def _linked(source: Any, target: Any) -> None:
    reach("before-link")
    _link(source, target)
    reach("after-link")


def _written(source: Any, target: Any) -> None:
    data = Path(source).read_bytes()
    with Path(target).open("wb") as file:
        file.write(data[: len(data) // 2])
        file.flush()
        reach("before-link")
        file.write(data[len(data) // 2 :])
    reach("after-link")


def _during_checkpoint(replace: Callable[..., None]) -> Callable[..., None]:
    def wrapped(source: Any, target: Any, **options: Any) -> None:
        if Path(target).name == "checkpoint.msgpack":
            reach("mid-checkpoint")
        replace(source, target, **options)

    return wrapped


def _before(acquire: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(lock: Any, *arguments: Any, **options: Any) -> Any:
        reach("before-lock")
        return acquire(lock, *arguments, **options)

    return wrapped


def _acknowledged(add: Callable[..., None]) -> Callable[..., None]:
    def wrapped(store: Any, outcome: Any) -> None:
        add(store, outcome)
        if not hasattr(outcome, "status"):
            log(f"done {outcome.inputs.address}")

    return wrapped


def _trained(add: Callable[..., None]) -> Callable[..., None]:
    def wrapped(meter: Any, progress: Any) -> None:
        reach("mid-training")
        add(meter, progress)

    return wrapped


def _begun(run: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(runner: Any, cell: Any, workspace: Any, *, planned: Any) -> Any:
        log(f"begin {planned.address} {os.environ[RUN]}")
        return run(runner, cell, workspace, planned=planned)

    return wrapped


def _on_a_full_disk(mkstemp: Callable[..., tuple[int, str]]) -> Callable[..., tuple[int, str]]:
    """Let records after the second go to where nothing has room."""

    def wrapped(*arguments: Any, **options: Any) -> tuple[int, str]:
        handle, name = mkstemp(*arguments, **options)
        drafts = Path(name).parent
        if drafts.name == "drafts" and len(list(drafts.parent.glob("records/*"))) == 2:
            os.dup2(os.open("/dev/full", os.O_WRONLY), handle)
        return handle, name

    return wrapped
