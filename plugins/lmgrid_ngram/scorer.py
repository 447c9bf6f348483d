"""A backoff model arranged for scoring much text: hash tables, and all of a node in one place.

Scoring is bound by memory that is not in the cache. So what belongs to one n-gram stands together
in a record of four numbers: its word, where its children begin, its probability and its backoff
weight. The children end where those of the next record begin. A node is known by the place of its
record, four times its id. A table leads from context and word to the node, where the context has
more than one child; an only child needs none.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from lmgrid_ngram.trie import EOS, Nodes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmgrid_ngram.backoff import BackoffModel, Layer

    Ids = NDArray[np.int32]
    Places = NDArray[np.intp]
    Floats = NDArray[np.float64]
    Counter = NDArray[np.int8]
    Bools = NDArray[np.bool_]

MIX = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio
WORD, START, P, WEIGHT, SIZE = range(5)


class Scorer:
    """Scores streams of tokens; made once for a model."""

    def __init__(self, model: BackoffModel) -> None:
        nexts = [*(layer.nodes for layer in model.layers[1:]), None]
        self._orders = [_Order(a, b) for a, b in zip(model.layers, nexts, strict=True)]

    def probabilities(self, stream: Places, known: Counter | None) -> Floats:
        """Return p of each token but the first; count in ``known`` how many contexts of it are.

        One pass an order. An n-gram that was found is the context of the token after it.
        Backoff weights of contexts that the model does not have are left out.
        """
        words = stream[1:]
        at = np.arange(len(words))  # the tokens whose context the model has
        contexts = stream[:-1] * SIZE
        p = self._orders[0].numbers.take(words * SIZE + P).astype(np.float64)
        for lower, order in pairwise(self._orders):
            here = words.take(at)
            found, hit = order.locate(_Query.after(contexts, here, lower))
            q = p.take(at)
            q *= lower.numbers.take(contexts + WEIGHT)
            right = np.flatnonzero(hit)
            nodes = found.take(right)
            q[right] = order.numbers.take(nodes + P)
            p[at] = q
            if known is not None:
                known[at] += 1
            goes_on = np.flatnonzero(here.take(right) != EOS)  # no context reaches across an <eos>
            at, contexts = at.take(right.take(goes_on)) + 1, nodes.take(goes_on)
            if len(at) and at[-1] == len(words):
                at, contexts = at[:-1], contexts[:-1]
        return p


@dataclass(frozen=True)
class _Query:
    """Words to find after contexts, n of them, and the nodes among which each would be."""

    contexts: Places  # (n,)
    words: Places
    first: Ids
    end: Ids

    @classmethod
    def after(cls, contexts: Places, words: Places, lower: _Order) -> _Query:
        first = lower.records.take(contexts + START)
        return cls(contexts, words, first, lower.records.take(contexts + (SIZE + START)))

    def take(self, which: Places) -> _Query:
        parts = (self.contexts, self.words, self.first, self.end)
        return _Query(*(part.take(which) for part in parts))  # type: ignore[arg-type]


class _Order:
    """The n-grams of one length, m of them."""

    def __init__(self, layer: Layer, above: Nodes | None) -> None:
        m = len(layer.nodes)
        self.records = np.zeros(SIZE * (m + 1), np.int32)
        self.numbers = self.records.view(np.float32)
        self.records[WORD:-SIZE:SIZE] = layer.nodes.words
        self.numbers[P:-SIZE:SIZE] = layer.probabilities
        if above is not None:
            np.multiply(above.starts, SIZE, out=self.records[START::SIZE])
            self.numbers[WEIGHT:-SIZE:SIZE] = layer.backoffs
        self.slots = _fill_slots(layer.nodes)

    def locate(self, query: _Query) -> tuple[Places, Bools]:
        """Return a node for each query, and whether it is the right one."""
        only = query.end - query.first == SIZE
        slots = _homes(query.contexts, query.words, len(self.slots))
        found: Places = np.where(only, query.first, self.slots.take(slots)).astype(np.intp)
        hit = self._answers(found, query)
        wrong = np.flatnonzero((found != 0) > (hit | only))
        slots, query = slots.take(wrong), query.take(wrong)
        while len(wrong):
            slots = _next(slots, query.words, len(self.slots))
            found[wrong] = here = self.slots.take(slots).astype(np.intp)
            hit[wrong] = right = self._answers(here, query)
            more = np.flatnonzero((here != 0) > right)
            wrong, slots, query = wrong.take(more), slots.take(more), query.take(more)
        return found, hit

    def _answers(self, found: Places, query: _Query) -> Bools:
        hit = np.equal(self.records.take(found), query.words)
        hit &= found >= query.first
        hit &= found < query.end
        return hit


# ---------------------------------------------------------------- the table


def _fill_slots(nodes: Nodes) -> Ids:
    """Return an open-addressed table of the nodes that have siblings, at most a quarter full.

    A free slot holds node 0, which is not entered: who looks for it ends at a free slot.
    """
    parents = nodes.parents()
    ids = np.flatnonzero(np.diff(nodes.starts).take(parents) > 1)
    ids = ids[ids > 0]
    table = np.zeros(1 << (4 * len(ids)).bit_length(), np.int32)
    words = nodes.words.take(ids).astype(np.intp)
    slots = _homes(parents.take(ids).astype(np.intp) * SIZE, words, len(table))
    while len(ids):
        free = table.take(slots) == 0
        table[slots[free]] = ids[free] * SIZE
        left = np.flatnonzero(table.take(slots) != ids * SIZE)
        ids, words = ids.take(left), words.take(left)
        slots = _next(slots.take(left), words, len(table))
    return table


def _homes(contexts: Places, words: Places, size: int) -> Places:
    """Return the slot where each word after each context is looked for first."""
    keys = (contexts << 32).view(np.uint64)
    keys |= words.view(np.uint64)
    keys *= MIX
    keys >>= np.uint64(65 - size.bit_length())
    return keys.view(np.int64)


def _next(slots: Places, words: Places, size: int) -> Places:
    """Return the slots to look at next; the step depends on the word, to part the queues."""
    return (slots + (2 * words + 1)) & (size - 1)
