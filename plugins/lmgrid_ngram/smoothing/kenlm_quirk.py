"""Repeats how KenLM's estimator counts the last n-gram of each order.

KenLM sorts n-grams by their last word, then by the one before, and so on, with words numbered by
first appearance. In its counts of counts, the n-gram that comes last in that order is entered with
its raw count, not with its continuation count. With this module our model does the same, so that
both can be compared digit by digit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmgrid.vocabulary import EOS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmgrid_ngram.smoothing.estimators import TrainingCounts

    Ids = NDArray[np.int32]


def correct_last_ngrams(
    n: list[NDArray[np.float64]], training: TrainingCounts, adjusted: list[Ids]
) -> None:
    """Correct the counts of counts ``n`` in place for the last n-gram of each lower order."""
    words = last_ngram(training.tokens, training.counts.order, training.vocabulary)
    levels = training.counts.levels
    for k in range(1, min(len(words), len(levels) - 1) + 1):
        node = words[-k : len(words) - k + 1]
        for level, word in zip(levels[1:k], words[len(words) - k + 1 :], strict=True):
            node = level.nodes.find(node, np.array([word], np.int32))
        for count, sign in ((adjusted[k - 1][node[0]], -1), (levels[k - 1].counts[node[0]], 1)):
            if count < len(n[k - 1]):
                n[k - 1][count] += sign


def last_ngram(tokens: Ids, order: int, vocabulary: int) -> Ids:
    """Return the n-gram that sorts last by its last words, shape (order,) or shorter."""
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
    """Return 1 + the place where each id first occurs; 1 for ``<eos>``, KenLM's first number."""
    first = np.zeros(vocabulary, np.int64)
    first[tokens[::-1]] = np.arange(len(tokens), 0, -1) + 1
    first[EOS] = 1
    return first
