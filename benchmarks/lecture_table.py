"""Prints the lecture's table of systems with this project's results, from the records of a run.

    lmgrid run lecture-table --results results/published/lecture-table
    python -m lmgrid_benchmarks.lecture_table results/published/lecture-table

If a model was trained with several optimizers, its row is the one with the best validation loss. A
second table compares each extension with the plain model that it extends: the difference of test
perplexity, with a 95 % interval over seeds. Equal seeds mean equal data order.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lmgrid.records.record import Record
from lmgrid.records.store import Store
from lmgrid.report.layout import Table
from lmgrid.report.render import to_markdown
from lmgrid.report.statistics import mean_interval


@dataclass(frozen=True)
class System:
    """A row of the lecture's table, and the model of the grid that represents it."""

    name: str
    published: float | None  # test perplexity on the One Billion Word Benchmark
    model: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def matches(self, record: Record) -> bool:
        """Return whether a record is of this system's model."""
        found = dict(record.cell.model.options)
        wanted = self.options.items()
        return record.cell.model.name == self.model and all(found[k] == v for k, v in wanted)


LSTM = {"cell": "lstm", "layers": 1, "output": "full"}
DEEP = {**LSTM, "layers": 2}
PLAIN = System("–", None, "rnn", {"cell": "elman", "output": "full", "direct_order": 0})
KNESER_NEY = System("Interpolated Kneser-Ney 5-gram", 67.6, "ngram", {"order": 5})
MAXENT = System("RNN-1024 + MaxEnt 9-gram", 51.3, "rnn", {"cell": "elman", "direct_order": 4})
BLACKOUT = System("RNN-2048 + BlackOut", 68.3, "rnn", {"cell": "elman", "output": "blackout"})
UNADJUSTED = System("–", None, "snm", {"adjustment": "none"})
SNM = System("Sparse non-negative matrix", 52.9, "snm", {"adjustment": "lexical"})
SYSTEMS = (
    KNESER_NEY,
    MAXENT,
    BLACKOUT,
    SNM,
    System("LSTM-2048", 43.7, "rnn", LSTM),
    System("2-layer LSTM-8192", 30.0, "rnn", DEEP),
    System("LSTM-2048, adaptive softmax", 43.9, "rnn", {**LSTM, "output": "adaptive"}),
    System("2-layer LSTM-2048, adaptive softmax", 39.8, "rnn", {**DEEP, "output": "adaptive"}),
)
EXTENSIONS = ((MAXENT, PLAIN), (BLACKOUT, PLAIN), (SNM, UNADJUSTED), (SNM, KNESER_NEY))


def chosen(store: Store, system: System) -> list[Record]:
    """Return the newest record of each seed, for the optimizer with the best validation loss.

    Raises SystemExit if the store has no record of the system.
    """
    found = [o for o in store if isinstance(o, Record) and system.matches(o)]
    if not found:
        raise SystemExit(f"{store.root}: has no record of {system.model} {dict(system.options)}")
    by_optimizer: dict[str, dict[int, Record]] = {}
    for record in sorted(found, key=lambda record: record.provenance.started):
        optimizer = record.cell.optimizer
        label = optimizer.label if optimizer else ""
        by_optimizer.setdefault(label, {})[record.cell.seed or 0] = record
    best = min(by_optimizer.values(), key=lambda seeds: _mean_nats(list(seeds.values())))
    return [best[seed] for seed in sorted(best)]


def _mean_nats(records: list[Record]) -> float:
    return sum(record.valid.mean_nats for record in records) / len(records)


def systems(store: Store) -> Table:
    """Return the table of systems, in the order of the lecture."""
    rows = tuple(_row(system, chosen(store, system)) for system in (*SYSTEMS, PLAIN, UNADJUSTED))
    head = ("lecture's row", "model here", "published*", "test perplexity", "valid", "CPU s")
    notes = (
        "* On the One Billion Word Benchmark: 800 million training words, a vocabulary of 793,471; "
        "another corpus and another scale, so the two columns compare row by row only in order.",
    )
    return Table(
        name="systems",
        title="The lecture's table of systems",
        header=head,
        rows=rows,
        numeric_columns=4,
        notes=notes,
    )


def _row(system: System, records: list[Record]) -> tuple[str, ...]:
    cell = records[0].cell
    label = cell.model.label + (f" + {cell.optimizer.label}" if cell.optimizer else "")
    published = "–" if system.published is None else f"{system.published:g}"
    seconds = sum(record.training.cpu_seconds for record in records) / len(records)
    valid = math.exp(_mean_nats(records))
    perplexity = _interval([record.test.perplexity for record in records])
    return system.name, label, published, perplexity, f"{valid:.1f}", f"{seconds:.1f}"


def _interval(values: list[float]) -> str:
    interval = mean_interval(values)
    half_width = "" if math.isnan(interval.half_width) else f" ± {interval.half_width:.1f}"
    return f"{interval.mean:.1f}{half_width}"


def extensions(store: Store) -> Table:
    """Return the table that compares each extension with the model that it extends."""
    rows = tuple(_comparison(chosen(store, a), chosen(store, b)) for a, b in EXTENSIONS)
    head = ("model", "extends", "test perplexity", "of the plain model", "difference", "verdict")
    return Table(
        name="extensions",
        title="Extensions beside the plain models",
        header=head,
        rows=rows,
        numeric_columns=4,
    )


def _comparison(extended: list[Record], plain: list[Record]) -> tuple[str, ...]:
    by_seed = {record.cell.seed: record for record in plain}
    pairs = [(a, by_seed[a.cell.seed]) for a in extended if a.cell.seed in by_seed]
    gaps = [a.test.perplexity - b.test.perplexity for a, b in pairs]
    return (
        extended[0].cell.model.label,
        plain[0].cell.model.label,
        _interval([record.test.perplexity for record in extended]),
        _interval([record.test.perplexity for record in plain]),
        _interval(gaps),
        verdict(gaps),
    )


def verdict(gaps: list[float]) -> str:
    """Return the verdict on an extension, from the difference of test perplexity of each seed."""
    interval = mean_interval(gaps)
    if math.isnan(interval.half_width):
        return "one run of each"
    if abs(interval.mean) <= interval.half_width:
        return "cannot be told apart"
    return "better" if interval.mean < 0 else "worse"


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m lmgrid_benchmarks.lecture_table DIR")
    store = Store(Path(sys.argv[1]))
    print(f"{to_markdown(systems(store))}\n{to_markdown(extensions(store))}", end="")


if __name__ == "__main__":
    main()
