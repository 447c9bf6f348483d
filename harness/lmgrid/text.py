"""Turns raw texts into token ids: raw splits, tokenisation options, and the corpus base class."""

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
    """A text cannot be read or encoded; the message says what is wrong and how to fix it."""


@dataclass(frozen=True)
class RawText:
    """The three splits of a corpus as text, with one sentence per line."""

    train: str
    valid: str
    test: str
    pretokenize: bool = False  # separate punctuation from words first


@dataclass(frozen=True, kw_only=True)
class TextOptions:
    """Options of tokenisation that every text corpus has."""

    tokens: Annotated[
        Unit,
        msgspec.Meta(description="Unit of a token; words are separated by ASCII white space."),
    ] = "word"
    lowercase: Annotated[
        bool, msgspec.Meta(description="Whether to convert the text to lower case.")
    ] = False
    min_count: Annotated[
        int,
        msgspec.Meta(ge=1, description="Types that occur less often in train become <unk>."),
    ] = 1
    vocabulary: (
        Annotated[
            int,
            msgspec.Meta(
                ge=3,
                description="Largest number of types, including <unk> and <eos>; none: no limit.",
            ),
        ]
        | None
    ) = None


class TextCorpusPart(TextOptions, CorpusPart):
    """A corpus that is read as text; ``lmgrid.cell.encoded`` caches its ids, so it is read once.

    A subclass defines ``read`` and ``digest`` and adds its own options to those of a text.
    """

    @abstractmethod
    def read(self, place: Place) -> RawText:
        """Return the three splits as text; raise TextError where they cannot be read."""

    def make(self, place: Place) -> Text:
        """Return the encoded text; raise TextError where it cannot be read."""
        return encode(self.read(place), self)


# ---------------------------------------------------------------- from text to ids


def encode(raw: RawText, options: TextOptions) -> Text:
    """Return a text as ids, with a vocabulary made from its train split.

    Raises TextError if a split is empty or holds the word ``<eos>``.

    >>> raw = RawText(train="a cat\\na dog\\n", valid="a cow\\n", test="a dog\\n")
    >>> text = encode(raw, TextOptions())
    >>> text.vocabulary.words
    ('<unk>', '<eos>', 'a', 'cat', 'dog')
    >>> text.valid.tokens
    array([2, 0, 1], dtype=int32)
    """
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
    """Return a split in which every line ends with one newline."""
    if not text:
        raise TextError(f"the {name} split is empty")
    text = text.replace("\r\n", "\n")
    return text if text.endswith("\n") else text + "\n"


def _checked(text: str, marks: Vocabulary) -> str:
    """Return the text; raise TextError if it holds the reserved word ``<eos>``."""
    if marks.unit == "word" and EOS_WORD in text and EOS_WORD.encode() in text.encode().split():
        raise TextError(f"the text holds the word {EOS_WORD}, which marks sentence ends; rename it")
    return text


def _words(text: str, options: TextOptions) -> Iterable[str]:
    """Return the types of the vocabulary in the order of their ids, from 2."""
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
