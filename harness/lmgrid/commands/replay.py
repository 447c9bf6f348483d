"""``lmgrid replay``: recorded cells run again, and held against their records."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lmgrid.commands.options import JSON_OPTION, RESULTS_ARGUMENT, existing_store
from lmgrid.commands.output import complain, say, show_json, show_tables
from lmgrid.commands.run import INTERRUPTED
from lmgrid.errors import UserError

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
    training steps must be near. Ends with status 1 if any is unequal, or none could be compared.

    Example: lmgrid replay results/runs/quickstart --points 1
    """
    store = existing_store(results)
    records, unreadable = _chosen(store, options.pop("only"))
    job = _Replaying(store, renew, **options)
    with suppress(KeyboardInterrupt):  # what is done stays done, and is shown
        job.run(records)
    if as_json:
        show_json([_as_json(verdict) for verdict in job.verdicts])
    else:
        job.show()
    if len(job.verdicts) + job.current < len(records):
        sys.exit(INTERRUPTED)
    sys.exit(job.is_in_doubt or unreadable)


class _Replaying:
    """The replay of a folder's records, each renewed as soon as it is shown to be current."""

    def __init__(self, store: Store, renew: bool, points: int | None, folder: Path | None) -> None:
        from lmgrid.machine.environment import cache_folder
        from lmgrid.plugin.registry import Registry
        from lmgrid.records.history import base_folders
        from lmgrid.spec import Place

        folders = (folder.resolve(),) if folder else base_folders(store.root)
        self._places = [Place(one, cache_folder()) for one in folders or (store.root.resolve(),)]
        self._registry = Registry.installed()
        self._store, self._renew, self._points = store, renew, points
        self.verdicts: list[Verdict] = []
        self.current = 0  # records that need no renewal and are not run
        self._renewed = 0

    def run(self, records: Sequence[Record | KernelRecord]) -> None:
        from lmgrid.execution.replay import renewed, replay_each

        if self._renew:
            self._store.create()
            left = [record for record in records if not self._is_current(record)]
            self.current, records = len(records) - len(left), left
        for verdict in replay_each(records, self._registry, self._places, self._points):
            record = renewed(verdict) if self._renew else None
            self._renewed += record is not None and self._store.renew(record)
            self.verdicts.append(verdict)
            complain(f"{verdict.status}: {verdict.record.inputs.any_cell.label}")

    def _is_current(self, record: Record | KernelRecord) -> bool:
        from lmgrid.execution.replay import inputs_today

        today = inputs_today(record, self._registry, self._places)
        return today is not None and today.address == record.inputs.address

    @property
    def is_in_doubt(self) -> bool:
        """Whether a record is unequal, or nothing at all could be held against its record."""
        found = {verdict.status for verdict in self.verdicts}
        return "unequal" in found or not ("equal" in found or self.current)

    def show(self) -> None:
        if self.verdicts:
            _show(self.verdicts)
        counts = dict.fromkeys(("equal", "unequal", "not comparable"), 0)
        for verdict in self.verdicts:
            counts[verdict.status] += 1
        say(", ".join(f"{count} {status}" for status, count in counts.items()))
        if self.current:
            say(f"{self.current} have today's address already and were not run")
        if self._renewed:
            say(f"{self._renewed} have today's address now")
        old = sum(v.inputs is not None and not v.is_current for v in self.verdicts)
        if old > self._renewed:
            say(
                f"{old - self._renewed} were made by other code than today's and keep their address"
            )


def _chosen(store: Store, only: tuple[str, ...]) -> tuple[list[Record | KernelRecord], bool]:
    """Return the records to replay, and whether some cannot be trusted and were passed over."""
    from lmgrid.gridfile.reader import only_filter
    from lmgrid.records.record import Failure

    read = store.read_all()
    for error in read.unreadable.values():
        complain(f"passed over: {error}")
    found = [o for o in read.outcomes if not isinstance(o, Failure)]
    if not found:
        raise UserError(f"{store.root}: holds no record that can be replayed")
    chosen = only_filter(only)
    chosen.check([record.inputs.any_cell for record in found])
    kept = [record for record in found if chosen.matches(record.inputs.any_cell)]
    if not kept:
        raise UserError(f"{' '.join(f'--only {text}' for text in only)}: no record is left")
    return kept, bool(read.unreadable)


def _as_json(verdict: Verdict) -> dict[str, Any]:
    return {
        "address": verdict.record.inputs.address,
        "today": verdict.inputs and verdict.inputs.address,
        "cell": verdict.record.inputs.any_cell.label,
        "result": verdict.status,
        "up_to": verdict.reach,
        "why": verdict.why,
    }


def _show(verdicts: list[Verdict]) -> None:
    from lmgrid.report.layout import Table

    rows = tuple(
        (v.record.inputs.any_cell.label, v.record.inputs.address[:12], v.status, v.reach, v.why)
        for v in verdicts
    )
    head = ("cell", "address", "result", "up to", "why")
    show_tables([Table("replay", "Replayed", head, rows, 0)])
