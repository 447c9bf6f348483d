"""The trie of n-grams: one level per order, its nodes sorted by context and then by word.

The nodes of level k are the k-grams. Their ids are their ranks, so the children of one context
are neighbours, and so are the n-grams that begin with one word. Level 1 has one root as context and
a node for every id of the vocabulary. A node's context is its n-gram without the last word (one
level up), its suffix is its n-gram without the first word (one level up as well). ``<eos>`` as a
word ends a sentence, as a context it begins one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from lmgrid.vocabulary import EOS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ids = NDArray[np.int32]
    Places = NDArray[np.intp]  # for ``take``, which is five times slower with other types
    Integers = NDArray[np.integer]
    Bools = NDArray[np.bool_]

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

    def find(self, contexts: Integers, words: Integers) -> Ids:
        """Return the node of each word after each context, -1 where there is none; shape (n,)."""
        found, hit = self.locate(contexts, words)
        return np.where(hit, found, -1).astype(np.int32)

    def locate(self, contexts: Integers, words: Integers) -> tuple[Places, Bools]:
        """Return a node for each word after each context, and whether it is the right one."""
        if not (len(self) and len(words)):
            return np.zeros(len(words), np.intp), np.zeros(len(words), np.bool_)
        contexts = contexts.astype(np.intp, copy=False)
        first, end = self.starts.take(contexts), self.starts[1:].take(contexts)
        found = first.astype(np.intp)  # a single child needs no search
        many = np.flatnonzero(end - first > 1)
        found[many] = self._search(contexts.take(many), words.take(many))
        np.minimum(found, len(self) - 1, out=found)
        hit = np.equal(self.words.take(found), words)
        hit &= found >= first
        hit &= found < end
        return found, hit

    def _search(self, contexts: Integers, words: Integers) -> Places:
        """Return the place in ``keys`` where each (context, word) would be inserted."""
        query = contexts.astype(np.uint64)
        query <<= np.uint64(32)
        query |= words.astype(np.uint64)
        order = np.argsort(query)  # sorted queries read memory in order
        place = np.empty(len(query), np.intp)
        place[order] = np.searchsorted(self.keys, query.take(order))
        return place

    @cached_property
    def keys(self) -> NDArray[np.uint64]:
        """Context and word of each node as one integer, shape (m,), ascending."""
        keys = self.parents().astype(np.uint64)
        keys <<= np.uint64(32)
        keys |= self.words.view(np.uint32)
        return keys

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

    def children_of(self, contexts: Integers) -> tuple[Places, Places]:
        """Return, for each child of the given contexts, the place of its context and its node."""
        first = self.starts[contexts].astype(np.intp)
        sizes = self.starts[contexts + 1] - first
        which = np.repeat(np.arange(len(first)), sizes)
        before = np.cumsum(sizes) - sizes
        return which, np.arange(len(which)) + (first - before)[which]


@dataclass(frozen=True)
class CountLevel:
    """The n-grams of one order and how often each occurs."""

    nodes: Nodes
    counts: NDArray[np.int32]  # (m,)
    suffixes: NDArray[np.int32]  # (m,) one level up; all 0, the root, in level 1

    def __len__(self) -> int:
        return len(self.counts)


@dataclass(frozen=True)
class Counts:
    """All n-grams of a text, up to one order. ``levels[k - 1]`` holds the k-grams."""

    levels: tuple[CountLevel, ...]

    @property
    def order(self) -> int:
        return len(self.levels)

    def opening(self, order: int) -> slice:
        """Return the nodes of the n-grams of one order that begin a sentence with ``<eos>``."""
        low, high = EOS, EOS + 1
        for level in self.levels[1:order]:
            low, high = int(level.nodes.starts[low]), int(level.nodes.starts[high])
        return slice(low, high)
