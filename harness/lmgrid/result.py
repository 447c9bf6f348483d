"""What running a cell yields: a curve, scores and what they cost; nothing of where it ran."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lmgrid.spec import Reading


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
    losses: tuple[tuple[int, float], ...] = ()  # (step, data loss in nats) of the first steps

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


@dataclass(frozen=True, kw_only=True)
class ModelResult:
    """What a language model was measured to do."""

    normalised: bool
    corpus: CorpusSize
    points: tuple[Point, ...]
    training: Training
    valid: Score
    test: Score
    score_seconds: float  # wall time of scoring the test split
    parameters: int | None
    bytes: int | None
    resumed: int = 0  # how often training went on from a checkpoint


@dataclass(frozen=True, kw_only=True)
class KernelResult:
    """What a pair of loop and vectorised form was measured to do."""

    equal: bool
    difference: float | None  # the largest, absolute; None: not finite, or unlike shapes
    tolerance: float
    loop_seconds: tuple[float, ...]  # a call, one figure a round; empty if not equal
    vector_seconds: tuple[float, ...]


def exp(nats: float) -> float:
    """Return e to that power; infinity where a float cannot hold it."""
    return math.exp(nats) if nats < 700 else math.inf
