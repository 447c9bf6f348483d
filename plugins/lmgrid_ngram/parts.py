"""What a grid may ask of the n-gram plugin: the model's options and the kernels'."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import msgspec

from lmgrid.spec import Context, Kernel, KernelPart, ModelPart

if TYPE_CHECKING:
    from lmgrid_ngram.model import NGramModel

Smoothing = Literal[
    "mle",
    "add-delta",
    "stupid-backoff",
    "absolute",
    "modified-kneser-ney",
]


@dataclass(frozen=True, kw_only=True)
class NGram(ModelPart):
    """An n-gram model: the next word given at most ``order - 1`` words of its sentence.

    ``smoothing`` is one of

    - ``mle``: relative frequencies; zero where the context or the word after it was never seen;
    - ``add-delta``: ``delta`` added to every count (Lidstone);
    - ``stupid-backoff``: relative frequencies, ``backoff`` times the shorter context's where
      unseen (Brants et al. 2007); not normalised, so it has no perplexity;
    - ``absolute``: backoff with absolute discounting (Ney, Essen and Kneser 1994);
    - ``modified-kneser-ney``: interpolated, three discounts per order (Chen and Goodman 1998,
      section 4.1.6), with the conventions of KenLM's estimator.
    """

    deterministic: ClassVar[bool] = True

    order: Annotated[int, msgspec.Meta(ge=1, le=7)] = 3
    smoothing: Smoothing = "modified-kneser-ney"
    delta: Annotated[float, msgspec.Meta(gt=0)] = 1.0  # of add-delta
    backoff: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.4  # of stupid-backoff

    @property
    def normalised(self) -> bool:
        return self.smoothing != "stupid-backoff"

    def make(self, context: Context) -> NGramModel:
        from lmgrid_ngram.model import NGramModel

        return NGramModel(self, len(context.vocabulary))


@dataclass(frozen=True, kw_only=True)
class NGramCount(KernelPart):
    """Count the n-grams of generated Zipfian text: a loop over tuples against sorted keys."""

    tokens: Annotated[int, msgspec.Meta(ge=2)] = 20_000
    order: Annotated[int, msgspec.Meta(ge=1, le=7)] = 3
    vocabulary: Annotated[int, msgspec.Meta(ge=3)] = 2_000

    def make(self, device: str) -> Kernel:
        from lmgrid_ngram import kernels

        return kernels.counting(self)
