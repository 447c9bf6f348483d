"""The code that decides a number, as digests: an edited plugin never answers with old numbers."""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

# The core's rooms that decide what comes out; the others decide what is run.
ROOMS = ("text", "grid", "run", "training", "score", "kernel", "clock", "seeds")
OURS = "lmgrid_"


@dataclass(frozen=True)
class Source:
    """A package, or a room of the core, and the digest of its source."""

    name: str
    digest: str


def sources(parts: Iterable[type]) -> tuple[Source, ...]:
    """Return the packages of some part classes, those of ours that they import, and the rooms."""
    packages = {name for part in parts for name in _closure(part.__module__.split(".")[0])}
    return tuple(Source(name, _digest(name)) for name in sorted({*packages, *_rooms()}))


def read_imports(parts: Iterable[type]) -> None:
    """Read what their packages import, which is slow, for the processes forked from this one.

    Digests are left to these, so that a later edit shows in them.
    """
    for part in parts:
        _closure(part.__module__.split(".")[0])


def _rooms() -> tuple[str, ...]:
    return tuple(f"lmgrid.{room}" for room in ROOMS)


@cache
def _closure(package: str) -> frozenset[str]:
    """Return a package and the packages of ours that its modules import, and theirs."""
    found, waiting = set[str](), {package}
    while waiting:
        name = waiting.pop()
        found.add(name)
        waiting |= {m for m in _imports(name) if m.startswith(OURS)} - found
    return frozenset(found)


@cache
def _imports(package: str) -> frozenset[str]:
    names: set[str] = set()
    for path in _files(package):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module)
    return frozenset(name.split(".")[0] for name in names)


@cache
def _files(name: str) -> tuple[Path, ...]:
    """Return the source files of a module or package that was or can be imported."""
    module = sys.modules.get(name)
    spec = module.__spec__ if module else find_spec(name)
    if spec and spec.submodule_search_locations:
        folders = map(Path, spec.submodule_search_locations)
        return tuple(sorted(path for folder in folders for path in folder.rglob("*.py")))
    origin = spec.origin if spec else getattr(module, "__file__", None)
    return (Path(origin),) if origin and origin.endswith(".py") else ()


@cache
def _digest(name: str) -> str:
    """Hash names and contents; line ends as ``\\n``, so that a checkout's setting is no edit."""
    hashed = hashlib.blake2b(digest_size=16)
    for path in _files(name):
        hashed.update(path.name.encode() + b"\x00")
        hashed.update(path.read_bytes().replace(b"\r\n", b"\n") + b"\x00")
    return hashed.hexdigest()
