"""What was asked of a results folder: the command line and the grid file of each run."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from lmgrid.environment import now
from lmgrid.files import write_whole

COMMANDS, GRIDS = "commands.jsonl", "grids"


@dataclass(frozen=True)
class Request:
    """One run as it was asked for."""

    command: str  # as it was typed
    grid: str = ""  # file name below ``grids``; empty: it had no grid file
    folder: str = ""  # of the grid file, from the results folder; empty: a grid of lmgrid's own
    started: str = ""  # ISO 8601, UTC


def keep_request(
    root: Path, command: str, document: bytes = b"", folder: Path | None = None
) -> None:
    """Keep a command line and the bytes of its grid file, unless the last run asked the same."""
    grid = f"{hashlib.sha256(document).hexdigest()[:16]}.toml" if document else ""
    if grid and not (root / GRIDS / grid).exists():
        (root / GRIDS).mkdir(exist_ok=True)
        write_whole(root / GRIDS / grid, document)
    asked = Request(command, grid, os.path.relpath(folder, root) if folder else "")
    last = next(iter(reversed(requests(root))), None)
    if last and (last.command, last.grid) == (asked.command, asked.grid):
        return
    line = msgspec.json.encode(replace(asked, started=now())) + b"\n"
    with (root / COMMANDS).open("ab") as file:
        file.write(line)


def requests(root: Path) -> tuple[Request, ...]:
    """Return what was asked of a results folder, the earliest first, without torn lines."""
    return tuple(_read(root / COMMANDS))


def _read(path: Path) -> Iterator[Request]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return
    for line in lines:
        with suppress(msgspec.MsgspecError):
            yield msgspec.json.decode(line, type=Request)
