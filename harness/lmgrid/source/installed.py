"""Whose a module is: the distributions of this environment, by the import names they bring."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution, EntryPoint, distributions, packages_distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Any

GROUP = "lmgrid"  # of the entry points that make a distribution a plugin
OURS = "lmgrid"
_NO_IMPORT = re.compile(
    r"\.\.|bin|__pycache__|__editable__.*|_editable_impl_.*|.*[.-](info|data|pth)"
)
_SECTION = re.compile(rf"^\s*\[\s*{GROUP}\s*\]\s*$", re.MULTILINE)

_HEADER = re.compile(r"^(Name|Version):[ \t]*(.*?)[ \t\r]*$", re.MULTILINE)


@dataclass(frozen=True)
class Bundle:
    """A distribution and the import names of its packages and modules.

    named: whether its metadata list them; those of an editable install may name nothing.
    """

    name: str
    version: str
    tops: frozenset[str]
    named: bool = True


@dataclass(frozen=True)
class Top:
    """Where a package or module that stands in no package is: its file and its folders."""

    file: Path | None
    folders: tuple[Path, ...] = ()

    @property
    def root(self) -> Path | None:
        """The folder that it stands in."""
        if self.folders:
            return self.folders[0].parent
        return self.file.parent if self.file else None


@cache
def find_top(name: str) -> Top | None:
    """Return where an import of this name leads, without importing it; None for no file."""
    module = sys.modules.get(name)
    try:
        spec = getattr(module, "__spec__", None) or find_spec(name)
    except (ImportError, ValueError, AttributeError):
        spec = None
    origin = spec.origin if spec and spec.has_location else getattr(module, "__file__", None)
    searched = (spec and spec.submodule_search_locations) or getattr(module, "__path__", None)
    file = Path(origin) if origin and Path(origin).is_file() else None
    folders = tuple(path for path in map(Path, searched or ()) if path.is_dir())
    return Top(file, folders) if file or folders else None


@cache
def plugins() -> tuple[Bundle, ...]:
    """Return the distributions of third parties that bring plugins; the first of a name counts."""
    found: dict[str, Bundle] = {}
    for distribution in distributions():
        entries = _entries(distribution)
        if entries:
            bundle = _bundle(distribution, {entry.value for entry in entries})
            if bundle.name != OURS:
                found.setdefault(bundle.name, bundle)
    return tuple(found.values())


@cache
def is_ours(top: str) -> bool:
    """Whether the distribution of ``lmgrid`` itself brings a package."""
    ours = _our_tops()
    if OURS in ours:
        return top in ours
    return (top == OURS or top.startswith(f"{OURS}_")) and owner(top) is None


@cache
def plugin(top: str) -> Bundle | None:
    """Return the distribution of a third party's plugin that brings a package."""
    return next((bundle for bundle in plugins() if top in bundle.tops), None)


@cache
def owner(top: str) -> Bundle | None:
    """Return the distribution that a package belongs to, if its metadata are where it is."""
    if found := plugin(top):
        return found
    same = _by_name(top)
    if same and top in same.tops:
        return same
    where = find_top(top)
    return _beside(where.root).get(top) if where and where.root else None


@cache
def library(top: str) -> Bundle | None:
    """Return the distribution that a package belongs to, wherever its metadata are."""
    found = owner(top)
    if found is None and find_top(top):
        named = _of_all().get(top, [])
        found = _by_name(named[0]) if named else None
    return found


@cache
def version_of(name: str) -> str:
    """Return the version of a distribution, or of the one with a package so named; else empty."""
    found = _by_name(name) or library(name)
    return found.version if found else ""


def forget() -> None:
    """Look for everything anew."""
    kept: tuple[Any, ...] = (find_top, plugins, is_ours, plugin, owner, library, version_of)
    for found in (*kept, _our_tops, _by_name, _of_all, _beside):
        found.cache_clear()


@cache
def _our_tops() -> frozenset[str]:
    found = _by_name(OURS)
    return found.tops if found else frozenset()


@cache
def _by_name(name: str) -> Bundle | None:
    try:
        return _bundle(Distribution.from_name(name))
    except Exception:  # not installed, or removed by half
        return None


@cache
def _of_all() -> dict[str, list[str]]:
    try:
        return {name: [*found] for name, found in packages_distributions().items()}
    except Exception:  # metadata that cannot be read
        return {}


@cache
def _beside(root: Path) -> dict[str, Bundle]:
    """Return the distributions whose metadata lie in a folder, by their import names."""
    found: dict[str, Bundle] = {}
    for distribution in distributions(path=[str(root)]):
        bundle = _bundle(distribution)
        for top in bundle.tops:
            found.setdefault(top, bundle)
    return found


def _entries(distribution: Distribution) -> list[EntryPoint]:
    try:
        text = distribution.read_text("entry_points.txt") or ""
        return [*distribution.entry_points.select(group=GROUP)] if _SECTION.search(text) else []
    except Exception:  # metadata that cannot be read
        return []


def _bundle(distribution: Distribution, entries: Iterable[str] = ()) -> Bundle:
    tops = frozenset(_tops(distribution))
    of_entries = {re.split(r"[.:\s\[]", entry, maxsplit=1)[0] for entry in entries}
    name, version = _identify(distribution)
    return Bundle(name, version, tops | of_entries, bool(tops))


def _identify(distribution: Distribution) -> tuple[str, str]:
    """Return a distribution's name and version; its metadata are not parsed, which is slow."""
    try:
        text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
    except Exception:  # a package that was removed by half
        text = ""
    header = dict(_HEADER.findall(text.partition("\n\n")[0]))
    return header.get("Name", ""), header.get("Version", "")


def _tops(distribution: Distribution) -> Iterator[str]:
    """Yield the import names of a distribution, as far as its metadata say."""
    try:
        listed = distribution.read_text("top_level.txt")
        record = "" if listed else distribution.read_text("RECORD")
    except Exception:  # metadata that cannot be read
        return
    if listed:
        yield from listed.split()
    for line in (record or "").splitlines():
        first, inside, _ = line.partition(",")[0].strip('"').partition("/")
        if not _NO_IMPORT.fullmatch(first) and (inside or first.endswith((".py", ".so", ".pyd"))):
            yield first.split(".")[0]
