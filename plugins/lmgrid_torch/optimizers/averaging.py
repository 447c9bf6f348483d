"""Averaged stochastic gradient descent: scores with the mean of the weights of past steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lmgrid.spec import Moment
from lmgrid_torch.optimizers.schedules import non_monotonic
from lmgrid_torch.optimizers.torch_optimizer import TorchOptimizer


class AveragedSgd(torch.optim.SGD):
    """Stochastic gradient descent with the running mean of its weights (Polyak and Juditsky 1992).

    θ̄(t) = θ̄(t-1) + (θ(t) - θ̄(t-1)) / n, where n is the number of steps since averaging began: the
    first step with a parameter group's ``averaging`` unequal to 0. ``eval`` replaces the weights by
    their mean for scoring, and ``train`` restores them.

    >>> weight = torch.nn.Parameter(torch.tensor([0.0]))
    >>> optimizer = AveragedSgd([weight], lr=1.0)
    >>> optimizer.param_groups[0]["averaging"] = 1
    >>> for gradient in (-1.0, -2.0):
    ...     weight.grad = torch.tensor([gradient])
    ...     optimizer.step()
    >>> optimizer.eval()
    >>> weight.item()  # the mean of 1 and 3
    2.0
    >>> optimizer.train()
    >>> weight.item()
    3.0
    """

    def __init__(self, parameters: Any, **options: Any) -> None:
        super().__init__(parameters, **options)
        for group in self.param_groups:
            group["averaging"] = 0
        self.scoring = False

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take a step of gradient descent, and update the means."""
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
        """Replace the weights by their means, for scoring."""
        if not self.scoring:
            self._swap()
        self.scoring = True

    def train(self) -> None:
        """Restore the weights, for training."""
        if self.scoring:
            self._swap()
        self.scoring = False

    def _averaged(self) -> Iterator[Tensor]:
        """Yield the weights that are averaged now."""
        groups = (group for group in self.param_groups if group["averaging"])
        return (weight for group in groups for weight in group["params"] if weight.requires_grad)

    @torch.no_grad()
    def _swap(self) -> None:
        """Exchange each weight with its mean."""
        for weight, state in self.state.items():
            if "mean" in state:
                kept = weight.clone()
                weight.copy_(state["mean"])
                state["mean"].copy_(kept)


@dataclass(frozen=True, kw_only=True)
class AveragedSgdOptimizer(TorchOptimizer):
    """Builds an ``AveragedSgd``, and says when its averaging begins.

    Averaging begins when the validation loss exceeds the lowest of those more than ``trigger``
    points earlier (``non_monotonic``; 0 for never), or after ``start_epoch`` epochs (None for
    never), whichever comes first.
    """

    trigger: int
    start_epoch: float | None

    def settings(self, moment: Moment) -> Mapping[str, float]:
        """Return the learning rate of the next step, and ``averaging``: 1 if it has begun."""
        stalled = self.trigger > 0 and non_monotonic(moment.valid, self.trigger)
        started = self.start_epoch is not None and moment.epochs >= self.start_epoch
        return {**super().settings(moment), "averaging": int(stalled or started)}
