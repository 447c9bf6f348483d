"""From counts to probabilities: each smoothing as the equation of its paper.

For one order, c is the count of an n-gram hw, summed over w it is the total of the context h.
A smoothing says which share of the probability after h each seen word keeps, and which share is
freed for the lower order. The shares of the seen words and the freed one sum to 1. Below the
unigrams stands the uniform distribution over the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from lmgrid_ngram import discounts
from lmgrid_ngram.backoff import BackoffModel, Layer
from lmgrid_ngram.trie import BLOCK, Counts, Level

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmgrid_ngram.parts import NGram

    Ids = NDArray[np.int32]
    Floats = NDArray[np.float64]
    Weights = NDArray[np.float32]


@dataclass(frozen=True)
class Families:
    """Counts of n-grams (children, j of them) grouped by context (parents, i of them)."""

    c: NDArray[np.int32]  # (j,)
    starts: Ids  # (i + 1,)

    def sum(self, values: NDArray[np.generic]) -> Floats:
        """Return the sum over the words after each context, shape (i,)."""
        sums = np.zeros(len(self.starts) - 1)
        parents = np.flatnonzero(self.starts[1:] > self.starts[:-1])
        if len(parents):
            sums[parents] = np.add.reduceat(values, self.starts[parents], dtype=np.float64)
        return sums

    def spread(self, values: Floats) -> Floats:
        """Return each context's value for each word after it, shape (j,)."""
        return np.repeat(values, np.diff(self.starts))


@dataclass(frozen=True)
class Shares:
    """How the probability after each context is divided."""

    kept: Floats  # (j,) by each seen word
    freed: Floats  # (i,) for the lower order


Smoother = Callable[[Families, "Floats"], Shares]  # the families, and p of the lower order


# ---------------------------------------------------------------- shares: the papers' equations


def discounted(families: Families, d: Floats) -> Shares:
    """Free d(c) of each count c. ``d[r]`` is for count r, the last entry for all above."""
    lost = d[np.minimum(families.c, len(d) - 1)]
    total = np.maximum(families.sum(families.c), 1)
    return Shares((families.c - lost) / families.spread(total), families.sum(lost) / total)


def added(families: Families, delta: float, vocabulary: int) -> Shares:
    """Add ``delta`` to every count (Lidstone); with 0, relative frequencies."""
    total = np.maximum(families.sum(families.c) + delta * vocabulary, np.finfo(float).tiny)
    return Shares((families.c + delta) / families.spread(total), delta * vocabulary / total)


# ---------------------------------------------------------------- two orders become one


def interpolate(families: Families, shares: Shares, lower: Floats) -> Shares:
    """p(w | h) = kept(hw) + freed(h) p(w | h'), for seen and unseen words alike."""
    return Shares(shares.kept + families.spread(shares.freed) * lower, shares.freed)


def back_off(families: Families, shares: Shares, lower: Floats) -> Shares:
    """p(w | h) = kept(hw) for seen words, alpha(h) p(w | h') for the others (Katz 1987).

    Where the lower order leaves nothing to words unseen after h, the seen ones take all.
    """
    seen = families.c > 0
    room = 1 - families.sum(np.where(seen, lower, 0.0))
    closed = room < 1e-9
    alpha = np.where(closed, 0.0, shares.freed / np.where(closed, 1.0, room))
    whole = families.spread(np.where(closed, 1 - shares.freed, 1.0))
    return Shares(np.where(seen, shares.kept / whole, families.spread(alpha) * lower), alpha)


# ---------------------------------------------------------------- whole models


def estimate(counts: Counts, options: NGram) -> BackoffModel:
    """Return the model that ``options.smoothing`` makes of some counts."""
    return _ESTIMATORS[options.smoothing](counts, options)


def modified_kneser_ney(counts: Counts, options: NGram) -> BackoffModel:
    """Interpolated, D1, D2, D3+ for each order, lower orders from continuation counts."""
    adjusted = continuation_counts(counts)
    smoothers = [
        partial(_interpolated, d=discounts.modified(discounts.counts_of_counts(c, 4)))
        for c in adjusted
    ]
    return _stack(counts, adjusted, smoothers)


def _interpolated(families: Families, lower: Floats, d: Floats) -> Shares:
    return interpolate(families, discounted(families, d), lower)


def absolute(counts: Counts, options: NGram) -> BackoffModel:
    """Backoff, one discount for each order (Ney, Essen and Kneser 1994)."""
    raw = [level.counts for level in counts.levels]
    d = [discounts.single(discounts.counts_of_counts(c, 2)) for c in raw]
    smoothers = [partial(_backed, d=np.array([0.0, one])) for one in d]
    return _stack(counts, raw, smoothers, np.float64)


def _backed(families: Families, lower: Floats, d: Floats) -> Shares:
    return back_off(families, discounted(families, d), lower)


def stupid_backoff(counts: Counts, options: NGram) -> BackoffModel:
    """S(w | h) = c(hw) / c(h), else ``backoff`` times S(w | h') (Brants et al. 2007)."""
    return _constant(counts, options.backoff)


def mle(counts: Counts, options: NGram) -> BackoffModel:
    """p(w | h) = c(hw) / c(h): nothing is left for what was not seen."""
    return _constant(counts, 0.0)


def _constant(counts: Counts, backoff: float) -> BackoffModel:
    raw = [level.counts for level in counts.levels]
    model = _stack(counts, raw, [_relative] * counts.order)
    for layer in model.layers:
        layer.backoffs.fill(backoff)
    return BackoffModel(model.layers, unseen=backoff)


def _relative(families: Families, lower: Floats) -> Shares:
    return added(families, 0.0, 1)


def add_delta(counts: Counts, options: NGram) -> BackoffModel:
    """p(w | h) = (c(hw) + delta) / (c(h) + delta V), uniform after a context never seen.

    Shorter contexts count only where a sentence begins. In backoff form: every other n-gram
    below the highest order has the uniform probability and hands on all it has.
    """
    vocabulary = len(counts.levels[0])
    raw = [level.counts for level in counts.levels]
    smoother = partial(_lidstone, delta=options.delta, vocabulary=vocabulary)
    model = _stack(counts, raw, [smoother] * counts.order)
    for k, layer in enumerate(model.layers[:-1], start=1):
        outside = np.ones(len(layer.nodes), np.bool_)
        outside[counts.opening(k)] = False
        layer.probabilities[outside | (k == 1)] = 1 / vocabulary
        if k < counts.order - 1:
            layer.backoffs[outside] = 1.0
    return model


def _lidstone(families: Families, lower: Floats, delta: float, vocabulary: int) -> Shares:
    return added(families, delta, vocabulary)


_ESTIMATORS: dict[str, Callable[[Counts, NGram], BackoffModel]] = {
    "mle": mle,
    "add-delta": add_delta,
    "stupid-backoff": stupid_backoff,
    "absolute": absolute,
    "modified-kneser-ney": modified_kneser_ney,
}


# ---------------------------------------------------------------- level by level


def continuation_counts(counts: Counts) -> list[Ids]:
    """Return the counts that Kneser-Ney smoothing uses, order by order.

    Below the highest order it is the number of different words before an n-gram (Kneser and Ney
    1995). Nothing can stand before an n-gram that begins a sentence: it keeps its own count.
    """
    adjusted = []
    for k, (level, above) in enumerate(pairwise(counts.levels), start=1):
        different = count_values(above.suffixes, len(level))
        if k > 1:
            different[counts.opening(k)] = level.counts[counts.opening(k)]
        adjusted.append(different)
    return [*adjusted, counts.levels[-1].counts]


def count_values(values: Ids, size: int) -> Ids:
    """Return how often each of 0 to ``size - 1`` is among the values."""
    total = np.zeros(size, np.int32)
    for low in range(0, len(values), BLOCK):  # an int32 one: another type is 20 times slower
        np.add.at(total, values[low : low + BLOCK].astype(np.intp), np.int32(1))
    return total


def _stack(
    counts: Counts,
    adjusted: list[Ids],
    smoothers: Sequence[Smoother],
    precision: type[np.floating] = np.float32,
) -> BackoffModel:
    """Estimate each order upon the one below.

    Backoff weights divide by what the lower order leaves over, which may be tiny: they ask for
    double precision here. What is kept is single.
    """
    lower = np.full(1, 1 / len(counts.levels[0]), precision)
    probabilities, backoffs = [], []
    for level, c, smoother in zip(counts.levels, adjusted, smoothers, strict=True):
        lower, freed = _weigh(level, c, lower, smoother)
        probabilities.append(lower.astype(np.float32, copy=False))
        backoffs.append(freed)
    backoffs = [*backoffs[1:], np.zeros(0, np.float32)]
    nodes = (level.nodes for level in counts.levels)
    return BackoffModel(tuple(map(Layer, nodes, probabilities, backoffs)))


def _weigh(
    level: Level, c: Ids, lower: NDArray[np.floating], smoother: Smoother
) -> tuple[NDArray[np.floating], Weights]:
    """Return p of each n-gram of a level, and the backoff weight of each of its contexts."""
    starts = level.nodes.starts
    probabilities = np.empty(len(level), lower.dtype)
    backoffs = np.empty(len(starts) - 1, np.float32)
    for block in level.nodes.blocks():
        kids = level.nodes.children(block)
        families = Families(c[kids], starts[block.start : block.stop + 1] - starts[block.start])
        shares = smoother(families, lower[level.suffixes[kids]].astype(np.float64, copy=False))
        probabilities[kids] = shares.kept
        backoffs[block] = np.where(np.diff(families.starts) > 0, shares.freed, 1.0)
    return probabilities, backoffs
