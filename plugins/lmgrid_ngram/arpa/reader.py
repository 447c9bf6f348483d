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
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from lmgrid_ngram.arpa.lines import Lines
from lmgrid_ngram.arpa.writer import NEVER, ArpaError
from lmgrid_ngram.counting import encoder
from lmgrid_ngram.counting.encoder import Encoder, Words
from lmgrid_ngram.counting.trie import EOS, Nodes
from lmgrid_ngram.scoring.backoff import BackoffModel, Layer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ids = NDArray[np.int32]
    Places = NDArray[np.intp]
    Floats = NDArray[np.float64]

BEGIN, END = b"<s>", b"</s>"
LONGEST = 64  # bytes of a number in the file
_COUNT = re.compile(r"ngram\s+(\d+)\s*=\s*(\d+)$")


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
    lines = Lines(path)
    sizes = _header(lines)
    unigrams = _unigrams(lines, sizes)
    if words is not None:
        unigrams = unigrams.renumbered(path, tuple(word.encode() for word in words))
    layers = [unigrams.layer()]
    for k in range(2, len(sizes) + 1):
        if (title := lines.next()) != f"\\{k}-grams:":
            lines.fail(f"\\{k}-grams: should stand here, not {title!r}; is a count wrong?")
        layers.append(_layer(lines, _section(lines, sizes, (k, unigrams)), layers))
    if lines.next() != "\\end\\":
        lines.fail("\\end\\ should stand here")
    return ArpaFile(
        BackoffModel(tuple(layers)), tuple(word.decode() for word in unigrams.vocabulary)
    )


def _header(lines: Lines) -> list[int]:
    """Return the number of n-grams of each order that the header states."""
    while lines.next() != "\\data\\":  # SRILM and others allow a comment before it
        pass
    sizes: list[int] = []
    while (line := lines.next()) != "\\1-grams:":
        match = _COUNT.match(line)
        if not match:
            lines.fail(f"{line!r} should be 'ngram N=COUNT', or \\1-grams:")
        if int(match[1]) != len(sizes) + 1:
            lines.fail(f"order {len(sizes) + 1} should stand here, not {match[1]}")
        sizes.append(int(match[2]))
    if not sizes:
        lines.fail("\\data\\ names no order")
    return sizes


# ---------------------------------------------------------------- lines to numbers and words


@dataclass(frozen=True)
class _Page:
    """A block of n lines with n-grams of one order."""

    words: Words
    first: Places  # (n,) the place of each line's first field among the words
    numbers: Places  # (n,) of the lines
    logs: Floats  # (n, 2) log10 of the probability and of the backoff weight

    def field(self, i: int) -> Words:
        """Return the i-th field of each line."""
        return self.words.take(self.first + i)


def _pages(lines: Lines, sizes: list[int], k: int) -> Iterator[_Page]:
    """Yield the lines of a section in blocks; ArpaError if the header states another number."""
    count, size = 0, sizes[k - 1]
    for block in lines.body():
        number = lines.number
        for words in encoder.blocks(block):
            page = _page(lines, words, (k, number))
            if count + len(page.first) > size:
                title = f"\\{k + 1}-grams:" if k < len(sizes) else "\\end\\"
                why = f"{title} should stand here; \\data\\ promised {size} {k}-grams"
                lines.fail(why, int(page.numbers[size - count]))
            count += len(page.first)
            number += len(words.line_ends)
            yield page
    if count < size:
        lines.fail(f"{lines.next()} after {count} {k}-grams, but \\data\\ promised {size}")


def _page(lines: Lines, words: Words, place: tuple[int, int]) -> _Page:
    """Return the k-grams of a block after line ``number``; ``place`` is (k, number)."""
    k, number = place
    fields = np.diff(words.line_ends, prepend=0)
    full = np.flatnonzero(fields)
    numbers, first = number + 1 + full, (words.line_ends - fields)[full]
    fields = fields[full]
    wrong = np.flatnonzero((fields < k + 1) | (fields > k + 2))
    if len(wrong):
        why = f"a {k}-gram has a number, {k} words and at most one more number"
        lines.fail(why, int(numbers[wrong[0]]))
    logs = np.zeros((len(full), 2))
    logs[:, 0] = _logarithms(lines, words.take(first), numbers)
    more = np.flatnonzero(fields == k + 2)
    logs[more, 1] = _logarithms(lines, words.take(first[more] + k + 1), numbers[more])
    above = np.flatnonzero(logs[:, 0] > 0)
    if len(above):
        lines.fail("a probability is above 1", int(numbers[above[0]]))
    return _Page(words, first, numbers, logs)


def _logarithms(lines: Lines, words: Words, numbers: Places) -> Floats:
    """Return words as numbers; only minus infinity is allowed of the infinities."""
    longest = int(words.lengths.max(initial=1))
    if longest > LONGEST:
        at = int(np.argmax(words.lengths))
        lines.fail(f"a number of {longest} bytes is no number", int(numbers[at]))
    chunks = np.zeros((len(numbers), -(-longest // 8)), "<u8")
    for i in range(chunks.shape[1]):
        some = np.flatnonzero(words.lengths > 8 * i)
        chunks[some, i] = words.chunk(i, some)
    texts = chunks.view(f"S{8 * chunks.shape[1]}")[:, 0]
    try:
        values: Floats = texts.astype(np.float64)
    except ValueError:
        at = next(i for i, text in enumerate(texts.tolist()) if not _is_number(text))
        lines.fail(f"{texts[at].decode()!r} is no number", int(numbers[at]))
    wrong = np.flatnonzero(~(values < np.inf))
    if len(wrong):
        lines.fail(f"{texts[wrong[0]].decode()!r} is no logarithm", int(numbers[wrong[0]]))
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
                f"{path} lacks {len(ours - theirs)} words of the corpus, and the corpus "
                f"{len(theirs - ours)} of its, such as {odd!r}; make both from one training "
                "text, since the probabilities sum to 1 only over the same words"
            )
        return replace(self, vocabulary=vocabulary)

    @cached_property
    def encoder(self) -> Encoder:
        """Encodes words; ``<s>`` and ``</s>`` have the two ids after the vocabulary."""
        return Encoder((*self.vocabulary, BEGIN, END))

    def layer(self) -> Layer:
        """Return layer 1; ``<eos>`` has the probability of ``</s>`` and the backoff of ``<s>``."""
        size = len(self.vocabulary)
        p, backoffs = np.zeros(size, np.float32), np.ones(size, np.float32)
        known = {word: i for i, word in enumerate(self.vocabulary)} | {BEGIN: EOS, END: EOS}
        ids = np.array([known[word] for word in self.words], np.intp)
        predicted = [i for i, word in enumerate(self.words) if word != BEGIN]
        context = [i for i, word in enumerate(self.words) if word != END]
        p[ids[predicted]] = _power(self.logs[predicted, 0])
        backoffs[ids[context]] = _power(self.logs[context, 1])
        return Layer(
            Nodes(np.arange(size, dtype=np.int32), np.array([0, size], np.int32)), p, backoffs
        )


def _unigrams(lines: Lines, sizes: list[int]) -> _Unigrams:
    words: dict[bytes, None] = {}
    logs = [np.zeros((0, 2))]
    for page in _pages(lines, sizes, 1):
        logs.append(page.logs)
        for word, number in zip(page.field(1).spelled(), page.numbers.tolist(), strict=True):
            if word in words:
                lines.fail(f"{word.decode()!r} stands twice", number)
            words[word] = None
    return _Unigrams.of(list(words), np.concatenate(logs))


# ---------------------------------------------------------------- longer n-grams


@dataclass(frozen=True)
class _Section:
    """The n n-grams of one order, in the order of the file."""

    ngrams: Ids  # (n, k)
    logs: Floats  # (n, 2)
    numbers: Places  # (n,) of their lines


def _section(lines: Lines, sizes: list[int], what: tuple[int, _Unigrams]) -> _Section:
    """Return the n-grams of one order; ``what`` is (order, unigrams)."""
    k, unigrams = what
    sections = [_Section(np.zeros((0, k), np.int32), np.zeros((0, 2)), np.zeros(0, np.intp))]
    sections += (_encode(lines, page, what) for page in _pages(lines, sizes, k))
    columns = zip(*((s.ngrams, s.logs, s.numbers) for s in sections), strict=True)
    ngrams, logs, numbers = map(np.concatenate, columns)
    begin = len(unigrams.vocabulary)
    seen = (ngrams[:, 1:] != begin).all(axis=1) & (ngrams[:, :-1] != begin + 1).all(axis=1)
    return _Section(np.where(ngrams < begin, ngrams, EOS)[seen], logs[seen], numbers[seen])


def _encode(lines: Lines, page: _Page, what: tuple[int, _Unigrams]) -> _Section:
    """Return a block with words as ids; ArpaError for a word that is not a unigram."""
    k, unigrams = what
    ids = np.empty((len(page.first), k), np.int32)
    for i in range(k):
        ids[:, i] = unigrams.encoder.find(page.field(i + 1))
    unknown = np.argwhere(ids < 0)
    if len(unknown):
        number = int(page.numbers[unknown[0, 0]])
        word = lines.fields(number)[unknown[0, 1] + 1]
        lines.fail(f"{word!r} is not among the unigrams", number)
    return _Section(ids, page.logs, page.numbers)


def _layer(lines: Lines, section: _Section, lower: list[Layer]) -> Layer:
    """Return the layer of the n-grams, which the file may list in any order."""

    def fail(before: str, after: str, at: int) -> NoReturn:
        number = int(section.numbers[at])
        text = " ".join(lines.fields(number)[1 : section.ngrams.shape[1] + 1])
        lines.fail(f"{before}{text!r}{after}", number)

    contexts = section.ngrams[:, 0]
    for layer, words in zip(lower[1:], section.ngrams.T[1:-1], strict=True):
        contexts = layer.nodes.find(contexts, words)
        if (contexts < 0).any():
            fail("the beginning of ", " is not in a lower order", int(np.argmin(contexts)))
    keys = contexts.astype(np.uint64) << np.uint64(32) | section.ngrams[:, -1].astype(np.uint64)
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    twice = np.flatnonzero(keys[1:] == keys[:-1])
    if len(twice):
        fail("", " stands twice", int(order[twice[0] + 1]))
    starts = np.zeros(len(lower[-1].nodes) + 1, np.int32)
    np.cumsum(np.bincount(contexts, minlength=len(starts) - 1), out=starts[1:])
    p, backoffs = _power(section.logs[order]).astype(np.float32).T
    return Layer(Nodes(section.ngrams[order, -1], starts), p.copy(), backoffs.copy())
