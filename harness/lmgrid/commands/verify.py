"""``lmgrid verify``: whether every file of a results folder is whole and in its place."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from lmgrid.commands.options import RESULTS_ARGUMENT, existing_store
from lmgrid.commands.output import say


@click.command()
@RESULTS_ARGUMENT
def verify(results: Path) -> None:
    """Re-derive the addresses and hashes of the records and models in DIR.

    Ends with status 1 if a file is torn, altered or out of place, and names it. What a newer
    lmgrid wrote is named too, and is no damage.
    """
    store = existing_store(results)
    found = list(store.verify())
    damaged = [one for one in found if not one.newer]
    for one in found:
        say(f"{one.path}: {one.reason}")
    newer = f", {len(found) - len(damaged)} of a newer lmgrid" if len(damaged) < len(found) else ""
    say(f"{store.count()} records and failures, {len(damaged)} damaged files{newer}")
    sys.exit(1 if damaged else 0)
