"""What decides a cell's numbers, and so its address, known without running it."""

from __future__ import annotations

from functools import cache

from lmgrid.grid import AnyCell, Cell, Part
from lmgrid.record import Inputs
from lmgrid.registry import Registry
from lmgrid.source import sources
from lmgrid.spec import Place


class Identities:
    """The inputs of cells; the bytes of each corpus are hashed once."""

    def __init__(self, registry: Registry, place: Place) -> None:
        self._registry, self._place = registry, place
        self._digest = cache(self._read_digest)

    def _read_digest(self, corpus: Part) -> str:
        return self._registry.corpus(corpus).digest(self._place)

    def of(self, cell: AnyCell) -> Inputs:
        registry = self._registry
        if not isinstance(cell, Cell):
            return Inputs.of(cell, "", sources([type(registry.kernel(cell.kernel))]))
        parts: list[object] = [registry.corpus(cell.corpus), registry.model(cell.model)]
        parts += [registry.optimizer(cell.optimizer)] if cell.optimizer else []
        parts += [registry.regularizer(part) for part in cell.regularizers]
        return Inputs.of(cell, self._digest(cell.corpus), sources(map(type, parts)))
