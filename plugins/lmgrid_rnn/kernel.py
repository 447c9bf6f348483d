"""A recurrent layer over time, forward and backward: step by step, and as the model computes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmgrid.spec import Kernel
from lmgrid_rnn.layer import LayerSettings, RecurrentLayer, State
from lmgrid_torch.training.computation import PLAIN

if TYPE_CHECKING:
    from lmgrid_rnn.parts import Cell

Result = tuple[Tensor, ...]


def recurrence(
    *, cell: Cell, steps: int, batch: int, embedding: int, hidden: int, device: str
) -> Kernel:
    """Return the kernel for these sizes; its tolerance allows for rounding in single precision."""
    PLAIN.select_products(torch.device(device))
    settings = LayerSettings(cell=cell, hidden=hidden)

    def sample(seed: int) -> tuple[Any, ...]:
        draw = torch.Generator().manual_seed(seed)
        layer = RecurrentLayer(settings, inputs=embedding)
        for weight in layer.parameters():
            nn.init.normal_(weight, std=1 / weight.shape[-1], generator=draw)
        words = torch.randn(steps, batch, embedding, generator=draw)
        upstream = torch.randn(steps, batch, hidden, generator=draw)
        return layer.to(device), words.to(device), upstream.to(device) / batch

    return Kernel(loop=loop, vector=vector, sample=sample, tolerance=1e-4)


def loop(layer: RecurrentLayer, words: Tensor, upstream: Tensor) -> Result:
    """Return the states (T, B, H) and the gradients of all weights, computed step by step."""
    state, states = tuple(h.expand(words.shape[1], -1) for h in layer.start), []
    for word in words:
        state = step(layer, word, state)
        states.append(state[0])
    return with_gradients(torch.stack(states), layer, upstream)


def vector(layer: RecurrentLayer, words: Tensor, upstream: Tensor) -> Result:
    """Return the same, with all steps as one operation."""
    states, _ = layer(words, None)
    return with_gradients(states, layer, upstream)


def with_gradients(states: Tensor, layer: RecurrentLayer, upstream: Tensor) -> Result:
    """Return the states and the gradients of all weights, given that of the states."""
    return (states, *torch.autograd.grad(states, list(layer.parameters()), upstream))


def step(layer: RecurrentLayer, word: Tensor, state: State) -> State:
    """Return the state after a word vector (B, I), by the equations of the cell."""
    a = F.linear(word, layer.input_weight.flatten(0, 1), layer.bias)
    r = F.linear(state[0], layer.recurrent_weight.flatten(0, 1))
    if layer.cell == "lstm":
        i, f, g, o = (a + r).chunk(4, 1)
        c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c
    if layer.cell == "gru":
        a1, a2, a3, r1, r2, r3 = *a.chunk(3, 1), *r.chunk(3, 1)
        z, n = torch.sigmoid(a2 + r2), torch.tanh(a3 + torch.sigmoid(a1 + r1) * r3)
        return ((1 - z) * n + z * state[0],)
    return (torch.relu(a + r) if layer.cell == "relu" else torch.tanh(a + r),)
