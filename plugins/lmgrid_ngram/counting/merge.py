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

from lmgrid.vocabulary import EOS
from lmgrid_ngram.counting.count import count
from lmgrid_ngram.counting.trie import CountLevel, Counts, Nodes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmgrid_ngram.counting.arrays import ArrayStore

    Ids = NDArray[np.int32]

BLOCK = 1 << 20  # n-grams merged at once


def count_in_runs(
    tokens: Ids, order: int, vocabulary: int, *, run_length: int, store: ArrayStore
) -> Counts:
    """Return the same counts as ``count``, in arrays made by ``store``.

    A run has about ``run_length`` tokens, more only if a sentence has more.
    """
    counted = (count(part, order, vocabulary) for part in _cut(tokens, run_length))
    runs = [_Run(_stored(c, store), np.arange(vocabulary, dtype=np.int32)) for c in counted]
    first = runs[0].levels[0]
    counts = np.stack([run.levels[0].counts for run in runs]).sum(axis=0, dtype=np.int32)
    levels = [CountLevel(first.nodes, counts, first.suffixes)]
    for k in range(1, order):
        levels.append(_Merge(runs, k, store).level(len(levels[-1])))
    return Counts(tuple(levels))


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


def _stored(counts: Counts, store: ArrayStore) -> list[CountLevel]:
    """Return the levels of a run, copied into arrays of the store."""

    def copy(array: Ids) -> Ids:
        copied = store.zeros(len(array), np.int32)
        copied[:] = array
        return copied

    return [
        CountLevel(
            Nodes(copy(a.nodes.words), copy(a.nodes.starts)), copy(a.counts), copy(a.suffixes)
        )
        for a in counts.levels
    ]


@dataclass
class _Run:
    """One run, and the merged id of each node of its current level, ascending."""

    levels: list[CountLevel]
    merged: Ids

    def nodes_under(self, k: int, low: int, high: int) -> _NodeRange:
        """Return the nodes of level k under the merged contexts from ``low`` to ``high``."""
        bounds = np.array((low, high), np.int32)  # of the same type: nothing is converted
        contexts = slice(*np.searchsorted(self.merged, bounds))
        return _NodeRange(contexts, self.levels[k].nodes.children(contexts))


@dataclass(frozen=True)
class _NodeRange:
    """A range of contexts of a run, and the range of their children."""

    contexts: slice
    nodes: slice

    def __len__(self) -> int:
        return int(self.nodes.stop - self.nodes.start)


class _Merge:
    """The merge of one level of all runs."""

    def __init__(self, runs: list[_Run], k: int, store: ArrayStore) -> None:
        self.runs, self.k, self.store = runs, k, store
        most = sum(len(run.levels[k]) for run in runs)
        self.words, self.counts, self.suffixes = (store.zeros(most, np.int32) for _ in range(3))
        self.merged = [store.zeros(len(run.levels[k]), np.int32) for run in runs]
        self.size = 0

    def level(self, contexts: int) -> CountLevel:
        """Return the merged level, and set ``merged`` of each run to its ids."""
        starts = self.store.zeros(contexts + 1, np.int32)
        low = 0
        while low < contexts:
            high = self._end(low, contexts)
            fanout = self._block(low, high)
            starts[low + 1 : high + 1] = starts[low] + np.cumsum(fanout)
            low = high
        for run, merged in zip(self.runs, self.merged, strict=True):
            run.merged = merged
        words, counts, suffixes = (a[: self.size] for a in (self.words, self.counts, self.suffixes))
        return CountLevel(Nodes(words, starts), counts, suffixes)

    def _end(self, low: int, contexts: int) -> int:
        """Return the end of a block of contexts with at most BLOCK n-grams, or of one context."""
        sure, beyond = low + 1, contexts + 1
        while beyond - sure > 1:
            middle = (sure + beyond) // 2
            if sum(len(run.nodes_under(self.k, low, middle)) for run in self.runs) <= BLOCK:
                sure = middle
            else:
                beyond = middle
        return sure

    def _block(self, low: int, high: int) -> NDArray[np.intp]:
        """Merge the n-grams under some contexts; return how many each context has."""
        # sort the (context, word) keys of all runs; equal ones are one n-gram
        ranges = [run.nodes_under(self.k, low, high) for run in self.runs]
        keys = np.concatenate(list(map(self._keys, self.runs, ranges)))
        order = np.argsort(keys, kind="stable")
        keys = keys.take(order)
        new = np.ones(len(keys), np.bool_)
        np.not_equal(keys[1:], keys[:-1], out=new[1:])
        begins = np.flatnonzero(new)
        here = slice(self.size, self.size + len(begins))
        # the merged id of each node, in the order of the runs
        ids = np.empty(len(keys), np.int32)
        ids[order] = np.cumsum(new) + (self.size - 1)
        self._record(ranges, ids)
        # the n-grams themselves, with counts summed over the runs
        keys = keys.take(begins)
        if len(keys):
            self.words[here] = keys & np.uint64((1 << 32) - 1)
            self.counts[here] = np.add.reduceat(self._counts(ranges).take(order), begins)
            self.suffixes[here] = self._suffixes(ranges).take(order.take(begins))
        self.size = here.stop
        return np.bincount((keys >> np.uint64(32)).astype(np.intp) - low, minlength=high - low)

    def _keys(self, run: _Run, chosen: _NodeRange) -> NDArray[np.uint64]:
        """Return (merged context, word) of some nodes of a run."""
        nodes, contexts = run.levels[self.k].nodes, chosen.contexts
        fanout = np.diff(nodes.starts[contexts.start : contexts.stop + 1])
        keys = np.repeat(run.merged[contexts].astype(np.uint64), fanout)
        keys <<= np.uint64(32)
        keys |= nodes.words[chosen.nodes].view(np.uint32)
        return keys

    def _counts(self, ranges: list[_NodeRange]) -> Ids:
        """Return the counts of some nodes of all runs."""
        pairs = zip(self.runs, ranges, strict=True)
        return np.concatenate([run.levels[self.k].counts[chosen.nodes] for run, chosen in pairs])

    def _suffixes(self, ranges: list[_NodeRange]) -> Ids:
        """Return the merged suffixes of some nodes of all runs."""
        parts = []
        for run, chosen in zip(self.runs, ranges, strict=True):
            suffixes = run.levels[self.k].suffixes[chosen.nodes]
            parts.append(run.merged.take(suffixes.astype(np.intp)))
        return np.concatenate(parts)

    def _record(self, ranges: list[_NodeRange], ids: Ids) -> None:
        """Record the merged id of each node of the runs."""
        low = 0
        for merged, chosen in zip(self.merged, ranges, strict=True):
            merged[chosen.nodes] = ids[low : low + len(chosen)]
            low += len(chosen)
