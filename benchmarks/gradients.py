"""Prints a table of gradient norms by distance, one line for each network, from a run's records.

    lmgrid run gradients --results results/published/gradients
    python -m lmgrid_benchmarks.gradients results/published/gradients

A network has two lines, with and without clipping, if clipping changed any of its readings.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lmgrid.grid import Part, show
from lmgrid.records.record import Outcome, Record
from lmgrid.records.store import Store
from lmgrid.report.layout import Table
from lmgrid.report.render import to_markdown
from lmgrid.spec import Reading

CELLS = {"elman": "Elman", "relu": "relu", "lstm": "LSTM", "gru": "GRU"}
LAGS = (0, 10, 30)


def fading(outcomes: Iterable[Outcome]) -> Table:
    """Return, for each network, norms of the gradient by lag ℓ and the spectral radius of W_h.

    Both are those at the last point; the radius is the largest over the gates. The last column is
    the largest norm, over all steps, of the gradient of all parameters before clipping.
    """
    rows = tuple((_name(record), *_figures(record)) for record in _shown(outcomes))
    first, *others = LAGS
    head = ("cell and start", f"ℓ = {first}", *map(str, others), "radius", "longest gradient")
    return Table(
        name="fading",
        title="Gradients by distance",
        header=head,
        rows=rows,
        numeric_columns=len(head) - 1,
    )


def _shown(outcomes: Iterable[Outcome]) -> Iterator[Record]:
    """Yield the newest record of each network; the clipped one first, if its readings differ."""
    records = [outcome for outcome in outcomes if isinstance(outcome, Record)]
    ordered = sorted(records, key=lambda record: record.provenance.started)
    plain = {record.cell.model: record for record in ordered if not record.cell.regularizers}
    clipped = {record.cell.model: record for record in ordered if record.cell.regularizers}
    for model in sorted(plain, key=_sort_key):
        if model in clipped and _readings(clipped[model]) != _readings(plain[model]):
            yield clipped[model]
        yield plain[model]


def _readings(record: Record) -> tuple[tuple[Reading, ...], ...]:
    return tuple(point.readings for point in record.points)


def _sort_key(model: Part) -> tuple[Any, ...]:
    """Return the sort key of a network: its cell, then small, large and orthogonal weights."""
    options = dict(model.options)
    start = options["recurrent_initialisation"] != "same", options["uniform_range"]
    return list(CELLS).index(str(options["cell"])), *start, options["forget_bias"]


def _name(record: Record) -> str:
    options = dict(record.cell.model.options)
    start = options["recurrent_initialisation"]
    named = [CELLS[str(options["cell"])]]
    named += [f"r = {show(options['uniform_range'])}" if start == "same" else show(start)]
    named += [f"forget bias {show(options['forget_bias'])}"] if options["forget_bias"] else []
    clips = [dict(part.options)["norm"] for part in record.cell.regularizers]
    return ", ".join([*named, *(f"clipped at {show(norm)}" for norm in clips)])


def _figures(record: Record) -> Iterator[str]:
    last = record.points[-1].readings
    for lag in LAGS:
        yield _figure(r.value for r in last if (r.name, r.at) == ("layer1.state_gradient", lag))
    yield _figure(r.value for r in last if r.name == "layer1.spectral_radius")
    every = (reading for point in record.points for reading in point.readings)
    yield _figure(r.value for r in every if r.name == "gradient_norm.max")


def _figure(values: Iterator[float | None]) -> str:
    """Return the largest value with two digits, or ``not finite`` if some value is not finite."""
    found = list(values)
    finite = [value for value in found if value is not None]
    if len(finite) < len(found):
        return "not finite"
    largest = max(finite)
    if largest >= 100:
        return f"{float(f'{largest:.3g}'):,.0f}"
    return f"{largest:#.2g}".rstrip(".") if largest >= 1e-3 else _small(largest)


def _small(value: float) -> str:
    mantissa, _, exponent = f"{value:.0e}".partition("e")
    return f"{mantissa}e{int(exponent)}" if value else "0"


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m lmgrid_benchmarks.gradients DIR")
    print(to_markdown(fading(Store(Path(sys.argv[1])))), end="")


if __name__ == "__main__":
    main()
