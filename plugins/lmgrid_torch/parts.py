"""Options of the neural models that build on this plugin, and the kinds of numbers in options."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, TypeAlias

from msgspec import Meta

from lmgrid.spec import Context, LanguageModel, ModelPart

if TYPE_CHECKING:
    from lmgrid_torch.network import Network
    from lmgrid_torch.outputs.softmax import Output

Positive: TypeAlias = Annotated[float, Meta(gt=0)]
NotNegative: TypeAlias = Annotated[float, Meta(ge=0)]
Fraction: TypeAlias = Annotated[float, Meta(ge=0, lt=1)]
Size: TypeAlias = Annotated[int, Meta(ge=1)]

OF_OUTPUT: dict[str, tuple[str, ...]] = {  # the options of each output layer
    "full": (),
    "adaptive": ("cutoffs", "div_value"),
    "sampled": ("samples", "noise_power"),
    "nce": ("samples", "noise_power", "log_normaliser"),
    "blackout": ("samples", "noise_power"),
}


@dataclass(frozen=True, kw_only=True)
class NeuralPart(ModelPart):
    """What every neural model may be told; a model adds its sizes and gives its ``network``.

    The output bias starts at the log unigram distribution of train, which is its best value
    while all other weights are 0; other biases start at 0. initialisation of all other weights:
    ``xavier`` (Glorot and Bengio 2010), ``uniform`` within ± uniform_range, or ``zeros``, from
    which the hidden units never learn to differ.

    output: how the distribution over the vocabulary is computed. ``full``: a softmax over all
    words. ``adaptive`` (Grave et al. 2017): words from each of the ids ``cutoffs`` on in a
    cluster of their own, the i-th of which reads 1 / div_value^i of the features; cutoffs past
    the vocabulary are left out. Three train on ``samples`` words a step beside the targets, drawn
    from the unigram distribution to the power of ``noise_power``, and score over all words:
    ``sampled``, a softmax with a sampled normaliser (Jean et al. 2015); ``nce``, noise-contrastive
    estimation (Mnih and Teh 2012), where exp(log_normaliser) is what the scores sum to;
    ``blackout`` (Ji et al. 2016).

    accumulate: batches whose gradients make one step. precision: ``single``, or ``bf16``, which
    computes products in bfloat16 (autocast; on CUDA alone). compile: let torch compile the
    forward and backward pass; the seconds it takes are reported apart.

    Beside the network's own Sites there is ``margins``, which the full softmax alone has: how far
    the logit of a target lies above the mean of all words' logits.
    """

    requires: ClassVar[str] = "torch"
    preload: ClassVar[tuple[str, ...]] = ("lmgrid_torch.model",)
    by_gradient: ClassVar[bool] = True

    initialisation: Literal["xavier", "uniform", "zeros"] = "xavier"  # of the other weights
    uniform_range: Positive = 0.1  # r of Uniform(-r, r), for "uniform" alone
    output: Literal["full", "adaptive", "sampled", "nce", "blackout"] = "full"
    cutoffs: tuple[Size, ...] = (1000, 4000)
    div_value: Annotated[float, Meta(ge=1)] = 2.0
    samples: Size = 200
    noise_power: Annotated[float, Meta(ge=0, le=1)] = 0.75
    log_normaliser: float = 0.0
    accumulate: Size = 1
    precision: Literal["single", "bf16"] = "single"
    compile: bool = False

    def __post_init__(self) -> None:
        if any(a >= b for a, b in pairwise(self.cutoffs)):
            raise ValueError(f"cutoffs must rise, not {self.cutoffs}; write [[1000, 4000]]")

    def check_tied(self, vector: int) -> None:
        """ValueError where word vectors of this length cannot be the output layer's weights."""
        if self.features != vector:
            raise ValueError(
                f"tied needs features as long as a word vector, but they are {self.features} and "
                f"{vector}; set projection = {vector}"
            )
        if self.output == "adaptive" and self.div_value != 1:
            raise ValueError("tied clusters read all features; set div_value = 1")

    @property
    def devices(self) -> tuple[str, ...]:
        return ("cuda*",) if self.precision == "bf16" else ("cpu", "cuda*", "mps")

    @property
    def sites(self) -> tuple[str, ...]:
        """The sites of the output layer; a model puts those of its network before them."""
        return ("margins",) if self.output == "full" else ()

    @property
    def inactive_options(self) -> tuple[str, ...]:
        every = {name for names in OF_OUTPUT.values() for name in names}
        idle = sorted(every.difference(OF_OUTPUT[self.output]))
        return (*idle,) if self.initialisation == "uniform" else (*idle, "uniform_range")

    @property
    @abstractmethod
    def features(self) -> int:
        """How many numbers the output layer reads for a word."""

    @abstractmethod
    def network(self, output: Output) -> Network:
        """Return the network that ends in this output layer, its weights not yet drawn."""

    def output_layer(self, context: Context) -> Output:
        """Return the output layer, its weights not yet drawn."""
        from lmgrid_torch.outputs.by_name import output_layer

        return output_layer(self, context)

    def make(self, context: Context) -> LanguageModel:
        from lmgrid_torch.initialisation import initialise
        from lmgrid_torch.memory import memory_errors
        from lmgrid_torch.model import NeuralModel
        from lmgrid_torch.training.computation import Computation

        computation = Computation(self.accumulate, self.precision, self.compile)
        with memory_errors():
            network = self.network(self.output_layer(context))
            initialise(network, self, context)
            return NeuralModel(network.to(context.device), computation)
