"""The transformer against its equations, its gradient, and which words each prediction sees."""

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

from lmgrid.spec import Context, Recipe
from lmgrid.testing import sample_tokens, sample_vocabulary
from lmgrid_torch.optimizers.parts import AdamPart
from lmgrid_transformer.parts import TransformerPart

pytest.importorskip("torch", reason="needs the extra lmgrid[torch]")

import torch

from lmgrid_torch.model import NeuralModel
from lmgrid_transformer.network import TransformerNetwork, sinusoids

Matrix = NDArray[np.float64]
V = 11
SMALL = TransformerPart(layers=2, heads=2, width=4, feedforward=2, context=6, batch=3)


def context() -> Context:
    counts = np.bincount(sample_tokens(V, seed=1), minlength=V)
    return Context(
        vocabulary=sample_vocabulary(V), counts=counts, seed=0, device="cpu", cache=Path()
    )


def model(part: TransformerPart = SMALL) -> NeuralModel:
    made = part.make(context())
    assert isinstance(made, NeuralModel)
    return made


def network(part: TransformerPart = SMALL) -> TransformerNetwork:
    """Return a small network in double precision, its vectors drawn too."""
    made = model(part).network.double()
    assert isinstance(made, TransformerNetwork)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in made.parameters():
            if weight.dim() == 1:
                weight.normal_(generator=draw)
    return made


def words(seed: int, *shape: int) -> torch.Tensor:
    tokens = sample_tokens(V, seed, count=math.prod(shape))
    return torch.from_numpy(tokens.astype(np.int64)).view(shape)


# ---------------------------------------------------------------- the equations


def normalised(x: Matrix, gain: Matrix, shift: Matrix) -> Matrix:
    centred = x - x.mean(1, keepdims=True)
    scaled: Matrix = centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5)
    return scaled * gain + shift


def attention_by_hand(x: Matrix, weights: Matrix, biases: Matrix) -> Matrix:
    """Return what two heads make of x (T, 4), place by place, from Q, K, V weights (3, 4, 4)."""
    q, k, v = (x @ w.T + b for w, b in zip(weights, biases.reshape(3, 4), strict=True))
    result = np.zeros_like(x)
    for head in (slice(0, 2), slice(2, 4)):
        for t in range(len(x)):
            shares = np.exp(q[t, head] @ k[: t + 1, head].T / math.sqrt(2))
            result[t, head] = shares @ v[: t + 1, head] / shares.sum()
    return result


def gelu(x: Matrix) -> Matrix:
    above: Matrix = 1 + np.vectorize(math.erf)(x / math.sqrt(2))
    return x * above / 2


def features_by_hand(made: TransformerNetwork, tokens: list[int]) -> Matrix:
    """Return the normalised x of each word, (T, 4), in NumPy."""
    w = {name: p.detach().numpy() for name, p in made.named_parameters()}
    x = w["embedding"][tokens] + w["positions"][: len(tokens)]
    for i in range(2):
        at = f"layers.{i}."
        n = normalised(x, w[f"{at}attention_norm.weight"], w[f"{at}attention_norm.bias"])
        mixed = attention_by_hand(n, w[f"{at}attended.weight"], w[f"{at}attended.bias"])
        x = x + mixed @ w[f"{at}joined.weight"][0].T + w[f"{at}joined.bias"]
        n = normalised(x, w[f"{at}network_norm.weight"], w[f"{at}network_norm.bias"])
        h = gelu(n @ w[f"{at}widened.weight"][0].T + w[f"{at}widened.bias"])
        x = x + h @ w[f"{at}narrowed.weight"][0].T + w[f"{at}narrowed.bias"]
    return normalised(x, w["norm.weight"], w["norm.bias"])


def test_the_features_are_the_papers_equations() -> None:
    """A forward pass in training equals one written by hand, in each of two streams."""
    made, inputs = network().train(), words(2, 6, 2)
    features = made(inputs, None)[0].detach().view(6, 2, 4)
    for stream in range(2):
        expected = features_by_hand(made, inputs[:, stream].tolist())
        np.testing.assert_allclose(features[:, stream].numpy(), expected, rtol=1e-10)


@pytest.mark.parametrize("tied", [False, True])
def test_gradients_are_finite_differences(tied: bool, check_slopes: Callable[..., None]) -> None:
    """Every partial derivative of the loss, for every parameter, in double precision."""
    made = network(replace(SMALL, tied=tied)).train()
    inputs, targets = words(4, 5, 2), words(5, 10)

    def loss() -> torch.Tensor:
        return made.output.loss(made(inputs, None)[0], targets)

    check_slopes(loss, list(made.parameters()))


def test_sinusoidal_positions_are_the_paper_s() -> None:
    """PE(p, 2 i) = sin(p / 10000^(2 i / W)), PE(p, 2 i + 1) the cosine; W = 4 by hand."""
    expected = [
        [0.0, 1.0, 0.0, 1.0],
        [math.sin(1), math.cos(1), math.sin(0.01), math.cos(0.01)],
        [math.sin(2), math.cos(2), math.sin(0.02), math.cos(0.02)],
    ]
    np.testing.assert_allclose(sinusoids(3, 4).numpy(), expected, atol=1e-7)


def test_sinusoidal_positions_are_not_learned() -> None:
    """Sinusoids are not a parameter; word vectors are multiplied by √W."""
    made = network(replace(SMALL, positions="sinusoidal"))
    assert "positions" not in dict(made.named_parameters())
    made.layers = torch.nn.Sequential()
    x = made.get_parameter("embedding") * 2 + sinusoids(1, 4)
    torch.testing.assert_close(made.read(torch.arange(V)[None])[0], made.norm(x))


# ---------------------------------------------------------------- what a word may see


def test_no_word_sees_what_follows_it() -> None:
    """Changing a word changes no feature before it, and every one after it in its chunk."""
    made, inputs = network().train(), words(6, 6, 1)
    before = made(inputs, None)[0]
    inputs[3] = (inputs[3] + 1) % V
    changed = (made(inputs, None)[0] != before).any(1)
    assert changed.tolist() == [False] * 3 + [True] * 3


def test_a_chunk_shorter_than_a_context_is_trained_with_words_before_it() -> None:
    """As many as fill the context; a chunk of a whole context has none."""
    made = network(replace(SMALL, context=6)).train()
    for size, seen in ((4, [False, False, True, True]), (6, [False] * 6)):
        inputs = words(6, 2 * size, 1)
        _, state = made(inputs[:size], None)
        expected = made(inputs[size:], state)[0]
        for place, felt in enumerate(seen):
            other = state.clone()
            other[place] = (other[place] + 1) % V
            assert (made(inputs[size:], other)[0] != expected).any() == felt


@pytest.mark.parametrize(("size", "stride"), [(6, 3), (40, 20), (200, 64)])
def test_scoring_sees_at_least_half_a_context(size: int, stride: int) -> None:
    """A stride after the first, or a block of 64, sees all words that fit in front of it."""
    made = model(replace(SMALL, context=size))
    tokens = sample_tokens(V, seed=7, count=256)
    scores = made.score(tokens)
    place = 192 + stride - 1  # the last of a stride, whose window begins size words before it
    for reach, seen in ((size - 1, True), (size, False)):
        other = tokens.copy()
        other[place - 1 - reach] = (other[place - 1 - reach] + 1) % V
        assert (made.score(other)[place] != scores[place]) == seen
    assert size - stride >= size // 2


def test_a_prefix_scores_the_same_bits() -> None:
    """``score(x)[:k]`` is ``score(x[:k])`` to the last bit, in contexts below and above a block."""
    tokens = sample_tokens(V, seed=8, count=300)
    for size in (2, 7, 64, 150):
        made = model(replace(SMALL, context=size))
        scores = made.score(tokens)
        for k in (1, 5, 63, 64, 65, 130, 299):
            assert np.array_equal(made.score(tokens[:k]), scores[:k])


def test_what_is_scored_in_the_first_window_is_what_is_trained() -> None:
    """Where scoring and training see the same words, they give the same numbers."""
    made, inputs = network(replace(SMALL, context=12)), words(9, 6, 2)
    torch.testing.assert_close(made.eval()(inputs, None)[0], made.train()(inputs, None)[0])


# ---------------------------------------------------------------- training and options


def repeating(seed: int, count: int) -> NDArray[np.int32]:
    """Return random runs of 3 words, each repeated four times."""
    runs = np.random.default_rng(seed).integers(2, V, (count, 1, 3))
    return np.tile(runs, (1, 4, 1)).reshape(-1).astype(np.int32)


def test_it_learns_what_needs_attention() -> None:
    """In a text of repeated runs of 3 words it learns to copy the word 3 places back."""
    made = model(TransformerPart(layers=1, width=32, heads=2, context=16, batch=16))
    how = Recipe(AdamPart(lr=0.005).make(context()), (), seed=0, budget=None, point_interval=10**9)
    list(islice(made.fit(repeating(0, 600), how), 12))
    nats = -made.score(repeating(1, 60)).reshape(60, 4, 3).mean((0, 2))
    assert nats[0] > 2  # a new run cannot be foreseen
    assert nats[1:].max() < 0.7


def test_the_parameters_are_counted() -> None:
    """Tables, two norms, 4 W² + 4 W of attention and 2 f W² + (f + 1) W of the network a layer."""
    made, w, f = model(), 4, 2
    layer = 4 * w + 4 * w * w + 4 * w + 2 * f * w * w + (f + 1) * w
    assert made.sizes().parameters == V * w + 6 * w + 2 * layer + 2 * w + V * w + V


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 10, "heads": 4}, "set width = 12"),
        ({"width": 3, "heads": 1, "positions": "sinusoidal"}, "make width even"),
        ({"tied": True, "output": "adaptive"}, "set div_value = 1"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    """The message says what to set."""
    with pytest.raises(ValueError, match=message):
        TransformerPart(**options)
