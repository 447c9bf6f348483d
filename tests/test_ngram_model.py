"""The n-gram model as a grid uses it: its options, its errors, saving and loading."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lmgrid.spec import Progress, Recipe
from lmgrid_ngram.kernels import zipfian
from lmgrid_ngram.model import NGramError, NGramModel
from lmgrid_ngram.parts import NGramPart


def test_the_plugin_imports_nothing_heavy() -> None:
    """The plugin can be listed without importing NumPy."""
    code = "import sys, lmgrid_ngram; assert 'numpy' not in sys.modules"
    path = [entry for entry in sys.path if entry]
    subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}; {code}"], check=True
    )


@pytest.mark.parametrize("tokens", [[], [2]])
def test_too_short_a_text_is_an_error(tokens: list[int]) -> None:
    """Training on fewer than two tokens is an error."""
    with pytest.raises(NGramError, match=f"has {len(tokens)} tokens, too few"):
        NGramModel(NGramPart(), 5).learn(np.array(tokens, np.int32))


@pytest.mark.parametrize("bad", [-1, 5])
def test_an_id_outside_the_vocabulary_is_an_error(bad: int) -> None:
    """The message names the place, the id and the size of the vocabulary."""
    model = NGramModel(NGramPart(), 5)
    with pytest.raises(NGramError, match=f"token 2 has id {bad}, outside the vocabulary of 5"):
        model.learn(np.array([2, 3, bad], np.int32))


def test_scoring_before_learning_is_an_error() -> None:
    """Scoring before ``fit`` or ``load`` is an error that names both."""
    with pytest.raises(NGramError, match="call fit or load first"):
        NGramModel(NGramPart(), 5).score(np.array([2]))


def test_only_stupid_backoff_is_not_normalised() -> None:
    """Its scores do not sum to one, and the part says so."""
    assert NGramPart(smoothing="mle").normalised
    assert not NGramPart(smoothing="stupid-backoff").normalised


def test_sizes_count_what_is_kept() -> None:
    """A unigram model of five ids is five numbers of four bytes."""
    model = NGramModel(NGramPart(order=1), 5)
    model.learn(np.array([2, 3, 1]))
    assert (model.sizes().parameters, model.sizes().bytes) == (5, 20)


@pytest.mark.parametrize("smoothing", ["modified-kneser-ney", "katz", "stupid-backoff"])
@pytest.mark.parametrize("order", [1, 2, 5])
def test_the_tables_for_much_text_change_no_score(smoothing: str, order: int) -> None:
    """Scores by hash tables and by search are equal to the last bit."""
    model = NGramModel(NGramPart(order=order, smoothing=smoothing), 300)  # type: ignore[arg-type]
    model.learn(zipfian(5_000, 300, seed=1))
    text = zipfian(3_000, 300, seed=2)
    searched = model.score(text)
    assert model.fitted.tables is not None
    assert np.array_equal(model.score(text), searched)


def test_a_failed_save_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is an error, and no array of a partly saved model is left."""
    model = NGramModel(NGramPart(order=2), 5)
    model.learn(np.array([2, 3, 1]))
    written: list[str] = []

    def fill_up(path: Path, array: np.ndarray, **_: object) -> None:
        written.append(path.name)
        path.write_bytes(b"half")
        if len(written) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np, "save", fill_up)
    with pytest.raises(ValueError, match="No space left on device"):
        model.save(tmp_path)
    assert not any(tmp_path.iterdir())


def test_relative_frequencies_predict_nothing_after_an_unseen_context() -> None:
    """Predictions still exist, and the part says that their sum may be 0."""
    part = NGramPart(order=2, smoothing="mle")
    model = NGramModel(part, 4)
    model.learn(np.array([2, 3, 1], np.int32))
    assert np.exp(model.next_log_probs(np.array([2], np.int32))).tolist() == [0, 0, 0, 1]
    assert np.exp(model.next_log_probs(np.array([0], np.int32))).sum() == 0
    assert part.normalised
    assert not part.sums_to_one
    assert NGramPart(smoothing="absolute").sums_to_one


def test_the_loss_on_train_is_not_scored_inside_the_clock() -> None:
    """``fit`` yields once, after all tokens, without a training loss."""
    model = NGramModel(NGramPart(order=2), 4)
    recipe = Recipe(None, (), seed=0, budget=None, point_interval=1)
    assert list(model.fit(np.array([2, 3, 1], np.int32), recipe)) == [Progress(3, None)]


@pytest.mark.parametrize("smoothing", ["modified-kneser-ney", "stupid-backoff", "mle"])
@pytest.mark.parametrize("order", [1, 2, 5])
def test_many_contexts_at_once_are_each_on_its_own(smoothing: str, order: int) -> None:
    """p of each next word equals its score, for contexts of any length, with or without <eos>."""
    model = NGramModel(NGramPart(order=order, smoothing=smoothing), 30)  # type: ignore[arg-type]
    model.learn(zipfian(500, 30, seed=1))
    text = zipfian(40, 30, seed=2)
    contexts = [text[low:high] for low in (0, 3, 20) for high in (low, low + 1, low + 2, 38)]
    for context, p in zip(contexts, model.fitted.next_probabilities(contexts), strict=True):
        scores = [model.score(np.append(context, v).astype(np.int32))[-1] for v in range(30)]
        np.testing.assert_allclose(p, np.exp(scores), rtol=1e-12)


def test_an_order_without_ngrams_predicts_as_the_one_below() -> None:
    """If cut-offs leave out all n-grams of an order, predictions are those of the lower order."""
    model = NGramModel(NGramPart(order=3, min_counts=(9,)), 5)
    model.learn(np.array([2, 3, 4, 1, 2, 4, 3, 1], np.int32))
    p = model.fitted.next_probabilities([np.array([2, 3], np.int32)])
    np.testing.assert_array_equal(p[0], model.fitted.levels[0].probabilities)
