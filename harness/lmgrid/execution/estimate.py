"""Estimates how long a cell takes from records of similar cells on the same machine."""

from __future__ import annotations

import statistics
from collections.abc import Hashable, Iterable

from lmgrid.budget import Budget
from lmgrid.execution.plan import Planned
from lmgrid.grid import Cell
from lmgrid.machine.environment import capture
from lmgrid.records.record import Record
from lmgrid.records.store import Store


class Estimator:
    """Estimates seconds from records of the same machine.

    If there are records of the same cell with other seeds, the estimate is the mean of their times.
    Else records of the same kind of model, corpus and device give the time of a training token.
    """

    def __init__(self, stores: Iterable[Store]) -> None:
        self._whole: dict[Hashable, list[float]] = {}
        self._rates: dict[Hashable, list[float]] = {}
        self._epochs: dict[str, int] = {}  # training tokens by digest of a corpus
        for store in stores:
            self._learn(store)

    def _learn(self, store: Store) -> None:
        outcomes = [o for o in store.read_all().outcomes if isinstance(o, Record)]
        machine = capture()
        for record in outcomes:
            if record.resumed:
                continue  # its seconds are those since it was resumed
            made_on = record.provenance.environment
            if (made_on.processor, made_on.cores) == (machine.processor, machine.cores):
                self._take(record)

    def _take(self, record: Record) -> None:
        cell, tokens = record.cell, max(1, record.training.tokens)
        self._whole.setdefault(_alike(cell), []).append(record.total_seconds)
        self._rates.setdefault(_kind(cell), []).append(record.total_seconds / tokens)
        self._epochs[record.inputs.corpus] = record.corpus.train_tokens

    def seconds(self, planned: Planned) -> float | None:
        """Return an estimate, or None if there is no record of a similar cell."""
        cell = planned.cell
        if not isinstance(cell, Cell):
            return None
        if whole := self._whole.get(_alike(cell)):
            return statistics.mean(whole)
        rates, epoch = self._rates.get(_kind(cell)), self._epochs.get(planned.inputs.corpus)
        if not rates or not epoch:
            return None
        return _scaled(cell.budget, statistics.median(rates), epoch)


def _scaled(budget: Budget | None, seconds_a_token: float, epoch: int) -> float:
    if budget is None:
        return seconds_a_token * epoch
    ends = (budget.limit(epoch) * seconds_a_token, budget.seconds, budget.cpu_seconds)
    return min(end for end in ends if end is not None)


def _alike(cell: Cell) -> Hashable:
    return (
        cell.corpus.label,
        cell.model.label,
        cell.optimizer and cell.optimizer.label,
        tuple(part.label for part in cell.regularizers),
        cell.device,
        cell.threads,
        cell.budget,
    )


def _kind(cell: Cell) -> Hashable:
    return cell.corpus.label, cell.model.name, cell.device, cell.threads
