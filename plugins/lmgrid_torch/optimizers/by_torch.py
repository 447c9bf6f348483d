"""Makes torch's optimizers, in the fastest implementation for the device of the parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import torch
import torch._dynamo  # else the first optimizer imports it: one second of training time

from lmgrid.spec import Moment
from lmgrid_torch.optimizers import parts
from lmgrid_torch.optimizers.averaging import AveragedSgd
from lmgrid_torch.optimizers.schedules import factor, non_monotonic

# Devices on which torch updates all parameters of SGD and Adam in one fused operation. Where there
# is none, torch chooses the implementation: foreach on a graphics card, a loop on a CPU, where it
# is at least as fast (RMSprop over 4.6 million weights took 0.6 times the time of foreach).
FUSED = ("cpu", "cuda", "mps")


@dataclass(frozen=True)
class TorchOptimizer:
    """An ``lmgrid.spec.Optimizer`` that builds an optimizer of torch.

    ``build`` is called with the parameters, the learning rate of ``part`` and ``options``, and
    with ``fused=True`` on the device types of ``fused_on``.
    """

    part: parts.TorchOptimizerPart
    build: Callable[..., torch.optim.Optimizer]
    options: Mapping[str, Any]
    fused_on: tuple[str, ...] = ()

    def __call__(self, parameters: Sequence[torch.nn.Parameter]) -> torch.optim.Optimizer:
        if parameters[0].device.type in self.fused_on:
            return self.build(parameters, fused=True, lr=self.part.lr, **self.options)
        return self.build(parameters, lr=self.part.lr, **self.options)

    def settings(self, moment: Moment) -> Mapping[str, float]:
        """Return the learning rate of the next step, by the schedule."""
        return {"lr": self.part.lr * factor(self.part, moment)}


@singledispatch
def optimizer(part: parts.TorchOptimizerPart) -> TorchOptimizer:
    """Return the optimizer for these options; TypeError for an unknown part."""
    raise TypeError(f"{type(part).__name__} has no optimizer in lmgrid_torch; give it its own make")


@optimizer.register
def _sgd(part: parts.SgdPart) -> TorchOptimizer:
    options = {"momentum": part.momentum, "nesterov": part.nesterov}
    return TorchOptimizer(part, torch.optim.SGD, options, FUSED)


@dataclass(frozen=True)
class Averaged(TorchOptimizer):
    """Averaged stochastic gradient descent; ``start`` returns whether averaging has begun."""

    start: Callable[[Moment], bool] = lambda moment: True

    def settings(self, moment: Moment) -> Mapping[str, float]:
        return {**super().settings(moment), "averaging": int(self.start(moment))}


@optimizer.register
def _asgd(part: parts.AsgdPart) -> TorchOptimizer:
    def start(moment: Moment) -> bool:
        stalled = part.trigger > 0 and non_monotonic(moment.valid, part.trigger)
        return stalled or (part.start_epoch is not None and moment.epochs >= part.start_epoch)

    return Averaged(part, AveragedSgd, {}, FUSED, start)


@optimizer.register
def _adagrad(part: parts.AdagradPart) -> TorchOptimizer:
    return TorchOptimizer(part, torch.optim.Adagrad, {"eps": part.eps}, ("cpu",))


@optimizer.register
def _rmsprop(part: parts.RmsPropPart) -> TorchOptimizer:
    options = {"alpha": part.alpha, "eps": part.eps, "momentum": part.momentum}
    return TorchOptimizer(part, torch.optim.RMSprop, options)


@optimizer.register
def _adam(part: parts.AdamPart) -> TorchOptimizer:
    return TorchOptimizer(part, torch.optim.Adam, _moments(part), FUSED)


@optimizer.register
def _adamw(part: parts.AdamWPart) -> TorchOptimizer:
    options = {**_moments(part), "weight_decay": part.weight_decay}
    return TorchOptimizer(part, torch.optim.AdamW, options, FUSED)


@optimizer.register
def _nadamw(part: parts.NAdamWPart) -> TorchOptimizer:
    decay = {"weight_decay": part.weight_decay, "decoupled_weight_decay": True}
    options = {**_moments(part), **decay, "momentum_decay": part.momentum_decay}
    return TorchOptimizer(part, torch.optim.NAdam, options)


def _moments(part: parts.AdamPart) -> dict[str, Any]:
    return {"betas": (part.beta1, part.beta2), "eps": part.eps}
