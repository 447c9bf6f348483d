"""The lecture's kernel: a weight matrix times word vectors, one by one and all at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmgrid.spec import Kernel
from lmgrid_lecture.parts import LecturePart

Matrix = NDArray[np.float64]


def word_scores(sizes: LecturePart) -> Kernel:
    """Return the kernel for these sizes.

    The two ways may add in another order, so their results may differ by rounding.
    """

    def sample(seed: int) -> tuple[Any, ...]:
        rng = np.random.default_rng(seed)
        weights = rng.random((sizes.classes, sizes.dimension))  # (C, d)
        matrix = rng.random((sizes.dimension, sizes.words))  # (d, N)
        vectors = [np.ascontiguousarray(matrix[:, [i]]) for i in range(sizes.words)]
        return weights, vectors, matrix

    return Kernel(loop, vector, sample, tolerance=1e-12 * sizes.dimension)


def loop(weights: Matrix, vectors: list[Matrix], matrix: Matrix) -> list[Matrix]:
    """Return N arrays of scores, shape (C, 1) each, by one product for each word vector."""
    return [weights.dot(vector) for vector in vectors]


def vector(weights: Matrix, vectors: list[Matrix], matrix: Matrix) -> Matrix:
    """Return the scores of all words, shape (N, C, 1), by one product; a view, word by word."""
    scores: Matrix = weights.dot(matrix)  # (C, N)
    return scores.T[:, :, None]
