"""Computes a digest of the code that a part or a runner executes: its import closure.

The closure starts at the module of a part's class, or at the module of a runner, and follows
imports. The code of lmgrid is followed module by module. A third party's plugin is included as a
whole, with all files of its distribution. Other libraries are not included; their names and
versions are listed. The digest covers the meaning of Python files, so that an edit of comments or
layout does not change it.
"""

from __future__ import annotations

import hashlib
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lmgrid.source import installed
from lmgrid.source.filehash import content_of, files_in
from lmgrid.source.installed import (
    InstalledDistribution,
    find_library,
    find_owner,
    find_plugin,
    is_ours,
    locate,
    version_of,
)
from lmgrid.source.meaning import Reference
from lmgrid.source.modules import Module, Modules

SIZE = 16  # bytes of a digest
# Names of files and folders of editors, version control and Python.
STRAY = re.compile(r"\..*|.*~|#.*#|__pycache__|.*\.(pyc|pyo|egg-info)")
NOT_INSTALLED = "not installed"


@dataclass(frozen=True)
class Source:
    """The digest of the code of a part of a cell, or of the runner."""

    name: str  # "model NAME", …, or "runner"
    digest: str  # 32 hexadecimal digits


def sources(parts: Iterable[tuple[str, type]], runner: str) -> tuple[Source, ...]:
    """Return the source of each part and of the runner, sorted by name.

    ``parts`` are names and classes; ``runner`` is the dotted name of a module.
    """
    found = {name: _of_part(part).digest for name, part in parts}
    found["runner"] = _of_module(runner).digest
    return tuple(Source(name, found[name]) for name in sorted(found))


def libraries(parts: Iterable[tuple[str, type]], runner: str) -> tuple[tuple[str, str], ...]:
    """Return the name and version of each library that the code imports, sorted by name."""
    names = {name for closure in _closures(parts, runner) for name in closure.external}
    found = filter(None, map(find_library, names))
    return tuple(sorted({(library.name, library.version) for library in found}))


def versions(parts: Iterable[tuple[str, type]]) -> tuple[tuple[str, str], ...]:
    """Return name and version of the libraries whose versions a part says matter, by name."""
    names = {name for _, part in parts for name in getattr(part, "versions_matter", ())}
    return tuple((name, version_of(name) or NOT_INSTALLED) for name in sorted(names))


def unresolved(parts: Iterable[tuple[str, type]], runner: str) -> tuple[str, ...]:
    """Return where imports cannot be followed, each with file and line, sorted.

    Parts that list such modules themselves (``modules``) are left out.
    """
    unlisted = (pair for pair in parts if not _listed_modules(pair[1]))
    places = {place for closure in _closures(unlisted, runner) for place in closure.unresolved}
    return tuple(sorted(places))


def modules(name: str) -> frozenset[str]:
    """Return the names of all modules in the closure of a module, including its own."""
    return _of_module(name).modules


def read_ahead(parts: Iterable[type], runners: Iterable[str] = ()) -> None:
    """Read the code of parts and runners in advance, for processes forked from this one.

    Meanings are kept by the bytes of the files. A process that is forked later reads the files
    again, so that it notices edits. Errors are ignored; the process that needs the code gets them.
    """
    found = Modules()
    for part in parts:
        with suppress(Exception):
            _find_libraries(_part_closure(part, found))
    for runner in runners:
        with suppress(Exception):
            _find_libraries(_closure(runner, found))


def _find_libraries(closure: Closure) -> None:
    for name in closure.external:
        find_library(name)


def clear_caches() -> None:
    """Clear what was read, so that the next call reads the files as they are then."""
    installed.clear_caches()
    for function in (_modules, _of_part, _of_module):
        function.cache_clear()


# ---------------------------------------------------------------- cached in each process


@cache
def _modules() -> Modules:
    return Modules()


@cache
def _of_part(part: type) -> Closure:
    return _part_closure(part, _modules())


@cache
def _of_module(name: str) -> Closure:
    return _closure(name, _modules())


def _closures(parts: Iterable[tuple[str, type]], runner: str) -> Iterator[Closure]:
    yield from (_of_part(part) for _, part in parts)
    yield _of_module(runner)


def _part_closure(part: type, found: Modules) -> Closure:
    return _closure(
        part.__module__, found, class_name=part.__qualname__, listed=_listed_modules(part)
    )


def _closure(
    root: str, found: Modules, *, class_name: str = "", listed: tuple[str, ...] = ()
) -> Closure:
    """Return the closure of the module ``root`` and of the modules that its part lists."""
    builder = _ClosureBuilder(found)
    builder.start(root)
    identities = [builder.follow(name).identity for name in listed]
    builder.finish()
    return builder.result(class_name, identities)


def _listed_modules(part: type) -> tuple[str, ...]:
    return tuple(getattr(part, "modules", ()))


# ---------------------------------------------------------------- the closure


@dataclass(frozen=True)
class Closure:
    """The code that is reached from one module by imports."""

    digest: str
    modules: frozenset[str]  # whose code is included
    external: frozenset[str]  # top-level packages whose code is not included
    unresolved: tuple[str, ...]  # where imports cannot be followed


@dataclass(frozen=True)
class _Target:
    """What a reference leads to: a hash that identifies it, and the modules that it covers."""

    identity: bytes
    modules: frozenset[str] = frozenset()


class _ClosureBuilder:
    """Follows imports from a module until nothing new is found.

    A module is included deeply if the imports inside its functions are followed too. The
    ``__init__`` of one of our packages is not: only what runs when it is imported counts.
    """

    def __init__(self, found: Modules) -> None:
        self._found = found
        self._queue: list[tuple[Module, bool]] = []  # (module, whether deeply), still to be read
        self._deep: dict[str, bool] = {}  # by included module: whether deeply
        self._whole: set[str] = set()  # packages that are included with all their files
        self._roots: set[Path] = set()  # folders of plugins that have no metadata
        self._done: dict[str, bytes] = {}  # by module: hash of its meaning and its references
        self._files: list[bytes] = []  # hashes of files that are not Python
        self._targets: dict[str, Module] = {}  # modules that references lead to
        self._followed: dict[str, _Target] = {}  # by dotted name
        self._external: set[str] = set()
        self._places: dict[str, list[str]] = {}  # by module: where imports cannot be followed
        self._missing: list[str] = []  # start modules that have no file

    def start(self, name: str) -> None:
        """Include the module of this name, and its whole distribution unless it is ours."""
        name = _own_name(name)
        top = name.split(".")[0]
        module = self._found.find(name)
        if module is None or module.file is None:
            self._missing.append(f"{name}: a module without a file")
        elif is_ours(top):
            self._include(module)
        elif owner := find_owner(top):
            self._include_distribution(owner, top)
        else:
            self._include_without_metadata(module, top)

    def finish(self) -> None:
        """Read the included modules, and include the modules that they import."""
        while self._queue:
            module, deep = self._queue.pop()
            if self._deep.get(module.name) == deep:  # else it was queued again, deeply
                self._done[module.name] = self._hash_module(module, deep=deep)

    def result(self, class_name: str, identities: list[bytes]) -> Closure:
        """Return the closure of a class, given the identities of the modules that it lists."""
        found = _hash(*sorted([*self._done.values(), *self._files]))
        digest = _hash(b"closure", class_name.encode(), found, *sorted(identities))
        places = [place for several in self._places.values() for place in several]
        return Closure(
            digest.hex(),
            frozenset(self._done),
            frozenset(self._external),
            tuple(sorted({*places, *self._missing})),
        )

    # ------------------------------------------------------------ including files

    def _include(self, module: Module, *, deep: bool = True) -> None:
        known = self._deep.get(module.name)
        if module.file is not None and (known is None or known < deep):
            self._deep[module.name] = deep
            self._queue.append((module, deep))

    def _include_distribution(self, owner: InstalledDistribution, top: str) -> None:
        """Include all packages of a distribution, or ``top`` if its metadata list none."""
        for name in sorted(owner.import_names) if owner.lists_import_names else [top]:
            if not is_ours(name):
                self._include_top_level(name)
        if not owner.lists_import_names and (found := locate(top)) and found.root:
            self._roots.add(found.root)

    def _include_without_metadata(self, module: Module, top: str) -> None:
        """Include code of no distribution: a package, or all scripts of a folder."""
        found = locate(top)
        if found is None or found.root is None:
            return
        self._roots.add(found.root)
        if found.folders:
            self._include_top_level(top)
        elif _is_library(found.root):
            self._whole.add(top)
            self._include(module)
        else:
            for file in sorted(found.root.glob("*.py")):
                if file.is_file() and not _is_stray(file.name):
                    self._whole.add(file.stem)
                    self._include(Module(file.stem, file))

    def _include_top_level(self, name: str) -> None:
        """Include all files of a top-level package, or a top-level module."""
        top = locate(name)
        if name in self._whole or top is None:
            return
        self._whole.add(name)
        for folder in top.folders:
            for file in files_in(folder, _is_stray):
                self._include_file(name, folder, file)
        if not top.folders and top.file:
            self._include(Module(name, top.file))

    def _include_file(self, top: str, folder: Path, file: Path) -> None:
        relative = file.relative_to(folder)
        if file.suffix != ".py" or not file.is_file():
            name = relative.as_posix().encode("utf-8", "surrogateescape")
            self._files.append(_hash(b"file", name, content_of(file).encode()))
        elif file.name == "__init__.py":
            self._include(Module(".".join((top, *relative.parts[:-1])), file, (file.parent,)))
        else:
            self._include(Module(".".join((top, *relative.with_suffix("").parts)), file))

    # ------------------------------------------------------------ following references

    def follow(self, name: str) -> _Target:
        """Include what a dotted name leads to, and return its target."""
        if name not in self._followed:
            self._followed[name] = self._follow(name, frozenset())
        return self._followed[name]

    def _follow(self, name: str, seen: frozenset[str]) -> _Target:
        """Follow a name; ``seen`` are the names that led here, since imports may form a circle."""
        # Find the module that defines the name. Of a library, the name is all that counts.
        top = name.split(".")[0]
        module, rest = self._found.longest_prefix(name) if self._is_included(top) else (None, ())
        if module is None:
            self._external.add(top)
            return _Target(_hash(b"name", name.encode()))
        # If the module imported the name itself, follow that import.
        imported = self._imported_name(module, rest)
        origin = self._follow(imported, seen | {name}) if imported and name not in seen else None
        if origin and module.folders and is_ours(top):
            return origin  # one of our packages only re-exports it
        # Include the module.
        self._include_target(module, top)
        self._targets[module.name] = module
        words = (word.encode() for word in rest)
        identity = _hash(
            b"module", self._digest(module), origin.identity if origin else b"", *words
        )
        return _Target(identity, frozenset({module.name}))

    def _is_included(self, top: str) -> bool:
        """Return whether the code of a top-level package counts.

        It does if the package is ours, a plugin's, or beside a plugin without metadata.
        """
        if is_ours(top) or top in self._whole:
            return True
        if top in sys.stdlib_module_names:
            return False
        return find_plugin(top) is not None or self._is_beside_plugin(top)

    def _is_beside_plugin(self, top: str) -> bool:
        found = locate(top) if self._roots else None
        return found is not None and found.root in self._roots and find_owner(top) is None

    def _include_target(self, module: Module, top: str) -> None:
        if is_ours(top):
            self._include(module, deep=not module.folders)
        elif top not in self._whole:
            plugin = find_plugin(top)
            self._include_distribution(plugin, top) if plugin else self._include_top_level(top)

    def _imported_name(self, module: Module, rest: tuple[str, ...]) -> str:
        """Return the dotted name that a name of a module was imported from, or "".

        ``rest`` is the name, and the attributes that follow it. A package may also have a
        dictionary that says from which of its modules a name is imported when it is first used.
        """
        if not rest:
            return ""
        if origin := self._found.exports(module).get(rest[0]):
            return ".".join((origin, *rest[1:]))
        for name, text in self._found.meaning(module.file).lazy if module.folders else ():
            origin = module.absolute(_as_reference(text))
            if name == rest[0] and self._is_module(origin):
                return ".".join((origin, *rest))
        return ""

    def _hash_module(self, module: Module, *, deep: bool) -> bytes:
        """Return a hash of a module and of all that it refers to, and include the latter."""
        found = self._found.meaning(module.file)
        # Follow what the code uses, then what it only imports.
        references = [one for one in found.references if deep or not one.in_function]
        used = [self._target(module, one, deep=deep) for one in references if one.kind != "module"]
        reached = {name for target in used for name in target.modules}
        unused = self._only_imported(module, references, reached)
        # Note where imports cannot be followed.
        calls = [one for one in found.unresolved if deep or not one.in_function]
        self._places[module.name] = [
            f"{module.display_path} line {one.line}: {one.text}" for one in calls
        ]
        return _hash(found.digest.encode(), *(target.identity for target in used), b"", *unused)

    def _only_imported(
        self, module: Module, references: list[Reference], reached: set[str]
    ) -> list[bytes]:
        """Return the digests of the modules that are imported and not among those reached."""
        names = (module.absolute(one) for one in references if one.kind == "module")
        found = {name for target in map(self.follow, names) for name in target.modules}
        return sorted(self._digest(self._targets[name]) for name in found - reached)

    def _target(self, module: Module, reference: Reference, *, deep: bool) -> _Target:
        name = module.absolute(reference)
        if reference.kind == "string" and not (deep and self._is_module(name)):
            return _Target(_hash(b"text", name.encode()))
        target = self.follow(name)
        if reference.kind in ("import", "string"):
            return target
        kind = (reference.kind.encode(), reference.bound.encode())
        return _Target(_hash(*kind, target.identity), target.modules)

    def _is_module(self, name: str) -> bool:
        if not self._is_included(name.split(".")[0]):
            return False
        module = self._found.find(name)
        return module is not None and module.file is not None

    def _digest(self, module: Module) -> bytes:
        return self._found.meaning(module.file).digest.encode()


def _own_name(name: str) -> str:
    """Return a module's name, also that of one that was started with ``python -m``."""
    spec = getattr(sys.modules.get(name), "__spec__", None) if name == "__main__" else None
    return spec.name if spec else name


def _as_reference(text: str) -> Reference:
    """Return a reference to the module that a string names, with leading dots if it is relative."""
    name = text.lstrip(".")
    return Reference("import", name, len(text) - len(name))


def _is_stray(name: str) -> bool:
    """Return whether a file or folder is of an editor, a notebook, version control or Python."""
    return STRAY.fullmatch(name) is not None


def _is_library(folder: Path) -> bool:
    """Return whether a folder holds installed packages or the standard library."""
    places = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")}
    return folder in places or bool({"site-packages", "dist-packages"} & {*folder.parts})


def _hash(*parts: bytes) -> bytes:
    hashed = hashlib.blake2b(digest_size=SIZE)
    for part in parts:
        hashed.update(len(part).to_bytes(8, "big") + part)
    return hashed.digest()
