"""The weights a network starts from."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from lmgrid.spec import Context, derive_seed

if TYPE_CHECKING:
    from lmgrid_torch.network import Network
    from lmgrid_torch.parts import NeuralPart

UNSEEN = 0.5  # the count that a word without any gets, so that its logarithm is finite


@torch.no_grad()
def initialise(network: Network, options: NeuralPart, context: Context) -> None:
    """Draw the weights of a network on the CPU, so that every device starts from the same ones.

    Matrices are drawn, vectors are 0, the output bias is the log unigram distribution.
    """
    seed = derive_seed(context.seed, "initialisation")
    draw = torch.Generator().manual_seed(seed)
    for weight in network.parameters():
        if weight.dim() == 1:
            weight.zero_()
        else:
            r = limit(weight) if options.initialisation == "xavier" else options.uniform_range
            nn.init.uniform_(weight, -r, r, generator=draw)
    network.output.bias.copy_(log_unigram(context))


def limit(weight: Tensor) -> float:
    """Return r of Uniform(-r, r) with variance 2 / (inputs + outputs) (Glorot and Bengio 2010)."""
    outputs, inputs = weight.shape
    return math.sqrt(6 / (inputs + outputs))


def log_unigram(context: Context) -> Tensor:
    """Return ln p(w) by the counts in train, (V,); what does not occur counts ``UNSEEN``."""
    counts = np.maximum(context.counts, UNSEEN)
    return torch.from_numpy(np.log(counts / counts.sum()))
