"""Stores outcomes in a results folder. A record is written once and never changed.

records/<address>.json     finished cells
failures/<address>.json    cells that ended otherwise; removed once there is a record
models/<address>/          the weights, and the sha256 of each file in manifest.json
checkpoints/<address>/     the state of a cell that is not finished
superseded/<address>-<hash>.json    records that were replaced, since other processes disturbed them
drafts/<address>-…         files and folders that are being written
locks/<address>            held by the process that runs the cell
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

from lmgrid.checksum import sha256
from lmgrid.errors import UserError
from lmgrid.files import (
    DRAFT,
    create_file,
    draft_file,
    replace_folder,
    sync_folder,
    write_file,
)
from lmgrid.records.history import Invocation, record_invocation
from lmgrid.records.record import Failure, KernelRecord, Outcome, Record, RecordError
from lmgrid.records.recordfile import decode_outcome, encode_outcome
from lmgrid.records.verify import MANIFEST, FileProblem, verify_outcome, verify_weights

DRAFTS = "drafts"
FOLDERS = ("records", "checkpoints", DRAFTS, "locks")  # that every store has
UNWRITABLE = {errno.ENOSPC, errno.EROFS, errno.EDQUOT}  # the disk is full or read-only
FORBIDDEN = {errno.EACCES, errno.EPERM}
STALE_SECONDS = 3_600  # a draft of a failure that is older was left by a killed process


class StoreError(UserError):
    """A results folder cannot be used; the records in it are intact."""


@dataclass(frozen=True)
class ReadResult:
    """The outcomes of a store, and an error for each record that is damaged."""

    outcomes: tuple[Outcome, ...]
    unreadable: Mapping[str, RecordError]  # by address


class Store:
    """The outcomes in a results folder, by address.

    ``Store(root)`` creates nothing; ``create`` makes the folder.

    >>> store = Store("results/published/quickstart")
    >>> record = next(iter(store))
    >>> store.find(record.inputs.address) == record
    True
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    # ------------------------------------------------------------ reading

    def has(self, address: str) -> bool:
        """Return whether there is a record of the cell; a failure does not count."""
        return self._file("records", address).exists()

    def find(self, address: str) -> Outcome | None:
        """Return the record of a cell, else its failure, else None.

        A damaged failure is ignored. Raises RecordError if the record is damaged.
        """
        with suppress(FileNotFoundError):
            return self._read(self._file("records", address))
        with suppress(FileNotFoundError, RecordError):
            return self._read(self._file("failures", address))
        return None

    def get(self, address: str) -> Outcome:
        """Return the outcome of a cell that has one.

        Raises StoreError if it is missing, since the folder was then moved or deleted.
        """
        outcome = self.find(address)
        if outcome is None:
            raise self._missing_folder()
        return outcome

    def addresses_with_prefix(self, prefix: str) -> list[str]:
        """Return the addresses of the records that start with a prefix.

        If there is none, those of the records that had such an address before they were renewed.
        """
        found = [path.stem for path in self._files("records") if path.stem.startswith(prefix)]
        return found or [
            outcome.inputs.address
            for outcome in self.read_all().outcomes
            if not isinstance(outcome, Failure)
            and any(earlier.startswith(prefix) for earlier in outcome.earlier)
        ]

    def count(self) -> int:
        """Return the number of records and failures."""
        return len(self._files("records")) + len(self._failures())

    def __iter__(self) -> Iterator[Outcome]:
        """Yield every record, then every failure. Raises RecordError for a damaged record."""
        yield from map(self._read, self._files("records"))
        yield from self._intact_failures()

    def read_all(self) -> ReadResult:
        """Return every outcome, and an error for each record that is damaged."""
        outcomes: list[Outcome] = []
        unreadable: dict[str, RecordError] = {}
        for path in self._files("records"):
            try:
                outcomes.append(self._read(path))
            except RecordError as error:
                unreadable[path.stem] = error
        outcomes += self._intact_failures()
        return ReadResult(tuple(outcomes), unreadable)

    def verify(self) -> Iterator[FileProblem]:
        """Read every file, and yield those that are incomplete, altered or misplaced."""
        for name in ("records", "failures", "superseded"):
            for path in self._files(name):
                yield from verify_outcome(path)
        for folder in sorted(self.root.glob("models/[!.]*")):
            yield from self.verify_model(folder.name)

    def verify_model(self, address: str) -> Iterator[FileProblem]:
        """Yield the files of a model that are missing or altered."""
        return verify_weights(self.model_folder(address))

    def model_folder(self, address: str) -> Path:
        """Return the folder of a cell's weights; it may not exist."""
        return self.root / "models" / address

    def checkpoint_folder(self, address: str) -> Path:
        """Return the folder of a cell's checkpoints; it may not exist."""
        return self.root / "checkpoints" / address

    def _intact_failures(self) -> Iterator[Outcome]:
        for path in self._failures():
            with suppress(RecordError):
                yield self._read(path)

    def _failures(self) -> list[Path]:
        """Return the files of the failures of cells without a record.

        A worker that is killed right after it linked its record leaves the file of an older
        failure.
        """
        return [path for path in self._files("failures") if not self.has(path.stem)]

    def _read(self, path: Path) -> Outcome:
        try:
            return decode_outcome(path.read_bytes(), path.stem)
        except RecordError as error:
            error.args = (f"{path}: {error}",)
            raise

    def _files(self, folder: str) -> list[Path]:
        return sorted((self.root / folder).glob("[!.]*.json"))

    def _file(self, folder: str, address: str) -> Path:
        return self.root / folder / f"{address}.json"

    # ------------------------------------------------------------ the folder and its locks

    def create(self) -> None:
        """Create the folder if it is missing. Raises StoreError if it cannot be written to.

        No other method creates it, so that a folder that is deleted while cells run is noticed.
        """
        try:
            for name in FOLDERS:
                (self.root / name).mkdir(parents=True, exist_ok=True)
            with draft_file(self.root / DRAFTS, b""):
                pass
        except OSError as error:
            reason = error.strerror or str(error)
            raise StoreError(f"{self.root}: cannot keep results here: {reason}") from None

    def record_invocation(self, invocation: Invocation) -> None:
        """Append a run to the history of the folder, unless it repeats the last one."""
        with self._store_errors():
            record_invocation(self.root, invocation)

    @contextmanager
    def lock(self, address: str, *, wait: bool = True) -> Iterator[None]:
        """Hold the lock of a cell, and first remove what a killed run left of the cell.

        If another process holds the lock, wait for it, or raise filelock's Timeout.
        """
        path = self.root / "locks" / address
        with self._store_errors():
            path.parent.stat()  # filelock would create a missing folder
            lock = FileLock(path)
            lock.acquire(timeout=-1 if wait else 0)
        try:
            if not (self.root / "records").is_dir():  # deleted before filelock created its own
                self._remove_lock(path)
                raise self._missing_folder()
            for draft in self._drafts():
                if draft.name.startswith(address):
                    shutil.rmtree(draft) if draft.is_dir() else draft.unlink(missing_ok=True)
            yield
        finally:
            lock.release()

    def _remove_lock(self, path: Path) -> None:
        with suppress(OSError):
            path.unlink()
            path.parent.rmdir()
            self.root.rmdir()

    def clean_up(self) -> None:
        """Remove what killed runs left of finished cells, which are not locked again.

        Cells that another process is running are not touched.
        """
        # A killed run may have linked a record without flushing its name to disk.
        with suppress(FileNotFoundError, NotADirectoryError):
            sync_folder(self.root / "records")
        # Remove drafts, which taking the lock does, and checkpoints.
        drafts = {path.name.split("-")[0] for path in self._drafts()}
        checkpoints = {path.name for path in self.root.glob("checkpoints/[!.]*")}
        for address in filter(self.has, drafts | checkpoints):
            with suppress(Timeout, StoreError), self.lock(address, wait=False):
                shutil.rmtree(self.checkpoint_folder(address), ignore_errors=True)
        # Remove drafts of failures, and failures of cells that have a record.
        for path in self.root.glob(f"failures/{DRAFT}*"):
            with suppress(OSError):
                if time() - path.stat().st_mtime > STALE_SECONDS:
                    path.unlink()
        for path in set(self._files("failures")).difference(self._failures()):
            with suppress(OSError):
                path.unlink()

    def _drafts(self) -> list[Path]:
        with suppress(FileNotFoundError, NotADirectoryError):
            return list((self.root / DRAFTS).iterdir())
        return []

    # ------------------------------------------------------------ writing

    @contextmanager
    def weights_draft(self, address: str) -> Iterator[Path]:
        """Give the path of a folder that the caller creates and fills with a cell's weights.

        ``keep_weights`` makes it the cell's model; otherwise it is removed at the end. The cell's
        lock must be held. Raises StoreError if the disk is full or read-only.
        """
        draft = self.root / DRAFTS / f"{address}-model"
        try:
            yield draft
        except OSError as error:
            self.raise_if_unwritable(error)
            raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def keep_weights(self, address: str, draft: Path) -> None:
        """Add a manifest to a draft of weights, and make it the model of a cell.

        An older model of the cell is replaced: it is of a replaced record, or of a run that was
        killed before its record was written. An empty draft is ignored.
        """
        paths = sorted(draft.glob("*"))
        if not paths:
            return
        with self._store_errors():
            hashes = {path.name: sha256(path) for path in paths}
            (draft / MANIFEST).write_bytes(msgspec.json.encode(hashes, order="sorted"))
            self._make_folder("models")
            replace_folder(draft, self.model_folder(address))

    def add(self, outcome: Outcome) -> None:
        """Write an outcome.

        A record replaces a failure, and a failure an older one; a record that is already there
        stays as it is.
        """
        address = outcome.inputs.address
        with self._store_errors():
            if not isinstance(outcome, Failure):
                self._create_record(address, outcome)
                self._file("failures", address).unlink(missing_ok=True)
            elif not self.has(address):
                self._make_folder("failures")
                # Not in drafts: without the lock, which may not be held, a draft could be removed.
                write_file(self._file("failures", address), encode_outcome(outcome))

    def replace_record(self, outcome: Outcome) -> None:
        """Replace the record of a cell, and keep the old one in ``superseded``.

        There is a complete record at every moment.
        """
        address = outcome.inputs.address
        with self._store_errors():
            path = self._file("records", address)
            kept = self._make_folder("superseded") / f"{address}-{sha256(path)[:8]}.json"
            with suppress(FileExistsError):
                os.link(path, kept)
            sync_folder(kept.parent)
            write_file(path, encode_outcome(outcome))

    def renew(self, record: Record | KernelRecord) -> bool:
        """Write a record at its current address, and remove it at its earlier ones.

        The old file is removed once the new one is complete, so that after a crash a second call
        finishes the work. Return False, and leave both as they are, if the current address has
        another record or is locked.
        """
        address = record.inputs.address
        try:
            with self.lock(address, wait=False), self._store_errors():
                # Write the record at its current address.
                if not self.has(address):
                    self._create_record(address, record)
                found = self._read(self._file("records", address))
                if isinstance(found, Failure) or not {*record.earlier} <= {*found.earlier}:
                    return False
                # Move its model, and remove its older files.
                for old in record.earlier:
                    if self._has_model(old) and not self._has_model(address):
                        self.model_folder(old).rename(self.model_folder(address))
                    self._file("records", old).unlink(missing_ok=True)
                sync_folder(self.root / "records")
                return True
        except Timeout:
            return False

    def _has_model(self, address: str) -> bool:
        return self.model_folder(address).is_dir()

    def _create_record(self, address: str, outcome: Record | KernelRecord) -> None:
        create_file(
            self._file("records", address),
            encode_outcome(outcome),
            drafts=self.root / DRAFTS,
            prefix=f"{address}-",
        )

    def _make_folder(self, name: str) -> Path:
        path = self.root / name
        path.mkdir(exist_ok=True)
        return path

    # ------------------------------------------------------------ errors

    def raise_if_unwritable(self, error: BaseException) -> None:
        """Raise StoreError if an error means that the results folder cannot be written to.

        The error is that of a cell, which also writes checkpoints and weights here. An error of a
        full disk often names no file; then the results folder is assumed.
        """
        if not isinstance(error, OSError) or error.errno not in UNWRITABLE | FORBIDDEN:
            return
        if self._contains(error.filename) if error.filename else error.errno in UNWRITABLE:
            with self._store_errors():
                raise error

    def _contains(self, name: str | bytes) -> bool:
        return Path(os.fsdecode(name)).absolute().is_relative_to(self.root.absolute())

    @contextmanager
    def _store_errors(self) -> Iterator[None]:
        """Raise StoreError for an OSError."""
        try:
            yield
        except Timeout:  # an OSError too: the lock is held by another process
            raise
        except OSError as error:
            if error.errno == errno.ENOENT and not (self.root / "records").is_dir():
                raise self._missing_folder() from None
            reason = error.strerror or str(error)
            raise StoreError(
                f"{self.root}: cannot write results: {reason}; what was finished is intact, and "
                "the same command goes on from there"
            ) from None

    def _missing_folder(self) -> StoreError:
        return StoreError(
            f"{self.root}: the results folder was taken away; put it back, and the same command "
            "goes on from what was finished"
        )
