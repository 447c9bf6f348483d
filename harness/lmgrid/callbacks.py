"""What is told of a cell while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from lmgrid.result import Point


@dataclass(frozen=True)
class Live:
    """How far a running cell is, for a progress bar."""

    share: float  # of the budget that is spent, from 0 to 1
    tokens_per_second: float
    perplexity: float | None  # of the training text since the last report; None: not known


@dataclass(frozen=True, kw_only=True)
class Callbacks:
    """Functions that are called while a cell runs; each does nothing by default.

    ``waiting`` if another run holds the cell's lock, ``begun`` once this one holds it, then
    ``live`` at every yield of ``fit`` and ``point`` at every point of the learning curve.
    """

    waiting: Callable[[], None] = field(default=lambda: None)
    begun: Callable[[], None] = field(default=lambda: None)
    live: Callable[[Live], None] = field(default=lambda live: None)
    point: Callable[[Point], None] = field(default=lambda point: None)


NO_CALLBACKS = Callbacks()
