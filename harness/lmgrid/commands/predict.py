"""``lmgrid predict``: the most probable next tokens after a context."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lmgrid.commands.options import JSON_OPTION, results_option
from lmgrid.commands.output import show_json, show_tables
from lmgrid.commands.stored_model import load


@click.command()
@click.argument("record")
@click.option("--context", required=True, help="The text before; empty for a sentence start.")
@click.option("--top", type=click.IntRange(1), default=10, show_default=True)
@results_option("The folder that holds RECORD.")
@JSON_OPTION
def predict(record: str, results: Path | None, context: str, **options: Any) -> None:
    """Show what the stored model of RECORD expects next after a context.

    RECORD is the file of a record, or the beginning of its address, looked for in --results or
    in every folder of results/runs.
    """
    from lmgrid.cell.inference import predict as guess
    from lmgrid.report.layout import Table

    stored = load(record, results)
    guesses = guess(stored, stored.vocabulary.encode(context), options["top"])
    if options["as_json"]:
        show_json([{"token": g.token, "probability": g.probability} for g in guesses])
        return
    # A space or a control character as a token would be invisible.
    rows = tuple(
        (g.token if g.token.strip() else repr(g.token), f"{g.probability:.4f}") for g in guesses
    )
    head = ("token", "probability")
    title = f"{context} …"
    show_tables([Table(name="next", title=title, header=head, rows=rows, numeric_columns=1)])
