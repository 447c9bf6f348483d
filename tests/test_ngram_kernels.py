"""The n-gram kernels: the loop and the arrays give the same result on many samples."""

from __future__ import annotations

import numpy as np
import pytest

from lmgrid.spec import KernelPart
from lmgrid_ngram.parts import NGramCountPart, NGramEstimatePart, NGramScorePart


@pytest.mark.parametrize("part", [NGramCountPart, NGramEstimatePart, NGramScorePart])
@pytest.mark.parametrize("order", [1, 2, 5])
@pytest.mark.parametrize("seed", [0, 1])
def test_loop_and_arrays_agree(part: type[KernelPart], order: int, seed: int) -> None:
    """Counts are equal to the last bit, log-probabilities within 1e-9."""
    kernel = part(tokens=2_000, order=order, vocabulary=150).make("cpu")  # type: ignore[call-arg]
    loop, vector = kernel.loop(*kernel.sample(seed)), kernel.vector(*kernel.sample(seed))
    assert kernel.tolerance == (0 if part is NGramCountPart else 1e-9)
    if isinstance(loop, np.ndarray):
        loop, vector = (loop,), (vector,)
    for one, two in zip(loop, vector, strict=True):
        np.testing.assert_allclose(one, two, rtol=0, atol=kernel.tolerance)
