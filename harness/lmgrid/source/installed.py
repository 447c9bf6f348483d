"""Finds which installed distribution a top-level package or module belongs to.

A distribution is what pip installs under one name; it may hold packages of other names.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution, EntryPoint, distributions, packages_distributions
from importlib.util import find_spec
from pathlib import Path

GROUP = "lmgrid"  # of the entry points that make a distribution a plugin
OURS = "lmgrid"  # the distribution of this package
# First folder or file of a path in RECORD that is not imported.
_NO_IMPORT = re.compile(
    r"\.\.|bin|__pycache__|__editable__.*|_editable_impl_.*|.*[.-](info|data|pth)"
)
_SECTION = re.compile(rf"^\s*\[\s*{GROUP}\s*\]\s*$", re.MULTILINE)  # in entry_points.txt
_HEADER = re.compile(r"^(Name|Version):[ \t]*(.*?)[ \t\r]*$", re.MULTILINE)  # in METADATA


@dataclass(frozen=True)
class InstalledDistribution:
    """A distribution, and the import names of its top-level packages and modules."""

    name: str
    version: str
    import_names: frozenset[str]
    # Whether its metadata list the import names; those of an editable install may list none.
    lists_import_names: bool = True


@dataclass(frozen=True)
class ImportLocation:
    """The file and the folders of a top-level package or module."""

    file: Path | None  # None for a folder without __init__.py
    folders: tuple[Path, ...] = ()  # empty for a module

    @property
    def root(self) -> Path | None:
        """The folder that contains the package or module."""
        if self.folders:
            return self.folders[0].parent
        return self.file.parent if self.file else None


# ---------------------------------------------------------------- by import name


@cache
def locate(name: str) -> ImportLocation | None:
    """Return where a top-level package or module is, without importing it; None for no file."""
    module = sys.modules.get(name)
    try:
        spec = getattr(module, "__spec__", None) or find_spec(name)
    except (ImportError, ValueError, AttributeError):
        spec = None
    origin = spec.origin if spec and spec.has_location else getattr(module, "__file__", None)
    searched = (spec and spec.submodule_search_locations) or getattr(module, "__path__", None)
    file = Path(origin) if origin and Path(origin).is_file() else None
    folders = tuple(path for path in map(Path, searched or ()) if path.is_dir())
    return ImportLocation(file, folders) if file or folders else None


@cache
def is_ours(name: str) -> bool:
    """Return whether a package belongs to the distribution of ``lmgrid`` itself."""
    ours = _our_import_names()
    if OURS in ours:
        return name in ours
    return (name == OURS or name.startswith(f"{OURS}_")) and find_owner(name) is None


@cache
def find_plugin(name: str) -> InstalledDistribution | None:
    """Return the third party's plugin that a package belongs to, or None."""
    return next((one for one in plugins() if name in one.import_names), None)


@cache
def find_owner(name: str) -> InstalledDistribution | None:
    """Return the distribution that a package belongs to, if its metadata are beside the package."""
    if plugin := find_plugin(name):
        return plugin
    same_name = _by_name(name)
    if same_name and name in same_name.import_names:
        return same_name
    location = locate(name)
    return _in_folder(location.root).get(name) if location and location.root else None


@cache
def find_library(name: str) -> InstalledDistribution | None:
    """Return the distribution that a package belongs to, wherever its metadata are."""
    found = find_owner(name)
    if found is None and locate(name):
        owners = _all_owners().get(name, [])
        found = _by_name(owners[0]) if owners else None
    return found


# ---------------------------------------------------------------- distributions


@cache
def plugins() -> tuple[InstalledDistribution, ...]:
    """Return the plugins of third parties. Of several with the same name, the first counts."""
    found: dict[str, InstalledDistribution] = {}
    for distribution in distributions():
        entries = _entry_points(distribution)
        if entries:
            plugin = _describe(distribution, {entry.value for entry in entries})
            if plugin.name != OURS:
                found.setdefault(plugin.name, plugin)
    return tuple(found.values())


@cache
def version_of(name: str) -> str:
    """Return the version of a distribution or of the owner of a package; empty if not found."""
    found = _by_name(name) or find_library(name)
    return found.version if found else ""


def clear_caches() -> None:
    """Clear what was found, so that the next call finds what is installed then."""
    for cached in (locate, is_ours, find_plugin, find_owner, find_library, plugins, version_of):
        cached.cache_clear()
    for private in (_our_import_names, _by_name, _all_owners, _in_folder):
        private.cache_clear()


@cache
def _our_import_names() -> frozenset[str]:
    found = _by_name(OURS)
    return found.import_names if found else frozenset()


@cache
def _by_name(name: str) -> InstalledDistribution | None:
    try:
        return _describe(Distribution.from_name(name))
    except Exception:  # not installed, or only partly removed
        return None


@cache
def _all_owners() -> dict[str, list[str]]:
    """Return the names of the distributions that each package belongs to."""
    try:
        return {name: [*owners] for name, owners in packages_distributions().items()}
    except Exception:  # unreadable metadata
        return {}


@cache
def _in_folder(folder: Path) -> dict[str, InstalledDistribution]:
    """Return the distributions whose metadata are in a folder, by import name."""
    found: dict[str, InstalledDistribution] = {}
    for distribution in distributions(path=[str(folder)]):
        described = _describe(distribution)
        for name in described.import_names:
            found.setdefault(name, described)
    return found


# ---------------------------------------------------------------- metadata


def _entry_points(distribution: Distribution) -> list[EntryPoint]:
    try:
        text = distribution.read_text("entry_points.txt") or ""
        return [*distribution.entry_points.select(group=GROUP)] if _SECTION.search(text) else []
    except Exception:  # unreadable metadata
        return []


def _describe(distribution: Distribution, entries: Iterable[str] = ()) -> InstalledDistribution:
    """Return a distribution with its import names and those in the values of entry points."""
    listed = frozenset(_import_names(distribution))
    of_entries = {re.split(r"[.:\s\[]", entry, maxsplit=1)[0] for entry in entries}
    name, version = _name_and_version(distribution)
    return InstalledDistribution(name, version, listed | of_entries, bool(listed))


def _name_and_version(distribution: Distribution) -> tuple[str, str]:
    """Return the name and version in the metadata, without parsing the rest, which is slow."""
    try:
        text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
    except Exception:  # a package that is only partly removed
        text = ""
    header = dict(_HEADER.findall(text.partition("\n\n")[0]))
    return header.get("Name", ""), header.get("Version", "")


def _import_names(distribution: Distribution) -> Iterator[str]:
    """Yield the import names that the metadata list."""
    try:
        listed = distribution.read_text("top_level.txt")
        record = "" if listed else distribution.read_text("RECORD")
    except Exception:  # unreadable metadata
        return
    if listed:
        yield from listed.split()
    for line in (record or "").splitlines():
        first, inside, _ = line.partition(",")[0].strip('"').partition("/")
        if not _NO_IMPORT.fullmatch(first) and (inside or first.endswith((".py", ".so", ".pyd"))):
            yield first.split(".")[0]
