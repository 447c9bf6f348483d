"""Counts the n-grams of a text by sorting, without a loop over tokens.

This is a radix sort over words, from the last word of an n-gram to its first. There is one row for
each position where an n-gram ends. Rows are sorted by their (k-1)-grams; a stable sort by the word
before these sorts them by their k-grams. Word and row number fit in one 64-bit integer, so each
order takes one sort of integers.

Allocating memory takes longer than arithmetic, so two buffers of eight bytes per token serve all
orders, and the rest is done in blocks that fit in the processor's cache. Indices are of type intp,
since ``take`` is five times slower with other types.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from lmgrid.vocabulary import EOS
from lmgrid_ngram.counting.trie import CountLevel, Counts, Nodes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ids = NDArray[np.int32]
    Pairs = NDArray[np.uint64]  # two numbers in one, the first in the high bits

BLOCK = 1 << 15  # rows worked on at once
HALF = np.uint64(32)
LOW = np.uint64((1 << 32) - 1)


def count(tokens: Ids, order: int, vocabulary: int) -> Counts:
    """Return the n-grams of ``tokens``, shape (n,), up to ``order``.

    An n-gram may begin at an ``<eos>``, or before the text, and never reaches across one.
    """
    levels = [_unigrams(tokens, vocabulary)]
    rows = _Rows(tokens, vocabulary) if order > 1 else None
    while rows and len(levels) < order:
        levels.append(rows.lengthen(levels[-1]))
    return Counts(tuple(levels))


def _unigrams(tokens: Ids, vocabulary: int) -> CountLevel:
    nodes = Nodes(np.arange(vocabulary, dtype=np.int32), np.array([0, vocabulary], np.int32))
    counts = np.bincount(tokens, minlength=vocabulary).astype(np.int32)
    return CountLevel(nodes, counts, np.zeros(vocabulary, np.int32))


class _Rows:
    """The r positions where n-grams of one length end, sorted by n-gram."""

    def __init__(self, tokens: Ids, vocabulary: int) -> None:
        self.length = 1
        self.stream = np.empty(len(tokens) + 1, np.int32)
        self.stream[0] = EOS
        self.stream[1:] = tokens
        self.pairs = np.empty(len(tokens), np.uint64)  # (r,) node, position in the stream
        self.parents = np.zeros(vocabulary, np.int32)  # (m,) the context of each node
        self.opening = slice(0, 0)  # nodes that begin a sentence, so have no word before them
        self._spare = np.empty(len(tokens), np.uint64)
        for block in _blocks(0, len(tokens)):
            self.pairs[block] = tokens[block]
            self.pairs[block] <<= HALF
            self.pairs[block] |= np.arange(block.start + 1, block.stop + 1, dtype=np.uint64)
        self.pairs.sort()

    def lengthen(self, lower: CountLevel) -> CountLevel:
        """Return the level of n-grams one word longer than ``lower``, and sort the rows by them."""
        followed = self._followed(lower)
        bits = np.uint64(len(self.pairs).bit_length())
        keys = self._sort(bits)
        groups = _Groups(len(keys), self.parents)
        for block in _blocks(0, len(keys)):
            self._group(keys[block], bits, groups)
        level = groups.level(lower, followed)
        above = self.opening if self.length > 1 else slice(EOS, EOS + 1)
        self.opening = level.nodes.children(above)
        self.parents = level.nodes.parents()
        self.pairs, self._spare = keys, self.pairs
        self.length += 1
        return level

    def _followed(self, lower: CountLevel) -> NDArray[np.bool_]:
        """Return which nodes are the context of a longer n-gram, shape (m,)."""
        if self.length == 1:
            return np.greater(np.bincount(self.stream[:-1], minlength=len(lower)), 0)
        followed = np.not_equal(lower.nodes.words, EOS)
        if self.stream[-1] != EOS:  # no <eos> at the end: does the last n-gram occur elsewhere?
            for block in _blocks(0, len(self.pairs)):
                pairs = self.pairs[block]
                last = pairs[pairs & LOW == len(self.stream) - 1] >> HALF
                followed[last] = lower.counts[last] > 1
        return followed

    def _sort(self, bits: np.uint64) -> Pairs:
        """Return (word, row) for each row with a word before it, by that word, then by row."""
        openings = np.array([self.opening.start, self.opening.stop], np.uint64) << HALF
        low, high = np.searchsorted(self.pairs, openings)
        filled = 0
        for block in (*_blocks(0, low), *_blocks(high, len(self.pairs))):
            key = self._spare[filled : filled + block.stop - block.start]
            position = (self.pairs[block] & LOW).view(np.int64)
            position -= self.length
            key[:] = self.stream.take(position)
            key <<= bits
            key |= np.arange(block.start, block.stop, dtype=np.uint64)
            filled += len(key)
        keys = self._spare[:filled]
        keys.sort()
        return keys

    def _group(self, keys: Pairs, bits: np.uint64, groups: _Groups) -> None:
        """Find the n-grams in a block of sorted keys; make the keys (node, position) in place."""
        row = (keys & np.uint64((1 << int(bits)) - 1)).view(np.int64)
        pairs = self.pairs.take(row)
        ngrams = keys >> bits
        ngrams <<= HALF
        ngrams |= pairs >> HALF  # (first word, suffix)
        before = np.int32(groups.size - 1)
        nodes = np.cumsum(groups.add(ngrams), dtype=np.int32)
        nodes += before
        keys[:] = nodes
        keys <<= HALF
        pairs &= LOW
        keys |= pairs


class _Groups:
    """Collects the m n-grams of the new length, block by block in sorted order."""

    def __init__(self, capacity: int, parents: Ids) -> None:
        self.rows = self.size = 0
        self._suffixes = np.empty(capacity, np.int32)
        self._counts = np.empty(capacity, np.int32)
        self._first_children: list[Ids] = []  # of each context that has any
        self._parents = parents
        self._last = self._last_context = np.uint64(LOW << HALF)  # no word is that large
        self._begin = 0

    def add(self, ngrams: Pairs) -> NDArray[np.bool_]:
        """Append a block of (first word, suffix), which may begin with the last n-gram again.

        Return a mask of the rows where a new n-gram begins.
        """
        new = _changes(ngrams, self._last)
        begins = np.flatnonzero(new)
        if len(begins):
            self._append(ngrams.take(begins), begins + self.rows)
        self.rows += len(ngrams)
        return new

    def _append(self, ngrams: Pairs, begins: NDArray[np.intp]) -> None:
        here = slice(self.size, self.size + len(ngrams))
        suffixes = (ngrams & LOW).view(np.int64)
        self._suffixes[here] = suffixes
        if self.size:
            self._counts[self.size - 1] = begins[0] - self._begin
        self._counts[here][:-1] = np.diff(begins)
        contexts = (ngrams >> HALF) << HALF
        contexts |= self._parents.take(suffixes).view(np.uint32)  # (first word, suffix's context)
        new = np.flatnonzero(_changes(contexts, self._last_context))
        self._first_children.append((new + self.size).astype(np.int32))
        self._last, self._last_context, self._begin = ngrams[-1], contexts[-1], int(begins[-1])
        self.size = here.stop

    def level(self, lower: CountLevel, followed: NDArray[np.bool_]) -> CountLevel:
        """Return the new level; ``followed`` is a mask of the nodes of ``lower`` with children."""
        if self.size:
            self._counts[self.size - 1] = self.rows - self._begin
        first_children = np.concatenate([*self._first_children, [self.size]]).astype(np.int32)
        starts = np.zeros(len(lower) + 1, np.int32)
        np.cumsum(followed, out=starts[1:])
        for block in _blocks(0, len(starts)):
            starts[block] = first_children.take(starts[block].astype(np.intp))
        suffixes = self._suffixes[: self.size]
        words = np.empty(self.size, np.int32)
        for block in _blocks(0, self.size):
            words[block] = lower.nodes.words.take(suffixes[block].astype(np.intp))
        return CountLevel(Nodes(words, starts), self._counts[: self.size], suffixes)


def _changes(values: Pairs, before: np.uint64) -> NDArray[np.bool_]:
    """Return a mask of the values that differ from the one before."""
    new = np.empty(len(values), np.bool_)
    new[0] = values[0] != before
    np.not_equal(values[1:], values[:-1], out=new[1:])
    return new


def _blocks(low: int, high: int) -> Iterator[slice]:
    return (slice(i, min(i + BLOCK, high)) for i in range(low, high, BLOCK))
