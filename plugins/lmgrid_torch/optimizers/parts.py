"""Options of the optimizers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from lmgrid.spec import Context, Optimizer, OptimizerPart
from lmgrid_torch.parts import Fraction, NotNegative, Positive, Size

Count = Annotated[int, Meta(ge=0)]


@dataclass(frozen=True, kw_only=True)
class TorchOptimizerPart(OptimizerPart):
    """What is made by torch, with the schedule that ``Sgd`` describes."""

    requires: ClassVar[str] = "torch"
    preload: ClassVar[tuple[str, ...]] = ("lmgrid_torch.optimizers.by_torch",)

    lr: Positive
    schedule: Literal["constant", "plateau", "cosine"] = "constant"
    patience: Size = 1  # of "plateau"; the others do not use it
    warmup_tokens: Count = 0
    halve_every: Count = 0

    @property
    def needs_length(self) -> bool:
        return self.schedule == "cosine"

    def make(self, context: Context) -> Optimizer:
        from lmgrid_torch.optimizers.by_torch import optimizer

        return optimizer(self)


@dataclass(frozen=True, kw_only=True)
class SgdPart(TorchOptimizerPart):
    """Stochastic gradient descent, with momentum (Polyak 1964; Nesterov 1983) if asked.

    lr: learning rate. momentum: share of the last step that is kept. nesterov: look ahead along
    it.

    The learning rate is lr times three factors. warmup_tokens: the first rises from 0 to 1 over
    so many training tokens; 0 is none. halve_every: the second halves after every so many
    epochs; 0 is never. schedule: the third is 1 (``constant``), or halves each time that
    validation did not improve for ``patience`` points in a row (``plateau``), or falls from 1 to
    0 along a cosine (``cosine``, Loshchilov and Hutter 2017), which needs a budget of epochs or
    tokens.
    """

    lr: Positive = 1.0
    momentum: Fraction = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs momentum above 0; set momentum = 0.9, for example")


@dataclass(frozen=True, kw_only=True)
class AsgdPart(TorchOptimizerPart):
    """Averaged stochastic gradient descent (Polyak and Juditsky 1992).

    Trains by plain gradient descent, and scores with the mean of the weights of all steps since
    averaging began. trigger: it begins once the validation loss lies above the lowest of those
    more than so many points before (NT-ASGD; Merity, Keskar and Socher 2018); 0 is never.
    start_epoch: it begins after so many epochs at the latest. lr: learning rate. Its schedule:
    as ``sgd``.
    """

    lr: Positive = 1.0
    trigger: Count = 5
    start_epoch: NotNegative | None = None

    def __post_init__(self) -> None:
        if self.trigger == 0 and self.start_epoch is None:
            raise ValueError("asgd would never average; set trigger = 5 or start_epoch = 1")


@dataclass(frozen=True, kw_only=True)
class AdagradPart(TorchOptimizerPart):
    """Adagrad (Duchi, Hazan and Singer 2011): a rate for each weight, falling with its gradients.

    lr: learning rate. eps: added to the root, against division by zero. Its schedule: as ``sgd``.
    """

    lr: Positive = 0.05
    eps: Positive = 1e-10


@dataclass(frozen=True, kw_only=True)
class RmsPropPart(TorchOptimizerPart):
    """RMSprop (Tieleman and Hinton 2012): divides by a running root mean square of gradients.

    lr: learning rate. alpha: share of the running mean that is kept. eps: added to the root.
    momentum: share of the last step that is kept. Its schedule: as ``sgd``.
    """

    lr: Positive = 0.002
    alpha: Fraction = 0.99
    eps: Positive = 1e-8
    momentum: Fraction = 0.0


@dataclass(frozen=True, kw_only=True)
class AdamPart(TorchOptimizerPart):
    """Adam (Kingma and Ba 2015): running means of gradients and of their squares, unbiased.

    lr: learning rate. beta1, beta2: shares of the two running means that are kept. eps: added to
    the root. Its schedule: as ``sgd``.
    """

    lr: Positive = 0.003
    beta1: Fraction = 0.9
    beta2: Fraction = 0.999
    eps: Positive = 1e-8


@dataclass(frozen=True, kw_only=True)
class AdamWPart(AdamPart):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019).

    As ``adam``; weight_decay: each step first shrinks every weight by lr · weight_decay.
    """

    weight_decay: NotNegative = 0.01


@dataclass(frozen=True, kw_only=True)
class NAdamWPart(AdamWPart):
    """Adam with Nesterov momentum (Dozat 2016) and decoupled weight decay.

    As ``adamw``; momentum_decay: ψ of the schedule of momentum, β₁(1 - ½ · 0.96^(tψ)).
    """

    momentum_decay: NotNegative = 0.004
