"""A frame's rows as the lines that are compared, and which lines cannot be told apart."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lmgrid.report.statistics import CONFIDENCE, Estimate, holm, pooled_variance, zero_p_value

# What the rows of one line have alike, beside the version; its seeds differ.
LINE_COLUMNS = (
    "corpus",
    "model",
    "optimizer",
    "regularizers",
    "reporters",
    "device",
    "threads",
    "budget",
)


@dataclass(frozen=True)
class Group:
    """The rows of one table line: one comparison, all its seeds."""

    who: tuple[str, ...]  # as LINE_COLUMNS, and the version
    rows: pd.DataFrame
    libraries: tuple[str, ...] = ()  # with versions; rows of unlike ones are never one line

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

    def same_blocks(self, other: Group) -> bool:
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
    same = ["kernel", *LINE_COLUMNS, "seed"]
    return frame.sort_values("started", kind="stable").drop_duplicates(same, keep="last")


def group_rows(frame: pd.DataFrame) -> list[Group]:
    """Return the lines of the tables, by corpus and test perplexity; unnormalised models last."""
    done = frame[(frame["status"] == "done") & frame["model"].notna()]
    found = [
        Group((*map(str, who), str(version)[:8]), rows, tuple(str(libraries).split(", ")))
        for (*who, version, libraries), rows in done.groupby(
            [*LINE_COLUMNS, "version", "libraries"], sort=False
        )
    ]
    return sorted(found, key=lambda g: (g.corpus, _rank(g.mean("test_perplexity")), g.who))


def _rank(perplexity: float) -> tuple[bool, float]:
    return math.isnan(perplexity), perplexity


def verdicts(groups: Sequence[Group]) -> tuple[frozenset[int], frozenset[int]]:
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


def _p_value(one: Group, two: Group, seeds: Estimate) -> float:
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


def _seed_variance(groups: Iterable[Group]) -> Estimate:
    """Return the variance of mean loss from seed to seed, pooled over lines with several seeds."""
    return pooled_variance([group.nats for group in groups if group.seeds > 1])
