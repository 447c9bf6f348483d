"""``lmgrid grids``: list the grids that come with lmgrid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lmgrid.commands.options import JSON_OPTION, find_grid, installed_grids
from lmgrid.commands.output import say, show_json, show_tables
from lmgrid.errors import UserError

if TYPE_CHECKING:
    from lmgrid.grid import Part
    from lmgrid.plugin.registry import Registry
    from lmgrid.spec import Place

HEAD = ("grid", "title", "cells", "takes about", "corpora")


@click.command()
@JSON_OPTION
def grids(*, as_json: bool) -> None:
    """List the grids that come with lmgrid.

    For each it shows the title, how many cells it has, about how long they take, and which corpora
    it reads. lmgrid run NAME runs one. Its file can be copied and changed.

    \b
    Examples:
      lmgrid grids
      lmgrid grids --json
    """
    from lmgrid.plugin.registry import Registry
    from lmgrid.report.layout import Table

    registry = Registry.installed()
    names = installed_grids()
    rows = tuple(_row(name, registry) for name in names)
    if as_json:
        keys = ("name", "title", "cells", "takes", "corpora")
        show_json([dict(zip(keys, row, strict=True)) for row in rows])
        return
    title = "Grids that come with lmgrid"
    show_tables([Table(name="grids", title=title, header=HEAD, rows=rows, numeric_columns=0)])
    if names:
        say(f"their files: {find_grid(names[0]).parent}")


def _row(name: str, registry: Registry) -> tuple[str, ...]:
    """Return what is shown of a grid, or why it cannot be run here."""
    from lmgrid.execution.plan import place_of
    from lmgrid.grid import Cell
    from lmgrid.gridfile.reader import read_grid

    try:
        grid = read_grid(find_grid(name), registry)
    except UserError as problem:
        return name, str(problem), "", "", ""
    place = place_of(grid)
    parts = dict.fromkeys(cell.corpus for cell in grid.cells if isinstance(cell, Cell))
    corpora = {part.name: _is_here(part, registry, place) for part in parts}
    shown = ", ".join(text if here else f"{text} (not here)" for text, here in corpora.items())
    return name, grid.title, str(len(grid.cells)), grid.takes, shown


def _is_here(part: Part, registry: Registry, place: Place) -> bool:
    """Return whether the files of a corpus are on this machine."""
    try:
        registry.corpus(part).digest(place)
    except UserError:
        return False
    return True
