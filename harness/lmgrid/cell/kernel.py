"""Compares a loop with its vectorised form: first their results, then their times."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from lmgrid.cell.paired_timing import Seconds, time_pair
from lmgrid.result import KernelResult
from lmgrid.spec import Device, Kernel

SEED = 5
NUMBERS = "biufc"  # NumPy's kinds of numeric types
SAMPLES = 2  # from different seeds, on each of which the two forms must agree


def compare(kernel: Kernel, device: Device, name: str) -> KernelResult:
    """Run both forms on equal arguments; time them on the named device only if they agree."""
    gap = largest_difference(kernel)
    equal = gap <= kernel.tolerance
    loop, vector = _times(kernel, device, name) if equal else ((), ())
    return KernelResult(
        equal=equal,
        difference=gap,
        tolerance=kernel.tolerance,
        loop_seconds=loop,
        vector_seconds=vector,
    )


def largest_difference(kernel: Kernel) -> float:
    """Return the largest absolute difference of the two forms over all samples."""
    return max(difference(kernel, seed) for seed in range(SEED, SEED + SAMPLES))


def difference(kernel: Kernel, seed: int) -> float:
    """Return the largest absolute difference of the two forms on one sample.

    Each form is called twice on arguments of its own, as when it is timed, so that a form that
    changes its arguments is found.
    """
    one, two = (_call_twice(form, kernel.sample(seed)) for form in (kernel.loop, kernel.vector))
    return max(distance(left, right) for left in one for right in two)


def _call_twice(form: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, Any]:
    return form(*arguments), form(*arguments)


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


def _times(kernel: Kernel, device: Device, name: str) -> tuple[Seconds, Seconds]:
    loop, vector = _bind(kernel, kernel.loop), _bind(kernel, kernel.vector)
    return time_pair(loop, vector, lambda: device.synchronize(name))


def _bind(kernel: Kernel, form: Callable[..., Any]) -> Callable[[], Any]:
    arguments = kernel.sample(SEED)
    return lambda: form(*arguments)
