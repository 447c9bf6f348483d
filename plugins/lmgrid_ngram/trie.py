"""The trie of n-grams: one level an order, its nodes sorted by context and then by word.

The nodes of level k are the k-grams. Their ids are their ranks, so the children of one context
are neighbours, and the n-grams that begin with one word are too. Level 1 hangs from one root and
has a node for every id of the vocabulary. A node's context is its n-gram without the last word
(one level up), its suffix is its n-gram without the first word (one level up as well).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

EOS = 1  # ends a sentence as a word, begins one as a context
BLOCK = 1 << 16  # nodes worked on at once: temporaries stay in the cache


@dataclass(frozen=True)
class Nodes:
    """The nodes of one level, m of them, as children of the c nodes of the level above."""

    words: NDArray[np.int32]  # (m,) the last word of each n-gram
    starts: NDArray[np.int32]  # (c + 1,) the children of context i are starts[i]:starts[i + 1]

    def __len__(self) -> int:
        return len(self.words)

    def parents(self) -> NDArray[np.int32]:
        """Return the context of each node, shape (m,)."""
        parents = np.empty(len(self), np.int32)
        for block in self.blocks():
            fanout = np.diff(self.starts[block.start : block.stop + 1])
            contexts = np.arange(block.start, block.stop, dtype=np.int32)
            parents[self.children(block)] = np.repeat(contexts, fanout)
        return parents

    @cached_property
    def keys(self) -> NDArray[np.uint64]:
        """Context and word of each node in one ascending number."""
        fanout = np.diff(self.starts)
        keys = np.repeat(np.arange(len(fanout), dtype=np.uint64), fanout)
        keys <<= np.uint64(32)
        keys |= self.words.view(np.uint32)
        return keys

    def find(self, contexts: NDArray[np.int32], words: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return the node of each word after each context, -1 where there is none; shape (n,)."""
        first = self.starts[contexts]
        fanout = self.starts[contexts + 1] - first
        found = np.full(len(words), -1, np.int32)
        only = np.flatnonzero(fanout == 1)
        hit = only[self.words[first[only]] == words[only]]
        found[hit] = first[hit]
        many = np.flatnonzero(fanout > 1)
        found[many] = self._search(contexts[many], words[many])
        return found

    def _search(self, contexts: NDArray[np.int32], words: NDArray[np.int32]) -> NDArray[np.int32]:
        query = contexts.astype(np.uint64)
        query <<= np.uint64(32)
        query |= words.view(np.uint32)
        order = np.argsort(query)  # neighbours in the search stay neighbours in memory
        query = query[order]
        place = np.searchsorted(self.keys, query)
        place[place == len(self.keys)] = 0
        found = np.empty(len(words), np.int32)
        found[order] = np.where(self.keys[place] == query, place, -1)
        return found

    def blocks(self, size: int = BLOCK) -> Iterator[slice]:
        """Yield ranges of contexts that have about ``size`` children together."""
        contexts, low = len(self.starts) - 1, 0
        while low < contexts:
            full = self.starts[low] + np.int32(size)  # of the same type: nothing is converted
            end = np.searchsorted(self.starts, full, side="right")
            high = min(max(int(end) - 1, low + 1), contexts)
            yield slice(low, high)
            low = high

    def children(self, contexts: slice) -> slice:
        """Return the nodes under a range of contexts."""
        return slice(int(self.starts[contexts.start]), int(self.starts[contexts.stop]))


@dataclass(frozen=True)
class Level:
    """The n-grams of one order and how often each occurs."""

    nodes: Nodes
    counts: NDArray[np.int32]  # (m,)
    suffixes: NDArray[np.int32]  # (m,) one level up; all 0, the root, in level 1

    def __len__(self) -> int:
        return len(self.counts)


@dataclass(frozen=True)
class Counts:
    """All n-grams of a text, up to one order. ``levels[k - 1]`` holds the k-grams."""

    levels: tuple[Level, ...]

    @property
    def order(self) -> int:
        return len(self.levels)

    def opening(self, order: int) -> slice:
        """Return the nodes of the n-grams of one order that begin a sentence with ``<eos>``."""
        low, high = EOS, EOS + 1
        for level in self.levels[1:order]:
            low, high = int(level.nodes.starts[low]), int(level.nodes.starts[high])
        return slice(low, high)
