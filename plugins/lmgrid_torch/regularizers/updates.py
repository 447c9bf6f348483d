"""Regularizers that change gradients or weights before a step: clipping and weight decay."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from lmgrid_torch.regularizers.torch_regularizer import TorchRegularizer


@dataclass(frozen=True, kw_only=True)
class Clip(TorchRegularizer):
    """Scales the gradient g over all parameters to ``norm`` if it is longer.

    g ← norm / ‖g‖ · g if ‖g‖ ≥ norm (Pascanu, Mikolov and Bengio 2013, Algorithm 1).
    """

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


@dataclass(frozen=True, kw_only=True)
class WeightDecay(TorchRegularizer):
    """Multiplies each parameter that has a gradient by 1 - rate · ``weight`` before the step.

    (Loshchilov and Hutter 2019.) As it acts in every step, its updates are not counted.
    """

    weight: float

    @torch.no_grad()
    def update(self, module: nn.Module, rate: float) -> int:
        for parameter in module.parameters():
            if parameter.grad is not None:
                parameter.mul_(1 - rate * self.weight)
        return 0
