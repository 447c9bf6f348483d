"""Makes tables from a frame of records: perplexity, time, size, speedup and failures."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from lmgrid.report.comparison import (
    CONFIGURATION_COLUMNS,
    MIN_TOKENS,
    Configuration,
    Verdicts,
    group_by_configuration,
    judge,
    newest_rows,
)
from lmgrid.report.confidence import LEVEL, MIN_RUNS
from lmgrid.report.layout import Table
from lmgrid.report.statistics import mean_interval
from lmgrid.result import exp

# The columns of the table of curves: shares of the time of the longest training.
CURVE_SHARES = (0.1, 0.2, 0.3, 0.4, 0.6, 0.8)
ALWAYS_SHOWN = ("optimizer", "regularizers")  # wherever some configuration has one
MAYBE_BEST_MARK = "≈"
NO_VERDICT_MARK = "?"
SHARED_MARK = "~"
MISSING = "–"


def tables(frame: pd.DataFrame) -> tuple[Table, ...]:
    """Return every table, from the newest row of each cell; a table may have no rows."""
    frame = newest_rows(frame)
    return overview(frame), *details(frame), curves(frame), speedups(frame), failures(frame)


def overview(frame: pd.DataFrame) -> Table:
    """Return the table that ``lmgrid run`` prints, with perplexity, time and size."""
    columns = (
        _Column("test perplexity", _perplexity("test_perplexity"), ranks=True),
        _Column("valid", lambda c: _number(c.mean("valid_perplexity"), ".1f")),
        _Column("train s", lambda c: _shared(c) + _number(c.mean("train_seconds"), ".2f")),
        _Column("train tokens/s", lambda c: _rate(c, "train_tokens_per_second")),
        _Column("score tokens/s", lambda c: _rate(c, "score_tokens_per_second")),
        _Column("parameters", lambda c: _count(c.mean("parameters"))),
    )
    return _models_table(frame, columns, name="overview", title="Perplexity, time and size")


def details(frame: pd.DataFrame) -> tuple[Table, ...]:
    """Return the three tables ``perplexity``, ``time`` and ``sizes``."""
    perplexity = (
        _Column("test", _perplexity("test_perplexity"), ranks=True),
        _Column("valid", _perplexity("valid_perplexity")),
        _Column("test without unknowns", _perplexity("test_perplexity_known")),
        _Column("bits/character", lambda c: _bits(c, "bits_per_character")),
        _Column("bits/byte", lambda c: _bits(c, "bits_per_byte")),
        _Column("unknown %", lambda c: _number(100 * c.mean("unknown_rate"), ".2f")),
    )
    time = (
        _Column("train s", lambda c: _shared(c) + _interval(c.rows["train_seconds"], ".2f")),
        _Column("train CPU s", lambda c: _number(c.mean("train_cpu_seconds"), ".2f")),
        _Column("tokens trained", lambda c: _count(c.mean("train_tokens"))),
        _Column("train tokens/s", lambda c: _rate(c, "train_tokens_per_second")),
        _Column("score tokens/s", lambda c: _rate(c, "score_tokens_per_second")),
        _Column("compile s", lambda c: _number(c.mean("compile_seconds"), ".2f")),
    )
    sizes = (
        _Column("parameters", lambda c: _count(c.mean("parameters"))),
        _Column("MB", lambda c: _number(c.mean("bytes") / 1e6, ".2f")),
        _Column("peak MB", lambda c: _number(c.mean("peak_bytes") / 1e6, ".0f")),
    )
    return (
        _models_table(frame, perplexity, name="perplexity", title="Perplexity"),
        _models_table(frame, time, name="time", title="Time"),
        _models_table(frame, sizes, name="sizes", title="Size"),
    )


def curves(frame: pd.DataFrame) -> Table:
    """Return validation perplexity by seconds of training, for records with several points."""
    has_curve = [isinstance(curve, tuple) and len(curve) > 1 for curve in frame["curve"]]
    trained = frame[np.array(has_curve, dtype=bool)]
    longest = trained["train_seconds"].max() if len(trained) else 0.0
    times = tuple(float(f"{share * longest:.2g}") for share in CURVE_SHARES)
    columns = [_Column(f"{t:g} s", partial(_perplexity_at, seconds=t)) for t in times]
    last = _Column("end", partial(_perplexity_at, seconds=math.inf))
    title = "Validation perplexity after seconds of training"
    return _models_table(trained, (*columns, last), name="curve", title=title)


def _perplexity_at(configuration: Configuration, seconds: float) -> str:
    """Return the mean perplexity over seeds at the last point before a time of training.

    It is missing if some seed has no point before that time.
    """
    curves = configuration.rows["curve"]
    last = [[nats for at, nats in curve if at <= seconds][-1:] for curve in curves]
    if not all(last):
        return MISSING
    return _number(statistics.mean(exp(nats) for (nats,) in last), ".1f")


# ---------------------------------------------------------------- models


@dataclass(frozen=True)
class _Column:
    name: str
    cell: Callable[[Configuration], str]
    ranks: bool = False  # rows are sorted by this column, and its cells carry the marks of verdicts


def _models_table(
    frame: pd.DataFrame, columns: Sequence[_Column], *, name: str, title: str
) -> Table:
    """Return a table with one row for each configuration of the frame.

    The columns that identify a configuration come first, where they tell rows apart; then the
    number of seeds; then ``columns``.
    """
    configurations = group_by_configuration(frame)

    # Choose the columns that identify a configuration.
    shown = [
        i
        for i, column in enumerate(CONFIGURATION_COLUMNS)
        if column == "model" or _is_informative(configurations, i)
    ]
    keys = {configuration.key for configuration in configurations}
    if len({key[:-1] for key in keys}) < len(keys):  # several versions of a configuration
        shown.append(len(CONFIGURATION_COLUMNS))
    same_key = len(keys) < len(configurations)  # then only their libraries differ
    libraries = _differing_libraries(configurations) if same_key else ()

    # Compare, if the first column ranks the configurations.
    ranked = columns[0].ranks
    if ranked and frame["pseudo_perplexity"].notna().any():
        columns = (*columns, _Column("pseudo-perplexity", _perplexity("pseudo_perplexity")))
    verdicts = judge(configurations) if ranked else Verdicts()

    # Write the rows.
    rows = []
    for i, configuration in enumerate(configurations):
        labels = (*(configuration.key[j] or MISSING for j in shown), *libraries[i : i + 1])
        first, *others = (column.cell(configuration) for column in columns)
        mark = f" {MAYBE_BEST_MARK}" * (i in verdicts.maybe_best)
        mark += f" {NO_VERDICT_MARK}" * (i in verdicts.none)
        rows.append((*labels, str(len(configuration.rows)), first + mark, *others))
    names = (*CONFIGURATION_COLUMNS, "version")
    identifying = (*(names[j] for j in shown), *(["libraries"] if libraries else []))
    return Table(
        name=name,
        title=title,
        header=(*identifying, "seeds", *(column.name for column in columns)),
        rows=tuple(rows),
        numeric_columns=len(columns) + 1,
        best=verdicts.lowest,
        notes=_notes(frame, configurations, verdicts),
    )


def _differing_libraries(configurations: Sequence[Configuration]) -> tuple[str, ...]:
    """Return, for each configuration, the libraries that not all have in the same version."""
    common = set.intersection(*(set(configuration.libraries) for configuration in configurations))
    return tuple(
        ", ".join(library for library in configuration.libraries if library not in common)
        for configuration in configurations
    )


def _is_informative(configurations: Sequence[Configuration], index: int) -> bool:
    """Return whether a column of the key is shown.

    Optimizers and regularizers are shown if there are any; other columns, if their values differ.
    A configuration without a value, such as an n-gram model without an optimizer, does not count.
    """
    values = {configuration.key[index] for configuration in configurations} - {""}
    return len(values) > (0 if CONFIGURATION_COLUMNS[index] in ALWAYS_SHOWN else 1)


def _notes(
    frame: pd.DataFrame, configurations: Sequence[Configuration], verdicts: Verdicts
) -> tuple[str, ...]:
    """Return what a reader must know of a table: its marks, and the machines of its times."""
    notes = []
    if any(len(configuration.rows) > 1 for configuration in configurations):
        notes.append("± is the half-width of a 95 % interval of the mean over seeds.")
    if verdicts.maybe_best:
        notes.append(
            f"{MAYBE_BEST_MARK} may be the best of its corpus. These rows hold the best one at "
            f"{100 * (1 - LEVEL):.0f} % confidence, for each corpus (docs/protocol.md)."
        )
    if verdicts.none:
        notes.append(
            f"{NO_VERDICT_MARK} no verdict: fewer than {MIN_RUNS} seeds of a model that depends on "
            f"the seed, or fewer than {MIN_TOKENS:,} test tokens."
        )
    if any(_shared(configuration) for configuration in configurations):
        notes.append(f"{SHARED_MARK} the time was taken beside other work on the same machine.")
    machines = sorted(set(frame["machine"].dropna()))
    notes += [f"Machine: {machine}." for machine in machines]
    if len(machines) > 1:
        notes.append("Times are from different machines and cannot be compared between them.")
    return tuple(notes)


# ---------------------------------------------------------------- kernels and failures


def speedups(frame: pd.DataFrame) -> Table:
    """Return the times of loops and of their vectorised forms, with the speedup.

    Where the two forms disagree, the table has the difference and no speedup.
    """
    found = frame[frame["kernel"].notna() & frame["status"].isin(["done", "unequal"])]
    rows = tuple(
        (
            row["kernel"],
            row["device"],
            "yes" if row["equal"] else f"no: {row['message']}",
            _seconds(row["loop_seconds"]),
            _seconds(row["vector_seconds"]),
            MISSING if pd.isna(row["speedup"]) else f"{row['speedup']:.1f} ×",
        )
        for row in found.sort_values(["kernel", "device"]).to_dict("records")
    )
    return Table(
        name="speedup",
        title="Loop against vectorised form",
        header=("kernel", "device", "equal", "loop", "vectorised", "speedup"),
        rows=rows,
        numeric_columns=3,
    )


def failures(frame: pd.DataFrame) -> Table:
    """Return the cells that have no result, with the status and the error message of each."""
    rows = tuple(
        (
            _name(row),
            str(row.status),
            f"{row.error}: {row.message}".removesuffix(": ")[:300],
            str(row.address)[:12],
        )
        for row in frame[~frame["status"].isin(["done", "unequal"])].itertuples()
    )
    return Table(
        name="failures",
        title="Cells without a result",
        header=("cell", "status", "reason", "address"),
        rows=rows,
        numeric_columns=0,
    )


def _name(row: object) -> str:
    """Return the name of the cell in a row of the frame."""
    parts = [getattr(row, key) for key in ("model", "kernel", "optimizer", "regularizers")]
    seed = getattr(row, "seed", math.nan)
    named = " + ".join(str(part) for part in parts if isinstance(part, str) and part)
    return named if pd.isna(seed) else f"{named} seed {int(seed)}"


# ---------------------------------------------------------------- numbers as text


def _number(value: float, form: str) -> str:
    """Return a number in a format such as ``.1f``."""
    if math.isnan(value):
        return MISSING
    return "∞" if math.isinf(value) else format(value, form)


def _interval(values: Iterable[float], form: str) -> str:
    """Return the mean of values and, if there are several, the half-width of its interval."""
    interval = mean_interval(list(values))
    text = _number(interval.mean, form)
    return (
        text if math.isnan(interval.half_width) else f"{text} ± {format(interval.half_width, form)}"
    )


def _perplexity(column: str) -> Callable[[Configuration], str]:
    return lambda configuration: _interval(configuration.rows[column], ".1f")


def _count(value: float) -> str:
    return MISSING if math.isnan(value) else f"{round(value):,}"


def _rate(configuration: Configuration, column: str) -> str:
    """Return a number of tokens per second, with three significant digits."""
    value = configuration.mean(column)
    if math.isnan(value):
        return MISSING
    return f"{_shared(configuration)}{float(f'{value:.3g}'):,.0f}"


def _shared(configuration: Configuration) -> str:
    """Return the mark of times that were measured while other work used the machine."""
    return SHARED_MARK if configuration.rows["shared"].any() else ""


def _bits(configuration: Configuration, column: str) -> str:
    """Return bits per character or byte, with ``≥`` where they are only a lower bound.

    They are where the model does not predict all of the text: unknown words, upper case, spacing.
    """
    text = _number(configuration.mean(column), ".3f")
    has_unknown = configuration.mean("unknown_rate") > 0
    is_bound = has_unknown or bool(configuration.rows["lossy"].any())
    return f"≥ {text}" if is_bound and text not in (MISSING, "∞") else text


def _seconds(value: float) -> str:
    """Return a time in the unit that suits it, from ns to s."""
    if pd.isna(value):
        return MISSING
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"
