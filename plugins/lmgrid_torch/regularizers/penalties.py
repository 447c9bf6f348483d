"""Regularizers behind their three doors: layers, loss, update. Those that draw are in dropout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lmgrid.spec import Regularizer
from lmgrid_torch.regularizers import parts
from lmgrid_torch.regularizers.site import Site, sites


class NoEffect:
    """A regularizer that does nothing; the others open the door they need."""

    def layers(self, module: nn.Module) -> None:
        """Act where the model marked a named Site."""

    def loss(self, module: nn.Module) -> Tensor | float:
        return 0.0

    def update(self, module: nn.Module, rate: float) -> int:
        return 0


@dataclass(frozen=True)
class L1(NoEffect):
    """Adds ``weight`` · Σ |θ| over all parameters."""

    weight: float

    def loss(self, module: nn.Module) -> Tensor | float:
        lengths = [parameter.abs().sum() for parameter in module.parameters()]
        return self.weight * torch.stack(lengths).sum()


@dataclass(frozen=True)
class L2(NoEffect):
    """Adds ``weight`` · Σ θ² over all parameters."""

    weight: float

    def loss(self, module: nn.Module) -> Tensor | float:
        squares = [parameter.square().sum() for parameter in module.parameters()]
        return self.weight * torch.stack(squares).sum()


@dataclass
class Keeping(NoEffect):
    """Keeps what passes a Site in a step, for the penalty of that step alone."""

    weight: float
    kept: list[Tensor] = field(default_factory=list, init=False, repr=False)

    def keep(self, values: Tensor) -> Tensor:
        self.kept.append(values)
        return values

    def take(self) -> list[Tensor]:
        taken, self.kept = self.kept, []
        return taken


class Activation(Keeping):
    """Adds ``weight`` · mean of h² over time, batch and units."""

    def layers(self, module: nn.Module) -> None:
        keep_at(module, "hidden", self)

    def loss(self, module: nn.Module) -> Tensor | float:
        return self.weight * sum(h.square().mean() for h in self.take())


class TemporalActivation(Activation):
    """Adds ``weight`` · mean of (h(t) - h(t-1))² over the steps of a batch, its units."""

    def loss(self, module: nn.Module) -> Tensor | float:
        changes = [h[1:] - h[:-1] for h in self.take()]  # (T - 1, B, H), empty where T is 1
        return self.weight * sum(c.square().sum() / max(c.numel(), 1) for c in changes)


class LabelSmoothing(Keeping):
    """Adds ``weight`` · mean of (s_t - mean_v s_v), the margin of a target's logit.

    -ln p(v) = ln Σ exp(s) - s_v, so that (1 - ε) (-ln p(t)) + ε mean_v(-ln p(v)) exceeds -ln p(t)
    by ε (s_t - mean_v s_v): the smoothed loss takes no second softmax.
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
    """Let ``keeping`` see what passes the Sites of this name."""
    keeping.kept.clear()
    for site in sites(module):
        if site.name == name:
            site.actions.append(keeping.keep)


@dataclass(frozen=True)
class Clip(NoEffect):
    """If ‖g‖ ≥ ``norm``, g ← norm / ‖g‖ · g, with g the gradient over all parameters."""

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
    """Shrinks what has a gradient: θ ← (1 - rate · ``weight``) θ, whatever the optimizer.

    It acts at every step, which is no event to count.
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
