"""Leaves n-grams out of a model and gives their probability to the lower order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmgrid_ngram.counting.trie import Nodes
from lmgrid_ngram.scoring.backoff import BackoffLevel, BackoffModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bools = NDArray[np.bool_]
    Floats = NDArray[np.float64]


TINY = 1e-12  # least probability mass, so that nothing is divided by zero


def restrict(model: BackoffModel, keep: list[Bools]) -> BackoffModel:
    """Return the model with the n-grams in ``keep``, one mask per order.

    The context of a kept n-gram must be kept too.
    """
    levels = [model.levels[0]]
    for level, here, above in zip(model.levels[1:], keep[1:], keep[:-1], strict=True):
        before = np.zeros(len(here) + 1, np.int32)
        np.cumsum(here, out=before[1:])
        starts = before.take(level.nodes.starts)
        starts = np.append(starts[:-1][above], starts[-1])
        backoffs = level.backoffs[here] if len(level.backoffs) else level.backoffs
        levels.append(
            BackoffLevel(
                Nodes(level.nodes.words[here], starts), level.probabilities[here], backoffs
            )
        )
    return BackoffModel(tuple(levels), model.unseen)


def prune(model: BackoffModel, threshold: float) -> BackoffModel:
    """Leave out n-grams that change the perplexity by less than a fraction ``threshold``.

    Entropy pruning (Stolcke 1998), from the highest order down. Contexts of kept n-grams stay.
    """
    if model.order == 1:
        return model
    suffixes = _suffixes(model)
    histories = _history_probabilities(model)
    keep = [np.ones(len(level.nodes), np.bool_) for level in model.levels]
    for k in range(model.order, 1, -1):
        level, lower = model.levels[k - 1], model.levels[k - 2]
        below = lower.probabilities.astype(np.float64)[suffixes[k - 1]]
        loss = _LevelProbabilities(level, below).loss(histories[k - 2])
        keep[k - 1] = np.expm1(loss) >= threshold
        if k < model.order:
            keep[k - 1] |= _needed(model.levels[k].nodes.starts, keep[k])
    return restrict(_renormalise(model, keep, suffixes), keep)


def _renormalise(
    model: BackoffModel, keep: list[Bools], suffixes: list[NDArray[np.int32]]
) -> BackoffModel:
    """Return the model with the backoff weights that make the kept n-grams sum to one."""
    levels = [model.levels[0]]
    # p of each n-gram; of one that is left out, by backing off
    below = levels[0].probabilities.astype(np.float64)
    for level, here, suffix in zip(model.levels[1:], keep[1:], suffixes[1:], strict=True):
        ours = _LevelProbabilities(level, below[suffix])
        backoffs = ours.backoffs(here)
        lower = levels[-1]
        levels[-1] = BackoffLevel(lower.nodes, lower.probabilities, backoffs.astype(np.float32))
        levels.append(level)
        below = np.where(here, ours.p, backoffs[ours.parents] * ours.below)
    return BackoffModel(tuple(levels), model.unseen)


def _needed(starts: NDArray[np.int32], kept: Bools) -> Bools:
    """Return which contexts have children that are kept."""
    before = np.append(0, np.cumsum(kept))[starts]
    return np.asarray(before[1:] > before[:-1])


def _history_probabilities(model: BackoffModel) -> list[Floats]:
    """Return the joint probability of each n-gram's words, for each order but the highest."""
    histories = [model.levels[0].probabilities.astype(np.float64)]
    for level in model.levels[1:-1]:
        histories.append(histories[-1][level.nodes.parents()] * level.probabilities)
    return histories


def _suffixes(model: BackoffModel) -> list[NDArray[np.int32]]:
    """Return the node of each n-gram without its first word, one level up."""
    suffixes = [np.zeros(model.vocabulary, np.int32), model.levels[1].nodes.words]
    for lower, level in zip(model.levels[1:], model.levels[2:], strict=False):
        contexts = suffixes[-1][level.nodes.parents()]
        suffixes.append(lower.nodes.find(contexts, level.nodes.words))
    return suffixes


class _LevelProbabilities:
    """The n-grams of one order, with p(w | h) and p(w | h') of each."""

    def __init__(self, level: BackoffLevel, below: Floats) -> None:
        self.parents = level.nodes.parents()
        self.contexts = len(level.nodes.starts) - 1
        self.p, self.below = level.probabilities.astype(np.float64), below

    def unseen(self, p: Floats) -> Floats:
        """Return one minus the sum of p over the words after each context, at least TINY."""
        sums = np.bincount(self.parents, p, self.contexts).astype(np.float64)
        unseen: Floats = np.maximum(1 - sums, TINY)
        return unseen

    def loss(self, histories: Floats) -> Floats:
        """Return the relative entropy of the model without each n-gram, in nats (equation 4).

        p(h) (p(w|h) (ln p(w|h) - ln p(w|h') - ln a') + (ln a - ln a') (1 - sum p(.|h))), with a
        the backoff weight of h and a' the one it would have.
        """
        unseen, unseen_below = (self.unseen(p)[self.parents] for p in (self.p, self.below))
        new = np.log((unseen + self.p) / (unseen_below + self.below))
        seen = self.p * (np.log(self.p) - np.log(np.maximum(self.below, TINY)) - new)
        change = seen + unseen * (np.log(unseen / unseen_below) - new)
        loss: Floats = histories[self.parents] * change
        return loss

    def backoffs(self, keep: Bools) -> Floats:
        """Return the backoff weights with which the kept n-grams and the others sum to one."""
        unseen = self.unseen(np.where(keep, self.p, 0.0))
        return unseen / self.unseen(np.where(keep, self.below, 0.0))
