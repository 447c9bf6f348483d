"""What was asked of a results folder: the command line and the grid file of each run."""

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

COMMANDS, GRIDS = "commands.jsonl", "grids"


@dataclass(frozen=True)
class Request:
    """A run as it is asked for."""

    command: str  # as it was typed
    document: bytes = b""  # the grid file; empty: there is none
    folder: Path | None = None  # what its relative paths count from; None: it has none


@dataclass(frozen=True)
class Kept:
    """A run as a results folder remembers it: a line of ``commands.jsonl``."""

    command: str
    grid: str  # the file's name in ``grids``; empty: there was none
    folder: str  # of the grid file, from the results folder; empty: it has no relative paths
    started: str  # ISO 8601, UTC


def keep_request(root: Path, request: Request) -> None:
    """Keep a command line and its grid file, unless the last run asked the same."""
    grid = _keep_grid(root, request.document) if request.document else ""
    folder = os.path.relpath(request.folder.resolve(), root.resolve()) if request.folder else ""
    kept = Kept(request.command, grid, folder, now())
    last = next(iter(reversed(requests(root))), None)
    if last and replace(last, started=kept.started) == kept:
        return
    with (root / COMMANDS).open("ab") as file:
        begins = b"\n" if _is_torn(root / COMMANDS) else b""
        file.write(begins + msgspec.json.encode(kept) + b"\n")


def _is_torn(path: Path) -> bool:
    """Return whether a run was killed while it wrote the last line."""
    lines = path.read_bytes()
    return bool(lines) and not lines.endswith(b"\n")


def base_folders(root: Path) -> tuple[Path, ...]:
    """Return what relative paths of the recorded grids count from, the latest first."""
    found = [(root / kept.folder).resolve() for kept in requests(root) if kept.folder]
    return tuple(dict.fromkeys(reversed(found)))


def _keep_grid(root: Path, document: bytes) -> str:
    """Keep a grid file under a hash of its bytes, which is returned with the file's ending."""
    name = f"{hashlib.sha256(document).hexdigest()[:16]}.toml"
    if not (root / GRIDS / name).exists():
        (root / GRIDS).mkdir(exist_ok=True)
        write_file(root / GRIDS / name, document)
    return name


def requests(root: Path) -> tuple[Kept, ...]:
    """Return what was asked of a results folder, the earliest first, without torn lines."""
    return tuple(_read(root / COMMANDS))


def _read(path: Path) -> Iterator[Kept]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return
    for line in lines:
        with suppress(msgspec.MsgspecError):
            yield msgspec.json.decode(line, type=Kept)
