"""What happened in training since the last yield."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from lmgrid.spec import FIRST_STEPS, Progress, Regularizer


@dataclass
class StepStats:
    """Losses, penalties and events. Losses stay on their device until they are asked for."""

    exact: bool  # whether the loss is that of normalised probabilities
    tokens: list[int] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)
    penalties: list[Tensor | float] = field(default_factory=list)
    events: Counter[str] = field(default_factory=Counter)
    first: list[tuple[int, float]] = field(default_factory=list)  # losses of FIRST_STEPS

    def add(self, tokens: int, loss: Tensor, penalty: Tensor | float) -> None:
        self.tokens.append(tokens)
        self.losses.append(loss.detach())
        self.penalties.append(penalty.detach() if isinstance(penalty, Tensor) else penalty)

    def count(self, regularizer: Regularizer, times: int) -> None:
        self.events[type(regularizer).__name__.lower()] += times

    def keep_loss(self, step: int, batches: int) -> None:
        """Keep the mean loss of a step, the last ``batches`` added, if it is of FIRST_STEPS.

        A loss that is not finite is left out.
        """
        if step not in FIRST_STEPS:
            return
        loss = self._mean(self.losses[-batches:], self.tokens[-batches:])
        if math.isfinite(loss):
            self.first.append((step, loss))

    def total(self) -> Tensor:
        """Return the sum of the losses, which is finite if each is."""
        return torch.stack(self.losses).sum()

    def undo(self) -> None:
        """Forget the steps that were taken back, and count one more way back.

        Losses of FIRST_STEPS stay, for these steps are not reported again.
        """
        rollbacks, first = self.events["rollback"] + 1, tuple(self.first)
        self.clear()
        self.events["rollback"] = rollbacks
        self.first.extend(first)

    def clear(self) -> None:
        for kept in (self.tokens, self.losses, self.penalties, self.events, self.first):
            kept.clear()

    def report(self, tokens: int, compile_seconds: float) -> Progress:
        """Return means and counts since the last report, and begin anew."""
        nats = self._mean(self.losses, self.tokens) if self.exact else None
        penalty = float(np.mean([float(value) for value in self.penalties]))
        events = tuple((name, times) for name, times in self.events.items() if times)
        first = tuple(self.first)
        self.clear()
        return Progress(tokens, nats, penalty, compile_seconds, events, first)

    @staticmethod
    def _mean(losses: list[Tensor], tokens: list[int]) -> float:
        """Return the mean loss per token of some batches, read from their device."""
        values = torch.stack(losses).cpu().double().numpy()
        return float(np.average(values, weights=tokens))
