"""How much memory a process holds, looked at from outside."""

from __future__ import annotations

from time import monotonic

import psutil

CHILDREN_SECONDS = 1.0  # looking for children reads of every process of the machine


class MemoryMonitor:
    """The resident size of a process and its children, and the largest seen so far."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._process: psutil.Process | None = None
        self._children: list[psutil.Process] = []
        self._looked = monotonic()
        self.peak = 0  # bytes

    def sample(self) -> int:
        """Return the bytes held now; 0 once the process is gone."""
        try:
            self._process = self._process or psutil.Process(self._pid)
            if monotonic() - self._looked > CHILDREN_SECONDS:
                self._looked = monotonic()
                self._children = self._process.children(recursive=True)
            held = self._process.memory_info().rss + sum(map(_resident, self._children))
        except psutil.Error:
            return 0
        self.peak = max(self.peak, held)
        return int(held)


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0
