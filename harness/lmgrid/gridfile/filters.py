"""Filters cells by conditions, for ``--only`` and ``[[exclude]]``.

A condition is a key and its accepted values. A filter matches a cell that satisfies all of its
conditions. A key is a kind (``model``), an option of a kind (``model.cell``), an option of a part
(``rnn.cell``), or ``seed``, ``device``, ``threads``. The name ``none`` matches a cell without an
optimizer, without regularizers, or without reporters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from lmgrid.grid import (
    KINDS,
    PLAIN,
    AnyCell,
    Cell,
    GridError,
    Options,
    Part,
    Value,
    named_parts,
    near,
    show,
)


@dataclass(frozen=True)
class Filter:
    """Conditions that a cell must all satisfy."""

    conditions: tuple[tuple[str, tuple[Value, ...]], ...]  # each a key and its accepted values
    path: str  # of the block or the flag, for error messages

    def matches(self, cell: AnyCell) -> bool:
        """Return whether a cell satisfies every condition."""
        return all(_satisfies(cell, key, values) for key, values in self.conditions)

    def check(self, cells: Sequence[AnyCell]) -> None:
        """Raise GridError if no cell of the grid has a key or a name of the conditions."""
        options = _options_by_head(cells)
        for key, values in self.conditions:
            if key in KINDS:
                self._check_names(key, values, {n for c in cells for n in _names(c, key)})
            elif key not in PLAIN:
                self._check_option(key, options)

    def _check_names(self, kind: str, values: Iterable[Value], names: set[str]) -> None:
        for name in map(show, values):
            if name not in names:
                hint = near(name, names)
                raise GridError(f"{self.path}: no {kind} {name!r} in this grid{hint}")

    def _check_option(self, key: str, options: dict[str, set[str]]) -> None:
        head, dot, option = key.partition(".")
        if not dot or head not in options:
            hint = near(head, options if dot else (*KINDS, *PLAIN))
            raise GridError(f"{self.path}: unknown key {key!r}{hint}")
        if option not in options[head]:
            hint = near(option, options[head])
            raise GridError(f"{self.path}: {head} has no option {option!r}{hint}")


def _options_by_head(cells: Iterable[AnyCell]) -> dict[str, set[str]]:
    """Return the option names that may follow each kind and each part name in a key."""
    options: dict[str, set[str]] = {}
    for kind, part in {(k, part) for cell in cells for k in KINDS for part in _parts(cell, k)}:
        for head in (kind, part.name):
            options.setdefault(head, set()).update(name for name, _ in _options(part))
    return options


def _options(part: Part) -> Options:
    return (*part.options, *part.files)


def _parts(cell: AnyCell, kind: str) -> Iterator[Part]:
    return (part for found, part in named_parts(cell) if found == kind)


def _names(cell: AnyCell, kind: str) -> set[str]:
    names = {part.name for part in _parts(cell, kind)}
    absent = (
        isinstance(cell, Cell) and kind in ("optimizer", "regularizer", "reporter") and not names
    )
    return {"none"} if absent else names


def _satisfies(cell: AnyCell, key: str, values: tuple[Value, ...]) -> bool:
    if key in PLAIN:
        return getattr(cell, key, None) in values
    if key in KINDS:
        return not _names(cell, key).isdisjoint(map(show, values))
    head, _, option = key.partition(".")
    kinds = (head,) if head in KINDS else KINDS
    parts = [part for kind in kinds for part in _parts(cell, kind)]
    named = [part for part in parts if head in KINDS or part.name == head]
    shown = {show(value) for value in values}
    return any(name == option and show(v) in shown for part in named for name, v in _options(part))
