"""The base class of regularizers, and of penalties of the values at a site."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn

from lmgrid_torch.regularizers.site import sites


class TorchRegularizer:
    """An ``lmgrid.spec.Regularizer`` without effect; subclasses override the methods they need."""

    def layers(self, module: nn.Module) -> None:
        """Add actions to sites of the network."""

    def loss(self, module: nn.Module) -> Tensor | float:
        """Return the penalty of this step, ()."""
        return 0.0

    def update(self, module: nn.Module, rate: float) -> int:
        """Change gradients or weights before the step; return the number of changes to count.

        ``rate`` is the learning rate of the step.
        """
        return 0


@dataclass(kw_only=True)
class SitePenalty(TorchRegularizer):
    """Collects the values at a site during a step, from which a subclass computes its penalty."""

    weight: float
    collected: list[Tensor] = field(default_factory=list, init=False, repr=False)

    def collect_at(self, module: nn.Module, name: str) -> None:
        """Collect the values at the sites with this name from now on."""
        self.collected.clear()
        for site in sites(module):
            if site.name == name:
                site.actions.append(self.collect)

    def collect(self, values: Tensor) -> Tensor:
        """Collect the values and return them unchanged."""
        self.collected.append(values)
        return values

    def take(self) -> list[Tensor]:
        """Return the values collected since the last call."""
        taken, self.collected = self.collected, []
        return taken
