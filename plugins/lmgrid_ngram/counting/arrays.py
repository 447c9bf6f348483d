"""Makes large arrays in memory or in memory-mapped files of a temporary folder."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray


class ArrayStore(Protocol):
    """Makes arrays of zeros, shape (size,)."""

    def zeros(self, size: int, dtype: DTypeLike) -> NDArray[Any]: ...


class MemoryStore:
    """Makes arrays in memory."""

    def zeros(self, size: int, dtype: DTypeLike) -> NDArray[Any]:
        return np.zeros(size, dtype)


class DiskStore:
    """Makes arrays as memory-mapped files in a temporary folder.

    The folder is removed with this object. The space of a file is reserved when it is made, so a
    full disk raises OSError then, and does not crash the process when a page is written.
    """

    def __init__(self, parent: Path) -> None:
        parent.mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(prefix="ngram-", dir=parent))
        self._remove = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._files = 0

    def zeros(self, size: int, dtype: DTypeLike) -> NDArray[Any]:
        if not size:
            return np.zeros(0, dtype)
        self._files += 1
        path = self._folder / str(self._files)
        length = size * np.dtype(dtype).itemsize
        with path.open("wb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, length)
            else:
                file.truncate(length)
        return np.memmap(path, dtype, mode="r+", shape=(size,))

    def close(self) -> None:
        """Remove the files; on POSIX systems arrays that are still mapped stay readable."""
        self._remove()
