"""Dropout and its kin: what is set to zero at a Site, and what shares one draw."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from lmgrid.spec import derive_seed
from lmgrid_torch.regularizers.penalties import NoEffect
from lmgrid_torch.regularizers.site import sites

Shape = tuple[int, ...]


def each(values: Tensor) -> Shape:
    """Every number has a draw of its own."""
    return tuple(values.shape)


def each_sequence(values: Tensor) -> Shape:
    """All steps of a sequence share one draw a unit, (T, B, H) -> (1, B, H)."""
    if values.dim() != 3:
        raise ValueError(
            f"variational-dropout needs values (time, batch, units), not {tuple(values.shape)}; "
            "take dropout for this model"
        )
    return 1, *values.shape[1:]


def each_row(values: Tensor) -> Shape:
    """All numbers of a word's vector share one draw, (V, E) -> (V, 1)."""
    return len(values), 1


@dataclass
class Dropout(NoEffect):
    """Sets values to zero with the probability that ``rates`` has for the name of their Site.

    The others are divided by the probability of being kept, so that the mean is kept. ``draw``
    is where the masks come from; its seed follows from ``name``, so that two kinds of dropout
    draw apart. ``shape`` says what has a draw of its own.
    """

    name: str
    rates: Mapping[str, float]
    seed: int
    shape: Callable[[Tensor], Shape] = each
    draw: torch.Generator = field(init=False, repr=False)

    def layers(self, module: nn.Module) -> None:
        device = next(module.parameters()).device
        self.draw = torch.Generator(device).manual_seed(derive_seed(self.seed, self.name))
        for site in sites(module):
            if rate := self.rates.get(site.name):
                site.actions.append(partial(self.drop, rate))

    def drop(self, rate: float, values: Tensor) -> Tensor:
        # uniform numbers and a comparison cost a quarter of torch's bernoulli_ on a CPU
        chances = torch.rand(self.shape(values), generator=self.draw, device=values.device)
        return values * (chances >= rate).to(values.dtype).div_(1 - rate)
