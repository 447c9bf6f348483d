"""Sites: named places in a network where regularizers act."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn


class Site(nn.Module):
    """A named place in a network: applies ``actions`` in training, and is the identity otherwise.

    The model gives the site its name (``"input"``, ``"hidden"``); regularizers append the actions.

    >>> site = Site("hidden")
    >>> site.actions.append(lambda values: 2 * values)
    >>> site(torch.ones(2))
    tensor([2., 2.])
    >>> site.eval()(torch.ones(2))
    tensor([1., 1.])
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.actions: list[Callable[[Tensor], Tensor]] = []

    @property
    def active(self) -> bool:
        """Whether an action is applied now; if not, a model may skip computing the values."""
        return self.training and bool(self.actions)

    def forward(self, values: Tensor) -> Tensor:
        """Return the values after all actions, in their order."""
        if self.active:
            for act in self.actions:
                values = act(values)
        return values


def sites(module: torch.nn.Module) -> Iterator[Site]:
    """Yield the sites of a network, in the order of its modules."""
    return (child for child in module.modules() if isinstance(child, Site))
