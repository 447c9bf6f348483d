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

from lmgrid_ngram.counting.trie import BLOCK, Counts, Level
from lmgrid_ngram.scoring.backoff import BackoffModel, Layer
from lmgrid_ngram.smoothing import discounts, equations, held_out, kenlm_quirk, pruning
from lmgrid_ngram.smoothing.equations import Families, Smoothed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmgrid_ngram.counting.arrays import ArrayStore
    from lmgrid_ngram.parts import NGramPart

    Ids = NDArray[np.int32]
    Weights = NDArray[np.floating]

Smoother = Callable[[Families], Smoothed]  # one order's p of each n-gram, and its backoff weights


@dataclass(frozen=True)
class TrainingCounts:
    """The training text and its counts, with where and how precisely arrays are kept."""

    tokens: Ids  # (n,)
    counts: Counts
    room: ArrayStore  # makes the arrays that are as large as the counts
    precision: type[np.floating] = np.float32  # of the model's arrays

    @property
    def raw(self) -> list[Ids]:
        return [level.counts for level in self.counts.levels]

    @property
    def vocabulary(self) -> int:
        return len(self.counts.levels[0])


def estimate(evidence: TrainingCounts, options: NGramPart) -> BackoffModel:
    """Return the model estimated with the options' smoothing, then cut by count and pruned."""
    model = _ESTIMATORS[options.smoothing](evidence, options)
    if options.min_counts:
        keep = [
            level.counts >= options.min_count(k) if k > 1 else np.ones(len(level), np.bool_)
            for k, level in enumerate(evidence.counts.levels, start=1)
        ]
        model = pruning.restrict(model, keep)
    return pruning.prune(model, options.prune) if options.prune else model


# ---------------------------------------------------------------- interpolated


def modified_kneser_ney(evidence: TrainingCounts, options: NGramPart) -> BackoffModel:
    """Discounts D1, D2 and D3+ for each order; lower orders use continuation counts."""
    adjusted = continuation_counts(evidence)
    n = [discounts.counts_of_counts(c) for c in adjusted]
    if options.kenlm_quirk:
        kenlm_quirk.rebook(n, evidence, adjusted)
    lost = (discounts.modified(one) for one in n)
    return _stack(evidence, options, adjusted, (_interpolated(d) for d in lost))


def kneser_ney(evidence: TrainingCounts, options: NGramPart) -> BackoffModel:
    """One discount for each order; lower orders use continuation counts."""
    adjusted = continuation_counts(evidence)
    lost = (discounts.absolute(discounts.counts_of_counts(c)) for c in adjusted)
    return _stack(evidence, options, adjusted, (_interpolated(d) for d in lost))


def _interpolated(lost: NDArray[np.float64]) -> Smoother:
    return lambda families: equations.interpolate(families, equations.discounted(families, lost))


def witten_bell(evidence: TrainingCounts, options: NGramPart) -> BackoffModel:
    """A context that many different words follow has more backoff mass."""

    def smoother(families: Families) -> Smoothed:
        return equations.interpolate(families, equations.witten_bell(families))

    return _stack(evidence, options, evidence.raw, [smoother] * options.order)


def jelinek_mercer(evidence: TrainingCounts, options: NGramPart) -> BackoffModel:
    """Relative frequencies of all orders, interpolated with weights learned on held-out text."""
    learned = held_out.learn_weights(evidence.tokens, evidence.vocabulary, options)
    return _stack(evidence, options, evidence.raw, (_mixed(weights) for weights in learned))


def _mixed(weights: NDArray[np.float64]) -> Smoother:
    return lambda families: equations.interpolate(families, equations.weighted(families, weights))


# ---------------------------------------------------------------- backoff


def absolute(evidence: TrainingCounts, options: NGramPart) -> BackoffModel:
    """One discount for each order."""
    lost = (discounts.absolute(discounts.counts_of_counts(c)) for c in evidence.raw)
    return _stack(evidence, options, evidence.raw, (_backed_off(d) for d in lost))


def _backed_off(lost: NDArray[np.float64]) -> Smoother:
    return lambda families: equations.back_off(families, equations.discounted(families, lost))


def katz(evidence: TrainingCounts, options: NGramPart) -> BackoffModel:
    """Good-Turing discounts; absolute ones where the counts of an order do not allow them."""
    n = [discounts.counts_of_counts(c) for c in evidence.raw]
    pairs = [(discounts.good_turing(one), discounts.absolute(one)) for one in n]
    smoothers = [_backed_off(d) if gt is None else _good_turing(gt, d) for gt, d in pairs]
    return _stack(evidence, options, evidence.raw, smoothers)


def _good_turing(lost: NDArray[np.float64], fallback: NDArray[np.float64]) -> Smoother:
    return lambda families: equations.back_off(
        families, equations.good_turing(families, lost, fallback)
    )


# ---------------------------------------------------------------- one context only


def stupid_backoff(evidence: TrainingCounts, options: NGramPart) -> BackoffModel:
    """S(w | h) = c(hw) / c(h), else ``backoff`` times S(w | h') (Brants et al. 2007)."""
    return _constant(evidence, options, options.backoff)


def mle(evidence: TrainingCounts, options: NGramPart) -> BackoffModel:
    """p(w | h) = c(hw) / c(h), and zero for unseen n-grams."""
    return _constant(evidence, options, 0.0)


def _constant(evidence: TrainingCounts, options: NGramPart, backoff: float) -> BackoffModel:
    model = _stack(evidence, options, evidence.raw, [equations.relative] * options.order)
    for layer in model.layers:
        layer.backoffs.fill(backoff)
    return BackoffModel(model.layers, unseen=backoff)


def add_delta(evidence: TrainingCounts, options: NGramPart) -> BackoffModel:
    """p(w | h) = (c(hw) + delta) / (c(h) + delta V), uniform after an unseen context.

    Shorter contexts are used only at the beginning of a sentence. In backoff form all other
    n-grams below the highest order have the uniform probability and the backoff weight 1.
    """

    def smoother(families: Families) -> Smoothed:
        return equations.lidstone(families, options.delta, evidence.vocabulary)

    model = _stack(evidence, options, evidence.raw, [smoother] * options.order)
    for k, layer in enumerate(model.layers[:-1], start=1):
        outside = np.ones(len(layer.nodes), np.bool_)
        outside[evidence.counts.opening(k)] = False
        layer.probabilities[outside | (k == 1)] = 1 / evidence.vocabulary
        if k < options.order - 1:
            layer.backoffs[outside] = 1.0
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


def continuation_counts(evidence: TrainingCounts) -> list[Ids]:
    """Return the counts that Kneser-Ney smoothing uses, order by order.

    Below the highest order it is the number of different words before an n-gram (Kneser and Ney
    1995). An n-gram that begins a sentence has no word before it and keeps its own count.
    """
    counts, adjusted = evidence.counts, []
    for k, (level, above) in enumerate(pairwise(counts.levels), start=1):
        different = evidence.room.zeros(len(level), np.int32)
        for low in range(0, len(above), BLOCK):  # add int32 ones: other types are 20 times slower
            suffixes = above.suffixes[low : low + BLOCK].astype(np.intp)
            np.add.at(different, suffixes, np.int32(1))
        if k > 1:
            different[counts.opening(k)] = level.counts[counts.opening(k)]
        adjusted.append(different)
    return [*adjusted, counts.levels[-1].counts]


def _stack(
    evidence: TrainingCounts, options: NGramPart, c: list[Ids], smoothers: Iterable[Smoother]
) -> BackoffModel:
    """Estimate the orders one after another, each from the one below.

    Backoff weights divide by the lower order's probability of unseen words, which may be tiny, so
    backoff smoothings are estimated in double precision, whatever precision the model has.
    """
    levels = evidence.counts.levels
    working = np.float64 if options.smoothing in BACKOFF else evidence.precision
    lower: Weights = np.full(1, 1 / evidence.vocabulary, working)
    probabilities, backoffs = [], []
    for k, smoother in enumerate(smoothers):
        made = (
            evidence.room.zeros(len(levels[k]), working),
            evidence.room.zeros(len(levels[k].nodes.starts) - 1, evidence.precision),
        )
        _weigh(levels[k], (c[k], options.min_count(k + 1), lower), smoother, made)
        lower, freed = made
        probabilities.append(lower.astype(evidence.precision, copy=False))
        backoffs.append(freed)
    backoffs = [*backoffs[1:], np.zeros(0, np.float32)]
    nodes = (level.nodes for level in levels)
    return BackoffModel(tuple(map(Layer, nodes, probabilities, backoffs)))


def _weigh(
    level: Level,
    given: tuple[Ids, int, Weights],
    smoother: Smoother,
    made: tuple[Weights, Weights],
) -> None:
    """Fill ``made``: p of each n-gram of a level, and the backoff weight of each of its contexts.

    ``given`` holds the counts, the least count to keep, and p of the order below.
    """
    starts, (counts, minimum, lower), (probabilities, backoffs) = level.nodes.starts, given, made
    for block in level.nodes.blocks():
        kids = level.nodes.children(block)
        local = starts[block.start : block.stop + 1] - starts[block.start]
        below = lower.take(level.suffixes[kids].astype(np.intp)).astype(np.float64, copy=False)
        dropped = level.counts[kids] < minimum if minimum > 1 else None
        result = smoother(Families(counts[kids], local, below, dropped))
        probabilities[kids] = result.probability
        backoffs[block] = np.where(local[1:] > local[:-1], result.backoff_mass, 1.0)
