"""The recurrent step over time, forward and backward: step by step, and as one operation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lmgrid.spec import Kernel
from lmgrid_rnn.elman import Elman
from lmgrid_rnn.parts import RecurrentStep

Result = tuple[Tensor, ...]


def recurrence(sizes: RecurrentStep, device: str) -> Kernel:
    """Return the pair for these sizes; in single precision, sums may differ in their last bits."""

    def sample(seed: int) -> tuple[Any, ...]:
        draw = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=draw).to(device)

        words = normal(sizes.steps, sizes.batch, sizes.embedding)
        input_weight = normal(sizes.hidden, sizes.embedding) / sizes.embedding
        recurrent_weight = normal(sizes.hidden, sizes.hidden) / sizes.hidden
        upstream = normal(sizes.steps, sizes.batch, sizes.hidden) / sizes.batch
        return words, input_weight.requires_grad_(), recurrent_weight.requires_grad_(), upstream

    return Kernel(loop, vector, sample, tolerance=1e-4)


def loop(words: Tensor, input_weight: Tensor, recurrent_weight: Tensor, upstream: Tensor) -> Result:
    """Return the states (T, B, H) and the gradients of both weights, one step after the other."""
    h = words.new_zeros(words.shape[1], len(recurrent_weight))
    states = []
    for word in words:
        h = torch.tanh(F.linear(word, input_weight) + F.linear(h, recurrent_weight))
        states.append(h)
    stacked = torch.stack(states)
    return (stacked, *torch.autograd.grad(stacked, (input_weight, recurrent_weight), upstream))


def vector(
    words: Tensor, input_weight: Tensor, recurrent_weight: Tensor, upstream: Tensor
) -> Result:
    """Return the same, with the inputs' products and the gradient of W_h taken out of the loop."""
    start = words.new_zeros(words.shape[1], len(recurrent_weight))
    drive = F.linear(words, input_weight)
    states: Tensor = Elman.apply(drive, start, recurrent_weight)  # type: ignore[no-untyped-call]
    return (states, *torch.autograd.grad(states, (input_weight, recurrent_weight), upstream))
