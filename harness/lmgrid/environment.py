"""The machine and the libraries that a number was made with, captured once a process."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lmgrid.cpu import Processor

LIBRARIES = ("lmgrid", "numpy", "scipy", "torch")


@dataclass(frozen=True)
class Environment:
    """Numbers of unlike environments share no time column without saying so."""

    python: str
    system: str  # operating system and architecture
    processor: str
    cores: int
    libraries: tuple[tuple[str, str], ...]
    accelerator: str = ""

    @property
    def machine(self) -> str:
        accelerator = f", {self.accelerator}" if self.accelerator else ""
        return f"{self.processor}, {self.cores} cores{accelerator}, {self.system}"


@cache
def capture() -> Environment:
    """Return this process's environment; no host name and no path is in it."""
    return Environment(
        platform.python_version(),
        f"{platform.system()} {platform.machine()}",
        Processor().describe("cpu"),
        usable_cores(),
        tuple((name, found) for name in LIBRARIES if (found := _version(name))),
    )


def usable_cores() -> int:
    """Return how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def load_average() -> float:
    """Return the one-minute load average; 0 where the system has none."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return 0.0


def now() -> str:
    """Return the time as ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@cache
def cache_folder() -> Path:
    """Return where encoded corpora are kept: ``LMGRID_CACHE``, else the system's place."""
    import platformdirs

    asked = os.environ.get("LMGRID_CACHE")
    return Path(asked).absolute() if asked else platformdirs.user_cache_path("lmgrid")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
