"""Estimates a backoff model: which counts each smoothing uses, and how it combines the orders.

The order below the unigrams is the uniform distribution over the vocabulary. The equations are in
``lmgrid_ngram.smoothing.equations``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from lmgrid_ngram.counting.trie import BLOCK, CountLevel, Counts
from lmgrid_ngram.scoring.backoff import BackoffLevel, BackoffModel
from lmgrid_ngram.smoothing import discounts, equations, held_out, kenlm_quirk, pruning
from lmgrid_ngram.smoothing.equations import GroupedCounts, Smoothed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmgrid_ngram.counting.arrays import ArrayStore
    from lmgrid_ngram.parts import NGramPart

    Ids = NDArray[np.int32]
    Weights = NDArray[np.floating]

Smoother = Callable[
    [GroupedCounts], Smoothed
]  # one order's p of each n-gram, and its backoff weights


@dataclass(frozen=True)
class TrainingCounts:
    """The training text and its counts, with where and how precisely arrays are kept."""

    tokens: Ids  # (n,)
    counts: Counts
    store: ArrayStore  # makes the arrays that are as large as the counts
    precision: type[np.floating] = np.float32  # of the model's arrays

    @property
    def raw(self) -> list[Ids]:
        return [level.counts for level in self.counts.levels]

    @property
    def vocabulary(self) -> int:
        return len(self.counts.levels[0])


def estimate(training: TrainingCounts, options: NGramPart) -> BackoffModel:
    """Return the model estimated with the options' smoothing, then cut by count and pruned."""
    model = _ESTIMATORS[options.smoothing](training, options)
    if options.min_counts:
        keep = [
            level.counts >= options.min_count(k) if k > 1 else np.ones(len(level), np.bool_)
            for k, level in enumerate(training.counts.levels, start=1)
        ]
        model = pruning.restrict(model, keep)
    return pruning.prune(model, options.prune) if options.prune else model


# ---------------------------------------------------------------- interpolated


def modified_kneser_ney(training: TrainingCounts, options: NGramPart) -> BackoffModel:
    """Discounts D1, D2 and D3+ for each order; lower orders use continuation counts."""
    adjusted = continuation_counts(training)
    n = [discounts.counts_of_counts(c) for c in adjusted]
    if options.kenlm_quirk:
        kenlm_quirk.correct_last_ngrams(n, training, adjusted)
    smoothers = (_interpolated(discounts.modified(one)) for one in n)
    return _stack(training, options, adjusted, smoothers)


def kneser_ney(training: TrainingCounts, options: NGramPart) -> BackoffModel:
    """One discount for each order; lower orders use continuation counts."""
    adjusted = continuation_counts(training)
    n = (discounts.counts_of_counts(c) for c in adjusted)
    return _stack(
        training, options, adjusted, (_interpolated(discounts.absolute(one)) for one in n)
    )


def _interpolated(d: NDArray[np.float64]) -> Smoother:
    return lambda grouped: equations.interpolate(grouped, equations.discounted(grouped, d))


def witten_bell(training: TrainingCounts, options: NGramPart) -> BackoffModel:
    """A context that many different words follow has more backoff mass."""

    def smoother(grouped: GroupedCounts) -> Smoothed:
        return equations.interpolate(grouped, equations.witten_bell(grouped))

    return _stack(training, options, training.raw, [smoother] * options.order)


def jelinek_mercer(training: TrainingCounts, options: NGramPart) -> BackoffModel:
    """Relative frequencies of all orders, interpolated with weights learned on held-out text."""
    learned = held_out.learn_weights(training.tokens, training.vocabulary, options)
    return _stack(training, options, training.raw, (_mixed(weights) for weights in learned))


def _mixed(weights: NDArray[np.float64]) -> Smoother:
    return lambda grouped: equations.interpolate(grouped, equations.weighted(grouped, weights))


# ---------------------------------------------------------------- backoff


def absolute(training: TrainingCounts, options: NGramPart) -> BackoffModel:
    """One discount for each order."""
    n = (discounts.counts_of_counts(c) for c in training.raw)
    smoothers = (_backed_off(discounts.absolute(one)) for one in n)
    return _stack(training, options, training.raw, smoothers)


def _backed_off(d: NDArray[np.float64]) -> Smoother:
    return lambda grouped: equations.back_off(grouped, equations.discounted(grouped, d))


def katz(training: TrainingCounts, options: NGramPart) -> BackoffModel:
    """Good-Turing discounts; absolute ones where the counts of an order do not allow them."""
    n = [discounts.counts_of_counts(c) for c in training.raw]
    pairs = [(discounts.good_turing(one), discounts.absolute(one)) for one in n]
    smoothers = [_backed_off(d) if gt is None else _good_turing(gt, d) for gt, d in pairs]
    return _stack(training, options, training.raw, smoothers)


def _good_turing(d: NDArray[np.float64], fallback: NDArray[np.float64]) -> Smoother:
    return lambda grouped: equations.back_off(grouped, equations.good_turing(grouped, d, fallback))


# ---------------------------------------------------------------- one context only


def stupid_backoff(training: TrainingCounts, options: NGramPart) -> BackoffModel:
    """S(w | h) = c(hw) / c(h), else ``backoff`` times S(w | h') (Brants et al. 2007)."""
    return _constant(training, options, options.backoff)


def mle(training: TrainingCounts, options: NGramPart) -> BackoffModel:
    """p(w | h) = c(hw) / c(h), and zero for unseen n-grams."""
    return _constant(training, options, 0.0)


def _constant(training: TrainingCounts, options: NGramPart, backoff: float) -> BackoffModel:
    model = _stack(training, options, training.raw, [equations.relative] * options.order)
    for level in model.levels:
        level.backoffs.fill(backoff)
    return BackoffModel(model.levels, unseen=backoff)


def add_delta(training: TrainingCounts, options: NGramPart) -> BackoffModel:
    """p(w | h) = (c(hw) + delta) / (c(h) + delta V), uniform after an unseen context.

    Shorter contexts are used only at the beginning of a sentence. In backoff form all other
    n-grams below the highest order have the uniform probability and the backoff weight 1.
    """

    def smoother(grouped: GroupedCounts) -> Smoothed:
        return equations.lidstone(grouped, options.delta, training.vocabulary)

    model = _stack(training, options, training.raw, [smoother] * options.order)
    for k, level in enumerate(model.levels[:-1], start=1):
        outside = np.ones(len(level.nodes), np.bool_)
        outside[training.counts.opening(k)] = False
        level.probabilities[outside | (k == 1)] = 1 / training.vocabulary
        if k < options.order - 1:
            level.backoffs[outside] = 1.0
    return model


_ESTIMATORS: dict[str, Callable[[TrainingCounts, NGramPart], BackoffModel]] = {
    "mle": mle,
    "add-delta": add_delta,
    "stupid-backoff": stupid_backoff,
    "katz": katz,
    "absolute": absolute,
    "witten-bell": witten_bell,
    "kneser-ney": kneser_ney,
    "modified-kneser-ney": modified_kneser_ney,
    "jelinek-mercer": jelinek_mercer,
}
BACKOFF = ("katz", "absolute")


# ---------------------------------------------------------------- order by order


def continuation_counts(training: TrainingCounts) -> list[Ids]:
    """Return the counts that Kneser-Ney smoothing uses, order by order.

    Below the highest order it is the number of different words before an n-gram (Kneser and Ney
    1995). An n-gram that begins a sentence has no word before it and keeps its own count.
    """
    counts, adjusted = training.counts, []
    for k, (level, above) in enumerate(pairwise(counts.levels), start=1):
        different = training.store.zeros(len(level), np.int32)
        for low in range(0, len(above), BLOCK):  # add int32 ones: other types are 20 times slower
            suffixes = above.suffixes[low : low + BLOCK].astype(np.intp)
            np.add.at(different, suffixes, np.int32(1))
        if k > 1:
            different[counts.opening(k)] = level.counts[counts.opening(k)]
        adjusted.append(different)
    return [*adjusted, counts.levels[-1].counts]


def _stack(
    training: TrainingCounts, options: NGramPart, c: list[Ids], smoothers: Iterable[Smoother]
) -> BackoffModel:
    """Estimate the orders one after another, each from the one below; ``c`` holds the counts.

    Backoff weights divide by the lower order's probability of unseen words, which may be tiny, so
    backoff smoothings are estimated in double precision, whatever precision the model has.
    """
    levels = training.counts.levels
    working = np.float64 if options.smoothing in BACKOFF else training.precision
    lower: Weights = np.full(1, 1 / training.vocabulary, working)
    probabilities, backoffs = [], []
    for k, smoother in enumerate(smoothers):
        order = _OrderCounts(levels[k], c[k], options.min_count(k + 1), lower)
        estimated = _Estimated(
            training.store.zeros(len(levels[k]), working),
            training.store.zeros(len(levels[k].nodes.starts) - 1, training.precision),
        )
        _estimate_order(order, smoother, out=estimated)
        lower = estimated.probabilities
        probabilities.append(lower.astype(training.precision, copy=False))
        backoffs.append(estimated.backoffs)
    backoffs = [*backoffs[1:], np.zeros(0, np.float32)]
    nodes = (level.nodes for level in levels)
    return BackoffModel(tuple(map(BackoffLevel, nodes, probabilities, backoffs)))


@dataclass(frozen=True)
class _OrderCounts:
    """What one order is estimated from."""

    level: CountLevel
    counts: Ids  # (m,) of the n-grams, or their continuation counts
    min_count: int  # n-grams whose raw count is lower are left out
    lower: Weights  # p of each n-gram of the order below


@dataclass(frozen=True)
class _Estimated:
    """The estimates of one order: arrays that are filled block by block."""

    probabilities: Weights  # (m,) of each n-gram
    backoffs: Weights  # of each context


def _estimate_order(order: _OrderCounts, smoother: Smoother, *, out: _Estimated) -> None:
    """Fill ``out`` with p of each n-gram and the backoff weight of each context."""
    level, starts = order.level, order.level.nodes.starts
    for block in level.nodes.blocks():
        children = level.nodes.children(block)
        local = starts[block.start : block.stop + 1] - starts[block.start]
        lower = order.lower.take(level.suffixes[children].astype(np.intp))
        dropped = level.counts[children] < order.min_count if order.min_count > 1 else None
        smoothed = smoother(
            GroupedCounts(
                order.counts[children], local, lower.astype(np.float64, copy=False), dropped
            )
        )
        out.probabilities[children] = smoothed.probability
        out.backoffs[block] = np.where(local[1:] > local[:-1], smoothed.backoff_mass, 1.0)
