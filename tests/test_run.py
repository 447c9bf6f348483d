"""Laws of the runner: the clock, the budget, validation, and which weights are kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lmgrid.callbacks import Callbacks
from lmgrid.cell.cell_runner import CellRunner
from lmgrid.cell.runner import Workspace
from lmgrid.cell.score import ProtocolViolation
from lmgrid.grid import Cell, Grid
from lmgrid.plugin.registry import Registry
from lmgrid.records.record import KernelRecord, Record
from lmgrid.spec import Diverged, Place

MakeGrid = Callable[..., Grid]


@pytest.fixture
def run_model(make_grid: MakeGrid, registry: Registry, place: Place) -> Callable[..., Record]:
    """Run the one cell of a grid whose model has these options."""

    def run_it(options: str = "", **workspace: object) -> Record:
        grid = make_grid(f'[[models]]\nname = "counts"\n{options}')
        record = CellRunner(registry, place).run(grid.cells[0], Workspace(**workspace))  # type: ignore[arg-type]
        assert isinstance(record, Record)
        return record

    return run_it


def test_a_perplexity_counted_by_hand(run_model: Callable[..., Record]) -> None:
    """40 sentences of 5 words: the, students, opened, their, <eos> 40 times each, two words 20."""
    record = run_model("prior = 0.0")
    assert record.corpus.types == 8  # <unk>, <eos> and six words
    assert record.corpus.train_tokens == 240
    expected = -(200 * math.log(40 / 240) + 40 * math.log(20 / 240)) / 240
    assert record.test.perplexity == pytest.approx(math.exp(expected))
    assert record.test.tokens == 240
    assert record.parameters == 8


def test_bits_are_of_the_original_text(run_model: Callable[..., Record]) -> None:
    """Characters count one newline a sentence; bits are nats / ln 2."""
    record = run_model()
    characters = 20 * (len("the students opened their books") + 1)
    characters += 20 * (len("the students opened their minds") + 1)
    assert record.test.characters == characters
    assert record.test.nats is not None
    assert record.test.bits_per_character == pytest.approx(
        record.test.nats / math.log(2) / characters
    )


def test_the_best_validation_point_is_scored(run_model: Callable[..., Record]) -> None:
    """The test split is scored with the weights of the best point, and the record says which."""
    record = run_model("steps = 5\nbest = 2")
    nats = [point.valid_nats for point in record.points]
    assert np.argmin(nats) == 2  # type: ignore[arg-type]
    assert record.training.kept == "best validation point"
    assert record.training.kept_tokens == record.points[2].tokens
    assert record.valid.mean_nats == pytest.approx(nats[2])
    assert record.training.tokens == record.points[-1].tokens


def test_the_clock_measures_training_alone(run_model: Callable[..., Record]) -> None:
    """Seconds are those between the yields, and no more than the whole cell's."""
    record = run_model("steps = 3\npause = 0.05")
    assert 0.15 <= record.training.seconds <= record.total_seconds
    assert record.training.cpu_seconds < record.training.seconds
    seconds = [point.seconds for point in record.points]
    assert seconds == sorted(seconds)
    assert record.training.seconds == pytest.approx(seconds[-1], abs=0.05)


def test_events_are_counted_between_points(run_model: Callable[..., Record]) -> None:
    """What the model counted stands in the curve."""
    assert all(point.events == (("step", 1),) for point in run_model("steps = 2").points)


def test_a_listener_hears_every_point(run_model: Callable[..., Record]) -> None:
    """Points are told as they come, in order."""
    heard: list[object] = []
    record = run_model("steps = 3", callbacks=Callbacks(point=heard.append))
    assert tuple(heard) == record.points


def test_weights_and_vocabulary_are_kept(run_model: Callable[..., Record], tmp_path: Path) -> None:
    """What generate needs lies in the folder that was given."""
    folder = tmp_path / "weights"
    folder.mkdir()
    run_model("", weights=folder)
    assert sorted(path.name for path in folder.iterdir()) == ["counts.json", "vocabulary.json"]


def test_a_loss_that_is_no_number_ends_as_diverged(run_model: Callable[..., Record]) -> None:
    """NaN never becomes a record."""
    with pytest.raises(Diverged, match="nan"):
        run_model('fault = "nan"')


def test_a_missing_score_is_a_broken_law(run_model: Callable[..., Record]) -> None:
    """A model that drops a token gets an error, not a number."""
    with pytest.raises(ProtocolViolation, match="239"):
        run_model('fault = "shape"')


def test_probabilities_that_do_not_sum_to_one_are_a_broken_law(
    run_model: Callable[..., Record],
) -> None:
    """A model that calls itself normalised is held to it on real text, unless it says it is not."""
    with pytest.raises(ProtocolViolation, match=r"sum to 1\.6"):
        run_model('fault = "sum"')
    assert not run_model('fault = "sum"\nunnormalised = true').normalised


def test_a_kernel_that_agrees_is_timed(
    make_grid: MakeGrid, registry: Registry, place: Place
) -> None:
    """Equal twins get times, unequal ones none."""
    grid = make_grid('[[kernels]]\nname = "sum"\nsize = 10\nwrong = [false, true]')
    right, wrong = map(CellRunner(registry, place).run, grid.cells)
    assert isinstance(right, KernelRecord)
    assert isinstance(wrong, KernelRecord)
    assert right.equal
    assert len(right.loop_seconds) == len(right.vector_seconds) >= 3
    assert (wrong.equal, wrong.difference, wrong.loop_seconds) == (False, 1.0, ())


def test_a_record_names_what_made_it(run_model: Callable[..., Record]) -> None:
    """The record holds the resolved cell, and digests of its parts' code and of the runner's."""
    record = run_model("prior = 2")
    assert dict(record.cell.model.options)["prior"] == 2.0
    names = {source.name for source in record.inputs.sources}
    assert names == {"corpus tiny", "model counts", "runner"}
    assert record.provenance.environment.cores >= 1
    assert isinstance(record.cell, Cell)
