"""Learns the weights of Jelinek-Mercer smoothing by EM on a held-out share of the text.

p_k(w | h) = lambda c(hw) / c(h) + (1 - lambda) p_{k-1}(w | h'), one lambda for each order and each
class of contexts of similar total (Jelinek and Mercer 1980; Chen and Goodman 1998, section 2.3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmgrid.vocabulary import EOS
from lmgrid_ngram.counting.count import count
from lmgrid_ngram.counting.trie import Counts
from lmgrid_ngram.smoothing.equations import bucket

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmgrid_ngram.parts import NGramPart

    Ids = NDArray[np.int32]
    Floats = NDArray[np.float64]

CLASSES = 32
ROUNDS = 100
ENOUGH = 1e-7  # nats per token that a round of EM must gain to go on


@dataclass(frozen=True)
class _Seen:
    """The relative frequencies in one order of the held-out tokens whose context it has seen."""

    where: NDArray[np.intp]  # (s,) places of the tokens
    relative: Floats  # (s,) c(hw) / c(h)
    classes: NDArray[np.intp]  # (s,) of the contexts


def learn_weights(tokens: Ids, vocabulary: int, options: NGramPart) -> list[Floats]:
    """Return lambda for each class of contexts, order by order, shape (CLASSES,) each."""
    cut = split(tokens, options.held_out)
    counts = count(tokens[:cut], options.order, vocabulary)
    orders = _observe(counts, tokens[cut:])
    weights = [np.full(CLASSES, 0.5) for _ in orders]
    before = -np.inf
    for _ in range(ROUNDS if cut < len(tokens) else 0):
        likelihood = _em_round(weights, orders, np.full(len(tokens) - cut, 1 / vocabulary))
        if likelihood - before < ENOUGH:
            break
        before = likelihood
    return weights


def split(tokens: Ids, share: float) -> int:
    """Return where the held-out text begins: the start of a sentence, nearest to the share."""
    wish = round(len(tokens) * (1 - share))
    begins = np.flatnonzero(tokens[:-1] == EOS) + 1
    return int(begins[np.abs(begins - wish).argmin()]) if len(begins) else len(tokens)


def _em_round(weights: list[Floats], orders: list[_Seen], p: Floats) -> float:
    """Update the weights by one round of EM; return the mean log-likelihood before it, in nats.

    ``p``, shape (n,), holds the uniform probability when called, p_k of each token after it.
    """
    # p of each token, and how much of it is from each order
    posteriors = []
    for weight, seen in zip(weights, orders, strict=True):
        weighted = weight[seen.classes] * seen.relative
        p[seen.where] = weighted + (1 - weight[seen.classes]) * p[seen.where]
        posteriors.append(weighted / p[seen.where])  # P(this order | this or a lower one)
    # the expected counts of each order, from the highest down, and the weights by them
    not_higher = np.ones(len(p))  # P(from no higher order)
    for weight, seen, posterior in zip(weights[::-1], orders[::-1], posteriors[::-1], strict=True):
        this_or_lower = not_higher[seen.where]
        this = np.bincount(seen.classes, this_or_lower * posterior, CLASSES)
        weight[:] = (this + 0.5) / (np.bincount(seen.classes, this_or_lower, CLASSES) + 1)
        not_higher[seen.where] *= 1 - posterior
    return float(np.log(p).mean())


def _observe(counts: Counts, tokens: Ids) -> list[_Seen]:
    """Return what each order has seen of the held-out tokens, from unigrams up."""
    stream = np.concatenate((np.full(1, EOS, np.int32), tokens))
    seen = []
    nodes, contexts, where = stream, np.zeros(len(tokens), np.int32), np.arange(len(tokens))
    for k, level in enumerate(counts.levels, start=1):
        # the tokens whose context was seen in training
        if k > 1:
            inside = nodes[:-1] >= 0 if k == 2 else (nodes[:-1] >= 0) & (stream[:-1] != EOS)
            where = np.flatnonzero(inside)
            contexts = nodes[:-1][where]
        totals = np.diff(np.append(0, np.cumsum(level.counts))[level.nodes.starts])[contexts]
        # their relative frequencies after it
        words = stream[1:][where]
        found = level.nodes.find(contexts, words) if k > 1 else words
        c = np.where(found >= 0, level.counts[found], 0)
        known = totals > 0
        seen.append(_Seen(where[known], (c / np.maximum(totals, 1))[known], bucket(totals[known])))
        # the n-grams found become the contexts of the next order
        nodes = np.full(len(stream), -1, np.int32)
        nodes[where + 1] = found
        if k == 1:
            nodes[0] = EOS
    return seen
