"""Saves and loads checkpoints, so that a cell that was killed resumes at its last point.

checkpoints/<address>/checkpoint.msgpack    a line with the sha256 of the rest, then the
                                            runner's state and the sha256 of the other files
checkpoints/<address>/state-<n>             the state of the model, as safetensors
checkpoints/<address>/best-<n>/             the weights of the best point so far

The first is written last and atomically, so that it never refers to a partial checkpoint.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from lmgrid.cell.training import Checkpoint, RunnerState
from lmgrid.checksum import sha256
from lmgrid.files import replace_folder, write_file
from lmgrid.spec import State

INDEX = "checkpoint.msgpack"
STATE, BEST = "state-", "best-"


@dataclass(frozen=True)
class _Index:
    """What ``checkpoint.msgpack`` holds."""

    runner: RunnerState
    values: dict[str, Any]
    state: str  # file names
    best: str
    hashes: dict[str, str]  # sha256 by path in the folder


class Checkpoints:
    """The checkpoints of one cell; only the last one is kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, checkpoint: Checkpoint, weights: Path) -> None:
        """Write a checkpoint, and copy the folder ``weights`` of the best weights."""
        from safetensors.numpy import save

        self._folder.mkdir(exist_ok=True)
        runner, model = checkpoint.runner, checkpoint.model
        tokens = runner.points[-1].tokens
        name, best = f"{STATE}{tokens}", f"{BEST}{runner.best.tokens if runner.best else 0}"
        write_file(self._folder / name, save(dict(_whole(model.arrays))))
        self._copy(weights, best)
        index = _Index(
            runner=runner,
            values=dict(model.values),
            state=name,
            best=best,
            hashes=self._hashes(name, best),
        )
        body = msgspec.msgpack.encode(index)
        write_file(self._folder / INDEX, hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
        self._remove_others({index.state, index.best, INDEX})

    def load(self, weights: Path) -> Checkpoint | None:
        """Return the last checkpoint, and copy its best weights into ``weights``.

        None if there is no intact checkpoint; a damaged one is removed.
        """
        from safetensors.numpy import load

        index = self._index()
        if index is None:
            self.remove()
            return None
        arrays = load((self._folder / index.state).read_bytes())
        for file in (self._folder / index.best).iterdir():
            shutil.copy(file, weights / file.name)
        return Checkpoint(index.runner, State(arrays, index.values))

    def _index(self) -> _Index | None:
        """Return the index if it and all its files are intact and of this version, else None."""
        try:
            stated, _, body = (self._folder / INDEX).read_bytes().partition(b"\n")
            if stated.decode(errors="replace") != hashlib.sha256(body).hexdigest():
                return None
            index = msgspec.msgpack.decode(body, type=_Index)
            hashes = self._hashes(index.state, index.best)
            return index if hashes and hashes == index.hashes else None
        except (OSError, msgspec.MsgspecError):
            return None

    def _hashes(self, state: str, best: str) -> dict[str, str]:
        """Return the sha256 of each file of a checkpoint; empty if a name is a path."""
        if {state, best} != {Path(state).name, Path(best).name}:
            return {}
        files = sorted((self._folder / best).iterdir())
        names = [state, *(f"{best}/{file.name}" for file in files)]
        return {name: sha256(self._folder / name) for name in names}

    def remove(self) -> None:
        """Remove the checkpoints of a finished cell."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _copy(self, weights: Path, name: str) -> None:
        """Copy weights atomically; a folder of that name holds the same weights and is left."""
        if (self._folder / name).exists():
            return
        draft = self._folder / f".{name}"
        shutil.rmtree(draft, ignore_errors=True)
        shutil.copytree(weights, draft)
        replace_folder(draft, self._folder / name)

    def _remove_others(self, kept: set[str]) -> None:
        for path in self._folder.iterdir():
            if path.name not in kept:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _whole(
    arrays: Mapping[str, NDArray[np.generic]],
) -> Iterator[tuple[str, NDArray[np.generic]]]:
    """Yield arrays in C order, which safetensors requires."""
    for name, array in arrays.items():
        yield name, np.asarray(array, order="C")
