"""What a run would do: each cell with its address, and whether it is recorded already."""

from __future__ import annotations

from dataclasses import dataclass

from lmgrid.grid import AnyCell, Grid
from lmgrid.machine.environment import cache_folder
from lmgrid.plugin.registry import Registry
from lmgrid.records.address import Identities
from lmgrid.records.record import Inputs
from lmgrid.records.store import Store
from lmgrid.spec import Place


@dataclass(frozen=True)
class Planned:
    """A cell, what decides its numbers, whether the store holds them, and what it imports."""

    cell: AnyCell
    inputs: Inputs
    recorded: bool
    modules: tuple[str, ...] = ()  # slow to import
    libraries: tuple[tuple[str, str], ...] = ()  # that its code imports, with their versions here

    @property
    def address(self) -> str:
        return self.inputs.address


def place_of(grid: Grid) -> Place:
    return Place(grid.folder.resolve(), cache_folder())


def plan(grid: Grid, store: Store, registry: Registry) -> tuple[Planned, ...]:
    """Return the grid's cells in order, each address once; it reads corpora and trains nothing."""
    identities = Identities(registry, place_of(grid))
    planned: dict[str, Planned] = {}
    for cell in grid.cells:
        went_in = identities.of(cell)
        address = went_in.address
        modules = tuple(name for part in registry.parts(cell) for name in part.preload)
        known = store.has(address)
        found = Planned(cell, went_in, known, modules, identities.code(cell).libraries)
        planned.setdefault(address, found)
    return tuple(planned.values())


def unresolved(grid: Grid, registry: Registry) -> tuple[str, ...]:
    """Return the imports of a grid's cells that could not be followed, each once."""
    identities = Identities(registry, place_of(grid))
    found = (where for cell in grid.cells for where in identities.code(cell).unresolved)
    return tuple(dict.fromkeys(found))
