"""Losses, penalties and events of the steps since the last yield."""

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
    """Collects losses, penalties and events; losses stay on their device until they are needed."""

    exact: bool  # whether the loss is the mean of -ln p
    tokens: list[int] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)
    penalties: list[Tensor | float] = field(default_factory=list)
    events: Counter[str] = field(default_factory=Counter)
    first: list[tuple[int, float]] = field(default_factory=list)  # losses of FIRST_STEPS

    def add(self, tokens: int, loss: Tensor, penalty: Tensor | float) -> None:
        """Add a batch: its number of targets, its mean data loss in nats, and its penalty."""
        self.tokens.append(tokens)
        self.losses.append(loss.detach())
        self.penalties.append(penalty.detach() if isinstance(penalty, Tensor) else penalty)

    def count(self, regularizer: Regularizer, times: int) -> None:
        """Add to the events that are named after the regularizer's class."""
        self.events[type(regularizer).__name__.lower()] += times

    def keep_loss(self, step: int, batches: int) -> None:
        """Keep the mean loss of a step if it is one of FIRST_STEPS and the loss is finite.

        The step consists of the last ``batches`` batches added.
        """
        if step not in FIRST_STEPS:
            return
        loss = self._mean(self.losses[-batches:], self.tokens[-batches:])
        if math.isfinite(loss):
            self.first.append((step, loss))

    def total(self) -> Tensor:
        """Return the sum of the losses, (), which is finite if each loss is."""
        return torch.stack(self.losses).sum()

    def undo(self) -> None:
        """Remove the steps undone by a rollback, and count one more rollback.

        Losses of FIRST_STEPS are kept, since steps count on through a rollback.
        """
        rollbacks, first = self.events["rollback"] + 1, tuple(self.first)
        self.clear()
        self.events["rollback"] = rollbacks
        self.first.extend(first)

    def clear(self) -> None:
        """Remove everything collected."""
        for kept in (self.tokens, self.losses, self.penalties, self.events, self.first):
            kept.clear()

    def report(self, tokens: int, compile_seconds: float) -> Progress:
        """Return the means and counts since the last report, and clear them."""
        nats = self._mean(self.losses, self.tokens) if self.exact else None
        penalty = float(np.mean([float(value) for value in self.penalties]))
        events = tuple((name, times) for name, times in self.events.items() if times)
        first = tuple(self.first)
        self.clear()
        return Progress(
            tokens,
            nats,
            penalty=penalty,
            compile_seconds=compile_seconds,
            events=events,
            losses=first,
        )

    @staticmethod
    def _mean(losses: list[Tensor], tokens: list[int]) -> float:
        """Return the mean loss per token of these batches, copied from their device."""
        values = torch.stack(losses).cpu().double().numpy()
        return float(np.average(values, weights=tokens))
