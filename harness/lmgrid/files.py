"""Writes files and folders atomically."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

DRAFT = ".draft-"  # prefix of the names of temporary files and folders


def write_file(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write a file completely or not at all, replacing one of that name.

    The data is written to a temporary file in the same folder, which is then renamed. With
    ``durable``, the data and the name are flushed to disk (fsync) and survive a power failure.
    """
    with draft_file(path.parent, data, durable=durable) as draft:
        draft.replace(path)
        if durable:
            sync_folder(path.parent)


def create_file(path: Path, data: bytes, *, drafts: Path, prefix: str = DRAFT) -> None:
    """Write a new file completely or not at all; leave a file of that name as it is.

    The data is written to a temporary file in ``drafts``, a folder of the same file system, which
    is then linked to ``path``. The data and the name are flushed to disk (fsync).
    """
    with draft_file(drafts, data, prefix=prefix) as draft:
        with suppress(FileExistsError):
            os.link(draft, path)
        sync_folder(path.parent)


@contextmanager
def draft_file(
    folder: Path, data: bytes, *, prefix: str = DRAFT, durable: bool = True
) -> Iterator[Path]:
    """Write data to a temporary file, and remove the file at the end unless it was moved."""
    handle, name = tempfile.mkstemp(prefix=prefix, dir=folder)
    draft = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def replace_folder(draft: Path, path: Path, *, durable: bool = True) -> None:
    """Rename a folder that is completely written, replacing one of that name.

    ``draft`` holds files only and is on the same file system as ``path``. An older folder is first
    renamed to ``<draft>-old`` and then removed. With ``durable``, the files and the names are
    flushed to disk (fsync) before the renaming, and the new name after it.
    """
    if durable:
        for file in draft.iterdir():
            _sync_file(file)
        sync_folder(draft)
    old = draft.with_name(f"{draft.name}-old")
    if path.exists():
        path.rename(old)
    draft.rename(path)
    if durable:
        sync_folder(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to disk (fsync); do nothing where a folder cannot be opened."""
    with suppress(PermissionError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _sync_file(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
