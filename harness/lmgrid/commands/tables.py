"""``lmgrid tables``: print the tables of a results folder, or its records as rows."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lmgrid.commands.options import (
    JSON_OPTION,
    RESULTS_ARGUMENT,
    existing_store,
    sound_outcomes,
)
from lmgrid.commands.output import say, show_json, show_tables
from lmgrid.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

FORMATS = ("terminal", "markdown", "csv", "latex", "parquet")


@click.command()
@RESULTS_ARGUMENT
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="terminal",
    show_default=True,
    help="How to print the tables; parquet is for rows, points or readings.",
)
@click.option("--rows", is_flag=True, help="Print CSV with a row for each record or failure.")
@click.option(
    "--points", is_flag=True, help="Print CSV with a row for each point of the learning curves."
)
@click.option(
    "--readings",
    is_flag=True,
    help="Print CSV with a row for each figure that a reporter recorded.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Write every table in every format to this folder; with --rows, --points, --readings or "
    "--format parquet, only those rows.",
)
@JSON_OPTION
def tables(
    *,
    results: Path,
    form: str,
    rows: bool,
    points: bool,
    readings: bool,
    output: Path | None,
    as_json: bool,
) -> None:
    """Print the tables of a results folder.

    DIR is a results folder. The tables are of perplexity, time, sizes, speedup and failures; they
    are made from the records alone. --format parquet writes rows, points or readings to --output,
    or to a file or a pipe.

    \b
    Examples:
      lmgrid tables results/runs/quickstart
      lmgrid tables results/runs/quickstart --format markdown
      lmgrid tables results/runs/quickstart --points > points.csv
    """
    from lmgrid.report import frame

    sheet = _chosen_sheet(rows=rows, points=points, readings=readings)
    if as_json and (form != "terminal" or output):
        raise UserError("--json prints JSON, and nothing else; leave out --format and --output")
    if sheet and form in ("markdown", "latex"):
        raise UserError(f"--{sheet}: is written as csv or parquet, not as {form}")
    outcomes = sound_outcomes(existing_store(results))
    made = {"points": frame.points, "readings": frame.readings}.get(sheet, frame.frame)
    found = made(outcomes)
    if as_json:
        show_json(frame.rows_to_dicts(found))
    elif form == "parquet" or sheet:
        end = "parquet" if form == "parquet" else "csv"
        _export(found, end, output and output / f"{sheet or 'rows'}.{end}")
    else:
        _show(found, form, output)


def _chosen_sheet(*, rows: bool, points: bool, readings: bool) -> str:
    """Return which rows are asked for, empty if none are; UserError if several are."""
    asked = {"rows": rows, "points": points, "readings": readings}
    chosen = [sheet for sheet, is_asked in asked.items() if is_asked]
    if len(chosen) > 1:
        raise UserError(f"--{chosen[0]} and --{chosen[1]} are two sheets; ask for one at a time")
    return chosen[0] if chosen else ""


def _export(found: pd.DataFrame, form: str, path: Path | None) -> None:
    """Write rows into a file, or to standard output."""
    from lmgrid.report.export import frame_to_csv, frame_to_parquet

    if form == "parquet" and path is None and sys.stdout.isatty():
        raise UserError("--format parquet: not fit for a terminal; add --output DIR, or > FILE")
    data = frame_to_parquet(found) if form == "parquet" else frame_to_csv(found)
    if path is None:
        click.echo(data, nl=False)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    say(f"wrote {len(found)} rows to {path}")


def _show(found: pd.DataFrame, form: str, output: Path | None) -> None:
    from lmgrid.report.render import FORMATS as RENDERERS
    from lmgrid.report.render import write_tables
    from lmgrid.report.tables import tables as tables_of

    made = tables_of(found)
    filled = [table for table in made if table.rows]
    if output is not None:
        write_tables(made, output)
        say(f"wrote {len(filled)} tables to {output}")
    elif form == "terminal":
        show_tables(filled)
    else:
        click.echo("\n".join(RENDERERS[form].render(table) for table in filled), nl=False)
