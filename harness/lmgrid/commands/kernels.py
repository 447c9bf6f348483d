"""``lmgrid kernels``: compare loops with their vectorised forms."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lmgrid.commands.options import JSON_OPTION, command_line, open_store, results_option
from lmgrid.commands.run import run_and_show

if TYPE_CHECKING:
    from lmgrid.grid import Grid
    from lmgrid.plugin.registry import Registry


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--device",
    "devices",
    multiple=True,
    metavar="DEVICE",
    default=("cpu",),
    show_default=True,
    help="Where to run, e.g. cpu, cuda:1; may be repeated.",
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    metavar="N",
    default=1,
    show_default=True,
    help="CPU threads of each measurement.",
)
@results_option("The folder of records; by default results/runs/kernels.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress, only the table.")
@JSON_OPTION
def kernels(
    *,
    names: tuple[str, ...],
    devices: tuple[str, ...],
    threads: int,
    results: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Compare the loop and the vectorised form of kernels.

    NAME is a kernel; without one, every kernel is run. First both forms are called with the same
    arguments and must return the same values within the kernel's tolerance. Then they are timed.

    \b
    Examples:
      lmgrid kernels
      lmgrid kernels lecture ngram-count --results results/runs/kernels
    """
    from lmgrid.execution.job import RunOptions
    from lmgrid.execution.run import Run
    from lmgrid.plugin.registry import Registry
    from lmgrid.records.history import Invocation

    registry = Registry.installed()
    grid = _grid(registry, names, devices, threads)
    ready = Run(
        grid,
        open_store(results, grid.name),
        registry,
        options=RunOptions(keep_weights=False),
        invocation=Invocation(command_line()),
    )
    sys.exit(run_and_show(ready, quiet=quiet, as_json=as_json))


def _grid(
    registry: Registry, names: tuple[str, ...], devices: tuple[str, ...], threads: int
) -> Grid:
    """Return a cell for each kernel on each device that it can run on."""
    from fnmatch import fnmatchcase

    from lmgrid.grid import Grid, KernelCell

    chosen = names or tuple(
        p.name for p in registry.provided("kernel") if not p.missing_requirement
    )
    parts = [registry.part("kernel", name, {}) for name in dict.fromkeys(chosen)]
    known = dict.fromkeys(map(registry.resolve_device, devices))
    cells = tuple(
        KernelCell(part, device, threads)
        for part in parts
        for device in known
        if any(fnmatchcase(device, pattern) for pattern in registry.kernel(part).devices)
    )
    return Grid("kernels", "Loop against vectorised form", Path(), cells)
