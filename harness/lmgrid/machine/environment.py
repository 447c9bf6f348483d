"""The machine and the libraries that a number was made with, captured once a process."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeAlias

from lmgrid.machine.cpu import Processor, flags

Libraries: TypeAlias = tuple[tuple[str, str], ...]  # (distribution, version)
LIBRARIES = ("lmgrid", "numpy", "scipy", "torch")


@dataclass(frozen=True)
class Environment:
    """The hardware and software that a record was made with.

    Tables mark times of different environments, since they cannot be compared.
    """

    python: str
    system: str  # operating system and architecture
    processor: str
    cores: int
    libraries: tuple[tuple[str, str], ...]
    accelerator: str = ""
    flags: str = ""  # the processor's, sorted; empty: not known, as in older records
    # (library, what it uses of them), such as ("openblas", "Zen"); what is not known is not there
    instruction_sets: tuple[tuple[str, str], ...] = ()

    @property
    def machine(self) -> str:
        accelerator = f", {self.accelerator}" if self.accelerator else ""
        return f"{self.processor}, {self.cores} cores{accelerator}, {self.system}"


@cache
def capture(
    libraries: tuple[tuple[str, str], ...] = (), instruction_sets: tuple[tuple[str, str], ...] = ()
) -> Environment:
    """Return this process's environment; no host name and no path is in it.

    ``libraries``: names and versions of those that a cell's parts import, to which lmgrid's is
    added; without any, LIBRARIES as they are installed.
    """
    named = {name: _version(name) for name in (LIBRARIES[:1] if libraries else LIBRARIES)}
    named.update(libraries)
    return replace(
        _machine(),
        libraries=tuple((name, found) for name, found in named.items() if found),
        instruction_sets=tuple(sorted(instruction_sets)),
    )


@cache
def _machine() -> Environment:
    """Return the environment without libraries."""
    return Environment(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        processor=Processor().describe("cpu"),
        cores=usable_cores(),
        libraries=(),
        flags=flags(),
    )


def why_bits_may_differ(one: Environment, two: Environment) -> str:
    """Return why a cell recorded in ``one`` may come out in other bits in ``two``; "": no reason.

    The reason is for people to read. Python's version is none: it computes nothing of a model.
    """
    return next(_reasons(one, two), "")


def _reasons(one: Environment, two: Environment) -> Iterator[str]:
    yield from library_differences(one, two.libraries)
    if one.processor != two.processor:
        yield f"recorded on {one.processor}, here {two.processor}"
    if one.accelerator != two.accelerator:
        yield f"recorded on {_named(one.accelerator)}, here {_named(two.accelerator)}"
    if not (one.flags and one.instruction_sets):
        yield "the record does not say which instruction sets were used"
    if not (two.flags and two.instruction_sets):
        yield "it is not known which instruction sets are used here"
    yield from _unlike(one.instruction_sets, two.instruction_sets)
    if one.flags != two.flags:
        yield _unlike_flags(set(one.flags.split()), set(two.flags.split()))


def library_differences(recorded: Environment, here: Libraries) -> tuple[str, ...]:
    """Return what differs between the versions of libraries, a short reason for each.

    An older record, which has no flags, names some libraries, whether its code imports them or not.
    The version of lmgrid says nothing, since an address covers its code.
    """
    before, now = (dict(found) for found in (recorded.libraries, here))
    if not recorded.flags:
        alike = before.keys() & now.keys()
        before, now = ({name: found[name] for name in alike} for found in (before, now))
    for found in (before, now):
        found.pop("lmgrid", None)
    return tuple(_unlike(tuple(before.items()), tuple(now.items())))


def _unlike(one: Libraries, two: Libraries) -> Iterator[str]:
    recorded, here = dict(one), dict(two)
    for name in sorted(recorded.keys() | here.keys()):
        before, now = recorded.get(name), here.get(name)
        if before is None:
            yield f"recorded without {name}, here {now}"
        elif before != now:
            yield f"recorded with {name} {before}, here {now or 'without it'}"


def _unlike_flags(recorded: set[str], here: set[str]) -> str:
    """Return up to three of the flags that one processor has and the other has not."""
    lost, found = sorted(recorded - here), sorted(here - recorded)
    which, other = (lost, "with") if lost else (found, "without")
    names = " ".join(which[:3]) + (" …" if which[3:] else "")
    return f"recorded on a processor {other} {names}, here {'without' if lost else 'with'}"


def _named(accelerator: str) -> str:
    return accelerator or "the processor alone"


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
