"""The files of a corpus in a folder or a zip file, read in bounded pieces."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lmgrid.spec import Place
from lmgrid.text import TextError

DATA = "LMGRID_DATA"
_LARGEST = 1 << 26  # bytes of one member once unpacked


def locate(path: Path | None, usual: Sequence[str], place: Place) -> Path:
    """Return the folder or zip file of a corpus: ``path``, or else a usual name in LMGRID_DATA.

    Raises TextError if there is none.
    """
    if path is not None:
        whole = place.folder / path
        if whole.exists():
            return whole
        raise TextError(
            f"path: no {path} in {place.folder.absolute()}; give a folder or a zip file"
        )
    home = os.environ.get(DATA)
    if not home:
        raise TextError(f"give path, a folder or a zip file, or name the folder of data in {DATA}")
    for name in usual:
        if (Path(home) / name).exists():
            return Path(home) / name
    raise TextError(f"{DATA} is {home}, which holds none of {', '.join(usual)}; give path")


@dataclass(frozen=True)
class Archive:
    """A folder or a zip file. Members are read in memory, so none is written outside the folder."""

    path: Path

    def names(self) -> list[str]:
        """Return the sorted paths of the files; in a folder, also those one level down."""
        if self.path.is_dir():
            found = [p for pattern in ("*", "*/*") for p in self.path.glob(pattern) if p.is_file()]
            return sorted(path.relative_to(self.path).as_posix() for path in found)
        with _clear_errors(self.path), zipfile.ZipFile(self.path) as file:
            return sorted(name for name in file.namelist() if not name.endswith("/"))

    def read(self, names: Sequence[str]) -> list[bytes]:
        """Return the contents of files. Raises TextError if one is damaged or too large."""
        with _clear_errors(self.path):
            if self.path.is_dir():
                return [self._bounded(name, (self.path / name).open("rb")) for name in names]
            with zipfile.ZipFile(self.path) as file:
                return [self._bounded(name, file.open(name)) for name in names]

    def _bounded(self, name: str, member: IO[bytes]) -> bytes:
        with member:
            return read_bounded(member.read, f"{name} in {self.path}", _LARGEST)


def read_bounded(read: Callable[[int], bytes], name: str, most: int) -> bytes:
    """Read a file to its end. Raises TextError if it has more than ``most`` bytes."""
    chunks, size = [], 0
    while chunk := read(1 << 20):
        size += len(chunk)
        if size > most:
            raise TextError(f"{name} holds more than {most >> 20} MiB; is it the right file?")
        chunks.append(chunk)
    return b"".join(chunks)


@contextmanager
def _clear_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
        raise TextError(
            f"cannot read {path} as a folder or a zip file: {error}; fetch it again"
        ) from error
