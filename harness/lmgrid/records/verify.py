"""Whether the files of a store are what was written: addresses and hashes derived again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from lmgrid.files import sha256
from lmgrid.records.record import NewerRecordError, RecordError
from lmgrid.records.recordfile import unseal

MANIFEST = "manifest.json"  # of a kept model: the sha256 of each of its files


@dataclass(frozen=True)
class Damage:
    """A file of a store that cannot be trusted."""

    path: Path
    reason: str
    newer: bool = False  # a newer lmgrid wrote it, so that it cannot be judged here


def damages_of_outcome(path: Path) -> Iterator[Damage]:
    """Yield what is wrong with the file of a record or a failure, if anything is."""
    try:
        unseal(path.read_bytes(), path.stem.partition("-")[0])
    except OSError as error:
        yield Damage(path, f"cannot be read: {error.strerror}")
    except RecordError as error:
        yield Damage(path, str(error), isinstance(error, NewerRecordError))


def damages_of_weights(folder: Path) -> Iterator[Damage]:
    """Yield the files of a kept model that are missing, altered, or not of it."""
    try:
        hashes = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=dict[str, str])
    except (OSError, msgspec.DecodeError) as error:
        yield Damage(folder / MANIFEST, f"cannot be read: {error}")
        return
    for name, expected in hashes.items():
        path = folder / Path(name).name
        if not path.is_file():
            yield Damage(path, "is missing")
        elif sha256(path) != expected:
            yield Damage(path, "is altered: it does not have the sha256 in its manifest")
    for path in sorted(folder.iterdir()):
        if path.name not in {MANIFEST, *hashes}:
            yield Damage(path, "is not in the manifest of its model")
