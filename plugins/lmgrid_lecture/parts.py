"""The part of the lecture's kernel, with its sizes as options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from lmgrid.spec import Kernel, KernelPart


@dataclass(frozen=True, kw_only=True)
class LecturePart(KernelPart):
    """Class scores W x of each word vector x, in NumPy and double precision.

    The loop multiplies one word vector after another; the vectorised twin does one matrix product.
    The defaults are the sizes of the lecture.
    """

    words: Annotated[int, Meta(ge=1, description="N, the number of word vectors.")] = 500
    dimension: Annotated[int, Meta(ge=1, description="d, the length of a word vector.")] = 300
    classes: Annotated[int, Meta(ge=1, description="C, the number of classes (rows of W).")] = 5

    def make(self, device: str) -> Kernel:
        from lmgrid_lecture.kernel import word_scores

        return word_scores(self)
