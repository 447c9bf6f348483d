"""``lmgrid replay``: run recorded cells again and compare them with their records."""

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
    help="Stop each cell at the N-th point of its learning curve; by default it runs to its end.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="KEY=VALUE",
    help="Replay only the cells that match, e.g. model=rnn, rnn.hidden=64, optimizer=none.",
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    metavar="FOLDER",
    help="Where relative paths of the records start; by default the folders of the grid files that "
    "DIR was made with.",
)
@click.option(
    "--renew",
    is_flag=True,
    help="Store a record under the address of today's code if all of its losses are the same to "
    "the bit.",
)
@JSON_OPTION
def replay(
    *,
    results: Path,
    points: int | None,
    only: tuple[str, ...],
    folder: Path | None,
    renew: bool,
    as_json: bool,
) -> None:
    """Run recorded cells again and compare their losses.

    DIR is a results folder. Each cell has the budget of its record and is scored at the same
    points. On the same processor and library versions the losses must be the same to the bit;
    elsewhere the losses of the first training steps must be close. The exit status is 1 if a loss
    differs or if no cell could be compared.

    \b
    Examples:
      lmgrid replay results/runs/quickstart
      lmgrid replay results/runs/quickstart --points 1 --only model=rnn
    """
    store = existing_store(results)
    records, unreadable = _chosen(store, only)
    job = _Replaying(store, renew=renew, points=points, folder=folder)
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
    """Replays records of a folder; with ``renew``, each is renewed as soon as it is shown equal."""

    def __init__(
        self, store: Store, *, renew: bool, points: int | None, folder: Path | None
    ) -> None:
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
        """Whether a record is unequal, or no record at all could be compared."""
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
    show_tables([Table(name="replay", title="Replayed", header=head, rows=rows, numeric_columns=0)])
