"""What was asked of a results folder: the command line and the grid file of each run."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from lmgrid.files import write_whole
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
    last = next(iter(reversed(requests(root))), None)
    if last and (last.command, last.grid) == (request.command, grid):
        return
    folder = os.path.relpath(request.folder, root) if request.folder else ""
    line = msgspec.json.encode(Kept(request.command, grid, folder, now()))
    with (root / COMMANDS).open("ab") as file:
        file.write(line + b"\n")


def _keep_grid(root: Path, document: bytes) -> str:
    """Keep a grid file under a hash of its bytes, which is returned with the file's ending."""
    name = f"{hashlib.sha256(document).hexdigest()[:16]}.toml"
    if not (root / GRIDS / name).exists():
        (root / GRIDS).mkdir(exist_ok=True)
        write_whole(root / GRIDS / name, document)
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
