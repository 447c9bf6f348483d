"""What a grid may ask of the n-gram plugin: the model's options and the kernels'."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import msgspec

from lmgrid.spec import Context, Kernel, KernelPart, ModelPart

if TYPE_CHECKING:
    from lmgrid_ngram.arpa.model import ArpaModel
    from lmgrid_ngram.model import NGramModel

Smoothing = Literal[
    "mle",
    "add-delta",
    "stupid-backoff",
    "katz",
    "absolute",
    "witten-bell",
    "kneser-ney",
    "modified-kneser-ney",
    "jelinek-mercer",
]
WHOLE = ("mle", "add-delta", "stupid-backoff")  # smoothings that need every n-gram they counted


@dataclass(frozen=True, kw_only=True)
class NGramPart(ModelPart):
    """An n-gram model: predicts a word from at most ``order - 1`` words before it in its sentence.

    ``smoothing`` is one of

    - ``mle``: relative frequencies; 0 where the context, or the word after it, was never seen;
    - ``add-delta``: ``delta`` added to every count (Lidstone);
    - ``stupid-backoff``: relative frequencies; for unseen n-grams ``backoff`` times the score with
      the shorter context (Brants et al. 2007); not normalised, so it has no perplexity;
    - ``katz``: backoff with Good-Turing discounts (Katz 1987);
    - ``absolute``: backoff with absolute discounting (Ney, Essen and Kneser 1994);
    - ``witten-bell``: interpolated (Witten and Bell 1991, method C);
    - ``kneser-ney``: interpolated, one discount per order (Chen and Goodman 1998, section 4.1.6);
    - ``modified-kneser-ney``: interpolated, three discounts per order (same section), with the
      conventions of KenLM's estimator;
    - ``jelinek-mercer``: interpolated, with weights learned by EM on ``held_out`` of the text.

    The last number of ``min_counts`` applies to all higher orders too. ``prune`` follows Stolcke
    (1998). ``kenlm_quirk`` changes unigram probabilities in the fourth digit. By default ``memory``
    is a quarter of the machine's memory.
    """

    deterministic: ClassVar[bool] = True
    preload: ClassVar[tuple[str, ...]] = ("lmgrid_ngram.model",)

    order: Annotated[
        int, msgspec.Meta(ge=1, le=7, description="n: words of the longest n-grams.")
    ] = 3
    smoothing: Annotated[
        Smoothing,
        msgspec.Meta(
            description="How probability is given to n-grams that were rarely or never seen."
        ),
    ] = "modified-kneser-ney"
    delta: Annotated[
        float,
        msgspec.Meta(
            gt=0, description="Number added to every count, with smoothing = 'add-delta'."
        ),
    ] = 1.0
    backoff: Annotated[
        float,
        msgspec.Meta(
            gt=0,
            le=1,
            description="Factor for a shorter context, with smoothing = 'stupid-backoff'.",
        ),
    ] = 0.4
    held_out: Annotated[
        float,
        msgspec.Meta(
            gt=0, lt=1, description="Share of the text that sets the weights of 'jelinek-mercer'."
        ),
    ] = 0.1
    min_counts: Annotated[
        tuple[Annotated[int, msgspec.Meta(ge=1)], ...],
        msgspec.Meta(description="Counts needed to keep n-grams, from bigrams up."),
    ] = ()
    prune: Annotated[
        float,
        msgspec.Meta(
            ge=0,
            description="Leave out n-grams that change the perplexity by less than this share.",
        ),
    ] = 0.0
    kenlm_quirk: Annotated[
        bool,
        msgspec.Meta(description="Whether to count the last n-gram of each order as KenLM does."),
    ] = False
    memory: Annotated[
        Annotated[int, msgspec.Meta(ge=1)] | None,
        msgspec.Meta(description="Megabytes for counting before it sorts on disk."),
    ] = None

    def __post_init__(self) -> None:
        if not 1 <= self.order <= 7:
            raise ValueError(f"order is {self.order}; an n-gram has 1 to 7 words")
        if self.delta <= 0:
            raise ValueError(f"delta is {self.delta}; what is added to each count is above 0")
        if (self.min_counts or self.prune) and self.smoothing in WHOLE:
            raise ValueError(
                f"{self.smoothing} has nowhere to put the probability of n-grams left out; "
                "leave out min_counts and prune, or choose another smoothing"
            )
        if any(low > high for low, high in pairwise(self.min_counts)):
            raise ValueError(
                f"min_counts are {self.min_counts}; a longer n-gram is never more frequent, "
                "so let no number be below the one before it"
            )

    def min_count(self, k: int) -> int:
        """Return how often a k-gram must occur to be kept."""
        if k == 1 or not self.min_counts:
            return 1
        return self.min_counts[min(k - 2, len(self.min_counts) - 1)]

    @property
    def normalised(self) -> bool:
        return self.smoothing != "stupid-backoff"

    @property
    def sums_to_one(self) -> bool:
        return self.smoothing not in ("stupid-backoff", "mle")

    def make(self, context: Context) -> NGramModel:
        from lmgrid_ngram.model import NGramModel

        return NGramModel(self, len(context.vocabulary), context.cache)


@dataclass(frozen=True, kw_only=True)
class ArpaPart(ModelPart):
    """An n-gram model from an ARPA file, estimated by another toolkit; nothing is trained.

    ``sha256`` identifies the file: it is part of the cell's address, and a file with another digest
    is refused. A relative ``path`` counts from the grid file's folder. The words of the
    file and of the corpus must be the same, so make both from the same training text.
    """

    deterministic: ClassVar[bool] = True

    path: Annotated[Path, msgspec.Meta(description="ARPA file, plain or gzip.")]
    sha256: Annotated[
        str,
        msgspec.Meta(
            pattern="^[0-9a-f]{64}$",
            description="SHA-256 of the file, in hexadecimal, as sha256sum prints it.",
        ),
    ]

    def make(self, context: Context) -> ArpaModel:
        from lmgrid_ngram.arpa.model import ArpaModel

        return ArpaModel(self, context.vocabulary)


@dataclass(frozen=True, kw_only=True)
class ZipfianTextPart(KernelPart):
    """Sizes of generated text, in which the r-th word has a probability of about 1 / r."""

    tokens: Annotated[int, msgspec.Meta(ge=2, description="Tokens of the generated text.")] = 20_000
    order: Annotated[
        int, msgspec.Meta(ge=1, le=7, description="n: words of the longest n-grams.")
    ] = 3
    vocabulary: Annotated[int, msgspec.Meta(ge=3, description="Words of the vocabulary.")] = 2_000


@dataclass(frozen=True, kw_only=True)
class NGramCountPart(ZipfianTextPart):
    """Count the n-grams of generated Zipfian text: a dictionary of tuples against sorted keys."""

    def make(self, device: str) -> Kernel:
        from lmgrid_ngram import kernels

        return kernels.counting(self)


@dataclass(frozen=True, kw_only=True)
class NGramEstimatePart(ZipfianTextPart):
    """Estimate modified Kneser-Ney from generated Zipfian text: dictionaries against arrays."""

    def make(self, device: str) -> Kernel:
        from lmgrid_ngram import kernels

        return kernels.estimating(self)


@dataclass(frozen=True, kw_only=True)
class NGramScorePart(ZipfianTextPart):
    """Score generated Zipfian text with an n-gram model: token by token against whole arrays."""

    def make(self, device: str) -> Kernel:
        from lmgrid_ngram import kernels

        return kernels.scoring(self)
