"""Records the history of a results folder: the command line and the grid file of each run."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from lmgrid.files import write_file
from lmgrid.machine.environment import now

COMMANDS, GRIDS = "commands.jsonl", "grids"  # in the results folder


@dataclass(frozen=True)
class Invocation:
    """The command line of a run, and the grid file that it names."""

    command: str  # as it was typed
    document: bytes = b""  # the content of the grid file; empty if there is none
    folder: Path | None = None  # what relative paths in the file are relative to; None: none


@dataclass(frozen=True)
class HistoryEntry:
    """A run in the history of a results folder: a line of ``commands.jsonl``."""

    command: str
    grid: str  # name of the file in ``grids``; empty if there is none
    folder: str  # of the grid file, relative to the results folder; empty if there is none
    started: str  # ISO 8601, UTC


def record_invocation(root: Path, invocation: Invocation) -> None:
    """Append a run to the history of the results folder ``root``, unless it repeats the last one.

    A copy of the grid file is kept in ``grids``.
    """
    # Describe the run.
    grid = _copy_grid(root, invocation.document) if invocation.document else ""
    folder = invocation.folder
    relative = os.path.relpath(folder.resolve(), root.resolve()) if folder else ""
    entry = HistoryEntry(invocation.command, grid, relative, now())
    # Compare it with the last one.
    last = next(iter(reversed(read_history(root))), None)
    if last and replace(last, started=entry.started) == entry:
        return
    # Append it, on a line of its own even if the last line is incomplete.
    with (root / COMMANDS).open("ab") as file:
        start = b"\n" if _ends_within_line(root / COMMANDS) else b""
        file.write(start + msgspec.json.encode(entry) + b"\n")


def _copy_grid(root: Path, document: bytes) -> str:
    """Keep a copy of a grid file, and return its name, which is a hash of the content."""
    name = f"{hashlib.sha256(document).hexdigest()[:16]}.toml"
    if not (root / GRIDS / name).exists():
        (root / GRIDS).mkdir(exist_ok=True)
        write_file(root / GRIDS / name, document)
    return name


def _ends_within_line(path: Path) -> bool:
    """Return whether the last line is incomplete, since a run was killed while it wrote it."""
    data = path.read_bytes()
    return bool(data) and not data.endswith(b"\n")


def base_folders(root: Path) -> tuple[Path, ...]:
    """Return the folders that relative paths in the grid files are relative to, latest first."""
    found = [(root / entry.folder).resolve() for entry in read_history(root) if entry.folder]
    return tuple(dict.fromkeys(reversed(found)))


def read_history(root: Path) -> tuple[HistoryEntry, ...]:
    """Return the runs of a results folder, earliest first; incomplete lines are skipped."""
    return tuple(_read_lines(root / COMMANDS))


def _read_lines(path: Path) -> Iterator[HistoryEntry]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return
    for line in lines:
        with suppress(msgspec.MsgspecError):
            yield msgspec.json.decode(line, type=HistoryEntry)
