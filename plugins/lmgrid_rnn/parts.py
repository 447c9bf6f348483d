"""Options of the recurrent model and its kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, TypeAlias

from msgspec import Meta

from lmgrid.spec import Context, Kernel, KernelPart
from lmgrid_torch.parts import NeuralPart, Size

if TYPE_CHECKING:
    from lmgrid_torch.network import Network
    from lmgrid_torch.outputs.softmax import Output

Cell: TypeAlias = Literal["elman", "relu", "lstm", "gru"]


@dataclass(frozen=True, kw_only=True)
class RnnPart(NeuralPart):
    """A recurrent network (Elman 1990; as a language model, Mikolov et al. 2010).

    h(t) = s(W_h h(t-1) + W_e e(t) + b1), y(t) = softmax(U h(t) + b2), where e(t) is the vector
    of word t; trained by truncated back-propagation through time over parallel streams, whose
    state is carried from chunk to chunk and begins anew each epoch.

    cell: the recurrence. ``elman``: s = tanh. ``relu``: s = max(0, ·) (Le et al. 2015). ``lstm``
    (Hochreiter and Schmidhuber 1997, with forget gates by Gers et al. 2000). ``gru`` (Cho et al.
    2014). embedding: length of a word vector. hidden: length of the state. layers: recurrent
    layers, each over the states of the one below. residual: add a layer's input to its output,
    where both are equally long (He et al. 2016). layer_norm: normalise each layer's output (Ba et
    al. 2016). projection: a linear layer to so many features before the output layer; 0 is none.
    tied: use the word vectors as the output layer's weights too (Press and Wolf 2017), so
    projection, or else hidden, is as long as embedding. learned_start: whether h(0) is learned
    or 0. batch: parallel streams. steps: words of a chunk, at most. direct_order: n of the longest
    maximum-entropy n-gram features, straight from the last n - 1 words to the output (Mikolov et
    al. 2011, RNNME); 0 is none. direct_size: how many weights these share, by hashing.

    recurrent_initialisation: how W_h is drawn, ``same`` as all others or ``orthogonal`` (Saxe et
    al. 2014). forget_bias: where the bias of an LSTM's forget gate starts; Jozefowicz et al.
    (2015) recommend 1.

    Sites: ``embedding`` is the table of word vectors; ``input`` is e(t); ``between`` is what one
    layer hands to the next; ``hidden`` is what goes to the output layer, not to h(t+1);
    ``recurrent_weight`` is W_h of each layer, (G, H, H), for G gates.
    """

    cell: Cell = "elman"
    embedding: Size = 64
    hidden: Size = 128
    layers: Size = 1
    residual: bool = False
    layer_norm: bool = False
    projection: Annotated[int, Meta(ge=0)] = 0
    tied: bool = False
    learned_start: bool = True
    recurrent_initialisation: Literal["same", "orthogonal"] = "same"
    forget_bias: float = 0.0
    batch: Size = 20
    steps: Size = 20
    direct_order: Annotated[int, Meta(ge=0)] = 0
    direct_size: Size = 2**20

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.direct_order == 1:
            raise ValueError("direct_order = 1 is the output bias, which is always there; set 0")
        if self.residual and self.layers == 1 and self.embedding != self.hidden:
            raise ValueError(
                "residual needs a layer whose input is as long as its output; "
                f"set layers = 2, or embedding = {self.hidden}"
            )
        if self.tied:
            self.check_tied(self.embedding)

    @property
    def sites(self) -> tuple[str, ...]:
        output = () if self.direct_order else super().sites
        return ("embedding", "input", "between", "hidden", "recurrent_weight", *output)

    @property
    def inactive_options(self) -> tuple[str, ...]:
        gates = () if self.cell == "lstm" else ("forget_bias",)
        features = () if self.direct_order else ("direct_size",)
        return (*super().inactive_options, *gates, *features)

    @property
    def features(self) -> int:
        return self.projection or self.hidden

    def network(self, output: Output) -> Network:
        from lmgrid_rnn.network import DirectNetwork, RecurrentNetwork

        return (DirectNetwork if self.direct_order else RecurrentNetwork)(self, output)

    def output_layer(self, context: Context) -> Output:
        if not self.direct_order:
            return super().output_layer(context)
        from lmgrid_torch.outputs.by_name import output_layer
        from lmgrid_torch.outputs.ngram_features import Direct

        return Direct(output_layer(self, context), self.direct_order, self.direct_size)


@dataclass(frozen=True, kw_only=True)
class RecurrentStepPart(KernelPart):
    """The recurrent step over time, forward and backward: step by step against one operation.

    The loop leaves each step and its gradient to torch; the other is what the model rnn computes,
    the inputs' products and the gradient of W_h for all steps at once. cell: the recurrence, as of
    the model. steps: T. batch: parallel streams. embedding, hidden: sizes of the model.
    """

    requires: ClassVar[str] = "torch"
    preload: ClassVar[tuple[str, ...]] = ("lmgrid_rnn.kernel",)
    devices: ClassVar[tuple[str, ...]] = ("cpu", "cuda*", "mps")

    cell: Cell = "elman"
    steps: Size = 35
    batch: Size = 20
    embedding: Size = 64
    hidden: Size = 128

    def make(self, device: str) -> Kernel:
        from lmgrid_rnn.kernel import recurrence

        return recurrence(self, device)
