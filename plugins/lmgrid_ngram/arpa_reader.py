"""Reads ARPA files as KenLM, SRILM and lmgrid write them; plain or gzip."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from lmgrid_ngram.arpa_writer import ArpaError
from lmgrid_ngram.backoff import BackoffModel, Layer
from lmgrid_ngram.trie import EOS, Nodes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ids = NDArray[np.int32]

_COUNT = re.compile(r"ngram\s+(\d+)\s*=\s*(\d+)$")
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class Arpa:
    """What an ARPA file holds: a model, and the word of each of its ids."""

    model: BackoffModel
    words: tuple[str, ...]


def read_arpa(path: Path) -> Arpa:
    """Return the model in a file. A word without a probability (``<unk>``, often) has zero."""
    lines = _Lines(path)
    sizes = _header(lines)
    unigrams = _section(lines, 1, sizes)
    words = _vocabulary(lines, unigrams)
    ids = {word: i for i, word in enumerate(words)} | {"<s>": EOS, "</s>": EOS}
    layers = [_unigram_layer(unigrams, ids, len(words))]
    for k in range(2, len(sizes) + 1):
        section = _section(lines, k, sizes)
        layers.append(_layer(lines, section, _ids(lines, section, ids), layers))
    if lines.next() != "\\end\\":
        lines.fail("\\end\\ should stand here")
    return Arpa(BackoffModel(tuple(layers)), words)


class _Lines:
    """The lines of a file that are not blank, and where one is in it."""

    def __init__(self, path: Path) -> None:
        self.path, self.number = path, 0
        self._lines = self._read()

    def _read(self) -> Iterator[str]:
        with self.path.open("rb") as raw:
            packed = raw.read(2) == _GZIP
        try:
            with gzip.open(self.path) if packed else self.path.open("rb") as file:
                for line in file:
                    self.number += 1
                    if text := line.decode().strip():
                        yield text
        except UnicodeDecodeError as error:
            self.fail(f"byte {error.object[error.start]:#04x} is not UTF-8; convert the file")
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            self.number += 1
            self.fail(f"the gzip stream is broken ({error}); get the file anew")

    def next(self) -> str:
        line = next(self._lines, None)
        if line is None:
            self.fail("the file ends here, before \\end\\; it was cut off")
        return line

    def fail(self, why: str, number: int | None = None) -> NoReturn:
        raise ArpaError(f"{self.path}, line {number or self.number}: {why}") from None


@dataclass(frozen=True)
class _Section:
    """The n-grams of one order as they stand in the file, n of them."""

    ngrams: list[list[str]]
    probabilities: NDArray[np.float64]  # (n,)
    backoffs: NDArray[np.float64]  # (n,)
    numbers: list[int]  # of their lines


def _header(lines: _Lines) -> list[int]:
    """Return how many n-grams of each order the file says it has."""
    while lines.next() != "\\data\\":  # SRILM and others allow a comment before it
        pass
    sizes: list[int] = []
    while True:
        line = lines.next()
        if line == "\\1-grams:":
            break
        match = _COUNT.match(line)
        if not match:
            lines.fail(f"{line!r} should be 'ngram N=COUNT', or \\1-grams:")
        if int(match[1]) != len(sizes) + 1:
            lines.fail(f"order {len(sizes) + 1} should stand here, not {match[1]}")
        sizes.append(int(match[2]))
    if not sizes:
        lines.fail("\\data\\ names no order")
    return sizes


def _section(lines: _Lines, k: int, sizes: list[int]) -> _Section:
    """Return the k-grams; the line after them is read by whoever comes next."""
    if k > 1 and (title := lines.next()) != f"\\{k}-grams:":
        lines.fail(f"\\{k}-grams: should stand here, not {title!r}; is a count wrong?")
    ngrams: list[list[str]] = []
    numbers: list[int] = []
    logs = np.zeros((sizes[k - 1], 2))
    for i in range(sizes[k - 1]):
        fields = lines.next().split()
        if fields[0].startswith("\\"):
            lines.fail(f"{fields[0]} after {i} {k}-grams, but \\data\\ promised {sizes[k - 1]}")
        if not k + 1 <= len(fields) <= k + 2:
            lines.fail(f"a {k}-gram has a number, {k} words and at most one more number")
        logs[i, 0] = _number(lines, fields[0])
        logs[i, 1] = _number(lines, fields[k + 1]) if len(fields) == k + 2 else 0.0
        ngrams.append(fields[1 : k + 1])
        numbers.append(lines.number)
    positive = np.flatnonzero(logs[:, 0] > 0)
    if len(positive):
        lines.fail("a probability is above 1", numbers[positive[0]])
    p = np.where(logs[:, 0] <= -99, 0.0, 10 ** logs[:, 0])
    return _Section(ngrams, p, np.where(logs[:, 1] <= -99, 0.0, 10 ** logs[:, 1]), numbers)


def _number(lines: _Lines, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        lines.fail(f"{text!r} is no number")
    if not value < np.inf:
        lines.fail(f"{text!r} is no logarithm")
    return value


def _vocabulary(lines: _Lines, unigrams: _Section) -> tuple[str, ...]:
    words: dict[str, None] = {}
    for (word,), number in zip(unigrams.ngrams, unigrams.numbers, strict=True):
        if word in words:
            lines.fail(f"{word!r} stands twice", number)
        words[word] = None
    rest = (word for word in words if word not in ("<unk>", "<s>", "</s>", "<eos>"))
    return ("<unk>", "<eos>", *rest)


def _unigram_layer(section: _Section, ids: dict[str, int], size: int) -> Layer:
    """Return layer 1; ``<eos>`` has the probability of ``</s>`` and the backoff of ``<s>``."""
    p, backoffs = np.zeros(size, np.float32), np.ones(size, np.float32)
    for (word,), one, backoff in zip(
        section.ngrams, section.probabilities, section.backoffs, strict=True
    ):
        if word != "<s>":
            p[ids[word]] = one
        if word != "</s>":
            backoffs[ids[word]] = backoff
    nodes = Nodes(np.arange(size, dtype=np.int32), np.array([0, size], np.int32))
    return Layer(nodes, p, backoffs)


def _ids(lines: _Lines, section: _Section, ids: dict[str, int]) -> Ids:
    """Return the ids of the words, shape (n, k)."""
    try:
        table = [[ids[word] for word in ngram] for ngram in section.ngrams]
    except KeyError as error:
        at = next(i for i, ngram in enumerate(section.ngrams) if error.args[0] in ngram)
        lines.fail(f"{error.args[0]!r} is not among the unigrams", section.numbers[at])
    return np.array(table, dtype=np.int32).reshape(len(table), -1)


def _layer(lines: _Lines, section: _Section, ngrams: Ids, lower: list[Layer]) -> Layer:
    """Return a layer from its n-grams in any order."""
    contexts = ngrams[:, 0] if len(ngrams) else np.zeros(0, np.int32)
    for layer, words in zip(lower[1:], ngrams.T[1:-1], strict=True):
        contexts = layer.nodes.find(contexts, words)
        if (contexts < 0).any():
            at = int(np.flatnonzero(contexts < 0)[0])
            text = " ".join(section.ngrams[at])
            lines.fail(f"the beginning of {text!r} is not in a lower order", section.numbers[at])
    words = ngrams[:, -1] if len(ngrams) else contexts
    keys = contexts.astype(np.uint64) << np.uint64(32) | words.astype(np.uint64)
    order = np.argsort(keys, kind="stable")
    twice = np.flatnonzero(keys[order][1:] == keys[order][:-1])
    if len(twice):
        at = int(order[twice[0] + 1])
        lines.fail(f"{' '.join(section.ngrams[at])!r} stands twice", section.numbers[at])
    starts = np.zeros(len(lower[-1].nodes) + 1, np.int32)
    np.cumsum(np.bincount(contexts, minlength=len(starts) - 1), out=starts[1:])
    p, backoffs = (a[order].astype(np.float32) for a in (section.probabilities, section.backoffs))
    return Layer(Nodes(words[order], starts), p, backoffs)
