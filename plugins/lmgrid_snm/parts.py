"""What a grid may ask of the sparse non-negative matrix model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import msgspec

from lmgrid.spec import Context, ModelPart

if TYPE_CHECKING:
    from lmgrid_snm.model import SNMModel

Few = Annotated[int, msgspec.Meta(ge=0, le=16)]


@dataclass(frozen=True, kw_only=True)
class SNMPart(ModelPart):
    """A sparse non-negative matrix model (Shazeer, Pelemans and Chelba 2015, arXiv 1412.1454).

    The words before a word t make features f: n-grams and skip-grams of its sentence. Then

        P(t | f) = sum over i in f of M[i, t] / sum over i in f of M[i, *]
        M[i, t]  = exp(A(i, t)) C[i, t] / C[i, *]

    with the counts C of the training text. The adjustment A is a sum of weights, one for each
    metafeature of the link (i, t), in a table reached by a hash. They are learned from the Poisson
    loss of the training text, each token left out of the counts that predict it, with Adagrad of
    its own; the budget says how long. One more feature, always there and alike for all words,
    leaves none without probability.

    order: n-grams have up to ``order - 1`` words of context.
    remote, skip, adjacent: skip-grams of 1 to ``remote`` words, 1 to ``skip`` words left out, and
    0 to ``adjacent`` words next to the target, at most ``order - 1`` words in all;
    ``remote`` and ``skip`` both 0 leave n-grams alone.
    adjustment: ``none`` is A = 0; ``counts`` has metafeatures of the feature's template (which
    n-gram or skip-gram), of its count and of the link's count, in buckets of half an octave, and
    their conjunctions; ``lexical`` adds the feature itself, and the target with the template.
    The paper interpolates between buckets of an octave, and conjoins more.
    rate: the learning rate of Adagrad.
    batch: tokens a step.
    slots: weights in the table.
    """

    deterministic: ClassVar[bool] = True
    preload: ClassVar[tuple[str, ...]] = ("lmgrid_snm.model",)

    order: Annotated[int, msgspec.Meta(ge=1, le=16)] = 5
    remote: Few = 2
    skip: Few = 2
    adjacent: Few = 2
    adjustment: Literal["none", "counts", "lexical"] = "lexical"
    rate: Annotated[float, msgspec.Meta(gt=0)] = 0.1
    batch: Annotated[int, msgspec.Meta(ge=1)] = 4096
    slots: Annotated[int, msgspec.Meta(ge=1, le=2**30)] = 2**20

    def __post_init__(self) -> None:
        if (self.remote == 0) != (self.skip == 0):
            raise ValueError(
                f"remote is {self.remote} and skip is {self.skip}; a skip-gram has at least one "
                "word before at least one left out: set both above 0, or both to 0 for n-grams"
            )

    @property
    def inactive_options(self) -> tuple[str, ...]:
        learning = ("rate", "batch", "slots") if self.adjustment == "none" else ()
        return learning if self.skip else (*learning, "adjacent")

    @property
    def budgeted(self) -> bool:
        return self.adjustment != "none"

    def make(self, context: Context) -> SNMModel:
        from lmgrid_snm.model import SNMModel

        return SNMModel(self, len(context.vocabulary))
