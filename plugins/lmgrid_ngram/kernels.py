"""Pairs of a loop and whole arrays for the work of an n-gram model."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from lmgrid.spec import Kernel
from lmgrid_ngram.count import count
from lmgrid_ngram.trie import EOS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmgrid_ngram.parts import NGramCount

    Ids = NDArray[np.int32]


def zipfian(tokens: int, vocabulary: int, seed: int) -> Ids:
    """Return ids drawn with probability proportional to 1 / rank; about 1 in 20 ends a sentence."""
    random = np.random.default_rng(seed)
    weights = 1 / np.arange(1, vocabulary - 1)
    words = random.choice(len(weights), size=tokens, p=weights / weights.sum()) + 2
    return np.where(random.random(tokens) < 0.05, EOS, words).astype(np.int32)


# ---------------------------------------------------------------- counting


def counting(size: NGramCount) -> Kernel:
    """Count the n-grams of every order up to the size's: a dictionary against sorted keys."""

    def sample(seed: int) -> tuple[Ids, int, int]:
        return zipfian(size.tokens, size.vocabulary, seed), size.order, size.vocabulary

    return Kernel(loop=count_by_loop, vector=count_by_sort, sample=sample)


def count_by_loop(tokens: Ids, order: int, vocabulary: int) -> tuple[NDArray[np.int64], ...]:
    """Return, order by order, the n-grams in ascending order with their counts last."""
    counts: list[Counter[tuple[int, ...]]] = [Counter() for _ in range(order)]
    context: tuple[int, ...] = (EOS,)
    for token in tokens.tolist():
        counts[0][(token,)] += 1
        for k in range(1, min(order - 1, len(context)) + 1):
            counts[k][(*context[-k:], token)] += 1
        context = (EOS,) if token == EOS else (*context, token)[-order:]
    return tuple(
        np.array([(*ngram, c) for ngram, c in sorted(one.items())], dtype=np.int64).reshape(-1, k)
        for k, one in enumerate(counts, start=2)
    )


def count_by_sort(tokens: Ids, order: int, vocabulary: int) -> tuple[NDArray[np.int64], ...]:
    """Return the same from the trie of ``lmgrid_ngram.count``."""
    levels = count(tokens, order, vocabulary).levels
    tables: list[NDArray[np.int64]] = []
    ngrams = np.zeros((1, 0), np.int64)  # of the level above
    for level in levels:
        parents = np.repeat(np.arange(len(ngrams)), np.diff(level.nodes.starts))
        ngrams = np.column_stack((ngrams[parents], level.nodes.words))
        table = np.column_stack((ngrams, level.counts)).astype(np.int64)
        tables.append(table[level.counts > 0])
    return tuple(tables)
