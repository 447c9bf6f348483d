"""The output layer: from features to a distribution over the vocabulary."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MASKED = -100  # a target that is not there


class Softmax(nn.Module):
    """The full softmax, p = softmax(W h + b)."""

    def __init__(self, features: int, vocabulary: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocabulary, features))
        self.bias = nn.Parameter(torch.empty(vocabulary))

    def loss(self, features: Tensor, targets: Tensor) -> Tensor:
        """Return the mean of -ln p(target) over the targets that are not masked, in nats."""
        return F.cross_entropy(self.logits(features), targets, ignore_index=MASKED)

    def logits(self, features: Tensor) -> Tensor:
        """Return W h + b, (N, F) -> (N, V)."""
        return F.linear(features, self.weight, self.bias)

    def score(self, features: Tensor, targets: Tensor) -> Tensor:
        """Return ln p(target) of each target, (N, F) and (N,) -> (N,), in single precision."""
        return -F.cross_entropy(self.logits(features), targets, reduction="none")

    def forward(self, features: Tensor) -> Tensor:
        """Return ln p of each word, (N, F) -> (N, V), in float64, so that it sums to 1."""
        logits = self.logits(features)
        if logits.device.type == "mps":  # has no float64
            logits = logits.cpu()
        return F.log_softmax(logits, dim=-1, dtype=torch.float64)
