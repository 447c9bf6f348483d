"""Measures how much the first losses of training change with the libraries' instruction sets.

    python -m lmgrid_benchmarks.replay_tolerance [--publish]
    python -m lmgrid_benchmarks.replay_tolerance --losses > other.json
    python -m lmgrid_benchmarks.replay_tolerance --compare other.json ...

Trains the quickstart's networks and similar ones on its text for max(FIRST_STEPS) steps, each time
in a process whose environment variables restrict the libraries to other instruction sets, as far as
this processor has them. ``--losses`` prints the losses of one process as JSON; ``--compare`` adds a
row for each such file, from another machine or with other versions. The figures are differences
from the process without restrictions, in nats per token. ``--publish`` writes the tables to
PUBLISHED.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from lmgrid.machine.cpu import CpuPart
from lmgrid.machine.environment import cache_folder, capture, usable_cores
from lmgrid.report.layout import Table
from lmgrid.report.render import to_markdown
from lmgrid.spec import FIRST_STEPS, Context, ModelPart, OptimizerPart, Place, Recipe
from lmgrid_rnn.parts import RnnPart
from lmgrid_text.kjv import KingJamesPart
from lmgrid_torch.devices.parts import CudaPart
from lmgrid_torch.optimizers.parts import AdamPart, SgdPart
from lmgrid_torch.regularizers.parts import ClipPart, DropoutPart
from lmgrid_transformer.parts import TransformerPart
from lmgrid_window.parts import WindowPart

if TYPE_CHECKING:
    from lmgrid.vocabulary import Text

PUBLISHED = Path("results/published/replay-tolerance")
INTERVAL = 10_000  # training tokens between two yields

# Environment variables that the libraries read. Most processors have AVX2; on one that has no more,
# the first set changes nothing.
AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "OPENBLAS_CORETYPE": "Zen",
}
LOWEST = {
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "MKL_CBWR": "COMPATIBLE",
    "OPENBLAS_CORETYPE": "Prescott",
}

Losses: TypeAlias = Mapping[str, Mapping[str, float]]  # by training, then by step


@dataclass(frozen=True)
class Training:
    """A network, its optimizer, and whether it is trained with dropout."""

    model: ModelPart
    optimizer: OptimizerPart
    dropout: bool = False


@dataclass(frozen=True)
class Kernels:
    """The environment variables and the number of threads of a process."""

    name: str
    variables: Mapping[str, str] = field(default_factory=dict)
    threads: int = 1


# ---------------------------------------------------------------- what is trained


def trainings() -> dict[str, Training]:
    """Return the trainings by name: each network, output layer and optimizer, and three more."""
    optimizers = {"adam": AdamPart(), "sgd": SgdPart(lr=2.0)}
    found = {
        f"{name}, {output}, {optimizer}": Training(model, optimizers[optimizer])
        for output in ("full", "adaptive")
        for name, model in networks(output).items()
        for optimizer in optimizers
    }
    adam = AdamPart()
    return found | {
        "lstm, full, adam, dropout": Training(RnnPart(cell="lstm"), adam, dropout=True),
        "gru, full, adam": Training(RnnPart(cell="gru"), adam),
        "elman, sampled, adam": Training(RnnPart(output="sampled"), adam),
    }


def networks(output: str) -> dict[str, ModelPart]:
    """Return networks with an output layer; the adaptive softmax has a head of 1,000 words."""
    options = {"output": output, "cutoffs": (1_000,)}
    return {
        "window": WindowPart(**options),  # type: ignore[arg-type]
        "elman": RnnPart(**options),  # type: ignore[arg-type]
        "lstm": RnnPart(cell="lstm", **options),  # type: ignore[arg-type]
        "transformer": TransformerPart(**options),  # type: ignore[arg-type]
    }


def losses(text: Text, training: Training) -> dict[str, float]:
    """Return the losses of a training by step, for FIRST_STEPS, in nats per token."""
    context = Context(
        vocabulary=text.vocabulary, counts=text.counts, seed=0, device="cpu", cache=Path()
    )
    parts = (DropoutPart(), ClipPart()) if training.dropout else (ClipPart(),)
    regularizers = tuple(part.make(context) for part in parts)
    recipe = Recipe(
        training.optimizer.make(context), regularizers, seed=0, budget=None, point_interval=INTERVAL
    )
    found: dict[str, float] = {}
    for progress in training.model.make(context).fit(text.train.tokens, recipe):
        found.update((str(step), loss) for step, loss in progress.losses)
        if len(found) == len(FIRST_STEPS):
            break
    return found


def print_losses() -> None:
    """Print, as JSON, the losses of every training and the instruction sets of the libraries."""
    with tempfile.TemporaryDirectory(prefix="lmgrid-replay-") as folder:
        text = KingJamesPart(part="kings", vocabulary=2_000).make(
            Place(Path(folder), cache_folder())
        )
    found = {name: losses(text, training) for name, training in trainings().items()}
    used = {**CpuPart().instruction_sets(), **CudaPart().instruction_sets()}
    print(json.dumps({"losses": found, "used": used}))


# ---------------------------------------------------------------- where it is trained


def kernels() -> Iterator[Kernels]:
    """Yield the processes to compare; the first has no restrictions."""
    yield Kernels("plain")
    yield Kernels("plain, again")
    yield Kernels("plain, 2 threads", threads=2)
    yield Kernels(", ".join(f"{name}={value}" for name, value in AVX2.items()), AVX2)
    lowest = LOWEST | {"NPY_DISABLE_CPU_FEATURES": _dispatched()}
    yield from (Kernels(f"{name}={value}", {name: value}) for name, value in lowest.items())
    yield Kernels("these five together", lowest)
    yield Kernels("these five together, 2 threads", lowest, 2)


def _dispatched() -> str:
    """Return the processor features that NumPy's dispatch uses here, so they can be disabled."""
    from numpy import show_config

    config = show_config(mode="dicts")
    return " ".join(config["SIMD Extensions"].get("found", ()))


def losses_of_process(kernels: Kernels) -> Losses:
    """Return the losses of a new process with these variables and threads."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(kernels.threads))
    command = [sys.executable, "-m", "lmgrid_benchmarks.replay_tolerance", "--losses"]
    environment = {**os.environ, **threads, **kernels.variables}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return _read(kernels.name, done.stdout)


def _read(name: str, text: str) -> Losses:
    """Return the losses that a process printed; print its instruction sets to stderr."""
    found = json.loads(text)
    print(f"{name}: {found['used']}", file=sys.stderr, flush=True)
    losses: Losses = found["losses"]
    return losses


# ---------------------------------------------------------------- how far they are apart


def difference(plain: Losses, other: Losses, name: str, step: int) -> float:
    """Return the absolute difference of one loss, in nats per token."""
    return abs(plain[name][str(step)] - other[name][str(step)])


def by_kernels(found: Mapping[str, Losses]) -> Table:
    """Return a row for each process: its largest difference from the first, over trainings."""
    plain, *others = found.values()
    rows = tuple(
        (name, *(shown(max(difference(plain, other, t, s) for t in plain)) for s in FIRST_STEPS))
        for name, other in zip(list(found)[1:], others, strict=True)
    )
    return _table("process", rows)


def by_training(found: Mapping[str, Losses]) -> Table:
    """Return a row for each training: the largest difference from the first process."""
    plain, *others = found.values()
    rows = tuple(
        (t, *(shown(max(difference(plain, o, t, s) for o in others)) for s in FIRST_STEPS))
        for t in plain
    )
    return _table("training", rows)


def _table(first: str, rows: tuple[tuple[str, ...], ...]) -> Table:
    """Return a table with a column for each of FIRST_STEPS after the first."""
    header = (first, *(f"step {step}" for step in FIRST_STEPS))
    return Table(name=first, title="", header=header, rows=rows, numeric_columns=len(FIRST_STEPS))


def shown(value: float) -> str:
    return f"{value:.1e}" if value else "0"


def report(found: Mapping[str, Losses]) -> str:
    """Return both tables in Markdown, followed by the machine and the versions of libraries."""
    tables = (by_kernels(found), by_training(found))
    here = capture()
    libraries = ", ".join(f"{name} {version}" for name, version in here.libraries)
    written = [to_markdown(table, heading=False) for table in tables]
    return "\n".join([*written, f"{here.machine}; {libraries}."]) + "\n"


def main(arguments: Sequence[str]) -> None:
    """Print the tables, or the losses of one process; with ``--publish``, write the tables."""
    parser = argparse.ArgumentParser(prog="python -m lmgrid_benchmarks.replay_tolerance")
    parser.add_argument("--losses", action="store_true")
    parser.add_argument("--compare", type=Path, nargs="+", default=[])
    parser.add_argument("--publish", action="store_true")
    asked = parser.parse_args(arguments)
    if asked.losses:
        print_losses()
        return
    each = tuple(kernels())
    with ThreadPoolExecutor(usable_cores()) as pool:
        found = dict(zip((k.name for k in each), pool.map(losses_of_process, each), strict=True))
    found |= {path.stem: _read(path.stem, path.read_text("utf-8")) for path in asked.compare}
    text = report(found)
    print(text)
    if asked.publish:
        PUBLISHED.mkdir(parents=True, exist_ok=True)
        (PUBLISHED / "replay-tolerance.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
