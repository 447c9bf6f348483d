"""The transformer, from words to features."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from lmgrid_torch.network import Batch, Network, look_up, streams
from lmgrid_torch.outputs.softmax import Output
from lmgrid_torch.regularizers.site import Site
from lmgrid_transformer.layer import TransformerLayer

BASE = 10_000  # the longest wavelength of a sinusoidal position is 2 π times this


class TransformerNetwork(Network):
    """Word vectors and positions, layers, and a last normalisation."""

    def __init__(
        self,
        output: Output,
        *,
        layers: int,
        heads: int,
        width: int,
        feedforward: int,
        context: int,
        positions: Literal["learned", "sinusoidal"],
        tied: bool,
        batch: int,
    ) -> None:
        """The arguments are described in ``TransformerPart``."""
        super().__init__(context=1, output=output)
        self.window, self.batch = context, batch
        self.add_word_vectors(width, tied=tied)
        self.scale = 1.0
        if positions == "learned":
            self.positions = nn.Parameter(torch.empty(self.window, width))
        else:
            self.scale = math.sqrt(width)
            self.register_buffer("positions", sinusoids(self.window, width), persistent=False)
        stack = (
            TransformerLayer(width=width, heads=heads, units=feedforward * width)
            for _ in range(layers)
        )
        self.layers, self.norm = nn.Sequential(*stack), nn.LayerNorm(width)
        self.table, self.input, self.hidden = Site("embedding"), Site("input"), Site("hidden")

    def forward(self, inputs: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the features (T B, W) of words (T, B), given the words before them, (S, B).

        The state, in and out, is the last words, at most ``window`` of them for each stream.
        """
        seen = inputs[:0] if state is None else state
        features, stride = [], self.window if self.training else self.window // 2
        for words in torch.split(inputs, stride):
            seen = torch.cat((seen, words))[-self.window :]
            features.append(self.read(seen)[-len(words) :])
        return self.hidden(torch.cat(features)).flatten(0, 1), seen

    def read(self, words: Tensor) -> Tensor:
        """Return the normalised output of the layers for consecutive words, (T, B) -> (T, B, W)."""
        e = look_up(words, [self.table(part) for part in self.word_vectors()])
        x = e * self.scale + self.positions[: len(words), None]
        h: Tensor = self.norm(self.layers(self.input(x)))
        return h

    def epoch(self, tokens: Tensor, order: torch.Generator) -> Iterator[Batch]:
        """Yield the batches in the order of the text; ``order`` is not used."""
        return streams(tokens, self.batch, self.window)


def sinusoids(length: int, width: int) -> Tensor:
    """Return sin(p / BASE^(2 i / width)) and the cosines, interleaved, shape (length, width)."""
    rates = BASE ** (-torch.arange(0, width, 2) / width)
    angles = torch.arange(length)[:, None] * rates  # (length, width / 2)
    return torch.stack((angles.sin(), angles.cos()), 2).flatten(1)
