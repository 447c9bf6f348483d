"""``lmgrid predict``: show the most probable next tokens after a text."""

from __future__ import annotations

from pathlib import Path

import click

from lmgrid.commands.options import JSON_OPTION, results_option
from lmgrid.commands.output import show_json, show_tables
from lmgrid.commands.stored_model import load


@click.command()
@click.argument("record")
@click.option(
    "--context",
    required=True,
    metavar="TEXT",
    help="The text before the token; empty for the start of a sentence.",
)
@click.option(
    "--top",
    type=click.IntRange(1),
    metavar="N",
    default=10,
    show_default=True,
    help="How many tokens to show.",
)
@results_option("The results folder of RECORD; by default every folder of results/runs.")
@JSON_OPTION
def predict(*, record: str, results: Path | None, context: str, top: int, as_json: bool) -> None:
    """Show the most probable next tokens after a text.

    RECORD is the file of a record of a stored model, or the beginning of its address. lmgrid plan
    shows the addresses of a grid.

    \b
    Examples:
      lmgrid predict 3f9a --context "And the king said unto"
      lmgrid predict 3f9a --context "" --top 3 --json
    """
    from lmgrid.cell.inference import predict as guess
    from lmgrid.report.layout import Table

    stored = load(record, results)
    guesses = guess(stored, stored.vocabulary.encode(context), top)
    if as_json:
        show_json([{"token": g.token, "probability": g.probability} for g in guesses])
        return
    # A space or a control character as a token would be invisible.
    rows = tuple(
        (g.token if g.token.strip() else repr(g.token), f"{g.probability:.4f}") for g in guesses
    )
    head = ("token", "probability")
    title = f"{context} …"
    show_tables([Table(name="next", title=title, header=head, rows=rows, numeric_columns=1)])
