"""The plain settings of a grid's cells: seeds, devices, threads and the budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from typing import Any, TypeVar

import msgspec

from lmgrid.budget import Budget
from lmgrid.grid import GridError, Part, near
from lmgrid.gridfile.toml import Block, axis, table

T = TypeVar("T")
ONE_EPOCH = {"epochs": 1}
FLAGS = {"seeds": "--seed", "devices": "--device"}


@dataclass(frozen=True)
class Section:
    """Where a setting may stand: on the command line, in a block itself, at the top for all."""

    where: str  # the block's path
    own: Block
    shared: Block
    asked: Block = field(default_factory=dict)  # keys of FLAGS

    def find(self, key: str, default: Any) -> tuple[str, Any]:
        """Return the path and the value of what counts, or the default where nothing is said."""
        if key in self.asked:
            return FLAGS[key], self.asked[key]
        if key in self.own or key not in self.shared:
            return f"{self.where}.{key}", self.own.get(key, default)
        return key, self.shared[key]


def read_seeds(section: Section) -> tuple[int, ...]:
    return tuple(_axis(section, "seeds", 0))


def read_threads(section: Section) -> tuple[int, ...]:
    return tuple(_axis(section, "threads", 1))


def read_devices(
    section: Section, part: Part, patterns: Sequence[str], resolve: Callable[[str], str]
) -> tuple[str, ...]:
    """Return the devices that fit a pattern; ``cpu`` if it does and none of the shared ones."""
    devices = dict.fromkeys(map(resolve, _axis(section, "devices", "cpu")))

    def runs(device: str) -> bool:
        return any(fnmatchcase(device, pattern) for pattern in patterns)

    if fitting := tuple(filter(runs, devices)):
        return fitting
    if "devices" not in section.own and runs("cpu"):
        return ("cpu",)
    raise GridError(
        f"{section.where}.devices: {part.label!r} runs on {', '.join(patterns)} alone; name such a "
        "device, or change its options"
    )


def read_budget(section: Section) -> Budget:
    path, value = section.find("budget", ONE_EPOCH)
    limits = table(value, path)
    known = [field.name for field in fields(Budget)]
    for key in limits:
        if key not in known:
            raise GridError(f"{path}.{key}: unknown key{near(key, known)}")
    return convert(limits or ONE_EPOCH, Budget, path)


def _axis(section: Section, key: str, default: T) -> list[T]:
    path, value = section.find(key, default)
    return [_in_range(convert(v, type(default), path), path) for v in axis(value, path)]


def convert(value: Any, kind: type[T], where: str) -> T:
    """Return a value of the document as the type it must have."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise GridError(f"{where}: {str(error).replace(' - at `$`', '')}") from None


def _in_range(value: T, where: str) -> T:
    low = 1 if where.endswith("threads") else 0
    if isinstance(value, int) and not low <= value < 2**63:
        raise GridError(f"{where}: {value} is not between {low} and 2**63 - 1")
    return value
