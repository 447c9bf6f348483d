"""The main job, end to end: the quickstart as a user runs it. Slow; CI runs it."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from lmgrid.records.record import KernelRecord, Record
from lmgrid.records.store import Store

pytest.importorskip("torch", reason="needs the extra lmgrid[torch]")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def lmgrid(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the real command in a folder, as from a shell."""
    command = [sys.executable, "-c", "from lmgrid.cli import main; main()", *arguments]
    # The threads of this suite must not be the command's.
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    return subprocess.run(
        command, cwd=folder, env=environment, text=True, capture_output=True, check=False
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the quickstart was run."""
    folder = tmp_path_factory.mktemp("quickstart")
    result = lmgrid(folder, "run")
    assert result.returncode == 0, result.stderr
    (folder / "shown").write_text(result.stdout)
    return folder


def records(folder: Path) -> list[Record]:
    store = Store(folder / "results/runs/quickstart")
    return [outcome for outcome in store if isinstance(outcome, Record)]


def test_the_table_has_every_row(folder: Path) -> None:
    """Kneser-Ney of order 2, 3 and 5; window and rnn under two optimizers, with and without
    dropout, over three seeds; two kernels with their speedup."""
    result = lmgrid(folder, "tables", "results/runs/quickstart", "--rows")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert {row["status"] for row in rows} == {"done"}
    lines = Counter(
        (row["model"], row["optimizer"], row["regularizers"]) for row in rows if row["model"]
    )
    for model in ("window", "rnn"):
        for how in (("adam", "clip"), ("adam", "dropout + clip"), ("sgd[lr=2]", "clip")):
            assert lines[model, *how] == 3
    assert sum(count for (model, *_), count in lines.items() if "ngram" in model) == 3
    kernels = [row for row in rows if row["kernel"]]
    assert len(kernels) == 2
    assert all(float(row["speedup"]) > 1 for row in kernels)
    shown = (folder / "shown").read_text()
    assert "ngram[order=5]" in shown
    assert "recurrent-step" in shown


def test_every_neural_cell_saw_two_epochs(folder: Path) -> None:
    """Each was trained on every token of train twice, and learned from it."""
    neural = [record for record in records(folder) if record.cell.optimizer]
    assert len(neural) == 18
    for record in neural:
        assert record.training.tokens == 2 * record.corpus.train_tokens
        assert record.test.perplexity < 100  # a unigram model has about 260


def test_a_second_run_runs_nothing(folder: Path) -> None:
    """The same table, to the byte, and nothing to run."""
    again = lmgrid(folder, "run")
    assert "0 to run" in again.stderr
    assert again.stdout == (folder / "shown").read_text()


def test_the_numbers_repeat_to_the_bit(folder: Path, tmp_path: Path) -> None:
    """Cells run again elsewhere, side by side, have the same scores, point by point."""
    chosen = ("--seed", "1", "--only", "optimizer=adam", "--only", "optimizer=none")
    lmgrid(tmp_path, "run", *chosen, "-j", str(min(2, os.cpu_count() or 1)))
    before = {record.inputs.address: record for record in records(folder)}
    again = records(tmp_path)
    assert len(again) == 7
    for record in again:
        first = before[record.inputs.address]
        assert (record.test, record.valid) == (first.test, first.valid)
        assert [(p.train_nats, p.valid_nats) for p in record.points] == [
            (p.train_nats, p.valid_nats) for p in first.points
        ]


def test_its_models_generate_and_verify(folder: Path) -> None:
    """Every kept model is whole, and a recurrent one goes on from a prompt."""
    verified = lmgrid(folder, "verify", "results/runs/quickstart")
    assert verified.returncode == 0, verified.stdout
    chosen = next(r for r in records(folder) if r.cell.model.name == "rnn")
    told = lmgrid(folder, "generate", chosen.inputs.address, "--prompt", "And the king said")
    assert told.stdout.startswith("And the king said")
    assert len(told.stdout.split()) > 60


def test_the_kernels_are_equal(folder: Path) -> None:
    """Both twins of each pair gave the same before they were timed."""
    store = Store(folder / "results/runs/quickstart")
    kernels = [outcome for outcome in store if isinstance(outcome, KernelRecord)]
    assert all(record.equal for record in kernels)
