"""Dropout at the sites of a network, with masks of several shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from lmgrid_torch.generator import WithGenerator
from lmgrid_torch.regularizers.site import sites
from lmgrid_torch.regularizers.torch_regularizer import TorchRegularizer

Shape = tuple[int, ...]


def per_element(values: Tensor) -> Shape:
    """Return the shape of a mask that differs for each number."""
    return tuple(values.shape)


def per_sequence(values: Tensor) -> Shape:
    """Return the shape of a mask shared by all steps of a sequence: (1, B, H) for (T, B, H).

    Raises ValueError for values of another number of dimensions.
    """
    if values.dim() != 3:
        raise ValueError(
            f"variational-dropout needs values (time, batch, units), not {tuple(values.shape)}; "
            "use dropout for this model"
        )
    return 1, *values.shape[1:]


def per_row(values: Tensor) -> Shape:
    """Return the shape of a mask shared by all numbers of a word's vector: (V, 1) for (V, E)."""
    return len(values), 1


@dataclass(kw_only=True)
class Dropout(WithGenerator, TorchRegularizer):
    """Sets values at sites to zero, with the probability in ``rates`` for the name of the site.

    The other values are divided by the probability of being kept, which preserves the mean.
    ``mask_shape`` returns the shape of the mask for given values. ``draw`` is the generator of the
    masks, seeded with ``seed``; two kinds of dropout in one network need different seeds.
    """

    rates: Mapping[str, float]
    seed: int
    mask_shape: Callable[[Tensor], Shape] = per_element
    draw: torch.Generator = field(init=False, repr=False)

    def layers(self, module: nn.Module) -> None:
        """Add dropout to the sites named in ``rates``, and seed the generator."""
        device = next(module.parameters()).device
        self.draw = torch.Generator(device).manual_seed(self.seed)
        for site in sites(module):
            if rate := self.rates.get(site.name):
                site.actions.append(partial(self.drop, rate))

    def drop(self, rate: float, values: Tensor) -> Tensor:
        """Return the values times a new mask of zeros and 1 / (1 - rate)."""
        # comparing uniform numbers takes a quarter of the time of torch's bernoulli_ on a CPU
        chances = torch.rand(self.mask_shape(values), generator=self.draw, device=values.device)
        return values * (chances >= rate).to(values.dtype).div_(1 - rate)
