"""Finds modules by dotted name, and reads the meaning of their files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import msgspec

from lmgrid.source import import_calls, meaning, scope
from lmgrid.source.disk_cache import load_cached, save_cached
from lmgrid.source.filehash import digest_of
from lmgrid.source.installed import locate
from lmgrid.source.meaning import Meaning, Reference

_known: dict[bytes, Meaning] = {}  # by a hash of a file's bytes, so that an edit is noticed
_decoder = msgspec.json.Decoder(Meaning)


@dataclass(frozen=True)
class Module:
    """A module or package, and where it is."""

    name: str  # dotted
    file: Path | None  # None for a package without __init__.py
    folders: tuple[Path, ...] = ()  # of a package

    @property
    def display_path(self) -> str:
        """The path of the file below the folder of the top-level package, for messages."""
        return self.name.replace(".", "/") + ("/__init__.py" if self.folders else ".py")

    def absolute(self, reference: Reference) -> str:
        """Return the absolute dotted name of a reference in this module."""
        if not reference.level:
            return reference.name
        package = self.name.split(".")
        package = package[: len(package) + bool(self.folders) - reference.level]
        return ".".join(filter(None, (*package, reference.name)))


class Modules:
    """The modules that can be imported now. Each is found and read once."""

    def __init__(self) -> None:
        self.find = cache(self._find)
        self.meaning = cache(_meaning)
        self.exports = cache(self._exports)

    def longest_prefix(self, name: str) -> tuple[Module | None, tuple[str, ...]]:
        """Return the innermost module that a dotted name leads to, and the rest of the name."""
        parts = name.split(".")
        found = None
        for length in range(1, len(parts) + 1):
            inner = self.find(".".join(parts[:length]))
            if inner is None:
                return found, (*parts[length - 1 :],)
            found = inner
        return found, ()

    def _exports(self, module: Module) -> dict[str, str]:
        """Return the absolute name of what each imported name of the module stands for."""
        found = self.meaning(module.file).exports
        return {name: module.absolute(reference) for name, reference in found}

    def _find(self, name: str) -> Module | None:
        """Return the module of a dotted name, without importing it; None if there is none."""
        parent, _, last = name.rpartition(".")
        if not parent:
            top = locate(name)
            return Module(name, top.file, top.folders) if top else None
        package = self.find(parent)
        return _find_in(package.folders, name, last) if package else None


def _find_in(folders: tuple[Path, ...], name: str, last: str) -> Module | None:
    """Return the module ``last`` in the folders of its package, in the order of an import."""
    for folder in folders:
        if (init := folder / last / "__init__.py").is_file():
            return Module(name, init, (folder / last,))
        for suffix in (*EXTENSION_SUFFIXES, ".py"):
            if (file := folder / (last + suffix)).is_file():
                return Module(name, file)
    bare = tuple(folder / last for folder in folders if (folder / last).is_dir())
    return Module(name, None, bare) if bare else None


def _meaning(file: Path | None) -> Meaning:
    """Return the meaning of a module's file; that of a compiled module is a hash of its bytes."""
    if file is None:
        return Meaning("")
    if file.suffix != ".py":
        return Meaning(digest_of(file))
    return read_meaning(file.read_bytes())


def read_meaning(source: bytes) -> Meaning:
    """Return the meaning of Python source, from memory or the disk cache if it is known."""
    key = hashlib.blake2b(source, key=_reader_version()).digest()
    if key not in _known:
        _known[key] = _load(key) or _read_and_save(key, source)
    return _known[key]


def _read_and_save(key: bytes, source: bytes) -> Meaning:
    found = meaning.read(source)
    if found != Meaning(found.digest):  # another version of Python may parse what this one cannot
        save_cached("meanings", key, msgspec.json.encode(found))
    return found


def _load(key: bytes) -> Meaning | None:
    try:
        return _decoder.decode(load_cached("meanings", key) or b"")
    except msgspec.DecodeError:
        return None


@cache
def _reader_version() -> bytes:
    """Return a hash of the code that reads meanings, so that an edit of it outdates the cache."""
    hashed = hashlib.blake2b(str(meaning.VERSION).encode(), digest_size=16)
    for module in (meaning, import_calls, scope):
        hashed.update(Path(str(module.__file__)).read_bytes())
    return hashed.digest()
