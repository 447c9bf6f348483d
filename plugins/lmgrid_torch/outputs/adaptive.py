"""The adaptive softmax: frequent words in a short list, rarer words in clusters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmgrid_torch.outputs.slices import Slices
from lmgrid_torch.outputs.softmax import MASKED, Output, Softmax


class Tail(Softmax):
    """The softmax of a cluster, over projected features."""

    def __init__(self, *, features: int, width: int, words: int) -> None:
        super().__init__(features=width, vocabulary=words)
        self.projection = nn.Parameter(torch.empty(width, features))

    def shorten(self, features: Tensor) -> Tensor:
        """Return P h, (N, F) -> (N, width)."""
        return F.linear(features, self.projection)


class Adaptive(Output):
    """The adaptive softmax (Grave, Joulin, Cissé, Grangier and Jégou 2017).

    p(w | h) = softmax(W h + b)[w] for the words of the short list, and for a word of cluster i
    softmax(W h + b)[i] · softmax(W_i P_i h + b_i)[w], where the head W has a row for each word
    of the short list and for each cluster, and P_i projects h to F / div_value^i numbers. Ids are
    sorted by falling frequency, so most targets need the head only.

    Unlike torch's implementation, it has biases, so it can start from the unigram distribution,
    and its softmaxes use the hand-written gradient of the full softmax. ``entries`` is the number
    of logits: those of the head, then those of each cluster. The methods add ``added`` to them
    where it is given.
    """

    block = 512  # few of them are in a cluster; its weights are read once per block

    def __init__(
        self, *, features: int, vocabulary: int, cutoffs: tuple[int, ...], div_value: float
    ) -> None:
        """``cutoffs``: rising ids at which the clusters begin; those of V or more are ignored."""
        super().__init__(features=features, vocabulary=vocabulary)
        inside = [cutoff for cutoff in cutoffs if cutoff < vocabulary]
        self.bounds = (*inside, vocabulary)
        self.short = self.bounds[0]
        self.entries = vocabulary + len(inside)
        self.head = Softmax(features=features, vocabulary=self.short + len(inside))
        widths = (max(1, int(features / div_value**i)) for i in range(1, len(self.bounds)))
        spans = zip(widths, self.clusters, strict=True)
        tails = [
            Tail(features=features, width=width, words=end - first) for width, (first, end) in spans
        ]
        self.tails = cast("Sequence[Tail]", nn.ModuleList(tails))

    @property
    def clusters(self) -> list[tuple[int, int]]:
        """The first id of each cluster, and the first id after it."""
        return list(zip(self.bounds, self.bounds[1:], strict=False))

    def word_weights(self) -> tuple[Tensor, ...]:
        return self.head.weight[: self.short], *(tail.weight for tail in self.tails)

    def start_from(self, log_unigram: Tensor) -> None:
        """Set the biases so that p is this distribution while all other weights are 0.

        The head gets the total of each cluster, each tail the distribution within its cluster.
        """
        short, *tails = log_unigram.tensor_split(self.bounds[:-1])
        masses = [tail.logsumexp(0) for tail in tails]
        self.head.start_from(torch.cat((short, *(mass[None] for mass in masses))))
        for softmax, tail, mass in zip(self.tails, tails, masses, strict=True):
            softmax.start_from(tail - mass)

    def loss(self, features: Tensor, targets: Tensor, added: Slices | None = None) -> Tensor:
        """Return the mean of -ln p(target) over the targets that are not masked, in nats."""
        loss = self.head.loss(features, self._head_targets(targets), added)
        count = (targets != MASKED).sum()
        for i, (first, _) in enumerate(self.clusters):
            if len(rows := self._rows(targets, i)):
                tail, picked = self.tails[i], features.index_select(0, rows)
                more = self._tail(added, i, rows)
                nats = tail.loss(tail.shorten(picked), targets[rows] - first, more)
                loss = loss + nats * (len(rows) / count)
        return loss

    def score(self, features: Tensor, targets: Tensor, added: Slices | None = None) -> Tensor:
        """Return ln p(target) of each target, (N, F) and (N,) -> (N,), in single precision."""
        scores: Tensor = self.head.score(features, self._head_targets(targets), added)
        for i, (first, _) in enumerate(self.clusters):
            rows, tail = self._rows(targets, i), self.tails[i]
            inside, more = tail.shorten(features[rows]), self._tail(added, i, rows)
            scores[rows] += tail.score(inside, targets[rows] - first, more)
        return scores

    def forward(self, features: Tensor, added: Slices | None = None) -> Tensor:
        """Return ln p of each word, (N, F) -> (N, V), in float64, so that it sums to 1."""
        head = self.head(features, added)
        parts = [head[:, : self.short]]
        for i, tail in enumerate(self.tails):
            inside, more = tail.shorten(features), self._tail(added, i)
            parts.append(head[:, self.short + i, None] + tail(inside, more))
        return torch.cat(parts, 1)

    def _head_targets(self, targets: Tensor) -> Tensor:
        """Return the entry of each target in the head: that of the word, or of its cluster."""
        entries = targets
        for i, (first, end) in enumerate(self.clusters):
            entries = entries.where((targets < first) | (targets >= end), self.short + i)
        return entries

    def _tail(
        self, added: Slices | None, cluster: int, rows: Tensor | None = None
    ) -> Slices | None:
        """Return the slices for a cluster, whose entries follow the head and earlier clusters."""
        if added is None:
            return None
        inside = added.after(len(self.tails) + self.clusters[cluster][0])
        return inside if rows is None else inside.rows(rows)

    def _rows(self, targets: Tensor, cluster: int) -> Tensor:
        """Return the indices of the targets in a cluster."""
        first, end = self.clusters[cluster]
        return ((targets >= first) & (targets < end)).nonzero()[:, 0]
