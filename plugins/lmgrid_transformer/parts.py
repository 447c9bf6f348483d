"""Options of the transformer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta

from lmgrid_torch.parts import NeuralPart, Size

if TYPE_CHECKING:
    from lmgrid_torch.network import Network
    from lmgrid_torch.outputs.softmax import Output


@dataclass(frozen=True, kw_only=True)
class TransformerPart(NeuralPart):
    """A transformer decoder (Vaswani et al. 2017), normalised first (Radford et al. 2019).

    Each layer adds to x = e(t) + position(t) causal self-attention, then a network of one GELU
    layer, each computed of the normalised x; what the output layer reads is normalised too.

    layers: of attention and network. heads: of attention; they divide width. width: length of a
    word vector and of all between. feedforward: units of the GELU layer, as a multiple of width.
    context: words that a prediction sees, at most. positions: ``learned``, or ``sinusoidal``,
    beside which word vectors are multiplied by √width as in the paper. tied: use the word vectors
    as the output layer's weights too (Press and Wolf 2017). batch: parallel streams.

    A stream of L words is cut into ⌈L / context⌉ chunks that differ by at most one word. A chunk of
    n words is read together with the last ``context`` - n words of its stream before it, so its
    i-th prediction sees ``context`` - n + i words, or as many as the stream has up to there: a
    chunk of a whole context begins with a word that sees itself alone. Scoring does the same with
    chunks of at most half a context, over one stream that begins with <eos>, so every prediction
    sees more than half a context, and at most a whole one, where the text has so much before it.

    Sites: ``embedding`` is the table of word vectors; ``input`` is e(t) + position(t); ``between``
    is what attention or network add; ``hidden`` is what goes to the output layer.
    """

    layers: Size = 2
    heads: Size = 4
    width: Size = 128
    feedforward: Size = 4
    context: Annotated[int, Meta(ge=2)] = 128
    positions: Literal["learned", "sinusoidal"] = "learned"
    tied: bool = False
    batch: Size = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tied:
            self.check_tied(self.width)
        if self.width % self.heads:
            raise ValueError(
                f"{self.heads} heads do not divide a width of {self.width}; "
                f"set width = {-(-self.width // self.heads) * self.heads}"
            )
        if self.positions == "sinusoidal" and self.width % 2:
            raise ValueError("sinusoidal positions are pairs of numbers; make width even")

    @property
    def sites(self) -> tuple[str, ...]:
        return ("embedding", "input", "between", "hidden", *super().sites)

    @property
    def features(self) -> int:
        return self.width

    def network(self, output: Output) -> Network:
        from lmgrid_transformer.network import TransformerNetwork

        return TransformerNetwork(self, output)
