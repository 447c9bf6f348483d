"""The weights a network starts from."""

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

UNSEEN = 0.5  # the count that a word without any gets, so that its logarithm is finite


@runtime_checkable
class Drawn(Protocol):
    """A module some of whose weights start otherwise than the others."""

    def draw_weights(self, draw: torch.Generator) -> None:
        """Draw these, after all weights were drawn like the others."""
        ...


@torch.no_grad()
def initialise(network: Network, options: NeuralPart, context: Context) -> None:
    """Draw the weights of a network on the CPU, so that every device starts from the same ones.

    Matrices are drawn, vectors are 0, the output bias is the log unigram distribution.
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

    Of the V inputs of a table of word vectors one is 1 and the others 0 at any time, so it counts
    as having one input; V would make the vectors of a large vocabulary vanish. Where the weights
    of the output layer are the word vectors too, r = 1 / √m, between what either alone would have.
    Dimensions before the last two count several matrices.
    """
    if weight is network.embedding:
        return math.sqrt(6 / (1 + weight.shape[1]))
    if network.tied and any(_same(weight, w) for w in network.output.word_weights()):
        return 1 / math.sqrt(weight.shape[1])
    return math.sqrt(6 / sum(weight.shape[-2:]))


def _same(weight: Tensor, part: Tensor) -> bool:
    return weight.data_ptr() == part.data_ptr()


def log_unigram(context: Context) -> Tensor:
    """Return ln p(w) by the counts in train, (V,); what does not occur counts ``UNSEEN``."""
    counts = np.maximum(context.counts, UNSEEN)
    return torch.from_numpy(np.log(counts / counts.sum()))
