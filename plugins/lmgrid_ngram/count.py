"""Counts the n-grams of a text with sorts and scatters, never with a loop over tokens.

The k-gram that ends at a position is the pair (node of its context, its word). Sorting the pairs
groups equal k-grams and numbers them in trie order. A context that occurs once has at most one
child, so its pair needs no sorting: after the first orders that is most of a text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmgrid_ngram.trie import BLOCK, EOS, Counts, Level, Nodes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ids = NDArray[np.int32]
    Keys = NDArray[np.uint64]

PART = 1 << 22  # pairs sorted at once, about
LONE, NONE = -1, -2  # in place of a rank: a context that occurs once; no context of this length


def count(tokens: Ids, order: int, vocabulary: int) -> Counts:
    """Return the n-grams of ``tokens``, shape (n,), up to ``order``.

    An n-gram may begin at an ``<eos>``, or before the text, and never reaches across one.
    """
    stream = np.empty(len(tokens) + 1, np.int32)
    stream[0] = EOS
    stream[1:] = tokens
    levels = [_unigrams(stream, vocabulary)]
    occurrences = np.bincount(stream[:-1], minlength=vocabulary).astype(np.int32)
    place = _Place(stream, stream, occurrences)
    for _ in range(1, order):
        level, ids = _Extension(place).run()
        levels.append(level)
        place = _Place(stream, ids, level.counts)
    return Counts(tuple(levels))


def _unigrams(stream: Ids, vocabulary: int) -> Level:
    words = np.arange(vocabulary, dtype=np.int32)
    counts = np.bincount(stream[1:], minlength=vocabulary).astype(np.int32)
    root = np.array([0, vocabulary], np.int32)
    return Level(Nodes(words, root), counts, np.zeros(vocabulary, np.int32))


@dataclass(frozen=True)
class _Place:
    """Where the k-grams of one order are in the stream."""

    stream: Ids  # (n + 1,) <eos>, then the tokens
    ids: Ids  # (n + 1,) the node of the k-gram that ends at each position, negative for none
    occurrences: Ids  # (m,) how often each node is a context, at least

    def contexts(self, block: slice) -> Ids:
        """Return the context of each position of a block that starts at 1 or later."""
        before = slice(block.start - 1, block.stop - 1)
        if self.ids is self.stream:  # alone, <eos> is a context: it begins a sentence
            return self.ids[before]
        return np.where(self.stream[before] == EOS, np.int32(-1), self.ids[before])

    def blocks(self) -> Iterator[slice]:
        n = len(self.stream)
        return (slice(low, min(low + BLOCK, n)) for low in range(1, n, BLOCK))


@dataclass(frozen=True)
class _Groups:
    """The distinct n-grams under a range of shared contexts, g of them, in trie order."""

    ranks: Ids  # (g,) of the context, counted from the first of the range
    ids: Ids  # (g,)
    words: Ids
    counts: Ids
    suffixes: Ids


class _Extension:
    """One level more: from where the (k-1)-grams are to the k-grams and where they are."""

    def __init__(self, place: _Place) -> None:
        self.place = place
        often = place.occurrences > 1
        self.shared = np.flatnonzero(often)  # (s,) contexts that occur more than once
        self.fanout = np.zeros(len(often), np.int32)  # (c,) children of each context
        self.ranks = self._rank(often)  # (n + 1,) of each position's context, LONE or NONE
        self.ids = np.full(len(place.stream), -1, np.int32)  # (n + 1,) of the new level

    def run(self) -> tuple[Level, Ids]:
        """Return the new level, and which of its nodes ends at each position."""
        lone_before = np.cumsum(self.fanout, dtype=np.int32)[self.shared]
        groups: list[_Groups] = []
        for part in self._parts():
            done = sum(len(group.ids) for group in groups)
            group = self._group(part, lone_before[part] + np.int32(done))
            fanout = np.bincount(group.ranks, minlength=part.stop - part.start)
            self.fanout[self.shared[part]] = fanout
            groups.append(group)
        return self._assemble(groups), self.ids

    def _rank(self, often: NDArray[np.bool_]) -> Ids:
        table = np.empty(len(often) + 1, np.int32)  # a context of -1 reads the last entry
        table[:-1] = np.where(often, np.cumsum(often, dtype=np.int32) - 1, np.int32(LONE))
        table[-1] = NONE
        ranks = np.full(len(self.place.stream), NONE, np.int32)
        for block in self.place.blocks():
            contexts = self.place.contexts(block)
            ranks[block] = rank = table[contexts]
            self.fanout[contexts[rank == LONE]] = 1
        return ranks

    def _parts(self) -> Iterator[slice]:
        """Yield ranges of shared contexts that occur about PART times together.

        A key holds rank, word and index; the range is small enough for 64 bits.
        """
        bits = (65 - int(self.place.stream.max()).bit_length()) // 2
        size = min(PART, 1 << bits)
        before = np.zeros(len(self.shared) + 1, np.int64)
        np.cumsum(self.place.occurrences[self.shared], out=before[1:])
        low = 0
        while low < len(self.shared):
            end = int(np.searchsorted(before, before[low] + size, side="right")) - 1
            high = max(end, low + 1)
            yield slice(low, high)
            low = high

    def _group(self, part: slice, shift: Ids) -> _Groups:
        """Sort the n-grams of a range of contexts; an id is an index in it plus a shift."""
        ranks = self.ranks - np.int32(part.start)
        where = np.flatnonzero(ranks.view(np.uint32) < part.stop - part.start)
        word_bits = int(self.place.stream.max()).bit_length()
        index_bits = len(where).bit_length()
        keys = ranks[where].astype(np.uint64)
        keys <<= np.uint64(word_bits)
        keys |= self.place.stream[where].view(np.uint32)
        keys <<= np.uint64(index_bits)
        keys |= np.arange(len(where), dtype=np.uint64)
        keys.sort()
        where = where[(keys & np.uint64((1 << index_bits) - 1)).view(np.int64)]
        keys >>= np.uint64(index_bits)
        firsts = _run_starts(keys)
        counts = np.diff(firsts, append=len(keys)).astype(np.int32)
        keys = keys[firsts]
        rank = (keys >> np.uint64(word_bits)).astype(np.int32)
        words = (keys & np.uint64((1 << word_bits) - 1)).astype(np.int32)
        ids = np.arange(len(keys), dtype=np.int32) + shift[rank]
        self.ids[where] = np.repeat(ids, counts)
        return _Groups(rank, ids, words, counts, self.place.ids[where[firsts]])

    def _assemble(self, groups: list[_Groups]) -> Level:
        starts = np.zeros(len(self.fanout) + 1, np.int32)
        np.cumsum(self.fanout, out=starts[1:])
        size = int(starts[-1])
        words, suffixes = np.empty(size, np.int32), np.empty(size, np.int32)
        counts = np.ones(size, np.int32)
        for group in groups:
            words[group.ids] = group.words
            counts[group.ids] = group.counts
            suffixes[group.ids] = group.suffixes
        for block in self.place.blocks():
            here = np.flatnonzero(self.ranks[block] == LONE)
            ids = starts[self.place.contexts(block)[here]]
            here += block.start
            self.ids[here] = ids
            words[ids] = self.place.stream[here]
            suffixes[ids] = self.place.ids[here]
        return Level(Nodes(words, starts), counts, suffixes)


def _run_starts(keys: Keys) -> NDArray[np.intp]:
    """Return where each run of equal keys begins."""
    new = np.empty(len(keys), np.bool_)
    new[:1] = True
    np.not_equal(keys[1:], keys[:-1], out=new[1:])
    return np.flatnonzero(new)
