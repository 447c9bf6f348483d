"""Sampled softmax, noise-contrastive estimation and BlackOut: by hand, in the limit, as outputs."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from lmgrid.spec import Context, Recipe
from lmgrid.testing import sample_tokens, sample_vocabulary
from lmgrid_rnn.parts import RnnPart
from lmgrid_torch.optimizers.parts import AdamPart

pytest.importorskip("torch", reason="needs the extra lmgrid[torch]")

import torch
from torch import nn

from lmgrid_torch.model import NeuralModel
from lmgrid_torch.outputs.sampled import (
    BlackOut,
    Noise,
    NoiseContrastive,
    Sampled,
    SampledLogits,
    SampledSoftmax,
)
from lmgrid_torch.outputs.softmax import MASKED, Softmax

V, F = 9, 3
TARGETS = torch.tensor([0, 8, MASKED, 4, 3, 3, MASKED, 5])
KINDS = ("sampled", "nce", "blackout")
RNN = RnnPart(embedding=8, hidden=8, samples=10)
EACH = pytest.mark.parametrize("kind", KINDS)


def layer(kind: str, samples: int = 20, power: float = 1.0, vocabulary: int = V) -> Sampled:
    """Return a layer with drawn weights, in double precision."""
    made = bare(kind, vocabulary, Noise(samples=samples, power=power, seed=3)).double()
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        made.start_from(torch.log_softmax(torch.randn(vocabulary, generator=draw).double(), 0))
        nn.init.normal_(made.weight, generator=draw)
    return made


def bare(kind: str, vocabulary: int, noise: Noise) -> Sampled:
    if kind == "nce":
        return NoiseContrastive(features=F, vocabulary=vocabulary, noise=noise, log_normaliser=0.0)
    sampled = SampledSoftmax if kind == "sampled" else BlackOut
    return sampled(features=F, vocabulary=vocabulary, noise=noise)


def rows(count: int = len(TARGETS)) -> torch.Tensor:
    return torch.randn(count, F, generator=torch.Generator().manual_seed(9)).double()


# ---------------------------------------------------------------- by hand

# One target with weight e^s = 2 and q = 1/2; two words were drawn: one with e^s = 3 and q = 1/4,
# and one with e^s = 4 and q = 1/8.
CASE = SampledLogits(
    target=torch.tensor([2.0]).log(),
    sampled=torch.tensor([[3.0, 4.0]]).log(),
    target_noise=torch.tensor([1 / 2]).log(),
    noise=torch.tensor([1 / 4, 1 / 8]).log(),
    hit=torch.tensor([[False, False]]),
)
HIT = replace(CASE, hit=torch.tensor([[True, False]]))


def test_sampled_softmax_by_hand() -> None:
    """The normaliser is 2 + (3 / ¼ + 4 / ⅛) / 2 = 24; a hit leaves 2 + 4 / ⅛ / 2 = 18."""
    made = layer("sampled", samples=2)
    assert made.losses(CASE).item() == pytest.approx(math.log(24 / 2))
    assert made.losses(HIT).item() == pytest.approx(math.log(18 / 2))


def test_noise_contrastive_estimation_by_hand() -> None:
    """With Z = 2: P(target is data) = 1 / (1 + 2 · ½); the noise words' are 1.5 and 2 parts."""
    noise = Noise(samples=2, power=1.0, seed=0)
    made = NoiseContrastive(features=F, vocabulary=V, noise=noise, log_normaliser=math.log(2))
    true = 1 / (1 + 1)  # e^s / Z = 1 against k q = 1
    false = (1 / 2) / (1.5 + 1 / 2), (1 / 4) / (2 + 1 / 4)  # k q against e^s / Z
    expected = -math.log(true) - math.log(false[0]) - math.log(false[1])
    assert made.losses(CASE).item() == pytest.approx(expected)
    assert made.losses(HIT).item() == pytest.approx(expected)  # noise may be the target


def test_blackout_by_hand() -> None:
    """The weighted shares are 2 / ½ = 4, 3 / ¼ = 12 and 4 / ⅛ = 32 of 48; a hit is no exception."""
    made = layer("blackout", samples=2)
    expected = -math.log(4 / 48) - math.log(1 - 12 / 48) - math.log(1 - 32 / 48)
    assert made.losses(CASE).item() == pytest.approx(expected)
    assert made.losses(HIT).item() == pytest.approx(expected)


def test_blackout_s_loss_is_finite_where_noise_is_certain() -> None:
    """The loss stays finite where p̃ of a sampled word is 1."""
    loss = layer("blackout", samples=2).losses(replace(CASE, sampled=torch.full((1, 2), 200.0)))
    assert math.isfinite(loss.item())


# ---------------------------------------------------------------- drawing


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_words_are_drawn_from_the_distorted_unigram(power: float) -> None:
    """Shares of 200 000 draws are q(w) ∝ unigram(w)^power within five standard errors."""
    made = layer("sampled", 200_000, power)
    unigram = made.bias.detach().exp().numpy()
    expected = unigram**power / (unigram**power).sum()
    found = np.bincount(made.sample().numpy(), minlength=V) / 200_000
    assert (abs(found - expected) < 5 * np.sqrt(expected / 200_000)).all()
    torch.testing.assert_close(made.log_noise.exp(), torch.from_numpy(expected))


# ---------------------------------------------------------------- gradients


@EACH
def test_the_gradient_is_the_derivative(kind: str) -> None:
    """In features, weight and bias, by finite differences, with the sample fixed."""
    made = layer(kind)
    state = made.draw.get_state()

    def loss(features: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        made.draw.set_state(state)
        weights = {"layer.weight": weight, "layer.bias": bias}
        found: torch.Tensor = torch.func.functional_call(Loss(made), weights, (features,))
        return found

    assert torch.autograd.gradcheck(loss, (rows().requires_grad_(), made.weight, made.bias))


class Loss(nn.Module):
    """A layer's loss as a module."""

    def __init__(self, layer: Sampled) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.layer.loss(features, TARGETS)


@EACH
def test_the_gradient_tends_to_that_of_the_full_softmax(kind: str) -> None:
    """As samples grow; the weights are shifted so that the scores are normalised, as nce asks."""
    full = Softmax(features=F, vocabulary=V).double()
    features, targets = rows(1), torch.tensor([4])
    gaps = []
    for samples in (1_000, 1_000_000):
        made = layer(kind, samples)
        with torch.no_grad():
            made.bias.sub_(made.logits(features).logsumexp(1))
            full.load_state_dict(made.state_dict())
        found, expected = (
            torch.autograd.grad(one.loss(features, targets), (one.weight, one.bias))
            for one in (made, full)
        )
        pairs = zip(found, expected, strict=True)
        gaps.append(max(float((a - b).abs().max()) for a, b in pairs))
    assert gaps[1] < 0.01 < gaps[0] < 0.5


def test_the_sampled_loss_tends_to_the_full_one() -> None:
    """With 200 000 samples, -ln p within a hundredth."""
    made = layer("sampled", 200_000)
    with torch.no_grad():
        loss, scores = made.loss(rows(), TARGETS), made(rows())
    kept = TARGETS != MASKED
    expected = -scores[kept, TARGETS[kept]].mean().item()
    assert loss.item() == pytest.approx(expected, abs=0.01)


# ---------------------------------------------------------------- laws of every output


@EACH
def test_masked_targets_change_nothing(kind: str) -> None:
    """The loss is the mean over the others, whatever the features of the masked ones."""
    made = layer(kind)
    kept = TARGETS != MASKED
    state = made.draw.get_state()
    loss = made.loss(rows(), TARGETS)
    made.draw.set_state(state)
    torch.testing.assert_close(made.loss(rows()[kept], TARGETS[kept]), loss)


@EACH
def test_a_vocabulary_of_one_word(kind: str) -> None:
    """Every sample hits; loss and gradient are finite."""
    made = layer(kind, samples=3, vocabulary=1)
    features = rows(2).requires_grad_()
    loss = made.loss(features, torch.tensor([0, MASKED]))
    assert torch.isfinite(loss)
    for gradient in torch.autograd.grad(loss, (features, made.weight, made.bias)):
        assert torch.isfinite(gradient).all()
    assert made(rows(1)).tolist() == [[0.0]]


@EACH
def test_trains_repeatably_and_scores_exactly(kind: str) -> None:
    """One seed gives one model; its perplexity falls; no sampled loss is reported as nats."""
    counts = np.bincount(sample_tokens(30, seed=1), minlength=30)
    context = Context(
        vocabulary=sample_vocabulary(30), counts=counts, seed=0, device="cpu", cache=Path()
    )
    part, train = replace(RNN, output=kind), sample_tokens(30, seed=1)  # type: ignore[arg-type]
    found = []
    for _ in range(2):
        model = part.make(context)
        assert isinstance(model, NeuralModel)
        before = -model.score(train).mean()
        recipe = Recipe(
            AdamPart(lr=0.02).make(context), (), seed=0, budget=None, point_interval=10**9
        )
        progress = list(islice(model.fit(train, recipe), 3))
        assert [point.train_nats for point in progress] == [None] * 3
        found.append(model.score(train))
        assert -found[-1].mean() < before - 0.15
        assert np.exp(model.next_log_probs(train[:5])).sum() == pytest.approx(1, abs=1e-12)
    assert (found[0] == found[1]).all()
