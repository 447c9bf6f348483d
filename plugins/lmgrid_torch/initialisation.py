"""Draws the initial weights of a network."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from lmgrid.spec import Context, derive_seed

if TYPE_CHECKING:
    from lmgrid_torch.network import Network
    from lmgrid_torch.parts import NeuralPart

UNSEEN = 0.5  # count of a word that does not occur, so that its logarithm is finite


@runtime_checkable
class Drawn(Protocol):
    """A module with an initialisation of its own for some of its weights."""

    def draw_weights(self, draw: torch.Generator) -> None:
        """Set these weights. Called after all weights have been initialised as usual."""
        ...


@torch.no_grad()
def initialise(network: Network, options: NeuralPart, context: Context) -> None:
    """Set the initial weights of a network, drawn on the CPU so that all devices start alike.

    Matrices are drawn as ``options.initialisation`` asks, vectors are set to 0, and the output bias
    to the log unigram distribution.
    """
    seed = derive_seed(context.seed, "initialisation")
    draw = torch.Generator().manual_seed(seed)
    for weight in network.parameters():
        if weight.dim() == 1 or options.initialisation == "zeros":
            weight.zero_()
        else:
            xavier = options.initialisation == "xavier"
            r = limit(network, weight) if xavier else options.uniform_range
            nn.init.uniform_(weight, -r, r, generator=draw)
    for module in network.modules():
        if isinstance(module, nn.LayerNorm):
            module.reset_parameters()
        elif isinstance(module, Drawn):
            module.draw_weights(draw)
    network.output.start_from(log_unigram(context))


def limit(network: Network, weight: Tensor) -> float:
    """Return r of Uniform(-r, r) with variance 2 / (inputs + outputs) (Glorot and Bengio 2010).

    A table of word vectors counts as having one input, since only one of its V inputs is not 0;
    V inputs would give vanishing vectors for a large vocabulary. For tied weights r = 1 / √m, with
    m the length of a word vector, which lies between the values of the two uses. A weight of more
    than two dimensions is a stack of matrices.
    """
    if weight is network.embedding:
        return math.sqrt(6 / (1 + weight.shape[1]))
    if network.tied and any(_same(weight, w) for w in network.output.word_weights()):
        return 1 / math.sqrt(weight.shape[1])
    return math.sqrt(6 / sum(weight.shape[-2:]))


def _same(weight: Tensor, part: Tensor) -> bool:
    """Return whether two tensors begin at the same address, as a tied weight and its parts do."""
    return weight.data_ptr() == part.data_ptr()


def log_unigram(context: Context) -> Tensor:
    """Return ln p(w) in the training text, (V,); a count of 0 is replaced by ``UNSEEN``."""
    counts = np.maximum(context.counts, UNSEEN)
    return torch.from_numpy(np.log(counts / counts.sum()))
