"""A frame to the tables a reader sees: perplexity, time, sizes, speedup, and what went wrong."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from lmgrid.layout import Table
from lmgrid.record import exp
from lmgrid.statistics import (
    CONFIDENCE,
    Estimate,
    holm,
    mean_interval,
    pooled_variance,
    zero_p_value,
)

WHO = (
    "corpus",
    "model",
    "optimizer",
    "regularizers",
    "reporters",
    "device",
    "threads",
    "budget",
)
CURVE = (0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0)  # shares of the longest training, in a curve's head
TRAINING = ("optimizer", "regularizers")
TIED = "≈"
SHARED = "~"


@dataclass(frozen=True)
class _Group:
    """The rows of one table line: one comparison, all its seeds."""

    who: tuple[str, ...]  # as WHO, and the version
    rows: pd.DataFrame

    def mean(self, column: str) -> float:
        return float(self.rows[column].mean())

    @property
    def corpus(self) -> str:
        return self.who[0]

    @property
    def text(self) -> tuple[str, str]:
        """What was scored: the corpus with its options, and the digest of its bytes."""
        return self.corpus, str(self.rows["text"].iloc[0])

    @property
    def seeds(self) -> int:
        """How many seeds it was run with; none for a model that feels no seed."""
        return int(self.rows["seed"].notna().sum())

    def same_blocks(self, other: _Group) -> bool:
        return self.text == other.text and len(self.blocks) == len(other.blocks)

    @property
    def nats(self) -> list[float]:
        return [math.log(value) for value in self.rows["test_perplexity"]]

    @property
    def blocks(self) -> list[float]:
        """Mean nats of each block of the test text, over seeds; NaN where one is infinite."""
        blocks = np.array(self.rows["test_blocks"].tolist(), dtype=np.float64)
        return [float(value) for value in blocks.mean(axis=0)]


def newest(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame without rows that a later one of the same cell replaces.

    A cell has a new address when a plugin's source or a corpus changed; the old record stays in
    the store. Seeds of several versions do not mix in a mean either: each version has its line.
    """
    same = ["kernel", *WHO, "seed"]
    return frame.sort_values("started", kind="stable").drop_duplicates(same, keep="last")


def tables(frame: pd.DataFrame) -> tuple[Table, ...]:
    """Return every table that the frame has rows for, the newest of each cell."""
    frame = newest(frame)
    made = (overview(frame), *details(frame), curves(frame), speedups(frame), failures(frame))
    return tuple(table for table in made if table.rows)


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


def _perplexity_at(group: _Group, seconds: float) -> str:
    """Return the mean over seeds at the last point no later than that; nothing if there is none."""
    found = [[nats for at, nats in curve if at <= seconds][-1:] for curve in group.rows["curve"]]
    if not all(found):
        return "–"
    return _number(statistics.mean(exp(nats) for (nats,) in found), ".1f")


# ---------------------------------------------------------------- models


@dataclass(frozen=True)
class _Column:
    head: str
    cell: Callable[[_Group], str]
    ranks: bool = False  # the lines are ranked by it, and verdicts stand in it


def _models_table(frame: pd.DataFrame, name: tuple[str, str], columns: Sequence[_Column]) -> Table:
    groups = _groups(frame)
    shown = [i for i, key in enumerate(WHO) if key == "model" or _tells(groups, i)]
    if len({group.who[: len(WHO)] for group in groups}) < len(groups):
        shown.append(len(WHO))  # the same cells of several versions
    ranked = columns[0].ranks
    if ranked and frame["pseudo_perplexity"].notna().any():
        columns = (*columns, _Column("pseudo-perplexity", _perplexity("pseudo_perplexity")))
    best, tied = _verdicts(groups) if ranked else (frozenset[int](), frozenset[int]())
    rows = []
    for i, group in enumerate(groups):
        who = tuple(group.who[j] or "–" for j in shown)
        first, *others = (column.cell(group) for column in columns)
        mark = f" {TIED}" if i in tied else ""
        rows.append((*who, str(len(group.rows)), first + mark, *others))
    head = (*((*WHO, "version")[j] for j in shown), "seeds", *(column.head for column in columns))
    notes = _notes(frame, groups, tied)
    return Table(*name, head, tuple(rows), len(columns) + 1, best, notes)


def _groups(frame: pd.DataFrame) -> list[_Group]:
    """Return the lines of the tables, by corpus and test perplexity; unnormalised models last."""
    done = frame[(frame["status"] == "done") & frame["model"].notna()]
    found = [
        _Group((*map(str, who[:-1]), str(who[-1])[:8]), rows)
        for who, rows in done.groupby([*WHO, "version"], sort=False)
    ]
    return sorted(found, key=lambda g: (g.corpus, _rank(g.mean("test_perplexity")), g.who))


def _rank(perplexity: float) -> tuple[bool, float]:
    return math.isnan(perplexity), perplexity


def _tells(groups: Sequence[_Group], index: int) -> bool:
    """Whether a column has something to say; what a part cannot feel is empty.

    Optimizers and regularizers are shown where there are any, the rest where it tells lines apart.
    """
    found = {group.who[index] for group in groups} - {""}
    return len(found) > (0 if WHO[index] in TRAINING else 1)


def _verdicts(groups: Sequence[_Group]) -> tuple[frozenset[int], frozenset[int]]:
    """Return the best line of each corpus, and the lines that cannot be told apart from it."""
    best: set[int] = set()
    tied: set[int] = set()
    for text in dict.fromkeys(group.text for group in groups):
        ranked = [
            i
            for i, group in enumerate(groups)
            if group.text == text and math.isfinite(group.mean("test_perplexity"))
        ]
        if not ranked:
            continue
        first, *others = ranked
        seeds = _seed_variance(groups[i] for i in ranked)
        p_values = holm([_p_value(groups[first], groups[i], seeds) for i in others])
        best.add(first)
        tied |= {i for i, p in zip(others, p_values, strict=True) if not p < 1 - CONFIDENCE}
    return frozenset(best), frozenset(tied)


def _p_value(one: _Group, two: _Group, seeds: Estimate) -> float:
    """Return the p-value that two lines have one mean loss.

    The difference varies with the text, estimated by its paired blocks, and with the seed of each
    line that has seeds, by ``seeds``, the variance of one seed pooled over the lines of the corpus.
    """
    gaps = np.array(one.blocks) - np.array(two.blocks) if one.same_blocks(two) else np.array([])
    if len(gaps) < 2 or not np.isfinite(gaps).all():
        return math.nan
    text = Estimate(float(gaps.var(ddof=1)) / len(gaps), len(gaps) - 1)
    parts = [text, *(seeds.over(g.seeds) for g in (one, two) if g.seeds and seeds.freedom)]
    return zero_p_value(float(gaps.mean()), parts)


def _seed_variance(groups: Iterable[_Group]) -> Estimate:
    """Return the variance of mean loss from seed to seed, pooled over lines with several seeds."""
    return pooled_variance([group.nats for group in groups if group.seeds > 1])


def _notes(frame: pd.DataFrame, groups: Sequence[_Group], tied: frozenset[int]) -> tuple[str, ...]:
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


def _perplexity(column: str) -> Callable[[_Group], str]:
    return lambda group: _interval(group.rows[column], ".1f")


def _count(value: float) -> str:
    return "–" if math.isnan(value) else f"{round(value):,}"


def _rate(group: _Group, column: str) -> str:
    value = group.mean(column)
    return "–" if math.isnan(value) else f"{_shared(group)}{float(f'{value:.3g}'):,.0f}"


def _shared(group: _Group) -> str:
    return SHARED if group.rows["shared"].any() else ""


def _bits(group: _Group, column: str) -> str:
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
