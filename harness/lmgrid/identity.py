"""What decides a cell's numbers, and so its address, known without running it."""

from __future__ import annotations

from functools import cache

from lmgrid.errors import Mistake
from lmgrid.grid import AnyCell, Cell, GridError, Part
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
        try:
            return self._registry.corpus(corpus).digest(self._place)
        except Mistake:
            raise
        except Exception as error:  # of a third party
            raise GridError(f"corpus {corpus.label}: {type(error).__name__}: {error}") from None

    def of(self, cell: AnyCell) -> Inputs:
        found = sources(map(type, self._registry.parts(cell)))
        return Inputs.of(cell, self._digest(cell.corpus) if isinstance(cell, Cell) else "", found)
