"""The network of Bengio et al. (2003)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmgrid_torch.network import Batch, Network, look_up, shuffled
from lmgrid_torch.outputs.softmax import Output
from lmgrid_torch.regularizers.site import Site


class WindowNetwork(Network):
    """y = b + W x + U tanh(d + H x); the output layer holds [U W] side by side."""

    def __init__(
        self,
        output: Output,
        *,
        context: int,
        embedding: int,
        hidden: int,
        direct: bool,
        batch: int,
    ) -> None:
        """The arguments are described in ``WindowPart``."""
        super().__init__(context=context, output=output)
        self.direct, self.batch = direct, batch
        self.add_word_vectors(embedding, tied=False)
        self.weight = nn.Parameter(torch.empty(hidden, context * embedding))
        self.bias = nn.Parameter(torch.empty(hidden))
        self.input, self.hidden = Site("input"), Site("hidden")

    def forward(self, inputs: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        x = self.input(look_up(inputs, self.word_vectors()).flatten(1))  # (N, k) -> (N, k m)
        h = self.hidden(torch.tanh(F.linear(x, self.weight, self.bias)))  # (N, H)
        return (torch.cat((h, x), 1) if self.direct else h), None

    def epoch(self, tokens: Tensor, order: torch.Generator) -> Iterator[Batch]:
        return shuffled(tokens, self.context, self.batch, order)
