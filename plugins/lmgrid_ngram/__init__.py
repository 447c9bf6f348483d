"""N-gram models under the classical smoothings, ARPA files, and kernels that measure them."""

from __future__ import annotations

from collections.abc import Mapping

from lmgrid.spec import KernelPart, ModelPart, hookimpl
from lmgrid_ngram.parts import (
    ArpaPart,
    NGramCountPart,
    NGramEstimatePart,
    NGramPart,
    NGramScorePart,
)


@hookimpl
def lmgrid_language_models() -> Mapping[str, type[ModelPart]]:
    return {"ngram": NGramPart, "arpa": ArpaPart}


@hookimpl
def lmgrid_kernels() -> Mapping[str, type[KernelPart]]:
    return {
        "ngram-count": NGramCountPart,
        "ngram-estimate": NGramEstimatePart,
        "ngram-score": NGramScorePart,
    }
