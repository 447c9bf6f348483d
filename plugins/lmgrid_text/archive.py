"""The files of a corpus in a folder or a zip file, read in bounded pieces."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
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
    """A folder or a zip file. Members are read, never extracted, so none can escape."""

    path: Path

    def names(self) -> list[str]:
        """Return the paths of its files, sorted, with forward slashes."""
        if self.path.is_dir():
            found = (path for path in self.path.rglob("*") if path.is_file())
            return sorted(path.relative_to(self.path).as_posix() for path in found)
        with _clear_errors(self.path), zipfile.ZipFile(self.path) as file:
            return sorted(name for name in file.namelist() if not name.endswith("/"))

    def read(self, names: Sequence[str]) -> list[bytes]:
        """Return what some files hold; TextError where one is damaged or too large."""
        with _clear_errors(self.path), ExitStack() as stack:
            if self.path.is_dir():
                return [self._bounded(name, (self.path / name).open("rb")) for name in names]
            file = stack.enter_context(zipfile.ZipFile(self.path))
            return [self._bounded(name, file.open(name)) for name in names]

    def _bounded(self, name: str, member: IO[bytes]) -> bytes:
        with member:
            data = member.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise TextError(f"{name} in {self.path} is larger than {_LARGEST >> 20} MiB")
        return data


@contextmanager
def _clear_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
        raise TextError(
            f"cannot read {path} as a folder or a zip file: {error}; fetch it again"
        ) from error
