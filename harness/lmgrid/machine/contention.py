"""What else a machine does while a cell runs there: sampled before, and over the whole time."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import psutil

from lmgrid.machine.environment import load_average

LOADAVG = Path("/proc/loadavg")


@dataclass(frozen=True)
class LoadSample:
    """What ran beside a cell."""

    others: float  # cores that other processes kept busy, on average over the cell
    competing: int | None  # other processes that were ready to run before; None: not known
    load_after: float  # one-minute load average


class LoadMonitor:
    """Watches the machine from its making on; it reads two files of the system, and no clock runs.

    The processor time of the whole machine less that of this process is what the others took,
    however short each of them was.
    """

    def __init__(self) -> None:
        self._competing = _ready()
        self._wall, self._others = perf_counter(), _busy_seconds() - _own_seconds()

    def sample(self) -> LoadSample:
        """Return what ran beside this process since."""
        seconds = max(perf_counter() - self._wall, 1e-3)
        others = (_busy_seconds() - _own_seconds() - self._others) / seconds
        return LoadSample(round(max(0.0, others), 3), self._competing, round(load_average(), 2))


def _busy_seconds() -> float:
    """Return the processor time that the machine spent, lent to other guests included."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - sum(getattr(times, n, 0.0) for n in _COUNTED_TWICE))


# Waiting for a disk is idle too; a guest's time is in the user's already.
_COUNTED_TWICE = ("iowait", "guest", "guest_nice")


def _own_seconds() -> float:
    return sum(os.times()[:4])


def _ready() -> int | None:
    """Return how many processes beside this one run or could run, where the system tells."""
    try:
        return max(0, int(LOADAVG.read_text().split()[3].split("/")[0]) - 1)
    except (OSError, ValueError, IndexError):
        return None
