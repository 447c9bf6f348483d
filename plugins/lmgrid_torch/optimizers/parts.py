"""Options of the optimizers that torch provides, and of their learning-rate schedule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from msgspec import Meta

from lmgrid.spec import Context, Optimizer, OptimizerPart
from lmgrid_torch.parts import Fraction, NotNegative, Positive, Size

if TYPE_CHECKING:
    from lmgrid_torch.optimizers.schedules import Schedule

Count = Annotated[int, Meta(ge=0)]


@dataclass(frozen=True, kw_only=True)
class TorchOptimizerPart(OptimizerPart):
    """Options of every optimizer: the learning rate and its schedule.

    The learning rate of a step is lr times three factors. The first rises linearly from 0 to 1
    over warmup_tokens training tokens. The second is halved after every halve_every epochs. The
    third is given by schedule: 1 (``constant``); halved each time the validation loss has not
    improved for ``patience`` points in a row (``plateau``); or falling from 1 to 0 along a cosine
    (``cosine``, Loshchilov and Hutter 2017), which needs a budget of epochs or tokens.
    """

    requires: ClassVar[str] = "torch"
    preload: ClassVar[tuple[str, ...]] = ("lmgrid_torch.optimizers.torch_optimizer",)

    lr: Annotated[Positive, Meta(description="Learning rate, before the schedule's factors.")]
    schedule: Annotated[
        Literal["constant", "plateau", "cosine"],
        Meta(
            description="Third factor of the rate: 1, halved at plateaus, or falling as a cosine."
        ),
    ] = "constant"
    patience: Annotated[
        Size, Meta(description="Points without improvement before a plateau halves the rate.")
    ] = 1
    warmup_tokens: Annotated[
        Count, Meta(description="Training tokens over which the rate rises from 0; 0 for none.")
    ] = 0
    halve_every: Annotated[
        Count,
        Meta(description="Number of epochs after which the rate is halved each time; 0 for never."),
    ] = 0

    @property
    def needs_length(self) -> bool:
        return self.schedule == "cosine"

    def make_schedule(self) -> Schedule:
        """Return the schedule of the learning rate."""
        from lmgrid_torch.optimizers.schedules import Schedule

        return Schedule(
            kind=self.schedule,
            patience=self.patience,
            warmup_tokens=self.warmup_tokens,
            halve_every=self.halve_every,
        )


@dataclass(frozen=True, kw_only=True)
class SgdPart(TorchOptimizerPart):
    """Stochastic gradient descent, optionally with momentum (Polyak 1964; Nesterov 1983)."""

    lr: Annotated[Positive, Meta(description="Learning rate, before the schedule's factors.")] = 1.0
    momentum: Annotated[
        Fraction, Meta(description="Share of the last step that is added to the next one.")
    ] = 0.0
    nesterov: Annotated[
        bool, Meta(description="Whether momentum is Nesterov's; needs momentum above 0.")
    ] = False

    def __post_init__(self) -> None:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs momentum above 0; set momentum = 0.9, for example")

    def make(self, context: Context) -> Optimizer:
        import torch

        from lmgrid_torch.optimizers.torch_optimizer import FUSED, TorchOptimizer

        return TorchOptimizer(
            build=torch.optim.SGD,
            lr=self.lr,
            schedule=self.make_schedule(),
            options={"momentum": self.momentum, "nesterov": self.nesterov},
            fused_on=FUSED,
        )


@dataclass(frozen=True, kw_only=True)
class AsgdPart(TorchOptimizerPart):
    """Averaged stochastic gradient descent (Polyak and Juditsky 1992).

    The model is trained by plain gradient descent and scored with the mean of the weights of all
    steps since averaging began. Averaging begins when the validation loss is above the lowest of
    the losses more than ``trigger`` points earlier (NT-ASGD; Merity, Keskar and Socher 2018), or
    after start_epoch epochs, whichever comes first.
    """

    lr: Annotated[Positive, Meta(description="Learning rate, before the schedule's factors.")] = 1.0
    trigger: Annotated[
        Count, Meta(description="n of NT-ASGD, in points; 0 for averaging from start_epoch alone.")
    ] = 5
    start_epoch: Annotated[
        NotNegative | None, Meta(description="Epochs after which averaging begins at the latest.")
    ] = None

    def __post_init__(self) -> None:
        if self.trigger == 0 and self.start_epoch is None:
            raise ValueError("asgd would never average; set trigger = 5 or start_epoch = 1")

    def make(self, context: Context) -> Optimizer:
        from lmgrid_torch.optimizers.averaging import AveragedSgd, AveragedSgdOptimizer
        from lmgrid_torch.optimizers.torch_optimizer import FUSED

        return AveragedSgdOptimizer(
            build=AveragedSgd,
            lr=self.lr,
            schedule=self.make_schedule(),
            fused_on=FUSED,
            trigger=self.trigger,
            start_epoch=self.start_epoch,
        )


@dataclass(frozen=True, kw_only=True)
class AdagradPart(TorchOptimizerPart):
    """Adagrad (Duchi, Hazan and Singer 2011): a step size for each weight.

    The step size of a weight falls with the sum of its squared gradients.
    """

    lr: Annotated[Positive, Meta(description="Learning rate, before the schedule's factors.")] = (
        0.05
    )
    eps: Annotated[
        Positive, Meta(description="Added to the denominator, against division by zero.")
    ] = 1e-10

    def make(self, context: Context) -> Optimizer:
        import torch

        from lmgrid_torch.optimizers.torch_optimizer import TorchOptimizer

        return TorchOptimizer(
            build=torch.optim.Adagrad,
            lr=self.lr,
            schedule=self.make_schedule(),
            options={"eps": self.eps},
            fused_on=("cpu",),
        )


@dataclass(frozen=True, kw_only=True)
class RmsPropPart(TorchOptimizerPart):
    """RMSprop (Tieleman and Hinton 2012): divides by a running root mean square of gradients."""

    lr: Annotated[Positive, Meta(description="Learning rate, before the schedule's factors.")] = (
        0.002
    )
    alpha: Annotated[
        Fraction, Meta(description="Decay rate of the running mean of squared gradients.")
    ] = 0.99
    eps: Annotated[
        Positive, Meta(description="Added to the denominator, against division by zero.")
    ] = 1e-8
    momentum: Annotated[
        Fraction, Meta(description="Share of the last step that is added to the next one.")
    ] = 0.0

    def make(self, context: Context) -> Optimizer:
        import torch

        from lmgrid_torch.optimizers.torch_optimizer import TorchOptimizer

        return TorchOptimizer(
            build=torch.optim.RMSprop,
            lr=self.lr,
            schedule=self.make_schedule(),
            options={"alpha": self.alpha, "eps": self.eps, "momentum": self.momentum},
        )


@dataclass(frozen=True, kw_only=True)
class AdamPart(TorchOptimizerPart):
    """Adam (Kingma and Ba 2015): bias-corrected running means of gradients and their squares."""

    lr: Annotated[Positive, Meta(description="Learning rate, before the schedule's factors.")] = (
        0.003
    )
    beta1: Annotated[Fraction, Meta(description="Decay rate of the running mean of gradients.")] = (
        0.9
    )
    beta2: Annotated[
        Fraction, Meta(description="Decay rate of the running mean of squared gradients.")
    ] = 0.999
    eps: Annotated[
        Positive, Meta(description="Added to the denominator, against division by zero.")
    ] = 1e-8

    def make(self, context: Context) -> Optimizer:
        import torch

        from lmgrid_torch.optimizers.torch_optimizer import FUSED, TorchOptimizer

        return TorchOptimizer(
            build=torch.optim.Adam,
            lr=self.lr,
            schedule=self.make_schedule(),
            options={"betas": (self.beta1, self.beta2), "eps": self.eps},
            fused_on=FUSED,
        )


@dataclass(frozen=True, kw_only=True)
class AdamWPart(AdamPart):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019).

    The other options are those of ``adam``.
    """

    weight_decay: Annotated[
        NotNegative, Meta(description="λ: each step first multiplies every weight by 1 - lr · λ.")
    ] = 0.01

    def make(self, context: Context) -> Optimizer:
        import torch

        from lmgrid_torch.optimizers.torch_optimizer import FUSED, TorchOptimizer

        return TorchOptimizer(
            build=torch.optim.AdamW,
            lr=self.lr,
            schedule=self.make_schedule(),
            options={
                "betas": (self.beta1, self.beta2),
                "eps": self.eps,
                "weight_decay": self.weight_decay,
            },
            fused_on=FUSED,
        )


@dataclass(frozen=True, kw_only=True)
class NAdamWPart(AdamWPart):
    """Adam with Nesterov momentum (Dozat 2016) and decoupled weight decay.

    The other options are those of ``adamw``.
    """

    momentum_decay: Annotated[
        NotNegative, Meta(description="ψ in the schedule of momentum, β₁ (1 - ½ · 0.96^(tψ)).")
    ] = 0.004

    def make(self, context: Context) -> Optimizer:
        import torch

        from lmgrid_torch.optimizers.torch_optimizer import TorchOptimizer

        return TorchOptimizer(
            build=torch.optim.NAdam,
            lr=self.lr,
            schedule=self.make_schedule(),
            options={
                "betas": (self.beta1, self.beta2),
                "eps": self.eps,
                "weight_decay": self.weight_decay,
                "decoupled_weight_decay": True,
                "momentum_decay": self.momentum_decay,
            },
        )
