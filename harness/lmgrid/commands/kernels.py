"""``lmgrid kernels``: loops against their vectorised forms."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lmgrid.commands.options import JSON_OPTION, results_option, store_of
from lmgrid.commands.run import Way, executor_of, run_and_show

if TYPE_CHECKING:
    from lmgrid.grid import Grid
    from lmgrid.plugin.registry import Registry


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--device", "devices", multiple=True, default=("cpu",), show_default=True)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@results_option("The folder of records; by default results/runs/kernels.")
@click.option("-q", "--quiet", is_flag=True, help="No progress; only the table.")
@JSON_OPTION
def kernels(**options: Any) -> None:
    """Prove that each NAME's loop and vectorised form agree, then time both; all without NAME."""
    from lmgrid.plugin.registry import Registry

    registry = Registry.installed()
    grid = _grid(options, registry)
    store = store_of(options, grid.name)
    options |= {"jobs": 1, "timeout": None, "memory": None, "discard_models": True}
    options |= {"retry": "failed", "fail_fast": False, "executor": "local"}
    sys.exit(run_and_show(grid, store, Way(registry, executor_of(options, registry), options)))


def _grid(options: dict[str, Any], registry: Registry) -> Grid:
    from fnmatch import fnmatchcase

    from lmgrid.grid import Grid, KernelCell

    names = options["names"] or [p.name for p in registry.provided("kernel") if not p.lacks]
    parts = [registry.part("kernel", name, {}) for name in dict.fromkeys(names)]
    devices = dict.fromkeys(map(registry.resolve_device, options["devices"]))
    cells = tuple(
        KernelCell(part, device, options["threads"])
        for part in parts
        for device in devices
        if any(fnmatchcase(device, pattern) for pattern in registry.kernel(part).devices)
    )
    return Grid("kernels", "Loop against vectorised form", Path(), cells)
