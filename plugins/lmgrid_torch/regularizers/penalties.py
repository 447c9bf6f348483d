"""Penalties: regularizers that add a term to the loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lmgrid_torch.regularizers.site import Site
from lmgrid_torch.regularizers.torch_regularizer import SitePenalty, TorchRegularizer


@dataclass(frozen=True, kw_only=True)
class L1(TorchRegularizer):
    """Adds ``weight`` · Σ |θ| over all parameters to the loss (Tibshirani 1996).

    >>> layer = nn.Linear(1, 1)
    >>> _ = nn.init.constant_(layer.weight, -3.0), nn.init.constant_(layer.bias, 1.0)
    >>> L1(weight=0.5).loss(layer).item()
    2.0
    """

    weight: float

    def loss(self, module: nn.Module) -> Tensor | float:
        lengths = [parameter.abs().sum() for parameter in module.parameters()]
        return self.weight * torch.stack(lengths).sum()


@dataclass(frozen=True, kw_only=True)
class L2(TorchRegularizer):
    """Adds ``weight`` · Σ θ² over all parameters to the loss."""

    weight: float

    def loss(self, module: nn.Module) -> Tensor | float:
        squares = [parameter.square().sum() for parameter in module.parameters()]
        return self.weight * torch.stack(squares).sum()


class Activation(SitePenalty):
    """Adds ``weight`` · mean of h² over time, batch and units to the loss.

    h are the values at the site ``hidden`` (Merity, McCann and Socher 2017).
    """

    def layers(self, module: nn.Module) -> None:
        self.collect_at(module, "hidden")

    def loss(self, module: nn.Module) -> Tensor | float:
        return self.weight * sum(h.square().mean() for h in self.take())


class TemporalActivation(Activation):
    """Adds ``weight`` · mean of (h(t) - h(t-1))² over time, batch and units to the loss.

    h are the values at the site ``hidden``, (T, B, H) (Merity, McCann and Socher 2017).
    """

    def loss(self, module: nn.Module) -> Tensor | float:
        changes = [h[1:] - h[:-1] for h in self.take()]  # (T - 1, B, H), empty where T is 1
        return self.weight * sum(c.square().sum() / max(c.numel(), 1) for c in changes)


class LabelSmoothing(SitePenalty):
    """Adds ``weight`` · mean of (s_t - mean_v s_v), the margin of a target's logit, to the loss.

    Since -ln p(v) = ln Σ exp(s) - s_v, the smoothed loss (1 - ε) (-ln p(t)) + ε mean_v(-ln p(v))
    (Szegedy et al. 2016, section 7) exceeds -ln p(t) by ε (s_t - mean_v s_v). So it needs no
    second softmax. ValueError where the output layer does not compute margins.
    """

    def layers(self, module: nn.Module) -> None:
        output = module.get_submodule("output")
        if not any(isinstance(child, Site) for child in output.children()):
            self._refuse(output)
        self.collect_at(output, "margins")

    def loss(self, module: nn.Module) -> Tensor | float:
        margins = self.take()
        if not margins:
            self._refuse(module.get_submodule("output"))
        return self.weight * margins[0]

    def _refuse(self, output: nn.Module) -> None:
        raise ValueError(
            "label-smoothing needs the logits of all words, which the output layer "
            f"{type(output).__name__} does not compute in training; set output = 'full'"
        )
