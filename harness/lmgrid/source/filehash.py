"""Hashes files and folders. The hash of a large file is cached on disk while it is unchanged."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from lmgrid.source.disk_cache import load_cached, save_cached

SIZE = 16  # bytes of a digest
SMALL = 2**17  # bytes of a file below which reading it costs no more than finding its hash
# Nanoseconds. A younger file may change again without a new time stamp, so it is not cached.
SETTLED = 2 * 10**9
_CHUNK = 2**20  # bytes read at once


def digest_of(path: Path) -> str:
    """Return the BLAKE2b hash of a file's bytes, or of a folder's file names and their bytes.

    The hash has 32 hexadecimal digits. Raises FileNotFoundError if there is nothing, and OSError
    if it cannot be read.
    """
    return _hash_folder(path) if path.is_dir() else _hash_file(path)


def content_of(path: Path) -> str:
    """Return the hash of a path that ``files_in`` yields.

    It is that of a file's bytes, or of the name that a broken link points to.
    """
    if path.is_file():
        return _hash_file(path)
    target = os.fsencode(Path(os.readlink(path)).name)
    return hashlib.blake2b(b"link\x00" + target, digest_size=SIZE).hexdigest()


def files_in(folder: Path, is_stray: Callable[[str], bool] = lambda name: False) -> Iterator[Path]:
    """Yield the regular files of a folder and of the folders in it, following links.

    A link that is broken, or that points to a folder that contains it, is yielded itself. Files
    and folders whose name ``is_stray`` are left out.
    """
    # By folder that is still to be visited: the real paths of the folder and of those around it.
    ancestors = {os.fspath(folder): frozenset({os.path.realpath(folder)})}
    for parent, folders, names in os.walk(folder, followlinks=True):
        above = ancestors.pop(parent)
        # Visit the folders that do not contain this one, and yield the links to those that do.
        real = {name: os.path.realpath(os.path.join(parent, name)) for name in folders}
        kept = [name for name in sorted(folders) if not is_stray(name)]
        folders[:] = [name for name in kept if real[name] not in above]
        ancestors |= {os.path.join(parent, name): above | {real[name]} for name in folders}
        yield from (Path(parent, name) for name in kept if real[name] in above)
        # Yield the files.
        paths = (Path(parent, name) for name in sorted(names) if not is_stray(name))
        yield from (path for path in paths if path.is_file() or _is_broken_link(path))


def _is_broken_link(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


def _hash_folder(folder: Path) -> str:
    hashed = hashlib.blake2b(digest_size=SIZE)
    named = {path.relative_to(folder).as_posix(): path for path in files_in(folder)}
    for name in sorted(named):
        hashed.update(
            name.encode("utf-8", "surrogateescape") + b"\x00" + content_of(named[name]).encode()
        )
    return hashed.hexdigest()


def _hash_file(path: Path) -> str:
    before = path.stat()
    if not stat.S_ISREG(before.st_mode):
        raise OSError(f"{path} is not a regular file")
    if before.st_size < SMALL:
        return hashlib.blake2b(path.read_bytes(), digest_size=SIZE).hexdigest()
    key = repr((os.fspath(path.absolute()), _state(before))).encode("utf-8", "surrogateescape")
    if known := load_cached("hashes", key):
        return known.decode()
    found = _hash_chunks(path)
    if _state(path.stat()) == _state(before) and _is_settled(before):
        save_cached("hashes", key, found.encode())
    return found


def _hash_chunks(path: Path) -> str:
    hashed = hashlib.blake2b(digest_size=SIZE)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            hashed.update(chunk)
    return hashed.hexdigest()


def _state(found: os.stat_result) -> tuple[int, ...]:
    """Return numbers of which at least one differs after a change of the file."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _is_settled(found: os.stat_result) -> bool:
    return max(found.st_mtime_ns, found.st_ctime_ns) < time.time_ns() - SETTLED
