"""Options of what this plugin provides, and of the neural models that build on it."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, TypeAlias

from msgspec import Meta

from lmgrid.spec import (
    Context,
    Device,
    DevicePart,
    LanguageModel,
    ModelPart,
    Optimizer,
    OptimizerPart,
    Regularizer,
    RegularizerPart,
)

if TYPE_CHECKING:
    from lmgrid_torch.network import Network

Positive: TypeAlias = Annotated[float, Meta(gt=0)]
NotNegative: TypeAlias = Annotated[float, Meta(ge=0)]
Fraction: TypeAlias = Annotated[float, Meta(ge=0, lt=1)]
Size: TypeAlias = Annotated[int, Meta(ge=1)]


# ---------------------------------------------------------------- models


@dataclass(frozen=True, kw_only=True)
class NeuralPart(ModelPart):
    """What every neural model may be told; a model adds its sizes and gives its ``network``.

    The output bias starts at the log unigram distribution of train, which is its best value
    while all other weights are 0; other biases start at 0.
    """

    requires: ClassVar[str] = "torch"
    preload: ClassVar[tuple[str, ...]] = ("lmgrid_torch.model",)
    by_gradient: ClassVar[bool] = True
    devices: ClassVar[tuple[str, ...]] = ("cpu", "cuda*", "mps")

    initialisation: Literal["xavier", "uniform"] = "xavier"  # of the other weights
    uniform_range: Positive = 0.1  # r of Uniform(-r, r); "xavier" does not use it

    @abstractmethod
    def network(self, vocabulary: int) -> Network:
        """Return the network for a vocabulary of this size, its weights not yet drawn."""

    def make(self, context: Context) -> LanguageModel:
        from lmgrid_torch.initialisation import initialise
        from lmgrid_torch.model import NeuralModel

        network = self.network(len(context.vocabulary))
        initialise(network, self, context)
        return NeuralModel(network.to(context.device))


# ---------------------------------------------------------------- optimizers


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


# ---------------------------------------------------------------- regularizers


@dataclass(frozen=True, kw_only=True)
class Dropout(RegularizerPart):
    """Dropout (Srivastava et al. 2014): in training, units are zero with a given probability.

    Kept units are divided by the probability of being kept (inverted dropout), so that scoring
    needs no change. rate: at the site ``hidden``. input_rate: at the site ``input``, the word
    vectors that go into the hidden layer. A lecture's rule of thumb, 0.5 and 0.15, is meant for
    large networks and many epochs; the defaults are for the small ones here.
    """

    requires: ClassVar[str] = "torch"
    sites: ClassVar[tuple[str, ...]] = ("input", "hidden")

    rate: Fraction = 0.2
    input_rate: Fraction = 0.1

    def make(self, context: Context) -> Regularizer:
        from lmgrid_torch.regularizers import Dropout as Layers

        return Layers({"hidden": self.rate, "input": self.input_rate}, context.seed)


@dataclass(frozen=True, kw_only=True)
class L2(RegularizerPart):
    """Adds λ Σ θ² to the loss, over all parameters.

    weight: λ, against a data loss in nats per token.
    """

    requires: ClassVar[str] = "torch"

    weight: NotNegative = 1e-5

    def make(self, context: Context) -> Regularizer:
        from lmgrid_torch.regularizers import L2 as Penalty

        return Penalty(self.weight)


@dataclass(frozen=True, kw_only=True)
class Clip(RegularizerPart):
    """Scales the gradient down to a largest norm (Pascanu, Mikolov and Bengio 2013, Algorithm 1).

    norm: the largest length of the gradient over all parameters taken together.
    """

    requires: ClassVar[str] = "torch"

    norm: Positive = 1.0

    def make(self, context: Context) -> Regularizer:
        from lmgrid_torch.regularizers import Clip as Scaling

        return Scaling(self.norm)


# ---------------------------------------------------------------- devices


@dataclass(frozen=True)
class Cuda(DevicePart):
    """NVIDIA graphics cards, and AMD's under ROCm: ``cuda`` or ``cuda:n``."""

    requires: ClassVar[str] = "torch"

    def make(self) -> Device:
        from lmgrid_torch.devices import CudaDevice

        return CudaDevice()


@dataclass(frozen=True)
class Mps(DevicePart):
    """Apple's graphics processors."""

    requires: ClassVar[str] = "torch"

    def make(self) -> Device:
        from lmgrid_torch.devices import MpsDevice

        return MpsDevice()
