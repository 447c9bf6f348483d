"""Finds plugins, checks them, names what is broken; one typed method a kind."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from fnmatch import fnmatchcase
from functools import cache
from importlib.metadata import Distribution, EntryPoint, distributions
from importlib.util import find_spec
from types import ModuleType
from typing import Any, TypeVar, cast

import pluggy

from lmgrid import spec
from lmgrid.cpu import Cpu
from lmgrid.document import BLOCKS, SETTINGS, TRAINING
from lmgrid.grid import AnyCell, Cell, GridError, Part, PartError, near
from lmgrid.options import check_types, describe_part, make_part, option_names
from lmgrid.selection import KINDS, PLAIN

T = TypeVar("T")
CORE = "lmgrid"
UNKNOWN = "unknown"

HOOKS: dict[str, tuple[str, type[Any]]] = {
    "corpus": ("lmgrid_corpora", spec.CorpusPart),
    "model": ("lmgrid_language_models", spec.ModelPart),
    "optimizer": ("lmgrid_optimizers", spec.OptimizerPart),
    "regularizer": ("lmgrid_regularizers", spec.RegularizerPart),
    "kernel": ("lmgrid_kernels", spec.KernelPart),
    "device": ("lmgrid_devices", spec.DevicePart),
}
RESERVED = ("name", *SETTINGS, *TRAINING, *BLOCKS, "because", "none")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")  # no dot: a key of --set is NAME.OPTION
_DEVICE_NAME = re.compile(r"[a-z0-9][a-z0-9_*:-]{0,63}")


class PluginError(Exception):
    """A plugin does not keep the contract."""


@dataclass(frozen=True)
class Provided:
    """One part that a plugin brought: its kind, its name and its class."""

    kind: str
    name: str
    part: type[Any]
    distribution: str

    @property
    def lacks(self) -> str:
        """Return how to install what this part needs and is not there; empty if nothing."""
        module: str = self.part.requires
        if not module or _importable(module):
            return ""
        return f"needs {module}: pip install '{self.distribution}[{module}]'"


@dataclass(frozen=True)
class Plugin:
    """A row of ``lmgrid plugins``."""

    name: str
    distribution: str
    version: str
    provides: tuple[Provided, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def status(self) -> str:
        """``ok``, ``incomplete`` (an extra is missing), ``partly broken`` or ``broken``."""
        if self.problems:
            return "partly broken" if self.provides else "broken"
        return "incomplete" if any(part.lacks for part in self.provides) else "ok"

    @property
    def reason(self) -> str:
        if self.problems:
            remedy = f"pip uninstall {self.distribution}" if self.distribution != CORE else ""
            return "; ".join(self.problems) + (f" (to be rid of it: {remedy})" if remedy else "")
        lacking: dict[str, list[str]] = {}
        for provided in self.provides:
            lacking.setdefault(provided.lacks, []).append(provided.name)
        return "; ".join(f"{', '.join(names)} {why}" for why, names in lacking.items() if why)


@cache
def _importable(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except Exception:  # looking for a submodule imports what it is in
        return False


class Registry:
    """The plugins' parts, by kind and name."""

    def __init__(self, plugins: Iterable[Plugin], listeners: Iterable[object] = ()) -> None:
        self.plugins = _without_clashes(tuple(plugins))
        provided = [p for plugin in self.plugins for p in plugin.provides]
        self._provided = {(p.kind, p.name): p for p in provided}
        self._listeners = [_manager(listener) for listener in listeners]
        self._instances: dict[tuple[str, Part], Any] = {}

    @classmethod
    def installed(cls) -> Registry:
        """Return what the entry points of this environment bring; nothing they do raises."""
        entries, damaged = _scan()
        loaded = [_load(entry) for entry in entries]
        return cls(
            [_CORE_PLUGIN, *(plugin for plugin, _ in loaded), *damaged],
            [module for plugin, module in loaded if module is not None and not plugin.problems],
        )

    # ------------------------------------------------------------ by kind and name

    def provided(self, kind: str) -> tuple[Provided, ...]:
        return tuple(p for (k, _), p in sorted(self._provided.items()) if k == kind)

    def find(self, kind: str, name: str) -> Provided:
        """Return what a name stands for; PartError names the near match or the missing extra."""
        found = self._provided.get((kind, name))
        if found is None:
            names = (p.name for p in self.provided(kind))
            refused = "".join(
                f" ({p.reason})" for p in self.plugins if f"{kind} {name!r}" in p.reason
            )
            raise PartError(f"unknown {kind} {name!r}{near(name, names)}{refused}", "name")
        if found.lacks:
            raise PartError(f"{kind} {name!r} {found.lacks}", "name")
        return found

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

    def kernel(self, part: Part) -> spec.KernelPart:
        return cast(spec.KernelPart, self._instance("kernel", part))

    def parts(self, cell: AnyCell) -> tuple[spec.AnyPart, ...]:
        """Return every part of a cell."""
        if not isinstance(cell, Cell):
            return (self.kernel(cell.kernel),)
        optimizer = (self.optimizer(cell.optimizer),) if cell.optimizer else ()
        regularizers = (self.regularizer(part) for part in cell.regularizers)
        return (self.corpus(cell.corpus), self.model(cell.model), *optimizer, *regularizers)

    def _instance(self, kind: str, part: Part) -> Any:
        if (kind, part) not in self._instances:
            options = dict((*part.options, *part.files))
            self._instances[kind, part] = make_part(self.find(kind, part.name).part, options)
        return self._instances[kind, part]

    # ------------------------------------------------------------ devices

    def device(self, name: str) -> spec.Device:
        """Return the provider of a resolved device name, a built-in one first."""
        for provided in sorted(self.provided("device"), key=lambda p: p.distribution != CORE):
            if fnmatchcase(name, provided.name):
                return cast(spec.Device, self.find("device", provided.name).part().make())
        raise GridError(f"unknown device {name!r}{near(name, self.device_names())}")

    def devices(self) -> tuple[tuple[str, spec.Device], ...]:
        """Return every provider whose needs are met, by name pattern."""
        parts = [p for p in self.provided("device") if not p.lacks]
        return tuple((p.name, p.part().make()) for p in parts)

    def device_names(self) -> tuple[str, ...]:
        """Return what can be used here, accelerators before ``cpu``."""
        found = [name for _, device in self.devices() for name in device.available()]
        return tuple(sorted(found, key=lambda name: (name == "cpu", name)))

    def resolve_device(self, name: str) -> str:
        """Return the device a grid means; ``auto`` is the best there is, ``cuda`` is ``cuda:0``."""
        if name == "cpu":
            return name
        available = self.device_names()
        if name == "auto":
            return available[0]
        for candidate in (name, f"{name}:0"):
            if candidate in available:
                return candidate
        raise GridError(f"devices: {name!r} is not on this machine{near(name, available)}")

    # ------------------------------------------------------------ life cycle

    def announce(self, hook: str, **arguments: Any) -> tuple[str, ...]:
        """Call a life-cycle hook of each plugin on its own; return what went wrong."""
        problems = []
        for manager in self._listeners:
            try:
                getattr(manager.hook, hook)(**arguments)
            except Exception as error:
                names = ", ".join(name for name, _ in manager.list_name_plugin())
                problems.append(f"{names}: {hook}: {_say(error)}")
        return tuple(problems)


# ---------------------------------------------------------------- loading


def _scan() -> tuple[list[EntryPoint], list[Plugin]]:
    """Return the group's entry points, our own first, each once; and rows of what is damaged."""
    entries: dict[str, list[EntryPoint]] = {}
    damaged: list[Plugin] = []
    for distribution in distributions():
        try:
            found = list(distribution.entry_points.select(group=spec.GROUP))
        except Exception as error:
            problem = f"its entry points cannot be read: {_say(error)}"
            name, version = _identify(distribution)
            damaged.append(Plugin(name, name, version, problems=(problem,)))
            continue
        if found:  # what comes first on the path is what is imported
            entries.setdefault(_identify(distribution)[0], found)
    return _each_once(entries), damaged


def _each_once(entries: Mapping[str, list[EntryPoint]]) -> list[EntryPoint]:
    once: dict[tuple[str, str], EntryPoint] = {}
    for name in sorted(entries, key=lambda name: (name != CORE, name)):
        for entry in sorted(entries[name], key=lambda entry: (entry.name, entry.value)):
            once.setdefault((entry.name, entry.value), entry)
    return list(once.values())


def _identify(distribution: Distribution) -> tuple[str, str]:
    """Return a distribution's name and version, as far as its metadata can be read."""
    try:
        metadata = distribution.metadata
        return metadata["Name"] or UNKNOWN, metadata["Version"] or ""
    except Exception:  # a package that was removed by half
        return UNKNOWN, ""


def _load(entry: EntryPoint) -> tuple[Plugin, object | None]:
    """Return a plugin's row and what its entry point names, None where that failed."""
    row = Plugin(entry.name, *_identify(cast(Distribution, entry.dist)))
    try:
        module = entry.load()
    except (Exception, SystemExit) as error:
        return replace(row, problems=(f"fails to import: {_say(error)}",)), None
    provides, problems = inspect_plugin(module, row.distribution)
    return replace(row, provides=provides, problems=problems), module


def inspect_plugin(
    plugin: object, distribution: str
) -> tuple[tuple[Provided, ...], tuple[str, ...]]:
    """Return the parts that a plugin brings and what is wrong with it."""
    try:
        manager = _manager(plugin)
    except Exception as error:
        return (), (_say(error),)
    provides: list[Provided] = []
    problems = list(_unmarked(plugin))
    for kind, (hook, contract) in HOOKS.items():
        try:
            found = getattr(manager.hook, hook).get_hookimpls()
            parts = [_items(implementation.function()) for implementation in found]
        except (Exception, SystemExit) as error:
            problems.append(f"{hook}: {_say(error)}")
            continue
        for name, part in (item for items in parts for item in items):
            try:
                _check(kind, name, part, contract)
                provides.append(Provided(kind, name, part, distribution))
            except Exception as error:
                problems.append(f"{kind} {name!r}: {_say(error)}")
    return tuple(provides), tuple(problems)


def _manager(plugin: object) -> pluggy.PluginManager:
    """Return a manager of this plugin alone, so that it fails alone."""
    manager = pluggy.PluginManager(spec.GROUP)
    manager.add_hookspecs(spec)
    manager.register(plugin)
    manager.check_pending()
    return manager


def _unmarked(plugin: object) -> Iterable[str]:
    """Name functions that look like hooks and would be passed over in silence."""
    if isinstance(plugin, ModuleType):
        for name, value in inspect.getmembers(plugin, inspect.isfunction):
            if name.startswith("lmgrid_") and not hasattr(value, f"{spec.GROUP}_impl"):
                yield f"{name} is not marked with @hookimpl"


def _items(table: object) -> list[tuple[Any, Any]]:
    if not isinstance(table, Mapping):
        raise PluginError(f"returned {type(table).__name__}, not a mapping from name to part")
    return list(table.items())


def _check(kind: str, name: object, part: object, contract: type[Any]) -> None:
    pattern = _DEVICE_NAME if kind == "device" else _NAME
    if not isinstance(name, str) or not pattern.fullmatch(name):
        raise PluginError("a name is lower-case letters, digits, '_' or '-', 64 at most")
    if name in (*RESERVED, *KINDS, *PLAIN):
        raise PluginError("a grid uses this name itself")
    if not isinstance(part, type) or not issubclass(part, contract) or inspect.isabstract(part):
        raise PluginError(
            f"is not a subclass of lmgrid.spec.{contract.__name__} with all its methods"
        )
    if not is_dataclass(part) or not _is_frozen(part):
        raise PluginError("is not a frozen dataclass")
    if not isinstance(part.requires, str):  # type: ignore[attr-defined]
        raise PluginError("'requires' is not the name of a module")
    if not (part.__dict__.get("__doc__") or "").strip() or _generated_docstring(part):
        raise PluginError("has no docstring")
    for option in (field.name for field in fields(part)):
        if option in RESERVED:
            raise PluginError(f"has an option named {option!r}, which a grid uses itself")
    check_types(part)


def _is_frozen(part: type[Any]) -> bool:
    """Whether it is decorated itself, as its own options would be passed over otherwise."""
    parameters = part.__dict__.get("__dataclass_params__")
    return parameters is not None and bool(parameters.frozen)


def _generated_docstring(part: type[Any]) -> bool:
    """Whether a docstring is only the signature that ``dataclass`` writes where there is none."""
    return (part.__doc__ or "").startswith(f"{part.__name__}(")


def _without_clashes(plugins: tuple[Plugin, ...]) -> tuple[Plugin, ...]:
    """Let built-ins win a name; refuse a name that two third parties claim."""
    claims: dict[tuple[str, str], list[Plugin]] = {}
    for plugin in plugins:
        for provided in plugin.provides:
            claims.setdefault((provided.kind, provided.name), []).append(plugin)
    return tuple(_refuse(plugin, claims) for plugin in plugins)


def _refuse(plugin: Plugin, claims: dict[tuple[str, str], list[Plugin]]) -> Plugin:
    kept: list[Provided] = []
    problems = list(plugin.problems)
    for provided in plugin.provides:
        others = [p for p in claims[provided.kind, provided.name] if p is not plugin]
        if not others or plugin.distribution == CORE:
            kept.append(provided)
        else:
            names = ", ".join(sorted({p.distribution for p in others}))
            problems.append(f"{provided.kind} {provided.name!r} is claimed by {names} too")
    return replace(plugin, provides=tuple(kept), problems=tuple(problems))


def _say(error: BaseException) -> str:
    """Return an exception as one bounded line."""
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return " ".join(text.split())[:300]


_CORE_PLUGIN = Plugin("core", CORE, "", (Provided("device", "cpu", Cpu, CORE),))
