"""The recurrent model against its equations, its gradient through time, and its kernel."""

from __future__ import annotations

import math
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from lmgrid.kernel import difference
from lmgrid.spec import Context, Recipe
from lmgrid.testing import sample_tokens, sample_vocabulary
from lmgrid_rnn.parts import RecurrentStep, Rnn
from lmgrid_torch.optimizer_parts import Adam

pytest.importorskip("torch", reason="needs the extra lmgrid[torch]")

import torch

from lmgrid_rnn.elman import Elman
from lmgrid_rnn.network import RecurrentNetwork
from lmgrid_torch.model import NeuralModel

V = 11
SMALL = Rnn(embedding=3, hidden=4, initialisation="uniform", uniform_range=0.8)


def context(counts: np.ndarray | None = None) -> Context:
    if counts is None:
        counts = np.bincount(sample_tokens(V, seed=1), minlength=V)
    return Context(sample_vocabulary(len(counts)), counts, 0, "cpu", Path())


def model(part: Rnn = SMALL, counts: np.ndarray | None = None) -> NeuralModel:
    made = part.make(context(counts))
    assert isinstance(made, NeuralModel)
    return made


def network() -> RecurrentNetwork:
    """Return a small network in double precision, its vectors drawn too."""
    made = model().network.double()
    assert isinstance(made, RecurrentNetwork)
    draw = torch.Generator().manual_seed(1)
    for vector in (made.bias, made.get_parameter("output.bias"), made.start):
        torch.nn.init.normal_(vector, generator=draw)
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


def loss_by_hand(made: RecurrentNetwork, tokens: list[int]) -> float:
    """Return the mean of -ln softmax(U h + b2), h = tanh(W_h h + W_e e + b1), in NumPy."""
    named = {name: p.detach().numpy() for name, p in made.named_parameters()}
    h, previous, nats = named["start"], 1, []
    for word in tokens:
        e = named["embedding"][previous]
        h = np.tanh(named["recurrent_weight"] @ h + named["input_weight"] @ e + named["bias"])
        y = named["output.weight"] @ h + named["output.bias"]
        nats.append(np.log(np.exp(y).sum()) - y[word])
        previous = word
    return float(np.mean(nats))


def test_the_loss_is_the_lecture_s_equations() -> None:
    """The mean of -ln p over a text equals a forward pass written by hand."""
    made, tokens = network(), words(3, 30)
    inputs = torch.cat((torch.tensor([1]), tokens[:-1]))[:, None]
    features, _ = made(inputs, None)
    found = made.output.loss(features, tokens).item()
    assert found == pytest.approx(loss_by_hand(made, tokens.tolist()), rel=1e-12)


def test_gradients_are_finite_differences() -> None:
    """Every partial derivative through time, for every parameter, in double precision."""
    made, inputs, targets = network(), words(4, 6, 3), words(5, 18)

    def loss() -> torch.Tensor:
        return made.output.loss(made(inputs, None)[0], targets)

    slopes = torch.autograd.grad(loss(), list(made.parameters()))
    step = 1e-6
    for weight, slope in zip(made.parameters(), slopes, strict=True):
        flat = weight.detach().view(-1)
        for i in range(len(flat)):
            kept = float(flat[i])
            flat[i] = kept + step
            above = loss().item()
            flat[i] = kept - step
            below = loss().item()
            flat[i] = kept
            assert float(slope.flatten()[i]) == pytest.approx(
                (above - below) / (2 * step), abs=1e-8
            )


def test_the_recurrence_is_torch_s() -> None:
    """States and gradients equal those of torch.nn.RNN with the same weights."""
    rnn = torch.nn.RNN(3, 4).double()
    x, start = torch.randn(5, 2, 3).double(), torch.randn(2, 4).double().requires_grad_()
    expected, _ = rnn(x, start[None])
    input_weight, recurrent_weight, *biases = rnn.parameters()
    drive = torch.nn.functional.linear(x, input_weight, sum(biases, torch.zeros(4)))
    found: torch.Tensor = Elman.apply(drive, start, recurrent_weight)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(found, expected)
    weights = [start, input_weight, recurrent_weight]
    upstream = torch.randn(5, 2, 4).double()
    one = torch.autograd.grad(expected, weights, upstream)
    two = torch.autograd.grad(found, weights, upstream)
    torch.testing.assert_close(one, two)


def test_the_recurrence_passes_torch_s_own_check() -> None:
    """Its hand-written backward is the derivative of its forward, in each argument."""
    draw = torch.Generator().manual_seed(2)
    shapes = ((4, 2, 3), (2, 3), (3, 3))
    arguments = [torch.randn(s, generator=draw).double().requires_grad_() for s in shapes]
    assert torch.autograd.gradcheck(Elman.apply, arguments)


# ---------------------------------------------------------------- the state across chunks


def test_a_state_carried_across_chunks_equals_one_long_run() -> None:
    """Chunks of any length give the features of the whole, to the last bit of single precision."""
    made = model().network
    inputs = words(6, 23, 2)
    whole, last = made(inputs, None)
    state, parts = None, []
    for chunk in torch.split(inputs, [1, 7, 10, 5]):
        features, state = made(chunk, state)
        parts.append(features)
    torch.testing.assert_close(torch.cat(parts), whole)
    torch.testing.assert_close(state, last)


def test_the_state_forgets_where_it_came_from() -> None:
    """Truncated back-propagation: no gradient flows into the chunk before."""
    made = network()
    _, state = made(words(7, 5, 2), None)
    assert state is not None
    assert not state.requires_grad
    features, _ = made(words(8, 5, 2), state)
    features.sum().backward()
    assert made.start.grad is None


def test_the_start_is_learned_or_zero() -> None:
    """h(0) begins at zero and moves only if it is learned."""
    how = Recipe(Adam(lr=0.01).make(context()), (), 0, None, 10**9)
    for learned in (True, False):
        made = model(Rnn(embedding=3, hidden=4, learned_start=learned))
        start = made.network.get_parameter("start")
        assert start.tolist() == [0] * 4
        list(islice(made.fit(sample_tokens(V, seed=1, count=200), how), 2))
        assert any(start.tolist()) == learned


def test_a_text_shorter_than_the_streams_trains() -> None:
    """Streams without a word of their own are masked; nothing is counted for them."""
    how = Recipe(Adam(lr=0.01).make(context()), (), 0, None, 10**9)
    progress = next(model(Rnn(batch=20)).fit(sample_tokens(V, seed=1, count=3), how))
    assert progress.tokens == 3
    assert progress.train_nats is not None
    assert math.isfinite(progress.train_nats)


# ---------------------------------------------------------------- the kernel


def test_step_by_step_and_one_operation_agree() -> None:
    """The kernel's two forms give the same states and gradients."""
    kernel = RecurrentStep(steps=9, batch=3, hidden=8).make("cpu")
    states, inputs, recurrent = kernel.vector(*kernel.sample(0))
    assert (states.shape, inputs.shape, recurrent.shape) == ((9, 3, 8), (8, 64), (8, 8))
    assert difference(kernel, seed=3) <= kernel.tolerance <= 1e-4
