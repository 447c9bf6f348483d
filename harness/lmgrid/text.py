"""From text to integers: tokens, the vocabulary and the three splits.

Ids: 0 ``<unk>``, 1 ``<eos>``, then words by falling count in train, ties by first appearance.
Every line is a sentence and ends with ``<eos>``, a blank line too; only a newline ends a line.
There is no id for a sentence start: a model sees ``<eos>`` before the first token.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import repeat
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import msgspec

from lmgrid.errors import Mistake
from lmgrid.spec import CorpusPart, Place

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lmgrid.spec import Tokens

UNK, EOS = 0, 1
UNK_WORD, EOS_WORD = "<unk>", "<eos>"
SPLITS = ("train", "valid", "test")
Unit = Literal["word", "char", "byte"]

Symbol: TypeAlias = bytes | str | int  # a word in UTF-8, a character, a byte; counted in C
_NEWLINE: dict[Unit, Symbol] = {"word": EOS_WORD.encode(), "char": "\n", "byte": 10}

_WORD_OR_MARK = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*|[^\w\s]|_")


class TextError(Mistake):
    """A text cannot be used as asked; the message says what, where and what to do."""


def pretokenize(line: str) -> str:
    """Separate punctuation from words by spaces.

    A word is a run of letters and digits, which may hold single apostrophes and hyphens inside;
    every other character that is not white space stands alone.
    """
    return " ".join(_WORD_OR_MARK.findall(line))


@dataclass(frozen=True)
class Vocabulary:
    """The token types of a corpus, by id, and how a text is read to find them.

    A byte is written as two hexadecimal digits.
    """

    words: tuple[str, ...]
    unit: Unit = "word"
    lowercase: bool = False
    pretokenized: bool = False  # words are separated from punctuation by ``pretokenize``

    def __len__(self) -> int:
        return len(self.words)

    @cached_property
    def ids(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.words)}

    @cached_property
    def _numbers(self) -> dict[Symbol, int]:
        numbers = {_symbol(word, self.unit): i for i, word in enumerate(self.words) if i > EOS}
        return numbers | {_NEWLINE[self.unit]: EOS}

    def encode(self, text: str) -> Tokens:
        """Return the ids of a text, shape (n,); each newline is an ``<eos>``, none is added."""
        return self.number(self.prepare(text.replace("\r\n", "\n")))

    def prepare(self, text: str) -> str:
        """Return a text in the form in which its tokens are read."""
        text = text.lower() if self.lowercase else text
        return "\n".join(map(pretokenize, text.split("\n"))) if self.pretokenized else text

    def number(self, prepared: str) -> Tokens:
        """Return the ids of a text that was prepared."""
        import numpy as np

        symbols = _symbols(prepared, self.unit)
        numbers = map(self._numbers.get, symbols, repeat(UNK))
        return np.fromiter(numbers, dtype=np.int32, count=len(symbols))

    def decode(self, tokens: Iterable[int]) -> str:
        """Return the text of some ids; ``<eos>`` ends a line, an unknown byte is ``?``."""
        words = [self.words[i] for i in tokens]
        if self.unit == "byte":
            numbers = (10 if w == EOS_WORD else 63 if w == UNK_WORD else int(w, 16) for w in words)
            return bytes(numbers).decode(errors="replace")
        glue = " " if self.unit == "word" else ""
        text = glue.join("\n" if word == EOS_WORD else word for word in words)
        return re.sub(" ?\n ?", "\n", text) if self.unit == "word" else text


@dataclass(frozen=True)
class Split:
    """One of train, valid and test, as ids and by the size of its original text."""

    tokens: Tokens
    characters: int  # one newline for each <eos> included
    bytes: int


@dataclass(frozen=True)
class Text:
    """A corpus as integers, split in three. ``counts[i]`` is how often id i occurs in train."""

    vocabulary: Vocabulary
    counts: NDArray[np.int64]
    train: Split
    valid: Split
    test: Split


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


class Corpus(TextOptions, CorpusPart):
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
    counts = Counter(_symbols(text, options.tokens))  # in order of first appearance
    counts.pop(_NEWLINE[options.tokens], None)
    counts.pop(UNK_WORD.encode(), None)
    kept = [symbol for symbol, count in counts.most_common() if count >= options.min_count]
    room = None if options.vocabulary is None else options.vocabulary - 2
    return map(_word, kept[:room])


def _symbols(text: str, unit: Unit) -> Sequence[Symbol]:
    """Return the tokens of a text, newlines included."""
    if unit == "char":
        return text
    if unit == "byte":
        return text.encode()
    return text.encode().replace(b"\n", b" <eos> ").split()  # bytes split at ASCII spaces only


def _symbol(word: str, unit: Unit) -> Symbol:
    return word.encode() if unit == "word" else word if unit == "char" else int(word, 16)


def _word(symbol: Symbol) -> str:
    if isinstance(symbol, int):
        return f"{symbol:02x}"
    return symbol.decode() if isinstance(symbol, bytes) else symbol
