"""One layer of a transformer: causal self-attention, then a network of one hidden layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmgrid_torch.regularizers.site import Site


class Affine(nn.Module):
    """W x + b, or several of these in one tensor; each W is initialised by its own shape."""

    def __init__(self, inputs: int, outputs: int, several: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(several, outputs, inputs))
        self.bias = nn.Parameter(torch.empty(several * outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Return the concatenated results, (…, inputs) -> (…, several · outputs)."""
        return F.linear(x, self.weight.flatten(0, 1), self.bias)


class TransformerLayer(nn.Module):
    """x ← x + Attention(norm(x)), then x ← x + W2 gelu(W1 norm(x) + b1) + b2."""

    def __init__(self, *, width: int, heads: int, units: int) -> None:
        """``units``: the number of GELU units."""
        super().__init__()
        self.heads = heads
        self.attention_norm, self.network_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attended, self.joined = Affine(width, width, several=3), Affine(width, width)
        self.widened, self.narrowed = Affine(width, units), Affine(units, width)
        self.between = Site("between")

    def forward(self, x: Tensor) -> Tensor:
        """Return x after this layer, (T, B, W); no position depends on a later one."""
        x = x + self.between(self.joined(self.attention(self.attention_norm(x))))
        h = F.gelu(self.widened(self.network_norm(x)))  # (T, B, feedforward · W)
        result: Tensor = x + self.between(self.narrowed(h))
        return result

    def attention(self, x: Tensor) -> Tensor:
        """Return softmax(Q Kᵀ / √d) V of all heads, concatenated, (T, B, W) -> (T, B, W)."""
        several = self.attended(x).unflatten(2, (3, self.heads, -1))  # (T, B, 3, heads, d)
        q, k, v = several.permute(2, 1, 3, 0, 4)  # each (B, heads, T, d)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        side_by_side: Tensor = mixed.permute(2, 0, 1, 3).flatten(2)
        return side_by_side
