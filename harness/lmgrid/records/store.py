"""A folder of outcomes: a record is written once, whole or not at all, and never changed.

records/<address>.json     finished cells
failures/<address>.json    other ends, replaced by the next attempt, gone when it succeeds
models/<address>/          the kept weights, each file with its sha256 in manifest.json
checkpoints/<address>/     how far a cell is that was not finished
superseded/<address>-<hash>.json    records that a later run replaced, since others disturbed them
drafts/<address>-…         what has not got its name yet
locks/<address>            held by whoever runs the cell
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import time

import msgspec
from filelock import FileLock, Timeout

from lmgrid.errors import UserError
from lmgrid.files import (
    DRAFT,
    create_file,
    draft_file,
    replace_folder,
    sha256,
    sync_folder,
    write_file,
)
from lmgrid.records.history import Request, keep_request
from lmgrid.records.record import Failure, KernelRecord, Outcome, Record, RecordError
from lmgrid.records.recordfile import seal, unseal
from lmgrid.records.verify import MANIFEST, Damage, damages_of_outcome, damages_of_weights

DRAFTS = "drafts"
KEPT = ("records", "checkpoints", DRAFTS, "locks")  # there from the beginning of a run
NO_ROOM = {errno.ENOSPC, errno.EROFS, errno.EDQUOT}
REFUSED = {errno.EACCES, errno.EPERM}
STALE_SECONDS = 3_600  # a draft lives for milliseconds


class StoreError(UserError):
    """The folder cannot be used; what was finished before is intact."""


@dataclass(frozen=True)
class ReadResult:
    """What of a store can be trusted: its outcomes, and the records that were passed over."""

    outcomes: tuple[Outcome, ...]
    unreadable: Mapping[str, RecordError]  # by address


class Store:
    """Outcomes by address. Opening a store creates nothing; ``begin`` does."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    # ------------------------------------------------------------ reading

    def has(self, address: str) -> bool:
        """Return whether the cell is finished; a failure is not."""
        return self._file("records", address).exists()

    def find(self, address: str) -> Outcome | None:
        """Return the record of a cell, else its failure, else None.

        RecordError names a record that is damaged; a damaged failure counts as none.
        """
        with suppress(FileNotFoundError):
            return self._read(self._file("records", address))
        with suppress(FileNotFoundError, RecordError):
            return self._read(self._file("failures", address))
        return None

    def written(self, address: str) -> Outcome:
        """Return the outcome of a cell that has one; StoreError if somebody took it away."""
        outcome = self.find(address)
        if outcome is None:
            raise self._taken_away()
        return outcome

    def _taken_away(self) -> StoreError:
        return StoreError(
            f"{self.root}: the results folder was taken away; put it back, and the same command "
            "goes on from what was finished"
        )

    def matching(self, prefix: str) -> list[str]:
        """Return the addresses of records that start so, or did before they were renewed."""
        found = [p.stem for p in self._files("records") if p.stem.startswith(prefix)]
        return found or [
            outcome.inputs.address
            for outcome in self.read_all().outcomes
            if not isinstance(outcome, Failure)
            and any(earlier.startswith(prefix) for earlier in outcome.earlier)
        ]

    def count(self) -> int:
        """Return how many records and failures there are."""
        return len(self._files("records")) + len(self._failures())

    def __iter__(self) -> Iterator[Outcome]:
        """Yield every record, then every failure that is whole.

        RecordError names a record that is damaged.
        """
        yield from map(self._read, self._files("records"))
        for path in self._failures():
            with suppress(RecordError):
                yield self._read(path)

    def read_all(self) -> ReadResult:
        """Return every outcome that can be trusted, and why each other record cannot be."""
        outcomes: list[Outcome] = []
        unreadable: dict[str, RecordError] = {}
        for path in self._files("records"):
            try:
                outcomes.append(self._read(path))
            except RecordError as error:
                unreadable[path.stem] = error
        for path in self._failures():
            with suppress(RecordError):
                outcomes.append(self._read(path))
        return ReadResult(tuple(outcomes), unreadable)

    def _failures(self) -> list[Path]:
        """Return the failures of cells without a record.

        A worker that is killed right after it linked its record leaves an older failure there.
        """
        return [path for path in self._files("failures") if not self.has(path.stem)]

    def damages(self) -> Iterator[Damage]:
        """Read every file and yield those that are torn, altered or out of place."""
        for name in ("records", "failures", "superseded"):
            for path in self._files(name):
                yield from damages_of_outcome(path)
        for folder in sorted(self.root.glob("models/[!.]*")):
            yield from self.damages_of(folder.name)

    def damages_of(self, address: str) -> Iterator[Damage]:
        """Yield the files of a kept model that are missing or altered."""
        return damages_of_weights(self.model_folder(address))

    def _read(self, path: Path) -> Outcome:
        try:
            return unseal(path.read_bytes(), path.stem)
        except RecordError as error:
            error.args = (f"{path}: {error}",)
            raise

    def _files(self, folder: str) -> list[Path]:
        return sorted((self.root / folder).glob("[!.]*.json"))

    def _file(self, folder: str, address: str) -> Path:
        return self.root / folder / f"{address}.json"

    def model_folder(self, address: str) -> Path:
        return self.root / "models" / address

    def checkpoint_folder(self, address: str) -> Path:
        return self.root / "checkpoints" / address

    # ------------------------------------------------------------ writing

    def begin(self) -> None:
        """Make the folder, before anything is written, and see that it can be written to.

        Nothing later makes it again: one that vanishes while cells run is an error, not a new one.
        """
        try:
            for name in KEPT:
                (self.root / name).mkdir(parents=True, exist_ok=True)
            with draft_file(self.root / DRAFTS, b""):
                pass
        except OSError as error:
            reason = error.strerror or str(error)
            raise StoreError(f"{self.root}: cannot keep results here: {reason}") from None

    def keep_request(self, request: Request) -> None:
        """Remember what is asked of this folder."""
        with self._explained():
            keep_request(self.root, request)

    @contextmanager
    def lock(self, address: str, *, wait: bool = True) -> Iterator[None]:
        """Hold the right to run a cell, and sweep what a dead run left of it.

        Whoever has it is waited for, or else filelock's Timeout is raised.
        """
        place = self.root / "locks" / address
        with self._explained():
            place.parent.stat()  # is it there? filelock would make it
            lock = FileLock(place)
            lock.acquire(timeout=-1 if wait else 0)
        try:
            if not (self.root / "records").is_dir():  # it vanished in between, and was made
                self._unmake(place)
                raise self._taken_away()
            for left in self._drafts():
                if left.name.startswith(address):
                    shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
            yield
        finally:
            lock.release()

    def _unmake(self, place: Path) -> None:
        with suppress(OSError):
            place.unlink()
            place.parent.rmdir()
            self.root.rmdir()

    def sweep(self) -> None:
        """Take care of what dead runs left: cells that are finished are not locked again.

        A record that was linked and not synced is relied on from now, so it is synced first.
        """
        with suppress(FileNotFoundError, NotADirectoryError):
            sync_folder(self.root / "records")
        drafts = {path.name.split("-")[0] for path in self._drafts()}
        halves = {path.name for path in self.root.glob("checkpoints/[!.]*")}
        for address in filter(self.has, drafts | halves):
            with suppress(Timeout, StoreError), self.lock(address, wait=False):
                shutil.rmtree(self.checkpoint_folder(address), ignore_errors=True)
        for path in self.root.glob(f"failures/{DRAFT}*"):
            with suppress(OSError):
                if time() - path.stat().st_mtime > STALE_SECONDS:
                    path.unlink()
        for path in set(self._files("failures")).difference(self._failures()):
            with suppress(OSError):
                path.unlink()

    def _drafts(self) -> list[Path]:
        """Return what is being written, which is little; a folder of records may be long."""
        with suppress(FileNotFoundError, NotADirectoryError):
            return list((self.root / DRAFTS).iterdir())
        return []

    @contextmanager
    def weights_draft(self, address: str) -> Iterator[Path]:
        """Give a folder to make, which becomes ``models/<address>`` if ``keep_weights`` is called.

        The lock must be held; it swept what was there before.
        """
        draft = self.root / DRAFTS / f"{address}-model"
        try:
            yield draft
        except OSError as error:
            self.check_room(error)
            raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def keep_weights(self, address: str, draft: Path) -> None:
        """Move a draft into its place, if anything was put there, with a manifest of hashes."""
        paths = sorted(draft.glob("*"))
        if not paths:
            return
        with self._explained():
            hashes = {path.name: sha256(path) for path in paths}
            (draft / MANIFEST).write_bytes(msgspec.json.encode(hashes, order="sorted"))
            target = self.model_folder(address)
            self._made(target.parent.name)
            # It replaces the model of a run that died before its record, or of a replaced record.
            replace_folder(draft, target)

    def add(self, outcome: Outcome) -> None:
        """Write an outcome; a record that is there already stays as it is."""
        address = outcome.inputs.address
        with self._explained():
            if isinstance(outcome, Failure):
                if self.has(address):  # the worker died only after it was done
                    return
                self._made("failures")
                self._write("failures", address, seal(outcome), replace=True)
                return
            self._write("records", address, seal(outcome), replace=False)
            self._file("failures", address).unlink(missing_ok=True)

    def supersede(self, outcome: Outcome) -> None:
        """Put a record in the place of an older one, which is kept in ``superseded``.

        At every moment the address has a whole record.
        """
        address = outcome.inputs.address
        with self._explained():
            place = self._file("records", address)
            kept = self._made("superseded") / f"{address}-{sha256(place)[:8]}.json"
            with suppress(FileExistsError):
                os.link(place, kept)
            sync_folder(kept.parent)
            write_file(place, seal(outcome))

    def renew(self, outcome: Record | KernelRecord) -> bool:
        """Put a record under today's address, and take away its file of before.

        The new one is there, whole, before the old one goes; what was killed in between is finished
        by the next call. False where another record or run has today's address: both stay.
        """
        address = outcome.inputs.address
        try:
            with self.lock(address, wait=False), self._explained():
                if not self.has(address):
                    self._write("records", address, seal(outcome), replace=False)
                found = self._read(self._file("records", address))
                if isinstance(found, Failure) or not {*outcome.earlier} <= {*found.earlier}:
                    return False
                for old in outcome.earlier:
                    if self._kept(old) and not self._kept(address):
                        self.model_folder(old).rename(self.model_folder(address))
                    self._file("records", old).unlink(missing_ok=True)
                sync_folder(self.root / "records")
                return True
        except Timeout:
            return False

    def _kept(self, address: str) -> bool:
        return self.model_folder(address).is_dir()

    def _write(self, folder: str, address: str, data: bytes, *, replace: bool) -> None:
        """Write by temporary file, fsync and link, so that a name never stands for half a file."""
        place = self._file(folder, address)
        if replace:
            # A failure may be written without the lock, so its draft is not one to be swept.
            write_file(place, data)
        else:
            create_file(place, data, drafts=self.root / DRAFTS, prefix=f"{address}-")

    def check_room(self, error: BaseException) -> None:
        """Raise StoreError if an error says that nothing can be written any more.

        So it is for whatever a cell was writing here: a checkpoint, weights. A disk that is full
        is often told without a file's name; then it is taken for this one.
        """
        if not isinstance(error, OSError) or error.errno not in NO_ROOM | REFUSED:
            return
        if self._holds(error.filename) if error.filename else error.errno in NO_ROOM:
            with self._explained():
                raise error

    def _holds(self, name: object) -> bool:
        return Path(os.fsdecode(name)).absolute().is_relative_to(self.root.absolute())  # type: ignore[arg-type]

    def _made(self, folder: str) -> Path:
        path = self.root / folder
        with self._explained():
            path.mkdir(exist_ok=True)
        return path

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except Timeout:  # a lock that was not waited for
            raise
        except OSError as error:
            if error.errno == errno.ENOENT and not (self.root / "records").is_dir():
                raise self._taken_away() from None
            reason = error.strerror or str(error)
            raise StoreError(
                f"{self.root}: cannot write results: {reason}; what was finished is intact, and "
                "the same command goes on from there"
            ) from None
