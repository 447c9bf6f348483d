"""Prints a table of n-gram models and neural networks on three texts, from the records of a run.

lmgrid run five-minutes --results results/published/five-minutes
python -m lmgrid_benchmarks.five_minutes results/published/five-minutes
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lmgrid.records.record import Record
from lmgrid.records.store import Store
from lmgrid.report.layout import Table
from lmgrid.report.render import to_markdown

TEXTS = {"kjv": "King James Bible", "wikitext-2": "WikiText-2", "brown": "Brown corpus"}


@dataclass(frozen=True)
class Line:
    """A line of the table, and which cells of the grid it shows."""

    name: str
    model: str
    options: Mapping[str, Any] = field(default_factory=dict)
    tokens: int | None = None  # of the budget

    def matches(self, record: Record) -> bool:
        """Return whether a record belongs to this line."""
        cell = record.cell
        found = dict(cell.model.options)
        tokens = cell.budget.tokens if cell.budget else None
        return (cell.model.name, tokens) == (self.model, self.tokens) and all(
            found[key] == value for key, value in self.options.items()
        )


KNESER_NEY = Line("Kneser-Ney, order 5", "ngram", {"order": 5})
LINES = (
    Line("Kneser-Ney, order 3", "ngram", {"order": 3}),
    KNESER_NEY,
    Line("window of 5 words", "window", tokens=3_000_000),
    Line("Elman network", "rnn", {"cell": "elman"}, 2_500_000),
    Line("LSTM", "rnn", {"cell": "lstm"}, 3_600_000),
)


def comparison(store: Store) -> Table:
    """Return the test perplexity of each model on each text, and the CPU seconds of training.

    Perplexities are also shown relative to modified Kneser-Ney of order 5.
    """
    found = [outcome for outcome in store if isinstance(outcome, Record)]
    counted = _by_text(KNESER_NEY, found)
    lines = ((line, _by_text(line, found)) for line in LINES)
    rows = tuple(_row(line, by_text, counted) for line, by_text in lines if by_text)
    head = ("model", *TEXTS.values(), "tokens trained", "CPU s")
    notes = ("Test perplexity, and its difference from Kneser-Ney's of order 5. One seed.",)
    return Table(
        name="comparison",
        title="Counting against learning",
        header=head,
        rows=rows,
        numeric_columns=5,
        notes=notes,
    )


def _by_text(line: Line, records: list[Record]) -> dict[str, Record]:
    """Return the newest record of a line for each text."""
    ordered = sorted(records, key=lambda record: record.provenance.started)
    return {record.cell.corpus.name: record for record in ordered if line.matches(record)}


def _row(line: Line, by_text: dict[str, Record], counted: dict[str, Record]) -> tuple[str, ...]:
    seconds = [record.training.cpu_seconds for record in by_text.values()]
    cost = f"{min(seconds):.0f} to {max(seconds):.0f}" if len(seconds) > 1 else f"{seconds[0]:.0f}"
    tokens = f"{line.tokens:,}" if line.tokens else "all, once"
    figures = (_figure(by_text.get(text), counted[text]) for text in TEXTS)
    return line.name, *figures, tokens, "< 1" if max(seconds) < 1 else cost


def _figure(record: Record | None, counted: Record) -> str:
    if record is None:
        return "–"
    perplexity, other = record.test.perplexity, counted.test.perplexity
    gap = f" ({100 * (perplexity / other - 1):+.0f} %)" if record is not counted else ""
    return f"{perplexity:.1f}{gap}"


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m lmgrid_benchmarks.five_minutes DIR")
    print(to_markdown(comparison(Store(Path(sys.argv[1])))), end="")


if __name__ == "__main__":
    main()
