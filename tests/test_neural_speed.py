"""The benchmark of training speed runs, and compares like with like."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the extra lmgrid[torch]")

import torch

speed = importlib.import_module("lmgrid_benchmarks.neural_speed")
TINY = speed.Setup(hidden=4, vocabulary=50, batch=2, steps=3, chunks=2, rounds=1)


def test_prints_and_writes_a_row_for_each_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The plain loop is 1.00 times itself; the table is written in both forms."""
    threads = torch.get_num_threads()
    try:
        speed.main(TINY, tmp_path / "new")
    finally:
        torch.set_num_threads(threads)
    printed = capsys.readouterr().out
    csv = (tmp_path / "new" / "neural-speed.csv").read_text(encoding="utf-8").splitlines()
    markdown = (tmp_path / "new" / "neural-speed.md").read_text(encoding="utf-8")
    assert csv[0] == 'training,tokens/s,"x plain, SGD","x plain, Adam"'
    ways = [line.split('"')[1] for line in csv[1:]]
    assert ways[:3] == ["plain loop, SGD", "plain loop, Adam", "lmgrid full, SGD"]
    assert all(way in printed and f"| {way} |" in markdown for way in ways)
    assert csv[1].split(",")[3] == "1"
    assert "own cost over the bare steps" in markdown


def test_both_sides_train_the_same_sizes() -> None:
    """As many weights, but for nn.LSTM's second bias of each gate and lmgrid's learned start."""
    setup = speed.Setup(hidden=4, vocabulary=50)
    ours = speed.model(setup, speed.drawn(setup), "full").sizes().parameters
    plain = sum(weight.numel() for weight in speed.Plain(setup).parameters())
    gates = 4 * setup.hidden * setup.layers
    assert abs(plain - ours) <= gates
