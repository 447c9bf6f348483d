"""Options of the reporter of recurrent models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from msgspec import Meta

from lmgrid.spec import Context, Reporter, ReporterPart


@dataclass(frozen=True, kw_only=True)
class GradientsPart(ReporterPart):
    """How far back gradients reach in a recurrent network, and their norms.

    At each point, for each recurrent layer: ``layer1.state_gradient`` at ℓ is the norm of
    ∂J(t)/∂h(t-ℓ), the gradient of the loss of word t with respect to the state ℓ steps earlier, for
    ℓ = 0 … lags, averaged over places t of the validation text. ``layer1.cell_gradient`` is the
    same for the cell state c(t-ℓ) of an LSTM. The gradient with respect to h holds c fixed, and the
    reverse. ``layer1.spectral_radius`` is the largest |eigenvalue| of W_h, by the number of the
    gate where there are several gates (Pascanu, Mikolov and Bengio 2013).

    Over the steps since the last point: ``gradient_norm.mean`` and ``gradient_norm.max`` are of the
    norm of the gradient of the loss over all parameters, before clipping;
    ``updated_gradient_norm.mean`` and ``updated_gradient_norm.max`` are the same after clipping.
    Steps that were undone by a rollback (the event ``rollback``) count too, except for norms that
    are not finite.
    """

    requires: ClassVar[str] = "torch"
    preload: ClassVar[tuple[str, ...]] = ("lmgrid_rnn.gradients",)
    sites: ClassVar[tuple[str, ...]] = ("recurrent_weight",)

    lags: Annotated[
        int, Meta(ge=0, description="Largest ℓ, in time steps, for which gradients are reported.")
    ] = 30

    def make(self, context: Context) -> Reporter:
        from lmgrid_rnn.gradients import GradientReporter

        return GradientReporter(lags=self.lags)
