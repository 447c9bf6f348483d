"""The recurrent network, from words to states."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmgrid_rnn.elman import Elman
from lmgrid_rnn.parts import Rnn
from lmgrid_torch.network import Batch, Network, streams
from lmgrid_torch.output import Output
from lmgrid_torch.site import Site


class RecurrentNetwork(Network):
    """h(t) = tanh(W_h h(t-1) + W_e e(t) + b1); the features of word t + 1 are h(t)."""

    def __init__(self, options: Rnn, output: Output) -> None:
        super().__init__(1, output)
        self.batch, self.steps = options.batch, options.steps
        self.embedding = nn.Parameter(torch.empty(output.vocabulary, options.embedding))
        self.input_weight = nn.Parameter(torch.empty(options.hidden, options.embedding))
        self.recurrent_weight = nn.Parameter(torch.empty(options.hidden, options.hidden))
        self.bias = nn.Parameter(torch.empty(options.hidden))
        self.start = nn.Parameter(torch.zeros(options.hidden), options.learned_start)
        self.input, self.hidden = Site("input"), Site("hidden")

    def forward(self, inputs: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """From words (T, B) and the state before them (B, H) to features (T B, H)."""
        if state is None:
            state = self.start.expand(inputs.shape[1], -1)
        e = self.input(F.embedding(inputs, self.embedding))  # (T, B, E)
        a = F.linear(e, self.input_weight, self.bias)  # (T, B, H)
        h: Tensor = Elman.apply(a, state, self.recurrent_weight)  # type: ignore[no-untyped-call]
        return self.hidden(h).flatten(0, 1), h[-1].detach()

    def epoch(self, tokens: Tensor, order: torch.Generator) -> Iterator[Batch]:
        """Yield the text in its own order; nothing is drawn."""
        return streams(tokens, self.batch, self.steps)
