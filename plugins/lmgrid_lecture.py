"""A plugin in one file: a kernel that compares a Python loop with one matrix product.

The lecture multiplies a weight matrix by word vectors, first one after another, then all at once.
The plugin has the three things that every plugin has: a part with options (``LecturePart``), what
the part makes (a ``Kernel`` of ``one_by_one`` and ``all_at_once``), and a hook that names the part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from lmgrid.spec import Kernel, KernelPart, hookimpl

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class LecturePart(KernelPart):
    """Class scores W x of each word vector x, in NumPy and double precision.

    The loop multiplies one word vector after another; the vectorised form does one matrix product.
    The defaults are the sizes of the lecture.
    """

    words: Annotated[int, Meta(ge=1, description="N, the number of word vectors.")] = 500
    dimension: Annotated[int, Meta(ge=1, description="d, the length of a word vector.")] = 300
    classes: Annotated[int, Meta(ge=1, description="C, the number of classes (rows of W).")] = 5

    def make(self, device: str) -> Kernel:
        # The two forms may add in another order, so their results may differ by rounding.
        tolerance = 1e-12 * self.dimension
        return Kernel(one_by_one, all_at_once, self.sample, tolerance)

    def sample(self, seed: int) -> tuple[Matrix, list[Matrix], Matrix]:
        """Return W, shape (C, d); N word vectors, (d, 1) each; the same as columns, (d, N)."""
        import numpy as np  # here and not above, so that listing plugins stays fast

        rng = np.random.default_rng(seed)
        weights = rng.random((self.classes, self.dimension))
        matrix = rng.random((self.dimension, self.words))
        vectors = [np.ascontiguousarray(matrix[:, [i]]) for i in range(self.words)]
        return weights, vectors, matrix


def one_by_one(weights: Matrix, vectors: list[Matrix], matrix: Matrix) -> list[Matrix]:
    """Return N arrays of scores, shape (C, 1) each, by one product for each word vector."""
    return [weights.dot(vector) for vector in vectors]


def all_at_once(weights: Matrix, vectors: list[Matrix], matrix: Matrix) -> Matrix:
    """Return the scores of all words, shape (N, C, 1), by one product; a view, word by word."""
    scores: Matrix = weights.dot(matrix)  # (C, N)
    return scores.T[:, :, None]


@hookimpl
def lmgrid_kernels() -> Mapping[str, type[KernelPart]]:
    """Name the kernel ``lecture``, as in ``lmgrid kernels lecture``."""
    return {"lecture": LecturePart}
