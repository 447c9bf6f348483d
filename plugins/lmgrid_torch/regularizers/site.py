"""Named places in a network, where regularizers act."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn


class Site(nn.Module):
    """A place in a network: the identity, but for what regularizers do there in training.

    A model marks the place and gives it a name (``"input"``, ``"hidden"``), never what happens
    there.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.actions: list[Callable[[Tensor], Tensor]] = []

    @property
    def awaited(self) -> bool:
        """Whether anybody acts here now; a model may spare itself what is computed for nobody."""
        return self.training and bool(self.actions)

    def forward(self, values: Tensor) -> Tensor:
        if self.awaited:
            for act in self.actions:
                values = act(values)
        return values


def sites(module: torch.nn.Module) -> Iterator[Site]:
    """Yield the places of a network, in the order in which they were marked."""
    return (child for child in module.modules() if isinstance(child, Site))
