"""Writes ARPA files, the text format that n-gram toolkits exchange; plain, or gzip for ``.gz``.

A line is log10 p, the words, and log10 of the backoff weight. ``<eos>`` is written as ``</s>``
where it is predicted and as ``<s>`` where it is context, with one line for each.

Lines are built with array operations: each piece of a line is stored as chunks of eight bytes, from
left to right, so that the next piece overwrites the bytes after the end of a piece. The first eight
bytes of each line are stored last, since the last piece of a line runs into the next line.
"""

from __future__ import annotations

import gzip
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import as_strided

from lmgrid.vocabulary import EOS, UNK_WORD
from lmgrid_ngram.scoring.backoff import BackoffModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating]
    Integers = NDArray[np.integer]
    Chunks = NDArray[np.uint64]  # eight bytes of text each, little-endian

LINES = 1 << 14  # lines built at once
NEVER = -99.0  # how the format writes log10 of zero


class ArpaError(ValueError):
    """An ARPA file is malformed, or cannot hold a model; the message says where and why."""


def write_arpa(model: BackoffModel, words: Sequence[str], path: Path) -> None:
    """Write a model to ``path``, completely or not at all; ``words`` are its words by id.

    Raises ArpaError for a model with a backoff weight after unseen contexts (``mle``,
    ``stupid-backoff``), and for words that are empty or hold white space.
    """
    if model.unseen != 1:
        raise ArpaError(
            "an ARPA file has no backoff weight for unseen contexts, which mle and "
            "stupid-backoff need; choose another smoothing"
        )
    with replacing(path) as file:
        header = (f"ngram {k}={n}\n" for k, n in enumerate(_sizes(model), start=1))
        file.write(f"\\data\\\n{''.join(header)}".encode())
        lines = _LineWriter(model, _spelled(words, model.vocabulary))
        for k in range(1, model.order + 1):
            file.write(f"\n\\{k}-grams:\n".encode())
            for block in lines.section(k):
                file.write(block)
        file.write(b"\n\\end\\\n")


def _sizes(model: BackoffModel) -> Iterator[int]:
    """Yield the number of lines of each order; ``<s>`` is one more unigram."""
    for k, level in enumerate(model.levels):
        yield len(level.nodes) + (k == 0)


def _spelled(words: Sequence[str], size: int) -> list[bytes]:
    """Return the bytes of each id as a word, and last those of ``<eos>`` as a context, ``<s>``."""
    if len(words) != size:
        raise ArpaError(f"the model has {size} ids, but {len(words)} words were given")
    spelled = [word.encode() for word in (UNK_WORD, "</s>", *words[EOS + 1 :], "<s>")]
    for word in spelled:
        if not word or any(byte <= 32 for byte in word):
            raise ArpaError(f"the word {word!r} is empty or holds white space; rename it")
    return spelled


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes] | gzip.GzipFile]:
    """Open a temporary file that replaces ``path`` when the block ends without an error."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as raw:
            if path.suffix == ".gz":
                with gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=6, mtime=0) as file:
                    yield file
            else:
                yield raw
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


class _LineWriter:
    """Writes the lines of a model, many at once."""

    def __init__(self, model: BackoffModel, spelled: list[bytes]) -> None:
        self.model = model
        self.begin = len(spelled) - 1  # the id of <s>
        self.words = _WordBytes([word + b" " for word in spelled])
        self.parents = [level.nodes.parents() for level in model.levels]

    def section(self, k: int) -> Iterator[bytes]:
        """Yield the lines of the k-grams."""
        level = self.model.levels[k - 1]
        for low in range(0, len(level.nodes), LINES):
            nodes = np.arange(low, min(low + LINES, len(level.nodes)))
            backoffs = level.backoffs[nodes] if k < self.model.order else None
            if k == 1 and low == 0 and backoffs is not None:
                backoffs[EOS] = 1  # </s> is no context
            probabilities = level.probabilities[nodes]
            yield self._lines(self._words(k, nodes), probabilities, backoffs)
        if k == 1:
            yield self._begin_line()

    def _begin_line(self) -> bytes:
        backoffs = self.model.levels[0].backoffs[[EOS]] if self.model.order > 1 else None
        return self._lines([np.array([self.begin])], np.zeros(1), backoffs)

    def _words(self, k: int, nodes: Integers) -> list[Integers]:
        """Return the words of k-grams as k columns."""
        columns: list[Integers] = []
        for i in range(k - 1, -1, -1):
            words = self.model.levels[i].nodes.words.take(nodes)
            columns.insert(0, words.astype(np.intp))
            nodes = self.parents[i].take(nodes).astype(np.intp)
        if k > 1:
            columns[0] = np.where(columns[0] == EOS, self.begin, columns[0])
        return columns

    def _lines(self, words: list[Integers], p: Floats, backoffs: Floats | None) -> bytes:
        lengths = [self.words.lengths.take(column) for column in words]
        ends = np.cumsum(NUMBER + sum(lengths) + (0 if backoffs is None else NUMBER))
        data = np.zeros(int(ends[-1]) + 8, np.uint8)
        store = as_strided(data[:8].view(np.uint64), (int(ends[-1]),), (1,))
        begins = np.concatenate(([0], ends[:-1]))
        first, rest = number_chunks(log10(p), "\t")
        place = begins + 8
        store[place] = rest
        place += NUMBER - 8
        for column, length in zip(words, lengths, strict=True):
            self.words.put(store, place, column)
            place += length
        data[place - 1] = ord("\n" if backoffs is None else "\t")
        if backoffs is not None:
            one, two = number_chunks(log10(backoffs), "\n")
            store[place] = one
            store[place + 8] = two
        store[begins] = first
        return data[:-8].tobytes()


class _WordBytes:
    """Words as bytes, stored in chunks of eight."""

    def __init__(self, words: list[bytes]) -> None:
        self.lengths = np.array([len(word) for word in words])
        self._counts = -(-self.lengths // 8)
        self._begins = np.cumsum(self._counts) - self._counts
        padded = b"".join(word.ljust(-(-len(word) // 8) * 8, b"\0") for word in words)
        self._chunks = np.frombuffer(padded, np.dtype("<u8")).astype(np.uint64)

    def put(self, store: Chunks, place: Integers, words: Integers) -> None:
        """Store each word at its place."""
        begins, counts = self._begins.take(words), self._counts.take(words)
        store[place] = self._chunks.take(begins)
        for i in range(1, int(counts.max())):
            more = np.flatnonzero(counts > i)
            store[place[more] + 8 * i] = self._chunks.take(begins[more] + i)


# ---------------------------------------------------------------- numbers

NUMBER = 11  # bytes of "-1.2345678" or "-12.345678" and the separator after it
_FOUR = np.array([int.from_bytes(f"{i:04d}".encode(), "little") for i in range(10_000)], np.uint64)


def log10(p: Floats) -> NDArray[np.float64]:
    """Return logarithms to base 10, -99 for zero."""
    with np.errstate(divide="ignore"):
        return np.maximum(np.log10(p, dtype=np.float64), NEVER)


def number_chunks(values: NDArray[np.float64], mark: str) -> tuple[Chunks, Chunks]:
    """Return numbers between -100 and 100 as ten characters and a separator, in two chunks.

    A positive number begins with 0, not with a minus sign.
    """
    size = np.abs(values)
    scaled = np.rint(size * 1e7).astype(np.int64)
    wide = np.flatnonzero(scaled >= 10**8)  # two digits before the point
    scaled[wide] = np.rint(size[wide] * 1e6)
    upper = scaled // 10_000
    digits: Chunks = _FOUR.take(upper)
    digits |= _FOUR.take(scaled - upper * 10_000) << np.uint64(32)
    first: Chunks = np.where(values <= 0, np.uint64(ord("-")), np.uint64(ord("0")))
    narrow: Chunks = (
        (digits & _mask(1)) << _shift(1) | _char(".", 2) | (digits >> _shift(1)) << _shift(3)
    )
    broad = (digits[wide] & _mask(2)) << _shift(1) | _char(".", 3)
    narrow[wide] = broad | (digits[wide] >> _shift(2)) << _shift(4)
    return first | narrow, digits >> _shift(6) | _char(mark, 2)


def _shift(places: int) -> np.uint64:
    return np.uint64(8 * places)


def _mask(places: int) -> np.uint64:
    return np.uint64((1 << 8 * places) - 1)


def _char(character: str, place: int) -> np.uint64:
    return np.uint64(ord(character) << 8 * place)
