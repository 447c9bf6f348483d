"""Options of the kernel ``lecture``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from lmgrid.spec import Kernel, KernelPart


@dataclass(frozen=True, kw_only=True)
class LecturePart(KernelPart):
    """Scores of N words for C classes, W x for each word vector x, in NumPy, double precision.

    A Python loop over word vectors against one matrix product, with the sizes of the lecture.
    """

    words: Annotated[int, Meta(ge=1, description="N, number of word vectors.")] = 500
    dimension: Annotated[int, Meta(ge=1, description="d, length of a word vector.")] = 300
    classes: Annotated[int, Meta(ge=1, description="C, rows of W.")] = 5

    def make(self, device: str) -> Kernel:
        from lmgrid_lecture.kernel import word_scores

        return word_scores(self)
