"""Measures how far the first losses of a training move on other kernels of the libraries.

    python -m lmgrid_benchmarks.replay_tolerance [--publish]
    python -m lmgrid_benchmarks.replay_tolerance --losses > elsewhere.json
    python -m lmgrid_benchmarks.replay_tolerance --beside elsewhere.json ...

Trains the quickstart's networks and some of their kin on its text for max(FIRST_STEPS) steps, each
time in a process whose environment holds the libraries to other instruction sets, as far as this
processor has them. ``--losses`` prints what one process gets, as JSON; ``--beside`` compares such
files, from another machine or with other versions, as rows of their own. Figures are differences
from the plain process in nats per token. ``--publish`` writes the tables to PUBLISHED.
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
from lmgrid.report.render import markdown
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

# Variables that the libraries read. AVX2 is what most processors have, and changes only others.
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
    """A network and how it learns."""

    model: ModelPart
    optimizer: OptimizerPart
    dropout: bool = False


@dataclass(frozen=True)
class Kernels:
    """What a process is held to."""

    name: str
    variables: Mapping[str, str] = field(default_factory=dict)
    threads: int = 1


# ---------------------------------------------------------------- what is trained


def trainings() -> dict[str, Training]:
    """Return each training by its name: all networks, outputs and optimizers, and three more."""
    optimizers = {"adam": AdamPart(), "sgd": SgdPart(lr=2.0)}
    found = {
        f"{name}, {output}, {descent}": Training(model, optimizers[descent])
        for output in ("full", "adaptive")
        for name, model in networks(output).items()
        for descent in optimizers
    }
    adam = AdamPart()
    return found | {
        "lstm, full, adam, dropout": Training(RnnPart(cell="lstm"), adam, dropout=True),
        "gru, full, adam": Training(RnnPart(cell="gru"), adam),
        "elman, sampled, adam": Training(RnnPart(output="sampled"), adam),
    }


def networks(output: str) -> dict[str, ModelPart]:
    """Return the networks of an output layer; adaptive has one cluster of half the words."""
    options = {"output": output, "cutoffs": (1_000,)}
    return {
        "window": WindowPart(**options),  # type: ignore[arg-type]
        "elman": RnnPart(**options),  # type: ignore[arg-type]
        "lstm": RnnPart(cell="lstm", **options),  # type: ignore[arg-type]
        "transformer": TransformerPart(**options),  # type: ignore[arg-type]
    }


def losses(text: Text, training: Training) -> dict[str, float]:
    """Return the losses of FIRST_STEPS of a training."""
    context = Context(text.vocabulary, text.counts, 0, "cpu", Path())
    held = (DropoutPart(), ClipPart()) if training.dropout else (ClipPart(),)
    regularizers = tuple(part.make(context) for part in held)
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
    """Print the losses of every training in this process, and what its libraries use."""
    with tempfile.TemporaryDirectory(prefix="lmgrid-replay-") as folder:
        text = KingJamesPart(part="kings", vocabulary=2_000).make(
            Place(Path(folder), cache_folder())
        )
    found = {name: losses(text, training) for name, training in trainings().items()}
    used = {**CpuPart().instruction_sets(), **CudaPart().instruction_sets()}
    print(json.dumps({"losses": found, "used": used}))


# ---------------------------------------------------------------- where it is trained


def kernels() -> Iterator[Kernels]:
    """Yield what can be emulated by variables that the libraries read; the first is plain."""
    yield Kernels("plain")
    yield Kernels("plain, again")
    yield Kernels("plain, 2 threads", threads=2)
    yield Kernels(", ".join(f"{name}={value}" for name, value in AVX2.items()), AVX2)
    lowest = LOWEST | {"NPY_DISABLE_CPU_FEATURES": _dispatched()}
    yield from (Kernels(f"{name}={value}", {name: value}) for name, value in lowest.items())
    yield Kernels("these five together", lowest)
    yield Kernels("these five together, 2 threads", lowest, 2)


def _dispatched() -> str:
    """Return the features that NumPy's dispatch uses here, to be switched off."""
    from numpy import show_config

    config = show_config(mode="dicts")
    return " ".join(config["SIMD Extensions"].get("found", ()))


def remote(held: Kernels) -> Losses:
    """Return the losses of a process that is held to these kernels."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(held.threads))
    command = [sys.executable, "-m", "lmgrid_benchmarks.replay_tolerance", "--losses"]
    environment = {**os.environ, **threads, **held.variables}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return _read(held.name, done.stdout)


def _read(name: str, text: str) -> Losses:
    """Return the losses that a process printed; what its libraries used goes to stderr."""
    found = json.loads(text)
    print(f"{name}: {found['used']}", file=sys.stderr, flush=True)
    losses: Losses = found["losses"]
    return losses


# ---------------------------------------------------------------- how far they are apart


def difference(plain: Losses, other: Losses, name: str, step: int) -> float:
    """Return the absolute difference of one loss."""
    return abs(plain[name][str(step)] - other[name][str(step)])


def by_kernels(found: Mapping[str, Losses]) -> Table:
    """Return a row for each process: the largest difference from the plain one over trainings."""
    plain, *others = found.values()
    rows = tuple(
        (name, *(shown(max(difference(plain, other, t, s) for t in plain)) for s in FIRST_STEPS))
        for name, other in zip(list(found)[1:], others, strict=True)
    )
    return Table("kernels", "", ("process", *_steps()), rows, len(FIRST_STEPS))


def by_training(found: Mapping[str, Losses]) -> Table:
    """Return a row for each training: the largest difference from the plain process over others."""
    plain, *others = found.values()
    rows = tuple(
        (t, *(shown(max(difference(plain, o, t, s) for o in others)) for s in FIRST_STEPS))
        for t in plain
    )
    return Table("trainings", "", ("training", *_steps()), rows, len(FIRST_STEPS))


def _steps() -> tuple[str, ...]:
    return tuple(f"step {step}" for step in FIRST_STEPS)


def shown(value: float) -> str:
    return f"{value:.1e}" if value else "0"


def report(found: Mapping[str, Losses]) -> str:
    """Return both tables as markdown, below them the machine."""
    tables = (by_kernels(found), by_training(found))
    here = capture()
    libraries = ", ".join(f"{name} {version}" for name, version in here.libraries)
    written = [markdown(table).split("\n", 2)[2] for table in tables]
    return "\n".join([*written, f"{here.machine}; {libraries}."]) + "\n"


def main(arguments: Sequence[str]) -> None:
    """Print the tables, or one process's losses; write the tables if asked to."""
    parser = argparse.ArgumentParser(prog="python -m lmgrid_benchmarks.replay_tolerance")
    parser.add_argument("--losses", action="store_true")
    parser.add_argument("--beside", type=Path, nargs="+", default=[])
    parser.add_argument("--publish", action="store_true")
    asked = parser.parse_args(arguments)
    if asked.losses:
        print_losses()
        return
    each = tuple(kernels())
    with ThreadPoolExecutor(usable_cores()) as side_by_side:
        found = dict(zip((k.name for k in each), side_by_side.map(remote, each), strict=True))
    found |= {path.stem: _read(path.stem, path.read_text("utf-8")) for path in asked.beside}
    text = report(found)
    print(text)
    if asked.publish:
        PUBLISHED.mkdir(parents=True, exist_ok=True)
        (PUBLISHED / "replay-tolerance.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
