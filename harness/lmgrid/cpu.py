"""The processor as a device, with the threads of NumPy's linear algebra."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from lmgrid.spec import Device, DevicePart

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

CPUINFO = Path("/proc/cpuinfo")
CLEAR_REFS = Path("/proc/self/clear_refs")
STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Cpu(DevicePart):
    """The processor. Peak bytes are the largest resident size of the process."""

    def make(self) -> Device:
        return Processor()


@lru_cache(maxsize=1)
def _thread_pools(modules: int) -> ThreadpoolController:
    """Return the thread pools of the libraries that are loaded; looked for again after imports."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


class Processor:
    """Computes at once, so there is nothing to wait for."""

    def available(self) -> tuple[str, ...]:
        return ("cpu",)

    def synchronize(self, device: str) -> None:
        """Do nothing: a call returns when its work is done."""

    def reset_peak_bytes(self, device: str) -> None:
        """Begin anew where the system allows it (Linux); elsewhere the peak is the process's."""
        try:
            CLEAR_REFS.write_text("5")
        except OSError:
            return

    def peak_bytes(self, device: str) -> int:
        try:
            line = next(row for row in STATUS.read_text().splitlines() if row.startswith("VmHWM"))
            return int(line.split()[1]) * 1024
        except (OSError, StopIteration):
            import resource

            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            return peak if sys.platform == "darwin" else peak * 1024

    def set_threads(self, threads: int) -> None:
        _thread_pools(len(sys.modules)).limit(limits=threads)

    def describe(self, device: str) -> str:
        try:
            rows = CPUINFO.read_text().splitlines()
            return next(
                row.split(":", 1)[1].strip() for row in rows if row.startswith("model name")
            )
        except (OSError, StopIteration):
            return platform.processor() or platform.machine()
