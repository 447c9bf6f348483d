"""Which cells a filter means: ``--only`` and ``[[exclude]]``.

Values of one key are alternatives, different keys must all hold. A key is a kind (``model``), a
kind's option (``model.cell``), a part's option (``rnn.cell``), or ``seed``, ``device``,
``threads``. The name ``none`` stands for no optimizer and no regularizer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from lmgrid.grid import AnyCell, Cell, GridError, KernelCell, Part, Value, near, show

KINDS = ("corpus", "model", "optimizer", "regularizer", "kernel")
PLAIN = ("seed", "device", "threads")


@dataclass(frozen=True)
class Filter:
    """All of some conditions; each is a key and the values that satisfy it."""

    conditions: tuple[tuple[str, tuple[Value, ...]], ...]
    where: str  # what to name in an error

    def matches(self, cell: AnyCell) -> bool:
        return all(_satisfies(cell, key, values) for key, values in self.conditions)

    def check(self, cells: Sequence[AnyCell]) -> None:
        """Raise GridError if a key or a name occurs nowhere in the grid."""
        names = {kind: {n for c in cells for n in _names(c, kind)} for kind in KINDS}
        for key, values in self.conditions:
            self._check_key(key, names)
            if key in KINDS:
                self._check_names(key, values, names[key])

    def _check_key(self, key: str, names: dict[str, set[str]]) -> None:
        head, dot, option = key.partition(".")
        if not dot and key in (*KINDS, *PLAIN):
            return
        known = {*KINDS, *(name for kind in names.values() for name in kind)}
        if not dot or head not in known or not option:
            raise GridError(f"{self.where}: unknown key {key!r}{near(head, known | set(PLAIN))}")

    def _check_names(self, key: str, values: Iterable[Value], names: set[str]) -> None:
        for value in values:
            if value not in names:
                hint = near(str(value), names)
                raise GridError(f"{self.where}: no {key} {value!r} in this grid{hint}")


def _parts(cell: AnyCell, kind: str) -> Iterator[Part]:
    if isinstance(cell, KernelCell):
        yield from (cell.kernel,) if kind == "kernel" else ()
    elif kind == "regularizer":
        yield from cell.regularizers
    elif kind != "kernel":
        part: Part | None = getattr(cell, kind)
        yield from () if part is None else (part,)


def _names(cell: AnyCell, kind: str) -> set[str]:
    names = {part.name for part in _parts(cell, kind)}
    absent = isinstance(cell, Cell) and kind in ("optimizer", "regularizer") and not names
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
    return any(
        show(dict(part.options)[option]) in shown for part in named if option in dict(part.options)
    )
