"""Saves and loads a backoff model: one .npy file per array, and a small JSON index."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from lmgrid_ngram.counting.trie import Nodes
from lmgrid_ngram.scoring.backoff import BackoffLevel, BackoffModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

INDEX = "ngram.json"


class StorageError(ValueError):
    """A model cannot be saved; the message says where and why."""


class _Index(msgspec.Struct):
    order: int
    unseen: float


def arrays(model: BackoffModel) -> dict[str, NDArray[np.generic]]:
    """Return the arrays of a model by name; level 1 needs no words, which are its ids."""
    named: dict[str, NDArray[np.generic]] = {}
    for k, level in enumerate(model.levels, start=1):
        named[f"probabilities-{k}"] = level.probabilities
        if k < model.order:
            named[f"backoffs-{k}"] = level.backoffs
        if k > 1:
            named[f"words-{k}"] = level.nodes.words
            named[f"starts-{k}"] = level.nodes.starts
    return named


def save(model: BackoffModel, folder: Path) -> None:
    """Write a model into an existing folder, completely or not at all, the index last."""
    written: list[Path] = []
    try:
        for name, array in arrays(model).items():
            written.append(folder / f"{name}.npy")
            np.save(written[-1], array, allow_pickle=False)
        written.append(folder / INDEX)
        written[-1].write_bytes(msgspec.json.encode(_Index(model.order, model.unseen)))
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        raise StorageError(
            f"the model cannot be saved in {folder}: {error.strerror}; free space, or choose "
            "another folder"
        ) from error


def load(folder: Path) -> BackoffModel:
    """Return the model saved in a folder; its arrays are memory-mapped."""
    index = msgspec.json.decode((folder / INDEX).read_bytes(), type=_Index)
    levels = tuple(_level(folder, k, index.order) for k in range(1, index.order + 1))
    return BackoffModel(levels, index.unseen)


def _level(folder: Path, k: int, order: int) -> BackoffLevel:
    def read(name: str) -> NDArray[Any]:
        return np.asarray(np.load(folder / f"{name}-{k}.npy", mmap_mode="r", allow_pickle=False))

    probabilities = read("probabilities")
    backoffs = read("backoffs") if k < order else np.zeros(0, np.float32)
    if k > 1:
        return BackoffLevel(Nodes(read("words"), read("starts")), probabilities, backoffs)
    size = len(probabilities)
    root = Nodes(np.arange(size, dtype=np.int32), np.array([0, size], np.int32))
    return BackoffLevel(root, probabilities, backoffs)
