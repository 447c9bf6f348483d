"""Draws random ranks by Zipf's law, for generated texts in tests, kernels and benchmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def zipf_ranks(
    rng: np.random.Generator, types: int, size: int, *, exponent: float = 1.0
) -> NDArray[np.int64]:
    """Return ranks from 0 to ``types - 1``, shape (size,), drawn independently.

    The type of rank r, counted from 1, has a probability proportional to 1 / r ** exponent, as in
    natural text, where the exponent is about 1 (Zipf 1949). So rank 0 is the most frequent.

    >>> import numpy as np
    >>> ranks = zipf_ranks(np.random.default_rng(0), types=3, size=11_000)
    >>> (np.bincount(ranks) / 1_000).round().tolist()  # as 1 : 1/2 : 1/3
    [6.0, 3.0, 2.0]
    """
    import numpy as np

    weights = 1 / np.arange(1, types + 1) ** exponent
    return rng.choice(types, size=size, p=weights / weights.sum())
