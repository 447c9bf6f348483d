"""The nouns of a grid: parts, cells, budgets, its names, and the error a reader can act on."""

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
    """What was asked cannot be run; the message says what, where and what to do."""


class PartError(GridError):
    """A part cannot be as asked; ``option`` names the key at fault, if one is."""

    def __init__(self, message: str, option: str = "") -> None:
        super().__init__(message)
        self.option = option


def near(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?``, or what there is, or nothing if there is nothing."""
    names = sorted(known)
    if match := get_close_matches(name, names, n=1):
        return f"; did you mean {match[0]!r}?"
    return f"; there are: {', '.join(names)}" if names else ""


@dataclass(frozen=True)
class Part:
    """A plugin's thing by name, with every option filled in, so that two spellings are one.

    ``files`` are options that name files; they stand apart because the bytes of a file count
    for the identity of a cell, not its name. ``changed`` names the options that differ from
    their defaults.
    """

    name: str
    options: Options = ()
    files: tuple[tuple[str, str], ...] = ()
    changed: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The part as tables show it: ``name[option=value,…]`` with what was changed."""
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
    """One point of a grid: all that decides a number. What a part cannot feel is None."""

    corpus: Part
    model: Part
    optimizer: Part | None
    regularizers: tuple[Part, ...]
    seed: int | None
    device: str
    threads: int
    budget: Budget | None
    reporters: tuple[Part, ...] = ()  # they change no number, but what a record holds

    @property
    def label(self) -> str:
        parts = [self.model.label]
        parts += [self.optimizer.label] if self.optimizer else []
        parts += [part.label for part in self.regularizers]
        seed = "" if self.seed is None else f" seed {self.seed}"
        return f"{' + '.join(parts)}{seed} on {self.corpus.label}"


@dataclass(frozen=True)
class KernelCell:
    """One size of a pair of loop and vectorised form, on one device."""

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
    """A cell that a grid leaves out, and why."""

    cell: AnyCell
    because: str


@dataclass(frozen=True)
class Grid:
    """Cells to run, in order; ``folder`` is what relative paths in them count from."""

    name: str
    title: str
    folder: Path
    cells: tuple[AnyCell, ...]
    excluded: tuple[Excluded, ...] = ()
