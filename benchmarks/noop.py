"""A plugin with a corpus and a model that do almost nothing, to measure the cost of the harness."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, ClassVar

from lmgrid.spec import (
    Context,
    CorpusPart,
    CountingModel,
    LogProbs,
    ModelPart,
    Place,
    Tokens,
    hookimpl,
)

if TYPE_CHECKING:
    from lmgrid.vocabulary import Text

SENTENCES = "a b c\nb c d\n" * 20


@dataclass(frozen=True)
class Nothing(CorpusPart):
    """Forty sentences that are part of this module."""

    def digest(self, place: Place) -> str:
        return SENTENCES

    def make(self, place: Place) -> Text:
        return _text()


@cache
def _text() -> Text:
    from lmgrid.text import RawText, TextOptions, encode

    return encode(RawText(SENTENCES, SENTENCES, SENTENCES), TextOptions())


@dataclass(frozen=True)
class Uniform(ModelPart):
    """All types are equally probable. number: has no effect; an axis of it makes many cells."""

    deterministic: ClassVar[bool] = True

    number: int = 0

    def make(self, context: Context) -> Constant:
        return Constant(len(context.vocabulary))


class Constant(CountingModel):
    """The uniform distribution over V types."""

    def __init__(self, size: int) -> None:
        self._size = size

    def learn(self, train: Tokens) -> None:
        """Learn nothing."""

    def score(self, tokens: Tokens) -> LogProbs:
        import numpy as np

        return np.full(len(tokens), -np.log(self._size))


@hookimpl
def lmgrid_corpora() -> Mapping[str, type[CorpusPart]]:
    return {"nothing": Nothing}


@hookimpl
def lmgrid_language_models() -> Mapping[str, type[ModelPart]]:
    return {"uniform": Uniform}
