"""The benchmark of first losses under other kernels: what it compares, and how it shows it."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from lmgrid.spec import FIRST_STEPS
from lmgrid.testing import sample_tokens, sample_vocabulary
from lmgrid.vocabulary import Split, Text
from lmgrid_torch.optimizers.parts import AdamPart
from lmgrid_window.parts import WindowPart

pytest.importorskip("torch", reason="needs the extra lmgrid[torch]")
tolerance = importlib.import_module("lmgrid_benchmarks.replay_tolerance")

PLAIN = {"a": {"1": 5.0, "10": 4.0, "100": 3.0}, "b": {"1": 5.0, "10": 4.0, "100": 3.0}}
OTHER = {"a": {"1": 5.0, "10": 4.5, "100": 3.0}, "b": {"1": 5.0, "10": 3.75, "100": 5.0}}
FOUND = {"plain": PLAIN, "again": PLAIN, "other": OTHER}


def test_each_table_shows_the_largest_difference() -> None:
    """Over trainings a row a process; over processes a row a training; nothing of plain itself."""
    assert tolerance.by_kernels(FOUND).rows == (
        ("again", "0", "0", "0"),
        ("other", "0", "5.0e-01", "2.0e+00"),
    )
    assert tolerance.by_training(FOUND).rows == (
        ("a", "0", "5.0e-01", "0"),
        ("b", "0", "2.5e-01", "2.0e+00"),
    )


def test_the_first_process_is_held_to_nothing() -> None:
    """All others are compared with it, and no name comes twice."""
    first, *others = tolerance.kernels()
    assert (first.variables, first.threads) == ({}, 1)
    assert len({held.name for held in (first, *others)}) == len(others) + 1


def test_the_losses_of_a_training_are_those_of_the_first_steps() -> None:
    """By step, as JSON names them; a second training has the same."""
    train = Split(sample_tokens(30, seed=1, count=500), 1, 1)
    text = Text(sample_vocabulary(30), np.bincount(train.tokens, minlength=30), *[train] * 3)
    training = tolerance.Training(
        WindowPart(embedding=4, hidden=6, batch=32), AdamPart(), dropout=True
    )
    found = tolerance.losses(text, training)
    assert list(found) == [str(step) for step in FIRST_STEPS]
    assert tolerance.losses(text, training) == found
