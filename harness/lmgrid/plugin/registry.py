"""The plugins' parts by kind and name; one typed method a kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, cast

from lmgrid import spec
from lmgrid.engine import ExecutorPart
from lmgrid.grid import AnyCell, Cell, GridError, Part, PartError, named_parts, near
from lmgrid.machine.cpu import CpuPart
from lmgrid.plugin.discovery import (
    describe_error,
    find_entry_points,
    load,
    plugin_manager,
    without_name_clashes,
)
from lmgrid.plugin.options import all_options, describe_part, make_part, option_names
from lmgrid.plugin.provided import CORE, Plugin, ProvidedPart

CORE_PLUGIN = Plugin("core", CORE, "", (ProvidedPart("device", "cpu", CpuPart, CORE),))


def _kind_and_name(provided: ProvidedPart) -> tuple[str, str]:
    return provided.kind, provided.name


class Registry:
    """The plugins' parts, by kind and name."""

    def __init__(self, plugins: Iterable[Plugin], listeners: Iterable[object] = ()) -> None:
        self.plugins = without_name_clashes(tuple(plugins))
        provided = [p for plugin in self.plugins for p in plugin.provides]
        self._provided = {(p.kind, p.name): p for p in sorted(provided, key=_kind_and_name)}
        self._listeners = [plugin_manager(listener) for listener in listeners]
        self._instances: dict[tuple[str, Part], Any] = {}
        self._elsewhere = False
        self._folder: Path | None = None
        self._placed: dict[Path, Registry] = {}

    @classmethod
    def installed(cls) -> Registry:
        """Return what the entry points of this environment bring; nothing they do raises."""
        entries, damaged = find_entry_points()
        loaded = [load(entry) for entry in entries]
        return cls(
            [CORE_PLUGIN, *(plugin for plugin, _ in loaded), *damaged],
            [module for plugin, module in loaded if module is not None and not plugin.problems],
        )

    # ------------------------------------------------------------ by kind and name

    def provided(self, kind: str) -> tuple[ProvidedPart, ...]:
        return tuple(p for p in self._provided.values() if p.kind == kind)

    def find(self, kind: str, name: str) -> ProvidedPart:
        """Return what a name stands for; PartError names the near match."""
        found = self._provided.get((kind, name))
        if found is None:
            names = (p.name for p in self.provided(kind))
            refused = "".join(
                f" ({p.reason})" for p in self.plugins if f"{kind} {name!r}" in p.reason
            )
            raise PartError(f"unknown {kind} {name!r}{near(name, names)}{refused}", "name")
        return found

    def check_extras(self, cells: Iterable[AnyCell]) -> None:
        """Raise GridError if a cell needs an extra that is not installed."""
        missing = self.missing_requirements(cells).items()
        if missing:
            raise GridError("; ".join(f"{needs} (for {', '.join(on)})" for needs, on in missing))

    def missing_requirements(self, cells: Iterable[AnyCell]) -> dict[str, list[str]]:
        """Return what cells need and is not installed, with the parts that need it.

        A key says how to install it, such as ``needs torch: pip install 'lmgrid[torch]'``.
        """
        missing: dict[str, list[str]] = {}
        for kind, name in sorted({(k, p.name) for cell in cells for k, p in named_parts(cell)}):
            if requirement := self.find(kind, name).missing_requirement:
                missing.setdefault(requirement, []).append(f"{kind} {name!r}")
        return missing

    def part(self, kind: str, name: str, options: Mapping[str, Any]) -> Part:
        """Return the identity of a part with its options checked and defaults filled in."""
        instance = make_part(self.find(kind, name).part, options)
        part = describe_part(name, instance)
        self._instances[kind, part] = instance
        return part

    def option_names(self, kind: str, name: str) -> tuple[str, ...]:
        found = self._provided.get((kind, name))
        return option_names(found.part) if found else ()

    def corpus(self, part: Part) -> spec.CorpusPart:
        return cast(spec.CorpusPart, self._instance("corpus", part))

    def model(self, part: Part) -> spec.ModelPart:
        return cast(spec.ModelPart, self._instance("model", part))

    def optimizer(self, part: Part) -> spec.OptimizerPart:
        return cast(spec.OptimizerPart, self._instance("optimizer", part))

    def regularizer(self, part: Part) -> spec.RegularizerPart:
        return cast(spec.RegularizerPart, self._instance("regularizer", part))

    def reporter(self, part: Part) -> spec.ReporterPart:
        return cast(spec.ReporterPart, self._instance("reporter", part))

    def kernel(self, part: Part) -> spec.KernelPart:
        return cast(spec.KernelPart, self._instance("kernel", part))

    def executor(self, part: Part) -> ExecutorPart:
        return cast(ExecutorPart, self._instance("executor", part))

    def relative_to(self, folder: Path) -> Registry:
        """Return the same parts, with options that name files counted from a folder."""
        if folder not in self._placed:
            other = copy(self)
            other._folder, other._instances = folder, {}
            self._placed[folder] = other
        return self._placed[folder]

    def parts(self, cell: AnyCell) -> tuple[spec.AnyPart, ...]:
        """Return every part of a cell."""
        return tuple(self._instance(kind, part) for kind, part in named_parts(cell))

    def _instance(self, kind: str, part: Part) -> Any:
        if (kind, part) not in self._instances:
            found = self.find(kind, part.name).part
            self._instances[kind, part] = make_part(found, all_options(found, part, self._folder))
        return self._instances[kind, part]

    # ------------------------------------------------------------ devices

    def device(self, name: str) -> spec.Device:
        """Return the provider of a resolved device name, a built-in one first."""
        return self._device_part(name).make()

    def device_class(self, name: str) -> type[spec.DevicePart]:
        """Return the class of the provider of a resolved device name."""
        return type(self._device_part(name))

    def _device_part(self, name: str) -> spec.DevicePart:
        for provided in sorted(self.provided("device"), key=lambda p: p.distribution != CORE):
            if fnmatchcase(name, provided.name):
                return cast(spec.DevicePart, provided.part())
        raise GridError(f"unknown device {name!r}{near(name, self.device_names())}")

    def device_parts(self, cell: AnyCell) -> tuple[spec.DevicePart, ...]:
        """Return the providers whose libraries a cell computes with: the core's and its own."""
        requires = {"", self._main_part(cell).requires}
        found = (p.part for p in self.provided("device") if p.part.requires in requires)
        return tuple(cast(spec.DevicePart, part()) for part in found)

    def _main_part(self, cell: AnyCell) -> spec.AnyPart:
        return self.model(cell.model) if isinstance(cell, Cell) else self.kernel(cell.kernel)

    def confine(self, name: str) -> str:
        """Let this process see no device but this; return what it is called then."""
        return self._device_part(name).confine(name)

    def devices(self) -> tuple[tuple[str, spec.Device], ...]:
        """Return every provider whose needs are met, by name pattern."""
        parts = [p for p in self.provided("device") if not p.missing_requirement]
        return tuple((p.name, p.part().make()) for p in parts)

    def device_names(self) -> tuple[str, ...]:
        """Return what can be used here, accelerators before ``cpu``."""
        found = [name for _, device in self.devices() for name in device.available()]
        return tuple(sorted(found, key=lambda name: (name == "cpu", name)))

    def resolve_device(self, name: str) -> str:
        """Return the device a grid means; ``auto`` is the best there is, ``cuda`` is ``cuda:0``."""
        if name == "cpu":
            return name
        if self._elsewhere:
            return self._device_elsewhere(name)
        available = self.device_names()
        if name == "auto":
            return available[0]
        for candidate in (name, f"{name}:0"):
            if candidate in available:
                return candidate
        raise GridError(f"device {name!r} is not on this machine{near(name, available)}")

    def remote(self) -> Registry:
        """Return the same parts, for cells that run on machines whose devices cannot be asked."""
        other = copy(self)
        other._elsewhere = True
        return other

    def _device_elsewhere(self, name: str) -> str:
        """Return what a device is called where it is the first of its kind."""
        patterns = [provided.name for provided in self.provided("device")]
        if name == "auto":
            raise GridError("device 'auto': which is best is not known of other machines; name it")
        if name in patterns:
            return name
        if any(fnmatchcase(name, pattern) for pattern in patterns):
            return name if ":" in name else f"{name}:0"
        raise GridError(f"unknown device {name!r}{near(name, patterns)}")

    # ------------------------------------------------------------ life cycle

    def call_hook(self, hook: str, **arguments: Any) -> tuple[str, ...]:
        """Call a life-cycle hook of each plugin on its own; return what went wrong."""
        problems = []
        for manager in self._listeners:
            try:
                getattr(manager.hook, hook)(**arguments)
            except (Exception, SystemExit) as error:
                names = ", ".join(name for name, _ in manager.list_name_plugin())
                problems.append(f"{names}: {hook}: {describe_error(error)}")
        return tuple(problems)
