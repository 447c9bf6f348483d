"""The adaptive softmax: against the formula by hand, torch's, and the laws of every output."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lmgrid_rnn.parts import RnnPart

pytest.importorskip("torch", reason="needs the extra lmgrid[torch]")

import torch
from torch import nn

from lmgrid_torch.outputs.adaptive import Adaptive
from lmgrid_torch.outputs.softmax import MASKED

TARGETS = torch.tensor([0, 11, MASKED, 4, 3, 9, MASKED, 5])
V, F = 12, 6


def layer(cutoffs: tuple[int, ...] = (4, 9), vocabulary: int = V, seed: int = 0) -> Adaptive:
    """Return a layer with drawn weights and biases, in double precision."""
    made = Adaptive(features=F, vocabulary=vocabulary, cutoffs=cutoffs, div_value=2.0)
    draw = torch.Generator().manual_seed(seed)
    for weight in made.parameters():
        nn.init.normal_(weight, generator=draw)
    return made.double()


def rows(count: int = len(TARGETS)) -> torch.Tensor:
    return torch.randn(count, F, generator=torch.Generator().manual_seed(9)).double()


def test_a_case_by_hand() -> None:
    """Two words in the short list, two in a cluster: p(cluster) · p(word in it)."""
    made = Adaptive(features=1, vocabulary=4, cutoffs=(2,), div_value=1.0).double()
    with torch.no_grad():
        made.head.weight.copy_(torch.tensor([[1.0], [2.0], [0.0]]))
        made.head.bias.copy_(torch.tensor([0.0, 0.0, math.log(3)]))
        made.tails[0].projection.fill_(2)
        made.tails[0].weight.copy_(torch.tensor([[1.0], [0.0]]))
        made.tails[0].bias.copy_(torch.tensor([0.0, math.log(2)]))
    h = math.log(2)  # the head weighs 2, 4 and 3; the cluster e^(2h) = 4 and 2
    expected = [2 / 9, 4 / 9, 3 / 9 * 4 / 6, 3 / 9 * 2 / 6]
    found = made(torch.full((1, 1), h).double())[0].exp().tolist()
    assert found == pytest.approx(expected)
    targets, features = torch.arange(4), torch.full((4, 1), h).double()
    assert made.score(features, targets).exp().tolist() == pytest.approx(expected)
    mean = -np.log(expected).mean()
    assert made.loss(features, targets).item() == pytest.approx(mean)


def test_without_biases_it_is_torch_s() -> None:
    """Scores, loss and gradients are those of AdaptiveLogSoftmaxWithLoss with the same weights."""
    made, peer = layer(), nn.AdaptiveLogSoftmaxWithLoss(F, V, [4, 9], 2.0).double()
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if name.endswith("bias"):
                weight.zero_()
        peer.head.weight.copy_(made.head.weight)
        for pair, tail in zip(peer.tail, made.tails, strict=True):
            for theirs, ours in zip(pair.parameters(), (tail.projection, tail.weight), strict=True):
                theirs.copy_(ours)
    features = rows().requires_grad_()
    kept = TARGETS != MASKED
    log_probs, loss = peer(features[kept], TARGETS[kept])
    torch.testing.assert_close(made.loss(features, TARGETS), loss)
    torch.testing.assert_close(made.score(features[kept], TARGETS[kept]), log_probs)
    torch.testing.assert_close(made(features), peer.log_prob(features))
    matrices = [weight for weight in made.parameters() if weight.dim() == 2]
    found = torch.autograd.grad(made.loss(features, TARGETS), [features, *matrices])
    by_size = {weight.shape: weight for weight in peer.parameters()}  # no two are alike
    same = [by_size[weight.shape] for weight in matrices]
    torch.testing.assert_close(found, torch.autograd.grad(loss, [features, *same]))


def test_the_gradient_is_the_derivative() -> None:
    """In the features and each weight, by finite differences."""
    made = layer()
    names, weights = zip(*made.named_parameters(), strict=True)

    def loss(features: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        call = dict(zip(names, values, strict=True))
        found: torch.Tensor = torch.func.functional_call(Loss(made), call, (features,))
        return found

    names = tuple(f"layer.{name}" for name in names)
    assert torch.autograd.gradcheck(loss, (rows().requires_grad_(), *weights))


class Loss(nn.Module):
    """A layer's loss as a module."""

    def __init__(self, layer: Adaptive) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.layer.loss(features, TARGETS)


@pytest.mark.parametrize(
    ("cutoffs", "vocabulary"), [((4, 9), V), ((1,), V), ((11,), V), ((4, 9), 3), ((1, 2), 1)]
)
def test_all_ways_to_a_probability_agree(cutoffs: tuple[int, ...], vocabulary: int) -> None:
    """Loss, score and the distribution, whatever the cutoffs; those past V are left out."""
    made, targets = layer(cutoffs, vocabulary), torch.arange(vocabulary)
    features = rows(vocabulary)
    with torch.no_grad():
        whole, scores = made(features), made.score(features, targets)
        assert whole.shape == (vocabulary, vocabulary)
        torch.testing.assert_close(whole.exp().sum(1), torch.ones(vocabulary).double())
        torch.testing.assert_close(whole[targets, targets], scores)
        torch.testing.assert_close(made.loss(features, targets), -scores.mean())


@pytest.mark.parametrize("cutoffs", [(4, 9), (1,), (40,)])
def test_starts_from_the_unigram_distribution(cutoffs: tuple[int, ...]) -> None:
    """While all other weights are 0, p is the unigram distribution."""
    made = Adaptive(features=F, vocabulary=V, cutoffs=cutoffs, div_value=2.0).double()
    shares = torch.arange(V, 0, -1).double() / (V * (V + 1) / 2)
    with torch.no_grad():
        for weight in made.parameters():
            weight.zero_()
        made.start_from(shares.log())
    torch.testing.assert_close(made(rows(1))[0].exp(), shares)


def test_clusters_shrink_by_div_value() -> None:
    """The i-th cluster reads F / div_value^i numbers, and at least one."""
    made = Adaptive(features=6, vocabulary=V, cutoffs=(4, 6, 8, 10), div_value=2.0)
    assert [tuple(tail.projection.shape) for tail in made.tails] == [(3, 6), (1, 6), (1, 6), (1, 6)]


def test_cutoffs_must_rise() -> None:
    """The message shows how a grid writes them."""
    with pytest.raises(ValueError, match=r"\[\[1000, 4000\]\]"):
        RnnPart(cutoffs=(4000, 1000))
