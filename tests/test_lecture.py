"""The lecture's kernel: a loop over word vectors and one matrix product."""

from __future__ import annotations

import numpy as np
import pytest

from lmgrid.cell.kernel import difference
from lmgrid_lecture import LecturePart


def test_both_forms_agree() -> None:
    """The loop and the product give the same numbers, within double precision."""
    kernel = LecturePart().make("cpu")
    assert difference(kernel, seed=1) <= kernel.tolerance < 1e-9


def test_both_forms_are_the_product_by_hand() -> None:
    """Score c of word n is Σ_d W[c, d] x_n[d]."""
    kernel = LecturePart(words=3, dimension=4, classes=2).make("cpu")
    weights, vectors, matrix = kernel.sample(0)
    for n, c in np.ndindex(3, 2):
        by_hand = sum(weights[c, d] * matrix[d, n] for d in range(4))
        assert kernel.loop(weights, vectors, matrix)[n][c, 0] == pytest.approx(by_hand)
        assert kernel.vector(weights, vectors, matrix)[n, c, 0] == pytest.approx(by_hand)


def test_arguments_are_made_afresh() -> None:
    """Two samples of one seed are equal and share no memory."""
    kernel = LecturePart().make("cpu")
    one, two = kernel.sample(7)[2], kernel.sample(7)[2]
    assert np.array_equal(one, two)
    assert not np.shares_memory(one, two)


def test_a_sample_has_the_sizes_of_the_lecture() -> None:
    """N = 500 word vectors of d = 300 for C = 5 classes."""
    weights, vectors, matrix = LecturePart().make("cpu").sample(0)
    assert weights.shape == (5, 300)
    assert len(vectors) == 500
    assert matrix.shape == (300, 500)


def test_it_runs_on_the_processor_alone() -> None:
    """The part lists the processor as its only device."""
    assert LecturePart.devices == ("cpu",)
