"""A network as a language model: scoring, predicting, storing, sizes, first weights, devices."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import msgspec
import numpy as np
import pytest

from lmgrid.grid import Grid
from lmgrid.spec import Context, ModelPart, Recipe
from lmgrid.testing import sample_tokens, sample_vocabulary
from lmgrid_rnn.parts import RnnPart
from lmgrid_torch.devices.parts import CudaPart, MpsPart
from lmgrid_torch.optimizers.parts import AdamPart, SgdPart
from lmgrid_torch.regularizers.parts import DropoutPart
from lmgrid_window.parts import WindowPart

pytest.importorskip("torch", reason="needs the extra lmgrid[torch]")

import torch

from lmgrid_torch.model import NeuralModel
from lmgrid_torch.outputs.softmax import Output

V = 40
PARTS = [WindowPart(embedding=4, hidden=6), RnnPart(embedding=4, hidden=6, batch=5)]
BOTH = pytest.mark.parametrize("part", PARTS, ids=["window", "rnn"])


def context(counts: list[int] | None = None, device: str = "cpu") -> Context:
    found = np.bincount(sample_tokens(V, seed=1), minlength=V) if counts is None else counts
    return Context(
        vocabulary=sample_vocabulary(len(found)),
        counts=np.array(found),
        seed=0,
        device=device,
        cache=Path(),
    )


def fitted(part: ModelPart) -> NeuralModel:
    model = part.make(context())
    assert isinstance(model, NeuralModel)
    dropout = DropoutPart(rate=0.5).make(context())
    how = Recipe(
        AdamPart(lr=0.01).make(context()), (dropout,), seed=0, budget=None, point_interval=10**9
    )
    list(islice(model.fit(sample_tokens(V, seed=1, count=600), how), 2))
    return model


# ---------------------------------------------------------------- scoring


@BOTH
def test_a_prefix_scores_the_same_bits(part: ModelPart) -> None:
    """``score(x)[:k]`` is ``score(x[:k])`` to the last bit, on both sides of a block's end."""
    model, tokens = fitted(part), sample_tokens(V, seed=2, count=3 * Output.block + 5)
    scores = model.score(tokens)
    assert scores.dtype == np.float64
    for k in (0, 1, Output.block - 1, Output.block, Output.block + 1, 3 * Output.block):
        assert np.array_equal(model.score(tokens[:k]), scores[:k])


@BOTH
def test_the_next_word_is_predicted_as_it_is_scored(part: ModelPart) -> None:
    """``next_log_probs(x[:i])[x[i]]`` is ``score(x)[i]``, also across blocks."""
    model, tokens = fitted(part), sample_tokens(V, seed=3, count=2 * Output.block + 1)
    scores = model.score(tokens)
    for i in (0, 1, Output.block - 1, Output.block, Output.block + 1, 2 * Output.block):
        assert model.next_log_probs(tokens[:i])[tokens[i]] == pytest.approx(scores[i], abs=1e-5)


@BOTH
def test_the_next_word_s_probabilities_sum_to_one(part: ModelPart) -> None:
    """The probabilities sum to 1 in double precision."""
    log_probs = fitted(part).next_log_probs(sample_tokens(V, seed=4, count=9))
    assert log_probs.shape == (V,)
    assert log_probs.dtype == np.float64
    assert np.exp(log_probs).sum() == pytest.approx(1, abs=1e-12)


@BOTH
def test_dropout_is_off_when_scoring(part: ModelPart) -> None:
    """Scoring twice gives the same, also in the middle of training."""
    model = part.make(context())
    dropout = DropoutPart(rate=0.5, input_rate=0.5).make(context())
    how = Recipe(AdamPart().make(context()), (dropout,), seed=0, budget=None, point_interval=100)
    training = model.fit(sample_tokens(V, seed=1, count=600), how)
    tokens = sample_tokens(V, seed=2, count=50)
    for _ in range(3):
        next(training)
        assert np.array_equal(model.score(tokens), model.score(tokens))


# ---------------------------------------------------------------- storing


@BOTH
def test_weights_come_back_from_disk(part: ModelPart, tmp_path: Path) -> None:
    """A fresh model that loads them scores the same bits."""
    model, fresh, tokens = fitted(part), part.make(context()), sample_tokens(V, seed=5, count=99)
    model.save(tmp_path)
    assert isinstance(fresh, NeuralModel)
    assert not np.array_equal(fresh.score(tokens), model.score(tokens))
    fresh.load(tmp_path)
    assert np.array_equal(fresh.score(tokens), model.score(tokens))


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    """The message names the file."""
    fitted(WindowPart(embedding=4, hidden=6)).save(tmp_path)
    other = fitted(WindowPart(embedding=4, hidden=7))
    with pytest.raises(ValueError, match=r"weights\.safetensors does not hold the weights"):
        other.load(tmp_path)


@pytest.mark.parametrize("content", [None, b"", b"not weights"])
def test_missing_or_damaged_weights_are_refused(tmp_path: Path, content: bytes | None) -> None:
    """Every damage to the file raises ValueError with its name."""
    if content is not None:
        (tmp_path / "weights.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="does not hold the weights"):
        fitted(PARTS[0]).load(tmp_path)


# ---------------------------------------------------------------- sizes and first weights


def test_the_window_s_parameters_are_counted() -> None:
    """C (V m), H (h k m), d (h), U (V h), b (V), and W (V k m) if direct."""
    plain = V * 4 + 6 * 12 + 6 + V * 6 + V
    for direct, expected in ((False, plain), (True, plain + V * 12)):
        part = WindowPart(context=3, embedding=4, hidden=6, direct=direct)
        sizes = part.make(context()).sizes()  # type: ignore[attr-defined]
        assert (sizes.parameters, sizes.bytes) == (expected, 4 * expected)


def test_the_recurrent_network_s_parameters_are_counted() -> None:
    """E (V m), W_e (h m), W_h (h h), b1 (h), U (V h), b2 (V), and h(0) (h) if learned."""
    plain = V * 4 + 6 * 4 + 36 + 6 + V * 6 + V
    for learned, expected in ((False, plain), (True, plain + 6)):
        part = RnnPart(embedding=4, hidden=6, learned_start=learned)
        assert part.make(context()).sizes().parameters == expected  # type: ignore[attr-defined]


@BOTH
def test_biases_start_at_zero_and_the_output_s_at_the_log_unigram(part: ModelPart) -> None:
    """A word that never occurs counts as half an occurrence, so that its logarithm is finite."""
    network = part.make(context([0, 3, 5, 2])).network  # type: ignore[attr-defined]
    expected = np.log(np.array([0.5, 3, 5, 2]) / 10.5)
    biases = {n: p.detach() for n, p in network.named_parameters() if n.endswith("bias")}
    np.testing.assert_allclose(biases.pop("output.bias").numpy(), expected, rtol=1e-6)
    assert biases
    assert not any(bias.any() for bias in biases.values())


@BOTH
@pytest.mark.parametrize("scheme", ["xavier", "uniform"])
def test_matrices_start_uniform_within_their_range(part: ModelPart, scheme: str) -> None:
    """Xavier: r = √(6 / (inputs + outputs)); uniform: r as given; both fill their range.

    A table of word vectors has one input at a time; h(0) starts at zero.
    """
    options = {"initialisation": scheme, "uniform_range": 0.3, "embedding": 32, "hidden": 48}
    network = type(part)(**options).make(context()).network  # type: ignore[attr-defined]
    matrices = {n: p.detach() for n, p in network.named_parameters() if p.dim() > 1}
    assert not matrices.pop("layers.0.start", torch.zeros(1)).any()
    for name, weight in matrices.items():
        fans = 1 + 32 if name == "embedding" else sum(weight.shape[-2:])
        r = 0.3 if scheme == "uniform" else math.sqrt(6 / fans)
        assert 0.95 * r < float(weight.abs().max()) <= r
        assert float(weight.mean()) == pytest.approx(0, abs=0.1 * r)


# ---------------------------------------------------------------- parts and devices


def test_options_need_no_torch() -> None:
    """Importing the plugins and making parts of their options imports neither torch nor NumPy."""
    code = (
        "import sys, lmgrid_torch, lmgrid_window, lmgrid_rnn, lmgrid_lecture\n"
        "lmgrid_torch.optimizers.parts.AdamPart(), lmgrid_window.parts.WindowPart()\n"
        "from lmgrid_transformer.parts import TransformerPart\n"
        "lmgrid_rnn.parts.RnnPart(), TransformerPart()\n"
        "sys.exit(bool({'torch', 'numpy', 'scipy', 'pandas'} & set(sys.modules)))"
    )
    paths = {"PYTHONPATH": ":".join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=paths, check=False).returncode == 0


def test_options_of_another_output_layer_make_no_cells(make_grid: Callable[..., Grid]) -> None:
    """Options without effect do not multiply cells: each cell is made once."""
    text = """
[[models]]
name = "rnn"
optimizers = ["sgd"]
output = ["full", "sampled", "nce", "adaptive"]
samples = [50, 100]
cutoffs = [[10], [20]]
log_normaliser = [0.0, 1.0]
[[models]]
name = "rnn"
optimizers = ["sgd"]
cell = ["gru", "lstm"]
forget_bias = [0.0, 1.0]
initialisation = ["uniform", "zeros"]
uniform_range = [0.1, 0.2]
direct_order = [0, 3]
direct_size = [4096, 8192]
"""
    assert len(make_grid(text).cells) == (1 + 2 + 4 + 2) + (1 + 2) * (2 + 1) * (1 + 2)


def test_nesterov_without_momentum_is_refused() -> None:
    """Nesterov without momentum is refused; the message says what to set."""
    with pytest.raises(ValueError, match=r"momentum = 0\.9"):
        SgdPart(nesterov=True)


@pytest.mark.parametrize(
    ("part", "options"),
    [
        (WindowPart, {"hidden": 0}),
        (WindowPart, {"context": -1}),
        (RnnPart, {"cell": "gru2"}),
        (RnnPart, {"initialisation": "ones"}),
        (AdamPart, {"lr": 0}),
        (AdamPart, {"beta1": 1.0}),
        (DropoutPart, {"rate": 1.0}),
        (SgdPart, {"halve_every": -1}),
    ],
)
def test_options_out_of_range_are_refused(part: type, options: dict[str, object]) -> None:
    """A grid's values are validated against the part's types."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(options, part)


@pytest.mark.parametrize("provider", [CudaPart(), MpsPart()])
def test_threads_are_torch_s_on_every_provider(provider: CudaPart | MpsPart) -> None:
    """The provider sets torch's threads even where its device is absent."""
    before = torch.get_num_threads()
    try:
        provider.make().set_threads(1)
        assert torch.get_num_threads() == 1
        provider.make().set_threads(2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_only_devices_that_are_there_are_available() -> None:
    """Asking for devices raises nothing on a machine without any."""
    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    assert CudaPart().make().available() == tuple(f"cuda:{n}" for n in range(cards))
    assert MpsPart().make().available() == ("mps",) * torch.backends.mps.is_available()


@BOTH
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_device_starts_from_the_same_weights(part: ModelPart) -> None:
    """Weights are drawn on the CPU, so both devices score the same before training."""
    tokens = sample_tokens(V, seed=6, count=200)
    here, there = (part.make(context(device=d)).score(tokens) for d in ("cpu", "cuda:0"))
    np.testing.assert_allclose(here, there, atol=1e-4)
