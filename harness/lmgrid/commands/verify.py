"""``lmgrid verify``: whether every file of a results folder is whole and in its place."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from lmgrid.commands.asking import RESULTS_ARGUMENT, existing_store
from lmgrid.commands.screen import say


@click.command()
@RESULTS_ARGUMENT
def verify(results: Path) -> None:
    """Re-derive the addresses and hashes of the records and models in DIR.

    Ends with status 1 if a file is torn, altered or out of place, and names it.
    """
    store = existing_store(results)
    damages = list(store.damages())
    for damage in damages:
        say(f"{damage.path}: {damage.reason}")
    say(f"{store.count()} records and failures, {len(damages)} damaged files")
    sys.exit(1 if damages else 0)
