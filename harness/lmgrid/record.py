"""What a run leaves behind, addressed by what went into it."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

import msgspec

from lmgrid.environment import Environment
from lmgrid.errors import Mistake
from lmgrid.grid import AnyCell, Cell, KernelCell
from lmgrid.source import Source
from lmgrid.spec import Reading

SCHEMA = 1
CONTENDED = 0.25  # cores


class RecordError(Mistake):
    """A record cannot be read or trusted; the message says which and why."""


@dataclass(frozen=True)
class Point:
    """The model as it was at one yield of ``fit`` where validation was scored."""

    tokens: int  # training tokens so far
    seconds: float  # of training alone, wall time
    cpu_seconds: float
    train_nats: float | None  # mean data loss per token since the point before; None: not known
    penalty: float | None  # None: not finite
    valid_nats: float | None  # None: a probability of zero
    events: tuple[tuple[str, int], ...] = ()
    readings: tuple[Reading, ...] = ()  # of reporters

    @property
    def nats(self) -> float:
        """Mean validation loss per token; infinity where a probability was zero."""
        return math.inf if self.valid_nats is None else self.valid_nats


@dataclass(frozen=True)
class Score:
    """How well a split was predicted: sums over its tokens, so that any mean can be made."""

    tokens: int
    nats: float | None  # total; None where a probability was zero
    unknown_tokens: int
    known_nats: float | None  # total over tokens that are not <unk>
    zero_probability_tokens: int
    characters: int
    bytes: int
    blocks: tuple[float | None, ...] = ()  # mean nats of consecutive equal shares of the split

    @property
    def mean_nats(self) -> float:
        return math.inf if self.nats is None else self.nats / self.tokens

    @property
    def perplexity(self) -> float:
        return exp(self.mean_nats)

    @property
    def known_perplexity(self) -> float:
        """Perplexity of the tokens that are not unknown; NaN if there are none."""
        known = self.tokens - self.unknown_tokens
        if self.known_nats is None:
            return math.inf
        return exp(self.known_nats / known) if known else math.nan

    @property
    def bits_per_character(self) -> float:
        """Of the original text. A lower bound where an unknown token hides characters."""
        return math.inf if self.nats is None else self.nats / math.log(2) / self.characters

    @property
    def bits_per_byte(self) -> float:
        return math.inf if self.nats is None else self.nats / math.log(2) / self.bytes

    @property
    def unknown_rate(self) -> float:
        return self.unknown_tokens / self.tokens


@dataclass(frozen=True)
class Inputs:
    """What went in. Its hash is the address, so it holds no time, no machine and no file name."""

    cell: Cell | None  # either this
    kernel: KernelCell | None  # or that
    corpus: str  # digest of the raw bytes; empty for a kernel
    sources: tuple[Source, ...]

    @classmethod
    def of(cls, cell: AnyCell, corpus: str, sources: tuple[Source, ...]) -> Inputs:
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
        """A hash of what may change while the cell's name stays: corpus bytes and source."""
        return _hash(msgspec.json.encode((self.corpus, self.sources), order="deterministic"))

    @cached_property
    def address(self) -> str:
        named = SCHEMA, _named(self.what), self.corpus, self.sources
        return _hash(msgspec.json.encode(named))


@dataclass(frozen=True)
class Training:
    """What training cost, and which weights were kept."""

    tokens: int
    seconds: float  # wall time, compilation apart
    cpu_seconds: float
    compile_seconds: float
    peak_bytes: int
    kept: str  # "best validation point" or "last point"
    kept_tokens: int


@dataclass(frozen=True)
class CorpusSize:
    """How much text there was, after encoding."""

    types: int
    train_tokens: int
    train_unknown_rate: float


@dataclass(frozen=True)
class Circumstances:
    """Where and beside what a number was made."""

    environment: Environment
    started: str  # ISO 8601, UTC
    jobs: int  # cells that could run side by side
    load: float  # one-minute load average before
    resumed: int = 0  # how often it went on from a checkpoint
    others: float | None = None  # cores that other processes kept busy meanwhile, on average
    competing: int | None = None  # other processes that were ready to run before
    load_after: float | None = None  # one-minute load average

    @property
    def contended(self) -> bool:
        """Whether others took so much of the machine that times are not to be trusted."""
        return self.others is not None and self.others > CONTENDED


@dataclass(frozen=True)
class Record:
    """A finished cell."""

    inputs: Inputs
    normalised: bool
    corpus: CorpusSize
    points: tuple[Point, ...]
    training: Training
    valid: Score
    test: Score
    score_seconds: float  # wall time of scoring the test split
    total_seconds: float  # wall time of the whole cell, reading the corpus included
    parameters: int | None
    bytes: int | None
    circumstances: Circumstances

    def __post_init__(self) -> None:
        if self.training.tokens <= 0:
            raise RecordError(f"the model says it was trained on {self.training.tokens} tokens")
        if self.normalised and any(s.nats is not None and s.nats < 0 for s in self._scores):
            raise RecordError("the scores of a normalised model have a perplexity below 1")

    @property
    def _scores(self) -> tuple[Score, Score]:
        return self.valid, self.test

    @property
    def cell(self) -> Cell:
        if self.inputs.cell is None:
            raise RecordError("the record of a model names no cell")
        return self.inputs.cell


@dataclass(frozen=True)
class KernelRecord:
    """A finished pair of loop and vectorised form."""

    inputs: Inputs
    equal: bool
    difference: float | None  # the largest, absolute; None: not finite, or unlike shapes
    tolerance: float
    loop_seconds: tuple[float, ...]  # a call, one figure a round; empty if not equal
    vector_seconds: tuple[float, ...]
    circumstances: Circumstances


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
    circumstances: Circumstances
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
    """Return what of a cell is hashed.

    A field that is younger than SCHEMA counts where it is set, so that older records keep their
    addresses.
    """
    fields: dict[str, Any] = msgspec.to_builtins(_nameless(cell))
    for owner, younger in ((fields, "reporters"), (fields.get("budget") or {}, "cpu_seconds")):
        if not owner.get(younger):
            owner.pop(younger, None)
    return fields


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def exp(nats: float) -> float:
    """Return e to that power; infinity where a float cannot hold it."""
    return math.exp(nats) if nats < 700 else math.inf
