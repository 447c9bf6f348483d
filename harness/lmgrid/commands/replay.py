"""``lmgrid replay``: recorded cells run again, and held against their records."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lmgrid.commands.options import (
    JSON_OPTION,
    RESULTS_ARGUMENT,
    existing_store,
    sound_outcomes,
)
from lmgrid.commands.output import complain, say, show_json, show_tables

if TYPE_CHECKING:
    from lmgrid.execution.replay import Verdict
    from lmgrid.records.record import KernelRecord, Record
    from lmgrid.records.store import Store


@click.command()
@RESULTS_ARGUMENT
@click.option(
    "--points",
    type=click.IntRange(1),
    metavar="N",
    help="Stop each cell at the N-th point of its curve; by default each is run to its end.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="KEY=VALUE",
    help="Replay only cells that match, e.g. model=rnn, rnn.hidden=64, optimizer=none.",
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="What relative paths count from; by default the folder of the grid that DIR was made by.",
)
@click.option(
    "--renew",
    is_flag=True,
    help="Give a record today's address where every point, valid and test have the same bits.",
)
@JSON_OPTION
def replay(results: Path, renew: bool, as_json: bool, **options: Any) -> None:
    """Run the cells recorded in DIR again and say whether they give the same losses.

    Each has the whole budget that it had and is scored where its record has points. On the same
    processor and libraries the losses must have the same bits; elsewhere those of the first
    training steps must be near. Ends with status 1 if any is unequal.

    Example: lmgrid replay results/runs/quickstart --points 1
    """
    store = existing_store(results)
    verdicts = []
    for verdict in _verdicts(store, **options):
        verdicts.append(verdict)
        complain(f"{verdict.status}: {verdict.record.inputs.what.label}")
    changed = _renew(store, verdicts) if renew else 0
    if as_json:
        show_json([_as_json(verdict) for verdict in verdicts])
    else:
        _show(verdicts)
        _tell(store, verdicts, changed)
    sys.exit(any(verdict.status == "unequal" for verdict in verdicts))


def _verdicts(
    store: Store, points: int | None, only: tuple[str, ...], folder: Path | None
) -> Iterator[Verdict]:
    from lmgrid.execution.replay import replay_each
    from lmgrid.machine.environment import cache_folder
    from lmgrid.plugin.registry import Registry
    from lmgrid.records.history import requests
    from lmgrid.spec import Place

    folders = [asked.folder for asked in requests(store.root) if asked.folder]
    place = folder or store.root / (folders[-1] if folders else "")
    records = _chosen(store, only)
    yield from replay_each(
        records, Registry.installed(), Place(place.resolve(), cache_folder()), points
    )


def _chosen(store: Store, only: tuple[str, ...]) -> list[Record | KernelRecord]:
    from lmgrid.gridfile.reader import only_filter
    from lmgrid.records.record import Failure

    found = [o for o in sound_outcomes(store) if not isinstance(o, Failure)]
    chosen = only_filter(only)
    chosen.check([record.inputs.what for record in found])
    return [record for record in found if chosen.matches(record.inputs.what)]


def _renew(store: Store, verdicts: list[Verdict]) -> int:
    """Give today's address to the records that are shown to be today's code's; count them."""
    from lmgrid.execution.replay import renewed

    made = [record for verdict in verdicts if (record := renewed(verdict))]
    if made:
        store.begin()
    for record in made:
        store.renew(record)
    return len(made)


def _as_json(verdict: Verdict) -> dict[str, Any]:
    return {
        "address": verdict.record.inputs.address,
        "today": verdict.inputs and verdict.inputs.address,
        "cell": verdict.record.inputs.what.label,
        "result": verdict.status,
        "up_to": verdict.reach,
        "why": verdict.why,
    }


def _show(verdicts: list[Verdict]) -> None:
    from lmgrid.report.layout import Table

    rows = tuple(
        (v.record.inputs.what.label, v.record.inputs.address[:12], v.status, v.reach, v.why)
        for v in verdicts
    )
    head = ("cell", "address", "result", "up to", "why")
    show_tables([Table("replay", "Replayed", head, rows, 0)])


def _tell(store: Store, verdicts: list[Verdict], changed: int) -> None:
    counts = dict.fromkeys(("equal", "unequal", "not comparable"), 0)
    for verdict in verdicts:
        counts[verdict.status] += 1
    say(", ".join(f"{count} {status}" for status, count in counts.items()))
    old = sum(v.inputs is not None and not v.is_current for v in verdicts) - changed
    if changed:
        say(f"{changed} records of {store.root} have today's address now")
    if old:
        say(f"{old} were made by other code than today's and keep their old address")
