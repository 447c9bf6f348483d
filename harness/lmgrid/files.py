"""Writes files atomically."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from lmgrid.checksum import sha256 as sha256

DRAFT = ".draft-"  # prefix of the names of temporary files


def write_draft(folder: Path, data: bytes, prefix: str = DRAFT) -> Path:
    """Write data to a new temporary file in a folder, with fsync; return its path."""
    handle, draft = tempfile.mkstemp(prefix=prefix, dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
    return Path(draft)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file atomically, replacing one of that name: by temporary file, fsync and rename."""
    draft = write_draft(path.parent, data)
    try:
        draft.replace(path)
        sync_folder(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Flush a file to disk (fsync)."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Flush the entries of a folder to disk; do nothing where a folder cannot be opened."""
    with suppress(PermissionError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
