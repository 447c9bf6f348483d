"""The code that decides a number, as digests: an edit that changes no meaning changes no address.

It begins with the module of a part's class, or with the runner's, and goes on with what that
imports, what this imports, and so on. What is ours is followed module by module; a third party's
plugin counts whole, with all files of its distribution; other libraries are named with their
versions and do not count.
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
from lmgrid.source.installed import Bundle, find_top, is_ours, library, owner, plugin, version_of
from lmgrid.source.meaning import Reference
from lmgrid.source.modules import Module, Modules

SIZE = 16  # bytes of a digest
STRAY = re.compile(r"\..*|.*~|#.*#|__pycache__|.*\.(pyc|pyo|egg-info)")  # left by tools
NOT_INSTALLED = "not installed"


@dataclass(frozen=True)
class Source:
    """A part of a cell, or the runner, and the digest of the code that it is computed by."""

    name: str
    digest: str


def sources(parts: Iterable[tuple[str, type]], runner: str) -> tuple[Source, ...]:
    """Return the source of each named part and of the module that runs them, sorted by name."""
    found = {name: _of_part(part).digest for name, part in parts}
    found["runner"] = _of_module(runner).digest
    return tuple(Source(name, found[name]) for name in sorted(found))


def libraries(parts: Iterable[tuple[str, type]], runner: str) -> tuple[tuple[str, str], ...]:
    """Return the name and version of each third party's distribution that the code imports."""
    tops = {top for closure in _closures(parts, runner) for top in closure.outside}
    bundles = filter(None, map(library, tops))
    return tuple(sorted({(bundle.name, bundle.version) for bundle in bundles}))


def versions(parts: Iterable[tuple[str, type]]) -> tuple[tuple[str, str], ...]:
    """Return the libraries whose versions decide the parts' numbers, and these versions."""
    names = {name for _, part in parts for name in getattr(part, "versions_matter", ())}
    return tuple((name, version_of(name) or NOT_INSTALLED) for name in sorted(names))


def unresolved(parts: Iterable[tuple[str, type]], runner: str) -> tuple[str, ...]:
    """Return the places where imports could not be followed; none of a part that lists modules."""
    silent = (pair for pair in parts if not _listed(pair[1]))
    places = {place for closure in _closures(silent, runner) for place in closure.unresolved}
    return tuple(sorted(places))


def modules(name: str) -> frozenset[str]:
    """Return the names of all modules in the source of a module, itself among them."""
    return _of_module(name).modules


def read_ahead(parts: Iterable[type], runners: Iterable[str] = ()) -> None:
    """Read what parts and runners import, for the processes that are forked from this one.

    What files mean is kept by their bytes: a process that is forked later reads them again, so an
    edit shows there. What cannot be read is left to the process that needs it.
    """
    found = Modules()
    for part in parts:
        with suppress(Exception):
            _look_up(_close_part(part, found))
    for runner in runners:
        with suppress(Exception):
            _look_up(_close(runner, found))


def _look_up(closed: Closed) -> None:
    for top in closed.outside:
        library(top)


def forget() -> None:
    """Forget what was read and where modules are, so that the next call sees what is there now."""
    installed.forget()
    for kept in (_modules, _of_part, _of_module):
        kept.cache_clear()


# ---------------------------------------------------------------- once a process


@cache
def _modules() -> Modules:
    return Modules()


@cache
def _of_part(part: type) -> Closed:
    return _close_part(part, _modules())


@cache
def _of_module(name: str) -> Closed:
    return _close(name, _modules())


def _closures(parts: Iterable[tuple[str, type]], runner: str) -> Iterator[Closed]:
    yield from (_of_part(part) for _, part in parts)
    yield _of_module(runner)


def _close_part(part: type, found: Modules) -> Closed:
    return _close(part.__module__, found, part.__qualname__, _listed(part))


def _close(root: str, found: Modules, within: str = "", listed: tuple[str, ...] = ()) -> Closed:
    closure = _Closure(found)
    closure.begin(root)
    idents = [closure.follow(name).ident for name in listed]
    closure.finish()
    return closure.closed(within, idents)


def _listed(part: type) -> tuple[str, ...]:
    return tuple(getattr(part, "modules", ()))


# ---------------------------------------------------------------- the closure


@dataclass(frozen=True)
class Closed:
    """All that was found from one module: digest, modules of ours and plugins, libraries."""

    digest: str
    modules: frozenset[str]
    outside: frozenset[str]
    unresolved: tuple[str, ...]


@dataclass(frozen=True)
class _Target:
    """What a reference leads to: its identity, and the modules that this names."""

    ident: bytes
    modules: frozenset[str] = frozenset()


class _Closure:
    """Follows imports from a module until nothing new is found."""

    def __init__(self, found: Modules) -> None:
        self._found = found
        self._waiting: list[tuple[Module, bool]] = []
        self._deep: dict[str, bool] = {}  # by module: whether what its functions import counts
        self._whole: set[str] = set()  # packages all of whose files count
        self._roots: set[Path] = set()  # folders of plugins that no metadata describe
        self._done: dict[str, bytes] = {}  # by module: its identity with all that it refers to
        self._files: list[bytes] = []  # the identities of files that are no Python
        self._named: dict[str, Module] = {}  # that references lead to
        self._followed: dict[str, _Target] = {}
        self._outside: set[str] = set()
        self._places: dict[str, list[str]] = {}  # by module: where imports cannot be followed
        self._lost: list[str] = []  # what it should begin with, if no file holds that

    def begin(self, name: str) -> None:
        """Take in the module of this name, and its whole package unless that is ours."""
        name = _own_name(name)
        top = name.split(".")[0]
        module = self._found.find(name)
        if module is None or module.file is None:
            self._lost.append(f"{name}: a module without a file")
        elif is_ours(top):
            self._take(module)
        elif bundle := owner(top):
            self._take_bundle(bundle, top)
        else:
            self._take_loose(module, top)

    def finish(self) -> None:
        while self._waiting:
            module, deep = self._waiting.pop()
            if self._deep.get(module.name) == deep:
                self._done[module.name] = self._full(module, deep)

    def closed(self, within: str, idents: list[bytes]) -> Closed:
        found = _hash(*sorted([*self._done.values(), *self._files]))
        digest = _hash(b"closure", within.encode(), found, *sorted(idents))
        places = [place for several in self._places.values() for place in several]
        return Closed(
            digest.hex(),
            frozenset(self._done),
            frozenset(self._outside),
            tuple(sorted({*places, *self._lost})),
        )

    # ------------------------------------------------------------ what counts whole

    def _take(self, module: Module, deep: bool = True) -> None:
        known = self._deep.get(module.name)
        if module.file is not None and (known is None or known < deep):
            self._deep[module.name] = deep
            self._waiting.append((module, deep))

    def _take_bundle(self, bundle: Bundle, top: str) -> None:
        """Take in all packages of a distribution; where it names none, the one at hand."""
        for name in sorted(bundle.tops) if bundle.named else [top]:
            if not is_ours(name):
                self._take_top(name)
        if not bundle.named and (found := find_top(top)) and found.root:
            self._roots.add(found.root)

    def _take_loose(self, module: Module, top: str) -> None:
        """Take in what belongs to no distribution: its package, or the scripts of its folder."""
        found = find_top(top)
        if found is None or found.root is None:
            return
        self._roots.add(found.root)
        if found.folders:
            self._take_top(top)
        elif _is_library(found.root):
            self._whole.add(top)
            self._take(module)
        else:
            for file in sorted(found.root.glob("*.py")):
                if file.is_file() and not _is_stray(file.name):
                    self._whole.add(file.stem)
                    self._take(Module(file.stem, file))

    def _take_top(self, name: str) -> None:
        """Take in all files of a package, or a module that is in none."""
        top = find_top(name)
        if name in self._whole or top is None:
            return
        self._whole.add(name)
        for folder in top.folders:
            for file in files_in(folder, _is_stray):
                self._take_file(name, folder, file)
        if not top.folders and top.file:
            self._take(Module(name, top.file))

    def _take_file(self, top: str, folder: Path, file: Path) -> None:
        relative = file.relative_to(folder)
        if file.suffix != ".py" or not file.is_file():
            name = relative.as_posix().encode("utf-8", "surrogateescape")
            self._files.append(_hash(b"file", name, content_of(file).encode()))
        elif file.name == "__init__.py":
            self._take(Module(".".join((top, *relative.parts[:-1])), file, (file.parent,)))
        else:
            self._take(Module(".".join((top, *relative.with_suffix("").parts)), file))

    # ------------------------------------------------------------ what is followed

    def follow(self, name: str) -> _Target:
        """Take in what a dotted name leads to, and return what identifies it."""
        if name not in self._followed:
            self._followed[name] = self._follow(name, frozenset())
        return self._followed[name]

    def _follow(self, name: str, seen: frozenset[str]) -> _Target:
        top = name.split(".")[0]
        module, rest = self._found.longest(name) if self._counts(top) else (None, ())
        if module is None:
            self._outside.add(top)
            return _Target(_hash(b"name", name.encode()))
        onward = self._onward(module, rest)
        further = self._follow(onward, seen | {name}) if onward and name not in seen else None
        if further and module.folders and is_ours(top):
            return further  # the package only hands it on
        self._include(module, top)
        self._named[module.name] = module
        words = (word.encode() for word in rest)
        ident = _hash(b"module", self._digest(module), further.ident if further else b"", *words)
        return _Target(ident, frozenset({module.name}))

    def _counts(self, top: str) -> bool:
        """Whether a package is ours, a plugin's, or belongs to a part without a distribution."""
        if is_ours(top) or top in self._whole:
            return True
        if top in sys.stdlib_module_names:
            return False
        return plugin(top) is not None or self._is_neighbour(top)

    def _is_neighbour(self, top: str) -> bool:
        found = find_top(top) if self._roots else None
        return found is not None and found.root in self._roots and owner(top) is None

    def _include(self, module: Module, top: str) -> None:
        if is_ours(top):
            self._take(module, deep=not module.folders)
        elif top not in self._whole:
            bundle = plugin(top)
            self._take_bundle(bundle, top) if bundle else self._take_top(top)

    def _onward(self, module: Module, rest: tuple[str, ...]) -> str:
        """Return where a module got a name from that it imported itself; empty if it did not.

        rest: the name, with the attributes that are asked of it. A package may also say in a
        dictionary from which of its modules a name is imported once it is asked for.
        """
        if not rest:
            return ""
        if handed := self._found.exports(module).get(rest[0]):
            return ".".join((handed, *rest[1:]))
        for name, text in self._found.meaning(module.file).lazy if module.folders else ():
            place = module.absolute(_relative(text))
            if name == rest[0] and self._is_module(place):
                return ".".join((place, *rest))
        return ""

    def _full(self, module: Module, deep: bool) -> bytes:
        """Return the identity of a module with all that it refers to, and take this in.

        deep: what its functions import counts too.
        """
        found = self._found.meaning(module.file)
        references = [one for one in found.references if deep or not one.late]
        used = [self._target(module, one, deep) for one in references if one.kind != "module"]
        reached = {name for target in used for name in target.modules}
        idle = self._only_imported(module, references, reached)
        calls = [one for one in found.unresolved if deep or not one.late]
        self._places[module.name] = [f"{module.place} line {one.line}: {one.text}" for one in calls]
        return _hash(found.digest.encode(), *(target.ident for target in used), b"", *idle)

    def _only_imported(
        self, module: Module, references: list[Reference], reached: set[str]
    ) -> list[bytes]:
        """Return the digests of modules that are imported and that nothing else refers to."""
        names = (module.absolute(one) for one in references if one.kind == "module")
        found = {name for target in map(self.follow, names) for name in target.modules}
        return sorted(self._digest(self._named[name]) for name in found - reached)

    def _target(self, module: Module, reference: Reference, deep: bool) -> _Target:
        name = module.absolute(reference)
        if reference.kind == "string" and not (deep and self._is_module(name)):
            return _Target(_hash(b"text", name.encode()))
        target = self.follow(name)
        if reference.kind in ("import", "string"):
            return target
        kind = (reference.kind.encode(), reference.bound.encode())
        return _Target(_hash(*kind, target.ident), target.modules)

    def _is_module(self, name: str) -> bool:
        if not self._counts(name.split(".")[0]):
            return False
        module = self._found.find(name)
        return module is not None and module.file is not None

    def _digest(self, module: Module) -> bytes:
        return self._found.meaning(module.file).digest.encode()


def _own_name(name: str) -> str:
    """Return a module's name, also of one that was started by ``python -m``."""
    spec = getattr(sys.modules.get(name), "__spec__", None) if name == "__main__" else None
    return spec.name if spec else name


def _relative(text: str) -> Reference:
    """Return a module's name in a string as a reference."""
    name = text.lstrip(".")
    return Reference("import", name, len(text) - len(name))


def _is_stray(name: str) -> bool:
    """Whether a file or folder is left by an editor, a notebook, a version control or Python."""
    return STRAY.fullmatch(name) is not None


def _is_library(folder: Path) -> bool:
    """Whether a folder holds installed packages or the standard library."""
    places = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")}
    return folder in places or bool({"site-packages", "dist-packages"} & {*folder.parts})


def _hash(*parts: bytes) -> bytes:
    hashed = hashlib.blake2b(digest_size=SIZE)
    for part in parts:
        hashed.update(len(part).to_bytes(8, "big") + part)
    return hashed.digest()
