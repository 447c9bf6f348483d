"""The recurrent network, from words to states."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from lmgrid.vocabulary import EOS
from lmgrid_rnn.layer import Layer, State
from lmgrid_rnn.parts import RnnPart
from lmgrid_torch.network import Batch, Network, look_up, streams
from lmgrid_torch.outputs.ngram_features import with_history
from lmgrid_torch.outputs.softmax import Output
from lmgrid_torch.regularizers.site import Site


class RecurrentNetwork(Network):
    """Word vectors, recurrent layers one on the other, and what the output layer reads of them."""

    def __init__(self, options: RnnPart, output: Output) -> None:
        super().__init__(1, output)
        self.batch, self.steps = options.batch, options.steps
        self.give_vectors(options.embedding, tied=options.tied)
        inputs = [options.embedding] + [options.hidden] * (options.layers - 1)
        layers = [Layer(options, size) for size in inputs]
        self.layers = cast("Sequence[Layer]", nn.ModuleList(layers))
        self.projection: nn.Module = nn.Identity()
        if options.projection:  # its weights are drawn later, and not from torch's generator
            sizes = options.hidden, options.projection
            self.projection = nn.utils.skip_init(nn.Linear, *sizes)  # type: ignore[no-untyped-call]
        self.table, self.input = Site("embedding"), Site("input")
        self.between, self.hidden = Site("between"), Site("hidden")

    def forward(
        self, inputs: Tensor, state: tuple[State, ...] | None
    ) -> tuple[Tensor, tuple[State, ...]]:
        """From words (T, B) and the state before them to features (T B, F)."""
        h, after = self.states(inputs, state)
        features = self.hidden(self.projection(h))
        detached = tuple(tuple(part.detach() for part in layer) for layer in after)
        return features.flatten(0, 1), detached

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
        """Yield the text in its own order; nothing is drawn."""
        return streams(tokens, self.batch, self.steps)


class DirectNetwork(RecurrentNetwork):
    """The same, which also tells its output layer the last words, for n-gram features."""

    def __init__(self, options: RnnPart, output: Output) -> None:
        super().__init__(options, output)
        self.before = options.direct_order - 2  # words of earlier chunks that a history reaches

    def forward(
        self, inputs: Tensor, state: tuple[State, ...] | None
    ) -> tuple[Tensor, tuple[State, ...]]:
        """As above, with the words after the features; the state ends in the words to carry on."""
        inner, before = None, inputs.new_full((self.before, inputs.shape[1]), EOS)
        if state is not None:
            *inner, (before,) = state
        features, after = super().forward(inputs, tuple(inner) if inner else None)
        features, before = with_history(features, inputs, before)
        return features, (*after, (before,))
