"""Reads the files of a corpus from a folder or a zip file, with a limit on their size."""

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
    """Return the folder or zip file of a corpus: ``path``, else a usual name in LMGRID_DATA."""
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
    """A folder or a zip file. Members are read in memory and never extracted to disk."""

    path: Path

    def names(self) -> list[str]:
        """Return the paths of its files, sorted; in a folder, at most one level below it."""
        if self.path.is_dir():
            found = [p for pattern in ("*", "*/*") for p in self.path.glob(pattern) if p.is_file()]
            return sorted(path.relative_to(self.path).as_posix() for path in found)
        with _clear_errors(self.path), zipfile.ZipFile(self.path) as file:
            return sorted(name for name in file.namelist() if not name.endswith("/"))

    def read(self, names: Sequence[str]) -> list[bytes]:
        """Return the bytes of the named files; TextError if one is damaged or too large."""
        with _clear_errors(self.path):
            if self.path.is_dir():
                return [self._bounded(name, (self.path / name).open("rb")) for name in names]
            with zipfile.ZipFile(self.path) as file:
                return [self._bounded(name, file.open(name)) for name in names]

    def _bounded(self, name: str, member: IO[bytes]) -> bytes:
        with member:
            return read_bounded(member.read, f"{name} in {self.path}", _LARGEST)


def read_bounded(read: Callable[[int], bytes], name: str, most: int) -> bytes:
    """Return all that ``read`` gives; TextError if that is more than ``most`` bytes."""
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
