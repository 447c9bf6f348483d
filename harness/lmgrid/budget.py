"""Defines the budget: how long a model may train."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """Limits of training; training ends at the first one reached. None means no limit.

    Raises ValueError for a limit that is not positive and finite.
    """

    epochs: float | None = None  # passes over train
    seconds: float | None = None  # wall time of training, without scoring
    tokens: int | None = None  # training tokens predicted
    cpu_seconds: float | None = None  # CPU time of training, without scoring

    def __post_init__(self) -> None:
        for name in ("epochs", "seconds", "tokens", "cpu_seconds"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"{name} must be positive, not {value}")

    def limit(self, train_tokens: int) -> float:
        """Return the number of tokens to train on; infinity if only time limits training.

        ``train_tokens`` is the number of tokens in the train split.

        >>> Budget(epochs=2, tokens=1_500).limit(train_tokens=1_000)
        1500
        >>> Budget(seconds=60).limit(train_tokens=1_000)
        inf
        """
        by_epochs = float("inf") if self.epochs is None else self.epochs * train_tokens
        return min(by_epochs, float("inf") if self.tokens is None else self.tokens)
