"""Draws the initial weights of a network."""

from __future__ import annotations

import math
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lmgrid_torch.network import Network

UNSEEN = 0.5  # count of a word that does not occur, so that its logarithm is finite


@runtime_checkable
class CustomInitialisation(Protocol):
    """A module that initialises some of its weights in its own way."""

    def initialise_weights(self, draw: torch.Generator) -> None:
        """Set these weights. Called after all weights have been initialised as usual."""
        ...


@torch.no_grad()
def initialise(
    network: Network,
    *,
    method: Literal["xavier", "uniform", "zeros"],
    uniform_range: float,
    counts: NDArray[np.int64],
    seed: int,
) -> None:
    """Set the initial weights of a network, drawn on the CPU so that all devices start alike.

    Matrices are drawn uniformly from ±r, with r the ``xavier_limit`` or ``uniform_range``, or are
    set to 0, as ``method`` says. Vectors are set to 0, and the output bias to the log unigram
    distribution of ``counts``, (V,).
    """
    draw = torch.Generator().manual_seed(seed)
    for weight in network.parameters():
        if weight.dim() == 1 or method == "zeros":
            weight.zero_()
        else:
            r = xavier_limit(network, weight) if method == "xavier" else uniform_range
            nn.init.uniform_(weight, -r, r, generator=draw)
    for module in network.modules():
        if isinstance(module, nn.LayerNorm):
            module.reset_parameters()
        elif isinstance(module, CustomInitialisation):
            module.initialise_weights(draw)
    network.output.start_from(log_unigram(counts))


def xavier_limit(network: Network, weight: Tensor) -> float:
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


def log_unigram(counts: NDArray[np.int64]) -> Tensor:
    """Return ln p(w) of words with these counts, (V,) -> (V,); 0 is replaced by ``UNSEEN``."""
    positive = np.maximum(counts, UNSEEN)
    return torch.from_numpy(np.log(positive / positive.sum()))
