"""Counting on disk: the same trie as in memory, and clear errors if the disk is full."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmgrid_ngram import model
from lmgrid_ngram.counting import merge
from lmgrid_ngram.counting.arrays import DiskStore, MemoryStore
from lmgrid_ngram.counting.count import count
from lmgrid_ngram.counting.merge import count_in_runs
from lmgrid_ngram.kernels import zipfian
from lmgrid_ngram.model import NGramError, NGramModel
from lmgrid_ngram.parts import NGramPart


@given(st.lists(st.integers(0, 4), min_size=1, max_size=80), st.integers(1, 6), st.integers(2, 40))
def test_merged_runs_are_the_whole(stream: list[int], order: int, size: int) -> None:
    """The merged trie is that of the whole text, however the text is cut into runs."""
    tokens = np.array(stream, np.int32)
    whole = count(tokens, order, 5).levels
    merged = count_in_runs(tokens, order, 5, run_length=size, store=MemoryStore()).levels
    for one, two in zip(whole, merged, strict=True):
        assert np.array_equal(one.nodes.words, two.nodes.words)
        assert np.array_equal(one.nodes.starts, two.nodes.starts)
        assert np.array_equal(one.counts, two.counts)
        assert np.array_equal(one.suffixes, two.suffixes)


@pytest.mark.parametrize("block", [1, 50])
def test_the_blocks_of_a_merge_do_not_show(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Merging a few contexts at a time gives the same trie."""
    tokens = zipfian(3_000, 50, seed=0)
    whole = count(tokens, 4, 50).levels[-1]
    monkeypatch.setattr(merge, "BLOCK", block)
    merged = count_in_runs(tokens, 4, 50, run_length=500, store=MemoryStore()).levels[-1]
    assert np.array_equal(whole.nodes.words, merged.nodes.words)
    assert np.array_equal(whole.counts, merged.counts)


@pytest.mark.parametrize("smoothing", ["modified-kneser-ney", "katz", "add-delta"])
def test_a_small_budget_changes_no_score(
    smoothing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Models made on disk and in memory give the same scores to the last bit."""
    options = NGramPart(order=4, smoothing=smoothing)  # type: ignore[arg-type]
    tokens, text = zipfian(4_000, 60, seed=1), zipfian(500, 60, seed=2)
    roomy, tight = (NGramModel(options, 60, tmp_path) for _ in range(2))
    roomy.learn(tokens)
    monkeypatch.setattr(model, "memory_budget", lambda _: 50_000)
    tight.learn(tokens)
    assert any(tmp_path.iterdir())
    assert np.array_equal(roomy.score(text), tight.score(text))


def test_the_files_go_with_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is empty after the model is closed."""
    monkeypatch.setattr(model, "memory_budget", lambda _: 50_000)
    tight = NGramModel(NGramPart(order=3), 60, tmp_path)
    tight.learn(zipfian(4_000, 60, seed=1))
    tight.close()
    assert not any(tmp_path.iterdir())


def test_a_full_disk_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the folder and what to do, and no file is left."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    monkeypatch.setattr(model, "memory_budget", lambda _: 50_000)
    with pytest.raises(NGramError, match=r"No space left on device; it needs about \d+ MB there"):
        NGramModel(NGramPart(order=3), 60, tmp_path).learn(zipfian(4_000, 60, seed=1))
    assert not any(tmp_path.iterdir())


def test_an_unwritable_folder_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file in place of the folder is an error."""
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(model, "memory_budget", lambda _: 50_000)
    with pytest.raises(NGramError, match=r"counting in .*file failed"):
        NGramModel(NGramPart(order=3), 60, tmp_path / "file").learn(zipfian(4_000, 60, seed=1))


def test_an_array_on_disk_is_zero_and_writable(tmp_path: Path) -> None:
    """An array on disk begins as zeros and can be written."""
    store = DiskStore(tmp_path)
    array = store.zeros(10, np.float32)
    array[3] = 2
    assert array.sum() == 2
    del array
    store.close()
