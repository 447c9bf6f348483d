"""The backoff model: what every smoothing ends as, and what scores a text.

p(w | h) is the probability of the n-gram hw where the model has it, else the backoff weight of h
times p(w | h without its first word). Interpolated models have this form as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from lmgrid_ngram.stream import Found, context_lengths, probabilities
from lmgrid_ngram.tables import Table, tables
from lmgrid_ngram.trie import EOS, Nodes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmgrid.spec import LogProbs

    Ids = NDArray[np.int32]
    Places = NDArray[np.intp]
    Weights = NDArray[np.float32]

BLOCK = 1 << 16  # tokens scored at once


@dataclass(frozen=True)
class Layer:
    """The n-grams of one order with their probabilities."""

    nodes: Nodes
    probabilities: Weights  # (m,) of the last word, given the others
    backoffs: Weights  # (m,) as a context; (0,) in the highest order

    def find(self, contexts: Places, words: Places) -> Found:
        """Return which words follow their contexts, shape (n,) both, by searching sorted keys."""
        found, hit = self.nodes.locate(contexts, words)
        which = np.flatnonzero(hit)
        nodes = found.take(which)
        weights = self.backoffs.take(nodes) if len(self.backoffs) else self.backoffs
        return Found(which, nodes, self.probabilities.take(nodes), weights)


@dataclass(frozen=True)
class BackoffModel:
    """An n-gram model ready to score. ``layers[k - 1]`` holds the k-grams."""

    layers: tuple[Layer, ...]
    unseen: float = 1.0  # the backoff weight of a context that the model does not have

    @property
    def order(self) -> int:
        return len(self.layers)

    @property
    def vocabulary(self) -> int:
        return len(self.layers[0].nodes)

    def score(self, tokens: Ids) -> LogProbs:
        """Return ln p of each token given those before it in its sentence, shape (n,)."""
        reach = max(self.order - 1, 1)
        stream = np.full(len(tokens) + reach, EOS, np.int32)
        stream[reach:] = tokens
        scores = np.empty(len(tokens))
        for low in range(0, len(tokens), BLOCK):
            block = stream[low : low + BLOCK + reach].astype(np.intp)
            scores[low : low + BLOCK] = self._probabilities(block)[-(len(block) - reach) :]
        with np.errstate(divide="ignore"):
            return np.log(scores, out=scores)

    def _probabilities(self, stream: Places) -> NDArray[np.float64]:
        """Return p of each token of a stream but the first, given those before it."""
        finders = self.tables if "tables" in self.__dict__ else self.layers[1:]
        if self.unseen == 1:
            return probabilities(stream, self.layers[0], finders, None)
        known = np.zeros(len(stream) - 1, np.int8)
        p = probabilities(stream, self.layers[0], finders, known)
        missing = context_lengths(stream, self.order - 1)[1:] - known
        p *= self.unseen**missing
        return p

    @cached_property
    def tables(self) -> tuple[Table, ...]:
        """The orders from 2 up arranged for scoring much; once made, ``score`` uses them.

        It takes as long as scoring about as many tokens as there are n-grams, and 35 to 75 bytes
        for each of them.
        """
        return tuple(tables(self))

    def next_probabilities(self, contexts: Sequence[Ids]) -> NDArray[np.float64]:
        """Return p of each word after each context, shape (len(contexts), V)."""
        p = np.empty((len(contexts), self.vocabulary))
        for row, context in zip(p, contexts, strict=True):
            self._fill(row, sentence_tail(context, self.order - 1))
        return p

    def _fill(self, row: NDArray[np.float64], context: list[int]) -> None:
        row[:] = self.layers[0].probabilities
        for k, node in enumerate(self._context_nodes(context), start=1):
            if node < 0:
                row *= self.unseen
                continue
            row *= self.layers[k - 1].backoffs[node]
            children = self.layers[k].nodes.children(slice(node, node + 1))
            row[self.layers[k].nodes.words[children]] = self.layers[k].probabilities[children]

    def _context_nodes(self, context: list[int]) -> Iterator[int]:
        """Yield the node of the last word, of the last two words, …; -1 for an unseen one."""
        for length in range(1, len(context) + 1):
            yield self.node(context[-length:])

    def node(self, ngram: Sequence[int]) -> int:
        """Return the node of an n-gram in the layer of its length, -1 where there is none."""
        node = np.array([ngram[0]], np.int32)
        for layer, word in zip(self.layers[1:], ngram[1:], strict=False):
            node = layer.nodes.find(node, np.array([word], np.int32))
            if node[0] < 0:
                break
        return int(node[0])


def sentence_tail(context: Ids, reach: int) -> list[int]:
    """Return the last ``reach`` ids from the last ``<eos>`` on; one stands before the text."""
    tail = [EOS, *context[max(len(context) - reach, 0) :].tolist()]
    begin = len(tail) - 1 - tail[::-1].index(EOS)
    return tail[max(begin, len(tail) - reach) :]
