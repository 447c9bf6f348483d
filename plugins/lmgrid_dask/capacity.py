"""What workers have free, and whether so many cells have room on them at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Capacity:
    """Accelerators and threads: what a worker has free, or what a cell takes of it."""

    units: float
    threads: int

    def holds(self, asked: Capacity) -> bool:
        return self.units >= asked.units and self.threads >= asked.threads

    def without(self, taken: Capacity) -> Capacity:
        return Capacity(self.units - taken.units, self.threads - taken.threads)


def have_capacity(cells: Iterable[Capacity], workers: Iterable[Capacity]) -> bool:
    """Return whether all cells can run at once, each whole on one worker.

    The largest come first, each to the smallest worker that holds it, so that cells without an
    accelerator leave those that have one alone. Workers that are alike are counted, not listed.
    """
    free = Counter(workers)
    for cell in sorted(cells, reverse=True):
        room = min((room for room in free if room.holds(cell)), default=None)
        if room is None:
            return False
        free[room] -= 1
        free[room.without(cell)] += 1
        if not free[room]:
            del free[room]
    return True
