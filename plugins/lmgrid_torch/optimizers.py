"""Torch's optimizers, in the fastest form that the device of the parameters has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch._dynamo  # the first optimizer made would import it for a second, inside the clock

from lmgrid_torch import optimizer_parts as parts

FUSED = ("cpu", "cuda", "mps")  # where torch has one pass over all parameters for SGD and Adam


@dataclass(frozen=True)
class TorchOptimizer:
    """An ``lmgrid.spec.Optimizer``."""

    build: Callable[..., torch.optim.Optimizer]
    options: Mapping[str, Any]
    fused_on: tuple[str, ...] = ()
    halve_every: int = 0

    def __call__(self, parameters: Sequence[torch.nn.Parameter]) -> torch.optim.Optimizer:
        if parameters[0].device.type in self.fused_on:
            return self.build(parameters, fused=True, **self.options)
        return self.build(parameters, **self.options)

    def factor(self, epochs: float) -> float:
        """Return ½ to the power of how often the learning rate was halved."""
        return 0.5 ** (int(epochs) // self.halve_every) if self.halve_every else 1.0


def sgd(part: parts.Sgd) -> TorchOptimizer:
    options = {"lr": part.lr, "momentum": part.momentum, "nesterov": part.nesterov}
    return TorchOptimizer(torch.optim.SGD, options, FUSED, part.halve_every)


def adagrad(part: parts.Adagrad) -> TorchOptimizer:
    return TorchOptimizer(torch.optim.Adagrad, {"lr": part.lr, "eps": part.eps}, ("cpu",))


def rmsprop(part: parts.RmsProp) -> TorchOptimizer:
    options = {"lr": part.lr, "alpha": part.alpha, "eps": part.eps, "momentum": part.momentum}
    return TorchOptimizer(torch.optim.RMSprop, options)


def adam(part: parts.Adam) -> TorchOptimizer:
    return TorchOptimizer(torch.optim.Adam, _moments(part), FUSED)


def adamw(part: parts.AdamW) -> TorchOptimizer:
    options = {**_moments(part), "weight_decay": part.weight_decay}
    return TorchOptimizer(torch.optim.AdamW, options, FUSED)


def nadamw(part: parts.NAdamW) -> TorchOptimizer:
    decay = {"weight_decay": part.weight_decay, "decoupled_weight_decay": True}
    options = {**_moments(part), **decay, "momentum_decay": part.momentum_decay}
    return TorchOptimizer(torch.optim.NAdam, options)


def _moments(part: parts.Adam) -> dict[str, Any]:
    return {"lr": part.lr, "betas": (part.beta1, part.beta2), "eps": part.eps}
