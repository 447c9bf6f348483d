"""What KenLM's estimator does to the last n-gram of each order.

It reads n-grams by their last word, then by the one before, and so on, words numbered as they
first appear. When it takes its counts of counts, the n-grams at the end of that order are booked
with how often they occur, not with their continuation counts. With this module a model repeats
it, so that it can be compared to the last digit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmgrid_ngram.counting.trie import EOS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmgrid_ngram.smoothing.estimators import TrainingCounts

    Ids = NDArray[np.int32]


def rebook(n: list[NDArray[np.float64]], evidence: TrainingCounts, adjusted: list[Ids]) -> None:
    """Move the last n-gram of each order but the highest, in the counts of counts ``n``."""
    words = last_ngram(evidence.tokens, evidence.counts.order, evidence.vocabulary)
    levels = evidence.counts.levels
    for k in range(1, min(len(words), len(levels) - 1) + 1):
        node = words[-k : len(words) - k + 1]
        for level, word in zip(levels[1:k], words[len(words) - k + 1 :], strict=True):
            node = level.nodes.find(node, np.array([word], np.int32))
        for count, sign in ((adjusted[k - 1][node[0]], -1), (levels[k - 1].counts[node[0]], 1)):
            if count < len(n[k - 1]):
                n[k - 1][count] += sign


def last_ngram(tokens: Ids, order: int, vocabulary: int) -> Ids:
    """Return the n-gram that comes last when sorted from its end, shape (order,) or shorter."""
    rank = _first_appearance(tokens, vocabulary)
    stream = np.concatenate(([EOS], tokens)).astype(np.int32)
    ends = np.arange(1, len(stream))
    chosen: list[int] = []
    while len(chosen) < order:
        words = stream[ends - len(chosen)]
        ranks = np.where(words == EOS, 0, rank[words]) if chosen else rank[words]
        best = ranks == ranks.max()
        ends = ends[best]
        chosen.append(int(words[best][0]))
        if len(chosen) > 1 and chosen[-1] == EOS:
            break
    return np.array(chosen[::-1], np.int32)


def _first_appearance(tokens: Ids, vocabulary: int) -> NDArray[np.int64]:
    """Return 1 + where each id first stands; 1 for ``<eos>``, which KenLM numbers before words."""
    first = np.zeros(vocabulary, np.int64)
    first[tokens[::-1]] = np.arange(len(tokens), 0, -1) + 1
    first[EOS] = 1
    return first
