"""Counts a text that is larger than memory: sorted runs on disk, merged into one trie.

A run is a part of the text that ends with a sentence, so no n-gram crosses two runs. The trie of
each run is sorted, and the nodes of a level keep their order when they get the ids of the merged
level. So each level is one merge of sorted (context, word) pairs, done in blocks of contexts, and
memory is bounded by the size of a block, not of the text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmgrid_ngram.counting.count import count
from lmgrid_ngram.counting.trie import EOS, Counts, Level, Nodes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmgrid_ngram.counting.arrays import ArrayStore

    Ids = NDArray[np.int32]

BLOCK = 1 << 20  # n-grams merged at once


def count_in_runs(tokens: Ids, order: int, vocabulary: int, runs: Runs) -> Counts:
    """Return the same counts as ``count``, in arrays made by ``runs.room``."""
    parts = [_keep(count(part, order, vocabulary), runs.room) for part in _cut(tokens, runs.tokens)]
    sources = [_Source(levels, np.arange(vocabulary, dtype=np.int32)) for levels in parts]
    first = parts[0][0]
    counts = np.stack([levels[0].counts for levels in parts]).sum(axis=0, dtype=np.int32)
    levels = [Level(first.nodes, counts, first.suffixes)]
    for k in range(1, order):
        levels.append(_Merge(sources, k, runs.room).level(len(levels[-1])))
    return Counts(tuple(levels))


@dataclass(frozen=True)
class Runs:
    """The length of a run, and the store of the arrays."""

    tokens: int  # of one run, about
    room: ArrayStore


def _cut(tokens: Ids, size: int) -> Iterator[Ids]:
    """Yield parts of about ``size`` tokens; each but the last ends a sentence."""
    low = 0
    while low < len(tokens):
        high = low + size
        while high < len(tokens) and tokens[high - 1] != EOS:
            ends = np.flatnonzero(tokens[high : high + size] == EOS)
            high += int(ends[0]) + 1 if len(ends) else size
        yield np.asarray(tokens[low:high])
        low = high


def _keep(counts: Counts, room: ArrayStore) -> list[Level]:
    """Return the levels of a run, copied into arrays of the store."""

    def move(array: Ids) -> Ids:
        kept = room.zeros(len(array), np.int32)
        kept[:] = array
        return kept

    return [
        Level(Nodes(move(a.nodes.words), move(a.nodes.starts)), move(a.counts), move(a.suffixes))
        for a in counts.levels
    ]


@dataclass
class _Source:
    """One run, and the merged id of each node of its current level, ascending."""

    levels: list[Level]
    merged: Ids

    def span(self, k: int, low: int, high: int) -> _Span:
        """Return the nodes of level k under the merged contexts from ``low`` to ``high``."""
        bounds = np.array((low, high), np.int32)  # of the same type: nothing is converted
        contexts = slice(*np.searchsorted(self.merged, bounds))
        return _Span(contexts, self.levels[k].nodes.children(contexts))


@dataclass(frozen=True)
class _Span:
    """A range of contexts of a run, and the range of their children."""

    contexts: slice
    nodes: slice

    def __len__(self) -> int:
        return int(self.nodes.stop - self.nodes.start)


class _Merge:
    """The merge of one level of all runs."""

    def __init__(self, sources: list[_Source], k: int, room: ArrayStore) -> None:
        self.sources, self.k, self.room = sources, k, room
        most = sum(len(source.levels[k]) for source in sources)
        self.words, self.counts, self.suffixes = (room.zeros(most, np.int32) for _ in range(3))
        self.merged = [room.zeros(len(source.levels[k]), np.int32) for source in sources]
        self.size = 0

    def level(self, contexts: int) -> Level:
        """Return the merged level, and set ``merged`` of each source to its ids."""
        starts = self.room.zeros(contexts + 1, np.int32)
        low = 0
        while low < contexts:
            high = self._end(low, contexts)
            fanout = self._block(low, high)
            starts[low + 1 : high + 1] = starts[low] + np.cumsum(fanout)
            low = high
        for source, merged in zip(self.sources, self.merged, strict=True):
            source.merged = merged
        words, counts, suffixes = (a[: self.size] for a in (self.words, self.counts, self.suffixes))
        return Level(Nodes(words, starts), counts, suffixes)

    def _end(self, low: int, contexts: int) -> int:
        """Return the end of a block of contexts with at most BLOCK n-grams, or of one context."""
        sure, beyond = low + 1, contexts + 1
        while beyond - sure > 1:
            middle = (sure + beyond) // 2
            if sum(len(source.span(self.k, low, middle)) for source in self.sources) <= BLOCK:
                sure = middle
            else:
                beyond = middle
        return sure

    def _block(self, low: int, high: int) -> NDArray[np.intp]:
        """Merge the n-grams under some contexts; return how many each context has."""
        spans = [source.span(self.k, low, high) for source in self.sources]
        keys = np.concatenate(list(map(self._keys, self.sources, spans)))
        order = np.argsort(keys, kind="stable")
        keys = keys.take(order)
        new = np.ones(len(keys), np.bool_)
        np.not_equal(keys[1:], keys[:-1], out=new[1:])
        begins = np.flatnonzero(new)
        here = slice(self.size, self.size + len(begins))
        ids = np.empty(len(keys), np.int32)
        ids[order] = np.cumsum(new) + (self.size - 1)
        self._tell(spans, ids)
        keys = keys.take(begins)
        if len(keys):
            self.words[here] = keys & np.uint64((1 << 32) - 1)
            self.counts[here] = np.add.reduceat(self._gather("counts", spans).take(order), begins)
            self.suffixes[here] = self._gather("suffixes", spans).take(order.take(begins))
        self.size = here.stop
        return np.bincount((keys >> np.uint64(32)).astype(np.intp) - low, minlength=high - low)

    def _keys(self, source: _Source, span: _Span) -> NDArray[np.uint64]:
        """Return (merged context, word) of some nodes of a source."""
        nodes, contexts = source.levels[self.k].nodes, span.contexts
        fanout = np.diff(nodes.starts[contexts.start : contexts.stop + 1])
        keys = np.repeat(source.merged[contexts].astype(np.uint64), fanout)
        keys <<= np.uint64(32)
        keys |= nodes.words[span.nodes].view(np.uint32)
        return keys

    def _gather(self, name: str, spans: list[_Span]) -> Ids:
        """Return the counts or the merged suffixes of all sources."""
        parts = []
        for source, span in zip(self.sources, spans, strict=True):
            part = getattr(source.levels[self.k], name)[span.nodes]
            if name == "suffixes":
                part = source.merged.take(part.astype(np.intp))
            parts.append(part)
        return np.concatenate(parts)

    def _tell(self, spans: list[_Span], ids: Ids) -> None:
        """Record the merged id of each node of the sources."""
        low = 0
        for merged, span in zip(self.merged, spans, strict=True):
            merged[span.nodes] = ids[low : low + len(span)]
            low += len(span)
