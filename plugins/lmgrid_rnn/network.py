"""The recurrent network, from words to states."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from lmgrid.vocabulary import EOS
from lmgrid_rnn.layer import LayerSettings, RecurrentLayer, State
from lmgrid_torch.network import Batch, Network, look_up, streams
from lmgrid_torch.outputs.ngram_features import NgramOutput, with_history
from lmgrid_torch.outputs.softmax import Output
from lmgrid_torch.regularizers.site import Site


class RecurrentNetwork(Network):
    """Word vectors, stacked recurrent layers, and an optional projection to the output layer."""

    def __init__(
        self,
        output: Output,
        *,
        layers: int,
        layer_settings: LayerSettings,
        embedding: int,
        projection: int,
        tied: bool,
        batch: int,
        steps: int,
    ) -> None:
        """``layer_settings`` holds for every layer; ``RnnPart`` describes the other arguments."""
        super().__init__(context=1, output=output)
        self.batch, self.steps = batch, steps
        self.add_word_vectors(embedding, tied=tied)
        inputs = [embedding] + [layer_settings.hidden] * (layers - 1)
        stack = [RecurrentLayer(layer_settings, inputs=size) for size in inputs]
        self.layers = cast("Sequence[RecurrentLayer]", nn.ModuleList(stack))
        self.projection: nn.Module = nn.Identity()
        if projection:  # weights are drawn later, by ``initialise``
            sizes = layer_settings.hidden, projection
            self.projection = nn.utils.skip_init(nn.Linear, *sizes)  # type: ignore[no-untyped-call]
        self.table, self.input = Site("embedding"), Site("input")
        self.between, self.hidden = Site("between"), Site("hidden")

    def forward(
        self, inputs: Tensor, state: tuple[State, ...] | None
    ) -> tuple[Tensor, tuple[State, ...]]:
        """Return the features (T B, F) of words (T, B) and the detached state after them.

        The state is a copy, so that it is aligned in memory as a restored one is: a matrix product
        may add in another order at another alignment.
        """
        h, after = self.states(inputs, state)
        features = self.hidden(self.projection(h))
        copied = tuple(tuple(part.detach().clone() for part in layer) for layer in after)
        return features.flatten(0, 1), copied

    def states(
        self, inputs: Tensor, state: tuple[State, ...] | None
    ) -> tuple[Tensor, tuple[State, ...]]:
        """Return the last layer's states (T, B, H), and each layer's after the last word."""
        table = [self.table(part) for part in self.word_vectors()]
        x = self.input(look_up(inputs, table))  # (T, B, E)
        after = []
        for i, layer in enumerate(self.layers):
            x, last = layer(self.between(x) if i else x, state[i] if state else None)
            after.append(last)
        return x, tuple(after)

    def epoch(self, tokens: Tensor, order: torch.Generator) -> Iterator[Batch]:
        """Yield the batches in the order of the text; ``order`` is not used."""
        return streams(tokens, self.batch, self.steps)


class NgramRecurrentNetwork(RecurrentNetwork):
    """A recurrent network that also passes the last words to its output layer."""

    output: NgramOutput

    def forward(
        self, inputs: Tensor, state: tuple[State, ...] | None
    ) -> tuple[Tensor, tuple[State, ...]]:
        """As above, with the last words appended to the features and to the state."""
        length = self.output.order - 2  # words of earlier chunks that the n-grams need
        inner, before = None, inputs.new_full((length, inputs.shape[1]), EOS)
        if state is not None:
            *inner, (before,) = state
        features, after = super().forward(inputs, tuple(inner) if inner else None)
        features, before = with_history(features, inputs, before)
        return features, (*after, (before,))
