"""Measures the wall and CPU time of training, with the device synchronised."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter, process_time

from lmgrid.spec import Device


@dataclass
class Stopwatch:
    """Adds up the time spent inside ``running``, which waits for the device at both ends."""

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
