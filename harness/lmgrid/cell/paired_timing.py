"""Times two calls in alternation, after a warm-up."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import TypeAlias

ROUNDS = 15
SAMPLE_SECONDS = 0.01  # a sample repeats its call until it takes so long
PAIR_SECONDS = 4.0  # beyond this, fewer rounds
FEWEST_ROUNDS = 3

Seconds: TypeAlias = tuple[float, ...]


def time_pair(
    first: Callable[[], object], second: Callable[[], object], synchronize: Callable[[], None]
) -> tuple[Seconds, Seconds]:
    """Return the seconds per call of each of two functions, one value per round.

    Both must have been called before. They are timed in alternation, so that the machine is in
    the same state for both, and with garbage collection off. Slow calls get fewer rounds.
    """
    twins = (first, second)
    calls = [_calibrate(call, synchronize) for call in twins]
    costs = sum(seconds * n for n, seconds in calls)
    rounds = max(FEWEST_ROUNDS, min(ROUNDS, int(PAIR_SECONDS / costs)))
    samples: tuple[list[float], list[float]] = ([], [])
    with _no_collection():
        for _ in range(rounds):
            for call, (n, _), sample in zip(twins, calls, samples, strict=True):
                sample.append(_seconds(call, n, synchronize))
    return tuple(samples[0]), tuple(samples[1])


def _calibrate(call: Callable[[], object], synchronize: Callable[[], None]) -> tuple[int, float]:
    """Return the number of calls in a sample, and the seconds per call."""
    n = 1
    while (seconds := _seconds(call, n, synchronize)) * n < SAMPLE_SECONDS and n < 1_000_000:
        n *= 4
    return n, seconds


def _seconds(call: Callable[[], object], calls: int, synchronize: Callable[[], None]) -> float:
    synchronize()
    start = perf_counter()
    for _ in range(calls):
        call()
    synchronize()
    return (perf_counter() - start) / calls


@contextmanager
def _no_collection() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
