"""Runs networks and kernels on an accelerator and on this machine's processor; prints both.

    python -m lmgrid_benchmarks.device [--device cuda] [--results results/runs/device]

It calls ``lmgrid run`` three times, which takes about ten minutes on a graphics card:

1. the networks of the quickstart on the device, in DIR/quickstart;
2. the grid ``device`` there, in DIR/device: networks of a size for which a card is made, in single
   precision, TF32 and bf16, and the kernels of networks;
3. that grid on the processor, in DIR/processor: on all cores, in single precision, and for a few
   thousand tokens, since only the speed is wanted.

The tables are written to DIR/device.md and DIR/device.csv. The same command continues where it was
stopped. Training tokens per second are of wall time, without the scoring of validation text.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import click

from lmgrid.records.record import KernelRecord, Outcome, Record
from lmgrid.records.store import Store
from lmgrid.report.frame import NESTED_COLUMNS, frame
from lmgrid.report.layout import Table
from lmgrid.report.render import to_markdown

PROCESSOR_TOKENS = 20_000  # that each network is trained on there
NETWORKS = ("rnn", "window", "transformer")
MIB = 2**20


def runs(device: str, folder: Path) -> Iterator[tuple[str, ...]]:
    """Yield the command line of each of the three runs."""
    chosen = "--only=model=rnn", "--only=model=window", "--only=optimizer=adam"
    yield (
        *("run", "quickstart", "--device", device, "--seed=0", *chosen),
        *("--only=regularizer=dropout", "--results", str(folder / "quickstart"), "-j1"),
    )
    precisions = [f'--set={name}.precision=["single", "tf32", "bf16"]' for name in NETWORKS]
    yield (
        *("run", "device", "--device", device, *precisions),
        *("--results", str(folder / "device"), "-j1"),
    )
    yield (
        *("run", "device", "--device=cpu", f"--set=threads={os.cpu_count()}"),
        *(f"--set=budget.tokens={PROCESSOR_TOKENS}", "--results", str(folder / "processor"), "-j1"),
    )


def networks(outcomes: Sequence[Outcome]) -> Table:
    """Return a row for each network and precision, with its speed over that of the processor."""
    records = {_network(o): o for o in outcomes if isinstance(o, Record)}
    rows = []
    for (model, optimizer, precision, device), record in sorted(records.items()):
        if device == "cpu":
            continue
        here = records.get((model, optimizer, "single", "cpu"))
        values = (
            f"{record.test.perplexity:.1f}",
            f"{_speed(record):,.0f}",
            f"{_speed(record) / _speed(here):.0f} ×" if here else "–",
            f"{record.test.tokens / record.score_seconds:,.0f}",
            f"{record.training.peak_bytes / MIB:,.0f}",
        )
        rows.append((model, optimizer, precision, *values))
    labels = "model", "optimizer", "precision"
    figures = "test perplexity", "train tokens/s", "over processor", "score tokens/s", "peak MiB"
    return Table(
        name="networks",
        title="Networks",
        header=(*labels, *figures),
        rows=tuple(rows),
        numeric_columns=len(figures),
    )


def _network(record: Record) -> tuple[str, str, str, str]:
    """Return the labels of model and optimizer, the precision, and the device."""
    cell, part = record.cell, record.cell.model
    plain = replace(part, changed=tuple(name for name in part.changed if name != "precision"))
    optimizer = cell.optimizer.label if cell.optimizer else ""
    return plain.label, optimizer, str(dict(part.options)["precision"]), cell.device


def _speed(record: Record) -> float:
    """Return training tokens per second of wall time."""
    return record.training.tokens / record.training.seconds


def kernels(outcomes: Sequence[Outcome]) -> Table:
    """Return a row for each kernel and device: the median time of both forms, and their ratio."""
    rows = []
    for record in outcomes:
        if isinstance(record, KernelRecord) and (cell := record.inputs.kernel):
            times = "not equal", "–", "–"
            if record.equal:
                loop, vector = median(record.loop_seconds), median(record.vector_seconds)
                times = f"{1e6 * loop:,.0f}", f"{1e6 * vector:,.0f}", f"{loop / vector:.1f} ×"
            rows.append((cell.kernel.label, cell.device, *times))
    figures = "loop, µs", "vectorised, µs", "speedup"
    return Table(
        name="kernels",
        title="Loop against vectorised form",
        header=("kernel", "device", *figures),
        rows=tuple(sorted(rows)),
        numeric_columns=len(figures),
    )


def machines(outcomes: Sequence[Outcome]) -> str:
    """Return a sentence on the accelerators, processors and versions of torch of the records."""
    made = [o.provenance.environment for o in outcomes if isinstance(o, Record)]
    named = {
        "Accelerator": {e.accelerator for e in made if e.accelerator},
        "Processor": {f"{e.processor}, {e.cores} cores, all of them used" for e in made},
        "torch": {dict(e.libraries)["torch"] for e in made},
    }
    return "; ".join(f"{name}: {', '.join(sorted(found))}" for name, found in named.items()) + "."


@click.command(help="Run networks and kernels on DEVICE and on the processor; print both.")
@click.option("--device", default="cuda", show_default=True)
@click.option("--results", type=click.Path(path_type=Path), default=Path("results/runs/device"))
def main(device: str, results: Path) -> None:
    for arguments in runs(device, results):
        ended = subprocess.run([sys.executable, "-m", "lmgrid", *arguments], check=False)
        if ended.returncode > 1:  # 1: some cells ended otherwise, as its tables say
            raise SystemExit(ended.returncode)
    folders = (results / name for name in ("quickstart", "device", "processor"))
    outcomes = [outcome for folder in folders for outcome in Store(folder)]
    tables = to_markdown(networks(outcomes)), to_markdown(kernels(outcomes)), machines(outcomes)
    text = "\n".join(tables) + "\n"
    (results / "device.md").write_text(text, encoding="utf-8")
    frame(outcomes).drop(columns=NESTED_COLUMNS).to_csv(results / "device.csv", index=False)
    print(f"\n{text}", end="")


if __name__ == "__main__":
    main()
