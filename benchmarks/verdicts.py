"""Simulates tables in which the best rows are known, and counts false and missed verdicts.

    python -m lmgrid_benchmarks.verdicts [--tables 2000] [--publish]

A row of a table is a model with a true expected loss. Its block losses have a part that all models
share, a part of the model and a part of each run; all are autocorrelated. The seed shifts all
blocks of a run. The seeds' spreads, the correlations and the difference of block losses between
models (0.045 nats) are as in the published records. ``--publish`` writes the table to PUBLISHED. It
takes about two minutes for 2,000 tables a setting.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from scipy import stats

from lmgrid.report.confidence import RunLosses, confidence_set, not_worse
from lmgrid.report.layout import Table
from lmgrid.report.render import to_markdown

PUBLISHED = Path("results/published/verdicts/verdicts.md")
BLOCKS = 50
BLOCK_DEVIATION = 0.1  # nats, of a model's block losses
RUN_SHARE = 0.1  # of the variance of a model's part, in each of its runs
WORSE = 0.04  # nats by which rows that are not the best are worse: 4 % of perplexity
ALIKE, SMALL, LARGE = 0.01, 0.003, 0.03  # standard deviations of the loss over seeds, nats

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A kind of table: its rows, of which the first ``best`` are equally good."""

    name: str
    spreads: tuple[float, ...]  # of each row over seeds, nats
    seeds: int
    best: int = 0  # 0: all rows
    deterministic: int = 0  # how many rows, counted from the last, have no seed
    autocorrelation: float = 0.2  # of neighbouring blocks
    correlation: float = 0.9  # of the block losses of two models

    @property
    def effects(self) -> Floats:
        """How much worse each row truly is than the best, nats, shape (rows,)."""
        effects = np.zeros(len(self.spreads))
        effects[self.best or len(effects) :] = WORSE
        return effects

    def runs(self, row: int) -> int:
        """Return the number of runs of a row."""
        return 1 if self.is_deterministic(row) else self.seeds

    def is_deterministic(self, row: int) -> bool:
        return row >= len(self.spreads) - self.deterministic


def alike(rows: int) -> tuple[float, ...]:
    return (ALIKE,) * rows


def unlike(small: int, large: int) -> tuple[float, ...]:
    return (SMALL,) * small + (LARGE,) * large


EQUAL = (
    Setting(name="2 rows", spreads=alike(2), seeds=3),
    Setting(name="2 rows, 5 seeds", spreads=alike(2), seeds=5),
    Setting(name="5 rows", spreads=alike(5), seeds=3),
    Setting(name="5 rows, 5 seeds", spreads=alike(5), seeds=5),
    Setting(name="10 rows", spreads=alike(10), seeds=3),
    Setting(name="10 rows, 5 seeds", spreads=alike(10), seeds=5),
    Setting(name="4 rows of 0.3 %, 1 of 3 %", spreads=unlike(4, 1), seeds=3),
    Setting(name="4 rows of 0.3 %, 1 of 3 %, 5 seeds", spreads=unlike(4, 1), seeds=5),
    Setting(name="8 rows of 0.3 %, 2 of 3 %", spreads=unlike(8, 2), seeds=3),
    Setting(name="2 rows of 0.3 %, 8 of 3 %", spreads=unlike(2, 8), seeds=3),
    Setting(name="8 rows of 0.3 %, 2 of 3 %, 5 seeds", spreads=unlike(8, 2), seeds=5),
    Setting(
        name="10 rows without seeds, no autocorrelation",
        spreads=alike(10),
        seeds=1,
        deterministic=10,
        autocorrelation=0.0,
    ),
    Setting(name="10 rows without seeds", spreads=alike(10), seeds=1, deterministic=10),
    Setting(
        name="10 rows without seeds, autocorrelation 0.4",
        spreads=alike(10),
        seeds=1,
        deterministic=10,
        autocorrelation=0.4,
    ),
    Setting(name="6 rows with seeds, 4 without", spreads=unlike(3, 7), seeds=3, deterministic=4),
    Setting(name="10 rows, no autocorrelation", spreads=alike(10), seeds=3, autocorrelation=0.0),
    Setting(name="10 rows, autocorrelation 0.4", spreads=alike(10), seeds=3, autocorrelation=0.4),
    Setting(name="10 rows, independent blocks", spreads=alike(10), seeds=3, correlation=0.0),
)
TIED = (
    Setting(name="3 tied best of 10", spreads=alike(10), seeds=3, best=3),
    Setting(
        name="3 tied best of 10, unlike spreads, 5 seeds", spreads=unlike(8, 2), seeds=5, best=3
    ),
)
ONE_BEST = (
    Setting(name="1 best of 5, 5 seeds", spreads=alike(5), seeds=5, best=1),
    Setting(name="1 best of 5", spreads=alike(5), seeds=3, best=1),
    Setting(name="1 best of 10", spreads=alike(10), seeds=3, best=1),
    Setting(name="1 best of 2", spreads=alike(2), seeds=3, best=1),
)
SETTINGS = (*EQUAL, *TIED, *ONE_BEST)


@dataclass(frozen=True)
class Counts:
    """What came out of simulated tables of one setting."""

    tables: int
    false: int  # tables in which one of the best rows was called worse
    found: float  # share of the worse rows that were called worse; NaN if there are none
    oracle: float  # the same for a test that knows all variances


def simulate(setting: Setting, tables: int, seed: int = 0) -> Counts:
    """Return the verdicts on random tables of a setting."""
    rng = np.random.default_rng(seed)
    worse = np.flatnonzero(setting.effects)
    false, found, oracle = 0, 0, 0
    for _ in range(tables):
        rows = draw_table(setting, rng)
        kept = confidence_set(rows)
        false += any(i not in kept for i in range(len(rows)) if not setting.effects[i])
        if len(worse):
            known = not_worse(known_p_values(setting, rows))
            found += sum(i not in kept for i in worse)
            oracle += sum(i not in known for i in worse)
    total = tables * len(worse)
    return Counts(
        tables, false, found / total if total else np.nan, oracle / total if total else np.nan
    )


def draw_table(setting: Setting, rng: np.random.Generator) -> list[RunLosses]:
    """Return the rows of a random table."""
    common = series(setting, rng, 1) * np.sqrt(setting.correlation)
    part = np.sqrt(1 - setting.correlation)
    rows = []
    for row, (spread, effect) in enumerate(zip(setting.spreads, setting.effects, strict=True)):
        runs, seeded = setting.runs(row), not setting.is_deterministic(row)
        own = series(setting, rng, 1) + np.sqrt(RUN_SHARE) * series(setting, rng, runs)
        shift = spread * rng.standard_normal((runs, 1)) * seeded
        blocks = BLOCK_DEVIATION * (common + part * own) + shift + effect
        rows.append(RunLosses(blocks, seeded))
    return rows


def series(setting: Setting, rng: np.random.Generator, count: int) -> Floats:
    """Return autoregressive series of the first order and variance 1, shape (count, BLOCKS)."""
    rho = setting.autocorrelation
    drawn = rng.standard_normal((count, BLOCKS))
    for block in range(1, BLOCKS):
        drawn[:, block] = rho * drawn[:, block - 1] + np.sqrt(1 - rho**2) * drawn[:, block]
    return drawn


def known_p_values(setting: Setting, rows: list[RunLosses]) -> Floats:
    """Return the p-values of z tests that know the variances, as ``p_values`` does."""
    lags = np.abs(np.subtract.outer(np.arange(BLOCKS), np.arange(BLOCKS)))
    text = BLOCK_DEVIATION**2 * (1 - setting.correlation) * (setting.autocorrelation**lags).mean()
    variances = [
        text * (1 + RUN_SHARE / setting.runs(row))
        + (0.0 if setting.is_deterministic(row) else spread**2 / setting.runs(row))
        for row, spread in enumerate(setting.spreads)
    ]
    means = np.array([row.blocks.mean() for row in rows])
    gaps = np.subtract.outer(means, means)
    p: Floats = stats.norm.sf(gaps / np.sqrt(np.add.outer(variances, variances)))
    np.fill_diagonal(p, 1.0)
    return p


def table(counts: dict[str, Counts]) -> Table:
    """Return the table of the protocol page."""
    figures = "false tables", "worse rows found", "by an oracle"
    return Table(
        name="verdicts",
        title="Simulated verdicts",
        header=("rows; 3 seeds, autocorrelation 0.2", *figures),
        rows=tuple(
            (
                name,
                f"{found.false / found.tables:.1%}",
                *("–" if np.isnan(x) else f"{x:.0%}" for x in (found.found, found.oracle)),
            )
            for name, found in counts.items()
        ),
        numeric_columns=len(figures),
    )


@click.command(help="Simulate tables whose best rows are known, and count the verdicts.")
@click.option("--tables", type=click.IntRange(1), default=2_000, show_default=True)
@click.option("--publish", is_flag=True, help=f"Write the table to {PUBLISHED}.")
def main(tables: int, publish: bool) -> None:
    made = table({setting.name: simulate(setting, tables) for setting in SETTINGS})
    text = to_markdown(made, heading=False)
    print(text, end="")
    if publish:
        PUBLISHED.parent.mkdir(parents=True, exist_ok=True)
        PUBLISHED.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
