"""One recurrent layer: its weights, its recurrence, its normalisation and residual connection."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmgrid_rnn.elman import Elman
from lmgrid_rnn.gru import Gru
from lmgrid_torch.regularizers.site import Site

if TYPE_CHECKING:
    from lmgrid_rnn.parts import Cell

State = tuple[Tensor, ...]  # each (B, H): h, and for an LSTM c
FORGET = 1  # index of the forget gate among the gates of an LSTM
GATES = {"elman": 1, "relu": 1, "lstm": 4, "gru": 3}  # G, products with the input and the state

TORCH_OPERATIONS: dict[str, Callable[..., Any]] = {
    "elman": torch.rnn_tanh,
    "relu": torch.rnn_relu,
    "lstm": torch.lstm,
    "gru": torch.gru,
}
# torch warns that the weights are copied into one block for cuDNN at each step. This is expected:
# they are separate parameters, so that regularizers can change them at a Site.
warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous")


@dataclass(frozen=True, kw_only=True)
class LayerSettings:
    """What the layers of a recurrent network have in common; ``RnnPart`` describes the options."""

    cell: Cell
    hidden: int  # H
    residual: bool = False
    layer_norm: bool = False
    learned_start: bool = True
    orthogonal: bool = False  # whether each W_h starts as an orthogonal matrix
    forget_bias: float = 0.0


class RecurrentLayer(nn.Module):
    """Maps the output of the layer below, (T, B, I), to the output of this layer, (T, B, H).

    The weights of the G gates are in one tensor each, (G, H, I) and (G, H, H), so that each gate is
    initialised by its own shape and all gates are multiplied at once.
    """

    def __init__(self, settings: LayerSettings, *, inputs: int) -> None:
        """``inputs``: I, the number of units of the layer below."""
        super().__init__()
        gates, hidden = GATES[settings.cell], settings.hidden
        self.cell = settings.cell
        self.input_weight = nn.Parameter(torch.empty(gates, hidden, inputs))
        self.recurrent_weight = nn.Parameter(torch.empty(gates, hidden, hidden))
        self.bias = nn.Parameter(torch.empty(gates * hidden))
        states = 2 if settings.cell == "lstm" else 1
        self.start = nn.Parameter(torch.zeros(states, hidden), settings.learned_start)
        self.norm = nn.LayerNorm(hidden) if settings.layer_norm else nn.Identity()
        self.residual = settings.residual and inputs == hidden
        self.recurrent = Site("recurrent_weight")
        self.forget_bias = settings.forget_bias
        self.orthogonal = settings.orthogonal

    def initialise_weights(self, draw: torch.Generator) -> None:
        """Initialise h(0), the bias of the forget gate and, if it is to be orthogonal, W_h."""
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
        weight = self.recurrent(self.recurrent_weight).flatten(0, 1)  # (G H, H)
        here = self.cell != "lstm" and x.device.type == "cpu"
        h, last = (self.recur if here else self.recur_by_torch)(x, state, weight)
        y = self.norm(h)
        return (x + y if self.residual else y), last

    def recur(self, x: Tensor, state: State, weight: Tensor) -> tuple[Tensor, State]:
        """Return h(1) … h(T), (T, B, H), and the state after them, with ``Elman`` or ``Gru``.

        On a CPU these are faster than torch's operations. There is none for an LSTM, because
        torch's operation calls oneDNN.
        """
        a = F.linear(x, self.input_weight.flatten(0, 1), self.bias)  # (T, B, G H)
        h: Tensor
        if self.cell == "gru":
            h = Gru.apply(a, *state, weight)  # type: ignore[no-untyped-call]
        else:
            relu = self.cell == "relu"
            h = Elman.apply(a, *state, weight, relu)  # type: ignore[no-untyped-call]
        return h, (h[-1],)

    def recur_by_torch(self, x: Tensor, state: State, weight: Tensor) -> tuple[Tensor, State]:
        """Return the same with torch's operation, which uses oneDNN on a CPU and cuDNN on a GPU."""
        start = tuple(part[None].contiguous() for part in state)  # as cuDNN asks
        biases = self.bias, torch.zeros_like(self.bias)  # torch has a second bias, added to W_h h
        weights = [self.input_weight.flatten(0, 1), weight, *biases]
        h, *last = TORCH_OPERATIONS[self.cell](
            x,
            start if len(start) > 1 else start[0],
            weights,
            has_biases=True,
            num_layers=1,
            dropout=0.0,
            train=torch.is_grad_enabled(),
            bidirectional=False,
            batch_first=False,
        )
        return h, (h[-1], *(cell[0] for cell in last[1:]))
