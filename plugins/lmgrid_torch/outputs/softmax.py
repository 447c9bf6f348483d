"""The output layer: from features to a distribution over the vocabulary."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmgrid_torch.outputs.slices import Slices
from lmgrid_torch.regularizers.site import Site

MASKED = -100  # a target that is not there


class Output(nn.Module, ABC):
    """The last layer of a network: its loss in training, and exact normalised scores.

    ``features``: F, how many numbers it reads for a word; ``vocabulary``: V. ``exact``: whether
    the loss is the mean of -ln p. ``block``: how many words are best scored at a time. A layer
    that draws in training has a generator ``draw``.
    """

    exact: bool = True
    block: int = 64  # their logits over all words stay in the cache of a CPU

    def __init__(self, features: int, vocabulary: int) -> None:
        super().__init__()
        self.features, self.vocabulary = features, vocabulary

    @abstractmethod
    def word_weights(self) -> tuple[Tensor, ...]:
        """Return the weights of the words in the order of their ids, (V, F) when joined."""

    @abstractmethod
    def start_from(self, log_unigram: Tensor) -> None:
        """Set the biases so that, while all other weights are 0, p is the unigram distribution.

        ``log_unigram``: ln p(w), (V,).
        """

    @abstractmethod
    def loss(self, features: Tensor, targets: Tensor) -> Tensor:
        """Return what training lowers: a mean over the targets (N,) that are not masked."""

    @abstractmethod
    def score(self, features: Tensor, targets: Tensor) -> Tensor:
        """Return ln p(target) of each target, (N, F) and (N,) -> (N,), in single precision."""

    @abstractmethod
    def forward(self, features: Tensor) -> Tensor:
        """Return ln p of each word, (N, F) -> (N, V), in float64, so that it sums to 1."""


class Softmax(Output):
    """The full softmax, p = softmax(W h + b).

    Site: ``margins`` is the mean of s_t - mean_v s_v over the targets t that are not masked,
    with s the logits; it is computed only if a regularizer acts there. ``entries``: how many
    logits it has; ``added``, where it is given, is added to them.
    """

    def __init__(self, features: int, vocabulary: int) -> None:
        super().__init__(features, vocabulary)
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
        if self.margins.awaited:
            self.margins(self.margin(features, targets))
        more = None if added is None else added.part(self.entries)
        arguments = *cast(features, self.weight), self.bias, targets, more
        loss: Tensor = SoftmaxLoss.apply(*arguments)  # type: ignore[no-untyped-call]
        return loss

    def margin(self, features: Tensor, targets: Tensor) -> Tensor:
        """Return the mean of s_t - mean_v s_v over the targets that are not masked.

        s_t - mean_v s_v = (W_t - mean_v W_v) h + b_t - mean_v b_v needs no logits of all words.
        """
        kept, places = targets != MASKED, targets.clamp(min=0)
        rows = self.weight.index_select(0, places) - self.weight.mean(0)  # (N, F)
        margins = (features * rows).sum(1) + self.bias[places] - self.bias.mean()  # (N,)
        return margins.dot(kept.to(margins.dtype) / kept.sum())

    def logits(self, features: Tensor, added: Slices | None = None) -> Tensor:
        """Return W h + b and what is added, (N, F) -> (N, V)."""
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
    """Return the factors of a product in the precision that autocast asks for, if it does.

    torch.amp.custom_fwd would do so for one kind of device, named beforehand.
    """
    kind = features.device.type
    if not torch.is_autocast_enabled(kind):
        return features, weight
    lower = torch.get_autocast_dtype(kind)
    return features.to(lower), weight.to(lower)


class SoftmaxLoss(torch.autograd.Function):
    """Mean of -ln softmax(W h + b + more)[target], over the targets that are not masked.

    The gradient of a row's logits is p - onehot(target); it is kept from the forward pass, so
    that of the arrays of N · V numbers, which cost as much as the products, only two are made:
    on a CPU the layer takes about 0.7 of the time of torch's cross_entropy of a linear layer.

    Products are computed in the precision of h and W, in the backward pass too; softmax and sums
    in that of b, which stays single where the others are ``cast``.
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
        """Return the loss from h (N, F), W (V, F), b (V,), targets (N,), more logits (N, V)."""
        kept = targets != MASKED
        places = targets.clamp(min=0)[:, None]  # (N, 1)
        logits = torch.addmm(bias.to(weight.dtype), features, weight.t()).to(bias.dtype)  # (N, V)
        if more is not None:
            logits += more
        p = torch.softmax(logits, 1)
        # the likeliest word's p is no less than 1 / V, so its logarithm is finite
        gaps = logits.amax(1) - logits.gather(1, places)[:, 0]
        nats = gaps - p.amax(1).log()
        share = kept.to(p.dtype) / kept.sum()  # (N,), of each row in the mean
        slopes = p.scatter_add_(1, places, p.new_full(places.shape, -1.0))
        ctx.save_for_backward(features, weight, slopes, share)
        return nats.dot(share)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of h, W, b and more logits; the targets have none."""
        features, weight, slopes, share = ctx.saved_tensors
        share = share * gradients[0]
        rows, factor = share[:, None], slopes.to(weight.dtype)
        by_features = (factor @ weight).mul_(rows)
        by_weight, by_bias = factor.t() @ (features * rows).to(weight.dtype), share @ slopes
        by_more = (
            slopes * rows if len(ctx.needs_input_grad) > 4 and ctx.needs_input_grad[4] else None
        )
        return by_features, by_weight, by_bias, None, by_more
