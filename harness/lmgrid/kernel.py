"""A pair of loop and vectorised form to its record: first proved equal, then timed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from lmgrid.clock import time_pair
from lmgrid.grid import KernelCell
from lmgrid.record import Circumstances, Inputs, KernelRecord
from lmgrid.registry import Registry
from lmgrid.spec import Kernel

SEED = 5
NUMBERS = "biufc"  # kinds of NumPy's types that have a distance
PROOFS = 2  # samples on which the twins must agree, from unlike seeds


def compare(
    cell: KernelCell, registry: Registry, known: tuple[Inputs, Circumstances]
) -> KernelRecord:
    """Run both twins on equal arguments; time them only if they agree."""
    kernel = registry.kernel(cell.kernel).make(cell.device)
    worst = max(difference(kernel, seed) for seed in range(SEED, SEED + PROOFS))
    equal = worst <= kernel.tolerance
    loop, vector = _times(kernel, registry, cell.device) if equal else ((), ())
    went_in, circumstances = known
    return KernelRecord(went_in, equal, worst, kernel.tolerance, loop, vector, circumstances)


def difference(kernel: Kernel, seed: int) -> float:
    """Return how far the twins are apart, each on arguments of its own.

    Each is called twice on them, as when it is timed: one that changes its arguments shows.
    """
    one, two = (_call_twice(twin, kernel.sample(seed)) for twin in (kernel.loop, kernel.vector))
    return max(distance(left, right) for left in one for right in two)


def _call_twice(twin: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, Any]:
    return twin(*arguments), twin(*arguments)


def distance(one: Any, two: Any) -> float:
    """Return the largest absolute difference of two results; infinity for unlike shapes or NaN."""
    if isinstance(one, (tuple, list)) and isinstance(two, (tuple, list)):
        if len(one) != len(two):
            return math.inf
        return max(map(distance, one, two), default=0.0)
    left, right = np.asarray(_on_host(one)), np.asarray(_on_host(two))
    if left.shape != right.shape:
        return math.inf
    if left.dtype.kind not in NUMBERS or right.dtype.kind not in NUMBERS:
        return 0.0 if np.array_equal(left, right) else math.inf
    unlike = left != right  # exact for integers, which floating point would round
    if not unlike.any():
        return 0.0
    kind = np.result_type(left, right, np.float64)
    gap = np.abs(left[unlike].astype(kind) - right[unlike].astype(kind))
    return max(float(gap.max()), 5e-324) if np.isfinite(gap).all() else math.inf


def _on_host(result: Any) -> Any:
    """Return a tensor of another device as one that NumPy can read."""
    return result.detach().cpu() if hasattr(result, "detach") else result


def _times(
    kernel: Kernel, registry: Registry, device: str
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    loop, vector = _bind(kernel, kernel.loop), _bind(kernel, kernel.vector)
    provider = registry.device(device)
    one, two = time_pair(loop, vector, lambda: provider.synchronize(device))
    return one.seconds, two.seconds


def _bind(kernel: Kernel, twin: Callable[..., Any]) -> Callable[[], Any]:
    arguments = kernel.sample(SEED)
    return lambda: twin(*arguments)
