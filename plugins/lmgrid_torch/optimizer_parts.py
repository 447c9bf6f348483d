"""Options of the optimizers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from msgspec import Meta

from lmgrid.spec import Context, Optimizer, OptimizerPart
from lmgrid_torch.parts import Fraction, NotNegative, Positive


class TorchOptimizerPart(OptimizerPart):
    """What is made by torch."""

    requires: ClassVar[str] = "torch"
    preload: ClassVar[tuple[str, ...]] = ("lmgrid_torch.optimizers",)


@dataclass(frozen=True, kw_only=True)
class Sgd(TorchOptimizerPart):
    """Stochastic gradient descent, with momentum (Polyak 1964; Nesterov 1983) if asked.

    lr: learning rate. momentum: share of the last step that is kept. nesterov: look ahead along
    it. halve_every: halve the learning rate after every so many epochs; 0 is never.
    """

    lr: Positive = 1.0
    momentum: Fraction = 0.0
    nesterov: bool = False
    halve_every: Annotated[int, Meta(ge=0)] = 0

    def __post_init__(self) -> None:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs momentum above 0; set momentum = 0.9, for example")

    def make(self, context: Context) -> Optimizer:
        from lmgrid_torch.optimizers import sgd

        return sgd(self)


@dataclass(frozen=True, kw_only=True)
class Adagrad(TorchOptimizerPart):
    """Adagrad (Duchi, Hazan and Singer 2011): a rate for each weight, falling with its gradients.

    lr: learning rate. eps: added to the root, against division by zero.
    """

    lr: Positive = 0.05
    eps: Positive = 1e-10

    def make(self, context: Context) -> Optimizer:
        from lmgrid_torch.optimizers import adagrad

        return adagrad(self)


@dataclass(frozen=True, kw_only=True)
class RmsProp(TorchOptimizerPart):
    """RMSprop (Tieleman and Hinton 2012): divides by a running root mean square of gradients.

    lr: learning rate. alpha: share of the running mean that is kept. eps: added to the root.
    momentum: share of the last step that is kept.
    """

    lr: Positive = 0.002
    alpha: Fraction = 0.99
    eps: Positive = 1e-8
    momentum: Fraction = 0.0

    def make(self, context: Context) -> Optimizer:
        from lmgrid_torch.optimizers import rmsprop

        return rmsprop(self)


@dataclass(frozen=True, kw_only=True)
class Adam(TorchOptimizerPart):
    """Adam (Kingma and Ba 2015): running means of gradients and of their squares, unbiased.

    lr: learning rate. beta1, beta2: shares of the two running means that are kept. eps: added to
    the root.
    """

    lr: Positive = 0.003
    beta1: Fraction = 0.9
    beta2: Fraction = 0.999
    eps: Positive = 1e-8

    def make(self, context: Context) -> Optimizer:
        from lmgrid_torch.optimizers import adam

        return adam(self)


@dataclass(frozen=True, kw_only=True)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019).

    As ``adam``; weight_decay: each step first shrinks every weight by lr · weight_decay.
    """

    weight_decay: NotNegative = 0.01

    def make(self, context: Context) -> Optimizer:
        from lmgrid_torch.optimizers import adamw

        return adamw(self)


@dataclass(frozen=True, kw_only=True)
class NAdamW(AdamW):
    """Adam with Nesterov momentum (Dozat 2016) and decoupled weight decay.

    As ``adamw``; momentum_decay: ψ of the schedule of momentum, β₁(1 - ½ · 0.96^(tψ)).
    """

    momentum_decay: NotNegative = 0.004

    def make(self, context: Context) -> Optimizer:
        from lmgrid_torch.optimizers import nadamw

        return nadamw(self)
