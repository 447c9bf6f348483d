"""``lmgrid tables``: the tables of a results folder, from its records alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lmgrid.commands.asking import JSON_OPTION, RESULTS_ARGUMENT, existing_store
from lmgrid.commands.screen import say, show_json, show_tables

if TYPE_CHECKING:
    import pandas as pd

FORMATS = ("terminal", "markdown", "csv", "latex")


@click.command()
@RESULTS_ARGUMENT
@click.option("--format", "form", type=click.Choice(FORMATS), default="terminal")
@click.option("--rows", is_flag=True, help="Print CSV, one row a record or failure, all columns.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write every table in every format there.",
)
@JSON_OPTION
def tables(results: Path, form: str, rows: bool, output: Path | None, as_json: bool) -> None:
    """Print the tables of the records in DIR: perplexity, time, sizes, speedup, failures."""
    from lmgrid.table import frame, plain_rows

    found = frame(existing_store(results))
    if as_json:
        show_json(plain_rows(found))
    elif rows:
        click.echo(found.drop(columns="test_blocks").to_csv(index=False), nl=False)
    else:
        _show(found, form, output)


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
