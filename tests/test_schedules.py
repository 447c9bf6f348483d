"""Learning-rate schedules, and when averaging begins."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmgrid.spec import Context, Moment, OptimizerPart
from lmgrid.testing import sample_vocabulary
from lmgrid_torch.optimizers.parts import (
    AdagradPart,
    AdamPart,
    AdamWPart,
    AsgdPart,
    NAdamWPart,
    RmsPropPart,
    SgdPart,
)

pytest.importorskip("torch", reason="needs the extra lmgrid[torch]")

from lmgrid_torch.optimizers.schedules import non_monotonic, stalls

CONTEXT = Context(
    vocabulary=sample_vocabulary(3),
    counts=np.ones(3, dtype=np.int64),
    seed=0,
    device="cpu",
    cache=Path(),
)
PARTS = (SgdPart, AsgdPart, AdagradPart, RmsPropPart, AdamPart, AdamWPart, NAdamWPart)
LOSSES = st.lists(st.floats(0, 10), max_size=20)


def rate(part: OptimizerPart, moment: Moment) -> float:
    return part.make(CONTEXT).settings(moment)["lr"]


def test_halving() -> None:
    """The rate halves after every k epochs."""
    epochs = (0, 0.5, 1.99, 2, 3.99, 4, 6)
    rates = [rate(SgdPart(lr=0.8, halve_every=2), Moment(0, e, None)) for e in epochs]
    assert rates == [0.8, 0.8, 0.8, 0.4, 0.4, 0.2, 0.1]


@pytest.mark.parametrize("part", PARTS)
def test_a_rate_is_constant_unless_told_otherwise(part: type[SgdPart]) -> None:
    """Each optimizer's rate is its lr at any moment."""
    assert rate(part(lr=0.3), Moment(10**9, 100.0, 0.9, (1.0, 2.0, 3.0))) == 0.3


@pytest.mark.parametrize("part", PARTS)
def test_each_optimizer_has_each_schedule(part: type[SgdPart]) -> None:
    """Warm-up, halving and cosine multiply: ½ · ¼ · ½."""
    made = part(lr=0.8, schedule="cosine", warmup_tokens=1000, halve_every=2)
    assert rate(made, Moment(500, 4.0, 0.5)) == pytest.approx(0.8 / 16)


def test_warm_up_is_linear() -> None:
    """The rate rises from 0 to lr and stays there."""
    made = AdamPart(lr=0.4, warmup_tokens=100)
    rates = [rate(made, Moment(tokens, 0, None)) for tokens in (0, 25, 50, 100, 1000)]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.4, 0.4])


def test_cosine() -> None:
    """½ (1 + cos π s): 1, ½ + √2/4, ½, 0, and 0 past the end."""
    made = AdamPart(lr=1.0, schedule="cosine")
    rates = [rate(made, Moment(0, 0, share)) for share in (0, 0.25, 0.5, 1, 1.2)]
    assert rates == pytest.approx([1, 0.5 + math.sqrt(2) / 4, 0.5, 0, 0])


def test_cosine_needs_the_length() -> None:
    """The part declares that it needs the length of training, and raises without it."""
    assert AdamPart(schedule="cosine").needs_length
    assert not AdamPart(schedule="plateau").needs_length
    with pytest.raises(ValueError, match="budget of epochs or tokens"):
        rate(AdamPart(schedule="cosine"), Moment(0, 0, None))


def test_plateau() -> None:
    """By hand: with patience 2, points 3 and 4 stall, and so do 5 and 6; 7 is better."""
    valid = (3.0, 2.0, 2.0, 2.5, 2.1, 2.0, 1.0, 1.5)
    assert [stalls(valid[:n], 2) for n in range(9)] == [0, 0, 0, 0, 1, 1, 2, 2, 2]
    assert rate(SgdPart(lr=0.8, schedule="plateau", patience=2), Moment(0, 0, None, valid)) == 0.2
    assert rate(SgdPart(lr=0.8, schedule="plateau", patience=3), Moment(0, 0, None, valid)) == 0.4


@given(valid=LOSSES, patience=st.integers(1, 4))
def test_stalls_never_fall(valid: list[float], patience: int) -> None:
    """A longer history has no fewer plateaus, and at most one per ``patience`` points."""
    counts = [stalls(valid[:n], patience) for n in range(len(valid) + 1)]
    assert counts == sorted(counts)
    assert counts[-1] <= len(valid) // patience


@given(valid=LOSSES, points=st.integers(1, 4))
def test_the_trigger_is_that_of_the_authors_program(valid: list[float], points: int) -> None:
    """``len(best) > n and loss > min(best[:-n])``, then the loss is appended to best."""
    best: list[float] = []
    triggered = False
    for loss in valid:
        triggered |= len(best) > points and loss > min(best[:-points])
        best.append(loss)
    assert non_monotonic(valid, points) == triggered


def test_averaging_begins_by_trigger_or_epoch() -> None:
    """Averaging begins at whichever comes first, and does not end."""
    made = AsgdPart(trigger=1, start_epoch=3).make(CONTEXT)
    assert made.settings(Moment(0, 2.9, None, (2.0, 1.0, 1.5)))["averaging"] == 0
    assert made.settings(Moment(0, 2.9, None, (2.0, 1.0, 2.5, 0.1)))["averaging"] == 1
    assert made.settings(Moment(0, 3.0, None))["averaging"] == 1


def test_averaging_that_never_begins_is_refused() -> None:
    """The message says what to set."""
    with pytest.raises(ValueError, match="start_epoch = 1"):
        AsgdPart(trigger=0)
