"""Options of the lecture's pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from lmgrid.spec import Kernel, KernelPart


@dataclass(frozen=True, kw_only=True)
class LecturePart(KernelPart):
    """Scores of words for classes, W x for every word vector x, in NumPy and double precision.

    A Python loop over word vectors against one matrix product, with the sizes of the lecture.
    words: N, how many word vectors. dimension: d, length of one. classes: C, rows of W.
    """

    words: Annotated[int, Meta(ge=1)] = 500
    dimension: Annotated[int, Meta(ge=1)] = 300
    classes: Annotated[int, Meta(ge=1)] = 5

    def make(self, device: str) -> Kernel:
        from lmgrid_lecture.kernel import word_scores

        return word_scores(self)
