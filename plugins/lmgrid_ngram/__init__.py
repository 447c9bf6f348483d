"""Models that count: n-grams under every classical smoothing, from arrays alone."""

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
