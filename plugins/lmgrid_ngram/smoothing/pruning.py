"""Leaves n-grams out of a model and gives their probability to the lower order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmgrid_ngram.counting.trie import Nodes
from lmgrid_ngram.scoring.backoff import BackoffModel, Layer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bools = NDArray[np.bool_]
    Floats = NDArray[np.float64]


TINY = 1e-12  # least probability mass, so that nothing is divided by zero


def restrict(model: BackoffModel, keep: list[Bools]) -> BackoffModel:
    """Return the model with the n-grams in ``keep``, one mask per order.

    The context of a kept n-gram must be kept too.
    """
    layers = [model.layers[0]]
    for layer, here, above in zip(model.layers[1:], keep[1:], keep[:-1], strict=True):
        before = np.zeros(len(here) + 1, np.int32)
        np.cumsum(here, out=before[1:])
        starts = before.take(layer.nodes.starts)
        starts = np.append(starts[:-1][above], starts[-1])
        backoffs = layer.backoffs[here] if len(layer.backoffs) else layer.backoffs
        layers.append(
            Layer(Nodes(layer.nodes.words[here], starts), layer.probabilities[here], backoffs)
        )
    return BackoffModel(tuple(layers), model.unseen)


def prune(model: BackoffModel, threshold: float) -> BackoffModel:
    """Leave out n-grams that change the perplexity by less than a fraction ``threshold``.

    Entropy pruning (Stolcke 1998), from the highest order down. Contexts of kept n-grams stay.
    """
    if model.order == 1:
        return model
    suffixes = _suffixes(model)
    histories = _history_probabilities(model)
    keep = [np.ones(len(layer.nodes), np.bool_) for layer in model.layers]
    for k in range(model.order, 1, -1):
        layer, lower = model.layers[k - 1], model.layers[k - 2]
        below = lower.probabilities.astype(np.float64)[suffixes[k - 1]]
        loss = _Family(layer, below).loss(histories[k - 2])
        keep[k - 1] = np.expm1(loss) >= threshold
        if k < model.order:
            keep[k - 1] |= _needed(model.layers[k].nodes.starts, keep[k])
    return restrict(_renormalise(model, keep, suffixes), keep)


def _renormalise(
    model: BackoffModel, keep: list[Bools], suffixes: list[NDArray[np.int32]]
) -> BackoffModel:
    """Return the model with the backoff weights that make the kept n-grams sum to one."""
    layers = [model.layers[0]]
    below = layers[0].probabilities.astype(
        np.float64
    )  # of each n-gram, by backing off if it is left out
    for layer, here, suffix in zip(model.layers[1:], keep[1:], suffixes[1:], strict=True):
        family = _Family(layer, below[suffix])
        backoffs = family.backoffs(here)
        lower = layers[-1]
        layers[-1] = Layer(lower.nodes, lower.probabilities, backoffs.astype(np.float32))
        layers.append(layer)
        below = np.where(here, family.p, backoffs[family.parents] * family.below)
    return BackoffModel(tuple(layers), model.unseen)


def _needed(starts: NDArray[np.int32], kept: Bools) -> Bools:
    """Return which contexts have children that are kept."""
    before = np.append(0, np.cumsum(kept))[starts]
    return np.asarray(before[1:] > before[:-1])


def _history_probabilities(model: BackoffModel) -> list[Floats]:
    """Return the joint probability of each n-gram's words, for each order but the highest."""
    histories = [model.layers[0].probabilities.astype(np.float64)]
    for layer in model.layers[1:-1]:
        histories.append(histories[-1][layer.nodes.parents()] * layer.probabilities)
    return histories


def _suffixes(model: BackoffModel) -> list[NDArray[np.int32]]:
    """Return the node of each n-gram without its first word, one level up."""
    suffixes = [np.zeros(model.vocabulary, np.int32), model.layers[1].nodes.words]
    for lower, layer in zip(model.layers[1:], model.layers[2:], strict=False):
        contexts = suffixes[-1][layer.nodes.parents()]
        suffixes.append(lower.nodes.find(contexts, layer.nodes.words))
    return suffixes


class _Family:
    """The n-grams of one order, with p(w | h) and p(w | h') of each."""

    def __init__(self, layer: Layer, below: Floats) -> None:
        self.parents = layer.nodes.parents()
        self.contexts = len(layer.nodes.starts) - 1
        self.p, self.below = layer.probabilities.astype(np.float64), below

    def left(self, values: Floats) -> Floats:
        """Return one minus the sum of the values after each context, at least TINY."""
        sums = np.bincount(self.parents, values, self.contexts).astype(np.float64)
        left: Floats = np.maximum(1 - sums, TINY)
        return left

    def loss(self, histories: Floats) -> Floats:
        """Return the relative entropy of the model without each n-gram, in nats (equation 4).

        p(h) (p(w|h) (ln p(w|h) - ln p(w|h') - ln a') + (ln a - ln a') (1 - sum p(.|h))), with a
        the backoff weight of h and a' the one it would have.
        """
        left, room = self.left(self.p)[self.parents], self.left(self.below)[self.parents]
        new = np.log((left + self.p) / (room + self.below))
        seen = self.p * (np.log(self.p) - np.log(np.maximum(self.below, TINY)) - new)
        loss: Floats = histories[self.parents] * (seen + left * (np.log(left / room) - new))
        return loss

    def backoffs(self, keep: Bools) -> Floats:
        """Return the backoff weights with which the kept n-grams and the others sum to one."""
        left = self.left(np.where(keep, self.p, 0.0))
        return left / self.left(np.where(keep, self.below, 0.0))
