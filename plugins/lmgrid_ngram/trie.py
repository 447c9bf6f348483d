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

    Ids = NDArray[np.int32]
    Places = NDArray[np.intp]  # what ``take`` wants; with others it is five times slower
    Integers = NDArray[np.integer]
    Bools = NDArray[np.bool_]
    Answer = tuple[Places, Bools, Integers]  # nodes, whether they are right, which to look at

EOS = 1  # ends a sentence as a word, begins one as a context
MIX = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio
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
        return np.where(hit, found, np.int32(-1)).astype(np.int32, copy=False)

    def locate(self, contexts: Integers, words: Integers) -> tuple[Places, Bools]:
        """Return a node for each word after each context, and whether it is the right one."""
        if not (len(self) and len(words)):
            return np.zeros(len(words), np.intp), np.zeros(len(words), np.bool_)
        contexts = contexts.astype(np.intp, copy=False)  # the type of an index: converted once
        first, end = self.starts.take(contexts), self.starts[1:].take(contexts)
        query = Query(words, first, end)
        only = end - first == 1
        if "table" not in self.__dict__:
            found = self._search(contexts, words, np.flatnonzero(end - first > 1))
            found = np.where(only, first, found).astype(np.intp)
            return found, query.answered(found, self.words)
        slots = self.table.homes(contexts, words)
        found = np.where(only, first, self.table.slots.take(slots)).astype(np.intp)
        hit = query.answered(found, self.words)
        wrong = np.flatnonzero((found != 0) > (hit | only))
        self.table.probe(slots.take(wrong), query.take(wrong), (found, hit, wrong))
        return found, hit

    def _search(self, contexts: Integers, words: Integers, which: Integers) -> Ids:
        """Return where each of the words that it is asked for would stand."""
        query = contexts.take(which).astype(np.uint64)
        query <<= np.uint64(32)
        query |= words.take(which).astype(np.uint64)
        order = np.argsort(query)  # neighbours in the search stay neighbours in memory
        place = np.searchsorted(self.keys, query.take(order))
        found = np.zeros(len(words), np.int32)
        found[which.take(order)] = np.minimum(place, len(self) - 1)
        return found

    @cached_property
    def keys(self) -> NDArray[np.uint64]:
        """Context and word of each node in one ascending number."""
        keys = self.parents().astype(np.uint64)
        keys <<= np.uint64(32)
        keys |= self.words.view(np.uint32)
        return keys

    @cached_property
    def table(self) -> Table:
        """A hash table of the nodes that have siblings; once made, ``find`` uses it."""
        return Table(self)

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
class Query:
    """Words to find, n of them, and the nodes among which each would be."""

    words: Integers  # (n,)
    first: Integers
    end: Integers

    def take(self, which: Integers) -> Query:
        return Query(self.words.take(which), self.first.take(which), self.end.take(which))

    def answered(self, found: Integers, words: Integers) -> Bools:
        """Return whether each found node is the right one; ``words`` are those of all nodes."""
        hit = np.equal(words.take(found), self.words)
        hit &= found >= self.first
        hit &= found < self.end
        return hit


class Table:
    """An open-addressed hash table from context and word to a node that has siblings.

    A free slot holds node 0, which is not entered: who looks for it ends at a free slot.
    """

    def __init__(self, nodes: Nodes) -> None:
        self.words = nodes.words
        parents = nodes.parents()
        ids = np.flatnonzero(np.diff(nodes.starts).take(parents) > 1).astype(np.int32)
        ids = ids[ids > 0]
        self.slots = np.zeros(1 << (4 * len(ids)).bit_length(), np.int32)
        slots: Integers = self.homes(parents.take(ids), self.words.take(ids))
        while len(ids):
            free = self.slots.take(slots) == 0
            self.slots[slots[free]] = ids[free]
            left = self.slots.take(slots) != ids
            ids, slots = ids[left], self._next(slots[left], self.words.take(ids[left]))

    def homes(self, contexts: Integers, words: Integers) -> NDArray[np.int64]:
        keys = contexts.astype(np.uint64)
        keys <<= np.uint64(32)
        keys |= words.astype(np.uint64)
        keys *= MIX
        keys >>= np.uint64(65 - len(self.slots).bit_length())
        return keys.view(np.int64)

    def _next(self, slots: Integers, words: Integers) -> Integers:
        """Return the slots to look at next; the step depends on the word, to part the queues."""
        return (slots + (2 * words + 1)) & (len(self.slots) - 1)

    def probe(self, slots: Integers, query: Query, answer: Answer) -> None:
        """Look from slot to slot for what was not in its home, and mend that of the answer."""
        found, hit, which = answer
        while len(which):
            slots = self._next(slots, query.words)
            found[which] = here = self.slots.take(slots).astype(np.intp)
            hit[which] = right = query.answered(here, self.words)
            more = np.flatnonzero((here != 0) > right)
            which, slots, query = which.take(more), slots.take(more), query.take(more)


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
