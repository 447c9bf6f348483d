"""Caches computed values on disk by key; a damaged entry counts as missing.

Nothing here raises OSError: without a usable cache, values are computed again.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

from lmgrid.files import write_file
from lmgrid.machine.environment import cache_folder

_SIZE = 16  # bytes of a checksum


def load_cached(kind: str, key: bytes) -> bytes | None:
    """Return the data that was saved under a key; None if there is none or it is damaged."""
    try:
        content = _path(kind, key).read_bytes()
    except OSError:
        return None
    checksum, data = content[:_SIZE], content[_SIZE:]
    return data if checksum == _checksum(key, data) else None


def save_cached(kind: str, key: bytes, data: bytes) -> None:
    """Save data under a key. ``kind`` names the folder of the cache in which it is kept.

    The file is written atomically. It is not flushed to disk, since damage is noticed.
    """
    path = _path(kind, key)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, _checksum(key, data) + data, durable=False)


def _path(kind: str, key: bytes) -> Path:
    return cache_folder() / kind / hashlib.blake2b(key, digest_size=_SIZE).hexdigest()


def _checksum(key: bytes, data: bytes) -> bytes:
    return hashlib.blake2b(len(key).to_bytes(8, "big") + key + data, digest_size=_SIZE).digest()
