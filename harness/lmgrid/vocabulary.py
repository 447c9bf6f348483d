"""Defines token ids, the vocabulary that maps them to words, and the three splits of a text.

Ids: 0 ``<unk>``, 1 ``<eos>``, then words by falling count in train, ties by first appearance.
Every line is a sentence and ends with ``<eos>``, a blank line too; only a newline ends a line.
There is no id for a sentence start: a model sees ``<eos>`` before the first token.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Tokens: TypeAlias = "NDArray[np.int32]"  # shape (n,), ids into the vocabulary
LogProbs: TypeAlias = "NDArray[np.float64]"  # natural logarithms

UNK, EOS = 0, 1
UNK_WORD, EOS_WORD = "<unk>", "<eos>"
SPLITS = ("train", "valid", "test")
Unit = Literal["word", "char", "byte"]

Symbol: TypeAlias = bytes | str | int  # a word in UTF-8, a character, a byte; counted in C
NEWLINE: dict[Unit, Symbol] = {"word": EOS_WORD.encode(), "char": "\n", "byte": 10}

_WORD_OR_MARK = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*|[^\w\s]|_")


def pretokenize(line: str) -> str:
    """Return a line with punctuation separated from words by spaces.

    A word is a run of letters and digits, which may hold single apostrophes and hyphens inside;
    every other character that is not white space stands alone.

    >>> pretokenize("Don't stop, world!")
    "Don't stop , world !"
    """
    return " ".join(_WORD_OR_MARK.findall(line))


@dataclass(frozen=True)
class Vocabulary:
    """The token types of a corpus, by id, and how a text is split into tokens.

    ``words[i]`` is the type with id i. With unit ``"byte"`` it is two hexadecimal digits.

    >>> vocabulary = Vocabulary(("<unk>", "<eos>", "the", "cat"))
    >>> vocabulary.encode("the cat purrs\\n")
    array([2, 3, 0, 1], dtype=int32)
    >>> vocabulary.decode([2, 3, 1])
    'the cat\\n'
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
        numbers = {symbol_of(word, self.unit): i for i, word in enumerate(self.words) if i > EOS}
        return numbers | {NEWLINE[self.unit]: EOS}

    def encode(self, text: str) -> Tokens:
        """Return the ids of a text, int32 of shape (n,).

        Each newline becomes ``<eos>``; no ``<eos>`` is added at the end. A type outside the
        vocabulary becomes ``<unk>``.
        """
        return self.number(self.prepare(text.replace("\r\n", "\n")))

    def prepare(self, text: str) -> str:
        """Return a text in lower case and with punctuation separated, where these are set."""
        text = text.lower() if self.lowercase else text
        return "\n".join(map(pretokenize, text.split("\n"))) if self.pretokenized else text

    def number(self, prepared: str) -> Tokens:
        """Return the ids of a text that ``prepare`` returned, int32 of shape (n,)."""
        import numpy as np

        symbols = symbols_of(prepared, self.unit)
        numbers = map(self._numbers.get, symbols, repeat(UNK))
        return np.fromiter(numbers, dtype=np.int32, count=len(symbols))

    def decode(self, tokens: Iterable[int]) -> str:
        """Return the text of a sequence of ids.

        ``<eos>`` becomes a newline, ``<unk>`` stays as it is, except that an unknown byte
        becomes ``?``. Raises IndexError for an id outside the vocabulary.
        """
        words = [self.words[i] for i in tokens]
        if self.unit == "byte":
            numbers = (10 if w == EOS_WORD else 63 if w == UNK_WORD else int(w, 16) for w in words)
            return bytes(numbers).decode(errors="replace")
        glue = " " if self.unit == "word" else ""
        text = glue.join("\n" if word == EOS_WORD else word for word in words)
        return re.sub(" ?\n ?", "\n", text) if self.unit == "word" else text


@dataclass(frozen=True)
class Split:
    """The train, valid or test split: its token ids and the size of its original text."""

    tokens: Tokens
    characters: int  # one newline for each <eos> included
    bytes: int


@dataclass(frozen=True)
class Text:
    """An encoded corpus with three splits. ``counts[i]`` is how often id i occurs in train."""

    vocabulary: Vocabulary
    counts: NDArray[np.int64]
    train: Split
    valid: Split
    test: Split


def symbols_of(text: str, unit: Unit) -> Sequence[Symbol]:
    """Return the tokens of a text, with newlines as tokens."""
    if unit == "char":
        return text
    if unit == "byte":
        return text.encode()
    return text.encode().replace(b"\n", b" <eos> ").split()  # bytes split at ASCII spaces only


def symbol_of(word: str, unit: Unit) -> Symbol:
    """Return a type of a vocabulary as ``symbols_of`` returns it."""
    return word.encode() if unit == "word" else word if unit == "char" else int(word, 16)
