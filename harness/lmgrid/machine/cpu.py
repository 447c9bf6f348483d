"""The processor as a device, with the threads of NumPy's linear algebra."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmgrid.spec import Device, DevicePart

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

CPUINFO = Path("/proc/cpuinfo")
CLEAR_REFS = Path("/proc/self/clear_refs")
STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class CpuPart(DevicePart):
    """The processor. Peak bytes are the largest resident size of the process."""

    def make(self) -> Device:
        return Processor()

    def instruction_sets(self) -> Mapping[str, str]:
        """Return the kernels that OpenBLAS or BLIS chose, and the features NumPy dispatches to."""
        return _instruction_sets(len(sys.modules))


@lru_cache(maxsize=1)
def _thread_pools(modules: int) -> ThreadpoolController:
    """Return the thread pools of the libraries that are loaded; looked for again after imports."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@lru_cache(maxsize=1)
def _instruction_sets(modules: int) -> Mapping[str, str]:
    return {**_blas_architectures(modules), **_numpy_features()}


def _blas_architectures(modules: int) -> Mapping[str, str]:
    """Return what threadpoolctl calls the architecture of each BLAS; some do not tell.

    NumPy and SciPy may each bring a library of the same name.
    """
    found: dict[str, set[str]] = {}
    for pool in _thread_pools(modules).info():
        if architecture := pool.get("architecture"):
            found.setdefault(pool["internal_api"], set()).add(architecture)
    return {name: " ".join(sorted(architectures)) for name, architectures in found.items()}


def _numpy_features() -> Mapping[str, str]:
    """Return the features NumPy was built for, and those of its dispatch that are in use here."""
    if "numpy" not in sys.modules:
        return {}
    from numpy import show_config

    config: Any = show_config(mode="dicts")
    simd = config.get("SIMD Extensions", {})
    features = (*simd.get("baseline", ()), *simd.get("found", ()))
    return {"numpy": " ".join(features)} if features else {}


@cache
def flags() -> str:
    """Return the instructions that the system says the processor has, sorted; empty: not known."""
    return " ".join(sorted(set(_sysctl() if sys.platform == "darwin" else _cpuinfo())))


def _cpuinfo() -> Iterator[str]:
    try:
        rows = CPUINFO.read_text().splitlines()
    except OSError:
        return
    for name, _, value in (row.partition(":") for row in rows):
        if name.strip() in ("flags", "Features"):  # x86, ARM
            yield from value.split()
            return  # the other cores have the same


def _sysctl() -> Iterator[str]:
    """Yield the features of an Intel Mac, and the hw.optional names that are set."""
    asked = ("machdep.cpu.features", "machdep.cpu.leaf7_features", "hw.optional")
    try:
        done = subprocess.run(["/usr/sbin/sysctl", *asked], capture_output=True, text=True)
    except OSError:
        return
    for name, _, value in (row.partition(":") for row in done.stdout.splitlines()):
        if name.startswith("machdep"):
            yield from value.lower().split()
        elif value.strip() == "1":
            yield name.removeprefix("hw.optional.")


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
