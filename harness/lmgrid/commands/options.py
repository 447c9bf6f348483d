"""Defines the options that several commands share: a grid, its overrides, a results folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce, wraps
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lmgrid.errors import UserError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from lmgrid.grid import Grid
    from lmgrid.plugin.registry import Registry
    from lmgrid.records.record import Outcome
    from lmgrid.records.store import Store

F = TypeVar("F", bound=Callable[..., Any])
QUICKSTART = "quickstart"
RUNS = Path("results/runs")
COMMAND_LINE = "lmgrid.command_line"  # key in the context's meta: the command as it was typed


def installed_grids() -> tuple[str, ...]:
    """Return the names of the grids that come with lmgrid."""
    try:
        folder = files("lmgrid_benchmarks")
    except ModuleNotFoundError:
        return ()
    return tuple(sorted(f.name[:-5] for f in folder.iterdir() if f.name.endswith(".toml")))


def _complete_grid(context: click.Context, parameter: Any, start: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    named = [CompletionItem(name) for name in installed_grids() if name.startswith(start)]
    return [*named, CompletionItem(start, type="file")]


@dataclass(frozen=True, kw_only=True)
class GridArguments:
    """The grid that a command is given, and what the command line changes in it."""

    grid: str  # a file, or the name of a grid that comes with lmgrid
    sets: tuple[str, ...]
    only: tuple[str, ...]
    devices: tuple[str, ...]
    seeds: tuple[int, ...]
    results: Path | None

    @property
    def file(self) -> Path:
        """The grid's file; UserError if there is no such grid."""
        return find_grid(self.grid)

    def read(self, registry: Registry) -> Grid:
        """Return the grid; GridError says what is wrong with it."""
        from lmgrid.gridfile.reader import Overrides, read_grid

        overrides = Overrides(
            sets=self.sets, only=self.only, devices=self.devices, seeds=self.seeds
        )
        return read_grid(self.file, registry, overrides)


def grid_arguments(command: Callable[..., None]) -> Callable[..., None]:
    """Add GRID and everything that changes it; the command gets ``arguments: GridArguments``."""

    @wraps(command)
    def wrapped(
        *,
        grid: str,
        sets: tuple[str, ...],
        only: tuple[str, ...],
        devices: tuple[str, ...],
        seeds: tuple[int, ...],
        results: Path | None,
        **options: object,
    ) -> None:
        arguments = GridArguments(
            grid=grid, sets=sets, only=only, devices=devices, seeds=seeds, results=results
        )
        command(arguments=arguments, **options)

    options = (
        click.argument("grid", default=QUICKSTART, shell_complete=_complete_grid),
        click.option(
            "--set",
            "sets",
            multiple=True,
            metavar="KEY=VALUE",
            help="Set an option in every block that has it, e.g. rnn.hidden=64, "
            "optimizer.lr=[0.1,1.0], budget.epochs=1.",
        ),
        click.option(
            "--only",
            multiple=True,
            metavar="KEY=VALUE",
            help="Keep only the cells that match, e.g. model=rnn, rnn.hidden=64, optimizer=none. "
            "Values of one key are alternatives; conditions on different keys must all hold.",
        ),
        click.option(
            "--device",
            "devices",
            multiple=True,
            metavar="NAME",
            help="Use this device in place of the file's, e.g. cpu, cuda:1; may be repeated.",
        ),
        click.option(
            "--seed",
            "seeds",
            multiple=True,
            type=click.IntRange(0),
            metavar="N",
            help="Use this seed in place of the file's; may be repeated.",
        ),
        results_option("The folder of records; by default results/runs/GRID."),
    )
    made: Callable[..., None] = wrapped
    return reduce(lambda wrapped, option: option(wrapped), reversed(options), made)


def results_option(text: str) -> Callable[[F], F]:
    return click.option(
        "--results",
        type=click.Path(path_type=Path, file_okay=False),
        metavar="DIR",
        help=text,
    )


def command_line() -> str:
    """Return the running command as it was typed."""
    return str(click.get_current_context().find_root().meta.get(COMMAND_LINE, ""))


def parse_named(text: str, flag: str) -> tuple[str, dict[str, Any]]:
    """Return name and options of ``NAME[OPTION=VALUE,…]``; values are TOML, or bare words."""
    from lmgrid.gridfile.toml import parse_assignment

    name, bracket, rest = text.strip().partition("[")
    if bracket and not rest.endswith("]"):
        raise UserError(f"{flag} {text}: expected NAME[OPTION=VALUE,…]")
    pairs = [pair for pair in rest.removesuffix("]").split(",") if pair.strip()]
    return name, dict(parse_assignment(pair, flag) for pair in pairs)


def find_grid(name: str) -> Path:
    """Return the file of a grid: a path, or the name of an installed grid."""
    from lmgrid.grid import near

    path = Path(name)
    if path.is_file() or path.suffix == ".toml" or len(path.parts) > 1:
        return path
    if name not in installed_grids():
        raise UserError(
            f"{name}: no such file, and no grid of that name{near(name, installed_grids())}"
        )
    return Path(str(files("lmgrid_benchmarks"))) / f"{name}.toml"


def open_store(results: Path | None, name: str) -> Store:
    """Return the store of a grid: in the folder that was named, else in results/runs/NAME."""
    from lmgrid.records.store import Store

    return Store(results or RUNS / name)


def sound_outcomes(store: Store) -> tuple[Outcome, ...]:
    """Return the outcomes of a store that can be read; print why each of the others cannot."""
    from lmgrid.commands.output import complain

    found = store.read_all()
    for error in found.unreadable.values():
        complain(f"passed over: {error}")
    return found.outcomes


def existing_store(folder: Path) -> Store:
    """Return the store in a folder; UserError if there is none."""
    from lmgrid.records.store import Store

    if not any((folder / kind).is_dir() for kind in ("records", "failures")):
        raise UserError(f"{folder}: no results here; lmgrid run GRID --results {folder} makes some")
    return Store(folder)


RESULTS_ARGUMENT = click.argument("results", type=click.Path(path_type=Path), metavar="DIR")
JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
