"""How far back the gradient of a word's loss reaches, a line a network, from a run's records.

lmgrid run gradients --results results/published/gradients
python -m lmgrid_benchmarks.gradients results/published/gradients

A network stands twice, clipped and not, where clipping changed any figure that was read.
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
from lmgrid.report.render import markdown
from lmgrid.spec import Reading

CELLS = {"elman": "Elman", "relu": "relu", "lstm": "LSTM", "gru": "GRU"}
LAGS = (0, 10, 30)


def fading(outcomes: Iterable[Outcome]) -> Table:
    """Return gradient norms by lag and the spectral radius at the last point, and the longest step.

    The radius is the largest of a cell's gates, the step's gradient that of all parameters before
    clipping.
    """
    rows = tuple((_name(record), *_figures(record)) for record in _shown(outcomes))
    first, *others = LAGS
    head = ("cell and start", f"ℓ = {first}", *map(str, others), "radius", "longest gradient")
    return Table("fading", "Gradients by distance", head, rows, len(head) - 1)


def _shown(outcomes: Iterable[Outcome]) -> Iterator[Record]:
    """Yield the newest record of each network, clipped before not clipped where they differ."""
    records = [outcome for outcome in outcomes if isinstance(outcome, Record)]
    ordered = sorted(records, key=lambda record: record.provenance.started)
    plain = {record.cell.model: record for record in ordered if not record.cell.regularizers}
    clipped = {record.cell.model: record for record in ordered if record.cell.regularizers}
    for model in sorted(plain, key=_place):
        if model in clipped and _readings(clipped[model]) != _readings(plain[model]):
            yield clipped[model]
        yield plain[model]


def _readings(record: Record) -> tuple[tuple[Reading, ...], ...]:
    return tuple(point.readings for point in record.points)


def _place(model: Part) -> tuple[Any, ...]:
    """Return where a network stands: by cell, then small weights, large ones, orthogonal ones."""
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
    """Return the largest value with two digits; what is not finite is larger than any."""
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
    print(markdown(fading(Store(Path(sys.argv[1])))), end="")


if __name__ == "__main__":
    main()
