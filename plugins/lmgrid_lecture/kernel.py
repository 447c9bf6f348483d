"""Word vectors times a weight matrix: one by one, and all at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmgrid.spec import Kernel
from lmgrid_lecture.parts import LecturePart

Matrix = NDArray[np.float64]


def word_scores(sizes: LecturePart) -> Kernel:
    """Return the kernel for these sizes; its tolerance allows for another order of summation."""

    def sample(seed: int) -> tuple[Any, ...]:
        rng = np.random.default_rng(seed)
        weights = rng.random((sizes.classes, sizes.dimension))  # (C, d)
        matrix = rng.random((sizes.dimension, sizes.words))  # (d, N)
        vectors = [np.ascontiguousarray(matrix[:, [i]]) for i in range(sizes.words)]
        return weights, vectors, matrix

    return Kernel(loop, vector, sample, tolerance=1e-12 * sizes.dimension)


def loop(weights: Matrix, vectors: list[Matrix], matrix: Matrix) -> list[Matrix]:
    """Return the N scores, (C, 1) each, by a product for each word vector."""
    return [weights.dot(vector) for vector in vectors]


def vector(weights: Matrix, vectors: list[Matrix], matrix: Matrix) -> Matrix:
    """Return the scores (N, C, 1) by one matrix product, transposed so that words come first."""
    scores: Matrix = weights.dot(matrix)  # (C, N)
    return scores.T[:, :, None]
