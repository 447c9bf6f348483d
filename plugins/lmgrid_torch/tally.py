"""What happened in training since the last yield."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from lmgrid.spec import Progress, Regularizer


@dataclass
class Tally:
    """Losses, penalties and events. Losses stay on their device until they are asked for."""

    exact: bool  # whether the loss is that of normalised probabilities
    tokens: list[int] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)
    penalties: list[Tensor | float] = field(default_factory=list)
    events: Counter[str] = field(default_factory=Counter)

    def add(self, tokens: int, loss: Tensor, penalty: Tensor | float) -> None:
        self.tokens.append(tokens)
        self.losses.append(loss.detach())
        self.penalties.append(penalty.detach() if isinstance(penalty, Tensor) else penalty)

    def count(self, regularizer: Regularizer, times: int) -> None:
        self.events[type(regularizer).__name__.lower()] += times

    def total(self) -> Tensor:
        """Return the sum of the losses, which is finite if each is."""
        return torch.stack(self.losses).sum()

    def undo(self) -> None:
        """Forget the steps that were taken back, and count one more way back."""
        rollbacks = self.events["rollback"] + 1
        self.clear()
        self.events["rollback"] = rollbacks

    def clear(self) -> None:
        for kept in (self.tokens, self.losses, self.penalties, self.events):
            kept.clear()

    def report(self, tokens: int, compile_seconds: float) -> Progress:
        """Return means and counts since the last report, and begin anew."""
        nats = None
        if self.exact:
            losses = torch.stack(self.losses).cpu().double().numpy()
            nats = float(np.average(losses, weights=self.tokens))
        penalty = float(np.mean([float(value) for value in self.penalties]))
        events = tuple((name, times) for name, times in self.events.items() if times)
        self.clear()
        return Progress(tokens, nats, penalty, compile_seconds, events)
