"""Options of the regularizers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lmgrid.spec import Context, Regularizer, RegularizerPart
from lmgrid_torch.parts import Fraction, NotNegative, Positive


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
