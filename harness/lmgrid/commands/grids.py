"""``lmgrid grids``: list the grids that come with lmgrid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lmgrid.commands.options import JSON_OPTION, find_grid, installed_grids
from lmgrid.commands.output import show_json, show_tables
from lmgrid.errors import UserError

if TYPE_CHECKING:
    from lmgrid.grid import Grid, Part
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
    from lmgrid.gridfile.reader import read_grid
    from lmgrid.plugin.registry import Registry
    from lmgrid.report.layout import Table

    registry = Registry.installed()
    files = {name: find_grid(name) for name in installed_grids()}
    found = {name: read_grid(file, registry, require_extras=False) for name, file in files.items()}
    rows = tuple(_row(name, grid, registry) for name, grid in found.items())
    needs = {name: "; ".join(registry.missing_requirements(g.cells)) for name, g in found.items()}
    if as_json:
        keys = ("name", "title", "cells", "takes", "corpora")
        show_json(
            [dict(zip(keys, row, strict=True)) | {"needs": needs[row[0]]} for row in rows],
        )
        return
    needy: dict[str, list[str]] = {}
    for name, requirement in needs.items():
        needy.setdefault(requirement, []).append(name)
    notes = (f"{', '.join(on)}: {requirement}." for requirement, on in needy.items() if requirement)
    table = Table(
        name="grids",
        title="Grids that come with lmgrid",
        header=HEAD,
        rows=rows,
        numeric_columns=0,
        notes=(*notes, f"Their files: {next(iter(files.values())).parent}" if files else "None."),
    )
    show_tables([table])


def _row(name: str, grid: Grid, registry: Registry) -> tuple[str, ...]:
    """Return what is shown of a grid: its name, title, cells, duration and corpora."""
    from lmgrid.execution.plan import place_of
    from lmgrid.grid import Cell

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
