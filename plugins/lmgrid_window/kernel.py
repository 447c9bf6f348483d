"""The window model's forward pass: one example at a time, and a batch at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lmgrid.spec import Kernel
from lmgrid_torch.outputs.softmax import Softmax
from lmgrid_torch.training.computation import PLAIN
from lmgrid_window.network import WindowNetwork


def forward_pass(
    *, examples: int, context: int, embedding: int, hidden: int, vocabulary: int, device: str
) -> Kernel:
    """Return the kernel for these sizes; its tolerance allows for rounding in single precision."""
    PLAIN.select_products(torch.device(device))

    def sample(seed: int) -> tuple[Any, ...]:
        draw = torch.Generator().manual_seed(seed)
        network = WindowNetwork(
            Softmax(features=hidden, vocabulary=vocabulary),
            context=context,
            embedding=embedding,
            hidden=hidden,
            direct=False,
            batch=examples,
        )
        for weight in network.parameters():
            nn.init.uniform_(weight, -0.1, 0.1, generator=draw)
        words = torch.randint(vocabulary, (examples, context), generator=draw)
        return network.to(device).eval(), words.to(device)

    return Kernel(loop=loop, vector=vector, sample=sample, tolerance=1e-5)


@torch.no_grad()
def loop(network: WindowNetwork, words: Tensor) -> Tensor:
    """Return the logits (N, V) of N windows (N, k), computed one by one."""
    return torch.stack([logits(network, window[None])[0] for window in words])


@torch.no_grad()
def vector(network: WindowNetwork, words: Tensor) -> Tensor:
    """Return the logits (N, V) of N windows (N, k) at once."""
    return logits(network, words)


def logits(network: WindowNetwork, words: Tensor) -> Tensor:
    """Return the logits (N, V) of N windows (N, k)."""
    features, _ = network(words, None)
    assert isinstance(network.output, Softmax)
    return network.output.logits(features)
