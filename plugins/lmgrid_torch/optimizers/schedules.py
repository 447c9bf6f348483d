"""How a learning rate changes while training goes on: functions of the moment alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lmgrid.spec import Moment

if TYPE_CHECKING:
    from lmgrid_torch.optimizers.parts import TorchOptimizerPart


def factor(part: TorchOptimizerPart, moment: Moment) -> float:
    """Return what to multiply the learning rate by: warm-up · halving · schedule."""
    warm = min(1.0, moment.tokens / part.warmup_tokens) if part.warmup_tokens else 1.0
    halvings = int(moment.epochs) // part.halve_every if part.halve_every else 0
    if part.schedule == "plateau":
        halvings += stalls(moment.valid, part.patience)
    return warm * 0.5**halvings * (cosine(moment) if part.schedule == "cosine" else 1.0)


def cosine(moment: Moment) -> float:
    """Return ½ (1 + cos π s), s the share of the budget (Loshchilov and Hutter 2017, eq. 5)."""
    if moment.share is None:
        raise ValueError(
            "schedule = 'cosine' must know how long training is; give a budget of epochs or tokens"
        )
    return 0.5 * (1 + math.cos(math.pi * min(moment.share, 1.0)))


def stalls(valid: Sequence[float], patience: int) -> int:
    """Return how often the loss was not below its lowest for ``patience`` points in a row.

    After each such stall the count of points begins anew.
    """
    lowest, waited, stalled = math.inf, 0, 0
    for loss in valid:
        waited = 0 if loss < lowest else waited + 1
        lowest = min(lowest, loss)
        if waited == patience:
            stalled, waited = stalled + 1, 0
    return stalled


def non_monotonic(valid: Sequence[float], points: int) -> bool:
    """Return whether a loss ever lay above the lowest of those more than ``points`` before it.

    The trigger of NT-ASGD, as its authors' program has it (Merity, Keskar and Socher 2018,
    Algorithm 1): v(t) > min of v(0) … v(t - n - 1).
    """
    pairs = zip(valid[points + 1 :], range(1, len(valid)), strict=False)
    return any(loss > min(valid[:before]) for loss, before in pairs)
