"""Averaged stochastic gradient descent: it trains one set of weights and scores with their mean."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor


class AveragedSgd(torch.optim.SGD):
    """θ̄(t) = θ̄(t-1) + (θ(t) - θ̄(t-1)) / n, n the steps since averaging began.

    Polyak and Juditsky 1992. The mean begins with the first step at which the setting
    ``averaging`` is not 0. ``eval`` puts the mean in place of the weights, ``train`` these back.
    """

    def __init__(self, parameters: Any, **options: Any) -> None:
        super().__init__(parameters, **options)
        for group in self.param_groups:
            group["averaging"] = 0
        self.scoring = False

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        super().step(closure)
        weights = list(self._averaged())
        if not weights:
            return
        for weight in weights:
            state = self.state[weight]
            state.setdefault("mean", weight.detach().clone())
            state["averaged"] = state.get("averaged", 0) + 1
        means = [self.state[weight]["mean"] for weight in weights]
        steps = self.state[weights[0]]["averaged"]
        torch._foreach_lerp_(means, weights, 1 / steps)

    def eval(self) -> None:
        """Put the means in place, to score with; the weights are kept meanwhile."""
        if not self.scoring:
            self._swap()
        self.scoring = True

    def train(self) -> None:
        """Put the weights back."""
        if self.scoring:
            self._swap()
        self.scoring = False

    def _averaged(self) -> Iterator[Tensor]:
        groups = (group for group in self.param_groups if group["averaging"])
        return (weight for group in groups for weight in group["params"] if weight.requires_grad)

    @torch.no_grad()
    def _swap(self) -> None:
        for weight, state in self.state.items():
            if "mean" in state:
                kept = weight.clone()
                weight.copy_(state["mean"])
                state["mean"].copy_(kept)
