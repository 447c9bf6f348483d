"""One recurrent layer: its weights, its recurrence, and what stands around it."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmgrid_rnn.elman import Elman
from lmgrid_rnn.gru import Gru
from lmgrid_rnn.lstm import Lstm
from lmgrid_rnn.parts import Rnn
from lmgrid_torch.site import Site

State = tuple[Tensor, ...]  # each (B, H): h, and for an LSTM c
FORGET = 2  # the place of the forget gate among an LSTM's
GATES = {"elman": 1, "relu": 1, "lstm": 4, "gru": 3}  # G, products with the input and the state


class Layer(nn.Module):
    """From the layer below, (T, B, I), to its own states, (T, B, H).

    The weights of the G gates lie in one tensor, (G, H, I) and (G, H, H), so that each is drawn
    by its own shape and all are multiplied at once.
    """

    def __init__(self, options: Rnn, inputs: int) -> None:
        super().__init__()
        gates, hidden = GATES[options.cell], options.hidden
        self.cell = options.cell
        self.input_weight = nn.Parameter(torch.empty(gates, hidden, inputs))
        self.recurrent_weight = nn.Parameter(torch.empty(gates, hidden, hidden))
        self.bias = nn.Parameter(torch.empty(gates * hidden))
        states = 2 if options.cell == "lstm" else 1
        self.start = nn.Parameter(torch.zeros(states, hidden), options.learned_start)
        self.norm = nn.LayerNorm(hidden) if options.layer_norm else nn.Identity()
        self.residual = options.residual and inputs == hidden
        self.recurrent = Site("recurrent_weight")
        self.forget_bias = options.forget_bias
        self.orthogonal = options.recurrent_initialisation == "orthogonal"

    def draw_weights(self, draw: torch.Generator) -> None:
        """Set what does not start as other weights do: h(0), the forget gate's bias, W_h."""
        self.start.zero_()
        if self.cell == "lstm":
            self.bias.view(4, -1)[FORGET] = self.forget_bias
        if self.orthogonal:
            for weight in self.recurrent_weight:
                nn.init.orthogonal_(weight, generator=draw)

    def forward(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        """Return the layer's output, (T, B, H), and its state after the last word."""
        if state is None:
            state = tuple(h.expand(x.shape[1], -1) for h in self.start)
        a = F.linear(x, self.input_weight.flatten(0, 1), self.bias)  # (T, B, G H)
        h, last = self.recur(a, state)
        y = self.norm(h)
        return (x + y if self.residual else y), last

    def recur(self, a: Tensor, state: State) -> tuple[Tensor, State]:
        """Return h(1) … h(T), (T, B, H), and the state after them, from a (T, B, G H)."""
        weight = self.recurrent(self.recurrent_weight).flatten(0, 1)  # (G H, H)
        if self.cell == "lstm":
            h, c = cast("tuple[Tensor, Tensor]", _apply(Lstm, a, *state, weight))
            return h, (h[-1], c)
        if self.cell == "gru":
            h = cast("Tensor", _apply(Gru, a, *state, weight))
        else:
            h = cast("Tensor", _apply(Elman, a, *state, weight, self.cell == "relu"))
        return h, (h[-1],)


def _apply(operation: type[torch.autograd.Function], *arguments: object) -> object:
    return operation.apply(*arguments)  # type: ignore[no-untyped-call]
