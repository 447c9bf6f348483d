"""Learning-rate schedules, as functions of the progress of training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lmgrid.spec import Moment


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Computes the factor of the learning rate from the progress of training.

    The factor is a product of three: a linear warm-up from 0 to 1 over ``warmup_tokens`` tokens (0
    for none); 1/2 for every ``halve_every`` epochs (0 for never); and, by ``kind``, 1
    (``constant``), 1/2 for every plateau of ``patience`` points of the validation loss
    (``plateau``), or a cosine that falls from 1 to 0 over the budget (``cosine``).

    >>> Schedule(warmup_tokens=100, halve_every=1).factor(Moment(tokens=50, epochs=1.0, share=None))
    0.25
    """

    kind: Literal["constant", "plateau", "cosine"] = "constant"
    patience: int = 1
    warmup_tokens: int = 0
    halve_every: int = 0

    def factor(self, moment: Moment) -> float:
        """Return the factor of the next step, between 0 and 1; see ``cosine`` for errors."""
        warm = min(1.0, moment.tokens / self.warmup_tokens) if self.warmup_tokens else 1.0
        halvings = int(moment.epochs) // self.halve_every if self.halve_every else 0
        if self.kind == "plateau":
            halvings += stalls(moment.valid, self.patience)
        return warm * 0.5**halvings * (cosine(moment) if self.kind == "cosine" else 1.0)


def cosine(moment: Moment) -> float:
    """Return ½ (1 + cos π s), s the share of the budget (Loshchilov and Hutter 2017, eq. 5).

    ValueError where the share is not known.

    >>> cosine(Moment(tokens=250, epochs=0.5, share=0.5))
    0.5
    """
    if moment.share is None:
        raise ValueError(
            "schedule = 'cosine' needs the length of training; give a budget of epochs or tokens"
        )
    return 0.5 * (1 + math.cos(math.pi * min(moment.share, 1.0)))


def stalls(valid: Sequence[float], patience: int) -> int:
    """Return how often the loss did not fall below its minimum for ``patience`` points in a row.

    After each such plateau the count of points restarts.

    >>> stalls([3.0, 2.0, 2.5, 2.4, 1.9], patience=2)
    1
    """
    lowest, waited, stalled = math.inf, 0, 0
    for loss in valid:
        waited = 0 if loss < lowest else waited + 1
        lowest = min(lowest, loss)
        if waited == patience:
            stalled, waited = stalled + 1, 0
    return stalled


def non_monotonic(valid: Sequence[float], points: int) -> bool:
    """Return whether any loss exceeds the minimum of those more than ``points`` points before it.

    This is the trigger of NT-ASGD (Merity, Keskar and Socher 2018, Algorithm 1), as implemented by
    its authors: v(t) > min of v(0) … v(t - n - 1).

    >>> non_monotonic([3.0, 2.0, 2.1, 2.2], points=1)
    True
    """
    pairs = zip(valid[points + 1 :], range(1, len(valid)), strict=False)
    return any(loss > min(valid[:before]) for loss, before in pairs)
