"""Groups the rows of a frame by configuration, and judges which may be the best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lmgrid.report.confidence import MIN_RUNS, RunLosses, confidence_set

MIN_TOKENS = 5_000  # of a test text whose blocks are long enough to be compared

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

    @property
    def run_losses(self) -> RunLosses:
        """The test losses of each run; NaN for a block in which a token had probability zero."""
        blocks = np.array(self.rows["test_blocks"].tolist(), dtype=np.float64)
        return RunLosses(blocks, seeded=self.seed_count > 0)


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
class Verdicts:
    """Indexes of configurations, by what their test losses say.

    A configuration that is in none of these sets is worse than some other one of its corpus, or has
    no perplexity.
    """

    lowest: frozenset[int] = frozenset()  # the lowest mean test perplexity of each corpus
    maybe_best: frozenset[int] = frozenset()  # may be the best of its corpus, as others may
    none: frozenset[int] = frozenset()  # there is too little to say anything; see ``is_judged``


def judge(configurations: Sequence[Configuration]) -> Verdicts:
    """Return the verdicts on the configurations, apart for each test text.

    Of those that can be judged, ``confidence_set`` says which may be the best. A set of one, the
    clear best, is not in ``maybe_best``.
    """
    lowest: set[int] = set()
    maybe_best: set[int] = set()
    none: set[int] = set()
    for text in dict.fromkeys(configuration.test_text for configuration in configurations):
        ranked = [
            i
            for i, configuration in enumerate(configurations)
            if configuration.test_text == text
            and math.isfinite(configuration.mean("test_perplexity"))
        ]
        if not ranked:
            continue
        lowest.add(min(ranked, key=lambda i: configurations[i].mean("test_perplexity")))
        judged = [i for i in ranked if is_judged(configurations[i])]
        none |= set(ranked) - set(judged)
        best = confidence_set([configurations[i].run_losses for i in judged])
        if len(best) > 1:
            maybe_best |= {judged[i] for i in best}
    return Verdicts(frozenset(lowest), frozenset(maybe_best), frozenset(none))


def is_judged(configuration: Configuration) -> bool:
    """Return whether there is enough to compare a configuration with others.

    It needs a test text of ``MIN_TOKENS``, a finite loss on each block of it, and ``MIN_RUNS``
    seeds, unless its scores do not depend on a seed.
    """
    runs = configuration.run_losses
    return (
        configuration.mean("test_tokens") >= MIN_TOKENS
        and bool(np.isfinite(runs.blocks).all())
        and (len(runs.blocks) >= MIN_RUNS or not runs.seeded)
    )
