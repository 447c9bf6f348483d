"""Options shared by all neural models, and the types of numbers in options."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, TypeAlias

from msgspec import Meta

from lmgrid.spec import Context, LanguageModel, ModelPart, derive_seed

if TYPE_CHECKING:
    from lmgrid_torch.network import Network
    from lmgrid_torch.outputs.adaptive import Adaptive
    from lmgrid_torch.outputs.softmax import Output, Softmax

Positive: TypeAlias = Annotated[float, Meta(gt=0)]
NotNegative: TypeAlias = Annotated[float, Meta(ge=0)]
Fraction: TypeAlias = Annotated[float, Meta(ge=0, lt=1)]
Size: TypeAlias = Annotated[int, Meta(ge=1)]

OUTPUT_OPTIONS: dict[str, tuple[str, ...]] = {  # the options of each output layer
    "full": (),
    "adaptive": ("cutoffs", "div_value"),
    "sampled": ("samples", "noise_power"),
    "nce": ("samples", "noise_power", "log_normaliser"),
    "blackout": ("samples", "noise_power"),
}


@dataclass(frozen=True, kw_only=True)
class NeuralPart(ModelPart):
    """Options of every neural model; a subclass adds its sizes and makes its network.

    The output bias starts at the log unigram distribution of the training text, its best value
    while all other weights are 0; other biases start at 0. ``initialisation`` sets all other
    weights: ``xavier`` (Glorot and Bengio 2010), ``uniform`` within ± uniform_range, or ``zeros``,
    with which all hidden units stay alike.

    ``output`` is one of

    - ``full``: a softmax over all words;
    - ``adaptive``: the adaptive softmax (Grave et al. 2017). Words from each id in ``cutoffs`` on
      form a cluster; the i-th reads 1 / div_value^i of the features. Cutoffs beyond the vocabulary
      are ignored;
    - ``sampled``: a softmax with a sampled normaliser (Jean et al. 2015);
    - ``nce``: noise-contrastive estimation (Mnih and Teh 2012), where the scores sum to
      exp(log_normaliser);
    - ``blackout``: BlackOut (Ji et al. 2016).

    The last three are trained on the targets and ``samples`` other words in each step, drawn from
    the unigram distribution to the power ``noise_power``, and score over all words.

    The seconds spent with ``compile`` are reported separately.

    The full softmax has the site ``margins``: the logit of each target minus the mean logit of all
    words.
    """

    requires: ClassVar[str] = "torch"
    preload: ClassVar[tuple[str, ...]] = ("lmgrid_torch.model",)
    by_gradient: ClassVar[bool] = True

    initialisation: Annotated[
        Literal["xavier", "uniform", "zeros"],
        Meta(description="How weights other than the output bias are drawn."),
    ] = "xavier"
    uniform_range: Annotated[
        Positive, Meta(description="r of Uniform(-r, r), with initialisation = 'uniform'.")
    ] = 0.1
    output: Annotated[
        Literal["full", "adaptive", "sampled", "nce", "blackout"],
        Meta(description="How the distribution over the vocabulary is computed and trained."),
    ] = "full"
    cutoffs: Annotated[
        tuple[Size, ...],
        Meta(description="Ids at which the clusters of the adaptive softmax begin, rising."),
    ] = (1000, 4000)
    div_value: Annotated[
        float, Meta(ge=1, description="Factor by which each adaptive cluster reads fewer features.")
    ] = 2.0
    samples: Annotated[
        Size, Meta(description="Words drawn in each step beside the targets, of sampled outputs.")
    ] = 200
    noise_power: Annotated[
        float,
        Meta(
            ge=0, le=1, description="Words are drawn from the unigram distribution to this power."
        ),
    ] = 0.75
    log_normaliser: Annotated[
        float, Meta(description="ln of the sum that the scores of 'nce' are trained to have.")
    ] = 0.0
    accumulate: Annotated[Size, Meta(description="Batches per optimizer step.")] = 1
    precision: Annotated[
        Literal["single", "tf32", "bf16"],
        Meta(description="Products in float32, or on CUDA only in TensorFloat-32 or bfloat16."),
    ] = "single"
    compile: Annotated[
        bool, Meta(description="Whether torch compiles the forward and backward pass.")
    ] = False

    def __post_init__(self) -> None:
        if any(a >= b for a, b in pairwise(self.cutoffs)):
            raise ValueError(f"cutoffs must rise, not {self.cutoffs}; write [[1000, 4000]]")

    def check_tied(self, vector: int) -> None:
        """Raise ValueError if word vectors of this length cannot be the output layer's weights."""
        if self.features != vector:
            raise ValueError(
                f"tied needs features as long as a word vector, but they are {self.features} and "
                f"{vector}; set projection = {vector}"
            )
        if self.output == "adaptive" and self.div_value != 1:
            raise ValueError("tied clusters read all features; set div_value = 1")

    @property
    def devices(self) -> tuple[str, ...]:
        return ("cpu", "cuda*", "mps") if self.precision == "single" else ("cuda*",)

    @property
    def sites(self) -> tuple[str, ...]:
        """The sites of the output layer; a subclass adds those of its network."""
        return ("margins",) if self.output == "full" else ()

    @property
    def inactive_options(self) -> tuple[str, ...]:
        every = {name for names in OUTPUT_OPTIONS.values() for name in names}
        idle = sorted(every.difference(OUTPUT_OPTIONS[self.output]))
        return (*idle,) if self.initialisation == "uniform" else (*idle, "uniform_range")

    @property
    @abstractmethod
    def features(self) -> int:
        """The number of features that the output layer reads for a word."""

    @abstractmethod
    def make_network(self, output: Output) -> Network:
        """Return the network with this output layer, its weights not yet initialised."""

    def make_output(self, context: Context) -> Output:
        """Return the output layer, its weights not yet initialised."""
        return self.make_softmax(context)

    def make_softmax(self, context: Context) -> Softmax | Adaptive:
        """Return the softmax that ``output`` names, its weights not yet initialised."""
        from lmgrid_torch.outputs.adaptive import Adaptive
        from lmgrid_torch.outputs.sampled import BlackOut, Noise, NoiseContrastive, SampledSoftmax
        from lmgrid_torch.outputs.softmax import Softmax

        seed = derive_seed(context.seed, "samples")
        noise = Noise(samples=self.samples, power=self.noise_power, seed=seed)
        constructors: Mapping[str, Callable[..., Softmax | Adaptive]] = {
            "full": Softmax,
            "adaptive": partial(Adaptive, cutoffs=self.cutoffs, div_value=self.div_value),
            "sampled": partial(SampledSoftmax, noise=noise),
            "nce": partial(NoiseContrastive, noise=noise, log_normaliser=self.log_normaliser),
            "blackout": partial(BlackOut, noise=noise),
        }
        construct = constructors[self.output]
        return construct(features=self.features, vocabulary=len(context.vocabulary))

    def make(self, context: Context) -> LanguageModel:
        from lmgrid_torch.initialisation import initialise
        from lmgrid_torch.memory import memory_errors
        from lmgrid_torch.model import NeuralModel
        from lmgrid_torch.training.computation import Computation

        computation = Computation(
            accumulate=self.accumulate, precision=self.precision, compile=self.compile
        )
        with memory_errors():
            network = self.make_network(self.make_output(context))
            initialise(
                network,
                method=self.initialisation,
                uniform_range=self.uniform_range,
                counts=context.counts,
                seed=derive_seed(context.seed, "initialisation"),
            )
            return NeuralModel(network.to(context.device), computation)
