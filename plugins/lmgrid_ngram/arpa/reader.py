"""Reads ARPA files as KenLM, SRILM and lmgrid write them; plain or gzip.

Fields are separated by any white space; blank lines and text before ``\\data\\`` are skipped; a
missing backoff weight is 1; a logarithm of -99 or below is a probability or weight of zero.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lmgrid.vocabulary import EOS
from lmgrid_ngram.arpa.lines import LineReader
from lmgrid_ngram.arpa.writer import NEVER, ArpaError
from lmgrid_ngram.counting import encoder
from lmgrid_ngram.counting.encoder import Encoder, Words
from lmgrid_ngram.counting.trie import Nodes
from lmgrid_ngram.scoring.backoff import BackoffLevel, BackoffModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ids = NDArray[np.int32]
    Places = NDArray[np.intp]
    Floats = NDArray[np.float64]

BEGIN, END = b"<s>", b"</s>"
LONGEST = 64  # bytes of a number in the file
_COUNT = re.compile(r"ngram\s+(\d+)\s*=\s*(\d+)$")
_CHECK_COUNTS = "check the counts after \\data\\"


@dataclass(frozen=True)
class ArpaFile:
    """The contents of an ARPA file: a model, and the word of each of its ids."""

    model: BackoffModel
    words: tuple[str, ...]


def read_arpa(path: Path, words: Sequence[str] | None = None) -> ArpaFile:
    """Return the model and the words of a file; ArpaError if it is malformed.

    ``words`` are the words by id, and must be those of the file; by default words are numbered by
    appearance. A word without a probability (often ``<unk>``) has probability zero. n-grams with
    ``<s>`` after their first word or ``</s>`` before their last are skipped, since no sentence has
    them.
    """
    lines = LineReader(path)
    sizes = _header(lines)
    unigrams = _unigrams(lines, sizes)
    if words is not None:
        unigrams = unigrams.renumbered(path, tuple(word.encode() for word in words))
    levels = [unigrams.level()]
    for k in range(2, len(sizes) + 1):
        if (title := lines.next()) != f"\\{k}-grams:":
            lines.fail(f"expected the line \\{k}-grams:, not {title!r}; {_CHECK_COUNTS}")
        levels.append(_level(lines, _section(lines, sizes, k, unigrams), levels))
    if (title := lines.next()) != "\\end\\":
        lines.fail(f"expected the line \\end\\, not {title!r}; {_CHECK_COUNTS}")
    return ArpaFile(
        BackoffModel(tuple(levels)), tuple(word.decode() for word in unigrams.vocabulary)
    )


def _header(lines: LineReader) -> list[int]:
    """Return the number of n-grams of each order that the header states."""
    while lines.next() != "\\data\\":  # SRILM and others allow a comment before it
        pass
    sizes: list[int] = []
    while (line := lines.next()) != "\\1-grams:":
        match = _COUNT.match(line)
        if not match:
            lines.fail(f"expected 'ngram N=COUNT' or \\1-grams:, not {line!r}; correct the header")
        if int(match[1]) != len(sizes) + 1:
            lines.fail(
                f"expected the count of order {len(sizes) + 1}, not of order {match[1]}; give one "
                "line for each order, from 1 up"
            )
        sizes.append(int(match[2]))
    if not sizes:
        lines.fail("expected 'ngram 1=COUNT' after \\data\\; add a line for each order")
    return sizes


# ---------------------------------------------------------------- lines to numbers and words


@dataclass(frozen=True)
class _Block:
    """A block of n lines with n-grams of one order."""

    words: Words
    first: Places  # (n,) the place of each line's first field among the words
    numbers: Places  # (n,) of the lines
    logs: Floats  # (n, 2) log10 of the probability and of the backoff weight

    def field(self, i: int) -> Words:
        """Return the i-th field of each line."""
        return self.words.take(self.first + i)


def _blocks(lines: LineReader, sizes: list[int], k: int) -> Iterator[_Block]:
    """Yield the lines of a section in blocks; ArpaError if the header states another number."""
    count, size = 0, sizes[k - 1]
    for data in lines.body():
        number = lines.number
        for words in encoder.blocks(data):
            block = _parse(lines, words, k, lines_before=number)
            if count + len(block.first) > size:
                title = f"\\{k + 1}-grams:" if k < len(sizes) else "\\end\\"
                why = f"expected {title} after {size} {k}-grams; {_CHECK_COUNTS}"
                lines.fail(why, int(block.numbers[size - count]))
            count += len(block.first)
            number += len(words.line_ends)
            yield block
    if count < size:
        title = lines.next()
        lines.fail(f"expected {size} {k}-grams before {title}, found {count}; {_CHECK_COUNTS}")


def _parse(lines: LineReader, words: Words, k: int, *, lines_before: int) -> _Block:
    """Return the k-grams of a block of text with ``lines_before`` lines of the file before it."""
    fields = np.diff(words.line_ends, prepend=0)
    full = np.flatnonzero(fields)
    numbers, first = lines_before + 1 + full, (words.line_ends - fields)[full]
    fields = fields[full]
    wrong = np.flatnonzero((fields < k + 1) | (fields > k + 2))
    if len(wrong):
        why = (
            f"expected log10 p, {k} {'word' if k == 1 else 'words'} and at most a log10 backoff "
            "weight; correct the line"
        )
        lines.fail(why, int(numbers[wrong[0]]))
    logs = np.zeros((len(full), 2))
    logs[:, 0] = _logarithms(lines, words.take(first), numbers)
    more = np.flatnonzero(fields == k + 2)
    logs[more, 1] = _logarithms(lines, words.take(first[more] + k + 1), numbers[more])
    above = np.flatnonzero(logs[:, 0] > 0)
    if len(above):
        why = "log10 p is above 0, a probability above 1; correct the number"
        lines.fail(why, int(numbers[above[0]]))
    return _Block(words, first, numbers, logs)


def _logarithms(lines: LineReader, words: Words, numbers: Places) -> Floats:
    """Return words as numbers; only minus infinity is allowed of the infinities."""
    longest = int(words.lengths.max(initial=1))
    if longest > LONGEST:
        at = int(np.argmax(words.lengths))
        why = f"expected a number of at most {LONGEST} bytes, not {longest}; shorten it"
        lines.fail(why, int(numbers[at]))
    chunks = np.zeros((len(numbers), -(-longest // 8)), "<u8")
    for i in range(chunks.shape[1]):
        some = np.flatnonzero(words.lengths > 8 * i)
        chunks[some, i] = words.chunk(i, some)
    texts = chunks.view(f"S{8 * chunks.shape[1]}")[:, 0]
    try:
        values: Floats = texts.astype(np.float64)
    except ValueError:
        at = next(i for i, text in enumerate(texts.tolist()) if not _is_number(text))
        why = f"expected a number, not {texts[at].decode()!r}; correct it"
        lines.fail(why, int(numbers[at]))
    wrong = np.flatnonzero(~(values < np.inf))
    if len(wrong):
        why = f"expected a logarithm, not {texts[wrong[0]].decode()!r}; correct it"
        lines.fail(why, int(numbers[wrong[0]]))
    return values


def _is_number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _power(logs: Floats) -> Floats:
    """Return 10 to the power of ``logs``; 0 for -99 and below, the format's zero."""
    return np.where(logs <= NEVER, 0.0, 10**logs)


# ---------------------------------------------------------------- unigrams


@dataclass(frozen=True)
class _Unigrams:
    """The words of the file with their numbers, and the vocabulary of the model."""

    words: list[bytes]  # in the order of the file
    logs: Floats  # (n, 2)
    vocabulary: tuple[bytes, ...]  # by id

    @classmethod
    def of(cls, words: list[bytes], logs: Floats) -> _Unigrams:
        special = (*encoder.SPECIAL, BEGIN, END)
        rest = (word for word in words if word not in special)
        return cls(words, logs, (*encoder.SPECIAL, *rest))

    def renumbered(self, path: Path, vocabulary: tuple[bytes, ...]) -> _Unigrams:
        """Return the same with the ids of ``vocabulary``; ArpaError if the words differ."""
        theirs, ours = set(self.vocabulary), set(vocabulary)
        if theirs != ours:
            odd = min(theirs ^ ours).decode()
            raise ArpaError(
                f"{path} and the corpus have different words: {len(theirs - ours)} are only in the "
                f"file and {len(ours - theirs)} only in the corpus, such as {odd!r}; make both "
                "from one training text, since probabilities sum to 1 only over the same words"
            )
        return replace(self, vocabulary=vocabulary)

    @cached_property
    def encoder(self) -> Encoder:
        """Encodes words; ``<s>`` and ``</s>`` have the two ids after the vocabulary."""
        return Encoder((*self.vocabulary, BEGIN, END))

    def level(self) -> BackoffLevel:
        """Return level 1; ``<eos>`` has the probability of ``</s>`` and the backoff of ``<s>``."""
        size = len(self.vocabulary)
        p, backoffs = np.zeros(size, np.float32), np.ones(size, np.float32)
        known = {word: i for i, word in enumerate(self.vocabulary)} | {BEGIN: EOS, END: EOS}
        ids = np.array([known[word] for word in self.words], np.intp)
        predicted = [i for i, word in enumerate(self.words) if word != BEGIN]
        context = [i for i, word in enumerate(self.words) if word != END]
        p[ids[predicted]] = _power(self.logs[predicted, 0])
        backoffs[ids[context]] = _power(self.logs[context, 1])
        return BackoffLevel(
            Nodes(np.arange(size, dtype=np.int32), np.array([0, size], np.int32)), p, backoffs
        )


def _unigrams(lines: LineReader, sizes: list[int]) -> _Unigrams:
    words: dict[bytes, None] = {}
    logs = [np.zeros((0, 2))]
    for block in _blocks(lines, sizes, 1):
        logs.append(block.logs)
        for word, number in zip(block.field(1).spelled(), block.numbers.tolist(), strict=True):
            if word in words:
                lines.fail(f"the word {word.decode()!r} occurs twice; remove one line", number)
            words[word] = None
    return _Unigrams.of(list(words), np.concatenate(logs))


# ---------------------------------------------------------------- longer n-grams


@dataclass(frozen=True)
class _Section:
    """The n n-grams of one order, in the order of the file."""

    ngrams: Ids  # (n, k)
    logs: Floats  # (n, 2)
    numbers: Places  # (n,) of their lines


def _section(lines: LineReader, sizes: list[int], k: int, unigrams: _Unigrams) -> _Section:
    """Return the k-grams; ArpaError if a line is malformed or the header states another number."""
    sections = [_Section(np.zeros((0, k), np.int32), np.zeros((0, 2)), np.zeros(0, np.intp))]
    sections += (_encode(lines, block, k, unigrams) for block in _blocks(lines, sizes, k))
    columns = zip(*((s.ngrams, s.logs, s.numbers) for s in sections), strict=True)
    ngrams, logs, numbers = map(np.concatenate, columns)
    begin = len(unigrams.vocabulary)
    seen = (ngrams[:, 1:] != begin).all(axis=1) & (ngrams[:, :-1] != begin + 1).all(axis=1)
    return _Section(np.where(ngrams < begin, ngrams, EOS)[seen], logs[seen], numbers[seen])


def _encode(lines: LineReader, block: _Block, k: int, unigrams: _Unigrams) -> _Section:
    """Return a block with words as ids; ArpaError for a word that is not a unigram."""
    ids = np.empty((len(block.first), k), np.int32)
    for i in range(k):
        ids[:, i] = unigrams.encoder.find(block.field(i + 1))
    unknown = np.argwhere(ids < 0)
    if len(unknown):
        number = int(block.numbers[unknown[0, 0]])
        word = lines.fields(number)[unknown[0, 1] + 1]
        lines.fail(f"the word {word!r} is not a unigram of the file; add it to the 1-grams", number)
    return _Section(ids, block.logs, block.numbers)


def _level(lines: LineReader, section: _Section, lower: list[BackoffLevel]) -> BackoffLevel:
    """Return the level of the n-grams, which the file may list in any order."""

    def words_at(at: int) -> str:
        """Return the words of an n-gram as they are in the file."""
        return " ".join(lines.fields(int(section.numbers[at]))[1 : section.ngrams.shape[1] + 1])

    contexts = section.ngrams[:, 0]
    for level, words in zip(lower[1:], section.ngrams.T[1:-1], strict=True):
        contexts = level.nodes.find(contexts, words)
        if (contexts < 0).any():
            at = int(np.argmin(contexts))
            why = (
                f"the first words of {words_at(at)!r} are not an n-gram of a lower order; "
                "write the file again, with the context of each n-gram"
            )
            lines.fail(why, int(section.numbers[at]))
    keys = contexts.astype(np.uint64) << np.uint64(32) | section.ngrams[:, -1].astype(np.uint64)
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    twice = np.flatnonzero(keys[1:] == keys[:-1])
    if len(twice):
        at = int(order[twice[0] + 1])
        lines.fail(f"{words_at(at)!r} occurs twice; remove one line", int(section.numbers[at]))
    starts = np.zeros(len(lower[-1].nodes) + 1, np.int32)
    np.cumsum(np.bincount(contexts, minlength=len(starts) - 1), out=starts[1:])
    p, backoffs = _power(section.logs[order]).astype(np.float32).T
    return BackoffLevel(Nodes(section.ngrams[order, -1], starts), p.copy(), backoffs.copy())
