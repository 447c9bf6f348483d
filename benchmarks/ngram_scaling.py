"""Measures how counting and estimating grow with the text, on generated Zipfian ids.

Use: python -m lmgrid_benchmarks.ngram_scaling 1000000 10000000 100000000 [--memory MEGABYTES]

Each size runs in a process of its own. Order 5, modified Kneser-Ney; without --memory, the model's
own budget decides from which size on counts are sorted on disk.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter, process_time

from lmgrid_ngram.model import NGramModel, bytes_per_token, memory_budget
from lmgrid_ngram.parts import NGramPart

from .ngram_texts import zipf_ids

ORDER = 5


def main() -> None:
    """Print one row of a markdown table for each size."""
    parser = argparse.ArgumentParser()
    parser.add_argument("tokens", nargs="+", type=int)
    parser.add_argument("--memory", type=int)
    options = parser.parse_args()
    if len(options.tokens) == 1:
        print(measure(options.tokens[0], options.memory))
        return
    print("| tokens | n-grams | counted | CPU s | wall s | ns a token | peak GB |")
    print("|---:|---:|---|---:|---:|---:|---:|", flush=True)
    memory = ["--memory", str(options.memory)] if options.memory else []
    for tokens in options.tokens:
        subprocess.run([sys.executable, "-m", __spec__.name, str(tokens), *memory], check=True)


def measure(tokens: int, memory: int | None) -> str:
    """Return the row of one size."""
    ids = zipf_ids(tokens, seed=20)
    with tempfile.TemporaryDirectory() as folder:
        model = NGramModel(NGramPart(order=ORDER, memory=memory), int(ids.max()) + 1, Path(folder))
        cpu, wall = process_time(), perf_counter()
        model.learn(ids)
        cpu, wall = process_time() - cpu, perf_counter() - wall
        ngrams = sum(len(level.nodes) for level in model.fitted.levels)
    fits = tokens * bytes_per_token(ORDER) <= memory_budget(memory)
    where = "in memory" if fits else "on disk"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return (
        f"| {tokens:,} | {ngrams:,} | {where} | {cpu:.1f} | {wall:.1f} "
        f"| {cpu / tokens * 1e9:.0f} | {peak:.2f} |"
    )


if __name__ == "__main__":
    main()
