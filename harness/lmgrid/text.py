"""A corpus that is read as text: three raw texts, and the options by which they become tokens."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated

import msgspec

from lmgrid.errors import UserError
from lmgrid.spec import CorpusPart, Place
from lmgrid.vocabulary import (
    EOS_WORD,
    NEWLINE,
    SPLITS,
    UNK_WORD,
    Split,
    Symbol,
    Text,
    Unit,
    Vocabulary,
    symbols_of,
)


class TextError(UserError):
    """A text cannot be used as asked; the message says what, where and what to do."""


@dataclass(frozen=True)
class RawText:
    """A corpus as it was read: three texts, a sentence a line; their sizes are the splits'."""

    train: str
    valid: str
    test: str
    pretokenize: bool = False  # whether words must be separated from punctuation


@dataclass(frozen=True, kw_only=True)
class TextOptions:
    """How a text becomes tokens."""

    tokens: Unit = "word"  # a word is what ASCII white space separates
    lowercase: bool = False
    min_count: Annotated[int, msgspec.Meta(ge=1)] = 1  # rarer types become <unk>
    vocabulary: Annotated[int, msgspec.Meta(ge=3)] | None = None  # types, <unk> and <eos> too


class TextCorpusPart(TextOptions, CorpusPart):
    """A corpus that is read as text. ``lmgrid.cell.encoded`` keeps its ids, so it is read once.

    A subclass gives ``read`` and ``digest``, and its own options beside those of a text.
    """

    @abstractmethod
    def read(self, place: Place) -> RawText: ...

    def make(self, place: Place) -> Text:
        """Return the text as ids; TextError where it cannot be read."""
        return encode(self.read(place), self)


# ---------------------------------------------------------------- from text to ids


def encode(raw: RawText, options: TextOptions) -> Text:
    """Return a raw text as ids, with the vocabulary that its train split gives."""
    import numpy as np

    texts = [_ended(name, getattr(raw, name)) for name in SPLITS]
    pretokenized = raw.pretokenize and options.tokens == "word"
    marks = Vocabulary((UNK_WORD, EOS_WORD), options.tokens, options.lowercase, pretokenized)
    ready = [_checked(marks.prepare(text), marks) for text in texts]
    vocabulary = replace(marks, words=(*marks.words, *_words(ready[0], options)))
    tokens = [vocabulary.number(text) for text in ready]
    for ids in tokens:
        ids.flags.writeable = False  # as when they come from the cache
    sizes = [(len(text), len(text.encode())) for text in texts]
    counts = np.bincount(tokens[0], minlength=len(vocabulary)).astype(np.int64)
    return Text(vocabulary, counts, *(Split(t, *s) for t, s in zip(tokens, sizes, strict=True)))


def _ended(name: str, text: str) -> str:
    """Return a split with one newline after each of its lines, the last one too."""
    if not text:
        raise TextError(f"the {name} split is empty")
    text = text.replace("\r\n", "\n")
    return text if text.endswith("\n") else text + "\n"


def _checked(text: str, marks: Vocabulary) -> str:
    """Return a split that holds no word which is our own mark; else TextError."""
    if marks.unit == "word" and EOS_WORD in text and EOS_WORD.encode() in text.encode().split():
        raise TextError(f"the text holds the word {EOS_WORD}, which marks sentence ends; rename it")
    return text


def _words(text: str, options: TextOptions) -> Iterable[str]:
    """Return the types of a text that are kept, in the order of their ids."""
    counts = Counter(symbols_of(text, options.tokens))  # in order of first appearance
    counts.pop(NEWLINE[options.tokens], None)
    counts.pop(UNK_WORD.encode(), None)
    kept = [symbol for symbol, count in counts.most_common() if count >= options.min_count]
    room = None if options.vocabulary is None else options.vocabulary - 2
    return map(_word, kept[:room])


def _word(symbol: Symbol) -> str:
    if isinstance(symbol, int):
        return f"{symbol:02x}"
    return symbol.decode() if isinstance(symbol, bytes) else symbol
