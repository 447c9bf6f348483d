"""Plans a grid: each cell with its address, and whether the store has its record."""

from __future__ import annotations

from dataclasses import dataclass

from lmgrid.grid import AnyCell, Grid
from lmgrid.machine.environment import cache_folder
from lmgrid.plugin.registry import Registry
from lmgrid.records.address import InputsReader
from lmgrid.records.record import Inputs
from lmgrid.records.store import Store
from lmgrid.spec import Place


@dataclass(frozen=True)
class Planned:
    """A cell of a grid, what decides its numbers, and whether the store has its record."""

    cell: AnyCell
    inputs: Inputs
    recorded: bool
    modules: tuple[str, ...] = ()  # that its parts import and that are slow to import
    libraries: tuple[tuple[str, str], ...] = ()  # that its code imports, with the versions here

    @property
    def address(self) -> str:
        return self.inputs.address


def place_of(grid: Grid) -> Place:
    return Place(grid.folder.resolve(), cache_folder())


def plan(grid: Grid, store: Store, registry: Registry) -> tuple[Planned, ...]:
    """Return the cells of a grid in order, each address once. It reads corpora, trains nothing."""
    reader = InputsReader(registry, place_of(grid))
    planned: dict[str, Planned] = {}
    for cell in grid.cells:
        inputs = reader.inputs(cell)
        found = Planned(
            cell=cell,
            inputs=inputs,
            recorded=store.has(inputs.address),
            modules=tuple(name for part in registry.parts(cell) for name in part.preload),
            libraries=reader.code(cell).libraries,
        )
        planned.setdefault(found.address, found)
    return tuple(planned.values())


def unresolved(grid: Grid, registry: Registry) -> tuple[str, ...]:
    """Return the imports in the code of a grid's cells that could not be followed, each once."""
    reader = InputsReader(registry, place_of(grid))
    found = (where for cell in grid.cells for where in reader.code(cell).unresolved)
    return tuple(dict.fromkeys(found))
