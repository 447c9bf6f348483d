"""Options of the regularizers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lmgrid.spec import Context, Regularizer, RegularizerPart
from lmgrid_torch.parts import Fraction, NotNegative, Positive


class TorchRegularizerPart(RegularizerPart):
    """What acts in torch."""

    requires: ClassVar[str] = "torch"


# ---------------------------------------------------------------- what draws


@dataclass(frozen=True, kw_only=True)
class DropoutPart(TorchRegularizerPart):
    """Dropout (Srivastava et al. 2014): in training, units are zero with a given probability.

    Kept units are divided by the probability of being kept (inverted dropout), so that scoring
    needs no change. rate: at the sites ``hidden`` and ``between``, after and between the layers.
    input_rate: at the site ``input``, the word vectors that go into the first layer. A lecture's
    rule of thumb, 0.5 and 0.15, is meant for large networks and many epochs; the defaults are for
    the small ones here.
    """

    sites: ClassVar[tuple[str, ...]] = ("input", "between", "hidden")

    rate: Fraction = 0.2
    input_rate: Fraction = 0.1

    def make(self, context: Context) -> Regularizer:
        from lmgrid_torch.regularizers.dropout import Dropout as Layers

        return Layers("dropout", _rates(self), context.seed)


@dataclass(frozen=True, kw_only=True)
class VariationalDropoutPart(DropoutPart):
    """Dropout with one mask for all steps of a sequence (Gal and Ghahramani 2016), or "locked".

    As ``dropout``; a unit that is dropped is so at each step of a chunk of back-propagation
    through time, and each parallel sequence has a mask of its own. For the recurrent connections
    take ``weight-drop``; for whole words, ``embedding-dropout``.
    """

    sites: ClassVar[tuple[str, ...]] = ("between", "recurrent_weight")  # models with time steps

    def make(self, context: Context) -> Regularizer:
        from lmgrid_torch.regularizers.dropout import Dropout as Layers
        from lmgrid_torch.regularizers.dropout import each_sequence

        return Layers("variational-dropout", _rates(self), context.seed, each_sequence)


def _rates(part: DropoutPart) -> dict[str, float]:
    return {"hidden": part.rate, "between": part.rate, "input": part.input_rate}


@dataclass(frozen=True, kw_only=True)
class EmbeddingDropoutPart(TorchRegularizerPart):
    """Drops whole words (Gal and Ghahramani 2016; Merity, Keskar and Socher 2018).

    In a step, the vector of a dropped word type is zero wherever the word stands; the vectors of
    the others are divided by the probability of being kept. rate: of word types.
    """

    sites: ClassVar[tuple[str, ...]] = ("embedding",)

    rate: Fraction = 0.1

    def make(self, context: Context) -> Regularizer:
        from lmgrid_torch.regularizers.dropout import Dropout as Layers
        from lmgrid_torch.regularizers.dropout import each_row

        return Layers("embedding-dropout", {"embedding": self.rate}, context.seed, each_row)


@dataclass(frozen=True, kw_only=True)
class WeightDropPart(TorchRegularizerPart):
    """DropConnect (Wan et al. 2013) on the recurrent weights (Merity, Keskar and Socher 2018).

    In a step, each recurrent weight is zero with a given probability, the same at every time step
    and for every sequence; the others are divided by the probability of being kept. rate: of the
    weights of each recurrent layer.
    """

    sites: ClassVar[tuple[str, ...]] = ("recurrent_weight",)

    rate: Fraction = 0.5

    def make(self, context: Context) -> Regularizer:
        from lmgrid_torch.regularizers.dropout import Dropout as Layers

        return Layers("weight-drop", {"recurrent_weight": self.rate}, context.seed)


# ---------------------------------------------------------------- penalties


@dataclass(frozen=True, kw_only=True)
class WeightedPart(TorchRegularizerPart):
    """What is as strong as its ``weight``; at 0 it does nothing."""

    weight: NotNegative

    def make(self, context: Context) -> Regularizer:
        from lmgrid_torch.regularizers.penalties import OF_PART

        kind = next(kind for kind in type(self).__mro__ if kind in OF_PART)  # or its parent's
        return OF_PART[kind](self.weight)


@dataclass(frozen=True, kw_only=True)
class L1Part(WeightedPart):
    """Adds λ Σ |θ| to the loss, over all parameters (Tibshirani 1996).

    weight: λ, against a data loss in nats per token.
    """

    weight: NotNegative = 1e-6


@dataclass(frozen=True, kw_only=True)
class L2Part(WeightedPart):
    """Adds λ Σ θ² to the loss, over all parameters.

    weight: λ, against a data loss in nats per token.
    """

    weight: NotNegative = 1e-5


@dataclass(frozen=True, kw_only=True)
class ActivationPart(WeightedPart):
    """Activation regularization (Merity, McCann and Socher 2017): adds α · mean of h².

    h are the values at the site ``hidden``, the mean is over words and units. The paper takes
    them after dropout: what stands before this regularizer in the list has acted. weight: α.
    """

    sites: ClassVar[tuple[str, ...]] = ("hidden",)

    weight: NotNegative = 2.0


@dataclass(frozen=True, kw_only=True)
class TemporalActivationPart(WeightedPart):
    """Temporal activation regularization (Merity, McCann and Socher 2017).

    Adds β · mean of (h(t) - h(t-1))² to the loss, against states that change fast. h are the
    values at the site ``hidden``, the mean is over the steps of a chunk, sequences and units. The
    paper takes them before dropout: list this regularizer first. weight: β.
    """

    sites: ClassVar[tuple[str, ...]] = ("recurrent_weight",)  # models with states over time

    weight: NotNegative = 1.0


@dataclass(frozen=True, kw_only=True)
class LabelSmoothingPart(WeightedPart):
    """Label smoothing (Szegedy et al. 2016, section 7), with the uniform distribution.

    The loss becomes (1 - ε) (-ln p(target)) + ε mean_v(-ln p(v)); what that adds to -ln p(target)
    is reported as the penalty, the data loss stays what it is. It acts at the site ``margins``,
    which models with output = 'full' have, without n-gram features. weight: ε.
    """

    sites: ClassVar[tuple[str, ...]] = ("margins",)

    weight: Fraction = 0.1


# ---------------------------------------------------------------- between backward and step


@dataclass(frozen=True, kw_only=True)
class ClipPart(TorchRegularizerPart):
    """Scales the gradient down to a largest norm (Pascanu, Mikolov and Bengio 2013, Algorithm 1).

    norm: the largest length of the gradient over all parameters taken together.
    """

    norm: Positive = 1.0

    def make(self, context: Context) -> Regularizer:
        from lmgrid_torch.regularizers.penalties import Clip as Scaling

        return Scaling(self.norm)


@dataclass(frozen=True, kw_only=True)
class WeightDecayPart(WeightedPart):
    """Decoupled weight decay (Loshchilov and Hutter 2019), beside any optimizer.

    Each step first shrinks what has a gradient by the learning rate times weight; with ``adam``
    this is ``adamw``. weight: λ.
    """

    weight: NotNegative = 0.01
