"""A frame to the tables a reader sees: perplexity, time, sizes, speedup, and what went wrong."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from lmgrid.report.comparison import LINE_COLUMNS, Group, group_rows, newest, verdicts
from lmgrid.report.layout import Table
from lmgrid.report.statistics import mean_interval
from lmgrid.result import exp

CURVE = (0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0)  # shares of the longest training, in a curve's head
TRAINING = ("optimizer", "regularizers")
TIED = "≈"
SHARED = "~"


def tables(frame: pd.DataFrame) -> tuple[Table, ...]:
    """Return every table of the newest of each cell, also those that the frame has no rows for."""
    frame = newest(frame)
    return overview(frame), *details(frame), curves(frame), speedups(frame), failures(frame)


def overview(frame: pd.DataFrame) -> Table:
    """Return the table that ``lmgrid run`` prints: perplexity, time and size in one."""
    columns = (
        _Column("test perplexity", _perplexity("test_perplexity"), ranks=True),
        _Column("valid", lambda g: _number(g.mean("valid_perplexity"), ".1f")),
        _Column("train s", lambda g: _shared(g) + _number(g.mean("train_seconds"), ".2f")),
        _Column("train tokens/s", lambda g: _rate(g, "train_tokens_per_second")),
        _Column("score tokens/s", lambda g: _rate(g, "score_tokens_per_second")),
        _Column("parameters", lambda g: _count(g.mean("parameters"))),
    )
    return _models_table(frame, ("overview", "Perplexity, time and size"), columns)


def details(frame: pd.DataFrame) -> tuple[Table, ...]:
    """Return the tables of perplexity, of time and of sizes."""
    perplexity = (
        _Column("test", _perplexity("test_perplexity"), ranks=True),
        _Column("valid", _perplexity("valid_perplexity")),
        _Column("test without unknowns", _perplexity("test_perplexity_known")),
        _Column("bits/character", lambda g: _bits(g, "bits_per_character")),
        _Column("bits/byte", lambda g: _bits(g, "bits_per_byte")),
        _Column("unknown %", lambda g: _number(100 * g.mean("unknown_rate"), ".2f")),
    )
    time = (
        _Column("train s", lambda g: _shared(g) + _interval(g.rows["train_seconds"], ".2f")),
        _Column("train CPU s", lambda g: _number(g.mean("train_cpu_seconds"), ".2f")),
        _Column("tokens trained", lambda g: _count(g.mean("train_tokens"))),
        _Column("train tokens/s", lambda g: _rate(g, "train_tokens_per_second")),
        _Column("score tokens/s", lambda g: _rate(g, "score_tokens_per_second")),
        _Column("compile s", lambda g: _number(g.mean("compile_seconds"), ".2f")),
    )
    sizes = (
        _Column("parameters", lambda g: _count(g.mean("parameters"))),
        _Column("MB", lambda g: _number(g.mean("bytes") / 1e6, ".2f")),
        _Column("peak MB", lambda g: _number(g.mean("peak_bytes") / 1e6, ".0f")),
    )
    return (
        _models_table(frame, ("perplexity", "Perplexity"), perplexity),
        _models_table(frame, ("time", "Time"), time),
        _models_table(frame, ("sizes", "Size"), sizes),
    )


def curves(frame: pd.DataFrame) -> Table:
    """Return validation perplexity against seconds of training, for what has several points."""
    found = [isinstance(curve, tuple) and len(curve) > 1 for curve in frame["curve"]]
    trained = frame[np.array(found, dtype=bool)]
    longest = trained["train_seconds"].max() if len(trained) else 0.0
    times = tuple(float(f"{share * longest:.2g}") for share in CURVE[:-1])
    columns = [_Column(f"{t:g} s", partial(_perplexity_at, seconds=t)) for t in times]
    last = _Column("end", partial(_perplexity_at, seconds=math.inf))
    name = "curve", "Validation perplexity after seconds of training"
    return _models_table(trained, name, (*columns, last))


def _perplexity_at(group: Group, seconds: float) -> str:
    """Return the mean over seeds at the last point no later than that; nothing if there is none."""
    found = [[nats for at, nats in curve if at <= seconds][-1:] for curve in group.rows["curve"]]
    if not all(found):
        return "–"
    return _number(statistics.mean(exp(nats) for (nats,) in found), ".1f")


# ---------------------------------------------------------------- models


@dataclass(frozen=True)
class _Column:
    head: str
    cell: Callable[[Group], str]
    ranks: bool = False  # the lines are ranked by it, and verdicts stand in it


def _models_table(frame: pd.DataFrame, name: tuple[str, str], columns: Sequence[_Column]) -> Table:
    groups = group_rows(frame)
    keys = (*LINE_COLUMNS, "version")
    shown = [i for i, key in enumerate(LINE_COLUMNS) if key == "model" or _tells(groups, i)]
    cells, versions = (len({group.who[:n] for group in groups}) for n in (len(keys) - 1, len(keys)))
    if cells < versions:
        shown.append(len(LINE_COLUMNS))  # the same cells of several versions
    libraries = _unlike_libraries(groups) if versions < len(groups) else ()
    ranked = columns[0].ranks
    if ranked and frame["pseudo_perplexity"].notna().any():
        columns = (*columns, _Column("pseudo-perplexity", _perplexity("pseudo_perplexity")))
    best, tied = verdicts(groups) if ranked else (frozenset[int](), frozenset[int]())
    rows = []
    for i, group in enumerate(groups):
        who = (*(group.who[j] or "–" for j in shown), *libraries[i : i + 1])
        first, *others = (column.cell(group) for column in columns)
        mark = f" {TIED}" if i in tied else ""
        rows.append((*who, str(len(group.rows)), first + mark, *others))
    known = (*(keys[j] for j in shown), *(["libraries"] if libraries else []))
    head = (*known, "seeds", *(column.head for column in columns))
    notes = _notes(frame, groups, tied)
    return Table(*name, head, tuple(rows), len(columns) + 1, best, notes)


def _unlike_libraries(groups: Sequence[Group]) -> tuple[str, ...]:
    """Return of each line the libraries whose versions not all lines have alike."""
    alike = set.intersection(*(set(group.libraries) for group in groups))
    return tuple(", ".join(x for x in group.libraries if x not in alike) for group in groups)


def _tells(groups: Sequence[Group], index: int) -> bool:
    """Whether a column has something to say; what a part cannot feel is empty.

    Optimizers and regularizers are shown where there are any, the rest where it tells lines apart.
    """
    found = {group.who[index] for group in groups} - {""}
    return len(found) > (0 if LINE_COLUMNS[index] in TRAINING else 1)


def _notes(frame: pd.DataFrame, groups: Sequence[Group], tied: frozenset[int]) -> tuple[str, ...]:
    notes = []
    if any(len(group.rows) > 1 for group in groups):
        notes.append("± is the half-width of a 95 % interval of the mean over seeds.")
    if tied:
        notes.append(
            f"{TIED} cannot be told apart from the best of its corpus (t test, over paired blocks "
            "of the test text and over seeds, Holm-corrected, 5 %)."
        )
    if any(_shared(group) for group in groups):
        notes.append(f"{SHARED} the time was taken beside other work on the same machine.")
    machines = sorted(set(frame["machine"].dropna()))
    notes += [f"Machine: {machine}." for machine in machines]
    if len(machines) > 1:
        notes.append("Times are from unlike machines and do not compare across them.")
    return tuple(notes)


# ---------------------------------------------------------------- kernels and failures


def speedups(frame: pd.DataFrame) -> Table:
    """Return loop against vectorised form; a pair that disagrees has no speedup."""
    rows = frame[frame["kernel"].notna() & frame["status"].isin(["done", "unequal"])]
    lines = tuple(
        (
            row["kernel"],
            row["device"],
            "yes" if row["equal"] else f"no: {row['message']}",
            _seconds(row["loop_seconds"]),
            _seconds(row["vector_seconds"]),
            "–" if pd.isna(row["speedup"]) else f"{row['speedup']:.1f} ×",
        )
        for row in rows.sort_values(["kernel", "device"]).to_dict("records")
    )
    head = ("kernel", "device", "equal", "loop", "vectorised", "speedup")
    return Table("speedup", "Loop against vectorised form", head, lines, 3)


def failures(frame: pd.DataFrame) -> Table:
    """Return the cells that ended otherwise, and why."""
    rows = frame[~frame["status"].isin(["done", "unequal"])]
    lines = tuple(
        (
            _name(row),
            str(row.status),
            f"{row.error}: {row.message}".removesuffix(": ")[:300],
            str(row.address)[:12],
        )
        for row in rows.itertuples()
    )
    return Table("failures", "Ended otherwise", ("cell", "status", "why", "address"), lines, 0)


def _name(row: object) -> str:
    parts = [getattr(row, key) for key in ("model", "kernel", "optimizer", "regularizers")]
    seed = getattr(row, "seed", math.nan)
    named = " + ".join(str(part) for part in parts if isinstance(part, str) and part)
    return named if pd.isna(seed) else f"{named} seed {int(seed)}"


# ---------------------------------------------------------------- figures as text


def _number(value: float, form: str) -> str:
    if math.isnan(value):
        return "–"
    return "∞" if math.isinf(value) else format(value, form)


def _interval(values: Iterable[float], form: str) -> str:
    interval = mean_interval(list(values))
    text = _number(interval.mean, form)
    return text if math.isnan(interval.half) else f"{text} ± {format(interval.half, form)}"


def _perplexity(column: str) -> Callable[[Group], str]:
    return lambda group: _interval(group.rows[column], ".1f")


def _count(value: float) -> str:
    return "–" if math.isnan(value) else f"{round(value):,}"


def _rate(group: Group, column: str) -> str:
    value = group.mean(column)
    return "–" if math.isnan(value) else f"{_shared(group)}{float(f'{value:.3g}'):,.0f}"


def _shared(group: Group) -> str:
    return SHARED if group.rows["shared"].any() else ""


def _bits(group: Group, column: str) -> str:
    """Bits are a lower bound where unknown tokens, lower case or lost spacing hide characters."""
    text = _number(group.mean(column), ".3f")
    hides = group.mean("unknown_rate") > 0 or bool(group.rows["lossy"].any())
    return f"≥ {text}" if hides and text not in ("–", "∞") else text


def _seconds(value: float) -> str:
    if pd.isna(value):
        return "–"
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"
