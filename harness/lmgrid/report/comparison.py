"""Groups the rows of a frame by configuration, and tests which are worse than the best one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lmgrid.report.statistics import (
    CONFIDENCE,
    VarianceEstimate,
    holm,
    pooled_variance,
    welch_p_value,
)

# Rows with equal values in these columns, and of the same version, belong to one configuration.
CONFIGURATION_COLUMNS = (
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
class Configuration:
    """A cell without its seed, and the rows of the frame for all its seeds: one line of a table."""

    key: tuple[str, ...]  # the values of CONFIGURATION_COLUMNS, then the version
    rows: pd.DataFrame  # one row for each seed
    libraries: tuple[str, ...] = ()  # with versions, the same for all rows

    def mean(self, column: str) -> float:
        """Return the mean of a column over the seeds."""
        return float(self.rows[column].mean())

    @property
    def corpus(self) -> str:
        """The label of the corpus."""
        return self.key[0]

    @property
    def test_text(self) -> tuple[str, str]:
        """What identifies the text that was scored: the corpus's label and its bytes' digest."""
        return self.corpus, str(self.rows["text"].iloc[0])

    @property
    def seed_count(self) -> int:
        """The number of seeds; 0 for a deterministic model."""
        return int(self.rows["seed"].notna().sum())

    def has_same_blocks(self, other: Configuration) -> bool:
        """Return whether both were scored on the same blocks of the same text."""
        same_text = self.test_text == other.test_text
        return same_text and len(self.block_losses) == len(other.block_losses)

    @property
    def test_losses(self) -> list[float]:
        """The test loss of each seed, in nats per token."""
        return [math.log(value) for value in self.rows["test_perplexity"]]

    @property
    def block_losses(self) -> list[float]:
        """The loss of each block of the test text, in nats per token, as a mean over the seeds.

        NaN for a block in which a token had probability zero.
        """
        blocks = np.array(self.rows["test_blocks"].tolist(), dtype=np.float64)
        return [float(value) for value in blocks.mean(axis=0)]


def newest_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Return, of several rows of the same cell, only the one that was started last.

    A store may hold several records of a cell, under different addresses: the address changes
    when the corpus or the code changes.
    """
    same_cell = ["kernel", *CONFIGURATION_COLUMNS, "seed"]
    return frame.sort_values("started", kind="stable").drop_duplicates(same_cell, keep="last")


def group_by_configuration(frame: pd.DataFrame) -> list[Configuration]:
    """Return the configurations of the completed model cells, by corpus and test perplexity.

    Rows of different versions, or made with different versions of libraries, are never in one
    configuration. Unnormalised models, which have no perplexity, come last.
    """
    done = frame[(frame["status"] == "done") & frame["model"].notna()]
    columns = [*CONFIGURATION_COLUMNS, "version", "libraries"]
    found = [
        Configuration(
            (*map(str, values), str(version)[:8]), rows, tuple(str(libraries).split(", "))
        )
        for (*values, version, libraries), rows in done.groupby(columns, sort=False)
    ]
    return sorted(found, key=lambda c: (c.corpus, _nan_last(c.mean("test_perplexity")), c.key))


def _nan_last(perplexity: float) -> tuple[bool, float]:
    return math.isnan(perplexity), perplexity


@dataclass(frozen=True)
class BestAndTied:
    """Indexes of configurations: the best of each corpus, and those not significantly worse."""

    best: frozenset[int] = frozenset()
    tied: frozenset[int] = frozenset()


def compare_with_best(configurations: Sequence[Configuration]) -> BestAndTied:
    """Return which of the sorted configurations are best on their test text, and which are tied.

    A configuration is tied if a two-sided test (see ``_p_value``) does not reject, at 5 % after
    Holm's correction, that it has the same mean loss as the best, or if it cannot be tested.
    """
    best: set[int] = set()
    tied: set[int] = set()
    for text in dict.fromkeys(configuration.test_text for configuration in configurations):
        ranked = [
            i
            for i, configuration in enumerate(configurations)
            if configuration.test_text == text
            and math.isfinite(configuration.mean("test_perplexity"))
        ]
        if not ranked:
            continue
        first, *others = ranked
        seed_variance = _seed_variance(configurations[i] for i in ranked)
        p_values = holm(
            [_p_value(configurations[first], configurations[i], seed_variance) for i in others]
        )
        best.add(first)
        tied |= {i for i, p in zip(others, p_values, strict=True) if not p < 1 - CONFIDENCE}
    return BestAndTied(frozenset(best), frozenset(tied))


def _p_value(one: Configuration, two: Configuration, seed_variance: VarianceEstimate) -> float:
    """Return the p-value of the hypothesis that two configurations have the same mean loss.

    The difference of the losses has two sources of variance. That of the text is estimated from
    the differences on paired blocks. That of the seeds is ``seed_variance``, the variance of the
    loss of one seed; deterministic models have none. NaN where the blocks cannot be paired.
    """
    if not one.has_same_blocks(two):
        return math.nan
    differences = np.array(one.block_losses) - np.array(two.block_losses)
    if len(differences) < 2 or not np.isfinite(differences).all():
        return math.nan
    count = len(differences)
    variances = [VarianceEstimate(float(differences.var(ddof=1)) / count, count - 1)]
    if seed_variance.degrees_of_freedom:
        seeded = (c for c in (one, two) if c.seed_count)
        variances += [seed_variance.of_mean(c.seed_count) for c in seeded]
    return welch_p_value(float(differences.mean()), variances)


def _seed_variance(configurations: Iterable[Configuration]) -> VarianceEstimate:
    """Return the variance of the loss over seeds, pooled over those with several seeds."""
    return pooled_variance([c.test_losses for c in configurations if c.seed_count > 1])
