"""Runs networks and kernels on an accelerator and on this machine's processor; prints both.

    python -m lmgrid_benchmarks.device [--device cuda] [--results results/runs/device]

It calls ``lmgrid run`` three times, which takes about ten minutes on a graphics card:

1. the networks of the quickstart on the device, in DIR/quickstart;
2. the grid ``device`` there, in DIR/device: networks of a size for which a card is made, in single
   precision and in bf16, and the kernels of networks;
3. that grid on the processor, in DIR/processor: on all cores, in single precision, and for a few
   thousand tokens, since only the speed is wanted.

The tables are written to DIR/device.md and DIR/device.csv. The same command continues where it was
stopped. Training tokens per second are of wall time, without the scoring of validation text.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pandas as pd

from lmgrid.records.record import Record
from lmgrid.records.store import Store
from lmgrid.report.frame import NESTED, frame
from lmgrid.report.layout import Table
from lmgrid.report.render import markdown

PROCESSOR_TOKENS = 20_000  # that each network is trained on there
NETWORKS = ("rnn", "window", "transformer")
MIB = 2**20


def runs(device: str, folder: Path) -> Iterator[tuple[str, ...]]:
    """Yield the command line of each of the three runs."""
    networks = [f"--only=model={name}" for name in ("rnn", "window")]
    both = [f'--set={name}.precision=["single", "bf16"]' for name in NETWORKS]
    yield (
        *("run", "quickstart", "--device", device, *networks, "--seed=0"),
        *("--results", str(folder / "quickstart"), "-j1"),
    )
    yield (
        *("run", "device", "--device", device, *both),
        *("--results", str(folder / "device"), "-j1"),
    )
    yield (
        *("run", "device", "--device=cpu", f"--set=threads={os.cpu_count()}"),
        f"--set=budget.tokens={PROCESSOR_TOKENS}",
        *("--results", str(folder / "processor"), "-j1"),
    )


def networks(rows: pd.DataFrame) -> Table:
    """Return a line a network of these rows: how good, how fast, how large, and against the CPU."""
    found = rows[rows["model"].notna()]
    on_cpu = found[found["device"] == "cpu"].set_index("model")["train_tokens_per_second"]
    lines = []
    for _, row in found[found["device"] != "cpu"].iterrows():
        plain = str(row["model"]).replace("precision=bf16,", "")
        speed = row["train_tokens_per_second"]
        ratio = f"{speed / on_cpu[plain]:.0f} ×" if plain in on_cpu else "–"
        lines.append(
            (
                str(row["model"]),
                str(row["optimizer"]),
                f"{row['test_perplexity']:.1f}",
                f"{speed:,.0f}",
                ratio,
                f"{row['score_tokens_per_second']:,.0f}",
                f"{row['peak_bytes'] / MIB:,.0f}",
            )
        )
    head = "model", "optimizer", "test perplexity", "train tokens/s", "× CPU", "score tokens/s"
    return Table("networks", "Networks", (*head, "peak MiB"), tuple(lines), 5)


def kernels(rows: pd.DataFrame) -> Table:
    """Return a line a kernel and device: both times and their ratio."""
    found = rows[rows["kernel"].notna()].sort_values(["kernel", "device"])
    lines = tuple(
        (
            str(row["kernel"]),
            str(row["device"]),
            f"{1000 * row['loop_seconds']:.3g}",
            f"{1000 * row['vector_seconds']:.3g}",
            f"{row['speedup']:.1f} ×",
        )
        for _, row in found.iterrows()
    )
    head = "kernel", "device", "loop, ms", "vectorised, ms", "speedup"
    return Table("kernels", "Loop against vectorised form", head, lines, 3)


def machines(stores: list[Store]) -> str:
    """Return a sentence on the accelerators, processors and versions of torch of the records."""
    made = [o.provenance.environment for s in stores for o in s if isinstance(o, Record)]
    accelerators = sorted({e.accelerator for e in made if e.accelerator})
    processors = sorted({f"{e.processor}, {e.cores} cores" for e in made})
    torch = sorted({dict(e.libraries)["torch"] for e in made})
    named = {"Accelerator": accelerators, "Processor": processors, "torch": torch}
    return "; ".join(f"{what}: {', '.join(found)}" for what, found in named.items()) + "."


@click.command(help="Run networks and kernels on DEVICE and on the processor; print both.")
@click.option("--device", default="cuda", show_default=True)
@click.option("--results", type=click.Path(path_type=Path), default=Path("results/runs/device"))
def main(device: str, results: Path) -> None:
    for arguments in runs(device, results):
        subprocess.run([sys.executable, "-m", "lmgrid", *arguments], check=True)
    stores = [Store(results / name) for name in ("quickstart", "device", "processor")]
    rows = pd.concat([frame(store) for store in stores])
    text = "\n".join((markdown(networks(rows)), markdown(kernels(rows)), machines(stores))) + "\n"
    (results / "device.md").write_text(text, encoding="utf-8")
    rows.drop(columns=NESTED).to_csv(results / "device.csv", index=False)
    print(f"\n{text}", end="")


if __name__ == "__main__":
    main()
