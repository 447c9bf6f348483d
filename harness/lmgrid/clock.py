"""The one clock: it knows its device, and times two twins interleaved after a warm-up."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter, process_time

from lmgrid.spec import Device

ROUNDS = 15
SAMPLE_SECONDS = 0.01  # a sample repeats its call until it takes so long
PAIR_SECONDS = 4.0  # beyond this, fewer rounds
FEWEST_ROUNDS = 3


@dataclass
class Stopwatch:
    """Adds up the time inside ``running``, with the device idle at both ends."""

    device: Device
    name: str
    seconds: float = 0.0  # wall time
    cpu_seconds: float = 0.0  # of this process, all threads

    @contextmanager
    def running(self) -> Iterator[None]:
        self.device.synchronize(self.name)
        wall, cpu = perf_counter(), process_time()
        try:
            yield
        finally:
            self.device.synchronize(self.name)
            self.seconds += perf_counter() - wall
            self.cpu_seconds += process_time() - cpu


@dataclass(frozen=True)
class Timing:
    """Seconds a call, one figure a round."""

    seconds: tuple[float, ...]
    calls: int  # in each round
    median: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "median", statistics.median(self.seconds))


def time_pair(
    first: Callable[[], object], second: Callable[[], object], synchronize: Callable[[], None]
) -> tuple[Timing, Timing]:
    """Time two calls that were made before, round by round in turn, so that both meet one machine.

    Garbage collection is off meanwhile. The rounds are fewer where a call is slow.
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
    one, two = (Timing(tuple(s), n) for s, (n, _) in zip(samples, calls, strict=True))
    return one, two


def _calibrate(call: Callable[[], object], synchronize: Callable[[], None]) -> tuple[int, float]:
    """Return how many calls make a sample, and the seconds a call took when warm."""
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
