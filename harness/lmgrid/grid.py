"""Defines grids, their cells and parts, the key names of grid files, and their errors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TypeAlias

from lmgrid.budget import Budget
from lmgrid.errors import UserError

Scalar: TypeAlias = bool | int | float | str | None
Value: TypeAlias = Scalar | tuple[Scalar, ...]
Options: TypeAlias = tuple[tuple[str, Value], ...]

# The names that a grid file and a filter use themselves.
SETTINGS = ("seeds", "devices", "threads", "budget")
TRAINING = ("optimizers", "regularizers", "reporters")
BLOCKS = {"corpora": "corpus", "models": "model", "kernels": "kernel"}
KINDS = ("corpus", "model", "optimizer", "regularizer", "reporter", "kernel")
PLAIN = ("seed", "device", "threads")


class GridError(UserError):
    """A grid cannot be run; the message says what is wrong, where, and how to fix it."""


class PartError(GridError):
    """The name or an option of a part is invalid; ``option`` is the invalid key, else empty."""

    def __init__(self, message: str, option: str = "") -> None:
        super().__init__(message)
        self.option = option


def near(name: str, known: Iterable[str]) -> str:
    """Return the end of an error message that suggests a known name, or lists all of them.

    >>> near("admm", ["adam", "sgd"])
    "; did you mean 'adam'?"
    """
    names = sorted(known)
    if match := get_close_matches(name, names, n=1):
        return f"; did you mean {match[0]!r}?"
    return f"; there are: {', '.join(names)}" if names else ""


@dataclass(frozen=True)
class Part:
    """A plugin's part, by name and with a value for every option.

    ``files`` are the options that name files. They are separate because the address of a cell
    covers the bytes of a file, not its name. ``changed`` names the options that differ from
    their defaults.

    >>> options = (("order", 5), ("smoothing", "kneser-ney"))
    >>> Part("ngram", options, changed=("order",)).label
    'ngram[order=5]'
    """

    name: str
    options: Options = ()
    files: tuple[tuple[str, str], ...] = ()
    changed: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """``name[option=value,…]`` with the options that differ from their defaults."""
        shown = [f"{k}={show(v)}" for k, v in (*self.files, *self.options) if k in self.changed]
        return f"{self.name}[{','.join(shown)}]" if shown else self.name


def show(value: Value) -> str:
    """Return an option's value as tables show it."""
    if isinstance(value, (tuple, list)):
        return f"({','.join(map(show, value))})"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(value).removesuffix(".0")
    return "none" if value is None else str(value)


def budget_label(budget: Budget) -> str:
    """Return a budget as tables show it: ``2 epochs, 300 CPU seconds``."""
    named = {
        "epochs": budget.epochs,
        "seconds": budget.seconds,
        "tokens": budget.tokens,
        "CPU seconds": budget.cpu_seconds,
    }
    return ", ".join(f"{value:g} {unit}" for unit, value in named.items() if value is not None)


@dataclass(frozen=True)
class Cell:
    """One point of a grid: everything that determines a result.

    A field that has no effect on the result is None.

    >>> cell = Cell(
    ...     corpus=Part("kjv"),
    ...     model=Part("elman"),
    ...     optimizer=Part("adam"),
    ...     regularizers=(),
    ...     seed=0,
    ...     device="cpu",
    ...     threads=1,
    ...     budget=Budget(epochs=1),
    ... )
    >>> cell.label
    'elman + adam seed 0 on kjv'
    """

    corpus: Part
    model: Part
    optimizer: Part | None
    regularizers: tuple[Part, ...]
    seed: int | None
    device: str
    threads: int
    budget: Budget | None
    reporters: tuple[Part, ...] = ()  # they add readings to the record; results stay the same

    @property
    def label(self) -> str:
        parts = [self.model.label]
        parts += [self.optimizer.label] if self.optimizer else []
        parts += [part.label for part in self.regularizers]
        seed = "" if self.seed is None else f" seed {self.seed}"
        return f"{' + '.join(parts)}{seed} on {self.corpus.label}"


@dataclass(frozen=True)
class KernelCell:
    """A kernel to time, looped against vectorised, with its options on one device."""

    kernel: Part
    device: str
    threads: int

    @property
    def label(self) -> str:
        return f"kernel {self.kernel.label}"


AnyCell: TypeAlias = Cell | KernelCell


def named_parts(cell: AnyCell) -> Iterator[tuple[str, Part]]:
    """Yield each part of a cell with its kind."""
    if isinstance(cell, KernelCell):
        yield "kernel", cell.kernel
        return
    yield "corpus", cell.corpus
    yield "model", cell.model
    if cell.optimizer:
        yield "optimizer", cell.optimizer
    yield from (("regularizer", part) for part in cell.regularizers)
    yield from (("reporter", part) for part in cell.reporters)


@dataclass(frozen=True)
class Excluded:
    """A cell that the grid file excludes, and the reason."""

    cell: AnyCell
    because: str


@dataclass(frozen=True)
class Grid:
    """Cells to run, in order; relative paths in them are relative to ``folder``."""

    name: str
    title: str
    folder: Path
    cells: tuple[AnyCell, ...]
    excluded: tuple[Excluded, ...] = ()
    takes: str = ""  # about how long it takes, in words
