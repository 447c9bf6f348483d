"""Options of the reporter of recurrent models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from msgspec import Meta

from lmgrid.spec import Context, Reporter, ReporterPart


@dataclass(frozen=True, kw_only=True)
class GradientsPart(ReporterPart):
    """How far back gradients reach in a recurrent network, and how long they are.

    At each point, for each recurrent layer: ``layer1.state_gradient`` at ℓ is the norm of
    ∂J(t)/∂h(t-ℓ), the gradient of the loss of word t with respect to the state ℓ steps before,
    for ℓ = 0 … lags, a mean over places t of the validation text; ``layer1.cell_gradient`` is
    that of an LSTM's c(t-ℓ). Each holds the other of h and c fixed.
    ``layer1.spectral_radius`` is the largest |eigenvalue| of W_h, at the gate's number where
    there are several (Pascanu, Mikolov and Bengio 2013).

    Over the steps since the last point: ``gradient_norm.mean`` and ``gradient_norm.max``, the
    norm of the gradient over all parameters as it comes from the loss, and
    ``updated_gradient_norm.mean`` and ``.max``, the same after clipping. Where training went back
    in between (the event ``rollback``), they are over the steps that were taken back too, but for
    norms that are not finite.
    """

    requires: ClassVar[str] = "torch"
    preload: ClassVar[tuple[str, ...]] = ("lmgrid_rnn.gradients",)
    sites: ClassVar[tuple[str, ...]] = ("recurrent_weight",)

    lags: Annotated[int, Meta(ge=0)] = 30

    def make(self, context: Context) -> Reporter:
        from lmgrid_rnn.gradients import GradientReporter as Instrument

        return Instrument(self.lags)
