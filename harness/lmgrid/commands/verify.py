"""``lmgrid verify``: check the files of a results folder for damage."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from lmgrid.commands.options import RESULTS_ARGUMENT, existing_store
from lmgrid.commands.output import say


@click.command()
@RESULTS_ARGUMENT
def verify(*, results: Path) -> None:
    """Check the files of a results folder for damage.

    DIR is a results folder. The address of each record and the hash of each file are computed
    again and compared. Files that are cut off, changed or in the wrong place are named, and the
    exit status is 1. Records of a newer lmgrid are named too, but do not count as damage.

    \b
    Examples:
      lmgrid verify results/runs/quickstart
    """
    store = existing_store(results)
    found = list(store.verify())
    damaged = [one for one in found if not one.newer]
    for one in found:
        say(f"{one.path}: {one.reason}")
    newer = f", {len(found) - len(damaged)} of a newer lmgrid" if len(damaged) < len(found) else ""
    say(f"{store.count()} records and failures, {len(damaged)} damaged files{newer}")
    sys.exit(1 if damaged else 0)
