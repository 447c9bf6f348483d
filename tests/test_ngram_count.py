"""The n-gram counts: the trie against counts by hand and by a dictionary."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmgrid_ngram.counting import count as counting
from lmgrid_ngram.counting.count import count
from lmgrid_ngram.kernels import count_by_loop, count_by_sort
from lmgrid_ngram.parts import NGramCountPart

A, B = 2, 3  # two words; 1 is <eos>
STREAMS = st.lists(st.integers(0, 4), min_size=1, max_size=60)


def test_a_text_counted_by_hand() -> None:
    """The bigrams of ``a b a <eos> a b <eos>`` are those counted by hand."""
    tokens = np.array([A, B, A, 1, A, B, 1], np.int32)
    _, bigrams, trigrams = count_by_sort(tokens, 3, 4)
    assert bigrams.tolist() == [[1, A, 2], [A, 1, 1], [A, B, 2], [B, 1, 1], [B, A, 1]]
    assert trigrams.tolist() == [[1, A, B, 2], [A, B, 1, 1], [A, B, A, 1], [B, A, 1, 1]]


@given(STREAMS, st.integers(1, 7))
def test_loop_and_sort_count_the_same(stream: list[int], order: int) -> None:
    """The trie holds what a dictionary of tuples holds, for every order."""
    tokens = np.array(stream, np.int32)
    loop, sort = count_by_loop(tokens, order, 5), count_by_sort(tokens, order, 5)
    for one, two in zip(loop, sort, strict=True):
        assert np.array_equal(one, two)


@pytest.mark.parametrize("block", [1, 7, 64])
def test_the_blocks_do_not_show(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many small blocks give the same trie as one block."""
    sample = NGramCountPart(tokens=500, order=4, vocabulary=30).make("cpu").sample(0)
    whole = count_by_sort(*sample)
    monkeypatch.setattr(counting, "BLOCK", block)
    for one, two in zip(whole, count_by_sort(*sample), strict=True):
        assert np.array_equal(one, two)


def test_no_ngram_reaches_across_a_sentence_end() -> None:
    """Only the first id of an n-gram of two or more words may be an ``<eos>`` that begins it."""
    tokens = NGramCountPart(tokens=2_000, order=5, vocabulary=30).make("cpu").sample(1)[0]
    for table in count_by_sort(tokens, 5, 30)[2:]:
        assert not (table[:, 1:-2] == 1).any()


def test_suffixes_point_to_the_ngram_without_its_first_word() -> None:
    """A suffix has the same last word, and its context is the suffix of the context."""
    levels = count(NGramCountPart(tokens=3_000).make("cpu").sample(2)[0], 4, 2_000).levels
    for lower, level in pairwise(levels):
        contexts = np.repeat(np.arange(len(lower)), np.diff(level.nodes.starts))
        assert np.array_equal(lower.nodes.words[level.suffixes], level.nodes.words)
        lower_contexts = np.repeat(
            np.arange(len(lower.nodes.starts) - 1), np.diff(lower.nodes.starts)
        )
        assert np.array_equal(lower_contexts[level.suffixes], lower.suffixes[contexts])
