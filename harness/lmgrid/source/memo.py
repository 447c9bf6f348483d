"""Caches computed values on disk by key; a damaged entry counts as missing.

Nothing here raises OSError: without a usable cache, values are computed again.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

from lmgrid.files import write_file
from lmgrid.machine.environment import cache_folder

_SIZE = 16  # bytes of a check


def recall(kind: str, key: bytes) -> bytes | None:
    """Return the data kept under a key; None if there is none or it is damaged."""
    try:
        held = _place(kind, key).read_bytes()
    except OSError:
        return None
    check, data = held[:_SIZE], held[_SIZE:]
    return data if check == _check(key, data) else None


def keep(kind: str, key: bytes, data: bytes) -> None:
    """Keep data under a key; the file is written atomically, without fsync."""
    place = _place(kind, key)
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        write_file(place, _check(key, data) + data, durable=False)


def _place(kind: str, key: bytes) -> Path:
    return cache_folder() / kind / hashlib.blake2b(key, digest_size=_SIZE).hexdigest()


def _check(key: bytes, data: bytes) -> bytes:
    return hashlib.blake2b(len(key).to_bytes(8, "big") + key + data, digest_size=_SIZE).digest()
