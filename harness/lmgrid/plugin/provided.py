"""The rows of ``lmgrid plugins``: what a plugin brought, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

CORE = "lmgrid"


@dataclass(frozen=True)
class ProvidedPart:
    """One part that a plugin brought: its kind, its name and its class."""

    kind: str
    name: str
    part: type[Any]
    distribution: str

    @property
    def missing_requirement(self) -> str:
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
    provides: tuple[ProvidedPart, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def status(self) -> str:
        """``ok``, ``incomplete`` (an extra is missing), ``partly broken`` or ``broken``."""
        if self.problems:
            return "partly broken" if self.provides else "broken"
        return "incomplete" if any(part.missing_requirement for part in self.provides) else "ok"

    @property
    def reason(self) -> str:
        if self.problems:
            remedy = f"pip uninstall {self.distribution}" if self.distribution != CORE else ""
            return "; ".join(self.problems) + (f" (to be rid of it: {remedy})" if remedy else "")
        lacking: dict[str, list[str]] = {}
        for provided in self.provides:
            lacking.setdefault(provided.missing_requirement, []).append(provided.name)
        return "; ".join(f"{', '.join(names)} {why}" for why, names in lacking.items() if why)


@cache
def _importable(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except Exception:  # looking for a submodule imports what it is in
        return False
