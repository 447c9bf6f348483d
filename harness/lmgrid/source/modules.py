"""The modules of this environment by dotted name: their files, and what these mean."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import msgspec

from lmgrid.source import import_calls, meaning, scope
from lmgrid.source.filehash import digest_of
from lmgrid.source.installed import find_top
from lmgrid.source.meaning import Meaning, Reference
from lmgrid.source.memo import keep, recall

_known: dict[bytes, Meaning] = {}  # by a hash of a file's bytes, so that an edit is never missed
_decoder = msgspec.json.Decoder(Meaning)


@dataclass(frozen=True)
class Module:
    """A module or package: its file, None for a folder without ``__init__``."""

    name: str
    file: Path | None
    folders: tuple[Path, ...] = ()  # of a package

    @property
    def place(self) -> str:
        """Return its file as a person looks for it."""
        return self.name.replace(".", "/") + ("/__init__.py" if self.folders else ".py")

    def absolute(self, reference: Reference) -> str:
        """Return the dotted name that a reference in this module has from everywhere."""
        if not reference.level:
            return reference.name
        above = self.name.split(".")
        above = above[: len(above) + bool(self.folders) - reference.level]
        return ".".join(filter(None, (*above, reference.name)))


class Modules:
    """Modules by name, as they are now: each is looked for and read once."""

    def __init__(self) -> None:
        self.find = cache(self._find)
        self.meaning = cache(_meaning)
        self.exports = cache(self._exports)

    def longest(self, name: str) -> tuple[Module | None, tuple[str, ...]]:
        """Return the module that a dotted name begins with, and the rest of the name."""
        parts = name.split(".")
        found = None
        for length in range(1, len(parts) + 1):
            inner = self.find(".".join(parts[:length]))
            if inner is None:
                return found, (*parts[length - 1 :],)
            found = inner
        return found, ()

    def _exports(self, module: Module) -> dict[str, str]:
        """Return what the module imported under each of its names, by dotted names."""
        found = self.meaning(module.file).exports
        return {name: module.absolute(reference) for name, reference in found}

    def _find(self, name: str) -> Module | None:
        above, _, last = name.rpartition(".")
        if not above:
            top = find_top(name)
            return Module(name, top.file, top.folders) if top else None
        package = self.find(above)
        return _below(name, last, package.folders) if package else None


def _below(name: str, last: str, folders: tuple[Path, ...]) -> Module | None:
    """Find a module in the folders of its package, as an import would."""
    for folder in folders:
        if (init := folder / last / "__init__.py").is_file():
            return Module(name, init, (folder / last,))
        for suffix in (*EXTENSION_SUFFIXES, ".py"):
            if (file := folder / (last + suffix)).is_file():
                return Module(name, file)
    bare = tuple(folder / last for folder in folders if (folder / last).is_dir())
    return Module(name, None, bare) if bare else None


def _meaning(file: Path | None) -> Meaning:
    """Return what a module's file means; one that is no Python source counts by its bytes."""
    if file is None:
        return Meaning("")
    if file.suffix != ".py":
        return Meaning(digest_of(file))
    return understand(file.read_bytes())


def understand(source: bytes) -> Meaning:
    """Return what Python source means, from memory or from the cache folder if it is known."""
    key = hashlib.blake2b(source, key=_writer()).digest()
    if key not in _known:
        _known[key] = _recall(key) or _read(key, source)
    return _known[key]


def _read(key: bytes, source: bytes) -> Meaning:
    found = meaning.read(source)
    if found != Meaning(found.digest):  # not what another version of Python may be able to parse
        keep("meanings", key, msgspec.json.encode(found))
    return found


def _recall(key: bytes) -> Meaning | None:
    try:
        return _decoder.decode(recall("meanings", key) or b"")
    except msgspec.DecodeError:
        return None


@cache
def _writer() -> bytes:
    """Return a key of the code that reads meanings, so that none outlives an edit of it."""
    hashed = hashlib.blake2b(str(meaning.VERSION).encode(), digest_size=16)
    for module in (meaning, import_calls, scope):
        hashed.update(Path(str(module.__file__)).read_bytes())
    return hashed.digest()
