"""Options of the regularizers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from msgspec import Meta

from lmgrid.spec import Context, Regularizer, RegularizerPart, derive_seed
from lmgrid_torch.parts import Fraction, NotNegative, Positive


class TorchRegularizerPart(RegularizerPart):
    """Options of a regularizer that is implemented with torch."""

    requires: ClassVar[str] = "torch"


# ---------------------------------------------------------------- dropout


@dataclass(frozen=True, kw_only=True)
class DropoutPart(TorchRegularizerPart):
    """Dropout (Srivastava et al. 2014): sets random units to zero during training.

    The remaining units are divided by the probability of being kept (inverted dropout), so scoring
    needs no change. ``rate`` applies at the sites ``hidden`` and ``between``, ``input_rate`` at the
    site ``input``. The rule of thumb from a lecture, 0.5 and 0.15, is meant for large networks and
    many epochs; the defaults suit the small networks of these benchmarks.
    """

    sites: ClassVar[tuple[str, ...]] = ("input", "between", "hidden")

    rate: Annotated[
        Fraction, Meta(description="Share of units dropped after and between the layers.")
    ] = 0.2
    input_rate: Annotated[
        Fraction,
        Meta(description="Share of units dropped in the word vectors that the first layer reads."),
    ] = 0.1

    @property
    def rates(self) -> Mapping[str, float]:
        """The share of units dropped at each site, by the name of the site."""
        return {"hidden": self.rate, "between": self.rate, "input": self.input_rate}

    def make(self, context: Context) -> Regularizer:
        from lmgrid_torch.regularizers.dropout import Dropout

        return Dropout(rates=self.rates, seed=derive_seed(context.seed, "dropout"))


@dataclass(frozen=True, kw_only=True)
class VariationalDropoutPart(DropoutPart):
    """Dropout with one mask for all steps of a sequence (Gal and Ghahramani 2016), or "locked".

    The options are those of ``dropout``. A dropped unit stays zero at every step of a chunk of
    back-propagation through time; each parallel sequence has a mask of its own. To drop recurrent
    connections use ``weight-drop``; to drop whole words, ``embedding-dropout``.
    """

    sites: ClassVar[tuple[str, ...]] = ("between", "recurrent_weight")  # models with time steps

    def make(self, context: Context) -> Regularizer:
        from lmgrid_torch.regularizers.dropout import Dropout, per_sequence

        return Dropout(
            rates=self.rates,
            seed=derive_seed(context.seed, "variational-dropout"),
            mask_shape=per_sequence,
        )


@dataclass(frozen=True, kw_only=True)
class EmbeddingDropoutPart(TorchRegularizerPart):
    """Dropout of whole words (Gal and Ghahramani 2016; Merity, Keskar and Socher 2018).

    In each step, the vector of a dropped word type is zero wherever the word occurs. The vectors of
    the other words are divided by the probability of being kept.
    """

    sites: ClassVar[tuple[str, ...]] = ("embedding",)

    rate: Annotated[Fraction, Meta(description="Share of word types dropped.")] = 0.1

    def make(self, context: Context) -> Regularizer:
        from lmgrid_torch.regularizers.dropout import Dropout, per_row

        return Dropout(
            rates={"embedding": self.rate},
            seed=derive_seed(context.seed, "embedding-dropout"),
            mask_shape=per_row,
        )


@dataclass(frozen=True, kw_only=True)
class WeightDropPart(TorchRegularizerPart):
    """DropConnect (Wan et al. 2013) on the recurrent weights (Merity, Keskar and Socher 2018).

    In each training step, random recurrent weights are zero, the same ones at every time step and
    for every sequence. The others are divided by the probability of being kept.
    """

    sites: ClassVar[tuple[str, ...]] = ("recurrent_weight",)

    rate: Annotated[
        Fraction, Meta(description="Share of the recurrent weights of each layer that are dropped.")
    ] = 0.5

    def make(self, context: Context) -> Regularizer:
        from lmgrid_torch.regularizers.dropout import Dropout

        seed = derive_seed(context.seed, "weight-drop")
        return Dropout(rates={"recurrent_weight": self.rate}, seed=seed)


# ---------------------------------------------------------------- penalties


@dataclass(frozen=True, kw_only=True)
class L1Part(TorchRegularizerPart):
    """L1 penalty: adds λ Σ |θ| over all parameters to the loss (Tibshirani 1996)."""

    weight: Annotated[
        NotNegative, Meta(description="λ, relative to a data loss in nats per token.")
    ] = 1e-6

    def make(self, context: Context) -> Regularizer:
        from lmgrid_torch.regularizers.penalties import L1

        return L1(weight=self.weight)


@dataclass(frozen=True, kw_only=True)
class L2Part(TorchRegularizerPart):
    """L2 penalty: adds λ Σ θ² over all parameters to the loss."""

    weight: Annotated[
        NotNegative, Meta(description="λ, relative to a data loss in nats per token.")
    ] = 1e-5

    def make(self, context: Context) -> Regularizer:
        from lmgrid_torch.regularizers.penalties import L2

        return L2(weight=self.weight)


@dataclass(frozen=True, kw_only=True)
class ActivationPart(TorchRegularizerPart):
    """Activation regularization (Merity, McCann and Socher 2017): adds α · mean of h² to the loss.

    h are the values at the site ``hidden``; the mean is over words and units. The paper uses the
    values after dropout, so list the dropout before this regularizer.
    """

    sites: ClassVar[tuple[str, ...]] = ("hidden",)

    weight: Annotated[
        NotNegative, Meta(description="α, relative to a data loss in nats per token.")
    ] = 2.0

    def make(self, context: Context) -> Regularizer:
        from lmgrid_torch.regularizers.penalties import Activation

        return Activation(weight=self.weight)


@dataclass(frozen=True, kw_only=True)
class TemporalActivationPart(TorchRegularizerPart):
    """Temporal activation regularization (Merity, McCann and Socher 2017).

    Adds β · mean of (h(t) - h(t-1))² to the loss, which penalises fast changes of state. h are the
    values at the site ``hidden``; the mean is over the steps of a chunk, sequences and units. The
    paper uses the values before dropout, so list this regularizer before the dropout.
    """

    sites: ClassVar[tuple[str, ...]] = ("recurrent_weight",)  # models with states over time

    weight: Annotated[
        NotNegative, Meta(description="β, relative to a data loss in nats per token.")
    ] = 1.0

    def make(self, context: Context) -> Regularizer:
        from lmgrid_torch.regularizers.penalties import TemporalActivation

        return TemporalActivation(weight=self.weight)


@dataclass(frozen=True, kw_only=True)
class LabelSmoothingPart(TorchRegularizerPart):
    """Label smoothing (Szegedy et al. 2016, section 7), with the uniform distribution.

    The loss becomes (1 - ε) (-ln p(target)) + ε mean_v(-ln p(v)). The difference from -ln p(target)
    is reported as the penalty; the reported data loss does not change. It uses ``margins``,
    a site of models with output = 'full' and without n-gram features.
    """

    sites: ClassVar[tuple[str, ...]] = ("margins",)

    weight: Annotated[
        Fraction, Meta(description="ε, the share of the uniform distribution in the target.")
    ] = 0.1

    def make(self, context: Context) -> Regularizer:
        from lmgrid_torch.regularizers.penalties import LabelSmoothing

        return LabelSmoothing(weight=self.weight)


# ---------------------------------------------------------------- between backward and step


@dataclass(frozen=True, kw_only=True)
class ClipPart(TorchRegularizerPart):
    """Gradient clipping: scales the gradient down to a largest norm.

    Pascanu, Mikolov and Bengio (2013), Algorithm 1.
    """

    norm: Annotated[
        Positive, Meta(description="Largest L2 norm of the gradient over all parameters together.")
    ] = 1.0

    def make(self, context: Context) -> Regularizer:
        from lmgrid_torch.regularizers.updates import Clip

        return Clip(norm=self.norm)


@dataclass(frozen=True, kw_only=True)
class WeightDecayPart(TorchRegularizerPart):
    """Decoupled weight decay (Loshchilov and Hutter 2019), for any optimizer.

    Each step first multiplies every weight that has a gradient by 1 - lr · λ. With ``adam`` this is
    ``adamw``.
    """

    weight: Annotated[
        NotNegative, Meta(description="λ: each step first multiplies weights by 1 - lr · λ.")
    ] = 0.01

    def make(self, context: Context) -> Regularizer:
        from lmgrid_torch.regularizers.updates import WeightDecay

        return WeightDecay(weight=self.weight)
