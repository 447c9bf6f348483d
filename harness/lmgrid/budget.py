"""How long a model may train."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """When training ends: at whichever comes first; None is no limit."""

    epochs: float | None = None  # passes over train
    seconds: float | None = None  # of training alone, wall time
    tokens: int | None = None  # training tokens predicted
    cpu_seconds: float | None = None  # of training alone, on a CPU: what a busy machine leaves

    def __post_init__(self) -> None:
        for name in ("epochs", "seconds", "tokens", "cpu_seconds"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"{name} must be positive, not {value}")

    def limit(self, train_tokens: int) -> float:
        """Return after how many training tokens to stop; infinity if only time ends it."""
        by_epochs = float("inf") if self.epochs is None else self.epochs * train_tokens
        return min(by_epochs, float("inf") if self.tokens is None else self.tokens)
