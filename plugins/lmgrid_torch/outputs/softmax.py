"""The interface of output layers, and the full softmax with a hand-written gradient."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmgrid_torch.outputs.slices import Slices
from lmgrid_torch.regularizers.site import Site

MASKED = -100  # the id of a masked target, as in torch's cross_entropy


class Output(nn.Module, ABC):
    """The last layer of a network: computes the training loss and exact normalised scores.

    ``features`` is F, the number of features it reads for a word, and ``vocabulary`` is V.
    ``exact`` tells whether the loss is the mean of -ln p. ``block`` is the number of words to score
    at a time. A layer that draws random numbers in training has a generator ``draw``.
    """

    exact: bool = True
    block: int = 64  # logits of 64 words over the vocabulary fit the cache of a CPU

    def __init__(self, *, features: int, vocabulary: int) -> None:
        super().__init__()
        self.features, self.vocabulary = features, vocabulary

    @abstractmethod
    def word_weights(self) -> tuple[Tensor, ...]:
        """Return the weights of all words in the order of ids, (V, F) when concatenated."""

    @abstractmethod
    def start_from(self, log_unigram: Tensor) -> None:
        """Set the biases so that, while all other weights are 0, p is the unigram distribution.

        ``log_unigram``: ln p(w), (V,).
        """

    @abstractmethod
    def loss(self, features: Tensor, targets: Tensor) -> Tensor:
        """Return the training loss, (), a mean over the targets (N,) that are not masked."""

    @abstractmethod
    def score(self, features: Tensor, targets: Tensor) -> Tensor:
        """Return ln p(target) of each target, (N, F) and (N,) -> (N,), in single precision."""

    @abstractmethod
    def forward(self, features: Tensor) -> Tensor:
        """Return ln p of each word, (N, F) -> (N, V), in float64, so that it sums to 1."""


class Softmax(Output):
    """The full softmax, p = softmax(W h + b).

    The site ``margins`` is the mean of s_t - mean_v s_v over the targets t that are not masked,
    with s the logits; it is computed only if a regularizer acts there. ``entries`` is the number
    of logits. The methods add ``added`` to the logits where it is given.

    >>> layer = Softmax(features=3, vocabulary=4)
    >>> with torch.no_grad():
    ...     _ = layer.weight.zero_()
    ...     layer.start_from(torch.tensor([0.1, 0.2, 0.3, 0.4]).log())
    ...     layer.score(torch.ones(1, 3), torch.tensor([3])).exp()
    tensor([0.4000])
    """

    def __init__(self, *, features: int, vocabulary: int) -> None:
        super().__init__(features=features, vocabulary=vocabulary)
        self.weight = nn.Parameter(torch.empty(vocabulary, features))
        self.bias = nn.Parameter(torch.empty(vocabulary))
        self.entries = vocabulary
        self.margins = Site("margins")

    def word_weights(self) -> tuple[Tensor, ...]:
        return (self.weight,)

    def start_from(self, log_unigram: Tensor) -> None:
        self.bias.copy_(log_unigram)

    def loss(self, features: Tensor, targets: Tensor, added: Slices | None = None) -> Tensor:
        """Return the mean of -ln p(target) over the targets that are not masked, in nats."""
        if self.margins.active:
            self.margins(self.margin(features, targets))
        more = None if added is None else added.part(self.entries)
        arguments = *cast(features, self.weight), self.bias, targets, more
        loss: Tensor = SoftmaxLoss.apply(*arguments)  # type: ignore[no-untyped-call]
        return loss

    def margin(self, features: Tensor, targets: Tensor) -> Tensor:
        """Return the mean of s_t - mean_v s_v over the targets that are not masked, ().

        It is computed as (W_t - mean_v W_v) h + b_t - mean_v b_v, without the logits of all words.
        """
        kept, places = targets != MASKED, targets.clamp(min=0)
        rows = self.weight.index_select(0, places) - self.weight.mean(0)  # (N, F)
        margins = (features * rows).sum(1) + self.bias[places] - self.bias.mean()  # (N,)
        return margins.dot(kept.to(margins.dtype) / kept.sum())

    def logits(self, features: Tensor, added: Slices | None = None) -> Tensor:
        """Return W h + b, plus ``added`` if given, (N, F) -> (N, V)."""
        logits = F.linear(features, self.weight, self.bias)
        return logits if added is None else logits + added.part(self.entries)

    def score(self, features: Tensor, targets: Tensor, added: Slices | None = None) -> Tensor:
        """Return ln p(target) of each target, (N, F) and (N,) -> (N,), in single precision."""
        return -F.cross_entropy(self.logits(features, added), targets, reduction="none")

    def forward(self, features: Tensor, added: Slices | None = None) -> Tensor:
        """Return ln p of each word, (N, F) -> (N, V), in float64, so that it sums to 1."""
        logits = self.logits(features, added)
        if logits.device.type == "mps":  # has no float64
            logits = logits.cpu()
        return F.log_softmax(logits, dim=-1, dtype=torch.float64)


def cast(features: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the factors of a product in the precision of autocast, if it is enabled.

    torch.amp.custom_fwd does this for one fixed type of device only.
    """
    kind = features.device.type
    if not torch.is_autocast_enabled(kind):
        return features, weight
    lower = torch.get_autocast_dtype(kind)
    return features.to(lower), weight.to(lower)


class SoftmaxLoss(torch.autograd.Function):
    """The mean of -ln softmax(W h + b + more)[target] over the targets that are not masked.

    The gradient of a row's logits is p - onehot(target). The forward pass computes and keeps it,
    so that only two arrays of N · V numbers are made; they take as long as the products. On a CPU
    the layer takes about 0.7 of the time of torch's cross_entropy of a linear layer.

    Products are computed in the precision of h and W, in the backward pass too. The softmax and
    sums are computed in the precision of b, which stays single where ``cast`` lowers the others.
    """

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        weight: Tensor,
        bias: Tensor,
        targets: Tensor,
        more: Tensor | None = None,
    ) -> Tensor:
        """Return the loss, (), from h (N, F), W (V, F), b (V,), targets (N,), more (N, V)."""
        kept = targets != MASKED
        places = targets.clamp(min=0)[:, None]  # (N, 1)
        logits = torch.addmm(bias.to(weight.dtype), features, weight.t()).to(bias.dtype)  # (N, V)
        if more is not None:
            logits += more
        p = torch.softmax(logits, 1)
        # the largest p is at least 1 / V, so its logarithm is finite
        gaps = logits.amax(1) - logits.gather(1, places)[:, 0]
        nats = gaps - p.amax(1).log()
        share = kept.to(p.dtype) / kept.sum()  # (N,), weight of each row in the mean
        slopes = p.scatter_add_(1, places, p.new_full(places.shape, -1.0))
        ctx.save_for_backward(features, weight, slopes, share)
        return nats.dot(share)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of h, W, b and ``more``; the targets have none."""
        features, weight, slopes, share = ctx.saved_tensors
        share = share * gradients[0]
        rows, factor = share[:, None], slopes.to(weight.dtype)
        by_features = (factor @ weight).mul_(rows)
        by_weight, by_bias = factor.t() @ (features * rows).to(weight.dtype), share @ slopes
        by_more = (
            slopes * rows if len(ctx.needs_input_grad) > 4 and ctx.needs_input_grad[4] else None
        )
        return by_features, by_weight, by_bias, None, by_more
