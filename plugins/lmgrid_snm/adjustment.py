"""Learns the adjustment from the Poisson loss of a text, each token left out of the counts.

Where token n has the target w and the features f, and y(j) is the sum over i in f of M[i, j], its
loss is the sum over all words j of y(j), minus ln y(w). Up to a constant this is the negative log
likelihood of Poisson variables with means y, where w occurred once and the other words did not.
Without token n itself, the count of i is C[i, *] - 1, that of its link to w is C[i, w] - 1, and
those of its links to other words do not change. So the gradient of the loss of token n with respect
to the adjustment of each of its links (i, w) is

    M+ (1 - 1 / y(w))     M+ = exp(A(i, w; C[i, w] - 1, C[i, *] - 1)) (C[i, w] - 1) / (C[i, *] - 1)

and with respect to the adjustment of a link (i, j) to another word it is M-, which is M computed
from C[i, j] and C[i, *] - 1. A link (i, w) has such a term at each of the C[i, *] - C[i, w] tokens
where i comes before another word. These terms are added where the link itself occurs, in equal
shares at each of its C[i, w] tokens:

    M- (C[i, *] - C[i, w]) / C[i, w]

So a step changes the links of its own tokens only, and the steps over all tokens sum to the exact
gradient (Shazeer, Pelemans and Chelba 2015, arXiv 1412.1454, the Poisson loss with leave-one-out).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lmgrid_snm.matrix import Matrix
from lmgrid_snm.metafeatures import Links, Metafeatures

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmgrid_snm.index import Counted

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

BLOCK = 1 << 18  # links of the matrix made at once
UNIFORM = -3.0  # initial A of the always active feature, minus that of the others


class Loss(NamedTuple):
    """The Poisson loss of some tokens, and its gradient with respect to the table."""

    value: float
    gradient: Floats  # (slots + 1,)


@dataclass(frozen=True)
class _Occurrences:
    """The m links of some tokens, without those of features that occur only once."""

    rows: Integers  # (m,) index of the token
    links: Links  # by the counts of the whole text

    def where(self, chosen: NDArray[np.bool_], *, less: int) -> Links:
        """Return the chosen links with their counts when their token is left out.

        ``less`` is what is subtracted from the count of the link.
        """
        links = self.links
        return Links(
            templates=links.templates[chosen],
            features=links.features[chosen],
            targets=links.targets[chosen],
            feature_counts=links.feature_counts[chosen] - 1,
            link_counts=links.link_counts[chosen] - less,
        )


class Adjustment:
    """The weights of the metafeatures, (slots + 1,); the last is A of the always active feature."""

    def __init__(self, counted: Counted, *, metafeatures: Metafeatures, rate: float) -> None:
        """``rate``: the learning rate of Adagrad."""
        # A before training. A constant changes no probability; with this one, y sums to about one
        # over the words from the start, as it does where the loss is least.
        self.start = -float(np.log((counted.instances >= 0).sum(axis=1).mean()))
        self.weights = np.zeros(metafeatures.slots + 1)
        self.weights[-1] = UNIFORM + self.start
        self._squares = np.ones(metafeatures.slots + 1)  # Adagrad's sums of squared gradients
        self._rate = rate
        self._metafeatures = metafeatures
        self._index = counted.index
        keys = np.concatenate(counted.index.links)
        self._counts = counted.counts
        self._features, self._targets = np.divmod(keys, counted.index.vocabulary)
        self._totals = np.bincount(self._features, self._counts).astype(np.int64)
        self._templates = np.repeat(
            np.arange(len(counted.index.links)), np.diff(counted.index.first_links)
        )
        self._instances = counted.instances

    def step(self, tokens: slice) -> float:
        """Take a step of Adagrad on the loss of some tokens; return their total loss before it."""
        loss = self.loss(tokens)
        touched = np.flatnonzero(loss.gradient)
        gradient = loss.gradient[touched]
        self._squares[touched] += gradient * gradient
        self.weights[touched] -= self._rate * gradient / np.sqrt(self._squares[touched])
        return loss.value

    def loss(self, tokens: slice) -> Loss:
        """Return the loss of some tokens, each left out of the counts, and its gradient."""
        size = len(range(*tokens.indices(len(self._instances))))
        found = self._occurrences(tokens)
        counts = found.links.link_counts
        seen, other = counts > 1, counts < found.links.feature_counts
        # each token's link to its own word, with one occurrence less
        links = found.where(seen, less=1)
        places = self._metafeatures.places(links)
        own, rows = self._adjusted(places) * links.frequencies, found.rows[seen]  # M+
        uniform = float(np.exp(self.weights[-1]))
        floor = uniform / self._index.vocabulary
        y = np.bincount(rows, own, size) + floor
        # the links to other words, at the tokens of this batch in equal shares
        links = found.where(other, less=0)
        remote = (links.feature_counts + 1) / links.link_counts - 1
        other_places = self._metafeatures.places(links)
        others = self._adjusted(other_places) * links.frequencies * remote  # M-, at other words
        # the gradient of the weights, and the loss
        gradient = self._spread([(places, own * (1 - 1 / y[rows])), (other_places, others)])
        gradient[-1] = size * uniform - (floor / y).sum()
        value = own.sum() + others.sum() + size * uniform - np.log(y).sum()
        return Loss(float(value), gradient)

    def matrix(self) -> Matrix:
        """Return the matrix from the counts of the whole text and the current weights."""
        weights = np.empty(len(self._counts), np.float32)
        for low in range(0, len(weights), BLOCK):
            links = self._links(np.arange(low, min(low + BLOCK, len(weights))))
            adjusted = self._adjusted(self._metafeatures.places(links))
            weights[low : low + BLOCK] = adjusted * links.link_counts / links.feature_counts
        sums: Floats = np.bincount(self._features, weights).astype(np.float64, copy=False)
        uniform = float(np.exp(self.weights[-1]))
        return Matrix(index=self._index, weights=weights, sums=sums, uniform=uniform)

    def _occurrences(self, tokens: slice) -> _Occurrences:
        instances = self._instances[tokens]
        rows, columns = np.nonzero(instances >= 0)
        links = instances[rows, columns]
        again = self._totals[self._features[links]] > 1
        return _Occurrences(rows[again], self._links(links[again]))

    def _links(self, ids: NDArray[np.integer]) -> Links:
        features = self._features[ids]
        return Links(
            templates=self._templates[ids],
            features=features,
            targets=self._targets[ids],
            feature_counts=self._totals[features],
            link_counts=self._counts[ids],
        )

    def _adjusted(self, places: list[Integers]) -> Floats:
        """Return exp(A) of each link."""
        total = np.full(len(places[0]), self.start)
        for place in places:
            total += self.weights[place]
        adjusted: Floats = np.exp(total, out=total)
        return adjusted

    def _spread(self, parts: list[tuple[list[Integers], Floats]]) -> Floats:
        """Return the gradient of the table's weights, given the places and gradients of links."""
        places = np.concatenate([place for found, _ in parts for place in found])
        gradients = np.concatenate([gradient for found, gradient in parts for _ in found])
        return np.bincount(places, gradients, len(self.weights)).astype(np.float64, copy=False)
