"""The window model against its equation, and its kernel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lmgrid.cell.kernel import difference
from lmgrid.spec import Context
from lmgrid.testing import sample_tokens, sample_vocabulary
from lmgrid_window.parts import WindowForwardPart, WindowPart

pytest.importorskip("torch", reason="needs the extra lmgrid[torch]")

import torch

from lmgrid_torch.model import NeuralModel
from lmgrid_torch.network import contexts
from lmgrid_window.network import WindowNetwork

V = 11
SMALL = WindowPart(context=3, embedding=4, hidden=5, initialisation="uniform", uniform_range=0.8)
EITHER = pytest.mark.parametrize("direct", [False, True])


def network(part: WindowPart) -> WindowNetwork:
    """Return a small network in double precision, its biases drawn too."""
    counts = np.bincount(sample_tokens(V, seed=1), minlength=V)
    model = part.make(
        Context(vocabulary=sample_vocabulary(V), counts=counts, seed=0, device="cpu", cache=Path())
    )
    assert isinstance(model, NeuralModel)
    made = model.network.double()
    assert isinstance(made, WindowNetwork)
    draw = torch.Generator().manual_seed(1)
    torch.nn.init.normal_(made.bias, generator=draw)
    torch.nn.init.normal_(made.get_parameter("output.bias"), generator=draw)
    return made


def loss(made: WindowNetwork, tokens: torch.Tensor) -> torch.Tensor:
    features, _ = made(contexts(tokens, made.context), None)
    return made.output.loss(features, tokens)


def loss_by_hand(made: WindowNetwork, tokens: np.ndarray) -> float:
    """Return the mean of -ln softmax(b + W x + U tanh(d + H x)) word by word, in NumPy."""
    names = ("embedding", "weight", "bias", "output.weight", "output.bias")
    C, H, d, UW, b = (p.detach().numpy() for p in map(made.get_parameter, names))
    U, W = np.split(UW, [len(d)], axis=1)
    padded = np.concatenate([np.ones(made.context, dtype=int), tokens])
    nats = []
    for i, word in enumerate(tokens):
        x = np.concatenate([C[padded[i + j]] for j in range(made.context)])  # oldest first
        y = b + U @ np.tanh(d + H @ x) + (W @ x if made.direct else 0)
        nats.append(np.log(np.exp(y).sum()) - y[word])
    return float(np.mean(nats))


@EITHER
def test_the_loss_is_the_paper_s_equation(direct: bool) -> None:
    """The mean of -ln p over a text equals a forward pass written by hand."""
    made = network(replace(SMALL, direct=direct))
    tokens = sample_tokens(V, seed=2, count=40).astype(np.int64)
    expected = loss_by_hand(made, tokens)
    assert loss(made, torch.from_numpy(tokens)).item() == pytest.approx(expected, rel=1e-12)


@EITHER
def test_gradients_are_finite_differences(direct: bool, check_slopes: Callable[..., None]) -> None:
    """Every partial derivative of the loss, for every parameter, in double precision."""
    made = network(replace(SMALL, direct=direct))
    tokens = torch.from_numpy(sample_tokens(V, seed=3, count=20).astype(np.int64))
    check_slopes(lambda: loss(made, tokens), list(made.parameters()))


def test_a_word_depends_on_its_window_alone() -> None:
    """Words before the last k change nothing; those within do, across a sentence's end too."""
    counts = np.bincount(sample_tokens(V, seed=1), minlength=V)
    model = SMALL.make(
        Context(vocabulary=sample_vocabulary(V), counts=counts, seed=0, device="cpu", cache=Path())
    )
    near, far, within = np.array([[5, 6, 1, 8, 4], [9, 6, 1, 8, 4], [5, 7, 1, 8, 4]], dtype="i4")
    assert model.score(near)[4] == model.score(far)[4]
    assert model.score(near)[4] != model.score(within)[4]


def test_one_by_one_and_a_batch_agree() -> None:
    """The kernel's two forms give the same logits."""
    kernel = WindowForwardPart(examples=17, vocabulary=50).make("cpu")
    words = kernel.sample(0)
    assert kernel.vector(*words).shape == (17, 50)
    assert difference(kernel, seed=3) <= kernel.tolerance <= 1e-5
