"""The n-gram model as a grid uses it: options, errors, disk."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lmgrid.spec import Context, Predicts
from lmgrid.text import Vocabulary
from lmgrid_ngram.kernels import zipfian
from lmgrid_ngram.model import NGramError, NGramModel
from lmgrid_ngram.parts import NGram


def test_the_plugin_imports_nothing_heavy() -> None:
    """Listing the plugin needs no numpy."""
    code = "import sys, lmgrid_ngram; assert 'numpy' not in sys.modules"
    path = [entry for entry in sys.path if entry]
    subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}; {code}"], check=True
    )


@pytest.mark.parametrize("tokens", [[], [2]])
def test_too_short_a_text_is_an_error(tokens: list[int]) -> None:
    """A text without even one sentence of a word says so."""
    with pytest.raises(NGramError, match=f"has {len(tokens)} tokens, too few"):
        NGramModel(NGram(), 5).learn(np.array(tokens, np.int32))


@pytest.mark.parametrize("bad", [-1, 5])
def test_an_id_outside_the_vocabulary_is_an_error(bad: int) -> None:
    """The message names the place, the id and the size of the vocabulary."""
    model = NGramModel(NGram(), 5)
    with pytest.raises(NGramError, match=f"token 2 has id {bad}, outside the vocabulary of 5"):
        model.learn(np.array([2, 3, bad], np.int32))


def test_scoring_before_learning_is_an_error() -> None:
    """There is nothing to score with, and the message says what to call."""
    with pytest.raises(NGramError, match="call fit or load first"):
        NGramModel(NGram(), 5).score(np.array([2]))


def test_only_stupid_backoff_is_not_normalised() -> None:
    """Its scores do not sum to one, and the part says so."""
    assert NGram(smoothing="mle").normalised
    assert not NGram(smoothing="stupid-backoff").normalised


def test_sizes_count_what_is_kept() -> None:
    """A unigram model of five ids is five numbers of four bytes."""
    model = NGramModel(NGram(order=1), 5)
    model.learn(np.array([2, 3, 1]))
    assert (model.sizes().parameters, model.sizes().bytes) == (5, 20)


@pytest.mark.parametrize("smoothing", ["modified-kneser-ney", "katz", "stupid-backoff"])
@pytest.mark.parametrize("order", [1, 2, 5])
def test_the_tables_for_much_text_change_no_score(smoothing: str, order: int) -> None:
    """Found by a hash table or by a search, every n-gram gives the same bits."""
    model = NGramModel(NGram(order=order, smoothing=smoothing), 300)  # type: ignore[arg-type]
    model.learn(zipfian(5_000, 300, seed=1))
    text = zipfian(3_000, 300, seed=2)
    searched = model.score(text)
    assert model.fitted.tables is not None
    assert np.array_equal(model.score(text), searched)


def test_a_failed_save_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is one clear error, and no array of half a model stays."""
    model = NGramModel(NGram(order=2), 5)
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


def test_relative_frequencies_do_not_say_what_comes_next() -> None:
    """After an unseen context they have no distribution, and a run does not ask for one."""
    context = Context(Vocabulary(("<unk>", "<eos>", "a")), np.zeros(3, np.int64), 0, "cpu", Path())
    assert not isinstance(NGram(smoothing="mle").make(context), Predicts)
    assert isinstance(NGram(smoothing="absolute").make(context), Predicts)
