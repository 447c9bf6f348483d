"""Measures how the cost of counting and estimating n-grams grows with the text.

    python -m lmgrid_benchmarks.ngram_scaling 1000000 10000000 100000000 [--memory MEGABYTES]

The model is modified Kneser-Ney of order 5, the text Zipfian ids; each size runs in a new process.
Texts that need more memory than the budget are counted on disk; ``--memory`` sets the budget, which
is otherwise that of the model.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter, process_time

from lmgrid.report.layout import Table
from lmgrid.report.render import to_markdown
from lmgrid_ngram.model import NGramModel, bytes_per_token, memory_budget
from lmgrid_ngram.parts import NGramPart

from .ngram_texts import zipf_ids

ORDER = 5
HEADER = ("counted", "tokens", "n-grams", "CPU s", "wall s", "ns a token", "peak GB")


def main() -> None:
    """Print a table in Markdown with one row for each size."""
    parser = argparse.ArgumentParser(prog="python -m lmgrid_benchmarks.ngram_scaling")
    parser.add_argument("tokens", nargs="+", type=int)
    parser.add_argument("--memory", type=int, metavar="MEGABYTES")
    options = parser.parse_args()
    budgets = [options.memory] * len(options.tokens)
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as processes:
        rows = tuple(processes.map(measure, options.tokens, budgets))
    table = Table(
        name="scaling", title="", header=HEADER, rows=rows, numeric_columns=len(HEADER) - 1
    )
    print(to_markdown(table, heading=False), end="")


def measure(tokens: int, memory: int | None) -> tuple[str, ...]:
    """Return the row of one size; ``memory`` is the budget in megabytes."""
    ids = zipf_ids(tokens, seed=20)
    with tempfile.TemporaryDirectory() as folder:
        model = NGramModel(NGramPart(order=ORDER, memory=memory), int(ids.max()) + 1, Path(folder))
        cpu, wall = process_time(), perf_counter()
        model.learn(ids)
        cpu, wall = process_time() - cpu, perf_counter() - wall
        ngrams = sum(len(level.nodes) for level in model.fitted.levels)
    fits = tokens * bytes_per_token(ORDER) <= memory_budget(memory)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return (
        "in memory" if fits else "on disk",
        f"{tokens:,}",
        f"{ngrams:,}",
        f"{cpu:.1f}",
        f"{wall:.1f}",
        f"{cpu / tokens * 1e9:.0f}",
        f"{peak:.2f}",
    )


if __name__ == "__main__":
    main()
