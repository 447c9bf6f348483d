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
    """A transformer decoder (Vaswani et al. 2017), with pre-normalisation (Radford et al. 2019).

    The input is x = e(t) + position(t). Each layer adds causal self-attention to x, then a network
    of one GELU layer. Both read the normalised x, and so does the output layer.

    With ``positions = 'sinusoidal'``, word vectors are multiplied by √width, as in the paper. For
    ``tied`` see Press and Wolf (2017).

    In training, a stream of L words is cut into ⌈L / context⌉ chunks whose lengths differ by at
    most one word. A chunk of n words is read together with the ``context`` - n words before it in
    its stream, so its i-th prediction sees ``context`` - n + i words, or fewer at the beginning of
    the stream. The first prediction of a chunk of n = ``context`` words sees one word. Scoring uses
    one stream that begins with <eos> and chunks of at most half a context, so every prediction sees
    more than half a context and at most a whole one, where the text before it is long enough.

    Sites: ``embedding`` is the table of word vectors; ``input`` is e(t) + position(t); ``between``
    is what self-attention and the feed-forward network add; ``hidden`` is the input of the output
    layer.
    """

    layers: Annotated[
        Size, Meta(description="Layers, each of self-attention and a feed-forward network.")
    ] = 2
    heads: Annotated[
        Size, Meta(description="Attention heads of each layer; they must divide width.")
    ] = 4
    width: Annotated[
        Size, Meta(description="Length of a word vector and of every layer's output.")
    ] = 128
    feedforward: Annotated[
        Size, Meta(description="Units of the GELU layer, as a multiple of width.")
    ] = 4
    context: Annotated[int, Meta(ge=2, description="Words that a prediction sees, at most.")] = 128
    positions: Annotated[
        Literal["learned", "sinusoidal"],
        Meta(description="Position vectors: learned, or sines and cosines."),
    ] = "learned"
    tied: Annotated[
        bool, Meta(description="Whether the output layer's weights are the word vectors.")
    ] = False
    batch: Annotated[Size, Meta(description="Parallel streams.")] = 8

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

    def make_network(self, output: Output) -> Network:
        from lmgrid_transformer.network import TransformerNetwork

        return TransformerNetwork(
            output,
            layers=self.layers,
            heads=self.heads,
            width=self.width,
            feedforward=self.feedforward,
            context=self.context,
            positions=self.positions,
            tied=self.tied,
            batch=self.batch,
        )
