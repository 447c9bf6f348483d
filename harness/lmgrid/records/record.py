"""Defines records and failures, and the address that the inputs of a cell determine."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any, TypeAlias

import msgspec

from lmgrid.budget import Budget
from lmgrid.errors import UserError
from lmgrid.grid import AnyCell, Cell, KernelCell, Part
from lmgrid.machine.environment import Environment
from lmgrid.result import KernelResult, ModelResult
from lmgrid.source.closure import Source

ADDRESS_RULE = 2  # increases when addresses are computed in another way
CONTENDED = 0.25  # cores that other processes keep busy, above which times are not trusted
UNUSED: tuple[object, ...] = (None, (), [], {})  # values of the fields that a cell does not use


class RecordError(UserError):
    """A record is damaged or cannot be read; the message says which one and why."""


class NewerRecordError(RecordError):
    """A record was written by a newer lmgrid, and may be intact."""

    def __init__(self, why: str) -> None:
        super().__init__(f"was written by a newer lmgrid ({why}); install a newer one to read it")


@dataclass(frozen=True)
class Inputs:
    """What determines a cell's results. Its hash is the address; no time or file name is in it.

    Either ``cell`` or ``kernel`` is None.
    """

    cell: Cell | None
    kernel: KernelCell | None
    corpus: str  # digest of the raw bytes; empty for a kernel
    sources: tuple[Source, ...]  # digests of the code of each part and of the code that runs it
    files: tuple[tuple[str, str], ...] = ()  # ("model NAME.OPTION", digest of the file's bytes)
    versions: tuple[tuple[str, str], ...] = ()  # (library, version) where a part says it matters
    rule: int = ADDRESS_RULE  # how the address is computed

    @classmethod
    def of(
        cls,
        cell: AnyCell,
        *,
        corpus: str = "",
        sources: tuple[Source, ...] = (),
        files: tuple[tuple[str, str], ...] = (),
        versions: tuple[tuple[str, str], ...] = (),
    ) -> Inputs:
        """Return the inputs of a cell of either kind, under the current address rule."""
        return cls(
            cell=cell if isinstance(cell, Cell) else None,
            kernel=cell if isinstance(cell, KernelCell) else None,
            corpus=corpus,
            sources=sources,
            files=files,
            versions=versions,
        )

    @property
    def any_cell(self) -> AnyCell:
        """The cell, of either kind. Raises RecordError if there is none."""
        found = self.cell or self.kernel
        if found is None:
            raise RecordError("names neither a cell nor a kernel")
        return found

    @property
    def version(self) -> str:
        """A hash of all inputs but the cell: the corpus, the sources, the files, the versions."""
        hashed = self.corpus, self.sources, self.files, self.versions
        return _hash(msgspec.json.encode(hashed, order="deterministic"))

    @cached_property
    def address(self) -> str:
        """The hash that identifies the cell and its record: 32 hexadecimal digits."""
        cell = self.any_cell
        if self.rule == 1:
            return _hash(msgspec.json.encode((1, _rule_1_fields(cell), self.corpus, self.sources)))
        hashed = _cell_fields(cell), self.corpus, self.sources, self.files, self.versions
        return _hash(msgspec.json.encode((self.rule, *hashed)))


@dataclass(frozen=True)
class Provenance:
    """Where, when and under which load a result was computed."""

    environment: Environment
    started: str  # ISO 8601, UTC
    jobs: int  # cells that the run could run at the same time
    load: float  # one-minute load average before the cell
    others: float | None = None  # cores that other processes kept busy during it, on average
    competing: int | None = None  # other processes that were ready to run before it
    load_after: float | None = None  # one-minute load average after it

    @property
    def contended(self) -> bool:
        """Whether other processes kept more than CONTENDED cores busy: times may be too long."""
        return self.others is not None and self.others > CONTENDED


@dataclass(frozen=True, kw_only=True)
class Record(ModelResult):
    """A finished cell of a model: its result, its inputs, and where it was computed.

    Raises RecordError for a count of tokens or a score that is impossible.
    """

    inputs: Inputs
    provenance: Provenance
    total_seconds: float  # wall time of the cell, including reading the corpus
    earlier: tuple[str, ...] = ()  # its addresses before it was renewed

    def __post_init__(self) -> None:
        if self.training.tokens <= 0:
            raise RecordError(f"the model says it was trained on {self.training.tokens} tokens")
        scores = self.valid, self.test
        if self.normalised and any(s.nats is not None and s.nats < 0 for s in scores):
            raise RecordError("the scores of a normalised model have a perplexity below 1")

    @property
    def cell(self) -> Cell:
        """The cell. Raises RecordError if the inputs have none."""
        if self.inputs.cell is None:
            raise RecordError("the record of a model names no cell")
        return self.inputs.cell


@dataclass(frozen=True, kw_only=True)
class KernelRecord(KernelResult):
    """A finished cell of a kernel: its result, its inputs, and where it was computed."""

    inputs: Inputs
    provenance: Provenance
    earlier: tuple[str, ...] = ()  # its addresses before it was renewed


@dataclass(frozen=True)
class Failure:
    """A cell that ended without a result; tables show its status in place of numbers."""

    inputs: Inputs
    # error, timeout, out-of-memory, killed, diverged; or skipped, which is never stored
    status: str
    error: str  # type of the exception, or name of the signal
    message: str
    traceback: str
    seconds: float
    provenance: Provenance
    peak_bytes: int | None = None  # largest memory of the process, if it is known


Outcome: TypeAlias = Record | KernelRecord | Failure


# ---------------------------------------------------------------- what is hashed of a cell


def _cell_fields(cell: AnyCell) -> dict[str, Any]:
    """Return the fields of a cell that are hashed, without those that the cell does not use.

    So a field that is added later does not move the addresses of cells that do not use it.
    """
    fields = {name: _hashable(value) for name, value in vars(cell).items()}
    return {name: value for name, value in fields.items() if value not in UNUSED}


def _hashable(value: object) -> object:
    if isinstance(value, tuple):
        return [_hashable(inner) for inner in value]
    return _part_fields(value) if isinstance(value, (Part, Budget)) else value


@cache
def _part_fields(value: Part | Budget) -> dict[str, Any]:
    """Return the fields of a part or a budget that are hashed, those of a part without files."""
    hashed = _without_files(value) if isinstance(value, Part) else value
    fields: dict[str, Any] = msgspec.to_builtins(hashed)
    return {name: inner for name, inner in fields.items() if inner not in UNUSED}


def _without_files(part: Part) -> Part:
    """Return a part without the names of files and without the marks of changed options."""
    return replace(part, files=(), changed=())


def _rule_1_fields(cell: AnyCell) -> dict[str, Any]:
    """Return the fields of a cell that rule 1 hashed; two of today's fields were not there yet."""
    if isinstance(cell, KernelCell):
        bare: AnyCell = replace(cell, kernel=replace(cell.kernel, changed=()))
    else:
        bare = replace(
            cell,
            corpus=_without_files(cell.corpus),
            model=_without_files(cell.model),
            optimizer=cell.optimizer and _without_files(cell.optimizer),
            regularizers=tuple(map(_without_files, cell.regularizers)),
            reporters=tuple(map(_without_files, cell.reporters)),
        )
    fields: dict[str, Any] = msgspec.to_builtins(bare)
    for owner, added in ((fields, "reporters"), (fields.get("budget") or {}, "cpu_seconds")):
        if not owner.get(added):
            owner.pop(added, None)
    return fields


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
