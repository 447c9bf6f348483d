"""Free capacity of workers, and whether a set of cells fits on them at the same time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Capacity:
    """Numbers of accelerators and threads that a worker has free or a cell needs."""

    units: float
    threads: int

    def holds(self, asked: Capacity) -> bool:
        return self.units >= asked.units and self.threads >= asked.threads

    def without(self, taken: Capacity) -> Capacity:
        return Capacity(self.units - taken.units, self.threads - taken.threads)


def have_capacity(cells: Iterable[Capacity], workers: Iterable[Capacity]) -> bool:
    """Return whether all cells can run at once, each whole on one worker.

    Cells are placed from the largest to the smallest, each on the smallest worker that it fits on,
    so that cells without an accelerator do not occupy workers that have one. Workers with equal
    capacity are counted together.
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
