"""Adds slices of one array of weights to logits, with their gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Slices:
    """Terms added to the logits of N rows: to entry v of row n, Σ_l weights[starts[n, l] + v].

    >>> slices = Slices(torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([[0, 2], [1, 1]]))
    >>> slices.part(2)
    tensor([[4., 6.],
            [4., 6.]])
    """

    weights: Tensor  # (S,)
    starts: Tensor  # (N, L)

    def part(self, width: int) -> Tensor:
        """Return the terms of the entries 0 … width - 1, (N, width)."""
        added: Tensor = SumOfSlices.apply(self.weights, self.starts, width)  # type: ignore[no-untyped-call]
        return added

    def at(self, entries: Tensor) -> Tensor:
        """Return the terms of some entries, (K,) or (N, 1, K) -> (N, K)."""
        places = self.starts[:, :, None] + entries  # (N, L, K)
        return self.weights.index_select(0, places.flatten()).view(places.shape).sum(1)

    def after(self, entries: int) -> Slices:
        """Return the slices from this entry on."""
        return Slices(self.weights, self.starts + entries)

    def rows(self, picked: Tensor) -> Slices:
        """Return the slices of these rows."""
        return Slices(self.weights, self.starts[picked])


class SumOfSlices(torch.autograd.Function):
    """Computes Σ_l weights[starts[n, l] : starts[n, l] + width] for each row n."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, starts: Tensor, width: int) -> Tensor:
        """Return (N, width) from weights (S,) and starts (N, L)."""
        ctx.save_for_backward(starts)
        ctx.size, ctx.dtype = len(weights), weights.dtype
        windows = weights.unfold(0, width, 1)
        first, *others = starts.unbind(1)
        total = windows.index_select(0, first)
        for places in others:
            total += windows.index_select(0, places)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient of the weights, which is 0 for weights that no row reads."""
        (starts,), rows = ctx.saved_tensors, gradients[0].to(ctx.dtype)
        slopes = rows.new_zeros(ctx.size)
        if rows.device.type == "cpu":  # adding row by row takes a third of the time of index_add_
            array, width = slopes.numpy(), rows.shape[1]
            for places, row in zip(starts.tolist(), rows.numpy(), strict=True):
                for place in places:
                    array[place : place + width] += row
        else:
            within = torch.arange(rows.shape[1], device=rows.device)
            for places in starts.unbind(1):
                slopes.index_add_(0, (places[:, None] + within).flatten(), rows.flatten())
        return slopes, None, None
