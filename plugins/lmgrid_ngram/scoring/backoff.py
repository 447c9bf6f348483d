"""The backoff model: the form in which every smoothing is stored and scores text.

p(w | h) is the probability of the n-gram hw if the model has it, else the backoff weight of h times
p(w | h without its first word). Interpolated models are stored in this form as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from lmgrid.vocabulary import EOS
from lmgrid_ngram.counting.trie import Nodes
from lmgrid_ngram.scoring.hash_tables import Table, tables
from lmgrid_ngram.scoring.stream import Matches, context_lengths, probabilities

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmgrid.spec import LogProbs

    Ids = NDArray[np.int32]
    Places = NDArray[np.intp]
    Weights = NDArray[np.float32]

BLOCK = 1 << 16  # tokens scored at once


@dataclass(frozen=True)
class BackoffLevel:
    """The n-grams of one order with their probabilities."""

    nodes: Nodes
    probabilities: Weights  # (m,) of the last word, given the others
    backoffs: Weights  # (m,) as a context; (0,) in the highest order

    def find(self, contexts: Places, words: Places) -> Matches:
        """Return which words follow their contexts, shape (n,) both, by searching sorted keys."""
        found, hit = self.nodes.locate(contexts, words)
        which = np.flatnonzero(hit)
        nodes = found.take(which)
        weights = self.backoffs.take(nodes) if len(self.backoffs) else self.backoffs
        return Matches(which, nodes, self.probabilities.take(nodes), weights)


@dataclass(frozen=True)
class BackoffModel:
    """An n-gram model for scoring. ``levels[k - 1]`` holds the k-grams."""

    levels: tuple[BackoffLevel, ...]
    unseen: float = 1.0  # the backoff weight of a context that the model does not have

    @property
    def order(self) -> int:
        return len(self.levels)

    @property
    def vocabulary(self) -> int:
        return len(self.levels[0].nodes)

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
        lookups = self.tables if "tables" in self.__dict__ else self.levels[1:]
        if self.unseen == 1:
            return probabilities(stream, self.levels[0], lookups, None)
        known = np.zeros(len(stream) - 1, np.int8)
        p = probabilities(stream, self.levels[0], lookups, known)
        missing = context_lengths(stream, self.order - 1)[1:] - known
        p *= self.unseen**missing
        return p

    @cached_property
    def tables(self) -> tuple[Table, ...]:
        """Hash tables of the orders from 2 up; once made, ``score`` uses them, not a search.

        Making them takes as long as scoring two to four tokens per n-gram, and 35 to 75 bytes per
        n-gram.
        """
        return tuple(tables(self))

    def next_probabilities(self, contexts: Sequence[Ids]) -> NDArray[np.float64]:
        """Return p of each word after each context, shape (len(contexts), V)."""
        tails, lengths = sentence_tails(contexts, self.order - 1)
        nodes = np.full((self.order, len(tails)), -1, np.int32)  # of the last k words in row k
        weights = np.ones((self.order + 1, len(tails)))  # of backing off from k words in row k
        for k in range(1, self.order):
            long = np.flatnonzero(lengths >= k)
            nodes[k, long] = self._nodes(tails[long, -k:])
            weights[k, long] = self.unseen
            seen = np.flatnonzero(nodes[k] >= 0)
            weights[k, seen] = self.levels[k - 1].backoffs[nodes[k, seen]]
        factors = np.cumprod(weights[::-1], axis=0)[::-1]  # of all weights from k words on
        p: NDArray[np.float64] = factors[1][:, None] * self.levels[0].probabilities
        for k, level in enumerate(self.levels[1:], start=1):
            rows = np.flatnonzero(nodes[k] >= 0)
            which, children = level.nodes.children_of(nodes[k, rows])
            rows = rows[which]
            words = level.nodes.words[children]
            p[rows, words] = level.probabilities[children] * factors[k + 1, rows]
        return p

    def _nodes(self, ngrams: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return the nodes in level k of n-grams, shape (n, k); -1 for one that is not there."""
        nodes = ngrams[:, 0].copy()
        for level, words in zip(self.levels[1:], ngrams.T[1:], strict=False):
            there = np.flatnonzero(nodes >= 0)
            nodes[there] = level.nodes.find(nodes[there], words[there])
        return nodes


def sentence_tails(
    contexts: Sequence[Ids], reach: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the last ``reach`` ids of each context, shape (n, reach), and how many are used.

    The ids from the last ``<eos>`` on are used; an ``<eos>`` is put before each context.
    """
    stream = np.concatenate([np.full(1, EOS, np.int32), *contexts])
    lengths = np.fromiter(map(len, contexts), np.int64, len(contexts))
    back = np.arange(reach, 0, -1)
    places = 1 + np.cumsum(lengths)[:, None] - back  # (n, reach) in the stream
    tails = np.where(back <= lengths[:, None], stream[np.maximum(places, 0)], EOS).astype(np.int32)
    ends = np.column_stack((tails[:, ::-1] == EOS, np.ones(len(contexts), np.bool_)))
    return tails, np.minimum(np.argmax(ends, axis=1) + 1, reach)
