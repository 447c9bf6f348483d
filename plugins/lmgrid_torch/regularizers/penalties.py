"""Regularizers that draw no random numbers: penalties, gradient clipping and weight decay."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lmgrid.spec import Regularizer
from lmgrid_torch.regularizers import parts
from lmgrid_torch.regularizers.site import Site, sites


class NoEffect:
    """A regularizer without effect; subclasses override the methods that they need."""

    def layers(self, module: nn.Module) -> None:
        """Add actions to sites of the network."""

    def loss(self, module: nn.Module) -> Tensor | float:
        """Return the penalty of this step."""
        return 0.0

    def update(self, module: nn.Module, rate: float) -> int:
        """Change gradients or weights before the step; return the number of changes to count."""
        return 0


@dataclass(frozen=True)
class L1(NoEffect):
    """Adds ``weight`` · Σ |θ| over all parameters to the loss (Tibshirani 1996).

    >>> layer = nn.Linear(1, 1)
    >>> _ = nn.init.constant_(layer.weight, -3.0), nn.init.constant_(layer.bias, 1.0)
    >>> L1(weight=0.5).loss(layer).item()
    2.0
    """

    weight: float

    def loss(self, module: nn.Module) -> Tensor | float:
        lengths = [parameter.abs().sum() for parameter in module.parameters()]
        return self.weight * torch.stack(lengths).sum()


@dataclass(frozen=True)
class L2(NoEffect):
    """Adds ``weight`` · Σ θ² over all parameters to the loss."""

    weight: float

    def loss(self, module: nn.Module) -> Tensor | float:
        squares = [parameter.square().sum() for parameter in module.parameters()]
        return self.weight * torch.stack(squares).sum()


@dataclass
class Keeping(NoEffect):
    """Collects the values at a site during a step, for the penalty of that step."""

    weight: float
    kept: list[Tensor] = field(default_factory=list, init=False, repr=False)

    def keep(self, values: Tensor) -> Tensor:
        """Collect the values and return them unchanged."""
        self.kept.append(values)
        return values

    def take(self) -> list[Tensor]:
        """Return the values collected since the last call."""
        taken, self.kept = self.kept, []
        return taken


class Activation(Keeping):
    """Adds ``weight`` · mean of h² over time, batch and units to the loss.

    h are the values at the site ``hidden`` (Merity, McCann and Socher 2017).
    """

    def layers(self, module: nn.Module) -> None:
        keep_at(module, "hidden", self)

    def loss(self, module: nn.Module) -> Tensor | float:
        return self.weight * sum(h.square().mean() for h in self.take())


class TemporalActivation(Activation):
    """Adds ``weight`` · mean of (h(t) - h(t-1))² over time, batch and units to the loss.

    h are the values at the site ``hidden``, (T, B, H) (Merity, McCann and Socher 2017).
    """

    def loss(self, module: nn.Module) -> Tensor | float:
        changes = [h[1:] - h[:-1] for h in self.take()]  # (T - 1, B, H), empty where T is 1
        return self.weight * sum(c.square().sum() / max(c.numel(), 1) for c in changes)


class LabelSmoothing(Keeping):
    """Adds ``weight`` · mean of (s_t - mean_v s_v), the margin of a target's logit, to the loss.

    Since -ln p(v) = ln Σ exp(s) - s_v, the smoothed loss (1 - ε) (-ln p(t)) + ε mean_v(-ln p(v))
    (Szegedy et al. 2016, section 7) exceeds -ln p(t) by ε (s_t - mean_v s_v). So it needs no
    second softmax. ValueError where the output layer does not compute margins.
    """

    def layers(self, module: nn.Module) -> None:
        output = module.get_submodule("output")
        if not any(isinstance(child, Site) for child in output.children()):
            self._refuse(output)
        keep_at(output, "margins", self)

    def loss(self, module: nn.Module) -> Tensor | float:
        margins = self.take()
        if not margins:
            self._refuse(module.get_submodule("output"))
        return self.weight * margins[0]

    def _refuse(self, output: nn.Module) -> None:
        raise ValueError(
            "label-smoothing needs the logits of all words, which the output layer "
            f"{type(output).__name__} does not compute in training; set output = 'full'"
        )


def keep_at(module: nn.Module, name: str, keeping: Keeping) -> None:
    """Let ``keeping`` collect the values at the sites of this name."""
    keeping.kept.clear()
    for site in sites(module):
        if site.name == name:
            site.actions.append(keeping.keep)


@dataclass(frozen=True)
class Clip(NoEffect):
    """Scales the gradient g over all parameters to ``norm`` if it is longer.

    g ← norm / ‖g‖ · g if ‖g‖ ≥ norm (Pascanu, Mikolov and Bengio 2013, Algorithm 1).
    """

    norm: float

    @torch.no_grad()
    def update(self, module: nn.Module, rate: float) -> int:
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        length = float(nn.utils.get_total_norm(gradients))
        if length < self.norm:
            return 0
        for gradient in gradients:
            gradient.mul_(self.norm / length)
        return 1


@dataclass(frozen=True)
class WeightDecay(NoEffect):
    """Multiplies each parameter that has a gradient by 1 - rate · ``weight`` before the step.

    (Loshchilov and Hutter 2019.) As it acts in every step, its updates are not counted.
    """

    weight: float

    @torch.no_grad()
    def update(self, module: nn.Module, rate: float) -> int:
        for parameter in module.parameters():
            if parameter.grad is not None:
                parameter.mul_(1 - rate * self.weight)
        return 0


OF_PART: Mapping[type[object], Callable[[float], Regularizer]] = {
    parts.L1Part: L1,
    parts.L2Part: L2,
    parts.ActivationPart: Activation,
    parts.TemporalActivationPart: TemporalActivation,
    parts.LabelSmoothingPart: LabelSmoothing,
    parts.WeightDecayPart: WeightDecay,
}
