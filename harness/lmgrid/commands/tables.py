"""``lmgrid tables``: the tables of a results folder, from its records alone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lmgrid.commands.asking import JSON_OPTION, RESULTS_ARGUMENT, existing_store
from lmgrid.commands.screen import say, show_json, show_tables
from lmgrid.errors import Mistake

if TYPE_CHECKING:
    import pandas as pd

FORMATS = ("terminal", "markdown", "csv", "latex", "parquet")


@click.command()
@RESULTS_ARGUMENT
@click.option("--format", "form", type=click.Choice(FORMATS), default="terminal")
@click.option("--rows", "sheet", flag_value="rows", help="Print CSV, one row a record or failure.")
@click.option("--points", "sheet", flag_value="points", help="… one row a point of each curve.")
@click.option("--readings", "sheet", flag_value="readings", help="… one row a reporter's figure.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write every table in every format there; with --format parquet, the rows.",
)
@JSON_OPTION
def tables(results: Path, form: str, sheet: str | None, output: Path | None, as_json: bool) -> None:
    """Print the tables of the records in DIR: perplexity, time, sizes, speedup, failures.

    Parquet holds rows, points or readings; it goes to --output, or into a file or a pipe.
    """
    from lmgrid import table

    store = existing_store(results)
    made = {"points": table.points, "readings": table.readings}.get(sheet or "", table.frame)
    found = made(store)
    if as_json:
        show_json(table.plain_rows(found))
    elif form == "parquet":
        _export(found, sheet or "rows", output)
    elif sheet:
        click.echo(found.drop(columns=table.NESTED, errors="ignore").to_csv(index=False), nl=False)
    else:
        _show(found, form, output)


def _export(found: pd.DataFrame, name: str, output: Path | None) -> None:
    from lmgrid.export import to_parquet

    if output is None:
        if sys.stdout.isatty():
            raise Mistake("--format parquet: not fit for a terminal; add --output DIR, or > FILE")
        click.echo(to_parquet(found), nl=False)
        return
    output.mkdir(parents=True, exist_ok=True)
    path = output / f"{name}.parquet"
    path.write_bytes(to_parquet(found))
    say(f"wrote {len(found)} rows to {path}")


def _show(found: pd.DataFrame, form: str, output: Path | None) -> None:
    from lmgrid import summary
    from lmgrid.render import FORMATS as RENDERERS
    from lmgrid.render import write_tables

    made = summary.tables(found)
    if output is not None:
        write_tables(made, output)
        say(f"wrote {len(made)} tables to {output}")
    elif form == "terminal":
        show_tables(made)
    else:
        click.echo("\n".join(RENDERERS[form][1](table) for table in made), nl=False)
