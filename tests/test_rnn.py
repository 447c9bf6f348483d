"""The recurrent model against its equations, its gradient through time, and its kernel."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lmgrid.cell.kernel import difference
from lmgrid.spec import Context, Recipe
from lmgrid.testing import sample_tokens, sample_vocabulary
from lmgrid_rnn.parts import Cell, RecurrentStepPart, RnnPart
from lmgrid_torch.optimizers.parts import AdamPart

pytest.importorskip("torch", reason="needs the extra lmgrid[torch]")

import torch

from lmgrid_rnn.elman import Elman
from lmgrid_rnn.gru import Gru
from lmgrid_rnn.network import RecurrentNetwork
from lmgrid_torch.model import NeuralModel

Vector = NDArray[np.float64]
V = 11
EACH_CELL = pytest.mark.parametrize("cell", ["elman", "relu", "lstm", "gru"])
SMALL = RnnPart(embedding=3, hidden=4, initialisation="uniform", uniform_range=0.8)


def context(counts: np.ndarray | None = None) -> Context:
    if counts is None:
        counts = np.bincount(sample_tokens(V, seed=1), minlength=V)
    return Context(
        vocabulary=sample_vocabulary(len(counts)), counts=counts, seed=0, device="cpu", cache=Path()
    )


def model(part: RnnPart = SMALL, counts: np.ndarray | None = None) -> NeuralModel:
    made = part.make(context(counts))
    assert isinstance(made, NeuralModel)
    return made


def network(part: RnnPart = SMALL) -> RecurrentNetwork:
    """Return a small network in double precision, its vectors drawn too."""
    made = model(part).network.double()
    assert isinstance(made, RecurrentNetwork)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if weight.dim() == 1 or name.endswith("start"):
                weight.normal_(generator=draw)
    return made


def words(seed: int, *shape: int) -> torch.Tensor:
    tokens = sample_tokens(V, seed, count=math.prod(shape))
    return torch.from_numpy(tokens.astype(np.int64)).view(shape)


# ---------------------------------------------------------------- the lecture's two truths


def test_the_loss_is_ln_v_without_output_weights() -> None:
    """With U and b2 zero, every word has probability 1 / V, whatever the rest."""
    made = model()
    with torch.no_grad():
        for name in ("output.weight", "output.bias"):
            made.network.get_parameter(name).zero_()
    scores = made.score(sample_tokens(V, seed=2, count=100))
    np.testing.assert_allclose(scores, -math.log(V), rtol=1e-6)


def test_the_loss_is_the_unigram_s_with_the_bias_a_model_starts_with() -> None:
    """With U zero and the first bias, the loss on train is the cross-entropy of its counts."""
    train = np.append(sample_tokens(V, seed=1), np.arange(V, dtype=np.int32))
    counts = np.bincount(train)
    made = model(counts=counts)
    with torch.no_grad():
        made.network.get_parameter("output.weight").zero_()
    p = counts / counts.sum()
    assert -made.score(train).mean() == pytest.approx(-(p * np.log(p)).sum(), rel=1e-6)


# ---------------------------------------------------------------- the recurrence


def sigmoid(x: Vector) -> Vector:
    return 1 / (1 + np.exp(-x))


def step_by_hand(cell: Cell, a: Vector, r: Vector, state: list[Vector]) -> list[Vector]:
    """Return h, and c of an LSTM, from the products with the input (and bias) and with h."""
    if cell == "lstm":
        i, f, g, o = np.split(a + r, 4)
        c = sigmoid(f) * state[1] + sigmoid(i) * np.tanh(g)
        return [sigmoid(o) * np.tanh(c), c]
    if cell == "gru":
        (a1, a2, a3), (r1, r2, r3) = np.split(a, 3), np.split(r, 3)
        z, n = sigmoid(a2 + r2), np.tanh(a3 + sigmoid(a1 + r1) * r3)
        return [(1 - z) * n + z * state[0]]
    return [np.maximum(a + r, 0) if cell == "relu" else np.tanh(a + r)]


def loss_by_hand(made: RecurrentNetwork, cell: Cell, tokens: list[int]) -> float:
    """Return the mean of -ln softmax(U h + b2) of one layer of a cell, word by word, in NumPy."""
    named = {name: p.detach().numpy() for name, p in made.named_parameters()}
    inputs, recurrent = (
        named[f"layers.0.{name}_weight"].reshape(len(named["layers.0.bias"]), -1)
        for name in ("input", "recurrent")
    )
    state, previous, nats = list(named["layers.0.start"]), 1, []
    for word in tokens:
        a = inputs @ named["embedding"][previous] + named["layers.0.bias"]
        state = step_by_hand(cell, a, recurrent @ state[0], state)
        y = named["output.weight"] @ state[0] + named["output.bias"]
        nats.append(np.log(np.exp(y).sum()) - y[word])
        previous = word
    return float(np.mean(nats))


@EACH_CELL
def test_the_loss_is_the_cell_s_equations(cell: Cell) -> None:
    """The mean of -ln p over a text equals a forward pass written by hand."""
    made, tokens = network(replace(SMALL, cell=cell)), words(3, 30)
    inputs = torch.cat((torch.tensor([1]), tokens[:-1]))[:, None]
    features, _ = made(inputs, None)
    found = made.output.loss(features, tokens).item()
    assert found == pytest.approx(loss_by_hand(made, cell, tokens.tolist()), rel=1e-12)


DEEP = replace(
    SMALL, embedding=4, layers=2, residual=True, layer_norm=True, projection=4, tied=True
)


@pytest.mark.parametrize("part", [SMALL, DEEP], ids=["plain", "deep"])
@EACH_CELL
def test_gradients_are_finite_differences(
    part: RnnPart, cell: Cell, check_slopes: Callable[..., None]
) -> None:
    """Every partial derivative through time, for every parameter, in double precision."""
    made, inputs, targets = network(replace(part, cell=cell)), words(4, 6, 3), words(5, 18)

    def loss() -> torch.Tensor:
        return made.output.loss(made(inputs, None)[0], targets)

    check_slopes(loss, list(made.parameters()))


@EACH_CELL
def test_the_recurrence_is_torch_s(cell: Cell) -> None:
    """States and gradients equal those of torch's own operation, which other devices use."""
    layer = network(replace(SMALL, cell=cell)).layers[0]
    x, upstream = torch.randn(5, 2, 3).double(), torch.randn(5, 2, 4).double()
    state = tuple(torch.randn(2, 4).double() for _ in layer.start)
    weight = layer.recurrent_weight.flatten(0, 1)
    weights = [layer.input_weight, layer.recurrent_weight, layer.bias]
    expected, last = layer.recur_by_torch(x, state, weight)
    one = torch.autograd.grad(expected, weights, upstream, retain_graph=True)
    found, after = layer(x, state)
    torch.testing.assert_close((found, after), (expected, last))
    torch.testing.assert_close(torch.autograd.grad(found, weights, upstream), one)


@pytest.mark.parametrize(("operation", "gates"), [(Elman, 1), (Gru, 3)])
def test_the_recurrence_passes_torch_s_own_check(
    operation: type[torch.autograd.Function], gates: int
) -> None:
    """Its hand-written backward is the derivative of its forward, in each argument."""
    draw = torch.Generator().manual_seed(2)
    shapes = ((4, 2, 3 * gates), (2, 3), (3 * gates, 3))
    arguments = [torch.randn(s, generator=draw).double().requires_grad_() for s in shapes]
    assert torch.autograd.gradcheck(operation.apply, arguments)


# ---------------------------------------------------------------- around the recurrence


def test_layers_stand_on_each_other() -> None:
    """The output with layer normalisation, residual connection and projection is that by hand."""
    made = network(DEEP)
    inputs = words(9, 7, 2)
    table = made.get_parameter("output.weight")
    x = table[inputs]
    for layer in made.layers:
        h, _ = layer.recur_by_torch(x, (torch.zeros(2, 4).double(),), layer.recurrent_weight[0])
        layer.start.data.zero_()
        x = x + layer.norm(h)
    features = made.projection(x).flatten(0, 1)
    torch.testing.assert_close(made(inputs, None)[0], features)
    logits = features @ table.t() + made.get_parameter("output.bias")
    torch.testing.assert_close(made.output(features), logits.log_softmax(1))


def test_tied_vectors_are_one_parameter() -> None:
    """A tied table is counted once, and gets gradients from input and output."""
    tied, apart = (model(replace(DEEP, tied=tied)) for tied in (True, False))
    assert apart.sizes().parameters - tied.sizes().parameters == V * 4
    assert tied.network.word_vectors()[0] is tied.network.get_parameter("output.weight")


def test_tied_vectors_of_an_adaptive_softmax_are_those_of_its_clusters() -> None:
    """Tied clusters form the table in the order of ids; such a model trains and sums to one."""
    made = model(replace(DEEP, output="adaptive", cutoffs=(3, 6), div_value=1.0))
    how = Recipe(AdamPart(lr=0.01).make(context()), (), seed=0, budget=None, point_interval=10**9)
    before = torch.cat(made.network.word_vectors()).detach().clone()
    next(made.fit(sample_tokens(V, seed=1, count=200), how))
    after = torch.cat(made.network.word_vectors()).detach()
    assert after.shape == (V, 4)
    assert (after != before).all()
    assert np.exp(made.next_log_probs(words(2, 9).numpy())).sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tied": True}, "set projection = 64"),
        ({"tied": True, "projection": 64, "output": "adaptive"}, "set div_value = 1"),
        ({"residual": True}, "set layers = 2, or embedding = 128"),
    ],
)
def test_options_that_have_nothing_to_act_on_are_refused(
    options: dict[str, Any], message: str
) -> None:
    """The message says what to set."""
    with pytest.raises(ValueError, match=message):
        RnnPart(**options)


def test_orthogonal_recurrent_weights_keep_lengths() -> None:
    """W_h of each gate is orthogonal, and the other weights are unchanged."""
    one, two = (
        model(RnnPart(cell="lstm", hidden=8, recurrent_initialisation=how)).network
        for how in ("same", "orthogonal")
    )
    assert isinstance(two, RecurrentNetwork)
    for weight in two.layers[0].recurrent_weight:
        torch.testing.assert_close(weight @ weight.t(), torch.eye(8))
    assert torch.equal(one.get_parameter("embedding"), two.get_parameter("embedding"))


def test_hidden_biases_start_at_zero_but_for_the_forget_gate_s() -> None:
    """forget_bias is the initial bias of the forget gate, 0 by default."""
    for forget in (0.0, 1.0):
        made = model(RnnPart(cell="lstm", hidden=2, forget_bias=forget)).network
        assert made.get_parameter("layers.0.bias").tolist() == [0, 0, forget, forget, 0, 0, 0, 0]


def test_zeros_is_where_nothing_but_the_bias_learns() -> None:
    """All matrices start at 0: no gradient but the output bias's, so hidden units stay alike."""
    made = model(replace(SMALL, initialisation="zeros")).network
    loss = made.output.loss(made(words(4, 6, 3), None)[0], words(5, 18))
    loss.backward()  # type: ignore[no-untyped-call]
    moved = {name for name, p in made.named_parameters() if p.grad is not None and p.grad.any()}
    assert moved == {"output.bias"}


@EACH_CELL
def test_what_a_site_makes_of_the_recurrent_weight_is_used(cell: Cell) -> None:
    """A Site that zeroes W_h leaves a network that forgets all but h(0), or its c."""
    made = network(replace(SMALL, cell=cell)).train()
    site = made.layers[0].recurrent
    site.actions.append(torch.zeros_like)
    dropped = made(words(6, 5, 2), None)[0]
    site.actions.clear()
    with torch.no_grad():
        made.layers[0].recurrent_weight.zero_()
    torch.testing.assert_close(dropped, made(words(6, 5, 2), None)[0])


# ---------------------------------------------------------------- the state across chunks


@EACH_CELL
def test_a_state_carried_across_chunks_equals_one_long_run(cell: Cell) -> None:
    """Chunks of any length give the features of the whole, up to rounding, in every layer."""
    made = model(replace(SMALL, cell=cell, layers=2)).network
    inputs = words(6, 23, 2)
    whole, last = made(inputs, None)
    state, parts = None, []
    for chunk in torch.split(inputs, [1, 7, 10, 5]):
        features, state = made(chunk, state)
        parts.append(features)
    torch.testing.assert_close(torch.cat(parts), whole)
    torch.testing.assert_close(state, last)


@EACH_CELL
def test_the_state_forgets_where_it_came_from(cell: Cell) -> None:
    """Truncated back-propagation: no gradient flows into the chunk before."""
    made = network(replace(SMALL, cell=cell))
    _, state = made(words(7, 5, 2), None)
    assert not any(part.requires_grad for layer in state for part in layer)
    features, _ = made(words(8, 5, 2), state)
    features.sum().backward()
    assert made.get_parameter("layers.0.start").grad is None


def test_the_start_is_learned_or_zero() -> None:
    """h(0) begins at zero and moves only if it is learned."""
    how = Recipe(AdamPart(lr=0.01).make(context()), (), seed=0, budget=None, point_interval=10**9)
    for learned in (True, False):
        made = model(RnnPart(embedding=3, hidden=4, learned_start=learned))
        start = made.network.get_parameter("layers.0.start")
        assert not start.any()
        list(islice(made.fit(sample_tokens(V, seed=1, count=200), how), 2))
        assert bool(start.any()) == learned


def test_a_text_shorter_than_the_streams_trains() -> None:
    """Streams without a word of their own are masked; nothing is counted for them."""
    how = Recipe(AdamPart(lr=0.01).make(context()), (), seed=0, budget=None, point_interval=10**9)
    progress = next(model(RnnPart(batch=20)).fit(sample_tokens(V, seed=1, count=3), how))
    assert progress.tokens == 3
    assert progress.train_nats is not None
    assert math.isfinite(progress.train_nats)


# ---------------------------------------------------------------- the kernel


@EACH_CELL
def test_step_by_step_and_one_operation_agree(cell: Cell) -> None:
    """The kernel's two forms give the same states and gradients."""
    kernel = RecurrentStepPart(cell=cell, steps=9, batch=3, hidden=8).make("cpu")
    states, inputs, recurrent, *_ = kernel.vector(*kernel.sample(0))
    gates = {"lstm": 4, "gru": 3}.get(cell, 1)
    assert (states.shape, inputs.shape, recurrent.shape) == (
        (9, 3, 8),
        (gates, 8, 64),
        (gates, 8, 8),
    )
    assert difference(kernel, seed=3) <= kernel.tolerance <= 1e-4
