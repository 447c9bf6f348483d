"""Verifies that the files of a store are intact, by computing addresses and hashes again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from lmgrid.checksum import sha256
from lmgrid.records.record import NewerRecordError, RecordError
from lmgrid.records.recordfile import decode_outcome

MANIFEST = "manifest.json"  # in the folder of a model: the sha256 of each of its files


@dataclass(frozen=True)
class FileProblem:
    """A file of a store that is damaged or cannot be verified, and the reason."""

    path: Path
    reason: str
    newer: bool = False  # a newer lmgrid wrote the file, so that it cannot be verified


def verify_outcome(path: Path) -> Iterator[FileProblem]:
    """Yield the problem of the file of a record or a failure, if it has one."""
    try:
        decode_outcome(path.read_bytes(), path.stem.partition("-")[0])
    except OSError as error:
        yield FileProblem(path, f"cannot be read: {error.strerror}")
    except RecordError as error:
        yield FileProblem(path, str(error), isinstance(error, NewerRecordError))


def verify_weights(folder: Path) -> Iterator[FileProblem]:
    """Yield the files of a model that are missing or altered, and files that are not of it."""
    try:
        hashes = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=dict[str, str])
    except (OSError, msgspec.DecodeError) as error:
        yield FileProblem(folder / MANIFEST, f"cannot be read: {error}")
        return
    for name, expected in hashes.items():
        path = folder / Path(name).name
        if not path.is_file():
            yield FileProblem(path, "is missing")
        elif sha256(path) != expected:
            yield FileProblem(path, "is altered: it does not have the sha256 in its manifest")
    for path in sorted(folder.iterdir()):
        if path.name not in {MANIFEST, *hashes}:
            yield FileProblem(path, "is not in the manifest of its model")
