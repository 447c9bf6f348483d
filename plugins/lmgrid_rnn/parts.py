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

    h(t) = s(W_h h(t-1) + W_e e(t) + b1), y(t) = softmax(U h(t) + b2), where e(t) is the vector of
    word t. It is trained by truncated back-propagation through time over parallel streams. The
    state is carried from chunk to chunk and reset at the start of each epoch.

    ``cell`` is one of

    - ``elman``: s = tanh;
    - ``relu``: s = max(0, ·) (Le et al. 2015);
    - ``lstm``: Hochreiter and Schmidhuber (1997), with forget gates (Gers et al. 2000);
    - ``gru``: Cho et al. (2014).

    Sources of the other options: ``residual``, He et al. (2016); ``layer_norm``, Ba et al. (2016);
    ``tied``, Press and Wolf (2017), where ``projection``, or ``hidden`` without a projection, must
    equal ``embedding``; ``recurrent_initialisation = 'orthogonal'``, Saxe et al. (2014);
    ``forget_bias``, for which Jozefowicz et al. (2015) recommend 1. With ``direct_order = n``,
    maximum-entropy features connect the last n - 1 words directly to the output (RNNME, Mikolov et
    al. 2011).

    Sites: ``embedding`` is the table of word vectors; ``input`` is e(t); ``between`` is the output
    of one layer as the next layer reads it; ``hidden`` is the input of the output layer, not of
    h(t+1); ``recurrent_weight`` is W_h of each layer, shape (G, H, H) for G gates.
    """

    cell: Annotated[
        Cell, Meta(description="The recurrence: tanh (Elman), rectified linear, LSTM or GRU.")
    ] = "elman"
    embedding: Annotated[Size, Meta(description="Length of a word vector.")] = 64
    hidden: Annotated[Size, Meta(description="Units of each recurrent layer.")] = 128
    layers: Annotated[
        Size, Meta(description="Recurrent layers; each reads the states of the one below.")
    ] = 1
    residual: Annotated[
        bool,
        Meta(description="Whether a layer's input is added to its output where lengths agree."),
    ] = False
    layer_norm: Annotated[
        bool, Meta(description="Whether the output of each layer is normalised.")
    ] = False
    projection: Annotated[
        int,
        Meta(ge=0, description="Features of a linear layer before the output layer; 0 for none."),
    ] = 0
    tied: Annotated[
        bool, Meta(description="Whether the output layer's weights are the word vectors.")
    ] = False
    learned_start: Annotated[
        bool, Meta(description="Whether the initial state h(0) is learned; if not, it is 0.")
    ] = True
    recurrent_initialisation: Annotated[
        Literal["same", "orthogonal"],
        Meta(description="How W_h is drawn: as the other weights, or orthogonal."),
    ] = "same"
    forget_bias: Annotated[
        float, Meta(description="Initial bias of the forget gate of an LSTM.")
    ] = 0.0
    batch: Annotated[Size, Meta(description="Parallel streams.")] = 20
    steps: Annotated[
        Size, Meta(description="Words of a chunk of back-propagation through time, at most.")
    ] = 20
    direct_order: Annotated[
        int, Meta(ge=0, description="Longest n of hashed n-gram features; 0 for no features.")
    ] = 0
    direct_size: Annotated[
        Size, Meta(description="Weights that the n-gram features share by hashing.")
    ] = 2**20

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

    def make_network(self, output: Output) -> Network:
        from lmgrid_rnn.layer import LayerSettings
        from lmgrid_rnn.network import NgramRecurrentNetwork, RecurrentNetwork

        layer_settings = LayerSettings(
            cell=self.cell,
            hidden=self.hidden,
            residual=self.residual,
            layer_norm=self.layer_norm,
            learned_start=self.learned_start,
            orthogonal=self.recurrent_initialisation == "orthogonal",
            forget_bias=self.forget_bias,
        )
        network = NgramRecurrentNetwork if self.direct_order else RecurrentNetwork
        return network(
            output,
            layers=self.layers,
            layer_settings=layer_settings,
            embedding=self.embedding,
            projection=self.projection,
            tied=self.tied,
            batch=self.batch,
            steps=self.steps,
        )

    def make_output(self, context: Context) -> Output:
        from lmgrid_torch.outputs.ngram_features import NgramOutput

        softmax = self.make_softmax(context)
        if not self.direct_order:
            return softmax
        return NgramOutput(softmax, order=self.direct_order, size=self.direct_size)


@dataclass(frozen=True, kw_only=True)
class RecurrentStepPart(KernelPart):
    """A recurrent layer over time, forward and backward: step by step against one operation.

    The loop computes each step separately and leaves its gradient to torch. The vectorised variant
    is what the model rnn computes: the products of the inputs and the gradient of W_h for all steps
    at once.
    """

    requires: ClassVar[str] = "torch"
    preload: ClassVar[tuple[str, ...]] = ("lmgrid_rnn.kernel",)
    devices: ClassVar[tuple[str, ...]] = ("cpu", "cuda*", "mps")

    cell: Annotated[Cell, Meta(description="The recurrence, as in the model rnn.")] = "elman"
    steps: Annotated[Size, Meta(description="T, time steps.")] = 35
    batch: Annotated[Size, Meta(description="Parallel streams.")] = 20
    embedding: Annotated[Size, Meta(description="Length of a word vector.")] = 64
    hidden: Annotated[Size, Meta(description="Units of the recurrent layer.")] = 128

    def make(self, device: str) -> Kernel:
        from lmgrid_rnn.kernel import recurrence

        return recurrence(
            cell=self.cell,
            steps=self.steps,
            batch=self.batch,
            embedding=self.embedding,
            hidden=self.hidden,
            device=device,
        )
