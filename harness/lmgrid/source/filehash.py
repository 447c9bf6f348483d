"""The hash of a file or folder that is no Python source; large files are hashed once a machine."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from lmgrid.source.memo import keep, recall

SIZE = 16  # bytes of a digest
SMALL = 2**17  # bytes; below, reading a file costs no more than looking its digest up
SETTLED = 2 * 10**9  # nanoseconds; a younger file may change again within one tick of its clock
_CHUNK = 2**20


def digest_of(path: Path) -> str:
    """Return the blake2b hash of a file's bytes, or of a folder's file names and their bytes.

    Raises FileNotFoundError if there is nothing, and OSError if it cannot be read.
    """
    return _folder(path) if path.is_dir() else _file(path)


def content_of(path: Path) -> str:
    """Return the hash of what ``files_in`` yields: a file's bytes, or the name a link leads to."""
    if path.is_file():
        return _file(path)
    target = os.fsencode(Path(os.readlink(path)).name)
    return hashlib.blake2b(b"link\x00" + target, digest_size=SIZE).hexdigest()


def files_in(folder: Path, is_stray: Callable[[str], bool] = lambda name: False) -> Iterator[Path]:
    """Yield the regular files of a folder and of the folders in it, also of those that are links.

    Of links that lead nowhere, or back to a folder that they stand in, the links themselves.
    What bears a name that ``is_stray`` is left out.
    """
    passed = {os.fspath(folder): frozenset({os.path.realpath(folder)})}
    for parent, folders, names in os.walk(folder, followlinks=True):
        above = passed.pop(parent)
        real = {name: os.path.realpath(os.path.join(parent, name)) for name in folders}
        kept = [name for name in sorted(folders) if not is_stray(name)]
        folders[:] = [name for name in kept if real[name] not in above]
        passed |= {os.path.join(parent, name): above | {real[name]} for name in folders}
        yield from (Path(parent, name) for name in kept if real[name] in above)
        paths = (Path(parent, name) for name in sorted(names) if not is_stray(name))
        yield from (path for path in paths if path.is_file() or _leads_nowhere(path))


def _leads_nowhere(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


def _folder(folder: Path) -> str:
    hashed = hashlib.blake2b(digest_size=SIZE)
    named = {path.relative_to(folder).as_posix(): path for path in files_in(folder)}
    for name in sorted(named):
        hashed.update(
            name.encode("utf-8", "surrogateescape") + b"\x00" + content_of(named[name]).encode()
        )
    return hashed.hexdigest()


def _file(path: Path) -> str:
    before = path.stat()
    if not stat.S_ISREG(before.st_mode):
        raise OSError(f"{path} is not a regular file")
    if before.st_size < SMALL:
        return hashlib.blake2b(path.read_bytes(), digest_size=SIZE).hexdigest()
    key = repr((os.fspath(path.absolute()), _state(before))).encode("utf-8", "surrogateescape")
    if known := recall("hashes", key):
        return known.decode()
    found = _hash(path)
    if _state(path.stat()) == _state(before) and _is_settled(before):
        keep("hashes", key, found.encode())
    return found


def _hash(path: Path) -> str:
    hashed = hashlib.blake2b(digest_size=SIZE)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            hashed.update(chunk)
    return hashed.hexdigest()


def _state(found: os.stat_result) -> tuple[int, ...]:
    """Return what changes whenever a file does."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _is_settled(found: os.stat_result) -> bool:
    return max(found.st_mtime_ns, found.st_ctime_ns) < time.time_ns() - SETTLED
