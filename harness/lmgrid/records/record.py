"""What a run leaves behind, addressed by what went into it."""

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

ADDRESS_RULE = 2  # goes up when an address is made of something else
CONTENDED = 0.25  # cores
EMPTY: tuple[Any, ...] = (None, (), [], {})  # what a cell leaves unsaid


class RecordError(UserError):
    """A record cannot be read or trusted; the message says which and why."""


class NewerRecordError(RecordError):
    """A record was written by a newer lmgrid; it may be whole."""

    def __init__(self, why: str) -> None:
        super().__init__(f"was written by a newer lmgrid ({why}); install a newer one to read it")


@dataclass(frozen=True)
class Inputs:
    """What decides a cell's numbers. Its hash is the address: it holds no time and no file name.

    ``sources`` are the meanings of the code of each part and of what runs the cell, ``files`` the
    bytes of what options name, ``versions`` those of libraries that a part says matter.
    """

    cell: Cell | None  # either this
    kernel: KernelCell | None  # or that
    corpus: str  # digest of the raw bytes; empty for a kernel
    sources: tuple[Source, ...]
    files: tuple[tuple[str, str], ...] = ()  # ("model.path", digest of the bytes)
    versions: tuple[tuple[str, str], ...] = ()  # (library, version)
    rule: int = ADDRESS_RULE  # how the address is made of all this

    @classmethod
    def of(cls, cell: AnyCell, corpus: str = "", sources: tuple[Source, ...] = ()) -> Inputs:
        if isinstance(cell, Cell):
            return cls(cell, None, corpus, sources)
        return cls(None, cell, corpus, sources)

    @property
    def what(self) -> AnyCell:
        found = self.cell or self.kernel
        if found is None:
            raise RecordError("names neither a cell nor a kernel")
        return found

    @property
    def version(self) -> str:
        """A hash of what may change while the cell's name stays: bytes of files and source."""
        changing = self.corpus, self.sources, self.files, self.versions
        return _hash(msgspec.json.encode(changing, order="deterministic"))

    @cached_property
    def address(self) -> str:
        if self.rule == 1:
            return _hash(msgspec.json.encode((1, _named_1(self.what), self.corpus, self.sources)))
        named = _named(self.what), self.corpus, self.sources, self.files, self.versions
        return _hash(msgspec.json.encode((self.rule, *named)))


@dataclass(frozen=True)
class Provenance:
    """Where and beside what a number was made."""

    environment: Environment
    started: str  # ISO 8601, UTC
    jobs: int  # cells that could run side by side
    load: float  # one-minute load average before
    others: float | None = None  # cores that other processes kept busy meanwhile, on average
    competing: int | None = None  # other processes that were ready to run before
    load_after: float | None = None  # one-minute load average

    @property
    def contended(self) -> bool:
        """Whether others took so much of the machine that times are not to be trusted."""
        return self.others is not None and self.others > CONTENDED


@dataclass(frozen=True, kw_only=True)
class Record(ModelResult):
    """A finished cell: what went in, what came out, and where it was made."""

    inputs: Inputs
    provenance: Provenance
    total_seconds: float  # wall time of the whole cell, reading the corpus included
    earlier: tuple[str, ...] = ()  # addresses that it had before it was renewed

    def __post_init__(self) -> None:
        if self.training.tokens <= 0:
            raise RecordError(f"the model says it was trained on {self.training.tokens} tokens")
        scores = self.valid, self.test
        if self.normalised and any(s.nats is not None and s.nats < 0 for s in scores):
            raise RecordError("the scores of a normalised model have a perplexity below 1")

    @property
    def cell(self) -> Cell:
        if self.inputs.cell is None:
            raise RecordError("the record of a model names no cell")
        return self.inputs.cell


@dataclass(frozen=True, kw_only=True)
class KernelRecord(KernelResult):
    """A finished pair of loop and vectorised form: what went in, what came out, and where."""

    inputs: Inputs
    provenance: Provenance
    earlier: tuple[str, ...] = ()  # addresses that it had before it was renewed


@dataclass(frozen=True)
class Failure:
    """A cell that ended otherwise: what a table shows instead of numbers."""

    inputs: Inputs
    # error, timeout, out-of-memory, killed, diverged; skipped is told and never stored
    status: str
    error: str  # type of the exception, or the signal
    message: str
    traceback: str
    seconds: float
    provenance: Provenance
    peak_bytes: int | None = None  # the largest memory held, where it is known


Outcome: TypeAlias = Record | KernelRecord | Failure


def _nameless(cell: AnyCell) -> AnyCell:
    """Return a cell without what does not decide its numbers: file names, what was changed."""
    if isinstance(cell, KernelCell):
        return replace(cell, kernel=replace(cell.kernel, changed=()))

    def strip(part: Any) -> Any:
        return replace(part, files=(), changed=()) if part else part

    return replace(
        cell,
        corpus=strip(cell.corpus),
        model=strip(cell.model),
        optimizer=strip(cell.optimizer),
        regularizers=tuple(map(strip, cell.regularizers)),
        reporters=tuple(map(strip, cell.reporters)),
    )


def _named(cell: AnyCell) -> dict[str, Any]:
    """Return what of a cell is hashed: what it names, without what it leaves empty.

    So a field that is added later moves no address of a cell that does not use it.
    """
    named = {name: _plain(value) for name, value in vars(cell).items()}
    return {name: value for name, value in named.items() if value not in EMPTY}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(inner) for inner in value]
    return _fields(value) if isinstance(value, (Part, Budget)) else value


@cache
def _fields(value: Part | Budget) -> dict[str, Any]:
    """Return what is hashed of a part or a budget; a part without its files' names."""
    bare = replace(value, files=(), changed=()) if isinstance(value, Part) else value
    fields: dict[str, Any] = msgspec.to_builtins(bare)
    return {name: inner for name, inner in fields.items() if inner not in EMPTY}


def _named_1(cell: AnyCell) -> dict[str, Any]:
    """Return what was hashed of a cell by the first rule, which two fields are younger than."""
    fields: dict[str, Any] = msgspec.to_builtins(_nameless(cell))
    for owner, younger in ((fields, "reporters"), (fields.get("budget") or {}, "cpu_seconds")):
        if not owner.get(younger):
            owner.pop(younger, None)
    return fields


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
