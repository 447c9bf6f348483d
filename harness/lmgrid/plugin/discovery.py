"""Finds plugins by their entry points, and holds each against the contract on its own."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from importlib.metadata import Distribution, EntryPoint, distributions
from types import ModuleType
from typing import Any, cast

import pluggy

from lmgrid import engine, hooks, spec
from lmgrid.grid import BLOCKS, KINDS, PLAIN, SETTINGS, TRAINING
from lmgrid.plugin.options import check_types
from lmgrid.plugin.provided import CORE, Plugin, ProvidedPart

UNKNOWN = "unknown"

HOOKS: dict[str, tuple[str, type[Any]]] = {
    "corpus": ("lmgrid_corpora", spec.CorpusPart),
    "model": ("lmgrid_language_models", spec.ModelPart),
    "optimizer": ("lmgrid_optimizers", spec.OptimizerPart),
    "regularizer": ("lmgrid_regularizers", spec.RegularizerPart),
    "reporter": ("lmgrid_reporters", spec.ReporterPart),
    "kernel": ("lmgrid_kernels", spec.KernelPart),
    "device": ("lmgrid_devices", spec.DevicePart),
    "executor": ("lmgrid_executors", engine.ExecutorPart),
}
RESERVED = ("name", *SETTINGS, *TRAINING, *BLOCKS, "because", "none")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")  # no dot: a key of --set is NAME.OPTION
_DEVICE_NAME = re.compile(r"[a-z0-9][a-z0-9_*:-]{0,63}")


class PluginError(Exception):
    """A plugin does not keep the contract."""


def find_entry_points() -> tuple[list[EntryPoint], list[Plugin]]:
    """Return the group's entry points, our own first, each once; and rows of what is damaged."""
    entries: dict[str, list[EntryPoint]] = {}
    damaged: list[Plugin] = []
    for distribution in distributions():
        try:
            found = list(distribution.entry_points.select(group=spec.GROUP))
        except Exception as error:
            problem = f"its entry points cannot be read: {describe_error(error)}"
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


def load(entry: EntryPoint) -> tuple[Plugin, object | None]:
    """Return a plugin's row and what its entry point names, None where that failed."""
    row = Plugin(entry.name, *_identify(cast(Distribution, entry.dist)))
    try:
        module = entry.load()
    except (Exception, SystemExit) as error:
        return replace(row, problems=(f"fails to import: {describe_error(error)}",)), None
    provides, problems = inspect_plugin(module, row.distribution)
    return replace(row, provides=provides, problems=problems), module


def inspect_plugin(
    plugin: object, distribution: str
) -> tuple[tuple[ProvidedPart, ...], tuple[str, ...]]:
    """Return the parts that a plugin brings and what is wrong with it."""
    try:
        manager = plugin_manager(plugin)
    except Exception as error:
        return (), (describe_error(error),)
    provides: list[ProvidedPart] = []
    problems = list(_unmarked(plugin))
    for kind, (hook, contract) in HOOKS.items():
        try:
            found = getattr(manager.hook, hook).get_hookimpls()
            parts = [_items(implementation.function()) for implementation in found]
        except (Exception, SystemExit) as error:
            problems.append(f"{hook}: {describe_error(error)}")
            continue
        for name, part in (item for items in parts for item in items):
            try:
                _check(kind, name, part, contract)
                provides.append(ProvidedPart(kind, name, part, distribution))
            except Exception as error:
                problems.append(f"{kind} {name!r}: {describe_error(error)}")
    return tuple(provides), tuple(problems)


def plugin_manager(plugin: object) -> pluggy.PluginManager:
    """Return a manager of this plugin alone, so that it fails alone."""
    manager = pluggy.PluginManager(spec.GROUP)
    manager.add_hookspecs(hooks)
    manager.register(plugin)
    manager.check_pending()
    return manager


def _unmarked(plugin: object) -> Iterable[str]:
    """Name functions that look like hooks and would be passed over in silence."""
    if isinstance(plugin, ModuleType):
        for name, value in inspect.getmembers(plugin, inspect.isfunction):
            ours = value.__module__ == hooks.__name__  # imported from there, to be looked at
            if name.startswith("lmgrid_") and not ours and not hasattr(value, f"{spec.GROUP}_impl"):
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
            f"is not a subclass of {contract.__module__}.{contract.__name__} with all its methods"
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
    if issubclass(part, spec.DevicePart) and not part.requires:
        part().make().available()  # every cell would fail, should it raise


def _is_frozen(part: type[Any]) -> bool:
    """Whether it is decorated itself, as its own options would be passed over otherwise."""
    parameters = part.__dict__.get("__dataclass_params__")
    return parameters is not None and bool(parameters.frozen)


def _generated_docstring(part: type[Any]) -> bool:
    """Whether a docstring is only the signature that ``dataclass`` writes where there is none."""
    return (part.__doc__ or "").startswith(f"{part.__name__}(")


def without_name_clashes(plugins: tuple[Plugin, ...]) -> tuple[Plugin, ...]:
    """Let built-ins win a name; refuse a name that two third parties claim."""
    claims: dict[tuple[str, str], list[Plugin]] = {}
    for plugin in plugins:
        for provided in plugin.provides:
            claims.setdefault((provided.kind, provided.name), []).append(plugin)
    return tuple(_refuse(plugin, claims) for plugin in plugins)


def _refuse(plugin: Plugin, claims: dict[tuple[str, str], list[Plugin]]) -> Plugin:
    kept: list[ProvidedPart] = []
    problems = list(plugin.problems)
    for provided in plugin.provides:
        others = [p for p in claims[provided.kind, provided.name] if p is not plugin]
        if not others or plugin.distribution == CORE:
            kept.append(provided)
        else:
            names = ", ".join(sorted({p.distribution for p in others}))
            problems.append(f"{provided.kind} {provided.name!r} is claimed by {names} too")
    return replace(plugin, provides=tuple(kept), problems=tuple(problems))


def describe_error(error: BaseException) -> str:
    """Return an exception as one bounded line."""
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return " ".join(text.split())[:300]
