"""Regularizers behind their three doors: layers, loss, update."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lmgrid.spec import derive_seed
from lmgrid_torch.site import Site, sites


class Idle:
    """A regularizer that does nothing; the others open the door they need."""

    def layers(self, module: nn.Module) -> None:
        """Act where the model marked a named Site."""

    def loss(self, module: nn.Module) -> Tensor | float:
        return 0.0

    def update(self, module: nn.Module, rate: float) -> int:
        return 0


@dataclass(frozen=True)
class Dropout(Idle):
    """Sets units to zero with the probability that ``rates`` has for their site."""

    rates: Mapping[str, float]
    seed: int

    def layers(self, module: nn.Module) -> None:
        device = next(module.parameters()).device
        draw = torch.Generator(device).manual_seed(derive_seed(self.seed, "dropout"))
        for site in sites(module):
            if self.rates.get(site.name):
                drop(site, self.rates[site.name], draw)


def drop(site: Site, rate: float, draw: torch.Generator) -> None:
    """Let a site zero its units at a rate, and divide the others by what is kept."""

    def act(values: Tensor) -> Tensor:
        # uniform numbers and a comparison cost a quarter of torch's bernoulli_ on a CPU
        chances = torch.rand(values.shape, generator=draw, device=values.device)
        return values * (chances >= rate).to(values.dtype).div_(1 - rate)

    site.actions.append(act)


@dataclass(frozen=True)
class L2(Idle):
    """Adds ``weight`` · Σ θ² over all parameters."""

    weight: float

    def loss(self, module: nn.Module) -> Tensor | float:
        squares = [parameter.square().sum() for parameter in module.parameters()]
        return self.weight * torch.stack(squares).sum()


@dataclass(frozen=True)
class Clip(Idle):
    """If ‖g‖ ≥ ``norm``, g ← norm / ‖g‖ · g, with g the gradient over all parameters."""

    norm: float

    @torch.no_grad()
    def update(self, module: nn.Module, rate: float) -> int:
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        length = float(nn.utils.get_total_norm(gradients))
        if length < self.norm:
            return 0
        for gradient in gradients:
            gradient.mul_(self.norm / length)
        return 1
